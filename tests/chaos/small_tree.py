"""A small tree under fault injection: its log followed as it grows, its processes counted by the kernel's own list."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from nightdesk.messages import ChildId
from supervisors.spec import ChildSpec
from tests.small_system import SmallSystem

PATIENT: dict[str, Any] = {"intensity": 100_000, "backoff_initial_s": 0.0}
"""A budget of restarts that no test spends, and no waiting between them."""


def child(child_id: str, body: str, **policy: Any) -> ChildSpec:
    """A worker of ``tests.chaos.bodies`` that is restarted as often as it takes."""
    defaults: dict[str, Any] = PATIENT | {"shutdown_s": 2.0, "start_timeout_s": 20.0, "watchdog_s": 1.0}
    return ChildSpec(id=ChildId(child_id), body=f"tests.chaos.bodies:{body}", **(defaults | policy))


class FollowedSystem(SmallSystem):
    """Reads each line of the log once, however long the run."""

    def __init__(self, folder: Path, *children: ChildSpec, **options: Any) -> None:
        super().__init__(folder, *children, **options)
        self._path = folder / "log.jsonl"
        self._offset = 0
        self._newest: dict[str, int] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def follow(self) -> None:
        """Take in what the log has gained."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                record = json.loads(line)
                event, child_id = record["event"], record.get("child_id", "")
                self._counts[event, child_id] += 1
                if event in ("child_started", "child_restarted"):
                    self._newest[child_id] = record["pid"]

    def count(self, event: str, child_id: str) -> int:
        """How many such lines there are by now."""
        self.follow()
        return self._counts[event, child_id]

    def newest(self) -> dict[str, int]:
        """The newest pid of each child."""
        self.follow()
        return dict(self._newest)

    def living(self) -> set[int]:
        """Every process below the runner that is not merely waiting to be reaped."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        self._seen |= {process.pid for process in below}
        return {process.pid for process in below if status_of(process) != psutil.STATUS_ZOMBIE}


def status_of(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def kill_at_once(pids: list[int]) -> None:
    """SIGKILL to all of them before anybody can react: they are stopped first, so that none ends early."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
