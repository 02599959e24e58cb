"""Orders on the wire: our commands as fields of 312, 314 and 316; 313, 315, 317, 351 and 352 in our own words.

What the server holds beyond a single order (brackets, OCO orders) is in ``held_orders.py``.

The sequences that the decoding rests on are captured ones (a market order, a cancel, brackets); what no source shows is
read in the mildest way: an undocumented completion ends the order, an undocumented report moves nothing.
"""

import math
from typing import Any, Final

import msgspec

from nightdesk.errors import NightdeskError
from nightdesk.messages import ClientOrderId, FillId, OrderType, Side, TimeInForce, VenueOrderId
from nightdesk.rithmic.words import (
    ORDER_PLACEMENT_AUTO,
    ORDER_TYPE_FROM_WIRE,
    ORDER_TYPE_TO_WIRE,
    SIDE_TO_WIRE,
    TIME_IN_FORCE_FROM_WIRE,
    TIME_IN_FORCE_TO_WIRE,
    TRAIL_BY_TRADES,
    Completion,
    ExchangeNotify,
    RithmicNotify,
)
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.order import Order, Terms

NEW_ORDER: Final = 312
MODIFY_ORDER: Final = 314
CANCEL_ORDER: Final = 316
SHOW_ORDERS: Final = 320
OCO_ORDER: Final = 328
BRACKET_ORDER: Final = 330
MODIFY_TARGET: Final = 332
MODIFY_STOP: Final = 334
SUBSCRIBE_ORDERS: Final = 308
SUBSCRIBE_BRACKETS: Final = 336
REPLAY_EXECUTIONS: Final = 3506
ANSWERS: Final = {
    313: NEW_ORDER,
    315: MODIFY_ORDER,
    317: CANCEL_ORDER,
    329: OCO_ORDER,
    331: BRACKET_ORDER,
    333: MODIFY_TARGET,
    335: MODIFY_STOP,
}
"""The templates that answer ours."""
NEW_ORDERS: Final = frozenset({NEW_ORDER, OCO_ORDER, BRACKET_ORDER})
NEW_LEVELS: Final = frozenset({MODIFY_TARGET, MODIFY_STOP})
NOTIFICATIONS: Final = frozenset({351, 352})

NS_PER_S: Final = 1_000_000_000
NS_PER_US: Final = 1_000
REPLAY_START_MIN_S: Final = 1
"""The least index that reaches the gateway: its classes leave a zero out, and it answers *missing*."""
REPLAY_FINISH_MAX_S: Final = 2_147_483_647
PRICE_PLACEHOLDER: Final = -1.0
"""Snapshots were seen with this price where an order has none; no order of ours rests at it on its own."""
SHORT_SALE: Final = 3

_ACCEPTED = "0"

_NOTIFIED: dict[int, UpdateKind] = {
    RithmicNotify.OPEN: UpdateKind.OPEN,
    RithmicNotify.TRIGGER_PENDING: UpdateKind.TRIGGER_PENDING,
    RithmicNotify.MODIFIED: UpdateKind.MODIFIED,
    RithmicNotify.MODIFICATION_FAILED: UpdateKind.MODIFY_FAILED,
    RithmicNotify.CANCELLATION_FAILED: UpdateKind.CANCEL_FAILED,
    RithmicNotify.GENERIC: UpdateKind.NOTE,
    RithmicNotify.LINK_ORDERS_FAILED: UpdateKind.LINK_FAILED,
}
"""351; what is not here is a stage on the way to the exchange."""

_REPORTED: dict[int, UpdateKind] = {
    ExchangeNotify.STATUS: UpdateKind.RECEIVED,
    ExchangeNotify.MODIFY: UpdateKind.MODIFIED,
    ExchangeNotify.CANCEL: UpdateKind.CANCEL_CONFIRMED,
    ExchangeNotify.TRIGGER: UpdateKind.TRIGGERED,
    ExchangeNotify.NOT_MODIFIED: UpdateKind.MODIFY_FAILED,
    ExchangeNotify.NOT_CANCELLED: UpdateKind.CANCEL_FAILED,
}
"""352; a refusal (6) only says why: the 351 that follows it ends the order."""

_COMPLETED: dict[str, UpdateKind] = {
    Completion.FILLED: UpdateKind.COMPLETE_FILLED,
    Completion.CANCELED: UpdateKind.COMPLETE_CANCELED,
    Completion.FAILED: UpdateKind.COMPLETE_FAILED,
}

