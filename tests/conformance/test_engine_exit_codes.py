"""Ours, against the pure engine: whose exit code ends the whole system, and whose does not."""

from dataclasses import replace
from typing import Any

import pytest

from nightdesk.messages import ChildState, ExitReason
from supervisors.events import Boot, StartProcess
from supervisors.spec import GiveUp, RestartType, Strategy
from supervisors.state import LastWords
from tests.engine_support import SHUTDOWN, Tree, child, parked

REFUSED = LastWords(ExitReason.CRASHED, "CredentialsError", "refused", exit_code=3)
HALTED = LastWords(ExitReason.SHUTDOWN, exit_code=5)


def _how_it_ended(tree: Tree) -> tuple[int | None, ExitReason, str]:
    return tree.exit.exit_code, tree.exit.ending.reason, tree.exit.ending.error_type


def _in_state(state: str, **policy: Any) -> Tree:
    """A tree whose child ``b`` has a process and is in this state."""
    tree = Tree(child("a"), child("b", **policy), child("c"))
    if state == "booting":
        tree.feed(Boot())
        tree.started("a")
        return tree
    tree.boot()
    match state:
        case "starting again":
            tree.dies("b")
        case "being restarted by an operator":
            tree.asks("b")
        case "being terminated":
            tree.terminates("b")
        case _:
            assert state == "running"
    return tree


STATES = ("booting", "running", "starting again", "being restarted by an operator", "being terminated")


@pytest.mark.parametrize("state", STATES)
def test_ours_11_crash_with_an_exit_code_ends_the_system_in_any_state(state: str) -> None:
    """Nothing is started any more, the others are stopped in reverse, and the code goes up as the end of a crash."""
    tree = _in_state(state)
    started = len(tree.of(StartProcess))
    tree.dies("b", REFUSED)
    tree.obey()
    assert _how_it_ended(tree) == (3, ExitReason.CRASHED, "CredentialsError")
    assert tree.exit.ending.error_message == "b: refused"
    assert len(tree.of(StartProcess)) == started
    others = ["-a"] if state == "booting" else ["-c", "-a"]
    assert [word for word in tree.starts_and_stops() if word in ("-a", "-c")] == others


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("restart", list(RestartType))
def test_ours_11_neither_strategy_nor_restart_type_changes_that(strategy: Strategy, restart: RestartType) -> None:
    """In the middle of a group's restart, too: the job ends with it."""
    tree = Tree(child("a"), child("b", restart=restart), child("c"), strategy=strategy)
    tree.boot()
    if strategy is Strategy.ONE_FOR_ALL:
        tree.dies("c")
        assert tree.is_in("b", ChildState.STOPPING)
    tree.dies("b", REFUSED)
    tree.obey()
    assert _how_it_ended(tree) == (3, ExitReason.CRASHED, "CredentialsError")


@pytest.mark.parametrize("intensity", [0, 2])
def test_ours_11_exit_code_of_a_child_that_is_to_be_parked_ends_nothing_but_the_child(intensity: int) -> None:
    """It is restarted as often as its budget allows and set aside; nor does the end of the system have its code."""
    tree = Tree(parked("a", intensity=intensity), child("b"))
    tree.boot()
    for _ in range(intensity):
        tree.dies("a", REFUSED)
        assert tree.is_in("a", ChildState.STARTING)
        tree.started("a")
    tree.dies("a", REFUSED)
    assert tree.is_in("a", ChildState.PARKED)
    assert tree.running == ["b"]
    tree.stops()
    tree.obey()
    assert _how_it_ended(tree) == (None, ExitReason.SHUTDOWN, "")


def test_ours_11_exit_code_of_a_child_that_is_to_be_parked_is_ignored_at_the_stop_as_well() -> None:
    """A strategy cannot give the run a code of its own by what it says last."""
    tree = Tree(parked("a"), child("b"))
    tree.boot()
    tree.stops()
    tree.dies("b", SHUTDOWN)
    tree.dies("a", HALTED)
    assert _how_it_ended(tree) == (None, ExitReason.SHUTDOWN, "")


def test_ours_11_budget_of_its_own_alone_does_not_take_the_exit_code_away() -> None:
    """What escalates matters to the system; its code is taken at the first crash, not after the budget."""
    tree = Tree(child("a", intensity=5, on_give_up=GiveUp.ESCALATE))
    tree.boot()
    tree.dies("a", REFUSED)
    assert _how_it_ended(tree) == (3, ExitReason.CRASHED, "CredentialsError")


@pytest.mark.parametrize("reason", [ExitReason.NORMAL, ExitReason.SHUTDOWN, ExitReason.KILLED])
def test_ours_11_exit_code_of_an_end_that_is_no_crash_counts_only_in_the_stop(reason: ExitReason) -> None:
    """A plant that is restarted by hand while HALTED does not end the system; at the end it gives the run its 5."""
    words = replace(HALTED, reason=reason)
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a", words)
    assert tree.is_in("a", ChildState.STARTING)
    tree.started("a")
    tree.stops()
    tree.dies("a", words)
    assert tree.exit.exit_code == 5


def test_ours_11_first_exit_code_is_the_one_that_counts() -> None:
    """The others are answers to the stop that it caused."""
    tree = Tree(child("a"), child("b"), child("c"))
    tree.boot()
    tree.stops()
    tree.dies("c", SHUTDOWN)
    tree.dies("b", HALTED)
    tree.dies("a", replace(HALTED, exit_code=4))
    assert tree.exit.exit_code == 5
