"""What the server holds of an order is in its row (brackets, links, leases); the orders of a frame are one commit."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from actors.plants.journal import FILE_NAME, Journal, JournalWriteError
from actors.plants.journal_sums import Sums
from nightdesk.messages import ClientOrderId
from tests.journal_support import without_later_columns
from tests.test_order_table import make_order


def opened(folder: Path) -> Journal:
    return Journal.open(str(folder), system_name="S", durability="process")


HELD = replace(
    make_order("held"),
    trail_by_ticks=12,
    stop_ticks=40,
    target_ticks=20,
    expire_ns=1_700_000_000_000_000_000,
    parent_id=ClientOrderId("entry"),
    linked_id=ClientOrderId("other"),
)


def test_what_the_server_holds_comes_back_as_it_was(tmp_path: Path) -> None:
    """With the intent, and with what is written later."""
    journal = opened(tmp_path)
    journal.write_intent(HELD)
    assert journal.find_order(HELD.client_order_id) == HELD
    later = replace(HELD, stop_ticks=41, linked_id=ClientOrderId(""))
    journal.write_order(later)
    journal.close()
    journal = opened(tmp_path)
    assert journal.open_orders() == [later]
    journal.close()


def test_two_orders_of_one_frame_are_one_commit(tmp_path: Path) -> None:
    """Where the second cannot be written, the first is not there either; where both can, their event ids differ."""
    journal = opened(tmp_path)
    journal.write_intent(make_order("first"))
    event_id = journal.write_intent(make_order("a"), make_order("b"))
    assert journal.write_intent(make_order("c")) >= event_id + 6
    with pytest.raises(JournalWriteError):
        journal.write_intent(make_order("d"), make_order("first"))
    assert journal.failed
    journal.close()
    journal = opened(tmp_path)
    assert [order.client_order_id for order in journal.open_orders()] == ["first", "a", "b", "c"]
    journal.close()


def test_a_journal_without_these_columns_is_migrated(tmp_path: Path) -> None:
    """Its orders hold nothing, its rows are as whole as they were, and new ones can be written."""
    journal = opened(tmp_path)
    journal.write_intent(make_order("old"))
    journal.close()
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(without_later_columns(5))
        Sums.of_file(connection).register(connection)
        connection.execute("UPDATE meta SET value = '5' WHERE key = 'version'")
        connection.execute("UPDATE meta SET row_sum = journal_row_sum('meta', 'key', key, 'value', value)")
    journal = opened(tmp_path)
    journal.write_intent(HELD)
    assert journal.open_orders() == [make_order("old"), HELD]
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        sums = Sums.of_file(connection)
        found = connection.execute("SELECT * FROM orders")
        columns = tuple(each[0] for each in found.description)
        assert [sums.is_whole("orders", columns, row) for row in found] == [True, True]
