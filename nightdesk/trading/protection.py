"""Which orders protect a position, and what of the orders around it is more than the position. Pure."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from nightdesk.messages import OrderStatus, OrderType, Side
from nightdesk.trading.order import Operation, Order, Purpose

STOP_TYPES = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
"""What can protect a position; a target is an exit like any other, whatever its flag says."""


class _Flagged(Protocol):
    @property
    def protective(self) -> bool: ...
    @property
    def order_type(self) -> OrderType: ...


class Cut(NamedTuple):
    """An order that is more than the position: what of its open quantity is to stay, 0 for nothing."""

    order: Order
    keep: int


def is_protection(order: _Flagged) -> bool:
    """Whether the order is a protective stop; the flag alone makes none."""
    return order.protective and order.order_type in STOP_TYPES


def protects(order: Order, held: int) -> bool:
    """Whether an order is a protective stop of the side that lowers a position."""
    return is_protection(order) and (order.side is Side.SELL) == (held > 0)


def is_leaving(order: Order) -> bool:
    """Whether the order is being canceled."""
    return order.cancel_wanted or order.operation is Operation.CANCEL or order.status is OrderStatus.PENDING_CANCEL


def protection_beyond(quantity: int, orders: Iterable[Order], *, with_entries: bool = True) -> list[Cut]:
    """Of one strategy's and symbol's protective orders, what is more than its position ``quantity`` (signed).

    Stops may have the whole position, and so may targets beside them. With ``with_entries`` the position is what it
    comes to when all that is not protective on the other side fills, too: a stop that was put beside an entry stays as
    long as the entry may fill. The oldest are kept; one in doubt, which may not exist, comes after all that do.
    """
    orders = [order for order in orders if order.purpose is Purpose.STRATEGY]
    flagged = [order for order in orders if order.protective and not is_leaving(order)]
    cuts = []
    for side in Side:
        coming = sum(each.exposure for each in orders if each.side is not side and not each.protective)
        grown = quantity + (coming if side is Side.SELL else -coming) if with_entries else quantity
        room = max(_held(quantity, side), _held(grown, side))
        for are_stops in (True, False):
            cuts += _beyond(room, [each for each in flagged if is_protection(each) is are_stops], side)
    return cuts


def beyond_exits(quantity: int, orders: Iterable[Order]) -> list[Cut]:
    """All orders of one strategy and symbol that could open a position or be more than it, stops by themselves."""
    orders = list(orders)
    others = [each for each in orders if each.purpose is Purpose.STRATEGY and not is_protection(each)]
    resting = [each for each in others if not is_leaving(each)]
    exits = [cut for side in Side for cut in _beyond(_held(quantity, side), resting, side)]
    return exits + [cut for cut in protection_beyond(quantity, orders) if is_protection(cut.order)]


def _held(quantity: int, side: Side) -> int:
    """What an order of a side can close of a position."""
    return max(0, quantity if side is Side.SELL else -quantity)


def _beyond(room: int, orders: list[Order], side: Side) -> list[Cut]:
    cuts = []
    for order in sorted((each for each in orders if each.side is side), key=_age):
        keep = min(room, order.exposure)
        room -= keep
        if keep < order.exposure:
            cuts.append(Cut(order, keep))
    return cuts


def _age(order: Order) -> tuple[bool, int]:
    return order.status is OrderStatus.UNKNOWN, order.ts_init_ns
