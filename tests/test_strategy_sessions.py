"""What a strategy sees of sessions: openings and closes in order with ticks, bars and timers, at each kind of speed."""

from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nightdesk import Strategy
from nightdesk.calendars.load import load_calendar
from nightdesk.errors import CalendarError
from nightdesk.trading.bars import BarBuilder
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.runner import StrategyRunner
from nightdesk.trading.sessions import NS_PER_S, AlwaysOpen, Break, MarketPhase, SessionCalendar
from nightdesk.trading.strategy_sessions import DueSessions, SessionInfo, stretch_of
from tests.calendar_support import at, calendars, moments
from tests.strategy_support import ES, NQ, Bench, trade_at

EQUITY, GRAINS = load_calendar("cme_equity"), load_calendar("cme_grains")
CLOSE_NS, OPEN_NS = at("2026-11-23 16:00"), at("2026-11-23 17:00")


class Diary(Strategy):
    """Writes down what it is told, and bars of a minute."""

    VERSION = 1

    def on_start(self) -> None:
        self.lines: list[str] = []
        session = self.session("ESZ6")
        self.lines.append("start" if session is None else f"start in {session.trade_date}")
        for symbol in self.symbols:
            self.subscribe_bars(symbol, 3600)

    def on_session_open(self, session: SessionInfo) -> None:
        self.lines.append(f"open {session.symbol} {session.trade_date}")

    def on_session_close(self, session: SessionInfo) -> None:
        self.lines.append(f"close {session.symbol} {session.trade_date} {session.break_after}")

    def on_trade(self, trade: Any) -> None:
        self.lines.append("trade")

    def on_bar(self, bar: Any) -> None:
        begins_ns, ends_ns = bar.ts_event_ns - CLOSE_NS, bar.ts_close_ns - CLOSE_NS
        self.lines.append(f"bar {begins_ns // (60 * NS_PER_S)} {ends_ns // NS_PER_S}")

    def on_timer(self, name: str) -> None:
        self.lines.append(name)


class Day(Bench):
    """Diary with calendars, from a moment on, at a speed (0: stepped; else the clock runs on by itself)."""

    def __init__(self, start_ns: int, speed: float = 1.0, **others: SessionCalendar) -> None:
        super().__init__(Diary)
        named = {"ESZ6": EQUITY} | others
        strategy = Diary()
        self.strategy = strategy
        self.runner = StrategyRunner(
            strategy,
            name="test",
            instruments=tuple(terms for terms in (ES, NQ) if terms.symbol in named),
            parameters={},
            outlet=self,
            clock=MarketClock(speed, start_ns, 0.0, is_anchored=True, runs_on=speed == 1),
            random_text=lambda: "0123456789abcdef",
            log=structlog.get_logger(),
            calendars=named,
        )
        self.clock.set_wall(start_ns)
        self.start()

    def tick(self, ts_ns: int) -> None:
        self.runner.on_trade(trade_at(ts_ns))

    @property
    def lines(self) -> list[str]:
        return list(self.strategy.lines)


def test_bar_session_and_timer_end_in_order_without_any_tick() -> None:
    """The last bar, the close a tenth of a second later, a timer in the break, the opening at its own time."""
    day = Day(CLOSE_NS - 60 * NS_PER_S)
    day.tick(CLOSE_NS - 30 * NS_PER_S)
    day.runner.set_timer("break", 90 * NS_PER_S, repeat=False)
    day.pass_time(3700.0)
    assert day.lines == [
        "start in 20261123",
        "trade",
        "bar -60 0",
        "close ESZ6 20261123 daily",
        "break",
        "open ESZ6 20261124",
    ]


def test_tick_of_the_other_side_brings_the_boundary_first() -> None:
    """A trade within the grace after the close: the bar of the session and its close are told before it."""
    day = Day(CLOSE_NS - 60 * NS_PER_S, speed=60.0)
    day.tick(CLOSE_NS - 30 * NS_PER_S)
    day.tick(CLOSE_NS + 20_000_000)
    day.tick(OPEN_NS)
    assert day.lines == [
        "start in 20261123",
        "trade",
        "bar -60 0",
        "close ESZ6 20261123 daily",
        "trade",
        # The stray print has a bar of its own, within the break, which ends with it as bars do.
        "open ESZ6 20261124",
        "bar 0 3600",
        "trade",
    ]


@pytest.mark.parametrize("speed", [0.0, 60.0])
def test_jump_over_a_weekend_skips_no_session(speed: float) -> None:
    """One tick on Wednesday after one on Friday: each opening and close in between, in order, with what follows it."""
    day = Day(at("2026-11-20 15:00"), speed=speed)
    day.tick(at("2026-11-20 15:00"))
    day.tick(at("2026-11-25 10:00"))
    assert [line for line in day.lines if line.startswith(("open", "close"))] == [
        "close ESZ6 20261120 weekend",
        "open ESZ6 20261123",
        "close ESZ6 20261123 daily",
        "open ESZ6 20261124",
        "close ESZ6 20261124 daily",
        "open ESZ6 20261125",
    ]


def test_start_in_a_session_and_in_a_break() -> None:
    """Of a session that was under way only ``session()`` tells; the next opening comes as a callback."""
    assert Day(at("2026-11-24 03:00")).lines == ["start in 20261124"]
    day = Day(at("2026-11-22 12:00"))
    assert day.lines == ["start"]
    day.pass_time(6 * 3600.0)
    assert day.lines == ["start", "open ESZ6 20261123"]


