"""Times of recovery under flow: ``python -m benchmarks.recovery [KILLS] [KIND ...]`` prints Markdown tables.

The whole system runs the default job at ten times its rate. Each process is killed with SIGKILL, KILLS times (30), each
time in a random moment after everybody was in service. Times are from the kill to the log's own time stamps: the
line ``child_exited`` (detection), ``child_restarted`` (restart), and what says that the actor does its work again.
Two further strategies write down every tick they see; the exchange's own wire log has every tick that it sent. What a
killed process's siblings have not seen of that is lost.
"""

import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.reference import Reference, Tape
from tests.chaos.trading import PATIENT, busy_configuration, in_service
from tests.e2e.harness import ROOT, System, running, short_folder, write_configuration
from tests.support import wait_until

KILLS = 30
SEED = 1
TIMEOUT_S = 90.0
CALM_S = (0.3, 1.0)
"""How long everybody is in service before the next kill, a random time between these."""

WITNESSES = ("witness_a", "witness_b")
PLANTS = ("order", "pnl", "ticker", "history")


class Bench:
    """The running system, and the questions that the kinds ask of it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._from_line = 0

    def kill(self, pid: int) -> float:
        """Kill a process; when that was. Earlier lines of the log are of no interest from now on."""
        self._from_line = len(self.system.lines)
        killed_s = time.time()
        os.kill(pid, signal.SIGKILL)
        return killed_s

    def first(self, since_s: float, event: str, **keys: Any) -> float | None:
        """When the first such line after a moment was written; None while there is none."""
        wanted = {"event": event} | keys
        lines = [
            line
            for line in self.system.lines[self._from_line :]
            if all(line.get(key) == value for key, value in wanted.items())
        ]
        return min((stamp for stamp in map(_stamp, lines) if stamp > since_s), default=None)

    def last_of(self, stamps: list[float | None]) -> float | None:
        """When all of them had happened; None while one is missing."""
        return None if None in stamps else max(stamp for stamp in stamps if stamp is not None)

    def renew_plants(self) -> None:
        """Restart all plants: they answer a gateway that drops young links again and again with longer pauses."""
        for plant in PLANTS:
            assert self.system.control("restart", id=f"plants/{plant}")["ok"]

    def ticks(self, since_s: float) -> float | None:
        """Both witnesses see ticks of after the restart."""
        return self.last_of([self.first(since_s, "first_tick", child_id=f"strategies/{one}") for one in WITNESSES])

    def plants(self, since_s: float) -> float | None:
        """All plants are logged in again."""
        return self.last_of([self.first(since_s, "plant_logged_in", plant=plant) for plant in PLANTS])

    def restarted(self, since_s: float, child_id: str) -> float | None:
        """The child is ready to receive."""
        return self.first(since_s, "child_restarted", child_id=child_id)

    def quotes_again(self, since_s: float) -> float | None:
        """The quoting strategy's first message about an order after its restart."""
        restart = self.restarted(since_s, "strategies/quoter_es")
        if restart is None:
            return None
        events = ("order_submitted", "order_updated", "order_canceled")
        stamps = [self.first(restart, event, strategy_id="quoter_es") for event in events]
        return min((stamp for stamp in stamps if stamp is not None), default=None)

    def answers(self, since_s: float) -> float | None:
        """The new control process answers; asked again and again."""
        if self.restarted(since_s, "services/control") is None:
            return None
        try:
            self.system.status()
        except (OSError, ValueError, AssertionError):
            return None
        return time.time()


@dataclass
class Kind:
    """One kind of actor: whom to kill, and when it does its work again."""

    name: str
    victim: str
    service: str
    back: Callable[[Bench, float], float | None]
    detection_ms: list[float] = field(default_factory=list)
    restart_ms: list[float] = field(default_factory=list)
    back_ms: list[float] = field(default_factory=list)
    keeps_ticks: bool = True
    prepare: Callable[[Bench], None] | None = None


def _plant(name: str) -> Callable[[Bench, float], float | None]:
    return lambda bench, since_s: bench.first(since_s, "plant_logged_in", plant=name)


KINDS = (
    Kind(
        "strategy (its ticks)",
        "strategies/witness_a",
        "its first tick",
        lambda bench, since_s: bench.first(since_s, "first_tick", child_id="strategies/witness_a"),
    ),
    Kind("strategy (its orders)", "strategies/quoter_es", "its first order message", Bench.quotes_again),
    Kind("order plant", "plants/order", "reconciled", lambda bench, since_s: bench.first(since_s, "reconciled")),
    Kind("pnl plant", "plants/pnl", "logged in", _plant("pnl")),
    Kind("history plant", "plants/history", "logged in", _plant("history")),
    Kind(
        "alert channel",
        "services/alerts/log",
        "its first alert",
        lambda bench, since_s: bench.first(since_s, "alert", child_id="services/alerts/log"),
    ),
    Kind("control", "services/control", "answers `status`", Bench.answers),
    Kind("ticker plant", "plants/ticker", "logged in", _plant("ticker"), keeps_ticks=False),
    Kind(
        "exchange",
        "exchange",
        "all four plants logged in",
        Bench.plants,
        keeps_ticks=False,
        prepare=Bench.renew_plants,
    ),
    Kind("supervisor of the strategies", "strategies", "ticks in both witnesses", Bench.ticks, keeps_ticks=False),
    Kind("supervisor of the plants", "plants", "all four plants logged in", Bench.plants, keeps_ticks=False),
)
"""In the order of the measurement: those that leave the way of the ticks alone come first, under the reference."""


