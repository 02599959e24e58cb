"""Boots the actor system, runs the tree in it, and turns its end into an exit code. For ``run.py`` only.

The calling process is the subreaper of everything below it and must have one thread only, because it forks.
"""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType, SimpleNamespace
from typing import Any

from thespian.actors import ActorAddress, ActorSystem, ActorSystemException
from thespian.system import multiprocCommon, multiprocTCPBase, systemBase
from thespian.system.transport.IPBase import IPActorAddress
from thespian.system.utilis import thesplog_control

from actors.process import become_subreaper, children_of, die_with_parent, die_with_parent_from_now_on
from nightdesk.clocks import Clock, SystemClock
from nightdesk.logs import configure, get_logger
from nightdesk.messages import (
    ChildId,
    Down,
    Heartbeat,
    Mail,
    Message,
    Shutdown,
    StartChild,
    Started,
    StopSystem,
    decode,
    encode,
)
from supervisors.engine import GAVE_UP
from supervisors.spec import ROOT, SupervisorSpec, pack

EXIT_CLEAN = 0
EXIT_BUDGET_SPENT = 6
EXIT_INTERNAL = 70

RUNNER = ChildId("run")
"""The origin of the runner's mail; it is no part of the tree."""

LISTEN_S = 0.1
"""How long the runner waits for mail before it looks at signals, time and root's process again."""

ROOT_SILENCE_MAX_S = 30.0
"""Root beats every second; a root that is silent for this long is hung, and the run ends."""

HURRY_S = 1.0
"""What the tree has to stop after a second signal."""

STOP_RESERVE_S = 1.0
"""Kept of the deadline for ending what is left."""

TELL_S = 2.0
"""What root has to acknowledge mail from the runner."""

SYSTEM_SHUTDOWN_S = 2.0
"""What Thespian's admin has to end by itself."""

REAP_S = 2.0
"""What killed processes have to disappear."""

_LOOPBACK = "127.0.0.1"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_tree(
    tree: SupervisorSpec,
    *,
    log_format: str,
    log_level: str,
    duration_s: float | None,
    deadline_s: float,
    on_stopping: Callable[[], None] | None,
    runtime_dir: str,
) -> int:
    """Run the tree until it ends; returns the exit code. Leaves no process behind.

    SIGTERM, SIGINT, SIGHUP, the end of ``duration_s`` and an operator's ``StopSystem`` stop it in order within
    ``deadline_s``, a second signal hurries, a third one kills. ``on_stopping`` is called once, before the tree is told.
    """
    configure(log_format=log_format, level=log_level, actor="run", child_id=RUNNER, incarnation=1)
    os.environ["THESPIAN_BASE_IPADDR"] = _LOOPBACK
    become_subreaper()
    runner = _Runner(tree, log_format, log_level, duration_s, deadline_s, on_stopping)
    try:
        return runner.run()
    finally:
        runner.kill_what_is_left()
        get_logger().info("system_stopped", runtime_dir=runtime_dir)


class LoopbackBase(multiprocTCPBase.ActorSystemBase):  # type: ignore[misc]
    """Thespian's TCP base with listeners on loopback only and an admin that dies with the process that started it."""

    def __init__(self, system: SimpleNamespace) -> None:
        self.admin_pid = 0
        super().__init__(system, None)

    def _startAdmin(self, *arguments: Any) -> None:
        read_end, write_end = os.pipe()
        original, starter_pid = multiprocCommon.startAdmin, os.getpid()

        def start_admin(*details: Any) -> None:
            os.close(read_end)
            os.write(write_end, str(os.getpid()).encode())
            os.close(write_end)
            multiprocCommon.startAdmin = original
            _become_admin(starter_pid)
            original(*details)

        multiprocCommon.startAdmin = start_admin
        try:
            super()._startAdmin(*arguments)
        finally:
            multiprocCommon.startAdmin = original
            os.close(write_end)
            self.admin_pid = int(os.read(read_end, 20) or b"0")
            os.close(read_end)


def _become_admin(starter_pid: int) -> None:
    """In the admin's process: stay a child of the starter instead of forking away, and die with it."""
    fork = os.fork

    def no_fork() -> int:
        os.fork = fork
        return 0

    os.fork = no_fork
    die_with_parent(starter_pid)
    die_with_parent_from_now_on()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _bind_to_loopback() -> None:
    """Thespian listens on all interfaces, whatever address it announces; in this process tree it does not."""

    def loopback(address: Any) -> tuple[tuple[str, int]]:
        return ((_LOOPBACK, address.bindname[1]),)

    IPActorAddress.bindArgs = property(loopback)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_LOOPBACK, 0))
        return int(sock.getsockname()[1])


