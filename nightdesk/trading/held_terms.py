"""What orders must be that the server does more with than hold them: stops that trail, brackets, OCO orders. Pure.

The strategy's side raises these texts, the gate denies with them: it trusts no strategy.
"""

from typing import Protocol

from nightdesk.messages import OrderType, Side, TimeInForce

TICKS_MAX = 100_000
"""No stop trails, and no exit of a bracket stands, farther away."""

STOPS = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


class Asked(Protocol):
    """What is looked at of an order."""

    @property
    def symbol(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def order_type(self) -> OrderType: ...
    @property
    def time_in_force(self) -> TimeInForce: ...
    @property
    def price(self) -> float | None: ...
    @property
    def trigger_price(self) -> float | None: ...
    @property
    def protective(self) -> bool: ...
    @property
    def trail_by_ticks(self) -> int: ...
    @property
    def stop_ticks(self) -> int: ...
    @property
    def target_ticks(self) -> int: ...


def ticks_fault(ticks: int, what: str, *, least: int = 0) -> str:
    """Why something is no distance in ticks; empty: it is one. ``least`` 0: it may be left out."""
    if isinstance(ticks, bool) or not isinstance(ticks, int) or not least <= ticks <= TICKS_MAX:
        return f"{what} must be a whole number of ticks from 1 to {TICKS_MAX}, not {ticks!r}"
    return ""


def held_fault(order: Asked) -> str:
    """What is wrong with an order's duration, its trailing and its exits; empty: nothing."""
    for what in ("trail_by_ticks", "stop_ticks", "target_ticks"):
        fault = ticks_fault(getattr(order, what), what)
        if fault:
            return fault
    if order.order_type in STOPS and order.time_in_force in IMMEDIATE:
        return f"a stop waits for its trigger, so that it cannot be {order.time_in_force}"
    if order.trail_by_ticks and order.order_type not in STOPS:
        return f"only a STOP_MARKET or STOP_LIMIT order can trail, not a {order.order_type} order"
    if not order.stop_ticks and not order.target_ticks:
        return ""
    if order.protective:
        return "the entry of a bracket opens a position: it is not protective, its exits are"
    return "the entry of a bracket cannot trail" if order.trail_by_ticks else ""


def pair_fault(first: Asked, second: Asked) -> str:
    """Why one of two orders, each right by itself, cannot cancel the other; empty: it can."""
    if first.symbol != second.symbol:
        return f"both legs are of one symbol, not of {first.symbol} and {second.symbol}"
    for leg in (first, second):
        if leg.order_type is OrderType.MARKET or leg.time_in_force in IMMEDIATE:
            return f"both legs wait for their price; a {leg.order_type} order that is {leg.time_in_force} does not"
        if leg.stop_ticks or leg.target_ticks:
            return "a leg cannot be the entry of a bracket"
    return "the legs are the same order" if _alike(first) == _alike(second) else ""


def _alike(leg: Asked) -> tuple[object, ...]:
    return leg.side, leg.order_type, leg.price, leg.trigger_price
