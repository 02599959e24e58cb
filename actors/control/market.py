"""What the markets do now and next, for the status."""

from typing import Any

from nightdesk.errors import CalendarError
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import SessionCalendar


def market_report(schedule: MarketSchedule, now_ns: int) -> list[dict[str, Any]]:
    """One entry for each calendar: its symbols, phase, trade date and next event; times in nanoseconds UTC.

    ``next_event`` is None where nothing ever happens, ``phase`` is ``unknown`` outside of the calendar's years.
    """
    groups: dict[SessionCalendar, list[str]] = {}
    for symbol in schedule.symbols:
        groups.setdefault(schedule.calendar(symbol), []).append(symbol)
    return [_report(calendar, symbols, now_ns) for calendar, symbols in groups.items()]


def _report(calendar: SessionCalendar, symbols: list[str], now_ns: int) -> dict[str, Any]:
    report: dict[str, Any] = {"calendar": calendar.name, "symbols": symbols, "now_ns": now_ns}
    try:
        event = calendar.next_event(now_ns)
        pause = calendar.pause_at(now_ns)
        return {
            **report,
            "phase": calendar.phase(now_ns).value,
            "pause": None if pause is None else pause.value,
            "trade_date": calendar.trade_date(now_ns),
            "next_open_ns": calendar.next_open_ns(now_ns),
            "next_event": None if event is None else {"kind": event.kind.value, "ts_ns": event.ts_ns},
        }
    except CalendarError:
        return {**report, "phase": "unknown", "pause": None, "trade_date": 0, "next_open_ns": 0, "next_event": None}
