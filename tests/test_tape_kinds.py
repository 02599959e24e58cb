"""Tapes of bars, of book levels, of several contracts, and several tapes at once."""

from itertools import pairwise
from pathlib import Path

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import Side
from nightdesk.simulator.flows.bar_tape import BarTape
from nightdesk.simulator.flows.depth_tape import DepthTape
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.flows.tape import TapeRow
from nightdesk.simulator.model import Product, Quoted, Traded
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, kinds, new_order
from tests.replay_support import mbo_csv, play_all, replay, step, text_file
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

NQ = Product("NQZ6", "CME", 0.25, 20.0, 2.25)
BARS = (
    "ts_event_ns,kind,open,high,low,close,volume,"
    "bid_open,bid_high,bid_low,bid,bid_size,ask_open,ask_high,ask_low,ask,ask_size"
)
MINUTE = 60_000_000_000


def _bars(folder: Path, *rows: str) -> BarTape:
    return BarTape(str(text_file(folder / "bars.csv", "\n".join([BARS, *rows]) + "\n")), Scale(ES))


def _prints(rows: list[TapeRow]) -> list[tuple[int, float, int]]:
    return [(row.ts_ns, row.price / 4, row.size) for row in rows if row.is_trade]


def test_bar_is_four_prints_with_its_volume_split(tmp_path: Path) -> None:
    """Open, low, high, close of a bar that rose; high before low when it fell; inside the bar's time."""
    tape = _bars(
        tmp_path,
        "0,bar,5000,5002,4999,5001,11,,,,,,,,,,",
        f"{MINUTE},bar,5001,5002,4999,5000,4,,,,,,,,,,",
    )
    third = MINUTE // 3
    assert _prints(list(tape.rows())) == [
        (0, 5000.0, 3),
        (third, 4999.0, 3),
        (2 * third, 5002.0, 2),
        (MINUTE - 1, 5001.0, 3),
        (MINUTE, 5001.0, 1),
        (MINUTE + third, 5002.0, 1),
        (MINUTE + 2 * third, 4999.0, 1),
        (2 * MINUTE - 1, 5000.0, 1),
    ]


