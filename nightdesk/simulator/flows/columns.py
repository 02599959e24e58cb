"""Reads columns of a recorded file, Parquet or CSV, batch by batch; memory does not grow with the file."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.errors import ConfigurationError

BATCH_ROWS = 8_192
TIME_BACKWARDS_NS_MAX = 1_000_000_000
"""Feeds jitter: a row may be this much older than the newest before it. More is a file that was not sorted."""

COUNT_MAX = 2**31 - 1
"""Sizes, volumes and numbers of orders are 32 bits wide on the wire."""
TIME_NS_MAX = 2**31 * 1_000_000_000 - 1
"""So are seconds: the last nanosecond of 2038-01-19 03:14:07 UTC."""
SHOWN_MAX = 60
"""Characters of a bad cell that an error shows."""
NUMBER_COLUMN = "order_id"
"""Whole numbers that are names, of any length."""

ColumnType = type[int] | type[float] | type[str]

_READ_BYTES = 1 << 20
"""Of a Parquet column at a time: a file written as one row group is not taken into memory as a whole."""
_CONTRACT_COLUMN = "symbol"
CSV_ENCODING = "utf-8-sig"
"""Spreadsheets put a mark before the first column's name."""


class _Batch(NamedTuple):
    length: int
    columns: dict[str, list[Any]]
    contracts: list[str]
    """The different contracts of the batch; none without such a column."""
    symbols: list[str]
    """Each row's contract; only when one of them is asked for."""


