"""The journal's tables, their migration, and the check that a file is a journal, ours and undamaged."""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from functools import cache

from actors.plants import journal_sums as sums
from nightdesk.errors import JournalError

SCHEMA_VERSION = "6"

_LAST_WILLS = """
CREATE TABLE last_wills (
    strategy_id TEXT PRIMARY KEY,
    will TEXT NOT NULL,
    cause TEXT NOT NULL,
    restarts INTEGER NOT NULL,
    is_done INTEGER NOT NULL DEFAULT 0,
    ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
"""

_ROLLS_OF_3 = """
CREATE TABLE rolls (
    roll_id TEXT PRIMARY KEY,
    strategy_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    old_symbol TEXT NOT NULL,
    new_symbol TEXT NOT NULL,
    reopens INTEGER NOT NULL,
    is_done INTEGER NOT NULL DEFAULT 0,
    ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
"""

_ROLLS = """
CREATE TABLE rolls (
    number INTEGER PRIMARY KEY,
    roll_id TEXT NOT NULL UNIQUE,
    strategy_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    old_symbol TEXT NOT NULL,
    new_symbol TEXT NOT NULL,
    reopens INTEGER NOT NULL,
    state TEXT NOT NULL,
    was_protected INTEGER NOT NULL,
    begun_ns INTEGER NOT NULL,
    ts_ns INTEGER NOT NULL
);
"""
"""``number`` is the order in which they began: clocks may be set back. ``begun_ns`` is market time."""

_ROLLS_FROM_3 = f"""
ALTER TABLE rolls RENAME TO rolls_of_3;
{_ROLLS}
INSERT INTO rolls
    (roll_id, strategy_id, alias, old_symbol, new_symbol, reopens, state, was_protected, begun_ns, ts_ns)
    SELECT roll_id, strategy_id, alias, old_symbol, new_symbol, reopens,
        CASE is_done WHEN 0 THEN 'under_way' ELSE 'done' END, 0, ts_ns, ts_ns
    FROM rolls_of_3 ORDER BY is_done DESC, ts_ns;
DROP TABLE rolls_of_3;
"""

_RISK_STATE = """
CREATE TABLE risk_state (key TEXT PRIMARY KEY, value TEXT NOT NULL, ts_ns INTEGER NOT NULL) WITHOUT ROWID;
"""
"""What the limits must not forget: losses, highest profits, refusals in a row, and what was done about them."""

_SUMS = "".join(f"ALTER TABLE {table} ADD COLUMN {sums.SUM_COLUMN} INTEGER;\n" for table in sums.SUMMED)
SUMS_SINCE = "5"
"""The version from which on rows have sums; a migration that changes rows must make their sums anew."""

_HELD_ORDERS = """
ALTER TABLE orders ADD COLUMN trail_by_ticks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN stop_ticks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN target_ticks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN expire_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN parent_id TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN linked_id TEXT NOT NULL DEFAULT '';
"""
"""What the server holds: trailing, the exits of brackets, leases, the links of OCO orders."""

TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY,
    strategy_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    exchange TEXT NOT NULL,
    side TEXT NOT NULL,
    order_type TEXT NOT NULL,
    time_in_force TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price REAL,
    trigger_price REAL,
    protective INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    fencing_epoch INTEGER NOT NULL,
    connection_epoch INTEGER NOT NULL,
    broker_ts_ns INTEGER NOT NULL,
    ts_init_ns INTEGER NOT NULL,
    status TEXT NOT NULL,
    venue_order_id TEXT,
    filled_quantity INTEGER NOT NULL DEFAULT 0,
    filled_cost_nanos TEXT NOT NULL DEFAULT '0',
    reported_filled INTEGER NOT NULL DEFAULT 0,
    triggered INTEGER NOT NULL DEFAULT 0,
    tombstone INTEGER NOT NULL DEFAULT 0,
    text TEXT NOT NULL DEFAULT '',
    ts_last_ns INTEGER NOT NULL,
    terms_ts_ns INTEGER NOT NULL DEFAULT 0,
    quantity_max INTEGER NOT NULL,
    cancel_wanted INTEGER NOT NULL DEFAULT 0,
    trail_by_ticks INTEGER NOT NULL DEFAULT 0,
    stop_ticks INTEGER NOT NULL DEFAULT 0,
    target_ticks INTEGER NOT NULL DEFAULT 0,
    expire_ns INTEGER NOT NULL DEFAULT 0,
    parent_id TEXT NOT NULL DEFAULT '',
    linked_id TEXT NOT NULL DEFAULT '',
    event_id INTEGER NOT NULL
);
CREATE UNIQUE INDEX orders_by_venue ON orders (account_id, venue_order_id) WHERE venue_order_id IS NOT NULL;
CREATE INDEX orders_open ON orders (ts_init_ns)
    WHERE status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED');
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    ts_recv_ns INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE fills (
    event_id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL,
    exchange TEXT NOT NULL,
    venue_order_id TEXT NOT NULL,
    fill_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    strategy_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price_nanos INTEGER NOT NULL,
    commission_micros INTEGER NOT NULL,
    ts_event_ns INTEGER NOT NULL,
    UNIQUE (account_id, exchange, venue_order_id, fill_id)
);
CREATE INDEX fills_of_order ON fills (client_order_id);
CREATE TABLE pauses (strategy_id TEXT PRIMARY KEY, reason TEXT NOT NULL, ts_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (strategy_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trading_states (
    number INTEGER PRIMARY KEY,
    trading_state TEXT NOT NULL,
    reason TEXT NOT NULL,
    ts_ns INTEGER NOT NULL
);
{_LAST_WILLS}
{_ROLLS}
{_RISK_STATE}
{_SUMS}
"""

META_COLUMNS = ("key", "value")

MIGRATIONS: dict[str, tuple[str, str]] = {
    "1": ("2", f"ALTER TABLE orders ADD COLUMN cancel_wanted INTEGER NOT NULL DEFAULT 0;{_LAST_WILLS}"),
    "2": ("3", _ROLLS_OF_3),
    "3": ("4", _ROLLS_FROM_3),
    "4": (SUMS_SINCE, _RISK_STATE + _SUMS),
    "5": ("6", _HELD_ORDERS),
}
"""Version -> the next one, and the statements that lead there."""

NOT_OF_SQLITE = (UnicodeDecodeError, MemoryError)
"""What Python makes of a damaged file: of a name that is no text any more, and of a length beyond all bounds."""

NOT_DAMAGE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_PERM")
"""How the names of errors begin that are the disk's or the folder's and say nothing about what the file holds."""

_MEND = "keep the file and mend it with: python run.py journal repair (see 'The journal is damaged' in docs/runbook.md)"


def damaged(path: str, why: object) -> JournalError:
    """The error for a file that cannot be trusted."""
    words = " ".join(str(why).split())
    return JournalError(f"{path}: the journal is damaged ({words}); {_MEND}")


def refused(path: str, why: Exception) -> JournalError:
    """The error for a file that could not be opened: damage, unless the disk or the folder is what fails."""
    name = getattr(why, "sqlite_errorname", "") or ""
    if isinstance(why, OSError) or name.startswith(NOT_DAMAGE):
        return JournalError(
            f"{path}: the journal cannot be opened for writing ({' '.join(str(why).split())}); "
            "make room on the disk or mend the rights of state_dir, and start again"
        )
    return damaged(path, why)


def create(path: str, system_name: str) -> None:
    """Make an empty journal under another name first, so that a file of this name is always a whole one."""
    fresh = path + ".new"
    for leftover in (fresh, fresh + "-wal", fresh + "-shm"):
        if os.path.exists(leftover):
            os.unlink(leftover)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN;{TABLES}COMMIT;")
        known = sums.Sums.of_file(connection)
        for row in (("version", SCHEMA_VERSION), ("system_name", system_name)):
            connection.execute("INSERT INTO meta VALUES (?, ?, ?)", (*row, known.of("meta", META_COLUMNS, row)))
    finally:
        connection.close()
    os.rename(fresh, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check(connection: sqlite3.Connection, path: str, system_name: str) -> None:
    """Raise ``JournalError`` unless the file is sound, of a version that we can read, and of this gateway system."""
    try:
        # Not the quick one, which leaves indexes out: one of them is what keeps an execution from being booked twice.
        answer = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer is None or answer[0] != "ok":
            raise damaged(path, answer[0] if answer else "no answer")
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except sqlite3.DatabaseError as error:
        raise refused(path, error) from error
    if meta.get("version") != SCHEMA_VERSION and meta.get("version") not in MIGRATIONS:
        raise JournalError(
            f"{path}: the journal has version {meta.get('version')}, this program writes version {SCHEMA_VERSION}; "
            "run the version that wrote it, or give another state_dir"
        )
    if meta.get("system_name") != system_name:
        raise JournalError(
            f"{path}: the journal belongs to the system {meta.get('system_name')!r}, the configuration names "
            f"{system_name!r}; give each account its own state_dir"
        )


@cache
def _known_columns() -> dict[str, tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return columns_of_tables(connection)


def columns_of_tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The columns of each table that a file has. Raises ``sqlite3.Error``."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {name: tuple(each.name for each in sums.columns_of(connection, name)) for name in names}


def lacking(columns: Mapping[str, Collection[str]], version: str) -> Iterator[str]:
    """Tables and columns of our version that a file lacks; nothing of a file that is to be migrated first.

    SQLite reads the statements that made its tables without a sum: a letter that was changed there is another name.
    """
    for table, names in _known_columns().items() if version == SCHEMA_VERSION else ():
        if table not in columns:
            yield f"the table {table} is missing"
            continue
        yield from (f"{table} has no column {name}" for name in names if name not in columns[table])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal of an earlier version to ours, each step whole or not at all. Raises ``sqlite3.Error``."""
    version = _version(connection)
    while version in MIGRATIONS:
        following, statements = MIGRATIONS[version]
        known = sums.Sums.of_file(connection)
        known.register(connection)
        statements += f"UPDATE meta SET value = '{following}' WHERE key = 'version';"
        if following == SUMS_SINCE:
            columns = {table: [each.name for each in sums.columns_of(connection, table)] for table in sums.SUMMED}
            # A table that this very step makes has no rows.
            statements += sums.seal((table, names) for table, names in columns.items() if names)
        elif known.has("meta"):
            statements += sums.seal([("meta", META_COLUMNS)])
        connection.executescript(f"BEGIN IMMEDIATE;{statements}COMMIT;")
        version = following


def _version(connection: sqlite3.Connection) -> str:
    found = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    return "" if found is None else str(found[0])
