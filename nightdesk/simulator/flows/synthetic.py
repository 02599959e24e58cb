"""Seeded order flow around a moving price: anonymous orders in a real book, which clients' orders stand in and trade
with.

The fair price of each product is a slow random walk plus a fast swing that returns to it. Liquidity providers keep
the book around the fair price, takers trade away what has become stale, and both add noise at the touch. Of one seed,
the same steps.
"""

import math
import random
from collections.abc import Sequence

from nightdesk.errors import ConfigurationError
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.model import OrderHappened, Product, Step, VenueEvent
from nightdesk.simulator.venue.matching import BookSide, MatchingEngine, Order, Outcome
from nightdesk.simulator.venue.venue import Venue

LEVELS = 10
"""Depth: prices with orders on each side of the fair price."""
LEVELS_KEPT = 3 * LEVELS
"""Anonymous orders further away than this are canceled, so that the book stays small."""
ORDERS_PER_LEVEL_MAX = 25
START_TICKS_MIN = 10 * LEVELS

_WALK_TICKS_PER_ROOT_SECOND = 0.8
_SWING_TICKS = 1.6
_SWING_S = 4.0
"""The swing's standard deviation and the time in which it forgets: moving averages of two-second bars cross often."""
_TRIES_MAX = 100
_GAP_S_MAX = 10.0
_SIZES = (1, 1, 1, 1, 2, 2, 3, 4, 5, 5, 8, 10, 15, 25)
_SWEEP_MAX = 300
"""No taker clears a client's wall of thousands at once."""
_STALE_TICKS_MAX = 10.0
"""The fair price does not run away further from a price that a client's wall holds."""
_MAKER_SIZE = 8
"""Whoever opens a price shows at least so much more."""
_SECOND_NS = 1_000_000_000


class SyntheticFlow:
    """Endless. ``ticks_per_second`` is the mean number of published trades and quotes of all products together."""

    def __init__(self, source: SyntheticSource, venue: Venue, products: Sequence[Product], start_ns: int) -> None:
        """Starts each product at the price the log remembers, else at ``start_price``."""
        self._venue = venue
        self._random = random.Random(source.seed)
        self._now_ns = start_ns
        self._mean_gap_s = 1.0 / source.ticks_per_second
        self._published = 0
        self._books = [_ProductFlow(venue, product, source.start_price, self._random) for product in products]
        self._unseeded = list(self._books)

    def next(self) -> tuple[int, Step] | None:
        """The gap grows with what the last step published, so that the mean rate is exact."""
        if self._unseeded:
            return self._now_ns, self._seed
        gap_s = min(_GAP_S_MAX, self._random.expovariate(1.0) * self._mean_gap_s * self._published)
        self._now_ns += round(gap_s * _SECOND_NS)
        return self._now_ns, self._step

    def _seed(self) -> list[VenueEvent]:
        events: list[VenueEvent] = []
        while self._unseeded:
            events += self._unseeded.pop(0).seed(self._now_ns)
        self._published = _count_published(events)
        return events

    def _step(self) -> list[VenueEvent]:
        book = self._books[0] if len(self._books) == 1 else self._random.choice(self._books)
        events = book.step(self._now_ns)
        self._published = _count_published(events)
        return events


