"""Time bars from trades, timers and the market clock."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages import Bar, TradeTick
from nightdesk.trading.bars import NS_PER_S, BarBuilder
from nightdesk.trading.market_clock import BACKWARD_MAX_NS, BACKWARD_TICKS_MIN, MarketClock
from nightdesk.trading.timers import TimerTable
from tests.strategy_support import trade_at

PERIOD_S = 5
_moves = st.lists(
    st.tuples(st.integers(-3 * NS_PER_S, 20 * NS_PER_S), st.integers(-8, 8), st.integers(1, 50)),
    min_size=1,
    max_size=60,
)


def _trades(moves: list[tuple[int, int, int]]) -> list[TradeTick]:
    trades, ts_ns, price = [], 1_000 * NS_PER_S, 5000.0
    for step_ns, ticks, quantity in moves:
        ts_ns += step_ns
        price += ticks * 0.25
        trades.append(trade_at(ts_ns, price, quantity))
    return trades


def _bars(trades: list[TradeTick]) -> list[Bar]:
    builder = BarBuilder("ESZ6", "CME", PERIOD_S)
    bars = [bar for trade in trades if (bar := builder.add(trade)) is not None]
    last = builder.advance(1 << 62)
    assert last is not None
    return [*bars, last]


@given(_moves)
def test_every_trade_is_in_exactly_one_bar(moves: list[tuple[int, int, int]]) -> None:
    """Volume and number of trades are conserved, late trades included."""
    trades = _trades(moves)
    bars = _bars(trades)
    assert sum(trade.quantity for trade in trades) == sum(bar.volume for bar in bars)
    assert len(trades) == sum(bar.trades for bar in bars)


@given(_moves)
def test_bars_are_aligned_ascending_and_consistent(moves: list[tuple[int, int, int]]) -> None:
    """Starts are multiples of the period and only grow; open and close lie between low and high."""
    bars = _bars(_trades(moves))
    for bar in bars:
        assert bar.ts_event_ns % (PERIOD_S * NS_PER_S) == 0
        assert bar.ts_close_ns == bar.ts_event_ns + PERIOD_S * NS_PER_S
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
    assert all(earlier.ts_close_ns <= later.ts_event_ns for earlier, later in itertools.pairwise(bars))


def test_first_trade_of_the_next_interval_ends_the_bar() -> None:
    """A trade at the very end of an interval belongs to the next one; the bar before it is given out by it."""
    builder = BarBuilder("ESZ6", "CME", 2)
    assert builder.add(trade_at(10 * NS_PER_S, 10.0, 1)) is None
    assert builder.add(trade_at(12 * NS_PER_S - 1, 12.0, 2)) is None
    assert builder.add(trade_at(11 * NS_PER_S, 9.0, 3)) is None
    bar = builder.add(trade_at(12 * NS_PER_S, 11.0, 4))
    assert bar == Bar(
        symbol="ESZ6",
        exchange="CME",
        period_s=2,
        open=10.0,
        high=12.0,
        low=9.0,
        close=9.0,
        volume=6,
        trades=3,
        ts_event_ns=10 * NS_PER_S,
        ts_close_ns=12 * NS_PER_S,
    )


def test_market_clock_ends_the_bar_once_and_empty_intervals_have_none() -> None:
    """Passing the end gives the bar; passing further ends gives nothing."""
    builder = BarBuilder("ESZ6", "CME", 2)
    builder.add(trade_at(10 * NS_PER_S))
    assert builder.advance(12 * NS_PER_S - 1) is None
    assert builder.advance(12 * NS_PER_S) is not None
    assert builder.advance(60 * NS_PER_S) is None


def test_trade_that_comes_after_its_bar_counts_in_the_next_one() -> None:
    """A bar that was given out never changes and is never given out twice."""
    builder = BarBuilder("ESZ6", "CME", 2)
    builder.add(trade_at(10 * NS_PER_S))
    first = builder.advance(12 * NS_PER_S)
    builder.add(trade_at(11 * NS_PER_S, quantity=7))
    second = builder.advance(14 * NS_PER_S)
    assert first is not None
    assert second is not None
    assert (second.ts_event_ns, second.volume) == (12 * NS_PER_S, 7)


def test_reset_accepts_an_earlier_date() -> None:
    """A tape that starts again makes bars of its own dates."""
    builder = BarBuilder("ESZ6", "CME", 2)
    builder.add(trade_at(1_000 * NS_PER_S))
    assert builder.reset() is not None
    builder.add(trade_at(10 * NS_PER_S))
    assert builder.end_ns == 12 * NS_PER_S


def test_repeating_timer_that_was_jumped_over_fires_once() -> None:
    """Time that jumps over a weekend makes no burst; the rhythm stays."""
    timers = TimerTable()
    timers.set("a", 10, now_ns=100, repeat=True)
    timers.set("b", 5, now_ns=100, repeat=False)
    assert timers.due_ns == 105
    assert timers.pop_next(104) is None
    assert [timers.pop_next(199) for _ in range(3)] == ["b", "a", None]
    assert timers.due_ns == 200
    assert [timers.pop_next(225, together=False) for _ in range(4)] == ["a", "a", "a", None]
    timers.cancel("a")
    assert timers.due_ns is None


def test_market_clock_follows_ticks_and_runs_on_between_them() -> None:
    """Newest exchange time plus elapsed time times speed; a late tick does not move it back."""
    clock = MarketClock(2.0, 0, 0.0, is_anchored=False)
    assert clock.observe(1_000 * NS_PER_S, 1.0) == 998 * NS_PER_S
    assert clock.now_ns(2.5) == 1_003 * NS_PER_S
    assert clock.observe(1_001 * NS_PER_S, 2.5) == 0
    assert clock.now_ns(2.5) == 1_003 * NS_PER_S
    assert clock.observe(1_010 * NS_PER_S, 3.0) == 0
    assert clock.now_ns(3.0) == 1_010 * NS_PER_S


def test_market_clock_at_speed_zero_moves_by_ticks_only() -> None:
    """A tape that is played as fast as possible has no time of its own between two ticks."""
    clock = MarketClock(0.0, 0, 0.0, is_anchored=False)
    clock.observe(5 * NS_PER_S, 0.0)
    assert clock.now_ns(3_600.0) == 5 * NS_PER_S


def test_one_old_image_does_not_set_the_market_clock_back_but_a_restarted_tape_does() -> None:
    """A snapshot may show a trade of hours ago; only many old ticks in a row are another date."""
    clock = MarketClock(1.0, 10_000 * NS_PER_S, 0.0, is_anchored=True)
    old_ns = 10_000 * NS_PER_S - BACKWARD_MAX_NS - 1
    for _ in range(BACKWARD_TICKS_MIN - 1):
        assert clock.observe(old_ns, 0.0) == 0
    assert clock.observe(10_000 * NS_PER_S + 1, 0.0) == 0
    shifts = [clock.observe(old_ns, 0.0) for _ in range(BACKWARD_TICKS_MIN)]
    assert shifts[:-1] == [0] * (BACKWARD_TICKS_MIN - 1)
    assert shifts[-1] < 0
    assert clock.now_ns(0.0) == old_ns
