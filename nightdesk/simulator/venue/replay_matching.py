"""The rules by which clients' orders fill in a replay. Pure; the recorded market never reacts to them.

**Tape with quotes.** An incoming order that reaches the opposite quote takes what is displayed there, once: what was
taken is gone until that side of the quote changes. What is left of a market order takes one displayed size per tick,
each chunk one tick worse, inside the protection band; what is left of a limit order rests. A resting order joins
behind the size displayed at its price (a price worse than the quote joins behind whatever is displayed when the quote
comes to it; a better one is alone). It is filled by prints at its price once the size ahead has traded or gone, and
entirely, at its own price, when a print goes through its price or the opposite quote reaches it.

**Tape of trades alone.** A market order, and a limit order that reaches it, fills at the last print plus one tick
against it. A resting limit order fills at its own price when a print goes through its price, up to the print's size.

**Pre-open, crossed or missing quotes.** Nothing can be taken: limit orders wait, others are canceled. An order that
waits through the market (its limit is better than the market's price) is filled at the market's price, not at its
own: the opening print, up to its size, or the first good quote, up to its size. A stop that the opening print triggers
fills as on a tape of trades alone.
"""

from collections.abc import Callable

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.venue.matching import (
    PROTECTION_TICKS,
    TEXT_IMMEDIATE,
    TEXT_NO_LIQUIDITY,
    Best,
    Dropped,
    Matched,
    Order,
    Outcome,
    Triggered,
    elected,
)
from nightdesk.simulator.venue.replay_orders import ReplayOrders

TEXT_CLOSED = "the market is not open - no quote to trade with"

_NOTHING = Best(None, 0, 0, None, 0, 0)


