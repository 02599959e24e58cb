"""What a client's request asks for, in the exchange's words: 312, the legs of 328, the entry and the exits of 330.

What cannot be an order is refused at once, by a ``RequestRefusal`` with the code and the text of the answer. What this
exchange does not do is refused by name: to ignore a term that somebody relies on would be worse.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from nightdesk.errors import NightdeskError
from nightdesk.messages.enums import OrderType
from nightdesk.simulator.model import BracketKind, BracketTerms, Condition, IfTouched, NewOrder, PriceField
from nightdesk.simulator.venue.links import LEGS_MAX
from nightdesk.simulator.wire.order_words import (
    AUTO,
    BRACKET_KINDS,
    DURATIONS,
    NS_PER_S,
    PRICE_FIELDS,
    PRICE_TYPES,
    SIDES,
)
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FCM_ID,
    FCM_MISSING,
    FINISH_INDEX_MISSING,
    IB_ID,
    PERMISSION_DENIED,
    PRICE_TYPE_MISSING,
    START_INDEX_MISSING,
    SYMBOL_MISSING,
    TRADE_ROUTE,
    TRADE_ROUTE_MISSING,
    USER_TYPE_MISSING,
    Session,
)
from nightdesk.simulator.wire.templates import CLASSES

REFUSED = "6"
TRAIL_PRICE_ID_MISSING = ("1112", "Trail by price id field is not received.")

_US_PER_S = 1_000_000
_DEFAULT_OPERATION = ""

_SIDE_OF = {number: side for side, number in SIDES.items()}
_TYPE_OF = {number: order_type for order_type, number in PRICE_TYPES.items()}
_DURATION_OF = {number: duration for duration, number in DURATIONS.items()}
_PRICE_FIELD_OF = {number: field for field, number in PRICE_FIELDS.items()}
_BRACKET_KIND_OF = {number: kind for kind, number in BRACKET_KINDS.items()}
_CONDITION_OF = dict(enumerate(Condition, start=1))

_STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
_NEEDS_PRICE = (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED)
_NEEDS_TRIGGER = (*_STOPS, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED)
_WITHOUT_STOP = (BracketKind.TARGET_ONLY, BracketKind.TARGET_ONLY_STATIC)
_WITHOUT_TARGET = (BracketKind.STOP_ONLY, BracketKind.STOP_ONLY_STATIC)

_CODES = {
    "fcm_id": FCM_MISSING,
    "symbol": SYMBOL_MISSING,
    "trade_route": TRADE_ROUTE_MISSING,
    "price_type": PRICE_TYPE_MISSING,
    "user_type": USER_TYPE_MISSING,
    "start_index": START_INDEX_MISSING,
    "finish_index": FINISH_INDEX_MISSING,
}
"""The missing fields that have a code of their own in some source; the others have only a text, under code 6."""

_ENUMS: dict[str, Mapping[int, object]] = {
    "transaction_type": _SIDE_OF,
    "duration": _DURATION_OF,
    "price_type": _TYPE_OF,
    "if_touched_condition": _CONDITION_OF,
    "if_touched_price_field": _PRICE_FIELD_OF,
    "bracket_type": _BRACKET_KIND_OF,
}
_ORDER_FIELDS = ("symbol", "exchange", "quantity", "transaction_type", "duration", "trade_route", "price_type")
_IF_TOUCHED = (
    "if_touched_symbol",
    "if_touched_exchange",
    "if_touched_condition",
    "if_touched_price_field",
    "if_touched_price",
)
_LEG_COLUMNS = ("exchange", "quantity", "transaction_type", "duration", "price_type", "trade_route")
_LEG_COLUMNS_LEFT_OUT = (
    "price",
    "trigger_price",
    "manual_or_auto",
    "trailing_stop",
    "trail_by_ticks",
    "trail_by_price_id",
)
"""Columns of 328 that may be left out as a whole."""
_LEG_TAGS = ("user_tag", "window_name")
"""Columns of 328 that may be shorter: one client tags the whole order by a single entry; it goes to the first leg."""
_GROUP_FIELDS = ("fcm_id", "ib_id", "account_id", "cancel_at_ssboe", "cancel_at_usecs", "cancel_after_secs")


class RequestRefusal(NightdeskError):
    """A request is refused at once: ``answer`` is the code and the text for the client. The request must be mended."""

    def __init__(self, *answer: str) -> None:
        super().__init__(" ".join(answer))
        self.answer = answer


class Prices(NamedTuple):
    """The limit and the trigger of an order, as far as its type has them."""

    limit: float | None
    trigger: float | None


class Trail(NamedTuple):
    """How a trailing stop follows the market; 0 ticks: it stands still."""

    ticks: int = 0
    by: PriceField = PriceField.TRADE


def is_given(request: Any, name: str) -> bool:
    """Whether the field carries a value; the definitions give enumerations a zero of their own that means nothing."""
    if not request.HasField(name):
        return False
    table = _ENUMS.get(name)
    return table is None or getattr(request, name) in table


def require(request: Any, *names: str) -> None:
    """Refuse the request for the first of these fields that it does not have."""
    for name in names:
        if not is_given(request, name):
            raise RequestRefusal(
                *_CODES.get(name, (REFUSED, f"{name.replace('_', ' ').capitalize()} field is not received."))
            )


def require_account(session: Session, request: Any) -> None:
    """Refuse a request that does not name the firm, or names an account that is not the user's."""
    require(request, "fcm_id")
    if request.fcm_id != FCM_ID or request.ib_id != IB_ID or request.account_id not in session.accounts:
        raise RequestRefusal(*PERMISSION_DENIED)


