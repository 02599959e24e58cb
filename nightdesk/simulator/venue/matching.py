"""Price-time priority matching of single orders in one instrument. Pure and deterministic: no clock, no chance, no I/O.

Prices are whole ticks. Anonymous orders (the flow's) and clients' orders stand in the same book. What happens is
returned as a list of outcomes in the order in which it happened; the venue turns them into events.
"""

from bisect import bisect_left, insort
from typing import NamedTuple, Protocol

from nightdesk.messages.enums import OrderType, TimeInForce

PROTECTION_TICKS = 12
"""How far from the best opposite price a market order may trade; three points for the E-mini S&P, as at CME."""

TEXT_WRONG_SIDE = "Rejected by exchange - stop price is on the wrong side of the last trade"
TEXT_NO_LIQUIDITY = "no opposite orders within the protection band"
TEXT_IMMEDIATE = "not filled at once"


class Order:
    """One order as the book sees it; ``limit`` None is a market order, ``is_pending`` a stop not yet triggered."""

    __slots__ = ("is_buy", "is_pending", "leaves", "limit", "time_in_force", "trigger")
    is_client = False

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

    @property
    def present_type(self) -> OrderType:
        """The order's type now: a triggered stop has become a market or limit order."""
        if self.is_pending:
            return OrderType.STOP_MARKET if self.limit is None else OrderType.STOP_LIMIT
        return OrderType.MARKET if self.limit is None else OrderType.LIMIT


class Opened(NamedTuple):
    """The exchange took a client's order into the book (or to match it at once)."""

    order: Order


class Pending(NamedTuple):
    """A stop waits for its trigger price."""

    order: Order


class Triggered(NamedTuple):
    """The last trade reached a stop's trigger price."""

    order: Order


class Matched(NamedTuple):
    """Two orders traded; in a replay one of them is None: the recorded market."""

    maker: Order | None
    taker: Order | None
    price: int
    quantity: int


class Printed(NamedTuple):
    """What one aggressor traded at one price; ``aggressor_is_buy`` says which side took."""

    price: int
    quantity: int
    aggressor_is_buy: bool


class Dropped(NamedTuple):
    """The exchange canceled what is left of an order."""

    order: Order
    text: str


class Refused(NamedTuple):
    """The exchange did not take the order."""

    order: Order
    text: str


Outcome = Opened | Pending | Triggered | Matched | Printed | Dropped | Refused


class Best(NamedTuple):
    """Best bid and offer; a side without orders has price None."""

    bid: int | None
    bid_size: int
    bid_orders: int
    ask: int | None
    ask_size: int
    ask_orders: int


class Change(NamedTuple):
    """The terms after a modify; ``leaves`` is what is still to be filled."""

    leaves: int
    limit: int | None
    trigger: int | None
    is_pending: bool


def keeps_place(order: Order, change: Change) -> bool:
    """A modify keeps the order's place in the queue only when the quantity goes down at the same price."""
    same_price = (change.limit, change.trigger, change.is_pending) == (order.limit, order.trigger, order.is_pending)
    return same_price and change.leaves <= order.leaves


def is_wrong_side(is_buy: bool, trigger: int, last_price: int | None) -> bool:
    """Whether a new stop would trigger at the last trade already."""
    return last_price is not None and (trigger <= last_price if is_buy else trigger >= last_price)


class Matcher(Protocol):
    """What the venue needs of a market: the matching engine, or the rules of a replay."""

    last_price: int | None

    @property
    def publishes(self) -> bool:
        """Whether orders move the public market; a replay shows the tape and nothing else."""
        ...

    def submit(self, order: Order) -> list[Outcome]: ...

    def cancel(self, order: Order) -> None: ...

    def modify(self, order: Order, change: Change) -> list[Outcome]: ...

    def restore(self, order: Order) -> None:
        """Put an order back that stood in the book before a restart; its place is behind those already restored."""
        ...

    def best(self) -> Best: ...


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


