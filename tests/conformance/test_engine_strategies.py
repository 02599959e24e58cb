"""OTP's cases of the strategies and of the restart types, against the pure engine."""

import pytest

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors import engine, requests
from supervisors.events import Boot, Report, StartProcess
from supervisors.spec import RestartType, Strategy, SupervisorSpec, branch
from supervisors.state import LastWords
from tests.engine_support import CRASHED, SHUTDOWN, Tree, child

ALL = Strategy.ONE_FOR_ALL
REST = Strategy.REST_FOR_ONE


def incarnations(tree: Tree) -> dict[str, int]:
    return {item.id: item.incarnation for item in tree.state.children}


def booted(*ids: str, strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 100) -> Tree:
    tree = Tree(*(child(name) for name in ids), strategy=strategy, intensity=intensity)
    tree.boot()
    tree.effects.clear()
    return tree


def gave_up(tree: Tree) -> bool:
    ending = tree.exit.ending
    return (ending.reason, ending.error_type) == (ExitReason.SHUTDOWN, engine.GAVE_UP)


def test_case_30_one_for_one_restarts_only_the_dead_child_and_the_third_restart_at_intensity_2_ends_it() -> None:
    """The siblings keep their processes; then they are stopped in reverse and the supervisor exits with SHUTDOWN."""
    tree = booted("a", "b", "c", intensity=2)
    for number in (2, 3):
        tree.dies("b", CRASHED)
        tree.obey()
        assert incarnations(tree) == {"a": 1, "b": number, "c": 1}
    tree.dies("b", CRASHED)
    tree.obey()
    assert tree.starts_and_stops() == ["+b", "+b", "-c", "-a"]
    assert tree.contexts()[-1] == ("shutdown", "b")
    assert gave_up(tree)


def test_case_31_child_that_cannot_restart_ends_its_supervisor_and_its_sibling() -> None:
    """Each failed try is reported as start_error and counts; the next comes from the mailbox."""
    tree = booted("a", "b", intensity=3)
    tree.dies("b", CRASHED)
    for _ in range(3):
        assert tree.is_in("b", ChildState.STARTING)
        tree.dies("b", CRASHED)
        assert tree.is_in("b", ChildState.RESTARTING)
        tree.later(0.0)
    tree.obey()
    assert tree.contexts() == [("child_terminated", "b"), *[("start_error", "b")] * 3, ("shutdown", "b")]
    assert tree.starts_and_stops() == ["+b", "+b", "+b", "-a"]
    assert gave_up(tree)


def test_case_32_one_for_all_restarts_all_and_the_third_restart_at_intensity_2_ends_it() -> None:
    """The others are stopped in reverse, then all are started in order; the whole group counts once."""
    tree = booted("a", "b", "c", strategy=ALL, intensity=2)
    for number in (2, 3):
        tree.effects.clear()
        tree.dies("b", CRASHED)
        tree.obey()
        assert tree.starts_and_stops() == ["-c", "-a", "+a", "+b", "+c"]
        assert incarnations(tree) == {"a": number, "b": number, "c": number}
        assert len(tree.state.stamps) == number - 1
    tree.dies("a", CRASHED)
    tree.obey()
    assert gave_up(tree)


def test_case_33_sibling_that_cannot_restart_escalates() -> None:
    """One for all: not the child that died fails now, but one that was restarted because of it."""
    tree = booted("a", "b", strategy=ALL, intensity=3)
    tree.dies("a", CRASHED)
    for _ in range(3):
        tree.obey("b")
        assert tree.is_in("b", ChildState.RESTARTING)
        tree.later(0.0)
    tree.obey("b")
    assert gave_up(tree)
    assert tree.contexts().count(("start_error", "b")) == 3


def test_case_34_child_restarted_already_is_terminated_again_when_a_later_one_fails() -> None:
    """The retry tears everything down and starts all anew."""
    tree = booted("a", "b", "c", strategy=ALL)
    tree.dies("a", CRASHED)
    tree.obey("b")
    assert tree.running == ["a"]
    assert tree.starts_and_stops() == ["-c", "-b", "+a", "+b"]
    tree.effects.clear()
    tree.later(0.0)
    tree.obey()
    assert tree.starts_and_stops() == ["-a", "+a", "+b", "+c"]
    assert tree.running == ["a", "b", "c"]
    assert len(tree.state.stamps) == 2


def test_case_41_rest_for_one_restarts_the_later_ones_only_and_its_intensity_trips() -> None:
    """The earlier process is kept."""
    tree = booted("a", "b", "c", strategy=REST, intensity=2)
    for number in (2, 3):
        tree.effects.clear()
        tree.dies("b", CRASHED)
        tree.obey()
        assert tree.starts_and_stops() == ["-c", "+b", "+c"]
        assert incarnations(tree) == {"a": 1, "b": number, "c": number}
        assert len(tree.state.stamps) == number - 1
    tree.dies("b", CRASHED)
    tree.obey()
    assert gave_up(tree)


