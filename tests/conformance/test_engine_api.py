"""OTP's cases of the API and of the reports, and our own list, against the pure engine."""

from typing import Any

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors import engine, requests
from supervisors.events import (
    Boot,
    ChildBeat,
    ChildDied,
    ChildSpoke,
    ChildStarted,
    ErrorContext,
    Report,
    ReportKind,
    Rung,
    StartProcess,
    StopProcess,
)
from supervisors.reporting import PROGRESS_KEYS, REPORT_TEXT_MAX, SUPERVISOR_KEYS, keys_of, write_report
from supervisors.spec import BRUTAL_KILL, INFINITY, ROOT, ChildSpec, Kind, RestartType, Strategy, SupervisorSpec
from supervisors.state import LastWords
from tests.engine_support import CRASHED, SHUTDOWN, Tree, child


def test_case_23_whole_matrix_of_start_terminate_restart_and_delete() -> None:
    """Every call in every state of a child, with every error."""
    tree = Tree()
    tree.boot()
    calls: list[tuple[Any, bool, str]] = [
        (lambda: tree.terminates("a"), False, "not_found"),
        (lambda: tree.restarts("a"), False, "not_found"),
        (lambda: tree.deletes("a"), False, "not_found"),
        (lambda: tree.adds(child("a")), True, "a is started"),
        (lambda: tree.adds(child("a")), False, "already_started"),
        (lambda: tree.restarts("a"), False, "running"),
        (lambda: tree.deletes("a"), False, "running"),
        (lambda: tree.terminates("a"), True, "a is stopped"),
        (lambda: tree.terminates("a"), True, "a is stopped"),
        (lambda: tree.adds(child("a")), False, "already_present"),
        (lambda: tree.restarts("a"), True, "a is started"),
        (lambda: tree.restarts("a"), False, "running"),
        (lambda: tree.terminates("a"), True, "a is stopped"),
        (lambda: tree.deletes("a"), True, "a is deleted"),
        (lambda: tree.deletes("a"), False, "not_found"),
        (lambda: tree.restarts("a"), False, "not_found"),
        (lambda: tree.terminates("a"), False, "not_found"),
    ]
    for number, (call, ok, word) in enumerate(calls):
        call()
        tree.obey()
        assert tree.answers()[number:] == [(ok, word)], f"call {number}"


def test_case_23_calls_by_the_second_caller_are_answered_too() -> None:
    """Two who terminate one child, and one who terminates it while it starts for another."""
    tree = Tree()
    tree.boot()
    tree.adds(child("a"))
    tree.terminates("a")
    tree.terminates("a")
    tree.obey()
    assert sorted(tree.answers()) == [(False, "a was stopped"), (True, "a is stopped"), (True, "a is stopped")]


def test_case_25_extra_start_info_reaches_the_caller_and_survives_an_automatic_restart() -> None:
    """In the answer to start_child and of restart_child, and in the child's state afterwards."""
    tree = Tree()
    tree.boot()
    tree.adds(child("a"))
    tree.feed(ChildStarted(ChildId("a"), 1, "port 7"))
    assert tree.of(type(tree.asks("x")))[0].text.endswith(", port 7")
    tree.dies("a", CRASHED)
    tree.feed(ChildStarted(ChildId("a"), 2, "port 8"))
    assert (tree["a"].state, tree["a"].info) == (ChildState.RUNNING, "port 8")


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("restart", list(RestartType))
@pytest.mark.parametrize("shutdown_s", [BRUTAL_KILL, 0.001, 5, 7.5, INFINITY])
def test_case_26_27_valid_grid_is_accepted(kind: Kind, restart: RestartType, shutdown_s: float | None) -> None:
    """Every combination of kind, restart type and shutdown; bad fields are case 15."""
    spec = child("a", kind=kind, restart=restart, shutdown_s=shutdown_s)
    tree = Tree(spec)
    assert requests.get_child_spec(tree.state, ChildId("a")) == spec


