"""OTP's cases of the strategies and of the restart types, with real processes."""

import os
import signal
from typing import Any

import pytest

from nightdesk.messages import AddChild, ChildState
from supervisors import engine
from supervisors.spec import RestartType, Strategy, SupervisorSpec, branch, pack_child
from tests.conformance.lab import DESK, Case, is_alive

ALL = Strategy.ONE_FOR_ALL
REST = Strategy.REST_FOR_ONE


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """The children whose process is another one now."""
    return {name for name in before if before[name] != after.get(name)}


def kill_and_wait(case: Case, name: str, *running: str) -> set[str]:
    """Kill a child, wait until all run again; whose process changed."""
    before = case.pids()
    restarts = len(case.lines("child_restarted", name))
    os.kill(before[name], signal.SIGKILL)
    case.wait_for("child_restarted", name, restarts + 1)
    return changed(before, case.wait_running(*running))


def assert_gave_up(case: Case, *pids: int) -> None:
    """The branch ended with SHUTDOWN because its budget was spent, and none of these processes is left."""
    end = case.wait_ended()
    assert (end["reason"], end["error_type"]) == ("SHUTDOWN", engine.GAVE_UP)
    case.wait(lambda: not any(is_alive(pid) for pid in pids))


def test_case_30_one_for_one_restarts_only_the_dead_child_and_the_third_restart_at_intensity_2_ends_it(
    case: Case,
) -> None:
    """Only its pid changes; at the third death the siblings are stopped in reverse."""
    case.run(case.child("a"), case.child("b"), case.child("c"), intensity=2)
    for _ in range(2):
        assert kill_and_wait(case, "b", "a", "b", "c") == {"b"}
    pids = case.pids()
    case.kill("b")
    assert_gave_up(case, *pids.values())
    assert case.order()[-3:] == ["-b", "-c", "-a"]
    assert ("shutdown", "b") in case.contexts()


def test_case_31_child_that_cannot_restart_ends_its_supervisor_and_its_sibling(case: Case) -> None:
    """Each failed try is a start_error and counts."""
    case.run(case.child("a"), case.child("b", "ok", "fail"), intensity=3)
    pids = case.pids()
    case.kill("b")
    assert_gave_up(case, *pids.values())
    assert case.contexts() == [
        ("child_terminated", "b"),
        *[("start_error", "b")] * 3,
        ("shutdown", "b"),
    ]
    assert case.starts("b") == 4


def test_case_32_one_for_all_restarts_all_and_the_third_restart_at_intensity_2_ends_it(case: Case) -> None:
    """Every pid changes each time."""
    case.run(case.child("a"), case.child("b"), case.child("c"), strategy=ALL, intensity=2)
    for victim in ("b", "a"):
        assert kill_and_wait(case, victim, "a", "b", "c") == {"a", "b", "c"}
    assert case.order()[3:9] == ["-b", "-c", "-a", "+a", "+b", "+c"]
    pids = case.pids()
    case.kill("c")
    assert_gave_up(case, *pids.values())


def test_case_33_sibling_that_cannot_restart_escalates(case: Case) -> None:
    """One for all: not the child that died fails now."""
    case.run(case.child("a"), case.child("b", "ok", "fail"), strategy=ALL, intensity=3)
    pids = case.pids()
    case.kill("a")
    assert_gave_up(case, *pids.values())
    assert case.contexts().count(("start_error", "b")) == 3


def test_case_34_child_restarted_already_is_terminated_again_when_a_later_one_fails(case: Case) -> None:
    """The retry tears everything down and starts all anew."""
    case.run(case.child("a"), case.child("b", "ok", "fail", "ok"), case.child("c"), strategy=ALL)
    case.kill("a")
    case.wait_for("child_restarted", "c")
    case.wait_running("a", "b", "c")
    assert case.order()[3:] == ["-a", "-c", "-b", "+a", "-a", "+a", "+b", "+c"]
    assert [case.starts(name) for name in "abc"] == [3, 3, 2]


def test_case_41_rest_for_one_restarts_the_later_ones_only_and_its_intensity_trips(case: Case) -> None:
    """The earlier pid is kept."""
    case.run(case.child("a"), case.child("b"), case.child("c"), strategy=REST, intensity=2)
    for _ in range(2):
        assert kill_and_wait(case, "b", "a", "b", "c") == {"b", "c"}
    pids = case.pids()
    case.kill("b")
    assert_gave_up(case, *pids.values())


def test_case_42_later_child_that_cannot_restart_escalates(case: Case) -> None:
    """Rest for one: each of its tries counts."""
    case.run(case.child("a"), case.child("b"), case.child("c", "ok", "fail"), strategy=REST, intensity=3)
    pids = case.pids()
    case.kill("b")
    assert_gave_up(case, *pids.values())
    assert case.contexts().count(("start_error", "c")) == 3


