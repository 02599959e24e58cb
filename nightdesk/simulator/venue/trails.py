"""Stops that follow the market: an order's own trailing, and a bracket's.

A trailing stop is an ordinary stop at the exchange; the server moves its trigger (and the limit of a stop-limit with
it) when the price that it follows has moved in its favour, never back. Each move is a modify that the client sees.
"""

from typing import TYPE_CHECKING

from nightdesk.simulator.model import VenueEvent
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.holds import price_of
from nightdesk.simulator.venue.market import Market
from nightdesk.simulator.venue.matching import is_wrong_side
from nightdesk.simulator.venue.rms import Wanted

if TYPE_CHECKING:
    from nightdesk.simulator.venue.floor import Floor

TEXT_TRAILED = "the stop follows the market"


class Trails:
    """All stops that move, by contract, oldest first."""

    def __init__(self, floor: "Floor") -> None:
        self._floor = floor
        self.stops: dict[str, dict[ClientOrder, None]] = {}

    def watches(self, symbol: str) -> bool:
        """Whether a stop follows this contract."""
        return bool(self.stops.get(symbol))

    def watch(self, order: ClientOrder) -> None:
        """A stop stands at the exchange; it may be one that moves."""
        if order.trail_by_ticks or self._floor.brackets.moves_stop(order):
            self.stops.setdefault(order.terms.symbol, {})[order] = None

    def follow(self, market: Market, now_ns: int, events: list[VenueEvent]) -> bool:
        """Move the stops of a market; whether one was moved."""
        stops = self.stops.get(market.product.symbol)
        if not stops:
            return False
        has_acted = False
        for order in list(stops):
            if order.completion is not None or not order.is_pending:
                del stops[order]
                continue
            wanted = [self.price(order, market), *self._floor.brackets.stop_prices(order, market)]
            moved = [price for price in wanted if price is not None and price > 0]
            trigger = order.trigger or 0
            # A stop that protects a long position only rises; one that protects a short position only falls.
            best = (min if order.is_buy else max)([*moved, trigger])
            if best == trigger or is_wrong_side(order.is_buy, best, market.mark_ticks):
                continue
            limit = order.limit + best - trigger if order.limit is not None else None
            terms = Wanted(order.order_type, order.quantity, limit, best, order.trail_by_ticks)
            self._floor.change(order, terms, now_ns, events, text=TEXT_TRAILED)
            has_acted = True
        return has_acted

    def price(self, order: ClientOrder, market: Market) -> int | None:
        """Where a trailing stop stands at the market's present price."""
        if not order.trail_by_ticks:
            return None
        reference = price_of(order.terms.trail_by, market)
        if reference is None:
            return None
        return int(reference) + (order.trail_by_ticks if order.is_buy else -order.trail_by_ticks)
