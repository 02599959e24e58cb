"""Boots the actor system, runs the tree in it, and turns its end into an exit code. For ``run.py`` only.

The calling process is the subreaper of everything below it and must have one thread only, because it forks.
"""

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType, SimpleNamespace

from thespian.actors import ActorAddress, ActorSystem, ActorSystemException
from thespian.system.utilis import thesplog_control

from actors.crash_report import write_fault_report
from actors.process import become_subreaper, children_of, fault_text, faults_of_next_process
from nightdesk.clocks import Clock, SystemClock
from nightdesk.logs import configure, flush, get_logger
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
from supervisors.notify import Notifier
from supervisors.spec import ROOT, SupervisorSpec, pack
from supervisors.substrate import UnixSystemBase, clear, prepare
from supervisors.substrate.transport import FOLDER

EXIT_CLEAN = 0
EXIT_BUDGET_SPENT = 6
EXIT_INTERNAL = 70

RUNNER = ChildId("run")
"""The origin of the runner's mail; it is no part of the tree."""

LISTEN_S = 0.1
"""How long the runner waits for mail before it looks at signals, time and root's process again."""

UNREAD_MAX = 100
UNREAD_WAIT_S = 0.01
"""When root is gone: how much of its unread mail is looked through for its last words."""

ROOT_BEAT_S = 1.0
"""How often root says that it lives."""

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
    on_failed: Callable[[str], None] | None = None,
) -> int:
    """Run the tree until it ends; returns the exit code. Leaves no process behind.

    SIGTERM, SIGINT, SIGHUP, the end of ``duration_s`` and an operator's ``StopSystem`` stop it in order within
    ``deadline_s``, a second signal hurries, a third one kills. ``on_stopping`` is called once, before the tree is told;
    ``on_failed`` gets the reason in one line when the code is not 0.
    """
    configure(log_format=log_format, level=log_level, actor="run", child_id=RUNNER, incarnation=1)
    become_subreaper()
    folder = prepare(runtime_dir)
    runner = _Runner(tree, log_format, log_level, duration_s, deadline_s, on_stopping, folder)
    try:
        return runner.run()
    finally:
        runner.kill_what_is_left()
        clear(folder)
        get_logger().info("system_stopped", runtime_dir=runtime_dir)
        if runner.failure and on_failed is not None:
            on_failed(runner.failure)


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
        folder: str,
    ) -> None:
        self._tree = tree
        self._folder = folder
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
        self._root_pid = 0
        self._root_pidfd: int | None = None
        self._root_faults: int | None = None
        self._root_heard_s = 0.0
        self._ends_at_s: float | None = None
        self._stop_by_s: float | None = None
        self._hurried = False
        self._down: Down | None = None
        self.failure = ""
        self._notifier = Notifier.from_environment(os.environ, ROOT_BEAT_S)

    def run(self) -> int:
        """Boot, wait for the end, and say with which code it ended."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        self._notifier.booting()
        self._boot()
        while self._down is None:
            self._listen()
            self._notifier.feed(self._clock.monotonic_s(), self._root_heard_s)
            self._check_signals()
            _reap()
            if self._is_lost():
                return EXIT_INTERNAL
        code = _exit_code(self._down)
        self.failure = _failure(self._down, code)
        self._notifier.ended(code)
        return code

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
        capabilities = {FOLDER: self._folder}
        # Root is forked by the admin, which is forked here and passes on what it has got.
        with faults_of_next_process() as self._root_faults:
            base = UnixSystemBase(
                SimpleNamespace(capabilities=capabilities),
                on_admin=self._configure_admin,
                tell_s=TELL_S,
                shutdown_s=SYSTEM_SHUTDOWN_S,
            )
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
                heartbeat_interval_s=ROOT_BEAT_S,
                log_format=self._log_format,
                log_level=self._log_level,
            )
        )

    def _configure_admin(self) -> None:
        """In the process of Thespian's admin: its lines, and those of its logger, are not the runner's."""
        configure(log_format=self._log_format, level=self._log_level, actor="admin", child_id="admin", incarnation=1)

    def _tell_root(self, message: Message) -> None:
        self._sequence += 1
        mail = Mail(origin=RUNNER, destination=ROOT, incarnation=1, sequence=self._sequence, payload=encode(message))
        if self._system is not None and self._root is not None:
            try:
                self._system.tell(self._root, mail)
            except ActorSystemException as error:
                # Root is gone or hung; the loop finds out which, and ends the run.
                self._log.warning("root_not_reached", reason=str(error), message=type(message).__name__)

    def _listen(self, wait_s: float = LISTEN_S) -> bool:
        """Take one piece of mail; False when none came."""
        flush()
        received = self._system.listen(wait_s) if self._system is not None else None
        if not isinstance(received, Mail):
            return received is not None
        self._root_heard_s = self._clock.monotonic_s()
        match decode(received.payload):
            case Heartbeat(pid=pid) if self._root_pidfd is None:
                self._root_pid, self._root_pidfd = pid, os.pidfd_open(pid)
            case Started(pid=pid):
                self._log.info("system_started", pid=os.getpid(), root_pid=pid)
                self._notifier.ready()
                if self._duration_s is not None:
                    self._ends_at_s = self._clock.monotonic_s() + self._duration_s
            case StopSystem(reason=reason):
                self._stop(reason or "operator")
            case Down() as down:
                self._down = down
            case _:
                pass
        return True

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
        self._notifier.stopping(reason)
        if self._on_stopping is not None:
            self._on_stopping()
        self._stop_by_s = self._clock.monotonic_s() + self._deadline_s
        self._log.info("system_stopping", reason=reason, deadline_s=self._deadline_s)
        allowed_s = max(self._deadline_s - STOP_RESERVE_S, self._deadline_s / 2)
        self._tell_root(Shutdown(deadline_s=allowed_s, reason=reason))

    def _left_last_words(self) -> bool:
        """Look for them in what root sent before it exited: they may wait behind older mail."""
        for _ in range(UNREAD_MAX):
            if self._down is not None or not self._listen(UNREAD_WAIT_S):
                break
        return self._down is not None

    def _is_lost(self) -> bool:
        """Root is gone without a word, or hung, or did not stop in time."""
        if self._down is not None:
            return False
        now = self._clock.monotonic_s()
        if self._root_pidfd is not None and _is_readable(self._root_pidfd):
            if self._left_last_words():
                return False
            if self._root_faults is not None:
                write_fault_report(ROOT, self._root_pid, 1, fault_text(self._root_faults))
            self._log.error("root_lost", reason="killed")
            self.failure = "the root of the supervision tree was killed; nothing is left running, start again"
            return True
        if now - self._root_heard_s > ROOT_SILENCE_MAX_S:
            self._log.error("root_lost", reason="silent")
            self.failure = "the root of the supervision tree hung; nothing is left running, start again"
            return True
        if self._stop_by_s is not None and now > self._stop_by_s:
            self._log.error("stop_deadline_missed", deadline_s=self._deadline_s)
            self.failure = "the stop took too long and was cut short; what was on its way is settled at the next start"
            return True
        return False


def _exit_code(down: Down) -> int:
    """What the end of root means to whoever started the run."""
    if down.error_type == GAVE_UP:
        return EXIT_BUDGET_SPENT
    if down.exit_code is not None:
        return down.exit_code
    return EXIT_INTERNAL if down.error_type else EXIT_CLEAN


def _failure(down: Down, code: int) -> str:
    """Why the system ended, in one line; empty when it ended well."""
    if code == EXIT_CLEAN:
        return ""
    if code == EXIT_BUDGET_SPENT:
        return f"restart budget spent ({down.error_message}); see 'Restart budget spent' in docs/runbook.md"
    return down.error_message or down.error_type or f"a process ended the system with code {code}; look at the log"


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
