"""The order table ends in the same state whatever the order and the number of the broker's reports."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nightdesk.errors import InvariantError
from nightdesk.messages import (
    ClientOrderId,
    FillId,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.order import Order, Purpose, Terms
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import FINAL, TRANSITIONS, Step

K = UpdateKind


def make_order(client_order_id: str = "o1", quantity: int = 5, side: Side = Side.BUY) -> Order:
    """A limit order of strategy ``one``."""
    return Order(
        client_order_id=ClientOrderId(client_order_id),
        strategy_id=StrategyId("one"),
        account_id="A",
        symbol="ESH4",
        exchange="CME",
        side=side,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        quantity=quantity,
        price=5000.0,
        trigger_price=None,
        protective=False,
        purpose=Purpose.STRATEGY,
        fencing_epoch=1,
        connection_epoch=1,
        broker_ts_ns=0,
        ts_init_ns=1,
    )


def update(kind: UpdateKind, ts: int = 0, **fields: object) -> BrokerUpdate:
    """A report about order ``o1``."""
    values: dict[str, object] = {
        "account_id": "A",
        "symbol": "ESH4",
        "exchange": "CME",
        "venue_order_id": VenueOrderId("v1"),
        "client_order_id": ClientOrderId("o1"),
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
    }
    return BrokerUpdate(kind=kind, ts_event_ns=ts, **(values | fields))  # type: ignore[arg-type]


def fill(fill_id: str, quantity: int, filled: int, total: int, ts: int = 0) -> BrokerUpdate:
    """An execution with the broker's totals after it."""
    return update(
        K.FILLED,
        ts,
        fill_id=FillId(fill_id),
        fill_price=5000.0,
        fill_quantity=quantity,
        total_filled=filled,
        total_unfilled=total - filled,
    )


def table_with(order: Order) -> OrderTable:
    """A table with one order that was sent."""
    table = OrderTable()
    table.add(order)
    table.step(order, Step.SEND)
    return table


FULL = (
    update(K.RECEIVED, 1),
    update(K.OPEN, 2, total_filled=0, total_unfilled=5),
    fill("f1", 2, 2, 5, 3),
    fill("f2", 3, 5, 5, 4),
    update(K.COMPLETE_FILLED, 5, total_filled=5, total_unfilled=0),
)
CANCELED = (
    update(K.RECEIVED, 1),
    update(K.OPEN, 2, total_filled=0, total_unfilled=5),
    fill("f1", 2, 2, 5, 3),
    update(K.CANCEL_CONFIRMED, 4, total_filled=2, total_unfilled=3),
    update(K.COMPLETE_CANCELED, 5, total_filled=2, total_unfilled=3),
)
REFUSED = (update(K.RECEIVED, 1), update(K.COMPLETE_FAILED, 2, total_filled=0, text="no margin"))
FAILED_AFTER_FILL = (
    update(K.OPEN, 1),
    fill("f1", 2, 2, 5, 3),
    update(K.COMPLETE_FAILED, 4, total_filled=2, total_unfilled=3, text="no margin"),
)
MODIFIED = (
    update(K.OPEN, 1, total_filled=0, total_unfilled=5),
    update(K.MODIFIED, 2, total_filled=0, total_unfilled=7, price=5001.0),
    fill("f1", 7, 7, 7, 3),
    update(K.COMPLETE_FILLED, 4, total_filled=7, total_unfilled=0),
)
STOPPED = (
    update(K.TRIGGER_PENDING, 1, total_filled=0, total_unfilled=5),
    update(K.TRIGGERED, 2),
    fill("f1", 1, 1, 5, 3),
)


@settings(max_examples=200)
@given(
    st.sampled_from([FULL, CANCELED, REFUSED, FAILED_AFTER_FILL, MODIFIED, STOPPED]),
    st.integers(min_value=0, max_value=2**32),
)
def test_any_duplication_and_reordering_ends_in_the_same_state(stream: tuple[BrokerUpdate, ...], seed: int) -> None:
    """Status and fills depend on which reports came, not on when or how often."""
    expected = make_order()
    table = table_with(expected)
    for item in stream:
        table.apply(expected, item)
    shuffler = random.Random(seed)
    shuffled = list(stream) + [shuffler.choice(stream) for _ in range(shuffler.randrange(6))]
    shuffler.shuffle(shuffled)
    actual = make_order()
    actual.quantity_max = 7 if stream is MODIFIED else 5
    other = table_with(actual)
    changes = [change for item in shuffled for change in other.apply(actual, item)]
    assert expected.status is actual.status
    assert (expected.filled_quantity, expected.filled_cost_nanos) == (actual.filled_quantity, actual.filled_cost_nanos)
    assert expected.fill_keys == actual.fill_keys
    assert expected.exposure == actual.exposure
    assert len(expected.fill_keys) == sum(change.update.kind is K.FILLED for change in changes)
    assert not any(change.is_overfill for change in changes)
    assert {status: count for status, count in other.counts.items() if count} == {actual.status: 1}


