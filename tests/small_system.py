"""A small tree of test bodies in real processes, started as ``run.py`` starts its own, and what its log says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from nightdesk.messages import ChildId
from supervisors.spec import ROOT, ChildSpec, SupervisorSpec, branch, pack
from tests.support import PATIENCE_S, wait_until

REPOSITORY = Path(__file__).resolve().parents[1]


def worker(child_id: str, body: str, **policy: Any) -> ChildSpec:
    """A worker that runs a class of ``tests.bodies``; quick to give up waiting."""
    defaults: dict[str, Any] = {"shutdown_s": 2.0, "start_timeout_s": 10.0}
    return ChildSpec(id=ChildId(child_id), body=f"tests.bodies:{body}", **(defaults | policy))


def supervisor(child_id: str, *children: ChildSpec, intensity: int = 3, **policy: Any) -> ChildSpec:
    """A branch with its own supervisor."""
    return branch(SupervisorSpec(id=ChildId(child_id), children=children, intensity=intensity), **policy)


class SmallSystem:
    """A context in which the tree runs; leaving it kills what is left."""

    def __init__(
        self,
        folder: Path,
        *children: ChildSpec,
        intensity: int = 3,
        deadline_s: float = 8.0,
        duration_s: float | None = None,
    ) -> None:
        self._spec_file = folder / "tree.spec"
        self._log_file = folder / "log.jsonl"
        self._spec_file.write_bytes(pack(SupervisorSpec(id=ROOT, children=children, intensity=intensity)))
        self._arguments = [str(deadline_s)] + ([str(duration_s)] if duration_s is not None else [])
        self._seen: set[int] = set()

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.small_tree", str(self._spec_file), *self._arguments]
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=REPOSITORY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes()
        self.process.kill()
        self.process.wait()
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)
        if error is not None:
            error.add_note(self._log_file.read_text())

    def lines(self, event: str | None = None, child_id: str | None = None) -> list[dict[str, Any]]:
        """The log so far: all lines, or those of one event and child."""
        # A line that is just being written, or what the interpreter itself says, is no record.
        texts = [text for text in self._log_file.read_text().split("\n")[:-1] if text.startswith("{")]
        found = [json.loads(text) for text in texts]
        if event is not None:
            found = [line for line in found if line["event"] == event]
        return found if child_id is None else [line for line in found if line["child_id"] == child_id]

    def wait_for(
        self, event: str, child_id: str | None = None, *, count: int = 1, timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait until the log has that many lines of the event."""
        wait_until(lambda: len(self.lines(event, child_id)) >= count, timeout_s)

    def wait_started(self) -> dict[str, int]:
        """Wait until the whole tree has started; the pid of each child."""
        self.wait_for("system_started")
        self.processes()
        return self.pids()

    def pids(self) -> dict[str, int]:
        """The newest pid of each child, by the log."""
        started = [line for line in self.lines() if line["event"] in ("child_started", "child_restarted")]
        return {line["child_id"]: line["pid"] for line in started}

    def wait_ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the runner's end; its exit code."""
        return self.process.wait(timeout_s)

    def processes(self) -> set[int]:
        """Every process below the runner, remembered for ``left``."""
        if self.process.poll() is None:
            self._seen |= {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}
        return self._seen

    def left(self) -> list[int]:
        """Processes of this system that live although the runner may not."""
        return [pid for pid in self._seen if _is_ours(pid)]


def _is_ours(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "tests.small_tree" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
