"""The audit reads files: a doctored log, journal or output of a small run is found out by what is written in them."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import structlog

from actors.plants.journal_schema import TABLES
from nightdesk.chaos.books import EXCHANGE_LOG, JOURNAL, exchange_book, journal_book
from nightdesk.chaos.evidence import Evidence
from nightdesk.chaos.gather import Wire, holds, search
from nightdesk.chaos.invariants import (
    Verdict,
    each_fill_is_booked_once,
    each_order_has_one_row,
    no_tag_came_twice,
    positions_agree,
)
from nightdesk.chaos.invariants_life import one_order_plant_lives
from nightdesk.chaos.proxy import LinkTimes
from nightdesk.clocks import ManualClock
from nightdesk.messages.enums import Side
from nightdesk.simulator.venue.log import ExchangeLog, rebuild
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.templates import encode
from nightdesk.simulator.wire.wire_log import WireLog
from tests.market_support import ACCOUNT, ES, NOW_NS, booked_venue, new_order

ORDER_PLANT, TICKER_PLANT = 2, 1
START_NS = 1_700_000_000_000_000_000


def exchange_files(folder: Path) -> None:
    """Two orders that fill, one that is canceled, and one of somebody else's, in a real log of a real venue."""
    venue = booked_venue()
    log = ExchangeLog(folder / EXCHANGE_LOG)
    rebuild(log, venue)
    for number, (side, quantity) in enumerate(((Side.BUY, 2), (Side.SELL, 1)), 1):
        log.append(venue.submit(new_order(side, quantity, user_tag=f"t{number}"), NOW_NS)[1])
    basket_id, events = venue.submit(new_order(Side.BUY, 1, 4000.0, user_tag="t3"), NOW_NS)
    log.append(events)
    log.append(venue.cancel(ACCOUNT, basket_id, NOW_NS))
    log.append(venue.submit(new_order(Side.BUY, 1, user_tag="", user="somebody-else"), NOW_NS)[1])
    log.close()


def journal_file(folder: Path) -> None:
    """The journal that belongs to that log."""
    book = exchange_book(folder)
    connection = sqlite3.connect(folder / JOURNAL)
    connection.executescript(TABLES)
    for number, order in enumerate(book.orders):
        status = "FILLED" if order.state == "FILLED" else "CANCELED"
        row = {
            "client_order_id": order.user_tag or "external-1", "strategy_id": "a" if order.user_tag else "EXTERNAL",
            "account_id": order.account_id, "symbol": order.symbol, "exchange": "CME", "side": "BUY",
            "order_type": "MARKET", "time_in_force": "DAY", "quantity": 1, "protective": 0, "purpose": "STRATEGY",
            "fencing_epoch": 1, "connection_epoch": 1, "broker_ts_ns": 0, "ts_init_ns": 0, "status": status,
            "venue_order_id": order.venue_order_id, "filled_quantity": order.filled_quantity, "ts_last_ns": 0,
            "quantity_max": 1, "event_id": number,
        }  # fmt: skip
        insert(connection, "orders", row)
    sides = {order.venue_order_id: "SELL" if order.user_tag == "t2" else "BUY" for order in book.orders}
    for number, (account_id, venue_order_id, fill_id, quantity, price) in enumerate(book.fills):
        row = {
            "event_id": number, "account_id": account_id, "exchange": "CME", "venue_order_id": venue_order_id,
            "fill_id": fill_id, "client_order_id": "x", "strategy_id": "a", "symbol": ES.symbol,
            "side": sides[venue_order_id], "quantity": quantity, "price_nanos": round(price * 1e9),
            "commission_micros": 0, "ts_event_ns": 0,
        }  # fmt: skip
        insert(connection, "fills", row)
    connection.commit()
    connection.close()


def insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def wire_file(folder: Path) -> None:
    """An order plant on connection 1, then one on connection 3; a ticker plant between them."""
    clock = ManualClock(START_NS)
    log = WireLog(folder, limit_bytes=1 << 20, clock=clock, logger=structlog.get_logger())
    for number, plant in ((1, ORDER_PLANT), (2, TICKER_PLANT), (3, ORDER_PLANT)):
        log.opened(number, f"127.0.0.1:{4000 + number}")
        receive(log, number, encode(10, user="u", password="p", infra_type=plant))
        log.sent(OutgoingFrame(encode(11, rp_code=["0"])), number)
        clock.advance(1)
        if plant == ORDER_PLANT:
            receive(log, number, encode(312, user_tag=f"t{number}"))
        else:
            for seconds_ago, is_image in ((2, True), (0, False)):
                seconds = clock.now_ns() // 1_000_000_000 - seconds_ago
                tick = encode(150, symbol=ES.symbol, ssboe=seconds, usecs=0, is_snapshot=is_image)
                log.sent(OutgoingFrame(tick), number)
        clock.advance(1)
        log.closed(number, "the client is gone", 0)
    log.close()


