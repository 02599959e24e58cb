"""Captured sequences of the wire decode to our words, and our orders to the wire's."""

from typing import Any

import pytest

from nightdesk.messages import OrderStatus, OrderType, Side
from nightdesk.rithmic import orders as wire
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.trading.broker import UpdateKind
from nightdesk.trading.order import Terms
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from tests.test_order_table import make_order

K = UpdateKind
BASKET = "1684914997"
TAG = "20231004_151407"

_COMMON: dict[str, Any] = {
    "basket_id": BASKET,
    "fcm_id": "Rithmic",
    "ib_id": "Rithmic",
    "user_id": "my_username",
    "account_id": "480000",
    "symbol": "ESZ3",
    "exchange": "CME",
    "trade_exchange": "CME",
    "trade_route": "simulator",
    "user_tag": TAG,
    "transaction_type": 1,
    "duration": 1,
    "price_type": 2,
    "orig_price_type": 2,
    "manual_or_auto": 1,
    "ssboe": 1696428847,
    "usecs": 486631,
}
_LEFT = {"total_fill_size": 0, "total_unfilled_size": 1}
_DONE = {"total_fill_size": 1, "total_unfilled_size": 0}


def frame(template_id: int, **fields: Any) -> Any:
    """A message of the library's classes with the captured order's common fields."""
    return TEMPLATES[template_id](template_id=template_id, **(_COMMON | fields))


MARKET_ORDER: list[tuple[Any, UpdateKind]] = [
    (frame(351, notify_type=1, status="Order received from client", quantity=1), K.RECEIVED),
    (frame(351, notify_type=4, status="open pending", **_LEFT), K.RECEIVED),
    (frame(351, notify_type=7, status="order received by exch gateway", **_LEFT), K.RECEIVED),
    (frame(351, notify_type=10, status="order sent to exch", **_LEFT), K.RECEIVED),
    (frame(352, notify_type=1, report_type="status", confirmed_size=1, confirmed_id="1058109", **_LEFT), K.RECEIVED),
    (frame(351, notify_type=13, status="open", quantity=1, **_LEFT), K.OPEN),
    (
        frame(352, notify_type=5, report_type="fill", fill_size=1, fill_id="1058110", fill_price=4267.0, **_DONE),
        K.FILLED,
    ),
    (frame(351, notify_type=15, status="complete", quantity=1, completion_reason="F", **_DONE), K.COMPLETE_FILLED),
]
"""The captured market order: frames 5 to 12 of the golden sequence."""


def test_the_captured_market_order_decodes_step_by_step() -> None:
    """Each frame has its kind, ids, totals and time."""
    for message, kind in MARKET_ORDER:
        update = wire.decode_notification(message.template_id, message)
        assert update.kind is kind
        assert (update.venue_order_id, update.client_order_id) == (BASKET, TAG)
        assert (update.side, update.order_type, update.symbol) == (Side.BUY, OrderType.MARKET, "ESZ3")
        assert update.ts_event_ns == 1_696_428_847_486_631_000
    fill = wire.decode_notification(352, MARKET_ORDER[6][0])
    assert (fill.fill_id, fill.fill_price, fill.fill_quantity) == ("1058110", 4267.0, 1)
    assert (fill.total_filled, fill.total_unfilled) == (1, 0)
    assert wire.decode_notification(351, MARKET_ORDER[0][0]).total_filled is None


