"""A journal of an earlier version is migrated with every row that it has; one of a later version is left alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.plants import journal_schema as schema
from actors.plants.journal import Journal
from actors.plants.journal_verify import verify
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages import OrderStatus, TradingState
from nightdesk.trading.roll_step import RollState
from tests.journal_support import STRATEGIES, SYSTEM, journal_of, make_journal, tables_of
from tests.journal_versions import STATEMENTS, make_old_journal

KEPT = ("orders", "events", "fills", "pauses", "epochs", "trading_states", "last_wills")


def opened(folder: Path) -> Journal:
    """The journal in a folder."""
    return Journal.open(str(folder), system_name=SYSTEM, durability="process")


@pytest.mark.parametrize("version", STATEMENTS)
def test_a_journal_of_an_earlier_version_keeps_every_row(tmp_path: Path, version: str) -> None:
    """Row by row and column by column; what later versions have beyond that has its default."""
    path = make_old_journal(tmp_path / "s", version)
    before = tables_of(path)
    columns = columns_of(path)
    journal = opened(tmp_path / "s")
    assert len(list(journal.fills())) == len(before["fills"])
    assert journal.trading_state() is TradingState.ACTIVE
    assert journal.status_counts()[OrderStatus.FILLED] == len(before["fills"])
    journal.close()
    assert columns_of(path)["meta"] == ["key", "value", "row_sum"]
    with closing(sqlite3.connect(path)) as connection:
        for table in KEPT:
            if table in before:
                found = connection.execute(f"SELECT {', '.join(columns[table])} FROM {table}").fetchall()
                assert sorted(found, key=repr) == before[table], table
        rolls = connection.execute("SELECT roll_id, strategy_id, alias, old_symbol, new_symbol, reopens FROM rolls")
        assert sorted(rolls) == sorted(row[:6] for row in before.get("rolls", []))
    result = verify(str(tmp_path / "s"), STRATEGIES)
    assert result["sound"], [check for check in result["checks"] if check["violations"]]
    assert result["version"] == schema.SCHEMA_VERSION
    assert all(check["asked"] for check in result["checks"])


def test_a_roll_of_the_third_version_is_done_or_under_way(tmp_path: Path) -> None:
    """As it was noted then."""
    path = make_old_journal(tmp_path / "s", "3")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO rolls VALUES ('roll-2', 'sma_es', 'ES.front', 'ESU6', 'ESZ6', 0, 0, 1)")
    journal = opened(tmp_path / "s")
    assert {roll.roll_id: roll.state for roll in journal.rolls()} == {
        "roll-1": RollState.DONE,
        "roll-2": RollState.UNDER_WAY,
    }
    journal.close()


def test_a_journal_that_was_migrated_has_sums_like_any_other(tmp_path: Path) -> None:
    """What was written before the sums were is guarded from the migration on."""
    path = make_old_journal(tmp_path / "s", "1")
    opened(tmp_path / "s").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE fills SET quantity = quantity + 1 WHERE event_id = (SELECT max(event_id) FROM fills)"
        )
    with pytest.raises(JournalError, match=r"fills: the row of .* is not as it was written"):
        opened(tmp_path / "s")


@pytest.mark.parametrize("version", STATEMENTS)
def test_a_journal_of_an_earlier_version_can_be_verified_as_it_is(tmp_path: Path, version: str) -> None:
    """Nothing is migrated by looking; checks of what it does not have are not asked."""
    path = make_old_journal(tmp_path / "s", version)
    before = path.read_bytes()
    result = verify(str(tmp_path / "s"), STRATEGIES)
    assert result["sound"], [check for check in result["checks"] if check["violations"]]
    assert result["version"] == version
    assert "row_sums" in [check["name"] for check in result["checks"] if not check["asked"]]
    assert path.read_bytes() == before


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """By a start and by verify, in one line that says what to do; the file stays as it is."""
    make_journal(tmp_path / "s", orders=3)
    path = journal_of(tmp_path / "s")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    before = path.read_bytes()
    with pytest.raises(
        JournalError, match=r"has version 99, this program writes version .*run the version that wrote it"
    ):
        opened(tmp_path / "s")
    with pytest.raises(ConfigurationError, match=r"has version 99, .*use the version that wrote it"):
        verify(str(tmp_path / "s"))
    assert path.read_bytes() == before


def columns_of(path: Path) -> dict[str, list[str]]:
    """Of each table."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}
