"""The synthetic market: anonymous traders in a real book, which clients' orders stand in and trade with.

Each product has a crowd of its own (``crowd.py``), calibrated to a recorded hour (``calibrated.py``). Here its time is
stretched so that the configured rate of events comes out. Of one seed, the same steps.
"""

import heapq
import random
from collections.abc import Callable, Sequence

from nightdesk.errors import ConfigurationError
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.calibrated import CALIBRATED, Calibration
from nightdesk.simulator.flows.crowd import Crowd
from nightdesk.simulator.model import Product, Quoted, Step, Traded, VenueEvent
from nightdesk.simulator.venue.market import Phase
from nightdesk.simulator.venue.matching import MatchingEngine
from nightdesk.simulator.venue.venue import Venue

START_TICKS_MIN = 100
"""Below this there would be no room for a book under the price."""

_STRETCH_MIN, _STRETCH_MAX = 0.5, 2.0
_BALANCED_TICKS = 5_000
"""Busy and quiet times even out over about so many published events: the mean rate is exact in the long run."""
_QUEUE_STRETCH = 20.0
"""Before an opening orders come and go so many times as slowly as in trading."""
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
        share: Callable[[str, int], float] | None = None,
    ) -> None:
        """Starts each product at the price the log remembers, else at ``start_price``.

        ``share`` is a contract's part of the ticks, asked at each opening; without it all have the same.
        """
        self._start_ns = start_ns
        self._ticks_per_s = source.ticks_per_second
        self._even_rate = source.ticks_per_second / len(products)
        self._share = share
        self._products = [
            _ProductFlow(
                venue,
                product,
                source,
                calibration,
                self._rate(product.symbol, start_ns),
                random.Random(source.seed * 1_000 + number),
                start_ns,
            )
            for number, product in enumerate(products)
        ]
        self._numbers = {product.symbol: number for number, product in enumerate(products)}
        self._due: list[tuple[int, int]] = []
        self._is_seeded = False

    def next(self) -> tuple[int, Step] | None:
        """One action of one anonymous trader; what it changes deep in the book publishes nothing.

        None while all markets sleep. It may be asked again without the step having been called.
        """
        if not self._is_seeded:
            return self._start_ns, self._seed
        return (self._due[0][0], self._step) if self._due else None

    # The days of one product (``days/flow_days.py``); without any of these calls it trades from the start.

    def begin(self, symbol: str, phase: Phase) -> None:
        """The phase in which the exchange starts; before the first step."""
        is_traded = self._rate(symbol, self._start_ns) > 0
        self._products[self._numbers[symbol]].begin(phase if is_traded else Phase.CLOSED)

    def queue(self, symbol: str, now_ns: int) -> None:
        """Orders are taken for an opening."""
        self._wake(symbol, Phase.QUEUES, now_ns)

    def before_opening(self, symbol: str, now_ns: int) -> None:
        """The last orders for the opening cross."""
        self._products[self._numbers[symbol]].cross()

    def trade(self, symbol: str, now_ns: int) -> None:
        """The market trades."""
        self._wake(symbol, Phase.TRADES, now_ns)

    def sleep(self, symbol: str, now_ns: int) -> None:
        """Nothing happens until one of the others is called."""
        number = self._numbers[symbol]
        self._products[number].change(Phase.CLOSED, now_ns)
        self._due = [each for each in self._due if each[1] != number]
        heapq.heapify(self._due)

    def _wake(self, symbol: str, phase: Phase, now_ns: int) -> None:
        self.sleep(symbol, now_ns)
        number, rate = self._numbers[symbol], self._rate(symbol, now_ns)
        if rate > 0:
            self._products[number].trade_at(rate)
            self._products[number].change(phase, now_ns)
            heapq.heappush(self._due, (now_ns, number))

    def _rate(self, symbol: str, now_ns: int) -> float:
        return self._even_rate if self._share is None else self._ticks_per_s * self._share(symbol, now_ns)

    def _seed(self) -> list[VenueEvent]:
        self._is_seeded = True
        events: list[VenueEvent] = []
        for number, product in enumerate(self._products):
            events += product.seed(self._start_ns)
            if product.phase is not Phase.CLOSED:
                heapq.heappush(self._due, (self._start_ns + product.pause_ns(self._start_ns), number))
        return events

    def _step(self) -> list[VenueEvent]:
        now_ns, number = self._due[0]
        product = self._products[number]
        events = product.act(now_ns)
        heapq.heapreplace(self._due, (now_ns + product.pause_ns(now_ns), number))
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
        start_ns: int,
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
        self._calibration = calibration
        self._ticks_per_s = self._ticks_per_ns = self._stretched_second_ns = 0.0
        self._published = 0
        self.phase = Phase.TRADES
        self._trading_ns = 0
        """How long the market has traded, without the time since ``_since_ns``."""
        self._since_ns: int | None = start_ns
        self._is_deserted = False
        """Nobody has been there since the market closed."""
        if ticks_per_s > 0:
            self.trade_at(ticks_per_s)
        else:
            self.begin(Phase.CLOSED)

    def trade_at(self, ticks_per_s: float) -> None:
        """The mean number of published events; another one counts from now on."""
        if ticks_per_s == self._ticks_per_s:
            return
        self._ticks_per_s = ticks_per_s
        self._ticks_per_ns = ticks_per_s / _SECOND_NS
        self._stretched_second_ns = self._calibration.published_per_s / ticks_per_s * _SECOND_NS
        self._published = self._trading_ns = 0

    def begin(self, phase: Phase) -> None:
        """The phase at the start."""
        self.phase = phase
        self._is_deserted = phase is Phase.CLOSED
        if phase is not Phase.TRADES:
            self._since_ns = None

    def change(self, phase: Phase, now_ns: int) -> None:
        """Another phase."""
        if self._since_ns is not None:
            self._trading_ns += now_ns - self._since_ns
        self._since_ns = now_ns if phase is Phase.TRADES else None
        self.phase = phase
        self._is_deserted = not self._engine.has_anonymous()

    def seed(self, now_ns: int) -> list[VenueEvent]:
        """Fill the book for the first time, unless the market is closed."""
        outcomes = self._crowd.release() if self.phase is Phase.CLOSED else self._crowd.seed()
        return self._venue.step(self._symbol, outcomes, now_ns)

    def cross(self) -> None:
        """The opening's own orders; the venue tells of them when it has opened the market."""
        if self.phase is Phase.QUEUES and not self._engine.is_matching:
            self._crowd.cross()

    def act(self, now_ns: int) -> list[VenueEvent]:
        """One action of one trader; one that nobody could see is not told to the venue."""
        crowd = self._crowd
        if self._is_deserted:
            self._is_deserted = False
            crowd.is_at_touch = True
            outcomes = crowd.fill()
        else:
            outcomes = crowd.act() if self.phase is Phase.TRADES else crowd.queue()
        if not outcomes and not crowd.is_at_touch and self._engine.changes is None:
            return []
        events = self._venue.step(self._symbol, outcomes, now_ns)
        for event in events:
            if isinstance(event, Quoted | Traded):
                self._published += 1
        return events

    def pause_ns(self, now_ns: int) -> int:
        """Time until the next action, longer after more than the mean rate has been published, and in a queue."""
        elapsed_ns = self._trading_ns + (now_ns - self._since_ns if self._since_ns is not None else 0)
        ahead = self._published - elapsed_ns * self._ticks_per_ns
        stretch = min(max(1.0 + ahead / _BALANCED_TICKS, _STRETCH_MIN), _STRETCH_MAX)
        if self.phase is Phase.QUEUES:
            stretch = _QUEUE_STRETCH
        return round(self._crowd.pause_s() * stretch * self._stretched_second_ns)
