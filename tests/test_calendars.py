"""The shipped calendars: known days of CME Group, products and tables."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from nightdesk.calendars import corrections, products
from nightdesk.calendars.compile import SOURCES
from nightdesk.calendars.load import (
    TABLES,
    calendar_names,
    calendar_of,
    load_calendar,
    product_of,
    table_file,
)
from nightdesk.calendars.table import DAY_NS, Run, Table, parsed, runs_of, written
from nightdesk.calendars.zones import local, utc_ns, zone_of
from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import Break, MarketPhase, SessionCalendar, SessionEventKind
from tests.calendar_support import CHICAGO, HOUR_NS, at, utc

EQUITY = load_calendar("cme_equity")


def session_text(calendar: SessionCalendar, trade_date: int) -> str:
    """A session's local times, such as ``Wed 17:00-Thu 12:00, Thu 17:00-Fri 12:15``; empty where there is none."""
    for session in calendar.sessions:
        if session.trade_date == trade_date:
            return ", ".join(
                f"{local(each.opens_ns, calendar.zone):%a %H:%M}-{local(each.closes_ns, calendar.zone):%a %H:%M}"
                for each in session.segments
            )
    return ""


@pytest.mark.parametrize(
    ("name", "trade_date", "expected"),
    [
        ("cme_equity", 20261120, "Thu 17:00-Fri 16:00"),
        ("cme_equity", 20260119, ""),
        ("cme_equity", 20260120, "Sun 17:00-Mon 12:00, Mon 17:00-Tue 16:00"),
        ("cme_equity", 20260403, "Thu 17:00-Fri 08:15"),
        ("cme_equity", 20260622, "Thu 17:00-Fri 12:00, Sun 17:00-Mon 16:00"),
        ("cme_equity", 20260908, "Sun 17:00-Mon 12:00, Mon 17:00-Tue 16:00"),
        ("cme_equity", 20261126, ""),
        ("cme_equity", 20261127, "Wed 17:00-Thu 12:00, Thu 17:00-Fri 12:15"),
        ("cme_equity", 20261224, "Wed 17:00-Thu 12:15"),
        ("cme_equity", 20261225, ""),
        ("cme_equity", 20261228, "Sun 17:00-Mon 16:00"),
        ("cme_equity", 20261231, "Wed 17:00-Thu 16:00"),
        ("cme_equity", 20270101, ""),
        ("cme_equity", 20270326, ""),
        ("cme_equity", 20270706, "Sun 17:00-Mon 12:00, Mon 17:00-Tue 16:00"),
        ("cme_equity", 20271224, ""),
        ("cme_equity", 20181205, "Tue 17:00-Wed 08:30"),
        ("cme_equity", 20240329, ""),
        ("cme_equity", 20250109, "Wed 17:00-Thu 08:30"),
        ("cme_equity", 20250418, ""),
        ("cme_equity", 20150917, "Wed 17:00-Thu 15:15, Thu 15:30-Thu 16:15"),
        ("cme_equity", 20150918, "Thu 17:00-Fri 15:15, Fri 15:30-Fri 16:00"),
        ("cme_equity", 20210625, "Thu 17:00-Fri 15:15, Fri 15:30-Fri 16:00"),
        ("cme_equity", 20210628, "Sun 17:00-Mon 16:00"),
        ("cme_equity", 20130903, "Sun 17:00-Mon 10:30, Mon 17:00-Tue 15:15, Tue 15:30-Tue 16:15"),
        ("cme_equity", 20150701, "Tue 19:45-Wed 15:15, Wed 15:30-Wed 16:15"),
        ("cme_fx", 20260120, "Sun 17:00-Mon 16:00, Mon 17:00-Tue 16:00"),
        ("cme_fx", 20260622, "Thu 17:00-Fri 12:00, Sun 17:00-Mon 16:00"),
        ("cme_fx", 20150403, "Thu 17:00-Fri 10:15"),
        ("cme_energy_metals", 20261127, "Wed 17:00-Thu 13:30, Thu 17:00-Fri 13:45"),
        ("cme_energy_metals", 20261224, "Wed 17:00-Thu 12:45"),
        ("cme_energy_metals", 20260403, ""),
        ("cme_energy_metals", 20130705, "Wed 17:00-Thu 12:15, Thu 17:00-Fri 16:15"),
        ("cme_rates", 20250109, "Wed 17:00-Thu 12:15"),
        ("cme_rates", 20260403, "Thu 17:00-Fri 10:15"),
        ("cme_crypto", 20261127, "Wed 17:00-Thu 16:00, Thu 17:00-Fri 12:45"),
        ("cme_grains", 20261123, "Sun 19:00-Mon 07:45, Mon 08:30-Mon 13:20"),
        ("cme_grains", 20260619, ""),
        ("cme_livestock", 20261123, "Mon 08:30-Mon 13:05"),
        ("cme_livestock", 20261127, "Fri 08:30-Fri 12:05"),
    ],
)
def test_known_days_are_as_the_exchange_had_them(name: str, trade_date: int, expected: str) -> None:
    """Holidays, early closes, halts and changes of hours, in Chicago's time."""
    assert session_text(load_calendar(name), trade_date) == expected


