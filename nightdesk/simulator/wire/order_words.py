"""The wire's numbers and words of orders: sides, types, durations, prices to look at, brackets, texts of refusals."""

from typing import Any

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import BracketKind, PriceField

NS_PER_S = 1_000_000_000

SIDES = {Side.BUY: 1, Side.SELL: 2}
PRICE_TYPES = {
    OrderType.LIMIT: 1,
    OrderType.MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.STOP_MARKET: 4,
    OrderType.MARKET_IF_TOUCHED: 5,
    OrderType.LIMIT_IF_TOUCHED: 6,
}
DURATIONS = {TimeInForce.DAY: 1, TimeInForce.GTC: 2, TimeInForce.IOC: 3, TimeInForce.FOK: 4}
PRICE_FIELDS = {PriceField.BID: 1, PriceField.OFFER: 2, PriceField.TRADE: 3, PriceField.LEAN: 4}
"""Of an if-touched condition; a trailing stop's price id is taken to count the same way, no source names its values."""
BRACKET_KINDS = {kind: number for number, kind in enumerate(BracketKind, start=1)}
MANUAL, AUTO = 1, 2

RISK_REFUSAL = "Rejected at RMS"
"""How the venue's text begins when risk management refused an order: no 352 then, the exchange never saw it."""
BRACKET_REFUSAL = "The bracket order management system rejected request"
"""The text of a bracket's change that comes too late, after its answer said that all was well."""
COMPLETE_REFUSAL = (
    "Cancellation rejected by the Order Management System - Order is complete. "
    "Further cancellations on this order may lead to logoff/disable"
)
"""The text of a cancel of a finished order; nobody is logged off for it here."""


def stamp(ts_ns: int) -> dict[str, Any]:
    """A moment as most messages have it: unix seconds, and microseconds beside them."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    return {"ssboe": ssboe, "usecs": nanoseconds // 1000}
