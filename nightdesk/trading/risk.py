"""What an order must be before its size is looked at: epoch, session, state, fields. A table of checks. Pure."""

from collections.abc import Callable

from nightdesk.messages import Denial, OrderType, Side, SubmitOrder, TradingState
from nightdesk.trading.held_terms import held_fault
from nightdesk.trading.market_checks import expired, mismatch, rolled, session_closed, session_no_trade
from nightdesk.trading.risk_view import GateView, Refusal, only_lowers
from nightdesk.trading.units import is_on_tick, to_nanos

CLIENT_ORDER_ID_LENGTH_MAX = 64
PRICE_MAX = 1e12
"""No price is beyond it."""


def check_order(order: SubmitOrder, view: GateView) -> Refusal | None:
    """The first check that fails, or None: the order may be sent."""
    return _first(CHECKS, order, view)


def check_modify(order: SubmitOrder, view: GateView) -> Refusal | None:
    """The same for a change: ``order`` carries the new terms with the whole quantity, and the view leaves out what it
    was before."""
    return _first(MODIFY_CHECKS, order, view)


def check_opening(order: SubmitOrder, view: GateView) -> Refusal | None:
    """The same for an opening order of the system's own, in the name of a strategy whose process has no part in it."""
    return _first(OPENING_CHECKS, order, view)


_Check = tuple[Denial, Callable[[SubmitOrder, GateView], str | None]]


def _first(checks: tuple[_Check, ...], order: SubmitOrder, view: GateView) -> Refusal | None:
    for code, predicate in checks:
        text = predicate(order, view)
        if text is not None:
            return Refusal(code, text)
    return None


def _stale_epoch(order: SubmitOrder, view: GateView) -> str | None:
    if order.fencing_epoch == view.current_epoch:
        return None
    return f"fencing epoch {order.fencing_epoch}, the current one is {view.current_epoch}"


def _duplicate_id(order: SubmitOrder, view: GateView) -> str | None:
    return f"client_order_id {order.client_order_id} was used before" if view.is_duplicate_id else None


def _disconnected(order: SubmitOrder, view: GateView) -> str | None:
    return None if view.connected else "the order plant has no connection to the gateway"


def _reconciling(order: SubmitOrder, view: GateView) -> str | None:
    return "orders are being compared with the broker" if view.reconciling else None


def _journal(order: SubmitOrder, view: GateView) -> str | None:
    return None if view.journal_writable else "the journal cannot be written: mend it and restart plants/order"


def _halted(order: SubmitOrder, view: GateView) -> str | None:
    return "trading is HALTED" if view.trading_state is TradingState.HALTED else None


def _paused(order: SubmitOrder, view: GateView) -> str | None:
    return f"strategy {order.strategy_id} is paused" if view.paused else None


def _flattening(order: SubmitOrder, view: GateView) -> str | None:
    return f"a flatten of {order.strategy_id} in {order.symbol} is under way" if view.flattening else None


def _unknown_instrument(order: SubmitOrder, view: GateView) -> str | None:
    if view.tick_rules is None:
        return f"symbol {order.symbol} is not configured"
    if view.tick_rules.exchange != order.exchange:
        return f"symbol {order.symbol} trades on {view.tick_rules.exchange}, not on {order.exchange}"
    return None


_NEEDS_PRICE = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED})
_NEEDS_TRIGGER = frozenset(
    {OrderType.STOP_MARKET, OrderType.STOP_LIMIT, OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED}
)


def _invalid(order: SubmitOrder, view: GateView) -> str | None:
    client_order_id = order.client_order_id
    if not 0 < len(client_order_id) <= CLIENT_ORDER_ID_LENGTH_MAX or not _is_plain(client_order_id):
        return f"client_order_id must have 1 to {CLIENT_ORDER_ID_LENGTH_MAX} printable ASCII characters"
    if order.quantity < 1:
        return f"quantity {order.quantity} is less than 1"
    for name, value, kinds in (
        ("price", order.price, _NEEDS_PRICE),
        ("trigger_price", order.trigger_price, _NEEDS_TRIGGER),
    ):
        if (order.order_type in kinds) != (value is not None):
            return f"{order.order_type} order with {name} {value}"
        if value == 0.0:
            return f"{name} 0.0 cannot be told from a missing one on the wire"
        # A NaN or an infinity fails the comparison; spreads and some contracts trade at zero and below.
        if value is not None and not abs(value) < PRICE_MAX:
            return f"{name} {value} is no price"
    return held_fault(order) or _exit_fault(order, view) or None