def test_every_status_and_step_of_the_table_leads_to_a_status() -> None:
    """Statuses that are over are left by late fills only."""
    for (status, step), target in TRANSITIONS.items():
        if status in FINAL and target is not status:
            assert step in (Step.FILL_ALL, Step.FILL_PART), (status, step, target)


def test_a_pair_that_is_missing_raises() -> None:
    """A report about an order that was never sent is a defect, not an event."""
    table = OrderTable()
    order = make_order()
    table.add(order)
    table.step(order, Step.DENY)
    with pytest.raises(InvariantError, match="no OPEN in state DENIED"):
        table.apply(order, update(K.OPEN))


def test_a_cancel_keeps_its_exposure_until_complete() -> None:
    """The exchange's cancel report alone frees nothing."""
    order = make_order()
    table = table_with(order)
    table.apply(order, update(K.OPEN, 1))
    table.step(order, Step.REQUEST_CANCEL)
    table.apply(order, update(K.CANCEL_CONFIRMED, 2))
    assert table.worst_case("ESH4") == (5, 0)
    assert order.status is OrderStatus.PENDING_CANCEL
    table.apply(order, update(K.COMPLETE_CANCELED, 3))
    assert table.worst_case("ESH4") == (0, 0)


def test_a_late_fill_of_a_canceled_order_counts() -> None:
    """Terminal states absorb everything except late fills."""
    order = make_order()
    table = table_with(order)
    table.apply(order, update(K.COMPLETE_CANCELED, 3))
    assert table.apply(order, update(K.OPEN, 1)) == []
    changes = table.apply(order, fill("f9", 2, 2, 5))
    assert (len(changes), order.filled_quantity, order.status) == (1, 2, OrderStatus.CANCELED)


def test_reported_quantity_without_its_executions_stays_in_the_exposure() -> None:
    """``complete`` before its fill: the position lacks it, so the worst case still has it."""
    order = make_order()
    table = table_with(order)
    table.apply(order, update(K.COMPLETE_FILLED, 3, total_filled=5, total_unfilled=0))
    assert table.worst_case("ESH4") == (5, 0)
    assert [order] == table.missing_fills()
    table.apply(order, fill("f1", 5, 5, 5))
    assert table.worst_case("ESH4") == (0, 0)
    assert OrderStatus.FILLED is order.status


def test_a_snapshot_never_moves_a_state_backwards() -> None:
    """An image of the open order after its fill and end changes nothing."""
    order = make_order()
    table = table_with(order)
    for item in FULL:
        table.apply(order, item)
    assert table.apply(order, update(K.OPEN, 2, is_snapshot=True, total_filled=0, total_unfilled=5)) == []
    assert (order.status, order.reported_filled) == (OrderStatus.FILLED, 5)


def test_an_overfill_is_applied_and_said() -> None:
    """More than was ever ordered is booked, because it happened, and marked for the alarm."""
    order = make_order(quantity=1)
    table = table_with(order)
    table.apply(order, fill("f1", 1, 1, 1))
    changes = table.apply(order, fill("f2", 1, 2, 1))
    assert changes[0].is_overfill
    assert order.filled_quantity == 2


def test_a_change_in_flight_counts_with_its_larger_quantity() -> None:
    """Between the request and the answer the broker may hold either quantity."""
    order = make_order(quantity=2)
    table = table_with(order)
    table.apply(order, update(K.OPEN, 1, total_filled=0, total_unfilled=2))
    order.request_terms(Terms(6, 5000.0, None))
    table.step(order, Step.REQUEST_UPDATE)
    assert table.worst_case("ESH4") == (6, 0)
    changes = table.apply(order, update(K.MODIFIED, 2, total_filled=0, total_unfilled=6))
    assert [change.step for change in changes] == [Step.UPDATED]
    assert (order.quantity, order.operation, order.status) == (6, None, OrderStatus.ACCEPTED)
    assert table.apply(order, update(K.MODIFIED, 2, total_filled=0, total_unfilled=6)) == []


