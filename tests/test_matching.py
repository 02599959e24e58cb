"""The matching engine: price-time priority, protection, stops, and equality with a naive model."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.venue.matching import (
    PROTECTION_TICKS,
    Change,
    Converted,
    Dropped,
    Matched,
    MatchingEngine,
    Order,
    Outcome,
    Pending,
    Printed,
    Refused,
    Triggered,
)


def test_better_price_trades_first_then_older_order() -> None:
    """The queue is by price, and at one price by time."""
    engine = MatchingEngine()
    late, early, better = Order(False, 5, 101), Order(False, 5, 102), Order(False, 5, 100)
    later_twin = Order(False, 5, 101)
    for order in (early, late, later_twin, better):
        engine.submit(order)
    outcomes = engine.submit(Order(True, 12, 102))
    assert [(match.maker, match.quantity) for match in _matches(outcomes)] == [(better, 5), (late, 5), (later_twin, 2)]


def test_one_print_per_price_level() -> None:
    """An aggressor that sweeps two levels prints twice, each with the level's sum."""
    engine = MatchingEngine()
    for price in (100, 100, 101):
        engine.submit(Order(False, 3, price))
    assert [o for o in engine.submit(Order(True, 8, 105)) if isinstance(o, Printed)] == [
        Printed(100, 6, True),
        Printed(101, 2, True),
    ]


def test_market_order_stops_at_protection_band_and_rests_there() -> None:
    """What lies beyond the band is not traded with; what is left of the order is a limit order at the band's end."""
    engine = MatchingEngine()
    engine.submit(Order(False, 1, 100))
    engine.submit(Order(False, 1, 100 + PROTECTION_TICKS))
    engine.submit(Order(False, 1, 101 + PROTECTION_TICKS))
    order = Order(True, 5, None)
    outcomes = engine.submit(order)
    assert sum(match.quantity for match in _matches(outcomes)) == 2
    assert outcomes[-1] == Converted(order, 100 + PROTECTION_TICKS)
    assert (engine.bids.best, engine.asks.best) == (100 + PROTECTION_TICKS, 101 + PROTECTION_TICKS)


def test_fill_or_kill_trades_all_or_nothing() -> None:
    """A FOK that the book cannot fill whole leaves the book as it was."""
    engine = MatchingEngine()
    engine.submit(Order(False, 4, 100))
    engine.submit(Order(False, 4, 103))
    killed = engine.submit(Order(True, 6, 102, time_in_force=TimeInForce.FOK))
    assert [type(outcome) for outcome in killed] == [Dropped]
    assert engine.asks.levels[100].total == 4
    filled = engine.submit(Order(True, 6, 103, time_in_force=TimeInForce.FOK))
    assert sum(match.quantity for match in _matches(filled)) == 6


def test_immediate_or_cancel_never_rests() -> None:
    """An IOC takes what is there and drops the rest."""
    engine = MatchingEngine()
    engine.submit(Order(False, 4, 100))
    outcomes = engine.submit(Order(True, 6, 100, time_in_force=TimeInForce.IOC))
    assert sum(match.quantity for match in _matches(outcomes)) == 4
    assert isinstance(outcomes[-1], Dropped)
    assert engine.bids.best is None


def test_stops_trigger_nearest_first_and_cascade() -> None:
    """A stop's own print triggers the next one; the nearest trigger goes first."""
    engine = _engine_with_last_trade(100)
    for price in (101, 102, 103, 104):
        engine.submit(Order(False, 1, price))
    far, near = Order(True, 1, None, trigger=102), Order(True, 1, None, trigger=101)
    assert engine.submit(far) == [Pending(far)]
    assert engine.submit(near) == [Pending(near)]
    outcomes = engine.submit(Order(True, 1, 101))
    assert [outcome.order for outcome in outcomes if isinstance(outcome, Triggered)] == [near, far]
    assert [match.price for match in _matches(outcomes)] == [101, 102, 103]


