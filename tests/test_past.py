"""The recorded past: files as columns, what cannot be used and why, and the seam to the session."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import AggressorSide, BarUnit
from nightdesk.simulator.model import Product, Traded
from nightdesk.simulator.plants import past_file
from nightdesk.simulator.plants.bars import BarState, BarStore
from nightdesk.simulator.plants.past import ContractHistory, Past
from nightdesk.simulator.plants.past_columns import BarColumns, Figures, ListSegment, TradeColumns, chosen
from nightdesk.simulator.plants.past_file import PastFile, check, read
from tests.support import SHARED_DATA

ES = Product("ESH4", "CME", 0.25, 50.0, 2.0)
TODAY = date(2023, 11, 14)
START_S = 1_700_000_100  # 2023-11-14 22:15 UTC, a multiple of five minutes
LATE = 2**40
BARS_FILE = SHARED_DATA / "es_5min_bars_2015_2024_ferrante.parquet"

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")


def csv(folder: Path, text: str) -> PastFile:
    """A CSV file of these lines, of the test's contract."""
    path = folder / "past.csv"
    path.write_text(text)
    return PastFile(str(path), ES)


def parquet(folder: Path, columns: dict[str, list[object]], name: str = "past.parquet") -> PastFile:
    """A Parquet file of these columns."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    files.write_table(pyarrow.table(columns), folder / name)
    return PastFile(str(folder / name), ES)


def bar_rows(count: int, length_s: int = 300, first_s: int = START_S) -> dict[str, list[object]]:
    """Bars without a hole."""
    return {
        "ts_event_ns": [(first_s + number * length_s) * 10**9 for number in range(count)],
        "open": [100.0 + number for number in range(count)],
        "high": [101.0 + number for number in range(count)],
        "low": [99.0 + number for number in range(count)],
        "close": [100.25 + number for number in range(count)],
        "volume": [10] * count,
    }


def traded(second: int, price: float = 50.0) -> Traded:
    """A print of the session."""
    return Traded(ES.symbol, ES.exchange, price, 1, AggressorSide.BUY, second * 10**9, 0, 0.0)


def history(files: list[PastFile], store: BarStore | None = None, now_s: int = LATE) -> ContractHistory:
    """What history knows of the test's contract."""
    past = Past(files, structlog.get_logger())
    past.load(ES.symbol, START_S)
    return ContractHistory(past.of(ES.symbol), store or BarStore(), ES.symbol, ES.exchange, now_s)


def bars(known: ContractHistory, unit: BarUnit, period: int = 1, first: int = 0, last: int = LATE) -> list[BarState]:
    """All bars of an interval."""
    return list(chosen(known.time_bars(unit, period, first, last), 10**9, from_end=False, backwards=False))


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    """Columns are found by name; single precision is brought back onto the tick."""
    pyarrow = pytest.importorskip("pyarrow")
    rows = bar_rows(3)
    rows["open"] = pyarrow.array([4100.1 + number for number in range(3)], pyarrow.float32())  # type: ignore[assignment]
    rows["high"], rows["low"], rows["close"] = [4200.0] * 3, [4000.0] * 3, [4100.0] * 3
    tenth = Product(ES.symbol, ES.exchange, 0.1, 10.0, 0.0)
    quick = read(parquet(tmp_path, rows)._replace(product=tenth), TODAY)
    lines = "\n".join(f"x,{START_S + n * 300}000000000,{4100.1 + n:.4f},4200,4000,4100,10" for n in range(3))
    slow = read(
        csv(tmp_path, f"other,ts_event_ns,open,high,low,close,volume\n{lines}\n")._replace(product=tenth), TODAY
    )
    assert isinstance(quick, BarColumns)
    assert isinstance(slow, BarColumns)
    assert (quick.row_s, slow.row_s) == (300, 300)
    assert quick.opens.tolist() == slow.opens.tolist() == [4100.1, 4101.1, 4102.1]
    assert vars(quick) == vars(slow)