class RecordedFile:
    """A file of recorded rows. An empty cell and NaN are the same: None.

    ``contract`` takes the rows whose column ``symbol`` has that value; without it the file must hold one contract.
    """

    def __init__(self, path: str, contract: str | None = None) -> None:
        """Reads the names of the columns. Raises ``ConfigurationError`` with the file, what is wrong, and the mend."""
        self.path = Path(path)
        self._contract = contract
        if not self.path.is_file():
            raise ConfigurationError(f"{path}: there is no such tape; correct exchange.source.path")
        self._is_parquet = self.path.suffix.lower() in (".parquet", ".pq")
        if not self._is_parquet and self.path.suffix.lower() != ".csv":
            raise ConfigurationError(f"{path}: a tape is a .parquet or a .csv file; convert it")
        self.names = self._parquet_names() if self._is_parquet else self._csv_names()
        if contract is not None and _CONTRACT_COLUMN not in self.names:
            raise ConfigurationError(f"{path}: column symbol is missing; without it there is no contract to choose")

    def require(self, columns: Iterable[str], what: str) -> None:
        """Raises ``ConfigurationError`` for a column that is missing."""
        for column in columns:
            if column not in self.names:
                raise ConfigurationError(f"{self.path}: column {column} is missing; {what} needs {', '.join(columns)}")

    def bad(self, number: int, column: str, value: object, what: str) -> ConfigurationError:
        """The error of one cell; rows are counted from 1."""
        return ConfigurationError(f"{self.path}: row {number}, column {column}: {shown(value)} {what}")

    def check_time(self, number: int, ts_ns: int | None, newest_ns: int) -> int:
        """A row's time, which may be a little older than ``newest_ns``. Raises ``ConfigurationError``."""
        if ts_ns is None or ts_ns < 0:
            raise self.bad(number, "ts_event_ns", ts_ns, "is not a time in nanoseconds since 1970")
        if ts_ns < newest_ns - TIME_BACKWARDS_NS_MAX:
            what = "is older than the rows before it; sort the file by time"
            raise self.bad(number, "ts_event_ns", ts_ns, what)
        return ts_ns

    def rows(self, types: Mapping[str, ColumnType]) -> Iterator[tuple[Any, ...]]:
        """The rows in the file's order: the number of the row, then a value or None for each of ``types``.

        A column that the file does not have is None throughout. Raises ``ConfigurationError`` for a cell that is not
        of its column's type, for a second contract, and for a file that cannot be read on.
        """
        present = [name for name in types if name in self.names]
        for name in (*present, _CONTRACT_COLUMN):
            if self.names.count(name) > 1:
                raise ConfigurationError(f"{self.path}: column {name} is there twice; remove or rename one of them")
        batches = self._parquet_batches(present) if self._is_parquet else self._csv_batches(present)
        before = 0
        known = self._contract
        is_found = False
        for batch in batches:
            self._check_types(batch.columns, types, before)
            nothing: list[None] = [None] * batch.length
            numbers = range(before + 1, before + batch.length + 1)
            rows = zip(numbers, *(batch.columns.get(name, nothing) for name in types), strict=True)
            if self._contract is not None:
                is_found = is_found or self._contract in batch.contracts
                yield from compress(rows, [symbol == self._contract for symbol in batch.symbols])
            else:
                known = self._only(known, batch, before)
                yield from rows
            before += batch.length
        if self._contract is not None and not is_found:
            raise ConfigurationError(f"{self.path}: no row is of {self._contract}; correct the name of the contract")
        if not before:
            raise ConfigurationError(f"{self.path}: there are no rows in it; leave the tape out or record it anew")

    def _only(self, known: str | None, batch: _Batch, before: int) -> str | None:
        for contract in batch.contracts:
            if known is None or not contract:
                known = known or contract
            elif contract != known:
                raise ConfigurationError(
                    f"{self.path}: between rows {before + 1} and {before + batch.length}, column symbol: {contract} "
                    f"beside {known}; the file holds several contracts, name one of them with `contract`"
                )
        return known

    def _check_types(self, columns: dict[str, list[Any]], types: Mapping[str, ColumnType], before: int) -> None:
        """Whole numbers may be stored as floats (a column with gaps is); anything else is refused with its row."""
        for name, values in columns.items():
            expected = types[name]
            for position, value in enumerate(values):
                if type(value) is expected or value is None:
                    continue
                values[position] = self._converted(before + position + 1, name, value, expected)
            if expected is int and name != NUMBER_COLUMN:
                limit = TIME_NS_MAX if name == "ts_event_ns" else COUNT_MAX
                if max(filter(None, values), default=0) > limit:
                    position = next(place for place, value in enumerate(values) if value and value > limit)
                    raise self.bad(before + position + 1, name, values[position], f"is more than {limit}")

    def _converted(self, number: int, name: str, value: object, expected: ColumnType) -> object:
        try:
            if value == "" or value != value:
                return None
            if expected is int and isinstance(value, str | Decimal) and str(value).lstrip("-").isdigit():
                return int(value)
            if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
                raise ValueError
            if expected is str:
                return str(value)
            # Whole numbers beside gaps are written with a point by some tools; times would lose digits that way.
            converted = float(value)
            if expected is int and converted == converted and converted != int(converted):
                raise ValueError
        except (ValueError, OverflowError) as error:
            what = "is not a whole number" if expected is int else "is not a number"
            raise self.bad(number, name, value, what) from error
        if converted != converted:
            return None
        return int(converted) if expected is int else converted

    def _parquet_names(self) -> list[str]:
        pyarrow_error, open_file = _pyarrow()
        try:
            names: list[str] = open_file(self.path).schema_arrow.names
        except (pyarrow_error, OSError) as error:
            raise ConfigurationError(f"{self.path}: not a Parquet file ({in_one_line(error)})") from error
        return names

    def _parquet_batches(self, present: list[str]) -> Iterator[_Batch]:
        pyarrow_error, open_file = _pyarrow()
        has_contracts = _CONTRACT_COLUMN in self.names
        wanted = [*present, _CONTRACT_COLUMN] if has_contracts else present
        number = 0
        try:
            file = open_file(self.path, buffer_size=_READ_BYTES)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                symbols = batch.column(_CONTRACT_COLUMN) if has_contracts else None
                contracts = symbols.unique().to_pylist() if symbols is not None else []
                is_chosen = self._contract in contracts
                # Batches of other contracts only are counted, not taken apart.
                taken = present if is_chosen or self._contract is None else []
                yield _Batch(
                    batch.num_rows,
                    {name: batch.column(name).to_pylist() for name in taken},
                    contracts,
                    symbols.to_pylist() if symbols is not None and is_chosen else [],
                )
                number += batch.num_rows
        except (pyarrow_error, OSError, KeyError) as error:
            raise ConfigurationError(f"{self.path}: damaged after row {number} ({in_one_line(error)})") from error

    def _csv_names(self) -> list[str]:
        try:
            with open(self.path, newline="", encoding=CSV_ENCODING) as lines:
                header = next(csv.reader(lines), [])
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(f"{self.path}: not a CSV file ({in_one_line(error)})") from error
        return [name.strip() for name in header]

    def _csv_batches(self, present: list[str]) -> Iterator[_Batch]:
        number = 0
        try:
            with open(self.path, newline="", encoding=CSV_ENCODING) as lines:
                reader = csv.reader(lines)
                header = [name.strip() for name in next(reader, [])]
                if header != self.names:
                    raise ConfigurationError(
                        f"{self.path}: its columns have changed since it was looked at; start anew"
                    )
                width = len(header)
                while batch := list(islice(reader, BATCH_ROWS)):
                    for position, row in enumerate(batch, number + 1):
                        if len(row) != width:
                            raise ConfigurationError(
                                f"{self.path}: row {position} has {len(row)} cells, not {width}; mend or remove it"
                            )
                    by_column = dict(zip(header, map(list, zip(*batch, strict=True)), strict=False))
                    symbols = by_column.get(_CONTRACT_COLUMN, [])
                    columns: dict[str, list[Any]] = {name: by_column[name] for name in present}
                    yield _Batch(len(batch), columns, list(dict.fromkeys(symbols)), symbols)
                    number += len(batch)
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(f"{self.path}: damaged after row {number} ({in_one_line(error)})") from error


def shown(value: object) -> str:
    """A cell as errors show it."""
    text = str(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def in_one_line(error: Exception) -> str:
    """What an error of a library says; some say it in several lines."""
    return " ".join(str(error).split())


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
