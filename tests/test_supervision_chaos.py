"""Seeded chaos: random processes get random signals; the tree must converge and leave nothing behind."""

import os
import random
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.small_system import SmallSystem, supervisor, worker
from tests.support import wait_until

POLICY = {"intensity": 10_000, "watchdog_s": 1.0}
BRANCH = {"watchdog_s": 1.5, "shutdown_s": 3.0}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV)
PROCESSES_BESIDE_CHILDREN = 3
"""Root, and Thespian's admin and logger."""


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(1, 12), *(pytest.param(seed, 200, marks=pytest.mark.chaos) for seed in range(2, 8))],
)
def test_tree_converges_after_any_signals_to_any_of_its_processes(tmp_path: Path, seed: int, rounds: int) -> None:
    """Killed, frozen, faulted and terminated, several at once, supervisors too: all run again, none is there twice."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    ids = {
        "services": ["services/alerts/log", "services/alerts/b"],
        "plants": [f"plants/{name}" for name in "abcd"],
        "strategies": [f"strategies/{name}" for name in "abcd"],
    }
    branches = [
        supervisor(name, *[worker(child_id, "Alarm", **POLICY) for child_id in children], intensity=10_000, **BRANCH)
        for name, children in ids.items()
    ]
    count = len(ids) + sum(map(len, ids.values()))
    pause = threading.Event()
    with SmallSystem(tmp_path, *branches, intensity=10_000) as system:
        system.wait_started()
        for _ in range(rounds):
            for _ in range(chance.choice((1, 1, 2, 4, 8))):
                try:
                    os.kill(chance.choice(list(system.pids().values())), chance.choice(SIGNALS))
                except ProcessLookupError:
                    continue
            pause.wait(chance.random() * 0.2)

        def converged() -> bool:
            living = psutil.Process(system.process.pid).children(recursive=True)
            states = {_status(process) for process in living}
            present = {process.pid for process in living}
            every_child = len(system.pids()) == count and present.issuperset(system.pids().values())
            in_number = len(living) == count + PROCESSES_BESIDE_CHILDREN
            return every_child and in_number and states.isdisjoint({"stopped", "zombie"})

        wait_until(converged, timeout_s=60.0)
        assert system.lines("actor_crashed") == []
        assert system.lines("supervisor_gave_up") == []
        system.processes()
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended() == 0
        assert system.left() == []


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return "zombie"
