"""The journal keeps intents, events and fills over the death of the process, and refuses what it cannot trust."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from actors.plants.journal import FILE_NAME, Journal, JournalBusyError, JournalWriteError, LastWill
from actors.plants.journal_sums import Sums, columns_of, seal
from nightdesk.errors import JournalError
from nightdesk.messages import (
    FillId,
    FillReport,
    OrderStatus,
    OrderSubmitted,
    Side,
    StrategyId,
    TradingState,
    VenueOrderId,
)
from nightdesk.trading.broker import FillKey
from nightdesk.trading.order import Order
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from nightdesk.trading.roll_step import PositionRoll
from tests.journal_support import without_later_columns
from tests.test_order_table import fill, make_order

ONE = StrategyId("one")


def opened(folder: Path, system_name: str = "S") -> Journal:
    """The journal in a folder."""
    return Journal.open(str(folder), system_name=system_name, durability="process")


def sealed_anew(connection: sqlite3.Connection, table: str) -> None:
    """Give rows that a test has changed the sums of what they hold now, as if a version of ours had written it."""
    Sums.of_file(connection).register(connection)
    columns = [each.name for each in columns_of(connection, table)]
    for statement in seal([(table, columns)]).split(";"):
        connection.execute(statement)


def submitted(order: Order, event_id: int) -> OrderSubmitted:
    """Some event of an order."""
    return OrderSubmitted(
        client_order_id=order.client_order_id,
        strategy_id=order.strategy_id,
        symbol=order.symbol,
        exchange=order.exchange,
        ts_event_ns=1,
        event_id=event_id,
    )


def report_of(order: Order, fill_id: str) -> FillReport:
    """One execution of an order."""
    return FillReport(
        fill_id=FillId(fill_id),
        client_order_id=order.client_order_id,
        venue_order_id=VenueOrderId("v1"),
        strategy_id=order.strategy_id,
        symbol=order.symbol,
        exchange=order.exchange,
        side=Side.BUY,
        quantity=2,
        price=5000.25,
        commission=4.5,
        ts_event_ns=3,
    )


def test_an_order_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every field that matters after a restart is in its row, the keys of its fills included."""
    journal = opened(tmp_path)
    order = make_order()
    journal.write_intent(order)
    table = OrderTable()
    table.add(order)
    table.step(order, Step.SEND)
    update = fill("f1", 2, 2, 5, 3)
    table.apply(order, update)
    event = submitted(order, journal.next_event_id())
    journal.write_order(order, [(event.event_id, event)], (report_of(order, "f1"), order.account_id), 7)
    journal.close()

    journal = opened(tmp_path)
    (actual,) = journal.open_orders()
    assert actual == order
    assert actual.fill_keys == {update.fill_key()}
    assert journal.has_fill(update.fill_key())
    assert not journal.has_fill(FillKey("A", "CME", VenueOrderId("v1"), FillId("f2")))
    assert journal.next_event_id() > event.event_id
    assert journal.find_by_venue("A", VenueOrderId("v1")) == order
    assert journal.status_counts() == {OrderStatus.PARTIALLY_FILLED: 1}
    ((_, price_nanos, commission_micros),) = journal.fills()
    assert (price_nanos, commission_micros) == (5_000_250_000_000, 4_500_000)
    journal.close()


def test_a_fill_is_written_once(tmp_path: Path) -> None:
    """The file itself refuses a second row with the same key."""
    journal = opened(tmp_path)
    order = make_order()
    journal.write_intent(order)
    event = submitted(order, journal.next_event_id())
    journal.write_order(order, [(event.event_id, event)], (report_of(order, "f1"), "A"), 1)
    again = submitted(order, journal.next_event_id())
    with pytest.raises(JournalWriteError, match="UNIQUE"):
        journal.write_order(order, [(again.event_id, again)], (report_of(order, "f1"), "A"), 1)
    journal.close()


def test_epochs_pauses_and_trading_state_survive(tmp_path: Path) -> None:
    """What the operator set is there after a restart, and an epoch is never given twice."""
    journal = opened(tmp_path)
    assert journal.trading_state() is TradingState.ACTIVE
    assert [journal.next_fencing_epoch(ONE), journal.next_fencing_epoch(ONE)] == [1, 2]
    journal.write_pause(ONE, "lunch", 1)
    journal.write_trading_state(TradingState.HALTED, "test", 1)
    journal.close()
    journal = opened(tmp_path)
    assert journal.next_fencing_epoch(ONE) == 3
    assert journal.pauses() == {ONE: "lunch"}
    assert journal.trading_state() is TradingState.HALTED
    journal.clear_pause(ONE)
    assert journal.pauses() == {}
    journal.close()


