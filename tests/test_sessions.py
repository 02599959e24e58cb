"""Sessions of a compiled table: phases, events, breaks and trade dates, whatever the table."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import (
    NS_PER_S,
    AlwaysOpen,
    Break,
    MarketPhase,
    Segment,
    SessionCalendar,
    SessionEventKind,
)
from tests.calendar_support import HOUR_NS, calendars, moments, utc

PHASE_AFTER = {
    SessionEventKind.PRE_OPEN: MarketPhase.PRE_OPEN,
    SessionEventKind.OPEN: MarketPhase.OPEN,
    SessionEventKind.RESUME: MarketPhase.OPEN,
    SessionEventKind.HALT: MarketPhase.HALT,
    SessionEventKind.CLOSE: MarketPhase.CLOSED,
}
DAY_NS = 24 * HOUR_NS
MONDAY_NS = utc("2026-11-23 00:00")


def segment(trade_date: int, opens_h: float, closes_h: float) -> Segment:
    """Hours from a Monday's midnight UTC."""
    return Segment(trade_date, MONDAY_NS + int(opens_h * HOUR_NS), MONDAY_NS + int(closes_h * HOUR_NS))


def all_events(calendar: SessionCalendar) -> list[tuple[int, SessionEventKind, int]]:
    return list(calendar.events(-(1 << 62), 1 << 62))


@given(calendars())
def test_events_are_in_order_and_each_session_opens_and_closes_once(calendar: SessionCalendar) -> None:
    """Opening, halts that each resume, close; sessions neither overlap nor lack an end."""
    events = all_events(calendar)
    assert all(before[0] <= after[0] for before, after in pairwise(events))
    for session in calendar.sessions:
        kinds = [kind for _, kind, date in events if date == session.trade_date]
        kinds = [kind for kind in kinds if kind is not SessionEventKind.PRE_OPEN]
        halts = len(session.segments) - 1
        middle = [SessionEventKind.HALT, SessionEventKind.RESUME] * halts
        assert kinds == [SessionEventKind.OPEN, *middle, SessionEventKind.CLOSE]


@given(st.data())
@settings(max_examples=150)
def test_phase_is_what_the_last_event_says(data: st.DataObject) -> None:
    """Whoever follows the events and whoever asks at any moment see the same market."""
    calendar = data.draw(calendars())
    now_ns = data.draw(moments(calendar))
    last = [event for event in all_events(calendar) if event[0] <= now_ns][-1]
    expected = PHASE_AFTER[last[1]]
    assert calendar.phase(now_ns) is expected
    assert calendar.is_open(now_ns) == (expected is MarketPhase.OPEN)


@given(st.data())
@settings(max_examples=150)
def test_next_event_is_the_first_of_all_events_after_now(data: st.DataObject) -> None:
    """It lies strictly after the moment, so that whoever waits for each in turn gets each once."""
    calendar = data.draw(calendars())
    now_ns = data.draw(moments(calendar))
    event = calendar.next_event(now_ns)
    assert event == next(each for each in all_events(calendar) if each[0] > now_ns)
    assert event is not None
    assert next(calendar.events(now_ns, event.ts_ns)) == event


@given(st.data())
def test_events_of_two_halves_are_the_events_of_the_whole(data: st.DataObject) -> None:
    """No event is lost or told twice at the seam."""
    calendar = data.draw(calendars())
    seam_ns = data.draw(moments(calendar))
    halves = [*calendar.events(-(1 << 62), seam_ns), *calendar.events(seam_ns, 1 << 62)]
    assert halves == all_events(calendar)


@given(st.data())
@settings(max_examples=150)
def test_sessions_around_a_moment_agree_with_the_list(data: st.DataObject) -> None:
    """In progress, next, previous, their dates, openings and closes."""
    calendar = data.draw(calendars())
    now_ns = data.draw(moments(calendar))
    at_now = [each for each in calendar.sessions if each.opens_ns <= now_ns < each.closes_ns]
    after = [each for each in calendar.sessions if each.opens_ns > now_ns]
    before = [each for each in calendar.sessions if each.closes_ns <= now_ns]
    assert calendar.session_at(now_ns) == (at_now[0] if at_now else None)
    assert calendar.previous_session(now_ns) == (before[-1] if before else None)
    if after:
        assert calendar.next_session(now_ns) == after[0]
    else:
        with pytest.raises(CalendarError):
            calendar.next_session(now_ns)
    coming = (at_now or after)[0]
    assert calendar.trade_date(now_ns) == coming.trade_date
    assert calendar.next_close_ns(now_ns) == coming.closes_ns
    opens_ns = calendar.next_open_ns(now_ns)
    assert opens_ns >= now_ns
    assert calendar.is_open(opens_ns)
    assert (opens_ns == now_ns) == calendar.is_open(now_ns)


@given(st.data())
def test_break_and_pause_are_told_exactly_where_nothing_trades(data: st.DataObject) -> None:
    """A break is between sessions; a pause also within one; both end where trading begins."""
    calendar = data.draw(calendars())
    now_ns = data.draw(moments(calendar))
    assert (calendar.pause_at(now_ns) is None) == calendar.is_open(now_ns)
    assert (calendar.break_at(now_ns) is None) == (calendar.session_at(now_ns) is not None)
    stopped_ns = calendar.stopped_ns(now_ns)
    assert (stopped_ns is None) == calendar.is_open(now_ns)
    if stopped_ns is not None:
        assert stopped_ns <= now_ns
        assert not calendar.is_open(stopped_ns)
        assert calendar.pause_at(stopped_ns) is calendar.pause_at(now_ns)


