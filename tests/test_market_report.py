"""What the status says of the markets."""

from actors.control.market import market_report
from nightdesk.calendars.load import load_calendar
from nightdesk.trading.schedule import MarketSchedule
from tests.support import utc_ns


def test_each_calendar_has_an_entry_with_its_kind_of_break() -> None:
    """On a Friday evening: two products of one calendar together, and what trading begins with."""
    equity = load_calendar("cme_equity")
    (entry,) = market_report(MarketSchedule({"ESZ6": equity, "NQZ6": equity}), utc_ns("2026-11-20 23:00"))
    assert entry == {
        "calendar": "cme_equity",
        "symbols": ["ESZ6", "NQZ6"],
        "now_ns": utc_ns("2026-11-20 23:00"),
        "phase": "closed",
        "pause": "weekend",
        "trade_date": 20261123,
        "next_open_ns": utc_ns("2026-11-22 23:00"),
        "next_event": {"kind": "pre_open", "ts_ns": utc_ns("2026-11-22 22:00")},
    }


def test_time_that_a_calendar_does_not_know_is_told_as_unknown() -> None:
    """Neither open nor closed: the table has ended, and the others' entries are none the worse."""
    schedule = MarketSchedule({"ESZ6": load_calendar("cme_equity"), "BTCX6": load_calendar("always")})
    entries = market_report(schedule, utc_ns("2090-01-02 15:00"))
    assert [(each["calendar"], each["phase"]) for each in entries] == [("cme_equity", "unknown"), ("always", "open")]
    assert entries[0]["next_event"] is None
