"""How commits come to the disk: the copying of the ``-wal`` file into the database, and what is left after a failure.

SQLite copies by itself, every thousand pages and when the last connection is closed. It says nothing of an fsync that
fails there, and repeats it the next time; but the kernel reports such a failure once, and a second fsync of the same
pages succeeds though they never reached the disk. So the journal has the file copied at its own times, where a failure
is one of its own, and after a failure nobody copies what nobody may believe: the next start looks first.
"""

import sqlite3
from contextlib import closing, suppress

from actors.plants.journal_soundness import to_read
from nightdesk.errors import NightdeskError

COMMITS_PER_COPY = 250
"""About as many as SQLite's own thousand pages: what is written again within them is copied once."""


class JournalWriteError(NightdeskError):
    """Nothing was written, now or later: send no new order, and restart the order plant when the disk is mended."""


class WalCopies:
    """Has the ``-wal`` file of one connection copied; ``committed`` after each commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._left = COMMITS_PER_COPY

    def committed(self) -> None:
        """Copy, where that is due. Raises ``sqlite3.Error``."""
        self._left -= 1
        if self._left <= 0:
            self._left = COMMITS_PER_COPY
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed; whatever that says, nothing is written any more."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.rollback()


def close_as_it_is(connection: sqlite3.Connection, path: str) -> None:
    """Close after a failure without having anything copied: SQLite does not while somebody else reads, and whoever
    only reads may not."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(to_read(path), uri=True, timeout=0.0)) as reader:
        reader.execute("SELECT 1 FROM meta").fetchone()
        connection.close()
    # Where nobody could read.
    connection.close()