def test_a_kill_between_commit_and_send_leaves_the_intent(tmp_path: Path) -> None:
    """SIGKILL right after the commit: the next process finds the order and knows nothing of its fate."""
    script = textwrap.dedent(
        f"""
        import os, signal
        from actors.plants.journal import Journal
        from tests.test_order_table import make_order
        journal = Journal.open({str(tmp_path)!r}, system_name="S", durability="process")
        journal.write_intent(make_order("killed"))
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    root = Path(__file__).resolve().parents[1]
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    journal = opened(tmp_path)
    assert [(order.client_order_id, order.status) for order in journal.open_orders()] == [
        ("killed", OrderStatus.INITIALIZED)
    ]
    journal.close()


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    """One order plant per journal: the lock says no while the first one lives."""
    journal = opened(tmp_path)
    with pytest.raises(JournalBusyError, match="another process"):
        opened(tmp_path)
    journal.close()
    opened(tmp_path).close()


def test_a_journal_of_another_system_or_account_is_refused(tmp_path: Path) -> None:
    """The message names the file, both owners and the mend; the system ends with exit code 4."""
    journal = opened(tmp_path)
    journal.claim("A-1")
    journal.claim("A-1")
    with pytest.raises(JournalError, match=r"journal\.db.*belongs to account A-1.*A-2.*state_dir") as caught:
        journal.claim("A-2")
    assert caught.value.exit_code == 4
    journal.close()
    with pytest.raises(JournalError, match="belongs to the system 'S'"):
        opened(tmp_path, "Other")


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "flipped"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    """Torn, overwritten or empty: never taken for a new journal, never traded upon."""
    journal = opened(tmp_path)
    for number in range(200):
        journal.write_intent(make_order(f"o{number}"))
    journal.close()
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    if damage == "empty":
        content.clear()
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "garbage":
        content[:] = os.urandom(len(content))
    else:
        content[4096:8192] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.db: the journal is damaged .* docs/runbook\.md"):
        opened(tmp_path)


def test_an_unfinished_creation_is_made_anew(tmp_path: Path) -> None:
    """A kill during the first start leaves a file of another name, which is no journal."""
    (tmp_path / (FILE_NAME + ".new")).write_bytes(b"half")
    opened(tmp_path).close()
    assert not (tmp_path / (FILE_NAME + ".new")).exists()


def test_an_unknown_word_in_a_row_is_damage(tmp_path: Path) -> None:
    """A status that no version wrote is not guessed at."""
    journal = opened(tmp_path)
    journal.write_intent(make_order())
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE orders SET status = 'MAYBE'")
        sealed_anew(connection, "orders")
    connection.close()
    journal = opened(tmp_path)
    with pytest.raises(JournalError, match="MAYBE"):
        journal.open_orders()
    journal.close()


@pytest.mark.parametrize("column", ["quantity", "filled_cost_nanos", "filled_quantity"])
def test_a_value_of_the_wrong_kind_in_a_row_is_damage(tmp_path: Path, column: str) -> None:
    """SQLite keeps any value in any column: a word where a number belongs ends the start with exit code 4."""
    journal = opened(tmp_path)
    journal.write_intent(make_order())
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"UPDATE orders SET {column} = x'00ff'")
        sealed_anew(connection, "orders")
    connection.close()
    journal = opened(tmp_path)
    with pytest.raises(JournalError, match="damaged") as caught:
        journal.open_orders()
    assert caught.value.exit_code == 4
    journal.close()


def test_a_journal_of_the_first_version_is_migrated(tmp_path: Path) -> None:
    """What it holds stays, and what later versions keep can be kept from now on."""
    journal = opened(tmp_path)
    journal.write_intent(make_order())
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.executescript(
            without_later_columns(1) + "DROP TABLE last_wills; DROP TABLE rolls;"
            "UPDATE meta SET value = '1' WHERE key = 'version';"
        )
    connection.close()
    journal = opened(tmp_path)
    order = journal.open_orders()[0]
    assert not order.cancel_wanted
    order.cancel_wanted = True
    journal.write_order(order)
    will = LastWill(StrategyId("one"), "flatten", "CRASHED", 5, is_done=False)
    journal.write_last_will(will, 1)
    roll = PositionRoll("roll-one-1", StrategyId("one"), "ES.front", "ESH4", "ESM4", reopens=True)
    journal.write_roll(roll, 1)
    journal.close()
    journal = opened(tmp_path)
    assert journal.rolls() == [roll]
    assert journal.open_orders()[0].cancel_wanted
    assert journal.last_wills() == [will]
    journal.close()


def test_event_ids_are_never_used_again(tmp_path: Path) -> None:
    """Events that were told without being written (a frame was sent) had ids, too: a restart leaves them out."""
    journal = opened(tmp_path)
    journal.write_intent(make_order())
    told = [journal.next_event_id() for _ in range(100)]
    journal.close()
    journal = opened(tmp_path)
    assert journal.next_event_id() > told[-1]
    journal.close()


def test_a_journal_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    """A full disk says nothing about what the file holds: the mend is to make room, not to keep a broken file."""
    opened(tmp_path).close()
    script = (
        "import resource, sys\n"
        "from actors.plants.journal import Journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    Journal.open(sys.argv[1], system_name='S', durability='process')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error.exit_code, error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("JournalError 4 ")
    assert "cannot be opened for writing" in ended.stdout
    assert "make room" in ended.stdout
    assert "damaged" not in ended.stdout


def _write_many(journal: Journal) -> None:
    for number in range(100):
        journal.write_intent(make_order(f"o{number}"))


def test_after_a_failed_write_nothing_is_written(tmp_path: Path) -> None:
    """A full disk: the first error counts, and no later success is believed."""
    journal = opened(tmp_path)
    journal._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(JournalWriteError, match="full"):
        _write_many(journal)
    assert journal.failed
    journal._connection.execute("PRAGMA max_page_count = 100000")
    with pytest.raises(JournalWriteError, match="earlier write failed"):
        journal.write_intent(make_order("later"))
    journal.close()
    journal = opened(tmp_path)
    assert not journal.has_order(make_order("later").client_order_id)
    journal.close()