class _ProductFlow:
    """One product's fair price and the anonymous traders around it."""

    def __init__(self, venue: Venue, product: Product, start_price: float, rng: random.Random) -> None:
        self._venue = venue
        self._symbol = product.symbol
        self._random = rng
        market = venue.market(product.symbol)
        if isinstance(market.matcher, MatchingEngine):
            self._engine = market.matcher
        else:
            self._engine = MatchingEngine()
            venue.install_matcher(product.symbol, self._engine)
        start = market.mark_ticks
        if start is None:
            start = round(start_price / product.tick_size)
        if start < START_TICKS_MIN:
            raise ConfigurationError(
                f"exchange.source.start_price: {product.symbol} would start at {start} ticks; "
                f"at least {START_TICKS_MIN} ticks of {product.tick_size:g} are needed"
            )
        self._start = start
        self._walk = float(start) + 0.5
        self._swing = 0.0
        self._fair = self._walk
        self._last_ns = 0

    def seed(self, now_ns: int) -> list[VenueEvent]:
        """Fill the book for the first time; restored clients' orders that stand in the way are traded with."""
        self._last_ns = now_ns
        outcomes = self._engine.release()
        for distance in range(LEVELS):
            for is_buy in (True, False):
                for _ in range(2 + distance // 3):
                    outcomes += self._add(is_buy, distance)
        return self._venue.step(self._symbol, outcomes, now_ns)

    def step(self, now_ns: int) -> list[VenueEvent]:
        """Act until something is published; most actions deep in the book are not."""
        self._move_fair((now_ns - self._last_ns) / _SECOND_NS)
        self._last_ns = now_ns
        before = self._engine.best()
        outcomes: list[Outcome] = []
        for _ in range(_TRIES_MAX):
            outcomes += self._act()
            if outcomes or self._engine.best() != before:
                break
        return self._venue.step(self._symbol, outcomes, now_ns)

    def _move_fair(self, elapsed_s: float) -> None:
        elapsed_s = max(elapsed_s, 1e-4)
        gauss = self._random.gauss
        self._walk += gauss(0.0, _WALK_TICKS_PER_ROOT_SECOND) * math.sqrt(elapsed_s)
        # Reflected between half and one and a half times the start: weeks of steps end at no absurd price.
        low, high = self._start * 0.5, self._start * 1.5
        if self._walk < low:
            self._walk = min(2 * low - self._walk, high)
        elif self._walk > high:
            self._walk = max(2 * high - self._walk, low)
        bid, ask = self._engine.bids.best, self._engine.asks.best
        if ask is not None and self._walk > ask + _STALE_TICKS_MAX:
            self._walk = ask + _STALE_TICKS_MAX
        elif bid is not None and self._walk < bid - _STALE_TICKS_MAX:
            self._walk = bid - _STALE_TICKS_MAX
        kept = math.exp(-elapsed_s / _SWING_S)
        self._swing = self._swing * kept + gauss(0.0, _SWING_TICKS) * math.sqrt(1.0 - kept * kept)
        self._fair = self._walk + self._swing

    def _act(self) -> list[Outcome]:
        """One action of one anonymous trader."""
        bid, ask = self._engine.bids.best, self._engine.asks.best
        fair_bid = math.ceil(self._fair) - 1
        fair_ask = fair_bid + 1
        if ask is not None and ask <= fair_bid:
            return self._take(True, fair_bid - ask)
        if bid is not None and bid >= fair_ask:
            return self._take(False, bid - fair_ask)
        choice = self._random.random()
        if bid is None or bid < fair_bid:
            return self._add(True, 0) if choice < 0.95 else self._tend(choice)
        if ask is None or ask > fair_ask:
            return self._add(False, 0) if choice < 0.95 else self._tend(choice)
        if choice < 0.16:
            # Takers lean to the side on which the fair price lies: their trades carry information.
            return self._take(self._random.random() < self._fair - fair_bid, 0)
        return self._tend(choice)

    def _take(self, is_buy: bool, stale_ticks: int) -> list[Outcome]:
        """A market order; larger, the staler the price it takes."""
        quantity = self._random.choice(_SIZES) * min(1 + stale_ticks, 3)
        level = _best_level_total(self._engine.asks if is_buy else self._engine.bids)
        if stale_ticks and level <= _SWEEP_MAX and self._random.random() < 0.5:
            quantity = max(quantity, level)
        return self._engine.submit(Order(is_buy, quantity, None))

    def _tend(self, choice: float) -> list[Outcome]:
        """Liquidity comes and goes, mostly near the touch."""
        is_buy = self._random.random() < 0.5
        side = self._engine.bids if is_buy else self._engine.asks
        distance = min(int(self._random.expovariate(0.45)), LEVELS - 1)
        if choice < 0.64:
            return self._add(is_buy, self._gap(side, is_buy, distance))
        self._withdraw(side, distance)
        self._prune(side)
        return []

    def _gap(self, side: BookSide, is_buy: bool, otherwise: int) -> int:
        """The nearest price without orders, for a book without holes; else the distance that was drawn."""
        fair_bid = math.ceil(self._fair) - 1
        for distance in range(LEVELS):
            if (fair_bid - distance if is_buy else fair_bid + 1 + distance) not in side.levels:
                return distance
        return otherwise

    def _add(self, is_buy: bool, distance: int) -> list[Outcome]:
        fair_bid = math.ceil(self._fair) - 1
        price = fair_bid - distance if is_buy else fair_bid + 1 + distance
        side = self._engine.bids if is_buy else self._engine.asks
        level = side.levels.get(price)
        if level is not None and len(level.orders) >= ORDERS_PER_LEVEL_MAX:
            self._withdraw(side, side.prices().index(price))
            return []
        quantity = self._random.choice(_SIZES)
        if level is None:
            quantity += _MAKER_SIZE + 2 * distance
        return self._engine.submit(Order(is_buy, quantity, price))

    def _withdraw(self, side: BookSide, distance: int) -> None:
        """Cancel an anonymous order of the level so far from the touch, unless it is the side's last level."""
        if len(side.keys) <= 1:
            return
        price = side.prices()[min(distance, len(side.keys) - 1)]
        anonymous = [order for order in side.levels[price].orders if not order.is_client]
        if anonymous:
            self._engine.cancel(self._random.choice(anonymous))

    def _prune(self, side: BookSide) -> None:
        """Cancel what has been left far behind, worst first."""
        for price in reversed(side.prices()[LEVELS:]):
            if abs(price - self._fair) <= LEVELS_KEPT:
                return
            for order in [order for order in side.levels[price].orders if not order.is_client]:
                self._engine.cancel(order)


def _best_level_total(side: BookSide) -> int:
    return side.levels[side.best].total if side.best is not None else 0


def _count_published(events: list[VenueEvent]) -> int:
    return sum(1 for event in events if not isinstance(event, OrderHappened))
