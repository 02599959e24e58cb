"""A recorded tape of trades, or of trades and quotes, row by row.

Columns (others are ignored): ``ts_event_ns`` and ``price``, ``size``; ``kind`` (trade or quote; without the column
every row is a trade), ``aggressor`` (1 buy, -1 sell, 0 or nothing unknown), ``bid``, ``bid_size``, ``ask``,
``ask_size``; ``symbol`` where a file holds several contracts. An empty cell and NaN are the same: nothing.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from nightdesk.simulator.flows.columns import ColumnType, RecordedFile
from nightdesk.simulator.venue.ledger import Scale

_REQUIRED = ("ts_event_ns", "price", "size")
_QUOTE_COLUMNS = ("bid", "bid_size", "ask", "ask_size")
_TYPES: dict[str, ColumnType] = {
    "ts_event_ns": int,
    "price": float,
    "size": int,
    "kind": str,
    "aggressor": int,
    "bid": float,
    "bid_size": int,
    "ask": float,
    "ask_size": int,
}


class TapeRow(NamedTuple):
    """One row; prices in whole ticks, None for nothing. A trade row may carry the quote that stood beside it."""

    ts_ns: int
    is_trade: bool
    price: int
    size: int
    aggressor: int
    bid: int | None
    bid_size: int
    ask: int | None
    ask_size: int


class TickReader:
    """Prices of one file's cells in whole ticks."""

    def __init__(self, file: RecordedFile, scale: Scale) -> None:
        self._file = file
        self._scale = scale

    def ticks(self, number: int, column: str, price: float | None) -> int | None:
        """None for nothing. Raises ``ConfigurationError`` for a price between two ticks."""
        if price is None or price != price:
            return None
        ticks = self._scale.ticks(price)
        if ticks is None:
            size = self._scale.tick_size
            what = f"is not on a tick of {size:g}; correct the instrument's tick_size"
            raise self._file.bad(number, column, price, what)
        return ticks

    def side(self, number: int, column: str, price: float | None, size: int | None) -> int | None:
        """One side of a quote: None when nobody is there."""
        if size is not None and size < 0:
            raise self._file.bad(number, f"{column}_size", size, "is negative")
        ticks = self.ticks(number, column, price)
        return ticks if size else None


class Tape:
    """A file of recorded trades, or trades and quotes, of one contract."""

    def __init__(self, path: str, scale: Scale, limit: int = 0, contract: str | None = None) -> None:
        """Checks the columns. Raises ``ConfigurationError`` with the file, what is wrong, and the mend."""
        self._file = RecordedFile(path, contract)
        self._file.require(_REQUIRED, "a tape")
        self._reader = TickReader(self._file, scale)
        self._limit = limit
        self.has_quotes = all(column in self._file.names for column in _QUOTE_COLUMNS)

    def rows(self) -> Iterator[TapeRow]:
        """The rows in the file's order, ``limit`` of them at most (0: all).

        Raises ``ConfigurationError`` naming file, row (counted from 1) and column at the first bad value.
        """
        newest_ns = 0
        for values in islice(self._file.rows(_TYPES), self._limit or None):
            ts_ns = values[1]
            if ts_ns is None or ts_ns < newest_ns:
                self._file.check_time(values[0], ts_ns, newest_ns)
            else:
                newest_ns = ts_ns
            yield self._row(values)

    def _row(self, values: tuple[Any, ...]) -> TapeRow:
        number, ts_ns, price, size, kind, aggressor, bid, bid_size, ask, ask_size = values
        bad = self._file.bad
        if aggressor not in (None, -1, 0, 1):
            raise bad(number, "aggressor", aggressor, "is not 1, -1 or 0")
        bid_ticks = self._reader.side(number, "bid", bid, bid_size)
        ask_ticks = self._reader.side(number, "ask", ask, ask_size)
        if kind == "quote":
            return TapeRow(ts_ns, False, 0, 0, 0, bid_ticks, bid_size or 0, ask_ticks, ask_size or 0)
        if kind is not None and kind != "trade":
            raise bad(number, "kind", kind, "is not trade or quote; leave other rows out of the file")
        ticks = self._reader.ticks(number, "price", price)
        if ticks is None:
            raise bad(number, "price", price, "is missing in a trade")
        if size is None or size < 0:
            raise bad(number, "size", size, "is not the size of a trade")
        return TapeRow(ts_ns, True, ticks, size, aggressor or 0, bid_ticks, bid_size or 0, ask_ticks, ask_size or 0)
