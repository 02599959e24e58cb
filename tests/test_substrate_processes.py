"""Real processes on the substrate: no port anywhere, and no orphan after SIGKILL of any process."""

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import MARK, ROOT, Process, short_folder, sim_configuration, write_configuration
from tests.small_system import SmallSystem, supervisor, worker
from tests.support import wait_until

GONE_S = 5.0
"""What is left of a run whose middle was killed must be rebuilt or gone within this time."""


def _small(folder: Path) -> SmallSystem:
    return SmallSystem(
        folder,
        supervisor("services", worker("services/alerts/log", "Alarm")),
        supervisor("strategies", worker("strategies/a", "Quiet"), worker("strategies/b", "Quiet")),
    )


def _network_sockets(pid: int) -> list[str]:
    """The TCP and UDP sockets of a process, as the kernel lists them."""
    listed: set[str] = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        listed |= {row.split()[9] for row in rows}
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    inodes = {match.group(1) for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    return sorted(inodes & listed)


def _admin_and_logger(system: SmallSystem) -> tuple[int, int]:
    """By descent: the admin is the runner's child, the logger is the admin's child that is not root."""
    (admin,) = psutil.Process(system.process.pid).children()
    root = system.lines("system_started")[0]["root_pid"]
    (logger,) = [child.pid for child in admin.children() if child.pid != root]
    return admin.pid, logger


def test_no_process_has_a_network_socket(tmp_path: Path) -> None:
    """Runner, admin, logger, supervisors, workers: neither listening nor connected, TCP or UDP."""
    with _small(tmp_path) as system:
        system.wait_started()
        pids = {system.process.pid, *system.processes()}
        assert len(pids) == 9
        assert {pid: _network_sockets(pid) for pid in pids} == {pid: [] for pid in pids}


def test_socket_files_follow_their_processes(tmp_path: Path) -> None:
    """One for each process; a killed one's is removed when its successor starts; nothing is left at the end."""
    with _small(tmp_path) as system:
        pids = system.wait_started()
        before = {int(path.name.partition("-")[0]) for path in (tmp_path / "m").iterdir()}
        os.kill(pids["strategies/a"], signal.SIGKILL)
        system.wait_for("child_restarted", "strategies/a")
        names = {int(path.name.partition("-")[0]) for path in (tmp_path / "m").iterdir()}
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended() == 0
    assert before >= set(pids.values())
    assert pids["strategies/a"] not in names
    assert not (tmp_path / "m").exists()


def test_killed_logger_of_thespian_is_started_anew(tmp_path: Path) -> None:
    """Thespian's own admin dies of it; here nobody else notices, and an ordered stop works as before."""
    with _small(tmp_path) as system:
        pids = system.wait_started()
        admin, logger = _admin_and_logger(system)
        os.kill(logger, signal.SIGKILL)
        wait_until(lambda: _admin_and_logger_or_none(system) not in (None, (admin, logger)), GONE_S)
        os.kill(pids["strategies/a"], signal.SIGKILL)
        system.wait_for("child_restarted", "strategies/a")
        system.processes()
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended() == 0
        assert system.left() == []


def _admin_and_logger_or_none(system: SmallSystem) -> tuple[int, int] | None:
    try:
        return _admin_and_logger(system)
    except (ValueError, psutil.NoSuchProcess):
        return None


@pytest.mark.parametrize("victim", ["run", "admin", "root"])
def test_nothing_is_left_when_the_top_is_killed(tmp_path: Path, victim: str) -> None:
    """The kernel takes everything below along; a runner that is left says so and ends with 70."""
    with _small(tmp_path) as system:
        system.wait_started()
        admin, _ = _admin_and_logger(system)
        pid = {"run": system.process.pid, "admin": admin, "root": system.lines("system_started")[0]["root_pid"]}[victim]
        os.kill(pid, signal.SIGKILL)
        code = system.wait_ended(GONE_S)
        wait_until(lambda: system.left() == [], GONE_S)
    assert code == (-signal.SIGKILL if victim == "run" else 70)


@pytest.mark.parametrize("branch", ["services", "strategies"])
def test_branch_is_rebuilt_when_its_supervisor_is_killed(tmp_path: Path, branch: str) -> None:
    """Its children die with it and are started again; the other branch keeps its pids."""
    with _small(tmp_path) as system:
        before = system.wait_started()
        os.kill(before[branch], signal.SIGKILL)
        ours = [name for name in before if name.startswith(f"{branch}/")]
        wait_until(lambda: all(system.pids()[name] != before[name] for name in ours), GONE_S)
        wait_until(lambda: not any(psutil.pid_exists(before[name]) for name in ours), GONE_S)
        after = system.pids()
        others = [name for name in before if not name.startswith(branch)]
        assert {name: after[name] for name in others} == {name: before[name] for name in others}


def test_killed_run_py_leaves_nothing_of_the_whole_system() -> None:
    """The default job: SIGKILL of run.py ends plants, strategies and exchange, too."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        system = Process("--config", str(configuration), "--log-format", "json")
        try:
            system.wait_for("system_started")
            assert len(system.processes()) > 10
            system.process.kill()
            wait_until(lambda: system.processes() == [], GONE_S)
        finally:
            system.destroy()


class _Namespaced(Process):
    """``run.py`` as pid 1 of a pid namespace of its own; ``process`` is ``unshare``, which waits for it."""

    def __init__(self, configuration: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.lines, self.raw = [], []
        command = [sys.executable, str(ROOT / "run.py"), "--config", str(configuration), "--log-format", "json"]
        rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.log = configuration.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", *rights, "--fork", "--pid", "--mount-proc", *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, MARK: self.mark},
            )

    def has(self, event: str) -> bool:
        return f'"event":"{event}"' in self.log.read_text()

    def first(self) -> int:
        """The pid outside of what is pid 1 inside."""
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid


@pytest.mark.parametrize("how", ["stopped", "killed", "admin killed"])
def test_run_py_as_pid_1_behaves_the_same(how: str) -> None:
    """In a container it is pid 1: SIGTERM stops in order, SIGKILL and a dead admin leave nothing."""
    with short_folder() as folder:
        system = _Namespaced(write_configuration(folder, sim_configuration(folder)))
        try:
            wait_until(lambda: system.has("system_started") or system.process.poll() is not None, 40)
            assert system.has("system_started"), system.log.read_text()[-4_000:]
            first = system.first()
            if how == "stopped":
                os.kill(first, signal.SIGTERM)
                assert system.process.wait(30) == 0
            elif how == "killed":
                os.kill(first, signal.SIGKILL)
                assert system.process.wait(GONE_S) != 0
            else:
                admin = psutil.Process(first).children()[0]
                admin.kill()
                assert system.process.wait(GONE_S + 3) == 70
            wait_until(lambda: system.processes() == [], GONE_S)
        finally:
            system.destroy()
