"""OTP's API of a supervisor, pure: start, terminate, restart and delete a child, and what can be asked of the list."""

from dataclasses import dataclass, replace

from nightdesk.messages import ChildId, ChildState
from supervisors import restarts
from supervisors.events import AddRequested, DeleteRequested, RestartRequested, TerminateRequested
from supervisors.spec import ChildSpec, Kind, prefix_of
from supervisors.state import Child, Origin, State
from supervisors.turn import Turn

ALREADY_STARTED = "already_started"
ALREADY_PRESENT = "already_present"
RUNNING = "running"
RESTARTING = "restarting"
NOT_FOUND = "not_found"
STOPPING_TEXT = "the supervisor is stopping"


@dataclass(frozen=True, slots=True)
class Listed:
    """One child as ``which_children`` shows it: a pid, or None, or being restarted."""

    id: ChildId
    pid: int | None
    restarting: bool
    kind: Kind


@dataclass(frozen=True, slots=True)
class Counts:
    """OTP's four numbers: ``active`` children have acknowledged their start and have a process."""

    specs: int
    active: int
    supervisors: int
    workers: int


def which_children(state: State) -> tuple[Listed, ...]:
    """Every child in start order, those without a process too."""
    return tuple(
        Listed(child.id, child.pid if _is_active(child) else None, state.is_restarting(child), child.spec.kind)
        for child in state.children
    )


def count_children(state: State) -> Counts:
    """How many children there are, and how many of them are active, supervisors and workers."""
    supervisors = sum(child.spec.kind is Kind.SUPERVISOR for child in state.children)
    return Counts(
        specs=len(state.children),
        active=sum(_is_active(child) for child in state.children),
        supervisors=supervisors,
        workers=len(state.children) - supervisors,
    )


def get_child_spec(state: State, child_id: ChildId) -> ChildSpec | None:
    """The complete spec, defaults included; None is OTP's ``not_found``."""
    child = state.child(child_id)
    return None if child is None else child.spec


def on_add(turn: Turn, event: AddRequested) -> None:
    """``start_child``: answered when the child has started, or failed to, which forgets it again."""
    spec, known = event.spec, turn.state.child(event.spec.id)
    if turn.stopping:
        turn.answer(event.caller, False, STOPPING_TEXT)
    elif known is not None and known.alive and not turn.state.is_restarting(known):
        turn.answer(event.caller, False, f"{ALREADY_STARTED}: {spec.id}, pid {known.pid}")
    elif known is not None:
        turn.answer(event.caller, False, f"{ALREADY_PRESENT}: {spec.id}")
    elif not spec.id.startswith(prefix_of(turn.state.spec.id)):
        turn.answer(event.caller, False, f"id: expected {prefix_of(turn.state.spec.id)!r} in front, not {spec.id}")
    else:
        child = Child(spec=spec, incarnation=turn.state.incarnation_floor, starters=(event.caller,))
        turn.state = replace(turn.state, children=(*turn.state.children, child))
        turn.launch(child, Origin.ADDED)


def on_terminate(turn: Turn, event: TerminateRequested) -> None:
    """``terminate_child``: the spec stays; of a child without a process it only cancels ``restarting``."""
    child = turn.state.child(event.child_id)
    if child is None:
        turn.answer(event.caller, False, f"{NOT_FOUND}: {event.child_id}")
        return
    if child.alive:
        child = replace(child, stoppers=(*child.stoppers, event.caller), start_again=False)
        turn.put(child)
        if child.state is ChildState.STOPPING:
            # It was to be started again with its siblings.
            restarts.forget_start(turn, child.id)
        if child.state is not ChildState.STOPPING and not turn.stopping:
            turn.ask_to_stop(child, "terminate_child")
        return
    if child.state is ChildState.RESTARTING:
        turn.put(replace(child, state=ChildState.STOPPED, deadline_s=None))
    turn.answer(event.caller, True, f"{child.id} is stopped")
    restarts.forget_start(turn, child.id)


def on_restart(turn: Turn, event: RestartRequested) -> None:
    """``restart_child`` of a child without a process; and, where asked for, of one that has."""
    child = turn.state.child(event.child_id)
    if child is None:
        turn.answer(event.caller, False, f"{NOT_FOUND}: {event.child_id}")
    elif turn.stopping:
        turn.answer(event.caller, False, STOPPING_TEXT)
    elif child.state is ChildState.STOPPING or turn.state.is_next(child):
        turn.answer(event.caller, False, f"{RESTARTING}: {child.id}")
    elif event.running_too and child.alive:
        turn.answer(event.caller, True, f"{child.id} is stopped and started again")
        turn.ask_to_stop(child, "restart", start_again=True)
    elif turn.state.is_restarting(child) and not event.running_too:
        turn.answer(event.caller, False, f"{RESTARTING}: {child.id}")
    elif child.alive:
        turn.answer(event.caller, False, f"{RUNNING}: {child.id}, pid {child.pid}")
    else:
        # A try that waits for its time is only brought forward; otherwise it is OTP's manual start without a retry.
        origin = Origin.SUPERVISOR if child.state is ChildState.RESTARTING else Origin.MANUAL
        parked = child.state is ChildState.PARKED
        turn.launch(replace(child, stamps=(), starters=(event.caller,), parked_before=parked), origin)


def on_delete(turn: Turn, event: DeleteRequested) -> None:
    """``delete_child``: only of a child that has no process and is not to get one."""
    child = turn.state.child(event.child_id)
    if child is None:
        turn.answer(event.caller, False, f"{NOT_FOUND}: {event.child_id}")
    elif turn.state.is_restarting(child):
        turn.answer(event.caller, False, f"{RESTARTING}: {child.id}")
    elif child.alive:
        turn.answer(event.caller, False, f"{RUNNING}: {child.id}, pid {child.pid}")
    else:
        turn.drop(child)
        turn.answer(event.caller, True, f"{child.id} is deleted")


def _is_active(child: Child) -> bool:
    return child.state in (ChildState.RUNNING, ChildState.STOPPING)
