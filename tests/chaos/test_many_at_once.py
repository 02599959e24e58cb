"""Several children die in the same moment: each is restarted once, and nobody else is touched."""

from pathlib import Path

import pytest

from tests.chaos.seeds import forms, seeded
from tests.chaos.small_tree import FollowedSystem, child, kill_at_once
from tests.small_system import supervisor
from tests.support import wait_until

TREE = {"services": "ab", "plants": "abcd", "strategies": "abcdef"}
"""Twelve children below three supervisors, as many as a real system has."""

RESTART_S = 60.0
"""Far more than a restart takes; a slow machine is no failure."""


@pytest.mark.parametrize("rounds", forms(short=5, long=100))
@pytest.mark.parametrize("at_once", [2, 4, 8])
def test_children_that_die_together_are_restarted_once_each(
    tmp_path: Path, request: pytest.FixtureRequest, at_once: int, rounds: int
) -> None:
    """One exit and one restart for each death; the kernel's list of processes changes by the victims alone."""
    branches = [
        supervisor(name, *[child(f"{name}/{letter}", "Healthy") for letter in letters], intensity=100_000)
        for name, letters in TREE.items()
    ]
    ids = sorted(f"{name}/{letter}" for name, letters in TREE.items() for letter in letters)
    deaths = dict.fromkeys(ids, 0)
    with seeded(request, seed=at_once) as chance, FollowedSystem(tmp_path, *branches) as system:
        system.wait_for("system_started", timeout_s=RESTART_S)
        for _ in range(rounds):
            before, pids = system.living(), system.newest()
            victims = chance.sample(ids, at_once)
            for victim in victims:
                deaths[victim] += 1
            kill_at_once([pids[victim] for victim in victims])
            wait_until(
                lambda: all(system.count("child_restarted", one) >= number for one, number in deaths.items()), RESTART_S
            )
            after = system.newest()
            killed = {pids[victim] for victim in victims}
            assert {one for one in ids if after[one] != pids[one]} == set(victims)
            assert before - system.living() == killed
            assert system.living() - before == {after[victim] for victim in victims}
        assert {one: system.count("child_exited", one) for one in ids} == deaths
        assert {one: system.count("child_restarted", one) for one in ids} == deaths
        assert system.count("supervisor_gave_up", "plants") == 0
        system.process.terminate()
        assert system.wait_ended(RESTART_S) == 0
        assert system.left() == []
