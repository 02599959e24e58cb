"""Calls somebody before the calendars' tables run out, and when they have."""

from typing import Final

from actors.base import Context
from actors.plants.market_herald import utc_text
from nightdesk.messages import Severity
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S, SessionCalendar

DAY_NS: Final = 86_400 * NS_PER_S
WARNED_DAYS: Final = 30
"""Days of market time before a calendar's end from which on it is told, once a day."""

MEND: Final = "install a newer release, or compile longer tables (docs/market-time.md)"


class CalendarEnd:
    """One per system; alerts once a day of market time for each calendar that is near its end or does not know the
    time. The log line of the latter is the herald's."""

    def __init__(self, context: Context, schedule: MarketSchedule) -> None:
        self._context = context
        self._symbols: dict[SessionCalendar, list[str]] = {}
        for symbol in schedule.symbols:
            self._symbols.setdefault(schedule.calendar(symbol), []).append(symbol)
        self._told_ns: dict[SessionCalendar, int] = {}
        self._ended: set[SessionCalendar] = set()

    def look(self) -> None:
        """Call it now and then, once market time is known."""
        now_ns = self._context.market_time.now_ns()
        for calendar, symbols in self._symbols.items():
            has_ended = not calendar.covers(now_ns)
            if not has_ended and calendar.last_ns - now_ns > WARNED_DAYS * DAY_NS:
                self._ended.discard(calendar)
                continue
            told_ns = self._told_ns.get(calendar)
            is_news = has_ended != (calendar in self._ended)
            if not is_news and told_ns is not None and 0 <= now_ns - told_ns < DAY_NS:
                continue
            self._told_ns[calendar] = now_ns
            if has_ended:
                self._ended.add(calendar)
                self._tell_ended(calendar, symbols, now_ns)
            else:
                self._ended.discard(calendar)
                self._tell_ending(calendar, symbols, now_ns)

    def _tell_ending(self, calendar: SessionCalendar, symbols: list[str], now_ns: int) -> None:
        days = (calendar.last_ns - now_ns) // DAY_NS
        fields = {"calendar": calendar.name, "ends": utc_text(calendar.last_ns), "days": days}
        self._context.log.warning("calendar_ending", symbols=symbols, **fields)
        text = f"calendar {calendar.name} ({', '.join(symbols)}) ends on {fields['ends']}, in {days} days; {MEND}"
        self._context.alert("calendar_ending", Severity.WARNING, text, **fields)

    def _tell_ended(self, calendar: SessionCalendar, symbols: list[str], now_ns: int) -> None:
        text = (
            f"calendar {calendar.name} ({', '.join(symbols)}) does not know {utc_text(now_ns)}: whatever depends on "
            f"sessions stands still; set this machine's clock right, or {MEND}"
        )
        self._context.alert("calendar_ended", Severity.CRITICAL, text, calendar=calendar.name)
