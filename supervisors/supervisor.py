"""The supervisor as a Thespian actor: carries out what the engine decides, and passes mail along the tree.

It forks its children, so it has no second thread, no event loop and no database. Deaths are found by a pidfd for each
child; Thespian's own notices are hints that may come twice or never, and are not used.
"""

import os
import random
import select
import signal
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest

from actors.base import ALERTS, GuardedActor, Port
from actors.crash_report import TRACEBACK_CHARACTERS_MAX, shortened, write_crash_report, write_fault_report
from actors.process import fault_text, faults_of_next_process, own_descriptors
from nightdesk.clocks import SystemClock
from nightdesk.errors import InvariantError
from nightdesk.logs import flush, get_logger
from nightdesk.messages import (
    ChildId,
    ChildParked,
    CommandResult,
    Down,
    ExitReason,
    Heartbeat,
    Mail,
    Message,
    Shutdown,
    StartChild,
    Started,
    StopSystem,
    decode,
)
from supervisors import engine
from supervisors.events import (
    Acknowledge,
    Answer,
    Boot,
    ChildDied,
    Effect,
    Event,
    Exit,
    NotifyParked,
    ProcessSpawned,
    Report,
    Rung,
    StartProcess,
    StopProcess,
    StopRequested,
    Tick,
)
from supervisors.mail import answer_to, child_of, event_of, unpack_own
from supervisors.reporting import write_report
from supervisors.routing import Route, next_hops
from supervisors.spec import ChildSpec, Kind
from supervisors.state import State

WORKER_CLASS = "actors.base.Shell"
SUPERVISOR_CLASS = "supervisors.supervisor.Supervisor"
PARENT = ChildId("supervisor")

HEARTBEAT_S = 1.0
"""How often a supervisor says that it lives, and a child whose silence is not watched more closely."""

BEATS_PER_WATCHDOG = 5
"""A watched child beats so often within its watchdog's time that a lost beat is no silence."""

FOREVER_S = 86_400.0
"""What a child is told that may take as long as it likes to stop."""


@dataclass(slots=True)
class Process:
    """The present process of a child."""

    child_id: ChildId
    incarnation: int
    pid: int
    pidfd: int
    port: Port
    faults: int


