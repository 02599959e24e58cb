"""What a start looks at before it trades on a journal: the file, its ``-wal`` file, and the rows that are traded upon.

All of it is read without writing anything: SQLite copies the ``-wal`` file into the database and removes it when the
last one who may write closes the file, and with it what a damaged one still holds.
"""

import sqlite3
from contextlib import closing

from actors.plants import journal_schema as schema
from actors.plants.journal_sums import SUM_COLUMN, SUMMED, Sums
from actors.plants.journal_wal import Wal, read_index, read_wal

BUSY_TIMEOUT_S = 1.0
FRAMES_UNSEEN = 1 << 32
"""More than there can be: none of them is summed up."""
_ONLY = {"orders": " WHERE status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')", "events": " WHERE 0"}
"""Finished orders and events are history, and many: ``journal verify`` looks at those."""


def require_sound(path: str, system_name: str) -> None:
    """Raise ``JournalError`` unless the journal can be traded upon; also ``sqlite3.Error`` and ``OSError``."""
    noted = read_index(path)
    # SQLite notes anew what it finds, so that this is asked before it looks.
    _require_no_fault(path, read_wal(path + "-wal", index=noted, from_frame=FRAMES_UNSEEN))
    with closing(sqlite3.connect(to_read(path), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)) as connection:
        schema.check(connection, path, system_name)
        _require_tables(connection, path)
        used = read_index(path)
        _require_no_fault(path, read_wal(path + "-wal", from_frame=0 if used is None else used.frames))
        sums = Sums.of_file(connection)
        if sums.has("meta"):
            _require_whole_rows(connection, path, sums)


def to_read(path: str) -> str:
    """The name under which SQLite opens a file for reading only."""
    return "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro"


def _require_no_fault(path: str, wal: Wal | None) -> None:
    """Commits that SQLite would silently leave out are damage."""
    if wal is not None and wal.fault():
        raise schema.damaged(path, wal.fault())


def _require_tables(connection: sqlite3.Connection, path: str) -> None:
    columns = schema.columns_of_tables(connection)
    version = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
    for fault in schema.lacking(columns, version):
        raise schema.damaged(path, fault)


def _require_whole_rows(connection: sqlite3.Connection, path: str, sums: Sums) -> None:
    for table in SUMMED:
        found = connection.execute(f"SELECT * FROM {table}{_ONLY.get(table, '')}")
        columns = tuple(each[0] for each in found.description)
        if SUM_COLUMN not in columns:
            raise schema.damaged(path, f"{table} has no column {SUM_COLUMN}")
        for row in found:
            if not sums.is_whole(table, columns, row):
                raise schema.damaged(path, f"{table}: the row of {row[0]!r} is not as it was written")
