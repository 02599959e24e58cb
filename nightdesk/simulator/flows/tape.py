"""Reads a recorded tape, Parquet or CSV, row by row in batches; memory does not grow with the file.

Columns (others are ignored): ``ts_event_ns`` and ``price``, ``size``; ``kind`` (trade or quote; without the column
every row is a trade), ``aggressor`` (1 buy, -1 sell, 0 or nothing unknown), ``bid``, ``bid_size``, ``ask``,
``ask_size``. An empty cell and NaN are the same: nothing.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.venue.ledger import Scale

BATCH_ROWS = 8_192
TIME_BACKWARDS_NS_MAX = 1_000_000_000
"""Feeds jitter: a row may be this much older than the newest before it. More is a file that was not sorted."""

_REQUIRED = ("ts_event_ns", "price", "size")
_QUOTE_COLUMNS = ("bid", "bid_size", "ask", "ask_size")
_OPTIONAL = ("kind", "aggressor", *_QUOTE_COLUMNS)
_INTEGERS = ("ts_event_ns", "size", "aggressor", "bid_size", "ask_size")


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


class Tape:
    """A file of recorded trades, or trades and quotes, of one contract."""

    def __init__(self, path: str, scale: Scale, limit: int = 0) -> None:
        """Checks the columns. Raises ``ConfigurationError`` with the file, what is wrong, and the mend."""
        self.path = Path(path)
        self._scale = scale
        self._limit = limit
        if not self.path.is_file():
            raise ConfigurationError(f"{path}: there is no such tape; correct exchange.source.path")
        self._is_parquet = self.path.suffix.lower() in (".parquet", ".pq")
        if not self._is_parquet and self.path.suffix.lower() != ".csv":
            raise ConfigurationError(f"{path}: a tape is a .parquet or a .csv file; convert it")
        present = self._parquet_columns() if self._is_parquet else self._csv_columns()
        for column in _REQUIRED:
            if column not in present:
                raise ConfigurationError(f"{path}: column {column} is missing; a tape needs {', '.join(_REQUIRED)}")
        self.columns = [column for column in (*_REQUIRED, *_OPTIONAL) if column in present]
        self.has_quotes = all(column in present for column in _QUOTE_COLUMNS)

    def rows(self) -> Iterator[TapeRow]:
        """The rows in the file's order, ``limit`` of them at most (0: all).

        Raises ``ConfigurationError`` naming file, row (counted from 1) and column at the first bad value.
        """
        cells = self._parquet_cells() if self._is_parquet else self._csv_cells()
        newest_ns = 0
        for number, values in enumerate(islice(cells, self._limit or None), 1):
            row = self._row(number, values)
            if row.ts_ns < newest_ns - TIME_BACKWARDS_NS_MAX:
                raise self._bad(
                    number, "ts_event_ns", row.ts_ns, "is older than the rows before it; sort the file by time"
                )
            newest_ns = max(newest_ns, row.ts_ns)
            yield row

    def _row(self, number: int, values: tuple[Any, ...]) -> TapeRow:
        ts_ns, price, size, kind, aggressor, bid, bid_size, ask, ask_size = values
        if ts_ns is None or ts_ns < 0:
            raise self._bad(number, "ts_event_ns", ts_ns, "is not a time in nanoseconds since 1970")
        if aggressor not in (None, -1, 0, 1):
            raise self._bad(number, "aggressor", aggressor, "is not 1, -1 or 0")
        bid_ticks = self._side(number, "bid", bid, bid_size)
        ask_ticks = self._side(number, "ask", ask, ask_size)
        if kind == "quote":
            return TapeRow(ts_ns, False, 0, 0, 0, bid_ticks, bid_size or 0, ask_ticks, ask_size or 0)
        if kind is not None and kind != "trade":
            raise self._bad(number, "kind", kind, "is not trade or quote; leave other rows out of the file")
        ticks = self._ticks(number, "price", price)
        if ticks is None:
            raise self._bad(number, "price", price, "is missing in a trade")
        if size is None or size < 0:
            raise self._bad(number, "size", size, "is not the size of a trade")
        return TapeRow(ts_ns, True, ticks, size, aggressor or 0, bid_ticks, bid_size or 0, ask_ticks, ask_size or 0)

    def _side(self, number: int, column: str, price: float | None, size: int | None) -> int | None:
        if size is not None and size < 0:
            raise self._bad(number, f"{column}_size", size, "is negative")
        ticks = self._ticks(number, column, price)
        return ticks if size else None

    def _ticks(self, number: int, column: str, price: float | None) -> int | None:
        if price is None or price != price:
            return None
        ticks = self._scale.ticks(price)
        if ticks is None:
            size = self._scale.tick_size
            raise self._bad(number, column, price, f"is not on a tick of {size:g}; correct the instrument's tick_size")
        return ticks

    def _bad(self, number: int, column: str, value: object, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: row {number}, column {column}: {value} {what}")

    def _aligned(self, columns: dict[str, Iterable[Any]], length: int) -> Iterator[tuple[Any, ...]]:
        nothing = [None] * length
        return zip(*(columns.get(name, nothing) for name in (*_REQUIRED, *_OPTIONAL)), strict=True)

    def _parquet_columns(self) -> list[str]:
        pyarrow_error, open_file = _pyarrow()
        try:
            names: list[str] = open_file(self.path).schema_arrow.names
        except (pyarrow_error, OSError) as error:
            raise ConfigurationError(f"{self.path}: not a Parquet file ({error})") from error
        return names

    def _parquet_cells(self) -> Iterator[tuple[Any, ...]]:
        pyarrow_error, open_file = _pyarrow()
        number = 0
        try:
            for batch in open_file(self.path).iter_batches(batch_size=BATCH_ROWS, columns=self.columns):
                columns = {name: batch.column(name).to_pylist() for name in self.columns}
                self._check_types(columns, number)
                yield from self._aligned(columns, batch.num_rows)
                number += batch.num_rows
        except (pyarrow_error, OSError) as error:
            raise ConfigurationError(f"{self.path}: damaged after row {number} ({error})") from error

    def _check_types(self, columns: dict[str, Any], before: int) -> None:
        """Whole numbers may be stored as floats (a column with gaps is); anything else is refused with its row."""
        for name, values in columns.items():
            for position, value in enumerate(values):
                if type(value) is _TYPES[name] or value is None:
                    continue
                values[position] = self._converted(before + position + 1, name, value)

    def _converted(self, number: int, name: str, value: object) -> object:
        expected = _TYPES[name]
        try:
            if value == "" or value != value:
                return None
            if expected is int and isinstance(value, str) and value.lstrip("-").isdigit():
                return int(value)
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            if expected is str:
                return str(value)
            # Whole numbers beside gaps are written with a point by some tools; times would lose digits that way.
            converted = float(value)
            if expected is int and converted == converted and converted != int(converted):
                raise ValueError
        except (ValueError, OverflowError) as error:
            what = "is not a whole number" if expected is int else "is not a number"
            raise self._bad(number, name, value, what) from error
        if converted != converted:
            return None
        return int(converted) if expected is int else converted

    def _csv_columns(self) -> list[str]:
        with open(self.path, newline="", encoding="utf-8") as lines:
            try:
                header = next(csv.reader(lines), [])
            except (csv.Error, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{self.path}: not a CSV file ({error})") from error
        return [name.strip() for name in header]

    def _csv_cells(self) -> Iterator[tuple[Any, ...]]:
        with open(self.path, newline="", encoding="utf-8") as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader)]
            width = len(header)
            number = 0
            try:
                while batch := list(islice(reader, BATCH_ROWS)):
                    for position, row in enumerate(batch, number + 1):
                        if len(row) != width:
                            raise ConfigurationError(
                                f"{self.path}: row {position} has {len(row)} cells, not {width}; mend or remove it"
                            )
                    by_column = dict(zip(header, map(list, zip(*batch, strict=True)), strict=False))
                    columns: dict[str, Any] = {name: by_column[name] for name in self.columns}
                    self._check_types(columns, number)
                    yield from self._aligned(columns, len(batch))
                    number += len(batch)
            except (csv.Error, UnicodeDecodeError) as error:
                raise ConfigurationError(f"{self.path}: damaged after row {number} ({error})") from error


_TYPES: dict[str, type[int] | type[float] | type[str]] = {
    name: int if name in _INTEGERS else str if name == "kind" else float for name in (*_REQUIRED, *_OPTIONAL)
}


def _pyarrow() -> tuple[type[Exception], Any]:
    """pyarrow is an extra: imported only where a Parquet file is read."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ConfigurationError(
            "a Parquet tape needs the extra 'parquet': pip install 'nightdesk[parquet]', or convert the tape to CSV"
        ) from error
    return ArrowException, ParquetFile