@pytest.mark.parametrize(
    ("closes_h", "opens_h", "kind"),
    [
        (22, 23, Break.DAILY),
        (22, 28, Break.DAILY),
        (22, 28.01, Break.HOLIDAY),
        (22, 47, Break.HOLIDAY),
        (4 * 24 + 22, 6 * 24 + 23, Break.WEEKEND),
        (3 * 24 + 18, 6 * 24 + 23, Break.WEEKEND),
        (22, 2 * 24 + 23, Break.HOLIDAY),
    ],
)
def test_break_is_told_by_its_length_and_its_saturday(closes_h: float, opens_h: float, kind: Break) -> None:
    """An hour at night is the daily one, a long one with a Saturday the weekend, any other a holiday."""
    calendar = SessionCalendar("made", [segment(1, 0, closes_h), segment(2, opens_h, opens_h + 1)])
    first = calendar.sessions[0]
    assert calendar.break_after(first) is kind
    assert calendar.break_at(first.closes_ns) is kind
    assert calendar.pause_at(calendar.sessions[1].opens_ns - 1) is kind


def test_length_of_the_daily_break_belongs_to_the_calendar() -> None:
    """A market that trades five hours a day is not on holiday for the other nineteen."""
    segments = [segment(1, 14, 19), segment(2, 38, 43)]
    calendar = SessionCalendar("made", segments, daily_break_max_s=21 * 3600)
    assert calendar.break_at(segments[0].closes_ns) is Break.DAILY
    assert SessionCalendar("made", segments).break_at(segments[0].closes_ns) is Break.HOLIDAY


def test_pre_open_is_longer_after_a_longer_break() -> None:
    """A quarter of an hour every day, an hour on Sundays; in a short halt all of it."""
    segments = [segment(1, 0, 15), segment(1, 15.1, 22), segment(2, 23, 46), segment(3, 70, 90)]
    calendar = SessionCalendar("made", segments, pre_open_s=900, long_pre_open_s=3600)
    begins = [each.ts_ns - MONDAY_NS for each in calendar.events(0, 1 << 62) if each.kind is SessionEventKind.PRE_OPEN]
    assert begins == [-HOUR_NS // 4, 15 * HOUR_NS, 23 * HOUR_NS - HOUR_NS // 4, 69 * HOUR_NS]
    assert calendar.phase(segments[0].closes_ns) is MarketPhase.PRE_OPEN
    assert calendar.phase(segments[1].closes_ns) is MarketPhase.CLOSED


def test_halt_over_a_weekend_is_a_pause_and_no_break() -> None:
    """A holiday on a Friday: the session goes on on Sunday; only the pause tells that it is a weekend."""
    segments = [segment(9, 3 * 24, 4 * 24 + 17), segment(9, 6 * 24 + 22, 7 * 24 + 21)]
    calendar = SessionCalendar("made", segments)
    saturday_ns = MONDAY_NS + 5 * DAY_NS
    assert calendar.phase(saturday_ns) is MarketPhase.HALT
    assert calendar.break_at(saturday_ns) is None
    assert calendar.pause_at(saturday_ns) is Break.WEEKEND


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [segment(1, 2, 2)],
        [segment(1, 2, 1)],
        [segment(1, 0, 5), segment(2, 4, 6)],
        [segment(2, 0, 5), segment(1, 6, 7)],
    ],
)
def test_table_out_of_order_is_refused(segments: list[Segment]) -> None:
    """None, an empty one, one that ends before it begins, two that overlap, dates that go back."""
    with pytest.raises(CalendarError, match="calendar made"):
        SessionCalendar("made", segments)


@pytest.mark.parametrize("now_ns", [MONDAY_NS - 1, MONDAY_NS + 5 * HOUR_NS, MONDAY_NS + 99 * DAY_NS])
def test_time_outside_of_the_table_is_refused_with_the_mend(now_ns: int) -> None:
    """Nobody takes the end of a table for a market that is closed for ever."""
    calendar = SessionCalendar("made", [segment(1, 0, 5)])
    for ask in (calendar.phase, calendar.is_open, calendar.trade_date, calendar.next_event, calendar.break_at):
        with pytest.raises(CalendarError, match=r"calendar made (begins after|ends before) .*; .*compile a longer one"):
            ask(now_ns)


@given(st.integers(0, (1 << 62) - 1))
def test_market_that_never_closes_is_always_open(now_ns: int) -> None:
    """It has no events and no breaks; its trade date is the day of UTC."""
    calendar = AlwaysOpen()
    assert calendar.never_closes
    assert calendar.phase(now_ns) is MarketPhase.OPEN
    assert calendar.next_event(now_ns) is None
    assert list(calendar.events(0, now_ns)) == []
    assert calendar.pause_at(now_ns) is None
    assert calendar.break_at(now_ns) is None
    assert calendar.next_open_ns(now_ns) == now_ns
    assert calendar.next_close_ns(now_ns) > now_ns


def test_trade_date_of_a_market_that_never_closes_changes_at_midnight_utc() -> None:
    """Not at the session's beginning, which was long ago."""
    calendar = AlwaysOpen()
    assert calendar.trade_date(utc("2026-11-24 00:00") - 1) == 20261123
    assert calendar.trade_date(utc("2026-11-24 00:00")) == 20261124
    assert calendar.trade_date(utc("2026-11-24 00:00") + NS_PER_S) == 20261124