def test_case_43_retry_starts_at_the_failed_child(case: Case) -> None:
    """The earlier one that was restarted is left alone."""
    children = [case.child("a"), case.child("b"), case.child("c", "ok", "fail", "ok"), case.child("d")]
    case.run(*children, strategy=REST)
    case.kill("b")
    case.wait_for("child_restarted", "d")
    case.wait_running("a", "b", "c", "d")
    assert [case.starts(name) for name in "abcd"] == [1, 2, 3, 2]


# -- restart types ---------------------------------------------------------------------------------------------------


def end(case: Case, restart: RestartType, reason: str) -> None:
    """Run a child of that type beside another one, and let it end with that reason."""
    case.run(case.child("a", restart=restart), case.child("b"))
    match reason:
        case "NORMAL":
            case.poke("a", "finish")
        case "CRASHED":
            case.poke("a", "crash")
        case "SHUTDOWN":
            case.kill("a", signal.SIGTERM)
        case _:
            case.kill("a")
    assert case.wait_for("child_exited", "a")["reason"] == reason


def assert_restarted(case: Case) -> None:
    case.wait_for("child_restarted", "a")
    case.wait_running("a", "b")
    assert case.contexts() == [("child_terminated", "a")]
    assert (case.starts("a"), case.starts("b")) == (2, 1)


def assert_kept_without_process(case: Case) -> None:
    assert case.states() == {"a": "stopped", "b": "running"}
    assert case.contexts() == []
    assert (case.starts("a"), case.starts("b")) == (1, 1)


def assert_gone(case: Case) -> None:
    assert case.states() == {"b": "running"}
    assert (case.starts("a"), case.starts("b")) == (1, 1)


def test_case_45_permanent_normal_restarts(case: Case) -> None:
    """Its work is never done."""
    end(case, RestartType.PERMANENT, "NORMAL")
    assert_restarted(case)


def test_case_46_transient_normal_keeps_the_spec_only(case: Case) -> None:
    """Silently."""
    end(case, RestartType.TRANSIENT, "NORMAL")
    assert_kept_without_process(case)


def test_case_47_temporary_normal_is_gone(case: Case) -> None:
    """Silently."""
    end(case, RestartType.TEMPORARY, "NORMAL")
    assert_gone(case)
    assert case.contexts() == []


def test_case_48_permanent_shutdown_restarts(case: Case) -> None:
    """Somebody else's SIGTERM is a failure of a permanent child."""
    end(case, RestartType.PERMANENT, "SHUTDOWN")
    assert_restarted(case)


def test_case_49_transient_shutdown_keeps_the_spec_only(case: Case) -> None:
    """Silently."""
    end(case, RestartType.TRANSIENT, "SHUTDOWN")
    assert_kept_without_process(case)


def test_case_50_temporary_shutdown_is_gone(case: Case) -> None:
    """Silently."""
    end(case, RestartType.TEMPORARY, "SHUTDOWN")
    assert_gone(case)
    assert case.contexts() == []


@pytest.mark.parametrize("restart", [RestartType.PERMANENT, RestartType.TRANSIENT])
@pytest.mark.parametrize("reason", ["CRASHED", "KILLED"])
def test_case_52_53_permanent_and_transient_abnormal_restart(case: Case, restart: RestartType, reason: str) -> None:
    """A raised error and kill -9."""
    end(case, restart, reason)
    assert_restarted(case)


@pytest.mark.parametrize("reason", ["CRASHED", "KILLED"])
def test_case_54_temporary_abnormal_is_gone_and_reported(case: Case, reason: str) -> None:
    """Its end is reported, but it is not restarted."""
    end(case, RestartType.TEMPORARY, reason)
    assert_gone(case)
    assert case.contexts() == [("child_terminated", "a")]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_case_75_76_nothing_of_a_temporary_child_is_kept(case: Case, strategy: Strategy) -> None:
    """Whatever the strategy and the way of dying: no spec, no restart, no charge, no sibling touched."""
    names = ("n", "s", "k", "c")
    temporary = [case.child(name, restart=RestartType.TEMPORARY) for name in names]
    case.run(case.child("a"), *temporary, case.child("z"), strategy=strategy, intensity=0)
    before = case.pids()
    case.poke("n", "finish")
    case.poke("c", "crash")
    os.kill(before["s"], signal.SIGTERM)
    os.kill(before["k"], signal.SIGKILL)
    case.wait(lambda: set(case.states()) == {"a", "z"})
    assert case.pids() == {"a": before["a"], "z": before["z"]}
    assert [case.starts(name) for name in names] == [1, 1, 1, 1]


@pytest.mark.parametrize("strategy", [ALL, REST])
def test_case_78_temporary_bystander_is_dropped_and_the_supervisor_survives(case: Case, strategy: Strategy) -> None:
    """It is terminated with the group but never started again."""
    case.run(case.child("a"), case.child("t", restart=RestartType.TEMPORARY), case.child("z"), strategy=strategy)
    temporary = case.pids()["t"]
    assert kill_and_wait(case, "a", "a", "z") == {"a", "t", "z"}
    assert case.states() == {"a": "running", "z": "running"}
    assert not is_alive(temporary)
    assert case.order()[3:] == ["-a", "-z", "-t", "+a", "+z"]


