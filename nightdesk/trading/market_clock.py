"""The market clock as one subscriber sees it. Pure: the monotonic time comes in with each call."""

BACKWARD_MAX_NS = 60_000_000_000
"""A tick older than the clock by more than this is an old picture (a snapshot's last trade) or another date."""

BACKWARD_TICKS_MIN = 20
"""So many old ticks in a row mean that the exchange's time really went back (a tape was started again)."""


class MarketClock:
    """The newest exchange time seen, plus the monotonic time since then times the exchange's speed.

    ``speed`` is 1 at a real exchange. With speed 0 (a tape played as fast as possible) only ticks move the clock. It
    never goes back, except when the exchange itself does so by more than a minute; ``observe`` returns that shift, so
    that timers can be moved along. Where ``is_anchored`` is false (the embedded exchange may run at any date), the
    first tick sets the clock, and that is a shift as well.
    """

    __slots__ = ("_anchor_s", "_floor_ns", "_is_anchored", "_newest_ns", "_old_ticks", "speed")

    def __init__(self, speed: float, start_ns: int, monotonic_s: float, *, is_anchored: bool) -> None:
        self.speed = speed
        self._newest_ns = start_ns
        self._floor_ns = start_ns
        self._anchor_s = monotonic_s
        self._is_anchored = is_anchored
        self._old_ticks = 0

    def observe(self, ts_event_ns: int, monotonic_s: float) -> int:
        """Take a tick's exchange time; returns by how much the clock was set anew, 0 nearly always."""
        if self._is_anchored:
            if ts_event_ns > self._newest_ns and ts_event_ns > self._floor_ns - BACKWARD_MAX_NS:
                self._newest_ns = ts_event_ns
                self._anchor_s = monotonic_s
                self._old_ticks = 0
                return 0
            if ts_event_ns >= self._floor_ns - BACKWARD_MAX_NS:
                return 0
            self._old_ticks += 1
            if self._old_ticks < BACKWARD_TICKS_MIN:
                return 0
        shift_ns = ts_event_ns - self.now_ns(monotonic_s)
        self._newest_ns = self._floor_ns = ts_event_ns
        self._anchor_s = monotonic_s
        self._is_anchored = True
        self._old_ticks = 0
        return shift_ns

    def now_ns(self, monotonic_s: float) -> int:
        """The market's time now."""
        now_ns = self._newest_ns + int((monotonic_s - self._anchor_s) * self.speed * 1e9)
        if now_ns > self._floor_ns:
            self._floor_ns = now_ns
        return self._floor_ns
