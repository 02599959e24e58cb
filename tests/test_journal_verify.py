"""``journal verify``: what it calls sound is sound, each of its checks finds what it is for, and nothing is changed."""

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
from actors.plants.journal_checks import CHECKS
from actors.plants.journal_sums import SUMMED, Sums, columns_of, seal
from actors.plants.journal_verify import verify
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages import StrategyId
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
    tables_of,
)

PAGE = 4096
PARTS = ("journal.db", "journal.db-wal", "journal.db-shm")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a journal of some hundred rows, closed in order."""
    folder = tmp_path_factory.mktemp("sound")
    make_journal(folder, orders=150)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an order plant that was killed: nearly all of it stands in the -wal file."""
    folder = tmp_path_factory.mktemp("killed")
    killed_journal(folder, orders=60)
    return folder


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    shutil.copytree(sound, tmp_path / "s")
    return tmp_path / "s"


def violated(folder: Path) -> set[str]:
    """The names of the checks that find something."""
    return {check["name"] for check in verify(str(folder), STRATEGIES)["checks"] if check["violations"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32), orders=st.integers(0, 40), is_killed=st.booleans())
def test_what_an_order_plant_has_written_is_sound(
    tmp_path_factory: pytest.TempPathFactory, seed: int, orders: int, is_killed: bool
) -> None:
    """Whatever its orders have lived through, and however it ended."""
    folder = tmp_path_factory.mktemp("any")
    (killed_journal if is_killed else make_journal)(folder, orders=orders, seed=seed)
    result = verify(str(folder), STRATEGIES)
    assert result["sound"], [check for check in result["checks"] if check["violations"]]
    assert all(check["asked"] for check in result["checks"])
    assert result["rows"]["orders"] == orders


def test_verify_tells_what_there_is(sound: Path) -> None:
    """Counts of rows, of orders by status, and the positions, as they are in the file."""
    tables: dict[str, list[tuple[Any, ...]]] = tables_of(journal_of(sound))
    result = verify(str(sound), STRATEGIES)
    assert result["running"] is False
    assert {name: len(rows) for name, rows in tables.items()} == result["rows"]
    assert sum(result["orders"].values()) == len(tables["orders"])
    final = {"DENIED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"}
    assert result["open_orders"] == sum(row[17] not in final for row in tables["orders"])
    positions: dict[tuple[str, str], int] = {}
    for row in tables["fills"]:
        signed = row[9] if row[8] == "BUY" else -row[9]
        positions[(row[6], row[7])] = positions.get((row[6], row[7]), 0) + signed
    found = {(each["strategy_id"], each["symbol"]): each["quantity"] for each in result["positions"]}
    assert found == {key: quantity for key, quantity in positions.items() if quantity}
    assert result["account_id"] == "SIM-1"
    assert result["system_name"] == SYSTEM


