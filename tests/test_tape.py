"""Tapes: every row is one tick in the file's order; what cannot be played is named with file, row and column."""

import importlib
import itertools
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.flows.tape import Tape
from nightdesk.simulator.model import Quoted, Traded, VenueEvent
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, kinds, new_order, quiet_venue
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

HEADER = "ts_event_ns,kind,price,size,aggressor,bid,bid_size,ask,ask_size"


def test_each_row_is_one_tick_in_order(tmp_path: Path) -> None:
    """Trades and quotes as they stand in the file; a repeated quote is a tick as well."""
    rows = [
        "100,quote,,,,5000.00,7,5000.25,3",
        "200,trade,5000.25,2,1,,,,",
        "300,quote,,,,5000.00,7,5000.25,1",
        "300,quote,,,,5000.00,7,5000.25,1",
        "400,trade,5000.00,4,-1,nan,0,nan,0",
        "500,trade,5000.00,1,,,,,",
    ]
    _, events = _play(_csv(tmp_path, rows))
    assert kinds(events) == ["Quoted", "Traded", "Quoted", "Quoted", "Traded", "Traded"]
    assert [event.ts_ns for event in events] == [100, 200, 300, 300, 400, 500]
    quotes = [event for event in events if isinstance(event, Quoted)]
    assert [(q.bid_changed, q.ask_changed) for q in quotes] == [(True, True), (False, True), (True, False)]
    trades = [event for event in events if isinstance(event, Traded)]
    assert [t.aggressor for t in trades] == [AggressorSide.BUY, AggressorSide.SELL, AggressorSide.NONE]
    assert [t.volume for t in trades] == [2, 6, 7]


def test_empty_side_has_size_zero_at_its_last_price(tmp_path: Path) -> None:
    """NaN, nothing and size zero all mean that nobody is there."""
    rows = ["1,quote,,,,5000.00,7,5000.25,3", "2,quote,,,,,,5000.25,3", "3,quote,,,,5000.50,0,nan,nan"]
    _, events = _play(_csv(tmp_path, rows))
    shown = [(q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in events if isinstance(q, Quoted)]
    assert shown == [(5000.0, 7, 5000.25, 3), (5000.0, 0, 5000.25, 3), (5000.0, 0, 5000.25, 0)]


def test_own_orders_leave_no_trace_on_the_tape(tmp_path: Path) -> None:
    """In a replay our orders make neither prints nor quotes; clients count exactly the file's rows."""
    rows = ["1,quote,,,,5000.00,7,5000.25,3", "2,trade,5000.00,20,-1,,,,", "3,trade,4999.75,1,-1,,,,"]
    venue, flow = _flow(_csv(tmp_path, rows))
    public: list[VenueEvent] = _next(flow)
    _, events = venue.submit(new_order(Side.BUY, 5), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED", "FILLED", "FILLED", "COMPLETED(F)"]
    _, events = venue.submit(new_order(Side.BUY, 15, 5000.0), NOW_NS)
    assert kinds(events) == ["RECEIVED", "OPENED"]
    second, third = _next(flow), _next(flow)
    assert kinds(second) == ["Traded", "FILLED"]
    assert kinds(third) == ["Traded", "FILLED", "COMPLETED(F)"]
    public += [event for event in second + third if isinstance(event, Traded | Quoted)]
    assert len(public) == 3
    assert flow.next() is None


def test_market_time_never_goes_backwards(tmp_path: Path) -> None:
    """A small step back keeps the file's order and holds the time; a large one is an unsorted file."""
    rows = [f"{ts},trade,5000.00,1,,,,," for ts in (5_000_000_000, 4_500_000_000, 6_000_000_000)]
    _, events = _play(_csv(tmp_path, rows))
    assert [event.ts_ns for event in events] == [5_000_000_000, 5_000_000_000, 6_000_000_000]
    with pytest.raises(ConfigurationError, match=r"row 4, column ts_event_ns.*sort"):
        _play(_csv(tmp_path, [*rows, "1000000000,trade,5000.00,1,,,,,"]))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2,trade,5000.10,1,,,,,", "row 2, column price: 5000.1 is not on a tick"),
        ("2,trade,,1,,,,,", "row 2, column price: None is missing"),
        ("2,trade,5000.00,,,,,,", "row 2, column size"),
        ("2,trade,5000.00,-4,,,,,", "row 2, column size: -4"),
        ("2,trade,5000.00,1.5,,,,,", "row 2, column size: 1.5 is not a whole number"),
        ("2,trade,abc,1,,,,,", "row 2, column price: abc is not a number"),
        ("2,trade,5000.00,1,7,,,,", "row 2, column aggressor: 7"),
        ("2,depth,5000.00,1,,,,,", "row 2, column kind: depth"),
        ("2,quote,,,,5000.00,-1,,", "row 2, column bid_size: -1"),
        ("x,trade,5000.00,1,,,,,", "row 2, column ts_event_ns: x is not a whole number"),
        (",trade,5000.00,1,,,,,", "row 2, column ts_event_ns: None"),
        ("2,trade,5000.00,1", "row 2 has 4 cells, not 9"),
        ("2,trade,5000.00,2147483648,,,,,", "row 2, column size: 2147483648 is more than 2147483647"),
        ("2,quote,,,,5000.00,2147483648,,", "row 2, column bid_size: 2147483648 is more than"),
        ("2147483648000000000,trade,5000.00,1,,,,,", "row 2, column ts_event_ns: 2147483648000000000 is more than"),
        (f"{'1' * 5000},trade,5000.00,1,,,,,", f"row 2, column ts_event_ns: {'1' * 60}… is not"),
    ],
)
def test_bad_value_is_named_with_row_and_column(tmp_path: Path, row: str, words: str) -> None:
    """The error names file, row and column, and what is wrong there."""
    path = _csv(tmp_path, ["1,trade,5000.00,1,,,,,", row])
    with pytest.raises(ConfigurationError) as caught:
        _play(path)
    assert f"{path}: {words}" in str(caught.value)


