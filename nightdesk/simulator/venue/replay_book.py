"""Clients' orders in the queues of a recorded order book. Pure; the recorded market never reacts to them.

**The public book is the recorded one**, order by order; clients' orders are not part of it, make no prints and never
meet each other. ``record_*`` and ``end_event`` play the recording, the rest is a ``Matcher``.

**Queue.** A client's order joins behind everything that is displayed at its price and ahead of what comes later. What
a recorded fill gives to a recorded order that stands behind it (at a worse price, at its price but later, or a refill
beyond what that order displayed) is the client's instead, at its own limit: at its own price only when nothing recorded
is left ahead of it. A trade whose fills were not recorded is a fill behind the last order at its price. A recorded
order keeps its place only when its size goes down at the same price, as ``keeps_place`` says; one whose displayed size
was used up and is shown again has gone to the back. A recorded order that comes to rest at a client's price or through
it fills the client's order, at that order's limit.

**Taking.** A client's order takes the displayed orders in their order; what was taken of an order is gone for clients
while it keeps its place. Market orders may trade ``PROTECTION_TICKS`` from the best price, stops from their trigger;
what is left rests there.

**Closed market.** Nothing can be taken after a snapshot or a clear until the next trade, and while the book is crossed
or locked: limit orders wait, others are canceled. In an auction (a trade without an aggressor) clients' orders stand in
the queue by price and time and trade at its price. Orders that waited take what is left against them when the event
that opened the market is over, at the market's prices.

**Stops** are triggered by an event's trades and act when the event is over.
"""

from bisect import insort
from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from nightdesk.errors import NightdeskError
from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.venue.book import Order, OrderBook
from nightdesk.simulator.venue.matching import (
    PROTECTION_TICKS,
    TEXT_IMMEDIATE,
    TEXT_NO_LIQUIDITY,
    elected,
)
from nightdesk.simulator.venue.outcomes import (
    Converted,
    Dropped,
    Matched,
    Outcome,
    Triggered,
)
from nightdesk.simulator.venue.replay_matching import TEXT_CLOSED
from nightdesk.simulator.venue.replay_orders import ReplayOrders

_LAST = 1 << 62
"""A place behind every order."""


class RecordingError(NightdeskError):
    """The recording contradicts itself."""


class RecordedOrder(Order):
    """An order of the recording. ``taken`` went to clients, ``filled`` to the recorded market in the present event."""

    __slots__ = ("filled", "taken")

    def __init__(self, order_id: int, is_buy: bool, size: int, limit: int) -> None:
        super().__init__(is_buy, size, limit)
        self.book_id = order_id
        self.filled = 0
        self.taken = 0


class _Part(NamedTuple):
    """What a recorded trade gave to one place of one side's queue."""

    is_buy: bool
    rank: int
    place: int
    size: int


class _Trade(NamedTuple):
    price: int
    size: int
    aggressor: int
    parts: list[_Part]


_Standing = tuple[int, int, Order]
"""A client's resting order with its rank (the lower the better its price) and its place in time."""


