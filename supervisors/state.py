"""The data of the supervision engine: its state, the events it is told and the effects it asks for."""

from dataclasses import dataclass
from enum import StrEnum

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors.spec import ChildSpec, SupervisorSpec

ALIVE = frozenset({ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING})
"""The states in which a child has a process."""


class Phase(StrEnum):
    """Where the supervisor itself stands."""

    BOOTING = "booting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a dying child said of itself (``Down``)."""

    reason: ExitReason
    error_type: str = ""
    error_message: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """One child as its supervisor sees it; times are monotonic seconds.

    ``deadline_s``: of a STARTING child when it is killed, of a RESTARTING one when it is started, of a STOPPING one
    when the next rung of the ladder is taken. ``cause`` says why we killed it ourselves.
    """

    spec: ChildSpec
    state: ChildState = ChildState.STOPPED
    incarnation: int = 0
    launches: int = 0
    pid: int = 0
    stamps: tuple[float, ...] = ()
    deadline_s: float | None = None
    rung: int = 0
    running_since_s: float | None = None
    down_since_s: float | None = None
    beat_s: float = 0.0
    last_words: LastWords | None = None
    last_exit: str = ""
    cause: str = ""
    start_again: bool = False

    @property
    def id(self) -> ChildId:
        return self.spec.id

    @property
    def restarts(self) -> int:
        """Launches after the first one, failed tries included."""
        return max(0, self.launches - 1)

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the supervisor itself ends."""

    reason: ExitReason
    error_type: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """A supervisor: its children in start order and its own budget."""

    spec: SupervisorSpec
    children: tuple[Child, ...]
    phase: Phase = Phase.BOOTING
    boot_queue: tuple[ChildId, ...] = ()
    first_incarnation: int = 1
    stamps: tuple[float, ...] = ()
    ending: Ending | None = None
    exit_code: int | None = None
    stop_deadline_s: float | None = None
    turned_at_s: float | None = None

    def child(self, child_id: ChildId) -> Child | None:
        """The child of that id, or None."""
        return next((child for child in self.children if child.id == child_id), None)


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
    """The child is ready to receive."""

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
class RestartRequested:
    """The operator wants a child restarted or revived."""

    child_id: ChildId
    request_id: str
    reply_to: ChildId


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Stop all children in reverse and exit; a second one with an earlier deadline hurries."""

    deadline_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Boot | ProcessSpawned | ChildStarted | ChildBeat | ChildSpoke | ChildDied | RestartRequested | StopRequested | Tick
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
    """Take one rung of the ladder. ``deadline_s`` belongs to ``SHUTDOWN``: what the child may take, None for ever."""

    child_id: ChildId
    incarnation: int
    rung: Rung
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One line of the log, and for some events an alert."""

    event: str
    child_id: ChildId
    pid: int
    incarnation: int
    reason: str
    restart_count: int
    downtime_ms: int
    cause: str = ""
    error_type: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """All children have been started: tell one's own supervisor so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an operator's command."""

    request_id: str
    reply_to: ChildId
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """No child has a process any more: say one's own last words and exit."""

    ending: Ending
    exit_code: int | None


Effect = StartProcess | StopProcess | Report | Acknowledge | Answer | Exit
