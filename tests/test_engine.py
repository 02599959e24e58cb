"""The supervision engine alone, with an injected clock: our extensions, and what holds for every history.

OTP's own cases are in ``tests/conformance``.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.errors import ConfigurationError
from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors import engine
from supervisors.events import (
    Acknowledge,
    Answer,
    Boot,
    ChildBeat,
    ChildDied,
    ChildSpoke,
    ChildStarted,
    DeleteRequested,
    Exit,
    NotifyParked,
    Report,
    RestartRequested,
    Rung,
    StartProcess,
    StopProcess,
    StopRequested,
    Tick,
)
from supervisors.spec import ROOT, ChildSpec, GiveUp, RestartType, Strategy, SupervisorSpec, branch, pack, unpack
from supervisors.state import LastWords, Phase
from tests.engine_support import CRASHED, ME, SHUTDOWN, Tree, child, parked


def refused(answer: Answer | None) -> bool:
    assert answer is not None
    return not answer.ok


# -- start ----------------------------------------------------------------------------------------------------------


def test_empty_supervisor_acknowledges_and_exits_with_shutdown() -> None:
    """Case 1 K."""
    tree = Tree()
    tree.feed(Boot())
    tree.feed(StopRequested(None, "end"))
    assert [type(effect) for effect in tree.effects] == [Acknowledge, Exit]
    assert tree.of(Exit)[0].ending.reason is ExitReason.SHUTDOWN


def test_children_start_in_list_order_each_after_the_previous_acknowledged() -> None:
    """Case 87 K, the start: ids are unsorted on purpose."""
    tree = Tree(child("c"), child("a"), child("b"))
    assert [type(effect) for effect in tree.feed(Boot())] == [StartProcess]
    tree.started("c")
    assert tree.is_in("b", ChildState.STOPPED)
    tree.started("a")
    assert not tree.of(Acknowledge)
    tree.started("b")
    assert [effect.child_id for effect in tree.of(StartProcess)] == ["c", "a", "b"]
    assert len(tree.of(Acknowledge)) == 1
    assert tree.state.phase is Phase.RUNNING


def test_failed_first_start_ends_the_supervisor_in_reverse_without_a_retry() -> None:
    """Case 51 A: what runs is stopped, and the exit says which child failed and why."""
    tree = Tree(child("a"), child("b"), child("c"))
    tree.feed(Boot())
    tree.started("a")
    tree.started("b")
    tree.dies("c", CRASHED)
    assert [effect.child_id for effect in tree.of(StopProcess)] == ["b"]
    tree.dies("b", SHUTDOWN)
    tree.dies("a", SHUTDOWN)
    ending = tree.of(Exit)[0].ending
    assert (ending.reason, ending.error_type) == (ExitReason.CRASHED, engine.FAILED_TO_START)
    assert "c: ValueError: no luck" in ending.error_message
    assert len(tree.of(StartProcess)) == 3


def test_failed_first_start_of_a_child_to_be_parked_lets_the_boot_go_on() -> None:
    """Ours: a broken strategy or alert channel must not take the system down; it is tried again, then parked."""
    tree = Tree(parked("a", backoff_initial_s=5.0), child("b"))
    tree.feed(Boot())
    tree.dies("a", CRASHED)
    assert tree.is_in("a", ChildState.RESTARTING)
    tree.started("b")
    assert len(tree.of(Acknowledge)) == 1
    tree.later(5.0)
    tree.dies("a", CRASHED)
    assert tree.is_in("a", ChildState.PARKED)
    assert tree.is_in("b", ChildState.RUNNING)


def test_child_that_does_not_acknowledge_in_time_is_killed_and_has_failed_to_start() -> None:
    """Ours: no ``Started`` in time is a start error."""
    tree = Tree(child("a", start_timeout_s=2.0))
    tree.feed(Boot())
    assert tree.later(1.9) == []
    assert tree.later(0.2) == [StopProcess(ChildId("a"), 1, Rung.KILL)]
    tree.dies("a")
    assert tree.of(Report)[0].cause == "start_timeout"
    assert tree.of(Exit)[0].ending.error_type == engine.FAILED_TO_START


def test_process_that_cannot_be_made_is_a_failed_start() -> None:
    """A fork that fails is told as a death without a pid."""
    tree = Tree(parked("a", intensity=0))
    tree.feed(Boot())
    tree.feed(ChildDied(ChildId("a"), 1))
    tree.later(0.0)
    assert tree.events() == [("child_start_failed", "a"), ("child_parked", "a")]


def test_stop_during_the_boot_stops_what_has_been_started() -> None:
    """The child that is just starting is asked as well; those after it are never started."""
    tree = Tree(child("a"), child("b"), child("c"))
    tree.feed(Boot())
    tree.started("a")
    tree.feed(StopRequested(None, "end"))
    tree.dies("b", SHUTDOWN)
    tree.dies("a", SHUTDOWN)
    assert [effect.child_id for effect in tree.of(StartProcess)] == ["a", "b"]
    assert tree.of(Exit)[0].ending.reason is ExitReason.SHUTDOWN


# -- exits and restart types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restart", "reason", "expected"),
    [
        (RestartType.PERMANENT, ExitReason.NORMAL, ChildState.STARTING),
        (RestartType.PERMANENT, ExitReason.SHUTDOWN, ChildState.STARTING),
        (RestartType.PERMANENT, ExitReason.CRASHED, ChildState.STARTING),
        (RestartType.PERMANENT, ExitReason.KILLED, ChildState.STARTING),
        (RestartType.TRANSIENT, ExitReason.NORMAL, ChildState.STOPPED),
        (RestartType.TRANSIENT, ExitReason.SHUTDOWN, ChildState.STOPPED),
        (RestartType.TRANSIENT, ExitReason.CRASHED, ChildState.STARTING),
        (RestartType.TRANSIENT, ExitReason.KILLED, ChildState.STARTING),
        (RestartType.TEMPORARY, ExitReason.NORMAL, None),
        (RestartType.TEMPORARY, ExitReason.SHUTDOWN, None),
        (RestartType.TEMPORARY, ExitReason.CRASHED, None),
        (RestartType.TEMPORARY, ExitReason.KILLED, None),
    ],
)
def test_restart_type_decides_what_follows_an_exit(
    restart: RestartType, reason: ExitReason, expected: ChildState | None
) -> None:
    """Cases 45 to 50, 52 to 54, 75 K."""
    tree = Tree(child("a", restart=restart))
    tree.boot()
    tree.dies("a", None if reason is ExitReason.KILLED else LastWords(reason))
    left = tree.state.child(ChildId("a"))
    assert (left.state if left else None) == expected


def test_only_the_dead_child_changes_its_incarnation() -> None:
    """Case 30 K, one_for_one."""
    tree = Tree(child("a"), child("b"), child("c"))
    tree.boot()
    tree.dies("b", CRASHED)
    tree.started("b")
    assert [tree[name].incarnation for name in "abc"] == [1, 2, 1]
    assert [tree[name].state for name in "abc"] == [ChildState.RUNNING] * 3


def test_death_without_last_words_is_killed() -> None:
    """Ours: an exit without ``Down`` has the reason KILLED."""
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a")
    assert tree.of(Report)[-1].reason == "KILLED"


def test_duplicate_death_restarts_the_child_once() -> None:
    """Ours: one death may be told twice; one restart follows."""
    tree = Tree(child("a"))
    tree.boot()
    tree.feed(ChildDied(ChildId("a"), 1))
    tree.feed(ChildDied(ChildId("a"), 1))
    assert len(tree.of(StartProcess)) == 2
    assert tree["a"].restarts == 1


@pytest.mark.parametrize("stale", [ChildDied, ChildStarted, ChildBeat])
def test_news_of_a_replaced_incarnation_is_ignored(stale: type[Any]) -> None:
    """Ours: what an old process said late does not touch the new one; nor does news of an unknown child."""
    tree = Tree(child("a"))
    tree.boot()
    tree.dies("a")
    before = tree.state.children
    assert tree.feed(stale(ChildId("a"), 1)) == []
    assert tree.feed(stale(ChildId("unknown"), 1)) == []
    assert tree.feed(ChildSpoke(ChildId("a"), 1, CRASHED)) == []
    assert tree.state.children == before


def test_started_after_last_words_does_not_count() -> None:
    """A child that has said its last words is as good as dead."""
    tree = Tree(parked("a"))
    tree.feed(Boot())
    tree.feed(ChildSpoke(ChildId("a"), 1, CRASHED))
    tree.started("a")
    assert tree.is_in("a", ChildState.STARTING)


def test_restart_report_says_how_long_the_child_was_down() -> None:
    """Downtime runs from the death to ``Started``, backoff and failed tries included."""
    tree = Tree(child("a", backoff_initial_s=2.0, backoff_max_s=2.0))
    tree.jitter = 1.0
    tree.boot()
    tree.dies("a", CRASHED)
    tree.later(2.0)
    tree.now += 0.25
    tree.started("a")
    report = tree.of(Report)[-1]
    assert (report.event, report.downtime_ms, report.restart_count, report.reason) == (
        "child_restarted",
        2250,
        1,
        "CRASHED",
    )


# -- intensity ------------------------------------------------------------------------------------------------------


def test_third_restart_at_intensity_2_ends_the_supervisor() -> None:
    """Case 30 K: the remaining children are stopped in reverse, the exit is SHUTDOWN with the give-up reported."""
    tree = Tree(child("a"), child("b"), child("c"), intensity=2)
    tree.boot()
    for _ in range(2):
        tree.dies("b", CRASHED)
        tree.started("b")
    tree.dies("b", CRASHED)
    assert tree.events()[-1] == ("supervisor_gave_up", "b")
    tree.dies("c", SHUTDOWN)
    tree.dies("a", SHUTDOWN)
    ending = tree.of(Exit)[0].ending
    assert (ending.reason, ending.error_type) == (ExitReason.SHUTDOWN, engine.GAVE_UP)
    assert [effect.child_id for effect in tree.of(StopProcess)] == ["c", "a"]


def test_intensity_0_means_that_the_first_restart_ends_the_supervisor() -> None:
    """As in OTP."""
    tree = Tree(child("a"), intensity=0)
    tree.boot()
    tree.dies("a")
    assert tree.of(Exit)


def test_window_includes_a_restart_that_is_exactly_the_period_old() -> None:
    """Stamps ``>= now - period`` stay."""
    for gap, gives_up in ((10.0, True), (10.001, False)):
        tree = Tree(child("a"), intensity=1, period_s=10.0)
        tree.boot()
        tree.dies("a")
        tree.started("a")
        tree.later(gap)
        tree.dies("a")
        assert bool(tree.of(Exit)) is gives_up


def test_crashes_spaced_wider_than_the_period_never_trip() -> None:
    """Case 29 K."""
    tree = Tree(child("a"), intensity=1, period_s=10.0)
    tree.boot()
    for _ in range(50):
        tree.dies("a")
        tree.started("a")
        tree.later(10.1)
    assert not tree.of(Exit)
    assert tree["a"].restarts == 50


@given(
    gaps=st.lists(st.floats(min_value=0.0, max_value=30.0), max_size=40),
    intensity=st.integers(min_value=0, max_value=5),
    period_s=st.floats(min_value=0.5, max_value=60.0),
)
def test_supervisor_gives_up_exactly_when_more_than_intensity_restarts_fall_into_a_period(
    gaps: list[float], intensity: int, period_s: float
) -> None:
    """Against the plain definition, over any sequence of crashes."""
    tree = Tree(child("a"), intensity=intensity, period_s=period_s)
    tree.boot()
    crashes: list[float] = []
    for gap in gaps:
        tree.now += gap
        crashes.append(tree.now)
        tree.dies("a")
        expected = sum(stamp >= tree.now - period_s for stamp in crashes) > intensity
        assert bool(tree.of(Exit)) is expected
        if expected:
            return
        tree.started("a")


def test_spent_budget_of_its_own_parks_a_child_and_leaves_its_siblings() -> None:
    """Ours: the parked child keeps its place without a process; its supervisor's budget is not charged."""
    tree = Tree(parked("a", intensity=2), child("b"), intensity=0)
    tree.boot()
    for _ in range(2):
        tree.dies("a", CRASHED)
        tree.started("a")
    tree.dies("a", CRASHED)
    assert tree.is_in("a", ChildState.PARKED)
    assert tree["a"].pid == 0
    assert tree.is_in("b", ChildState.RUNNING)
    assert tree.events()[-1] == ("child_parked", "a")
    assert tree.later(3600.0) == []