def test_symbols_keep_their_own_calendars() -> None:
    """Grains close at 13:20; a market that never closes has neither opening nor close."""
    day = Day(at("2026-11-23 13:00"), NQZ6=GRAINS)
    day.pass_time(4 * 3600.0 + 1.0)
    assert day.lines == [
        "start in 20261123",
        "close NQZ6 20261123 daily",
        "close ESZ6 20261123 daily",
        "open ESZ6 20261124",
    ]
    always = Day(at("2026-11-23 13:00"), ESZ6=AlwaysOpen())
    always.pass_time(40 * 3600.0)
    assert len(always.lines) == 1
    session = always.strategy.session()
    assert (session.break_after, always.strategy.phase()) == (None, MarketPhase.OPEN)
    assert always.strategy.next_close_ns() > at("2100-11-23 13:00")


def test_what_a_strategy_can_ask() -> None:
    """Phase, session, next opening and close, in a session, in a halt, in pre-open and in a break."""

    def asked(moment: str) -> tuple[Any, ...]:
        day = Day(at(moment)).strategy
        session = day.session()
        return (
            day.phase(),
            None if session is None else (session.trade_date, session.break_after),
            day.next_open_ns() - at(moment),
            day.next_close_ns(),
        )

    close_ns = at("2026-11-27 12:15")
    assert asked("2026-11-24 10:00") == (MarketPhase.OPEN, (20261124, Break.DAILY), 0, at("2026-11-24 16:00"))
    halt = (MarketPhase.HALT, (20261127, Break.WEEKEND), 2 * 3600 * NS_PER_S, close_ns)
    assert asked("2026-11-26 15:00") == halt
    assert asked("2026-11-24 16:50")[:2] == (MarketPhase.PRE_OPEN, None)
    assert asked("2026-11-24 16:30")[:2] == (MarketPhase.CLOSED, None)
    assert asked("2026-11-25 16:30")[3] == close_ns


def test_times_beyond_the_table_are_refused_with_the_mend() -> None:
    """A strategy that asks for a session in a year that nobody has compiled."""
    day = Day(at("1999-11-24 10:00"), ESZ6=AlwaysOpen())
    day.runner._calendars["ESZ6"] = EQUITY
    with pytest.raises(CalendarError, match="compile a longer one"):
        day.runner.session("ESZ6")


def test_clock_that_is_set_begins_anew() -> None:
    """A tape that starts over: no close of what lies ahead again is told for the way back, and each is told again."""
    day = Day(CLOSE_NS - 60 * NS_PER_S, speed=60.0)
    day.tick(CLOSE_NS + 2 * NS_PER_S)
    for number in range(25):
        day.tick(CLOSE_NS - 3600 * NS_PER_S + number)
    day.tick(CLOSE_NS + NS_PER_S)
    assert [line for line in day.lines if line.startswith(("open", "close"))] == ["close ESZ6 20261123 daily"] * 2


@given(data=st.data(), calendar=calendars(), other=calendars())
def test_openings_and_closes_are_those_of_the_calendars(
    data: st.DataObject, calendar: SessionCalendar, other: SessionCalendar
) -> None:
    """However far each step reaches: all after the beginning, each once, in order of time."""
    told: list[tuple[int, str, str]] = []
    named = {"A": calendar, "B": other}
    source = DueSessions(
        named,
        lambda session: told.append((session.opens_ns, session.symbol, "open")),
        lambda session: told.append((session.closes_ns, session.symbol, "close")),
        0,
    )
    begin_ns = data.draw(moments(calendar))
    source.begin(begin_ns)
    while source.due_ns < 1 << 62:
        source.fire(source.due_ns, together=True)
    expected = [
        (ts_ns, symbol, kind)
        for symbol, each in named.items()
        for session in each.sessions
        for ts_ns, kind in ((session.opens_ns, "open"), (session.closes_ns, "close"))
        if ts_ns > begin_ns
    ]
    assert sorted(told) == sorted(expected)
    assert [ts_ns for ts_ns, *_ in told] == sorted(ts_ns for ts_ns, *_ in expected)


@given(
    data=st.data(),
    calendar=calendars(),
    period_s=st.sampled_from([1, 60, 3600, 86_400]),
    steps=st.lists(st.integers(0, 40_000), max_size=30),
)
def test_no_bar_spans_a_change_of_the_market(
    data: st.DataObject, calendar: SessionCalendar, period_s: int, steps: Sequence[int]
) -> None:
    """Late trades included: a bar lies between two changes of the calendar, bars do not overlap, none loses a trade."""
    builder = BarBuilder("ESZ6", "CME", period_s, stretch_of(calendar))
    now_ns, bars = data.draw(moments(calendar)), []
    for step in steps:
        now_ns += (step - 2_000) * NS_PER_S // 10
        bars.append(builder.add(trade_at(now_ns)))
    bars.append(builder.advance(1 << 62))
    found = [bar for bar in bars if bar is not None]
    assert sum(bar.trades for bar in found) == len(steps)
    changes = {edge for each in calendar.sessions for part in each.segments for edge in (part.opens_ns, part.closes_ns)}
    end_ns = 0
    for bar in found:
        assert end_ns <= bar.ts_event_ns < bar.ts_close_ns
        assert bar.ts_close_ns - bar.ts_event_ns <= period_s * NS_PER_S
        inside = [edge for edge in changes if bar.ts_event_ns < edge < bar.ts_close_ns]
        known = calendar.covers(bar.ts_event_ns) and calendar.covers(bar.ts_close_ns - 1)
        assert not inside or not known
        end_ns = bar.ts_close_ns
