"""This trade date and the one before it, and when this one began: what a broker's lists of a session cover. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import NS_PER_S, MarketPhase, SessionCalendar

DATES_MAX = 4
"""Calendars may be at different dates; more than this are not asked for."""

DAY_NS = 86_400 * NS_PER_S


def recent_trade_dates(calendars: Iterable[SessionCalendar], now_ns: int) -> list[int]:
    """The trade dates in force and those before them, YYYYMMDD, oldest first; of a calendar that does not know the
    time, and of a market that never closes, the days of UTC."""
    found: set[int] = set()
    for calendar in calendars:
        try:
            found.update(_of_one(calendar, now_ns))
        except CalendarError:
            found.update(_days(now_ns))
    return sorted(found or set(_days(now_ns)))[-DATES_MAX:]


def session_began_ns(calendar: SessionCalendar | None, now_ns: int) -> int:
    """When the session in force began: the one in progress, in a break the one that has closed.

    With the pre-open the next one is in force, and nothing has happened in it yet.
    """
    if calendar is None or calendar.never_closes:
        return now_ns - now_ns % DAY_NS
    try:
        session = calendar.session_at(now_ns)
        if session is None and calendar.phase(now_ns) is not MarketPhase.PRE_OPEN:
            session = calendar.previous_session(now_ns)
    except CalendarError:
        return now_ns - now_ns % DAY_NS
    return now_ns if session is None else session.opens_ns


def _of_one(calendar: SessionCalendar, now_ns: int) -> list[int]:
    if calendar.never_closes:
        return _days(now_ns)
    current = calendar.session_at(now_ns)
    if current is None and calendar.phase(now_ns) is MarketPhase.PRE_OPEN:
        # Orders are taken for the next one already.
        current = calendar.next_session(now_ns)
    current = current or calendar.previous_session(now_ns)
    if current is None:
        return _days(now_ns)
    before = calendar.previous_session(current.opens_ns)
    return [current.trade_date] if before is None else [before.trade_date, current.trade_date]


def _days(now_ns: int) -> list[int]:
    today = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).date()
    return [int(day.strftime("%Y%m%d")) for day in (today - timedelta(days=1), today)]
