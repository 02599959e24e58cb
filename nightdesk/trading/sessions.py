"""When a market trades: sessions, breaks and trade dates from a compiled table. Pure: the time comes in with each call.

A *session* is one trade date's trading, from its opening to its close; it has one segment, or several with halts
between them (a holiday whose trading counts to the next day, the quarter of an hour that equity futures once paused).
Before each segment the market takes orders without trading them (*pre-open*). Times are nanoseconds since the Unix
epoch, UTC; trade dates are integers, YYYYMMDD.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from nightdesk.errors import CalendarError

NS_PER_S = 1_000_000_000
DAILY_BREAK_MAX_NS = 6 * 3600 * NS_PER_S
"""A longer time without trading is a weekend or a holiday, not the daily break."""

WEEKEND_MIN_NS = 40 * 3600 * NS_PER_S
"""A time without trading that is longer than this has a whole day in it."""

SATURDAY = 5
MAX_S = 1 << 36
"""Seconds since the epoch that a date can be written for."""

ALWAYS = "always"
"""The calendar of a market that never closes."""


class Segment(NamedTuple):
    """Trading without a pause: from ``opens_ns`` to just before ``closes_ns``."""

    trade_date: int
    opens_ns: int
    closes_ns: int


class Session(NamedTuple):
    """One trade date's trading."""

    trade_date: int
    segments: tuple[Segment, ...]

    @property
    def opens_ns(self) -> int:
        """The opening of the first segment."""
        return self.segments[0].opens_ns

    @property
    def closes_ns(self) -> int:
        """The close of the last segment; orders for the day end with it."""
        return self.segments[-1].closes_ns


class MarketPhase(StrEnum):
    """What a market does at a moment."""

    OPEN = "open"
    PRE_OPEN = "pre_open"
    """Orders are taken and wait for the opening."""
    HALT = "halt"
    """A pause inside a session: orders for the day live on."""
    CLOSED = "closed"


class Break(StrEnum):
    """What the time between two sessions is."""

    DAILY = "daily"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


class SessionEventKind(StrEnum):
    """What happens to a market on its schedule."""

    PRE_OPEN = "pre_open"
    OPEN = "open"
    """A session begins: the trade date is another one."""
    HALT = "halt"
    RESUME = "resume"
    """A further segment of the same session begins."""
    CLOSE = "close"
    """A session ends."""


class SessionEvent(NamedTuple):
    """One event of the schedule; ``trade_date`` is that of the session it belongs to."""

    ts_ns: int
    kind: SessionEventKind
    trade_date: int


