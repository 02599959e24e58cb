"""The clocks. No other module reads one: whoever needs the time is handed a ``Clock`` or a ``MarketTime``.

Which of them is meant where is stated in docs/market-time.md: the wall for stamps of what this machine saw, the
monotonic clock for deadlines, market time for everything that the market's own time decides.
"""

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Wall time for stamps and monotonic time for deadlines; a test hands in its own."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start that never go backwards."""
        ...


class MarketTime(Protocol):
    """The market's time: sessions, bars, DAY orders and strategies' timers follow it."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC, as the exchange counts them."""
        ...

    @property
    def speed(self) -> float:
        """Market seconds in one second of this machine; 0: time moves with a tape only."""
        ...

    @property
    def is_known(self) -> bool:
        """False as long as an embedded exchange has said nothing: ``now_ns`` is the wall time until then."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()


class WallTime:
    """Market time at a real exchange: the machine's wall clock."""

    speed = 1.0
    is_known = True

    def __init__(self, clock: Clock) -> None:
        self.now_ns = clock.now_ns


class ManualClock:
    """A clock that stands still until it is moved; for tests and replay."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._monotonic_s = 0.0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_ns += round(seconds * NS_PER_S)
        self._monotonic_s += seconds

    def set_wall(self, now_ns: int) -> None:
        """Set the wall clock alone, as an operator or NTP does."""
        self._now_ns = now_ns


class ManualTime:
    """Market time for tests: it follows a clock's monotonic time from where it was put, ``speed`` times as fast.

    Without ``start_ns`` it begins at the clock's wall time.
    """

    is_known = True

    def __init__(self, clock: Clock, start_ns: int | None = None, *, speed: float = 1.0) -> None:
        self.speed = speed
        self._clock = clock
        self._start_ns = clock.now_ns() if start_ns is None else start_ns
        self._start_s = clock.monotonic_s()

    def now_ns(self) -> int:
        return self._start_ns + round((self._clock.monotonic_s() - self._start_s) * self.speed * NS_PER_S)

    def set(self, now_ns: int) -> None:
        """Put the market's time somewhere else."""
        self._start_ns = now_ns
        self._start_s = self._clock.monotonic_s()
