"""A strategy's market time: the agenda's order, silence that is filled in, and speed 0, where nothing depends on it."""

from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nightdesk import Strategy
from nightdesk.trading.agenda import NEVER_NS, Agenda
from nightdesk.trading.market_clock import BACKWARD_MAX_NS, BACKWARD_TICKS_MIN, MarketClock
from nightdesk.trading.runner import StrategyRunner
from nightdesk.trading.silence import LANE_GRACE_S, LOOK_S, SilenceWatch
from nightdesk.trading.timers import TimerTable
from tests.strategy_support import ES, START_NS, Bench, trade_at

NS_PER_S = 1_000_000_000
BEGIN_NS = START_NS - START_NS % (3600 * NS_PER_S)
HOUR_S = 3600


class Diary(Strategy):
    """Writes down what it was told and when, in seconds from the beginning."""

    VERSION = 1

    def on_start(self) -> None:
        self.lines: list[tuple[str, float]] = []
        self.subscribe_bars(None, 60)
        self.set_timer("minute", 60.0, repeat=True)
        self.set_timer("chain", 7.0)

    def note(self, word: str) -> None:
        self.lines.append((word, (self.now_ns - BEGIN_NS) / NS_PER_S))

    def on_trade(self, trade: Any) -> None:
        self.note("trade")

    def on_bar(self, bar: Any) -> None:
        self.note(f"bar to {(bar.ts_close_ns - BEGIN_NS) / NS_PER_S:g}")

    def on_timer(self, name: str) -> None:
        self.note(name)
        if name == "chain":
            self.set_timer("chain", 7.0)


class Timed(Bench):
    """A strategy on a clock that does not run on by itself, as in a simulation that is not at real time."""

    def __init__(self, speed: float) -> None:
        super().__init__(Diary)
        strategy = Diary()
        self.strategy = strategy
        self.runner = StrategyRunner(
            strategy,
            name="test",
            instruments=(ES,),
            parameters={},
            outlet=self,
            clock=MarketClock(speed, BEGIN_NS, 0.0, is_anchored=True, runs_on=False),
            random_text=lambda: "0123456789abcdef",
            log=structlog.get_logger(),
        )
        self.start()

    def tick(self, seconds: float) -> None:
        self.runner.on_trade(trade_at(BEGIN_NS + round(seconds * NS_PER_S)))

    def fill_in(self, seconds: float) -> None:
        self.runner.advance(BEGIN_NS + round(seconds * NS_PER_S))

    @property
    def lines(self) -> list[tuple[str, float]]:
        return list(self.strategy.lines)


def test_at_speed_zero_everything_comes_at_its_own_time_before_the_tick_that_brings_it() -> None:
    """A jump over two minutes is lived through: every timer, every repetition, and the bar in its place."""
    bench = Timed(0.0)
    bench.tick(10.0)
    bench.tick(130.0)
    chains = [("chain", 7.0 * number) for number in range(1, 19)]
    minutes = [("bar to 60", 60.0), ("minute", 60.0), ("minute", 120.0)]
    expected = sorted([*chains, *minutes], key=lambda line: line[1])
    assert bench.lines == [expected[0], ("trade", 10.0), *expected[1:], ("trade", 130.0)]


def test_at_other_speeds_a_jump_brings_each_timer_once() -> None:
    """Time has passed already: repetitions are one, a timer that is set anew counts from the present."""
    bench = Timed(60.0)
    bench.tick(10.0)
    bench.tick(HOUR_S)
    words = [word for word, _ in bench.lines]
    assert words == ["chain", "trade", "chain", "bar to 60", "minute", "trade"]
    bench.tick(HOUR_S + 6.0)
    assert len(bench.lines) == 7
    bench.tick(HOUR_S + 60.2)
    assert [word for word, _ in bench.lines[7:]] == ["chain", "bar to 3660", "minute", "trade"]


def test_timers_come_in_silence_as_far_as_the_published_time_goes() -> None:
    """No tick for the length of a break: the fillings bring what is due, and never set the clock back."""
    for speed in (0.0, 60.0):
        bench = Timed(speed)
        bench.fill_in(59.0)
        bench.fill_in(61.0)
        bench.fill_in(30.0)
        assert [line for line in bench.lines if line[0] == "minute"] == [("minute", 60.0 if speed == 0 else 61.0)]
        assert bench.runner.now_ns() == BEGIN_NS + 61 * NS_PER_S


_MOMENTS = st.lists(st.integers(0, 4000), min_size=1, max_size=30).map(sorted)


@given(ticks=_MOMENTS, fillings=_MOMENTS)
def test_at_speed_zero_the_fillings_change_nothing(ticks: Sequence[int], fillings: Sequence[int]) -> None:
    """Whether, when and how far silence is filled in: the same calls in the same order with the same times.

    Up to the last tick, that is; a filling lies between the ticks that were there and those that come.
    """
    plain, filled = Timed(0.0), Timed(0.0)
    for tick in ticks:
        plain.tick(float(tick))
    moments = sorted([(moment, 0) for moment in fillings if moment <= ticks[-1]] + [(moment, 1) for moment in ticks])
    for moment, is_tick in moments:
        (filled.tick if is_tick else filled.fill_in)(float(moment))
    assert filled.lines == plain.lines


