"""Supervision as a pure state machine with Erlang/OTP's semantics: ``step(state, event, now, jitter)``.

Differences from OTP, all of them ours: restarts are spaced by a backoff; a child may have its own budget, after which
it is parked instead of ending its supervisor; a child that is parked in that case does not fail the boot either; an
operator's restart of a running child stops and starts it; a child may end the whole system with an exit code.
A budget is charged when a restart is decided, not when its backoff has passed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nightdesk.messages import ChildState, ExitReason
from supervisors.spec import GiveUp, RestartType, SupervisorSpec
from supervisors.state import (
    Answer,
    Boot,
    Child,
    ChildBeat,
    ChildDied,
    ChildSpoke,
    ChildStarted,
    Effect,
    Ending,
    Event,
    LastWords,
    Phase,
    ProcessSpawned,
    RestartRequested,
    Rung,
    State,
    StopProcess,
    StopRequested,
    Tick,
)
from supervisors.turn import GAVE_UP, LADDER, LADDER_STEP_S, Turn

__all__ = ["FAILED_TO_START", "GAVE_UP", "initial", "next_deadline", "step"]

TURN_EVERY_S = 1.0
"""While a child's silence is watched, the engine wants a ``Tick`` at least this often."""

INCARNATIONS_PER_SUPERVISOR = 1_000_000
"""A rebuilt supervisor numbers its children from the next multiple on, so that incarnations only ever grow."""

FAILED_TO_START = "failed_to_start_child"


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
    queue = tuple(child.id for child in turn.state.children)
    turn.state = replace(turn.state, boot_queue=queue)
    turn.boot_next()


def _on_spawned(turn: Turn, event: ProcessSpawned) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None:
        turn.put(replace(child, pid=event.pid))


def _on_started(turn: Turn, event: ChildStarted) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is None or child.state is not ChildState.STARTING or child.last_words is not None:
        return
    child = replace(child, state=ChildState.RUNNING, running_since_s=turn.now, beat_s=turn.now, deadline_s=None)
    turn.report("child_restarted" if child.restarts else "child_started", child)
    turn.put(replace(child, down_since_s=None))
    turn.booted(child.id)


def _on_beat(turn: Turn, event: ChildBeat) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None:
        turn.put(replace(child, beat_s=turn.now))


def _on_spoke(turn: Turn, event: ChildSpoke) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is not None and child.last_words is None:
        turn.put(replace(child, last_words=event.words))


def _on_died(turn: Turn, event: ChildDied) -> None:
    child = turn.current(event.child_id, event.incarnation)
    if child is None:
        return
    words = child.last_words or LastWords(ExitReason.KILLED)
    since = turn.now if child.down_since_s is None else child.down_since_s
    child = replace(child, last_exit=words.reason.value, down_since_s=since)
    failed_start = child.state is ChildState.STARTING
    turn.report("child_start_failed" if failed_start else "child_exited", child, words)
    before = child.state
    child = replace(
        child, state=ChildState.STOPPED, pid=0, deadline_s=None, running_since_s=None, last_words=None, rung=0
    )
    turn.put(child)
    if turn.stopping:
        if turn.state.exit_code is None:
            turn.state = replace(turn.state, exit_code=words.exit_code)
        turn.stop_next()
    elif words.exit_code is not None and words.reason is ExitReason.CRASHED:
        text = f"{child.id}: {words.error_message}"
        turn.begin_stop(Ending(ExitReason.CRASHED, words.error_type, text), exit_code=words.exit_code)
    elif before is ChildState.STOPPING:
        turn.launch(child)
    elif failed_start:
        _after_failed_start(turn, child, words)
    else:
        _after_exit(turn, child, words.reason)