class SessionCalendar:
    """The sessions of one calendar, such as ``cme_equity``. Immutable.

    Asked for a time outside of the table it raises ``CalendarError`` with the mend. ``pre_open_s`` are the seconds
    before each segment in which the market takes orders, ``long_pre_open_s`` those after more than the daily break
    (None: the same). A time without a session of at most ``daily_break_max_s`` is the daily break. ``zone`` is the time
    zone of the exchange's clocks.
    """

    def __init__(
        self,
        name: str,
        segments: Iterable[Segment],
        *,
        pre_open_s: int = 0,
        long_pre_open_s: int | None = None,
        daily_break_max_s: int = DAILY_BREAK_MAX_NS // NS_PER_S,
        zone: str = "UTC",
        pre_opens: Mapping[int, int] | None = None,
    ) -> None:
        """``pre_opens`` are the segments whose pre-open is not the usual one: opening, then pre-open.

        Raises ``CalendarError`` where segments are out of order, overlap or are none.
        """
        self.name = name
        self.zone = zone
        self.pre_open_ns = pre_open_s * NS_PER_S
        self.long_pre_open_ns = self.pre_open_ns if long_pre_open_s is None else long_pre_open_s * NS_PER_S
        self.daily_break_max_ns = daily_break_max_s * NS_PER_S
        self._pre_opens = dict(pre_opens or {})
        self._segments = tuple(segments)
        self._opens = [each.opens_ns for each in self._segments]
        _check(name, self._segments)
        self._sessions = tuple(
            Session(trade_date, tuple(group)) for trade_date, group in groupby(self._segments, itemgetter(0))
        )
        self._session_opens = [each.segments[0].opens_ns for each in self._sessions]

    never_closes = False
    """Whether there is nothing on the schedule at all."""

    @property
    def first_ns(self) -> int:
        """The first moment that the table knows."""
        return self._opens[0]

    @property
    def last_ns(self) -> int:
        """The first moment that the table does not know any more: its last session's close."""
        return self._segments[-1].closes_ns

    @property
    def sessions(self) -> Sequence[Session]:
        """All sessions, oldest first."""
        return self._sessions

    def covers(self, now_ns: int) -> bool:
        """Whether the table says something about a moment."""
        return self.first_ns <= now_ns < self.last_ns

    def is_open(self, now_ns: int) -> bool:
        """Whether the market trades."""
        return now_ns < self._segment_before(now_ns).closes_ns

    def phase(self, now_ns: int) -> MarketPhase:
        """What the market does."""
        before = self._segment_before(now_ns)
        if now_ns < before.closes_ns:
            return MarketPhase.OPEN
        after = self._segment_after(now_ns)
        if self._pre_open_of(before, after) <= now_ns:
            return MarketPhase.PRE_OPEN
        return MarketPhase.HALT if after.trade_date == before.trade_date else MarketPhase.CLOSED

    def session_at(self, now_ns: int) -> Session | None:
        """The session in progress, its halts included; None between sessions."""
        self._segment_before(now_ns)
        session = self._sessions[bisect_right(self._session_opens, now_ns) - 1]
        return session if now_ns < session.closes_ns else None

    def next_session(self, now_ns: int) -> Session:
        """The first session that opens after a moment."""
        self._segment_before(now_ns)
        index = bisect_right(self._session_opens, now_ns)
        if index == len(self._sessions):
            raise self._unknown(now_ns)
        return self._sessions[index]

    def previous_session(self, now_ns: int) -> Session | None:
        """The last session that had closed at a moment; None before the table's first close."""
        index = bisect_right(self._session_opens, now_ns) - 1
        if index >= 0 and self._sessions[index].closes_ns > now_ns:
            index -= 1
        return self._sessions[index] if index >= 0 else None

    def trade_date(self, now_ns: int) -> int:
        """The trade date in progress, or the one that comes next."""
        return (self.session_at(now_ns) or self.next_session(now_ns)).trade_date

    def next_open_ns(self, now_ns: int) -> int:
        """When trading begins next: the present moment where it is open."""
        return now_ns if self.is_open(now_ns) else self._segment_after(now_ns).opens_ns

    def next_close_ns(self, now_ns: int) -> int:
        """When the session in progress, or the next one, closes."""
        return (self.session_at(now_ns) or self.next_session(now_ns)).closes_ns

    def break_at(self, now_ns: int) -> Break | None:
        """What kind of time without a session it is; None in a session."""
        if self.session_at(now_ns) is not None:
            return None
        return self.pause_at(now_ns)

    def pause_at(self, now_ns: int) -> Break | None:
        """What kind of time without trading it is, a session's own halts included; None while the market trades.

        A holiday on a Friday halts a session over the weekend: only this says so.
        """
        before = self._segment_before(now_ns)
        if now_ns < before.closes_ns:
            return None
        after = self._segment_after(now_ns)
        length_ns = after.opens_ns - before.closes_ns
        if length_ns <= self.daily_break_max_ns:
            return Break.DAILY
        is_weekend = length_ns >= WEEKEND_MIN_NS and _has_saturday(before.closes_ns, after.opens_ns)
        return Break.WEEKEND if is_weekend else Break.HOLIDAY

    def pre_open_ns_of(self, segment: Segment) -> int:
        """From when on orders are taken for a segment; its opening, where there is no pre-open."""
        index = bisect_left(self._opens, segment.opens_ns)
        return self._pre_open_of(self._segments[index - 1] if index else None, segment)

    def stopped_ns(self, now_ns: int) -> int | None:
        """When trading stopped; None while the market trades."""
        closes_ns = self._segment_before(now_ns).closes_ns
        return closes_ns if closes_ns <= now_ns else None

    def stretch(self, now_ns: int) -> tuple[int, int]:
        """From when to when (exclusive) the market does without a change what it does now: trade, or not trade."""
        before = self._segment_before(now_ns)
        if now_ns < before.closes_ns:
            return before.opens_ns, before.closes_ns
        return before.closes_ns, self._segment_after(now_ns).opens_ns

    def break_after(self, session: Session) -> Break:
        """What follows a session's close."""
        kind = self.break_at(session.closes_ns)
        return Break.DAILY if kind is None else kind

    def events(self, from_ns: int, to_ns: int) -> Iterator[SessionEvent]:
        """Everything on the schedule after ``from_ns`` and up to ``to_ns``, in order.

        Where the table ends the events end.
        """
        for index in range(max(bisect_right(self._opens, from_ns) - 1, 0), len(self._segments)):
            for event in self._of_segment(index):
                if event.ts_ns > to_ns:
                    return
                if event.ts_ns > from_ns:
                    yield event

    def next_event(self, now_ns: int) -> SessionEvent | None:
        """The next thing on the schedule; None where nothing ever happens."""
        self._segment_before(now_ns)
        event = next(self.events(now_ns, self.last_ns), None)
        if event is None:
            raise self._unknown(now_ns)
        return event

    def _of_segment(self, index: int) -> Iterator[SessionEvent]:
        segment = self._segments[index]
        before = self._segments[index - 1] if index else None
        after = self._segments[index + 1] if index + 1 < len(self._segments) else None
        trade_date = segment.trade_date
        pre_open_ns = self._pre_open_of(before, segment)
        if pre_open_ns < segment.opens_ns:
            yield SessionEvent(pre_open_ns, SessionEventKind.PRE_OPEN, trade_date)
        is_further = before is not None and before.trade_date == trade_date
        kind = SessionEventKind.RESUME if is_further else SessionEventKind.OPEN
        yield SessionEvent(segment.opens_ns, kind, trade_date)
        is_last = after is None or after.trade_date != trade_date
        yield SessionEvent(segment.closes_ns, SessionEventKind.CLOSE if is_last else SessionEventKind.HALT, trade_date)

    def _pre_open_of(self, before: Segment | None, segment: Segment) -> int:
        if before is None:
            return segment.opens_ns - self.pre_open_ns
        own_ns = self._pre_opens.get(segment.opens_ns)
        if own_ns is not None:
            return min(max(own_ns, before.closes_ns), segment.opens_ns)
        is_long = segment.opens_ns - before.closes_ns > self.daily_break_max_ns
        return max(segment.opens_ns - (self.long_pre_open_ns if is_long else self.pre_open_ns), before.closes_ns)

    def _segment_before(self, now_ns: int) -> Segment:
        """The segment that opened last; raises ``CalendarError`` for a time that the table does not know."""
        if not self.covers(now_ns):
            raise self._unknown(now_ns)
        return self._segments[bisect_right(self._opens, now_ns) - 1]

    def _segment_after(self, now_ns: int) -> Segment:
        return self._segments[bisect_right(self._opens, now_ns)]

    def _unknown(self, now_ns: int) -> CalendarError:
        return CalendarError(
            f"calendar {self.name} ends before {_utc(now_ns)}"
            if now_ns >= self.first_ns
            else f"calendar {self.name} begins after {_utc(now_ns)}",
            f"it knows {_utc(self.first_ns)} to {_utc(self.last_ns)}; compile a longer one (docs/market-time.md)",
        )


