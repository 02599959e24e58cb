"""Mailbox mail between supervisors and their children, and alerts."""

from nightdesk.messages.base import ChildId, Message
from nightdesk.messages.enums import ChildState, ExitReason, Severity


class Mail(Message, frozen=True, kw_only=True):
    """The one envelope of the mailbox: ``payload`` is another message, packed by ``codec.encode``.

    ``destination`` is a child's path, ``supervisor`` for the sender's own supervisor, or a path that ends in ``*``
    for all children below it. Supervisors pass mail on along the tree.
    """

    origin: ChildId
    destination: ChildId
    incarnation: int
    sequence: int
    payload: bytes


class StartChild(Message, frozen=True, kw_only=True):
    """A supervisor's first mail to a new process: who it is and what it runs.

    ``body`` is the dotted path ``module:Class`` of the body (of a supervisor: empty); ``config`` is JSON, opaque to
    supervisors.
    """

    child_id: ChildId
    incarnation: int
    parent_pid: int
    body: str
    config: bytes
    heartbeat_interval_s: float
    log_format: str
    log_level: str


class Started(Message, frozen=True, kw_only=True):
    """The child is ready to receive; it does not mean that a link is up.

    ``info`` is what the body wants whoever asked for its start to know (OTP's extra start information).
    """

    child_id: ChildId
    incarnation: int
    pid: int
    info: str = ""


class Ignored(Message, frozen=True, kw_only=True):
    """Instead of ``Started``: the child does not want to run, and ends. Its spec stays, it is not restarted."""

    child_id: ChildId
    incarnation: int
    pid: int


class Heartbeat(Message, frozen=True, kw_only=True):
    """The child's event loop turns."""

    child_id: ChildId
    incarnation: int
    pid: int = 0


class Shutdown(Message, frozen=True, kw_only=True):
    """Stop in order, within the deadline."""

    deadline_s: float
    reason: str


class Down(Message, frozen=True, kw_only=True):
    """A child's last words, written by the dying process itself; a death without it is ``KILLED``.

    ``exit_code`` is set where the whole system must end with that code (credentials refused, a damaged journal).
    """

    child_id: ChildId
    incarnation: int
    pid: int
    reason: ExitReason
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    exit_code: int | None = None


class ChildParked(Message, frozen=True, kw_only=True):
    """A child's budget of restarts is spent and it was set aside; sent to the ``park_notify`` of its spec."""

    child_id: ChildId
    restarts: int
    reason: str


class ChildReport(Message, frozen=True, kw_only=True):
    """One child in its supervisor's list. ``kind`` is ``worker`` or ``supervisor``; pid 0 when there is no process."""

    child_id: ChildId
    kind: str
    pid: int
    incarnation: int
    state: ChildState
    restarts: int
    uptime_s: float


class Alert(Message, frozen=True, kw_only=True):
    """Something an operator may want to know. ``event`` is the constant name that routing selects by."""

    event: str
    severity: Severity
    origin: ChildId
    text: str
    ts_event_ns: int
    fields: tuple[tuple[str, str], ...] = ()
