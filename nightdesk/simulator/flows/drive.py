"""The market's motor: takes steps from the flow when market time comes to them, or as fast as the clients take them.

Between the flow's steps it takes the timetable's. What the market's time is, is published to the other processes after
each turn (``nightdesk/market_clock_file.py``).
"""

import asyncio
from collections.abc import Awaitable, Callable

from nightdesk.clocks import Clock
from nightdesk.market_clock_file import MarketClockWriter
from nightdesk.simulator.flows.flow import Flow
from nightdesk.simulator.flows.timetable import NoTimetable, Timetable
from nightdesk.simulator.model import VenueEvent

AS_FAST_AS_TAKEN = 0.0
STEPS_PER_TURN = 32
"""Steps with events between two turns of the event loop: orders that arrived meanwhile act before the next ones."""
STEPS_PER_TURN_MAX = 4 * STEPS_PER_TURN
"""The same with those that nobody could see."""

SLEEP_MIN_S = 0.0005
SLEEP_MAX_S = 1.0
"""A longer wait is looked at anew so often: what is due may have changed."""

SETTLE_S = 0.25
"""A waiting market begins so long after the last subscription: a client that asks for trades and quotes in two
requests gets both from the first one on."""

NS_PER_S = 1_000_000_000
NEVER_NS = 1 << 62
LATE_MAX_S = 1.0
"""At an event of the timetable a drive that runs faster than life forgets a delay that is longer."""


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
        start_ns: int | None = None,
        quiet_speed: float | None = None,
        market_clock: MarketClockWriter | None = None,
        ends_with_flow: bool = False,
    ) -> None:
        """``advance`` is asked before each step what other timers have brought until then.

        ``start_ns`` is the market time at which the exchange begins; None: with the flow's first step, and with the
        machine's wall time without one. At ``quiet_speed`` time passes while the timetable is quiet, where that is
        faster than ``speed``. With ``ends_with_flow`` the timetable ends with the tape.
        """
        self._flow = flow
        self._advance = advance
        self._speed = self._rate = speed
        self._quiet_speed = speed if quiet_speed is None or speed == AS_FAST_AS_TAKEN else max(quiet_speed, speed)
        self._starts_when_wanted = starts_when_wanted
        self._clock = clock
        self._apply = apply
        self._is_wanted = is_wanted
        self._changes = changes
        self._room = room
        self._market_clock = market_clock
        self._ends_with_flow = ends_with_flow
        self._timetable: Timetable = NoTimetable()
        self._event_ns = NEVER_NS
        self._pending = flow.next()
        first_ns = self._pending[0] if self._pending is not None else clock.now_ns()
        self._last_ns = first_ns if start_ns is None else start_ns
        self._anchor: tuple[int, float] | None = None
        self._wanted = asyncio.Event()
        self._woken = asyncio.Event()
        self._changes_seen = -1
        self.steps = 0
        """Of the flow."""
        if market_clock is not None:
            market_clock.begin(self._last_ns)

    @property
    def ended(self) -> bool:
        """Whether the tape has been played to its end."""
        return self._pending is None

    def use(self, timetable: Timetable) -> None:
        """Take this timetable's steps as well; before ``run``.

        Where it has a next event the flow may have none for a while (``Flow.next`` returns None) without the end of
        the market.
        """
        self._timetable = timetable
        self.changed()

    def changed(self) -> None:
        """The timetable's next event or the flow's next step is another one than before: ask both again.

        A flow that is used like this must bear being asked for its next step again without the last answer's step
        having been called. A tape is not asked: its next row is what it is.
        """
        now_ns = self.now_ns()
        if not self._ends_with_flow:
            self._pending = self._flow.next()
        self._refresh(now_ns)
        self._publish()
        self._woken.set()

    def now_ns(self) -> int:
        """Market time: never before the last step, never after the next one."""
        now_ns = self._last_ns
        if self._anchor is not None:
            market_ns, started_s = self._anchor
            elapsed_s = (self._clock.monotonic_s() - started_s) * self._rate
            now_ns = max(now_ns, market_ns + round(elapsed_s * NS_PER_S))
        return max(min(now_ns, self._due_ns()), self._last_ns)

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
        while not self._is_over():
            # A closed market waits for nobody: it may be the exchange itself that keeps its clients out.
            if not (self._timetable.is_quiet and self._event_ns <= self._flow_ns()):
                await self._listeners()
            self._take_steps(lambda _due_ns: True)
            self._publish()
            await self._room()
            await asyncio.sleep(0)

    async def _run_in_time(self) -> None:
        is_begun = not self._starts_when_wanted
        while not self._is_over():
            # A closed market waits for nobody: it may be the exchange itself that keeps its clients out.
            if not is_begun and not self._timetable.is_quiet:
                is_begun = True
                self._last_ns, self._anchor = self.now_ns(), None
                self._publish()
                await self._listeners()
            if self._anchor is None:
                self._anchor = (self.now_ns(), self._clock.monotonic_s())
                self._publish()
            await self._wait(self._seconds_until(self._due_ns()))
            self._take_steps(lambda due_ns: self._seconds_until(due_ns) <= SLEEP_MIN_S)
            self._publish()
            if self._speed > 1:
                await self._room()

    async def _wait(self, delay_s: float) -> None:
        if delay_s < SLEEP_MAX_S:
            await asyncio.sleep(delay_s if delay_s > SLEEP_MIN_S else 0)
            return
        self._woken.clear()
        try:
            async with asyncio.timeout(SLEEP_MAX_S):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _listeners(self) -> None:
        """Wait until somebody listens and no further subscription has come for a moment."""
        while not self._is_wanted() or self._changes_seen != self._changes():
            await self._wanted.wait()
            self._changes_seen = self._changes()
            await asyncio.sleep(SETTLE_S)

    def _is_over(self) -> bool:
        return self._pending is None and (self._ends_with_flow or self._event_ns >= NEVER_NS)

    def _flow_ns(self) -> int:
        return self._pending[0] if self._pending is not None else NEVER_NS

    def _due_ns(self) -> int:
        """The next step of either; ``NEVER_NS`` when there is none."""
        pending = self._pending
        return self._event_ns if pending is None or pending[0] > self._event_ns else pending[0]

    def _seconds_until(self, due_ns: int) -> float:
        if self._anchor is None:
            return 0.0
        market_ns, started_s = self._anchor
        return (due_ns - market_ns) / NS_PER_S / self._rate - (self._clock.monotonic_s() - started_s)

    def _take_steps(self, is_due: Callable[[int], bool]) -> None:
        """One turn: steps of the flow, and an event of the timetable where that is next; it ends the turn."""
        events: list[VenueEvent] = []
        seen = 0
        for _ in range(STEPS_PER_TURN_MAX):
            pending = self._pending
            if seen == STEPS_PER_TURN or pending is None or pending[0] >= self._event_ns or not is_due(pending[0]):
                break
            due_ns, step = pending
            if due_ns > self._last_ns:
                self._last_ns = due_ns
            events += self._advance(due_ns)
            happened = step()
            events += happened
            seen += bool(happened)
            self.steps += 1
            self._pending = self._flow.next()
        if events:
            self._apply(events)
        if not self._is_over() and self._event_ns <= self._flow_ns() and is_due(self._event_ns):
            self._take_event()

    def _take_event(self) -> None:
        now_ns = self._last_ns = max(self._event_ns, self._last_ns)
        for happened in (self._advance(now_ns), self._timetable.step()):
            if happened:
                self._apply(list(happened))
        self._refresh(now_ns)

    def _refresh(self, now_ns: int) -> None:
        """Ask the timetable anew: what is next, and how fast time passes until then."""
        next_ns = self._timetable.next_ns
        self._event_ns = NEVER_NS if next_ns is None else next_ns
        rate = self._quiet_speed if self._timetable.is_quiet else self._speed
        if rate != self._rate or self._is_late(now_ns):
            self._rate = rate
            if self._anchor is not None:
                self._anchor = (now_ns, self._clock.monotonic_s())

    def _is_late(self, now_ns: int) -> bool:
        """A drive that cannot keep its speed up does not make up for it while the markets are closed."""
        return self._speed > 1 and self._seconds_until(now_ns) < -LATE_MAX_S

    def _publish(self) -> None:
        if self._market_clock is not None:
            rate = 0.0 if self._anchor is None else self._rate
            self._market_clock.publish(self.now_ns(), rate, self._due_ns())