class Supervisor(GuardedActor):
    """Begins with ``StartChild`` (``config`` is its ``SupervisorSpec``); ``Started`` follows when its children run."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._parent: Port | None = None
        self._start: StartChild | None = None
        self._state: State | None = None
        self._processes: dict[ChildId, Process] = {}
        self._events: deque[Event] = deque()
        self._turning = False
        self._wakeup_at_s: float | None = None
        self._beat_at_s = 0.0

    def watched(self) -> list[int]:
        return [self.wake_descriptor, *(process.pidfd for process in self._processes.values())]

    def on_mail(self, mail: Mail, sender: ActorAddress) -> None:
        if self._start is None:
            self._start = self.begin(mail, "Supervisor")
            self._parent = Port(self, sender)
            self._state = engine.initial(unpack_own(self._start.config), self.incarnation)
            self._beat()
            self._feed(Boot())
        else:
            self._route(mail)

    def on_ready(self, ready: list[int]) -> None:
        for process in list(self._processes.values()):
            # The kernel is asked again: a number in the list may belong to the descriptor of a newer process by now.
            if process.pidfd in ready and _has_ended(process.pidfd):
                self._bury(process)

    def on_wakeup(self) -> None:
        now = self._clock.monotonic_s()
        if self._wakeup_at_s is not None and now >= self._wakeup_at_s:
            self._wakeup_at_s = None
        if now >= self._beat_at_s:
            self._beat()
        self._feed(Tick())

    def on_terminate(self) -> None:
        self._feed(StopRequested(None, "SIGTERM"))

    def on_failure(self, error: BaseException) -> None:
        kind, message = type(error).__name__, shortened(str(error))
        text = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS_MAX:]
        write_crash_report(kind, message, text)
        if self._parent is None:
            raise error
        down = Down(
            child_id=self.child_id,
            incarnation=self.incarnation,
            pid=os.getpid(),
            reason=ExitReason.CRASHED,
            error_type=kind,
            error_message=message,
            traceback=text,
        )
        # The children are killed by the kernel as soon as this process is gone.
        self.last_words(self._parent, down, PARENT, 1)

    def tell(self, destination: ChildId, message: Message) -> None:
        """Send mail of this supervisor's own."""
        self._route(self.make_mail(destination, message))

    # -- the engine -------------------------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self._events.append(event)
        if self._turning or self._state is None:
            return
        self._turning = True
        try:
            while self._events:
                now = self._clock.monotonic_s()
                self._state, effects = engine.step(self._state, self._events.popleft(), now, random.random())
                for effect in effects:
                    self._carry_out(effect)
        finally:
            self._turning = False
        self._arm()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case StartProcess():
                self._spawn(effect)
            case StopProcess():
                self._stop_process(effect)
            case Report():
                alert = write_report(effect, self.child_id, self._clock.now_ns())
                if alert is not None:
                    self.tell(ALERTS, alert)
            case Acknowledge():
                pid = os.getpid()
                self._to_parent(Started(child_id=self.child_id, incarnation=self.incarnation, pid=pid))
            case Answer():
                result = CommandResult(request_id=effect.caller.request_id, ok=effect.ok, text=effect.text)
                self.tell(effect.caller.reply_to, result)
            case NotifyParked():
                parked = ChildParked(child_id=effect.child_id, restarts=effect.restarts, reason=effect.reason)
                self.tell(effect.destination, parked)
            case Exit():
                self._exit(effect)

    def _arm(self) -> None:
        if self._state is None:
            return
        due = engine.next_deadline(self._state)
        due = self._beat_at_s if due is None else min(due, self._beat_at_s)
        if self._wakeup_at_s is None or due < self._wakeup_at_s:
            self._wakeup_at_s = due
            self.wake_after(due - self._clock.monotonic_s())

    def _beat(self) -> None:
        self._beat_at_s = self._clock.monotonic_s() + HEARTBEAT_S
        self._to_parent(Heartbeat(child_id=self.child_id, incarnation=self.incarnation, pid=os.getpid()))
        flush()

    def _exit(self, effect: Exit) -> None:
        if self._parent is None:
            raise InvariantError("a supervisor without parent cannot say its last words")
        down = Down(
            child_id=self.child_id,
            incarnation=self.incarnation,
            pid=os.getpid(),
            reason=effect.ending.reason,
            error_type=effect.ending.error_type,
            # Of an ordered stop the message is only why it was asked for, which is no error.
            error_message=effect.ending.error_message if effect.ending.error_type else "",
            traceback=effect.ending.traceback,
            exit_code=effect.exit_code,
        )
        self.last_words(self._parent, down, PARENT, 0 if effect.ending.reason is ExitReason.SHUTDOWN else 1)

    # -- processes --------------------------------------------------------------------------------------------------

    def _spec(self, child_id: ChildId) -> ChildSpec:
        child = self._state.child(child_id) if self._state is not None else None
        if child is None:
            raise InvariantError(f"{child_id} is no child of {self.child_id}")
        return child.spec

    def _spawn(self, effect: StartProcess) -> None:
        spec = self._spec(effect.child_id)
        own = self._start
        if own is None:
            raise InvariantError("a child was to be started before its supervisor")
        known = len(getattr(self._myRef, "_child_procs", ()))
        with faults_of_next_process() as faults:
            address = self.createActor(WORKER_CLASS if spec.kind is Kind.WORKER else SUPERVISOR_CLASS)
        made: Sequence[Any] = getattr(self._myRef, "_child_procs", ())
        if len(made) <= known:
            # Thespian swallows the error of a fork that fails; to the engine it is a start that failed.
            fault_text(faults)
            get_logger().error("process_not_made", child_id=spec.id)
            self._events.append(ChildDied(spec.id, effect.incarnation))
            return
        pid = made[-1].childProc.pid
        pidfd = os.pidfd_open(pid)
        own_descriptors.add(pidfd)
        port = Port(self, address)
        self._processes[spec.id] = Process(spec.id, effect.incarnation, pid, pidfd, port, faults)
        interval_s = HEARTBEAT_S
        if spec.watchdog_s is not None:
            interval_s = min(interval_s, spec.watchdog_s / BEATS_PER_WATCHDOG)
        start = StartChild(
            child_id=spec.id,
            incarnation=effect.incarnation,
            parent_pid=os.getpid(),
            body=spec.body,
            config=spec.config,
            heartbeat_interval_s=interval_s,
            log_format=own.log_format,
            log_level=own.log_level,
        )
        port.send(self.make_mail(spec.id, start))
        self._events.append(ProcessSpawned(spec.id, effect.incarnation, pid))

    def _stop_process(self, effect: StopProcess) -> None:
        process = self._processes.get(effect.child_id)
        if process is None or process.incarnation != effect.incarnation:
            return
        match effect.rung:
            case Rung.SHUTDOWN:
                deadline_s = FOREVER_S if effect.deadline_s is None else effect.deadline_s
                shutdown = Shutdown(deadline_s=deadline_s, reason=effect.reason)
                process.port.send(self.make_mail(process.child_id, shutdown))
            case Rung.EXIT_REQUEST:
                self.send(process.port.address, ActorExitRequest())
            case Rung.TERMINATE:
                _signal(process.pidfd, signal.SIGTERM)
            case Rung.KILL:
                _signal(process.pidfd, signal.SIGKILL)

    def _bury(self, process: Process) -> None:
        """The process is gone: forget it, and tell the engine. Its last words, if any, came before."""
        process.port.close()
        own_descriptors.discard(process.pidfd)
        os.close(process.pidfd)
        del self._processes[process.child_id]
        write_fault_report(process.child_id, process.pid, process.incarnation, fault_text(process.faults))
        self._feed(ChildDied(process.child_id, process.incarnation))

    # -- mail -------------------------------------------------------------------------------------------------------

    def _to_parent(self, message: Message) -> None:
        if self._parent is not None:
            self._parent.send(self.make_mail(PARENT, message))

    def _route(self, mail: Mail) -> None:
        sender = self._processes.get(mail.origin)
        if sender is not None and mail.incarnation != sender.incarnation:
            get_logger().debug("mail_refused", origin=mail.origin, incarnation=mail.incarnation)
            return
        hops = next_hops(self.child_id, tuple(self._processes), mail.destination)
        for hop in hops:
            if hop is Route.SELF:
                if self.is_news(mail):
                    self._receive(mail.origin, decode(mail.payload))
            elif hop is Route.PARENT:
                # What is still unknown at root is not passed on to the runner, which is no part of the tree.
                if self._parent is not None and self.child_id != "root":
                    self._parent.send(mail)
                else:
                    self._drop(mail)
            else:
                self._processes[hop].port.send(mail)
        if not hops:
            self._drop(mail)

    def _drop(self, mail: Mail) -> None:
        get_logger().debug("mail_dropped", origin=mail.origin, destination=mail.destination)

    def _receive(self, origin: ChildId, message: Message) -> None:
        if self._state is None or self._passed_down(message):
            return
        event = event_of(origin, message)
        if event is not None:
            self._feed(event)
            return
        answer = answer_to(self._state, message, self._clock.monotonic_s())
        if answer is not None:
            self.tell(*answer)
        elif isinstance(message, StopSystem):
            self._stop_system(message)
        else:
            get_logger().debug("mail_dropped", origin=origin, message=type(message).__name__)

    def _passed_down(self, message: Message) -> bool:
        """Give a request about a child below one of our branches to that branch."""
        child_id = child_of(message)
        if child_id is None:
            return False
        below = next_hops(self.child_id, tuple(self._processes), child_id)
        if not below or isinstance(below[0], Route) or below[0] == child_id:
            return False
        self.tell(below[0], message)
        return True

    def _stop_system(self, message: StopSystem) -> None:
        """The runner stops the system, whoever asks for it; so there is one way to stop."""
        if self.child_id != "root":
            result = CommandResult(request_id=message.request_id, ok=False, text="only root stops the system")
        else:
            result = CommandResult(request_id=message.request_id, ok=True, text="the system is stopping")
            self._to_parent(message)
        self.tell(message.reply_to, result)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _signal(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
