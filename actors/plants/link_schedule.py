"""What the calendar says about a plant's link: whether it may be away now, and when it must be back."""

import asyncio
from typing import Final

from nightdesk.calendars.maintenance import MaintenanceHours
from nightdesk.clocks import Clock, MarketTime
from nightdesk.errors import CalendarError
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S

OVERDUE_MARKET_S: Final = 10.0
"""Trading for so long, in market time, without a link is no matter of its first moments any more."""

OVERDUE_S: Final = 1.0
"""The same in seconds of this machine: at high speed a login takes minutes of market time."""

WAIT_POLL_S: Final = 0.1
"""Market time may be set, or pass at another speed while markets are closed: a wait looks at it so often."""


class LinkSchedule:
    """Watches one link beside the calendars of all instruments; a link without trading need not stand.

    Nothing is expected of a link while no market trades, and in the gateway's maintenance whatever trades: then it is
    lost, refused and restored quietly. A moment that no calendar knows counts as trading, so that ignorance never keeps
    anybody quiet.
    """

    def __init__(
        self,
        schedule: MarketSchedule,
        market_time: MarketTime,
        clock: Clock,
        maintenance: MaintenanceHours | None = None,
    ) -> None:
        """``maintenance``: None where the gateway is never maintained while a market trades."""
        self._schedule = schedule
        self._market_time = market_time
        self._clock = clock
        self._maintenance = maintenance
        self._missing_since: tuple[int, float] | None = None

    def is_trading(self) -> bool:
        """Whether the link must stand: some market trades now, and the gateway is not maintained."""
        now_ns = self._market_time.now_ns()
        if self._maintenance is not None and self._maintenance.covers(now_ns):
            return False
        try:
            return self._schedule.is_any_open(now_ns)
        except CalendarError:
            return True

    def was_maintained(self, from_ns: int, to_ns: int) -> bool:
        """Whether all of the time between two moments was one maintenance of the gateway."""
        return self._maintenance is not None and self._maintenance.covers_all(from_ns, to_ns)

    def next_event_ns(self) -> int | None:
        """When the calendar's next event comes: whoever waits for a link tries again then; None where there is none."""
        try:
            event = self._schedule.next_event(self._market_time.now_ns())
        except CalendarError:
            return None
        return None if event is None else event.event.ts_ns

    async def wait(self, delay_s: float, *, is_quiet: bool = False) -> None:
        """Sleep, but no longer than until the calendar's next event, whatever market time does meanwhile.

        Whoever waits because nothing trades (``is_quiet``) is back as soon as something does: the opening may have come
        just before the wait, and the wall clock may be set.
        """
        ends_s = self._clock.monotonic_s() + delay_s
        event_ns = self.next_event_ns()
        while (left_s := ends_s - self._clock.monotonic_s()) > 0:
            if event_ns is not None and self._market_time.now_ns() >= event_ns:
                return
            if is_quiet and self.is_trading():
                return
            await asyncio.sleep(min(left_s, WAIT_POLL_S))

    def was_trading(self, symbol: str, from_ns: int, to_ns: int) -> bool:
        """Whether a symbol's market traded at some moment between two times."""
        try:
            return self._schedule.calendar(symbol).next_open_ns(from_ns) <= to_ns
        except (CalendarError, KeyError):
            return True

    @property
    def is_watching(self) -> bool:
        """Whether the link is missing while a market trades."""
        return self._missing_since is not None

    def is_overdue(self, *, is_up: bool) -> bool:
        """Ask a few times a second: whether the link has been missing for too long while a market trades.

        Both clocks must agree, so that market time that is set, or becomes known, makes no link overdue at once.
        """
        time = self._market_time
        if is_up or not time.is_known or not self.is_trading():
            self._missing_since = None
            return False
        now_ns, now_s = time.now_ns(), self._clock.monotonic_s()
        if self._missing_since is None or now_ns < self._missing_since[0]:
            self._missing_since = (now_ns, now_s)
        since_ns, since_s = self._missing_since
        at_least_s = max(OVERDUE_S, OVERDUE_MARKET_S / time.speed if time.speed else 0.0)
        return now_ns - since_ns >= OVERDUE_MARKET_S * NS_PER_S and now_s - since_s >= at_least_s
