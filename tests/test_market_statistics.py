"""A session's statistics and the shown part of a book, without any wire."""

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.model import LevelDepth, Quoted, Traded
from nightdesk.simulator.plants.depth_window import BookWindow
from nightdesk.simulator.plants.statistics import (
    CLOSING_INDICATOR,
    END_OF_DAY_PRICES,
    HIGH,
    HIGH_PRICE_LIMIT,
    HIGHEST_BID,
    INDICATOR_PRICES,
    LOW,
    LOWEST_ASK,
    OPEN,
    PROJECTED_SETTLEMENT,
    QUOTE_STATISTICS,
    TRADE_STATISTICS,
    Statistics,
)
from tests.simulator_support import START_NS


def _trade(price: float, quantity: int = 1) -> Traded:
    return Traded("ESH4", "CME", price, quantity, AggressorSide.BUY, START_NS, volume=1, vwap=price)


def _quote(bid: float, ask: float, bid_size: int = 1, ask_size: int = 1) -> Quoted:
    return Quoted("ESH4", "CME", bid, bid_size, 1, ask, ask_size, 1, True, True, START_NS)


def test_only_a_new_extreme_is_a_change() -> None:
    """The first print is open, high and low; later ones change something only beyond the extremes."""
    statistics = Statistics()
    assert statistics.trade(_trade(5000.0)) == OPEN | HIGH | LOW
    assert [statistics.trade(_trade(price)) for price in (5000.0, 5000.25, 4999.75, 5000.0)] == [0, HIGH, LOW, 0]
    assert (statistics.open_price, statistics.high_price, statistics.low_price) == (5000.0, 5000.25, 4999.75)
    assert statistics.opening_indicator == 5000.0


def test_volume_is_counted_by_price() -> None:
    """Each print adds its contracts to its price; a print of nothing counts nowhere."""
    statistics = Statistics()
    for price, quantity in ((5000.0, 3), (5000.25, 1), (5000.0, 2), (9999.0, 0)):
        statistics.trade(_trade(price, quantity))
    assert statistics.volumes == {5000.0: 5, 5000.25: 1}
    assert statistics.high_price == 5000.25


def test_an_empty_side_is_no_extreme() -> None:
    """A side without size keeps its last price in a quote, but nobody bids or offers there."""
    statistics = Statistics()
    assert statistics.quote(_quote(5000.0, 5000.25)) == HIGHEST_BID | LOWEST_ASK
    assert statistics.quote(_quote(5001.0, 4000.0, bid_size=0, ask_size=0)) == 0
    assert statistics.quote(_quote(5000.25, 5000.5)) == HIGHEST_BID
    assert statistics.quote(_quote(4999.0, 5000.0)) == LOWEST_ASK
    assert (statistics.highest_bid_price, statistics.lowest_ask_price) == (5000.25, 5000.0)


def test_only_a_limit_that_moved_is_a_change() -> None:
    """Limits come, one of them moves, they go; to say the same again changes nothing."""
    statistics = Statistics()
    steps = (None, (4750.0, 5250.0), (4750.0, 5250.0), (4750.0, 5200.0), None)
    assert [statistics.limit(limits) for limits in steps] == [0, 3, 0, HIGH_PRICE_LIMIT, 3]


def test_another_trade_date_ends_the_session() -> None:
    """The last price becomes close and settlement, everything else begins anew, and all of it is a change."""
    statistics = Statistics()
    statistics.trade(_trade(5000.0))
    statistics.trade(_trade(5002.0))
    assert statistics.trade_date == "20231114"
    closed = statistics.mode(is_open=False, trade_date="20231114")
    assert closed == {INDICATOR_PRICES: CLOSING_INDICATOR, END_OF_DAY_PRICES: PROJECTED_SETTLEMENT}
    assert (statistics.closing_indicator, statistics.projected_settlement_price) == (5002.0, 5002.0)
    changes = statistics.mode(is_open=True, trade_date="20231115")
    assert set(changes) == {TRADE_STATISTICS, QUOTE_STATISTICS, INDICATOR_PRICES, END_OF_DAY_PRICES}
    assert (statistics.close_price, statistics.close_date) == (5002.0, "20231114")
    assert (statistics.settlement_price, statistics.settlement_price_type) == (5002.0, "final")
    assert (statistics.open_price, statistics.projected_settlement_price, statistics.volumes) == (None, None, {})
    assert statistics.trade(_trade(4990.0)) == OPEN | HIGH | LOW


def test_the_same_mode_again_is_no_change() -> None:
    """A market that is closed twice has one closing indicator."""
    statistics = Statistics()
    statistics.trade(_trade(5000.0))
    assert statistics.mode(is_open=False, trade_date="20231114")
    assert not statistics.mode(is_open=False, trade_date="20231114")
    assert not statistics.mode(is_open=True, trade_date="20231114")


LEVELS = st.lists(
    st.lists(
        st.builds(
            LevelDepth,
            side=st.sampled_from(Side),
            price=st.integers(1, 12).map(float),
            size=st.integers(0, 3),
            orders=st.just(1),
        ),
        max_size=4,
        unique_by=lambda level: (level.side, level.price),
    ),
    max_size=30,
)


def _naive_best(levels: dict[tuple[Side, float], LevelDepth], count: int) -> list[LevelDepth]:
    bids = sorted((each for each in levels.values() if each.side is Side.BUY), key=lambda each: -each.price)
    asks = sorted((each for each in levels.values() if each.side is Side.SELL), key=lambda each: each.price)
    return bids[:count] + asks[:count]


@given(LEVELS)
def test_who_applies_the_changes_sees_the_best_levels(events: list[list[LevelDepth]]) -> None:
    """A client that begins with the image and applies each change has exactly the best levels of the book."""
    book: dict[tuple[Side, float], LevelDepth] = {}
    seen: dict[tuple[Side, float], LevelDepth] = {}
    window = BookWindow((), levels_max=3)
    for event in events:
        for level in event:
            book[level.side, level.price] = level
            if not level.size:
                del book[level.side, level.price]
        for change in window.apply(event):
            key = (change.side, change.price)
            assert change.size or key in seen, "a level that was never shown is removed"
            assert seen.get(key) != change or event, "a level is sent again without a change"
            seen[key] = change
            if not change.size:
                del seen[key]
        assert _naive_best(seen, 99) == _naive_best(book, 3) == window.image()


@given(LEVELS)
def test_replacing_a_book_leaves_only_what_it_was_replaced_with(books: list[list[LevelDepth]]) -> None:
    """A best quote that moves takes the place of the one before."""
    window = BookWindow(())
    for each in books:
        levels = [level for level in each if level.size]
        window.replace(levels)
        assert window.image() == _naive_best({(level.side, level.price): level for level in levels}, 10)
        assert window.replace(levels) == []
        assert window.is_empty is not bool(levels)