def test_agenda_goes_by_own_times_and_then_by_the_order_of_its_sources() -> None:
    """A bar of a minute that is delivered late comes before the timer of that minute's end."""

    class Source:
        def __init__(self, name: str, *due: int, grace_ns: int = 0) -> None:
            self.name, self.left, self.grace_ns = name, list(due), grace_ns

        @property
        def due_ns(self) -> int:
            return self.left[0] if self.left else NEVER_NS

        def fire(self, to_ns: int, *, together: bool) -> None:
            seen.append((self.name, self.left.pop(0)))

    seen: list[tuple[str, int]] = []
    agenda = Agenda((Source("bar", 70, grace_ns=10), Source("session", 60, 65), Source("timer", 60, 61, 200)))
    assert agenda.due_ns == 60
    agenda.run(69, step=None, is_over=lambda: False)
    assert seen == [("session", 60), ("timer", 60), ("timer", 61), ("session", 65)]
    agenda.run(100, step=None, is_over=lambda: False)
    assert seen[-1] == ("bar", 70)
    assert agenda.due_ns == 200
    agenda.run(300, step=None, is_over=lambda: True)
    assert len(seen) == 5


def test_agenda_of_many_repetitions_does_not_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer of a millisecond over a year at speed 0: so many and no more, then they are one."""
    monkeypatch.setattr("nightdesk.trading.agenda.FIRES_MAX", 50)
    bench = Timed(0.0)
    bench.strategy.set_timer("quick", 0.001, repeat=True)
    bench.tick(365 * 86_400.0)
    assert 50 <= len(bench.lines) < 60
    assert bench.lines[-1] == ("trade", 365 * 86_400.0)


def test_repeating_timers_keep_their_rhythm_together_or_apart() -> None:
    """However they are taken, what is left is due at the same time."""
    for together, count in ((True, 1), (False, 9)):
        timers = TimerTable()
        timers.set("a", 10, now_ns=100, repeat=True)
        names = []
        while (name := timers.pop_next(199, together=together)) is not None:
            names.append(name)
        assert (len(names), timers.due_ns) == (count, 200)


def test_silence_is_filled_in_with_what_was_published_a_quarter_of_a_second_ago() -> None:
    """And only when no tick has come since, and nobody has been away meanwhile."""
    watch = SilenceWatch()
    looks = [watch.look(10.0 + number * LOOK_S, number, 0) for number in range(8)]
    assert looks == [None, None, None, None, 0, 1, 2, 3]
    looks = [watch.look(11.0 + number * LOOK_S, 100 + number, 1) for number in range(6)]
    assert looks == [None, None, None, None, 100, 101]
    late_s = 11.0 + 5 * LOOK_S + LANE_GRACE_S + 0.01
    assert watch.look(late_s, 500, 1) is None
    assert watch.look(late_s + LANE_GRACE_S, 600, 1) == 500


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["tick", "look"]), st.floats(0.0, 0.3), st.floats(0.0, 0.24)), max_size=60
    )
)
def test_filled_time_never_overtakes_a_tick_on_its_way(events: list[tuple[str, float, float]]) -> None:
    """Ticks that arrive within a quarter of a second of their publication are never older than the filled time."""
    watch, now_s, ticks, filled_ns = SilenceWatch(), 100.0, 0, 0
    arriving: list[tuple[float, int]] = []
    for kind, passed_s, delay_s in events:
        now_s += passed_s
        published_ns = round(now_s * 1000)
        if kind == "tick":
            arrives_s = max([now_s + delay_s, *(each for each, _ in arriving)])
            arriving.append((arrives_s, published_ns))
            continue
        due = [tick for tick in arriving if tick[0] <= now_s]
        arriving = [tick for tick in arriving if tick[0] > now_s]
        for _, tick_ns in due:
            assert tick_ns >= filled_ns - 1
            ticks += 1
        reached_ns = watch.look(now_s, published_ns, ticks)
        filled_ns = max(filled_ns, reached_ns or 0)


def test_filling_is_no_date_that_ticks_are_compared_with() -> None:
    """Ticks that come late after all are older than what was filled in; the exchange's date is what it was."""
    clock = MarketClock(1000.0, BEGIN_NS, 0.0, is_anchored=True, runs_on=False)
    clock.observe(BEGIN_NS + NS_PER_S, 0.0)
    assert clock.fill(BEGIN_NS + HOUR_S * NS_PER_S, 1.0) == 0
    late_ns = BEGIN_NS + 2 * NS_PER_S
    assert [clock.observe(late_ns + number, 1.0) for number in range(2 * BACKWARD_TICKS_MIN)] == [0] * 40
    assert clock.now_ns(50.0) == BEGIN_NS + HOUR_S * NS_PER_S
    old_ns = BEGIN_NS - BACKWARD_MAX_NS
    shifts = [clock.observe(old_ns, 1.0) for _ in range(BACKWARD_TICKS_MIN)]
    assert shifts[-1] == old_ns - (BEGIN_NS + HOUR_S * NS_PER_S)


def test_first_filling_sets_a_clock_that_knew_no_date() -> None:
    """A strategy that was there before the exchange: its timers move along."""
    clock = MarketClock(60.0, BEGIN_NS, 0.0, is_anchored=False, runs_on=False)
    assert clock.fill(BEGIN_NS - 86_400 * NS_PER_S, 5.0) == -86_400 * NS_PER_S
    assert clock.is_anchored
    assert clock.fill(BEGIN_NS - 86_399 * NS_PER_S, 6.0) == 0
