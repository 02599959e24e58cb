"""One step of the supervision engine in the making: the state so far, the effects so far, and what changes them.

What to do is decided in ``engine``, ``requests`` and ``restarts``; this is how it is done to one child or to all.
"""

from dataclasses import replace

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors.events import (
    Answer,
    Effect,
    ErrorContext,
    Exit,
    Report,
    ReportKind,
    Rung,
    StartProcess,
    StopProcess,
)
from supervisors.spec import BRUTAL_KILL, ChildSpec, RestartType
from supervisors.state import Caller, Child, Ending, LastWords, Origin, Phase, State

LADDER = (Rung.SHUTDOWN, Rung.EXIT_REQUEST, Rung.TERMINATE, Rung.KILL)
LADDER_STEP_S = 0.5
"""How long a child has after an exit request and after SIGTERM before the next rung."""

STOP_SHARE = 0.9
"""The part of its time to stop that a child is told of."""

STALL_S = 3.0
"""A supervisor that was itself stopped for longer than this forgives its children's silence once."""

ORDERLY = (ExitReason.NORMAL, ExitReason.SHUTDOWN)
BRUTALLY = "brutal_kill"


class Turn:
    """One step in the making."""

    def __init__(self, state: State, now: float, jitter: float) -> None:
        self.state = state
        self.now = now
        self.jitter = jitter
        self.effects: list[Effect] = []

    @property
    def stopping(self) -> bool:
        return self.state.phase is Phase.STOPPING

    # -- children ---------------------------------------------------------------------------------------------------

    def current(self, child_id: ChildId, incarnation: int) -> Child | None:
        """The child if the news is of its present process; None for stale, duplicate and unknown news."""
        child = self.state.child(child_id)
        return child if child is not None and child.alive and child.incarnation == incarnation else None

    def put(self, child: Child) -> None:
        children = tuple(child if other.id == child.id else other for other in self.state.children)
        self.state = replace(self.state, children=children)

    def drop(self, child: Child) -> None:
        """Forget a child altogether; whoever waits for it is told."""
        self.answer_starters(child, False, f"{child.id} is dropped")
        children = tuple(other for other in self.state.children if other.id != child.id)
        floor = max(self.state.incarnation_floor, child.incarnation)
        self.state = replace(self.state, children=children, incarnation_floor=floor)

    def forgive_own_stall(self) -> None:
        last = self.state.turned_at_s
        if last is not None and self.now - last > STALL_S:
            children = tuple(replace(child, beat_s=self.now) for child in self.state.children)
            self.state = replace(self.state, children=children)

    # -- answers and reports ----------------------------------------------------------------------------------------

    def answer(self, caller: Caller, ok: bool, text: str) -> None:
        self.effects.append(Answer(caller, ok, text))

    def answer_starters(self, child: Child, ok: bool, text: str) -> Child:
        """Tell whoever waits for the child's start how it ended; the child without them."""
        for caller in child.starters:
            self.answer(caller, ok, text)
        child = replace(child, starters=())
        self.put(child)
        return child

    def answer_stoppers(self, child: Child) -> Child:
        """Tell whoever waits for the child's end that it has come; the child without them."""
        for caller in child.stoppers:
            self.answer(caller, True, f"{child.id} is stopped")
        child = replace(child, stoppers=())
        self.put(child)
        return child

    def report(
        self,
        kind: ReportKind,
        event: str,
        child: Child,
        words: LastWords | None = None,
        *,
        context: ErrorContext | None = None,
        reason: str | None = None,
        cause: str | None = None,
    ) -> None:
        down_since = self.now if child.down_since_s is None else child.down_since_s
        self.effects.append(
            Report(
                kind=kind,
                event=event,
                spec=child.spec,
                pid=child.pid,
                incarnation=child.incarnation,
                reason=child.last_exit if reason is None else reason,
                restart_count=child.restarts,
                downtime_ms=round((self.now - down_since) * 1000),
                error_context=context,
                cause=child.cause if cause is None else cause,
                error_type=words.error_type if words else "",
                error_message=words.error_message if words else "",
            )
        )

    def report_death(self, child: Child, words: LastWords, *, wanted: bool) -> None:
        """``child`` as it was; ``wanted`` says that we were ending it, or about to."""
        if child.state is ChildState.STARTING and not wanted:
            if child.ignored:
                self.report(ReportKind.NOTICE, "child_ignored", child, words)
            else:
                context = ErrorContext.START_ERROR
                self.report(ReportKind.SUPERVISOR, "child_start_failed", child, words, context=context)
            return
        bad = _is_bad_end(child, words) if wanted else _is_bad_exit(child, words)
        context = ErrorContext.SHUTDOWN_ERROR if wanted else ErrorContext.CHILD_TERMINATED
        if bad:
            self.report(ReportKind.SUPERVISOR, "child_exited", child, words, context=context)
        else:
            self.report(ReportKind.NOTICE, "child_exited", child, words)

    # -- starting and stopping one child ----------------------------------------------------------------------------

    def launch(self, child: Child, origin: Origin = Origin.SUPERVISOR) -> None:
        timeout = child.spec.start_timeout_s
        started = replace(
            child,
            state=ChildState.STARTING,
            launches=child.launches + 1,
            incarnation=max(child.incarnation + 1, self.state.first_incarnation),
            deadline_s=None if timeout is None else self.now + timeout,
            rung=0,
            last_words=None,
            cause="",
            info="",
            start_again=False,
            ignored=False,
            origin=origin,
        )
        self.put(started)
        self.effects.append(StartProcess(started.id, started.incarnation))

    def ask_to_stop(self, child: Child, reason: str, *, start_again: bool = False) -> None:
        allowed = self._time_to_stop(child.spec)
        if allowed is not None and allowed <= BRUTAL_KILL:
            rung, deadline_s, cause = len(LADDER) - 1, None, BRUTALLY
        else:
            rung, deadline_s, cause = 0, None if allowed is None else self.now + allowed, ""
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
        self.effects.append(StopProcess(child.id, child.incarnation, LADDER[rung], told, reason))

    def next_rung(self, child: Child) -> None:
        """The child has not ended in its time: be less polite."""
        rung = min(child.rung + 1, len(LADDER) - 1)
        deadline_s = self.now + LADDER_STEP_S if rung < len(LADDER) - 1 else None
        self.put(replace(child, rung=rung, deadline_s=deadline_s, cause="shutdown_timeout"))
        self.effects.append(StopProcess(child.id, child.incarnation, LADDER[rung]))

    def kill(self, child: Child, cause: str) -> None:
        self.put(replace(child, cause=cause))
        self.effects.append(StopProcess(child.id, child.incarnation, Rung.KILL))

    def _time_to_stop(self, spec: ChildSpec) -> float | None:
        limits = [spec.shutdown_s] if spec.shutdown_s is not None else []
        if self.stopping and self.state.stop_deadline_s is not None:
            limits.append(max(0.0, self.state.stop_deadline_s - self.now))
        return min(limits, default=None)

    # -- stopping all -----------------------------------------------------------------------------------------------

    def begin_stop(self, ending: Ending, reason: str, *, exit_code: int | None = None) -> None:
        """End the supervisor, and its children first; ``reason`` is what they are told."""
        self.state = replace(
            self.state,
            phase=Phase.STOPPING,
            ending=ending,
            stop_reason=reason,
            exit_code=exit_code,
            job=None,
            pending=(),
        )
        for child in self.state.children:
            child = self.answer_starters(child, False, "the supervisor is stopping")
            if child.state is ChildState.RESTARTING:
                self.put(replace(child, state=ChildState.STOPPED, deadline_s=None))
        self.hurry()
        self.stop_next()

    def hurry(self) -> None:
        """Cut the time of the children that are stopping already to our own."""
        for child in self.state.children:
            if child.state is ChildState.STOPPING and child.rung == 0:
                self.ask_to_stop(child, self.state.stop_reason)

    def stop_next(self) -> None:
        """Stop the last child that still has a process; when there is none, exit."""
        for child in reversed(self.state.children):
            if child.state is ChildState.STOPPING:
                return
            if child.alive:
                self.ask_to_stop(child, self.state.stop_reason)
                return
        ending = self.state.ending or Ending(ExitReason.SHUTDOWN)
        self.state = replace(self.state, phase=Phase.EXITED)
        self.effects.append(Exit(ending, self.state.exit_code))


def _is_bad_exit(child: Child, words: LastWords) -> bool:
    """OTP is silent about an orderly exit unless the child is permanent."""
    return child.spec.restart is RestartType.PERMANENT or words.reason not in ORDERLY


def _is_bad_end(child: Child, words: LastWords) -> bool:
    """A child that we were ending was to end with SHUTDOWN, or by our kill where that is how it is ended."""
    match words.reason:
        case ExitReason.SHUTDOWN:
            return bool(words.error_type)
        case ExitReason.NORMAL:
            return child.spec.restart is RestartType.PERMANENT
        case ExitReason.KILLED:
            return child.cause != BRUTALLY
        case _:
            return True
