"""Orders whose time runs out: the lease of entries, and what of the broker's cancels is really an end of time."""

import math

from actors.plants.order_market import Markets
from nightdesk.settings.models import Settings
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.order import Operation, Order, Purpose
from nightdesk.trading.sessions import NS_PER_S


def lease_end_ns(order: Order, settings: Settings) -> int:
    """When an order's lease ends, a whole second of market time; 0: it has none.

    Entries have one where their strategy is configured so, so that they do not outlive the machine. What protects a
    position never has, nor what the system itself sends.
    """
    if order.protective or order.purpose is not Purpose.STRATEGY:
        return 0
    lease_s = next((each.entry_lease_s for each in settings.strategies if each.name == order.strategy_id), None)
    if lease_s is None:
        return 0
    return math.ceil((order.ts_init_ns + round(lease_s * NS_PER_S)) / NS_PER_S) * NS_PER_S


def is_expired(order: Order, now_ns: int) -> bool:
    """Whether an order's lease is over."""
    return 0 < order.expire_ns <= now_ns


def is_expiry(order: Order, update: BrokerUpdate, markets: Markets) -> bool:
    """Whether a cancel that is reported is the end of an order's time: of its lease, or of its day. Nobody asked for
    it."""
    if update.kind is not UpdateKind.COMPLETE_CANCELED or order.is_final:
        return False
    if order.cancel_wanted or order.operation is Operation.CANCEL:
        return False
    return is_expired(order, update.ts_event_ns) or markets.is_day_over(order, update.ts_event_ns)
