"""Orders that the server holds back until a market meets a condition.

An exchange such as CME knows no if-touched orders: the server watches the market and sends an ordinary order when
the moment has come. A MARKET_IF_TOUCHED or LIMIT_IF_TOUCHED order looks at its own contract's prints, on the other
side than a stop: a buy is touched at or below its trigger. A condition looks at a price of any contract.
"""

import operator
from collections.abc import Callable
from fractions import Fraction

from nightdesk.simulator.model import Condition, Hold, PriceField
from nightdesk.simulator.venue.book import Best
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.market import Market

_COMPARE: dict[Condition, Callable[[Fraction, Fraction], bool]] = {
    Condition.EQUAL: operator.eq,
    Condition.NOT_EQUAL: operator.ne,
    Condition.GREATER: operator.gt,
    Condition.GREATER_EQUAL: operator.ge,
    Condition.LESSER: operator.lt,
    Condition.LESSER_EQUAL: operator.le,
}


class Holds:
    """Held orders by the contract that they look at, oldest first."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[ClientOrder, None]] = {}

    def watches(self, symbol: str) -> bool:
        """Whether an order waits for this contract."""
        return bool(self.orders.get(symbol))

    def add(self, order: ClientOrder) -> None:
        """Hold an order; its ``hold`` is CONDITION or TOUCH."""
        self.orders.setdefault(watched(order), {})[order] = None

    def remove(self, order: ClientOrder) -> None:
        """The order is no longer held, or is about to look at something else."""
        self.orders.get(watched(order), {}).pop(order, None)

    def lose_place(self, order: ClientOrder) -> None:
        """The order is behind the others now."""
        waiting = self.orders[watched(order)]
        del waiting[order]
        waiting[order] = None

    def take_met(self, market: Market) -> list[ClientOrder]:
        """Orders whose moment has come, no longer held: conditions first, then buys and sells nearest first."""
        held = self.orders.get(market.product.symbol)
        printed, last = market.take_prints(), market.mark_ticks
        if not held:
            return []
        met: list[tuple[int, int, ClientOrder]] = []
        for order in held:
            prints = [price for price, number in printed.items() if number > order.waits_from]
            if last is not None:
                prints.append(last)
            if order.hold is Hold.CONDITION:
                if _is_met(order, market, prints):
                    met.append((0, 0, order))
            elif prints and order.trigger is not None:
                if order.is_buy and order.trigger >= min(prints):
                    met.append((1, -order.trigger, order))
                elif not order.is_buy and order.trigger <= max(prints):
                    met.append((2, order.trigger, order))
        met.sort(key=lambda found: found[:2])
        for _, _, order in met:
            del held[order]
        return [order for _, _, order in met]


def price_of(field: PriceField, market: Market) -> Fraction | None:
    """A market's present price in ticks; None when there is none."""
    if field is PriceField.TRADE:
        return Fraction(market.mark_ticks) if market.mark_ticks is not None else None
    best = market.shown if market.depth is None else market.matcher.best()
    if best is None:
        return None
    if field is PriceField.LEAN:
        return _lean(best)
    found = best.bid if field is PriceField.BID else best.ask
    return Fraction(found) if found is not None else None


def watched(order: ClientOrder) -> str:
    """The contract that a held order looks at."""
    if order.hold is Hold.CONDITION and order.if_touched is not None:
        return order.if_touched.symbol
    return order.terms.symbol


def _is_met(order: ClientOrder, market: Market, prints: list[int]) -> bool:
    wanted = order.if_touched
    if wanted is None:
        return True
    threshold = market.scale.exact_ticks(wanted.price)
    compare = _COMPARE[wanted.condition]
    if wanted.price_field is PriceField.TRADE:
        return any(compare(Fraction(price), threshold) for price in prints)
    found = price_of(wanted.price_field, market)
    return found is not None and compare(found, threshold)


def _lean(best: Best) -> Fraction | None:
    """The middle, leaning to the side that shows less: bid and offer weighted with each other's size."""
    size = best.bid_size + best.ask_size
    if best.bid is None or best.ask is None or not size:
        return None
    return Fraction(best.bid * best.ask_size + best.ask * best.bid_size, size)
