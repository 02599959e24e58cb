"""One instrument's public side: the last print and quote, the session's volume, its mode, and the matcher behind."""

from enum import StrEnum
from typing import Protocol, runtime_checkable

from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.model import (
    BookChanged,
    LevelDepth,
    OrderDepth,
    OrderDepthKind,
    Product,
    Quoted,
    Traded,
)
from nightdesk.simulator.venue.book import Best, BookChange, BookSide
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import Matcher, MatchingEngine, Outcome

TEXT_CLOSED = "Rejected by exchange - the market is closed"
TEXT_HALTED = "Rejected by exchange - the market is halted"
TEXT_EXPIRED = "Rejected by exchange - the contract has expired"
TEXT_NO_MARKET_ORDER = "Rejected by exchange - no market orders while the market does not trade"
TEXT_OUTSIDE_LIMITS = "Rejected by exchange - price is outside of the price limits"


class Phase(StrEnum):
    """What a market does with orders."""

    TRADES = "TRADES"
    QUEUES = "QUEUES"
    """Orders are taken and changed, nothing trades."""
    CLOSED = "CLOSED"
    """Cancels only."""


PHASES = {
    "Open": Phase.TRADES,
    "Pre Open": Phase.QUEUES,
    "Pre-Open": Phase.QUEUES,
    "Reserved": Phase.QUEUES,
    "Halted": Phase.CLOSED,
    "Halt": Phase.CLOSED,
    "Pause": Phase.CLOSED,
    "Closed": Phase.CLOSED,
    "Close": Phase.CLOSED,
}
"""The modes that ``Venue.set_mode`` knows; any other is refused."""

HALTS = frozenset({"Halted", "Halt", "Pause"})
"""The modes of a pause inside a session."""

ENDS_DAY = frozenset({"Closed", "Close"})
"""The modes with which DAY orders end."""


@runtime_checkable
class DepthSource(Protocol):
    """A matcher with a book of single orders."""

    bids: BookSide
    asks: BookSide
    changes: list[BookChange] | None


