"""A calendar as a person reads it: sessions with their local times, and what is unusual about them. Pure."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from nightdesk.calendars.zones import local
from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import NS_PER_S, Segment, Session, SessionCalendar, SessionEventKind

NEIGHBOURS = 15
"""Sessions on either side of one that tell what is usual at its time of the year and in its year."""

SATURDAY = 5


def number_of(day: date) -> int:
    """A date as a trade date, YYYYMMDD."""
    return day.year * 10_000 + day.month * 100 + day.day


def date_of(trade_date: int) -> date:
    """A trade date, YYYYMMDD, as a date."""
    return date(trade_date // 10_000, trade_date // 100 % 100, trade_date % 100)


def listed(
    calendar: SessionCalendar, first: date, last: date, *, zone: str, shipped: SessionCalendar | None = None
) -> list[dict[str, Any]]:
    """Every trade date from ``first`` to ``last``, and every weekday between that is none, as plain values.

    ``zone`` is that of the times beside UTC; ``shipped`` the calendar without a user's corrections. Raises
    ``CalendarError`` for dates that the calendar does not know.
    """
    sessions = {session.trade_date: index for index, session in enumerate(calendar.sessions)}
    known = (calendar.sessions[0].trade_date, calendar.sessions[-1].trade_date)
    if number_of(first) < known[0] or number_of(last) > known[1]:
        raise CalendarError(
            f"calendar {calendar.name} knows the trade dates {date_of(known[0])} to {date_of(known[1])}",
            "ask for some of these, or compile a longer one (docs/market-time.md)",
        )
    original = {} if shipped is None else {session.trade_date: session for session in shipped.sessions}
    rows: list[dict[str, Any]] = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        index = sessions.get(number_of(day))
        session = None if index is None else calendar.sessions[index]
        if session is None or index is None:
            if day.weekday() < SATURDAY:
                rows.append({"trade_date": day.isoformat(), "segments": [], "marks": [_without(calendar, day)]})
        else:
            rows.append(
                {
                    "trade_date": day.isoformat(),
                    "segments": [_segment(calendar, each, zone) for each in session.segments],
                    "marks": list(_marks(calendar, index)),
                }
            )
        if shipped is not None and original.get(number_of(day)) != session:
            rows[-1]["marks"].append("corrected by market_time")
    return rows


def present(calendar: SessionCalendar, now_ns: int, *, zone: str) -> dict[str, Any]:
    """What the market does at a moment, what comes next, and the next time without trading."""
    event = calendar.next_event(now_ns)
    if event is None:
        return {"phase": str(calendar.phase(now_ns)), "trade_date": None, "next_event": None, "next_break": None}
    pause = calendar.pause_at(now_ns)
    starts_ns = calendar.stopped_ns(now_ns)
    if starts_ns is None:
        ends = (SessionEventKind.HALT, SessionEventKind.CLOSE)
        starts_ns = next(each.ts_ns for each in calendar.events(now_ns, calendar.last_ns) if each.kind in ends)
        pause = calendar.pause_at(starts_ns)
    return {
        "phase": str(calendar.phase(now_ns)),
        "trade_date": date_of(calendar.trade_date(now_ns)).isoformat(),
        "next_event": {"kind": str(event.kind), **_moment("at", event.ts_ns, zone)},
        "next_break": {
            "kind": str(pause),
            "is_halt": calendar.session_at(starts_ns) is not None,
            **_moment("from", starts_ns, zone),
            **_moment("to", calendar.next_open_ns(starts_ns), zone),
        },
    }


def _segment(calendar: SessionCalendar, segment: Segment, zone: str) -> dict[str, str]:
    return {
        **_moment("pre_open", calendar.pre_open_ns_of(segment), zone),
        **_moment("opens", segment.opens_ns, zone),
        **_moment("closes", segment.closes_ns, zone),
    }


def _moment(name: str, now_ns: int, zone: str) -> dict[str, str]:
    utc = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    return {name: local(now_ns, zone).isoformat(), f"{name}_utc": utc.isoformat().replace("+00:00", "Z")}


def _marks(calendar: SessionCalendar, index: int) -> Iterator[str]:
    session = calendar.sessions[index]
    around = calendar.sessions[max(index - NEIGHBOURS, 0) : index + NEIGHBOURS + 1]
    clocks = [_clocks(calendar, each) for each in around]
    mine = _clocks(calendar, session)
    usual = Counter(clocks).most_common(1)[0][0]
    for segment in session.segments:
        day = local(segment.closes_ns, calendar.zone).date()
        if day != date_of(session.trade_date):
            yield f"holiday {day:%a} {day} counts to this trade date"
    if mine[0] > usual[0]:
        yield f"late opening (usually {usual[0]})"
    if mine[1] < usual[1]:
        yield f"early close (usually {usual[1]})"
    elif mine[1] > usual[1]:
        yield f"late close (usually {usual[1]})"
    if index and _offset(calendar, session) != _offset(calendar, calendar.sessions[index - 1]):
        yield "clocks changed since the session before"


def _without(calendar: SessionCalendar, day: date) -> str:
    noon_ns = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * NS_PER_S
    session = calendar.session_at(noon_ns)
    if session is not None and session.opens_ns <= noon_ns:
        return f"no trade date of its own: counts to {date_of(session.trade_date)}"
    return f"closed; the next session is that of {date_of(calendar.next_session(noon_ns).trade_date)}"


def _clocks(calendar: SessionCalendar, session: Session) -> tuple[str, str]:
    opens, closes = local(session.opens_ns, calendar.zone), local(session.closes_ns, calendar.zone)
    return opens.strftime("%H:%M"), closes.strftime("%H:%M")


def _offset(calendar: SessionCalendar, session: Session) -> timedelta | None:
    return local(session.closes_ns, calendar.zone).utcoffset()