def test_spent_budget_of_its_own_escalates_where_the_child_says_so() -> None:
    """Ours: then the supervisor gives up although its own budget is not spent."""
    tree = Tree(child("a", intensity=1), intensity=100)
    tree.boot()
    tree.dies("a")
    tree.started("a")
    tree.dies("a")
    assert tree.of(Exit)[0].ending.error_type == engine.GAVE_UP


def test_failed_restart_is_a_counted_try_and_the_supervisor_keeps_answering() -> None:
    """Case 31 K: a child that cannot restart ends its supervisor; each try counts."""
    tree = Tree(child("a"), child("b"), intensity=3)
    tree.boot()
    tree.dies("b", CRASHED)
    for _ in range(3):
        assert tree.is_in("b", ChildState.STARTING)
        tree.dies("b", CRASHED)
        assert tree.is_in("b", ChildState.RESTARTING)
        assert tree.asks("x") == Answer(ME, False, "not_found: x")
        tree.later(0.0)
    assert ("supervisor_gave_up", "b") in tree.events()
    assert [event for event, _ in tree.events()].count("child_start_failed") == 3


# -- backoff --------------------------------------------------------------------------------------------------------


def test_backoff_doubles_up_to_its_bound_and_starts_over_after_a_quiet_period() -> None:
    """Ours. The full delay belongs to the largest jitter; the tries in the window make the exponent."""
    tree = Tree(child("a", backoff_initial_s=1.0, backoff_max_s=5.0, period_s=100.0))
    tree.jitter = 1.0
    tree.boot()
    delays = []
    for _ in range(5):
        tree.dies("a")
        delays.append((tree["a"].deadline_s or 0.0) - tree.now)
        tree.later(delays[-1])
        tree.started("a")
    tree.later(101.0)
    tree.dies("a")
    delays.append((tree["a"].deadline_s or 0.0) - tree.now)
    assert delays == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]


