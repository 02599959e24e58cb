"""Every way in which a child can fail: it is found within its watchdog's time, replaced, and nobody else notices."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.small_tree import FollowedSystem, child
from tests.small_system import supervisor

WATCHDOG_S = 1.0
PATIENT_WATCHDOG_S = 30.0
STOP_S = 1.0
LADDER_S = 2.0
"""What the rungs after the first one take, and more than that."""

SLACK_S = 3.0
"""What a busy machine may add to any of the times below."""

DIES_AT_ONCE = (
    *("Segfault", "Abort", "SystemExitRaised", "ExitsAtOnce", "CallbackRaises", "TaskRaises", "TaskExits"),
    *("OutOfMemory", "OutOfDescriptors", "ConstructorRaises", "StartRaises", "ReceiveRaises", "LaneRaises"),
    "StopRaises",
)
"""Their process ends by itself; the death is seen by its pidfd."""

HANGS = ("Stopped", "BusyLoop", "BlockedLoop", "HoldsInterpreter")
"""Their process lives on and says nothing; the watchdog finds them."""

FAULTS = {
    **dict.fromkeys(DIES_AT_ONCE, SLACK_S),
    **dict.fromkeys(HANGS, WATCHDOG_S + SLACK_S),
    "StartHangs": 2 * WATCHDOG_S + SLACK_S,
    "StopHangs": STOP_S + LADDER_S + SLACK_S,
}
"""Each fault with the time, in seconds, within which its process must be gone."""

SECOND_TRY = ("ConstructorRaises", "StartRaises", "StartHangs")
"""They fail in the second process, whose start is not a boot any more."""

PEERS = ("peer_a", "peer_b")


def _id(fault: str) -> str:
    return f"faults/{fault.lower()}"


@pytest.fixture(scope="module")
def system() -> Iterator[FollowedSystem]:
    """One tree in which all of them fail at the same time, beside two peers and in a branch beside another."""
    folder = Path(tempfile.mkdtemp(prefix="nd-"))
    config = json.dumps({"folder": str(folder)}).encode()
    policy: dict[str, Any] = {"watchdog_s": WATCHDOG_S, "shutdown_s": STOP_S, "config": config}
    policy |= {"start_timeout_s": 2 * WATCHDOG_S + 1.0}
    plan = json.dumps({"mail": [_id("ReceiveRaises")], "restart": [_id("StopRaises"), _id("StopHangs")]}).encode()
    # What dies by itself may be slow to, on a busy machine, and is not to be found by its silence.
    patient = policy | {"watchdog_s": PATIENT_WATCHDOG_S}
    faults = [child(_id(fault), fault, **(patient if fault in DIES_AT_ONCE else policy)) for fault in FAULTS]
    tree = [
        supervisor("other", *[child(f"other/{peer}", "Healthy") for peer in PEERS]),
        supervisor("faults", *[child(f"faults/{peer}", "Healthy") for peer in PEERS], *faults, intensity=100_000),
        child("operator", "Operator", config=plan),
    ]
    try:
        with FollowedSystem(folder, *tree) as running:
            running.wait_for("system_started", timeout_s=60)
            yield running
            running.process.terminate()
            assert running.wait_ended(30) == 0
            assert running.left() == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seconds(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@pytest.mark.parametrize("fault", FAULTS)
def test_failing_child_is_found_in_time_and_replaced(system: FollowedSystem, fault: str) -> None:
    """From the line that the child writes before its fault to the one that says its process is gone."""
    child_id = _id(fault)
    system.wait_for("fault_begins", child_id, timeout_s=60)
    (begin,) = system.lines("fault_begins", child_id)
    # A start that fails is no exit of a running child: its line is another one.
    gone = "child_start_failed" if fault in SECOND_TRY else "child_exited"
    system.wait_for(gone, child_id, timeout_s=60)
    ended = next(line for line in system.lines(gone, child_id) if _seconds(line) >= _seconds(begin))
    assert ended["incarnation"] == begin["incarnation"]
    assert _seconds(ended) - _seconds(begin) < FAULTS[fault]
    system.wait_for("child_restarted", child_id, timeout_s=60)
    restarts = system.lines("child_restarted", child_id)
    assert len(restarts) == 1
    assert restarts[0]["incarnation"] == begin["incarnation"] + 1


def test_peers_of_failing_children_keep_their_processes(system: FollowedSystem) -> None:
    """After all of the above: the same pids, no exit, and every child of the tree lives."""
    for fault in FAULTS:
        system.wait_for("child_restarted", _id(fault), timeout_s=60)
    for peer in ("operator", *(f"{branch}/{peer}" for branch in ("other", "faults") for peer in PEERS)):
        assert system.count("child_started", peer) == 1
        assert system.count("child_exited", peer) == 0
    for branch in ("other", "faults"):
        assert system.count("child_exited", branch) == 0
    assert system.living() >= set(system.newest().values())


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        ("SystemExitRaised", "SystemExit"),
        ("TaskExits", "SystemExit"),
        ("CallbackRaises", "RuntimeError"),
        ("TaskRaises", "RuntimeError"),
        ("ReceiveRaises", "RuntimeError"),
        ("LaneRaises", "RuntimeError"),
        ("OutOfMemory", "MemoryError"),
        ("OutOfDescriptors", "OSError"),
    ],
)
def test_failing_child_says_why(system: FollowedSystem, fault: str, error_type: str) -> None:
    """What raises is in the log with its type; a memory or descriptor limit may take the last words, not the line."""
    system.wait_for("actor_crashed", _id(fault), timeout_s=60)
    (line,) = system.lines("actor_crashed", _id(fault))
    assert line["error_type"] == error_type
