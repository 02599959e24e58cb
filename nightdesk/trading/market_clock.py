"""The market clock as one subscriber sees it. Pure: the monotonic time comes in with each call."""

BACKWARD_MAX_NS = 60_000_000_000
"""A tick older than the newest by more than this is an old picture (a snapshot's last trade) or another date."""

BACKWARD_TICKS_MIN = 20
"""So many old ticks in a row mean that the exchange's time really went back (a tape was started again)."""


class MarketClock:
    """The newest exchange time seen, and what it is after that.

    ``speed`` is 1 at a real exchange. Where the clock ``runs_on``, the monotonic time since the newest tick counts,
    times the speed; elsewhere (a simulation faster than life, or a tape played as fast as possible) time without ticks
    is filled in by ``fill`` with what the exchange has published. The clock never goes back, except when the exchange
    itself does so by more than a minute; ``observe`` returns that shift, so that timers can be moved along. Where
    ``is_anchored`` is false (nobody knows the exchange's date yet), the first tick or the first filling sets the clock,
    and that is a shift as well.
    """

    __slots__ = ("_anchor_s", "_floor_ns", "_newest_ns", "_old_ticks", "_rate", "_tick_ns", "is_anchored", "speed")

    def __init__(
        self, speed: float, start_ns: int, monotonic_s: float, *, is_anchored: bool, runs_on: bool = True
    ) -> None:
        self.speed = speed
        self.is_anchored = is_anchored
        self._rate = speed if runs_on else 0.0
        self._newest_ns = self._floor_ns = self._tick_ns = start_ns
        self._anchor_s = monotonic_s
        self._old_ticks = 0

    @property
    def runs_on(self) -> bool:
        """Whether time passes between two ticks by itself."""
        return self._rate > 0

    def observe(self, ts_event_ns: int, monotonic_s: float) -> int:
        """Take a tick's exchange time; returns by how much the clock was set anew, 0 nearly always."""
        if self.is_anchored:
            if ts_event_ns > self._tick_ns:
                self._tick_ns = ts_event_ns
                self._old_ticks = 0
                if ts_event_ns > self._newest_ns and ts_event_ns > self._floor_ns - BACKWARD_MAX_NS:
                    self._newest_ns = ts_event_ns
                    self._anchor_s = monotonic_s
                return 0
            if ts_event_ns >= self._tick_ns - BACKWARD_MAX_NS:
                return 0
            self._old_ticks += 1
            if self._old_ticks < BACKWARD_TICKS_MIN:
                return 0
        return self._set(ts_event_ns, monotonic_s)

    def fill(self, market_ns: int, monotonic_s: float) -> int:
        """Let time reach what the exchange has published; returns the shift where this is the first that is known."""
        if not self.is_anchored:
            return self._set(market_ns, monotonic_s)
        if market_ns > self.now_ns(monotonic_s):
            self._newest_ns = self._floor_ns = market_ns
            self._anchor_s = monotonic_s
        return 0

    def reach(self, now_ns: int, monotonic_s: float) -> None:
        """Time has come to this though no tick says so: the machine slept, or its wall clock was set.

        Unlike a filling it is a date that ticks are compared with, so that it gives way where they prove it wrong.
        """
        if now_ns > self.now_ns(monotonic_s):
            self._newest_ns = self._floor_ns = self._tick_ns = now_ns
            self._anchor_s = monotonic_s
            self._old_ticks = 0

    def now_ns(self, monotonic_s: float) -> int:
        """The market's time now."""
        now_ns = self._newest_ns + int((monotonic_s - self._anchor_s) * self._rate * 1e9)
        if now_ns > self._floor_ns:
            self._floor_ns = now_ns
        return self._floor_ns

    def _set(self, now_ns: int, monotonic_s: float) -> int:
        shift_ns = now_ns - self.now_ns(monotonic_s)
        self._newest_ns = self._floor_ns = self._tick_ns = now_ns
        self._anchor_s = monotonic_s
        self.is_anchored = True
        self._old_ticks = 0
        return shift_ns
