"""Calendars for tests, and times as a person writes them."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from nightdesk.calendars.zones import utc_ns
from nightdesk.trading.sessions import NS_PER_S, Segment, SessionCalendar

CHICAGO = "America/Chicago"
HOUR_NS = 3600 * NS_PER_S


def at(text: str, zone: str = CHICAGO) -> int:
    """``2026-11-27 12:15`` in Chicago as nanoseconds UTC."""
    return utc_ns(datetime.fromisoformat(text), zone)


def utc(text: str) -> int:
    """``2026-11-27 18:15`` UTC as nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


@st.composite
def calendars(draw: st.DrawFn) -> SessionCalendar:
    """Any calendar of up to twelve segments: gaps of a second to four days, none at all, halts within a trade date."""
    segments = []
    now_s, trade_date = 1_700_000_000, 20240101
    for _ in range(draw(st.integers(1, 12))):
        now_s += draw(st.integers(0, 4 * 86_400))
        length_s = draw(st.integers(1, 30 * 3600))
        segments.append(Segment(trade_date, now_s * NS_PER_S, (now_s + length_s) * NS_PER_S))
        now_s += length_s
        trade_date += draw(st.integers(0, 1))
    pre_open_s = draw(st.sampled_from([0, 1, 900]))
    long_pre_open_s = draw(st.sampled_from([None, 0, 3600]))
    return SessionCalendar("drawn", segments, pre_open_s=pre_open_s, long_pre_open_s=long_pre_open_s)


def moments(calendar: SessionCalendar) -> st.SearchStrategy[int]:
    """A moment that the calendar knows: around its boundaries more often than elsewhere."""
    edges = sorted(
        {
            edge + step
            for session in calendar.sessions
            for segment in session.segments
            for edge in (calendar.pre_open_ns_of(segment), segment.opens_ns, segment.closes_ns)
            for step in (-1, 0, 1)
            if calendar.covers(edge + step)
        }
    )
    return st.one_of(st.sampled_from(edges), st.integers(calendar.first_ns, calendar.last_ns - 1))
