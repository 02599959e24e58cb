"""The synthetic market: anonymous traders in a real book, which clients' orders stand in and trade with.

Each product has a crowd of its own (``crowd.py``), calibrated to a recorded hour (``calibrated.py``). Here its time is
stretched so that the configured rate of events comes out. Of one seed, the same steps.
"""

import heapq
import random
from collections.abc import Sequence

from nightdesk.errors import ConfigurationError
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.calibrated import CALIBRATED, Calibration
from nightdesk.simulator.flows.crowd import Crowd
from nightdesk.simulator.model import Product, Quoted, Step, Traded, VenueEvent
from nightdesk.simulator.venue.matching import MatchingEngine
from nightdesk.simulator.venue.venue import Venue

START_TICKS_MIN = 100
"""Below this there would be no room for a book under the price."""

_STRETCH_MIN, _STRETCH_MAX = 0.5, 2.0
_BALANCED_TICKS = 5_000
"""Busy and quiet times even out over about so many published events: the mean rate is exact in the long run."""
_SECOND_NS = 1_000_000_000


class SyntheticFlow:
    """Endless. ``ticks_per_second`` is the mean number of published trades and quotes of all products together.

    At ``calibration.published_per_s`` for each product the market runs in its own time; at other rates everything in
    it is as much faster or slower.
    """

    def __init__(
        self,
        source: SyntheticSource,
        venue: Venue,
        products: Sequence[Product],
        start_ns: int,
        calibration: Calibration = CALIBRATED,
    ) -> None:
        """Starts each product at the price the log remembers, else at ``start_price``."""
        rate = source.ticks_per_second / len(products)
        self._start_ns = start_ns
        self._products = [
            _ProductFlow(venue, product, source, calibration, rate, random.Random(source.seed * 1_000 + number))
            for number, product in enumerate(products)
        ]
        self._due: list[tuple[int, int]] = []

    def next(self) -> tuple[int, Step] | None:
        """One action of one anonymous trader; what it changes deep in the book publishes nothing."""
        if not self._due:
            return self._start_ns, self._seed
        return self._due[0][0], self._step

    def _seed(self) -> list[VenueEvent]:
        events: list[VenueEvent] = []
        for number, product in enumerate(self._products):
            events += product.seed(self._start_ns)
            heapq.heappush(self._due, (self._start_ns + product.pause_ns(0), number))
        return events

    def _step(self) -> list[VenueEvent]:
        now_ns, number = self._due[0]
        product = self._products[number]
        events = product.act(now_ns)
        heapq.heapreplace(self._due, (now_ns + product.pause_ns(now_ns - self._start_ns), number))
        return events


class _ProductFlow:
    """One product: its crowd, and the stretch of the crowd's time."""

    def __init__(
        self,
        venue: Venue,
        product: Product,
        source: SyntheticSource,
        calibration: Calibration,
        ticks_per_s: float,
        rng: random.Random,
    ) -> None:
        self._venue = venue
        self._symbol = product.symbol
        market = venue.market(product.symbol)
        if isinstance(market.matcher, MatchingEngine):
            self._engine = market.matcher
        else:
            self._engine = MatchingEngine()
            venue.install_matcher(product.symbol, self._engine)
        start = market.mark_ticks
        if start is None:
            start = round(source.start_price / product.tick_size)
        if start < START_TICKS_MIN:
            raise ConfigurationError(
                f"exchange.source.start_price: {product.symbol} would start at {start} ticks; "
                f"at least {START_TICKS_MIN} ticks of {product.tick_size:g} are needed"
            )
        self._crowd = Crowd(self._engine, start, rng, calibration)
        self._ticks_per_ns = ticks_per_s / _SECOND_NS
        self._stretched_second_ns = calibration.published_per_s / ticks_per_s * _SECOND_NS
        self._published = 0

    def seed(self, now_ns: int) -> list[VenueEvent]:
        """Fill the book for the first time."""
        return self._venue.step(self._symbol, self._crowd.seed(), now_ns)

    def act(self, now_ns: int) -> list[VenueEvent]:
        """One action of one trader; one that nobody could see is not told to the venue."""
        outcomes = self._crowd.act()
        if not outcomes and not self._crowd.is_at_touch and self._engine.changes is None:
            return []
        events = self._venue.step(self._symbol, outcomes, now_ns)
        for event in events:
            if isinstance(event, Quoted | Traded):
                self._published += 1
        return events

    def pause_ns(self, elapsed_ns: int) -> int:
        """Time until the next action, longer after more than the mean rate has been published."""
        ahead = self._published - elapsed_ns * self._ticks_per_ns
        stretch = min(max(1.0 + ahead / _BALANCED_TICKS, _STRETCH_MIN), _STRETCH_MAX)
        return round(self._crowd.pause_s() * stretch * self._stretched_second_ns)
