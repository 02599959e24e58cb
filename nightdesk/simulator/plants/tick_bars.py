"""Bars that are not made of time: of so many trades, of a range of prices, of so many contracts. Pure."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants.reference import NS_PER_S

SECONDS_PER_DAY = 86_400
_HALF = 0.5


class Print(NamedTuple):
    """One recorded trade: what the bars need of it."""

    ts_ns: int
    price: float
    quantity: int
    aggressor: AggressorSide


class TickBarKind(IntEnum):
    """What ends a bar; the numbers are the wire's."""

    TICK = 1
    RANGE = 2
    VOLUME = 3


class DaySpan(NamedTuple):
    """A part of each day, in seconds since midnight UTC; it may run over midnight. Equal ends mean the whole day."""

    open_s: int
    close_s: int

    def number_at(self, second: int) -> int | None:
        """Which day's span a unix second lies in, counted from 1970; None outside of it."""
        since_open_s = (second - self.open_s) % SECONDS_PER_DAY
        length_s = (self.close_s - self.open_s) % SECONDS_PER_DAY or SECONDS_PER_DAY
        return (second - self.open_s) // SECONDS_PER_DAY if since_open_s < length_s else None


class TickBarTerms(msgspec.Struct, frozen=True):
    """Which bars: ``size`` is trades, ticks of the price, or contracts, by the kind.

    A range bar ends before the trade that would stretch it over ``size`` ticks; a volume bar ends with the trade that
    brings it to ``size`` contracts or more, for a trade is never divided. With a ``span`` other trades are left out and
    each day begins a new bar.
    """

    kind: TickBarKind
    size: int
    tick_size: float
    span: DaySpan | None = None


class TickBar(msgspec.Struct, frozen=True):
    """One bar; its times are those of its first and its last trade."""

    open: float
    high: float
    low: float
    close: float
    volume: int
    bid_volume: int
    """Volume of sell aggressors; ``ask_volume`` of buy aggressors."""
    ask_volume: int
    trades: int
    ts_open_ns: int
    ts_close_ns: int


class TickBarBuilder:
    """Takes trades, gives the bars that they close."""

    def __init__(self, terms: TickBarTerms) -> None:
        self._terms = terms
        self._range = (terms.size + _HALF) * terms.tick_size
        self._span_number: int | None = None
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._bid_volume = self._ask_volume = self._trades = 0
        self._ts_open_ns = self._ts_close_ns = 0

    def add(self, trade: Traded | Print) -> list[TickBar]:
        """The bars that this trade ends, its own included; a print without quantity is not history."""
        if trade.quantity <= 0:
            return []
        closed = []
        terms = self._terms
        if terms.span is not None:
            number = terms.span.number_at(trade.ts_ns // NS_PER_S)
            if number != self._span_number:
                closed += self.rest()
                self._span_number = number
            if number is None:
                return closed
        price = trade.price
        is_far = terms.kind is TickBarKind.RANGE and self._trades > 0
        if is_far and max(self._high, price) - min(self._low, price) > self._range:
            closed += self.rest()
        self._take(trade)
        reached = self._trades if terms.kind is TickBarKind.TICK else self._volume
        if terms.kind is not TickBarKind.RANGE and reached >= terms.size:
            closed += self.rest()
        return closed

    def rest(self) -> list[TickBar]:
        """The bar that has begun, if there is one; the next trade begins another."""
        if not self._trades:
            return []
        bar = TickBar(
            open=self._open,
            high=self._high,
            low=self._low,
            close=self._close,
            volume=self._volume,
            bid_volume=self._bid_volume,
            ask_volume=self._ask_volume,
            trades=self._trades,
            ts_open_ns=self._ts_open_ns,
            ts_close_ns=self._ts_close_ns,
        )
        self._clear()
        return [bar]

    def _take(self, trade: Traded | Print) -> None:
        if not self._trades:
            self._open = self._high = self._low = trade.price
            self._ts_open_ns = trade.ts_ns
        self._high = max(self._high, trade.price)
        self._low = min(self._low, trade.price)
        self._close = trade.price
        self._ts_close_ns = trade.ts_ns
        self._trades += 1
        self._volume += trade.quantity
        if trade.aggressor is AggressorSide.BUY:
            self._ask_volume += trade.quantity
        elif trade.aggressor is AggressorSide.SELL:
            self._bid_volume += trade.quantity

    def _clear(self) -> None:
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._bid_volume = self._ask_volume = self._trades = 0
        self._ts_open_ns = self._ts_close_ns = 0


def tick_bars(trades: Iterable[Traded | Print], terms: TickBarTerms) -> Iterator[TickBar]:
    """The bars of trades in their order; the last one may not be complete."""
    builder = TickBarBuilder(terms)
    for trade in trades:
        yield from builder.add(trade)
    yield from builder.rest()
