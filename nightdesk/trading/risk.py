"""The gate before each order: a table of checks, each a code and a predicate. Pure: time and state are handed in."""

from collections import deque
from collections.abc import Callable

import msgspec

from nightdesk.messages import Denial, OrderType, Side, SubmitOrder, TimeInForce, TradingState
from nightdesk.trading.sessions import MarketPhase
from nightdesk.trading.units import is_on_tick

CLIENT_ORDER_ID_LENGTH_MAX = 64
PRICE_MAX = 1e12
"""No price is beyond it."""
ORDER_RATE_WINDOW_S = 1.0


class Limits(msgspec.Struct, frozen=True):
    """The account's limits: quantities in contracts; the position is a worst case per symbol and side."""

    max_order_quantity: int
    max_position: int
    max_open_orders: int
    max_orders_per_second: int


class TickRules(msgspec.Struct, frozen=True):
    """What a price of one contract must satisfy."""

    exchange: str
    tick_size: float


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """What the calendar, the contract's end and the strategy's own rules say at the moment of the order.

    The texts are for people; an empty one says that nothing stands against the order.
    """

    phase: MarketPhase = MarketPhase.OPEN
    trading_begins: str = ""
    """When the market trades next, where it does not."""
    no_trade: str = ""
    """Why the strategy opens no position now."""
    unprotective_buy: int = 0
    """What the strategy's orders that are not protective may still buy; of use with ``no_trade`` only."""
    unprotective_sell: int = 0
    filled: int = 0
    """What an order that is being changed has filled; its quantity includes that."""
    ended: str = ""
    """Since when the contract is not traded any more."""
    mismatch: str = ""
    """How the gateway contradicts what is configured of the contract."""
    left: str = ""
    """Why the contract is not, not any more or not yet what an alias means."""


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the checks look at, as it stands at the moment of the order."""

    limits: Limits
    trading_state: TradingState
    connected: bool
    reconciling: bool
    journal_writable: bool
    paused: bool
    flattening: bool
    """A flatten of this strategy and symbol is under way."""
    current_epoch: int
    is_duplicate_id: bool
    tick_rules: TickRules | None
    account_position: int
    worst_case_buy: int
    """What may still be bought for the account in this symbol: working, in doubt, on its way."""
    worst_case_sell: int
    strategy_position: int
    strategy_worst_buy: int
    strategy_worst_sell: int
    open_orders: int
    recent_orders: int
    """Orders and changes sent within the last ``ORDER_RATE_WINDOW_S``."""
    market: MarketView = MarketView()


class Refusal(msgspec.Struct, frozen=True):
    """Why the gate keeps an order: a code of the closed set and a text with the values."""

    code: Denial
    text: str


def check_order(order: SubmitOrder, view: GateView) -> Refusal | None:
    """The first check that fails, or None: the order may be sent."""
    return _first(CHECKS, order, view)


def check_modify(order: SubmitOrder, view: GateView) -> Refusal | None:
    """The same for a change: ``order`` carries the new terms with the whole quantity, and the view's worst cases leave
    out what the order itself has at stake, its filled part included."""
    return _first(MODIFY_CHECKS, order, view)


class OrderRate:
    """Counts what was sent in a sliding window; ``max_orders_per_second`` bounds its memory."""

    def __init__(self) -> None:
        self._sent: deque[float] = deque()

    def recent(self, now_s: float) -> int:
        """How many within the window that ends at the monotonic time ``now_s``."""
        while self._sent and self._sent[0] <= now_s - ORDER_RATE_WINDOW_S:
            self._sent.popleft()
        return len(self._sent)

    def note(self, now_s: float) -> None:
        """One more was sent."""
        self._sent.append(now_s)


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
    return None


def _off_tick(order: SubmitOrder, view: GateView) -> str | None:
    for name, value in (("price", order.price), ("trigger_price", order.trigger_price)):
        if value is not None and view.tick_rules is not None and not is_on_tick(value, view.tick_rules.tick_size):
            return f"{name} {value} is not a whole number of ticks of {view.tick_rules.tick_size}"
    return None


_RESTING_TYPES = frozenset(OrderType) - {OrderType.MARKET}
_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def _session_closed(order: SubmitOrder, view: GateView) -> str | None:
    market = view.market
    if market.phase is MarketPhase.OPEN:
        return None
    begins = f"trading begins {market.trading_begins}"
    if market.phase is not MarketPhase.PRE_OPEN:
        return f"the market of {order.symbol} is {_PHASE_WORDS[market.phase]}; {begins}"
    if order.order_type not in _RESTING_TYPES or order.time_in_force in _IMMEDIATE:
        what = order.order_type if order.order_type not in _RESTING_TYPES else order.time_in_force
        return f"the market of {order.symbol} is in pre-open, where a {what} order cannot wait; {begins}"
    return None


_PHASE_WORDS = {MarketPhase.CLOSED: "closed", MarketPhase.HALT: "halted"}


def _session_no_trade(order: SubmitOrder, view: GateView) -> str | None:
    if not view.market.no_trade:
        return None
    reducible, _ = _reducible(order, view)
    pending = view.market.unprotective_buy if order.side is Side.BUY else view.market.unprotective_sell
    # Of a stop and a target only one fills, and both give way to an exit: each may have the whole position.
    if order.quantity - view.market.filled + (0 if order.protective else pending) <= reducible:
        return None
    return f"{view.market.no_trade}; {order.side} {order.quantity} {order.symbol} would not only lower the position"


def _expired(order: SubmitOrder, view: GateView) -> str | None:
    return f"{order.symbol} is not traded any more, since {view.market.ended}" if view.market.ended else None


def _mismatch(order: SubmitOrder, view: GateView) -> str | None:
    return view.market.mismatch or None


def _rolled(order: SubmitOrder, view: GateView) -> str | None:
    if not view.market.left:
        return None
    reducible, pending = _reducible(order, view)
    # The view's worst cases leave out what an order that is being changed has filled.
    if order.quantity + (-view.market.filled if order.protective else pending) <= reducible:
        return None
    return f"{view.market.left}; {order.side} {order.quantity} {order.symbol} would not only lower the position"


def _is_plain(text: str) -> bool:
    # It is echoed by the broker and looked for in its lists: nothing on the way may change it.
    return text.isascii() and text.isprintable()


def _max_order_quantity(order: SubmitOrder, view: GateView) -> str | None:
    if order.quantity <= view.limits.max_order_quantity:
        return None
    return f"quantity {order.quantity}, max_order_quantity {view.limits.max_order_quantity}"


def _max_position(order: SubmitOrder, view: GateView) -> str | None:
    limit = view.limits.max_position
    if order.side is Side.BUY:
        worst = view.account_position + view.worst_case_buy + order.quantity
        pending = view.worst_case_buy
    else:
        worst = -view.account_position + view.worst_case_sell + order.quantity
        pending = view.worst_case_sell
    if worst <= limit:
        return None
    return (
        f"{order.side} {order.quantity} {order.symbol}: worst case {worst} (position {view.account_position}, "
        f"pending {pending}), max_position {limit}"
    )


def _max_open_orders(order: SubmitOrder, view: GateView) -> str | None:
    if view.open_orders < view.limits.max_open_orders:
        return None
    return f"{view.open_orders} orders are open, max_open_orders {view.limits.max_open_orders}"


def _order_rate(order: SubmitOrder, view: GateView) -> str | None:
    if view.recent_orders < view.limits.max_orders_per_second:
        return None
    return f"{view.recent_orders} orders in the last second, max_orders_per_second {view.limits.max_orders_per_second}"


def _reducible(order: SubmitOrder, view: GateView) -> tuple[int, int]:
    """What an order of this side can lower the strategy's position by, and what of that is under way."""
    if order.side is Side.BUY:
        return max(0, -view.strategy_position), view.strategy_worst_buy
    return max(0, view.strategy_position), view.strategy_worst_sell