def test_rows_of_other_kinds_and_contracts_are_left_out(tmp_path: Path) -> None:
    """Of a file of several contracts the instrument's own is taken, whatever the digits of its year."""
    rows: dict[str, list[object]] = {
        "ts_event_ns": [START_S * 10**9 + number for number in range(5)],
        "kind": ["trade", "quote", "trade", "trade", "trade"],
        "symbol": ["ESH24", "ESH24", "ESM24", "ESH14", "ESH24"],
        "price": [10.0, None, 20.0, 30.0, 40.0],
        "size": [1, None, 2, 3, 4],
        "aggressor": [1, 0, 0, 0, -1],
    }
    columns = read(parquet(tmp_path, rows), TODAY)
    assert isinstance(columns, TradeColumns)
    assert columns.prices.tolist() == [10.0, 40.0]
    assert (columns.ask_sizes.tolist(), columns.bid_sizes.tolist()) == ([1, 0], [0, 4])
    chain = read(parquet(tmp_path, rows)._replace(product=Product("ESZ9", "CME", 0.25, 50.0, 0.0)), TODAY)
    assert len(chain.starts) == 4
    with pytest.raises(ConfigurationError, match="nothing of NQH4 in it, but ESH14, ESH24, ESM24"):
        read(parquet(tmp_path, rows)._replace(product=Product("NQH4", "CME", 0.25, 20.0, 0.0)), TODAY)


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    """Both kinds of files."""
    file = parquet(tmp_path, bar_rows(50))._replace(limit=7)
    assert len(read(file, TODAY).starts) == 7
    lines = "\n".join(f"{START_S + n}000000000,10,1" for n in range(50))
    assert len(read(csv(tmp_path, f"ts_event_ns,price,size\n{lines}\n")._replace(limit=7), TODAY).starts) == 7


def test_trades_that_jitter_are_brought_into_order(tmp_path: Path) -> None:
    """Up to a second; equal times keep the file's order."""
    times = [3, 1, 2, 2]
    file = parquet(
        tmp_path,
        {"ts_event_ns": [START_S * 10**9 + each for each in times], "price": [3.0, 1.0, 2.0, 2.25], "size": [1] * 4},
    )
    columns = read(file, TODAY)
    assert isinstance(columns, TradeColumns)
    assert columns.prices.tolist() == [1.0, 2.0, 2.25, 3.0]


HEAD = "ts_event_ns,open,high,low,close,volume\n"
UNUSABLE = {
    "no time": ("price,size\n1,1\n", "column ts_event_ns is missing"),
    "neither trades nor bars": ("ts_event_ns,price\n1,1\n", "needs the columns price, size of trades, or open"),
    "cells": ("ts_event_ns,price,size\n1,1\n", "row 1 has 2 cells, not 3"),
    "time": ("ts_event_ns,price,size\nx,1,1\n", "row 1, column ts_event_ns: x is not a time"),
    "off tick": (
        f"ts_event_ns,price,size\n{START_S},1,1\n{START_S},1.1,1\n",
        "row 2, column price: 1.1 is not on a tick",
    ),
    "no price": (f"ts_event_ns,price,size\n{START_S},,1\n", "row 1, column price:  is no price"),
    "endless price": (f"ts_event_ns,price,size\n{START_S},inf,1\n", "row 1, column price: inf is no price"),
    "size": (f"ts_event_ns,price,size\n{START_S},1,1.5\n", "row 1, column size: 1.5 is not a whole number"),
    "aggressor": (f"ts_event_ns,price,size,aggressor\n{START_S},1,1,2\n", "row 1, column aggressor: 2 is not"),
    "order": (f"ts_event_ns,price,size\n{START_S}000000000,1,1\n1,1,1\n", "row 2, column ts_event_ns: 1 is older"),
    "empty": ("ts_event_ns,price,size\n", "no trades of ESH4"),
    "one bar": (HEAD + f"{START_S}000000000,1,1,1,1,1\n", "one bar alone"),
    "part of a second": (HEAD + f"{START_S}000000001,1,1,1,1,1\n", "row 1, column ts_event_ns: .* on a whole second"),
    "bars' order": (HEAD + f"{START_S}000000000,1,1,1,1,1\n" * 2, "row 2, column ts_event_ns: .* not later"),
    "digits": ("ts_event_ns,price,size\n" + "1" * 5000 + ",1,1\n", f"row 1, column ts_event_ns: {'1' * 60}… is not"),
    "twice": ("ts_event_ns,price,price,size\n1,1,1,1\n", "column price is there twice"),
    "volume": (
        HEAD + f"{START_S}000000000,1,1,1,1,1000000000001\n",
        "row 1, column volume: 1000000000001 is not a whole number from 0 to 1000000000000",
    ),
    "high": (HEAD + f"{START_S}000000000,5,1,1,1,1\n", "row 1, column high: 1 and low do not enclose"),
}
"""What is wrong: (the file, what is said about it)."""


