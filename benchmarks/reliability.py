"""Many chaos runs and their sums: ``python -m benchmarks.reliability --seeds 1-20 --minutes M [--faults LIST]``.

One seed after the other (or ``--at-once N``), each as ``python run.py chaos`` does it (docs/reliability.md), in a
process and a folder of its own. One line per seed, with all that fails; then the sums as a Markdown table. Exit code 1
when any seed fails: its folder is kept and named.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from nightdesk.chaos.command import REPORT_FILE

ROOT = Path(__file__).resolve().parents[1]
SUMMED = ("orders_in_all", "changes", "cancels", "fills", "rounds", "faults", "deaths")
ZEROS = ("duplicates", "lost", "position_differences")
SECONDS_PER_MINUTE = 60
TOLD_MAX = 3
PREFIX = "nd-reliability-"


def seeds(text: str) -> list[int]:
    """``1-20`` or ``3,7,11-13``, in this order. Raises ``ValueError``."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        span = range(int(first), int(last if dash else first) + 1)
        if not span:
            raise ValueError(f"no seed in {part!r}")
        found.extend(span)
    return found


def run_seed(seed: int, minutes: float, faults: str | None, folder: Path) -> tuple[int, dict[str, Any] | None]:
    """One chaos run in this new folder: its exit code, and its report where it came to one."""
    words = ["chaos", "--seed", str(seed), "--minutes", str(minutes), "--json", "--keep-folder", str(folder)]
    if faults is not None:
        words += ["--faults", faults]
    with folder.with_suffix(".err").open("wb") as progress:
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *words], stdout=subprocess.DEVNULL, stderr=progress, check=False
        )
    report = folder / REPORT_FILE
    return done.returncode, orjson.loads(report.read_bytes()) if report.exists() else None


def failures(report: dict[str, Any]) -> list[str]:
    """What does not hold of a run, in words."""
    found = [
        f"{name}: {'; '.join(each['first'][:TOLD_MAX]) or each['evidence']}"
        for name, each in report["invariants"].items()
        if not each["holds"]
    ]
    return found + [
        f"{name}: {each['reached']}, required {each['required']}"
        for name, each in report["requirements"].items()
        if not each["holds"]
    ]


def line(seed: int, report: dict[str, Any]) -> str:
    """One seed's figures."""
    return (
        f"seed {seed}: {'ok' if report['ok'] else 'FAILED'}, {report['orders_in_all']} orders "
        f"({report['orders_a_minute']:.0f} a minute), {report['fills']} fills, {report['faults']} faults of "
        f"{report['kinds']} kinds in {report['rounds']} rounds, {report['deaths']} deaths; duplicates "
        f"{report['duplicates']}, lost {report['lost']}, position differences {report['position_differences']}"
    )


def summary(reports: Sequence[dict[str, Any]]) -> str:
    """The sums as a Markdown table, and how often each kind of fault was struck."""
    struck: Counter[str] = Counter()
    for report in reports:
        struck.update(report["faults_by_kind"])
    minutes = sum(report["traded_s"] for report in reports) / SECONDS_PER_MINUTE
    rows: list[tuple[str, object]] = [
        ("seeds", len(reports)),
        ("seeds that hold everything", sum(report["ok"] for report in reports)),
        ("minutes of trading", round(minutes, 1)),
    ]
    rows += [(name.replace("_", " "), sum(report[name] for report in reports)) for name in SUMMED]
    slowest = min((report["orders_a_minute"] for report in reports), default=0.0)
    longest = max((times["longest"] for report in reports for times in report["recovery_s"].values()), default=0.0)
    rows += [
        ("orders a minute, slowest seed", round(slowest)),
        ("faults a minute", round(struck.total() / minutes, 1) if minutes else 0.0),
        ("kinds of fault", len(struck)),
        ("longest time until everybody was in service again, s", longest),
    ]
    rows += [(name.replace("_", " "), sum(report[name] for report in reports)) for name in ZEROS]
    often = ", ".join(f"{name} {count}" for name, count in sorted(struck.items()))
    return "\n".join(["| what | sum |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), "", often])


def tell(seed: int, folder: Path, code: int, report: dict[str, Any] | None) -> bool:
    """Print a seed's line and what fails; whether all is well. The folder of one that is well is removed."""
    if report is not None:
        print(line(seed, report), flush=True)
    if code == 0 and report is not None:
        shutil.rmtree(folder)
        folder.with_suffix(".err").unlink()
        return True
    for text in failures(report) if report is not None else [f"seed {seed}: no report, exit code {code}"]:
        print(f"  {text}", flush=True)
    print(f"  kept: {folder}, its progress: {folder.with_suffix('.err')}", flush=True)
    return False


def main(words: Sequence[str] | None = None) -> int:
    """All seeds; 0: everything holds of each of them, 1: it does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=seeds("1-20"), metavar="1-20")
    parser.add_argument("--minutes", type=float, default=1.0, metavar="M")
    parser.add_argument("--faults", metavar="LIST", help="as of python run.py chaos")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="runs beside each other; each needs a core")
    chosen = parser.parse_args(words)
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    folders = [place / f"seed-{seed}" for seed in chosen.seeds]
    reports, is_good = [], True
    with ThreadPoolExecutor(chosen.at_once) as pool:
        done = pool.map(
            lambda seed, folder: run_seed(seed, chosen.minutes, chosen.faults, folder), chosen.seeds, folders
        )
        for seed, folder, (code, report) in zip(chosen.seeds, folders, done, strict=True):
            if report is not None:
                reports.append(report)
            is_good &= tell(seed, folder, code, report)
    print()
    print(summary(reports))
    if is_good:
        place.rmdir()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
