"""How much of a position is protected by stops that are known to work, and where a further one would be. Pure."""

from collections.abc import Iterable

from nightdesk.messages import OrderStatus, OrderType, Side
from nightdesk.trading.order import Order
from nightdesk.trading.protection import is_leaving, protects
from nightdesk.trading.risk_prices import MarketPrice, is_reached

PROVEN = frozenset(
    {OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_UPDATE}
)
"""Statuses that an order has from the exchange's own word alone."""


def proven_quantity(position: int, orders: Iterable[Order]) -> int:
    """What of a position working stops protect by the exchange's word; in contracts, at most the position."""
    stops = (each for each in orders if protects(each, position) and each.status in PROVEN and not is_leaving(each))
    return min(abs(position), sum(each.leaves_quantity for each in stops))


def in_transit(position: int, orders: Iterable[Order]) -> list[Order]:
    """Its stops of which nobody can say whether they work: on their way there, in doubt, or on their way off."""
    stops = (each for each in orders if protects(each, position) and not each.is_final)
    return [each for each in stops if each.status not in PROVEN or is_leaving(each)]


def stop_trigger(position: int, open_cost: int, tick_nanos: int, ticks: int) -> int:
    """The trigger of a stop so many ticks from the average price, in billionths: on a tick, the further one of two.

    ``open_cost`` is the position's: signed quantity times price.
    """
    sign = 1 if position > 0 else -1
    # Exact: the position's cost less the distance is so many ticks of one contract, times the position.
    cost, step = open_cost - position * sign * ticks * tick_nanos, abs(position) * tick_nanos
    on_tick = (cost // step if sign > 0 else -(cost // step)) * tick_nanos
    # Nothing on the wire tells a price of zero from a missing one.
    return on_tick if on_tick else on_tick - sign * tick_nanos


def is_beyond(position: int, trigger: int, market: MarketPrice) -> bool:
    """Whether the market has reached a stop's trigger already: the exchange would refuse it."""
    side = Side.SELL if position > 0 else Side.BUY
    return is_reached(OrderType.STOP_MARKET, side, trigger, market)
