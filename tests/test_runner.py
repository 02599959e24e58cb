"""The runner's end of the tree: what root said before it went counts, however late it is read."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightdesk.messages import Down, ExitReason, Heartbeat, Mail, Message, Started, StopSystem, encode
from supervisors import system as runner_module
from supervisors.spec import ROOT, SupervisorSpec
from supervisors.system import _Runner
from tests.small_system import SmallSystem, supervisor, worker
from tests.support import wait_until


class UnreadMail:
    """An actor system in which root's mail waits, to be taken one piece at a time."""

    def __init__(self, messages: list[Message]) -> None:
        self.unread = deque(messages)

    def listen(self, _wait_s: float) -> Mail | None:
        if not self.unread:
            return None
        message = self.unread.popleft()
        return Mail(origin=ROOT, destination=ROOT, incarnation=1, sequence=1, payload=encode(message))


@pytest.fixture
def ended_pid() -> Iterator[int]:
    """A process that has exited and that nobody has waited for: its pidfd is readable from the first moment."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


@pytest.fixture
def signals() -> Iterator[None]:
    """The runner sets handlers; they are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _run(monkeypatch: pytest.MonkeyPatch, *messages: Message) -> tuple[int, _Runner, UnreadMail]:
    """One run that finds these messages unread, in this order; the children of the test's own process are not its."""
    system: Any = UnreadMail(list(messages))
    monkeypatch.setattr(_Runner, "_boot", lambda runner: setattr(runner, "_system", system))
    monkeypatch.setattr(runner_module, "_reap", lambda: None)
    runner = _Runner(SupervisorSpec(id=ROOT), "json", "info", None, 1.0, None, "")
    return runner.run(), runner, system


def _beat(pid: int) -> Heartbeat:
    return Heartbeat(child_id=ROOT, incarnation=1, pid=pid)


def _down(pid: int, exit_code: int | None) -> Down:
    kind = "CredentialsError" if exit_code is not None else ""
    return Down(
        child_id=ROOT,
        incarnation=1,
        pid=pid,
        reason=ExitReason.CRASHED if kind else ExitReason.SHUTDOWN,
        error_type=kind,
        error_message="permission denied" if kind else "",
        exit_code=exit_code,
    )


@pytest.mark.parametrize("older", [1, 2, 10, 99])
@pytest.mark.parametrize(("exit_code", "code"), [(3, 3), (None, 0)])
def test_last_words_of_a_root_that_has_exited_count_however_much_older_mail_is_before_them(
    monkeypatch: pytest.MonkeyPatch, signals: None, ended_pid: int, older: int, exit_code: int | None, code: int
) -> None:
    """Root is gone before the runner reads its first beat; the run's code is nevertheless the one that root gave."""
    mail: list[Message] = [_beat(ended_pid) for _ in range(older)]
    found, runner, system = _run(monkeypatch, *mail, _down(ended_pid, exit_code))
    assert found == code
    assert runner.failure == ("permission denied" if code else "")
    assert not system.unread


def test_other_mail_before_the_last_words_is_still_taken(
    monkeypatch: pytest.MonkeyPatch, signals: None, ended_pid: int
) -> None:
    """Not only beats may be unread: the news that the tree has started, an operator's stop."""
    started = Started(child_id=ROOT, incarnation=1, pid=ended_pid)
    stop = StopSystem(request_id="1", reply_to=ROOT, reason="operator")
    found, _, system = _run(
        monkeypatch, _beat(ended_pid), started, _beat(ended_pid), stop, _beat(ended_pid), _down(ended_pid, 5)
    )
    assert (found, len(system.unread)) == (5, 0)


@pytest.mark.parametrize("older", [1, 10])
def test_root_that_has_exited_without_last_words_is_lost(
    monkeypatch: pytest.MonkeyPatch, signals: None, ended_pid: int, older: int
) -> None:
    """All that it sent is looked through, then the run ends with 70 and says what happened."""
    found, runner, system = _run(monkeypatch, *[_beat(ended_pid) for _ in range(older)])
    assert found == 70
    assert "root of the supervision tree was killed" in runner.failure
    assert not system.unread


def test_exit_code_is_passed_on_by_a_runner_that_was_stopped_while_root_ended(tmp_path: Path) -> None:
    """With processes: root beats, says its last words and exits while SIGSTOP keeps the runner from reading them."""
    flag = tmp_path / "fail"
    config = json.dumps({"flag": str(flag)}).encode()
    plants = supervisor("plants", worker("plants/order", "RefusedWhenTold", config=config))
    with SmallSystem(tmp_path, plants) as system:
        system.wait_started()
        root = system.lines("system_started")[0]["root_pid"]
        os.kill(system.process.pid, signal.SIGSTOP)
        # One beat of root's, at least, which the runner does not read.
        threading.Event().wait(1.5 * runner_module.ROOT_BEAT_S)
        flag.touch()
        wait_until(lambda: not _is_running(root), 20)
        os.kill(system.process.pid, signal.SIGCONT)
        assert system.wait_ended(20) == 3
        assert system.lines("root_lost") == []
        assert system.left() == []


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