@given(jitter=st.floats(min_value=0.0, max_value=1.0, exclude_max=True))
def test_jitter_spreads_a_backoff_between_half_and_all_of_it(jitter: float) -> None:
    """The random factor comes from outside, so that the engine stays pure."""
    tree = Tree(child("a", backoff_initial_s=4.0))
    tree.jitter = jitter
    tree.boot()
    tree.dies("a")
    assert 2.0 <= (tree["a"].deadline_s or 0.0) - tree.now <= 4.0


def test_child_in_backoff_is_listed_without_a_process_and_stops_at_once() -> None:
    """Case 73 A, and ``Shutdown`` during ``restarting``."""
    tree = Tree(child("a", backoff_initial_s=5.0))
    tree.boot()
    tree.dies("a")
    assert (tree["a"].state, tree["a"].pid) == (ChildState.RESTARTING, 0)
    tree.feed(StopRequested(None, "end"))
    assert tree.of(Exit)
    assert tree.later(10.0) == []


# -- stop -----------------------------------------------------------------------------------------------------------


def test_children_stop_in_reverse_each_after_the_previous_is_gone() -> None:
    """Case 87 K, the stop; each is told a little less than its own time."""
    tree = Tree(child("c", shutdown_s=1.0), child("a", shutdown_s=2.0), child("b", shutdown_s=3.0))
    tree.boot()
    for name in ("b", "a", "c"):
        if name == "b":
            tree.feed(StopRequested(None, "end"))
        assert tree.of(StopProcess)[-1].child_id == name
        tree.dies(name, SHUTDOWN)
    assert [effect.deadline_s for effect in tree.of(StopProcess)] == [3.0 * 0.9, 2.0 * 0.9, 1.0 * 0.9]
    assert tree.of(Exit)


