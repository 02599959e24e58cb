"""Logs what the calendar does to the markets, and says at the start when trading begins."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import MarketTime
from nightdesk.errors import CalendarError
from nightdesk.trading.schedule import MarketSchedule, ScheduledEvent
from nightdesk.trading.sessions import NS_PER_S, MarketPhase, SessionEventKind

POLL_MIN_S: Final = 0.05
POLL_MAX_S: Final = 1.0

SET_BACK_NS: Final = 60 * NS_PER_S
"""Time that goes back by less (a wall clock that is put right) makes no event happen again."""

EVENT_NAMES: Final = {
    SessionEventKind.PRE_OPEN: "market_pre_open",
    SessionEventKind.OPEN: "market_opened",
    SessionEventKind.RESUME: "market_opened",
    SessionEventKind.HALT: "market_halted",
    SessionEventKind.CLOSE: "market_closed",
}
_STATE_NAMES: Final = {
    MarketPhase.OPEN: "market_opened",
    MarketPhase.PRE_OPEN: "market_pre_open",
    MarketPhase.HALT: "market_halted",
    MarketPhase.CLOSED: "market_closed",
}


class MarketHerald:
    """One per system; every event of every calendar is logged once, in order, also after a jump of market time."""

    def __init__(self, schedule: MarketSchedule, market_time: MarketTime, log: FilteringBoundLogger) -> None:
        self._schedule = schedule
        self._market_time = market_time
        self._log = log
        self._told_ns = 0

    async def run(self) -> None:
        """Until cancelled. A time that no calendar knows is told once; a wall clock may be put right afterwards."""
        is_unknown = False
        while True:
            try:
                while self._market_time.is_known:
                    await self._follow()
                await asyncio.sleep(POLL_MIN_S)
            except CalendarError as error:
                if not is_unknown:
                    self._log.error("calendar_ended", reason=str(error))
                is_unknown = True
                await asyncio.sleep(POLL_MAX_S)

    async def _follow(self) -> None:
        self._told_ns = self._market_time.now_ns()
        self._tell_state(self._told_ns)
        while True:
            await asyncio.sleep(self._delay_s())
            self._tell_events(self._market_time.now_ns())

    def _tell_state(self, now_ns: int) -> None:
        groups: dict[tuple[MarketPhase, int], list[str]] = {}
        for symbol, phase in self._schedule.phases(now_ns).items():
            trade_date = self._schedule.calendar(symbol).trade_date(now_ns)
            groups.setdefault((phase, trade_date), []).append(symbol)
        for (phase, trade_date), symbols in groups.items():
            calendar = self._schedule.calendar(symbols[0])
            opens_ns = None if phase is MarketPhase.OPEN else calendar.next_open_ns(now_ns)
            self._tell(_STATE_NAMES[phase], sorted(symbols), trade_date, now_ns, opens_ns)

    def _tell_events(self, now_ns: int) -> None:
        if now_ns < self._told_ns:
            if now_ns >= self._told_ns - SET_BACK_NS:
                return
            # The market was set back (a tape that begins anew): what it says from there on is news again.
            self._told_ns = now_ns
        for each in self._schedule.events(self._told_ns, now_ns):
            self._tell_event(each)
        self._told_ns = now_ns

    def _tell_event(self, scheduled: ScheduledEvent) -> None:
        event, symbols = scheduled.event, scheduled.symbols
        opens_ns = None
        if event.kind in (SessionEventKind.HALT, SessionEventKind.CLOSE):
            opens_ns = self._schedule.calendar(symbols[0]).next_open_ns(event.ts_ns)
        self._tell(EVENT_NAMES[event.kind], symbols, event.trade_date, event.ts_ns, opens_ns)

    def _tell(
        self, event: str, symbols: "list[str] | tuple[str, ...]", trade_date: int, ns: int, opens: int | None
    ) -> None:
        fields = {} if opens is None else {"trading_begins": utc_text(opens)}
        self._log.info(event, symbols=list(symbols), trade_date=trade_date, market_time=utc_text(ns), **fields)

    def _delay_s(self) -> float:
        speed = self._market_time.speed
        event = self._schedule.next_event(self._told_ns)
        if speed == 0 or event is None:
            return POLL_MAX_S
        delay_s = (event.event.ts_ns - self._market_time.now_ns()) / NS_PER_S / speed
        return min(max(delay_s, POLL_MIN_S), POLL_MAX_S)


def utc_text(now_ns: int) -> str:
    """A moment of market time to the second, such as 2026-11-29T23:00:00Z."""
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