class AlwaysOpen(SessionCalendar):
    """A market that never closes: one session without an end. Its trade date is the day of UTC."""

    never_closes = True

    def __init__(self) -> None:
        super().__init__(ALWAYS, [Segment(19700101, -(1 << 62), 1 << 62)])

    def trade_date(self, now_ns: int) -> int:
        """The day of UTC."""
        day = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
        return day.year * 10_000 + day.month * 100 + day.day

    def events(self, from_ns: int, to_ns: int) -> Iterator[SessionEvent]:
        """None."""
        return iter(())

    def next_event(self, now_ns: int) -> SessionEvent | None:
        """None."""
        return None


def _check(name: str, segments: Sequence[Segment]) -> None:
    if not segments:
        raise CalendarError(f"calendar {name} has no sessions", "compile it again")
    last_ns, last_date = -(1 << 63), 0
    for trade_date, opens_ns, closes_ns in segments:
        if opens_ns >= closes_ns or opens_ns < last_ns or trade_date < last_date:
            raise CalendarError(
                f"calendar {name}: trade date {trade_date}: {_utc(opens_ns)} to {_utc(closes_ns)} does not follow what "
                "is before it",
                "put the sessions in order, without overlaps",
            )
        last_ns, last_date = closes_ns, trade_date


def _has_saturday(from_ns: int, to_ns: int) -> bool:
    day = datetime.fromtimestamp(from_ns // NS_PER_S, UTC).date()
    last = datetime.fromtimestamp(to_ns // NS_PER_S, UTC).date()
    return (last - day).days >= (SATURDAY - day.weekday()) % 7


def _utc(now_ns: int) -> str:
    seconds = now_ns // NS_PER_S
    if not 0 <= seconds < MAX_S:
        return "ever"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
