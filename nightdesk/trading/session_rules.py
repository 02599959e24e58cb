"""When a strategy opens no positions by its configuration, and before which closes it is to be flat. Pure."""

from datetime import UTC, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import NS_PER_S, Break, SessionCalendar, SessionEventKind

CHICAGO = "America/Chicago"
"""The clocks of an exchange whose market never closes and so has no calendar with a zone."""

_STOPS = (SessionEventKind.HALT, SessionEventKind.CLOSE)


class NoTradeWindow(NamedTuple):
    """From ``begins`` to just before ``ends``, by the exchange's clocks, each day; over midnight where it ends earlier.

    What the clocks show decides: an hour that they show twice counts twice, one that they skip not at all.
    """

    begins: time
    ends: time

    def contains(self, moment: time) -> bool:
        """Whether the clocks show a time within."""
        if self.begins < self.ends:
            return self.begins <= moment < self.ends
        return moment >= self.begins or moment < self.ends


class FlatTime(NamedTuple):
    """A time in which a strategy is flat and stays so: from ``begins_ns``, over the stop, to the next opening."""

    begins_ns: int
    stops_ns: int
    """When trading stops for the break that it is about: what is not closed by then stays open over it."""
    opens_ns: int
    kind: Break
    at: str = ""
    """The time of day by which it begins (``flatten_by``); empty where it is about a break."""
    deadline_ns: int = 0
    """By when the strategy is to be flat, where that is before trading stops; 0: by then."""

    @property
    def due_ns(self) -> int:
        """By when the strategy is to be flat."""
        return self.deadline_ns or self.stops_ns

    def __str__(self) -> str:
        return f"flatten_by {self.at}" if self.at else f"the {self.kind} break"


class SessionRules(NamedTuple):
    """One strategy's rules; without any, it trades and holds whenever its market lets it."""

    no_trade: tuple[NoTradeWindow, ...] = ()
    flat_over: frozenset[Break] = frozenset()
    flat_before_ns: int = 0
    cancels_entries: bool = True
    """Whether a no-trade window that begins takes the entries back that work then."""
    closes_at_open: bool = False
    """Whether what could not be closed before such a break is closed at the opening after it."""

    def window_at(self, calendar: SessionCalendar, now_ns: int) -> NoTradeWindow | None:
        """The no-trade window that a moment lies in."""
        if not self.no_trade:
            return None
        zone = ZoneInfo(CHICAGO if calendar.never_closes else calendar.zone)
        moment = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(zone).time()
        return next((window for window in self.no_trade if window.contains(moment)), None)

    def flat_at(self, calendar: SessionCalendar, now_ns: int) -> FlatTime | None:
        """The time to be flat that a moment lies in; raises ``CalendarError`` where the calendar does not know it.

        A halt within a session counts where it lasts over a weekend or a holiday, never as the daily break.
        """
        if not self.flat_over or calendar.never_closes:
            return None
        stopped_ns = calendar.stopped_ns(now_ns)
        if stopped_ns is not None:
            # In a pause: it is the one that was to be flat for, or a shorter one shortly before that.
            found = self._flat_for(calendar, stopped_ns, is_close=calendar.session_at(now_ns) is None)
            if found is not None:
                return found
        for event in calendar.events(now_ns, now_ns + self.flat_before_ns):
            if event.kind in _STOPS:
                found = self._flat_for(calendar, event.ts_ns, is_close=event.kind is SessionEventKind.CLOSE)
                if found is not None:
                    return found
        return None

    def missed_at(self, calendar: SessionCalendar, now_ns: int) -> FlatTime | None:
        """The time to be flat that ended with the opening of the present trading; None where there was none.

        Raises ``CalendarError`` where the calendar does not know the moment.
        """
        if not self.flat_over or calendar.never_closes:
            return None
        opens_ns, _ = calendar.stretch(now_ns)
        if opens_ns <= calendar.first_ns:
            return None
        found = self.flat_at(calendar, opens_ns - 1)
        return found if found is not None and found.opens_ns == opens_ns else None

    def _flat_for(self, calendar: SessionCalendar, stops_ns: int, *, is_close: bool) -> FlatTime | None:
        try:
            kind = calendar.pause_at(stops_ns)
            opens_ns = calendar.next_open_ns(stops_ns)
        except CalendarError:
            # The table's last close: nobody knows what follows.
            return None
        if kind is None or kind not in self.flat_over or (kind is Break.DAILY and not is_close):
            return None
        return FlatTime(stops_ns - self.flat_before_ns, stops_ns, opens_ns, kind)
