"""Bars of trades, range and volume, and volume profiles: pure builders."""

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.plants.tick_bars import DaySpan, Print, TickBar, TickBarBuilder, TickBarKind, TickBarTerms
from nightdesk.simulator.plants.tick_bars import tick_bars as bars_of
from nightdesk.simulator.plants.volume_profile import profile_bars

TICK_SIZE = 0.25
DAY_S = 86_400
BUY, SELL, NONE = AggressorSide.BUY, AggressorSide.SELL, AggressorSide.NONE


def prints(*ticks: int, size: int = 1) -> list[Print]:
    """One print a second at these prices, in ticks."""
    return [Print(number * 10**9, ticks_ * TICK_SIZE, size, BUY) for number, ticks_ in enumerate(ticks)]


def spans(bars: list[TickBar]) -> list[tuple[float, float]]:
    """Lows and highs in ticks."""
    return [(bar.low / TICK_SIZE, bar.high / TICK_SIZE) for bar in bars]


def test_bar_of_trades_ends_with_its_last_trade() -> None:
    """No later trade is needed."""
    builder = TickBarBuilder(TickBarTerms(TickBarKind.TICK, 3, TICK_SIZE))
    closed = [builder.add(each) for each in prints(4, 8, 6, 5)]
    assert [len(each) for each in closed] == [0, 0, 1, 0]
    (bar,) = closed[2]
    assert (bar.open, bar.high, bar.low, bar.close, bar.trades) == (1.0, 2.0, 1.0, 1.5, 3)
    assert (bar.ts_open_ns, bar.ts_close_ns) == (0, 2 * 10**9)
    assert [rest.trades for rest in builder.rest()] == [1]


def test_range_bar_ends_before_the_trade_that_would_stretch_it() -> None:
    """A jump makes no bars between: the next one opens where the trade was."""
    terms = TickBarTerms(TickBarKind.RANGE, 4, TICK_SIZE)
    assert spans(list(bars_of(prints(10, 14, 12, 15, 30, 26), terms))) == [(10, 14), (15, 15), (26, 30)]


def test_volume_bar_ends_with_the_trade_that_fills_it() -> None:
    """A trade is not divided, so a bar may hold more."""
    terms = TickBarTerms(TickBarKind.VOLUME, 5, TICK_SIZE)
    assert [bar.volume for bar in bars_of(prints(1, 1, 1, 1, 1, size=3), terms)] == [6, 6, 3]


def test_part_of_a_day_leaves_other_trades_out_and_begins_anew() -> None:
    """A span over midnight is one span; the bar that has begun ends with it."""
    span = DaySpan(22 * 3600, 1 * 3600)
    terms = TickBarTerms(TickBarKind.TICK, 100, TICK_SIZE, span)
    hours = (21, 22, 23.5, 24.5, 25, 40, 46, 48)
    trades = [Print(int(hour * 3600) * 10**9, 1.0, 1, BUY) for hour in hours]
    assert [bar.trades for bar in bars_of(trades, terms)] == [3, 2]
    assert DaySpan(0, 0).number_at(5 * DAY_S) == 5
    assert span.number_at(2 * 3600) is None


def test_volume_is_told_by_aggressor() -> None:
    """Sellers trade at the bid, buyers at the offer; some trades tell nothing; a print of no size is no history."""
    trades = [Print(0, 1.0, size, side) for size, side in ((1, BUY), (2, SELL), (4, NONE), (0, BUY))]
    (bar,) = bars_of(trades, TickBarTerms(TickBarKind.TICK, 9, TICK_SIZE))
    assert (bar.volume, bar.ask_volume, bar.bid_volume, bar.trades) == (7, 1, 2, 3)


TRADES = st.lists(
    st.builds(
        Print, st.integers(0, 3 * DAY_S).map(lambda s: s * 10**9), st.integers(90, 110).map(lambda t: t * TICK_SIZE),
        st.integers(1, 9), st.sampled_from([BUY, SELL, NONE]),
    ),
    max_size=60,
).map(lambda trades: sorted(trades, key=lambda each: each.ts_ns))  # fmt: skip


@given(trades=TRADES, kind=st.sampled_from(list(TickBarKind)), size=st.integers(1, 12))
def test_bars_hold_every_trade_once(trades: list[Print], kind: TickBarKind, size: int) -> None:
    """Trades and volume are conserved, bars follow one another, and each keeps to what its kind says."""
    bars = list(bars_of(trades, TickBarTerms(kind, size, TICK_SIZE)))
    assert sum(bar.trades for bar in bars) == len(trades)
    assert sum(bar.volume for bar in bars) == sum(each.quantity for each in trades)
    position = 0
    for bar in bars:
        part = trades[position : position + bar.trades]
        position += bar.trades
        prices = [each.price for each in part]
        assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), prices[-1])
        assert (bar.ts_open_ns, bar.ts_close_ns) == (part[0].ts_ns, part[-1].ts_ns)
        if kind is TickBarKind.RANGE:
            assert bar.high - bar.low <= size * TICK_SIZE
        if kind is TickBarKind.VOLUME:
            assert bar.volume - part[-1].quantity < size
    assert all(bar.trades == size for bar in bars[:-1]) or kind is not TickBarKind.TICK


@given(trades=TRADES, period=st.sampled_from([1, 5, 60]))
def test_volume_profile_conserves_volume_by_price_and_aggressor(trades: list[Print], period: int) -> None:
    """Every contract is at its price and with its aggressor, in the bar of its minutes."""
    found = [
        (bar.ts_end_s, price, level.ask_volume, level.bid_volume, level.no_aggressor_volume)
        for bar in profile_bars(trades, period)
        for price, level in bar.levels.items()
    ]
    expected: dict[tuple[int, float], list[int]] = {}
    for each in trades:
        end_s = (each.ts_ns // 10**9 // (period * 60) + 1) * period * 60
        sums = expected.setdefault((end_s, each.price), [0, 0, 0])
        sums[[BUY, SELL, NONE].index(each.aggressor)] += each.quantity
    assert sorted(found) == sorted((end_s, price, *sums) for (end_s, price), sums in expected.items())
