"""The risk check at the exchange's door: what an order must be to reach a market."""

from typing import NamedTuple

from nightdesk.messages.enums import OrderType, TimeInForce
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import Change, Order, is_wrong_side

QUANTITY_MAX = 100_000
"""No order may ask for more contracts; a wire's garbage does not become a position."""

_NEEDS_PRICE = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_NEEDS_TRIGGER = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
_SUPPORTED = (OrderType.MARKET, *_NEEDS_PRICE, OrderType.STOP_MARKET)


class Ticks(NamedTuple):
    """An order's prices in whole ticks, or why it is refused (``text`` not empty)."""

    limit: int | None = None
    trigger: int | None = None
    text: str = ""


def check(
    order_type: OrderType,
    quantity: int,
    price: float | None,
    trigger_price: float | None,
    time_in_force: TimeInForce,
    scale: Scale,
) -> Ticks:
    """The order's prices in ticks; prices that the type has no use for are ignored."""
    if order_type not in _SUPPORTED:
        return Ticks(text=f"order type {order_type} is not supported")
    if not 0 < quantity <= QUANTITY_MAX:
        return Ticks(text=f"quantity must be between 1 and {QUANTITY_MAX}")
    limit: int | None = None
    trigger: int | None = None
    if order_type in _NEEDS_PRICE:
        if price is None:
            return Ticks(text="price is missing")
        limit = scale.ticks(price)
        if limit is None or limit <= 0:
            return Ticks(text=f"price {price:g} is not on a tick of {scale.tick_size:g}")
    if order_type in _NEEDS_TRIGGER:
        if time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            return Ticks(text=f"{time_in_force} is not allowed for a stop order")
        if trigger_price is None:
            return Ticks(text="trigger price is missing")
        trigger = scale.ticks(trigger_price)
        if trigger is None or trigger <= 0:
            return Ticks(text=f"trigger price {trigger_price:g} is not on a tick of {scale.tick_size:g}")
    return Ticks(limit, trigger)


def check_modify(
    order: Order,
    filled: int,
    scale: Scale,
    last_price: int | None,
    *,
    order_type: OrderType,
    quantity: int,
    price: float | None,
    trigger_price: float | None,
) -> Change | str:
    """The changed terms, or the text of MODIFY_FAILED."""
    ticks = check(order_type, quantity, price, trigger_price, order.time_in_force, scale)
    if ticks.text:
        return ticks.text
    if quantity <= filled:
        return f"quantity {quantity} is not above the filled quantity {filled}"
    if ticks.trigger is not None:
        is_same = order.is_pending and order.trigger == ticks.trigger
        if not is_same and is_wrong_side(order.is_buy, ticks.trigger, last_price):
            return "stop price is on the wrong side of the last trade"
    return Change(quantity - filled, ticks.limit, ticks.trigger, ticks.trigger is not None)


def present_request(order: Order, original_type: OrderType, requested: OrderType | None) -> OrderType:
    """The type a modify asks for: a replace may repeat the original type of a stop that has triggered meanwhile."""
    if requested is None or (requested == original_type and not order.is_pending and requested in _NEEDS_TRIGGER):
        return order.present_type
    return requested
