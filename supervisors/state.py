"""The state of the supervision engine: a supervisor, its children, and what it is in the middle of."""

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


class Origin(StrEnum):
    """Who wanted a child's present start; it decides what follows when the start fails."""

    SUPERVISOR = "supervisor"
    ADDED = "added"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever waits for the answer to a request."""

    request_id: str
    reply_to: ChildId


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a dying child said of itself (``Down``)."""

    reason: ExitReason
    error_type: str = ""
    error_message: str = ""
    exit_code: int | None = None
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """One child as its supervisor sees it; times are monotonic seconds.

    ``deadline_s``: of a STARTING child when it is killed, of a RESTARTING one when it is tried again, of a STOPPING
    one when the next rung of the ladder is taken. ``cause`` says why we killed it ourselves, ``last_error`` what the
    last death was about. ``starters`` and ``stoppers`` wait for the end of the present start or stop.
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
    last_error: str = ""
    cause: str = ""
    info: str = ""
    start_again: bool = False
    ignored: bool = False
    origin: Origin = Origin.SUPERVISOR
    parked_before: bool = False
    starters: tuple[Caller, ...] = ()
    stoppers: tuple[Caller, ...] = ()

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
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The boot, or a restart of several children: first the last of ``stopping`` is stopped, one after the other, then
    the first of ``starting`` is started, one after the other."""

    stopping: tuple[ChildId, ...] = ()
    starting: tuple[ChildId, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """A supervisor: its children in start order and its own budget.

    ``pending`` are exits and retries that wait for the end of the job. ``incarnation_floor`` is the highest
    incarnation of a child that was deleted, so that one added under the same id begins above it.
    """

    spec: SupervisorSpec
    children: tuple[Child, ...]
    phase: Phase = Phase.BOOTING
    job: Job | None = None
    pending: tuple[ChildId, ...] = ()
    first_incarnation: int = 1
    incarnation_floor: int = 0
    stamps: tuple[float, ...] = ()
    ending: Ending | None = None
    stop_reason: str = ""
    exit_code: int | None = None
    stop_deadline_s: float | None = None
    turned_at_s: float | None = None

    def child(self, child_id: ChildId) -> Child | None:
        """The child of that id, or None."""
        return next((child for child in self.children if child.id == child_id), None)

    def is_restarting(self, child: Child) -> bool:
        """True from the decision to restart a child until it has started: OTP's ``restarting``."""
        if child.state is ChildState.STARTING:
            return child.origin is Origin.SUPERVISOR and child.restarts > 0
        if child.state is ChildState.STOPPING:
            return child.start_again
        return child.state is ChildState.RESTARTING or child.id in self.pending or self.is_next(child)

    def is_next(self, child: Child) -> bool:
        """True for a child without a process whose turn in the present job is to come."""
        return not child.alive and self.job is not None and child.id in self.job.starting