class ReplayBook(ReplayOrders, OrderBook):
    """The recorded book of one contract, and the clients' orders beside it; ``changes`` tells of the recorded ones."""

    publishes = False

    def __init__(self, is_halted: Callable[[], bool] = lambda: False) -> None:
        """``is_halted`` tells whether a command has stopped the market: clients' orders then do not trade."""
        super().__init__()
        self.last_price: int | None = None
        self._is_halted = is_halted
        self._recorded: dict[int, RecordedOrder] = {}
        self._standing: tuple[list[_Standing], list[_Standing]] = ([], [])
        """Offers, bids: clients' resting orders, the first to fill first."""
        self._stops: dict[Order, None] = {}
        self._is_open = True
        self._has_traded = True
        """Whether a trade was seen since the last snapshot or clear."""
        self._has_waited = False
        """Whether resting orders may reach the market because it was closed when they came."""
        self._trade: _Trade | None = None
        """The one that the next fills belong to."""
        self._trades: list[_Trade] = []
        """Of the present event."""
        self._filled: list[RecordedOrder] = []
        self._low: int | None = None
        self._high: int | None = None

    # The clients' side.

    @property
    def is_open(self) -> bool:
        """Whether clients' orders can take what is displayed."""
        return self._is_open and not self._is_halted()

    def restore(self, order: Order) -> None:
        """The order stands behind what is displayed; if it reaches the market it trades after the next event."""
        if order.is_pending:
            self._stops[order] = None
        elif order.limit is not None:
            self._rest(order, order.limit)
            self._has_waited = True

    def _remove(self, order: Order) -> None:
        standing = self._standing[order.is_buy]
        standing[:] = [each for each in standing if each[2] is not order]

    # The recording.

    def record_add(self, order_id: int, is_buy: bool, price: int, size: int) -> None:
        """A new order. Raises ``RecordingError`` for one that is there already."""
        if order_id in self._recorded:
            raise RecordingError(f"order {order_id} is added but stands in the book already")
        order = self._recorded[order_id] = RecordedOrder(order_id, is_buy, size, price)
        self.rest(order, price)

    def record_modify(self, order_id: int, price: int, size: int) -> None:
        """New terms of an order. Raises ``RecordingError`` for an unknown one."""
        order = self._known(order_id, "modified")
        before = order.limit or 0
        if price == before and size <= order.leaves - order.filled:
            self.reduce(order, price, size)
        else:
            mark = len(self.changes or ())
            self.remove(order, before)
            order.leaves, order.limit, order.taken = size, price, 0
            self.rest(order, price)
            self.merge_move(order, mark)
        order.filled = 0

    def record_cancel(self, order_id: int, size: int) -> None:
        """An order has gone, or a part of it (size 0: all). Raises ``RecordingError`` for an unknown one."""
        order = self._known(order_id, "canceled")
        if 0 < size < order.leaves:
            self.reduce(order, order.limit or 0, order.leaves - size)
        else:
            self.remove(order, order.limit or 0)
            del self._recorded[order_id]

    def record_trade(self, price: int, size: int, aggressor: int) -> None:
        """A trade: 1 the buyer took, -1 the seller, 0 an auction. Its fills follow; the book does not change by it."""
        self._trade = None
        if size > 0:
            self._trade = _Trade(price, size, aggressor, [])
            self._trades.append(self._trade)
            self.last_price = price
            self._has_traded = True
            self._low = price if self._low is None else min(self._low, price)
            self._high = price if self._high is None else max(self._high, price)

    def record_fill(self, order_id: int, size: int) -> None:
        """What an order traded in the last trade; the aggressor's own part and unknown orders count for nothing."""
        order, trade = self._recorded.get(order_id), self._trade
        if trade is None:
            return
        if order is None or (trade.aggressor and order.is_buy == (trade.aggressor > 0)):
            trade.parts.append(_Part(False, _LAST, _LAST, 0))
            return
        rank = _rank(order.is_buy, order.limit or 0)
        displayed = min(size, max(0, order.leaves - order.filled))
        order.filled += size
        self._filled.append(order)
        trade.parts.append(_Part(order.is_buy, rank, order.priority, displayed))
        if size > displayed:
            trade.parts.append(_Part(order.is_buy, rank, _LAST, size - displayed))

    def record_clear(self) -> None:
        """All recorded orders are gone and the market is closed; clients' orders stand where they stood."""
        for order in self._recorded.values():
            self.remove(order, order.limit or 0)
        self._recorded.clear()
        self._has_traded = self._is_open = False

    def rejoin(self) -> None:
        """Clients' orders go behind what a snapshot has put into the book."""
        for standing in self._standing:
            standing[:] = [(rank, self._next_place(), order) for rank, _, order in standing]

    def end_event(self) -> list[Outcome]:
        """The event is over and the book consistent: what all of it brought to clients' orders."""
        outcomes: list[Outcome] = []
        is_halted = self._is_halted()
        for order in self._filled:
            order.filled = 0
        self._filled.clear()
        if self._trades:
            if not is_halted:
                for trade in self._trades:
                    self._share(trade, outcomes)
            self._trades.clear()
            self._trade = None
        bid, ask = self.bids.best, self.asks.best
        was_open = self._is_open
        is_crossed = bid is not None and ask is not None and bid >= ask
        self._is_open = self._has_traded and not is_crossed and not is_halted
        if self._is_open and (self._standing[0] or self._standing[1]):
            self._meet(outcomes, is_opening=self._has_waited or not was_open)
        if self._low is not None and self._high is not None and not is_halted:
            for stop in elected(self._stops, self._low, self._high):
                del self._stops[stop]
                stop.is_pending = False
                outcomes.append(Triggered(stop))
                self._execute(stop, outcomes, stop.trigger)
        self._low = self._high = None
        return outcomes

    # Inside.

    def _next_place(self) -> int:
        self._priority += 1
        return self._priority

    def _known(self, order_id: int, what: str) -> RecordedOrder:
        order = self._recorded.get(order_id)
        if order is None:
            raise RecordingError(f"order {order_id} is {what} but does not stand in the book")
        return order

    def _rest(self, order: Order, limit: int) -> None:
        insort(self._standing[order.is_buy], (_rank(order.is_buy, limit), self._next_place(), order))

    def _execute(self, order: Order, outcomes: list[Outcome], stop_price: int | None = None) -> None:
        is_patient = order.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK)
        if not self.is_open:
            if order.limit is None or not is_patient:
                outcomes.append(Dropped(order, TEXT_CLOSED))
            else:
                self._rest(order, order.limit)
                self._has_waited = True
            return
        bound = self._bound(order, stop_price)
        if bound is None:
            outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY))
            return
        if order.time_in_force is not TimeInForce.FOK or self._available(order, bound) >= order.leaves:
            self._take(order, bound, outcomes)
        if not order.leaves:
            return
        if not is_patient:
            outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY if order.limit is None else TEXT_IMMEDIATE))
            return
        if order.limit is None:
            order.limit = bound
            outcomes.append(Converted(order, bound))
        self._rest(order, bound)

    def _bound(self, order: Order, stop_price: int | None) -> int | None:
        """The worst price that the order may trade at; None: there is nothing that a market order could go by."""
        if order.limit is not None:
            return order.limit
        reference = self.side(not order.is_buy).best if stop_price is None else stop_price
        if reference is None:
            return None
        return reference + (PROTECTION_TICKS if order.is_buy else -PROTECTION_TICKS)

    def _reachable(self, is_buy: bool, bound: int) -> list[int]:
        """The opposite prices up to the bound, the best first."""
        opposite = self.side(not is_buy)
        best = opposite.best
        if best is None or ((best > bound) if is_buy else (best < bound)):
            return []
        return list(takewhile(lambda price: price <= bound if is_buy else price >= bound, opposite.prices()))

    def _available(self, order: Order, bound: int) -> int:
        levels = self.side(not order.is_buy).levels
        return sum(_left(maker) for price in self._reachable(order.is_buy, bound) for maker in levels[price].orders)

    def _take(self, order: Order, bound: int, outcomes: list[Outcome], price: int | None = None) -> None:
        """Take what is displayed, at its own prices or at the one given."""
        levels = self.side(not order.is_buy).levels
        for level_price in self._reachable(order.is_buy, bound):
            for maker in levels[level_price].orders:
                quantity = min(order.leaves, _left(maker))
                if quantity and isinstance(maker, RecordedOrder):
                    maker.taken += quantity
                    order.leaves -= quantity
                    outcomes.append(Matched(None, order, level_price if price is None else price, quantity))
                if not order.leaves:
                    return

    def _meet(self, outcomes: list[Outcome], *, is_opening: bool) -> None:
        """Resting orders trade with recorded ones that have come to rest at their prices or through them."""
        self._has_waited = False
        for is_buy in (True, False):
            standing = self._standing[is_buy]
            for _, _, order in standing:
                bound = order.limit or 0
                if not self._reachable(is_buy, bound):
                    break
                self._take(order, bound, outcomes, price=None if is_opening else bound)
            self._forget_filled(is_buy)

    def _share(self, trade: _Trade, outcomes: list[Outcome]) -> None:
        """Give clients' orders what a trade gave to recorded orders behind them.

        Only now, at the end of the event: an order ahead may have been canceled by the trade itself, so that its
        owner did not trade with himself.
        """
        parts = trade.parts
        if not parts:
            sides = (False, True) if not trade.aggressor else (trade.aggressor < 0,)
            parts = [_Part(side, _rank(side, trade.price), _LAST, trade.size) for side in sides]
        for part in sorted(parts):
            size = part.size
            for rank, place, order in self._standing[part.is_buy]:
                if not size or (rank, place) >= (part.rank, part.place):
                    break
                if rank == part.rank and self._is_anybody_ahead(order, place):
                    continue
                price = trade.price if not trade.aggressor or order.limit is None else order.limit
                quantity = min(order.leaves, size)
                if quantity:
                    size -= quantity
                    order.leaves -= quantity
                    outcomes.append(Matched(None, order, price, quantity))
        self._forget_filled(True)
        self._forget_filled(False)

    def _is_anybody_ahead(self, order: Order, place: int) -> bool:
        level = self.side(order.is_buy).levels.get(order.limit or 0)
        return level is not None and next(iter(level.orders)).priority < place

    def _forget_filled(self, is_buy: bool) -> None:
        standing = self._standing[is_buy]
        if standing and not all(order.leaves for _, _, order in standing):
            standing[:] = [each for each in standing if each[2].leaves]


def _rank(is_buy: bool, price: int) -> int:
    """The lower the better the price."""
    return -price if is_buy else price


def _left(maker: Order) -> int:
    """What clients can still take of a recorded order."""
    return max(0, maker.leaves - maker.taken) if isinstance(maker, RecordedOrder) else 0
