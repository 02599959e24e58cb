"""What moves a strategy's market time when no ticks do: wakes for what is due, and looks at the published clock."""

import asyncio
from typing import Protocol

from actors.base import Context
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.silence import LOOK_S, SilenceWatch

WAKE_MIN_S = 0.001
"""The loop's own resolution: a timer is never re-armed for less."""

WAKE_MAX_S = 3600.0
"""A timer is looked at anew at least so often."""


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

    @property
    def _runs_on(self) -> bool:
        """At the broker, and at an embedded exchange up to real time, time passes between ticks by itself."""
        return not self._is_simulated or 0 < self._market_time.speed <= 1

    def market_clock(self) -> MarketClock:
        """The clock for a runner; it stands at the market's time where that is known."""
        time = self._market_time
        now_ns, now_s = time.now_ns(), self._clock.monotonic_s()
        return MarketClock(time.speed, now_ns, now_s, is_anchored=time.is_known, runs_on=self._runs_on)

    def start(self, runner: Clocked) -> None:
        """Look at the published time from now on, where there is one."""
        if self._is_simulated:
            self._look(runner)

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
