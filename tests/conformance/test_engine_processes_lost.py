"""Ours, against the pure engine: what it has to do with faults that only processes can have.

A handler that raises, a killed supervisor and a parent that dies during a start are the base class's and the kernel's
work; the engine's share is that what comes of them counts once and that nothing an orphan still says is believed.
"""

from typing import Any

import pytest

from nightdesk.messages import ChildId, ChildState, ExitReason
from supervisors import engine
from supervisors.events import (
    Boot,
    ChildBeat,
    ChildDied,
    ChildIgnored,
    ChildSpoke,
    ChildStarted,
    Event,
    ProcessSpawned,
    Report,
    Rung,
    StartProcess,
    StopProcess,
    Tick,
)
from supervisors.spec import ChildSpec, RestartType
from supervisors.state import LastWords
from tests.engine_support import CRASHED, Tree, child


def _news(child_id: str, incarnation: int) -> list[Event]:
    """Everything that a process can say, or that can be said of it."""
    one = ChildId(child_id)
    return [
        ProcessSpawned(one, incarnation, 999),
        ChildStarted(one, incarnation),
        ChildBeat(one, incarnation),
        ChildIgnored(one, incarnation),
        ChildSpoke(one, incarnation, CRASHED),
        ChildDied(one, incarnation),
    ]


@pytest.mark.parametrize("words", [1, 2, 3])
def test_ours_5_crash_of_a_handler_counts_once_however_often_it_is_told(words: int) -> None:
    """Thespian runs a handler that raised again and tells an end twice: one report, one restart, one charge."""
    tree = Tree(child("a"), child("b"))
    tree.boot()
    for number in range(words):
        tree.feed(ChildSpoke(ChildId("a"), 1, LastWords(ExitReason.CRASHED, "RuntimeError", f"run {number}")))
    for _ in range(words):
        tree.feed(ChildDied(ChildId("a"), 1))
    tree.obey()
    (exited,) = [report for report in tree.of(Report) if report.event == "child_exited"]
    assert (exited.reason, exited.error_message) == ("CRASHED", "run 0")
    assert len(tree.state.stamps) == 1
    assert [start.incarnation for start in tree.of(StartProcess) if start.child_id == "a"] == [1, 2]
    assert tree["b"].incarnation == 1


def test_ours_7_rebuilt_supervisor_believes_nothing_that_an_orphan_still_says() -> None:
    """Killed, it is one death to its parent; its successor starts all anew and numbers them so that old news is old."""
    above = Tree(child("x"), child("y"))
    above.boot()
    above.dies("x")
    above.obey()
    assert above.running == ["x", "y"]
    assert (above["x"].incarnation, above["y"].incarnation, len(above.state.stamps)) == (2, 1, 1)

    killed, rebuilt = Tree(child("x/a"), id=ChildId("x")), Tree(child("x/a"), id=ChildId("x"), incarnation=2)
    killed.boot()
    killed.adds(child("x/added"))
    killed.obey()
    rebuilt.boot()
    assert rebuilt["x/a"].incarnation > killed["x/a"].incarnation
    before = rebuilt.state.children
    for orphan in ("x/a", "x/added"):
        for news in _news(orphan, killed[orphan].incarnation):
            assert rebuilt.feed(news) == []
    assert rebuilt.state.children == before


def test_ours_10_child_whose_parent_died_during_its_start_is_started_anew_and_the_old_start_is_void() -> None:
    """The first supervisor goes while its child starts; the second waits for its own child, not for the old one."""
    killed, rebuilt = Tree(child("x/a"), id=ChildId("x")), Tree(child("x/a"), id=ChildId("x"), incarnation=2)
    killed.feed(Boot())
    rebuilt.feed(Boot())
    for news in _news("x/a", killed["x/a"].incarnation):
        assert rebuilt.feed(news) == []
    assert rebuilt.is_in("x/a", ChildState.STARTING)
    rebuilt.started("x/a")
    assert rebuilt.running == ["x/a"]


