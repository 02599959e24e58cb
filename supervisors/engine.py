"""Supervision as a pure state machine with Erlang/OTP's semantics: ``step(state, event, now, jitter)``.

Differences from OTP, all of them ours: restarts are spaced by a backoff; a child may have its own budget, after which
it is parked instead of ending its supervisor; a child that is parked in that case does not fail the boot either; an
operator's restart of a running child stops and starts it; a child may end the whole system with an exit code. Nothing
blocks: where OTP's supervisor waits within a start or a stop, this one goes on answering, and under ``ONE_FOR_ONE``
restarts of several children do not wait for each other. See docs/supervision.md.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nightdesk.messages import ChildState, ExitReason
from supervisors import requests, restarts
from supervisors.events import (
    AddRequested,
    Boot,
    ChildBeat,
    ChildDied,
    ChildIgnored,
    ChildSpoke,
    ChildStarted,
    DeleteRequested,
    Effect,
    Event,
    ProcessSpawned,
    ReportKind,
    RestartRequested,
    StopRequested,
    TerminateRequested,
    Tick,
)
from supervisors.restarts import FAILED_TO_START, GAVE_UP, GAVE_UP_REASON
from supervisors.spec import GiveUp, RestartType, Strategy, SupervisorSpec
from supervisors.state import Child, Ending, LastWords, Phase, State
from supervisors.turn import Turn

__all__ = ["FAILED_TO_START", "GAVE_UP", "GAVE_UP_REASON", "initial", "next_deadline", "step"]

TURN_EVERY_S = 1.0
"""While a child's silence is watched, the engine wants a ``Tick`` at least this often."""

INCARNATIONS_PER_SUPERVISOR = 1_000_000
"""A rebuilt supervisor numbers its children from the next multiple on, so that incarnations only ever grow."""


def initial(spec: SupervisorSpec, incarnation: int = 1) -> State:
    """The state of a supervisor that has started nothing; ``incarnation`` is its own."""
    first = (incarnation - 1) * INCARNATIONS_PER_SUPERVISOR + 1
    return State(spec=spec, children=tuple(Child(spec=child) for child in spec.children), first_incarnation=first)


def step(state: State, event: Event, now: float, jitter: float) -> tuple[State, tuple[Effect, ...]]:
    """The next state and what is to be done. ``now`` is monotonic; ``jitter`` in [0, 1) spreads a backoff."""
    if state.phase is Phase.EXITED:
        return state, ()
    turn = Turn(state, now, jitter)
    turn.forgive_own_stall()
    handler: Callable[[Turn, Any], None] = _HANDLERS[type(event)]
    handler(turn, event)
    turn.state = replace(turn.state, turned_at_s=now)
    return turn.state, tuple(turn.effects)


def next_deadline(state: State) -> float | None:
    """When a ``Tick`` is due, None if nothing waits for time."""
    times = [child.deadline_s for child in state.children if child.deadline_s is not None]
    watched = [
        child.beat_s + child.spec.watchdog_s
        for child in state.children
        if child.state is ChildState.RUNNING and child.spec.watchdog_s is not None
    ]
    if watched and state.turned_at_s is not None:
        # A regular turn tells a child's silence from a stall of the supervisor itself.
        times += [*watched, state.turned_at_s + TURN_EVERY_S]
    return min(times, default=None)


def _on_boot(turn: Turn, _event: Boot) -> None:
    restarts.begin_boot(turn)


def _on_spawned(turn: Turn, event: ProcessSpawned) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None:
        turn.put(replace(child, pid=event.pid))


def _on_started(turn: Turn, event: ChildStarted) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is None or child.state is not ChildState.STARTING or child.last_words is not None or child.ignored:
        return
    child = replace(child, state=ChildState.RUNNING, running_since_s=turn.now, beat_s=turn.now, deadline_s=None)
    turn.report(ReportKind.PROGRESS, "child_restarted" if child.restarts else "child_started", child)
    child = replace(child, down_since_s=None, info=event.info, parked_before=False)
    info = f", {event.info}" if event.info else ""
    child = turn.answer_starters(child, True, f"{child.id} is started: pid {child.pid}{info}")
    restarts.settled(turn, child.id)


def _on_ignored(turn: Turn, event: ChildIgnored) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None and child.state is ChildState.STARTING:
        turn.put(replace(child, ignored=True))


def _on_beat(turn: Turn, event: ChildBeat) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None:
        turn.put(replace(child, beat_s=turn.now))


def _on_spoke(turn: Turn, event: ChildSpoke) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None and child.last_words is None:
        turn.put(replace(child, last_words=event.words))


