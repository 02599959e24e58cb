"""A recorded tape of bars, played as the few trades and quotes that each bar is known to have had.

Columns: ``ts_event_ns`` (the bar's start), ``kind`` (``bar`` or ``quotebar``; without the column every row is a
``bar``); of a bar ``open``, ``high``, ``low``, ``close``, ``volume``; of a quote bar ``bid_open``, ``bid_high``,
``bid_low``, ``bid``, ``bid_size`` and the same with ``ask``.

A bar is at most four prints: open, the two extremes, close; the low before the high when it closed at or above its
open, otherwise after it. They stand at the bar's start, one and two thirds into it, and at its last nanosecond. A price
that repeats the one before it is not printed again. The volume is split evenly among the prints; what is left over goes
to the open, the close and the extremes in this order, and a print for which no contract is left does not take place.
Nobody is known to be the aggressor. A quote bar is quotes at the same four times, each with the bar's one size, bid and
ask at their extremes together; it rises or falls by the sum of both. Quotes come before prints of the same time.

The length of the bars is the smallest distance between two rows' times among the first 8,192.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import chain, islice, pairwise
from typing import Any

from nightdesk.simulator.flows.columns import BATCH_ROWS, ColumnType, RecordedFile
from nightdesk.simulator.flows.tape import TapeRow, TickReader
from nightdesk.simulator.venue.ledger import Scale

LONE_BAR_NS = 60_000_000_000
"""The length of a bar when there is no second one to tell."""

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_SIDES = {side: (f"{side}_open", f"{side}_high", f"{side}_low", side, f"{side}_size") for side in ("bid", "ask")}
_TYPES: dict[str, ColumnType] = {
    "ts_event_ns": int,
    "kind": str,
    **dict.fromkeys(BAR_COLUMNS[:4], float),
    "volume": int,
    **{name: int if name.endswith("_size") else float for names in _SIDES.values() for name in names},
}
_FAIR_ORDER = (0, 3, 1, 2)
"""Which of the four prints gets a contract that is left over first."""

_Path = tuple[int, int, int, int]


class BarTape:
    """A file of bars of one contract; ``rows`` gives ticks, as a ``Tape`` does."""

    def __init__(self, path: str, scale: Scale, limit: int = 0, contract: str | None = None) -> None:
        """Checks the columns; ``limit`` counts bars. Raises ``ConfigurationError``."""
        self._file = RecordedFile(path, contract)
        names = self._file.names
        self.has_quotes = all(name in names for side in _SIDES.values() for name in side)
        wants_bars = not self.has_quotes or any(name in names for name in BAR_COLUMNS)
        self._file.require(("ts_event_ns", *BAR_COLUMNS) if wants_bars else ("ts_event_ns",), "a tape of bars")
        self._reader = TickReader(self._file, scale)
        self._limit = limit

    def rows(self) -> Iterator[TapeRow]:
        """The ticks of all bars by time. Raises ``ConfigurationError`` as ``Tape.rows`` does."""
        newest_ns = 0
        bars = islice(self._file.rows(_TYPES), self._limit or None)
        head = list(islice(bars, BATCH_ROWS))
        length_ns = _length_ns([values[1] for values in head if values[1] is not None])
        waiting: list[tuple[int, bool, int, int, TapeRow]] = []
        for values in chain(head, bars):
            start_ns = self._file.check_time(values[0], values[1], newest_ns)
            newest_ns = max(newest_ns, start_ns)
            while waiting and waiting[0][0] < start_ns:
                yield heappop(waiting)[4]
            for place, row in self._ticks(values, length_ns):
                heappush(waiting, (row.ts_ns, row.is_trade, values[0], place, row))
        while waiting:
            yield heappop(waiting)[4]

    def _ticks(self, values: tuple[Any, ...], length_ns: int) -> Iterator[tuple[int, TapeRow]]:
        number, ts_ns, kind, *cells = values
        times = (ts_ns, ts_ns + length_ns // 3, ts_ns + 2 * length_ns // 3, ts_ns + length_ns - 1)
        if kind in (None, "bar"):
            return self._prints(number, times, cells[:5])
        if kind == "quotebar":
            return self._quotes(number, times, cells[5:10], cells[10:])
        raise self._file.bad(number, "kind", kind, "is not bar or quotebar; leave other rows out of the file")

    def _prints(self, number: int, times: tuple[int, ...], cells: list[Any]) -> Iterator[tuple[int, TapeRow]]:
        prices = self._prices(number, BAR_COLUMNS, cells)
        volume = cells[4]
        if volume is None or volume < 0:
            raise self._file.bad(number, "volume", volume, "is not the volume of a bar")
        path = _path(prices, is_rising=prices[3] >= prices[0])
        places = [0, *(place for place in (1, 2, 3) if path[place] != path[place - 1])]
        even, left = divmod(volume, len(places))
        favoured = [place for place in _FAIR_ORDER if place in places][:left]
        for place in places:
            size = even + (place in favoured)
            if size:
                yield place, TapeRow(times[place], True, path[place], size, 0, None, 0, None, 0)

    def _quotes(
        self, number: int, times: tuple[int, ...], bid_cells: list[Any], ask_cells: list[Any]
    ) -> Iterator[tuple[int, TapeRow]]:
        sides: dict[str, tuple[_Path, int]] = {}
        for side, cells in (("bid", bid_cells), ("ask", ask_cells)):
            if self._reader.side(number, side, cells[3], cells[4]) is not None:
                sides[side] = self._prices(number, _SIDES[side], cells), cells[4]
        rise = sum(prices[3] - prices[0] for prices, _ in sides.values())
        paths = {side: (_path(prices, is_rising=rise >= 0), size) for side, (prices, size) in sides.items()}
        bids, bid_size = paths.get("bid", ((None,) * 4, 0))
        asks, ask_size = paths.get("ask", ((None,) * 4, 0))
        for place, (bid, ask) in enumerate(zip(bids, asks, strict=True)):
            if not place or (bid, ask) != (bids[place - 1], asks[place - 1]):
                yield place, TapeRow(times[place], False, 0, 0, 0, bid, bid_size, ask, ask_size)

    def _prices(self, number: int, columns: tuple[str, ...], cells: list[Any]) -> _Path:
        """Open, high, low and close in ticks."""
        found = [self._reader.ticks(number, name, price) for name, price in zip(columns, cells[:4], strict=False)]
        whole = [ticks for ticks in found if ticks is not None]
        if len(whole) < 4:
            column = columns[found.index(None)]
            raise self._file.bad(number, column, None, "is missing in a bar; complete or remove the row")
        opened, high, low, close = whole
        if not low <= min(opened, close) <= max(opened, close) <= high:
            raise self._file.bad(number, columns[1], cells[1], f"does not fit open, {columns[2]} and close of its bar")
        return opened, high, low, close


def _path(prices: _Path, *, is_rising: bool) -> _Path:
    opened, high, low, close = prices
    return (opened, low, high, close) if is_rising else (opened, high, low, close)


def _length_ns(times: list[int]) -> int:
    steps = [later - earlier for earlier, later in pairwise(sorted(set(times)))]
    return min(steps, default=LONE_BAR_NS)
