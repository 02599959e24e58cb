"""The volumes of whole sessions, contract by contract, from the counts that come with the trades. Pure."""

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import SessionCalendar


class VolumeWatch:
    """Of one product: what each of its contracts has traded in the session in progress and in the last whole one."""

    def __init__(self, calendar: SessionCalendar) -> None:
        self._calendar = calendar
        self._running: dict[str, tuple[int, int, int]] = {}
        self._whole: dict[str, tuple[int, int]] = {}

    def note(self, symbol: str, ts_ns: int, volume: int) -> None:
        """A contract's volume so far in the session that holds a moment."""
        running = self._running.get(symbol)
        if running is not None and ts_ns < running[0]:
            self._running[symbol] = (running[0], running[1], max(volume, running[2]))
            return
        self._finish(symbol)
        closes_ns, trade_date = self._session(ts_ns)
        if closes_ns:
            self._running[symbol] = (closes_ns, trade_date, volume)

    def has_overtaken(self, old: str, new: str, now_ns: int) -> bool:
        """Whether the new contract had more volume than the old one in the last whole session of both."""
        for symbol in (old, new):
            running = self._running.get(symbol)
            if running is not None and now_ns >= running[0]:
                self._finish(symbol)
        whole, other = self._whole.get(old), self._whole.get(new)
        return whole is not None and other is not None and other[0] == whole[0] and other[1] > whole[1]

    def _finish(self, symbol: str) -> None:
        running = self._running.pop(symbol, None)
        if running is not None:
            self._whole[symbol] = running[1:]

    def _session(self, ts_ns: int) -> tuple[int, int]:
        """Close and trade date of the session that holds a moment, 0 and 0 where none does.

        A market that never closes has the days of UTC.
        """
        try:
            if self._calendar.never_closes:
                return ts_ns - ts_ns % _DAY_NS + _DAY_NS, self._calendar.trade_date(ts_ns)
            session = self._calendar.session_at(ts_ns)
        except CalendarError:
            return 0, 0
        return (0, 0) if session is None else (session.closes_ns, session.trade_date)


_DAY_NS = 86_400_000_000_000
