"""The journal for other programs: each table as JSON lines or CSV, one row at a time, every number exact."""

import csv
import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, BinaryIO, NamedTuple

from actors.plants import journal_schema as schema
from actors.plants.journal_checks import event_of
from actors.plants.journal_salvage import known_layouts
from actors.plants.journal_sums import SUM_COLUMN, columns_of
from actors.plants.journal_verify import is_running, journal_path, opened
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages import Side
from nightdesk.trading.ledger import ACCOUNT, Position
from nightdesk.trading.units import MONEY_SCALE, PRICE_SCALE

POSITIONS = "positions"
FORMATS = ("jsonl", "csv")
NS_PER_S = 1_000_000_000
DAY_NS = 86_400 * NS_PER_S
SESSION_MARGIN_NS = 10 * DAY_NS
"""A trade date's session is nearer to that date than this."""

MARKET_TIMES = {"orders": "ts_init_ns", "fills": "ts_event_ns", "rolls": "begun_ns"}
"""The time of a table's rows that ``--from`` and ``--to`` mean, where it is market time."""
MACHINE_TIMES = {"trading_states": "ts_ns", "pauses": "ts_ns", "last_wills": "ts_ns", "risk_state": "ts_ns"}
"""The same, where it is the machine's."""
_FLAGS = frozenset({"protective", "triggered", "tombstone", "cancel_wanted", "reopens", "is_done", "was_protected"})
_SCALED = {
    "price_nanos": ("price", PRICE_SCALE),
    "filled_cost_nanos": ("filled_cost", PRICE_SCALE),
    "commission_micros": ("commission", MONEY_SCALE),
}
_POSITION_COLUMNS = (
    *("strategy_id", "symbol", "exchange", "quantity", "average_price", "open_cost", "realized_points", "commission"),
    *("bought", "sold", "fills", "ts_last"),
)
_FILLS = (
    "SELECT strategy_id, symbol, exchange, side, quantity, price_nanos, commission_micros, ts_event_ns FROM fills "
    "ORDER BY event_id"
)

TradeDateOf = Callable[[str, int], int]
"""The trade date (YYYYMMDD) of a symbol's market at a moment."""


class Span(NamedTuple):
    """What ``--from`` and ``--to`` say: instants in nanoseconds, or trade dates (YYYYMMDD); both ends are included."""

    from_ns: int | None = None
    to_ns: int | None = None
    from_date: int | None = None
    to_date: int | None = None

    @property
    def has_dates(self) -> bool:
        """Whether a calendar is needed."""
        return self.from_date is not None or self.to_date is not None

    @property
    def is_everything(self) -> bool:
        """Whether nothing was said."""
        return self == Span()


class _Counters:
    """What a position's row says beyond the ledger's position."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.position = Position()
        self.bought = self.sold = self.fills = self.ts_last_ns = 0


def export(
    state_dir: str,
    *,
    table: str,
    form: str,
    span: Span,
    output: str | None,
    is_forced: bool,
    stdout: BinaryIO,
    trade_date_of: TradeDateOf,
) -> int:
    """Write one table to a file, or to ``stdout`` where ``output`` is None; how many rows.

    Raises ``ConfigurationError`` for what cannot be asked so, or a file that is there already (``is_forced``: it is
    written over), and ``JournalError`` for a journal that cannot be read to its end.
    """
    path = journal_path(state_dir)
    if form not in FORMATS:
        raise ConfigurationError(f"--format: expected {' or '.join(FORMATS)}, not {form[:40]!r}")
    if output is not None and not is_forced and os.path.lexists(output):
        raise ConfigurationError(f"--output: {output} is there already; name another file, or add --force")
    try:
        with opened(path, is_live=is_running(state_dir)) as connection:
            columns, rows = _rows(connection, path, table, span, trade_date_of)
            if output is None:
                return _write(stdout, form, columns, rows)
            return _write_file(output, form, columns, rows, is_forced=is_forced)
    except (sqlite3.Error, *schema.NOT_OF_SQLITE, ArithmeticError, ValueError, TypeError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise JournalError(f"{path}: cannot be read to its end ({words}); see: python run.py journal verify") from None


def _rows(
    connection: sqlite3.Connection, path: str, table: str, span: Span, trade_date_of: TradeDateOf
) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    if table == POSITIONS:
        if span.from_ns is not None or span.from_date is not None:
            raise ConfigurationError("--from: positions are those after everything up to --to; leave it out")
        return _POSITION_COLUMNS, _positions(connection, _chosen(span, trade_date_of))
    if table not in names:
        known = ", ".join([POSITIONS, *names])
        raise ConfigurationError(f"--table: {path} has no table {table[:40]!r}; it has {known}")
    if not span.is_everything and table != "events" and table not in MARKET_TIMES and table not in MACHINE_TIMES:
        raise ConfigurationError(f"--from, --to: rows of {table} have no time; leave them out")
    if span.has_dates and table not in ("orders", "fills", "events"):
        raise ConfigurationError(
            f"--from, --to: rows of {table} have no market; give instants, such as 2026-11-20T15:00Z"
        )
    columns = ", ".join(_in_order(connection, table))
    found = connection.execute(f"SELECT {columns} FROM {table}{_condition(table, span)}")
    stored = tuple(column[0] for column in found.description)
    if table == "events":
        return ("event_id", "event", "ts_event", "ts_recv", "fields"), _events(found, stored, span, trade_date_of)
    return _named(stored), _plain(table, found, stored, span, trade_date_of)


def _in_order(connection: sqlite3.Connection, table: str) -> list[str]:
    """A table's columns as this version makes it: one that was migrated has the new ones last."""
    there = [column.name for column in columns_of(connection, table)]
    known = known_layouts()[table].columns if table in known_layouts() else ()
    return [name for name in known if name in there] + [name for name in there if name not in known]