def receive(log: WireLog, number: int, payload: bytes) -> None:
    log.received(number, len(payload).to_bytes(4, "big") + payload, None, is_logged_in=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small run's three files, all of them as they must be."""
    exchange_files(tmp_path)
    journal_file(tmp_path)
    wire_file(tmp_path)
    return tmp_path


def evidence(folder: Path) -> Evidence:
    wire = Wire()
    wire.read(folder)
    book = exchange_book(folder)
    found = Evidence(book, journal_book(folder), wire.tags, dict(book.positions), {}, [])
    found.order_logins, found.order_plants = wire.order_logins([]), 2
    return found


AUDIT: tuple[Callable[[Evidence], Verdict], ...] = (
    each_order_has_one_row,
    no_tag_came_twice,
    positions_agree,
    each_fill_is_booked_once,
    one_order_plant_lives,
)


def broken(folder: Path) -> set[str]:
    """The invariants that do not hold of these files."""
    return {each.name for each in (check(evidence(folder)) for check in AUDIT) if not each.holds}


def test_files_of_a_good_run_pass(files: Path) -> None:
    """Four orders, three of them filled, two logins one after the other."""
    found = evidence(files)
    assert broken(files) == set()
    assert Counter(order.state for order in found.exchange.orders) == {"FILLED": 3, "CANCELED": 1}
    assert found.exchange.positions == {(ACCOUNT, ES.symbol): 2}
    assert found.received == {"t1": 1, "t3": 1}
    wire = Wire()
    wire.read(files)
    ((place, times),) = wire.tick_times.items()
    assert (place[0] & 0xFF, place[1]) == (2, ES.symbol)
    assert times == [START_NS + 1_000_000_000, START_NS + 3_000_000_000]
    assert [(login.connection & 0xFF, login.logged_in_ns - START_NS) for login in found.order_logins] == [
        (1, 0),
        (3, 4_000_000_000),
    ]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM orders WHERE client_order_id = 't1'", {"I1"}),
        ("DELETE FROM orders WHERE strategy_id = 'EXTERNAL'", {"I1"}),
        ("UPDATE orders SET venue_order_id = NULL WHERE client_order_id = 't2'", {"I1"}),
        ("UPDATE orders SET status = 'ACCEPTED' WHERE client_order_id = 't3'", {"I1"}),
        ("UPDATE orders SET filled_quantity = 0 WHERE client_order_id = 't1'", {"I1"}),
        ("DELETE FROM fills WHERE event_id = 0", {"I3", "I4"}),
        ("UPDATE fills SET quantity = quantity + 1 WHERE event_id = 0", {"I3", "I4"}),
        ("UPDATE fills SET side = 'BUY'", {"I3"}),
        ("UPDATE fills SET price_nanos = price_nanos + 250000000 WHERE event_id = 0", {"I4"}),
        ("UPDATE fills SET fill_id = 'another' WHERE event_id = 0", {"I4"}),
    ],
)
def test_a_doctored_journal_is_found_out(statement: str, expected: set[str], files: Path) -> None:
    """One statement, one invariant or two."""
    connection = sqlite3.connect(files / JOURNAL)
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert broken(files) == expected


def test_an_order_that_the_exchange_has_taken_twice_is_found_out(files: Path) -> None:
    """The same tag under another basket id: two orders, and the journal has one of them."""
    path = files / EXCHANGE_LOG
    lines = path.read_bytes().splitlines(keepends=True)
    again = [orjson.loads(line) for line in lines if b'"t3"' in line or b'"b":"3"' in line]
    basket_id = next(record["b"] for record in again if record.get("o", {}).get("user_tag") == "t3")
    copies = [record | {"b": "99"} for record in map(orjson.loads, lines) if record.get("b") == basket_id]
    path.write_bytes(b"".join([*lines, *(orjson.dumps(record) + b"\n" for record in copies)]))
    assert broken(files) == {"I1", "I2"}


def test_a_request_that_came_twice_is_found_out_though_the_first_was_lost(files: Path) -> None:
    """The log of orders knows nothing of a request that a fault has swallowed; the wire log does."""
    log = WireLog(files, limit_bytes=1 << 20, clock=ManualClock(START_NS), logger=structlog.get_logger())
    log.opened(1, "127.0.0.1:4009")
    receive(log, 1, encode(312, user_tag="t1"))
    log.close()
    assert broken(files) == {"I2"}


def test_a_second_order_plant_on_the_wire_is_found_out(files: Path) -> None:
    """The older connection speaks on after the newer one has logged in; unless it was on its way all the time."""
    clock = ManualClock(START_NS)
    log = WireLog(files, limit_bytes=1 << 20, clock=clock, logger=structlog.get_logger())
    for number in (1, 2):
        log.opened(number, f"127.0.0.1:{5000 + number}")
        receive(log, number, encode(10, user="u", password="p", infra_type=ORDER_PLANT))
        log.sent(OutgoingFrame(encode(11, rp_code=["0"])), number)
        clock.advance(1)
    receive(log, 1, encode(18))
    log.close()
    assert "I7" in broken(files)
    wire = Wire()
    wire.read(files)
    held = LinkTimes(5001, START_NS)
    found = evidence(files)
    # What was read by the first file's exchange is long over.
    found.order_logins = [login for login in wire.order_logins([held]) if login.connection >> 32 == 2]
    assert one_order_plant_lives(found).holds


def test_a_password_is_found_wherever_it_is_written(tmp_path: Path) -> None:
    """In any file, over the edge of what is read at a time; but for the exchange's own file for its clients."""
    secret = b"correct horse"
    (tmp_path / "deep").mkdir()
    (tmp_path / "clean.log").write_bytes(b"x" * 100)
    (tmp_path / "deep" / "journal.db").write_bytes(b"x" * ((1 << 20) - 4) + secret + b"y")
    (tmp_path / "exchange.json").write_bytes(secret)
    assert holds(tmp_path / "deep" / "journal.db", (secret,))
    assert search(tmp_path, (b"other", secret)) == (["deep/journal.db holds the password"], 2)