def test_case_79_each_way_of_dying_gives_a_new_process_and_leaves_no_orphan(case: Case) -> None:
    """The worker is killed, exits, is restarted by hand; then its supervisor is killed with SIGKILL."""
    case.run(case.child("a"), restart=RestartType.PERMANENT)
    seen = [case.pids()["a"]]
    case.kill("a")
    seen.append(case.wait_for("child_restarted", "a", 1)["pid"])
    case.poke("a", "finish")
    seen.append(case.wait_for("child_restarted", "a", 2)["pid"])
    case.restart("a", running_too=True)
    seen.append(case.wait_for("child_restarted", "a", 3)["pid"])
    case.kill("")
    case.wait_for("child_restarted", "")
    seen.append(case.wait_running("a")["a"])
    assert len(set(seen)) == 5
    case.wait(lambda: not any(is_alive(pid) for pid in seen[:-1]))


def test_case_87_children_start_forward_and_stop_in_reverse_with_ids_unsorted_on_purpose(case: Case) -> None:
    """The boot, a partial restart, and the full stop."""
    case.run(*(case.child(name) for name in "cadb"), strategy=REST)
    case.kill("a")
    case.wait_for("child_restarted", "b")
    case.wait_running(*"abcd")
    case.terminate("")
    boot, partial, stop = case.order()[:4], case.order()[4:10], case.order()[10:]
    assert boot == ["+c", "+a", "+d", "+b"]
    assert partial == ["-a", "-b", "-d", "+a", "+d", "+b"]
    assert stop == ["-b", "-d", "-a", "-c"]


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.chaos)])
def test_case_71_count_children_is_exact_at_200(case: Case, count: int) -> None:
    """The default run has fewer processes; the engine's case has all of them."""
    supervisors = count // 8
    nested = [branch(SupervisorSpec(id=case.full(f"s{number}")), watchdog_s=None) for number in range(supervisors)]
    case.run(*nested, *(case.child(f"w{number}") for number in range(count // 2)))
    for number in range(count - supervisors - count // 2):
        assert case.add(case.child(f"d{number}")).ok
    assert case.counts() == (count, count, supervisors, count - supervisors)
    for number in range(3):
        case.terminate(f"d{number}")
    assert case.counts() == (count, count - 3, supervisors, count - supervisors)


def test_case_73_restarting_child_is_listed_but_not_active(case: Case) -> None:
    """Between two tries, which a backoff keeps apart."""
    case.run(case.child("a", "ok", "fail", backoff_initial_s=60.0, backoff_max_s=60.0), case.child("b"))
    case.kill("a")
    case.wait(lambda: case.states()["a"] == "restarting")
    assert case.counts() == (2, 1, 0, 2)
    assert case.pids()["a"] == 0


def test_case_80_81_calls_while_a_child_is_restarting(case: Case) -> None:
    """start → already_present, restart and delete → restarting; terminate and the supervisor's shutdown work."""
    slow: dict[str, Any] = {"backoff_initial_s": 60.0, "backoff_max_s": 60.0}
    case.run(case.child("a", **slow), case.child("b"), case.child("c", **slow))
    case.kill("a")
    case.kill("c")
    case.wait(lambda: case.states()["a"] == case.states()["c"] == "restarting")
    assert case.add(case.child("a")).text.startswith("already_present")
    assert case.restart("a").text.startswith("restarting")
    assert case.delete("a").text.startswith("restarting")
    assert case.terminate("a").ok
    assert case.states()["a"] == "stopped"
    assert case.delete("a").ok
    assert case.terminate("").ok
    assert case.wait_ended()["reason"] == "SHUTDOWN"
    assert case.starts("c") == 1


def test_ours_8_shutdown_during_restarting(case: Case) -> None:
    """A try under way is stopped; nobody waits for its time to start."""
    case.run(case.child("a", "ok", "hang", start_timeout_s=60.0), case.child("b"))
    case.kill("a")
    case.wait(lambda: case.starts("a") == 2)
    pid = case.pids()["a"]
    assert case.reports()["a"].state is ChildState.STARTING
    assert case.terminate("").ok
    assert case.wait_ended()["reason"] == "SHUTDOWN"
    assert not is_alive(pid)


def test_supervisor_answers_while_its_child_starts(case: Case) -> None:
    """OTP's supervisor would wait within the start; ours has a list to show and can be stopped."""
    case.run()
    add = AddChild(request_id=case.lab.request_id(), reply_to=DESK, spec=pack_child(case.child("a", "hang")))
    case.lab.tell(case.id, add)
    case.wait(lambda: case.states() == {"a": "starting"})
    assert case.terminate("a").ok
    assert case.states() == {"a": "stopped"}
