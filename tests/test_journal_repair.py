"""``journal repair``: all that can be read is kept as it was, what is lost is told, and the original is not touched."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.plants.journal import REPAIRING, Journal
from actors.plants.journal_verify import verify
from actors.plants.journal_wal import read_wal
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages import OrderStatus, TradingState
from nightdesk.settings.locks import Holder, lock_folder
from tests.journal_support import (
    STRATEGIES,
    SYSTEM,
    Damage,
    damages,
    journal_of,
    killed_journal,
    leaves,
    make_journal,
    mend,
    overwrite,
    tables_of,
)
from tests.journal_versions import make_old_journal

PARTS = ("journal.db", "journal.db-wal", "journal.db-shm")
OURS = ("repaired", "repaired_event_id", "replay_from_ns")
"""What a repair notes in ``meta``."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a journal of some hundred orders, closed in order."""
    folder = tmp_path_factory.mktemp("sound")
    make_journal(folder, orders=150)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an order plant that was killed."""
    folder = tmp_path_factory.mktemp("killed")
    killed_journal(folder, orders=60)
    return folder


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    shutil.copytree(sound, tmp_path / "s")
    return tmp_path / "s"


def opened(folder: Path) -> Journal:
    """As the next start does."""
    return Journal.open(str(folder), system_name=SYSTEM, durability="process")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the locks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and "lock" not in path.name}


def check_kept(folder: Path, original: dict[str, list[tuple[Any, ...]]], result: dict[str, Any]) -> None:
    """Every row is one of the original's, unless the result names it or it is the repair's own."""
    changed = {*result["adjusted_orders"], *result["rebuilt_orders"]}
    for table, rows in tables_of(journal_of(folder)).items():
        before = set(original[table])
        for row in rows:
            is_ours = (table == "meta" and row[0] in OURS) or (table == "orders" and row[0] in changed)
            is_ours |= table == "trading_states" and bool(result["halted"]) and "was repaired" in row[2]
            if table == "rolls":
                # Their order alone has no sum.
                assert row[1:] in {each[1:] for each in before}
            else:
                assert is_ours or row in before, (table, row)


def test_a_lost_page_of_orders_is_made_good_from_their_fills(copy: Path, sound: Path) -> None:
    """Positions are as they were; only orders without fills are gone, and each of them is named."""
    original = tables_of(journal_of(sound))
    positions = verify(str(sound), STRATEGIES)["positions"]
    page = leaves(copy, "orders")[2]
    overwrite(copy, page)
    assert not verify(str(copy), STRATEGIES)["sound"]
    result = mend(copy)
    assert result["done"]
    assert verify(str(copy), STRATEGIES)["sound"]
    assert verify(str(copy), STRATEGIES)["positions"] == positions
    check_kept(copy, original, result)
    filled = {row[5] for row in original["fills"]}
    kept = {row[0] for row in tables_of(journal_of(copy))["orders"]}
    lost = {row[0] for row in original["orders"]} - kept
    assert lost
    assert not lost & filled
    assert set(result["tables"]["orders"]["lost_names"]) == lost
    assert set(result["rebuilt_orders"]) <= filled
    assert len(result["rebuilt_orders"]) >= 5
    assert result["tables"]["orders"]["unread"] == []
    assert not result["halted"]


def test_an_order_that_is_made_from_its_fills_says_what_they_say(copy: Path, sound: Path) -> None:
    """Whose it is, its side and symbol, what it has filled and how it ended; nothing is made up beyond that."""
    original = {row[0]: row for row in tables_of(journal_of(sound))["orders"]}
    overwrite(copy, leaves(copy, "orders")[2])
    result = mend(copy)
    journal = opened(copy)
    for name in result["rebuilt_orders"]:
        order, before = journal.find_order(name), original[name]
        assert order is not None
        assert (order.strategy_id, order.account_id, order.symbol, order.exchange) == before[1:5]
        assert (order.side, order.venue_order_id) == (before[5], before[18])
        assert (order.filled_quantity, str(order.filled_cost_nanos)) == before[19:21]
        assert order.quantity == before[8]
        assert order.status in (before[17], OrderStatus.UNKNOWN)
        if order.status is OrderStatus.UNKNOWN:
            # It works, or worked, and the broker's list says which.
            assert before[17] in ("PARTIALLY_FILLED", "ACCEPTED")
    journal.close()


def test_lost_fills_are_taken_from_their_events(copy: Path, sound: Path) -> None:
    """Whole pages of them: each is as it was, to the last digit."""
    original = tables_of(journal_of(sound))
    for page in leaves(copy, "fills"):
        overwrite(copy, page)
    result = mend(copy)
    assert tables_of(journal_of(copy))["fills"] == original["fills"]
    assert result["tables"]["fills"]["kept"] == 0
    assert result["tables"]["fills"]["rebuilt"] == len(original["fills"])
    assert result["tables"]["fills"]["lost_rowids"] == []
    check_kept(copy, original, result)


def test_fills_that_are_lost_with_their_events_leave_their_orders_in_doubt(copy: Path, sound: Path) -> None:
    """Such an order is UNKNOWN, holds what is left of it, and the next start asks for every execution."""
    original = tables_of(journal_of(sound))
    overwrite(copy, leaves(copy, "fills")[0])
    for page in leaves(copy, "events"):
        overwrite(copy, page)
    result = mend(copy)
    after = tables_of(journal_of(copy))
    lost = {row[5] for row in original["fills"]} - {row[5] for row in after["fills"]}
    assert lost
    assert lost <= set(result["adjusted_orders"])
    for row in after["orders"]:
        if row[0] in lost:
            assert (row[19], row[20], row[21]) == (0, "0", 0)
            assert row[17] in ("UNKNOWN", "CANCELED", "EXPIRED")
    journal = opened(copy)
    assert journal.needs_full_replay()
    journal.close()
    told = result["tables"]["fills"]["lost_rowids"]
    named = {number for each in told for number in range(int(each.split("-")[0]), int(each.split("-")[-1]) + 1)}
    gone = {row[0] for row in original["fills"]} - {row[0] for row in after["fills"]}
    assert named == gone


def test_trading_is_halted_where_a_halt_may_be_lost(copy: Path) -> None:
    """A journal that has forgotten that somebody stopped it must not trade on by itself."""
    overwrite(copy, leaves(copy, "trading_states")[0])
    result = mend(copy)
    assert "trading_states" in result["halted"]
    journal = opened(copy)
    assert journal.trading_state() is TradingState.HALTED
    journal.close()


def test_a_page_that_holds_no_reason_to_keep_still_halts_nothing(copy: Path) -> None:
    """The state is the one that it was."""
    overwrite(copy, leaves(copy, "events")[0])
    assert mend(copy)["halted"] == ""
    journal = opened(copy)
    assert journal.trading_state() is TradingState.ACTIVE
    journal.close()


def test_epochs_do_not_fall_when_they_are_lost(copy: Path) -> None:
    """They are taken from the orders; a command of an earlier process stays stale."""
    journal = opened(copy)
    epochs = [journal.next_fencing_epoch(strategy_id) for strategy_id in journal.orders_by_strategy()]
    journal.close()
    overwrite(copy, leaves(copy, "epochs")[0])
    mend(copy)
    journal = opened(copy)
    # The last epoch had sent no order: nothing of it is left, and nothing of it can come any more.
    again = [journal.next_fencing_epoch(strategy_id) for strategy_id in journal.orders_by_strategy()]
    assert again == epochs
    journal.close()


def test_an_order_whose_number_is_damaged_is_put_back(copy: Path, sound: Path) -> None:
    """No sum knows where a row stands; two indexes do, and the order of orders is theirs."""
    path = journal_of(copy)
    page = leaves(copy, "orders")[1]
    content = bytearray(path.read_bytes())
    begin = (page - 1) * 4096
    place = begin + int.from_bytes(content[begin + 8 : begin + 10], "big")
    # The length of a row has two bytes here, and its number, below 128, has one.
    assert content[place] >= 0x80 > content[place + 1]
    number = content[place + 2]
    assert number < 0x80
    content[place + 2] = number ^ 0x40
    path.write_bytes(content)
    result = mend(copy)
    numbers = "SELECT rowid, client_order_id FROM orders ORDER BY rowid"
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(journal_of(sound))) as old:
        assert new.execute(numbers).fetchall() == old.execute(numbers).fetchall()
    assert result["tables"]["orders"]["lost_rowids"] == []
    check_kept(copy, tables_of(journal_of(sound)), result)


def test_a_lost_first_page_loses_no_row(copy: Path, sound: Path) -> None:
    """It says what the tables are and where they begin; rows are then known by their sums."""
    original = tables_of(journal_of(sound))
    overwrite(copy, 1)
    result = mend(copy)
    after = tables_of(journal_of(copy))
    for table in ("orders", "fills", "events", "pauses", "epochs", "last_wills"):
        assert after[table] == original[table], table
    check_kept(copy, original, result)


def test_the_first_page_of_a_journal_that_was_migrated_can_be_lost_too(tmp_path: Path) -> None:
    """Its columns stand in another order than those of a journal that this version has made."""
    make_old_journal(tmp_path / "s", "1")
    opened(tmp_path / "s").close()
    original = tables_of(journal_of(tmp_path / "s"))
    overwrite(tmp_path / "s", 1)
    mend(tmp_path / "s")
    after = tables_of(journal_of(tmp_path / "s"))
    # The row's sum is the same in whatever order its columns stand.
    assert {row[0]: row[-1] for row in after["fills"]} == {row[0]: row[-1] for row in original["fills"]}
    assert len(after["orders"]) == len(original["orders"])
    assert verify(str(tmp_path / "s"), STRATEGIES)["sound"]


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_a_damaged_journal_of_an_earlier_version_is_repaired_and_migrated(tmp_path: Path, version: str) -> None:
    """Its rows have no sums: what can be read is kept, and the result says that it cannot prove it."""
    folder = tmp_path / "s"
    make_old_journal(folder, version)
    fills = tables_of(journal_of(folder))["fills"]
    overwrite(folder, leaves(folder, "orders")[1])
    result = mend(folder)
    assert result["unproven_rows"] > 100
    assert verify(str(folder), STRATEGIES)["sound"]
    assert [row[:-1] for row in tables_of(journal_of(folder))["fills"]] == fills
    opened(folder).close()


def test_every_commit_behind_a_damaged_frame_is_kept(killed: Path, tmp_path: Path) -> None:
    """SQLite would undo them all; each page stands in later frames, too, so that nothing is lost."""
    shutil.copytree(killed, tmp_path / "s")
    shutil.copytree(killed, tmp_path / "o")
    original = tables_of(journal_of(tmp_path / "o"))
    wal = tmp_path / "s" / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    content[len(content) // 3] ^= 1
    wal.write_bytes(content)
    result = mend(tmp_path / "s")
    after = tables_of(journal_of(tmp_path / "s"))
    assert "commits would be lost" in result["wal_fault"]
    assert {table: rows for table, rows in after.items() if table != "meta"} == {
        table: rows for table, rows in original.items() if table != "meta"
    }


def test_a_page_whose_last_state_is_lost_is_taken_as_it_was_before(killed: Path, tmp_path: Path) -> None:
    """Its orders are there, none of them is believed to be as it was, and what else was in it nobody can tell."""
    folder = tmp_path / "s"
    shutil.copytree(killed, folder)
    shutil.copytree(killed, tmp_path / "o")
    original = tables_of(journal_of(tmp_path / "o"))
    page = leaves(tmp_path / "o", "orders")[-1]
    wal = read_wal(str(folder / "journal.db-wal"))
    assert wal is not None
    frame = max(frame.place for frame in wal.frames if frame.page_number == page)
    with open(folder / "journal.db-wal", "r+b") as file:
        file.seek(32 + frame * (24 + 4096) + 24)
        file.write(bytes(4096))
    result = mend(folder)
    check_kept(folder, original, result)
    after = {row[0]: row[17] for row in tables_of(journal_of(folder))["orders"]}
    assert len(after) >= len(original["orders"]) - 1
    assert {status for status in after.values() if status not in ("DENIED", "FILLED", "CANCELED", "EXPIRED")} == {
        "UNKNOWN"
    }
    assert result["halted"]


def test_commits_that_are_cut_off_leave_all_open_orders_in_doubt(killed: Path, tmp_path: Path) -> None:
    """What is left may be old: nothing of it is taken for the present state, and a halt may be among what is lost."""
    shutil.copytree(killed, tmp_path / "s")
    wal = tmp_path / "s" / "journal.db-wal"
    os.truncate(wal, wal.stat().st_size * 2 // 3)
    result = mend(tmp_path / "s")
    assert result["halted"]
    assert not result["tables"]["orders"]["is_complete"]
    journal = opened(tmp_path / "s")
    orders = journal.open_orders()
    assert orders
    assert {order.status for order in orders} == {OrderStatus.UNKNOWN}
    journal.close()


def test_the_original_is_kept_aside_and_a_dry_run_changes_nothing(copy: Path) -> None:
    """Byte for byte, all of its files; the new journal names it."""
    overwrite(copy, leaves(copy, "orders")[1])
    before = contents(copy)
    dry = mend(copy, is_dry=True)
    assert not dry["done"]
    assert contents(copy) == before
    assert [path for path in copy.iterdir() if path.is_dir()] == []
    result = mend(copy)
    aside = Path(result["aside"])
    assert aside.parent == copy
    assert contents(aside) == {name: content for name, content in before.items() if name in PARTS}
    assert aside.stat().st_mode & 0o777 == 0o700
    assert journal_of(copy).stat().st_mode & 0o777 == 0o600
    assert str(aside) in verify(str(copy), STRATEGIES)["repaired"]
    assert {key: dry[key] for key in ("tables", "adjusted_orders")} == {
        key: result[key] for key in ("tables", "adjusted_orders")
    }


def test_a_second_repair_of_the_same_second_keeps_both_originals(copy: Path) -> None:
    """None is written over."""
    for _ in range(2):
        overwrite(copy, leaves(copy, "orders")[1])
        assert mend(copy)["done"]
    assert len([path for path in copy.iterdir() if path.is_dir()]) == 2


def test_a_sound_journal_is_left_alone(copy: Path) -> None:
    """There is nothing to repair, and nothing is written."""
    before = contents(copy)
    result = mend(copy)
    assert (result["done"], result["sound"]) == (False, True)
    assert contents(copy) == before


def test_a_running_system_is_not_repaired(copy: Path) -> None:
    """Neither beside an order plant, nor beside a system whose order plant is just being restarted."""
    journal = opened(copy)
    with pytest.raises(ConfigurationError, match="a system runs on it; stop it first"):
        mend(copy)
    journal.close()
    lock = lock_folder("state_dir", str(copy), Holder(1, "other", "other.yaml"))
    with pytest.raises(ConfigurationError, match="a system runs on it; stop it first"):
        mend(copy)
    lock.release()


@pytest.mark.parametrize("what", ["noise", "empty", "later version"])
def test_what_cannot_be_repaired_is_refused_in_one_line(copy: Path, what: str) -> None:
    """It names the file and what to do, and leaves it as it is."""
    path = journal_of(copy)
    if what == "noise":
        path.write_bytes(os.urandom(100_000))
    elif what == "empty":
        path.write_bytes(b"")
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    before = contents(copy)
    with pytest.raises(ConfigurationError) as caught:
        mend(copy)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ("use the version that wrote it" if what == "later version" else "another state_dir") in str(caught.value)
    assert contents(copy) == before
    assert [path for path in copy.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("where", ["before the new journal is there", "after it"])
def test_a_repair_that_is_broken_off_is_ended_by_the_next_one(
    copy: Path, sound: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the new journal takes the place of the old one nobody starts; the copy is what counts then."""
    original = tables_of(journal_of(sound))
    overwrite(copy, leaves(copy, "events")[0])
    unlink = os.unlink

    def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    def unlinks(path: str) -> None:
        if path.endswith(REPAIRING):
            raise KeyboardInterrupt
        unlink(path)

    with monkeypatch.context() as patch:
        if where == "after it":
            patch.setattr(os, "unlink", unlinks)
        else:
            patch.setattr(os, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            mend(copy)
    with pytest.raises(JournalError, match=r"a repair was broken off; end it with: python run\.py journal repair"):
        opened(copy)
    if where != "after it":
        # Whatever is in its place now, the copy is what is repaired.
        journal_of(copy).write_bytes(b"")
    result = mend(copy)
    assert result["done"]
    assert not Path(str(journal_of(copy)) + REPAIRING).exists()
    check_kept(copy, original, result)
    opened(copy).close()


def test_a_name_that_is_lost_is_asked_for(copy: Path) -> None:
    """Whose journal it is stands in the configuration, too."""
    overwrite(copy, leaves(copy, "meta")[0])
    mend(copy, system_name=lambda: "Asked")
    result = verify(str(copy), STRATEGIES)
    assert (result["system_name"], result["account_id"]) == ("Asked", "SIM-1")


@settings(max_examples=20, deadline=None)
@given(damage=damages(), is_killed=st.booleans())
def test_any_damage_is_repaired_or_refused(
    sound: Path, killed: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, is_killed: bool
) -> None:
    """The new journal is sound, and every row that was salvaged is the original's."""
    check_damage(sound, killed, tmp_path_factory.mktemp("any"), damage, is_killed=is_killed)


@pytest.mark.chaos
@settings(max_examples=500, deadline=None)
@given(damage=damages(), is_killed=st.booleans())
def test_any_damage_is_repaired_or_refused_for_long(
    sound: Path, killed: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, is_killed: bool
) -> None:
    """The long form."""
    check_damage(sound, killed, tmp_path_factory.mktemp("any"), damage, is_killed=is_killed)


def check_damage(sound: Path, killed: Path, folder: Path, damage: Damage, *, is_killed: bool) -> None:
    """Spoil a copy, repair it, and start on it."""
    source = killed if is_killed else sound
    shutil.copytree(source, folder / "s")
    shutil.copytree(source, folder / "o")
    original = tables_of(journal_of(folder / "o"))
    damage.apply(folder / "s" / (PARTS[1] if is_killed and damage.in_wal else PARTS[0]))
    try:
        result = mend(folder / "s")
    except ConfigurationError:
        # In one line; the tests above look at its words.
        return
    assert verify(str(folder / "s"), STRATEGIES)["sound"]
    journal = opened(folder / "s")
    journal.close()
    if result["done"]:
        check_kept(folder / "s", original, result)
