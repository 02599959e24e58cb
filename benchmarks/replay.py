"""Speed and memory of recorded tapes: ``python -m benchmarks.replay [DATA_FOLDER]`` prints Markdown; ``--ticks N`` adds
a made-up Parquet file of N trades in one row group, in a folder that is deleted afterwards.

Flow and venue alone, in this process; processor time, the best of three runs.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as arrow
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.model import Product
from nightdesk.simulator.venue.venue import Venue

ES = Product("ESH4", "CME", 0.25, 50.0, 2.0)
TICKS = ("esh24_trades_bbo_20231225.parquet", "esu13_trades_20130901_20130903.parquet")
MESSAGES = "esh24_mbo_20231225.parquet"
RUNS = 3
_PAGE_BYTES = resource.getpagesize()


def steps(path: Path, *, watch_depth: bool = False) -> Iterator[int]:
    """Play a tape; the number of steps after each."""
    venue = Venue([ES], ["SIM-1"], 100_000.0)
    flow = ReplayFlow(ReplaySource(kind="replay", path=str(path), symbol=ES.symbol), venue)
    if watch_depth:
        venue.watch_depth(ES.symbol, True)
    count = 0
    while (pending := flow.next()) is not None:
        pending[1]()
        count += 1
        yield count


def row(name: str, path: Path, *, watch_depth: bool = False) -> None:
    """One line of the table of speeds."""
    times, count = [], 0
    for _ in range(RUNS):
        begin = time.process_time()
        count = sum(1 for _ in steps(path, watch_depth=watch_depth))
        times.append(time.process_time() - begin)
    print(f"| {name} | {count:,} | {min(times):.2f} s | {count / min(times):,.0f} |")


def make_ticks(path: Path, count: int) -> None:
    """A file of made-up trades, all in one row group: the worst case for reading in batches."""

    def whole(limit: int, seed: int) -> arrow.Array:
        drawn = compute.random(count, initializer=seed)
        return compute.cast(compute.floor(compute.multiply(drawn, float(limit))), arrow.int64())

    times = compute.add(compute.cumulative_sum(compute.add(whole(2_000_000, 1), 1)), 1_700_000_000_000_000_000)
    prices = compute.divide(compute.cast(compute.add(whole(40, 2), 20_000), arrow.float64()), 4.0)
    sides = compute.subtract(whole(3, 4), 1)
    table = arrow.table(
        {"ts_event_ns": times, "price": prices, "size": compute.add(whole(19, 3), 1), "aggressor": sides}
    )
    parquet.write_table(table, path, row_group_size=count, compression="zstd")


def resident_mib() -> float:
    """The memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / (1 << 20)


def memory(count: int) -> None:
    """Resident memory while a long file is played."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ticks.parquet"
        make_ticks(path, count)
        print("\n| ticks played | resident memory |\n|---|---|")
        for played in steps(path):
            if played in (1, count // 100, count // 4, count // 2, count):
                print(f"| {played:,} | {resident_mib():.0f} MiB |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="../shared/data", type=Path)
    parser.add_argument("--ticks", type=int, default=0)
    arguments = parser.parse_args()
    print("| tape | events | processor time | events/s |\n|---|---|---|---|")
    for name in TICKS:
        row(name, arguments.folder / name)
    row(f"{MESSAGES}, nobody watches the book", arguments.folder / MESSAGES)
    row(f"{MESSAGES}, the book is watched", arguments.folder / MESSAGES, watch_depth=True)
    if arguments.ticks:
        memory(arguments.ticks)


if __name__ == "__main__":
    main()