def test_missing_column_and_missing_file_are_named(tmp_path: Path) -> None:
    """Before anything is played."""
    path = tmp_path / "tape.csv"
    path.write_text("ts_event_ns,price\n1,5000\n")
    with pytest.raises(ConfigurationError, match="column size is missing"):
        _flow(path)
    with pytest.raises(ConfigurationError, match="there is no such tape"):
        _flow(tmp_path / "absent.parquet")
    with pytest.raises(ConfigurationError, match="not a Parquet file"):
        _flow(_text(tmp_path / "bad.parquet", "no parquet"))
    with pytest.raises(ConfigurationError, match=r"is a \.parquet or a \.csv file"):
        _flow(_text(tmp_path / "tape.txt", ""))


UNPLAYABLE = {
    "no rows": (b"ts_event_ns,price,size\n", "there are no rows in it"),
    "column twice": (b"ts_event_ns,price,price,size\n1,1,2,1\n", "column price is there twice"),
}


@pytest.mark.parametrize("what", UNPLAYABLE)
def test_file_that_cannot_be_a_tape_is_refused_before_it_is_played(what: str, tmp_path: Path) -> None:
    """A tape without a row would look like a market in which nothing happens."""
    content, words = UNPLAYABLE[what]
    path = tmp_path / "tape.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        _flow(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_columns_that_parquet_knows_twice_are_refused(tmp_path: Path) -> None:
    """As in a CSV file; and a Parquet file without a row is no tape either."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    path = tmp_path / "tape.parquet"
    names = ["ts_event_ns", "price", "price", "size"]
    files.write_table(pyarrow.Table.from_arrays([pyarrow.array([each]) for each in (1, 1.0, 2.0, 1)], names), path)
    with pytest.raises(ConfigurationError, match="column price is there twice"):
        _flow(path)
    files.write_table(pyarrow.table({"ts_event_ns": [1], "price": [1.0], "size": [1]}).slice(0, 0), path)
    with pytest.raises(ConfigurationError, match="there are no rows in it"):
        _flow(path)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A disk's error is told with the file, in one line."""
    path = tmp_path / "tape.csv"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(ConfigurationError, match=f"^{path}: not a CSV file"):
        _flow(path)


@pytest.mark.parametrize(
    ("text", "words"), [(None, "damaged after row 0 .*No such file"), ("a,b\n1,2\n", "columns have changed")]
)
def test_file_that_goes_away_after_it_was_looked_at_is_named(text: str | None, words: str, tmp_path: Path) -> None:
    """Between the look at its columns and the first row it may vanish or become another one."""
    path = _csv(tmp_path, ["1,trade,5000.00,1,,,,,"])
    tape = Tape(str(path), quiet_venue().market(ES.symbol).scale)
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        list(tape.rows())


def test_mark_before_the_first_column_is_no_part_of_its_name(tmp_path: Path) -> None:
    """Spreadsheets save CSV files with a byte order mark."""
    path = tmp_path / "tape.csv"
    path.write_text("ts_event_ns,price,size\n1,5000.25,1\n", encoding="utf-8-sig")
    assert len(_play(path)[1]) == 1


