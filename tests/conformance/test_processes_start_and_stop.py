"""OTP's cases of starting and stopping, with real processes. The numbers are those of docs/supervision.md."""

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.messages import AddChild, CommandResult, QuerySpec, SpecReport, TerminateChild
from supervisors import engine
from supervisors.spec import BRUTAL_KILL, Kind, RestartType, pack_child
from tests.conformance.lab import DESK, Case, brief, is_alive
from tests.small_system import SmallSystem, supervisor, worker


def test_case_1_empty_supervisor_starts_and_stops_with_shutdown(case: Case) -> None:
    """It acknowledges at once and ends with SHUTDOWN."""
    assert case.run().added.ok
    assert case.counts() == (0, 0, 0, 0)
    assert case.terminate("").ok
    assert case.wait_ended()["reason"] == "SHUTDOWN"


def test_case_3_ignored_permanent_child_keeps_its_spec(case: Case) -> None:
    """Counts 2/1/0/2, and the next child runs."""
    case.run(case.child("a", "ignore"), case.child("b"))
    assert case.counts() == (2, 1, 0, 2)
    assert case.states() == {"a": "stopped", "b": "running"}
    assert case.contexts() == []


def test_case_4_ignored_temporary_static_child_is_dropped(case: Case) -> None:
    """Nothing of it is kept."""
    case.run(case.child("a", "ignore", restart=RestartType.TEMPORARY), case.child("b"))
    assert case.states() == {"b": "running"}


@pytest.mark.parametrize("restart", list(RestartType))
def test_case_5_ignored_child_of_start_child(case: Case, restart: RestartType) -> None:
    """The answer is good although there is no process."""
    case.run()
    assert brief(case.add(case.child("a", "ignore", restart=restart))) == (True, "a is ignored")
    assert case.states() == ({} if restart is RestartType.TEMPORARY else {"a": "stopped"})


def test_case_8_bad_init_value_is_bad_return(case: Case) -> None:
    """A body whose start returns something, one that is none, and a supervisor whose configuration is no spec."""
    case.run()
    added = case.add(case.child("a", "bad_return"))
    assert "bad_return: start returned 5" in added.text
    none = msgspec.structs.replace(case.child("b"), body="tests.bodies:NotABody")
    assert "is no actors.base.Body" in case.add(none).text
    no_spec = msgspec.structs.replace(case.child("c"), kind=Kind.SUPERVISOR, config=b"no spec")
    assert "bad_return: this is no SupervisorSpec" in case.add(no_spec).text
    assert case.states() == {}


@pytest.mark.parametrize("start", ["fail", "exit", "sys_exit"])
def test_case_9_raising_init_gives_the_error_with_its_stack_and_nothing_leaks(case: Case, start: str) -> None:
    """The child's process and its siblings' are gone, the branch's end says why, the stack is in the crash report."""
    case.run(case.child("a"), case.child("b", start))
    first = case.wait_for("child_started", "a")["pid"]
    assert brief(case.added)[0] is False
    failed = case.wait_for("child_start_failed", "b")
    assert not is_alive(first)
    assert not is_alive(failed["pid"])
    if start == "fail":
        assert "ValueError: no luck" in case.added.text
        assert "raise ValueError" in case.wait_for("actor_crashed", "b")["traceback"]
    else:
        assert failed["reason"] == ("KILLED" if start == "exit" else "CRASHED")


def test_case_10_manual_restart_that_fails_keeps_the_spec_and_is_not_retried(case: Case) -> None:
    """The caller gets the error; the next try is the caller's."""
    case.run(case.child("a", "ok", "fail", "ok"))
    case.terminate("a")
    assert "start_error: ValueError: no luck" in case.restart("a").text
    assert case.states() == {"a": "stopped"}
    assert case.starts("a") == 2
    assert case.restart("a").ok


def test_case_11_failing_start_child_leaves_no_spec(case: Case) -> None:
    """The caller gets the error, and the supervisor lives."""
    case.run(intensity=0)
    assert brief(case.add(case.child("a", "fail"))) == (False, "start_error")
    assert case.states() == {}


def test_case_13_defaults_are_filled_in_and_an_unknown_id_is_not_found(case: Case) -> None:
    """get_child_spec over the mailbox: every field but the opaque configuration."""
    case.run(case.child("a"))
    lab = case.lab
    report = lab.ask("root", QuerySpec(request_id=lab.request_id(), reply_to=DESK, child_id=case.full("a")))
    assert isinstance(report, SpecReport)
    spec = msgspec.json.decode(report.spec_json)
    assert (spec["restart"], spec["kind"], spec["intensity"]) == ("PERMANENT", "worker", None)
    above = lab.ask("root", QuerySpec(request_id=lab.request_id(), reply_to=DESK, child_id=case.id))
    found = msgspec.json.decode(above.spec_json)
    assert (found["shutdown_s"], found["branch"]["strategy"]) == (None, "ONE_FOR_ONE")
    missing = lab.ask("root", QuerySpec(request_id=lab.request_id(), reply_to=DESK, child_id=case.full("x")))
    assert isinstance(missing, CommandResult)
    assert missing.text == f"not_found: {case.full('x')}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("intensity", -1),
        ("restart", "permanent"),
        ("shutdown_s", "brutal_kill"),
        ("period_s", 0),
        ("significant", True),
    ],
)
def test_case_15_faulty_spec_is_rejected_by_the_name_of_the_field(case: Case, field: str, value: Any) -> None:
    """In the answer to start_child; unknown keys too. The supervisor lives."""
    case.run(intensity=0)
    fields = msgspec.msgpack.decode(pack_child(case.child("a"))) | {field: value}
    message = AddChild(request_id=case.lab.request_id(), reply_to=DESK, spec=msgspec.msgpack.encode(fields))
    answer = case.lab.ask(case.id, message)
    assert not answer.ok
    assert field in answer.text
    assert case.counts() == (0, 0, 0, 0)


