"""What moves a strategy's time when no ticks do: what is due, the published clock, and steps of the wall clock."""

import asyncio
from typing import Any

import pytest

from actors.strategies import timekeeper
from actors.strategies.timekeeper import WALL_STEP_NS, Timekeeper
from nightdesk.clocks import NS_PER_S, ManualClock, ManualTime, WallTime
from nightdesk.trading.market_clock import BACKWARD_TICKS_MIN, MarketClock
from nightdesk.trading.silence import LANE_GRACE_S, LOOK_S
from tests.fakes import FakeContext

WALL_NS = 1_795_000_000 * NS_PER_S
HOUR_S = 3600


class Runner:
    """A strategy's runner as far as the timekeeper knows it."""

    def __init__(self, clock: ManualClock, market_clock: MarketClock) -> None:
        self.trades = self.quotes = self.advanced = 0
        self.reached_ns: int | None = None
        self._clock = clock
        self.market_clock = market_clock

    def now_ns(self) -> int:
        return self.market_clock.now_ns(self._clock.monotonic_s())

    def advance(self, market_ns: int | None = None) -> None:
        self.advanced += 1
        self.reached_ns = market_ns

    def tick(self, ts_event_ns: int) -> None:
        self.quotes += 1
        self.market_clock.observe(ts_event_ns, self._clock.monotonic_s())

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now_ns() - WALL_NS) / NS_PER_S


class Bench:
    """A timekeeper at a broker whose looks are called by hand, each after a second of the monotonic clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timekeeper, "WALL_LOOK_S", 1e6)
        self.clock = ManualClock(WALL_NS)
        self.context = FakeContext("strategies/one", clock=self.clock, market_time=WallTime(self.clock))
        self.keeper = Timekeeper(self.context, is_simulated=False)
        self.runner = Runner(self.clock, self.keeper.market_clock())
        self.keeper.start(self.runner)

    def looks(self, count: int = 1, *, ticks: bool = False) -> None:
        for _ in range(count):
            self.clock.advance(1.0)
            if ticks:
                self.runner.tick(WALL_NS + round(self.clock.monotonic_s() * NS_PER_S))
            looking = self.keeper._looking
            assert looking is not None
            looking.cancel()
            self.keeper._look_at_wall(self.runner)

    def step_wall(self, seconds: float) -> None:
        self.clock.set_wall(self.clock.now_ns() + round(seconds * NS_PER_S))

    def close(self) -> None:
        self.keeper.stop()
        assert self.keeper._looking is None


def test_machine_that_slept_in_the_break_has_its_strategies_wake_with_the_wall_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The monotonic clock stood for eight hours, and no tick will tell before the opening."""

    async def run() -> None:
        bench = Bench(monkeypatch)
        bench.looks(3)
        assert (bench.runner.seconds, bench.runner.advanced) == (3.0, 0)
        bench.step_wall(8 * HOUR_S)
        bench.looks()
        assert (bench.runner.seconds, bench.runner.advanced) == (4.0, 0), "one look alone may be a glitch"
        bench.looks()
        assert (bench.runner.seconds, bench.runner.advanced) == (8 * HOUR_S + 5.0, 1)
        bench.looks(5)
        assert (bench.runner.seconds, bench.runner.advanced) == (8 * HOUR_S + 10.0, 1)
        bench.close()

    asyncio.run(run())


def test_ticks_know_the_time_better_than_a_wall_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, back, for good or for a moment: while they come the strategy's time is theirs."""

    async def run() -> None:
        bench = Bench(monkeypatch)
        bench.looks(2, ticks=True)
        for seconds in (HOUR_S, -HOUR_S, -HOUR_S, HOUR_S, 2 * HOUR_S):
            bench.step_wall(seconds)
            bench.looks(3, ticks=True)
        assert (bench.runner.seconds, bench.runner.advanced) == (17.0, 0)
        bench.looks(5)
        assert (bench.runner.seconds, bench.runner.advanced) == (22.0, 0), "what was set before the silence is no step"
        bench.close()

    asyncio.run(run())


