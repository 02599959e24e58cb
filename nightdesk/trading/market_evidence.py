"""What live reports of the exchange say about our calendar and our clock. Pure: times come in with each call.

A market that is closed by the calendar has no trades. One that comes all the same proves the calendar wrong where its
own time lies behind the close, and this machine's clock where the trades of before the close go on coming after it.
"""

from collections import deque
from typing import NamedTuple

NS_PER_S = 1_000_000_000

PRINT_GRACE_S = 5.0
"""By the exchange's time: prints of a close come a little later than it, an opening's perhaps a little earlier."""

LATE_S = 10.0
"""How long past a close, by our clock, trades of before it may be on their way."""

GOES_ON_S = 5.0
"""How long such trades must have gone on: what a link held up comes in one burst."""

VALID_S = 30.0
"""How long, on this machine's clock, the last such trade holds."""

FUTURE_MAX_S = 86_400.0
"""A trade that is further ahead of our clock is no evidence of anything."""

SKEW_MAX_S = 1.0
"""What the exchange's clock and ours may differ by, the way of a report included."""

SKEW_REPORTS = 5
"""So many reports in a row must agree to within ``SKEW_MAX_S``: one that is late says nothing."""

SKEW_AGAIN_S = 3600.0
"""A clock that stays wrong is told of once in so long."""


NEVER_NS = 1 << 62


class Stop(NamedTuple):
    """A time in which a market does not trade, by our calendar and our clock."""

    symbol: str
    stopped_ns: int
    opens_ns: int
    """When it trades again; ``NEVER_NS`` for a contract that has ended."""
    now_ns: int
    """The present market time."""
    now_s: float
    """The present monotonic time."""


class _Seen:
    __slots__ = ("first_s", "newest_ns", "proved_s", "stopped_ns")

    def __init__(self, stop: Stop, ts_event_ns: int) -> None:
        self.stopped_ns = stop.stopped_ns
        self.first_s = stop.now_s
        self.newest_ns = ts_event_ns
        self.proved_s: float | None = None


class TradeEvidence:
    """Per symbol, what trades have come since it stopped to trade.

    ``is_our_clock``: the exchange is embedded and its clock is ours, so that a trade that comes late is just late.
    """

    def __init__(self, *, is_our_clock: bool) -> None:
        self._is_our_clock = is_our_clock
        self._seen: dict[str, _Seen] = {}

    def on_trade(self, stop: Stop, ts_event_ns: int) -> str:
        """A trade in a market that does not trade: how it contradicts that, empty where it does not."""
        if ts_event_ns > stop.now_ns + FUTURE_MAX_S * NS_PER_S:
            return ""
        seen = self._seen.get(stop.symbol)
        if seen is None or seen.stopped_ns != stop.stopped_ns:
            seen = self._seen[stop.symbol] = _Seen(stop, ts_event_ns)
        is_newer = ts_event_ns > seen.newest_ns
        seen.newest_ns = max(seen.newest_ns, ts_event_ns)
        text = self._contradiction(stop, ts_event_ns, is_late=is_newer and stop.now_s - seen.first_s >= GOES_ON_S)
        if text:
            seen.proved_s = stop.now_s
        return text

    def _contradiction(self, stop: Stop, ts_event_ns: int, *, is_late: bool) -> str:
        symbol, stopped_ns, opens_ns, now_ns, _ = stop
        grace_ns = PRINT_GRACE_S * NS_PER_S
        if stopped_ns + grace_ns < ts_event_ns < opens_ns - grace_ns:
            return f"{symbol} has traded {_span(ts_event_ns - stopped_ns)} after the calendar's end of trading"
        if self._is_our_clock:
            return ""
        if ts_event_ns > stopped_ns + grace_ns:
            behind_ns = ts_event_ns - now_ns
            if behind_ns <= grace_ns:
                return ""
            return f"{symbol} trades; our clock is {_span(behind_ns)} behind the exchange's"
        if not is_late or now_ns < stopped_ns + LATE_S * NS_PER_S:
            return ""
        ahead = _span(now_ns - ts_event_ns)
        return f"{symbol} trades on after its end of trading by our clock, which is {ahead} ahead of the exchange's"

    def holds(self, stop: Stop) -> bool:
        """Whether a trade of late contradicts this stop."""
        seen = self._seen.get(stop.symbol)
        if seen is None or seen.stopped_ns != stop.stopped_ns or seen.proved_s is None:
            return False
        return stop.now_s - seen.proved_s <= VALID_S


class ClockSkew:
    """The difference between the times of reports and our clock, of one source: reports of orders, or one symbol's
    trades."""

    def __init__(self) -> None:
        self._ahead_s: deque[float] = deque(maxlen=SKEW_REPORTS)
        self._newest_ns = 0

    def observe(self, ts_event_ns: int, now_ns: int) -> float:
        """Take a live report; by how many seconds our clock is ahead of the exchange's, 0 where nothing is steady.

        Of reports within a second one counts, and none that is an old picture: what a link held up comes all at once.
        """
        if ts_event_ns < self._newest_ns + NS_PER_S:
            return 0.0
        self._newest_ns = ts_event_ns
        self._ahead_s.append((now_ns - ts_event_ns) / NS_PER_S)
        low, high = min(self._ahead_s), max(self._ahead_s)
        if len(self._ahead_s) < SKEW_REPORTS or high - low > SKEW_MAX_S or min(abs(low), abs(high)) <= SKEW_MAX_S:
            return 0.0
        return low if low > 0 else high


def _span(span_ns: int) -> str:
    """For people; a clock or a calendar may be wrong by seconds or by days."""
    span_s = abs(span_ns) / NS_PER_S
    name, unit_s = next(((name, unit_s) for name, unit_s in _UNITS if span_s >= 2 * unit_s), ("s", 1))
    return f"{span_s / unit_s:.0f} {name}"


_UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60))
