"""With our extensions switched off the engine is OTP's: any history, against a second supervisor without our code."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.messages import ChildState, ExitReason
from supervisors.events import Boot, Exit
from supervisors.restarts import FAILED_TO_START
from supervisors.spec import RestartType, Strategy
from supervisors.state import LastWords, Phase
from tests.conformance.reference import Reference
from tests.engine_support import CRASHED, SHUTDOWN, Tree, child

NAMES = ("a", "b", "c", "d", "e")
OUTCOMES = st.lists(st.sampled_from(["ok", "ok", "fail", "ignore"]), max_size=6)
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["exit", "exit", "exit", "terminate", "restart", "delete", "add"]),
        st.sampled_from(NAMES),
        st.sampled_from(list(ExitReason)),
        st.sampled_from(list(RestartType)),
        st.sampled_from([0.0, 0.5, 5.0, 5.000001]),
    ),
    max_size=30,
)


class Starts:
    """How the starts of each child go: by its list, then well."""

    def __init__(self, outcomes: dict[str, list[str]]) -> None:
        self.left = defaultdict(list, {name: list(words) for name, words in outcomes.items()})

    def __call__(self, name: str) -> str:
        return self.left[name].pop(0) if self.left[name] else "ok"


def carry_out(tree: Tree, starts: Starts) -> None:
    """Do what the engine wants until it wants nothing any more, its own retries included."""
    while tree.state.phase is not Phase.EXITED:
        children = tree.state.children
        stopping = [item for item in children if item.state is ChildState.STOPPING]
        starting = [item for item in children if item.state is ChildState.STARTING]
        if stopping:
            tree.dies(stopping[0].id, SHUTDOWN)
        elif starting:
            name = starting[0].id
            match starts(name):
                case "ok":
                    tree.started(name)
                case "ignore":
                    tree.ignores(name)
                case _:
                    tree.dies(name, CRASHED)
        elif any(item.state is ChildState.RESTARTING for item in children):
            tree.later(0.0)
        else:
            return


def compare(tree: Tree, reference: Reference) -> None:
    assert tree.starts_and_stops() == reference.history
    assert (tree.state.phase is Phase.EXITED) == bool(reference.end)
    if reference.end:
        assert tree.of(Exit)[0].ending.error_type == reference.end
    else:
        assert [(item.id, item.alive) for item in tree.state.children] == reference.living
        assert list(tree.state.stamps) == reference.stamps


def run(
    strategy: Strategy,
    intensity: int,
    types: list[RestartType],
    outcomes: dict[str, list[str]],
    moves: list[tuple[str, str, ExitReason, RestartType, float]],
) -> None:
    kinds = list(zip(NAMES, types, strict=False))
    tree = Tree(
        *(child(name, restart=kind) for name, kind in kinds), strategy=strategy, intensity=intensity, period_s=5.0
    )
    starts = Starts(outcomes)
    reference = Reference(strategy, intensity, 5.0, kinds, Starts(outcomes))
    tree.feed(Boot())
    carry_out(tree, starts)
    compare(tree, reference)
    for move, name, reason, kind, gap in moves:
        if reference.end:
            assert reference.end == FAILED_TO_START or tree.of(Exit)
            return
        tree.now += gap
        match move:
            case "exit":
                known = tree.state.child(child(name).id)
                if known is not None and known.alive:
                    tree.dies(name, LastWords(reason))
                    carry_out(tree, starts)
                reference.exit(name, reason, tree.now)
            case "terminate":
                tree.terminates(name)
                carry_out(tree, starts)
                reference.terminate(name)
            case "restart":
                tree.restarts(name)
                carry_out(tree, starts)
                reference.start_again(name)
            case "delete":
                tree.deletes(name)
                reference.delete(name)
            case _:
                tree.adds(child(name, restart=kind))
                carry_out(tree, starts)
                reference.add(name, kind)
        compare(tree, reference)


HISTORY = {
    "strategy": st.sampled_from(Strategy),
    "intensity": st.integers(min_value=0, max_value=6),
    "types": st.lists(st.sampled_from(list(RestartType)), max_size=4),
    "outcomes": st.fixed_dictionaries(dict.fromkeys(NAMES, OUTCOMES)),
    "moves": MOVES,
}


@settings(max_examples=300, deadline=None)
@given(**HISTORY)
def test_any_history_is_otps(**history: object) -> None:
    """Starts, terminations, what lives, what is counted and how it ends: the same after each event."""
    run(**history)  # type: ignore[arg-type]


@pytest.mark.chaos
@settings(max_examples=30_000, deadline=None)
@given(**HISTORY)
def test_very_many_histories_are_otps(**history: object) -> None:
    """The same, for longer."""
    run(**history)  # type: ignore[arg-type]
