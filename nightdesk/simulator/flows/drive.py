"""The market's motor: takes steps from the flow when market time comes to them, or as fast as the clients take them."""

import asyncio
from collections.abc import Awaitable, Callable

from nightdesk.clocks import Clock
from nightdesk.simulator.flows.flow import Flow
from nightdesk.simulator.model import VenueEvent

AS_FAST_AS_TAKEN = 0.0
STEPS_PER_TURN = 32
"""Steps with events between two turns of the event loop: orders that arrived meanwhile act before the next ones."""
STEPS_PER_TURN_MAX = 4 * STEPS_PER_TURN
"""The same with those that nobody could see."""

SLEEP_MIN_S = 0.0005
SETTLE_S = 0.25
"""A waiting market begins so long after the last subscription: a client that asks for trades and quotes in two
requests gets both from the first one on."""

NS_PER_S = 1_000_000_000


class MarketDrive:
    """Runs one flow. ``is_wanted`` tells whether anybody listens, ``room`` waits until the listeners can take more."""

    def __init__(
        self,
        flow: Flow,
        *,
        speed: float,
        starts_when_wanted: bool,
        clock: Clock,
        apply: Callable[[list[VenueEvent]], None],
        advance: Callable[[int], list[VenueEvent]] = lambda _now_ns: [],
        is_wanted: Callable[[], bool],
        changes: Callable[[], int],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        """``advance`` is asked before each step what other timers have brought until then."""
        self._flow = flow
        self._advance = advance
        self._speed = speed
        self._starts_when_wanted = starts_when_wanted
        self._clock = clock
        self._apply = apply
        self._is_wanted = is_wanted
        self._changes = changes
        self._room = room
        self._pending = flow.next()
        self._last_ns = self._pending[0] if self._pending is not None else clock.now_ns()
        self._anchor: tuple[int, float] | None = None
        self._wanted = asyncio.Event()
        self._changes_seen = -1
        self.steps = 0

    @property
    def ended(self) -> bool:
        """Whether the tape has been played to its end."""
        return self._pending is None

    def now_ns(self) -> int:
        """Market time: never before the last step, never after the next one."""
        now_ns = self._last_ns
        if self._anchor is not None:
            market_ns, started_s = self._anchor
            elapsed_s = (self._clock.monotonic_s() - started_s) * self._speed
            now_ns = max(now_ns, market_ns + round(elapsed_s * NS_PER_S))
        if self._pending is not None:
            now_ns = min(now_ns, self._pending[0])
        return now_ns

    def subscriptions_changed(self) -> None:
        """Somebody subscribed or left."""
        if self._is_wanted():
            self._wanted.set()
        else:
            self._wanted.clear()

    async def run(self) -> None:
        """Until the tape ends; a synthetic market never does."""
        if self._speed == AS_FAST_AS_TAKEN:
            await self._run_as_taken()
        else:
            await self._run_in_time()

    async def _run_as_taken(self) -> None:
        while self._pending is not None:
            await self._listeners()
            self._take_steps(lambda _due_ns: True)
            await self._room()
            await asyncio.sleep(0)

    async def _run_in_time(self) -> None:
        if self._starts_when_wanted:
            await self._listeners()
        self._anchor = (self._last_ns, self._clock.monotonic_s())
        while self._pending is not None:
            delay_s = self._seconds_until(self._pending[0])
            await asyncio.sleep(delay_s if delay_s > SLEEP_MIN_S else 0)
            self._take_steps(lambda due_ns: self._seconds_until(due_ns) <= SLEEP_MIN_S)
            if self._speed > 1:
                await self._room()

    async def _listeners(self) -> None:
        """Wait until somebody listens and no further subscription has come for a moment."""
        while not self._is_wanted() or self._changes_seen != self._changes():
            await self._wanted.wait()
            self._changes_seen = self._changes()
            await asyncio.sleep(SETTLE_S)

    def _seconds_until(self, due_ns: int) -> float:
        if self._anchor is None:
            return 0.0
        market_ns, started_s = self._anchor
        return (due_ns - market_ns) / NS_PER_S / self._speed - (self._clock.monotonic_s() - started_s)

    def _take_steps(self, is_due: Callable[[int], bool]) -> None:
        events: list[VenueEvent] = []
        seen = 0
        for _ in range(STEPS_PER_TURN_MAX):
            if seen == STEPS_PER_TURN or self._pending is None or not is_due(self._pending[0]):
                break
            self._last_ns, step = self._pending
            events += self._advance(self._last_ns)
            happened = step()
            events += happened
            seen += bool(happened)
            self.steps += 1
            self._pending = self._flow.next()
        if events:
            self._apply(events)
