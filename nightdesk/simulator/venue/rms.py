"""The check at the exchange's door: what an order must be to reach a market, and what a modify may make of it."""

from typing import NamedTuple

from nightdesk.messages.enums import OrderType, TimeInForce
from nightdesk.simulator.model import NewOrder, PriceField
from nightdesk.simulator.venue.bracket import sum_refusal
from nightdesk.simulator.venue.client_order import PRICED_TYPES, STOP_TYPES, TOUCH_TYPES, ClientOrder
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import is_wrong_side

QUANTITY_MAX = 100_000
"""No order may ask for more contracts; a wire's garbage does not become a position."""
TICKS_MAX = 100_000
"""No distance of a trailing stop or of a bracket's exits is longer."""

RISK_TEXT = "Rejected at RMS - "
EXCHANGE_TEXT = "Rejected by exchange - "

_TRIGGERED_TYPES = STOP_TYPES | TOUCH_TYPES


class Ticks(NamedTuple):
    """An order's prices in whole ticks, or why it is refused (``text`` not empty), by the risk system or the
    exchange (``is_exchange``)."""

    limit: int | None = None
    trigger: int | None = None
    text: str = ""
    is_exchange: bool = False


def check(
    order_type: OrderType,
    quantity: int,
    price: float | None,
    trigger_price: float | None,
    time_in_force: TimeInForce,
    scale: Scale,
    *,
    trail_by_ticks: int = 0,
) -> Ticks:
    """The order's prices in ticks; prices that the type has no use for are ignored."""
    if not 0 < quantity <= QUANTITY_MAX:
        return Ticks(text=f"quantity must be between 1 and {QUANTITY_MAX}")
    if trail_by_ticks and (order_type not in STOP_TYPES or not 0 < trail_by_ticks <= TICKS_MAX):
        return Ticks(text=f"only stop orders can trail, by 1 to {TICKS_MAX} ticks")
    limit: int | None = None
    trigger: int | None = None
    if order_type in PRICED_TYPES:
        if price is None:
            return Ticks(text="price is missing")
        limit = scale.ticks(price)
        if limit is None or limit <= 0:
            return Ticks(text=f"price {price:g} is not on a tick of {scale.tick_size:g}", is_exchange=True)
    if order_type in _TRIGGERED_TYPES:
        if time_in_force in (TimeInForce.IOC, TimeInForce.FOK) and order_type in STOP_TYPES:
            return Ticks(text=f"{time_in_force} is not allowed for a stop order")
        if trigger_price is None and not trail_by_ticks:
            return Ticks(text="trigger price is missing")
        if trigger_price is not None:
            trigger = scale.ticks(trigger_price)
            if trigger is None or trigger <= 0:
                text = f"trigger price {trigger_price:g} is not on a tick of {scale.tick_size:g}"
                return Ticks(text=text, is_exchange=True)
    return Ticks(limit, trigger)


def check_extras(order: NewOrder, now_ns: int) -> str:
    """What else is wrong with a new order: its times, its bracket; empty: nothing."""
    if order.cancel_after_s < 0 or (order.cancel_at_ns is not None and order.cancel_at_ns <= now_ns):
        return "the time to cancel the order is in the past"
    release, cancel = order.release_at_ns, order.cancel_at_ns
    if release is not None and cancel is not None and cancel <= release:
        return "the order would be canceled before its release"
    if order.trail_by_ticks and order.trail_by is PriceField.LEAN:
        return "a stop cannot trail the lean price"
    bracket = order.bracket
    if bracket is None:
        return ""
    for name, levels in (("target", bracket.targets), ("stop", bracket.stops)):
        for level in levels:
            if not 0 < level.quantity <= order.quantity:
                return f"the {name} quantity must be between 1 and the order's"
            if not 0 < level.ticks <= TICKS_MAX:
                return f"the {name} must be 1 to {TICKS_MAX} ticks away"
    text = sum_refusal(bracket, order.quantity)
    if text:
        return text
    extras = (bracket.trailing_stop_trigger_ticks, bracket.break_even_trigger_ticks, bracket.target_market_after_s)
    if min(extras) < 0 or max(extras) > TICKS_MAX or abs(bracket.break_even_ticks) > TICKS_MAX:
        return "the bracket's distances and times are out of range"
    if bracket.break_even_trigger_ticks and bracket.break_even_ticks >= bracket.break_even_trigger_ticks:
        return "the break-even stop must stay behind its trigger"
    return ""


class Wanted(NamedTuple):
    """An order's terms after a modify."""

    order_type: OrderType
    quantity: int
    limit: int | None
    trigger: int | None
    trail_by_ticks: int


def check_modify(
    order: ClientOrder,
    last_price: int | None,
    *,
    order_type: OrderType | None,
    quantity: int,
    price: float | None,
    trigger_price: float | None,
    trail_by_ticks: int | None,
) -> Wanted | str:
    """The changed terms, or the text of MODIFY_FAILED."""
    wanted_type = present_request(order, order_type)
    trails = order.trail_by_ticks if trail_by_ticks is None else trail_by_ticks
    if wanted_type not in STOP_TYPES:
        trails = trail_by_ticks or 0
    ticks = check(wanted_type, quantity, price, trigger_price, order.time_in_force, order.scale, trail_by_ticks=trails)
    if ticks.text:
        return ticks.text
    if quantity <= order.filled:
        return f"quantity {quantity} is not above the filled quantity {order.filled}"
    trigger = order.trigger if ticks.trigger is None and trails else ticks.trigger
    if wanted_type in STOP_TYPES and order.hold is None and trigger is not None:
        is_same = order.is_pending and order.trigger == trigger
        if not is_same and is_wrong_side(order.is_buy, trigger, last_price):
            return "stop price is on the wrong side of the last trade"
    return Wanted(wanted_type, quantity, ticks.limit, trigger, trails)


def present_request(order: ClientOrder, requested: OrderType | None) -> OrderType:
    """The type a modify asks for: a replace may repeat the original type of a stop that has triggered meanwhile."""
    was_triggered = order.hold is None and not order.is_pending and order.terms.order_type in _TRIGGERED_TYPES
    if requested is None or (was_triggered and requested == order.terms.order_type):
        return order.order_type
    return requested
