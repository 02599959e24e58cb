"""Is a journal sound? Opened for reading only, beside a running system or after its end; nothing of it is changed."""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from actors.plants import journal_schema as schema
from actors.plants.journal import FILE_NAME, REPAIRING, JournalBusyError, lock_journal
from actors.plants.journal_checks import CHECKS, Check, View, in_words, strategies_known
from actors.plants.journal_soundness import to_read
from actors.plants.journal_wal import WalIndex, read_index, read_wal
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.settings.locks import is_locked

BUSY_TIMEOUT_S = 5.0
SHOWN_MAX = 20
"""Violations of one check that are named; all are counted."""
TEXT_MAX = 600
VALUE_BYTES_MAX = 64_000_000
"""No value of a journal is longer; a damaged length must not ask for more memory than that."""
_MARK = "repaired_event_id"
_OPEN = "status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')"
_POSITIONS = (
    "SELECT strategy_id, symbol, sum(CASE side WHEN 'BUY' THEN quantity ELSE -quantity END) FROM fills "
    "GROUP BY strategy_id, symbol ORDER BY strategy_id, symbol"
)


class Finding(NamedTuple):
    """What one check has found."""

    name: str
    meaning: str
    asked: bool
    violations: int
    rows: tuple[str, ...]
    """The first of them in words."""


def journal_path(state_dir: str) -> str:
    """The journal of a folder of state; raises ``ConfigurationError`` where there is none."""
    path = os.path.join(state_dir, FILE_NAME)
    if not os.path.isfile(path):
        raise ConfigurationError(f"{path}: there is no journal; name the configuration of a system that ran: --config")
    return path


def is_running(state_dir: str) -> bool:
    """Whether a system runs on the folder, or somebody else holds its journal."""
    if is_locked(state_dir):
        return True
    if not os.path.exists(os.path.join(state_dir, FILE_NAME + ".lock")):
        return False
    try:
        os.close(lock_journal(os.path.join(state_dir, FILE_NAME)))
    except JournalBusyError:
        return True
    except JournalError:
        # Somebody else's folder, perhaps: it can be read, and whether anybody runs there cannot be told.
        return False
    return False