def _reducing(order: SubmitOrder, view: GateView) -> str | None:
    if view.trading_state is not TradingState.REDUCING:
        return None
    reducible, pending = _reducible(order, view)
    if order.quantity + pending <= reducible:
        return None
    return (
        f"trading is REDUCING: {order.side} {order.quantity} {order.symbol} with position {view.strategy_position} "
        f"and {pending} pending would not only lower it"
    )


CHECKS: tuple[_Check, ...] = (
    (Denial.EPOCH_STALE, _stale_epoch),
    (Denial.ORDER_DUPLICATE_ID, _duplicate_id),
    (Denial.INSTRUMENT_EXPIRED, _expired),
    (Denial.INSTRUMENT_MISMATCH, _mismatch),
    # Before the state of the link: in the break it is normal that there is none.
    (Denial.SESSION_CLOSED, _session_closed),
    (Denial.STATE_DISCONNECTED, _disconnected),
    (Denial.STATE_RECONCILING, _reconciling),
    (Denial.STATE_JOURNAL_FAILED, _journal),
    (Denial.STATE_HALTED, _halted),
    (Denial.STATE_PAUSED, _paused),
    (Denial.INSTRUMENT_UNKNOWN, _unknown_instrument),
    (Denial.ORDER_INVALID, _invalid),
    (Denial.PRICE_OFF_TICK, _off_tick),
    (Denial.SESSION_NO_TRADE, _session_no_trade),
    (Denial.INSTRUMENT_ROLLED, _rolled),
    (Denial.ORDER_OPERATION_IN_FLIGHT, _flattening),
    (Denial.STATE_REDUCING, _reducing),
    (Denial.RISK_MAX_ORDER_QUANTITY, _max_order_quantity),
    (Denial.RISK_MAX_POSITION, _max_position),
    (Denial.RISK_MAX_OPEN_ORDERS, _max_open_orders),
    (Denial.RISK_ORDER_RATE, _order_rate),
)
"""What a new order must pass, in this order. Cancels pass none of it: they always go."""

_ONLY_NEW = frozenset({Denial.ORDER_DUPLICATE_ID, Denial.RISK_MAX_OPEN_ORDERS})

MODIFY_CHECKS: tuple[_Check, ...] = tuple(check for check in CHECKS if check[0] not in _ONLY_NEW)
"""What a change must pass: all but what only a new order can violate."""
