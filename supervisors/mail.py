"""What mail means to a supervisor, pure: an event for its engine, or a question about its list."""

from typing import Any

import msgspec

from nightdesk.errors import ConfigurationError, InvariantError
from nightdesk.messages import (
    AddChild,
    ChildCounts,
    ChildId,
    ChildReport,
    CommandResult,
    CountChildren,
    DeleteChild,
    Down,
    Heartbeat,
    Ignored,
    Message,
    QuerySpec,
    QueryStatus,
    RestartChild,
    Shutdown,
    SpecReport,
    Started,
    TerminateChild,
    TreeStatus,
)
from supervisors import requests
from supervisors.events import (
    AddRequested,
    ChildBeat,
    ChildIgnored,
    ChildSpoke,
    ChildStarted,
    DeleteRequested,
    Event,
    RestartRequested,
    StopRequested,
    TerminateRequested,
)
from supervisors.spec import ChildSpec, Kind, SupervisorSpec, unpack, unpack_child
from supervisors.state import Caller, LastWords, State


def unpack_own(payload: bytes) -> SupervisorSpec:
    """A supervisor's own spec; a configuration that is none is a failed start (OTP's ``bad_return``)."""
    try:
        return unpack(payload)
    except msgspec.DecodeError as error:
        raise InvariantError(f"bad_return: this is no SupervisorSpec: {error}") from error


def event_of(origin: ChildId, message: Message) -> Event | None:
    """The event that a message is; None for a question, and for what is no business of a supervisor's."""
    match message:
        case Started() if message.child_id == origin:
            return ChildStarted(origin, message.incarnation, message.info)
        case Ignored() if message.child_id == origin:
            return ChildIgnored(origin, message.incarnation)
        case Heartbeat() if message.child_id == origin:
            return ChildBeat(origin, message.incarnation)
        case Down() if message.child_id == origin:
            words = LastWords(
                message.reason, message.error_type, message.error_message, message.exit_code, message.traceback
            )
            return ChildSpoke(origin, message.incarnation, words)
        case Shutdown():
            return StopRequested(message.deadline_s, message.reason)
        case AddChild():
            spec = _added_spec(message)
            return AddRequested(spec, _caller(message)) if isinstance(spec, ChildSpec) else None
        case TerminateChild():
            return TerminateRequested(message.child_id, _caller(message))
        case RestartChild():
            return RestartRequested(message.child_id, _caller(message), message.running_too)
        case DeleteChild():
            return DeleteRequested(message.child_id, _caller(message))
        case _:
            return None


def answer_to(state: State, message: Message, now: float) -> tuple[ChildId, Message] | None:
    """Where the answer to a question goes, and the answer; None if the message is no question."""
    match message:
        case QueryStatus():
            return message.reply_to, _status(state, message.request_id, now)
        case QuerySpec():
            return message.reply_to, _spec_report(state, message)
        case CountChildren():
            counts = requests.count_children(state)
            return message.reply_to, ChildCounts(
                request_id=message.request_id,
                specs=counts.specs,
                active=counts.active,
                supervisors=counts.supervisors,
                workers=counts.workers,
            )
        case AddChild():
            spec = _added_spec(message)
            text = "" if isinstance(spec, ChildSpec) else spec
            return message.reply_to, CommandResult(request_id=message.request_id, ok=False, text=text)
        case _:
            return None


def child_of(message: Message) -> ChildId | None:
    """The child that a request is about; requests are passed down to the supervisor whose child it is."""
    match message:
        case TerminateChild() | RestartChild() | DeleteChild() | QuerySpec():
            return message.child_id
        case _:
            return None


def _caller(message: AddChild | TerminateChild | RestartChild | DeleteChild) -> Caller:
    return Caller(message.request_id, message.reply_to)


def _added_spec(message: AddChild) -> ChildSpec | str:
    """The spec, or what is wrong with it."""
    try:
        return unpack_child(message.spec)
    except (msgspec.DecodeError, ConfigurationError) as error:
        return f"faulty spec: {error}"


def _status(state: State, request_id: str, now: float) -> TreeStatus:
    reports = tuple(
        ChildReport(
            child_id=child.id,
            kind=child.spec.kind.value,
            pid=child.pid,
            incarnation=child.incarnation,
            state=child.state,
            restarts=child.restarts,
            uptime_s=0.0 if child.running_since_s is None else now - child.running_since_s,
        )
        for child in state.children
    )
    return TreeStatus(request_id=request_id, children=reports)


def _spec_report(state: State, message: QuerySpec) -> Message:
    spec = requests.get_child_spec(state, message.child_id)
    if spec is None:
        text = f"{requests.NOT_FOUND}: {message.child_id}"
        return CommandResult(request_id=message.request_id, ok=False, text=text)
    fields: dict[str, Any] = msgspec.to_builtins(spec)
    del fields["config"]
    if spec.kind is Kind.SUPERVISOR:
        below = unpack(spec.config)
        fields["children"] = [child.id for child in below.children]
        fields["branch"] = {
            "strategy": below.strategy.value,
            "intensity": below.intensity,
            "period_s": below.period_s,
        }
    return SpecReport(request_id=message.request_id, spec_json=msgspec.json.encode(fields))
