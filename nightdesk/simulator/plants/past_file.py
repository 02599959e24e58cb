"""Reads a recorded past, Parquet or CSV, of trades or of bars, into columns of machine numbers.

Columns (others are ignored): ``ts_event_ns`` and either ``price``, ``size`` (and ``aggressor``) or ``open``, ``high``,
``low``, ``close``, ``volume`` (and ``trades``, ``bid_volume``, ``ask_volume``); a bar's time is its start. With a
column ``kind`` only the rows ``trade`` or ``bar`` are taken. With a column ``symbol`` only the rows of the instrument's
own contract are, or, when the file has none of those, all rows of its product: a chain of contracts, one after the
other.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.flows.columns import COUNT_MAX, CSV_ENCODING, in_one_line, shown
from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.past_arrow import BAR_VOLUME_MAX, OFF_TICK_MAX, MalformedBatchError, ParquetPast
from nightdesk.simulator.plants.past_columns import BarColumns, Columns, Figures, TradeColumns
from nightdesk.simulator.plants.reference import NS_PER_S, contract_of

BATCH_ROWS = 65_536
PAST_ROWS_MAX = 3_000_000
"""Rows of one file that are held, at up to 60 bytes each; a longer one needs a limit."""

JITTER_NS_MAX = 1_000_000_000
"""A trade may be this much older than the one before it; more is a file that was not sorted."""

_TRADE_COLUMNS = ("price", "size")
_BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_TRADE_OPTIONAL = ("aggressor",)
_BAR_OPTIONAL = ("bid_volume", "ask_volume", "trades")
_TIME_DIGITS_MAX = 19


class PastFile(NamedTuple):
    """One configured file; ``limit`` rows of it at most, 0 for all."""

    path: str
    product: Product
    limit: int = 0


class _Header(NamedTuple):
    is_parquet: bool
    is_trades: bool
    columns: tuple[str, ...]
    """Those of the file's that are read."""


def check(file: PastFile) -> None:
    """Look at the file's columns alone. Raises ``ConfigurationError`` with the file, what is wrong, and the mend."""
    _header(file)


def read(file: PastFile, today: date) -> Columns:
    """All rows of the instrument; ``today`` tells which decade a year of one digit means.

    Raises ``ConfigurationError`` naming the row (from 1) and the column of a bad value.
    """
    header = _header(file)
    columns: Columns = TradeColumns() if header.is_trades else BarColumns()
    if header.is_parquet:
        _read_parquet(file, header, columns, today)
    else:
        taken = _taken(file, _csv_symbols(file, header), today)
        _append_rows(file, header, columns, islice(_csv_rows(file, header), file.limit or None), taken)
    if not columns.starts:
        wanted = "trades" if header.is_trades else "bars"
        raise ConfigurationError(f"{file.path}: no {wanted} of {file.product.symbol}; correct exchange.history")
    if isinstance(columns, BarColumns):
        columns.row_s = _length_of(file, columns.starts)
    elif any(later < earlier for earlier, later in pairwise(columns.starts)):
        columns.sort()
    return columns


def _header(file: PastFile) -> _Header:
    path = Path(file.path)
    if not path.is_file():
        raise ConfigurationError(f"{file.path}: there is no such file; correct exchange.history")
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    if not is_parquet and path.suffix.lower() != ".csv":
        raise ConfigurationError(f"{file.path}: a recorded past is a .parquet or a .csv file; convert it")
    present = ParquetPast(file.path).names if is_parquet else next(_csv_lines(file))
    if "ts_event_ns" not in present:
        raise ConfigurationError(f"{file.path}: column ts_event_ns is missing; a recorded past needs it")
    for required, optional in ((_TRADE_COLUMNS, _TRADE_OPTIONAL), (_BAR_COLUMNS, _BAR_OPTIONAL)):
        if all(column in present for column in required):
            wanted = ("ts_event_ns", *required, *optional, "kind", "symbol")
            columns = tuple(column for column in wanted if column in present)
            twice = next((column for column in columns if present.count(column) > 1), None)
            if twice is not None:
                raise ConfigurationError(f"{file.path}: column {twice} is there twice; remove or rename one of them")
            return _Header(is_parquet, required is _TRADE_COLUMNS, columns)
    raise ConfigurationError(
        f"{file.path}: a recorded past needs the columns {', '.join(_TRADE_COLUMNS)} of trades, "
        f"or {', '.join(_BAR_COLUMNS)} of bars"
    )


