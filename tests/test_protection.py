"""Which orders are more than a position, and what is left when they are cut."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages import ClientOrderId, OrderStatus, OrderType, Side, StrategyId, TimeInForce
from nightdesk.trading.order import Operation, Order, Purpose
from nightdesk.trading.protection import Cut, beyond_exits, is_leaving, is_protection, protection_beyond


def an_order(name: str, side: Side = Side.SELL, quantity: int = 2, age: int = 0, **changes: object) -> Order:
    """A working protective stop, unless it is said otherwise."""
    values: dict[str, object] = {
        "client_order_id": ClientOrderId(name),
        "strategy_id": StrategyId("one"),
        "account_id": "A",
        "symbol": "ESH4",
        "exchange": "CME",
        "side": side,
        "order_type": OrderType.STOP_MARKET,
        "time_in_force": TimeInForce.DAY,
        "quantity": quantity,
        "price": None,
        "trigger_price": 5000.0,
        "protective": True,
        "purpose": Purpose.STRATEGY,
        "fencing_epoch": 1,
        "connection_epoch": 1,
        "broker_ts_ns": 0,
        "ts_init_ns": age,
        "status": OrderStatus.ACCEPTED,
    }
    return Order(**(values | changes))  # type: ignore[arg-type]


def plain(name: str, side: Side, quantity: int = 2, age: int = 0, **changes: object) -> Order:
    """A working limit order that protects nothing."""
    terms = {"order_type": OrderType.LIMIT, "price": 5000.0, "trigger_price": None, "protective": False}
    return an_order(name, side, quantity, age, **(terms | changes))


def named(cuts: list[Cut]) -> dict[str, int]:
    """What is to stay of each order that is cut."""
    return {cut.order.client_order_id: cut.keep for cut in cuts}


@pytest.mark.parametrize(
    ("order_type", "protects"),
    [(each, each in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)) for each in OrderType],
)
def test_only_stops_protect(order_type: OrderType, protects: bool) -> None:
    """A target that is flagged is an exit like any other, and so is a market order."""
    assert is_protection(an_order("o", order_type=order_type)) is protects
    assert not is_protection(an_order("o", order_type=order_type, protective=False))


def test_the_oldest_stops_are_kept_and_the_next_is_cut() -> None:
    """Three of two each over a position of three: the first whole, half of the second, nothing of the third."""
    stops = [an_order("third", age=3), an_order("first", age=1), an_order("second", age=2)]
    assert named(protection_beyond(3, stops)) == {"second": 1, "third": 0}
    assert protection_beyond(6, stops) == []


def test_a_stop_in_doubt_takes_nothing_from_one_that_works() -> None:
    """It may not exist: cutting the other for it would leave the position without any."""
    stops = [an_order("doubtful", age=1, status=OrderStatus.UNKNOWN), an_order("sure", age=2)]
    assert named(protection_beyond(2, stops)) == {"doubtful": 0}


def test_stops_on_the_wrong_side_and_over_nothing_go() -> None:
    """The position has turned over, or is closed: what protected it would open one."""
    stops = [an_order("sell", Side.SELL), an_order("buy", Side.BUY)]
    assert named(protection_beyond(2, stops)) == {"buy": 0}
    assert named(protection_beyond(-1, stops)) == {"sell": 0, "buy": 1}
    assert named(protection_beyond(0, stops)) == {"sell": 0, "buy": 0}


def test_a_target_that_is_flagged_is_cut_as_stops_are_and_has_the_position_beside_them() -> None:
    """One that is not flagged is the strategy's own matter."""
    orders = [an_order("stop"), plain("target", Side.SELL, protective=True), plain("own", Side.SELL)]
    assert protection_beyond(2, orders) == []
    assert named(protection_beyond(1, orders)) == {"stop": 1, "target": 1}
    assert named(protection_beyond(0, orders)) == {"stop": 0, "target": 0}