@pytest.mark.parametrize("what", UNUSABLE)
def test_unusable_file_is_named_with_its_place(what: str, tmp_path: Path) -> None:
    """The file, the row, the column and what is wrong with the value."""
    text, said = UNUSABLE[what]
    file = csv(tmp_path, text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        read(file, TODAY)
    assert str(caught.value).startswith(file.path)


def test_bars_of_several_lengths_are_refused(tmp_path: Path) -> None:
    """A bar that does not begin at a multiple of the shortest distance cannot be of that length."""
    lines = "".join(f"{START_S + second}000000000,1,1,1,1,1\n" for second in (0, 300, 500))
    with pytest.raises(ConfigurationError, match="keep bars of one length in one file"):
        read(csv(tmp_path, HEAD + lines), TODAY)


def test_bad_value_in_parquet_is_found_by_row(tmp_path: Path) -> None:
    """Batches are checked as a whole, and looked through row by row only when something is wrong."""
    rows = bar_rows(20)
    rows["close"][12] = 112.1
    with pytest.raises(ConfigurationError, match=r"row 13, column close: 112\.1 is not on a tick of 0\.25"):
        read(parquet(tmp_path, rows), TODAY)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and nothing of the kind")
    with pytest.raises(ConfigurationError, match="not a Parquet file"):
        check(PastFile(str(damaged), ES))
    for path, said in ((tmp_path / "absent.csv", "there is no such file"), (tmp_path, "there is no such file")):
        with pytest.raises(ConfigurationError, match=said):
            check(PastFile(str(path), ES))


def test_odd_columns_of_parquet_are_refused(tmp_path: Path) -> None:
    """A column twice, symbols that are no text, a volume that no sum could hold."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    names = ["ts_event_ns", "price", "price", "size"]
    table = pyarrow.Table.from_arrays([pyarrow.array([each]) for each in (1, 1.0, 2.0, 1)], names)
    files.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(ConfigurationError, match="column price is there twice"):
        check(PastFile(str(tmp_path / "twice.parquet"), ES))
    with pytest.raises(ConfigurationError, match="column symbol is not text"):
        read(parquet(tmp_path, {"ts_event_ns": [1], "price": [1.0], "size": [1], "symbol": [["ESH4"]]}), TODAY)
    with pytest.raises(ConfigurationError, match="row 2, column volume"):
        read(parquet(tmp_path, bar_rows(2) | {"volume": [1, 2**62]}), TODAY)


def test_longer_file_than_may_be_held_asks_for_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has a named bound."""
    monkeypatch.setattr(past_file, "PAST_ROWS_MAX", 5)
    monkeypatch.setattr(past_file, "BATCH_ROWS", 4)
    with pytest.raises(ConfigurationError, match=r"more than 5 rows of ESH4; give it a limit"):
        read(parquet(tmp_path, bar_rows(20)), TODAY)


def test_unusable_file_is_left_out_of_the_answers(tmp_path: Path) -> None:
    """Columns are looked at when the exchange starts; a bad row is found at the first request and ends nothing."""
    good, bad = parquet(tmp_path, bar_rows(4)), csv(tmp_path, HEAD + "x,1,1,1,1,1\n")
    assert len(bars(history([bad, good]), BarUnit.MINUTE, 5)) == 4
    with pytest.raises(ConfigurationError):
        Past([csv(tmp_path, "a,b\n")], structlog.get_logger())


def test_longer_bars_are_made_of_recorded_ones(tmp_path: Path) -> None:
    """Any multiple of the recorded length, days and weeks too; shorter ones are not invented."""
    known = history([parquet(tmp_path, bar_rows(600))])
    assert bars(known, BarUnit.MINUTE, 1) == []
    assert len(bars(known, BarUnit.MINUTE, 5)) == 600
    quarter, *_ = bars(known, BarUnit.MINUTE, 15)
    assert (quarter.ts_start_s, quarter.open, quarter.high, quarter.low, quarter.close) == (
        START_S, 100.0, 103.0, 99.0, 102.25,
    )  # fmt: skip
    assert quarter.volume == 30
    days = bars(known, BarUnit.DAY)
    assert [day.volume for day in days] == [210, 2880, 2880, 30]
    assert [week.volume for week in bars(known, BarUnit.WEEK)] == [6000]


def test_past_ends_where_the_session_begins(tmp_path: Path) -> None:
    """Recorded rows after it would tell the future; the bar over the seam has both sides' trades."""
    store = BarStore()
    begins_s = START_S + 3 * 300 + 10
    for second in (begins_s, begins_s + 600):
        store.add(traded(second))
    known = history([parquet(tmp_path, bar_rows(100))], store)
    found = bars(known, BarUnit.MINUTE, 5)
    assert [(bar.ts_start_s - START_S, bar.volume) for bar in found] == [
        (0, 10), (300, 10), (600, 10), (900, 1), (1500, 1),
    ]  # fmt: skip
    hours = bars(known, BarUnit.MINUTE, 60)
    assert [(bar.open, bar.low, bar.close, bar.volume) for bar in hours] == [(100.0, 50.0, 50.0, 32)]
    (day,) = bars(known, BarUnit.DAY)
    assert (day.volume, day.trades) == (32, 2)


def test_without_a_session_the_past_ends_at_market_time(tmp_path: Path) -> None:
    """Before a tape's first trade nothing of its day is known."""
    known = history([parquet(tmp_path, bar_rows(100))], now_s=START_S + 650)
    assert [bar.volume for bar in bars(known, BarUnit.MINUTE, 5)] == [10, 10]
    assert [bar.volume for bar in bars(known, BarUnit.MINUTE, 15)] == [20]


def test_several_files_follow_one_another(tmp_path: Path) -> None:
    """Where they overlap the one that began first goes on to its end; trades make bars of any length."""
    times: list[object] = [(START_S + second) * 10**9 for second in range(0, 3600, 10)]
    trades = parquet(tmp_path, {"ts_event_ns": times, "price": [10.0] * 360, "size": [1] * 360}, "trades.parquet")
    known = history([parquet(tmp_path, bar_rows(24)), trades])
    assert [bar.volume for bar in bars(known, BarUnit.MINUTE, 5)] == [10] * 24
    assert [bar.volume for bar in bars(known, BarUnit.MINUTE, 1)] == [6] * 60
    assert len(list(known.trades(START_S, START_S + 99).after(0))) == 10
    assert len(known.trades(0, LATE)) == 360
    later = history([trades, parquet(tmp_path, bar_rows(24, first_s=START_S + 3000))])
    assert [bar.volume for bar in bars(later, BarUnit.MINUTE, 5)] == [30] * 12 + [10] * 22


def test_overlapping_files_answer_alike_however_they_are_paged(tmp_path: Path) -> None:
    """Inside the first file's span nothing of the second is served, also where a page ends in a gap of the first."""

    def trades(name: str, seconds: range, price: float) -> PastFile:
        times: list[object] = [(START_S + second) * 10**9 for second in seconds]
        return parquet(tmp_path, {"ts_event_ns": times, "price": [price] * len(times), "size": [1] * len(times)}, name)

    known = history(
        [trades("first.parquet", range(0, 900, 10), 10.0), trades("second.parquet", range(304, 1204, 10), 20.0)]
    )
    pages = [list(known.trades(first, first + 6).after(0)) for first in range(START_S, START_S + 1210, 7)]
    whole = list(known.trades(START_S, START_S + 1210).after(0))
    assert [each for page in pages for each in page] == whole
    assert [each.price for each in whole] == [10.0] * 90 + [20.0] * 31
    minutes = [
        bar for first in range(START_S + 60, START_S + 1261, 60) for bar in bars(known, BarUnit.MINUTE, 1, first, first)
    ]
    assert minutes == bars(known, BarUnit.MINUTE, 1)


@given(
    recorded=st.lists(st.integers(0, 99), max_size=20).map(sorted), live=st.integers(0, 9), skipped=st.integers(0, 40)
)
def test_trades_after_some_are_the_rest(recorded: list[int], live: int, skipped: int) -> None:
    """Skipping costs nothing and is the same as reading on."""
    halves = TradeColumns(), TradeColumns()
    for number, second in enumerate(recorded):
        half = halves[0] if second < 50 else halves[1]
        half.append(second * 10**9, float(number), 1, 0)
    store = BarStore()
    for second in range(live):
        store.add(traded(100 + second))
    past = [half for half in halves if half.starts]
    trades = ContractHistory(past, store, ES.symbol, ES.exchange, LATE).trades(0, LATE)
    assert len(trades) == len(recorded) + live
    assert list(trades.after(skipped)) == list(trades.after(0))[skipped:]


SECONDS = st.lists(st.integers(0, 4000), unique=True, max_size=40).map(sorted)


@given(
    recorded=SECONDS,
    cuts=st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted),
    live=SECONDS,
    period=st.sampled_from([1, 7, 60, 600]),
    interval=st.tuples(st.integers(-10, 4100), st.integers(-10, 9000)),
    count=st.integers(1, 50),
    from_end=st.booleans(),
    backwards=st.booleans(),
)
def test_chosen_bars_are_those_of_all_trades_together(
    recorded: list[int],
    cuts: list[int],
    live: list[int],
    period: int,
    interval: tuple[int, int],
    count: int,
    from_end: bool,
    backwards: bool,
) -> None:
    """Against a naive model: one list of trades, grouped, filtered by the bars' ends, cut, and turned.

    The recorded ones are in three files, so that many a bar begins in one file and goes on in others.
    """
    files, store = (TradeColumns(), TradeColumns(), TradeColumns()), BarStore()
    for number, second in enumerate(recorded):
        files[sum(number >= cut for cut in cuts)].append(second * 10**9, float(second), 1, 1)
    past = [columns for columns in files if columns.starts]
    begins_s = live[0] + 2000 if live else 10_000
    for second in live:
        store.add(traded(second + 2000, float(second)))
    known = ContractHistory(past, store, ES.symbol, ES.exchange, 10_000)
    trades = [(second, float(second)) for second in recorded if second < begins_s]
    trades += [(second + 2000, float(second)) for second in live]
    groups: dict[int, list[float]] = {}
    for second, price in trades:
        groups.setdefault(second - second % period, []).append(price)
    expected = [
        (start, prices[0], max(prices), min(prices), prices[-1], len(prices))
        for start, prices in groups.items()
        if interval[0] <= start + period <= interval[1]
    ]
    expected = expected[-count:] if from_end else expected[:count]
    if backwards:
        expected.reverse()
    segments = known.time_bars(BarUnit.SECOND, period, *interval)
    found = chosen(segments, count, from_end=from_end, backwards=backwards)
    assert [(bar.ts_start_s, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in found] == expected


@given(st.binary(max_size=200))
def test_any_bytes_in_a_file_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    """Nothing but ``ConfigurationError`` comes out of a file, whatever is in it."""
    folder = tmp_path_factory.mktemp("noise", numbered=True)
    for name in ("noise.csv", "noise.parquet"):
        path = folder / name
        path.write_bytes(b"ts_event_ns,price,size\n" + noise if name.endswith("csv") else noise)
        with suppress(ConfigurationError):
            read(PastFile(str(path), ES), TODAY)


@_needs_shared_data
def test_decade_of_recorded_bars_is_served_from_columns() -> None:
    """699,011 bars of forty contracts are one chain, days are made of them, and a request costs what it takes."""
    columns = read(PastFile(str(BARS_FILE), Product("ESZ6", "CME", 0.25, 50.0, 2.0)), date(2026, 11, 1))
    known = ContractHistory([columns], BarStore(), "ESZ6", "CME", LATE)
    assert len(columns.starts) == 699_011

    def newest(unit: BarUnit, count: int) -> Iterator[BarState]:
        return chosen(known.time_bars(unit, 1, 0, LATE), count, from_end=True, backwards=True)

    last, *_ = newest(BarUnit.DAY, 3)
    assert last.ts_end_s == 1_734_739_200
    assert sum(1 for _ in newest(BarUnit.DAY, 10_000)) > 2_500
    assert ListSegment(list).last(1)[1] == 0
    assert columns.figures(0, 1) == Figures(2078.75, 2079.25, 2078.75, 2079.0, 129, 60, 69, 80)
