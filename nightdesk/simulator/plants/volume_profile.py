"""Minute bars that tell the volume at each of their prices, by the side that was the aggressor. Pure."""

from collections.abc import Iterable, Iterator

import msgspec

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants.reference import NS_PER_S
from nightdesk.simulator.plants.tick_bars import Print

SECONDS_PER_MINUTE = 60


class PriceVolume(msgspec.Struct):
    """Contracts and trades at one price."""

    no_aggressor_volume: int = 0
    bid_volume: int = 0
    """Of sell aggressors, who trade at the bid; ``ask_volume`` of buy aggressors."""
    ask_volume: int = 0
    no_aggressor_trades: int = 0
    bid_trades: int = 0
    ask_trades: int = 0

    def add(self, trade: Traded | Print) -> None:
        """One more trade at this price."""
        if trade.aggressor is AggressorSide.BUY:
            self.ask_volume += trade.quantity
            self.ask_trades += 1
        elif trade.aggressor is AggressorSide.SELL:
            self.bid_volume += trade.quantity
            self.bid_trades += 1
        else:
            self.no_aggressor_volume += trade.quantity
            self.no_aggressor_trades += 1


class ProfileBar(msgspec.Struct):
    """One bar of ``period`` minutes that ends at ``ts_end_s``; ``levels`` by price."""

    ts_end_s: int
    open: float
    close: float
    levels: dict[float, PriceVolume]

    def add(self, trade: Traded | Print) -> None:
        """Take one more trade."""
        self.close = trade.price
        self.levels.setdefault(trade.price, PriceVolume()).add(trade)


def profile_bars(trades: Iterable[Traded | Print], period: int) -> Iterator[ProfileBar]:
    """The bars of trades in their order; minutes without a trade have none, the last one may not be complete."""
    length_s = period * SECONDS_PER_MINUTE
    bar: ProfileBar | None = None
    for trade in trades:
        if trade.quantity <= 0:
            continue
        second = trade.ts_ns // NS_PER_S
        end_s = second - second % length_s + length_s
        if bar is None or bar.ts_end_s != end_s:
            if bar is not None:
                yield bar
            bar = ProfileBar(end_s, trade.price, trade.price, {})
        bar.add(trade)
    if bar is not None:
        yield bar
