"""Whether the exchange's own timestamps confirm our market time, before something is done that only time decides. Pure.

A machine's clock may jump ahead by months; its monotonic clock does not. Each tick fixes what the exchange's clock said
at a monotonic time, from where it runs on. Pictures of older ticks are older than it, so that the newest counts; of so
few of the latest that one tick from the future is soon forgotten.
"""

from collections import deque

from nightdesk.trading.sessions import NS_PER_S

SPAN_S = 60.0
"""What market time and the exchange's clock may differ by, the way of a tick included."""

TICKS_KEPT = 64


class ClockWitness:
    """Of one machine at a real exchange, where one second is one second."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[int, float]] = deque(maxlen=TICKS_KEPT)

    def note(self, ts_event_ns: int, now_s: float) -> None:
        """A tick of the exchange came at a monotonic time."""
        self._ticks.append((ts_event_ns, now_s))

    def problem(self, now_ns: int, now_s: float) -> str:
        """Why market time ``now_ns`` is not to be relied upon at a monotonic time, for people; empty where it is."""
        if not self._ticks:
            return "no tick has confirmed this machine's clock yet"
        there_ns = max(ts_ns + round((now_s - seen_s) * NS_PER_S) for ts_ns, seen_s in self._ticks)
        ahead_s = (now_ns - there_ns) / NS_PER_S
        if abs(ahead_s) <= SPAN_S:
            return ""
        return f"this machine's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the exchange's"
