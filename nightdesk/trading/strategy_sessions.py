"""A strategy's sessions: what it can ask about them, and their openings and closes as a source of its agenda. Pure."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from nightdesk.errors import CalendarError
from nightdesk.trading.agenda import NEVER_NS
from nightdesk.trading.sessions import Break, Session, SessionCalendar, SessionEvent, SessionEventKind


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One session of one symbol; times in nanoseconds UTC, ``trade_date`` as YYYYMMDD."""

    symbol: str
    trade_date: int
    opens_ns: int
    closes_ns: int
    """When its last segment ends; halts lie between."""
    break_after: Break | None
    """What follows its close; None in a market that never closes, and where the calendar's table ends."""


def session_info(symbol: str, calendar: SessionCalendar, session: Session) -> SessionInfo:
    """A session as a strategy sees it."""
    try:
        break_after = None if calendar.never_closes else calendar.break_after(session)
    except CalendarError:
        break_after = None
    return SessionInfo(
        symbol=symbol,
        trade_date=session.trade_date,
        opens_ns=session.opens_ns,
        closes_ns=session.closes_ns,
        break_after=break_after,
    )


def stretch_of(calendar: SessionCalendar) -> Callable[[int], tuple[int, int]]:
    """Between which two changes of a calendar a moment lies; a moment that it does not know lies between none."""

    def stretch(now_ns: int) -> tuple[int, int]:
        try:
            return calendar.stretch(now_ns)
        except CalendarError:
            return -NEVER_NS, NEVER_NS

    return stretch


class DueSessions:
    """The openings and closes of a strategy's symbols, each once, in order; a jump of time skips none of them.

    Closes are delivered with a grace, as bars are: the bar that ends with the session comes before its close.
    """

    def __init__(
        self,
        calendars: Mapping[str, SessionCalendar],
        on_open: Callable[[SessionInfo], None],
        on_close: Callable[[SessionInfo], None],
        close_grace_ns: int,
    ) -> None:
        self._calendars = dict(calendars)
        self._deliver = {SessionEventKind.OPEN: on_open, SessionEventKind.CLOSE: on_close}
        self._close_grace_ns = close_grace_ns
        self._streams: dict[str, Iterator[SessionEvent]] = {}
        self._coming: dict[str, SessionEvent] = {}
        self._first = ""
        self.own_ns = NEVER_NS
        """When the next opening or close is by its own time."""

    @property
    def grace_ns(self) -> int:
        """Only a close waits."""
        event = self._coming.get(self._first)
        return self._close_grace_ns if event is not None and event.kind is SessionEventKind.CLOSE else 0

    @property
    def due_ns(self) -> int:
        """When the next opening or close is delivered."""
        return self.own_ns + self.grace_ns

    def begin(self, now_ns: int) -> None:
        """What has happened by now is known: only later openings and closes are delivered."""
        self._coming.clear()
        for symbol, calendar in self._calendars.items():
            events = calendar.events(now_ns, calendar.last_ns)
            self._streams[symbol] = (event for event in events if event.kind in self._deliver)
            self._take_next(symbol)
        self._find_first()

    def fire(self, to_ns: int, *, together: bool) -> None:
        """Deliver the next one; at the same moment closes come first, then the earlier configured symbol."""
        symbol, event = self._first, self._coming.pop(self._first)
        self._take_next(symbol)
        self._find_first()
        calendar = self._calendars[symbol]
        is_open = event.kind is SessionEventKind.OPEN
        session = calendar.session_at(event.ts_ns) if is_open else calendar.previous_session(event.ts_ns)
        if session is not None:
            self._deliver[event.kind](session_info(symbol, calendar, session))

    def _take_next(self, symbol: str) -> None:
        event = next(self._streams[symbol], None)
        if event is not None:
            self._coming[symbol] = event

    def _find_first(self) -> None:
        def order(symbol: str) -> tuple[int, bool]:
            event = self._coming[symbol]
            return event.ts_ns, event.kind is SessionEventKind.OPEN

        self._first = min((symbol for symbol in self._calendars if symbol in self._coming), key=order, default="")
        self.own_ns = self._coming[self._first].ts_ns if self._coming else NEVER_NS