@pytest.mark.parametrize(
    ("sunday", "opens", "closes"),
    [
        ("2026-03-01", "23:00", "22:00"),
        ("2026-03-08", "22:00", "21:00"),
        ("2026-10-25", "22:00", "21:00"),
        ("2026-11-01", "23:00", "22:00"),
    ],
)
def test_clocks_change_before_the_week_begins(sunday: str, opens: str, closes: str) -> None:
    """The table is in UTC: on the Sunday of the change trading begins an hour earlier or later there."""
    session = EQUITY.next_session(utc(f"{sunday} 12:00"))
    assert session.opens_ns == utc(f"{sunday} {opens}") == at(f"{sunday} 17:00")
    monday = date.fromisoformat(sunday) + timedelta(days=1)
    assert session.closes_ns == utc(f"{monday} {closes}") == at(f"{monday} 16:00")


def test_breaks_of_a_thanksgiving_week_have_their_kinds() -> None:
    """Night, holiday's halt, weekend."""
    session = EQUITY.session_at(at("2026-11-26 14:00"))
    assert session is not None
    assert session.trade_date == 20261127
    assert EQUITY.phase(at("2026-11-26 14:00")) is MarketPhase.HALT
    assert EQUITY.phase(at("2026-11-26 16:45")) is MarketPhase.PRE_OPEN
    assert EQUITY.break_at(at("2026-11-26 14:00")) is None
    assert EQUITY.break_at(at("2026-11-24 16:30")) is Break.DAILY
    assert EQUITY.break_after(session) is Break.WEEKEND
    assert EQUITY.break_at(at("2026-12-24 13:00")) is Break.WEEKEND
    assert EQUITY.break_at(at("2025-12-24 13:00")) is Break.HOLIDAY


def test_orders_are_taken_from_quarter_to_five_and_on_sundays_from_four() -> None:
    """And through all of the pause that there was in the afternoon."""
    events = EQUITY.events(at("2026-11-22 12:00"), at("2026-11-23 20:00"))
    begins = [each.ts_ns for each in events if each.kind is SessionEventKind.PRE_OPEN]
    assert begins == [at("2026-11-22 16:00"), at("2026-11-23 16:45")]
    assert EQUITY.phase(at("2020-11-23 15:20")) is MarketPhase.PRE_OPEN
    assert EQUITY.phase(at("2023-12-25 16:00")) is MarketPhase.PRE_OPEN
    assert EQUITY.phase(at("2023-12-25 15:59")) is MarketPhase.CLOSED


