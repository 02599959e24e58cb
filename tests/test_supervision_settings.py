"""The section ``supervision``: strategy, budget, restart type and times of every branch and child, and its defaults."""

from pathlib import Path

import pytest

from nightdesk.settings.runtime import RunConfiguration
from supervisors.plan import planned
from supervisors.spec import ChildSpec, GiveUp, RestartType, Strategy, SupervisorSpec, unpack
from supervisors.tree import build_tree
from tests.test_settings import GOOD, load, swap

EVERYTHING = """\
plant_supervision: {intensity: 4, period_s: 30, watchdog_s: 3}
supervision:
  root: {strategy: rest_for_one, intensity: 7, period_s: 90}
  services:
    intensity: 9
    control: {intensity: 50, backoff_initial_s: 1}
  exchange: {intensity: infinity, start_timeout_s: 40}
  plants:
    strategy: rest_for_one
    order: {shutdown_s: 8}
    ticker: {intensity: 2, watchdog_s: infinity, backoff_initial_s: 0.5, backoff_max_s: 2}
    as_child: {intensity: 3, shutdown_s: 20}
  strategies:
    strategy: one_for_all
    period_s: 15
"""
STRATEGY = "    supervision: {restart: transient, shutdown_s: 0, start_timeout_s: infinity}\n    symbols"


def tree_of(folder: Path, text: str) -> tuple[SupervisorSpec, dict[str, ChildSpec], dict[str, SupervisorSpec]]:
    root = build_tree(load(folder, text))
    branches = {child.id: unpack(child.config) for child in root.children if child.id != "exchange"}
    children = {child.id: child for spec in (root, *branches.values()) for child in spec.children}
    return root, children, branches  # type: ignore[return-value]


def test_defaults_are_those_of_a_desk(tmp_path: Path) -> None:
    """Strategies and channels park, plants and the exchange escalate, a branch counts what its children may."""
    root, children, branches = tree_of(tmp_path, GOOD)
    assert (root.strategy, root.intensity, root.period_s) == (Strategy.ONE_FOR_ONE, 10, 60.0)
    assert {spec.strategy for spec in branches.values()} == {Strategy.ONE_FOR_ONE}
    assert branches["plants"].intensity == 40
    parks = [name for name, child in children.items() if child.on_give_up is GiveUp.PARK]
    assert parks == ["services/control", "services/alerts/log", "strategies/cross"]
    assert {child.restart for child in children.values()} == {RestartType.PERMANENT}
    for name in ("services", "plants", "strategies"):
        branch = children[name]
        assert (branch.intensity, branch.shutdown_s, branch.start_timeout_s) == (None, None, None)
        assert branch.on_give_up is GiveUp.ESCALATE
    assert children["strategies/cross"].park_notify == "plants/order"


def test_every_branch_and_child_can_be_set(tmp_path: Path) -> None:
    """What the file says is what the supervisors are given."""
    root, children, branches = tree_of(tmp_path, swap("    symbols", STRATEGY) + EVERYTHING)
    assert (root.strategy, root.intensity, root.period_s) == (Strategy.REST_FOR_ONE, 7, 90.0)
    assert branches["services"].intensity == 9
    assert (children["services/control"].intensity, children["services/control"].backoff_initial_s) == (50, 1.0)
    assert (children["exchange"].intensity, children["exchange"].start_timeout_s) == (None, 40.0)
    assert (branches["plants"].strategy, branches["plants"].intensity) == (Strategy.REST_FOR_ONE, 10 + 4 + 2 + 4)
    assert (children["plants"].intensity, children["plants"].shutdown_s) == (3, 20.0)
    order, ticker, pnl = (children[f"plants/{name}"] for name in ("order", "ticker", "pnl"))
    # One plant's own section replaces that of all plants, but not what plants are by nature.
    assert (order.intensity, order.shutdown_s, order.watchdog_s, order.on_give_up) == (10, 8.0, 10.0, GiveUp.ESCALATE)
    assert (ticker.intensity, ticker.watchdog_s, ticker.backoff_initial_s, ticker.backoff_max_s) == (2, None, 0.5, 2.0)
    assert (pnl.intensity, pnl.period_s, pnl.watchdog_s, pnl.on_give_up) == (4, 30.0, 3.0, GiveUp.ESCALATE)
    assert (branches["strategies"].strategy, branches["strategies"].period_s) == (Strategy.ONE_FOR_ALL, 15.0)
    cross = children["strategies/cross"]
    assert (cross.restart, cross.shutdown_s, cross.start_timeout_s) == (RestartType.TRANSIENT, 0.0, None)


def test_one_key_of_plant_supervision_leaves_the_others_a_plants(tmp_path: Path) -> None:
    """A plant with a shorter watchdog still escalates: parked, nobody would trade and nobody would know."""
    _, children, _ = tree_of(tmp_path, GOOD + "plant_supervision: {watchdog_s: 5}\n")
    assert (children["plants/order"].on_give_up, children["plants/order"].intensity) == (GiveUp.ESCALATE, 10)


def test_settings_survive_their_way_to_the_actors(tmp_path: Path) -> None:
    """No limit is written as infinity and read back as such."""
    run = load(tmp_path, swap("    symbols", STRATEGY) + EVERYTHING)
    assert RunConfiguration.from_json(run.to_json()) == run
    assert build_tree(RunConfiguration.from_json(run.to_json())) == build_tree(run)


@pytest.mark.parametrize("name", ["root", "plants", "strategies/cross"])
def test_plan_shows_every_policy(tmp_path: Path, name: str) -> None:
    """What ``check`` prints."""
    root, children = planned(load(tmp_path, GOOD + EVERYTHING))
    found = {child["id"]: child for child in (root, *children)}[name]
    if name != "strategies/cross":
        policy = found if name == "root" else found["branch"]
        assert policy["strategy"] == "rest_for_one".upper() or policy["strategy"] == Strategy.REST_FOR_ONE.value
    else:
        assert (found["intensity"], found["on_give_up"], found["restart"]) == (5, "park", RestartType.PERMANENT.value)
