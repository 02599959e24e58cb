"""One instrument's public side: the last print and quote, the session's volume, and the matcher behind them."""

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.model import Product, Quoted, Traded
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import Best, Matcher


class Market:
    """Mutable; belongs to the venue. ``mark_ticks`` is the price that open profit is counted at."""

    def __init__(self, product: Product, matcher: Matcher) -> None:
        self.product = product
        self.scale = Scale(product)
        self.matcher = matcher
        self.mark_ticks: int | None = None
        self.quote: Quoted | None = None
        self.trade: Traded | None = None
        self._volume = 0
        self._notional_ticks = 0
        self._best: Best | None = None

    def print_trade(self, ticks: int, quantity: int, aggressor: AggressorSide, now_ns: int) -> Traded:
        """A print on the tape, counted into the session's volume (since the exchange's start)."""
        self._volume += quantity
        self._notional_ticks += ticks * quantity
        if quantity:
            self.mark_ticks = ticks
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

    def refresh_quote(self, now_ns: int) -> Quoted | None:
        """The matcher's best bid and offer as a quote if they have changed since the last one."""
        best = self.matcher.best()
        if best == self._best:
            return None
        before, self._best = self._best, best
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
