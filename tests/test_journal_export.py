"""``journal export``: every row, every number exact, nothing written over, and no more memory for more rows."""

import csv
import io
import json
import sqlite3
import tracemalloc
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import Journal
from actors.plants.journal_export import Span, export
from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.messages import StrategyId
from nightdesk.trading.ledger import ACCOUNT, Ledger
from tests.journal_support import SYSTEM, journal_of, make_journal, tables_of

NO_SPAN = Span()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of state with a journal of 80 orders."""
    folder = tmp_path_factory.mktemp("export")
    make_journal(folder, orders=80)
    return folder


def no_calendar(symbol: str, ts_ns: int) -> int:
    """Asked for only where trade dates are given."""
    raise AssertionError(f"{symbol} {ts_ns}")


def utc_days(symbol: str, ts_ns: int) -> int:
    """A calendar whose trade dates are the days of UTC."""
    return int(datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y%m%d"))


def exported(folder: Path, table: str, *, form: str = "jsonl", span: Span = NO_SPAN, **more: Any) -> bytes:
    """What is written to standard output."""
    target = io.BytesIO()
    options: dict[str, Any] = {"output": None, "is_forced": False, "trade_date_of": no_calendar} | more
    export(str(folder), table=table, form=form, span=span, stdout=target, **options)
    return target.getvalue()


def rows_of(folder: Path, table: str, **more: Any) -> list[dict[str, Any]]:
    """The same as values."""
    return [json.loads(line) for line in exported(folder, table, **more).splitlines()]


def test_fills_are_exported_exactly(folder: Path) -> None:
    """Each is there once; prices and money are decimals without a loss, times are UTC to the nanosecond."""
    rows = {row["event_id"]: row for row in rows_of(folder, "fills")}
    stored = tables_of(journal_of(folder))["fills"]
    assert len(rows) == len(stored) > 50
    for event_id, _, _, _, fill_id, _, strategy_id, _, side, quantity, price_nanos, commission, ts_ns, _ in stored:
        row = rows[event_id]
        assert (row["fill_id"], row["strategy_id"], row["side"], row["quantity"]) == (
            fill_id,
            strategy_id,
            side,
            quantity,
        )
        assert Decimal(row["price"]) * 10**9 == price_nanos
        assert Decimal(row["commission"]) * 10**6 == commission
        moment, _, digits = row["ts_event"].removesuffix("Z").partition(".")
        seconds = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
        assert seconds * 10**9 + int(digits) == ts_ns


def test_prices_of_orders_are_the_shortest_text_that_means_them(tmp_path: Path) -> None:
    """No float's tail of digits, no exponent; None stays none."""
    make_journal(tmp_path, orders=30)
    for row in rows_of(tmp_path, "orders"):
        assert (row["price"] is None) != (row["trigger_price"] is None)
        price = row["price"] or row["trigger_price"]
        assert price.replace(".", "", 1).isdecimal()
        assert Decimal(price) % Decimal("0.25") == 0
        assert isinstance(row["protective"], bool)
        assert isinstance(row["filled_cost"], str)


def test_csv_and_json_lines_say_the_same(folder: Path) -> None:
    """Every table; the first line of CSV names the columns, and no table tells its own inner sums."""
    for table in [*tables_of(journal_of(folder)), "positions"]:
        lines = rows_of(folder, table)
        found = list(csv.DictReader(io.StringIO(exported(folder, table, form="csv").decode())))
        assert len(found) == len(lines)
        for one, other in zip(found, lines, strict=True):
            assert list(one) == list(other)
            assert "row_sum" not in one
            assert one == {name: cell(value) for name, value in other.items()}


def cell(value: Any) -> str:
    """A value of JSON as CSV has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def test_events_are_exported_with_what_they_say(folder: Path) -> None:
    """The kind, both times and every field of the message."""
    rows = rows_of(folder, "events")
    assert {row["event"] for row in rows} >= {"OrderAccepted", "OrderFilled", "OrderCanceled"}
    fills = {row["event_id"]: row for row in rows_of(folder, "fills")}
    filled = [row for row in rows if row["event"] == "OrderFilled"]
    assert len(filled) == len(fills)
    for row in filled:
        assert row["fields"]["last_price"] == fills[row["event_id"]]["price"]
        assert row["fields"]["fill_id"] == fills[row["event_id"]]["fill_id"]


def test_positions_are_those_of_the_ledger(folder: Path) -> None:
    """Of each strategy and of the account, to the last billionth of a point."""
    ledger = Ledger(())
    journal = Journal.open(str(folder), system_name=SYSTEM, durability="process")
    for fill, price_nanos, commission in journal.fills():
        ledger.book_as_charged(
            fill.strategy_id, fill.symbol, fill.exchange, fill.side, fill.quantity, price_nanos, commission
        )
    journal.close()
    rows = rows_of(folder, "positions")
    assert {(row["strategy_id"], row["symbol"]) for row in rows} == {*ledger.pairs(), *account_pairs(ledger)}
    for row in rows:
        position = ledger._positions[(StrategyId(row["strategy_id"]), row["symbol"])]
        assert row["quantity"] == position.quantity == row["bought"] - row["sold"]
        assert Decimal(row["open_cost"]) * 10**9 == position.open_cost
        assert Decimal(row["realized_points"]) * 10**9 == position.realized
        assert Decimal(row["commission"]) * 10**6 == position.commission_micros


def account_pairs(ledger: Ledger) -> set[tuple[StrategyId, str]]:
    """The account's own positions."""
    return {(ACCOUNT, symbol) for symbol in ledger.symbols()}


