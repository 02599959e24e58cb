"""The shipped calendars against recordings, the library's own schedule and LEAN's market hours."""

import csv
import json
from datetime import datetime, time, timedelta

import pytest

from benchmarks.calendar_check import compare, read_starts, report
from nightdesk.calendars.load import load_calendar, load_table
from nightdesk.calendars.overrides import CalendarOverrides, DayOverride, corrected
from nightdesk.calendars.table import DAY_NS
from nightdesk.calendars.zones import local
from nightdesk.trading.sessions import MarketPhase
from tests.calendar_support import CHICAGO, HOUR_NS, at, utc
from tests.support import SHARED_DATA

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")
EQUITY = load_calendar("cme_equity")
FIVE_MINUTE_BARS = SHARED_DATA / "es_5min_bars_2015_2024_ferrante.parquet"


@needs_shared_data
def test_ten_years_of_bars_lie_in_sessions_that_they_fill() -> None:
    """All 699,011 bars of E-mini S&P; what differs is told in docs/market-time.md and is of the data, or one outage."""
    found = compare(EQUITY, read_starts(FIVE_MINUTE_BARS))
    assert (found.bars, found.segments) == (699_011, 4205)
    # One stray bar of a pause, and the prints of the close itself.
    assert found.outside == [at("2015-12-04 15:25")]
    assert len(found.outside_at_close) == 36
    # At a roll the recording ends at 08:30 of the expiry's Friday and goes on in the Sunday's evening.
    rolls = {each[0].trade_date for each in found.early}
    assert len(rolls) == 39
    for trade_date in rolls:
        day = datetime.strptime(str(trade_date), "%Y%m%d")
        assert (day.weekday(), 15 <= day.day <= 21, day.month % 3) == (4, True, 0)
    assert {each.trade_date for each in found.empty} <= rolls
    after_roll = {EQUITY.next_session(each[0].closes_ns + DAY_NS).trade_date for each in found.early}
    late = {each[0].trade_date: each[1] / HOUR_NS for each in found.late}
    assert {each: late[each] for each in late if each not in after_roll} == {20170605: 7 / 6, 20180430: 0.5}
    assert max(late.values()) == 7
    lines = list(report(EQUITY, found))
    assert any("Fri 2015-12-04 15:25" in line for line in lines)


@needs_shared_data
def test_comparison_finds_what_is_wrong() -> None:
    """A session too many, a close too late, an opening too late: each is found, and nothing else."""
    starts_ns = read_starts(FIVE_MINUTE_BARS)
    days = (
        DayOverride(20181205, closes_at=time(16)),
        DayOverride(20190102, closed=True),
        DayOverride(20190104, opens_at=time(18)),
        DayOverride(20240329, segments=((datetime(2024, 3, 28, 17), datetime(2024, 3, 29, 8, 15)),)),
    )
    right, wrong = (
        compare(EQUITY, starts_ns),
        compare(corrected(load_table("cme_equity"), CalendarOverrides(days)), starts_ns),
    )
    assert [each.trade_date for each in wrong.empty if each not in right.empty] == [20240329]
    assert [(each[0].trade_date, each[1] / HOUR_NS) for each in wrong.early if each not in right.early] == [
        (20181205, 7.5)
    ]
    extra = set(wrong.outside) - set(right.outside)
    days_outside = {f"{local(each, CHICAGO):%m-%d %H}" for each in extra}
    assert {each[:5] for each in days_outside} == {"01-01", "01-02", "01-03"}
    assert "01-03 17" in days_outside
    assert "01-03 18" not in days_outside


