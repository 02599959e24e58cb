"""Which markets are silent although they trade by their calendars. Pure: the times come in with each call."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from nightdesk.errors import CalendarError
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import ALWAYS, NS_PER_S

STALE_MIN_S: Final = 2.0
"""Silence is at least so long in seconds of this machine: at high speed a slow moment is minutes of market time."""


class Silence(NamedTuple):
    """A market that has become stale, or is heard of again."""

    symbol: str
    is_stale: bool
    seconds: float
    """Of market time without news."""


class _Heard(NamedTuple):
    newest_ns: int
    market_ns: int
    monotonic_s: float
    is_stale: bool


class StaleWatch:
    """Looks at the newest tick of each symbol once in a while; costs nothing for a tick.

    A market that never closes by its calendar is not watched: nobody knows when it should be heard of.
    """

    def __init__(self, schedule: MarketSchedule, stale_after_s: float | None) -> None:
        """``stale_after_s`` in market time; None: nothing is ever stale."""
        self._schedule = schedule
        self._stale_after_s = stale_after_s
        self._heard: dict[str, _Heard] = {}

    @property
    def stale(self) -> frozenset[str]:
        """The symbols that are stale now."""
        return frozenset(symbol for symbol, heard in self._heard.items() if heard.is_stale)

    def look(
        self, newest_ns: Mapping[str, int], market_ns: int, monotonic_s: float, *, speed: float = 1.0
    ) -> list[Silence]:
        """``newest_ns`` has every symbol that should be heard of, with the time of its newest tick, 0 before any.

        ``speed`` is market time's: a market is silent only as long as this machine's seconds say so as well, whoever
        sets the wall clock. Returns what has changed. Without a link call ``forget`` instead: a loss is told otherwise.
        """
        if self._stale_after_s is None:
            return []
        limit_s = self._stale_after_s
        real_s = max(min(limit_s, STALE_MIN_S), limit_s / speed if speed else 0.0)
        found = [
            self._look_at(symbol, tick_ns, market_ns, monotonic_s, (limit_s, real_s))
            for symbol, tick_ns in newest_ns.items()
        ]
        return [silence for silence in found if silence is not None]

    def forget(self) -> None:
        """Silence counts from the next look on."""
        self._heard.clear()

    def _look_at(
        self, symbol: str, newest_ns: int, market_ns: int, monotonic_s: float, limits: tuple[float, float]
    ) -> Silence | None:
        heard = self._heard.get(symbol)
        if not self._is_open(symbol, market_ns):
            self._heard.pop(symbol, None)
            return None
        if heard is None or newest_ns != heard.newest_ns:
            self._heard[symbol] = _Heard(newest_ns, market_ns, monotonic_s, is_stale=False)
            if heard is None or not heard.is_stale:
                return None
            return Silence(symbol, is_stale=False, seconds=(market_ns - heard.market_ns) / NS_PER_S)
        if market_ns < heard.market_ns:
            # The clock was set back: silence counts from there, or it would be told too late by as much.
            heard = self._heard[symbol] = heard._replace(market_ns=market_ns)
        limit_s, real_s = limits
        silent_s = (market_ns - heard.market_ns) / NS_PER_S
        if heard.is_stale or silent_s < limit_s or monotonic_s - heard.monotonic_s < real_s:
            return None
        self._heard[symbol] = heard._replace(is_stale=True)
        return Silence(symbol, is_stale=True, seconds=silent_s)

    def _is_open(self, symbol: str, market_ns: int) -> bool:
        calendar = self._schedule.calendar(symbol)
        try:
            return calendar.name != ALWAYS and calendar.is_open(market_ns)
        except CalendarError:
            return False