def test_case_26_27_duplicate_id_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match="children: expected unique ids; a is there twice"):
        SupervisorSpec(id=ROOT, children=(child("a"), child("b"), child("a")))


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("strategy", "one_for_one"),
        ("strategy", "simple_one_for_one"),
        ("intensity", -1),
        ("intensity", "1"),
        ("intensity", 1.0),
        ("period_s", 0),
        ("period_s", -5.0),
        ("period_s", None),
        ("children", "a"),
        ("id", ""),
    ],
)
def test_case_28_bad_flags_are_named(flag: str, value: Any) -> None:
    """Strategy, intensity, period and the rest."""
    with pytest.raises(ConfigurationError, match=rf": {flag}: "):
        SupervisorSpec(**({"id": "x"} | {flag: value}))


def test_case_29_crashes_spaced_wider_than_the_period_never_trip_the_intensity() -> None:
    """And one that is exactly the period old still counts."""
    tree = Tree(child("a"), intensity=1, period_s=10.0)
    tree.boot()
    for _ in range(50):
        tree.dies("a")
        tree.obey()
        tree.later(10.001)
    assert tree.running == ["a"]
    tree.dies("a")
    tree.obey()
    tree.later(10.0)
    tree.dies("a")
    assert tree.exit.ending.error_type == engine.GAVE_UP


def restarting() -> Tree:
    """A supervisor one of whose children is between two tries."""
    tree = Tree(child("a"), child("b"))
    tree.boot()
    tree.dies("a", CRASHED)
    tree.dies("a", CRASHED)
    assert tree.is_in("a", ChildState.RESTARTING)
    return tree


@pytest.mark.parametrize("during_the_try", [False, True])
def test_case_80_81_calls_while_a_child_is_restarting(during_the_try: bool) -> None:
    """start → already_present, restart and delete → restarting; terminate cancels it."""
    tree = restarting()
    if during_the_try:
        tree.later(0.0)
    tree.adds(child("a"))
    tree.restarts("a")
    tree.deletes("a")
    assert tree.answers() == [(False, "already_present"), (False, "restarting"), (False, "restarting")]
    tree.terminates("a")
    tree.obey()
    assert tree.answers()[-1] == (True, "a is stopped")
    assert tree.later(3600.0) == []
    assert tree.is_in("a", ChildState.STOPPED)
    assert tree.running == ["b"]
    assert tree.deletes("a").ok


def test_case_80_81_supervisor_shutdown_works_while_a_child_is_restarting() -> None:
    """The child has no process, so that only its sibling is stopped."""
    tree = restarting()
    tree.stops()
    tree.obey()
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN
    assert [effect.child_id for effect in tree.of(StopProcess)] == ["b"]


def lines(tree: Tree) -> list[dict[str, object]]:
    return [keys_of(report, ROOT) | {"event": report.event} for report in tree.of(Report)]


def test_case_89_90_exact_keys_of_every_report() -> None:
    """Progress: the supervisor and the child. Supervisor report: also the context, the reason and what it was about."""
    tree = Tree(child("a"), child("b", shutdown_s=1.0), intensity=2)
    tree.boot()
    tree.dies("a", CRASHED)
    tree.obey()
    tree.dies("a", CRASHED)
    tree.dies("a", CRASHED)
    tree.later(0.0)
    tree.later(5.0)
    tree.dies("b")
    found = lines(tree)
    assert [(line["report"], line["event"], line.get("error_context")) for line in found] == [
        ("progress", "child_started", None),
        ("progress", "child_started", None),
        ("supervisor", "child_exited", "child_terminated"),
        ("progress", "child_restarted", None),
        ("supervisor", "child_exited", "child_terminated"),
        ("supervisor", "child_start_failed", "start_error"),
        ("supervisor", "supervisor_gave_up", "shutdown"),
        ("supervisor", "child_exited", "shutdown_error"),
    ]
    for line in found:
        keys = PROGRESS_KEYS if line["report"] == "progress" else SUPERVISOR_KEYS
        assert set(line) == {*keys, "event"}
    assert found[6]["reason"] == engine.GAVE_UP
    crash = found[2]
    assert (crash["reason"], crash["error_type"], crash["error_message"]) == ("CRASHED", "ValueError", "no luck")
    assert (crash["restart_type"], crash["child_kind"], crash["shutdown_s"]) == ("PERMANENT", "worker", 5.0)
    assert (crash["pid"], crash["incarnation"], crash["supervisor"]) == (101, 1, "root")