@pytest.mark.parametrize("restart", [RestartType.PERMANENT, RestartType.TRANSIENT])
def test_ours_10_supervisor_that_dies_during_its_own_restart_is_a_failed_try(restart: RestartType) -> None:
    """To its parent it has not started: reported as a start error, charged, tried again from the mailbox."""
    tree = Tree(child("x", restart=restart))
    tree.boot()
    tree.dies("x")
    tree.dies("x")
    assert [report.event for report in tree.of(Report)][-2:] == ["child_exited", "child_start_failed"]
    assert tree.is_in("x", ChildState.RESTARTING)
    tree.feed(Tick())
    tree.obey()
    assert tree.running == ["x"]
    assert len(tree.state.stamps) == 2


# -- a process that is stopped by SIGSTOP for a while -----------------------------------------------------------------

KILLS_IN = {1.0: 0, 10.0: 1, 300.0: 1}
"""How often a child with the default watchdog is killed that is frozen for so long."""


def _frozen(tree: Tree, seconds: float) -> list[tuple[float, Any]]:
    """Let ``a`` be silent for so long while ``b`` beats; each kill is obeyed at once. When and what was done."""
    done: list[tuple[float, Any]] = []
    silent = tree["a"].incarnation
    for tick in range(1, round(seconds * 2) + 1):
        tree.now += 0.5
        for child_id in ("a", "b"):
            if child_id == "b" or tree["a"].incarnation != silent:
                tree.feed(ChildBeat(ChildId(child_id), tree[child_id].incarnation))
        kills = [effect for effect in tree.feed(Tick()) if isinstance(effect, StopProcess)]
        for kill in kills:
            done.append((tick / 2, kill))
            tree.dies(kill.child_id)
            tree.obey()
    return done


@pytest.mark.parametrize("seconds", KILLS_IN)
def test_ours_9_frozen_child_is_forgiven_or_replaced_once_by_how_long_it_lasts(seconds: float) -> None:
    """1 s is forgiven; 10 s and 5 minutes end in one kill, exactly when the watchdog's 10 s are over."""
    spec = ChildSpec(id=ChildId("a"), body="m:C")
    assert spec.watchdog_s == 10.0
    tree = Tree(spec, child("b", watchdog_s=10.0))
    tree.boot()
    done = _frozen(tree, seconds)
    kills = KILLS_IN[seconds]
    assert done == [(10.0, StopProcess(ChildId("a"), 1, Rung.KILL))] * kills
    assert (tree["a"].incarnation, tree["b"].incarnation) == (1 + kills, 1)
    assert len(tree.state.stamps) == kills
    assert tree.running == ["a", "b"]
    causes = [report.cause for report in tree.of(Report) if report.event == "child_exited"]
    assert causes == ["watchdog"] * kills
    # The successor is watched as its predecessor was, and an end of the old silence changes nothing.
    assert tree.feed(ChildBeat(ChildId("a"), 0)) == []
    assert _frozen(tree, 1.0) == []


@pytest.mark.parametrize("seconds", KILLS_IN)
def test_ours_9_supervisor_that_was_frozen_itself_blames_no_child(seconds: float) -> None:
    """All of its children were silent to it; they get their whole time once more from the moment that it goes on."""
    tree = Tree(child("a", watchdog_s=10.0), child("b", watchdog_s=10.0))
    tree.boot()
    tree.beats(1.0, "a", "b")
    tree.now += seconds
    assert tree.feed(Tick()) == []
    tree.beats(9.9 - (seconds if seconds < 3.0 else 0.0), "b")
    assert tree.of(StopProcess) == []
    tree.beats(0.5, "b")
    assert tree.of(StopProcess) == [StopProcess(ChildId("a"), 1, Rung.KILL)]


def test_engine_is_not_patient_with_a_kill_that_is_on_its_way() -> None:
    """A death that takes its time is waited for: the next kill comes a watchdog's time later, not at each turn."""
    tree = Tree(child("a", watchdog_s=10.0))
    tree.boot()
    tree.later(19.5)
    assert len(tree.of(StopProcess)) == 1
    tree.later(1.0)
    assert len(tree.of(StopProcess)) == 2
    tree.dies("a")
    assert engine.next_deadline(tree.state) is not None
    assert tree.is_in("a", ChildState.STARTING)