@pytest.mark.parametrize("which", ["sound", "killed"])
def test_nothing_is_changed_by_looking(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Not a byte, and no file is made beside the journal, however its writer ended."""
    folder = tmp_path / "s"
    shutil.copytree(request.getfixturevalue(which), folder)
    before = contents(folder)
    assert verify(str(folder), STRATEGIES)["sound"]
    assert contents(folder) == before


def test_it_works_beside_a_running_system(tmp_path: Path) -> None:
    """It says so, sees what is committed, and is in nobody's way."""
    journal = make_journal(tmp_path / "s", orders=30, is_closed=False)
    result = verify(str(tmp_path / "s"), STRATEGIES)
    assert result["running"] is True
    assert result["sound"]
    assert result["rows"]["orders"] == 30
    journal.write_pause(StrategyId("quoter_es"), "later", 1)
    assert verify(str(tmp_path / "s"), STRATEGIES)["rows"]["pauses"] == 2
    journal.close()
    assert verify(str(tmp_path / "s"), STRATEGIES)["running"] is False


SPOILED = {
    "meta": "DELETE FROM meta WHERE key = 'system_name'",
    "row_sums": None,
    "value_kinds": "UPDATE fills SET quantity = 'two' WHERE event_id = (SELECT min(event_id) FROM fills)",
    "order_words": "UPDATE orders SET side = 'BUI' WHERE rowid = 1",
    "order_status": "UPDATE orders SET status = 'ACCEPTED' WHERE rowid = (SELECT max(rowid) FROM orders "
    "WHERE status = 'FILLED')",
    "order_fills": "UPDATE orders SET filled_quantity = filled_quantity + 1 WHERE rowid = (SELECT max(rowid) "
    "FROM orders WHERE status = 'FILLED')",
    "order_reported": "UPDATE orders SET reported_filled = reported_filled - 1 WHERE rowid = (SELECT max(rowid) "
    "FROM orders WHERE status = 'FILLED')",
    "order_times": "UPDATE orders SET ts_last_ns = ts_init_ns - 1 WHERE rowid = 1",
    "order_held": "UPDATE orders SET parent_id = client_order_id WHERE rowid = (SELECT min(rowid) FROM orders "
    "WHERE status <> 'DENIED')",
    "venue_ids": "DROP INDEX orders_by_venue; UPDATE orders SET venue_order_id = '10000001' WHERE rowid IN "
    "(SELECT rowid FROM orders WHERE venue_order_id IS NOT NULL LIMIT 2)",
    "one_account": "UPDATE orders SET account_id = 'SIM-2' WHERE rowid = 1",
    "epochs": "UPDATE epochs SET epoch = 0 WHERE strategy_id = 'sma_es'",
    "fill_order": "UPDATE fills SET symbol = 'YMZ6' WHERE event_id = (SELECT min(event_id) FROM fills)",
    "fill_values": "UPDATE fills SET fill_id = '' WHERE event_id = (SELECT min(event_id) FROM fills)",
    "fill_keys": None,
    "fill_events": "UPDATE fills SET commission_micros = commission_micros + 1 WHERE event_id = "
    "(SELECT min(event_id) FROM fills)",
    "event_payloads": "UPDATE events SET payload = x'c0' WHERE event_id = (SELECT min(event_id) FROM events)",
    "event_order": "UPDATE orders SET event_id = 1 WHERE rowid = (SELECT max(rowid) FROM orders "
    "WHERE status = 'FILLED')",
    "event_values": "UPDATE events SET ts_recv_ns = -1 WHERE event_id = (SELECT min(event_id) FROM events)",
    "tables": None,
    "trading_states": "DELETE FROM trading_states WHERE number = 2",
    "last_wills": "UPDATE last_wills SET will = 'hope'",
    "rolls": "UPDATE rolls SET state = 'somewhere' WHERE number = 1",
    "risk_state": "INSERT OR REPLACE INTO risk_state (key, value, ts_ns) VALUES ('daily_loss', '{}', 1)",
    "strategies": "UPDATE pauses SET strategy_id = 'nobody'",
}
"""For each check something that it, at least, must find; the rows are sealed anew afterwards."""


def test_each_check_is_spoiled_here() -> None:
    """A check that nothing ever fails proves nothing."""
    assert set(SPOILED) == {check.name for check in CHECKS}


@pytest.mark.parametrize("name", [name for name, statements in SPOILED.items() if statements])
def test_each_check_finds_what_it_is_for(copy: Path, name: str) -> None:
    """Rows that our own program could not have written, with sums that are right."""
    spoil(copy, str(SPOILED[name]))
    assert name in violated(copy)
    assert "row_sums" not in violated(copy) or name == "value_kinds"


def test_a_letter_that_was_changed_in_a_name_is_found_refused_and_mended(copy: Path) -> None:
    """SQLite keeps no sum of the statements that make its tables; a start would meet the name when it is too late."""
    path = journal_of(copy)
    content = path.read_bytes()
    assert content.count(b"    parent_id TEXT ") == 1
    path.write_bytes(content.replace(b"    parent_id TEXT ", b"    parent_ie TEXT "))
    before = tables_of(path)["orders"]
    assert "tables" in violated(copy)
    with pytest.raises(JournalError, match="journal repair"):
        Journal.open(str(copy), system_name=SYSTEM, durability="process")
    assert mend(copy)["done"]
    assert verify(str(copy), STRATEGIES)["sound"]
    assert tables_of(path)["orders"] == before


def test_an_execution_that_is_booked_twice_is_found(copy: Path) -> None:
    """The file's own index is not what is relied upon."""
    columns = "account_id, exchange, venue_order_id, fill_id, client_order_id, strategy_id, symbol, side, quantity"
    rest = "price_nanos, commission_micros, ts_event_ns"
    with closing(sqlite3.connect(journal_of(copy), isolation_level=None)) as connection:
        connection.executescript(
            "CREATE TABLE other (event_id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, exchange TEXT NOT NULL, "
            "venue_order_id TEXT NOT NULL, fill_id TEXT NOT NULL, client_order_id TEXT NOT NULL, strategy_id TEXT NOT "
            "NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity INTEGER NOT NULL, price_nanos INTEGER NOT NULL, "
            "commission_micros INTEGER NOT NULL, ts_event_ns INTEGER NOT NULL, row_sum INTEGER);"
            "INSERT INTO other SELECT * FROM fills; DROP TABLE fills; ALTER TABLE other RENAME TO fills;"
            f"INSERT INTO fills (event_id, {columns}, {rest}) SELECT max(event_id) + 1, {columns}, {rest} FROM fills;"
        )
    assert "fill_keys" in violated(copy)


@pytest.mark.parametrize("table", SUMMED)
def test_a_value_that_was_changed_behind_our_back_is_found(copy: Path, table: str) -> None:
    """Whatever the column: SQLite itself would not notice."""
    with closing(sqlite3.connect(journal_of(copy), isolation_level=None)) as connection:
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "number"]
        before = journal_of(copy).read_bytes()
        for name in names:
            connection.execute(
                f"UPDATE {table} SET {name} = CASE typeof({name}) WHEN 'integer' THEN {name} + 1 "
                f"WHEN 'real' THEN {name} + 0.25 WHEN 'null' THEN 1 ELSE {name} || 'x' END "
                f"WHERE {names[0]} = (SELECT max({names[0]}) FROM {table})"
            )
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found = next(check for check in verify(str(copy))["checks"] if check["name"] == "row_sums")
            assert found["violations"] == 1, name
            journal_of(copy).write_bytes(before)