class Market:
    """Mutable; belongs to the venue. ``mark_ticks`` is the price that open profit is counted at."""

    def __init__(self, product: Product, matcher: Matcher) -> None:
        self.product = product
        self.scale = Scale(product)
        self.matcher = matcher
        self.depth: DepthSource | None = None
        """The matcher's book of single orders, if it has one."""
        self.mark_ticks: int | None = None
        self.quote: Quoted | None = None
        self.trade: Traded | None = None
        self.mode = "Open"
        self.phase = Phase.TRADES
        self.is_expired = False
        """The contract has ended: it is closed for good."""
        self.limits: tuple[int, int] | None = None
        self.shown: Best | None = None
        """The quote that was published last, in ticks."""
        self.displayed: tuple[LevelDepth, ...] = ()
        """The levels of a recorded book that tells nothing of single orders: bids best first, then offers."""
        self.sequence = 0
        self.is_moved = False
        """A print or a quote came since the conditions of held orders were looked at."""
        self.print_count = 0
        self._printed: dict[int, int] = {}
        self._watchers = 0
        self._volume = 0
        self._notional_ticks = 0
        self._configure()

    def install(self, matcher: Matcher) -> None:
        """Another matcher runs the market from now on."""
        self.matcher = matcher
        self._configure()

    def set_reference(self, ticks: int) -> None:
        """The session's first price, from which the price limits are counted."""
        self.mark_ticks = ticks
        self.limits = self.scale.band(ticks)
        self._configure()

    def set_mode(self, mode: str) -> list[Outcome]:
        """Change the mode; a market that opens trades what crosses in its book."""
        self.mode, before = mode, self.phase
        self.phase = PHASES[mode]
        outcomes: list[Outcome] = []
        self._configure()
        if isinstance(self.matcher, MatchingEngine) and self.phase is Phase.TRADES and before is not Phase.TRADES:
            outcomes = self.matcher.uncross()
        return outcomes

    def begin_mode(self, mode: str) -> None:
        """The mode with which the exchange starts: nothing trades by it."""
        self.mode, self.phase = mode, PHASES[mode]
        self._configure()

    def begin_session(self) -> None:
        """Another trade date: its volume is 0, its price limits are counted from the last price."""
        self._volume = self._notional_ticks = 0
        if self.mark_ticks is not None:
            self.set_reference(self.mark_ticks)

    def refusal(self, limit: int | None, trigger: int | None, *, is_market: bool) -> str:
        """Why the exchange does not take an order now; empty: it does."""
        if self.phase is Phase.CLOSED:
            return TEXT_EXPIRED if self.is_expired else TEXT_HALTED if self.mode in HALTS else TEXT_CLOSED
        if self.phase is Phase.QUEUES and is_market:
            return TEXT_NO_MARKET_ORDER
        if self.limits is not None:
            low, high = self.limits
            if any(price is not None and not low <= price <= high for price in (limit, trigger)):
                return TEXT_OUTSIDE_LIMITS
        return ""

    def print_trade(self, ticks: int, quantity: int, aggressor: AggressorSide, now_ns: int) -> Traded:
        """A print on the tape, counted into the session's volume (since the exchange's start, and its trade date's)."""
        self._volume += quantity
        self._notional_ticks += ticks * quantity
        if quantity:
            if self.mark_ticks is None:
                self.set_reference(ticks)
            self.mark_ticks = ticks
            self.is_moved = True
            self.print_count += 1
            self._printed[ticks] = self.print_count
        self.trade = Traded(
            self.product.symbol,
            self.product.exchange,
            self.scale.price(ticks),
            quantity,
            aggressor,
            now_ns,
            self._volume,
            self.scale.average(self._notional_ticks, self._volume),
        )
        return self.trade

    def take_prints(self) -> dict[int, int]:
        """The prices of the prints since the last call, each with the number (``print_count``) of its last print."""
        printed, self._printed = self._printed, {}
        self.is_moved = False
        return printed

    def refresh_quote(self, now_ns: int) -> Quoted | None:
        """The matcher's best bid and offer as a quote if they have changed since the last one."""
        best = self.matcher.best()
        before = self.shown
        if best == before or (before is None and best.bid is None and best.ask is None):
            return None
        is_first = before is None
        return self.show_quote(
            best,
            now_ns,
            bid_changed=is_first or best[:3] != (before or best)[:3],
            ask_changed=is_first or best[3:] != (before or best)[3:],
        )

    def show_quote(self, best: Best, now_ns: int, *, bid_changed: bool, ask_changed: bool) -> Quoted:
        """A quote as given; a side without orders keeps its last price with size 0."""
        last = self.quote
        self.shown = best
        self.is_moved = True
        self.quote = Quoted(
            self.product.symbol,
            self.product.exchange,
            self.scale.price(best.bid) if best.bid is not None else (last.bid_price if last else 0.0),
            best.bid_size,
            best.bid_orders,
            self.scale.price(best.ask) if best.ask is not None else (last.ask_price if last else 0.0),
            best.ask_size,
            best.ask_orders,
            bid_changed,
            ask_changed,
            now_ns,
        )
        return self.quote

    def watch(self, on: bool) -> None:
        """Count who watches the book; changes are recorded while somebody does."""
        self._watchers = max(0, self._watchers + (1 if on else -1))
        self._configure()

    def take_changes(self, now_ns: int) -> BookChanged | None:
        """What happened to the public book since the last call."""
        depth = self.depth
        if depth is None or not depth.changes:
            return None
        changes, depth.changes = depth.changes, []
        price = self.scale.price
        orders = tuple(
            OrderDepth(
                change.kind,
                Side.BUY if change.is_buy else Side.SELL,
                price(change.price),
                price(change.previous_price) if change.previous_price is not None else None,
                change.size,
                change.priority,
                change.order.exchange_order_id,
            )
            for change in changes
        )
        touched: dict[tuple[bool, int], None] = {}
        for change in changes:
            if change.previous_price is not None:
                touched[change.is_buy, change.previous_price] = None
            touched[change.is_buy, change.price] = None
        self.sequence += 1
        levels = tuple(_level(depth, is_buy, at, price(at)) for is_buy, at in touched)
        return BookChanged(self.product.symbol, self.product.exchange, self.sequence, orders, levels, now_ns)

    def show_levels(self, levels: tuple[LevelDepth, ...], now_ns: int) -> BookChanged | None:
        """Take a recorded book of levels; what of it has changed, while somebody watches."""
        before, self.displayed = self.displayed, levels
        if not self._watchers or levels == before:
            return None
        known = {(level.side, level.price): level for level in before}
        changed = [level for level in levels if known.pop((level.side, level.price), None) != level]
        gone = [LevelDepth(side, price, 0, 0) for side, price in known]
        self.sequence += 1
        return BookChanged(self.product.symbol, self.product.exchange, self.sequence, (), (*gone, *changed), now_ns)

    def levels(self) -> tuple[LevelDepth, ...]:
        """Bids best first, then offers best first; without a book the best quote alone."""
        depth = self.depth
        price = self.scale.price
        if depth is not None:
            return tuple(
                _level(depth, is_buy, at, price(at))
                for is_buy, side in ((True, depth.bids), (False, depth.asks))
                for at in side.prices()
            )
        if self.displayed:
            return self.displayed
        best = self.shown or self.matcher.best()
        bids = (LevelDepth(Side.BUY, price(best.bid), best.bid_size, best.bid_orders),) if best.bid is not None else ()
        asks = (LevelDepth(Side.SELL, price(best.ask), best.ask_size, best.ask_orders),) if best.ask is not None else ()
        return bids + asks

    def resting(self) -> tuple[OrderDepth, ...]:
        """Every order of the book: bids best first, then offers best first, each price oldest first."""
        depth = self.depth
        if depth is None:
            return ()
        return tuple(
            OrderDepth(
                OrderDepthKind.NEW,
                Side.BUY if order.is_buy else Side.SELL,
                self.scale.price(at),
                None,
                order.leaves,
                order.priority,
                order.exchange_order_id,
            )
            for side in (depth.bids, depth.asks)
            for at in side.prices()
            for order in side.levels[at].orders
        )

    def _configure(self) -> None:
        matcher = self.matcher
        # The test for a protocol's attributes is slow: it is made here, not at each event.
        depth = self.depth = matcher if isinstance(matcher, DepthSource) else None
        if depth is not None:
            depth.changes = (depth.changes or []) if self._watchers else None
        if isinstance(matcher, MatchingEngine):
            matcher.limits = self.limits
            matcher.band = self.scale.band if self.mark_ticks is None else None
            matcher.is_open_to_flow = self.phase is not Phase.CLOSED
            if self.phase is not Phase.TRADES:
                matcher.is_matching = False


def _level(depth: DepthSource, is_buy: bool, at: int, price: float) -> LevelDepth:
    level = (depth.bids if is_buy else depth.asks).levels.get(at)
    side = Side.BUY if is_buy else Side.SELL
    return LevelDepth(side, price, level.total if level else 0, len(level.orders) if level else 0)
