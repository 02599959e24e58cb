"""The journal and a disk that fails: what was not synced is not believed, and no fsync is tried a second time."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import FILE_NAME, Journal, JournalWriteError
from actors.plants.journal_disk import COMMITS_PER_COPY
from tests.test_order_table import make_order

ORDERS = 3


class FailingDisk:
    """A connection on which some statements fail as on a disk that cannot sync."""

    def __init__(self, connection: sqlite3.Connection, *words: str) -> None:
        self._connection = connection
        self._words = words
        self.asked: list[str] = []

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.asked.append(statement)
        if statement.startswith(self._words):
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)

    def rollback(self) -> None:
        self.asked.append("rollback")
        raise sqlite3.OperationalError("disk I/O error")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def opened(folder: Path) -> Journal:
    return Journal.open(str(folder), system_name="S", durability="power")


def on_failing_disk(journal: Journal, *words: str) -> FailingDisk:
    """The same journal from now on."""
    disk = FailingDisk(journal._connection, *words)
    journal._connection = disk  # type: ignore[assignment]
    journal._copies._connection = disk  # type: ignore[assignment]
    return disk


def write(journal: Journal, count: int, name: str = "o") -> None:
    for number in range(count):
        journal.write_intent(make_order(f"{name}{number}"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(f"{FILE_NAME}*") if path.suffix in (".db", ".db-wal")}


def test_copying_of_the_wal_file_is_the_journals_own(tmp_path: Path) -> None:
    """SQLite's own says nothing of a failure and tries again; this one comes after so many commits."""
    journal = opened(tmp_path)
    assert journal._connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    disk = on_failing_disk(journal, "no statement")
    before = (tmp_path / FILE_NAME).stat().st_size
    write(journal, COMMITS_PER_COPY - 1)
    assert not any("checkpoint" in each for each in disk.asked)
    assert (tmp_path / FILE_NAME).stat().st_size == before
    write(journal, 2, "p")
    assert sum("checkpoint" in each for each in disk.asked) == 1
    assert (tmp_path / FILE_NAME).stat().st_size > before
    journal.close()


def test_failure_to_copy_is_a_failure_to_write_and_is_not_tried_again(tmp_path: Path) -> None:
    """The write that found it is refused, and every later one; the alarm follows as for a full disk."""
    journal = opened(tmp_path)
    disk = on_failing_disk(journal, "PRAGMA wal_checkpoint")
    with pytest.raises(JournalWriteError, match="disk I/O error"):
        write(journal, COMMITS_PER_COPY + 1)
    assert journal.failed
    asked = len(disk.asked)
    with pytest.raises(JournalWriteError, match="an earlier write failed"):
        journal.write_note("key", "value")
    assert len(disk.asked) == asked
    journal.close()
    assert sum("checkpoint" in each for each in disk.asked) == 1


def test_commit_that_fails_and_cannot_be_rolled_back_is_one_failure(tmp_path: Path) -> None:
    """Whoever writes hears of one kind of error, and cancels pass."""
    journal = opened(tmp_path)
    on_failing_disk(journal, "COMMIT")
    with pytest.raises(JournalWriteError, match="disk I/O error"):
        write(journal, 1)
    journal.close()


def test_closing_after_a_failure_leaves_the_files_as_they_are(tmp_path: Path) -> None:
    """What the kernel lost must not be copied into the database unseen; the next start looks at it first."""
    journal = opened(tmp_path)
    write(journal, ORDERS)
    on_failing_disk(journal, "COMMIT")
    with pytest.raises(JournalWriteError):
        write(journal, 1, "p")
    before = files(tmp_path)
    journal.close()
    assert files(tmp_path) == before
    assert f"{FILE_NAME}-wal" in before
    journal = opened(tmp_path)
    assert [order.client_order_id for order in journal.open_orders()] == ["o0", "o1", "o2"]
    journal.close()
    assert f"{FILE_NAME}-wal" not in files(tmp_path)
