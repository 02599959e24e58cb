"""The journal's rolls: in the order in which they began, whatever the clocks said, and over versions of the file."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import FILE_NAME, Journal
from nightdesk.errors import JournalError
from nightdesk.messages import StrategyId
from nightdesk.trading.roll_step import PositionRoll, RollState
from tests.journal_support import without_later_columns
from tests.test_journal import sealed_anew


def opened(folder: Path) -> Journal:
    return Journal.open(str(folder), system_name="S", durability="process")


def roll(number: int, state: RollState = RollState.UNDER_WAY, **changes: Any) -> PositionRoll:
    found = PositionRoll(f"roll-one-{number}", StrategyId("one"), "ES.front", "ESH4", "ESM4", reopens=True, state=state)
    return found._replace(**changes)


def test_rolls_come_back_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    """A wall clock that is set back between two of them changes nothing; a row keeps its place."""
    journal = opened(tmp_path)
    first, second = roll(1, was_protected=True, begun_ns=7), roll(2, reopens=False)
    journal.write_roll(first, 1_000)
    journal.write_roll(second, 10)
    done = first._replace(state=RollState.DONE, reopens=False)
    journal.write_roll(done, 2_000)
    journal.close()
    journal = opened(tmp_path)
    assert journal.rolls() == [done, second]
    journal.close()


OLD_TABLE = """
DROP TABLE rolls;
CREATE TABLE rolls (roll_id TEXT PRIMARY KEY, strategy_id TEXT NOT NULL, alias TEXT NOT NULL, old_symbol TEXT NOT NULL,
    new_symbol TEXT NOT NULL, reopens INTEGER NOT NULL, is_done INTEGER NOT NULL DEFAULT 0, ts_ns INTEGER NOT NULL)
    WITHOUT ROWID;
INSERT INTO rolls VALUES ('roll-one-1', 'one', 'ES.front', 'ESH4', 'ESM4', 1, 0, 5);
INSERT INTO rolls VALUES ('roll-one-2', 'one', 'ES.front', 'ESH4', 'ESM4', 0, 1, 9);
UPDATE meta SET value = '3' WHERE key = 'version';
"""


def test_rolls_of_the_third_version_are_taken_over(tmp_path: Path) -> None:
    """What was under way comes last, so that it counts, however late the other one's clock was; with its age."""
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.executescript(without_later_columns(3) + OLD_TABLE)
    connection.close()
    journal = opened(tmp_path)
    assert journal.rolls() == [
        roll(2, RollState.DONE, reopens=False, begun_ns=9),
        roll(1, RollState.UNDER_WAY, begun_ns=5),
    ]
    journal.write_roll(roll(3), 1)
    assert [each.roll_id for each in journal.rolls()] == ["roll-one-2", "roll-one-1", "roll-one-3"]
    journal.close()


@pytest.mark.parametrize(("column", "value"), [("state", "'half'"), ("reopens", "'x'"), ("begun_ns", "'x'")])
def test_a_roll_that_no_version_wrote_is_damage(tmp_path: Path, column: str, value: str) -> None:
    """A state of a roll is not guessed at: orders follow from it."""
    journal = opened(tmp_path)
    journal.write_roll(roll(1), 1)
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"UPDATE rolls SET {column} = {value}")
        sealed_anew(connection, "rolls")
    connection.close()
    journal = opened(tmp_path)
    with pytest.raises(JournalError, match="roll-one-1"):
        journal.rolls()
    journal.close()
