"""What systemd hears: ready when the tree is up, food for the watchdog only while root beats, the stop."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.notify import Notifier
from tests.small_system import SmallSystem, worker
from tests.support import wait_until

BEAT_S = 1.0


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Every assignment so far."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@nightdesk-{os.getpid()}-{tmp_path.name}"


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    found = Manager(address)
    yield found
    found.close()


def test_life_of_a_service_is_told_in_order(address: str, manager: Manager) -> None:
    """Over a path and over a name in the abstract namespace."""
    notifier = Notifier(address, None, BEAT_S)
    notifier.booting()
    notifier.ready()
    notifier.stopping("SIGTERM")
    notifier.ended(0)
    assert manager.listen() == [
        *("STATUS=starting", "READY=1", "STATUS=running", "STOPPING=1"),
        *("STATUS=stopping: SIGTERM", "STATUS=ended with exit code 0"),
    ]


def test_reason_with_line_feeds_adds_no_assignment(address: str, manager: Manager) -> None:
    """An operator's text must not become a READY=1 of its own."""
    Notifier(address, None, BEAT_S).stopping("enough\nREADY=1")
    assert "READY=1" not in manager.listen()


def test_watchdog_is_fed_at_half_its_time_while_root_beats(address: str, manager: Manager) -> None:
    """And not more often, however often the runner turns."""
    notifier = Notifier(address, 20.0, BEAT_S)
    for tenth in range(300):
        notifier.feed(tenth / 10, root_heard_s=tenth / 10)
    assert manager.listen() == ["WATCHDOG=1"] * 3


def test_watchdog_starves_while_root_is_silent_and_is_fed_again_afterwards(address: str, manager: Manager) -> None:
    """Root's last sign was at 1 s; half of the watchdog's time later there is no more food."""
    notifier = Notifier(address, 8.0, BEAT_S)
    for second in range(20):
        notifier.feed(float(second), root_heard_s=min(second, 1))
    assert manager.listen() == ["WATCHDOG=1", "WATCHDOG=1", "STATUS=root is silent: the watchdog is not fed"]
    notifier.feed(20.0, root_heard_s=20.0)
    assert manager.listen()[3:] == ["STATUS=running", "WATCHDOG=1"]


def test_watchdog_shorter_than_roots_beat_still_allows_for_the_beat(address: str, manager: Manager) -> None:
    """Otherwise a healthy system would be killed between two beats."""
    notifier = Notifier(address, 1.0, BEAT_S)
    for half in range(5):
        notifier.feed(half / 2, root_heard_s=float(half // 2))
    assert manager.listen() == ["WATCHDOG=1"] * 5


@pytest.mark.parametrize("watchdog_pid", ["", str(os.getpid())], ids=["for anybody", "for us"])
def test_variables_are_taken_out_of_the_environment(address: str, manager: Manager, watchdog_pid: str) -> None:
    """No actor may speak to the service manager in our name."""
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": watchdog_pid, "PATH": "/bin"}
    notifier = Notifier.from_environment(environ, BEAT_S)
    assert environ == {"PATH": "/bin"}
    notifier.feed(10.0, root_heard_s=10.0)
    assert manager.listen() == ["WATCHDOG=1"]


@pytest.mark.parametrize("usec", ["", "0", "-1", "soon"])
def test_without_a_sensible_watchdog_nothing_is_fed(address: str, manager: Manager, usec: str) -> None:
    """A unit without WatchdogSec; and one that is meant for another process."""
    Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec}, BEAT_S).feed(10.0, 10.0)
    other = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    Notifier.from_environment(other, BEAT_S).feed(10.0, 10.0)
    assert manager.listen() == []


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    """No variable, or a manager that has gone."""
    Notifier.from_environment({}, BEAT_S).ready()
    Notifier(str(tmp_path / "nobody"), 1.0, BEAT_S).ready()


@pytest.mark.parametrize("address", ["abstract"], indirect=True)
def test_stopped_root_starves_the_watchdog_of_a_running_system(
    tmp_path: Path, address: str, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY follows the whole tree's start; SIGSTOP to root ends the feeding, SIGCONT resumes it; the stop is told."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    with SmallSystem(tmp_path, worker("a", "SlowToStart"), worker("b", "SlowToStart")) as system:
        system.wait_for("system_started", timeout_s=30)
        wait_until(lambda: "READY=1" in manager.listen())
        assert len(system.lines("child_started")) == 2
        root = system.lines("system_started")[0]["root_pid"]
        fed = manager.listen().count("WATCHDOG=1")
        wait_until(lambda: manager.listen().count("WATCHDOG=1") >= fed + 3)
        os.kill(root, signal.SIGSTOP)
        wait_until(lambda: any("root is silent" in line for line in manager.listen()), 20)
        fed = manager.listen().count("WATCHDOG=1")
        silence = system.lines("watchdog_starved")
        assert len(silence) == 1
        os.kill(root, signal.SIGCONT)
        wait_until(lambda: manager.listen().count("WATCHDOG=1") > fed, 20)
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended(30) == 0
        assert [line for line in manager.listen() if line.startswith(("STOP", "STATUS=stop", "STATUS=end"))] == [
            *("STOPPING=1", "STATUS=stopping: SIGTERM", "STATUS=ended with exit code 0"),
        ]