def test_case_42_later_child_that_cannot_restart_escalates() -> None:
    """Rest for one: each of its tries counts."""
    tree = booted("a", "b", "c", strategy=REST, intensity=3)
    tree.dies("b", CRASHED)
    for _ in range(3):
        tree.obey("c")
        tree.later(0.0)
    assert tree.is_in("a", ChildState.STOPPING) or tree.is_in("b", ChildState.STOPPING)
    tree.obey()
    assert gave_up(tree)


def test_case_43_retry_starts_at_the_failed_child() -> None:
    """The earlier one that was restarted is left alone."""
    tree = booted("a", "b", "c", "d", strategy=REST)
    tree.dies("b", CRASHED)
    tree.obey("c")
    assert tree.starts_and_stops() == ["-d", "-c", "+b", "+c"]
    tree.effects.clear()
    tree.later(0.0)
    tree.obey()
    assert tree.starts_and_stops() == ["+c", "+d"]
    assert incarnations(tree) == {"a": 1, "b": 2, "c": 3, "d": 2}


# -- restart types ---------------------------------------------------------------------------------------------------


def after(restart: RestartType, reason: ExitReason) -> Tree:
    """A supervisor of one child that has ended by itself."""
    tree = Tree(child("a", restart=restart), child("b"))
    tree.boot()
    tree.dies("a", None if reason is ExitReason.KILLED else LastWords(reason))
    tree.obey()
    return tree


def is_restarted(tree: Tree) -> bool:
    return tree.running == ["a", "b"] and tree["a"].incarnation == 2 and len(tree.state.stamps) == 1


def is_kept_without_process(tree: Tree) -> bool:
    return tree.is_in("a", ChildState.STOPPED) and not tree.state.stamps and tree.contexts() == []


def is_gone(tree: Tree) -> bool:
    return tree.state.child(ChildId("a")) is None and not tree.state.stamps and tree.running == ["b"]


def test_case_45_permanent_normal_restarts() -> None:
    """And it is reported."""
    tree = after(RestartType.PERMANENT, ExitReason.NORMAL)
    assert is_restarted(tree)
    assert tree.contexts() == [("child_terminated", "a")]


def test_case_46_transient_normal_keeps_the_spec_only() -> None:
    """Silently."""
    assert is_kept_without_process(after(RestartType.TRANSIENT, ExitReason.NORMAL))


def test_case_47_temporary_normal_is_gone() -> None:
    """Silently."""
    tree = after(RestartType.TEMPORARY, ExitReason.NORMAL)
    assert is_gone(tree)
    assert tree.contexts() == []


def test_case_48_permanent_shutdown_restarts() -> None:
    """An exit with SHUTDOWN that nobody asked for is a failure of a permanent child."""
    tree = after(RestartType.PERMANENT, ExitReason.SHUTDOWN)
    assert is_restarted(tree)
    assert tree.contexts() == [("child_terminated", "a")]


def test_case_49_transient_shutdown_keeps_the_spec_only() -> None:
    """Silently."""
    assert is_kept_without_process(after(RestartType.TRANSIENT, ExitReason.SHUTDOWN))


def test_case_50_temporary_shutdown_is_gone() -> None:
    """Silently."""
    tree = after(RestartType.TEMPORARY, ExitReason.SHUTDOWN)
    assert is_gone(tree)
    assert tree.contexts() == []


@pytest.mark.parametrize("restart", [RestartType.PERMANENT, RestartType.TRANSIENT])
@pytest.mark.parametrize("reason", [ExitReason.CRASHED, ExitReason.KILLED])
def test_case_52_53_permanent_and_transient_abnormal_restart(restart: RestartType, reason: ExitReason) -> None:
    """Crashed or killed."""
    tree = after(restart, reason)
    assert is_restarted(tree)
    assert tree.contexts() == [("child_terminated", "a")]


@pytest.mark.parametrize("reason", [ExitReason.CRASHED, ExitReason.KILLED])
def test_case_54_temporary_abnormal_is_gone_and_reported(reason: ExitReason) -> None:
    """Its end is reported, but it is not restarted."""
    tree = after(RestartType.TEMPORARY, reason)
    assert is_gone(tree)
    assert tree.contexts() == [("child_terminated", "a")]


def test_case_55_child_that_breaks_its_link_cannot_hang_the_supervisor() -> None:
    """It neither obeys nor speaks: the ladder ends it, and the supervisor ends whatever it does."""
    tree = Tree(child("a", shutdown_s=1.0), child("b"))
    tree.boot()
    tree.stops()
    tree.dies("b", SHUTDOWN)
    tree.later(10.0)
    tree.dies("a")
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN


def test_case_56_crash_touches_only_its_own_branch_and_dynamic_children_are_lost() -> None:
    """The branch's end is one death to its parent, which restarts it from its spec, without what was added."""
    spec = SupervisorSpec(id=ChildId("x"), children=(child("x/a"),), intensity=0)
    parent = Tree(branch(spec, watchdog_s=None), child("b"))
    parent.boot()
    below = engine.initial(spec)
    parent.dies("x", LastWords(ExitReason.SHUTDOWN, engine.GAVE_UP, "x/a: CRASHED"))
    parent.started("x")
    assert incarnations(parent) == {"x": 2, "b": 1}
    rebuilt = engine.initial(spec, incarnation=2)
    assert [item.id for item in rebuilt.children] == [item.id for item in below.children] == ["x/a"]
    rebuilt, _ = engine.step(rebuilt, Boot(), 0.0, 0.0)
    assert rebuilt.children[0].incarnation > 1_000_000


def test_case_71_count_children_is_exact_at_200() -> None:
    """Static and dynamic ones, supervisors and workers, running and stopped."""
    nested = [branch(SupervisorSpec(id=ChildId(f"s{number}")), watchdog_s=None) for number in range(40)]
    tree = Tree(*nested, *(child(f"w{number}") for number in range(100)))
    tree.boot()
    for number in range(60):
        tree.adds(child(f"d{number}"))
        tree.obey()
    assert requests.count_children(tree.state) == requests.Counts(200, 200, 40, 160)
    for number in range(30):
        tree.terminates(f"d{number}")
        tree.obey()
    assert requests.count_children(tree.state) == requests.Counts(200, 170, 40, 160)
    assert len(requests.which_children(tree.state)) == 200


def test_case_73_restarting_child_is_listed_but_not_active() -> None:
    """Between two tries, and during one."""
    tree = booted("a", "b")
    tree.dies("a", CRASHED)
    tree.dies("a", CRASHED)
    for _ in range(2):
        listed = requests.which_children(tree.state)[0]
        assert (listed.pid, listed.restarting) == (None, True)
        assert requests.count_children(tree.state) == requests.Counts(2, 1, 0, 2)
        tree.later(0.0)


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("reason", list(ExitReason))
def test_case_75_76_nothing_of_a_temporary_child_is_kept(strategy: Strategy, reason: ExitReason) -> None:
    """Whatever the strategy and the way of dying: no spec, no restart, no charge, no sibling touched."""
    tree = Tree(child("a"), child("t", restart=RestartType.TEMPORARY), child("z"), strategy=strategy, intensity=0)
    tree.boot()
    tree.dies("t", None if reason is ExitReason.KILLED else LastWords(reason))
    assert tree.running == ["a", "z"]
    assert incarnations(tree) == {"a": 1, "z": 1}
    assert requests.get_child_spec(tree.state, ChildId("t")) is None
    tree.adds(child("u", restart=RestartType.TEMPORARY))
    tree.obey()
    tree.terminates("u")
    tree.obey()
    assert incarnations(tree) == {"a": 1, "z": 1}


@pytest.mark.parametrize("strategy", [ALL, REST])
def test_case_78_temporary_bystander_is_dropped_and_the_supervisor_survives(strategy: Strategy) -> None:
    """It is terminated with the group but never started again."""
    tree = Tree(child("a"), child("t", restart=RestartType.TEMPORARY), child("z"), strategy=strategy)
    tree.boot()
    tree.effects.clear()
    tree.dies("a", CRASHED)
    tree.obey()
    assert tree.starts_and_stops() == ["-z", "-t", "+a", "+z"]
    assert incarnations(tree) == {"a": 2, "z": 2}
    assert tree.contexts() == [("child_terminated", "a")]


def test_case_79_each_way_of_dying_gives_a_new_process() -> None:
    """Killed, exited by itself, restarted by hand: a new incarnation each time, and the old one's news is stale."""
    tree = booted("a")
    for words in (None, LastWords(ExitReason.NORMAL), CRASHED):
        tree.dies("a", words)
        tree.obey()
    tree.terminates("a")
    tree.obey()
    tree.restarts("a")
    tree.obey()
    assert tree["a"].incarnation == 5
    assert tree.running == ["a"]


def test_case_87_children_start_forward_and_stop_in_reverse_with_ids_unsorted_on_purpose() -> None:
    """The boot, a partial restart, and the full stop."""
    tree = Tree(child("c"), child("a"), child("d"), child("b"), strategy=REST)
    assert len(tree.feed(Boot())) == 1, "the next starts only after the previous acknowledged"
    tree.obey()
    assert tree.starts_and_stops() == ["+c", "+a", "+d", "+b"]
    tree.effects.clear()
    tree.dies("a", CRASHED)
    tree.obey()
    assert tree.starts_and_stops() == ["-b", "-d", "+a", "+d", "+b"]
    tree.effects.clear()
    tree.stops()
    tree.obey()
    assert tree.starts_and_stops() == ["-b", "-d", "-a", "-c"]
    assert tree.exit.ending.reason is ExitReason.SHUTDOWN
    assert all(report.error_context is None for report in tree.of(Report)[-4:])
    assert not tree.of(StartProcess)
