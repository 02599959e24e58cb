"""How far market time has come while no ticks arrive. Pure: times come in with each look."""

from collections import deque

LANE_GRACE_S = 0.25
"""Real time that a tick may be on its way from the exchange to a strategy: time that is filled in is so much behind."""

LOOK_S = LANE_GRACE_S / 4
"""How often to look."""


class SilenceWatch:
    """Lets market time go on without ticks, but never past a tick that may still be on its way.

    What the exchange had published a quarter of a second ago counts once no tick has come since then. After a look that
    was late (a callback took long, the machine was busy) it begins anew: ticks may lie unread.
    """

    __slots__ = ("_looked_s", "_samples", "_ticks")

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._ticks = -1
        self._looked_s = 0.0

    def look(self, monotonic_s: float, market_ns: int, ticks: int) -> int | None:
        """Take the published time and the number of ticks so far; the time to fill in, None while there is none."""
        if ticks != self._ticks or monotonic_s - self._looked_s > LANE_GRACE_S:
            self._samples.clear()
        self._ticks, self._looked_s = ticks, monotonic_s
        samples = self._samples
        samples.append((monotonic_s, market_ns))
        ripe_s = monotonic_s - LANE_GRACE_S
        while len(samples) > 1 and samples[1][0] <= ripe_s:
            samples.popleft()
        since_s, reached_ns = samples[0]
        return reached_ns if since_s <= ripe_s else None