def test_a_file_that_is_no_journal_is_not_called_unsound(tmp_path: Path) -> None:
    """Nothing is there, somebody else's database, or a folder that cannot be read: code 2 and the mend."""
    with pytest.raises(ConfigurationError, match="there is no journal; name the configuration"):
        verify(str(tmp_path))
    with closing(sqlite3.connect(journal_of(tmp_path))) as connection:
        connection.execute("CREATE TABLE t (a)")
    with pytest.raises(ConfigurationError, match="this is no journal of nightdesk"):
        verify(str(tmp_path))


def test_a_repair_that_was_broken_off_is_told(copy: Path) -> None:
    """Between two files there is no sound journal, whatever they look like."""
    Path(str(journal_of(copy)) + REPAIRING).write_text("somewhere\n")
    assert violated(copy) == {"repair"}


def test_a_broken_commit_in_the_wal_is_found_by_verify_and_by_a_start(killed: Path, tmp_path: Path) -> None:
    """SQLite takes the first wrong checksum for the end of the file: everything after it would silently be undone."""
    shutil.copytree(killed, tmp_path / "s")
    wal = tmp_path / "s" / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 4
    wal.write_bytes(content)
    before = contents(tmp_path / "s")
    assert violated(tmp_path / "s") >= {"wal"}
    with pytest.raises(JournalError, match=r"the journal is damaged \(frame \d+ of \d+ of the -wal file is damaged"):
        Journal.open(str(tmp_path / "s"), system_name=SYSTEM, durability="process")
    after = contents(tmp_path / "s")
    # What the file holds can still be had; only the index of its pages was made anew.
    assert {name: after[name] for name in PARTS[:2]} == {name: before[name] for name in PARTS[:2]}


