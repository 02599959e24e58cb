"""Time bars from trades. Pure: time comes in with the trades and with ``advance``."""

from collections.abc import Callable

from nightdesk.messages import Bar, TradeTick

NS_PER_S = 1_000_000_000
EVER_NS = 1 << 62
"""A time that no bar reaches."""

Stretch = Callable[[int], tuple[int, int]]
"""From a moment to the time from which and until which the market trades, or does not."""


def without_breaks(now_ns: int) -> tuple[int, int]:
    """A market that always trades."""
    return -EVER_NS, EVER_NS


class BarBuilder:
    """Builds bars of ``period_s`` seconds of one symbol, aligned to the Unix epoch.

    No bar spans a time without trading: one begins with an opening and one ends with a close or a halt, which
    ``stretch`` tells. A bar ends with the first trade of a later interval or when ``advance`` is told a time past its
    end. An interval without trades has no bar. A trade that comes late, after its interval's bar was given out, counts
    in the next one: each trade is in exactly one bar and no two bars overlap.
    """

    __slots__ = (
        "_close",
        "_exchange",
        "_floor_ns",
        "_high",
        "_low",
        "_open",
        "_period_ns",
        "_start_ns",
        "_stretch",
        "_trades",
        "_volume",
        "end_ns",
        "period_s",
        "symbol",
    )

    def __init__(self, symbol: str, exchange: str, period_s: int, stretch: Stretch = without_breaks) -> None:
        self._stretch = stretch
        self.symbol = symbol
        self.period_s = period_s
        self.end_ns = 0
        """Where the open bar ends; 0 while no bar is open."""
        self._exchange = exchange
        self._period_ns = period_s * NS_PER_S
        self._floor_ns = 0
        self._start_ns = 0
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._trades = 0

    def add(self, trade: TradeTick) -> Bar | None:
        """Count one trade; returns the bar that it ended, if any."""
        ts_ns = trade.ts_event_ns
        price = trade.price
        ended = None
        if self.end_ns:
            if ts_ns < self.end_ns:
                if price > self._high:
                    self._high = price
                elif price < self._low:
                    self._low = price
                self._close = price
                self._volume += trade.quantity
                self._trades += 1
                return None
            ended = self._finish()
        self._begin(max(ts_ns, self._floor_ns))
        self._open = self._high = self._low = self._close = price
        self._volume = trade.quantity
        self._trades = 1
        return ended

    def advance(self, now_ns: int) -> Bar | None:
        """Market time is now ``now_ns``; returns the bar that this ended, if any."""
        return self._finish() if self.end_ns and now_ns >= self.end_ns else None

    def reset(self) -> Bar | None:
        """Market time went back (a tape was started again): give out the open bar and accept earlier trades."""
        ended = self._finish() if self.end_ns else None
        self._floor_ns = 0
        return ended

    def _begin(self, now_ns: int) -> None:
        aligned_ns = now_ns - now_ns % self._period_ns
        from_ns, to_ns = self._stretch(now_ns)
        self._start_ns = max(aligned_ns, from_ns, self._floor_ns)
        self.end_ns = min(aligned_ns + self._period_ns, to_ns)

    def _finish(self) -> Bar:
        bar = Bar(
            symbol=self.symbol,
            exchange=self._exchange,
            period_s=self.period_s,
            open=self._open,
            high=self._high,
            low=self._low,
            close=self._close,
            volume=self._volume,
            trades=self._trades,
            ts_event_ns=self._start_ns,
            ts_close_ns=self.end_ns,
        )
        self._floor_ns = self.end_ns
        self.end_ns = 0
        return bar