def main(kills: int, names: list[str]) -> None:
    """Measure and print."""
    kinds = [kind for kind in KINDS if not names or any(name in kind.name for name in names)]
    chance = random.Random(SEED)
    load = os.getloadavg()[0]
    with short_folder() as folder, running(write_configuration(folder, configuration(folder))) as system:
        bench = Bench(system)
        system.wait_status(in_service, TIMEOUT_S)
        for name in WITNESSES:
            system.wait_for("first_tick", TIMEOUT_S, child_id=f"strategies/{name}")
        reference = Reference(system.state_dir)
        reference.start()
        for kind in kinds:
            if not kind.keeps_ticks and reference.running:
                reference.stop()
            for _ in range(kills):
                measure(bench, kind, chance)
            print(f"measured: {kind.name}", file=sys.stderr, flush=True)
        reference.stop()
        report(kinds, kills, load)
        under_reference = sum(kills for kind in kinds if kind.keeps_ticks)
        if under_reference:
            report_ticks(folder, reference.tape, under_reference)
        system.stop()


def configuration(folder: Path) -> dict[str, Any]:
    """The busy default job with two witnesses beside its two strategies."""
    job = busy_configuration(folder)
    for name in WITNESSES:
        witness = {"name": name, "class": "benchmarks.witness:Witness", "path": str(ROOT), "symbols": ["ESZ6"]}
        job["strategies"].append(witness | {"parameters": {"path": str(folder / name)}, "supervision": PATIENT})
    return job


def measure(bench: Bench, kind: Kind, chance: random.Random) -> None:
    """One kill."""
    if kind.prepare is not None:
        kind.prepare(bench)
    status = bench.system.wait_status(in_service, TIMEOUT_S)
    end_s = time.time() + chance.uniform(*CALM_S)
    wait_until(lambda: time.time() > end_s, TIMEOUT_S)
    (pid,) = [child["pid"] for child in status["children"] if child["id"] == kind.victim]
    killed_s = bench.kill(pid)
    found: dict[str, float | None] = {}

    def done() -> bool:
        found["exited"] = bench.first(killed_s, "child_exited", child_id=kind.victim)
        found["restarted"] = bench.first(killed_s, "child_restarted", child_id=kind.victim)
        if found["restarted"] is not None:
            found["back"] = found.get("back") or kind.back(bench, killed_s)
        return all(found.get(name) is not None for name in ("exited", "restarted", "back"))

    wait_until(done, TIMEOUT_S)
    for name, times in (("exited", kind.detection_ms), ("restarted", kind.restart_ms), ("back", kind.back_ms)):
        times.append(((found[name] or 0.0) - killed_s) * 1000)


def report(kinds: list[Kind], kills: int, load: float) -> None:
    """The table of times."""
    print(f"{kills} kills of each kind, {os.cpu_count()} processors, load average {load:.1f} before the start.\n")
    print("| actor | detection, ms | restart, ms | back in service, ms | in service means |")
    print("|---|---|---|---|---|")
    for kind in kinds:
        cells = " | ".join(_pair(times) for times in (kind.detection_ms, kind.restart_ms, kind.back_ms))
        print(f"| {kind.name} | {cells} | {kind.service} |")
    print("\nEach cell: median / 99th percentile (with 30 kills that is the slowest one).\n")


def report_ticks(folder: Path, sent: Tape, kills: int) -> None:
    """What each witness has not seen of what the exchange sent while siblings were killed."""
    print("| witness | ticks sent by the exchange | trades not seen | quotes not seen |")
    print("|---|---|---|---|")
    for name in WITNESSES:
        tape = Tape.read(folder / name)
        missing_trades, missing_quotes, count = sent.missing_from(tape)
        print(f"| {name} | {count} | {missing_trades} | {missing_quotes} |")
    print(f"\nDuring {kills} kills. `witness_a` was a victim itself; what it missed while it was dead is its own loss.")


def _pair(times: list[float]) -> str:
    slowest = sorted(times)[min(len(times) - 1, round(0.99 * len(times)))]
    return f"{statistics.median(times):.0f} / {slowest:.0f}"


def _stamp(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    main(count, sys.argv[2:])
