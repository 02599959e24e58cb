"""The market's motor with a timetable: order, closed times, other speeds, and what it publishes of its time."""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.clocks import ManualClock, SystemClock
from nightdesk.market_clock_file import MarketClockWriter, PublishedTime
from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.flows.drive import MarketDrive
from nightdesk.simulator.model import Traded, VenueEvent
from tests.support import wait_until_async

NS = 1_000_000_000
START_NS = 1_710_107_700 * NS
STEPS_S = (0.0, 1.0, 2.0, 2.0, 3.0, 10_000.0, 10_001.0)


def traded(seconds: float) -> Traded:
    return Traded("ESH4", "CME", 5000.0, 1, AggressorSide.BUY, START_NS + round(seconds * NS), volume=1, vwap=5000.0)


class Tape:
    """Steps at these seconds; ``closed`` hides what is left, as a flow whose markets are closed does."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.left = [START_NS + round(each * NS) for each in seconds]
        self.closed = False

    def next(self) -> tuple[int, Callable[[], list[VenueEvent]]] | None:
        return None if self.closed or not self.left else (self.left[0], self._step)

    def _step(self) -> list[VenueEvent]:
        return [traded((self.left.pop(0) - START_NS) / NS)]


class Bells:
    """A timetable of (seconds, what happens)."""

    def __init__(self, events: Sequence[tuple[float, Callable[[], object]]]) -> None:
        self.events = [(START_NS + round(seconds * NS), number, act) for number, (seconds, act) in enumerate(events)]
        heapq.heapify(self.events)
        self.is_quiet = False

    @property
    def next_ns(self) -> int | None:
        return self.events[0][0] if self.events else None

    def step(self) -> Sequence[VenueEvent]:
        heapq.heappop(self.events)[2]()
        return ()


class Bench:
    """A drive whose applied events are kept as seconds from the start."""

    def __init__(self, seconds: Sequence[float] = STEPS_S, speed: float = 0.0, **more: Any) -> None:
        self.tape = Tape(seconds)
        self.seen: list[Any] = []
        self.listening = True
        self.drive = MarketDrive(
            self.tape,
            speed=speed,
            starts_when_wanted=more.pop("starts_when_wanted", speed == 0),
            clock=more.pop("clock", SystemClock()),
            apply=lambda events: self.seen.extend((each.ts_ns - START_NS) / NS for each in events),
            is_wanted=lambda: self.listening,
            changes=lambda: 1,
            room=self._room,
            **more,
        )
        self.drive.subscriptions_changed()

    def mark(self, word: str) -> Callable[[], None]:
        return lambda: self.seen.append((word, (self.drive.now_ns() - START_NS) / NS))

    def close(self, bells: Bells, *, closed: bool) -> Callable[[], None]:
        def act() -> None:
            self.mark("close" if closed else "open")()
            self.tape.closed = bells.is_quiet = closed
            self.drive.changed()

        return act

    async def _room(self) -> None:
        return


def with_a_break(bench: Bench, opens_s: float = 9000.0) -> Bells:
    """Closed from the fifth second on."""
    bells = Bells([])
    acts = [(5.0, bench.close(bells, closed=True)), (opens_s, bench.close(bells, closed=False))]
    bells.events = Bells(acts).events
    bench.drive.use(bells)
    return bells


def test_timetable_comes_between_the_steps_and_before_those_of_the_same_moment() -> None:
    """Everything from before has been published when its turn comes, and market time is its own."""
    bench = Bench()
    bench.drive.use(Bells([(2.0, bench.mark("bell")), (2.5, bench.mark("bell")), (20_000.0, bench.mark("bell"))]))
    asyncio.run(bench.drive.run())
    bell = [("bell", seconds) for seconds in (2.0, 2.5, 20_000.0)]
    assert bench.seen == [0.0, 1.0, bell[0], 2.0, 2.0, bell[1], 3.0, 10_000.0, 10_001.0, bell[2]]


def test_tape_s_end_ends_the_market_whatever_the_timetable_has_left() -> None:
    """Where a tape is played the calendar's years after it are not."""
    bench = Bench(ends_with_flow=True)
    asked: list[int] = []
    take = bench.tape.next
    bench.drive._flow.next = lambda: (asked.append(1), take())[1]  # type: ignore[func-returns-value,method-assign]
    bench.drive.use(Bells([(2.5, bench.mark("bell")), (20_000.0, bench.mark("bell"))]))
    assert not asked, "a tape that is asked twice loses a row"
    asyncio.run(bench.drive.run())
    assert [each for each in bench.seen if isinstance(each, float)] == list(STEPS_S)
    assert bench.seen[-1] == 10_001.0


def test_closed_time_is_skipped_at_speed_zero_though_nobody_listens() -> None:
    """The exchange may keep its clients out itself; once it has opened, the market waits for them."""

    async def run() -> None:
        bench = Bench()
        with_a_break(bench)
        first = bench.drive

        def leave() -> None:
            bench.listening = False
            first.subscriptions_changed()

        bench.drive._timetable.events.append((START_NS + 6 * NS, 9, leave))  # type: ignore[attr-defined]
        heapq.heapify(bench.drive._timetable.events)  # type: ignore[attr-defined]
        running = asyncio.create_task(first.run())
        await wait_until_async(lambda: ("open", 9000.0) in bench.seen)
        for _ in range(10):
            await asyncio.sleep(0)
        assert bench.seen[-1] == ("open", 9000.0)
        assert first.now_ns() == START_NS + 9000 * NS
        bench.listening = True
        first.subscriptions_changed()
        await running
        assert bench.seen[-2:] == [10_000.0, 10_001.0]

    asyncio.run(run())


