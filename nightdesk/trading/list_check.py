"""The broker's list of orders against our own table, while trading goes on. Pure: nothing is changed by it.

An order that changed between the question and the answer says nothing: what is compared was at rest all the time.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from nightdesk.messages import OrderStatus, OrderType, Side, VenueOrderId
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.order import Order
from nightdesk.trading.units import PRICE_TOLERANCE

_AT_REST = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED})
_PRICED = frozenset({OrderType.LIMIT})
_TRIGGERED_BY_PRICE = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})

Find = Callable[[BrokerUpdate], Order | None]
"""The order that an image is about, of any age; None where nobody here knows it."""


class Resting(NamedTuple):
    """One order as it stood when the list was asked for."""

    order: Order
    status: OrderStatus
    filled_quantity: int
    ts_last_ns: int
    terms_ts_ns: int

    @classmethod
    def of(cls, order: Order) -> "Resting":
        """As it stands now."""
        return cls(order, order.status, order.filled_quantity, order.ts_last_ns, order.terms_ts_ns)

    @property
    def is_unchanged(self) -> bool:
        """Whether it was at rest then and nothing has happened to it since."""
        order = self.order
        at_rest = order.status in _AT_REST and order.operation is None and not order.cancel_wanted
        return at_rest and self == Resting.of(order)


class Difference(NamedTuple):
    """One order of which the list says something else than we do."""

    symbol: str
    venue_order_id: VenueOrderId
    text: str
    """What, for people; the same difference has the same text in the next list."""


class ListCheck(NamedTuple):
    """What a list comes to."""

    differences: tuple[Difference, ...]
    positions: dict[str, int]
    """By symbol: how much more of it the account would hold if what the list says of its orders' fills were right."""


def resting(orders: Iterable[Order]) -> dict[VenueOrderId, Resting]:
    """The orders at work, by the broker's ids; taken before a list is asked for."""
    return {order.venue_order_id: Resting.of(order) for order in orders if order.venue_order_id is not None}


def compare(
    before: dict[VenueOrderId, Resting], since_ns: int, images: Iterable[BrokerUpdate], find: Find
) -> ListCheck:
    """``images`` are those of one whole list; ``before`` was at work when it was asked for, and ``since_ns`` the newest
    time of the broker that was known then."""
    differences: list[Difference] = []
    positions: dict[str, int] = {}
    listed: set[VenueOrderId] = set()
    for image in images:
        listed.add(image.venue_order_id)
        order = find(image)
        known = before.get(image.venue_order_id)
        if known is None:
            has_moved = order is not None and (not order.is_final or order.ts_last_ns > since_ns)
        else:
            has_moved = not known.is_unchanged
        if has_moved:
            # Sent, answered, filled or ended in the meantime.
            continue
        filled = 0 if order is None else order.filled_quantity
        text = _difference(image, order, filled)
        if text:
            differences.append(Difference(image.symbol, image.venue_order_id, text))
        if image.total_filled is not None and image.total_filled != filled:
            more = image.total_filled - filled
            positions[image.symbol] = positions.get(image.symbol, 0) + (more if image.side is Side.BUY else -more)
    for venue_order_id, known in before.items():
        if venue_order_id not in listed and known.is_unchanged:
            text = f"{known.order.client_order_id} is {known.status} here and not listed"
            differences.append(Difference(known.order.symbol, venue_order_id, text))
    return ListCheck(tuple(differences), positions)


def _difference(image: BrokerUpdate, order: Order | None, filled: int) -> str:
    """How an image contradicts what we know; empty for agreement."""
    is_working = not _is_over(image)
    if order is None:
        if not is_working and not image.total_filled:
            return ""
        return f"{image.venue_order_id} is listed as {image.kind} and nobody here knows it"
    name = order.client_order_id
    if order.is_final and is_working:
        return "" if order.revived else f"{name} is {order.status} here and listed as {image.kind}"
    if not order.is_final and not is_working:
        return f"{name} is {order.status} here and listed as {image.kind}"
    if image.total_filled is not None and image.total_filled != filled:
        return f"{name} has filled {filled} here and {image.total_filled} by the list"
    return "" if order.is_final else _terms(image, order)


def _is_over(image: BrokerUpdate) -> bool:
    """An image of an order that has filled is its last execution as well, and reads as that."""
    return image.kind in COMPLETIONS or (image.kind is UpdateKind.FILLED and image.total_unfilled == 0)


def _terms(image: BrokerUpdate, order: Order) -> str:
    quantity = (image.total_filled or 0) + (image.total_unfilled or 0)
    if quantity and quantity != order.quantity:
        return f"{order.client_order_id} is for {order.quantity} here and for {quantity} by the list"
    for name, is_compared, listed, ours in (
        ("price", order.order_type in _PRICED, image.price, order.price),
        (
            "trigger price",
            order.order_type in _TRIGGERED_BY_PRICE and not order.triggered and not order.trail_by_ticks,
            image.trigger_price,
            order.trigger_price,
        ),
    ):
        if is_compared and listed is not None and ours is not None and abs(listed - ours) > PRICE_TOLERANCE:
            return f"{order.client_order_id} has {name} {ours:g} here and {listed:g} by the list"
    return ""
