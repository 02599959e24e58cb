"""One step of the supervision engine in the making: what its handlers do to the state, and the effects they ask for."""

from dataclasses import replace

from nightdesk.errors import InvariantError
from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors.spec import BRUTAL_KILL, ChildSpec, GiveUp
from supervisors.state import (
    Acknowledge,
    Child,
    Effect,
    Ending,
    Exit,
    LastWords,
    Phase,
    Report,
    Rung,
    StartProcess,
    State,
    StopProcess,
)

LADDER = (Rung.SHUTDOWN, Rung.EXIT_REQUEST, Rung.TERMINATE, Rung.KILL)
LADDER_STEP_S = 0.5
"""How long a child has after an exit request and after SIGTERM before the next rung."""

STOP_SHARE = 0.9
"""The part of its time to stop that a child is told of."""

STALL_S = 3.0
"""A supervisor that was itself stopped for longer than this forgives its children's silence once."""

GAVE_UP = "reached_max_restart_intensity"
"""The error type of a supervisor that ended because a budget of restarts was spent."""


class Turn:
    """One step in the making: the state so far and the effects so far."""

    def __init__(self, state: State, now: float, jitter: float) -> None:
        self.state = state
        self.now = now
        self.jitter = jitter
        self.effects: list[Effect] = []

    @property
    def stopping(self) -> bool:
        return self.state.phase is Phase.STOPPING

    def current(self, child_id: ChildId, incarnation: int) -> Child | None:
        """The child if the news is of its present process; None for stale, duplicate and unknown news."""
        child = self.state.child(child_id)
        return child if child is not None and child.alive and child.incarnation == incarnation else None

    def put(self, child: Child) -> None:
        children = tuple(child if other.id == child.id else other for other in self.state.children)
        self.state = replace(self.state, children=children)

    def drop(self, child_id: ChildId) -> None:
        self.state = replace(self.state, children=tuple(item for item in self.state.children if item.id != child_id))

    def forgive_own_stall(self) -> None:
        last = self.state.turned_at_s
        if last is not None and self.now - last > STALL_S:
            children = tuple(replace(child, beat_s=self.now) for child in self.state.children)
            self.state = replace(self.state, children=children)

    def report(self, event: str, child: Child, words: LastWords | None = None) -> None:
        down_since = self.now if child.down_since_s is None else child.down_since_s
        self.effects.append(
            Report(
                event=event,
                child_id=child.id,
                pid=child.pid,
                incarnation=child.incarnation,
                reason=child.last_exit,
                restart_count=child.restarts,
                downtime_ms=round((self.now - down_since) * 1000),
                cause=child.cause,
                error_type=words.error_type if words else "",
                error_message=words.error_message if words else "",
            )
        )

    def launch(self, child: Child) -> None:
        timeout = child.spec.start_timeout_s
        started = replace(
            child,
            state=ChildState.STARTING,
            launches=child.launches + 1,
            incarnation=self.state.first_incarnation + child.launches,
            deadline_s=None if timeout is None else self.now + timeout,
            rung=0,
            last_words=None,
            cause="",
            start_again=False,
        )
        self.put(started)
        self.effects.append(StartProcess(started.id, started.incarnation))

    def boot_next(self) -> None:
        """Start the next child of the boot, or tell that the boot is over."""
        if self.state.phase is not Phase.BOOTING:
            return
        if self.state.boot_queue:
            child = self.state.child(self.state.boot_queue[0])
            if child is None:
                raise InvariantError(f"{self.state.boot_queue[0]} was dropped before its turn in the boot")
            self.launch(child)
            return
        self.state = replace(self.state, phase=Phase.RUNNING)
        self.effects.append(Acknowledge())

    def is_booting(self, child_id: ChildId) -> bool:
        return self.state.phase is Phase.BOOTING and self.state.boot_queue[:1] == (child_id,)

    def booted(self, child_id: ChildId) -> None:
        """This child's part in the boot is over, well or ill."""
        if self.is_booting(child_id):
            self.state = replace(self.state, boot_queue=self.state.boot_queue[1:])
            self.boot_next()

    def try_again(self, child: Child) -> None:
        """Charge the budgets and start the child again, now or after its backoff; or give up."""
        spec = child.spec
        child = replace(child, stamps=_window(child.stamps, spec.period_s, self.now))
        self.put(child)
        if spec.intensity is not None and len(child.stamps) > spec.intensity:
            if spec.on_give_up is GiveUp.PARK:
                self.park(child)
            else:
                self.give_up(child)
            return
        if spec.on_give_up is GiveUp.ESCALATE:
            stamps = _window(self.state.stamps, self.state.spec.period_s, self.now)
            self.state = replace(self.state, stamps=stamps)
            if len(stamps) > self.state.spec.intensity:
                self.give_up(child)
                return
        delay = _backoff(spec, len(child.stamps), self.jitter)
        if delay <= 0:
            self.launch(child)
        else:
            self.put(replace(child, state=ChildState.RESTARTING, deadline_s=self.now + delay))

    def park(self, child: Child) -> None:
        child = replace(child, state=ChildState.PARKED, deadline_s=None)
        self.put(child)
        self.report("child_parked", child)

    def give_up(self, child: Child) -> None:
        self.report("supervisor_gave_up", child)
        self.begin_stop(Ending(ExitReason.SHUTDOWN, GAVE_UP, f"{child.id}: {child.last_exit}"))

    def begin_stop(self, ending: Ending, *, exit_code: int | None = None) -> None:
        self.state = replace(self.state, phase=Phase.STOPPING, ending=ending, exit_code=exit_code, boot_queue=())
        for child in self.state.children:
            if child.state is ChildState.RESTARTING:
                self.put(replace(child, state=ChildState.STOPPED, deadline_s=None))
        self.stop_next()

    def stop_next(self) -> None:
        """Stop the last child that still has a process; when there is none, exit."""
        for child in reversed(self.state.children):
            if child.state is ChildState.STOPPING and not child.start_again:
                return
            if child.alive:
                # A child that an operator is restarting is stopping already; its time is cut to ours.
                self.ask_to_stop(child)
                return
        ending = self.state.ending or Ending(ExitReason.SHUTDOWN)
        self.state = replace(self.state, phase=Phase.EXITED)
        self.effects.append(Exit(ending, self.state.exit_code))

    def ask_to_stop(self, child: Child, *, start_again: bool = False) -> None:
        allowed = self.time_to_stop(child.spec)
        if allowed is not None and allowed <= BRUTAL_KILL:
            rung, deadline_s = len(LADDER) - 1, None
        else:
            rung, deadline_s = 0, None if allowed is None else self.now + allowed
        cause = "" if rung == 0 else "brutal_kill"
        self.put(
            replace(
                child,
                state=ChildState.STOPPING,
                rung=rung,
                deadline_s=deadline_s,
                cause=cause,
                start_again=start_again,
            )
        )
        # The child is told a little less, so that its own last words come before the next rung.
        told = None if allowed is None else allowed * STOP_SHARE
        self.effects.append(StopProcess(child.id, child.incarnation, LADDER[rung], told))

    def time_to_stop(self, spec: ChildSpec) -> float | None:
        limits = [spec.shutdown_s] if spec.shutdown_s is not None else []
        if self.stopping and self.state.stop_deadline_s is not None:
            limits.append(max(0.0, self.state.stop_deadline_s - self.now))
        return min(limits, default=None)


def _window(stamps: tuple[float, ...], period_s: float, now: float) -> tuple[float, ...]:
    """OTP's window: what is not older than the period, inclusive, and this attempt."""
    return (*(stamp for stamp in stamps if stamp >= now - period_s), now)


def _backoff(spec: ChildSpec, tries: int, jitter: float) -> float:
    """Doubling with each try in the window, bounded, and between half and all of it."""
    longest = min(spec.backoff_max_s, spec.backoff_initial_s * 2.0 ** min(tries - 1, 60))
    return longest * (0.5 + 0.5 * jitter)