def test_case_89_90_long_texts_are_cut_with_a_mark() -> None:
    """The end of a report cannot be lost in somebody's error message."""
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a", LastWords(ExitReason.CRASHED, "ValueError", "x" * 5_000))
    text = str(lines(tree)[-1]["error_message"])
    assert len(text) == REPORT_TEXT_MAX
    assert text.endswith("…[cut]")
    report = Report(ReportKind.PROGRESS, "child_started", child("a"), 1, 1, "", 0, 0)
    assert write_report(report, ROOT, 0) is None


def test_case_91_name_conflict_is_reported_and_the_supervisor_lives() -> None:
    """An id that is taken, or that belongs to another branch, is an error to the caller and to nobody else."""
    tree = Tree(child("a"), child("b"), intensity=0)
    tree.boot()
    tree.adds(child("a"))
    assert tree.answers() == [(False, "already_started")]
    nested = engine.initial(SupervisorSpec(id=ChildId("x")))
    nested, _ = engine.step(nested, Boot(), 0.0, 0.0)
    below = Tree()
    below.state = nested
    below.adds(child("y/a"))
    assert below.answers() == [(False, "id")]
    assert tree.running == ["a", "b"]


def test_case_92_which_children_lists_every_child_in_start_order() -> None:
    """With pid, or without one."""
    tree = Tree(child("c"), child("a"), child("b", kind=Kind.SUPERVISOR))
    tree.boot()
    tree.terminates("a")
    tree.obey()
    assert requests.which_children(tree.state) == (
        requests.Listed(ChildId("c"), 101, False, Kind.WORKER),
        requests.Listed(ChildId("a"), None, False, Kind.WORKER),
        requests.Listed(ChildId("b"), 101, False, Kind.SUPERVISOR),
    )


# -- ours ------------------------------------------------------------------------------------------------------------


def test_ours_1_duplicate_notice_of_an_exit_gives_one_restart() -> None:
    """Thespian may report one death twice, or a pidfd and Thespian each once."""
    tree = Tree(child("a"))
    tree.boot()
    for _ in range(3):
        tree.feed(ChildDied(ChildId("a"), 1))
        assert tree.is_in("a", ChildState.STARTING)
    assert len(tree.of(StartProcess)) == 2
    assert len(tree.state.stamps) == 1


def test_ours_1_duplicate_notice_during_a_backoff_is_not_charged() -> None:
    """The child has no process then, so that there is none that could have died again."""
    tree = Tree(child("a", backoff_initial_s=5.0))
    tree.boot()
    for _ in range(3):
        tree.feed(ChildDied(ChildId("a"), 1))
    assert len(tree.state.stamps) == 1


@pytest.mark.parametrize("news", [ChildDied, ChildStarted, ChildBeat])
def test_ours_2_news_of_a_stale_incarnation_is_ignored(news: type[Any]) -> None:
    """Of a process that has been replaced, and of a child that is not there (OTP: an exit of an unknown process)."""
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a")
    before = tree.state.children
    assert tree.feed(news(ChildId("a"), 1)) == []
    assert tree.feed(news(ChildId("unknown"), 1)) == []
    assert tree.feed(ChildSpoke(ChildId("a"), 1, CRASHED)) == []
    assert tree.state.children == before