def test_decimal_numbers_of_parquet_are_numbers(tmp_path: Path) -> None:
    """Prices are stored so by some tools; times keep all their digits."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    time = 1_700_000_000_123_456_789
    columns = {"ts_event_ns": [Decimal(time)], "price": [Decimal("5000.25")], "size": [1]}
    files.write_table(pyarrow.table(columns), tmp_path / "tape.parquet")
    _, (event,) = _play(tmp_path / "tape.parquet")
    assert isinstance(event, Traded)
    assert (event.ts_ns, event.price) == (time, 5000.25)


def test_unlisted_symbol_is_named(tmp_path: Path) -> None:
    """The tape must be played on an instrument of the configuration."""
    source = ReplaySource(kind="replay", path=str(_csv(tmp_path, [])), symbol="NQZ6")
    with pytest.raises(ConfigurationError, match=r"exchange\.source\.symbol: NQZ6"):
        ReplayFlow(source, quiet_venue())


def test_parquet_without_the_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow is not part of the core install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"nightdesk\[parquet\]"):
        _flow(_text(tmp_path / "tape.parquet", ""))


def test_module_does_not_import_pyarrow_by_itself() -> None:
    """Lazily, for the core install has none."""
    source = Path(importlib.import_module("nightdesk.simulator.flows.columns").__file__ or "").read_text()
    assert not any(line.startswith(("import pyarrow", "from pyarrow")) for line in source.splitlines())


def test_limit_ends_the_tape_early(tmp_path: Path) -> None:
    """``limit`` counts rows; 0 is all of them."""
    path = _csv(tmp_path, [f"{n},trade,5000.00,1,,,,," for n in range(1, 20)])
    assert len(list(Tape(str(path), Scale(ES), limit=7).rows())) == 7
    assert len(list(Tape(str(path), Scale(ES)).rows())) == 19


def test_whole_numbers_beside_gaps_may_carry_a_point(tmp_path: Path) -> None:
    """Tools write 3.0 where a column has empty cells."""
    _, events = _play(_csv(tmp_path, ["1,trade,5000.00,3.0,1.0,,,,"]))
    assert isinstance(events[0], Traded)
    assert (events[0].quantity, events[0].aggressor) == (3, AggressorSide.BUY)


@_needs_shared_data
def test_recorded_trades_and_quotes_play_row_by_row() -> None:
    """2,973 trades and 25,439 quotes of an hour with its opening cross, every one exactly as in the file."""
    import pyarrow.parquet

    path = SHARED_DATA / "esh24_trades_bbo_20231225.parquet"
    columns = ["ts_event_ns", "kind", "price", "size", "bid", "bid_size", "ask", "ask_size"]
    recorded = zip(*(pyarrow.parquet.read_table(path)[name].to_pylist() for name in columns), strict=True)
    _, events = _play(path)
    assert len(events) == 2_973 + 25_439
    for row, event in zip(recorded, events, strict=True):
        ts_ns, kind, price, size, *quote = row
        assert event.ts_ns == ts_ns
        if isinstance(event, Traded):
            assert (kind, price, size) == ("trade", event.price, event.quantity)
        else:
            assert isinstance(event, Quoted)
            assert quote == [event.bid_price, event.bid_size, event.ask_price, event.ask_size]


@_needs_shared_data
def test_orders_in_the_recorded_pre_open_get_no_absurd_fills() -> None:
    """The book was crossed by 24 points before the open; whoever waited is filled at the cross, 4800.25."""
    venue, flow = _flow(SHARED_DATA / "esh24_trades_bbo_20231225.parquet")
    for _ in range(10):
        _next(flow)
    orders = [new_order(Side.BUY, 2), new_order(Side.BUY, 2, 4809.0), new_order(Side.SELL, 2, 4785.5)]
    for order in orders:
        venue.submit(order, NOW_NS)
    assert [order.filled_quantity for order in venue.orders(ACCOUNT)] == [0, 0, 0]
    for _ in range(30):
        _next(flow)
    assert [order.average_price for order in venue.orders(ACCOUNT)] == [0.0, 4800.25, 4800.25]


@_needs_shared_data
def test_recorded_trades_alone_play_whole() -> None:
    """A limited run of the tape of 500,000 trades: in order, none twice, stops and limits trade against it."""
    path = SHARED_DATA / "esu13_trades_20130901_20130903.parquet"
    venue, events = _play(path, limit=100_000)
    assert len(events) == 100_000
    assert all(before.ts_ns <= after.ts_ns for before, after in itertools.pairwise(events))
    last = venue.last_trade(ES.symbol)
    assert last is not None
    assert last.volume == sum(event.quantity for event in events if isinstance(event, Traded))


def _flow(path: Path, limit: int = 0) -> tuple[Venue, ReplayFlow]:
    venue = quiet_venue()
    return venue, ReplayFlow(ReplaySource(kind="replay", path=str(path), symbol=ES.symbol, limit=limit), venue)


def _next(flow: ReplayFlow) -> list[VenueEvent]:
    step = flow.next()
    assert step is not None
    return step[1]()


def _play(path: Path, limit: int = 0) -> tuple[Venue, list[VenueEvent]]:
    venue, flow = _flow(path, limit)
    events: list[VenueEvent] = []
    while (step := flow.next()) is not None:
        events += step[1]()
    return venue, events


def _csv(folder: Path, rows: list[str]) -> Path:
    return _text(folder / "tape.csv", "\n".join([HEADER, *rows]) + "\n")


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