@pytest.mark.parametrize("is_gone", [False, True])
def test_commits_that_were_cut_off_the_wal_are_found(killed: Path, tmp_path: Path, is_gone: bool) -> None:
    """What is left looks whole; SQLite's own notes beside it say that there was more."""
    shutil.copytree(killed, tmp_path / "s")
    wal = tmp_path / "s" / "journal.db-wal"
    if is_gone:
        wal.unlink()
    else:
        os.truncate(wal, wal.stat().st_size // 2)
    for _ in range(2):
        assert violated(tmp_path / "s") >= {"wal"}
    for _ in range(2):
        with pytest.raises(JournalError, match=r"frames that were committed are missing at the end of the -wal file"):
            Journal.open(str(tmp_path / "s"), system_name=SYSTEM, durability="process")


def test_a_commit_that_a_kill_has_cut_short_is_no_damage(tmp_path: Path) -> None:
    """It was never committed: the journal is as it was before it, and a start goes on from there."""
    folder = tmp_path / "s"
    journal = make_journal(folder, orders=10, is_closed=False)
    notes = (folder / "journal.db-shm").read_bytes()
    size = (folder / "journal.db-wal").stat().st_size
    journal.write_pause(StrategyId("quoter_es"), "never committed", 1)
    shutil.copytree(folder, tmp_path / "t")
    journal.close()
    torn = tmp_path / "t"
    (torn / "journal.db-shm").write_bytes(notes)
    content = bytearray((torn / "journal.db-wal").read_bytes())
    assert len(content) > size
    # The frame's header has reached the file, its page has not.
    content[size + 24 :] = bytes(len(content) - size - 24)
    (torn / "journal.db-wal").write_bytes(content)
    result = verify(str(torn), STRATEGIES)
    assert result["sound"], [check for check in result["checks"] if check["violations"]]
    assert result["rows"]["pauses"] == 1
    journal = Journal.open(str(torn), system_name=SYSTEM, durability="process")
    assert list(journal.pauses()) == ["sma_es"]
    journal.close()


@settings(max_examples=25, deadline=None)
@given(damage=damages(), is_killed=st.booleans())
def test_what_is_called_sound_is_as_it_was_written(
    sound: Path, killed: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, is_killed: bool
) -> None:
    """Any bytes of any of its files are overwritten or cut off: never a traceback, never a wrong row called sound."""
    check_damage(sound, killed, tmp_path_factory.mktemp("any"), damage, is_killed=is_killed)


@pytest.mark.chaos
@settings(max_examples=600, deadline=None)
@given(damage=damages(), is_killed=st.booleans())
def test_what_is_called_sound_is_as_it_was_written_for_long(
    sound: Path, killed: Path, tmp_path_factory: pytest.TempPathFactory, damage: Damage, is_killed: bool
) -> None:
    """The long form."""
    check_damage(sound, killed, tmp_path_factory.mktemp("any"), damage, is_killed=is_killed)


def check_damage(sound: Path, killed: Path, folder: Path, damage: Damage, *, is_killed: bool) -> None:
    """Spoil a copy and look at it; a start agrees with what is found, or is stricter."""
    source = killed if is_killed else sound
    shutil.copytree(source, folder, dirs_exist_ok=True)
    damage.apply(folder / (PARTS[1] if is_killed and damage.in_wal else PARTS[0]))
    try:
        result = verify(str(folder), STRATEGIES)
    except ConfigurationError:
        # Nothing of it says any more that it is a journal.
        return
    assert len(result["checks"]) >= 1
    if not result["sound"]:
        return
    spare = folder / "spare"
    shutil.copytree(source, spare)
    assert tables_of(journal_of(folder)) == tables_of(journal_of(spare))


def spoil(folder: Path, statements: str) -> None:
    """Change rows and give them the sums that they would have."""
    with closing(sqlite3.connect(journal_of(folder), isolation_level=None)) as connection:
        Sums.of_file(connection).register(connection)
        tables = (
            *("meta", "orders", "events", "fills", "pauses", "epochs", "trading_states", "last_wills", "rolls"),
            "risk_state",
        )
        columns = {table: [each.name for each in columns_of(connection, table)] for table in tables}
        connection.executescript(f"{statements};{seal(columns.items())}")


def test_a_start_refuses_an_index_that_has_lost_an_execution(copy: Path) -> None:
    """The rows are all there, and a quick look finds nothing; but the second report of that fill would be booked."""
    path = journal_of(copy)
    content = bytearray(path.read_bytes())
    page = leaves(copy, "sqlite_autoindex_fills_1")[0]
    account = content.index(b"SIM-1", (page - 1) * PAGE, page * PAGE)
    content[account] ^= 1
    path.write_bytes(content)
    with pytest.raises(JournalError, match="journal repair"):
        Journal.open(str(copy), system_name=SYSTEM, durability="process")
    assert violated(copy) == {"sqlite"}
