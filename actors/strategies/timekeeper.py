"""What moves a strategy's market time when no ticks do: wakes for what is due, and looks at the published clock."""

import asyncio
from typing import Protocol

from actors.base import Context
from nightdesk.clocks import NS_PER_S
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.silence import LOOK_S, SilenceWatch

WAKE_MIN_S = 0.001
"""The loop's own resolution: a timer is never re-armed for less."""

WAKE_MAX_S = 3600.0
"""A timer is looked at anew at least so often."""

WALL_LOOK_S = 1.0
"""At the broker: how often the wall clock is held against the monotonic one, which stands while a machine sleeps."""

WALL_STEP_NS = 2_000_000_000
"""The wall clock has come further than the monotonic one by more: the machine slept, or the clock was set."""


class Clocked(Protocol):
    """What is moved: a strategy's runner."""

    trades: int
    quotes: int

    def now_ns(self) -> int: ...

    def advance(self, market_ns: int | None = None) -> None: ...


class Timekeeper:
    """One for each strategy; everything happens on the actor's loop."""

    def __init__(self, context: Context, *, is_simulated: bool) -> None:
        self._clock = context.clock
        self._market_time = context.market_time
        self._is_simulated = is_simulated
        self._silence = SilenceWatch()
        self._wake: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._market_clock: MarketClock | None = None
        self._ticks = -1
        self._offset_ns = 0
        self._is_ahead = False

    @property
    def _runs_on(self) -> bool:
        """At the broker, and at an embedded exchange up to real time, time passes between ticks by itself."""
        return not self._is_simulated or 0 < self._market_time.speed <= 1

    def market_clock(self) -> MarketClock:
        """The clock for a runner; it stands at the market's time where that is known."""
        time = self._market_time
        now_ns, now_s = time.now_ns(), self._clock.monotonic_s()
        clock = MarketClock(time.speed, now_ns, now_s, is_anchored=time.is_known, runs_on=self._runs_on)
        self._market_clock = clock
        return clock

    def start(self, runner: Clocked) -> None:
        """Look from now on at the published time, where there is one, and at the broker at the wall clock."""
        if self._is_simulated:
            self._look(runner)
        else:
            self._look_at_wall(runner)

    def stop(self) -> None:
        """No wakes and looks any more."""
        for handle in (self._wake, self._looking):
            if handle is not None:
                handle.cancel()
        self._wake = self._looking = None

    def due_changed(self, runner: Clocked, due_ns: int | None) -> None:
        """Advance the runner when its clock reaches this time, if that passes by itself."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if due_ns is None or not self._runs_on:
            return
        delay_s = (due_ns - runner.now_ns()) / 1e9 / self._market_time.speed
        delay_s = min(max(delay_s, WAKE_MIN_S), WAKE_MAX_S)
        self._wake = asyncio.get_running_loop().call_later(delay_s, self._on_wake, runner)

    def _on_wake(self, runner: Clocked) -> None:
        self._wake = None
        runner.advance()

    def _look(self, runner: Clocked) -> None:
        """Where no ticks come, time goes on as the exchange publishes it."""
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look, runner)
        if not self._market_time.is_known:
            return
        ticks = runner.trades + runner.quotes
        reached_ns = self._silence.look(self._clock.monotonic_s(), self._market_time.now_ns(), ticks)
        if reached_ns is not None:
            runner.advance(reached_ns)

    def _look_at_wall(self, runner: Clocked) -> None:
        """Where no ticks come, time goes on as the wall clock does, though the machine may have slept.

        A step counts at the second look at it, and only without ticks: they know the time better.
        """
        self._looking = asyncio.get_running_loop().call_later(WALL_LOOK_S, self._look_at_wall, runner)
        now_s, wall_ns = self._clock.monotonic_s(), self._market_time.now_ns()
        offset_ns = wall_ns - round(now_s * NS_PER_S)
        ticks = runner.trades + runner.quotes
        if ticks != self._ticks or offset_ns <= self._offset_ns + WALL_STEP_NS:
            self._is_ahead = False
            # A clock that is put right by little and little makes no step of it.
            self._ticks, self._offset_ns = ticks, offset_ns
        elif not self._is_ahead:
            self._is_ahead = True
        else:
            self._is_ahead, self._offset_ns = False, offset_ns
            if self._market_clock is not None:
                self._market_clock.reach(wall_ns, now_s)
                runner.advance()