def test_stops_set_off_by_one_print_go_by_distance_not_by_age() -> None:
    """One print beyond several triggers: the nearest trigger trades first, of equal triggers the older one."""
    engine = _engine_with_last_trade(100)
    for price in (103, 104, 105, 106):
        engine.submit(Order(False, 1, price))
    far, near, twin = (Order(True, 1, None, trigger=at) for at in (102, 101, 101))
    for order in (far, near, twin):
        engine.submit(order)
    outcomes = engine.submit(Order(True, 1, 103))
    assert [match.taker for match in _matches(outcomes)[1:]] == [near, twin, far]
    sells = [Order(False, 1, None, trigger=at) for at in (98, 99)]
    for order in sells:
        engine.submit(order)
    outcomes = engine.submit(Order(False, 1, 97)) + engine.submit(Order(True, 1, 97))
    assert [outcome.order for outcome in outcomes if isinstance(outcome, Triggered)] == sells[::-1]


def test_wrong_side_stop_is_refused() -> None:
    """A buy stop at or below the last trade, a sell stop at or above it, would trigger at once."""
    engine = _engine_with_last_trade(100)
    assert isinstance(engine.submit(Order(True, 1, None, trigger=100))[0], Refused)
    assert isinstance(engine.submit(Order(False, 1, None, trigger=100))[0], Refused)
    assert isinstance(engine.submit(Order(False, 1, None, trigger=99))[0], Pending)


def test_modify_keeps_place_only_when_quantity_goes_down() -> None:
    """Less at the same price stays in the queue; more goes to its end."""
    engine = MatchingEngine()
    first, second, third = Order(True, 5, 100), Order(True, 5, 100), Order(True, 5, 100)
    for order in (first, second, third):
        engine.submit(order)
    engine.modify(first, Change(3, 100, None, False))
    engine.modify(second, Change(6, 100, None, False))
    makers = [match.maker for match in _matches(engine.submit(Order(False, 14, 100)))]
    assert makers == [first, third, second]


def test_modify_into_opposite_price_trades() -> None:
    """A limit moved across the spread is an aggressor."""
    engine = MatchingEngine()
    engine.submit(Order(False, 5, 101))
    order = Order(True, 5, 100)
    engine.submit(order)
    assert [match.price for match in _matches(engine.modify(order, Change(5, 101, None, False)))] == [101]


def test_restored_orders_that_cross_wait_for_release() -> None:
    """Two orders that stood side by side in a replay do not cross the book; they trade when the flow begins."""
    engine = MatchingEngine()
    buy, sell = Order(True, 2, 101), Order(False, 2, 100)
    engine.restore(buy)
    engine.restore(sell)
    assert engine.asks.best is None
    assert _matches(engine.release()) == [Matched(buy, sell, 101, 2)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(95, 105)), max_size=20))
def test_opening_trades_the_most_at_one_price(orders: list[tuple[bool, int, int]]) -> None:
    """Most quantity, then least left over, then nearest to the last trade, then lowest; the book opens uncrossed."""
    engine = MatchingEngine()
    engine.last_price = 100
    engine.is_matching = False
    for is_buy, quantity, price in orders:
        assert not engine.submit(Order(is_buy, quantity, price))

    def volumes(at: int) -> tuple[int, int]:
        bought = sum(quantity for is_buy, quantity, price in orders if is_buy and price >= at)
        return bought, sum(quantity for is_buy, quantity, price in orders if not is_buy and price <= at)

    # The last trade's price may be the one, although no order has it.
    most = max(min(volumes(price)) for price in range(95, 106))
    found = [price for price in range(95, 106) if min(volumes(price)) == most]
    left = min(abs(volumes(price)[0] - volumes(price)[1]) for price in found)
    found = [price for price in found if abs(volumes(price)[0] - volumes(price)[1]) == left]
    matches = _matches(outcomes := engine.uncross())
    assert sum(match.quantity for match in matches) == most
    if most:
        opening = min(found, key=lambda price: (abs(price - 100), price))
        assert {match.price for match in matches} == {opening}
        assert [outcome for outcome in outcomes if isinstance(outcome, Printed)] == [Printed(opening, most, None)]
    best = engine.best()
    assert best.bid is None or best.ask is None or best.bid < best.ask