def test_instants_choose_rows_and_both_ends_are_included(folder: Path) -> None:
    """By market time, for the rows that have one."""
    times = sorted(row[12] for row in tables_of(journal_of(folder))["fills"])
    span = Span(from_ns=times[10], to_ns=times[20])
    assert len(rows_of(folder, "fills", span=span)) == 11
    assert [row["ts_event"] for row in rows_of(folder, "events", span=span)]
    before = rows_of(folder, "positions", span=Span(to_ns=times[20]))
    assert sum(row["fills"] for row in before if not row["strategy_id"]) == 21


def test_trade_dates_choose_rows_by_their_own_markets(folder: Path) -> None:
    """The calendar decides, row by row."""
    stored = tables_of(journal_of(folder))["fills"]
    wanted = utc_days("", min(row[12] for row in stored))
    expected = [row for row in stored if utc_days("", row[12]) == wanted]
    span = Span(from_date=wanted, to_date=wanted)
    assert len(rows_of(folder, "fills", span=span, trade_date_of=utc_days)) == len(expected)
    assert rows_of(folder, "fills", span=Span(from_date=20300101), trade_date_of=utc_days) == []
    assert rows_of(folder, "orders", span=Span(to_date=20200101), trade_date_of=utc_days) == []


@pytest.mark.parametrize(
    ("table", "span", "words"),
    [
        ("positions", Span(from_ns=1), "--from: positions are those after everything up to --to"),
        ("meta", Span(to_ns=1), "rows of meta have no time"),
        ("trading_states", Span(to_date=20260101), "rows of trading_states have no market; give instants"),
        ("nothing", NO_SPAN, "has no table 'nothing'; it has positions, epochs, events, fills"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder: Path, table: str, span: Span, words: str) -> None:
    """In one line that says what can."""
    with pytest.raises(ConfigurationError) as caught:
        exported(folder, table, span=span, trade_date_of=utc_days)
    assert words in str(caught.value)


def test_a_file_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    """Unless that is asked for; what is there is always a whole export."""
    target = tmp_path / "fills.csv"
    target.write_text("mine")
    with pytest.raises(ConfigurationError, match=r"fills\.csv is there already; name another file, or add --force"):
        exported(folder, "fills", form="csv", output=str(target))
    assert target.read_text() == "mine"
    exported(folder, "fills", form="csv", output=str(target), is_forced=True)
    assert target.read_bytes() == exported(folder, "fills", form="csv")
    target.unlink()
    exported(folder, "fills", form="csv", output=str(target))
    assert target.read_bytes() == exported(folder, "fills", form="csv")
    assert [path.name for path in tmp_path.iterdir()] == ["fills.csv"]
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No such file or directory\)"):
        exported(folder, "fills", output=str(tmp_path / "none" / "fills.csv"))


def test_a_file_that_comes_meanwhile_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    """Also one that was not there at the beginning."""
    target = tmp_path / "fills.csv"

    def somebody_writes(symbol: str, ts_ns: int) -> int:
        target.write_text("theirs")
        return 20260101

    with pytest.raises(ConfigurationError, match="is there already"):
        exported(folder, "fills", output=str(target), span=Span(from_date=20200101), trade_date_of=somebody_writes)
    assert target.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["fills.csv"]


def test_more_rows_take_no_more_memory(tmp_path: Path) -> None:
    """Rows go out as they come in."""
    peaks = []
    for orders in (60, 500):
        folder = tmp_path / str(orders)
        make_journal(folder, orders=orders)
        tracemalloc.start()
        with open("/dev/null", "wb") as nowhere:
            options: dict[str, Any] = {"output": None, "is_forced": False, "trade_date_of": no_calendar}
            count = export(str(folder), table="events", form="jsonl", span=NO_SPAN, stdout=nowhere, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count > orders
    assert peaks[1] < peaks[0] + 100_000


def test_a_journal_that_cannot_be_read_to_its_end_says_so(folder: Path, tmp_path: Path) -> None:
    """In one line; nothing is left of the file."""
    make_journal(tmp_path / "s", orders=40)
    with closing(sqlite3.connect(journal_of(tmp_path / "s"), isolation_level=None)) as connection:
        connection.execute("UPDATE fills SET price_nanos = x'00' WHERE event_id = (SELECT max(event_id) FROM fills)")
    with pytest.raises(JournalError, match=r"cannot be read to its end .*; see: python run\.py journal verify"):
        exported(tmp_path / "s", "fills", output=str(tmp_path / "fills.jsonl"))
    assert not list(tmp_path.glob("fills*"))