def test_wall_clock_that_is_set_back_or_a_little_or_for_a_moment_moves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A strategy's time never goes back, and corrections of a clock that is kept are none of a step."""

    async def run() -> None:
        bench = Bench(monkeypatch)
        bench.looks()
        for seconds in (-HOUR_S, WALL_STEP_NS / NS_PER_S, WALL_STEP_NS / NS_PER_S):
            bench.step_wall(seconds)
            bench.looks(3)
        bench.step_wall(HOUR_S)
        bench.looks()
        bench.step_wall(-HOUR_S)
        bench.looks(3)
        assert (bench.runner.seconds, bench.runner.advanced) == (14.0, 0)
        bench.close()

    asyncio.run(run())


def test_time_that_the_wall_had_wrong_gives_way_to_the_exchange_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hours too far in silence: ticks that are all older set the strategy's time back to theirs."""

    async def run() -> None:
        bench = Bench(monkeypatch)
        bench.looks()
        bench.step_wall(2 * HOUR_S)
        bench.looks(2)
        assert bench.runner.seconds == 2 * HOUR_S + 3.0
        bench.looks(BACKWARD_TICKS_MIN, ticks=True)
        assert bench.runner.seconds == pytest.approx(3.0 + BACKWARD_TICKS_MIN)
        bench.close()

    asyncio.run(run())


class Simulated:
    """A timekeeper in a simulation; what it asks of the loop is written down and never called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, speed: float) -> None:
        self.clock = ManualClock(WALL_NS)
        self.time = ManualTime(self.clock, speed=speed)
        self.context = FakeContext("strategies/one", clock=self.clock, market_time=self.time)
        self.keeper = Timekeeper(self.context, is_simulated=True)
        self.runner = Runner(self.clock, self.keeper.market_clock())
        self.waits: list[float] = []
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(delay_s: float, act: Any, *arguments: Any) -> asyncio.TimerHandle:
            self.waits.append(delay_s)
            return later(1e6, act, *arguments)

        monkeypatch.setattr(loop, "call_later", call_later)

    def look(self) -> None:
        self.clock.advance(LOOK_S)
        self.keeper._look(self.runner)


@pytest.mark.parametrize(
    ("speed", "due_s", "expected"),
    [
        (1.0, 10.0, [10.0]),
        (0.5, 10.0, [20.0]),
        (1.0, -5.0, [timekeeper.WAKE_MIN_S]),
        (1.0, 1e6, [timekeeper.WAKE_MAX_S]),
        (60.0, 10.0, []),
        (0.0, 10.0, []),
    ],
)
def test_strategy_is_woken_for_what_is_due_where_time_passes_by_itself(
    monkeypatch: pytest.MonkeyPatch, speed: float, due_s: float, expected: list[float]
) -> None:
    """Up to real time, by the simulation's own seconds; faster, and at a tape's pace, published time alone counts."""

    async def run() -> None:
        bench = Simulated(monkeypatch, speed)
        bench.keeper.due_changed(bench.runner, WALL_NS + round(due_s * NS_PER_S))
        assert bench.waits == expected
        bench.keeper.due_changed(bench.runner, None)
        assert bench.waits == expected
        assert bench.keeper._wake is None

    asyncio.run(run())


def test_published_time_is_followed_in_silence_once_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the exchange has said its date nothing happens at the machine's, however long that takes."""

    async def run() -> None:
        bench = Simulated(monkeypatch, 60.0)
        bench.time.is_known = False
        for _ in range(20):
            bench.look()
        assert bench.runner.advanced == 0
        bench.time.is_known = True
        bench.time.set(WALL_NS + HOUR_S * NS_PER_S)
        bench.look()
        first_ns = bench.time.now_ns()
        while not bench.runner.advanced:
            bench.look()
        assert bench.runner.reached_ns == first_ns
        assert bench.time.now_ns() - first_ns == round(LANE_GRACE_S * 60 * NS_PER_S)
        bench.keeper.stop()

    asyncio.run(run())


def test_clock_reaches_no_time_that_it_has_passed() -> None:
    """What a wall clock says later than the ticks is old."""
    clock = MarketClock(1.0, WALL_NS, 0.0, is_anchored=True)
    clock.reach(WALL_NS + NS_PER_S, 5.0)
    assert clock.now_ns(5.0) == WALL_NS + 5 * NS_PER_S
    assert clock.now_ns(6.0) == WALL_NS + 6 * NS_PER_S