@pytest.mark.parametrize("name", calendar_names())
def test_every_table_covers_its_years_without_a_gap(name: str) -> None:
    """From 2013 (bitcoin's first day for crypto) to the end of 2031 there is never a week without a session."""
    calendar = load_calendar(name)
    assert calendar.first_ns <= at("2013-01-01 00:00" if name != "cme_crypto" else "2017-12-17 17:00")
    assert calendar.last_ns >= at("2032-01-01 00:00")
    dates = [session.trade_date for session in calendar.sessions]
    assert dates == sorted(set(dates))
    for before, after in pairwise(calendar.sessions):
        assert after.opens_ns - before.closes_ns <= 4 * DAY_NS + 20 * HOUR_NS
    for session in calendar.sessions:
        assert session.closes_ns - session.opens_ns <= 5 * DAY_NS
        closes = local(session.closes_ns, calendar.zone)
        assert session.trade_date == closes.year * 10_000 + closes.month * 100 + closes.day
        assert closes.weekday() < 5


@pytest.mark.parametrize("name", calendar_names())
def test_table_on_disk_is_what_would_be_written(name: str) -> None:
    """Reading and writing are inverses, and nobody has edited the file in another form."""
    text = (TABLES / table_file(name)).read_text(encoding="utf-8")
    assert written(parsed(text, "x")) == text
    assert parsed(text, "x").name == name


def test_every_calendar_has_a_source_and_a_table() -> None:
    """Products, sources and files tell of the same calendars."""
    assert set(SOURCES) == set(products.CALENDARS) == set(calendar_names())
    tables = Path(str(TABLES))
    assert {each.name for each in tables.iterdir()} == {table_file(name) for name in calendar_names()}
    assert sum(each.stat().st_size for each in tables.iterdir()) < 120_000


def test_tables_are_part_of_an_installation() -> None:
    """A wheel that lacks them could not trade; the library that compiles them is an extra of a fixed version."""
    text = (Path(__file__).resolve().parents[1] / "setup.cfg").read_text()
    assert "nightdesk.calendars = tables/*.txt" in text
    assert "pandas-market-calendars==5.5.0" in text


def test_no_product_has_two_calendars() -> None:
    """Each code stands once."""
    codes = [product for listed in products.CALENDARS.values() for product in listed]
    assert len(codes) == len(set(codes))
    assert calendar_of("MES") == "cme_equity"
    assert calendar_of("6E") == "cme_fx"
    assert calendar_of("SR3") == "cme_rates"


@pytest.mark.parametrize(
    ("symbol", "product"),
    [
        ("ESZ6", "ES"), ("MESH7", "MES"), ("ESH24", "ES"), ("6EM5", "6E"), ("M2KU26", "M2K"), ("SR3Z6", "SR3"),
        ("M6EH7", "M6E"), ("ES.front", "ES"), ("ES", "ES"), ("SR3", "SR3"), ("ZBM6", "ZB"), ("XY", "XY"), ("", ""),
    ],
)  # fmt: skip
def test_product_of_a_contract_is_what_stands_before_its_month(symbol: str, product: str) -> None:
    """Contracts with one or two digits of the year, aliases, and bare products."""
    assert product_of(symbol) == product


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ("ESS", "no calendar is known for product 'ESS'; did you mean ES?"),
        ("QQQQ", "name one under market_time.calendars (cme_equity, "),
    ],
)
def test_unknown_product_is_refused_with_the_mend(product: str, words: str) -> None:
    """One line; a near miss is named."""
    with pytest.raises(CalendarError) as caught:
        calendar_of(product)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_calendar_is_refused_with_the_mend() -> None:
    """A near miss is named; else all that there are."""
    with pytest.raises(CalendarError, match=r"no calendar 'cme_equities'; did you mean cme_equity\?"):
        load_calendar("cme_equities")
    with pytest.raises(CalendarError, match=r"there are cme_equity, .* and always"):
        load_calendar("lse")