def test_a_stop_that_waits_for_its_entry_stays_as_long_as_the_entry_may_fill() -> None:
    """Also while that is being canceled; without entries the position alone counts."""
    stop = an_order("stop", quantity=3)
    entry = plain("entry", Side.BUY, 2, operation=Operation.CANCEL)
    assert named(protection_beyond(0, [stop, entry])) == {"stop": 2}
    assert named(protection_beyond(0, [stop, entry], with_entries=False)) == {"stop": 0}
    assert named(protection_beyond(1, [stop, entry])) == {}


def test_where_nothing_may_be_opened_entries_go_and_each_kind_of_exit_may_have_the_position() -> None:
    """A stop and a target of the whole position stay beside each other; a second target is too much."""
    orders = [
        plain("entry", Side.BUY),
        an_order("stop"),
        plain("target", Side.SELL, age=1, protective=True),
        plain("second", Side.SELL, 1, age=2),
        plain("exit", Side.SELL, 9, purpose=Purpose.EXIT),
        plain("others", Side.SELL, 9, purpose=Purpose.EXTERNAL),
    ]
    assert named(beyond_exits(2, orders)) == {"entry": 0, "second": 0}
    assert named(beyond_exits(1, orders[1:])) == {"stop": 1, "target": 1, "second": 0}


ORDERS = st.lists(
    st.builds(
        lambda name, side, quantity, kind, status, age: replace(
            (an_order if kind == "stop" else plain)(str(name), side, quantity),
            status=status,
            ts_init_ns=age,
            protective=kind != "plain",
        ),
        st.uuids(),
        st.sampled_from(Side),
        st.integers(1, 9),
        st.sampled_from(["stop", "target", "plain"]),
        st.sampled_from([OrderStatus.ACCEPTED, OrderStatus.UNKNOWN, OrderStatus.PENDING_CANCEL]),
        st.integers(0, 9),
    ),
    max_size=8,
)


def carried(order: Order, cuts: list[Cut]) -> int:
    """What an order may still fill once its cut is carried out."""
    return next((cut.keep for cut in cuts if cut.order is order), order.exposure)


@given(quantity=st.integers(-9, 9), orders=ORDERS)
def test_after_the_cuts_no_stop_can_open_a_position(quantity: int, orders: list[Order]) -> None:
    """Side by side they are the position at most, and no position loses protection that it had; targets likewise."""
    cuts = protection_beyond(quantity, orders, with_entries=False)
    working = [each for each in orders if each.protective and not is_leaving(each)]
    for side, are_stops in product(Side, (True, False)):
        stops = [each for each in working if each.side is side and is_protection(each) is are_stops]
        room = max(0, quantity if side is Side.SELL else -quantity)
        left = sum(carried(each, cuts) for each in stops)
        assert left == min(room, sum(each.exposure for each in stops))
    assert all(0 <= cut.keep < cut.order.exposure for cut in cuts)


@given(quantity=st.integers(-9, 9), orders=ORDERS)
def test_after_the_cuts_of_a_window_nothing_that_rests_can_open_a_position(quantity: int, orders: list[Order]) -> None:
    """What is neither a stop nor being canceled is at most the position, and lowers it."""
    cuts = beyond_exits(quantity, orders)
    for side in Side:
        resting = [each for each in orders if each.side is side and not is_protection(each) and not is_leaving(each)]
        room = max(0, quantity if side is Side.SELL else -quantity)
        assert sum(carried(each, cuts) for each in resting) <= room


@given(quantity=st.integers(-9, 9), orders=ORDERS)
def test_cuts_come_to_an_end(quantity: int, orders: list[Order]) -> None:
    """Carried out again and again, with what is being canceled gone: no more than three rounds."""
    working = [each for each in orders if not is_leaving(each)]
    for _ in range(3):
        cuts = beyond_exits(quantity, working)
        working = [each for each in working if carried(each, cuts)]
        for each in working:
            each.quantity = carried(each, cuts)
    assert beyond_exits(quantity, working) == []
    assert protection_beyond(quantity, working, with_entries=False) == []
