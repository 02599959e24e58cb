"""What the published market clock costs: ``python -m benchmarks.market_clock`` prints a Markdown table.

One process writes and reads in turn, then another reads while the first writes as fast as it can.
"""

import multiprocessing
import tempfile
import timeit
from multiprocessing.synchronize import Event

from nightdesk.clocks import SystemClock
from nightdesk.market_clock_file import MarketClockWriter, PublishedTime

CALLS = 200_000
ROUNDS = 5
SPEED = 60.0
FAR_NS = 1 << 62


def main() -> None:
    """Measure and print; the best of five rounds."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        writer = MarketClockWriter(folder, speed=SPEED, clock=clock)
        writer.begin(clock.now_ns())
        writer.publish(clock.now_ns(), SPEED, FAR_NS)
        reader = PublishedTime(folder, speed=SPEED, clock=clock)
        print("| one call | nanoseconds |\n|---|---|")
        print(f"| the monotonic clock itself | {_best_ns(clock.monotonic_s):.0f} |")
        print(f"| `PublishedTime.now_ns` | {_best_ns(reader.now_ns):.0f} |")
        context = multiprocessing.get_context("fork")
        is_over = context.Event()
        busy = context.Process(target=_write, args=(writer, is_over))
        busy.start()
        print(f"| `PublishedTime.now_ns`, each time after a new record | {_best_ns(reader.now_ns):.0f} |")
        is_over.set()
        busy.join()
        print(f"| `MarketClockWriter.publish` | {_best_ns(lambda: writer.publish(1, SPEED, FAR_NS)):.0f} |")


def _write(writer: MarketClockWriter, is_over: Event) -> None:
    number = 0
    while number % 1000 or not is_over.is_set():
        number += 1
        writer.publish(number, SPEED, FAR_NS)


def _best_ns(call: object) -> float:
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e9  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
