"""A recorded past as columns of machine numbers: some twenty to sixty bytes a row, no object per trade or bar. Pure."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple

from nightdesk.messages.enums import AggressorSide, BarUnit
from nightdesk.simulator.plants.bars import UNIT_S, BarState, start_of
from nightdesk.simulator.plants.reference import NS_PER_S
from nightdesk.simulator.plants.tick_bars import Print

_SIDES = {1: AggressorSide.BUY, -1: AggressorSide.SELL, 0: AggressorSide.NONE}


class Figures(NamedTuple):
    """What a bar says of its rows."""

    open: float
    high: float
    low: float
    close: float
    volume: int
    bid_volume: int
    ask_volume: int
    trades: int


class TradeColumns:
    """Recorded trades, oldest first; ``starts`` are nanoseconds, ``row_s`` 0 says that a row has no length."""

    units_per_s = NS_PER_S
    row_s = 0

    def __init__(self) -> None:
        self.starts = array("q")
        self.prices = array("d")
        self.sizes = array("i")
        self.bid_sizes = array("i")
        self.ask_sizes = array("i")

    @property
    def end_s(self) -> int:
        """The second after the last trade's own."""
        return self.starts[-1] // NS_PER_S + 1

    def append(self, ts_ns: int, price: float, size: int, aggressor: int) -> None:
        """One more row."""
        self.starts.append(ts_ns)
        self.prices.append(price)
        self.sizes.append(size)
        self.bid_sizes.append(size if aggressor < 0 else 0)
        self.ask_sizes.append(size if aggressor > 0 else 0)

    def figures(self, first: int, end: int) -> Figures:
        """The bar of the rows ``[first, end)``."""
        prices = self.prices[first:end]
        return Figures(
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            sum(self.sizes[first:end]),
            sum(self.bid_sizes[first:end]),
            sum(self.ask_sizes[first:end]),
            end - first,
        )

    def prints(self, first: int, end: int) -> Iterator[Print]:
        """The rows ``[first, end)`` one by one."""
        for row in range(first, end):
            side = 1 if self.ask_sizes[row] else -1 if self.bid_sizes[row] else 0
            yield Print(self.starts[row], self.prices[row], self.sizes[row], _SIDES[side])

    def sort(self) -> None:
        """Bring rows that jitter into the order of their times; equal times keep the file's order."""
        starts = self.starts
        order = sorted(range(len(starts)), key=starts.__getitem__)
        for name in ("starts", "prices", "sizes", "bid_sizes", "ask_sizes"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, (column[row] for row in order)))


class BarColumns:
    """Recorded bars of one length, oldest first; ``starts`` are seconds. ``row_s`` is known when the file is read."""

    units_per_s = 1

    def __init__(self) -> None:
        self.row_s = 0
        self.starts = array("q")
        self.opens = array("d")
        self.highs = array("d")
        self.lows = array("d")
        self.closes = array("d")
        self.volumes = array("q")
        self.bid_volumes = array("i")
        self.ask_volumes = array("i")
        self.trades = array("i")

    @property
    def end_s(self) -> int:
        """The second in which the last bar ends."""
        return self.starts[-1] + self.row_s

    def append(self, start_s: int, bar: Figures) -> None:
        """One more row."""
        self.starts.append(start_s)
        self.opens.append(bar.open)
        self.highs.append(bar.high)
        self.lows.append(bar.low)
        self.closes.append(bar.close)
        self.volumes.append(bar.volume)
        self.bid_volumes.append(bar.bid_volume)
        self.ask_volumes.append(bar.ask_volume)
        self.trades.append(bar.trades)

    def figures(self, first: int, end: int) -> Figures:
        """The bar of the rows ``[first, end)``."""
        return Figures(
            self.opens[first],
            max(self.highs[first:end]),
            min(self.lows[first:end]),
            self.closes[end - 1],
            sum(self.volumes[first:end]),
            sum(self.bid_volumes[first:end]),
            sum(self.ask_volumes[first:end]),
            sum(self.trades[first:end]),
        )


Columns = TradeColumns | BarColumns