def _on_died(turn: Turn, event: ChildDied) -> None:
    before = turn.current(event.child_id, event.incarnation)
    if before is None:
        return
    words = before.last_words or LastWords(ExitReason.KILLED)
    if before.spec.on_give_up is GiveUp.PARK:
        # What is set aside when it fails, with its siblings going on, cannot end the whole system either.
        words = replace(words, exit_code=None)
    job = turn.state.job
    bystander = job is not None and before.id in job.stopping
    wanted = turn.stopping or bystander or before.state is ChildState.STOPPING
    since = turn.now if before.down_since_s is None else before.down_since_s
    before = replace(before, last_exit=words.reason.value, last_error=_about(before, words), down_since_s=since)
    turn.report_death(before, words, wanted=wanted)
    child = replace(
        before, state=ChildState.STOPPED, pid=0, deadline_s=None, running_since_s=None, last_words=None, rung=0
    )
    child = turn.answer_stoppers(child)
    if turn.stopping:
        if turn.state.exit_code is None:
            turn.state = replace(turn.state, exit_code=words.exit_code)
        turn.stop_next()
    elif words.exit_code is not None and words.reason is ExitReason.CRASHED:
        text = f"{child.id}: {words.error_message}"
        ending = Ending(ExitReason.CRASHED, words.error_type, text, words.traceback)
        turn.begin_stop(ending, text, exit_code=words.exit_code)
    elif before.state is ChildState.STOPPING:
        _after_stop(turn, child)
    elif before.state is ChildState.STARTING and before.ignored:
        _after_ignore(turn, child)
    elif before.state is ChildState.STARTING:
        restarts.after_failed_start(turn, child, words)
    elif bystander:
        _after_stop(turn, child)
    elif job is not None and turn.state.spec.strategy is not Strategy.ONE_FOR_ONE:
        restarts.defer(turn, child.id)
    else:
        restarts.after_exit(turn, child, words.reason)


def _about(child: Child, words: LastWords) -> str:
    """What a death was about, in one line."""
    error = f"{words.error_type}: {words.error_message}" if words.error_type else child.cause
    return f"{words.reason.value} ({error})" if error else words.reason.value


def _after_stop(turn: Turn, child: Child) -> None:
    """We ended the child: as a bystander, for an operator or a program, or to start it again."""
    child = turn.answer_starters(replace(child, parked_before=False), False, f"{child.id} was stopped")
    if child.start_again:
        turn.launch(child)
    elif child.spec.restart is RestartType.TEMPORARY:
        turn.drop(child)
    restarts.settled(turn, child.id)


def _after_ignore(turn: Turn, child: Child) -> None:
    """The child does not want to run: no process, no retry; the spec stays unless the child is temporary."""
    child = turn.answer_starters(child, True, f"{child.id} is ignored: it has no process")
    if child.spec.restart is RestartType.TEMPORARY:
        turn.drop(child)
    restarts.settled(turn, child.id)


def _on_stop_requested(turn: Turn, event: StopRequested) -> None:
    deadline = None if event.deadline_s is None else turn.now + event.deadline_s
    known = turn.state.stop_deadline_s
    if deadline is not None:
        turn.state = replace(turn.state, stop_deadline_s=deadline if known is None else min(known, deadline))
    if turn.stopping:
        turn.hurry()
    else:
        turn.begin_stop(Ending(ExitReason.SHUTDOWN, error_message=event.reason), event.reason)


def _on_tick(turn: Turn, _event: Tick) -> None:
    # The children as they are now; what happens to one of them may change the others.
    for child_id in tuple(child.id for child in turn.state.children):
        child = turn.state.child(child_id)
        if child is None:
            continue
        if child.deadline_s is not None and turn.now >= child.deadline_s:
            _on_deadline(turn, child)
        elif child.state is ChildState.RUNNING and child.spec.watchdog_s is not None:
            silent_s = turn.now - child.beat_s
            if silent_s >= child.spec.watchdog_s:
                # The stamp is moved so that the kill is not repeated while the death is on its way.
                turn.kill(replace(child, beat_s=turn.now), "watchdog")


def _on_deadline(turn: Turn, child: Child) -> None:
    match child.state:
        case ChildState.STARTING:
            turn.kill(replace(child, deadline_s=None), "start_timeout")
        case ChildState.RESTARTING:
            restarts.retry_is_due(turn, child)
        case ChildState.STOPPING:
            turn.next_rung(child)
        case _:
            turn.put(replace(child, deadline_s=None))


_HANDLERS: dict[type, Callable[..., None]] = {
    Boot: _on_boot,
    ProcessSpawned: _on_spawned,
    ChildStarted: _on_started,
    ChildIgnored: _on_ignored,
    ChildBeat: _on_beat,
    ChildSpoke: _on_spoke,
    ChildDied: _on_died,
    AddRequested: requests.on_add,
    TerminateRequested: requests.on_terminate,
    RestartRequested: requests.on_restart,
    DeleteRequested: requests.on_delete,
    StopRequested: _on_stop_requested,
    Tick: _on_tick,
}