@contextmanager
def opened(path: str, *, is_live: bool) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, and that a damaged file cannot harm. Raises ``sqlite3.Error`` and ``OSError``.

    ``is_live``: somebody writes to the file, and SQLite's own locks hold. Otherwise nothing beside it is made or
    changed: the ``-shm`` file may be all that tells of a ``-wal`` file that was cut off.
    """
    with ExitStack() as held:
        options = ""
        if not is_live:
            if os.path.exists(path + "-wal") and os.path.getsize(path + "-wal"):
                folder = held.enter_context(TemporaryDirectory(prefix="journal-"))
                for part in ("", "-wal"):
                    shutil.copyfile(path + part, os.path.join(folder, FILE_NAME + part))
                path = os.path.join(folder, FILE_NAME)
            else:
                options = "&immutable=1"
        uri = to_read(path) + options
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        held.callback(connection.close)
        connection.text_factory = lambda content: content.decode(errors="replace")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("BEGIN")
        yield connection


def verify(state_dir: str, strategies: Iterable[str] | None = None) -> dict[str, Any]:
    """Check the journal in a folder of state; ``sound`` of the result says how it is.

    ``strategies`` are the configured ones. Raises ``ConfigurationError`` for what is no journal, or cannot be read for
    another reason than damage.
    """
    path = journal_path(state_dir)
    running = is_running(state_dir)
    result = verify_file(path, strategies, is_live=running)
    if not running and is_running(state_dir):
        # A system was started meanwhile, and has perhaps written into what was being read.
        running, result = True, verify_file(path, strategies, is_live=True)
    return {**result, "running": running}


def verify_file(path: str, strategies: Iterable[str] | None = None, *, is_live: bool = False) -> dict[str, Any]:
    """The same for one file; ``is_live``: somebody writes to it meanwhile."""
    result: dict[str, Any] = {"path": path, "version": None, "system_name": None, "account_id": None}
    result |= {"repaired": None, "rows": {}, "orders": {}, "open_orders": None, "positions": []}
    findings: list[Finding] = []
    noted = None if is_live else read_index(path)
    try:
        with opened(path, is_live=is_live) as connection:
            findings += _of_file(connection, path, noted, is_live=is_live)
            view = _view(connection, path, None if strategies is None else frozenset(strategies), result)
            findings += [_asked(check, view) for check in CHECKS]
            _count(view, result)
    except (sqlite3.Error, OSError, *schema.NOT_OF_SQLITE) as error:
        findings.append(_unreadable(path, error))
    found = [finding._asdict() for finding in findings]
    return {**result, "sound": not any(finding.violations for finding in findings), "checks": found}


def _of_file(connection: sqlite3.Connection, path: str, noted: WalIndex | None, *, is_live: bool) -> Iterator[Finding]:
    """What can be said of the files without knowing what they hold."""
    meaning = "SQLite finds no fault with the file"
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check(1000)") if row[0] != "ok"]
    yield Finding("sqlite", meaning, True, len(faults), tuple(" ".join(text.split()) for text in faults[:SHOWN_MAX]))
    fault = _wal_fault(path, noted, is_live=is_live)
    yield Finding("wal", "no commit in the -wal file is lost", True, int(bool(fault)), (fault,) if fault else ())
    is_ours = os.path.exists(path + REPAIRING)
    text = f"{path}{REPAIRING} is there: end it with journal repair"
    yield Finding("repair", "no repair was broken off", True, int(is_ours), (text,) if is_ours else ())


def _wal_fault(path: str, noted: WalIndex | None, *, is_live: bool) -> str:
    fault = ""
    for _ in range(2):
        # A running system may begin the file anew between two reads; damage is there the second time, too.
        used = read_index(path) if is_live else None
        wal = read_wal(path + "-wal", index=noted, frames_max=used.frames if used is not None else None)
        fault = "" if wal is None else wal.fault()
        if not fault:
            break
    return fault


def _view(connection: sqlite3.Connection, path: str, strategies: frozenset[str] | None, result: dict[str, Any]) -> View:
    columns = schema.columns_of_tables(connection)
    if not columns:
        raise sqlite3.DatabaseError("the file has no tables")
    if "meta" not in columns or "orders" not in columns:
        raise ConfigurationError(f"{path}: this is no journal of nightdesk: it has no tables meta and orders")
    meta = {str(key): str(value) for key, value in connection.execute("SELECT key, value FROM meta")}
    version = meta.get("version")
    if version is not None and version.isdecimal() and int(version) > int(schema.SCHEMA_VERSION):
        raise ConfigurationError(
            f"{path}: the journal has version {version}, this program knows versions up to {schema.SCHEMA_VERSION}; "
            "use the version that wrote it"
        )
    result |= {"version": version, "system_name": meta.get("system_name"), "account_id": meta.get("account_id")}
    result["repaired"] = meta.get("repaired")
    mark = meta.get(_MARK, "0")
    return View(connection, columns, strategies, int(mark) if mark.isdecimal() else 0)


def _asked(check: Check, view: View) -> Finding:
    for need in check.needs.split():
        table, _, column = need.partition(".")
        if table not in view.columns or (column and column not in view.columns[table]):
            return Finding(check.name, check.meaning, False, 0, ())
    if check.finds is strategies_known and view.strategies is None:
        return Finding(check.name, check.meaning, False, 0, ())
    count = 0
    texts: list[str] = []
    try:
        for text in _violations(check, view):
            count += 1
            if len(texts) < SHOWN_MAX:
                texts.append(text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + " …")
    except (sqlite3.Error, *schema.NOT_OF_SQLITE) as error:
        count += 1
        texts.append(f"the check broke off: {' '.join(str(error).split()) or type(error).__name__}")
    return Finding(check.name, check.meaning, True, count, tuple(texts))


def _violations(check: Check, view: View) -> Iterator[str]:
    if callable(check.finds):
        yield from check.finds(view)
        return
    found = view.rows(check.finds)
    for row in found:
        yield in_words(found, row)


def _count(view: View, result: dict[str, Any]) -> None:
    run = view.connection.execute
    result["rows"] = {table: run(f"SELECT count(*) FROM {table}").fetchone()[0] for table in view.columns}
    result["orders"] = {
        str(status): count for status, count in run("SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 1")
    }
    result["open_orders"] = run(f"SELECT count(*) FROM orders WHERE {_OPEN}").fetchone()[0]
    if "fills" in view.columns:
        result["positions"] = [
            {"strategy_id": strategy_id, "symbol": symbol, "quantity": quantity}
            for strategy_id, symbol, quantity in run(_POSITIONS)
            if quantity
        ]


def _unreadable(path: str, error: Exception) -> Finding:
    words = " ".join(str(error).split()) or type(error).__name__
    name = getattr(error, "sqlite_errorname", "") or ""
    if isinstance(error, OSError) or name.startswith(schema.NOT_DAMAGE):
        raise ConfigurationError(
            f"{path}: the journal cannot be read ({words}); mend the rights or the disk, try again"
        )
    return Finding("sqlite", "SQLite finds no fault with the file", True, 1, (words,))