class TimeSegment:
    """The time bars of some rows, each made when it is asked for; empty ones are absent."""

    def __init__(self, columns: Columns, rows: range, symbol: str, exchange: str, unit: BarUnit, period: int) -> None:
        self._columns = columns
        self._rows = rows
        self._names = (symbol, exchange)
        self._bars = (unit, period)
        self._is_direct = period * UNIT_S[unit] == columns.row_s

    def forward(self) -> Iterator[BarState]:
        """Oldest first."""
        first = self._rows.start
        while first < self._rows.stop:
            end = self._end_of(first)
            yield self._bar(first, end)
            first = end

    def backward(self) -> Iterator[BarState]:
        """Newest first."""
        end = self._rows.stop
        while end > self._rows.start:
            first = self._first_of(end)
            yield self._bar(first, end)
            end = first

    def first(self, count: int) -> "tuple[TimeSegment, int]":
        """The oldest ``count`` bars alone, and how many there are."""
        if self._is_direct:
            rows = self._rows[:count]
            return self._part(rows), len(rows)
        end, taken = self._rows.start, 0
        while end < self._rows.stop and taken < count:
            end, taken = self._end_of(end), taken + 1
        return self._part(range(self._rows.start, end)), taken

    def last(self, count: int) -> "tuple[TimeSegment, int]":
        """The newest ``count`` bars alone, and how many there are."""
        if self._is_direct:
            rows = self._rows[-count:]
            return self._part(rows), len(rows)
        first, taken = self._rows.stop, 0
        while first > self._rows.start and taken < count:
            first, taken = self._first_of(first), taken + 1
        return self._part(range(first, self._rows.stop)), taken

    @property
    def is_empty(self) -> bool:
        """Whether no bar is left."""
        return not self._rows

    @property
    def start_s(self) -> int:
        """Where its first bar begins; there must be one."""
        return self._start_s(self._rows.start)

    def without_first(self) -> "tuple[BarState, TimeSegment]":
        """The oldest bar, and the others."""
        first, end = self._rows.start, self._end_of(self._rows.start)
        return self._bar(first, end), self._part(range(end, self._rows.stop))

    def without_last(self) -> "tuple[BarState, TimeSegment]":
        """The newest bar, and the others."""
        first, end = self._first_of(self._rows.stop), self._rows.stop
        return self._bar(first, end), self._part(range(self._rows.start, first))

    def _part(self, rows: range) -> "TimeSegment":
        return TimeSegment(self._columns, rows, *self._names, *self._bars)

    def _start_s(self, row: int) -> int:
        return start_of(self._columns.starts[row] // self._columns.units_per_s, *self._bars)

    def _end_of(self, first: int) -> int:
        if self._is_direct:
            return first + 1
        unit, period = self._bars
        end_s = self._start_s(first) + period * UNIT_S[unit]
        columns = self._columns
        return bisect_left(columns.starts, end_s * columns.units_per_s, first, self._rows.stop)

    def _first_of(self, end: int) -> int:
        if self._is_direct:
            return end - 1
        columns = self._columns
        return bisect_left(columns.starts, self._start_s(end - 1) * columns.units_per_s, self._rows.start, end)

    def _bar(self, first: int, end: int) -> BarState:
        symbol, exchange = self._names
        unit, period = self._bars
        start_s = self._start_s(first)
        return BarState(
            symbol=symbol,
            exchange=exchange,
            unit=unit,
            period=period,
            **self._columns.figures(first, end)._asdict(),
            ts_start_s=start_s,
            ts_end_s=start_s + period * UNIT_S[unit],
        )


class ListSegment:
    """A list of bars, made when it is first asked for."""

    def __init__(self, make: Callable[[], list[BarState]]) -> None:
        self._make = make

    @cached_property
    def _bars(self) -> list[BarState]:
        return self._make()

    def forward(self) -> Iterator[BarState]:
        """Oldest first."""
        return iter(self._bars)

    def backward(self) -> Iterator[BarState]:
        """Newest first."""
        return reversed(self._bars)

    def first(self, count: int) -> "tuple[ListSegment, int]":
        """The oldest ``count`` bars alone, and how many there are."""
        return self._part(self._bars[:count])

    def last(self, count: int) -> "tuple[ListSegment, int]":
        """The newest ``count`` bars alone, and how many there are."""
        return self._part(self._bars[-count:])

    @staticmethod
    def _part(bars: list[BarState]) -> "tuple[ListSegment, int]":
        return ListSegment(lambda: bars), len(bars)


Segment = TimeSegment | ListSegment


def seamless(parts: list[TimeSegment], session: Callable[[], list[BarState]]) -> list[Segment]:
    """Consecutive parts as segments of whole bars: one that a part begins and others go on with is joined."""
    segments: list[Segment] = []
    begun: BarState | None = None
    for part in parts:
        left = part
        if begun is not None and begun.ts_start_s == part.start_s:
            bar, left = part.without_first()
            begun = begun.joined(bar)
            if left.is_empty:
                continue
        if begun is not None:
            segments.append(ListSegment(partial(list, [begun])))
        begun, left = left.without_last()
        if not left.is_empty:
            segments.append(left)
    return [*segments, ListSegment(partial(_continued, begun, session))]


def _continued(begun: BarState | None, session: Callable[[], list[BarState]]) -> list[BarState]:
    bars = session()
    if begun is None:
        return bars
    if bars and bars[0].ts_start_s == begun.ts_start_s:
        return [begun.joined(bars[0]), *bars[1:]]
    return [begun, *bars]


def chosen(segments: list[Segment], count: int, *, from_end: bool, backwards: bool) -> Iterator[BarState]:
    """The first or the last ``count`` bars of consecutive segments, in one order or the other."""
    parts: list[Segment] = []
    for segment in reversed(segments) if from_end else segments:
        if not count:
            break
        part, taken = segment.last(count) if from_end else segment.first(count)
        parts.append(part)
        count -= taken
    if from_end:
        parts.reverse()
    for part in reversed(parts) if backwards else parts:
        yield from part.backward() if backwards else part.forward()