def test_closed_time_passes_at_its_own_speed_and_trading_at_the_market_s() -> None:
    """A break of two and a half hours takes no time worth mentioning; what is open takes what it takes."""
    bench = Bench((0.0, 1.0, 9001.0), speed=10.0, quiet_speed=100_000.0)
    with_a_break(bench)
    began_s = SystemClock().monotonic_s()
    asyncio.run(bench.drive.run())
    took_s = SystemClock().monotonic_s() - began_s
    assert bench.seen == [0.0, 1.0, ("close", 5.0), ("open", 9000.0), 9001.0]
    assert 0.6 <= took_s < 60.0


def test_market_that_begins_closed_waits_at_its_opening_for_the_first_subscriber() -> None:
    """Its closed hours are over in no time, while the clients still start: nothing of the trading is missed."""

    async def run() -> None:
        bench = Bench((5.0, 6.0), speed=100.0, quiet_speed=1e6, start_ns=START_NS, starts_when_wanted=True)
        bells = Bells([])
        bells.events = Bells([(4.0, bench.close(bells, closed=False))]).events
        bells.is_quiet = True
        bench.listening = False
        bench.drive.use(bells)
        bench.drive.subscriptions_changed()
        running = asyncio.create_task(bench.drive.run())
        await wait_until_async(lambda: bench.seen == [("open", 4.0)])
        await asyncio.sleep(0)
        began_ns = bench.drive.now_ns()
        await asyncio.sleep(0.2)
        assert bench.seen == [("open", 4.0)]
        assert bench.drive.now_ns() == began_ns < START_NS + 5 * NS, "time stands while it waits"
        bench.listening = True
        bench.drive.subscriptions_changed()
        await running
        assert bench.seen == [("open", 4.0), 5.0, 6.0]

    asyncio.run(run())


def test_drive_that_sleeps_for_long_wakes_for_a_new_event() -> None:
    """Somebody puts an event before the one that the drive waits for."""

    async def run() -> None:
        bench = Bench((0.0, 1e6), speed=1.0)
        bells = Bells([])
        bench.drive.use(bells)
        running = asyncio.create_task(bench.drive.run())
        await wait_until_async(lambda: bench.seen == [0.0])
        bells.events = Bells([(0.0, bench.mark("now"))]).events
        bench.drive.changed()
        await wait_until_async(lambda: len(bench.seen) == 2, 0.9)
        running.cancel()

    asyncio.run(run())


def test_exchange_begins_at_its_start_though_the_first_step_is_later() -> None:
    """Closed at the start: market time is the start's, and the timetable is asked from there."""
    bench = Bench((100.0,), start_ns=START_NS - 50 * NS)
    assert bench.drive.now_ns() == START_NS - 50 * NS
    bench.drive.use(Bells([(-20.0, bench.mark("pre-open"))]))
    asyncio.run(bench.drive.run())
    assert bench.seen == [("pre-open", -20.0), 100.0]


def test_published_time_is_the_exchange_s_and_never_ahead_of_its_next_step(tmp_path: Path) -> None:
    """After each turn, standing before the first client, and at speed 0 with what was reached."""

    async def run(speed: float) -> None:
        clock = SystemClock()
        writer = MarketClockWriter(tmp_path, speed=speed, clock=clock)
        reader = PublishedTime(tmp_path, speed=1.0, clock=clock)
        bench = Bench((0.0, 0.5, 3.0), speed=speed, market_clock=writer)
        assert reader.now_ns() == START_NS == bench.drive.now_ns()
        assert reader.speed == speed
        running = asyncio.create_task(bench.drive.run())
        while not running.done():
            await asyncio.sleep(0)
            before_ns, seen_ns, after_ns = bench.drive.now_ns(), reader.now_ns(), bench.drive.now_ns()
            assert speed or before_ns == seen_ns == after_ns
            assert not bench.tape.left or seen_ns <= bench.tape.left[0]
        assert reader.now_ns() >= START_NS + 3 * NS
        writer.close()

    for speed in (0.0, 20.0):
        (tmp_path / "market.clock").unlink(missing_ok=True)
        asyncio.run(run(speed))


@given(
    gaps=st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
    bells=st.lists(st.integers(0, 10**12), max_size=6),
    passed=st.lists(st.floats(0.0, 30.0), max_size=12),
    speed=st.sampled_from([0.5, 1.0, 60.0, 100_000.0]),
)
def test_market_time_of_a_drive_never_goes_back(
    gaps: list[int], bells: list[int], passed: list[float], speed: float
) -> None:
    """Whenever it is asked between its turns, however late those are; it is never past what is due next."""
    clock = ManualClock(START_NS)
    seconds = [sum(gaps[: place + 1]) / NS for place in range(len(gaps))]
    bench = Bench(seconds, speed=speed, quiet_speed=1000.0, clock=clock, start_ns=START_NS)
    timetable = Bells([])
    acts = [(each / NS, bench.close(timetable, closed=number % 2 == 0)) for number, each in enumerate(sorted(bells))]
    timetable.events = Bells(acts).events
    bench.drive.use(timetable)
    bench.drive._anchor = (START_NS, clock.monotonic_s())
    newest_ns = bench.drive.now_ns()
    for seconds_passed in passed:
        clock.advance(seconds_passed)
        assert bench.drive.now_ns() >= newest_ns
        bench.drive._take_steps(lambda due_ns: bench.drive._seconds_until(due_ns) <= 0)
        now_ns = bench.drive.now_ns()
        # A step from before a break that the flow makes after it is late.
        assert newest_ns <= now_ns <= max(bench.drive._due_ns(), bench.drive._last_ns)
        newest_ns = now_ns