def _taken(file: PastFile, present: set[str] | None, today: date) -> set[str] | None:
    """Which of a file's symbols belong to the instrument; None: there are no symbols, all rows do."""
    if present is None:
        return None
    symbol = file.product.symbol
    if symbol in present:
        return {symbol}
    wanted = contract_of(symbol, today)
    same_contract = {each for each in present if contract_of(each, today) == wanted}
    same_product = {each for each in present if contract_of(each, today)[0] == wanted[0]}
    if not same_product:
        some = ", ".join(sorted(present)[:5])
        raise ConfigurationError(f"{file.path}: nothing of {symbol} in it, but {some}; correct exchange.history")
    return same_contract or same_product


def _read_parquet(file: PastFile, header: _Header, columns: Columns, today: date) -> None:
    source = ParquetPast(file.path)
    taken = _taken(file, source.symbols() if "symbol" in header.columns else None, today)
    kind = _kind(header) if "kind" in header.columns else None
    tick = Fraction(str(file.product.tick_size))
    number = 0
    for batch in source.batches(header.columns, BATCH_ROWS, file.limit):
        _check_room(file, columns)
        try:
            source.append(batch, columns, tick=tick, kind=kind, symbols=taken)
        except MalformedBatchError:
            # Value by value, which is slow but finds the place; what only looked wrong is taken.
            _append_rows(file, header, columns, iter(batch.to_pylist()), taken, number)
        number += batch.num_rows
    source.release()


def _append_rows(
    file: PastFile,
    header: _Header,
    columns: Columns,
    rows: Iterator[dict[str, Any]],
    taken: set[str] | None,
    before: int = 0,
) -> None:
    tick = Fraction(str(file.product.tick_size))
    kind = _kind(header)
    for number, values in enumerate(rows, before + 1):
        if values.get("kind", kind) != kind or (taken is not None and str(values["symbol"]) not in taken):
            continue
        _check_room(file, columns)
        place = _Place(file.path, number, tick)
        if isinstance(columns, TradeColumns):
            _append_trade(columns, values, place)
        else:
            _append_bar(columns, values, place)


def _check_room(file: PastFile, columns: Columns) -> None:
    if len(columns.starts) >= PAST_ROWS_MAX:
        raise ConfigurationError(
            f"{file.path}: more than {PAST_ROWS_MAX} rows of {file.product.symbol}; give it a limit in "
            "exchange.history, or use bars instead of trades"
        )


def _kind(header: _Header) -> str:
    return "trade" if header.is_trades else "bar"


class _Place(NamedTuple):
    """Where a value stands, for complaints about it."""

    path: str
    number: int
    tick: Fraction

    def bad(self, column: str, value: object, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path}: row {self.number}, column {column}: {shown(value)} {what}")

    def price(self, column: str, value: Any) -> float:
        number = self._number(column, value)
        if number is None:
            raise self.bad(column, value, "is no price")
        numerator, denominator = self.tick.numerator, self.tick.denominator
        exact = number * denominator / numerator
        if not abs(exact) < 1e15:
            raise self.bad(column, value, "is no price")
        nearest = round(exact)
        if abs(exact - nearest) > OFF_TICK_MAX:
            what = f"is not on a tick of {float(self.tick):g}; correct the instrument's tick_size"
            raise self.bad(column, value, what)
        return nearest * numerator / denominator

    def whole(self, column: str, value: Any, low: int = 0, high: int = COUNT_MAX) -> int:
        number = self._number(column, value)
        if number is None:
            return 0
        if not low <= number <= high or number != int(number):
            raise self.bad(column, value, f"is not a whole number from {low} to {high}")
        return int(number)

    def time_ns(self, value: Any) -> int:
        # Never by way of a float, which would lose the last digits.
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) <= _TIME_DIGITS_MAX) or not 0 < int(text) < 2**63:
            raise self.bad("ts_event_ns", value, "is not a time in nanoseconds since 1970")
        return int(text)

    def _number(self, column: str, value: Any) -> float | None:
        if value is None or value == "" or value != value:
            return None
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.bad(column, value, "is not a number") from error


