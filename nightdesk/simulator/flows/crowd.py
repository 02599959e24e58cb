"""The anonymous traders of one product: what they do next, and when, in the recorded market's own time.

The price has no other source than their orders. Makers tend to each level: where they find many orders they rather
cancel, where they find few they rather join. Takers work off large orders piece by piece and clear what has become
thin. A gap between bid and offer is closed by whoever comes first.
"""

import math
import random
from bisect import bisect_right
from itertools import accumulate

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.flows.calibrated import CALIBRATED, Calibration
from nightdesk.simulator.venue.matching import BookSide, MatchingEngine, Order, Outcome

ORDERS_PER_LEVEL_MAX = 100
"""Orders at one price, clients' included, beyond which nobody joins."""
ABSURD_TAKEN = 300
"""Contracts taken at once from a client's order at less than half or more than one and a half times the start."""
FAR_FROM = 12
"""From this level on orders have the sizes of those who only stand by."""
OPENING_ORDERS = 40
"""Orders that come for the opening cross alone."""
OPENING_REACH_TICKS = 2.0
"""How far through the last price they are limited, in the mean."""
TICKS_KEPT = 150
"""Anonymous orders further behind the best price than this are canceled, so that the book stays small."""


class Crowd:
    """Of one random generator, the same actions. ``start_ticks`` is a price to begin at and to keep in sight of."""

    def __init__(
        self,
        engine: MatchingEngine,
        start_ticks: int,
        rng: random.Random,
        calibration: Calibration = CALIBRATED,
    ) -> None:
        self._engine = engine
        self._chance = rng.random
        self._gauss = rng.gauss
        self._habits = calibration
        self._level_bounds = list(accumulate(calibration.level_shares))
        self._near_levels = len(self._level_bounds)
        self._low, self._high = max(1, start_ticks // 2), start_ticks + start_ticks // 2
        self._bid, self._ask = start_ticks, start_ticks + 1
        self.is_at_touch = True
        """False: the last action was behind the best prices, which it cannot have changed."""
        self._is_rising = False
        self._burst_left = 0
        self._burst_trades = False
        self._is_trade_next = False
        self._burst_traded = False
        self._last_is_buy = False
        self._mood = 0.0
        self._parent_is_buy = False
        self._parent_left = 0

    def seed(self) -> list[Outcome]:
        """Fill the book for the first time; restored clients' orders that stand in the way are traded with."""
        return self._engine.release() + self._fill(self._bid)

    def release(self) -> list[Outcome]:
        """Restored clients' orders that cross each other go into the book of a market that does not trade."""
        return self._engine.release()

    def fill(self) -> list[Outcome]:
        """Fill a book that has been left by everybody, around the last price."""
        return self._fill(min(max(self._bid, self._low), self._high - 1))

    def queue(self) -> list[Outcome]:
        """One action before an opening: an order comes or goes, around the last price and never through it."""
        habits, chance = self._habits, self._chance
        is_buy = chance() < 0.5
        depth = min(bisect_right(self._level_bounds, chance()), self._near_levels - 1)
        price = self._bid - depth if is_buy else self._bid + 1 + depth
        self.is_at_touch = depth == 0
        side = self._engine.bids if is_buy else self._engine.asks
        level = side.levels.get(price)
        present, wanted = len(level.orders) if level is not None else 0, habits.level_orders[depth]
        if chance() * (present + wanted) < wanted:
            return self._add(is_buy, price, depth)
        if level is not None:
            self._withdraw(side, level.orders)
        return []

    def cross(self) -> list[Outcome]:
        """The last orders before an opening: they meet each other in it, so that it has a price and a volume."""
        habits, chance = self._habits, self._chance
        outcomes: list[Outcome] = []
        for _ in range(OPENING_ORDERS):
            is_buy = chance() < 0.5
            through = int(-math.log(1.0 - chance()) * OPENING_REACH_TICKS)
            price = self._bid + 1 + through if is_buy else self._bid - through
            quantity = habits.trade_sizes[int(chance() * len(habits.trade_sizes))]
            if self._low < price < self._high:
                outcomes += self._engine.submit(Order(is_buy, quantity, price))
        return outcomes

    def pause_s(self) -> float:
        """How long they wait before the next action; draw it once per action."""
        chance = self._chance
        habits = self._habits
        if self._burst_left > 0:
            self._burst_left -= 1
            if self._burst_trades:
                share = habits.trade_after_trade if self._is_trade_next else habits.trade_in_burst
                self._is_trade_next = chance() < share
            return _between(habits.burst_gaps_s, chance())
        self._burst_traded = False
        self._burst_trades = self._is_trade_next = chance() < habits.trading_burst_share
        lengths = habits.trading_burst_lengths if self._burst_trades else habits.quiet_burst_lengths
        self._burst_left = lengths[int(chance() * len(lengths))] - 1
        gap_s = _between(habits.calm_gaps_s, chance()) * math.exp(self._mood)
        kept = math.exp(-gap_s / habits.mood_s)
        self._mood = self._mood * kept + self._gauss(0.0, habits.mood_deviation) * math.sqrt(1.0 - kept * kept)
        return gap_s

    def act(self) -> list[Outcome]:
        """One action of one trader."""
        self.is_at_touch = True
        if not self._engine.is_open_to_flow:
            return []
        bid, ask = self._engine.bids.best, self._engine.asks.best
        if (ask is not None and ask <= self._low) or (bid is not None and bid >= self._high):
            return self._engine.submit(_taker(ask is not None and ask <= self._low, ABSURD_TAKEN))
        if bid is None or ask is None:
            return self._reopen(bid, ask)
        if ask > self._ask:
            self._is_rising = True
        elif bid < self._bid:
            self._is_rising = False
        self._bid, self._ask = bid, ask
        return self._take(bid, ask) if self._is_trade_next else self._tend(bid, ask)

    def _take(self, bid: int, ask: int) -> list[Outcome]:
        """A market order."""
        habits, chance = self._habits, self._chance
        bid_total = self._engine.bids.levels[bid].total
        ask_total = self._engine.asks.levels[ask].total
        if self._burst_traded and chance() < habits.repeat_share:
            is_buy = self._last_is_buy
        elif chance() < habits.thin_share:
            is_buy = chance() * (bid_total + ask_total) < bid_total
        else:
            is_buy = self._next_of_parent()
        self._burst_traded, self._last_is_buy = True, is_buy
        total = ask_total if is_buy else bid_total
        quantity = habits.trade_sizes[int(chance() * len(habits.trade_sizes))]
        if quantity > total:
            if chance() >= habits.sweep_share:
                quantity = total
        elif total <= habits.clear_max and chance() < habits.clear_share:
            quantity = total
        return self._engine.submit(_taker(is_buy, quantity))

    def _next_of_parent(self) -> bool:
        """The side of the next piece of a large order, or of a small one on its own."""
        habits, chance = self._habits, self._chance
        if chance() >= habits.parent_share:
            return chance() < 0.5
        if self._parent_left <= 0:
            self._parent_is_buy = chance() < 0.5
            length = (1.0 - chance()) ** (-1.0 / habits.parent_exponent)
            self._parent_left = min(int(length), habits.parent_length_max)
        self._parent_left -= 1
        return self._parent_is_buy

    def _tend(self, bid: int, ask: int) -> list[Outcome]:
        """Liquidity comes and goes, mostly near the touch."""
        habits, chance = self._habits, self._chance
        is_buy = chance() < 0.5
        depth = bisect_right(self._level_bounds, chance())
        self.is_at_touch = depth == 0
        spread = ask - bid
        if spread > 2 or (spread == 2 and depth == 0 and chance() < habits.improve_share):
            return self._improve(bid, ask)
        side = self._engine.bids if is_buy else self._engine.asks
        if depth < self._near_levels:
            wanted = habits.level_orders[depth]
        else:
            depth += int(-math.log(1.0 - chance()) * habits.far_mean_ticks)
            wanted = habits.far_orders
            self._prune(side, bid if is_buy else ask)
        price = bid - depth if is_buy else ask + depth
        level = side.levels.get(price)
        present = len(level.orders) if level is not None else 0
        if depth == 0 and self._burst_trades:
            wanted *= 1.0 + habits.lean if is_buy == self._parent_is_buy else 1.0 - habits.lean
        joining = wanted / (present + wanted)
        if depth == 0 and present:
            joining = 0.5 + habits.touch_balance * (joining - 0.5)
        if chance() < joining:
            return self._add(is_buy, price, depth)
        if level is not None:
            self._withdraw(side, level.orders)
        return []

    def _improve(self, bid: int, ask: int) -> list[Outcome]:
        """Close the gap that a cleared level has left: the other side follows, or the same one comes back."""
        self.is_at_touch = True
        is_buy = self._is_rising == (self._chance() < self._habits.follow_share)
        return self._add(is_buy, bid + 1 if is_buy else ask - 1, 0)

    def _add(self, is_buy: bool, price: int, depth: int) -> list[Outcome]:
        habits = self._habits
        if (price >= self._high or price < 1) if is_buy else price <= self._low:
            return []
        sizes = habits.touch_sizes if not depth else habits.near_sizes if depth < FAR_FROM else habits.far_sizes
        level = (self._engine.bids if is_buy else self._engine.asks).levels.get(price)
        if level is not None and len(level.orders) >= ORDERS_PER_LEVEL_MAX:
            return []
        return self._engine.submit(Order(is_buy, sizes[int(self._chance() * len(sizes))], price))

    def _fill(self, bid: int) -> list[Outcome]:
        """A whole book around a price."""
        outcomes: list[Outcome] = []
        for depth, orders in enumerate(self._habits.level_orders):
            for is_buy in (True, False):
                price = bid - depth if is_buy else bid + 1 + depth
                for _ in range(round(orders)):
                    outcomes += self._add(is_buy, price, depth)
        return outcomes

    def _withdraw(self, side: BookSide, orders: dict[Order, None]) -> None:
        """Cancel an order, rather a young one."""
        if len(side.keys) <= 1:
            return
        if self._chance() < self._habits.newest_share:
            order = next(reversed(orders))
        else:
            listed = list(orders)
            order = listed[int(self._chance() * len(listed))]
        if not order.is_client:
            self._engine.cancel(order)

    def _prune(self, side: BookSide, best: int) -> None:
        """Cancel the anonymous orders of one level that has been left far behind, the worst first."""
        for key in side.keys:
            price = abs(key)
            if abs(price - best) <= TICKS_KEPT:
                return
            anonymous = [order for order in side.levels[price].orders if not order.is_client]
            if anonymous:
                for order in anonymous:
                    self._engine.cancel(order)
                return

    def _reopen(self, bid: int | None, ask: int | None) -> list[Outcome]:
        """Somebody has bought or sold everything, or the market was closed: offer again, beside what is left."""
        if bid is not None:
            return self._add(False, max(bid, self._low) + 1, 0)
        if ask is not None:
            return self._add(True, min(ask, self._high) - 1, 0)
        return self._fill(min(max(self._bid, self._low), self._high - 1))


def _taker(is_buy: bool, quantity: int) -> Order:
    return Order(is_buy, quantity, None, None, TimeInForce.IOC)


def _between(quantiles: tuple[float, ...], chance: float) -> float:
    """A value of the distribution whose quantiles at equal distances these are."""
    position = chance * (len(quantiles) - 1)
    below = int(position)
    return quantiles[below] + (quantiles[below + 1] - quantiles[below]) * (position - below)