def _exit_fault(order: SubmitOrder, view: GateView) -> str:
    """An exit below zero of what trades above it is a slip; the server would refuse it with the position open."""
    at = order.price if order.price is not None else order.trigger_price
    if at is None or at <= 0 or view.tick_rules is None:
        return ""
    is_buy = order.side is Side.BUY
    for name, ticks in (("stop_ticks", order.stop_ticks * is_buy), ("target_ticks", order.target_ticks * (not is_buy))):
        if ticks and to_nanos(at) <= ticks * to_nanos(view.tick_rules.tick_size):
            return f"{name} {ticks} from {at} would be at or below 0"
    return ""


def _off_tick(order: SubmitOrder, view: GateView) -> str | None:
    for name, value in (("price", order.price), ("trigger_price", order.trigger_price)):
        if value is not None and view.tick_rules is not None and not is_on_tick(value, view.tick_rules.tick_size):
            return f"{name} {value} is not a whole number of ticks of {view.tick_rules.tick_size}"
    return None


def _is_plain(text: str) -> bool:
    # It is echoed by the broker and looked for in its lists: nothing on the way may change it.
    return text.isascii() and text.isprintable()


def _reducing(order: SubmitOrder, view: GateView) -> str | None:
    if view.trading_state is not TradingState.REDUCING or only_lowers(order, view):
        return None
    asked = f"{order.side} {order.quantity} {order.symbol} with position {view.strategy_position}"
    return f"trading is REDUCING: {asked}, and what works beside it, would not only lower it"


CHECKS: tuple[_Check, ...] = (
    (Denial.EPOCH_STALE, _stale_epoch),
    (Denial.ORDER_DUPLICATE_ID, _duplicate_id),
    (Denial.INSTRUMENT_EXPIRED, expired),
    (Denial.INSTRUMENT_MISMATCH, mismatch),
    # Before the state of the link: in the break it is normal that there is none.
    (Denial.SESSION_CLOSED, session_closed),
    (Denial.STATE_DISCONNECTED, _disconnected),
    (Denial.STATE_RECONCILING, _reconciling),
    (Denial.STATE_JOURNAL_FAILED, _journal),
    (Denial.STATE_HALTED, _halted),
    (Denial.STATE_PAUSED, _paused),
    (Denial.INSTRUMENT_UNKNOWN, _unknown_instrument),
    (Denial.ORDER_INVALID, _invalid),
    (Denial.PRICE_OFF_TICK, _off_tick),
    (Denial.SESSION_NO_TRADE, session_no_trade),
    (Denial.INSTRUMENT_ROLLED, rolled),
    (Denial.ORDER_OPERATION_IN_FLIGHT, _flattening),
    (Denial.STATE_REDUCING, _reducing),
)
"""What a new order must pass, in this order, before the limits (``risk_limits.py``) are asked. Cancels pass none of
either: they always go."""

_ONLY_NEW = frozenset({Denial.ORDER_DUPLICATE_ID})

MODIFY_CHECKS: tuple[_Check, ...] = tuple(check for check in CHECKS if check[0] not in _ONLY_NEW)
"""What a change must pass: all but what only a new order can violate."""

_OF_STRATEGY = frozenset(
    {
        Denial.EPOCH_STALE,
        Denial.ORDER_DUPLICATE_ID,
        Denial.STATE_PAUSED,
        Denial.ORDER_OPERATION_IN_FLIGHT,
        Denial.INSTRUMENT_ROLLED,
    }
)

OPENING_CHECKS: tuple[_Check, ...] = tuple(check for check in CHECKS if check[0] not in _OF_STRATEGY)
"""What the second leg of a roll must pass: it belongs to the roll that bars others from its contract."""
