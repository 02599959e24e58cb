"""OTP's cases of the API and of the reports, and our own list, with real processes."""

import os
import signal
import time
from collections.abc import Callable

import msgspec
import pytest

from actors.process import children_of
from nightdesk.messages import CommandResult, ExitReason
from supervisors import engine
from supervisors.reporting import PROGRESS_KEYS, REPORT_TEXT_MAX, SUPERVISOR_KEYS
from supervisors.spec import BRUTAL_KILL, INFINITY, GiveUp, RestartType, SupervisorSpec, branch
from tests.conformance.lab import Case, brief, is_alive

BOUND_KEYS = {"timestamp", "level", "event", "actor"}
"""On every line, beside child_id and incarnation, which a report has of its own."""


def test_case_23_whole_matrix_of_start_terminate_restart_and_delete(case: Case) -> None:
    """Every call in every state of a child, with every error."""
    case.run()
    spec = case.child("a")
    expected: list[tuple[Callable[[], CommandResult], bool, str]] = [
        (lambda: case.terminate("a"), False, "not_found"),
        (lambda: case.restart("a"), False, "not_found"),
        (lambda: case.delete("a"), False, "not_found"),
        (lambda: case.add(spec), True, "a is started"),
        (lambda: case.add(spec), False, "already_started"),
        (lambda: case.restart("a"), False, "running"),
        (lambda: case.delete("a"), False, "running"),
        (lambda: case.terminate("a"), True, "a is stopped"),
        (lambda: case.terminate("a"), True, "a is stopped"),
        (lambda: case.add(spec), False, "already_present"),
        (lambda: case.restart("a"), True, "a is started"),
        (lambda: case.terminate("a"), True, "a is stopped"),
        (lambda: case.delete("a"), True, "a is deleted"),
        (lambda: case.delete("a"), False, "not_found"),
        (lambda: case.restart("a"), False, "not_found"),
    ]
    for number, (call, ok, word) in enumerate(expected):
        assert brief(call()) == (ok, word), f"call {number}"


def test_case_25_extra_start_info_reaches_the_caller_and_survives_an_automatic_restart(case: Case) -> None:
    """In the answers to start_child and to restart_child, before and after a kill."""
    case.run()
    assert case.add(case.child("a", info="port 7")).text.endswith(", port 7")
    case.kill("a")
    case.wait_for("child_restarted", "a")
    case.terminate("a")
    assert case.restart("a").text.endswith(", port 7")


@pytest.mark.parametrize("restart", list(RestartType))
def test_case_26_27_valid_grid_is_accepted(case: Case, restart: RestartType) -> None:
    """Each kind and each sort of shutdown runs and stops; bad fields are case 15."""
    for number, shutdown_s in enumerate((BRUTAL_KILL, 0.5, 5, INFINITY)):
        if number == 0:
            case.run()
        assert case.add(case.child(f"w{number}", restart=restart, shutdown_s=shutdown_s)).ok
        nested = SupervisorSpec(id=case.full(f"s{number}"))
        assert case.add(branch(nested, restart=restart, shutdown_s=shutdown_s, watchdog_s=None)).ok
    assert case.counts() == (8, 8, 4, 4)
    assert case.terminate("").ok
    assert case.contexts() == []


def _branch_of(case: Case, **changed: object) -> str:
    """Start a branch whose spec is made faulty on its way; the answer."""
    spec = SupervisorSpec(id=case.full("x"), children=(case.child("x/a"), case.child("x/b")))
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(spec)) | changed
    made = branch(spec, watchdog_s=None)
    return case.add(msgspec.structs.replace(made, config=msgspec.msgpack.encode(fields))).text


def test_case_26_27_duplicate_id_is_refused(case: Case) -> None:
    """The nested supervisor does not start, and its own supervisor lives."""
    case.run(intensity=0)
    child = msgspec.msgpack.decode(msgspec.msgpack.encode(case.child("x/a")))
    assert "x/a is there twice" in _branch_of(case, children=[child, child])
    assert case.counts() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("flag", "value"), [("strategy", "simple_one_for_one"), ("intensity", -1), ("period_s", 0), ("auto_shutdown", 1)]
)
def test_case_28_bad_flags_are_named(case: Case, flag: str, value: object) -> None:
    """In the start_error of the nested supervisor."""
    case.run(intensity=0)
    assert flag in _branch_of(case, **{flag: value})
    assert case.counts() == (0, 0, 0, 0)


