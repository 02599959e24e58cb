"""What an hour of an order book looks like, in numbers: the same measures for a recorded and a simulated market."""

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

LEVELS = 5
HORIZONS_S = (1, 5, 10, 30, 60)
LAGS = (1, 2, 5, 10)
_SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class BookState:
    """The public book after something happened: best prices in ticks, sizes of the first levels from the best on."""

    ts_ns: int
    bid: int
    ask: int
    bid_sizes: tuple[int, ...]
    ask_sizes: tuple[int, ...]

    @property
    def top(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """What a quote shows: best prices and their sizes."""
        return self.bid, self.ask, self.bid_sizes[:1], self.ask_sizes[:1]


@dataclass(slots=True)
class Tape:
    """One market from ``start_ns`` to ``end_ns``. A moved order counts as a cancel and a new order.

    ``orders`` are resting limit orders (time, size), ``trades`` are prints (time, +1 buyer or -1 seller took, size).
    """

    start_ns: int
    end_ns: int
    orders: list[tuple[int, int]] = field(default_factory=list)
    trades: list[tuple[int, int, int]] = field(default_factory=list)
    states: list[BookState] = field(default_factory=list)
    canceled: int = 0
    filled: int = 0
    published: int = 0


def measure(tapes: Sequence[Tape]) -> dict[str, float]:
    """Each statistic by its name; several tapes are taken together as one long market."""
    found = {
        **_book(tapes),
        **_sizes("order size", [size for tape in tapes for _, size in tape.orders]),
        **_sizes("trade size", [size for tape in tapes for _, _, size in tape.trades]),
        **_gaps("orders", [gap for tape in tapes for gap in gaps_s([ts for ts, _ in tape.orders])]),
        **_gaps("trades", [gap for tape in tapes for gap in gaps_s([ts for ts, _, _ in tape.trades])]),
    }
    canceled = sum(tape.canceled for tape in tapes)
    found["cancels / new orders"] = canceled / sum(len(tape.orders) for tape in tapes)
    found["orders ending canceled (share)"] = canceled / (canceled + sum(tape.filled for tape in tapes))
    mids = [mids_by_second(tape) for tape in tapes]
    for horizon in HORIZONS_S:
        changes = [late - early for row in mids for early, late in zip(row, row[horizon:], strict=False)]
        found[f"mid change over {horizon} s, deviation (ticks)"] = statistics.pstdev(changes)
    for lag in LAGS:
        found[f"trade signs, autocorrelation at lag {lag}"] = statistics.fmean(
            autocorrelation([sign for _, sign, _ in tape.trades], lag) for tape in tapes
        )
    return found


def gaps_s(stamps: Sequence[int]) -> list[float]:
    """Seconds between one and the next."""
    return [(late - early) / _SECOND_NS for early, late in pairwise(stamps)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def autocorrelation(values: Sequence[int], lag: int) -> float:
    """Of a series with its own mean taken off."""
    mean = statistics.fmean(values)
    products = statistics.fmean((a - mean) * (b - mean) for a, b in zip(values, values[lag:], strict=False))
    return products / statistics.pvariance(values, mean)


def mids_by_second(tape: Tape) -> list[float]:
    """The middle between bid and offer in ticks at each full second from the tape's start on."""
    stamps = [state.ts_ns for state in tape.states]
    mids = []
    for ts_ns in range(tape.start_ns, tape.end_ns, _SECOND_NS):
        state = tape.states[max(0, bisect_right(stamps, ts_ns) - 1)]
        mids.append((state.bid + state.ask) / 2)
    return mids


def weighed(tape: Tape) -> Iterator[tuple[BookState, int]]:
    """Each state of the book and the nanoseconds that it lasted."""
    for state, after in pairwise(tape.states):
        if after.ts_ns > state.ts_ns:
            yield state, after.ts_ns - state.ts_ns


def _book(tapes: Sequence[Tape]) -> dict[str, float]:
    """Means over time, not over events."""
    total = spread = tight = 0
    bids, asks = [0] * LEVELS, [0] * LEVELS
    for tape in tapes:
        for state, lasted in weighed(tape):
            total += lasted
            spread += lasted * (state.ask - state.bid)
            tight += lasted * (state.ask - state.bid == 1)
            for level in range(LEVELS):
                bids[level] += lasted * state.bid_sizes[level]
                asks[level] += lasted * state.ask_sizes[level]
    found = {"spread, mean (ticks)": spread / total, "spread of one tick (share of time)": tight / total}
    for side, sums in (("bid", bids), ("offer", asks)):
        for level in range(LEVELS):
            found[f"depth, {side} level {level + 1} (contracts)"] = sums[level] / total
    return found


def _sizes(name: str, sizes: Sequence[int]) -> dict[str, float]:
    ordered = sorted(sizes)
    return {
        f"{name}, mean": statistics.fmean(ordered),
        f"{name}, median": quantile(ordered, 0.5),
        f"{name}, 90th percentile": quantile(ordered, 0.9),
        f"{name}, share of 1": ordered.count(1) / len(ordered),
    }


def _gaps(name: str, gaps: Sequence[float]) -> dict[str, float]:
    ordered = sorted(gaps)
    mean = statistics.fmean(ordered)
    return {
        f"time between {name}, mean (s)": mean,
        f"time between {name}, median (ms)": quantile(ordered, 0.5) * 1e3,
        f"time between {name}, 90th percentile (s)": quantile(ordered, 0.9),
        f"time between {name}, 99th percentile (s)": quantile(ordered, 0.99),
        f"time between {name}, coefficient of variation": math.sqrt(statistics.pvariance(ordered, mean)) / mean,
    }
