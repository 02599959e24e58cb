"""The time of day to be flat by: on common days, early closes, holidays, and when clocks are moved."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from nightdesk.calendars.load import calendar_of, load_calendar
from nightdesk.settings.risk_rules import TRADE_DAY_BEGINS
from nightdesk.trading.flatten_by import DAY_BEGINS, LEAD_NS, earliest, flat_window
from nightdesk.trading.sessions import AlwaysOpen, SessionCalendar

CHICAGO = ZoneInfo("America/Chicago")
AT = time(15, 10)


def _ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=CHICAGO).timestamp()) * 10**9


def _text(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC).astimezone(CHICAGO):%Y-%m-%d %H:%M}"


def _calendar(product: str) -> SessionCalendar:
    return load_calendar(calendar_of(product))


@pytest.mark.parametrize(
    ("product", "now", "deadline", "ends"),
    [
        # A common Tuesday: closing begins a minute before, and is over with the evening's opening.
        ("ES", "2026-03-24T15:08:59", None, None),
        ("ES", "2026-03-24T15:09:00", "2026-03-24 15:10", "2026-03-24 17:00"),
        ("ES", "2026-03-24T16:59:59", "2026-03-24 15:10", "2026-03-24 17:00"),
        ("ES", "2026-03-24T17:00:00", None, None),
        ("ES", "2026-03-24T23:59:00", None, None),
        ("ES", "2026-03-25T00:00:00", None, None),
        # The day after Thanksgiving closes early, on the day itself a halt lasts until the evening.
        ("ES", "2026-11-27T12:13:59", None, None),
        ("ES", "2026-11-27T12:14:00", "2026-11-27 12:15", "2026-11-27 17:00"),
        ("ES", "2026-11-26T11:58:59", None, None),
        ("ES", "2026-11-26T11:59:00", "2026-11-26 12:00", "2026-11-26 17:00"),
        ("ES", "2026-11-26T17:00:00", None, None),
        # Grains stop at 13:20 and not again before 15:10; their pause in the morning is none of it.
        ("ZC", "2026-03-24T07:50:00", None, None),
        ("ZC", "2026-03-24T13:18:59", None, None),
        ("ZC", "2026-03-24T13:19:00", "2026-03-24 13:20", "2026-03-24 17:00"),
        # Clocks go forward on Sunday, March 8th, and back on November 1st: 15:10 is what they show.
        ("ES", "2026-03-09T15:08:59", None, None),
        ("ES", "2026-03-09T15:09:00", "2026-03-09 15:10", "2026-03-09 17:00"),
        ("ES", "2026-11-02T15:08:59", None, None),
        ("ES", "2026-11-02T15:09:00", "2026-11-02 15:10", "2026-11-02 17:00"),
    ],
)
def test_positions_are_closed_before_the_time_or_an_earlier_stop(
    product: str, now: str, deadline: str | None, ends: str | None
) -> None:
    """Whatever the market does first."""
    window = flat_window(AT, _calendar(product), _ns(now))
    assert (window and _text(window.deadline_ns)) == deadline
    assert (window and _text(window.ends_ns)) == ends
    assert window is None or window.begins_ns == window.deadline_ns - LEAD_NS


@pytest.mark.parametrize("now", ["2026-03-28T12:00:00", "2026-03-29T16:00:00", "2026-04-03T12:00:00"])
def test_a_closed_market_is_a_time_to_be_flat(now: str) -> None:
    """Weekends and holidays lie within the window that began before them."""
    assert flat_window(AT, _calendar("ES"), _ns(now)) is not None


@pytest.mark.parametrize("calendar", [None, AlwaysOpen(), load_calendar("cme_equity")])
def test_without_a_calendar_the_clocks_alone_decide(calendar: SessionCalendar | None) -> None:
    """And at a time that a calendar does not know."""
    year = "2026" if calendar is None or calendar.never_closes else "1990"
    assert flat_window(AT, calendar, _ns(f"{year}-07-03T15:08:59")) is None
    assert flat_window(AT, calendar, _ns(f"{year}-07-03T15:09:00")) is not None


def test_an_evening_time_belongs_to_the_day_that_begins_with_it() -> None:
    """From 20:00 until 17:00 of the day after."""
    at, calendar = time(20, 0), _calendar("ES")
    assert flat_window(at, calendar, _ns("2026-03-24T19:58:59")) is None
    window = flat_window(at, calendar, _ns("2026-03-25T03:00:00"))
    assert window is not None
    assert (_text(window.deadline_ns), _text(window.ends_ns)) == ("2026-03-24 20:00", "2026-03-25 17:00")


def test_the_earliest_of_several_times_is_the_first_of_the_trade_date() -> None:
    """20:00 comes before 15:10; settings and gate mean the same day."""
    assert earliest([]) is None
    assert earliest([time(15, 10), time(8, 0)]) == time(8, 0)
    assert earliest([time(15, 10), time(20, 0), time(17, 30)]) == time(17, 30)
    assert time.fromisoformat(TRADE_DAY_BEGINS) == DAY_BEGINS
