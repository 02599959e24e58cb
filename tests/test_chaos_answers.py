"""Faults of a chaos run that ask for a decision: what they destroy, what they find, and the sums over many seeds."""

from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import Journal
from benchmarks.reliability import line, seeds, summary
from nightdesk.chaos.answered_faults import damage
from nightdesk.chaos.job import LAST_WILLS
from nightdesk.chaos.strategies import KINDS
from nightdesk.errors import JournalError
from tests.journal_support import SYSTEM, journal_of, make_journal, mend, tables_of


@pytest.mark.parametrize("table", ["fills", "events"])
def test_a_damaged_page_is_refused_and_its_repair_loses_nothing(tmp_path: Path, table: str) -> None:
    """What was in the page is elsewhere, too: every order and every execution is there again."""
    make_journal(tmp_path / "s", seed=3, orders=60)
    path = journal_of(tmp_path / "s")
    before = tables_of(path)
    damage(path, table)
    with pytest.raises(JournalError, match="damaged"):
        Journal.open(str(tmp_path / "s"), system_name=SYSTEM, durability="process")
    mend(tmp_path / "s")
    after = tables_of(path)
    assert {row[0] for row in after["orders"]} == {row[0] for row in before["orders"]}
    assert {row[:-1] for row in after["fills"]} == {row[:-1] for row in before["fills"]}


def test_each_kind_of_strategy_has_a_last_will_and_every_will_is_there() -> None:
    """So that a storm of restarts meets all three."""
    assert set(LAST_WILLS) == {kind.__name__.lower() for kind in KINDS}
    assert set(LAST_WILLS.values()) == {"keep", "cancel_entries", "flatten"}


@pytest.mark.parametrize(("text", "expected"), [("1-3", [1, 2, 3]), ("7", [7]), ("3,9,11-12", [3, 9, 11, 12])])
def test_seeds_are_numbers_and_spans(text: str, expected: list[int]) -> None:
    """In the order in which they stand."""
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-", "5-1"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    """By ``argparse``, which makes a line of it."""
    with pytest.raises(ValueError, match=r"no seed|invalid literal"):
        seeds(text)


def document(**changes: Any) -> dict[str, Any]:
    """What a run's report says that is summed."""
    return {
        "ok": True, "orders_in_all": 10, "orders_a_minute": 600.0, "changes": 1, "cancels": 2, "fills": 3, "rounds": 4,
        "faults": 5, "kinds": 2, "faults_by_kind": {"drop": 3, "rst": 2}, "deaths": 6, "duplicates": 0, "lost": 0,
        "position_differences": 0, "traded_s": 60.0, "recovery_s": {"drop": {"longest": 7.0}},
    } | changes  # fmt: skip


def test_sums_over_seeds_are_told_with_what_failed() -> None:
    """Each seed's line, and a table of Markdown."""
    other = document(ok=False, lost=1, faults_by_kind={"drop": 5}, orders_a_minute=501.0)
    assert line(4, other).startswith("seed 4: FAILED, 10 orders (501 a minute), 3 fills, 5 faults of 2 kinds")
    table = summary([document(), other])
    wanted = {"seeds": 2, "seeds that hold everything": 1, "faults": 10, "lost": 1, "faults a minute": 5.0}
    for name, value in (wanted | {"kinds of fault": 2, "orders a minute, slowest seed": 501}).items():
        assert f"| {name} | {value} |" in table
    assert table.endswith("drop 8, rst 2")