class MatchingEngine:
    """The book of one instrument."""

    publishes = True

    def __init__(self, protection_ticks: int = PROTECTION_TICKS) -> None:
        self.bids = BookSide(is_buy=True)
        self.asks = BookSide(is_buy=False)
        self.last_price: int | None = None
        self._protection_ticks = protection_ticks
        self._stops: dict[Order, None] = {}
        self._held: list[Order] = []
        self._printed_low: int | None = None
        self._printed_high: int | None = None

    def submit(self, order: Order) -> list[Outcome]:
        """Take an order and everything that follows from it, stops set off by it included."""
        if order.is_pending:
            if is_wrong_side(order.is_buy, order.trigger or 0, self.last_price):
                return [Refused(order, TEXT_WRONG_SIDE)]
            self._stops[order] = None
            return [Pending(order)]
        outcomes: list[Outcome] = [Opened(order)] if order.is_client else []
        self._execute(order, outcomes)
        self._elect(outcomes)
        return outcomes

    def cancel(self, order: Order) -> None:
        """Take a resting or pending order out."""
        if order.is_pending:
            del self._stops[order]
        elif order in self._held:
            self._held.remove(order)
        elif order.limit is not None:
            self._side(order.is_buy).remove(order, order.limit)

    def modify(self, order: Order, change: Change) -> list[Outcome]:
        """Give a resting or pending order new terms; see ``keeps_place``."""
        if keeps_place(order, change):
            if not order.is_pending and order.limit is not None and order not in self._held:
                self._side(order.is_buy).levels[order.limit].total -= order.leaves - change.leaves
            order.leaves = change.leaves
            return []
        was_pending = order.is_pending
        self.cancel(order)
        order.leaves, order.limit, order.trigger, order.is_pending = change
        if order.is_pending:
            self._stops[order] = None
            return [] if was_pending else [Pending(order)]
        outcomes: list[Outcome] = []
        self._execute(order, outcomes)
        self._elect(outcomes)
        return outcomes

    def restore(self, order: Order) -> None:
        """Rests the order without matching; one that would cross the book is held until ``release``."""
        if order.is_pending:
            self._stops[order] = None
            return
        opposite = self._side(not order.is_buy).best
        if order.limit is None or (opposite is not None and _crosses(order.is_buy, order.limit, opposite)):
            self._held.append(order)
        else:
            self._side(order.is_buy).rest(order, order.limit)

    def release(self) -> list[Outcome]:
        """Match restored orders that crossed each other (they stood side by side in a replay)."""
        held, self._held = self._held, []
        outcomes: list[Outcome] = []
        for order in held:
            self._execute(order, outcomes)
        self._elect(outcomes)
        return outcomes

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

    def _side(self, is_buy: bool) -> BookSide:
        return self.bids if is_buy else self.asks

    def _execute(self, order: Order, outcomes: list[Outcome]) -> None:
        opposite = self._side(not order.is_buy)
        bound = order.limit
        if bound is None:
            if opposite.best is None:
                outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY))
                return
            bound = opposite.best + (self._protection_ticks if order.is_buy else -self._protection_ticks)
        if order.time_in_force is TimeInForce.FOK and not self._has(opposite, order.is_buy, bound, order.leaves):
            outcomes.append(Dropped(order, TEXT_IMMEDIATE))
            return
        self._match(order, opposite, bound, outcomes)
        if not order.leaves:
            return
        if order.limit is None:
            outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY))
        elif order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            outcomes.append(Dropped(order, TEXT_IMMEDIATE))
        else:
            self._side(order.is_buy).rest(order, order.limit)

    @staticmethod
    def _has(opposite: BookSide, is_buy: bool, bound: int, quantity: int) -> bool:
        available = 0
        for price in opposite.prices():
            if available >= quantity or not _crosses(is_buy, bound, price):
                break
            available += opposite.levels[price].total
        return available >= quantity

    def _match(self, order: Order, opposite: BookSide, bound: int, outcomes: list[Outcome]) -> None:
        while order.leaves:
            price = opposite.best
            if price is None or not _crosses(order.is_buy, bound, price):
                return
            level = opposite.levels[price]
            before = level.total
            while order.leaves and level.orders:
                maker = next(iter(level.orders))
                quantity = min(maker.leaves, order.leaves)
                maker.leaves -= quantity
                order.leaves -= quantity
                level.total -= quantity
                if not maker.leaves:
                    del level.orders[maker]
                outcomes.append(Matched(maker, order, price, quantity))
            outcomes.append(Printed(price, before - level.total, order.is_buy))
            self._note_print(price)
            if not level.orders:
                opposite.drop(price)

    def _note_print(self, price: int) -> None:
        self.last_price = price
        if self._printed_low is None or price < self._printed_low:
            self._printed_low = price
        if self._printed_high is None or price > self._printed_high:
            self._printed_high = price

    def _elect(self, outcomes: list[Outcome]) -> None:
        """Trigger stops until no print sets off another; each wave may print further away."""
        while self._printed_low is not None and self._printed_high is not None:
            low, high = self._printed_low, self._printed_high
            self._printed_low = self._printed_high = None
            for order in elected(self._stops, low, high):
                del self._stops[order]
                order.is_pending = False
                outcomes.append(Triggered(order))
                self._execute(order, outcomes)


def elected(stops: dict[Order, None], low: int, high: int) -> list[Order]:
    """The stops that prints between ``low`` and ``high`` trigger: the nearest trigger first, then the oldest."""
    if not stops:
        return []
    buys = [order for order in stops if order.is_buy and order.trigger is not None and order.trigger <= high]
    sells = [order for order in stops if not order.is_buy and order.trigger is not None and order.trigger >= low]
    buys.sort(key=lambda order: order.trigger or 0)
    sells.sort(key=lambda order: -(order.trigger or 0))
    return buys + sells


def _crosses(is_buy: bool, limit: int, opposite: int) -> bool:
    return limit >= opposite if is_buy else limit <= opposite
