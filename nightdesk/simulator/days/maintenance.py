"""When the exchange keeps everybody out: in the daily break, and over the weekend. Pure."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from nightdesk.calendars.zones import local, utc_ns
from nightdesk.errors import CalendarError
from nightdesk.settings.exchange import Maintenance
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S, Break, SessionEventKind

BEFORE_OPENING_NS = 1800 * NS_PER_S
"""A weekend's maintenance ends so long before a market takes orders again."""

AHEAD_NS = 14 * 86_400 * NS_PER_S
"""How far ahead the end of a weekend is looked for."""

_BEGINS = (SessionEventKind.PRE_OPEN, SessionEventKind.OPEN, SessionEventKind.RESUME)


class Window(NamedTuple):
    """From ``from_ns`` to just before ``to_ns`` nobody is logged in."""

    from_ns: int
    to_ns: int


def windows(maintenance: Maintenance, schedule: MarketSchedule, zone: str, now_ns: int) -> Iterator[Window]:
    """The windows that end after ``now_ns``, in order, as long as the calendars know; none where a market never closes.

    A day on which a market trades or takes orders between the two times has no window.
    """
    day = local(now_ns, zone).date() - timedelta(days=_DAYS_BACK)
    last_ns = 0
    while True:
        window = _window_of(day, maintenance, schedule, zone)
        if window is None and not _is_known(schedule, utc_ns(datetime.combine(day, time(12)), zone), now_ns):
            return
        if window is not None and window.from_ns >= last_ns:
            last_ns = window.to_ns
            if window.to_ns > now_ns:
                yield window
        day += timedelta(days=1)


_DAYS_BACK = 7
"""A window that covers a moment may have begun so many days before: a weekend with holidays."""


def _is_known(schedule: MarketSchedule, day_ns: int, now_ns: int) -> bool:
    if day_ns < now_ns:
        return True
    try:
        schedule.phase(day_ns)
    except CalendarError:
        return False
    return True


def _window_of(day: date, maintenance: Maintenance, schedule: MarketSchedule, zone: str) -> Window | None:
    try:
        from_ns = utc_ns(datetime.combine(day, time.fromisoformat(maintenance.begins)), zone)
        to_ns = utc_ns(datetime.combine(day, time.fromisoformat(maintenance.ends)), zone)
        if not schedule.is_quiet(from_ns) or _next_opening_ns(schedule, from_ns, to_ns - 1) is not None:
            return None
        if maintenance.weekend and schedule.pause(from_ns) is Break.WEEKEND:
            opening_ns = _next_opening_ns(schedule, from_ns, from_ns + AHEAD_NS)
            if opening_ns is not None:
                to_ns = max(to_ns, opening_ns - BEFORE_OPENING_NS)
    except (CalendarError, ValueError):
        # A day that the calendars do not know, or a time that the clocks skip on it.
        return None
    return Window(from_ns, to_ns)


def _next_opening_ns(schedule: MarketSchedule, from_ns: int, to_ns: int) -> int | None:
    for each in schedule.events(from_ns, to_ns):
        if each.event.kind in _BEGINS:
            return each.event.ts_ns
    return None
