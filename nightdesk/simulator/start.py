"""When an exchange's market time begins: at its ``start``, or where an earlier exchange has left off. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from nightdesk.market_clock_file import ClockRecord, market_at
from nightdesk.settings.instants import START_NOW, START_OPEN, instant_ns
from nightdesk.trading.sessions import NS_PER_S, SessionCalendar, SessionEventKind

OPEN_MIN_NS = 600 * NS_PER_S
"""``open`` begins now only where the market stays open for so long; a start takes some of it."""

LEAD_NS = 5 * NS_PER_S
"""``open`` begins so long before an opening, with its pre-open: a newcomer should see trading within a minute."""

AHEAD_NS = 30 * 86_400 * NS_PER_S
"""How far ahead the next opening is looked for; no market is closed for longer."""

SAME_RUN_S = 600.0
"""A clock that was published longer ago and not stopped is that of another run: the machine went down, or all of it
was killed. A drive publishes at least once a second."""

_ENDS = (SessionEventKind.CLOSE, SessionEventKind.HALT)
_BEGINS = (SessionEventKind.OPEN, SessionEventKind.RESUME)


class Former(NamedTuple):
    """What is known of an earlier exchange: the clock it published, and the newest time in its log (0: none)."""

    published: ClockRecord | None
    logged_ns: int


class Start(NamedTuple):
    """Where market time begins; ``wanted_ns`` is what the configuration says by itself."""

    ns: int
    wanted_ns: int


def start_of(
    start: str, calendars: Iterable[SessionCalendar], wall_ns: int, monotonic_s: float, former: Former
) -> Start:
    """The market time at which an exchange begins.

    ``start`` is a value of ``exchange.start``, ``calendars`` are those of the listed contracts. Time never goes back: a
    state that is later goes on where it ended, and an exchange that was killed within its run goes on with the clock
    that everybody reads. Raises ``CalendarError`` where a calendar does not know the time.
    """
    published = former.published
    state_ns = max(former.logged_ns, market_at(published, monotonic_s) if published is not None else 0)
    listed = list(calendars)
    wanted_ns = _wanted_ns(start, listed, wall_ns)
    if published is not None and _is_same_run(published, monotonic_s):
        return Start(state_ns, wanted_ns)
    if state_ns <= wanted_ns:
        return Start(wanted_ns, wanted_ns)
    return Start(open_ns(listed, state_ns) if start == START_OPEN else state_ns, wanted_ns)


def open_ns(calendars: Iterable[SessionCalendar], now_ns: int) -> int:
    """``now_ns`` where a market is open and stays so for ten minutes, else just before the next opening."""
    return min((_open_ns(each, now_ns) for each in calendars), default=now_ns)


def _wanted_ns(start: str, calendars: Iterable[SessionCalendar], wall_ns: int) -> int:
    if start == START_NOW:
        return wall_ns
    return open_ns(calendars, wall_ns) if start == START_OPEN else instant_ns(start)


def _open_ns(calendar: SessionCalendar, now_ns: int) -> int:
    if calendar.is_open(now_ns) and all(
        each.kind not in _ENDS for each in calendar.events(now_ns, now_ns + OPEN_MIN_NS)
    ):
        return now_ns
    for event in calendar.events(now_ns, now_ns + AHEAD_NS):
        if event.kind in _BEGINS:
            return max(now_ns, event.ts_ns - LEAD_NS)
    return now_ns


def _is_same_run(published: ClockRecord, monotonic_s: float) -> bool:
    return not published.stopped and 0 <= monotonic_s - published.monotonic_s <= SAME_RUN_S
