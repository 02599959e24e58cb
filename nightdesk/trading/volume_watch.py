"""The volumes of whole sessions, contract by contract, from the counts that come with the trades. Pure."""

from typing import NamedTuple

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import SessionCalendar, SessionEventKind

_DAY_NS = 86_400_000_000_000
_BOUNDARIES = (SessionEventKind.OPEN, SessionEventKind.CLOSE)


class _Running(NamedTuple):
    """A session in progress, with what a contract has traded in it so far."""

    opens_ns: int
    closes_ns: int
    trade_date: int
    volume: int


class VolumeWatch:
    """Of one product: what each of its contracts has traded in the session in progress and in the last whole one.

    A session counts for a contract that was watched from its opening to its close. The counts are the session's own
    totals, so that what is missed in between comes with the next trade; an opening or a close must not be missed.
    """

    def __init__(self, calendar: SessionCalendar) -> None:
        self._calendar = calendar
        self._since: dict[str, int] = {}
        """From when on a contract has been watched."""
        self._running: dict[str, _Running] = {}
        self._whole: dict[str, tuple[int, int]] = {}
        """The trade date and volume of the last whole session."""

    def begin(self, symbol: str, now_ns: int) -> None:
        """A contract is watched from now on, if it was not before."""
        self._since.setdefault(symbol, now_ns)

    def interrupted(self, from_ns: int, to_ns: int) -> None:
        """Nothing was seen between two times: a session that began or ended then was not seen whole."""
        if not self._has_boundary(from_ns, to_ns):
            return
        for symbol, since_ns in self._since.items():
            self._since[symbol] = max(since_ns, to_ns)

    def note(self, symbol: str, ts_ns: int, volume: int) -> None:
        """A contract's volume so far in the session that holds a moment."""
        running = self._running.get(symbol)
        if running is not None and ts_ns < running.closes_ns:
            # The image of an older trade says nothing of this session.
            if ts_ns >= running.opens_ns:
                self._running[symbol] = running._replace(volume=max(volume, running.volume))
            return
        self._finish(symbol)
        session = self._session(ts_ns)
        if session is not None:
            self._running[symbol] = _Running(*session, volume)

    def has_overtaken(self, old: str, new: str, now_ns: int) -> bool:
        """Whether the new contract had more volume than the old one in the last whole session of both."""
        for symbol in (old, new):
            running = self._running.get(symbol)
            if running is not None and now_ns >= running.closes_ns:
                self._finish(symbol)
        whole, other = self._whole.get(old), self._whole.get(new)
        return whole is not None and other is not None and other[0] == whole[0] and other[1] > whole[1]

    def _finish(self, symbol: str) -> None:
        running = self._running.pop(symbol, None)
        since_ns = self._since.get(symbol)
        if running is not None and since_ns is not None and since_ns <= running.opens_ns:
            self._whole[symbol] = (running.trade_date, running.volume)

    def _has_boundary(self, from_ns: int, to_ns: int) -> bool:
        if self._calendar.never_closes:
            return from_ns // _DAY_NS != to_ns // _DAY_NS
        # An opening or a close at the very beginning was missed, too: what came with it did not come.
        events = self._calendar.events(from_ns - 1, to_ns)
        return any(event.kind in _BOUNDARIES for event in events)

    def _session(self, ts_ns: int) -> tuple[int, int, int] | None:
        """Opening, close and trade date of the session that holds a moment; of a market that never closes, UTC's."""
        try:
            if self._calendar.never_closes:
                begins_ns = ts_ns - ts_ns % _DAY_NS
                return begins_ns, begins_ns + _DAY_NS, self._calendar.trade_date(ts_ns)
            session = self._calendar.session_at(ts_ns)
        except CalendarError:
            return None
        return None if session is None else (session.opens_ns, session.closes_ns, session.trade_date)