def _after_failed_start(turn: Turn, child: Child, words: LastWords) -> None:
    if turn.is_booting(child.id) and child.spec.on_give_up is GiveUp.ESCALATE:
        text = f"{child.id}: {words.error_type or words.reason.value}: {words.error_message or child.cause}"
        turn.begin_stop(Ending(ExitReason.CRASHED, FAILED_TO_START, text))
        return
    if child.spec.restart is RestartType.TEMPORARY:
        turn.drop(child.id)
    else:
        turn.try_again(child)
    turn.booted(child.id)


def _after_exit(turn: Turn, child: Child, reason: ExitReason) -> None:
    orderly = reason in (ExitReason.NORMAL, ExitReason.SHUTDOWN)
    match child.spec.restart:
        case RestartType.TEMPORARY:
            turn.drop(child.id)
        case RestartType.TRANSIENT if orderly:
            return
        case _:
            turn.try_again(child)


def _on_restart_requested(turn: Turn, event: RestartRequested) -> None:
    child = turn.state.child(event.child_id)
    if child is None:
        ok, text = False, f"not_found: {event.child_id}"
    elif turn.stopping:
        ok, text = False, "the supervisor is stopping"
    elif child.state is ChildState.STOPPING:
        ok, text = False, f"{child.id} is being restarted already"
    elif child.id in turn.state.boot_queue and not child.alive:
        ok, text = False, f"{child.id} has not been started yet"
    elif child.alive:
        turn.ask_to_stop(child, start_again=True)
        ok, text = True, f"{child.id} is stopped and started again"
    else:
        turn.launch(replace(child, stamps=()))
        ok, text = True, f"{child.id} is started"
    turn.effects.append(Answer(event.request_id, event.reply_to, ok, text))


def _on_stop_requested(turn: Turn, event: StopRequested) -> None:
    deadline = None if event.deadline_s is None else turn.now + event.deadline_s
    known = turn.state.stop_deadline_s
    if deadline is not None:
        turn.state = replace(turn.state, stop_deadline_s=deadline if known is None else min(known, deadline))
    if not turn.stopping:
        turn.begin_stop(Ending(ExitReason.SHUTDOWN, error_message=event.reason))
        return
    for child in turn.state.children:
        if child.state is ChildState.STOPPING and child.rung == 0:
            turn.ask_to_stop(child)


def _on_tick(turn: Turn, _event: Tick) -> None:
    for child in turn.state.children:
        if child.deadline_s is not None and turn.now >= child.deadline_s:
            _on_deadline(turn, child)
        elif child.state is ChildState.RUNNING and child.spec.watchdog_s is not None:
            silent_s = turn.now - child.beat_s
            if silent_s >= child.spec.watchdog_s:
                # The stamp is moved so that the kill is not repeated while the death is on its way.
                turn.put(replace(child, beat_s=turn.now, cause="watchdog"))
                turn.effects.append(StopProcess(child.id, child.incarnation, Rung.KILL))


def _on_deadline(turn: Turn, child: Child) -> None:
    match child.state:
        case ChildState.STARTING:
            turn.put(replace(child, deadline_s=None, cause="start_timeout"))
            turn.effects.append(StopProcess(child.id, child.incarnation, Rung.KILL))
        case ChildState.RESTARTING:
            turn.launch(child)
        case ChildState.STOPPING:
            rung = min(child.rung + 1, len(LADDER) - 1)
            deadline_s = turn.now + LADDER_STEP_S if rung < len(LADDER) - 1 else None
            turn.put(replace(child, rung=rung, deadline_s=deadline_s, cause="shutdown_timeout"))
            turn.effects.append(StopProcess(child.id, child.incarnation, LADDER[rung]))
        case _:
            turn.put(replace(child, deadline_s=None))


_HANDLERS: dict[type, Callable[..., None]] = {
    Boot: _on_boot,
    ProcessSpawned: _on_spawned,
    ChildStarted: _on_started,
    ChildBeat: _on_beat,
    ChildSpoke: _on_spoke,
    ChildDied: _on_died,
    RestartRequested: _on_restart_requested,
    StopRequested: _on_stop_requested,
    Tick: _on_tick,
}