def test_child_that_does_not_obey_goes_down_the_ladder() -> None:
    """Case 17 K: asked, exit request, SIGTERM, SIGKILL, each once."""
    tree = Tree(child("a", shutdown_s=2.0))
    tree.boot()
    tree.feed(StopRequested(None, "end"))
    tree.later(10.0)
    assert [effect.rung for effect in tree.of(StopProcess)] == list(Rung)
    tree.dies("a")
    assert tree.of(Report)[-1].cause == "shutdown_timeout"


def test_brutal_kill_does_not_ask() -> None:
    """Case 19 K."""
    tree = Tree(child("a", shutdown_s=0.0), child("b"))
    tree.boot()
    tree.feed(StopRequested(None, "end"))
    tree.dies("b", SHUTDOWN)
    assert [(effect.child_id, effect.rung) for effect in tree.of(StopProcess)] == [
        ("b", Rung.SHUTDOWN),
        ("a", Rung.KILL),
    ]


def test_supervisors_own_deadline_shortens_its_childrens_time() -> None:
    """What the first child took is not there for the next; a second request hurries."""
    tree = Tree(child("a", shutdown_s=5.0), child("b", shutdown_s=None))
    tree.boot()
    tree.feed(StopRequested(4.0, "end"))
    assert tree["b"].deadline_s == tree.now + 4.0
    tree.later(3.0)
    tree.dies("b", SHUTDOWN)
    assert tree["a"].deadline_s == tree.now + 1.0
    tree.feed(StopRequested(0.5, "hurry"))
    assert tree["a"].deadline_s == tree.now + 0.5
    assert [effect.rung for effect in tree.of(StopProcess)] == [Rung.SHUTDOWN] * 3