_IMAGES: dict[str, UpdateKind] = {"open": UpdateKind.OPEN, "trigger pending": UpdateKind.TRIGGER_PENDING}
"""``status`` of a list's images while the order works; anything else but ``complete`` is on its way."""

_WAITING = frozenset(
    ORDER_TYPE_TO_WIRE[each]
    for each in (
        OrderType.STOP_MARKET,
        OrderType.STOP_LIMIT,
        OrderType.MARKET_IF_TOUCHED,
        OrderType.LIMIT_IF_TOUCHED,
    )
)
"""The price types of orders that wait for their trigger."""


class ReportUnreadable(NightdeskError):
    """A report names no order or no side: nothing can be booked on it, drop it."""


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's direct answer to a new order, a change or a cancel (not yet the exchange's)."""

    request: int
    """The template that is answered."""
    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId
    is_refused: bool
    text: str
    ts_event_ns: int


def new_order_fields(order: Order, trade_route: str) -> dict[str, Any]:
    """The fields of 312."""
    return {
        "user_msg": order.client_order_id,
        "user_tag": order.client_order_id,
        "account_id": order.account_id,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "quantity": order.quantity,
        "price": order.price,
        "trigger_price": order.trigger_price,
        "transaction_type": SIDE_TO_WIRE[order.side],
        "duration": TIME_IN_FORCE_TO_WIRE[order.time_in_force],
        "price_type": ORDER_TYPE_TO_WIRE[order.order_type],
        "trade_route": trade_route,
        "manual_or_auto": ORDER_PLACEMENT_AUTO,
        **trail_fields(order),
        "trail_by_price_id": TRAIL_BY_TRADES if order.trail_by_ticks else None,
        **expiry_fields(order),
    }


def trail_fields(order: Order) -> dict[str, Any]:
    """How a stop follows the market; nothing for one that stays where it is."""
    return {"trailing_stop": True, "trail_by_ticks": order.trail_by_ticks} if order.trail_by_ticks else {}


def expiry_fields(order: Order) -> dict[str, Any]:
    """When the server is to cancel the order by itself; nothing for one that stays."""
    return {"cancel_at_ssboe": order.expire_ns // NS_PER_S} if order.expire_ns else {}


def modify_order_fields(order: Order, terms: Terms) -> dict[str, Any]:
    """The fields of 314, which replaces the whole order: every term is sent, changed or not."""
    return {
        "user_msg": order.client_order_id,
        "account_id": order.account_id,
        "basket_id": order.venue_order_id,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "quantity": terms.quantity,
        "price": terms.price,
        "trigger_price": terms.trigger_price,
        "price_type": ORDER_TYPE_TO_WIRE[order.present_type()],
        "manual_or_auto": ORDER_PLACEMENT_AUTO,
        **({} if order.triggered else trail_fields(order)),
    }


def cancel_order_fields(order: Order) -> dict[str, Any]:
    """The fields of 316."""
    return {
        "user_msg": order.client_order_id,
        "account_id": order.account_id,
        "basket_id": order.venue_order_id,
        "manual_or_auto": ORDER_PLACEMENT_AUTO,
    }


def decode_answer(template_id: int, message: Any) -> OrderAnswer | None:
    """The answer about one order; None for the bare frame that only ends an answer, or one that names no order."""
    is_refused, text = refusal_of(message)
    tag = getattr(message, "user_tag", "") or (message.user_msg[0] if message.user_msg else "")
    basket_id = getattr(message, "basket_id", "")
    if not tag and not basket_id:
        return None
    return OrderAnswer(
        request=ANSWERS[template_id],
        client_order_id=ClientOrderId(tag),
        venue_order_id=VenueOrderId(basket_id),
        is_refused=is_refused,
        text=text,
        ts_event_ns=_timestamp(message) if hasattr(message, "ssboe") else 0,
    )


def refusal_of(message: Any) -> tuple[bool, str]:
    """Whether an answer says no, and why."""
    codes = list(getattr(message, "rq_handler_rp_code", ())) or list(message.rp_code)
    is_refused = bool(codes) and codes[0] != _ACCEPTED
    return is_refused, " ".join(codes[1:]) or " ".join(codes[:1]) if is_refused else ""


def decode_notification(template_id: int, message: Any) -> BrokerUpdate:
    """351 or 352; raises ``ReportUnreadable`` for one that names no order or no side."""
    kind, text = _kind_351(message) if template_id == 351 else _kind_352(message)
    side = Side.BUY if message.transaction_type == SIDE_TO_WIRE[Side.BUY] else Side.SELL
    if not message.basket_id or message.transaction_type not in (*SIDE_TO_WIRE.values(), SHORT_SALE):
        raise ReportUnreadable(f"template {template_id} names no order or no side: {message.basket_id!r}")
    has_totals = bool(message.total_fill_size or message.total_unfilled_size)
    is_fill = kind is UpdateKind.FILLED
    return BrokerUpdate(
        kind=kind,
        account_id=message.account_id,
        symbol=message.symbol,
        exchange=message.exchange,
        venue_order_id=VenueOrderId(message.basket_id),
        client_order_id=ClientOrderId(message.user_tag),
        entry_venue_order_id=_entry_of(message),
        linked_venue_order_ids=_linked_ids(message),
        side=side,
        order_type=_order_type(message),
        time_in_force=TIME_IN_FORCE_FROM_WIRE.get(message.duration, TimeInForce.DAY),
        quantity=message.quantity or None,
        price=_price(message, "price"),
        trigger_price=_price(message, "trigger_price"),
        total_filled=message.total_fill_size if has_totals else None,
        total_unfilled=message.total_unfilled_size if has_totals else None,
        fill_id=FillId(message.fill_id) if is_fill else FillId(""),
        fill_price=message.fill_price if is_fill else None,
        fill_quantity=message.fill_size if is_fill else 0,
        is_snapshot=message.is_snapshot,
        text=text,
        ts_event_ns=_timestamp(message),
    )


def _entry_of(message: Any) -> VenueOrderId:
    """The entry of a bracket's exit; an order that names itself has none."""
    entry = message.original_basket_id
    return VenueOrderId("" if entry == message.basket_id else entry)