class _Runner:
    """One run of one tree."""

    def __init__(
        self,
        tree: SupervisorSpec,
        log_format: str,
        log_level: str,
        duration_s: float | None,
        deadline_s: float,
        on_stopping: Callable[[], None] | None,
    ) -> None:
        self._tree = tree
        self._log_format = log_format
        self._log_level = log_level
        self._duration_s = duration_s
        self._deadline_s = deadline_s
        self._on_stopping = on_stopping
        self._clock: Clock = SystemClock()
        self._log = get_logger()
        self._signals: list[int] = []
        self._signals_handled = 0
        self._sequence = 0
        self._system: ActorSystem | None = None
        self._root: ActorAddress | None = None
        self._root_pidfd: int | None = None
        self._root_heard_s = 0.0
        self._ends_at_s: float | None = None
        self._stop_by_s: float | None = None
        self._hurried = False
        self._down: Down | None = None

    def run(self) -> int:
        """Boot, wait for the end, and say with which code it ended."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        self._boot()
        while self._down is None:
            self._listen()
            self._check_signals()
            _reap()
            if self._is_lost():
                return EXIT_INTERNAL
        return _exit_code(self._down)

    def kill_what_is_left(self) -> None:
        """End Thespian's own processes in order, then kill every process below this one."""
        if self._system is not None and self._down is not None:
            self._system.shutdown()
        give_up_s = self._clock.monotonic_s() + REAP_S
        poll = select.poll()
        while _kill_descendants() and self._clock.monotonic_s() < give_up_s:
            poll.poll(5)

    def _boot(self) -> None:
        thesplog_control(sys.maxsize, False, 0)
        systemBase.MAX_TELL_PERIOD = timedelta(seconds=TELL_S)
        systemBase.MAX_SYSTEM_SHUTDOWN_DELAY = timedelta(seconds=SYSTEM_SHUTDOWN_S)
        _bind_to_loopback()
        capabilities = {"Admin Port": _free_port()}
        base = LoopbackBase(SimpleNamespace(capabilities=capabilities))
        self._system = ActorSystem(systemBase=base, capabilities=capabilities, transientUnique=True)
        self._root = self._system.createActor("supervisors.supervisor.Supervisor")
        self._root_heard_s = self._clock.monotonic_s()
        self._tell_root(
            StartChild(
                child_id=self._tree.id,
                incarnation=1,
                parent_pid=base.admin_pid,
                body="",
                config=pack(self._tree),
                heartbeat_interval_s=1.0,
                log_format=self._log_format,
                log_level=self._log_level,
            )
        )

    def _tell_root(self, message: Message) -> None:
        self._sequence += 1
        mail = Mail(origin=RUNNER, destination=ROOT, incarnation=1, sequence=self._sequence, payload=encode(message))
        if self._system is not None and self._root is not None:
            try:
                self._system.tell(self._root, mail)
            except ActorSystemException as error:
                # Root is gone or hung; the loop finds out which, and ends the run.
                self._log.warning("root_not_reached", reason=str(error), message=type(message).__name__)

    def _listen(self) -> None:
        received = self._system.listen(LISTEN_S) if self._system is not None else None
        if not isinstance(received, Mail):
            return
        self._root_heard_s = self._clock.monotonic_s()
        match decode(received.payload):
            case Heartbeat(pid=pid) if self._root_pidfd is None:
                self._root_pidfd = os.pidfd_open(pid)
            case Started(pid=pid):
                self._log.info("system_started", pid=os.getpid(), root_pid=pid)
                if self._duration_s is not None:
                    self._ends_at_s = self._clock.monotonic_s() + self._duration_s
            case StopSystem(reason=reason):
                self._stop(reason or "operator")
            case Down() as down:
                self._down = down
            case _:
                pass

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _check_signals(self) -> None:
        now = self._clock.monotonic_s()
        if self._ends_at_s is not None and now >= self._ends_at_s and self._stop_by_s is None:
            self._stop("duration")
        while self._signals_handled < len(self._signals):
            name = signal.Signals(self._signals[self._signals_handled]).name
            self._signals_handled += 1
            if self._stop_by_s is None:
                self._stop(name)
            elif not self._hurried:
                self._hurried = True
                self._log.warning("stop_hurried", reason=name)
                self._stop_by_s = min(self._stop_by_s, now + HURRY_S + STOP_RESERVE_S)
                self._tell_root(Shutdown(deadline_s=HURRY_S, reason=name))
            else:
                self._stop_by_s = now

    def _stop(self, reason: str) -> None:
        if self._stop_by_s is not None:
            return
        if self._on_stopping is not None:
            self._on_stopping()
        self._stop_by_s = self._clock.monotonic_s() + self._deadline_s
        self._log.info("system_stopping", reason=reason, deadline_s=self._deadline_s)
        allowed_s = max(self._deadline_s - STOP_RESERVE_S, self._deadline_s / 2)
        self._tell_root(Shutdown(deadline_s=allowed_s, reason=reason))

    def _is_lost(self) -> bool:
        """Root is gone without a word, or hung, or did not stop in time."""
        if self._down is not None:
            return False
        now = self._clock.monotonic_s()
        if self._root_pidfd is not None and _is_readable(self._root_pidfd):
            # Its last words, if it had any, were received before it exited.
            self._log.error("root_lost", reason="killed")
            return True
        if now - self._root_heard_s > ROOT_SILENCE_MAX_S:
            self._log.error("root_lost", reason="silent")
            return True
        if self._stop_by_s is not None and now > self._stop_by_s:
            self._log.error("stop_deadline_missed", deadline_s=self._deadline_s)
            return True
        return False


def _exit_code(down: Down) -> int:
    """What the end of root means to whoever started the run."""
    if down.error_type == GAVE_UP:
        return EXIT_BUDGET_SPENT
    if down.exit_code is not None:
        return down.exit_code
    return EXIT_INTERNAL if down.error_type else EXIT_CLEAN


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _kill_descendants() -> bool:
    """Kill and reap what is below this process; True while something was there."""
    children = children_of(os.getpid())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    # Grandchildren become our children when their parents end, and are killed in the next round.
    _reap()
    return bool(children)


def _reap() -> None:
    """Wait for what has ended: as the subreaper we are the parent of every orphan."""
    reaped = True
    while reaped:
        try:
            reaped = os.waitpid(-1, os.WNOHANG)[0] != 0
        except ChildProcessError:
            reaped = False
