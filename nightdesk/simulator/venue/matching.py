"""Price-time priority matching of single orders in one instrument. Pure and deterministic: no clock, no chance, no I/O.

Prices are whole ticks. Anonymous orders (the flow's) and clients' orders stand in the same book. What happens is
returned as a list of outcomes in the order in which it happened; the venue turns them into events.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple, Protocol

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.model import OrderDepthKind
from nightdesk.simulator.venue.auction import equilibrium
from nightdesk.simulator.venue.book import Best, BookChange, BookSide, Level, Order, OrderBook
from nightdesk.simulator.venue.outcomes import (
    Converted,
    Dropped,
    Matched,
    Opened,
    Outcome,
    Pending,
    Printed,
    Refused,
    Triggered,
)

__all__ = [
    "PROTECTION_TICKS",
    "TEXT_IMMEDIATE",
    "TEXT_NO_LIQUIDITY",
    "TEXT_WRONG_SIDE",
    "Best",
    "BookChange",
    "BookSide",
    "Change",
    "Converted",
    "Dropped",
    "Level",
    "Matched",
    "Matcher",
    "MatchingEngine",
    "Opened",
    "Order",
    "OrderBook",
    "Outcome",
    "Pending",
    "Printed",
    "Refused",
    "SelfMatch",
    "Triggered",
    "elected",
    "is_wrong_side",
    "keeps_place",
]

PROTECTION_TICKS = 12
"""How far from the best opposite price a market order may trade; three points for the E-mini S&P, as at CME."""

TEXT_WRONG_SIDE = "Rejected by exchange - stop price is on the wrong side of the last trade"
TEXT_NO_LIQUIDITY = "no opposite orders within the protection band"
TEXT_IMMEDIATE = "not filled at once"
TEXT_SELF_MATCH = "canceled by self match prevention"
TEXT_NOT_TRADING = "the market is not trading"
TEXT_LIMITS = "Rejected by exchange - price is outside of the price limits"


class SelfMatch(StrEnum):
    """What happens when an account's order would trade with the account's own resting order."""

    ALLOW = "ALLOW"
    """They trade, as at CME for those who did not ask for self-match prevention."""
    CANCEL_RESTING = "CANCEL_RESTING"
    CANCEL_AGGRESSOR = "CANCEL_AGGRESSOR"


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


class MatchingEngine(OrderBook):
    """The book of one instrument."""

    publishes = True

    def __init__(self, protection_ticks: int = PROTECTION_TICKS, *, self_match: SelfMatch = SelfMatch.ALLOW) -> None:
        super().__init__()
        self.last_price: int | None = None
        self.is_matching = True
        """False: orders rest and nothing trades, until ``uncross``."""
        self.is_open_to_flow = True
        """False: anonymous orders are not taken."""
        self.limits: tuple[int, int] | None = None
        """The lowest and the highest price that may trade."""
        self.band: Callable[[int], tuple[int, int] | None] | None = None
        """What makes the limits of the first print; None: they are known."""
        self._protection_ticks = protection_ticks
        self._self_match = self_match
        self._stops: dict[Order, None] = {}
        self._held: list[Order] = []
        self._printed_low: int | None = None
        self._printed_high: int | None = None

    def submit(self, order: Order) -> list[Outcome]:
        """Take an order and everything that follows from it, stops set off by it included."""
        is_client = order.is_client
        if not is_client and not self.is_open_to_flow:
            return []
        if self.limits is not None and self._is_outside(order.limit, order.trigger if order.is_pending else None):
            return [Refused(order, TEXT_LIMITS)]
        if order.is_pending:
            if is_wrong_side(order.is_buy, order.trigger or 0, self.last_price):
                return [Refused(order, TEXT_WRONG_SIDE)]
            self._stops[order] = None
            return [Pending(order)]
        outcomes: list[Outcome] = [Opened(order)] if is_client else []
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
            self.remove(order, order.limit)

    def cancel_anonymous(self) -> None:
        """Take every order of the flow's out."""
        for side in (self.bids, self.asks):
            for price in side.prices():
                for order in [each for each in side.levels[price].orders if not each.is_client]:
                    self.remove(order, price)

    def has_anonymous(self) -> bool:
        """Whether an order of the flow's rests."""
        levels = (level for side in (self.bids, self.asks) for level in side.levels.values())
        return any(not order.is_client for level in levels for order in level.orders)

    def modify(self, order: Order, change: Change) -> list[Outcome]:
        """Give a resting or pending order new terms; see ``keeps_place``."""
        if keeps_place(order, change):
            if order.is_pending or order.limit is None or order in self._held:
                order.leaves = change.leaves
            elif change.leaves != order.leaves:
                self.reduce(order, order.limit, change.leaves)
            return []
        was_pending = order.is_pending
        mark = len(self.changes or ())
        self.cancel(order)
        order.leaves, order.limit, order.trigger, order.is_pending = change
        if order.is_pending:
            self._stops[order] = None
            return [] if was_pending else [Pending(order)]
        outcomes: list[Outcome] = []
        self._execute(order, outcomes)
        self.merge_move(order, mark)
        self._elect(outcomes)
        return outcomes

    def restore(self, order: Order) -> None:
        """Rests the order without matching; one that would cross the book is held until ``release``."""
        if order.is_pending:
            self._stops[order] = None
            return
        opposite = self.side(not order.is_buy).best
        if order.limit is None or (opposite is not None and _crosses(order.is_buy, order.limit, opposite)):
            self._held.append(order)
        else:
            self.rest(order, order.limit)

    def release(self) -> list[Outcome]:
        """Match restored orders that crossed each other (they stood side by side in a replay)."""
        held, self._held = self._held, []
        outcomes: list[Outcome] = []
        for order in held:
            self._execute(order, outcomes)
        self._elect(outcomes)
        return outcomes

    def uncross(self) -> list[Outcome]:
        """Trade what crosses in the book at one price, best prices and oldest orders first, and match from now on."""
        self.is_matching = True
        outcomes: list[Outcome] = []
        price = equilibrium(self.bids, self.asks, self.last_price)
        if price is not None:
            traded = 0
            while True:
                bid, ask = self.bids.best, self.asks.best
                if bid is None or ask is None or bid < price or ask > price:
                    break
                buyer = next(iter(self.bids.levels[bid].orders))
                seller = next(iter(self.asks.levels[ask].orders))
                quantity = min(buyer.leaves, seller.leaves)
                for order, at in ((buyer, bid), (seller, ask)):
                    if order.leaves == quantity:
                        self.remove(order, at)
                        order.leaves = 0
                    else:
                        self.reduce(order, at, order.leaves - quantity)
                older = buyer if buyer.priority < seller.priority else seller
                outcomes.append(Matched(older, seller if older is buyer else buyer, price, quantity))
                traded += quantity
            outcomes.append(Printed(price, traded, None))
            self._note_print(price)
        self._elect(outcomes)
        return outcomes

    def _execute(self, order: Order, outcomes: list[Outcome], stop_price: int | None = None) -> None:
        """Match and rest; a market order has a bound, from its trigger when it was a stop."""
        opposite = self.asks if order.is_buy else self.bids
        bound = order.limit
        if bound is None:
            reference = opposite.best if stop_price is None else stop_price
            if reference is None or not self.is_matching:
                outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY if self.is_matching else TEXT_NOT_TRADING))
                return
            bound = reference + (self._protection_ticks if order.is_buy else -self._protection_ticks)
            if self.limits is not None:
                bound = min(max(bound, self.limits[0]), self.limits[1])
        in_force = order.time_in_force
        if not self.is_matching:
            if in_force is TimeInForce.IOC or in_force is TimeInForce.FOK:
                outcomes.append(Dropped(order, TEXT_NOT_TRADING))
            else:
                self.rest(order, bound)
            return
        if in_force is TimeInForce.FOK and not self._has(opposite, order, bound):
            outcomes.append(Dropped(order, TEXT_IMMEDIATE))
            return
        is_stopped = self._match(order, opposite, bound, outcomes)
        if is_stopped or not order.leaves:
            return
        if in_force is TimeInForce.IOC or in_force is TimeInForce.FOK:
            outcomes.append(Dropped(order, TEXT_NO_LIQUIDITY if order.limit is None else TEXT_IMMEDIATE))
            return
        if order.limit is None:
            order.limit = bound
            outcomes.append(Converted(order, bound))
        self.rest(order, bound)

    def _has(self, opposite: BookSide, order: Order, bound: int) -> bool:
        """Whether the order can be filled whole, without its own account's orders where those may not trade."""
        available = 0
        is_guarded = self._self_match is not SelfMatch.ALLOW and order.is_client
        for price in opposite.prices():
            if available >= order.leaves or not _crosses(order.is_buy, bound, price):
                break
            level = opposite.levels[price]
            available += level.total
            if is_guarded:
                available -= sum(own.leaves for own in level.orders if own.account_id == order.account_id)
        return available >= order.leaves

    def _match(self, order: Order, opposite: BookSide, bound: int, outcomes: list[Outcome]) -> bool:
        """Trade up to the bound; True when self-match prevention ended the order."""
        is_guarded = self._self_match is not SelfMatch.ALLOW and order.is_client
        is_stopped = False
        while order.leaves and not is_stopped:
            price = opposite.best
            if price is None or not _crosses(order.is_buy, bound, price):
                break
            level = opposite.levels[price]
            traded = 0
            while order.leaves and level.orders:
                maker = next(iter(level.orders))
                if is_guarded and maker.account_id == order.account_id:
                    is_stopped = self._prevent(order, maker, level, price, outcomes)
                    if is_stopped:
                        break
                    continue
                leaves = maker.leaves
                quantity = leaves if leaves < order.leaves else order.leaves
                order.leaves -= quantity
                level.total -= quantity
                traded += quantity
                if quantity == leaves:
                    del level.orders[maker]
                    self._note_gone(maker, price)
                    maker.leaves = 0
                else:
                    maker.leaves = leaves - quantity
                    if self.changes is not None:
                        self.note_size(maker, price)
                outcomes.append(Matched(maker, order, price, quantity))
            if traded:
                outcomes.append(Printed(price, traded, order.is_buy))
                self._note_print(price)
            if not level.orders:
                opposite.drop(price)
        return is_stopped

    def _prevent(self, order: Order, maker: Order, level: Level, price: int, outcomes: list[Outcome]) -> bool:
        if self._self_match is SelfMatch.CANCEL_AGGRESSOR:
            outcomes.append(Dropped(order, TEXT_SELF_MATCH))
            return True
        del level.orders[maker]
        level.total -= maker.leaves
        self._note_gone(maker, price)
        outcomes.append(Dropped(maker, TEXT_SELF_MATCH))
        return False

    def _note_gone(self, order: Order, price: int) -> None:
        if self.changes is not None:
            self.changes.append(
                BookChange(OrderDepthKind.DELETE, order, order.is_buy, price, None, order.leaves, order.priority)
            )

    def _note_print(self, price: int) -> None:
        self.last_price = price
        if self.band is not None:
            # At once: the stops that the first print sets off are bound by it already.
            self.limits, self.band = self.band(price), None
        if self._printed_low is None or price < self._printed_low:
            self._printed_low = price
        if self._printed_high is None or price > self._printed_high:
            self._printed_high = price

    def _elect(self, outcomes: list[Outcome]) -> None:
        """Trigger stops until no print sets off another; each wave may print further away."""
        while self._printed_low is not None and self._printed_high is not None:
            low, high = self._printed_low, self._printed_high
            self._printed_low = self._printed_high = None
            if not self._stops:
                return
            for order in elected(self._stops, low, high):
                del self._stops[order]
                order.is_pending = False
                outcomes.append(Triggered(order))
                self._execute(order, outcomes, order.trigger)

    def _is_outside(self, limit: int | None, trigger: int | None) -> bool:
        low, high = self.limits or (0, 0)
        return any(price is not None and not low <= price <= high for price in (limit, trigger))


def elected(stops: Iterable[Order], low: int, high: int) -> list[Order]:
    """The stops that prints between ``low`` and ``high`` trigger: the nearest trigger first, then the oldest."""
    pending = [order for order in stops if order.trigger is not None]
    buys = [order for order in pending if order.is_buy and (order.trigger or 0) <= high]
    sells = [order for order in pending if not order.is_buy and (order.trigger or 0) >= low]
    buys.sort(key=lambda order: order.trigger or 0)
    sells.sort(key=lambda order: -(order.trigger or 0))
    return buys + sells


def _crosses(is_buy: bool, limit: int, opposite: int) -> bool:
    return limit >= opposite if is_buy else limit <= opposite
