"""The worst case of positions and orders: what could be held if any of the working orders were filled. Pure.

Each strategy counts by itself; long of one against short of another does not cancel out, since either may leave at any
moment while the other one stays. A bound that is kept so can only sink by what happens afterwards (fills in any order,
cancels, rejections): nothing but an order or a change that was checked for it raises it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nightdesk.messages import Side, StrategyId
from nightdesk.trading.linked_orders import counted
from nightdesk.trading.order import Order


class Exposure(NamedTuple):
    """One owner's position in a symbol (long positive), and what its orders may still buy and sell."""

    position: int = 0
    buy: int = 0
    sell: int = 0

    @property
    def bound(self) -> int:
        """The most contracts, long or short, that the orders can lead to; at least what is held."""
        return max(self.position + self.buy, self.sell - self.position)

    def plus(self, side: Side, quantity: int) -> "Exposure":
        """The same with so much more to buy or sell."""
        if side is Side.BUY:
            return self._replace(buy=self.buy + quantity)
        return self._replace(sell=self.sell + quantity)


FLAT = Exposure()


class Exposures:
    """A picture of all positions and orders at one moment."""

    def __init__(
        self,
        positions: Iterable[tuple[StrategyId, str, int]],
        orders: Iterable[Order],
        plans: Iterable[tuple[StrategyId, str, int]] = (),
    ) -> None:
        """``positions`` of each strategy (the account's own left out); ``orders`` all that may still be filled.

        Those are the open ones, and of those that are over what is reported as filled without executions yet, or is
        at work at the broker all the same. Of orders that the server has linked the largest counts. ``plans`` is what
        will be bought (or sold, negative) without an order for it yet: the second legs of rolls.
        """
        self._own: defaultdict[tuple[StrategyId, str], Exposure] = defaultdict(Exposure)
        for strategy_id, symbol, quantity in positions:
            self._own[(strategy_id, symbol)] = Exposure(quantity)
        for order, exposure in counted(orders):
            key = (order.strategy_id, order.symbol)
            self._own[key] = self._own[key].plus(order.side, exposure)
        for strategy_id, symbol, quantity in plans:
            key = (strategy_id, symbol)
            self._own[key] = self._own[key].plus(Side.BUY if quantity > 0 else Side.SELL, abs(quantity))

    def own(self, strategy_id: StrategyId, symbol: str) -> Exposure:
        """Of one strategy in one symbol."""
        return self._own.get((strategy_id, symbol), FLAT)

    def bounds(self, strategy_id: StrategyId | None = None) -> dict[str, int]:
        """The worst case per symbol, of one strategy, or of all of them together."""
        found: defaultdict[str, int] = defaultdict(int)
        for (owner, symbol), exposure in self._own.items():
            if strategy_id is None or owner == strategy_id:
                found[symbol] += exposure.bound
        return dict(found)

    def net(self) -> dict[str, Exposure]:
        """The account's as the broker sees it, per symbol: long and short of two strategies are nothing."""
        found: dict[str, Exposure] = {}
        for (_, symbol), exposure in self._own.items():
            before = found.get(symbol, FLAT)
            found[symbol] = Exposure(*(each + other for each, other in zip(before, exposure, strict=True)))
        return found


def weighted(bounds: Mapping[str, int], weights: Mapping[str, int]) -> int:
    """Contracts over all symbols, in thousandths."""
    return sum(quantity * weights[symbol] for symbol, quantity in bounds.items() if quantity)