def test_calendar_is_one_object_in_a_process() -> None:
    """It is loaded once; markets with the same calendar can be put together by it."""
    assert load_calendar("cme_equity") is EQUITY
    assert load_calendar("always") is load_calendar("always")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("20261102 20261101 -01:00..22:00", 4),
        ("20261102 20261103", 4),
        ("20261399 20261401 -01:00..22:00", 4),
        ("2026 x -01:00..22:00", 4),
        ("20261102 20261103 -1..22", 4),
        ("nonsense", 4),
    ],
)
def test_damaged_table_is_told_with_its_line(line: str, number: int) -> None:
    """A file that somebody has edited by hand is no traceback."""
    with pytest.raises(CalendarError, match=rf"^x:{number}: '{line[:20]}.*is no run of sessions"):
        parsed(f"calendar a\nzone UTC\nsource b\n{line}\n", "x")
    with pytest.raises(CalendarError, match=r"pre_open_s, .* is missing or no number"):
        parsed("calendar a\nzone UTC\nsource b\n", "x")


def test_runs_skip_weekends_only() -> None:
    """A week with the same hours is one line; a holiday ends it."""
    days = [date(2026, 11, day) for day in (19, 20, 23, 25)]
    runs = runs_of((day, ((-60, 1320),)) for day in days)
    assert [(date.fromordinal(run.first).day, date.fromordinal(run.last).day) for run in runs] == [(19, 23), (25, 25)]
    table = Table("a", "UTC", "b", 0, 0, 0, runs)
    assert [segment.trade_date for segment in table.segments()] == [20261119, 20261120, 20261123, 20261125]
    saturday = date(2026, 11, 21).toordinal()
    alone = table._replace(runs=[Run(saturday, saturday, ((0, 60),))])
    assert [segment.trade_date for segment in alone.segments()] == [20261121]


def test_local_time_that_does_not_exist_is_refused() -> None:
    """The hour that is skipped in March; of the one that comes twice in November the first is meant."""
    with pytest.raises(ValueError, match="2026-03-08 02:30 does not exist in America/Chicago"):
        utc_ns(datetime(2026, 3, 8, 2, 30), CHICAGO)
    assert utc_ns(datetime(2026, 11, 1, 1, 30), CHICAGO) == utc("2026-11-01 06:30")
    with pytest.raises(CalendarError, match=r"time zone 'Mars/Base' is not known on this machine; .*tzdata"):
        zone_of("Mars/Base")


def test_good_friday_is_before_easter() -> None:
    """Dates that are known."""
    years = {2015: (4, 3), 2024: (3, 29), 2025: (4, 18), 2026: (4, 3), 2027: (3, 26), 2031: (4, 11)}
    for year, (month, day) in years.items():
        assert corrections.good_friday(year) == date(year, month, day)


def test_every_correction_says_why_and_still_changes_something() -> None:
    """One without an effect is a leftover: each applies to some day of the years that are compiled."""
    holidays = {date(2026, 6, 19), date(2013, 7, 4), date(2022, 9, 5), date(2025, 7, 4), date(2027, 6, 18)}
    first = date(2012, 12, 27)
    days = [first + timedelta(days=each) for each in range(365 * 19)]
    for correction in corrections.CORRECTIONS:
        assert correction.reason.endswith(".")
        assert set(correction.calendars) <= set(calendar_names())
        assert any(
            correction.applies(corrections.Day(day, _hours(day, hour), day in holidays))
            for day in days
            for hour in (12, 13, 16)
        ), correction.reason


def _hours(day: date, closes: int) -> corrections.LocalHours:
    midnight = datetime(day.year, day.month, day.day)
    return ((midnight - timedelta(hours=7), midnight + timedelta(hours=closes)),)


def test_holiday_counts_to_the_next_trade_date() -> None:
    """Also where it is a Friday, and where the day after it is early; a short Good Friday keeps its own."""
    days = [date(2026, 7, day) for day in (2, 3, 6)]
    found = corrections.corrected_days("cme_equity", {day: _hours(day, 16) for day in days}, [date(2026, 7, 3)])
    assert list(found) == [date(2026, 7, 2), date(2026, 7, 6)]
    assert found[date(2026, 7, 6)] == _hours(days[1], 16) + _hours(days[2], 16)
    friday = date(2026, 4, 3)
    assert list(corrections.corrected_days("cme_equity", {friday: _hours(friday, 8)}, [friday])) == [friday]