def change(table: OrderTable, order: Order, terms: Terms) -> None:
    """A change goes to the broker."""
    order.request_terms(terms)
    table.step(order, Step.REQUEST_UPDATE)


@pytest.mark.parametrize("kind", [K.MODIFIED, K.MODIFY_FAILED])
def test_a_copy_of_an_answer_answers_no_later_change(kind: UpdateKind) -> None:
    """The second change counts with its larger quantity until it has an answer of its own."""
    order = make_order(quantity=2)
    table = table_with(order)
    table.apply(order, update(K.OPEN, 1, total_filled=0, total_unfilled=2))
    change(table, order, Terms(2, 5001.0, None))
    first = update(kind, 2, total_filled=0, total_unfilled=2, price=5001.0 if kind is K.MODIFIED else 5000.0)
    table.apply(order, first)
    change(table, order, Terms(6, 5001.0, None))
    for copy in (first, replace(first, ts_event_ns=1)):
        assert table.apply(order, copy) == []
    assert (order.status, order.exposure) == (OrderStatus.PENDING_UPDATE, 6)
    table.apply(order, update(K.MODIFIED, 3, total_filled=0, total_unfilled=6, price=5001.0))
    assert (order.status, order.quantity, order.pending_terms) == (OrderStatus.ACCEPTED, 6, None)


def test_a_report_of_other_terms_is_not_the_answer_that_is_waited_for() -> None:
    """The second of two reports of one change comes when the next change is on its way already."""
    order = make_order(quantity=2)
    table = table_with(order)
    table.apply(order, update(K.OPEN, 1, total_filled=0, total_unfilled=2))
    change(table, order, Terms(3, 5000.0, None))
    table.apply(order, update(K.MODIFIED, 2, total_filled=0, total_unfilled=3))
    change(table, order, Terms(6, 5000.0, None))
    table.apply(order, update(K.MODIFIED, 3, total_filled=0, total_unfilled=3))
    assert (order.status, order.exposure) == (OrderStatus.PENDING_UPDATE, 6)


def test_times_of_whole_seconds_tell_no_copy() -> None:
    """A gateway without microseconds answers two changes of one second."""
    order = make_order(quantity=2)
    table = table_with(order)
    second = 1_700_000_000_000_000_000
    table.apply(order, update(K.OPEN, 1))
    for quantity in (3, 4):
        change(table, order, Terms(quantity, 5000.0, None))
        table.apply(order, update(K.MODIFIED, second, total_filled=0, total_unfilled=quantity))
    assert (order.status, order.quantity) == (OrderStatus.ACCEPTED, 4)


def test_a_fill_that_overtakes_a_change_does_not_hide_its_price() -> None:
    """It tells the new quantity, and is newer; the price comes with the report that it has overtaken."""
    order = make_order(quantity=2)
    table = table_with(order)
    table.apply(order, update(K.OPEN, 1, total_filled=0, total_unfilled=2))
    change(table, order, Terms(6, 5001.0, None))
    table.apply(order, fill("f1", 1, 1, 6, 3))
    table.apply(order, update(K.MODIFIED, 2, total_filled=0, total_unfilled=6, price=5001.0))
    assert (order.status, order.terms()) == (OrderStatus.PARTIALLY_FILLED, Terms(6, 5001.0, None))


def test_finished_orders_are_bounded_in_memory() -> None:
    """Only the newest finished orders stay; the counts remember all."""
    table = OrderTable(finished_kept_max=3)
    for number in range(10):
        order = make_order(f"o{number}")
        table.add(order)
        table.step(order, Step.DENY)
    assert [order.client_order_id for order in table] == ["o7", "o8", "o9"]
    assert table.counts[OrderStatus.DENIED] == 10


def test_a_second_venue_order_id_is_a_defect() -> None:
    """One order of ours is one order at the broker."""
    order = make_order()
    table = table_with(order)
    table.bind(order, VenueOrderId("v1"))
    with pytest.raises(InvariantError):
        table.bind(order, VenueOrderId("v2"))
    assert order is table.by_venue("A", VenueOrderId("v1"))