@needs_shared_data
def test_library_s_own_schedule_differs_by_the_corrections_only() -> None:
    """The CSV that the library has written, against the compiled table: each difference has its reason."""
    with (SHARED_DATA / "cme_globex_equity_schedule_2013_2026_mcal5.5.0.csv").open() as file:
        rows = list(csv.DictReader(file))
    segments: dict[str, tuple[int, int]] = {}
    for session in EQUITY.sessions:
        for segment in session.segments:
            day = local(segment.closes_ns, CHICAGO).date().isoformat()
            opens_ns = segments[day][0] if day in segments else segment.opens_ns
            segments[day] = (opens_ns, segment.closes_ns)
    different = set()
    for row in rows:
        expected = tuple(utc(row[key].removesuffix("+00:00")) for key in ("market_open", "market_close"))
        day = row["trade_date"]
        late_close = day < "2015-09-18" and expected[1] == at(f"{day} 16:00")
        if segments.get(day) != (expected[0], expected[1] + HOUR_NS // 4 * late_close):
            different.add(day)
    assert different == {"2015-07-01", "2018-12-05", "2024-03-29", "2025-01-09", "2025-04-18"}
    assert {row["trade_date"] for row in rows} >= {day for day in segments if "2013-01-02" <= day <= "2026-12-01"}


@needs_shared_data
def test_recorded_labor_day_is_one_trade_date_with_a_halt() -> None:
    """September 2013: half a million trades in one session, none in its halt from 10:30 to 17:00."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(SHARED_DATA / "esu13_trades_20130901_20130903.parquet", columns=["ts_event_ns"])
    times_ns = table["ts_event_ns"].to_pylist()
    (session,) = {EQUITY.session_at(each) for each in (times_ns[0], times_ns[-1])}
    assert session is not None
    assert session.trade_date == 20130903
    assert all(EQUITY.is_open(each) for each in times_ns)
    halted, resumed = session.segments[0].closes_ns, session.segments[1].opens_ns
    assert max(each for each in times_ns if each < resumed) > halted - HOUR_NS // 60
    assert min(each for each in times_ns if each >= halted) - resumed < HOUR_NS // 60


@needs_shared_data
def test_recorded_quotes_begin_with_the_pre_open() -> None:
    """Sixteen days of minute bars: trades only while open; quotes move from 16:45, on Sundays from 16:00."""
    import pyarrow.parquet

    file = SHARED_DATA / "es_minute_trade_quote_bars_2013_2020_lean.parquet"
    table = pyarrow.parquet.read_table(file, columns=["ts_event_ns", "kind"])
    rows = list(zip(table["ts_event_ns"].to_pylist(), table["kind"].to_pylist(), strict=True))
    assert all(EQUITY.is_open(ts_ns) for ts_ns, kind in rows if kind == "bar")
    first: dict[bool, str] = {}
    for ts_ns, _ in rows:
        shown = local(ts_ns, CHICAGO)
        if EQUITY.phase(ts_ns) is MarketPhase.PRE_OPEN and shown.hour == 16:
            is_sunday = shown.weekday() == 6
            first[is_sunday] = min(first.get(is_sunday, "99"), f"{shown:%H:%M}")
    assert first == {False: "16:45", True: "16:00"}
    # Of each close the last quote's minute, and a status at 14:00 on Sundays.
    closed = {f"{local(ts_ns, CHICAGO):%H:%M}" for ts_ns, _ in rows if EQUITY.phase(ts_ns) is MarketPhase.CLOSED}
    assert closed == {"14:00", "16:00", "16:15"}


LEAN_DIFFERENCES = {
    "Future-cme-ES": ("cme_equity", {"2018-12-05", "2023-07-03", "2024-07-03", "2024-11-29", "2025-01-09"}),
    "Future-cbot-YM": ("cme_equity", {"2018-12-05", "2023-07-03", "2024-07-03", "2024-11-29", "2025-01-09"}),
    "Future-cme-6E": ("cme_fx", {"2024-11-29"}),
    "Future-cbot-ZN": ("cme_rates", {"2024-11-29", "2025-01-09"}),
    "Future-nymex-CL": ("cme_energy_metals", {"2024-11-29"}),
    "Future-comex-MGC": ("cme_energy_metals", {"2024-11-29"}),
}
"""Of each entry of LEAN's market hours: our calendar, and the early closes up to 2026 that LEAN lacks."""


@needs_shared_data
@pytest.mark.parametrize("entry", LEAN_DIFFERENCES)
def test_early_closes_agree_with_lean_s_market_hours(entry: str) -> None:
    """Of every product that both know; what differs is named here and told in docs/market-time.md."""
    name, missing = LEAN_DIFFERENCES[entry]
    hours = json.loads((SHARED_DATA / "lean_market_hours_cme_excerpt.json").read_text())["entries"][entry]
    behind = timedelta(hours=1 if hours["exchangeTimeZone"] == "America/New_York" else 0)
    theirs = {
        f"{datetime.strptime(day, '%m/%d/%Y'):%Y-%m-%d}": f"{datetime.strptime(clock, '%H:%M:%S') - behind:%H:%M}"
        for day, clock in hours["earlyCloses"].items()
    }
    ours = {}
    for session in load_calendar(name).sessions:
        for segment in session.segments:
            closes = local(segment.closes_ns, CHICAGO)
            ours[f"{closes:%Y-%m-%d}"] = f"{closes:%H:%M}"
    different = {day for day, clock in theirs.items() if day >= "2013" and ours.get(day) != clock}
    # FX on Fridays before a holiday: LEAN has the hours of the trading floor. And LEAN has a session on a Christmas.
    assert {day for day in different if not (name == "cme_fx" and day < "2015-06")} <= {"2025-12-25"}
    assert {d for d, clock in ours.items() if "2013" <= d < "2027" and clock < "16:00" and d not in theirs} == missing
    holidays = {f"{datetime.strptime(day, '%m/%d/%Y'):%Y-%m-%d}" for day in hours["holidays"]}
    assert not holidays & set(ours)
