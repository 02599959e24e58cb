"""Ours, with real processes: whose exit code ends the whole system. Each has a system of its own, for it ends."""

import os
import signal
from pathlib import Path

import pytest

from supervisors.spec import GiveUp, RestartType
from tests.small_system import SmallSystem, supervisor, worker


@pytest.mark.parametrize("restart", list(RestartType))
def test_ours_11_crash_with_an_exit_code_ends_the_system_with_it(tmp_path: Path, restart: RestartType) -> None:
    """Two supervisors up, whatever the restart type; all others are stopped in order, and nothing is restarted."""
    inner = supervisor("plants/a", worker("plants/a/b", "RefusedCredentials", restart=restart))
    with SmallSystem(tmp_path, worker("exchange", "Quiet"), supervisor("plants", inner)) as system:
        assert system.wait_ended(30) == 3
        assert system.lines("child_restarted") == []
        assert system.lines("body_stopped", "exchange")
        assert system.left() == []


def test_ours_11_exit_code_of_a_child_that_is_to_be_parked_ends_nothing_but_the_child(tmp_path: Path) -> None:
    """It is tried as often as its budget allows and set aside; the run ends with 0 when it is told to."""
    failing = worker("strategies/a", "RefusedCredentials", intensity=1, on_give_up=GiveUp.PARK)
    halting = worker("strategies/b", "HaltedAtStop", intensity=1, on_give_up=GiveUp.PARK)
    with SmallSystem(tmp_path, supervisor("strategies", failing, halting)) as system:
        system.wait_for("child_parked", "strategies/a", timeout_s=30)
        system.wait_for("system_started", timeout_s=30)
        assert len(system.lines("child_exited", "strategies/a")) == 2
        assert system.lines("child_exited", "strategies/b") == []
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended(30) == 0
        assert system.left() == []


def test_ours_11_exit_code_of_an_ordered_stop_counts_only_when_the_system_stops(tmp_path: Path) -> None:
    """SIGTERM to one child is an end with its own code, which restarts it; the same child gives the run its 5."""
    plants = supervisor("plants", worker("plants/order", "HaltedAtStop"))
    with SmallSystem(tmp_path, plants) as system:
        system.wait_for("system_started", timeout_s=30)
        os.kill(system.pids()["plants/order"], signal.SIGTERM)
        system.wait_for("child_restarted", "plants/order", timeout_s=30)
        system.process.send_signal(signal.SIGTERM)
        assert system.wait_ended(30) == 5
        assert [line["reason"] for line in system.lines("child_exited", "plants/order")] == ["SHUTDOWN", "SHUTDOWN"]