def _linked_ids(message: Any) -> tuple[VenueOrderId, ...]:
    return tuple(VenueOrderId(each.strip()) for each in message.linked_basket_ids.split(",") if each.strip())


def _kind_351(message: Any) -> tuple[UpdateKind, str]:
    text = message.report_text or message.text
    if message.notify_type == RithmicNotify.COMPLETE:
        kind = _COMPLETED.get(message.completion_reason, UpdateKind.COMPLETE_OTHER)
        if kind is UpdateKind.COMPLETE_OTHER:
            text = f"completion reason {message.completion_reason!r} {text}".strip()
        return kind, text
    return _NOTIFIED.get(message.notify_type, UpdateKind.RECEIVED), text


def _kind_352(message: Any) -> tuple[UpdateKind, str]:
    text = message.report_text or message.text
    if message.notify_type == ExchangeNotify.FILL and _is_execution(message):
        return UpdateKind.FILLED, text
    if message.is_snapshot:
        return _kind_of_image(message), text
    return _REPORTED.get(message.notify_type, UpdateKind.NOTE), text


def _is_execution(message: Any) -> bool:
    """A fill that can be booked. One that cannot still tells its totals: the execution is missing and is asked for."""
    return bool(message.fill_id) and message.fill_size > 0 and math.isfinite(message.fill_price)


def _kind_of_image(message: Any) -> UpdateKind:
    """An image in a list has no completion reason: how the order ended shows in its last report and its totals."""
    status = message.status.lower()
    if status == "open" and message.orig_price_type in _WAITING and message.price_type not in _WAITING:
        # A stop that waits is never open: it has become what it is now, perhaps while nobody listened.
        return UpdateKind.TRIGGERED
    if status != "complete":
        return _IMAGES.get(status, UpdateKind.RECEIVED)
    if message.total_fill_size and not message.total_unfilled_size and message.notify_type != ExchangeNotify.CANCEL:
        return UpdateKind.COMPLETE_FILLED
    if message.notify_type == ExchangeNotify.REJECT:
        return UpdateKind.COMPLETE_FAILED
    return UpdateKind.COMPLETE_CANCELED


def _order_type(message: Any) -> OrderType:
    """The type that was ordered: a triggered stop reports itself as a market or limit order beside it."""
    number = message.orig_price_type or message.price_type
    return ORDER_TYPE_FROM_WIRE.get(number, OrderType.MARKET)


def _price(message: Any, name: str) -> float | None:
    # The library's classes have no presence for scalars: zero and absent are the same, so zero is never trusted.
    value = float(getattr(message, name))
    return None if value in (0.0, PRICE_PLACEHOLDER) or not math.isfinite(value) else value


def _timestamp(message: Any) -> int:
    return int(message.ssboe) * NS_PER_S + int(message.usecs) * NS_PER_US
