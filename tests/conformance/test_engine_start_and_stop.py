"""OTP's cases of starting and stopping, against the pure engine. The numbers are those of docs/supervision.md."""

from typing import Any

import pytest

from nightdesk.errors import ConfigurationError, InvariantError
from nightdesk.messages import AddChild, ChildId, ChildState, CommandResult, ExitReason, QuerySpec, SpecReport
from supervisors import engine, requests
from supervisors.events import Acknowledge, Boot, ErrorContext, Exit, Report, Rung, StartProcess, StopProcess
from supervisors.mail import answer_to, event_of, unpack_own
from supervisors.spec import BRUTAL_KILL, ChildSpec, Kind, RestartType, child_spec
from supervisors.state import LastWords
from tests.engine_support import CRASHED, SHUTDOWN, Tree, child

ME = ChildId("me")


def test_case_1_empty_supervisor_starts_and_stops_with_shutdown() -> None:
    """Nothing to start is a start, and nothing to stop is a stop."""
    tree = Tree()
    tree.boot()
    assert tree.of(Acknowledge)
    tree.stops()
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN


def test_case_3_ignored_permanent_child_keeps_its_spec() -> None:
    """Specs 2, active 1, supervisors 0, workers 2; the next child is started all the same."""
    tree = Tree(child("a"), child("b"))
    tree.feed(Boot())
    tree.ignores("a")
    tree.started("b")
    assert requests.count_children(tree.state) == requests.Counts(specs=2, active=1, supervisors=0, workers=2)
    assert requests.which_children(tree.state)[0].pid is None
    assert requests.get_child_spec(tree.state, ChildId("a")) == child("a")
    assert tree.later(3600.0) == []
    assert tree.contexts() == []


def test_case_4_ignored_temporary_static_child_is_dropped() -> None:
    """It will never be started again, so nothing of it is kept."""
    tree = Tree(child("a", restart=RestartType.TEMPORARY), child("b"))
    tree.feed(Boot())
    tree.ignores("a")
    tree.obey()
    assert [listed.id for listed in requests.which_children(tree.state)] == ["b"]


@pytest.mark.parametrize(
    ("restart", "kept"),
    [(RestartType.PERMANENT, True), (RestartType.TRANSIENT, True), (RestartType.TEMPORARY, False)],
)
def test_case_5_ignored_child_of_start_child(restart: RestartType, kept: bool) -> None:
    """The answer is good although there is no process; a temporary child is not kept."""
    tree = Tree()
    tree.boot()
    assert tree.adds(child("a", restart=restart)) is None
    tree.ignores("a")
    assert tree.answers() == [(True, "a is ignored")]
    assert (tree.state.child(ChildId("a")) is not None) is kept


def test_case_8_bad_init_value_is_bad_return() -> None:
    """A supervisor whose configuration is no spec; for a body see the cases with processes."""
    with pytest.raises(InvariantError, match="bad_return"):
        unpack_own(b"\x93 no spec")


def test_case_9_raising_init_gives_the_error_with_its_stack_and_nothing_leaks() -> None:
    """The supervisor ends with the child's own error and stack; no other start follows and nothing is left."""
    tree = Tree(child("a"), child("b"))
    tree.feed(Boot())
    tree.dies("a", LastWords(ExitReason.CRASHED, "ValueError", "no luck", traceback="line 7"))
    assert tree.exit.ending.traceback == "line 7"
    assert "ValueError: no luck" in tree.exit.ending.error_message
    assert len(tree.of(StartProcess)) == 1


def test_case_10_manual_restart_that_fails_keeps_the_spec_and_is_not_retried() -> None:
    """The caller gets the error; the next try is the caller's."""
    tree = Tree(child("a"))
    tree.boot()
    tree.terminates("a")
    tree.obey()
    assert tree.restarts("a") is None
    tree.dies("a", CRASHED)
    assert tree.answers()[-1] == (False, "start_error")
    assert tree.is_in("a", ChildState.STOPPED)
    assert tree.later(3600.0) == []
    assert tree.state.stamps == ()