@pytest.mark.parametrize("restart", list(RestartType))
@pytest.mark.parametrize("reason", list(ExitReason))
def test_exit_of_its_own_during_the_stop_restarts_nothing(restart: RestartType, reason: ExitReason) -> None:
    """Case 21 K: the stop completes, and the child's own reason is reported."""
    tree = Tree(child("a", restart=restart), child("b"))
    tree.boot()
    tree.feed(StopRequested(None, "end"))
    tree.dies("a", LastWords(reason))
    assert tree.of(Report)[-1].reason == reason.value
    assert not tree.of(Exit)
    tree.dies("b", SHUTDOWN)
    assert tree.of(Exit)
    assert len(tree.of(StartProcess)) == 2


# -- exit codes -----------------------------------------------------------------------------------------------------


def test_crash_with_an_exit_code_stops_everything_and_passes_the_code_up() -> None:
    """Ours: refused credentials are not mended by a restart."""
    tree = Tree(child("a"), child("b"))
    tree.boot()
    tree.dies("b", LastWords(ExitReason.CRASHED, "CredentialsError", "refused", exit_code=3))
    tree.dies("a", LastWords(ExitReason.SHUTDOWN, exit_code=5))
    end = tree.of(Exit)[0]
    assert (end.exit_code, end.ending.reason, end.ending.error_type) == (3, ExitReason.CRASHED, "CredentialsError")
    assert len(tree.of(StartProcess)) == 2


def test_exit_code_of_a_child_that_is_parked_is_not_passed_up() -> None:
    """Ours: a strategy that raises what ends a system, or a channel whose secret has gone, only ends itself."""
    tree = Tree(parked("a", intensity=0), child("b"))
    tree.boot()
    tree.dies("a", LastWords(ExitReason.CRASHED, "CredentialsError", "no such file", exit_code=3))
    assert not tree.of(Exit)
    assert tree.state.child(ChildId("a")).state is ChildState.PARKED  # type: ignore[union-attr]
    tree.feed(StopRequested(None, "end"))
    tree.dies("b", SHUTDOWN)
    assert tree.of(Exit)[0].exit_code is None


def test_exit_code_after_an_ordered_stop_counts_only_when_the_supervisor_stops() -> None:
    """A plant restarted by hand while HALTED does not end the system; the same plant at the end gives the run its 5."""
    halted = LastWords(ExitReason.SHUTDOWN, exit_code=5)
    tree = Tree(child("a"))
    tree.boot()
    tree.asks("a")
    tree.dies("a", halted)
    tree.started("a")
    assert not tree.of(Exit)
    tree.feed(StopRequested(None, "end"))
    tree.dies("a", halted)
    assert tree.of(Exit)[0].exit_code == 5


# -- watchdog -------------------------------------------------------------------------------------------------------


