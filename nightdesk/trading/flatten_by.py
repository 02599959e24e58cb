"""The time of day by which positions are closed. Pure.

A day goes from 17:00 to 17:00 by the exchange's clocks, as trade dates of electronic trading do. From shortly before
the time until the day's end no position is opened and none is held. Where the market stops trading before the time and
does not trade at it (an early close, a halt over a holiday), it is to be closed before that stop.
"""

from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from nightdesk.errors import CalendarError
from nightdesk.trading.session_rules import CHICAGO, FlatTime
from nightdesk.trading.sessions import NS_PER_S, Break, SessionCalendar

DAY_BEGINS = time(17, 0)
LEAD_NS = 60 * NS_PER_S
"""Closing begins so long before, in market time: by the time itself all is to be done."""


class FlatWindow(NamedTuple):
    """A time in which nothing is opened or held; by ``deadline_ns`` all is to be closed."""

    begins_ns: int
    deadline_ns: int
    ends_ns: int
    at: time

    def __str__(self) -> str:
        return f"positions are closed by {self.at:%H:%M} until {DAY_BEGINS:%H:%M}"


def earliest(times: list[time]) -> time | None:
    """The first of several within a day that begins at 17:00; None of none."""
    return min(times, key=lambda each: (each < DAY_BEGINS, each), default=None)


def flat_window(at: time, calendar: SessionCalendar | None, now_ns: int) -> FlatWindow | None:
    """The window that a moment lies in; None where positions may be held.

    Without a calendar, or at a time that it does not know, the clocks alone decide.
    """
    zone = ZoneInfo(CHICAGO if calendar is None or calendar.never_closes else calendar.zone)
    local = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(zone)
    first = local.date() if local.time() >= DAY_BEGINS else local.date() - timedelta(days=1)
    following = first + timedelta(days=1)
    clock_ns = _ns(datetime.combine(first if at >= DAY_BEGINS else following, at, zone))
    deadline_ns = _stop_before(calendar, clock_ns)
    if now_ns < deadline_ns - LEAD_NS:
        return None
    return FlatWindow(deadline_ns - LEAD_NS, deadline_ns, _ns(datetime.combine(following, DAY_BEGINS, zone)), at)


def trade_date_by_clock(now_ns: int) -> int:
    """The date, YYYYMMDD, that a moment counts to by the exchange's clocks alone: the next one from 17:00 on."""
    local = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(ZoneInfo(CHICAGO))
    day = local.date() + timedelta(days=int(local.time() >= DAY_BEGINS))
    return day.year * 10_000 + day.month * 100 + day.day


def flat_time_of(window: FlatWindow, calendar: SessionCalendar | None) -> FlatTime:
    """The same as the time to be flat that a break has: trading stops with the market's last stop in the window."""
    stops_ns = opens_ns = window.ends_ns
    if calendar is not None and not calendar.never_closes:
        try:
            stopped_ns = calendar.stopped_ns(window.ends_ns - 1)
            stops_ns = window.ends_ns if stopped_ns is None else max(stopped_ns, window.deadline_ns)
            opens_ns = calendar.next_open_ns(window.ends_ns)
        except CalendarError:
            stops_ns = opens_ns = window.ends_ns
    return FlatTime(window.begins_ns, stops_ns, opens_ns, Break.DAILY, f"{window.at:%H:%M}", window.deadline_ns)


def _stop_before(calendar: SessionCalendar | None, clock_ns: int) -> int:
    if calendar is None or calendar.never_closes:
        return clock_ns
    try:
        stopped_ns = calendar.stopped_ns(clock_ns)
    except CalendarError:
        return clock_ns
    return clock_ns if stopped_ns is None else stopped_ns


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * NS_PER_S