def test_the_captured_market_order_fills_our_order() -> None:
    """Through the table: accepted, filled once, over."""
    order = make_order(TAG, quantity=1)
    order.account_id = "480000"
    table = OrderTable()
    table.add(order)
    table.step(order, Step.SEND)
    changes = [
        change.step
        for message, _ in MARKET_ORDER
        for change in table.apply(order, wire.decode_notification(message.template_id, message))
    ]
    assert changes == [Step.OPEN, Step.FILL_PART]
    assert (order.status, order.average_price) == (OrderStatus.FILLED, 4267.0)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (frame(351, notify_type=3, status="Cancel received from client"), K.RECEIVED),
        (frame(351, notify_type=6, status="cancel pending"), K.RECEIVED),
        (frame(352, notify_type=3, report_type="cancel", cancelled_size=1), K.CANCEL_CONFIRMED),
        (frame(351, notify_type=15, status="complete", completion_reason="C", **_LEFT), K.COMPLETE_CANCELED),
        (frame(351, notify_type=17, text="Order is complete."), K.CANCEL_FAILED),
        (frame(352, notify_type=8), K.CANCEL_FAILED),
        (frame(352, notify_type=2, report_type="modify", modified_size=1), K.MODIFIED),
        (frame(351, notify_type=14, status="modified"), K.MODIFIED),
        (frame(351, notify_type=16), K.MODIFY_FAILED),
        (frame(352, notify_type=7), K.MODIFY_FAILED),
        (frame(351, notify_type=15, completion_reason="FA", report_text="Rejected at RMS"), K.COMPLETE_FAILED),
        (frame(352, notify_type=6, report_type="reject", text="no"), K.NOTE),
        (frame(351, notify_type=18, status="trigger pending"), K.TRIGGER_PENDING),
        (frame(352, notify_type=4, report_type="trigger", price_type=2, orig_price_type=4), K.TRIGGERED),
        (frame(351, notify_type=15, completion_reason="X"), K.COMPLETE_OTHER),
        (frame(351, notify_type=21, status="release pending"), K.RECEIVED),
        (frame(351, notify_type=19), K.NOTE),
    ],
)
def test_every_documented_report_has_its_kind(message: Any, kind: UpdateKind) -> None:
    """Cancels, changes, refusals, triggers; what is not documented ends or moves nothing."""
    assert wire.decode_notification(message.template_id, message).kind is kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"notify_type": 1, "status": "open", **_LEFT}, K.OPEN),
        ({"notify_type": 1, "status": "trigger pending", **_LEFT}, K.TRIGGER_PENDING),
        ({"notify_type": 1, "status": "open", "price_type": 1, "orig_price_type": 3, **_LEFT}, K.TRIGGERED),
        ({"notify_type": 1, "status": "open", "price_type": 3, "orig_price_type": 3, **_LEFT}, K.OPEN),
        ({"notify_type": 1, "status": "open", "price_type": 1, "orig_price_type": 1, **_LEFT}, K.OPEN),
        ({"notify_type": 1, "status": "open pending", **_LEFT}, K.RECEIVED),
        ({"notify_type": 5, "status": "complete", **_DONE}, K.COMPLETE_FILLED),
        ({"notify_type": 3, "status": "complete", **_LEFT}, K.COMPLETE_CANCELED),
        ({"notify_type": 3, "status": "complete", "total_fill_size": 1}, K.COMPLETE_CANCELED),
        ({"notify_type": 6, "status": "complete"}, K.COMPLETE_FAILED),
        ({"notify_type": 5, "fill_id": "9", "fill_size": 1, "fill_price": 1.0, **_DONE}, K.FILLED),
    ],
)
def test_images_of_a_list_tell_how_an_order_stands(fields: dict[str, Any], kind: UpdateKind) -> None:
    """A list's image has no completion reason; its status, totals and last report say it."""
    update = wire.decode_notification(352, frame(352, is_snapshot=True, **fields))
    assert (update.kind, update.is_snapshot) == (kind, True)


def test_a_price_placeholder_is_no_price() -> None:
    """Snapshots may say -1.0 where an order has no price."""
    update = wire.decode_notification(352, frame(352, notify_type=1, is_snapshot=True, status="open", price=-1.0))
    assert update.price is None


def test_a_triggered_stop_keeps_the_type_that_was_ordered() -> None:
    """The trigger report calls it a market order; ``orig_price_type`` remembers."""
    update = wire.decode_notification(352, frame(352, notify_type=4, price_type=2, orig_price_type=4))
    assert update.order_type is OrderType.STOP_MARKET


def test_a_report_without_order_or_side_is_unreadable() -> None:
    """Nothing can be booked on it."""
    with pytest.raises(wire.ReportUnreadable):
        wire.decode_notification(351, frame(351, notify_type=13, basket_id=""))
    with pytest.raises(wire.ReportUnreadable):
        wire.decode_notification(351, frame(351, notify_type=13, transaction_type=0))


def test_answers_name_their_order_by_tag_or_echo() -> None:
    """313 carries the tag, a refusal only our user_msg; the bare second frame says nothing."""
    data = TEMPLATES[313](template_id=313, basket_id=BASKET, user_tag=TAG, rq_handler_rp_code=["0"], ssboe=5)
    answer = wire.decode_answer(313, data)
    assert answer is not None
    assert (answer.client_order_id, answer.venue_order_id, answer.is_refused) == (TAG, BASKET, False)
    assert wire.decode_answer(313, TEMPLATES[313](template_id=313, rp_code=["0"])) is None
    refused = TEMPLATES[317](template_id=317, user_msg=[TAG], rp_code=["7", "order not found"])
    answer = wire.decode_answer(317, refused)
    assert answer is not None
    assert (answer.request, answer.is_refused, answer.text) == (316, True, "order not found")


def test_a_new_order_has_every_mandatory_field() -> None:
    """AUTO, the route of its exchange, our id as the tag; absent prices stay absent."""
    order = make_order("tag-1")
    fields = wire.new_order_fields(order, "globex")
    message = TEMPLATES[312](**{key: value for key, value in fields.items() if value is not None and key != "user_msg"})
    assert (message.user_tag, message.trade_route, message.manual_or_auto) == ("tag-1", "globex", 2)
    assert (message.transaction_type, message.price_type, message.duration, message.price) == (1, 1, 1, 5000.0)
    assert fields["trigger_price"] is None


def test_a_change_of_a_triggered_stop_names_what_it_has_become() -> None:
    """314 replaces the whole order, so its type must be the present one."""
    order = make_order()
    order.order_type, order.triggered, order.trigger_price = OrderType.STOP_LIMIT, True, 4999.0
    fields = wire.modify_order_fields(order, Terms(3, 5001.0, 4999.0))
    assert (fields["price_type"], fields["quantity"], fields["price"]) == (1, 3, 5001.0)