def order_of(session: Session, request: Any) -> NewOrder:
    """The order of a 312, of a 330's entry, or of one leg of a 328. Raises ``RequestRefusal``."""
    require_account(session, request)
    require(request, *_ORDER_FIELDS)
    if request.trade_route != TRADE_ROUTE:
        raise RequestRefusal(REFUSED, f"unknown trade route {request.trade_route}")
    if not session.exchange.order_feed.is_route_up(request.exchange):
        raise RequestRefusal(REFUSED, f"trade route {request.trade_route} of {request.exchange} is down")
    if request.quantity < 1:
        raise RequestRefusal(*BAD_INPUT)
    order_type = _TYPE_OF[request.price_type]
    prices = prices_of(request, order_type)
    trail = _trail_of(request, order_type)
    return NewOrder(
        account_id=request.account_id,
        user=session.user_name,
        user_tag=request.user_tag,
        symbol=request.symbol,
        exchange=request.exchange,
        side=_SIDE_OF[request.transaction_type],
        order_type=order_type,
        quantity=request.quantity,
        price=prices.limit,
        trigger_price=prices.trigger,
        time_in_force=_DURATION_OF[request.duration],
        window_name=request.window_name,
        is_automatic=request.manual_or_auto == AUTO,
        trade_route=TRADE_ROUTE,
        trail_by_ticks=trail.ticks,
        trail_by=trail.by,
        release_at_ns=_moment_of(request, "release_at"),
        cancel_at_ns=_moment_of(request, "cancel_at"),
        cancel_after_s=_count_of(request, "cancel_after_secs"),
        if_touched=if_touched_of(session, request),
    )


def prices_of(request: Any, order_type: OrderType) -> Prices:
    """The prices that an order of this type needs; those that it has no use for are ignored, as captured clients send
    a zero for them.
    """
    found: list[float | None] = []
    for needed, name in ((_NEEDS_PRICE, "price"), (_NEEDS_TRIGGER, "trigger_price")):
        if order_type not in needed:
            found.append(None)
            continue
        require(request, name)
        price = getattr(request, name)
        if not math.isfinite(price):
            raise RequestRefusal(*BAD_INPUT)
        found.append(price)
    return Prices(*found)


def type_of(request: Any) -> OrderType:
    """The type that a replace asks for. Raises ``RequestRefusal``."""
    require(request, "price_type")
    return _TYPE_OF[request.price_type]


def new_trail_of(request: Any, order_type: OrderType) -> int | None:
    """The trailing distance of a replace, which has no price id; None: the request says nothing of it."""
    if not request.trailing_stop and not request.trail_by_ticks:
        return None
    if not request.trailing_stop or request.trail_by_ticks < 1 or order_type not in _STOPS:
        raise RequestRefusal(REFUSED, "trailing_stop needs a stop order and trail_by_ticks above 0")
    return int(request.trail_by_ticks)


def _trail_of(request: Any, order_type: OrderType) -> Trail:
    # 330 has no trailing entry.
    if "trailing_stop" not in request.DESCRIPTOR.fields_by_name:
        return Trail()
    ticks = new_trail_of(request, order_type)
    if ticks is None:
        return Trail()
    if not request.trail_by_price_id:
        # An absent price id was refused so at a real gateway, though async_rithmic never sends one.
        raise RequestRefusal(*TRAIL_PRICE_ID_MISSING)
    if request.trail_by_price_id not in _PRICE_FIELD_OF:
        raise RequestRefusal(REFUSED, f"unknown trail_by_price_id {request.trail_by_price_id}")
    return Trail(ticks, _PRICE_FIELD_OF[request.trail_by_price_id])


