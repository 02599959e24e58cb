"""Processes that die of a real fault while nobody reads standard error: they die at once, and their parent says why."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import structlog

from actors.crash_report import write_fault_report
from nightdesk.messages import ChildId
from supervisors.spec import ChildSpec
from tests.chaos.small_tree import FollowedSystem, child
from tests.small_system import REPOSITORY, supervisor
from tests.support import wait_until

AT_ONCE_S = 6.0
"""Far less than any watchdog here: who waits in his death for a reader is found by none of them in this time."""

WATCHDOG_S = 60.0
FULL = b"x" * 4096


class UnreadErrors(FollowedSystem):
    """Its standard error is a pipe that is full and that nobody reads; its log is a file."""

    def __enter__(self) -> Self:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(FULL))
        os.write(writing, FULL)
        with self._log_file.open("wb") as log:
            command = [sys.executable, "-m", "tests.small_tree", str(self._spec_file), *self._arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=writing, cwd=REPOSITORY)
        os.close(writing)
        return self

    def unread(self) -> bytes:
        """What is in the pipe; for the end."""
        os.set_blocking(self.reading, False)
        return os.read(self.reading, 2 * len(FULL))


def _branch(*children: ChildSpec) -> ChildSpec:
    return supervisor("faults", *children, intensity=100_000, watchdog_s=WATCHDOG_S)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[UnreadErrors]:
    children = [child(f"faults/{name}", "Healthy", watchdog_s=WATCHDOG_S) for name in "ab"]
    with UnreadErrors(tmp_path, _branch(*children), intensity=100) as running:
        try:
            running.wait_for("system_started", timeout_s=60)
            yield running
        finally:
            os.close(running.reading)


def _wait_restarted(system: FollowedSystem, victim: str, count: int) -> None:
    wait_until(lambda: system.count("child_restarted", victim) >= count, AT_ONCE_S)


FAULTS = {
    signal.SIGSEGV: "Segmentation fault",
    signal.SIGBUS: "Bus error",
    signal.SIGFPE: "Floating",
    signal.SIGILL: "Illegal instruction",
    signal.SIGABRT: "Aborted",
}


def test_faulting_child_dies_at_once_and_its_parent_says_of_what(system: UnreadErrors) -> None:
    """Each fault that there is, of a worker and of a supervisor; its place is told, and standard error left alone."""
    for victim in ("faults/a", "faults"):
        for count, (number, text) in enumerate(FAULTS.items(), 1):
            pid = system.newest()[victim]
            os.kill(pid, number)
            _wait_restarted(system, victim, count)
            told = system.lines("actor_faulted", victim)[-1]
            assert told["pid"] == pid
            assert told["text"].startswith(f"Fatal Python error: {text}")
            assert "Current thread" in told["text"]
            events = [line["event"] for line in system.lines(None, victim) if line.get("pid") == pid]
            assert events[-2:] == ["actor_faulted", "child_exited"]
    assert system.count("child_exited", "faults/b") == 0
    assert system.unread() == FULL


def test_faulting_root_ends_the_run_at_once_and_the_runner_says_of_what(system: UnreadErrors) -> None:
    """Or it would be hung, and found after its silence only."""
    os.kill(system.lines("system_started")[0]["root_pid"], signal.SIGSEGV)
    assert system.wait_ended(AT_ONCE_S) == 70
    (told,) = system.lines("actor_faulted", "root")
    assert told["text"].startswith("Fatal Python error: Segmentation fault")
    assert [line["reason"] for line in system.lines("root_lost")] == ["killed"]
    assert system.unread() == FULL


def test_child_killed_without_a_fault_has_nothing_told_of_it(system: UnreadErrors) -> None:
    """SIGKILL and SIGTERM are no faults."""
    for count, number in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        os.kill(system.newest()["faults/a"], number)
        _wait_restarted(system, "faults/a", count)
    assert system.lines("actor_faulted") == []


def test_place_of_a_fault_in_a_body_is_told_and_no_line_is_torn(tmp_path: Path) -> None:
    """Many at once, with log and standard error in one file: each line is a record, and the faulting place is named."""
    faulting = [child(f"faults/{number}", fault) for number, fault in enumerate(("Segfault", "Abort") * 4)]
    with FollowedSystem(tmp_path, _branch(*faulting)) as system:
        system.wait_for("system_started", timeout_s=60)
        wait_until(lambda: all(system.count("child_restarted", spec.id) == 1 for spec in faulting), 60)
        told = {line["child_id"]: line["text"] for line in system.lines("actor_faulted")}
        assert set(told) == {spec.id for spec in faulting}
        assert all("in fail" in text and "bodies.py" in text for text in told.values())
        for line in (tmp_path / "log.jsonl").read_text().splitlines():
            assert len(line) < 4096
            json.loads(line)


def test_of_each_thread_the_innermost_frames_are_kept() -> None:
    """The outer ones of the main thread, many and always the same, would crowd out the thread that faulted."""
    frames = [f'  File "x.py", line {number} in f' for number in range(40)]
    text = "\n".join(["Fatal Python error: Aborted", "", "Thread 1:", *frames, "", "Current thread 2:", *frames])
    with structlog.testing.capture_logs() as lines:
        write_fault_report(ChildId("a"), 7, 1, text)
        write_fault_report(ChildId("a"), 8, 1, "")
    (line,) = lines
    kept = line["text"].splitlines()
    assert [word for word in kept if not word.startswith("  File")] == [
        *("Fatal Python error: Aborted", "", "Thread 1:", "", "Current thread 2:")
    ]
    assert kept[3:15] == frames[:12]
    assert (line["event"], line["child_id"], line["pid"]) == ("actor_faulted", "a", 7)


def test_supervisor_keeps_no_descriptor_of_a_child_that_has_ended(tmp_path: Path) -> None:
    """It has its own writing end and a reading one for each child; a worker its own, and its event loop both of one."""
    with FollowedSystem(tmp_path, _branch(child("faults/a", "Healthy"), child("faults/b", "Healthy"))) as system:
        system.wait_for("system_started", timeout_s=60)
        branch, sibling = system.newest()["faults"], system.newest()["faults/b"]
        for count in range(1, 11):
            os.kill(system.newest()["faults/a"], signal.SIGKILL)
            _wait_restarted(system, "faults/a", count)
            assert [_fault_pipes(pid) for pid in (branch, sibling, system.newest()["faults/a"])] == [3, 3, 3]


def _fault_pipes(pid: int) -> int:
    """The ends of non-blocking pipes that a process has open; there are no others here."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry).startswith("pipe:"):
            info = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
            flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
            found += bool(int(flags, 8) & os.O_NONBLOCK)
    return found