class ReplayMatcher(ReplayOrders):
    """Clients' orders beside a recorded market."""

    publishes = False

    def __init__(self, *, has_quotes: bool, is_halted: Callable[[], bool] = lambda: False) -> None:
        """``is_halted`` tells whether a command has stopped the market: clients' orders then do not trade."""
        self.last_price: int | None = None
        self._is_halted = is_halted
        self._has_quotes = has_quotes
        self._best = _NOTHING
        self._is_crossed = False
        self._bid_left = 0
        self._ask_left = 0
        self._ahead: dict[Order, int | None] = {}
        """Resting orders, oldest first, with the size ahead; None: unknown until the quote comes to their price."""
        self._through: set[Order] = set()
        """Resting orders whose limit reaches the market: they wait for size or for the opening, not for their price."""
        self._stops: dict[Order, None] = {}

    def restore(self, order: Order) -> None:
        """The order waits for the tape to begin."""
        if order.is_pending:
            self._stops[order] = None
        else:
            self._ahead[order] = None
            self._through.add(order)

    def best(self) -> Best:
        """The quote of the tape."""
        return self._best

    def on_trade(self, price: int, size: int) -> list[Outcome]:
        """A recorded print: it may fill resting orders and trigger stops. A print without size does neither."""
        if size <= 0:
            return []
        self.last_price = price
        if not (self._ahead or self._stops) or self._is_halted():
            return []
        outcomes: list[Outcome] = []
        if self._ahead:
            self._trade_with_resting(price, size, outcomes)
        if self._stops:
            for order in elected(self._stops, price, price):
                del self._stops[order]
                order.is_pending = False
                outcomes.append(Triggered(order))
                self._execute(order, outcomes, is_triggered=True)
        return outcomes

    def on_quote(self, best: Best) -> list[Outcome]:
        """A recorded quote: it may reach resting orders."""
        before, self._best = self._best, best
        if best[:2] != before[:2]:
            self._bid_left = best.bid_size
        if best[3:5] != before[3:5]:
            self._ask_left = best.ask_size
        self._is_crossed = best.bid is not None and best.ask is not None and best.bid >= best.ask
        outcomes: list[Outcome] = []
        if self._ahead and not self._is_crossed and not self._is_halted():
            for order in self._by_priority():
                self._meet_quote(order, outcomes)
        return outcomes

    def _opposite(self, is_buy: bool) -> int | None:
        """The price that an order can take now."""
        if self._is_crossed or self._is_halted():
            return None
        return self._best.ask if is_buy else self._best.bid

    def _execute(self, order: Order, outcomes: list[Outcome], *, is_triggered: bool = False) -> None:
        # A print that triggers a stop shows that the market trades, though its quote is still that of the pre-open.
        is_unquoted = not self._has_quotes or (is_triggered and self._opposite(order.is_buy) is None)
        by_print = is_unquoted and not self._is_halted()
        if not by_print:
            self._take_displayed(order, outcomes)
        elif self.last_price is not None:
            price = self.last_price + (1 if order.is_buy else -1)
            if order.limit is None or _reaches(order, price):
                _fill(order, price, order.leaves, outcomes)
        if not order.leaves:
            return
        if order.limit is None:
            is_closed = self._opposite(order.is_buy) is None
            outcomes.append(Dropped(order, TEXT_CLOSED if is_closed else TEXT_NO_LIQUIDITY))
        elif order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            outcomes.append(Dropped(order, TEXT_IMMEDIATE))
        else:
            self._rest(order, order.limit)

    def _take_displayed(self, order: Order, outcomes: list[Outcome]) -> None:
        price = self._opposite(order.is_buy)
        if price is None or not _reaches(order, price):
            return
        left = self._ask_left if order.is_buy else self._bid_left
        displayed = self._best.ask_size if order.is_buy else self._best.bid_size
        worse_ticks = PROTECTION_TICKS if order.limit is None else 0
        if order.time_in_force is TimeInForce.FOK and order.leaves > left + worse_ticks * displayed:
            return
        taken = min(order.leaves, left)
        self._use(order.is_buy, taken)
        _fill(order, price, taken, outcomes)
        for distance in range(1, worse_ticks + 1):
            if not order.leaves:
                return
            worse = price + distance if order.is_buy else price - distance
            if worse > 0:
                _fill(order, worse, min(order.leaves, displayed), outcomes)

    def _use(self, is_buy: bool, quantity: int) -> None:
        if is_buy:
            self._ask_left -= quantity
        else:
            self._bid_left -= quantity

    def _rest(self, order: Order, limit: int) -> None:
        opposite = self._opposite(order.is_buy) if self._has_quotes else self.last_price
        if opposite is None or (self._has_quotes and _reaches(order, opposite)):
            self._through.add(order)
        self._ahead[order] = None
        self._join(order, limit)

    def _join(self, order: Order, limit: int) -> None:
        """What the quote says of the size ahead; it never grows, for later orders join behind."""
        own, size = (self._best.bid, self._best.bid_size) if order.is_buy else (self._best.ask, self._best.ask_size)
        if own is None or (limit > own if order.is_buy else limit < own):
            self._ahead[order] = 0
        elif limit == own:
            ahead = self._ahead[order]
            self._ahead[order] = size if ahead is None else min(ahead, size)

    def _meet_quote(self, order: Order, outcomes: list[Outcome]) -> None:
        opposite = self._opposite(order.is_buy)
        limit = order.limit
        if limit is None:
            return
        if opposite is not None and _reaches(order, opposite):
            if order in self._through:
                quantity = min(order.leaves, self._ask_left if order.is_buy else self._bid_left)
                self._use(order.is_buy, quantity)
                _fill(order, opposite, quantity, outcomes)
            else:
                _fill(order, limit, order.leaves, outcomes)
        elif opposite is not None:
            self._through.discard(order)
        if order.leaves:
            self._join(order, limit)
        else:
            self._remove(order)

    def _trade_with_resting(self, price: int, size: int, outcomes: list[Outcome]) -> None:
        left = size
        for order in self._by_priority():
            limit = order.limit
            if limit is None:
                continue
            is_through = limit > price if order.is_buy else limit < price
            if is_through and order in self._through:
                left -= _fill(order, price, min(order.leaves, left), outcomes)
            elif is_through:
                quantity = order.leaves if self._has_quotes else min(order.leaves, left)
                left -= min(left, _fill(order, limit, quantity, outcomes))
            elif limit == price and self._has_quotes and not self._is_crossed:
                left -= self._trade_at_price(order, price, size, left, outcomes)
            if not order.leaves:
                self._remove(order)

    def _trade_at_price(self, order: Order, price: int, size: int, left: int, outcomes: list[Outcome]) -> int:
        ahead = self._ahead[order]
        if ahead is None:
            return 0
        self._ahead[order] = max(0, ahead - size)
        return _fill(order, price, min(order.leaves, max(0, size - ahead), left), outcomes)

    def _by_priority(self) -> list[Order]:
        """Best price first, then oldest."""
        if len(self._ahead) == 1:
            return list(self._ahead)
        return sorted(self._ahead, key=lambda order: -(order.limit or 0) if order.is_buy else (order.limit or 0))

    def _remove(self, order: Order) -> None:
        self._ahead.pop(order, None)
        self._through.discard(order)


def _reaches(order: Order, price: int) -> bool:
    """Whether the order may trade at this opposite price; a market order always may."""
    if order.limit is None:
        return True
    return order.limit >= price if order.is_buy else order.limit <= price


def _fill(order: Order, price: int, quantity: int, outcomes: list[Outcome]) -> int:
    if quantity > 0:
        order.leaves -= quantity
        outcomes.append(Matched(None, order, price, quantity))
    return max(quantity, 0)