def test_silent_child_is_killed_once_and_restarted() -> None:
    """Ours: heartbeats are missed for ``watchdog_s``."""
    tree = Tree(child("a", watchdog_s=2.0), child("b", watchdog_s=2.0))
    tree.boot()
    tree.beats(1.9, "a", "b")
    assert not tree.of(StopProcess)
    tree.beats(2.5, "b")
    assert tree.of(StopProcess) == [StopProcess(ChildId("a"), 1, Rung.KILL)]
    tree.dies("a")
    assert (tree.of(Report)[-1].reason, tree.of(Report)[-1].cause) == ("KILLED", "watchdog")
    assert tree.is_in("a", ChildState.STARTING)


def test_only_child_that_falls_silent_is_noticed() -> None:
    """The engine asks for turns while it watches, or a lone child's silence would look like a stall of its own."""
    tree = Tree(child("a", watchdog_s=10.0))
    tree.boot()
    tree.later(10.5)
    assert tree.of(StopProcess) == [StopProcess(ChildId("a"), 1, Rung.KILL)]


def test_supervisor_that_was_stopped_itself_does_not_kill_its_children() -> None:
    """After a SIGSTOP or a long swap the silence was ours; the children get a new chance, but only one."""
    tree = Tree(child("a", watchdog_s=2.0))
    tree.boot()
    tree.now += 60.0
    assert tree.feed(Tick()) == []
    tree.later(2.1)
    assert len(tree.of(StopProcess)) == 1


# -- the operator ---------------------------------------------------------------------------------------------------


def test_restart_of_a_running_child_stops_and_starts_it_without_charge() -> None:
    """Ours: it is no crash, so the budgets stay as they are."""
    tree = Tree(child("a", intensity=0), intensity=0)
    tree.boot()
    assert refused(tree.asks("a")) is False
    assert tree.is_in("a", ChildState.STOPPING)
    assert refused(tree.asks("a"))
    tree.dies("a", SHUTDOWN)
    tree.started("a")
    assert (tree["a"].state, tree["a"].incarnation) == (ChildState.RUNNING, 2)
    assert not tree.of(Exit)


def test_parked_child_is_revived_with_a_fresh_budget() -> None:
    """Ours: ``restart ID`` is the way back."""
    tree = Tree(parked("a", intensity=1))
    tree.boot()
    for _ in range(2):
        tree.dies("a")
        if tree["a"].alive:
            tree.started("a")
    assert tree.is_in("a", ChildState.PARKED)
    tree.asks("a")
    tree.started("a")
    tree.dies("a")
    assert tree.is_in("a", ChildState.STARTING)


def test_restart_in_backoff_starts_at_once_and_in_a_stop_is_refused() -> None:
    """Cases 80 81, as far as they are ours."""
    tree = Tree(child("a", backoff_initial_s=50.0), child("b"))
    tree.boot()
    tree.dies("a")
    tree.asks("a")
    assert tree.is_in("a", ChildState.STARTING)
    tree.feed(StopRequested(None, "end"))
    assert refused(tree.asks("b"))


def test_child_whose_turn_in_the_boot_has_not_come_is_not_started_by_hand() -> None:
    """It would be started twice."""
    tree = Tree(child("a"), child("b"))
    tree.feed(Boot())
    assert refused(tree.asks("b"))
    assert len(tree.of(StartProcess)) == 1


def test_stop_takes_over_a_child_that_the_operator_is_restarting() -> None:
    """It is not started again, and the supervisor exits."""
    tree = Tree(child("a"), child("b"))
    tree.boot()
    tree.asks("a")
    tree.feed(StopRequested(None, "end"))
    tree.dies("a", SHUTDOWN)
    tree.dies("b", SHUTDOWN)
    assert tree.of(Exit)
    assert len(tree.of(StartProcess)) == 2


# -- the whole ------------------------------------------------------------------------------------------------------


def test_incarnations_grow_over_a_rebuild_of_the_supervisor() -> None:
    """A rebuilt supervisor does not give its children numbers that were used already."""
    tree = Tree(child("a"), incarnation=3)
    tree.boot()
    assert tree["a"].incarnation == 2_000_001