def _condition(table: str, span: Span) -> str:
    """The rows that may be meant; with trade dates a few more."""
    column = MARKET_TIMES.get(table) or MACHINE_TIMES.get(table)
    if column is None:
        return ""
    bounds = []
    if (from_ns := _begin(span)) is not None:
        bounds.append(f"{column} >= {from_ns}")
    if (to_ns := _end(span)) is not None:
        bounds.append(f"{column} <= {to_ns}")
    return f" WHERE {' AND '.join(bounds)}" if bounds else ""


def _begin(span: Span) -> int | None:
    return span.from_ns if span.from_date is None else _midnight_ns(span.from_date) - SESSION_MARGIN_NS


def _end(span: Span) -> int | None:
    return span.to_ns if span.to_date is None else _midnight_ns(span.to_date) + SESSION_MARGIN_NS


def _midnight_ns(day: int) -> int:
    moment = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=UTC)
    return int(moment.timestamp()) * NS_PER_S


def _chosen(span: Span, trade_date_of: TradeDateOf) -> Callable[[str, int], bool]:
    """Whether a moment of a symbol's market is meant."""

    def is_meant(symbol: str, ts_ns: int) -> bool:
        begin, end = _begin(span), _end(span)
        if (begin is not None and ts_ns < begin) or (end is not None and ts_ns > end):
            return False
        if not span.has_dates:
            return True
        day = trade_date_of(symbol, ts_ns)
        return (span.from_date is None or day >= span.from_date) and (span.to_date is None or day <= span.to_date)

    return is_meant


def _plain(
    table: str, found: sqlite3.Cursor, stored: tuple[str, ...], span: Span, trade_date_of: TradeDateOf
) -> Iterator[tuple[Any, ...]]:
    is_meant = _chosen(span, trade_date_of)
    converters = [(index, _converter(name)) for index, name in enumerate(stored) if name != SUM_COLUMN]
    for row in found:
        if span.has_dates and not is_meant(row[stored.index("symbol")], row[stored.index(MARKET_TIMES[table])]):
            continue
        yield tuple(convert(row[index]) for index, convert in converters)


def _events(
    found: sqlite3.Cursor, stored: tuple[str, ...], span: Span, trade_date_of: TradeDateOf
) -> Iterator[tuple[Any, ...]]:
    is_meant = _chosen(span, trade_date_of)
    for row in found:
        values = dict(zip(stored, row, strict=True))
        event = event_of(values["payload"])
        if event is None:
            raise JournalError(f"event {values['event_id']} is damaged; see: python run.py journal verify")
        if not is_meant(event.symbol, event.ts_event_ns):
            continue
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        fields = {name: _exact(value) for name, value in fields.items() if name not in ("event_id", "ts_event_ns")}
        yield values["event_id"], type(event).__name__, iso(event.ts_event_ns), iso(values["ts_recv_ns"]), fields


