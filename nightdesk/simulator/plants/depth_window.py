"""What clients of the order book see of a book: the best few levels of each side, and what a change does to them."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import LevelDepth, Quoted

ORDER_BOOK_LEVELS_MAX = 10
"""Levels of each side in an order book (156): as many as CME's own market-by-price feed has for futures."""


class _SideWindow:
    """All levels of one side; ``_keys`` are prices, negated for bids, so that the best comes first."""

    def __init__(self, side: Side, levels_max: int) -> None:
        self.side = side
        self._sign = -1.0 if side is Side.BUY else 1.0
        self._levels_max = levels_max
        self._keys: list[float] = []
        self._levels: dict[float, LevelDepth] = {}
        self._shown: list[float] = []

    def image(self) -> list[LevelDepth]:
        """The shown levels, best first."""
        return [self._levels[key] for key in self._shown]

    def apply(self, levels: Sequence[LevelDepth]) -> list[LevelDepth]:
        """Take changed levels in; the changes of what is shown, levels that have left it with size 0 first."""
        changed: set[float] = set()
        for level in levels:
            key = self._sign * level.price
            changed.add(key)
            is_known = key in self._levels
            if level.size > 0:
                self._levels[key] = level
                if not is_known:
                    insort(self._keys, key)
            elif is_known:
                del self._levels[key]
                del self._keys[bisect_left(self._keys, key)]
        before, self._shown = self._shown, self._keys[: self._levels_max]
        if before == self._shown:
            return [self._levels[key] for key in before if key in changed]
        kept = set(self._shown)
        gone = [LevelDepth(self.side, self._sign * key, 0, 0) for key in before if key not in kept]
        seen = set(before)
        return gone + [self._levels[key] for key in self._shown if key in changed or key not in seen]

    def replace(self, levels: Sequence[LevelDepth]) -> list[LevelDepth]:
        """The side is now these levels and no others."""
        present = {level.price for level in levels}
        gone = [LevelDepth(self.side, each.price, 0, 0) for each in self._levels.values() if each.price not in present]
        changed = [each for each in levels if self._levels.get(self._sign * each.price) != each]
        return self.apply(gone + changed)


class BookWindow:
    """Both sides of one book as far as they are shown."""

    def __init__(self, levels: Iterable[LevelDepth], levels_max: int = ORDER_BOOK_LEVELS_MAX) -> None:
        self._bids = _SideWindow(Side.BUY, levels_max)
        self._asks = _SideWindow(Side.SELL, levels_max)
        self.apply(levels)

    def image(self) -> list[LevelDepth]:
        """Bids best first, then offers best first."""
        return self._bids.image() + self._asks.image()

    @property
    def is_empty(self) -> bool:
        """Whether no level is left on either side."""
        return not self._bids.image() and not self._asks.image()

    def apply(self, levels: Iterable[LevelDepth]) -> list[LevelDepth]:
        """Take in levels as they are after an event; the changes of what is shown, bids first."""
        bids: list[LevelDepth] = []
        asks: list[LevelDepth] = []
        for level in levels:
            (bids if level.side is Side.BUY else asks).append(level)
        changes = self._bids.apply(bids) if bids else []
        return changes + self._asks.apply(asks) if asks else changes

    def replace(self, levels: Iterable[LevelDepth]) -> list[LevelDepth]:
        """The book is now these levels and no others; the changes of what is shown."""
        every = list(levels)
        bids = self._bids.replace([level for level in every if level.side is Side.BUY])
        return bids + self._asks.replace([level for level in every if level.side is Side.SELL])


def quote_levels(quote: Quoted) -> list[LevelDepth]:
    """The book of a market of which only the best quote is known: no level for an empty side."""
    bid = LevelDepth(Side.BUY, quote.bid_price, quote.bid_size, quote.bid_orders)
    ask = LevelDepth(Side.SELL, quote.ask_price, quote.ask_size, quote.ask_orders)
    return [level for level in (bid, ask) if level.size > 0]