def _append_trade(columns: TradeColumns, values: dict[str, Any], place: _Place) -> None:
    ts_ns = place.time_ns(values["ts_event_ns"])
    if columns.starts and ts_ns < columns.starts[-1] - JITTER_NS_MAX:
        raise place.bad("ts_event_ns", ts_ns, "is older than the rows before it; sort the file by time")
    size = place.whole("size", values["size"])
    if size:
        aggressor = place.whole("aggressor", values.get("aggressor"), -1, 1)
        columns.append(ts_ns, place.price("price", values["price"]), size, aggressor)


def _append_bar(columns: BarColumns, values: dict[str, Any], place: _Place) -> None:
    ts_ns = place.time_ns(values["ts_event_ns"])
    if ts_ns % NS_PER_S:
        raise place.bad("ts_event_ns", ts_ns, "is not the start of a bar on a whole second")
    start_s = ts_ns // NS_PER_S
    if columns.starts and start_s <= columns.starts[-1]:
        raise place.bad(
            "ts_event_ns", ts_ns, "is not later than the bar before it; sort the file, one contract and one length each"
        )
    first, high, low, last = (place.price(name, values[name]) for name in ("open", "high", "low", "close"))
    if not low <= min(first, last) <= max(first, last) <= high:
        raise place.bad("high", values["high"], "and low do not enclose open and close")
    volume = place.whole("volume", values["volume"], high=BAR_VOLUME_MAX)
    bid_volume, ask_volume, trades = (place.whole(name, values.get(name)) for name in _BAR_OPTIONAL)
    columns.append(start_s, Figures(first, high, low, last, volume, bid_volume, ask_volume, trades))


def _length_of(file: PastFile, starts: Sequence[int]) -> int:
    """The bars' length: the shortest distance between two of them."""
    if len(starts) < 2:
        raise ConfigurationError(f"{file.path}: one bar alone does not tell its length; give at least two")
    row_s = min(later - earlier for earlier, later in pairwise(starts))
    if any(start % row_s for start in starts):
        raise ConfigurationError(
            f"{file.path}: bars of {row_s} s that do not begin at multiples of it; keep bars of one length in one file"
        )
    return row_s


def _csv_lines(file: PastFile) -> Iterator[list[str]]:
    """The header, then the rows; raises ``ConfigurationError`` for what is no CSV."""
    number = 0
    try:
        with open(file.path, newline="", encoding=CSV_ENCODING) as lines:
            reader = csv.reader(lines)
            header = [name.strip() for name in next(reader, [])]
            yield header
            for number, row in enumerate(reader, 1):
                if len(row) != len(header):
                    raise ConfigurationError(
                        f"{file.path}: row {number} has {len(row)} cells, not {len(header)}; mend or remove it"
                    )
                yield row
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{file.path}: damaged after row {number} ({in_one_line(error)})") from error


def _csv_rows(file: PastFile, header: _Header) -> Iterator[dict[str, str]]:
    lines = _csv_lines(file)
    names = next(lines)
    places = [(name, names.index(name)) for name in header.columns]
    for row in lines:
        yield {name: row[place] for name, place in places}


def _csv_symbols(file: PastFile, header: _Header) -> set[str] | None:
    if "symbol" not in header.columns:
        return None
    return {row["symbol"] for row in _csv_rows(file, header)}