@given(
    strategy=st.sampled_from(Strategy),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "t"]),
            st.sampled_from(
                [
                    "die",
                    "crash",
                    "exit",
                    "start",
                    "restart",
                    "tick",
                    "beat",
                    "stale",
                    "terminate",
                    "again",
                    "delete",
                    "add",
                ]
            ),
            st.floats(min_value=0.0, max_value=3.0),
        ),
        max_size=60,
    ),
)
def test_any_history_keeps_one_process_for_each_child_and_ends_in_an_exit(
    strategy: Strategy, moves: list[tuple[str, str, float]]
) -> None:
    """Whatever happens: no child has two processes, each caller is answered once, and a stop comes to its end."""
    tree = Tree(
        child("a", intensity=5),
        parked("b", watchdog_s=2.0),
        child("c", backoff_initial_s=1.0, restart=RestartType.TRANSIENT),
        child("t", restart=RestartType.TEMPORARY),
        strategy=strategy,
        intensity=6,
    )
    tree.feed(Boot())
    living: dict[str, int] = {}
    used: dict[str, int] = {}
    done = asked = 0

    def settle() -> None:
        nonlocal done
        for effect in tree.effects[done:]:
            if isinstance(effect, StartProcess):
                assert effect.child_id not in living
                assert effect.incarnation > used.get(effect.child_id, 0)
                used[effect.child_id] = effect.incarnation
                living[effect.child_id] = effect.incarnation
            elif isinstance(effect, StopProcess):
                assert living[effect.child_id] == effect.incarnation
            elif isinstance(effect, Exit):
                assert not living
        done = len(tree.effects)

    def die(name: str, words: LastWords | None) -> None:
        if name in living:
            del living[name]
            tree.dies(name, words)

    settle()
    for name, move, gap in moves:
        tree.now += gap
        known = tree.state.child(ChildId(name)) is not None
        asked += move in ("restart", "terminate", "again", "delete", "add") and tree.state.phase is not Phase.EXITED
        match move:
            case "terminate":
                tree.terminates(name)
            case "again":
                tree.restarts(name)
            case "delete":
                tree.feed(DeleteRequested(ChildId(name), ME))
            case "add":
                tree.adds(child(name, restart=RestartType.TEMPORARY))
            case _ if not known and move != "restart":
                tree.feed(Tick())
            case "die":
                die(name, None)
            case "crash":
                die(name, CRASHED)
            case "exit":
                die(name, SHUTDOWN)
            case "start":
                if tree[name].state is ChildState.STARTING:
                    tree.started(name)
            case "restart":
                tree.feed(RestartRequested(ChildId(name), ME, running_too=True))
            case "beat":
                tree.feed(ChildBeat(ChildId(name), tree[name].incarnation))
            case "stale":
                tree.feed(ChildDied(ChildId(name), tree[name].incarnation - 1))
            case _:
                tree.feed(Tick())
        settle()
    tree.feed(StopRequested(1.0, "end"))
    settle()
    for _ in range(5):
        for name in list(living):
            if tree[name].state is ChildState.STOPPING:
                die(name, SHUTDOWN)
                settle()
    assert tree.state.phase is Phase.EXITED
    assert len(tree.of(Exit)) == 1
    assert len(tree.of(Answer)) == asked


# -- specs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "services/*"),
        ("body", "no_class"),
        ("intensity", -1),
        ("period_s", 0.0),
        ("shutdown_s", -1.0),
        ("start_timeout_s", 0.0),
        ("watchdog_s", -2.0),
        ("backoff_initial_s", -0.1),
        ("backoff_max_s", -0.1),
    ],
)
def test_bad_field_of_a_child_spec_is_named(field: str, value: object) -> None:
    """Cases 15 A, 26 K: each bad field has its own error."""
    with pytest.raises(ConfigurationError, match=rf"\b{field}\b"):
        ChildSpec(**({"id": "a", "body": "m:C"} | {field: value}))  # type: ignore[arg-type]


def test_bad_supervisor_spec_is_refused() -> None:
    """Duplicate ids, foreign ids, a child that is to park without a budget of its own."""
    with pytest.raises(ConfigurationError, match="a is there twice"):
        SupervisorSpec(id=ROOT, children=(child("a"), child("a")))
    with pytest.raises(ConfigurationError, match="plants/"):
        SupervisorSpec(id=ChildId("plants"), children=(child("strategies/a"),))
    with pytest.raises(ConfigurationError, match="on_give_up"):
        child("a", on_give_up=GiveUp.PARK)