def _positions(connection: sqlite3.Connection, is_meant: Callable[[str, int], bool]) -> Iterator[tuple[Any, ...]]:
    """Net positions of each strategy and (strategy_id empty) of the account, as the order plant counts them."""
    found: dict[tuple[str, str], _Counters] = {}
    for strategy_id, symbol, exchange, side, quantity, price_nanos, commission, ts_ns in connection.execute(_FILLS):
        if not is_meant(symbol, ts_ns):
            continue
        for owner in (ACCOUNT, strategy_id):
            each = found.setdefault((owner, symbol), _Counters(exchange))
            each.position.book(Side(side), quantity, price_nanos, commission)
            each.bought += quantity * (side == Side.BUY)
            each.sold += quantity * (side == Side.SELL)
            each.fills += 1
            each.ts_last_ns = max(each.ts_last_ns, ts_ns)
    for (owner, symbol), each in sorted(found.items(), key=lambda item: item[0]):
        position = each.position
        average = None
        if position.quantity:
            average = _text((Decimal(position.open_cost) / position.quantity / PRICE_SCALE).quantize(Decimal("1e-9")))
        yield (
            *(owner, symbol, each.exchange, position.quantity, average, _scaled(position.open_cost, PRICE_SCALE)),
            *(_scaled(position.realized, PRICE_SCALE), _scaled(position.commission_micros, MONEY_SCALE)),
            *(each.bought, each.sold, each.fills, iso(each.ts_last_ns)),
        )


def _named(stored: tuple[str, ...]) -> tuple[str, ...]:
    """Columns as they are called outside: what is exact as text has no unit in its name."""
    names = (_SCALED[name][0] if name in _SCALED else name.removesuffix("_ns") for name in stored)
    return tuple(name for name in names if name != SUM_COLUMN)


def _converter(name: str) -> Callable[[Any], Any]:
    if name in _SCALED:
        return lambda value: _scaled(value, _SCALED[name][1])
    if name.endswith("_ns"):
        return iso
    if name in _FLAGS:
        return bool
    return _exact


def _scaled(value: Any, scale: int) -> str:
    return _text(Decimal(int(value)) / scale)


def _exact(value: Any) -> Any:
    """Floats (prices of orders) as the shortest text that means them."""
    return _text(Decimal(repr(value))) if isinstance(value, float) else value


def _text(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso(ts_ns: Any) -> str:
    """``2026-11-20T15:00:00.123456789Z``; empty for a time that was never set."""
    if not ts_ns:
        return ""
    seconds, rest = divmod(int(ts_ns), NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def day_of(text: str) -> int | None:
    """A trade date as a number, from ``2026-11-20``; None for text that is no date."""
    with suppress(ValueError):
        if len(text) == len("YYYY-MM-DD"):
            day = date.fromisoformat(text)
            return day.year * 10_000 + day.month * 100 + day.day
    return None


def _write(file: BinaryIO, form: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> int:
    count = 0
    if form == "csv":
        file.write(_csv_line(columns))
    for row in rows:
        line = _csv_line(row) if form == "csv" else _json_line(columns, row)
        file.write(line)
        count += 1
    file.flush()
    return count


def _json_line(columns: tuple[str, ...], row: tuple[Any, ...]) -> bytes:
    return json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False).encode(errors="replace") + b"\n"


def _csv_line(row: tuple[Any, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(_cell(value) for value in row)
    return line.getvalue().encode(errors="replace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _write_file(
    output: str, form: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]], *, is_forced: bool
) -> int:
    """Under another name first, so that a file of this name is always a whole one."""
    part = f"{output}.{os.getpid()}.part"
    try:
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            count = _write(file, form, columns, rows)
            os.fsync(file.fileno())
        if is_forced:
            os.replace(part, output)
        else:
            os.link(part, output)
    except FileExistsError:
        raise ConfigurationError(f"--output: {output} is there already; name another file, or add --force") from None
    except OSError as error:
        words = f"{output} cannot be written ({error.strerror}); mend where it goes"
        raise ConfigurationError(f"--output: {words}") from None
    finally:
        with suppress(OSError):
            os.unlink(part)
    return count
