"""What faults do to one connection's frames: hold them, lose them, repeat them, mix them up.

A filter sits in the chain of one connection (``chain.py``): ``outgoing`` gets each frame and hands what shall go on to
``pass_on``; ``incoming`` says whether a client's frame arrives. Nothing here knows a plant.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from nightdesk.simulator.faults.spec import (
    Delay,
    Duplicate,
    Fault,
    HalfOpen,
    LateAck,
    Mute,
    OnFrames,
    Reorder,
    SlowRead,
    Target,
    Trickle,
)
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.peek import template_of
from nightdesk.simulator.wire.session import Session
from nightdesk.simulator.wire.templates import MESSAGE_NAMES

HELD_FRAMES_MAX = 10_000
"""Frames that one filter holds back; then the oldest one goes on before its time."""
READ_PAUSE_S_MAX = 60.0
"""A slow reader never waits longer for one frame."""

_SLOP_S = 0.0005

PassOn = Callable[["FrameFilter", OutgoingFrame], None]
Note = Callable[["FrameFilter", str, int | None], None]


def matches(target: Target, session: Session) -> bool:
    """Whether a connection is one of those that a fault strikes."""
    plant = session.plant.name.lower() if session.plant is not None else None
    return (
        target.plant in (None, plant)
        and target.user in (None, session.user_name)
        and target.connection in (None, session.outlet.number)
    )


class FrameFilter:
    """One lasting fault on one connection; as such it changes nothing."""

    def __init__(self, fault: Any, session: Session, pass_on: PassOn, note: Note) -> None:
        self.fault = fault
        self.session = session
        self.is_over = False
        self._pass_on = pass_on
        self._note = note

    def applies(self) -> bool:
        """Whether the connection is meant; it is asked anew for each frame, because a login changes it."""
        return matches(self.target, self.session)

    @property
    def target(self) -> Target:
        """Whom the fault strikes."""
        target: Target = self.fault.target
        return target

    def outgoing(self, frame: OutgoingFrame) -> None:
        """Take a frame that the exchange sends."""
        self.pass_on(frame)

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        """Take a frame that the client sent; False: it never arrived. ``template_id`` is None for what is none."""
        return True

    def look(self) -> None:
        """Called at the beginning, and whenever the connection may have become one that is meant."""

    def flush(self) -> None:
        """Let go of what is held."""

    def end(self) -> None:
        """The fault is over: let go of everything."""
        self.is_over = True
        self.flush()

    def pass_on(self, frame: OutgoingFrame) -> None:
        """Hand a frame to the next filter, or to the socket."""
        self._pass_on(self, frame)

    def note(self, act: str, template_id: int | None) -> None:
        """Write down what was done to a frame."""
        self._note(self, act, template_id)

    def now_s(self) -> float:
        """A clock for deadlines."""
        return self.session.exchange.clock.monotonic_s()

    def later(self, delay_s: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Call something after a while."""
        return asyncio.get_running_loop().call_later(delay_s, action)