def test_spec_travels_as_bytes() -> None:
    """A nested supervisor's spec is its child's configuration."""
    nested = SupervisorSpec(id=ChildId("plants"), children=(child("plants/order", intensity=4, shutdown_s=None),))
    spec = SupervisorSpec(id=ROOT, children=(branch(nested),))
    assert unpack(pack(spec)) == spec
    assert unpack(unpack(pack(spec)).children[0].config) == nested


# -- giving up is told -----------------------------------------------------------------------------------------------


def test_parking_is_told_once_to_whom_the_spec_names_with_cause_and_restarts() -> None:
    """Ours: one report (which is the critical alert) and one notification."""
    tree = Tree(parked("a", intensity=1, park_notify="plants/order"), child("b"))
    tree.boot()
    tree.dies("a", CRASHED)
    tree.started("a")
    tree.dies("a", CRASHED)
    tree.later(100.0)
    told = NotifyParked(ChildId("plants/order"), ChildId("a"), 1, "CRASHED (ValueError: no luck)")
    assert tree.of(NotifyParked) == [told]
    (report,) = [report for report in tree.of(Report) if report.event == "child_parked"]
    assert (report.cause, report.restart_count) == ("CRASHED (ValueError: no luck)", 1)


def test_children_of_a_branch_that_gives_up_are_told_that_it_is_only_a_branch() -> None:
    """The parent may rebuild the branch, so nobody may act as if the system ended."""
    tree = Tree(child("plants/a"), child("plants/b"), intensity=0, id=ChildId("plants"))
    tree.boot()
    tree.dies("plants/a")
    told = [(effect.child_id, effect.reason) for effect in tree.of(StopProcess)]
    assert told == [("plants/b", "branch_gave_up")]


def test_children_of_a_supervisor_that_gives_up_are_told_so() -> None:
    """The reason of their shutdown is ``gave_up``, here and, passed on, below; of another stop it is not."""
    tree = Tree(child("a"), child("b"), intensity=0)
    tree.boot()
    tree.dies("a")
    assert [(effect.child_id, effect.reason) for effect in tree.of(StopProcess)] == [("b", engine.GAVE_UP_REASON)]
    below = Tree(child("a"))
    below.boot()
    below.stops(engine.GAVE_UP_REASON)
    assert below.of(StopProcess)[0].reason == engine.GAVE_UP_REASON
    for reason in ("operator", "SIGTERM"):
        other = Tree(child("a"))
        other.boot()
        other.stops(reason)
        assert other.of(StopProcess)[0].reason == reason


def test_parked_child_whose_revival_fails_is_parked_as_before() -> None:
    """A manual start is not retried; the child is not merely stopped, so that no group restart starts it."""
    tree = Tree(parked("a", intensity=0), child("b"), strategy=Strategy.ONE_FOR_ALL)
    tree.boot()
    tree.dies("a")
    assert tree.restarts("a") is None
    tree.dies("a", CRASHED)
    assert tree.answers() == [(False, "start_error")]
    tree.dies("b")
    tree.obey()
    assert tree.is_in("a", ChildState.PARKED)
    assert tree.running == ["b"]


def test_group_restart_goes_on_without_a_member_that_is_parked() -> None:
    """Ours: siblings are not held up by a child that is set aside while their group is restarted."""
    tree = Tree(child("a"), parked("b", intensity=0), child("c"), strategy=Strategy.ONE_FOR_ALL)
    tree.boot()
    tree.dies("a")
    tree.obey("b")
    tree.later(0.0)
    tree.obey()
    assert tree.running == ["a", "c"]
    assert tree.is_in("b", ChildState.PARKED)


def test_exit_during_a_group_restart_waits_for_its_end() -> None:
    """As a message in OTP's mailbox; it is charged and restarts the group once more."""
    tree = Tree(child("a"), child("b"), strategy=Strategy.ONE_FOR_ALL, intensity=2)
    tree.boot()
    tree.dies("b")
    tree.dies("a", SHUTDOWN)
    tree.started("a")
    tree.dies("a")
    assert tree.is_in("b", ChildState.STARTING)
    tree.started("b")
    assert len(tree.state.stamps) == 2
    tree.obey()
    assert tree.running == ["a", "b"]
