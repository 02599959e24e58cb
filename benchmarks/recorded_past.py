"""What a recorded past costs the exchange: time to read, memory, loop stalls, and answers of several kinds.

Usage: python -m benchmarks.recorded_past FILE SYMBOL [TICK_SIZE]
"""

import asyncio
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.bar_frames import time_bar_fields
from nightdesk.simulator.plants.bars import BarState, BarStore
from nightdesk.simulator.plants.past import ContractHistory, Past
from nightdesk.simulator.plants.past_columns import chosen
from nightdesk.simulator.plants.past_file import PastFile
from nightdesk.simulator.wire.templates import encode

EVERYTHING_S = 2**31 - 1
MEBI = 1 << 20
ASKED = (
    ("newest 10,000 bars of 5 minutes", BarUnit.MINUTE, 5, 10_000, True),
    ("newest 10,000 bars of an hour", BarUnit.MINUTE, 60, 10_000, True),
    ("all days", BarUnit.DAY, 1, 10_000, False),
    ("all weeks", BarUnit.WEEK, 1, 10_000, False),
    ("all bars of 5 minutes", BarUnit.MINUTE, 5, 10**9, False),
)


def memory_mib() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MEBI


async def read(past: Past, symbol: str) -> float:
    """Read the file beside a loop that wants a turn each millisecond; the longest turn that it had to wait for."""
    now_s = int(datetime.now(UTC).timestamp())
    reading = asyncio.create_task(asyncio.to_thread(past.load, symbol, now_s))
    longest_s = 0.0
    while not reading.done():
        before_s = time.perf_counter()
        await asyncio.sleep(0.001)
        longest_s = max(longest_s, time.perf_counter() - before_s)
    await reading
    return longest_s


def main(path: str, symbol: str, tick_size: float) -> None:
    """Print the figures."""
    past = Past([PastFile(path, Product(symbol, "CME", tick_size, 1.0, 0.0))], structlog.get_logger())
    before_mib = memory_mib()
    started_s = time.perf_counter()
    longest_s = asyncio.run(read(past, symbol))
    print(f"read in {time.perf_counter() - started_s:.2f} s, longest stall of the loop {longest_s * 1000:.0f} ms")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory {before_mib:.0f} MiB before, {memory_mib():.0f} after, {peak_mib:.0f} at the peak")
    for columns in past.of(symbol):
        held = sum(each.itemsize * len(each) for each in vars(columns).values() if hasattr(each, "itemsize"))
        print(f"{len(columns.starts)} rows in {held / MEBI:.0f} MiB of columns")
    known = ContractHistory(past.of(symbol), BarStore(), symbol, "CME", EVERYTHING_S)
    for what, unit, period, count, from_end in ASKED:

        def bars(
            unit: BarUnit = unit, period: int = period, count: int = count, from_end: bool = from_end
        ) -> Iterator[BarState]:
            segments = known.time_bars(unit, period, 0, EVERYTHING_S)
            return chosen(segments, count, from_end=from_end, backwards=False)

        started_s = time.perf_counter()
        records = sum(1 for _ in bars())
        made_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        for bar in bars():
            encode(203, rq_handler_rp_code=("0",), **time_bar_fields(bar))
        print(
            f"{what}: {records} records, {made_s:.3f} s to make, {time.perf_counter() - started_s:.3f} s with encoding"
        )
    print(f"memory {memory_mib():.0f} MiB at the end")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.25)