@dataclass
class _Naive:
    """One order of the naive model, which searches a plain list each time."""

    identity: int
    is_buy: bool
    leaves: int
    price: int


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["limit", "limit", "limit", "market", "cancel", "reduce", "reprice"]),
        st.booleans(),
        st.integers(1, 9),
        st.integers(95, 105),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(_ACTIONS)
def test_engine_trades_as_a_naive_model_does(actions: list[tuple[str, bool, int, int, int]]) -> None:
    """Same trades with the same partners as a sorted list; quantity is conserved and the book is never crossed."""
    engine = MatchingEngine()
    orders: list[Order] = []
    book: list[_Naive] = []
    for kind, is_buy, quantity, price, pick in actions:
        resting = [naive for naive in book if naive.leaves]
        target = resting[pick % len(resting)] if resting else None
        if kind in ("limit", "market"):
            limit = price if kind == "limit" else None
            order = Order(is_buy, quantity, limit)
            orders.append(order)
            outcomes = engine.submit(order)
            expected = _naive_trade(book, _Naive(len(orders) - 1, is_buy, quantity, price), limit)
            traded = sum(match.quantity for match in _matches(outcomes))
            dropped = order.leaves if any(isinstance(o, Dropped) for o in outcomes) else 0
            rested = order.leaves - dropped
            assert traded + rested + dropped == quantity
        elif target is None:
            continue
        elif kind == "cancel":
            engine.cancel(orders[target.identity])
            book.remove(target)
            continue
        else:
            expected, outcomes = _naive_modify(book, target, kind, price, engine, orders)
        found = [(orders.index(m.maker), m.price, m.quantity) for m in _matches(outcomes) if m.maker is not None]
        assert found == expected
        _check_book(engine, book)


def _naive_modify(
    book: list[_Naive], target: _Naive, kind: str, price: int, engine: MatchingEngine, orders: list[Order]
) -> tuple[list[tuple[int, int, int]], list[Outcome]]:
    order = orders[target.identity]
    if kind == "reduce":
        target.leaves = max(1, target.leaves - 1)
        return [], engine.modify(order, Change(target.leaves, target.price, None, False))
    outcomes = engine.modify(order, Change(target.leaves, price, None, False))
    if price == target.price:
        return [], outcomes
    book.remove(target)
    return _naive_trade(book, _Naive(target.identity, target.is_buy, target.leaves, price), price), outcomes


def _naive_trade(book: list[_Naive], order: _Naive, limit: int | None) -> list[tuple[int, int, int]]:
    trades: list[tuple[int, int, int]] = []
    sign = 1 if order.is_buy else -1
    bound = limit
    while order.leaves:
        makers = [naive for naive in book if naive.is_buy != order.is_buy]
        if not makers:
            break
        best = min(makers, key=lambda naive: sign * naive.price)
        if bound is None:
            bound = best.price + sign * PROTECTION_TICKS
        if sign * best.price > sign * bound:
            break
        quantity = min(best.leaves, order.leaves)
        trades.append((best.identity, best.price, quantity))
        best.leaves -= quantity
        order.leaves -= quantity
        if not best.leaves:
            book.remove(best)
    if order.leaves and bound is not None:
        order.price = bound
        book.append(order)
    return trades


def _check_book(engine: MatchingEngine, book: list[_Naive]) -> None:
    best = engine.best()
    assert best.bid is None or best.ask is None or best.bid < best.ask
    for side, is_buy in ((engine.bids, True), (engine.asks, False)):
        totals: dict[int, int] = {}
        for naive in book:
            if naive.is_buy == is_buy:
                totals[naive.price] = totals.get(naive.price, 0) + naive.leaves
        assert {price: level.total for price, level in side.levels.items()} == totals
        for level in side.levels.values():
            assert level.total == sum(order.leaves for order in level.orders)
        assert side.prices() == sorted(totals, reverse=is_buy)


def _matches(outcomes: list[Outcome]) -> list[Matched]:
    return [outcome for outcome in outcomes if isinstance(outcome, Matched)]


def _engine_with_last_trade(price: int) -> MatchingEngine:
    engine = MatchingEngine()
    engine.submit(Order(False, 1, price))
    engine.submit(Order(True, 1, price))
    return engine
