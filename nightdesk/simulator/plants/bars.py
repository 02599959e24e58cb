"""What the market did in this session: trades and time bars, bounded in memory, and the closing of live bars."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from itertools import takewhile
from operator import attrgetter

import msgspec

from nightdesk.messages.enums import AggressorSide, BarUnit
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants.reference import NS_PER_S

TICKS_KEPT_MAX = 100_000
SECOND_BARS_KEPT_MAX = 43_200
"""Twelve hours of one-second bars with trades."""
MINUTE_BARS_KEPT_MAX = 43_200
"""Thirty days of one-minute bars."""
DAY_BARS_KEPT_MAX = 1_000

UNIT_S = {BarUnit.SECOND: 1, BarUnit.MINUTE: 60, BarUnit.DAY: 86_400, BarUnit.WEEK: 604_800}

_START = attrgetter("start_s")
_TIME = attrgetter("ts_ns")
_FIRST_SUNDAY_S = 3 * 86_400
"""The epoch was a Thursday. A week begins on Sunday, when futures open for the week that is to come."""
_KEPT_MAX = {
    BarUnit.SECOND: SECOND_BARS_KEPT_MAX,
    BarUnit.MINUTE: MINUTE_BARS_KEPT_MAX,
    BarUnit.DAY: DAY_BARS_KEPT_MAX,
}
_BASE_OF = {unit: unit for unit in _KEPT_MAX} | {BarUnit.WEEK: BarUnit.DAY}


def start_of(second: int, unit: BarUnit, period: int) -> int:
    """The second in which the bar begins that a unix second lies in; bars begin at multiples of their length."""
    offset_s = _FIRST_SUNDAY_S if unit is BarUnit.WEEK else 0
    return second - (second - offset_s) % (period * UNIT_S[unit])


class BarState(msgspec.Struct, frozen=True):
    """One bar. ``ts_start_s <= trade's second < ts_end_s``; the wire's marker of an intraday bar is its end.

    A day is a day of UTC and a week begins on Sunday: the exchange has no calendar of sessions yet.
    """

    symbol: str
    exchange: str
    unit: BarUnit
    period: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    bid_volume: int
    """Volume of sell aggressors (traded at the bid); ``ask_volume`` of buy aggressors."""
    ask_volume: int
    trades: int
    ts_start_s: int
    ts_end_s: int

    def joined(self, later: "BarState") -> "BarState":
        """This bar and a later part of the same one."""
        return msgspec.structs.replace(
            self,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            close=later.close,
            volume=self.volume + later.volume,
            bid_volume=self.bid_volume + later.bid_volume,
            ask_volume=self.ask_volume + later.ask_volume,
            trades=self.trades + later.trades,
        )


class _Bar:
    """A bar being built."""

    __slots__ = ("ask_volume", "bid_volume", "close", "high", "low", "open", "start_s", "trades", "volume")

    def __init__(self, start_s: int, price: float) -> None:
        self.start_s = start_s
        self.open = self.high = self.low = self.close = price
        self.volume = self.bid_volume = self.ask_volume = self.trades = 0

    def add(self, trade: Traded) -> None:
        price = trade.price
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        self.close = price
        self.volume += trade.quantity
        self.trades += 1
        if trade.aggressor is AggressorSide.BUY:
            self.ask_volume += trade.quantity
        elif trade.aggressor is AggressorSide.SELL:
            self.bid_volume += trade.quantity

    def join(self, later: "_Bar") -> None:
        """Take in a bar that follows this one."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.bid_volume += later.bid_volume
        self.ask_volume += later.ask_volume
        self.trades += later.trades

    def copy(self, start_s: int) -> "_Bar":
        twin = _Bar(start_s, self.open)
        twin.join(self)
        return twin