def test_case_11_failing_start_child_leaves_no_spec() -> None:
    """The caller gets the error, the supervisor lives, and the id is free."""
    tree = Tree(child("b"), intensity=0)
    tree.boot()
    tree.adds(child("a"))
    tree.dies("a", CRASHED)
    assert tree.answers() == [(False, "start_error")]
    assert tree.state.child(ChildId("a")) is None
    assert tree.adds(child("a")) is None
    tree.obey()
    assert tree.answers()[-1] == (True, "a is started")


def test_case_13_defaults_are_filled_in_and_an_unknown_id_is_not_found() -> None:
    """get_child_spec is complete: permanent, 5 s for a worker; infinity for a supervisor."""
    tree = Tree(ChildSpec(id=ChildId("a"), body="m:C"))
    tree.boot()
    spec = requests.get_child_spec(tree.state, ChildId("a"))
    assert spec is not None
    assert (spec.restart, spec.shutdown_s, spec.kind) == (RestartType.PERMANENT, 5.0, Kind.WORKER)
    assert requests.get_child_spec(tree.state, ChildId("x")) is None
    _, found = answer_to(tree.state, QuerySpec(request_id="1", reply_to=ME, child_id=ChildId("a")), 0.0) or (ME, None)
    assert isinstance(found, SpecReport)
    _, none = answer_to(tree.state, QuerySpec(request_id="1", reply_to=ME, child_id=ChildId("x")), 0.0) or (ME, None)
    assert isinstance(none, CommandResult)
    assert none.text == "not_found: x"


BAD_FIELDS: dict[str, tuple[Any, ...]] = {
    "id": ("", 7, "a/", "a*"),
    "kind": ("worker", 1),
    "body": ("no_class", None),
    "config": ("text", {}),
    "restart": ("permanent", None),
    "intensity": (-1, 1.5, "3", True),
    "period_s": (0.0, -1.0, None, float("nan"), float("inf")),
    "shutdown_s": (-1.0, "brutal_kill", True),
    "start_timeout_s": (0.0, -1.0),
    "watchdog_s": (0.0, -1.0),
    "backoff_initial_s": (-0.1, None),
    "backoff_max_s": (-0.1, None),
    "on_give_up": ("park", None),
    "park_notify": (None, 7),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, bad in BAD_FIELDS.items() for value in bad])
def test_case_15_faulty_spec_is_rejected_by_the_name_of_the_field(field: str, value: Any) -> None:
    """Each field has an error of its own."""
    with pytest.raises(ConfigurationError, match=rf": {field}: "):
        child_spec({"id": "a", "body": "m:C"} | {field: value})


def test_case_15_unknown_keys_and_missing_ones_are_rejected_by_name() -> None:
    """In a mapping and in a packed spec."""
    with pytest.raises(ConfigurationError, match="significant: expected no such field"):
        child_spec({"id": "a", "body": "m:C", "significant": True})
    with pytest.raises(ConfigurationError, match="id: expected"):
        child_spec({"body": "m:C"})
    tree = Tree()
    tree.boot()
    faulty = AddChild(request_id="1", reply_to=ME, spec=b"\x82\xa2id\xa1a\xabsignificant\xc3")
    assert event_of(ME, faulty) is None
    _, answer = answer_to(tree.state, faulty, 0.0) or (ME, None)
    assert isinstance(answer, CommandResult)
    assert "significant" in answer.text


def test_case_15_bad_fields_cover_the_whole_spec() -> None:
    """A new field needs a check of its own."""
    assert set(BAD_FIELDS) == set(ChildSpec.__struct_fields__)