class ChosenFrames(FrameFilter):
    """A filter of frames of certain templates, each with a chance."""

    fault: OnFrames

    def __init__(self, fault: OnFrames, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self.random = Random(f"{fault.seed}:{session.outlet.number}")
        self._templates = frozenset(fault.templates)

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        is_meant = not self._templates or template_id in self._templates
        if is_meant and (self.fault.chance >= 1 or self.random.random() < self.fault.chance):
            self.strike(frame, template_id)
        else:
            self.pass_on(frame)

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        """Do it to this frame."""
        raise NotImplementedError


class Delaying(ChosenFrames):
    """Frames leave after a latency, never before an earlier one of them."""

    fault: Delay | LateAck

    def __init__(self, fault: Delay | LateAck, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._held: deque[tuple[float, OutgoingFrame]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        if isinstance(self.fault, LateAck):
            delay_s = self.fault.delay_s
        else:
            delay_s = self.fault.latency_s + self.fault.jitter_s * self.random.random()
        self.note(f"held back for {delay_s:.3f} s", template_id)
        due_s = self.now_s() + delay_s
        if self._held:
            due_s = max(due_s, self._held[-1][0])
        self._held.append((due_s, frame))
        if len(self._held) > HELD_FRAMES_MAX:
            self.pass_on(self._held.popleft()[1])
        self._arm()

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held:
            self.pass_on(self._held.popleft()[1])

    def _arm(self) -> None:
        if self._timer is None and self._held:
            self._timer = self.later(max(0.0, self._held[0][0] - self.now_s()), self._release)

    def _release(self) -> None:
        self._timer = None
        now_s = self.now_s() + _SLOP_S
        while self._held and self._held[0][0] <= now_s:
            self.pass_on(self._held.popleft()[1])
        self._arm()


class Duplicating(ChosenFrames):
    """Frames are sent again at once."""

    fault: Duplicate

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        self.pass_on(frame)
        for _ in range(self.fault.copies):
            self.note("sent again", template_id)
            self.pass_on(OutgoingFrame(frame.payload))


class Reordering(ChosenFrames):
    """Frames of a window are sent in another order."""

    fault: Reorder

    def __init__(self, fault: Reorder, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._window: list[OutgoingFrame] = []
        self._timer: asyncio.TimerHandle | None = None

    def strike(self, frame: OutgoingFrame, template_id: int | None) -> None:
        self._window.append(frame)
        if len(self._window) >= self.fault.window:
            self.flush()
        elif self._timer is None:
            self._timer = self.later(self.fault.hold_s, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        window, self._window = self._window, []
        before = list(window)
        self.random.shuffle(window)
        if len(window) > 1 and window == before:
            window.reverse()
        if window != before:
            self.note(f"{len(window)} frames reordered", None)
        for frame in window:
            self.pass_on(frame)


class Muting(FrameFilter):
    """Answers to some requests, or some pushes, are not sent; or the requests never arrive."""

    fault: Mute

    def __init__(self, fault: Mute, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._silent = silent_templates(fault.templates)
        self._lost = frozenset(fault.templates) if fault.lost else frozenset()

    def outgoing(self, frame: OutgoingFrame) -> None:
        template_id = template_of(frame.payload)
        if template_id in self._silent:
            self.note("not sent", template_id)
        else:
            self.pass_on(frame)

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        return template_id not in self._lost


def silent_templates(templates: Sequence[int]) -> frozenset[int]:
    """What is not sent: of a request its answer, of anything else itself."""
    return frozenset(each + 1 if MESSAGE_NAMES.get(each, "").startswith("Request") else each for each in templates)


class Cutting(FrameFilter):
    """The connection is as if its cable were out."""

    fault: HalfOpen

    def __init__(self, fault: HalfOpen, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._is_cut = False

    def look(self) -> None:
        if not self._is_cut and not self.is_over and self.applies():
            self._is_cut = True
            direction = self.fault.direction
            self.note(f"cut ({direction})", None)
            self.session.outlet.cut(self, reading=direction != "out", writing=direction != "in")

    def end(self) -> None:
        super().end()
        if self._is_cut:
            self.session.outlet.uncut(self)

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        await self.session.outlet.until_heard()
        return True


class SlowReading(FrameFilter):
    """The next frame is read when the time for the bytes of this one is over."""

    fault: SlowRead

    def __init__(self, fault: SlowRead, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._over = asyncio.Event()

    def end(self) -> None:
        super().end()
        self._over.set()

    async def incoming(self, template_id: int | None, payload: bytes) -> bool:
        pause_s = min(READ_PAUSE_S_MAX, len(payload) / self.fault.bytes_per_s)
        self.note(f"nothing read for {pause_s:.3f} s", template_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._over.wait()
        return True


class Trickling(FrameFilter):
    """Bytes leave one by one."""

    fault: Trickle

    def __init__(self, fault: Trickle, session: Session, pass_on: PassOn, note: Note) -> None:
        super().__init__(fault, session, pass_on, note)
        self._is_slowed = False

    def look(self) -> None:
        if not self._is_slowed and not self.is_over and self.applies():
            self._is_slowed = True
            self.session.outlet.slow(self, self.fault.bytes_per_s)
            self.note(f"slowed to {self.fault.bytes_per_s:g} bytes/s", None)

    def end(self) -> None:
        super().end()
        self.session.outlet.slow(self, None)


FILTERS: dict[type[Fault], type[FrameFilter]] = {
    Delay: Delaying,
    LateAck: Delaying,
    Duplicate: Duplicating,
    Reorder: Reordering,
    Mute: Muting,
    HalfOpen: Cutting,
    SlowRead: SlowReading,
    Trickle: Trickling,
}
"""Who does it; the filters that look into messages are in ``rewrites.py``."""