class _Series:
    """One instrument's prints and its bars of one second, one minute and one day."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.begins_s: int | None = None
        self.ticks: deque[Traded] = deque(maxlen=TICKS_KEPT_MAX)
        self.base: dict[BarUnit, deque[_Bar]] = {unit: deque(maxlen=kept) for unit, kept in _KEPT_MAX.items()}
        self.live: dict[tuple[BarUnit, int], _Bar | None] = {}

    def add(self, trade: Traded) -> None:
        self.ticks.append(trade)
        second = trade.ts_ns // NS_PER_S
        if self.begins_s is None:
            self.begins_s = second
        for unit, bars in self.base.items():
            start_s = second - second % UNIT_S[unit]
            if not bars or bars[-1].start_s != start_s:
                bars.append(_Bar(start_s, trade.price))
            bars[-1].add(trade)


class BarStore:
    """Trades and bars of all instruments.

    A tape that is played again starts earlier than what is held; its instrument's history is then begun anew, so that
    times in an answer never go backwards.
    """

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._watchers: dict[tuple[str, BarUnit, int], int] = {}
        self._second = 0

    def add(self, trade: Traded) -> list[BarState]:
        """Take a print; returns the watched bars that it closes (a bar closes when time passes its end).

        A print without quantity is not history.
        """
        series = self._series.get(trade.symbol)
        if series is None or (series.ticks and trade.ts_ns < series.ticks[-1].ts_ns):
            before, series = series, _Series(trade.exchange)
            if before is not None:
                series.live = dict.fromkeys(before.live)
            self._series[trade.symbol] = series
            self._rewatch(trade.symbol, series)
        if trade.quantity <= 0:
            return []
        self._second = trade.ts_ns // NS_PER_S
        closed = self._close_until(trade.symbol, series, self._second)
        series.add(trade)
        for (unit, period), bar in series.live.items():
            if bar is None:
                bar = series.live[unit, period] = _Bar(start_of(self._second, unit, period), trade.price)
            bar.add(trade)
        return closed

    def advance(self, now_ns: int) -> list[BarState]:
        """Market time has come to ``now_ns``: the watched bars that ended by then."""
        second = self._second = now_ns // NS_PER_S
        return [bar for symbol, series in self._series.items() for bar in self._close_until(symbol, series, second)]

    def watch(self, symbol: str, unit: BarUnit, period: int) -> None:
        """Report this bar's closes from ``add`` and ``advance``; counted, so that two watchers need two unwatches."""
        key = (symbol, unit, _checked(period))
        self._watchers[key] = self._watchers.get(key, 0) + 1
        if symbol in self._series:
            self._rewatch(symbol, self._series[symbol])

    def unwatch(self, symbol: str, unit: BarUnit, period: int) -> None:
        """Take one watcher away; more than there were are ignored."""
        key = (symbol, unit, period)
        count = self._watchers.pop(key, 0)
        if count > 1:
            self._watchers[key] = count - 1
        elif symbol in self._series:
            self._series[symbol].live.pop((unit, period), None)

    def bars(self, symbol: str, unit: BarUnit, period: int, start_s: int, finish_s: int) -> list[BarState]:
        """Closed bars and the present one whose *end* is in ``[start_s, finish_s]``, oldest first; empty ones absent.

        ``period`` counts units.
        """
        return self.bars_as_now(symbol, unit, period, start_s, finish_s)()

    def bars_as_now(
        self, symbol: str, unit: BarUnit, period: int, start_s: int, finish_s: int
    ) -> Callable[[], list[BarState]]:
        """``bars`` of this moment, to be made later and in any thread: there may be many thousands of them."""
        series = self._series.get(symbol)
        if series is None:
            return list
        base = list(series.base[_BASE_OF[unit]])
        first = bisect_left(base, start_of(start_s - 1, unit, _checked(period)), key=_START)
        part = base[first : bisect_left(base, start_of(finish_s, unit, period), key=_START)]
        if part and part[-1] is base[-1]:
            # It goes on growing; those before it have ended.
            part[-1] = part[-1].copy(part[-1].start_s)
        exchange = series.exchange
        return lambda: [_state(symbol, exchange, unit, period, bar) for bar in _time_bars(part, unit, period)]

    def ticks(self, symbol: str, start_s: int, finish_s: int) -> list[Traded]:
        """Prints with their second in ``[start_s, finish_s]``, oldest first."""
        series = self._series.get(symbol)
        if series is None:
            return []
        ticks = list(series.ticks)
        first = bisect_left(ticks, start_s * NS_PER_S, key=_TIME)
        return ticks[first : bisect_left(ticks, (finish_s + 1) * NS_PER_S, key=_TIME)]

    def begins_s(self, symbol: str) -> int | None:
        """The second of the first print since the market began; None before it."""
        series = self._series.get(symbol)
        return series.begins_s if series is not None else None

    def _rewatch(self, symbol: str, series: _Series) -> None:
        for watched, unit, period in self._watchers:
            if watched == symbol and (unit, period) not in series.live:
                # A bar that has begun is reported whole, also to whoever asks in its middle.
                series.live[unit, period] = self._present(series, unit, period)

    def _present(self, series: _Series, unit: BarUnit, period: int) -> _Bar | None:
        start_s = start_of(self._second, unit, period)
        newest = takewhile(lambda bar: bar.start_s >= start_s, reversed(series.base[_BASE_OF[unit]]))
        present = _time_bars(reversed(list(newest)), unit, period)
        return present[-1] if present else None

    def _close_until(self, symbol: str, series: _Series, second: int) -> list[BarState]:
        closed = []
        for (unit, period), bar in series.live.items():
            if bar is None or bar.start_s + period * UNIT_S[unit] > second:
                continue
            closed.append(_state(symbol, series.exchange, unit, period, bar))
            series.live[unit, period] = None
        return closed


def _checked(period: int) -> int:
    if period < 1:
        raise ValueError(f"a bar's period must be at least 1, not {period}")
    return period


def _time_bars(base: Iterable[_Bar], unit: BarUnit, period: int) -> list[_Bar]:
    built: list[_Bar] = []
    for bar in base:
        start_s = start_of(bar.start_s, unit, period)
        if built and built[-1].start_s == start_s:
            built[-1].join(bar)
        else:
            built.append(bar.copy(start_s))
    return built


def _state(symbol: str, exchange: str, unit: BarUnit, period: int, bar: _Bar) -> BarState:
    return BarState(
        symbol=symbol,
        exchange=exchange,
        unit=unit,
        period=period,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        bid_volume=bar.bid_volume,
        ask_volume=bar.ask_volume,
        trades=bar.trades,
        ts_start_s=bar.start_s,
        ts_end_s=bar.start_s + period * UNIT_S[unit],
    )
