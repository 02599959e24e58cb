"""The checks that follow from time and contracts. What only lowers a position gives way to none of our own beliefs."""

from nightdesk.messages import OrderType, SubmitOrder, TimeInForce
from nightdesk.trading.risk_view import GateView, only_lowers
from nightdesk.trading.sessions import MarketPhase

_RESTING_TYPES = frozenset(OrderType) - {OrderType.MARKET}
_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
_PHASE_WORDS = {MarketPhase.CLOSED: "closed", MarketPhase.HALT: "halted"}


def session_closed(order: SubmitOrder, view: GateView) -> str | None:
    """The market takes no such order now, unless it is an exit and the calendar may be wrong."""
    market = view.market
    if market.phase is MarketPhase.OPEN or (market.may_exit and only_lowers(order, view)):
        return None
    begins = f"trading begins {market.trading_begins}"
    if market.phase is not MarketPhase.PRE_OPEN:
        return f"the market of {order.symbol} is {_PHASE_WORDS[market.phase]}; {begins}"
    if order.order_type not in _RESTING_TYPES or order.time_in_force in _IMMEDIATE:
        what = order.order_type if order.order_type not in _RESTING_TYPES else order.time_in_force
        return f"the market of {order.symbol} is in pre-open, where a {what} order cannot wait; {begins}"
    return None


def session_no_trade(order: SubmitOrder, view: GateView) -> str | None:
    """The strategy's own rules let it open nothing now."""
    return _barred(order, view, view.market.no_trade)


def expired(order: SubmitOrder, view: GateView) -> str | None:
    """The contract's last trading is over, and no trade says otherwise."""
    market = view.market
    if not market.ended or (market.contradicted and only_lowers(order, view)):
        return None
    return f"{order.symbol} is not traded any more, since {market.ended}"


def mismatch(order: SubmitOrder, view: GateView) -> str | None:
    """The gateway says other terms of the contract than the configuration."""
    return view.market.mismatch or None


def rolled(order: SubmitOrder, view: GateView) -> str | None:
    """The contract is not what an alias means, or is being left."""
    return _barred(order, view, view.market.left)


def _barred(order: SubmitOrder, view: GateView, why: str) -> str | None:
    if not why or only_lowers(order, view):
        return None
    return f"{why}; {order.side} {order.quantity} {order.symbol} would not only lower the position"