def test_case_29_crashes_spaced_wider_than_the_period_never_trip_the_intensity(case: Case) -> None:
    """A period of 0.2 s; each kill waits until the one before is out of the window."""
    case.run(case.child("a"), intensity=1, period_s=0.2)
    for number in range(1, 5):
        case.kill("a")
        killed_s = time.monotonic()
        case.wait_for("child_restarted", "a", number)
        case.wait(lambda killed_s=killed_s: time.monotonic() - killed_s > 0.4)
    assert case.states() == {"a": "running"}


def test_case_89_90_exact_keys_of_every_report(case: Case) -> None:
    """Progress, child_terminated, start_error, shutdown and shutdown_error as they stand in the log."""
    case.run(case.child("a", "ok", "ok", "fail"), case.child("b", stop="hang", shutdown_s=0.2), intensity=2)
    case.kill("a")
    case.wait_for("child_restarted", "a")
    case.poke("a", "crash")
    case.wait_ended()
    lines = [line for line in case.lines() if line.get("report") in ("progress", "supervisor")]
    assert [(line["event"], line.get("error_context")) for line in lines] == [
        ("child_started", None),
        ("child_started", None),
        ("child_exited", "child_terminated"),
        ("child_restarted", None),
        ("child_exited", "child_terminated"),
        ("child_start_failed", "start_error"),
        ("supervisor_gave_up", "shutdown"),
        ("child_exited", "shutdown_error"),
    ]
    for line in lines:
        keys = PROGRESS_KEYS if line["report"] == "progress" else SUPERVISOR_KEYS
        assert set(line) == BOUND_KEYS | set(keys), line["event"]
    (crash, *_) = case.lines("actor_crashed", "a")
    own = {"child_id", "incarnation", "report", "pid", "error_type", "error_message", "traceback"}
    assert set(crash) == BOUND_KEYS | own
    assert lines[6]["reason"] == engine.GAVE_UP


def test_case_89_90_long_texts_are_cut_with_a_mark(case: Case) -> None:
    """In the crash report and in the supervisor's."""
    case.run(case.child("a", text="x" * 5_000))
    case.poke("a", "crash")
    text = case.wait_for("child_exited", "a")["error_message"]
    assert len(text) == REPORT_TEXT_MAX
    assert text.endswith("…[cut]")
    assert case.lines("actor_crashed", "a")[0]["error_message"].startswith("xxx")


def test_case_91_name_conflict_is_reported_and_the_supervisor_lives(case: Case) -> None:
    """An id that is taken here, and one that belongs to another branch."""
    case.run(case.child("a"), intensity=0)
    before = case.pids()
    assert brief(case.add(case.child("a"))) == (False, "already_started")
    foreign = msgspec.structs.replace(case.child("b"), id="desk")
    assert brief(case.add(foreign)) == (False, "id")
    assert case.pids() == before


def test_case_92_which_children_lists_every_child_in_start_order(case: Case) -> None:
    """With pid or without one, and with its kind."""
    nested = branch(SupervisorSpec(id=case.full("b")), watchdog_s=None)
    case.run(case.child("c"), case.child("a"), nested)
    case.terminate("a")
    found = [(name, report.kind, bool(report.pid)) for name, report in case.reports().items()]
    assert found == [("c", "worker", True), ("a", "worker", False), ("b", "supervisor", True)]


# -- ours ------------------------------------------------------------------------------------------------------------


def test_ours_1_duplicate_notice_of_an_exit_gives_one_restart(case: Case) -> None:
    """Each death is told by the pidfd and by Thespian; three children at once, one restart for each."""
    names = ("a", "b", "c")
    case.run(*(case.child(name) for name in names))
    before = case.pids()
    for name in names:
        os.kill(before[name], signal.SIGKILL)
    for name in names:
        case.wait_for("child_restarted", name)
    case.wait_running(*names)
    assert [case.starts(name) for name in names] == [2, 2, 2]
    assert len(case.lines("child_exited")) == 3


def test_ours_2_news_of_a_stale_incarnation_is_ignored(case: Case) -> None:
    """A child that is deleted and added again under its id is another incarnation; the old one's end is not its own."""
    case.run()
    seen = []
    for number in (1, 2, 3):
        assert case.add(case.child("a", restart=RestartType.TEMPORARY)).ok
        seen.append(case.reports()["a"].incarnation)
        case.kill("a")
        case.wait_for("child_exited", "a", number)
    assert [line["incarnation"] for line in case.lines("child_exited", "a")] == seen
    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]


def test_ours_3_exit_without_down_is_killed(case: Case) -> None:
    """A process that leaves without a word, by a signal or by os._exit."""
    case.run(case.child("a"))
    case.kill("a", signal.SIGSEGV)
    assert case.wait_for("child_exited", "a")["reason"] == ExitReason.KILLED
    assert brief(case.add(case.child("b", "exit"))) == (False, "start_error")
    assert case.lines("child_start_failed", "b")[0]["reason"] == ExitReason.KILLED


