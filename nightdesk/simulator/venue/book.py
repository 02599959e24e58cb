"""The order book of one instrument: single orders by price and time, and the record of what the public saw change.

Prices are whole ticks. While ``OrderBook.changes`` is a list, everything that happens to a resting order is appended
to it; while it is None (nobody watches) nothing is recorded.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

from nightdesk.messages.enums import OrderType, TimeInForce
from nightdesk.simulator.model import OrderDepthKind

FIRST_BOOK_ID = 6_400_000_000_001
"""Where a book's numbers for anonymous orders begin; far from every basket id."""


class Order:
    """One order as the book sees it; ``limit`` None is a market order, ``is_pending`` a stop not yet triggered.

    ``priority`` is the place in the book: increasing, new when the order loses its place, 0 before it rests.
    """

    __slots__ = ("book_id", "is_buy", "is_pending", "leaves", "limit", "priority", "time_in_force", "trigger")
    is_client = False
    account_id = ""

    def __init__(
        self,
        is_buy: bool,
        leaves: int,
        limit: int | None,
        trigger: int | None = None,
        time_in_force: TimeInForce = TimeInForce.DAY,
    ) -> None:
        self.is_buy = is_buy
        self.leaves = leaves
        self.limit = limit
        self.trigger = trigger
        self.is_pending = trigger is not None
        self.time_in_force = time_in_force
        self.priority = 0
        self.book_id = 0

    @property
    def exchange_order_id(self) -> str:
        """The number under which the public book shows it; an anonymous order has one once it has rested."""
        return str(self.book_id)

    @property
    def present_type(self) -> OrderType:
        """The order's type now: a triggered stop has become a market or limit order."""
        if self.is_pending:
            return OrderType.STOP_MARKET if self.limit is None else OrderType.STOP_LIMIT
        return OrderType.MARKET if self.limit is None else OrderType.LIMIT


class BookChange(NamedTuple):
    """One change of the public book; ``size`` is the order's afterwards or, of a DELETE, before it."""

    kind: OrderDepthKind
    order: Order
    is_buy: bool
    price: int
    previous_price: int | None
    """Of a CHANGE that moved the order; otherwise None."""
    size: int
    priority: int


class Best(NamedTuple):
    """Best bid and offer; a side without orders has price None."""

    bid: int | None
    bid_size: int
    bid_orders: int
    ask: int | None
    ask_size: int
    ask_orders: int


class Level:
    """The orders at one price, oldest first; ``total`` is their quantity."""

    __slots__ = ("orders", "total")

    def __init__(self) -> None:
        self.orders: dict[Order, None] = {}
        self.total = 0


class BookSide:
    """One side of the book. ``keys`` holds its prices worst to best, negated for offers, so that the best is last."""

    __slots__ = ("_sign", "keys", "levels")

    def __init__(self, is_buy: bool) -> None:
        self._sign = 1 if is_buy else -1
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    @property
    def best(self) -> int | None:
        return self._sign * self.keys[-1] if self.keys else None

    def prices(self) -> list[int]:
        """Prices from the best to the worst."""
        return [self._sign * key for key in reversed(self.keys)]

    def rest(self, order: Order, price: int) -> None:
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level()
            insort(self.keys, self._sign * price)
        level.orders[order] = None
        level.total += order.leaves

    def remove(self, order: Order, price: int) -> None:
        level = self.levels[price]
        del level.orders[order]
        level.total -= order.leaves
        if not level.orders:
            self.drop(price)

    def drop(self, price: int) -> None:
        """Forget an empty level."""
        del self.levels[price]
        del self.keys[bisect_left(self.keys, self._sign * price)]


class OrderBook:
    """Both sides, the places of orders, and the record of changes."""

    def __init__(self) -> None:
        self.bids = BookSide(is_buy=True)
        self.asks = BookSide(is_buy=False)
        self.changes: list[BookChange] | None = None
        self._priority = 0
        self._book_id = FIRST_BOOK_ID - 1

    def side(self, is_buy: bool) -> BookSide:
        return self.bids if is_buy else self.asks

    def best(self) -> Best:
        bids, asks = self.bids, self.asks
        bid, ask = bids.best, asks.best
        bid_level = bids.levels[bid] if bid is not None else None
        ask_level = asks.levels[ask] if ask is not None else None
        return Best(
            bid,
            bid_level.total if bid_level else 0,
            len(bid_level.orders) if bid_level else 0,
            ask,
            ask_level.total if ask_level else 0,
            len(ask_level.orders) if ask_level else 0,
        )

    def rest(self, order: Order, price: int) -> None:
        """Put the order behind the others at its price; it gets a new priority."""
        self._priority = order.priority = self._priority + 1
        if not order.book_id and not order.is_client:
            self._book_id = order.book_id = self._book_id + 1
        (self.bids if order.is_buy else self.asks).rest(order, price)
        if self.changes is not None:
            self.changes.append(
                BookChange(OrderDepthKind.NEW, order, order.is_buy, price, None, order.leaves, order.priority)
            )

    def remove(self, order: Order, price: int) -> None:
        """Take the order out."""
        (self.bids if order.is_buy else self.asks).remove(order, price)
        if self.changes is not None:
            self.changes.append(
                BookChange(OrderDepthKind.DELETE, order, order.is_buy, price, None, order.leaves, order.priority)
            )

    def reduce(self, order: Order, price: int, leaves: int) -> None:
        """Less of the order, in its place."""
        (self.bids if order.is_buy else self.asks).levels[price].total -= order.leaves - leaves
        order.leaves = leaves
        self.note_size(order, price)

    def note_size(self, order: Order, price: int) -> None:
        """The order has its new size in its old place."""
        if self.changes is not None:
            self.changes.append(
                BookChange(OrderDepthKind.CHANGE, order, order.is_buy, price, None, order.leaves, order.priority)
            )

    def merge_move(self, order: Order, mark: int) -> None:
        """A modified order that only changed its place is one CHANGE, not a DELETE and a NEW, since ``mark``."""
        changes = self.changes
        if changes is None or len(changes) != mark + 2:
            return
        gone, new = changes[mark:]
        if gone.kind is OrderDepthKind.DELETE and new.kind is OrderDepthKind.NEW and new.order is order is gone.order:
            moved_from = gone.price if gone.price != new.price else None
            changes[mark:] = [new._replace(kind=OrderDepthKind.CHANGE, previous_price=moved_from)]