# -- stop ------------------------------------------------------------------------------------------------------------


def test_case_16_obedient_children_end_with_shutdown(case: Case) -> None:
    """Permanent and transient: asked once, told why, no error."""
    case.run(case.child("a"), case.child("b", restart=RestartType.TRANSIENT))
    case.terminate("")
    assert {line["reason"] for line in case.lines("child_exited")} == {"SHUTDOWN"}
    assert len(case.lines("body_stopped")) == 2
    assert case.contexts() == []


def test_case_17_obedient_child_is_shut_down_and_sleeper_is_killed_at_its_time(case: Case) -> None:
    """The sleeper is a shutdown_error; what comes before and after it in the list is stopped in order all the same."""
    case.run(case.child("a"), case.child("b", stop="hang", shutdown_s=0.3), case.child("c"))
    assert case.terminate("").ok
    ends = {line["child_id"][-1]: (line["reason"], line["cause"]) for line in case.lines("child_exited")}
    assert ends == {"a": ("SHUTDOWN", ""), "b": ("KILLED", "shutdown_timeout"), "c": ("SHUTDOWN", "")}
    assert case.contexts() == [("shutdown_error", "b")]
    assert case.wait_ended()["reason"] == "SHUTDOWN"


def test_case_19_brutal_kill_does_not_ask_and_is_no_error(case: Case) -> None:
    """Killed without its stop hook; its sibling is asked."""
    case.run(case.child("a", shutdown_s=BRUTAL_KILL), case.child("b"))
    assert case.terminate("").ok
    ends = {line["child_id"][-1]: line["reason"] for line in case.lines("child_exited")}
    assert ends == {"a": "KILLED", "b": "SHUTDOWN"}
    assert case.contexts() == []
    assert case.lines("body_stopped", "a") == []


@pytest.mark.parametrize("restart", list(RestartType))
def test_case_21_exit_by_itself_during_shutdown_completes_it(case: Case, restart: RestartType) -> None:
    """Four reasons, each while the last child takes its time to stop: nothing restarts, each keeps its own reason."""
    names = ("n", "s", "k", "c")
    children = [case.child(name, restart=restart) for name in names]
    case.run(*children, case.child("z", stop="hang", shutdown_s=2.0, restart=restart))
    pids = case.pids()
    stop = TerminateChild(request_id=case.lab.request_id(), reply_to=DESK, child_id=case.id)
    case.lab.tell("root", stop)
    case.wait_for("body_stopped", "z")
    case.poke("n", "finish")
    case.poke("c", "crash")
    os.kill(pids["s"], signal.SIGTERM)
    os.kill(pids["k"], signal.SIGKILL)
    assert case.lab.answer(stop).ok
    ends = {line["child_id"][-1]: line["reason"] for line in case.lines("child_exited")}
    assert ends == {"n": "NORMAL", "s": "SHUTDOWN", "k": "KILLED", "c": "CRASHED", "z": "KILLED"}
    assert [case.starts(name) for name in names] == [1, 1, 1, 1]
    assert case.wait_ended()["reason"] == "SHUTDOWN"


def test_case_51_boot_failure_surfaces_as_failed_to_start_child_with_its_stack(tmp_path: Path) -> None:
    """In the exit code of the run and in its log: child, reason and stack; what ran is stopped in reverse."""
    plants = supervisor("plants", worker("plants/a", "Quiet"), worker("plants/b", "FailsAtStart"))
    with SmallSystem(tmp_path, worker("exchange", "Quiet"), plants) as system:
        assert system.wait_ended(30.0) == 70
        failed = system.lines("child_start_failed")
        assert [line["child_id"] for line in failed] == ["plants/b", "plants"]
        assert failed[1]["error_type"] == engine.FAILED_TO_START
        assert "plants/b: ValueError: no luck" in failed[1]["error_message"]
        assert "raise ValueError" in system.lines("actor_crashed", "plants/b")[0]["traceback"]
        assert [line["child_id"] for line in system.lines("child_exited")] == ["plants/a", "exchange"]
        assert system.left() == []


def test_case_55_child_that_breaks_its_link_cannot_hang_the_supervisor(case: Case) -> None:
    """It closes every descriptor it has, its mailbox too: it is ended in its time, and the supervisor ends."""
    case.run(case.child("a", shutdown_s=0.5), case.child("b"))
    pid = case.pids()["a"]
    case.poke("a", "unlink")
    case.wait(lambda: case.mail("a") == 1)
    assert case.terminate("").ok
    assert case.wait_ended()["reason"] == "SHUTDOWN"
    assert not is_alive(pid)


def test_case_56_crash_touches_only_its_own_branch_and_dynamic_children_are_lost(case: Case) -> None:
    """A branch that gives up is rebuilt by its parent from its spec; the branch beside it does not notice."""
    beside = Case(case.lab, "beside").run()
    beside.add(beside.child("b"))
    before = beside.pids()
    case.run(case.child("a"), restart=RestartType.PERMANENT, intensity=0)
    case.add(case.child("dynamic"))
    pid = case.own_pid()
    case.kill("a")
    case.wait_for("child_restarted", "")
    assert case.states() == {"a": "running"}
    assert case.own_pid() != pid
    assert case.reports()["a"].incarnation > 1_000_000
    assert case.lines("supervisor_gave_up", "a")
    assert beside.pids() == before
    beside.close()