def test_ours_4_no_started_in_time_is_killed_and_a_start_error(case: Case) -> None:
    """And the caller is told."""
    case.run()
    assert case.add(case.child("a", "hang", start_timeout_s=0.3)).text == "start_error: KILLED: start_timeout"
    failed = case.lines("child_start_failed", "a")[0]
    assert (failed["error_context"], failed["cause"]) == ("start_error", "start_timeout")
    assert not is_alive(failed["pid"])


def test_ours_5_handler_that_raises_runs_exactly_once_and_crashes(case: Case) -> None:
    """Thespian would give it the same message again."""
    case.run(case.child("a"))
    case.poke("a", "crash")
    case.wait_for("child_restarted", "a")
    case.wait_running("a")
    assert case.mail("a") == 1
    assert [line["reason"] for line in case.lines("child_exited", "a")] == ["CRASHED"]


def test_ours_6_crash_report_precedes_the_supervisor_report(case: Case) -> None:
    """The dying child writes first."""
    case.run(case.child("a"))
    case.poke("a", "crash")
    case.wait_for("child_exited", "a")
    events = [line["event"] for line in case.lines(None, "a")]
    assert events.index("actor_crashed") < events.index("child_exited")


def test_ours_7_killed_supervisor_leaves_no_orphan(case: Case) -> None:
    """Its children end with it, before the branch is rebuilt or at the same time."""
    nested = branch(SupervisorSpec(id=case.full("x"), children=(case.child("x/a"),)))
    case.run(nested, case.child("b"))
    below = [line["pid"] for line in case.lines("child_started", "x/a")]
    case.kill("x")
    case.wait_for("child_restarted", "x")
    case.wait(lambda: not any(is_alive(pid) for pid in below))
    assert case.starts("x/a") == 2
    assert case.starts("b") == 1


@pytest.mark.parametrize("how", ["block", "busy", "stop"])
def test_ours_9_busy_or_blocked_body_is_detected_by_its_missed_heartbeats_and_killed_in_time(
    case: Case, how: str
) -> None:
    """A blocked loop, a busy one, and SIGSTOP; its peer does not notice."""
    case.run(case.child("a", watchdog_s=1.0), case.child("b", watchdog_s=30.0))
    before = case.pids()
    if how == "stop":
        case.kill("a", signal.SIGSTOP)
    else:
        case.poke("a", how)
    exit_line = case.wait_for("child_exited", "a")
    assert (exit_line["reason"], exit_line["cause"]) == ("KILLED", "watchdog")
    case.wait_for("child_restarted", "a")
    assert case.wait_running("a", "b")["b"] == before["b"]
    assert not is_alive(before["a"])


def test_ours_10_parent_that_dies_during_a_childs_start_leaves_no_orphan(case: Case) -> None:
    """The child ends with it although it has not been acknowledged."""
    children = (case.child("x/a"), case.child("x/b", "ok", "hang"))
    case.run(branch(SupervisorSpec(id=case.full("x"), children=children)))
    first = case.lines("child_started", "x/b")[0]["pid"]
    os.kill(first, signal.SIGKILL)
    case.wait(lambda: case.starts("x/b") == 2)
    parent = case.pids()["x"]
    below = children_of(parent)
    assert len(below) == 2
    os.kill(parent, signal.SIGKILL)
    case.wait(lambda: not any(is_alive(pid) for pid in (parent, *below)))


def test_parked_child_is_told_to_whom_its_spec_names_once(case: Case) -> None:
    """Ours: ChildParked with the number of restarts and the cause; its sibling is not touched."""
    case.run(case.child("b"))
    spec = case.child("a", "ok", "fail", intensity=2, on_give_up=GiveUp.PARK, park_notify="desk")
    assert case.add(spec).ok
    case.poke("a", "crash")
    case.wait_for("child_parked", "a")
    parked = case.lab.parked()
    assert [(note.child_id, note.restarts, note.reason) for note in parked] == [
        (case.full("a"), 2, "CRASHED (ValueError: no luck)")
    ]
    assert case.starts("b") == 1
    assert case.restart("a").text.startswith("start_error")
    assert case.states() == {"b": "running", "a": "parked"}


def test_giving_up_is_told_down_the_tree(case: Case) -> None:
    """Ours: the bodies below a branch that gives up read that in their stop, not the system's ``gave_up``."""
    nested = branch(SupervisorSpec(id=case.full("x"), children=(case.child("x/a"),)))
    case.run(nested, case.child("b"), intensity=0)
    case.kill("b")
    case.wait_ended()
    assert [line["stop_reason"] for line in case.lines("body_stopped", "x/a")] == ["branch_gave_up"]
