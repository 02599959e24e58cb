"""What a client's request asks for, in the exchange's words: 312, the legs of 328, the entry and the exits of 330.

What cannot be an order is refused at once, by a ``RequestRefusal`` with the code and the text of the answer. What this
exchange does not do is refused by name: to ignore a term that somebody relies on would be worse.
"""

import math
from typing import Any, NamedTuple

from nightdesk.messages.enums import OrderType
from nightdesk.simulator.model import (
    BracketKind,
    BracketLevel,
    BracketTerms,
    Condition,
    IfTouched,
    NewOrder,
    PriceField,
)
from nightdesk.simulator.plants.requests import REFUSED, RequestRefusal, require, require_account, require_short
from nightdesk.simulator.venue.bracket import sum_refusal
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
from nightdesk.simulator.wire.session import BAD_INPUT, SYMBOL_MISSING, TRADE_ROUTE, Session
from nightdesk.simulator.wire.templates import CLASSES

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


class Prices(NamedTuple):
    """The limit and the trigger of an order, as far as its type has them."""

    limit: float | None
    trigger: float | None


class Trail(NamedTuple):
    """How a trailing stop follows the market; 0 ticks: it stands still."""

    ticks: int = 0
    by: PriceField = PriceField.TRADE


def order_of(session: Session, request: Any) -> NewOrder:
    """The order of a 312, of a 330's entry, or of one leg of a 328. Raises ``RequestRefusal``."""
    require_account(session, request)
    require(request, *_ORDER_FIELDS)
    require_short(request, "symbol", "exchange", "user_tag", "window_name")
    if request.trade_route != TRADE_ROUTE:
        raise RequestRefusal(REFUSED, f"unknown trade route {request.trade_route}")
    if not session.exchange.order_feed.is_route_up(request.exchange):
        raise RequestRefusal(REFUSED, f"trade route {request.trade_route} of {request.exchange} is down")
    if request.quantity < 1:
        raise RequestRefusal(*BAD_INPUT)
    order_type = _TYPE_OF[request.price_type]
    trail = _trail_of(request, order_type)
    prices = prices_of(request, order_type, trails=trail.ticks > 0)
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


def prices_of(request: Any, order_type: OrderType, *, trails: bool = False) -> Prices:
    """The prices that an order of this type needs; those that it has no use for are ignored, as captured clients send
    a zero for them. A stop that trails may leave its trigger to the server, by a zero too.
    """
    found: list[float | None] = []
    for needed, name in ((_NEEDS_PRICE, "price"), (_NEEDS_TRIGGER, "trigger_price")):
        if order_type not in needed:
            found.append(None)
            continue
        if trails and name == "trigger_price" and not request.trigger_price:
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
    """A number that may be left out; one below 0 is refused."""
    value = getattr(request, name, 0)
    if value < 0:
        raise RequestRefusal(*BAD_INPUT)
    return int(value)


def _levels_of(request: Any, name: str) -> list[BracketLevel]:
    """The targets or the stops, read across two columns; one level of zeros where there are none."""
    quantities, ticks = list(getattr(request, f"{name}_quantity")), list(getattr(request, f"{name}_ticks"))
    if min([*quantities, *ticks], default=0) < 0:
        raise RequestRefusal(*BAD_INPUT)
    if max(len(quantities), len(ticks)) <= 1:
        # A client that gives one level may leave out what is zero.
        quantities, ticks = quantities or [0], ticks or [0]
    if len(quantities) != len(ticks):
        text = f"{name}_quantity has {len(quantities)} entries and {name}_ticks {len(ticks)}"
        raise RequestRefusal(REFUSED, text)
    return [BracketLevel(*level) for level in zip(quantities, ticks, strict=True)]


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
    targets, stops = _levels_of(request, "target"), _levels_of(request, "stop")
    terms = BracketTerms(
        kind=kind,
        target_quantity=targets[0].quantity,
        target_ticks=targets[0].ticks,
        stop_quantity=stops[0].quantity,
        stop_ticks=stops[0].ticks,
        trailing_stop_trigger_ticks=_count_of(request, "trailing_stop_trigger_ticks"),
        trailing_by_last_trade=request.trailing_stop_by_last_trade_price,
        break_even_ticks=_count_of(request, "break_even_ticks"),
        break_even_trigger_ticks=_count_of(request, "break_even_trigger_ticks"),
        stop_market_on_reject=request.stop_market_on_reject,
        target_market_at_ns=_moment_of(request, "target_market_at"),
        stop_market_at_ns=_moment_of(request, "stop_market_at"),
        target_market_after_s=_count_of(request, "target_market_order_after_secs"),
        more_targets=tuple(targets[1:]),
        more_stops=tuple(stops[1:]),
    )
    for name, is_there, levels in (
        ("target", kind not in _WITHOUT_TARGET, targets),
        ("stop", kind not in _WITHOUT_STOP, stops),
    ):
        for quantity, ticks in ((level.quantity, level.ticks) for level in levels):
            if is_there and not (0 < quantity <= request.quantity and ticks):
                raise RequestRefusal(REFUSED, f"{name}_ticks and {name}_quantity do not fit a bracket of type {kind}")
            if not is_there and (quantity or ticks):
                raise RequestRefusal(REFUSED, f"a bracket of type {kind} has no {name}")
    text = sum_refusal(terms, request.quantity)
    if text:
        raise RequestRefusal(REFUSED, text)
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
