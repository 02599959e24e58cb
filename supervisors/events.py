"""What the supervision engine is told (events) and what it asks for (effects). Values only."""

from dataclasses import dataclass
from enum import StrEnum

from nightdesk.messages import ChildId
from supervisors.spec import ChildSpec
from supervisors.state import Caller, Ending, LastWords


@dataclass(frozen=True, slots=True)
class Boot:
    """Begin to start the children."""


@dataclass(frozen=True, slots=True)
class ProcessSpawned:
    """A process exists for a child; it has not said anything yet."""

    child_id: ChildId
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """The child is ready to receive; ``info`` is what it wants whoever started it to know."""

    child_id: ChildId
    incarnation: int
    info: str = ""


@dataclass(frozen=True, slots=True)
class ChildIgnored:
    """The child does not want to run (OTP's ``ignore``); its death follows."""

    child_id: ChildId
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildBeat:
    """The child's loop turns."""

    child_id: ChildId
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildSpoke:
    """The child's last words; its death follows."""

    child_id: ChildId
    incarnation: int
    words: LastWords


@dataclass(frozen=True, slots=True)
class ChildDied:
    """The child's process is gone, or could not be made."""

    child_id: ChildId
    incarnation: int


@dataclass(frozen=True, slots=True)
class AddRequested:
    """OTP's ``start_child``: a new child at the end of the list."""

    spec: ChildSpec
    caller: Caller


@dataclass(frozen=True, slots=True)
class TerminateRequested:
    """OTP's ``terminate_child``."""

    child_id: ChildId
    caller: Caller


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """OTP's ``restart_child``; with ``running_too`` (ours) a child that runs is stopped and started again."""

    child_id: ChildId
    caller: Caller
    running_too: bool = False


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """OTP's ``delete_child``."""

    child_id: ChildId
    caller: Caller


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Stop all children in reverse and exit; a second one with an earlier deadline hurries."""

    deadline_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Boot
    | ProcessSpawned
    | ChildStarted
    | ChildIgnored
    | ChildBeat
    | ChildSpoke
    | ChildDied
    | AddRequested
    | TerminateRequested
    | RestartRequested
    | DeleteRequested
    | StopRequested
    | Tick
)


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Make a process for the child and send it ``StartChild``."""

    child_id: ChildId
    incarnation: int


class Rung(StrEnum):
    """The ladder by which a child is stopped, from asking to killing."""

    SHUTDOWN = "shutdown"
    EXIT_REQUEST = "exit_request"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class StopProcess:
    """Take one rung of the ladder.

    ``deadline_s`` and ``reason`` belong to ``SHUTDOWN``: what the child may take, None for ever, and why it is asked.
    """

    child_id: ChildId
    incarnation: int
    rung: Rung
    deadline_s: float | None = None
    reason: str = ""


class ReportKind(StrEnum):
    """OTP's two reports of a supervisor, and a notice: a line about what OTP would pass over in silence."""

    PROGRESS = "progress"
    SUPERVISOR = "supervisor"
    NOTICE = "notice"


class ErrorContext(StrEnum):
    """What went wrong, in a report of the kind SUPERVISOR."""

    START_ERROR = "start_error"
    CHILD_TERMINATED = "child_terminated"
    SHUTDOWN = "shutdown"
    SHUTDOWN_ERROR = "shutdown_error"


@dataclass(frozen=True, slots=True)
class Report:
    """One line of the log, and for some events an alert. ``spec``, pid and incarnation are OTP's *offender*."""

    kind: ReportKind
    event: str
    spec: ChildSpec
    pid: int
    incarnation: int
    reason: str
    restart_count: int
    downtime_ms: int
    error_context: ErrorContext | None = None
    cause: str = ""
    error_type: str = ""
    error_message: str = ""

    @property
    def child_id(self) -> ChildId:
        return self.spec.id


@dataclass(frozen=True, slots=True)
class NotifyParked:
    """Tell the destination of the spec's ``park_notify`` that the child was set aside."""

    destination: ChildId
    child_id: ChildId
    restarts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """All children have been started: tell one's own supervisor so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request."""

    caller: Caller
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """No child has a process any more: say one's own last words and exit."""

    ending: Ending
    exit_code: int | None


Effect = StartProcess | StopProcess | Report | NotifyParked | Acknowledge | Answer | Exit
