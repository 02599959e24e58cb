"""Several markets' calendars together: what is open, and what happens next. Pure: the time comes in with each call."""

import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nightdesk.trading.sessions import Break, MarketPhase, Session, SessionCalendar, SessionEvent

_PHASES = (MarketPhase.OPEN, MarketPhase.PRE_OPEN, MarketPhase.HALT, MarketPhase.CLOSED)
"""The liveliest first: the phase of several markets is that of the liveliest of them."""


class ScheduledEvent(NamedTuple):
    """One event of one calendar and the symbols that keep it, sorted."""

    event: SessionEvent
    symbols: tuple[str, ...]


class MarketSchedule:
    """The calendars of a system's instruments. Immutable; times in nanoseconds UTC.

    Every question may raise ``CalendarError`` where one of the calendars does not know the time.
    """

    def __init__(self, calendars: Mapping[str, SessionCalendar]) -> None:
        """``calendars`` by symbol; symbols with the same calendar are answered for together. At least one."""
        if not calendars:
            raise ValueError("a schedule needs at least one symbol")
        self._calendars = dict(calendars)
        groups: dict[SessionCalendar, list[str]] = {}
        for symbol, calendar in self._calendars.items():
            groups.setdefault(calendar, []).append(symbol)
        self._groups = [(calendar, tuple(sorted(symbols))) for calendar, symbols in groups.items()]

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, in the order in which they were given."""
        return tuple(self._calendars)

    def calendar(self, symbol: str) -> SessionCalendar:
        """One symbol's calendar; raises ``KeyError`` for a symbol that is not in the schedule."""
        return self._calendars[symbol]

    def phase_of(self, symbol: str, now_ns: int) -> MarketPhase:
        """What one symbol's market does."""
        return self._calendars[symbol].phase(now_ns)

    def phases(self, now_ns: int) -> dict[str, MarketPhase]:
        """What each symbol's market does."""
        found = {calendar: calendar.phase(now_ns) for calendar, _ in self._groups}
        return {symbol: found[calendar] for symbol, calendar in self._calendars.items()}

    def phase(self, now_ns: int) -> MarketPhase:
        """Of all together: open where one is open, closed where all are."""
        return min((calendar.phase(now_ns) for calendar, _ in self._groups), key=_PHASES.index)

    def is_any_open(self, now_ns: int) -> bool:
        """Whether at least one market trades."""
        return any(calendar.is_open(now_ns) for calendar, _ in self._groups)

    def is_quiet(self, now_ns: int) -> bool:
        """Whether no market trades nor takes orders: nobody need answer."""
        return self.phase(now_ns) in (MarketPhase.CLOSED, MarketPhase.HALT)

    def next_open_ns(self, now_ns: int) -> int:
        """When trading begins next in any market: the present moment where one is open."""
        return min(calendar.next_open_ns(now_ns) for calendar, _ in self._groups)

    def quiet_since_ns(self, now_ns: int) -> int | None:
        """When the last market stopped trading; None while one is open, or where none has traded before."""
        if self.is_any_open(now_ns):
            return None
        stopped = [each for each in (calendar.stopped_ns(now_ns) for calendar, _ in self._groups) if each is not None]
        return max(stopped, default=None)

    def sessions(self, now_ns: int) -> dict[str, Session | None]:
        """Each symbol's session in progress."""
        found = {calendar: calendar.session_at(now_ns) for calendar, _ in self._groups}
        return {symbol: found[calendar] for symbol, calendar in self._calendars.items()}

    def pause(self, now_ns: int) -> Break | None:
        """What kind of time without trading it is: None while one market trades, else the shortest of the kinds."""
        kinds = [calendar.pause_at(now_ns) for calendar, _ in self._groups]
        if any(kind is None for kind in kinds):
            return None
        order = list(Break)
        return min((kind for kind in kinds if kind is not None), key=order.index)

    def events(self, from_ns: int, to_ns: int) -> Iterator[ScheduledEvent]:
        """Everything that happens to any market after ``from_ns`` and up to ``to_ns``, in order of time.

        At the same moment the calendars are in the order in which their first symbols were given.
        """
        return heapq.merge(
            *(_of_one(calendar, symbols, from_ns, to_ns) for calendar, symbols in self._groups),
            key=lambda each: each.event.ts_ns,
        )

    def next_event(self, now_ns: int) -> ScheduledEvent | None:
        """The next thing that happens to any market; None where nothing ever does."""
        found = []
        for calendar, symbols in self._groups:
            event = calendar.next_event(now_ns)
            if event is not None:
                found.append(ScheduledEvent(event, symbols))
        return min(found, key=lambda each: each.event.ts_ns, default=None)


def _of_one(calendar: SessionCalendar, symbols: tuple[str, ...], from_ns: int, to_ns: int) -> Iterator[ScheduledEvent]:
    for event in calendar.events(from_ns, to_ns):
        yield ScheduledEvent(event, symbols)