def test_repeated_prices_of_a_bar_are_printed_once(tmp_path: Path) -> None:
    """A bar at one price is one print; one with fewer contracts than prices drops extremes, none drops all."""
    tape = _bars(
        tmp_path,
        "0,bar,5000,5000,5000,5000,9,,,,,,,,,,",
        f"{MINUTE},bar,5000,5001,5000,5001,2,,,,,,,,,,",
        f"{2 * MINUTE},bar,5000,5002,4999,5001,2,,,,,,,,,,",
        f"{3 * MINUTE},bar,5000,5002,4999,5001,0,,,,,,,,,,",
    )
    found = [(ts // MINUTE, price, size) for ts, price, size in _prints(list(tape.rows()))]
    assert found == [(0, 5000.0, 9), (1, 5000.0, 1), (1, 5001.0, 1), (2, 5000.0, 1), (2, 5001.0, 1)]


def test_quote_bars_play_as_quotes_before_the_prints(tmp_path: Path) -> None:
    """At the same four times; a side that is missing is empty, a quote that repeats the one before it is left out."""
    tape = _bars(
        tmp_path,
        "0,bar,5000,5000,5000,5000,4,,,,,,,,,,",
        "0,quotebar,,,,,,4999,5000,4998,4999,7,5000,5001,4999,5000,3",
        f"{MINUTE},quotebar,,,,,,,,,,0,5000,5000,5000,5000,3",
    )
    assert tape.has_quotes
    rows = list(tape.rows())
    assert [row.is_trade for row in rows] == [False, True, False, False, False, False]
    quotes = [(row.bid, row.bid_size, row.ask, row.ask_size) for row in rows if not row.is_trade]
    low, high = (19992, 7, 19996, 3), (20000, 7, 20004, 3)
    assert quotes == [(19996, 7, 20000, 3), low, high, (19996, 7, 20000, 3), (None, 0, 20000, 3)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0,bar,5000,4999,4998,5000,4,,,,,,,,,,", "row 1, column high: 4999.0 does not fit open, low and close"),
        ("0,bar,5000,,4998,5000,4,,,,,,,,,,", "row 1, column high: None is missing in a bar"),
        ("0,bar,5000,5000,4998,5000,,,,,,,,,,,", "row 1, column volume: None"),
        ("0,bar,5000,5000.1,4998,5000,4,,,,,,,,,,", "row 1, column high: 5000.1 is not on a tick"),
        ("0,trade,5000,5000,4998,5000,4,,,,,,,,,,", "row 1, column kind: trade is not bar or quotebar"),
        ("0,quotebar,,,,,,4999,4998,4998,4999,7,,,,,", "row 1, column bid_high: 4998.0 does not fit open, bid_low and"),
        (",bar,5000,5000,5000,5000,4,,,,,,,,,,", "row 1, column ts_event_ns: None"),
    ],
)
def test_damaged_bar_is_named(tmp_path: Path, row: str, words: str) -> None:
    """File, row, column and what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        list(_bars(tmp_path, row).rows())
    assert words in str(caught.value)


def test_bars_without_volume_column_are_refused(tmp_path: Path) -> None:
    """A price without a quantity would be no print."""
    path = text_file(tmp_path / "bars.csv", "ts_event_ns,open,high,low,close\n0,1,1,1,1\n")
    with pytest.raises(ConfigurationError, match="column volume is missing; a tape of bars needs"):
        replay(path)


def test_orders_trade_with_bars_as_with_prints(tmp_path: Path) -> None:
    """On bars alone a limit order fills when a print goes through it, up to the print's size."""
    path = text_file(
        tmp_path / "bars.csv",
        f"ts_event_ns,open,high,low,close,volume\n0,5000,5000,5000,5000,8\n{MINUTE},5000,5000,4990,4995,12\n",
    )
    venue, flow = replay(path)
    step(flow)
    venue.submit(new_order(Side.BUY, 6, 4992.0), NOW_NS)
    play_all(flow)
    assert [(order.filled_quantity, order.average_price) for order in venue.orders(ACCOUNT)] == [(4, 4992.0)]


def test_levels_show_the_best_as_quotes(tmp_path: Path) -> None:
    """A row that changes deeper levels only is no quote; counts are shown, an absent level is none."""
    places = [f"{side}_{what}_{place}" for place in (0, 1) for side in ("bid", "ask") for what in ("px", "sz", "ct")]
    header = ",".join(["ts_event_ns", *places])
    rows = [
        "1,5000,5,2,5000.25,3,1,4999.75,9,4,5000.5,8,3",
        "2,5000,5,2,5000.25,3,1,4999.75,7,3,5000.5,8,3",
        "3,5000,5,2,,0,0,,,,,,",
    ]
    path = text_file(tmp_path / "depth.csv", "\n".join([header, *rows]) + "\n")
    tape = list(DepthTape(str(path), Scale(ES)).rows())
    assert [len(row.bids) + len(row.asks) for row in tape] == [4, 4, 1]
    _, flow = replay(path)
    quotes = [event for event in play_all(flow) if isinstance(event, Quoted)]
    assert [(q.bid_size, q.bid_orders, q.ask_size, q.ask_orders) for q in quotes] == [(5, 2, 3, 1), (5, 2, 0, 0)]
    assert (quotes[1].bid_changed, quotes[1].ask_changed) == (False, True)


def test_levels_out_of_order_are_refused(tmp_path: Path) -> None:
    """The second level of a side must be worse than the first."""
    header = "ts_event_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0,bid_px_1,bid_sz_1,ask_px_1,ask_sz_1"
    path = text_file(tmp_path / "depth.csv", f"{header}\n1,5000,5,5000.25,3,5000,9,5000.5,8\n")
    with pytest.raises(
        ConfigurationError, match=r"row 1, column bid_px_1: 5000\.0 is not worse than the level before it"
    ):
        replay(path)


def test_negative_number_of_orders_is_refused(tmp_path: Path) -> None:
    """As a negative size is."""
    header = "ts_event_ns,bid_px_0,bid_sz_0,bid_ct_0,ask_px_0,ask_sz_0,ask_ct_0"
    path = text_file(tmp_path / "depth.csv", f"{header}\n1,5000,5,-3,5000.25,3,1\n")
    with pytest.raises(ConfigurationError, match=r"row 1, column bid_ct_0: -3 is negative"):
        replay(path)


def _two(folder: Path) -> tuple[Venue, ReplayFlow]:
    es = text_file(folder / "es.csv", "ts_event_ns,price,size\n1,5000,1\n3,5000,2\n3,5000,3\n9,5000,4\n")
    nq = mbo_csv(folder / "nq.csv", [["A B 60000 1 #1"], ["A A 60001 1 #2"]])
    nq.write_text(nq.read_text().replace("\n0,", "\n3,").replace("\n1000000000,", "\n5,"))
    tapes = [{"path": str(es), "symbol": ES.symbol}, {"path": str(nq), "symbol": NQ.symbol}]
    return replay(venue=Venue([ES, NQ], [ACCOUNT], 0.0), tapes=tapes)


def test_tapes_of_several_contracts_are_one_flow_by_time(tmp_path: Path) -> None:
    """Each contract by its own kind of tape; of equal times the tape that is named first."""
    _, flow = _two(tmp_path)
    events = play_all(flow)
    assert [(event.ts_ns, event.symbol[:2]) for event in events if isinstance(event, Traded | Quoted)] == [
        (1, "ES"),
        (3, "ES"),
        (3, "ES"),
        (3, "NQ"),
        (5, "NQ"),
        (9, "ES"),
    ]


def test_trades_and_quotes_of_one_contract_may_be_two_files(tmp_path: Path) -> None:
    """Orders then fill as on a tape with quotes."""
    quotes = text_file(
        tmp_path / "quotes.csv",
        "ts_event_ns,kind,price,size,bid,bid_size,ask,ask_size\n1,quote,,,5000,7,5000.25,3\n5,quote,,,5000,7,5000.25,2\n",
    )
    trades = text_file(tmp_path / "trades.csv", "ts_event_ns,price,size\n3,5000.25,1\n")
    venue, flow = replay(tapes=[{"path": str(path), "symbol": ES.symbol} for path in (quotes, trades)])
    assert kinds(step(flow)) == ["Quoted"]
    venue.submit(new_order(Side.BUY, 3), NOW_NS)
    assert kinds(play_all(flow)) == ["Traded", "Quoted"]
    assert venue.orders(ACCOUNT)[0].average_price == 5000.25


def test_tape_that_jitters_keeps_its_own_order_in_a_merge(tmp_path: Path) -> None:
    """A row a little older than the one before it is not moved before rows of other tapes that were played."""
    one = text_file(tmp_path / "one.csv", "ts_event_ns,price,size\n10,5000,1\n4,5000,2\n")
    two = text_file(tmp_path / "two.csv", "ts_event_ns,price,size\n6,60000,3\n12,60000,4\n")
    tapes = [{"path": str(one), "symbol": ES.symbol}, {"path": str(two), "symbol": NQ.symbol}]
    _, flow = replay(venue=Venue([ES, NQ], [ACCOUNT], 0.0), tapes=tapes)
    events = play_all(flow)
    assert [(event.ts_ns, event.quantity) for event in events if isinstance(event, Traded)] == [
        (6, 3),
        (10, 1),
        (10, 2),
        (12, 4),
    ]


def test_unlisted_symbol_of_a_tape_is_named_with_its_place(tmp_path: Path) -> None:
    """The second of two tapes."""
    path = text_file(tmp_path / "tape.csv", "ts_event_ns,price,size\n1,5000,1\n")
    tapes = [{"path": str(path), "symbol": ES.symbol}, {"path": str(path), "symbol": NQ.symbol}]
    with pytest.raises(ConfigurationError, match=r"exchange\.source\.tapes\.1\.symbol: NQZ6"):
        replay(tapes=tapes)


def test_file_of_several_contracts_needs_the_name_of_one(tmp_path: Path) -> None:
    """``contract`` takes its rows and no others; without it the file is refused, with a wrong one as well."""
    rows = "1,ESH24,5000,1\n2,ESM24,5100,2\n3,ESH24,5001,3\n"
    path = text_file(tmp_path / "tape.csv", f"ts_event_ns,symbol,price,size\n{rows}")
    with pytest.raises(ConfigurationError, match=r"column symbol: ESM24 beside ESH24; .* name one of them"):
        replay(path)
    with pytest.raises(ConfigurationError, match="no row is of ESU24"):
        replay(path, contract="ESU24")
    _, flow = replay(path, contract="ESH24", limit=2)
    assert [event.price for event in play_all(flow) if isinstance(event, Traded)] == [5000.0, 5001.0]
    alone = text_file(tmp_path / "alone.csv", "ts_event_ns,price,size\n1,5000,1\n")
    with pytest.raises(ConfigurationError, match="column symbol is missing"):
        replay(alone, contract="ESH24")


@_needs_shared_data
def test_recorded_minute_bars_with_quotes_play_one_contract_of_the_file() -> None:
    """Sixteen days of ESZ13 and others: volume and extremes of the played contract are the file's."""
    import pyarrow.compute as pc
    import pyarrow.parquet

    path = SHARED_DATA / "es_minute_trade_quote_bars_2013_2020_lean.parquet"
    table = pyarrow.parquet.read_table(path)
    table = table.filter(pc.equal(table["symbol"], "ESZ13"))
    bars = table.filter(pc.equal(table["kind"], "bar"))
    _, flow = replay(path, contract="ESZ13")
    trades = [event for event in play_all(flow) if isinstance(event, Traded)]
    assert sum(event.quantity for event in trades) == int(pc.sum(bars["volume"]).as_py())
    assert max(event.price for event in trades) == pc.max(bars["high"]).as_py()
    assert min(event.price for event in trades) == pc.min(bars["low"]).as_py()


@_needs_shared_data
def test_recorded_five_minute_bars_rebuild_to_themselves() -> None:
    """The prints of each bar of ESH24 give its open, high, low, close and volume again."""
    import pyarrow.compute as pc
    import pyarrow.parquet

    path = SHARED_DATA / "es_5min_bars_2015_2024_ferrante.parquet"
    table = pyarrow.parquet.read_table(path)
    table = table.filter(pc.equal(table["symbol"], "ESH24")).slice(0, 2_000)
    names = ("ts_event_ns", "open", "high", "low", "close", "volume")
    expected = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    rebuilt: dict[int, list[tuple[float, int]]] = {}
    for row in BarTape(str(path), Scale(ES), 2_000, "ESH24").rows():
        rebuilt.setdefault(row.ts_ns // (5 * MINUTE) * 5 * MINUTE, []).append((row.price / 4, row.size))
    found = []
    for ts_ns, points in rebuilt.items():
        prices = [price for price, _ in points]
        volume = sum(size for _, size in points)
        found.append((ts_ns, prices[0], max(prices), min(prices), prices[-1], volume))
    assert found == expected


@_needs_shared_data
def test_recorded_levels_play_with_the_trades_of_the_same_hour() -> None:
    """37,064 rows of levels and 2,973 trades of two files as one market."""
    tapes = [
        {"path": str(SHARED_DATA / f"esh24_{name}_20231225.parquet"), "symbol": ES.symbol, "limit": limit}
        for name, limit in (("depth10", 5_000), ("trades_bbo", 4_000))
    ]
    _, flow = replay(tapes=tapes)
    events = play_all(flow)
    assert all(before.ts_ns <= after.ts_ns for before, after in pairwise(events))
    assert {type(event) for event in events} >= {Quoted, Traded}