# -- stop ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [RestartType.PERMANENT, RestartType.TRANSIENT])
def test_case_16_obedient_children_end_with_shutdown(restart: RestartType) -> None:
    """Permanent or transient: asked once, nothing reported as an error."""
    tree = Tree(child("a", restart=restart), child("b", restart=restart))
    tree.boot()
    assert len(tree.stops()) == 1, "one is stopped after the other"
    tree.obey()
    assert [(effect.child_id, effect.rung) for effect in tree.of(StopProcess)] == [
        ("b", Rung.SHUTDOWN),
        ("a", Rung.SHUTDOWN),
    ]
    assert tree.contexts() == []
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN


def test_case_17_obedient_child_is_shut_down_and_sleeper_is_killed_at_its_time() -> None:
    """Asked, exit request, SIGTERM, SIGKILL, each once and each in its time; the sleeper is a shutdown_error."""
    tree = Tree(child("a", shutdown_s=2.0), child("b", shutdown_s=2.0))
    tree.boot()
    tree.stops()
    tree.dies("b", SHUTDOWN)
    assert tree.later(1.9) == []
    tree.later(1.2)
    rungs = [effect.rung for effect in tree.of(StopProcess) if effect.child_id == "a"]
    assert rungs == [Rung.SHUTDOWN, Rung.EXIT_REQUEST, Rung.TERMINATE, Rung.KILL]
    tree.dies("a")
    assert tree.contexts() == [("shutdown_error", "a")]
    assert tree.of(Report)[-1].cause == "shutdown_timeout"
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN


def test_case_17_infinity_waits() -> None:
    """``shutdown_s=None``: no rung follows the first one, ever."""
    tree = Tree(child("a", shutdown_s=None))
    tree.boot()
    tree.stops()
    assert tree.later(1_000_000.0) == []


def test_case_19_brutal_kill_does_not_ask_and_is_no_error() -> None:
    """Killed at once; its sibling is asked."""
    tree = Tree(child("a", shutdown_s=BRUTAL_KILL), child("b"))
    tree.boot()
    tree.stops()
    tree.dies("b", SHUTDOWN)
    assert tree.of(StopProcess)[-1].rung is Rung.KILL
    tree.dies("a")
    assert tree.of(Report)[-1].reason == "KILLED"
    assert tree.contexts() == []


@pytest.mark.parametrize("restart", list(RestartType))
@pytest.mark.parametrize("reason", list(ExitReason))
def test_case_21_exit_by_itself_during_shutdown_completes_it(restart: RestartType, reason: ExitReason) -> None:
    """Three restart types by four reasons: nothing restarts, and the child's own reason is kept."""
    tree = Tree(child("a", restart=restart), child("b"))
    tree.boot()
    tree.stops()
    tree.dies("a", LastWords(reason))
    assert tree.of(Report)[-1].reason == reason.value
    tree.obey()
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN
    assert len(tree.of(StartProcess)) == 2
    orderly = reason is ExitReason.SHUTDOWN or (reason is ExitReason.NORMAL and restart is not RestartType.PERMANENT)
    assert tree.contexts() == ([] if orderly else [("shutdown_error", "a")])


def test_case_51_boot_failure_surfaces_as_failed_to_start_child_with_its_stack() -> None:
    """What runs is stopped in reverse, without a retry; the exit names the child, the reason and the stack."""
    tree = Tree(child("a"), child("b"), child("c"))
    tree.feed(Boot())
    tree.started("a")
    tree.started("b")
    tree.dies("c", LastWords(ExitReason.CRASHED, "ValueError", "no luck", traceback="line 7"))
    tree.obey()
    assert tree.starts_and_stops() == ["+a", "+b", "+c", "-b", "-a"]
    ending = tree.exit.ending
    assert (ending.reason, ending.error_type) == (ExitReason.CRASHED, engine.FAILED_TO_START)
    assert (ending.error_message, ending.traceback) == ("c: ValueError: no luck", "line 7")
    assert tree.contexts() == [(ErrorContext.START_ERROR.value, "c")]
    assert not tree.of(Acknowledge)
    assert len(tree.of(Exit)) == 1