def test_ours_2_child_added_under_an_old_id_has_a_higher_incarnation() -> None:
    """Or the old one's late news would be taken for the new one's."""
    tree = Tree()
    tree.boot()
    for number in (1, 2, 3):
        tree.adds(child("a", restart=RestartType.TEMPORARY))
        assert tree["a"].incarnation == number
        tree.obey()
        tree.dies("a")


def test_ours_3_exit_without_down_is_killed() -> None:
    """No last words: somebody killed it."""
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a")
    assert tree.of(Report)[-1].reason == "KILLED"


def test_ours_4_no_started_in_time_is_killed_and_a_start_error() -> None:
    """At the boot it is the end; its time is exact."""
    tree = Tree(child("a", start_timeout_s=2.0))
    tree.feed(Boot())
    assert tree.later(1.999) == []
    assert tree.later(0.001) == [StopProcess(ChildId("a"), 1, Rung.KILL)]
    tree.dies("a")
    assert tree.contexts() == [(ErrorContext.START_ERROR.value, "a")]
    assert tree.of(Report)[-1].cause == "start_timeout"
    assert tree.exit.ending.error_type == engine.FAILED_TO_START


def test_ours_6_last_words_are_taken_once_and_nothing_after_them() -> None:
    """The crash report is written by the dying child; its supervisor's follows when the process is gone."""
    tree = Tree(child("a"))
    tree.boot()
    tree.feed(ChildSpoke(ChildId("a"), 1, CRASHED))
    tree.feed(ChildSpoke(ChildId("a"), 1, SHUTDOWN))
    assert tree.contexts() == []
    tree.feed(ChildDied(ChildId("a"), 1))
    assert tree.of(Report)[-1].error_type == "ValueError"


def test_ours_8_shutdown_during_restarting() -> None:
    """A child that waits for its next try has nothing to stop; a try under way is stopped."""
    tree = Tree(child("a", backoff_initial_s=5.0))
    tree.boot()
    tree.dies("a")
    tree.stops()
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN
    assert tree.later(10.0) == []
    trying = Tree(child("a"))
    trying.boot()
    trying.dies("a")
    trying.stops()
    assert trying.is_in("a", ChildState.STOPPING)
    trying.dies("a", SHUTDOWN)
    assert trying.exit.ending.reason is ExitReason.SHUTDOWN


def test_ours_9_busy_or_blocked_body_is_detected_by_its_missed_heartbeats_and_killed_in_time() -> None:
    """Exactly when its watchdog's time is over, once; its sibling that beats is left alone."""
    tree = Tree(child("a", watchdog_s=2.0), child("b", watchdog_s=2.0))
    tree.boot()
    tree.beats(1.9, "b")
    assert not tree.of(StopProcess)
    tree.beats(0.2, "b")
    assert tree.of(StopProcess) == [StopProcess(ChildId("a"), 1, Rung.KILL)]
    tree.beats(1.0, "b")
    tree.dies("a")
    assert (tree.of(Report)[-1].reason, tree.of(Report)[-1].cause) == ("KILLED", "watchdog")
    tree.obey()
    assert tree.running == ["a", "b"]


def test_extensions_switched_off_are_exactly_otp() -> None:
    """A spec without a backoff and a budget of its own: no wait, no parking, only the supervisor's budget."""
    spec = ChildSpec(id=ChildId("a"), body="m:C")
    assert (spec.backoff_initial_s, spec.intensity, spec.on_give_up.value) == (0.0, None, "escalate")
    for strategy in Strategy:
        tree = Tree(child("a"), strategy=strategy, intensity=5)
        tree.boot()
        for _ in range(5):
            tree.dies("a", CRASHED)
            assert tree.is_in("a", ChildState.STARTING)
            tree.obey()
        tree.dies("a", CRASHED)
        assert tree.exit.ending.error_type == engine.GAVE_UP