def if_touched_of(session: Session, request: Any) -> IfTouched | None:
    """The condition that holds an order back; all of its fields are given or none. Raises ``RequestRefusal``."""
    # The legs of an OCO order have no condition.
    if not any(getattr(request, name, None) for name in _IF_TOUCHED):
        return None
    require(request, *_IF_TOUCHED)
    symbol, exchange, price = request.if_touched_symbol, request.if_touched_exchange, request.if_touched_price
    if session.exchange.catalog.find(symbol, exchange) is None:
        raise RequestRefusal(REFUSED, f"unknown instrument {symbol}.{exchange} of the if_touched condition")
    if not math.isfinite(price):
        raise RequestRefusal(*BAD_INPUT)
    return IfTouched(
        symbol,
        exchange,
        _CONDITION_OF[request.if_touched_condition],
        _PRICE_FIELD_OF[request.if_touched_price_field],
        price,
    )


def _moment_of(request: Any, name: str) -> int | None:
    """Nanoseconds of the two fields that say when; None where there are none, or zeros."""
    second, microsecond = getattr(request, f"{name}_ssboe", 0), getattr(request, f"{name}_usecs", 0)
    if not second and not microsecond:
        return None
    if second < 1 or not 0 <= microsecond < _US_PER_S:
        raise RequestRefusal(*BAD_INPUT)
    return int(second) * NS_PER_S + int(microsecond) * 1000


def _count_of(request: Any, name: str) -> int:
    """A number that may be left out; several entries or one below 0 are refused."""
    value = getattr(request, name, 0)
    if not isinstance(value, int):
        # Newer definitions give each exit several entries, one for each of its parts.
        if len(value) > 1:
            raise RequestRefusal(REFUSED, f"several entries of {name} are not served by the simulator")
        value = value[0] if value else 0
    if value < 0:
        raise RequestRefusal(*BAD_INPUT)
    return int(value)


def bracket_of(request: Any) -> BracketTerms:
    """The exits of a 330. Raises ``RequestRefusal``."""
    require(request, "user_type", "bracket_type")
    kind = _BRACKET_KIND_OF[request.bracket_type]
    if request.order_operation_type != _DEFAULT_OPERATION:
        raise RequestRefusal(
            REFUSED, f"order_operation_type {request.order_operation_type} is not served by the simulator"
        )
    if request.target_market_order_if_touched:
        raise RequestRefusal(REFUSED, "target_market_order_if_touched is not served by the simulator")
    terms = BracketTerms(
        kind=kind,
        target_quantity=_count_of(request, "target_quantity"),
        target_ticks=_count_of(request, "target_ticks"),
        stop_quantity=_count_of(request, "stop_quantity"),
        stop_ticks=_count_of(request, "stop_ticks"),
        trailing_stop_trigger_ticks=_count_of(request, "trailing_stop_trigger_ticks"),
        trailing_by_last_trade=request.trailing_stop_by_last_trade_price,
        break_even_ticks=_count_of(request, "break_even_ticks"),
        break_even_trigger_ticks=_count_of(request, "break_even_trigger_ticks"),
        stop_market_on_reject=request.stop_market_on_reject,
        target_market_at_ns=_moment_of(request, "target_market_at"),
        stop_market_at_ns=_moment_of(request, "stop_market_at"),
        target_market_after_s=_count_of(request, "target_market_order_after_secs"),
    )
    for name, is_there, quantity, ticks in (
        ("target", kind not in _WITHOUT_TARGET, terms.target_quantity, terms.target_ticks),
        ("stop", kind not in _WITHOUT_STOP, terms.stop_quantity, terms.stop_ticks),
    ):
        if is_there and not (0 < quantity <= request.quantity and ticks):
            raise RequestRefusal(REFUSED, f"{name}_ticks and {name}_quantity do not fit a bracket of type {kind}")
        if not is_there and (quantity or ticks):
            raise RequestRefusal(REFUSED, f"a bracket of type {kind} has no {name}")
    return terms


def legs_of(session: Session, request: Any) -> list[NewOrder]:
    """The legs of a 328, read across its columns. Raises ``RequestRefusal``."""
    require_account(session, request)
    count = len(request.symbol)
    if not count:
        raise RequestRefusal(*SYMBOL_MISSING)
    if not 2 <= count <= LEGS_MAX:
        raise RequestRefusal(REFUSED, f"an OCO order has 2 to {LEGS_MAX} legs, not {count}")
    lengths = {name: len(getattr(request, name)) for name in (*_LEG_COLUMNS, *_LEG_COLUMNS_LEFT_OUT, *_LEG_TAGS)}
    for name, length in lengths.items():
        is_short = name in _LEG_TAGS and length < count
        is_left_out = name in _LEG_COLUMNS_LEFT_OUT and not length
        if length != count and not is_short and not is_left_out:
            raise RequestRefusal(REFUSED, f"{name} has {length} entries for {count} legs")
    shared = {name: getattr(request, name) for name in _GROUP_FIELDS if request.HasField(name)}
    legs = []
    for leg in range(count):
        columns = {name: getattr(request, name)[leg] for name, length in lengths.items() if leg < length}
        legs.append(order_of(session, CLASSES[312](symbol=request.symbol[leg], **columns, **shared)))
    return legs
