"""Several calendars together: what is open, and what happens next."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.calendars.load import load_calendar
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import AlwaysOpen, Break, MarketPhase, SessionCalendar, SessionEventKind
from tests.calendar_support import at, calendars

EQUITY, FX, GRAINS = (load_calendar(name) for name in ("cme_equity", "cme_fx", "cme_grains"))
DESK = MarketSchedule({"ESZ6": EQUITY, "MESZ6": EQUITY, "ZCZ6": GRAINS})


def test_phase_is_that_of_the_liveliest_market() -> None:
    """Grains rest in the evening while equity trades; on Saturday all are closed."""
    evening_ns = at("2026-11-23 18:00")
    assert DESK.phases(evening_ns) == {"ESZ6": "open", "MESZ6": "open", "ZCZ6": "pre_open"}
    assert DESK.phase(evening_ns) is MarketPhase.OPEN
    assert DESK.is_any_open(evening_ns)
    assert not DESK.is_quiet(evening_ns)
    saturday_ns = at("2026-11-28 12:00")
    assert DESK.phase(saturday_ns) is MarketPhase.CLOSED
    assert DESK.is_quiet(saturday_ns)
    assert DESK.pause(saturday_ns) is Break.WEEKEND
    assert DESK.pause(evening_ns) is None


def test_markets_with_the_same_calendar_share_an_event() -> None:
    """Whoever follows the schedule acts once for each calendar, not once for each symbol."""
    scheduled = DESK.next_event(at("2026-11-23 15:59"))
    assert scheduled is not None
    assert scheduled.event.kind is SessionEventKind.CLOSE
    assert scheduled.event.ts_ns == at("2026-11-23 16:00")
    assert scheduled.symbols == ("ESZ6", "MESZ6")


def test_all_is_quiet_from_the_last_close_to_the_first_pre_open() -> None:
    """Equity closes last on Friday; on Sunday both take orders from 16:00."""
    friday_ns, sunday_ns = at("2026-11-20 16:00"), at("2026-11-22 16:00")
    assert DESK.quiet_since_ns(friday_ns - 1) is None
    assert DESK.quiet_since_ns(friday_ns) == friday_ns
    assert DESK.quiet_since_ns(sunday_ns) == friday_ns
    assert DESK.is_quiet(sunday_ns - 1)
    assert not DESK.is_quiet(sunday_ns)
    assert DESK.next_open_ns(friday_ns) == at("2026-11-22 17:00")


def test_one_symbol_is_answered_for_by_its_own_calendar() -> None:
    """While another market trades, too."""
    halt_ns = at("2026-11-23 08:00")
    assert DESK.phase_of("ZCZ6", halt_ns) is MarketPhase.PRE_OPEN
    assert DESK.phase_of("ESZ6", halt_ns) is MarketPhase.OPEN
    assert DESK.calendar("ZCZ6") is GRAINS
    assert {symbol: session and session.trade_date for symbol, session in DESK.sessions(halt_ns).items()} == {
        "ESZ6": 20261123,
        "MESZ6": 20261123,
        "ZCZ6": 20261123,
    }


def test_market_that_never_closes_keeps_the_whole_awake() -> None:
    """It has no events of its own."""
    schedule = MarketSchedule({"ABC": AlwaysOpen()})
    now_ns = at("2026-11-28 12:00")
    assert schedule.next_event(now_ns) is None
    assert schedule.is_any_open(now_ns)
    assert schedule.quiet_since_ns(now_ns) is None
    both = MarketSchedule({"ABC": AlwaysOpen(), "ESZ6": EQUITY})
    assert not both.is_quiet(now_ns)
    assert both.next_event(now_ns) is not None


def test_schedule_of_nothing_is_refused() -> None:
    """It could not say whether anything is open."""
    with pytest.raises(ValueError, match="at least one"):
        MarketSchedule({})


@given(calendars(), calendars())
def test_events_of_all_markets_are_in_order_and_complete(one: SessionCalendar, other: SessionCalendar) -> None:
    """The merged list holds each calendar's own list."""
    schedule = MarketSchedule({"A": one, "B": other})
    merged = list(schedule.events(-(1 << 62), 1 << 62))
    assert all(before.event.ts_ns <= after.event.ts_ns for before, after in pairwise(merged))
    for symbol, calendar in (("A", one), ("B", other)):
        own = [each.event for each in merged if symbol in each.symbols]
        assert own == list(calendar.events(-(1 << 62), 1 << 62))


@given(st.integers(0, 20 * 365 * 24 * 60))
def test_next_event_is_the_earliest_of_the_calendars(minute: int) -> None:
    """At any moment of twenty years, at any time of the day."""
    now_ns = min(at("2013-01-01 00:00") + minute * 60_000_000_000, EQUITY.last_ns - 1, GRAINS.sessions[-2].closes_ns)
    scheduled = DESK.next_event(now_ns)
    assert scheduled is not None
    expected = [calendar.next_event(now_ns) for calendar in (EQUITY, GRAINS)]
    assert scheduled.event.ts_ns == min(event.ts_ns for event in expected if event is not None)
