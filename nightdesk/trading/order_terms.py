"""Checks of what a strategy asks for, before anything is sent: mistakes of its author, not refusals of the market."""

import math

import msgspec

from nightdesk.errors import StrategyError
from nightdesk.messages import OrderType
from nightdesk.trading.held_terms import held_fault, pair_fault, ticks_fault
from nightdesk.trading.host_api import InstrumentTerms, OrderTerms

_TICK_TOLERANCE = 1e-6
"""In ticks: what floating-point arithmetic may leave behind; more is a price that the exchange does not have."""

_NEEDS: dict[OrderType, tuple[bool, bool]] = {
    OrderType.MARKET: (False, False),
    OrderType.LIMIT: (True, False),
    OrderType.STOP_MARKET: (False, True),
    OrderType.STOP_LIMIT: (True, True),
    OrderType.MARKET_IF_TOUCHED: (False, True),
    OrderType.LIMIT_IF_TOUCHED: (True, True),
}
"""Order type -> (needs a price, needs a trigger price)."""

_INFERRED = {
    (False, False): OrderType.MARKET,
    (True, False): OrderType.LIMIT,
    (False, True): OrderType.STOP_MARKET,
    (True, True): OrderType.STOP_LIMIT,
}


def inferred_order_type(price: float | None, trigger_price: float | None) -> OrderType:
    """No price: market; a price: limit; a trigger price: stop; both: stop limit."""
    return _INFERRED[(price is not None, trigger_price is not None)]


def checked_quantity(quantity: int) -> int:
    """The quantity, or ``StrategyError``."""
    if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 1:
        raise StrategyError(f"the quantity must be a whole number of contracts, at least 1, not {quantity!r}")
    return quantity


def checked_ticks(ticks: int, what: str) -> int:
    """A distance in whole ticks, at least 1, or ``StrategyError``."""
    fault = ticks_fault(ticks, what, least=1)
    if fault:
        raise StrategyError(fault)
    return ticks


def rounded_to_tick(price: float, tick_size: float) -> float:
    """The nearest price that the exchange has, free of floating-point dust."""
    return round(round(price / tick_size) * tick_size, 9)


def checked_price(price: float | None, what: str, instrument: InstrumentTerms) -> float | None:
    """The price exactly on the instrument's grid; ``StrategyError`` when it is off the grid or no number."""
    if price is None:
        return None
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        raise StrategyError(f"the {what} must be a finite number, not {price!r}")
    on_grid = rounded_to_tick(price, instrument.tick_size)
    if abs(on_grid - price) > _TICK_TOLERANCE * instrument.tick_size:
        raise StrategyError(
            f"the {what} {price} is not a multiple of {instrument.symbol}'s tick of {instrument.tick_size}: "
            "use self.round_to_tick(price)"
        )
    return on_grid


def checked_pair(first: OrderTerms, second: OrderTerms) -> None:
    """Raise ``StrategyError`` unless one of the two orders, each checked by itself, can cancel the other."""
    fault = pair_fault(first, second)
    if fault:
        raise StrategyError(f"an OCO order: {fault}")


def checked_terms(terms: OrderTerms, instrument: InstrumentTerms) -> OrderTerms:
    """The terms with their prices on the grid, or a ``StrategyError`` that says what is wrong."""
    checked_quantity(terms.quantity)
    needs_price, needs_trigger = _NEEDS[terms.order_type]
    for value, needed, what in (
        (terms.price, needs_price, "price"),
        (terms.trigger_price, needs_trigger, "trigger_price"),
    ):
        if needed and value is None:
            raise StrategyError(f"a {terms.order_type} order needs a {what}")
        if not needed and value is not None:
            raise StrategyError(f"a {terms.order_type} order takes no {what}")
    fault = held_fault(terms)
    if fault:
        raise StrategyError(fault)
    return msgspec.structs.replace(
        terms,
        price=checked_price(terms.price, "price", instrument),
        trigger_price=checked_price(terms.trigger_price, "trigger_price", instrument),
    )
