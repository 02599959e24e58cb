"""Strategies whose process crashed or hung: when their last will is carried out, and what their return changes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_wills import WillPolicy
from nightdesk.errors import LaneError
from nightdesk.messages import (
    ChildId,
    ChildParked,
    ChildReport,
    ChildState,
    Denial,
    OrderDenied,
    StrategyGoodbye,
    StrategyId,
    TreeStatus,
)
from nightdesk.settings.models import Strategy
from tests import order_plant_support
from tests.fakes import FakeContext
from tests.order_plant_session_support import ONE, STOP, alerts, canceled, exits, obeys
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

AFTER_S = 60.0
Scene = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def context(folder: Path, **section: Any) -> Any:
    strategies = [
        Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"], **section})
        for name in ("one", "two")
    ]
    return FakeContext("plants/order", configuration(folder, strategies=strategies).to_json())


async def begun(folder: Path, **section: Any) -> Plant:
    body = Plant(context(folder, **section))
    body.reconcile_policy = order_plant_support.FAST
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.will_policy = WillPolicy(poll_s=0.005, retry_s=0.05, retry_max_s=0.1, attempts_max=3)
    await body.start()
    return body


def play(folder: Path, scene: Scene, **section: Any) -> None:
    """Strategy ``one`` holds two contracts, with an entry and a protective stop at work."""

    async def run() -> None:
        body = await begun(folder, **section)
        session = await body.link_up()
        peer, welcome = body.hello()
        body.hello("two")
        epoch = welcome.fencing_epoch
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        await working(body, peer, epoch, "entry", "b2")
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await scene(body, session, peer, epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


def dies(body: Plant, peer: FakePeer) -> None:
    """The process of a strategy ends, however that comes: the kernel closes its lane."""
    body._lane._on_close(peer)  # type: ignore[arg-type]


async def passes(body: Plant, seconds: float) -> None:
    body.context.clock.advance(seconds)  # type: ignore[attr-defined]
    body.absence.look()
    await turns()


def told(body: Plant) -> int:
    return alerts(body).count("strategy_gone")


def test_crash_brings_the_will_at_once_where_that_is_configured(tmp_path: Path) -> None:
    """``last_will_on: crash``: its entries go in the turn in which its lane ends, its protection stays."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)
        await turns()
        assert canceled(session) == ["b2"]
        assert told(body) == 1

    play(tmp_path, scene, last_will_on="crash")


def test_who_does_not_come_back_gets_its_will_after_a_named_time(tmp_path: Path) -> None:
    """By default a crash is its supervisor's matter; one that nobody restarts is not left unwatched."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)
        await passes(body, AFTER_S - 1)
        assert canceled(session) == []
        await passes(body, 1)
        assert canceled(session) == ["b2"]
        assert [will.strategy_id for will in body.journal.last_wills()] == [ONE]
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        await wait_until_async(lambda: all(will.is_done for will in body.journal.last_wills()))
        await passes(body, 10 * AFTER_S)
        assert told(body) == 1

    play(tmp_path, scene)


def test_who_comes_back_in_time_keeps_everything(tmp_path: Path) -> None:
    """The next crash begins a new time."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for _ in range(3):
            dies(body, peer)
            await passes(body, AFTER_S - 1)
            peer, _ = body.hello()
        await passes(body, 10 * AFTER_S)
        assert canceled(session) == []
        assert told(body) == 0

    play(tmp_path, scene)


@pytest.mark.parametrize("last_will_on", ["crash", "park"])
def test_who_said_goodbye_is_not_missed(tmp_path: Path, last_will_on: str) -> None:
    """Stopped in order, by the operator or with the system: an ordinary stop cancels nothing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, StrategyGoodbye(strategy_id=ONE))
        dies(body, peer)
        await passes(body, 10 * AFTER_S)
        assert canceled(session) == []
        assert told(body) == 0

    play(tmp_path, scene, last_will_on=last_will_on)


def test_lane_that_we_cut_is_no_crash(tmp_path: Path) -> None:
    """A strategy that does not read is cut off and comes back with a hello; only one that does not is gone."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def full(message: object) -> None:
            raise LaneError("the peer does not keep up")

        peer.send = full  # type: ignore[method-assign]
        body._permission_changed()
        assert peer.closed
        dies(body, peer)
        await turns()
        assert canceled(session) == []
        await passes(body, AFTER_S)
        assert canceled(session) == ["b2"]

    play(tmp_path, scene, last_will_on="crash")


def test_commands_of_the_dead_process_are_stale(tmp_path: Path) -> None:
    """What it has left in its socket opens nothing after its will: the epoch is another one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)
        body.say(peer, submit("late", epoch))
        assert peer.of(OrderDenied)[-1].code is Denial.EPOCH_STALE
        again, welcome = body.hello()
        body.say(again, submit("stale", epoch))
        assert again.of(OrderDenied)[-1].code is Denial.EPOCH_STALE
        assert welcome.fencing_epoch > epoch + 1

    play(tmp_path, scene, last_will_on="crash")


def test_flatten_for_a_crash_is_not_broken_off_by_the_return(tmp_path: Path) -> None:
    """Half of it would leave the position without its stop; until it is done the strategy opens nothing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)
        await turns()
        assert canceled(session) == ["b2", "b3"]
        again, welcome = body.hello()
        body.say(again, submit("early", welcome.fencing_epoch))
        assert again.of(OrderDenied)[-1].code is Denial.ORDER_OPERATION_IN_FLIGHT
        # Also between two attempts, while no pair of strategy and symbol is being closed.
        body.gate.flattening.clear()
        body.say(again, submit("between", welcome.fencing_epoch))
        assert again.of(OrderDenied)[-1].client_order_id == "between"
        obeys(body, session)
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        body.on_push(351, complete("stop", "b3", "C", 0, 2, transaction_type=2))
        await wait_until_async(lambda: body.account.ledger.quantity(ONE, "ESH4") == 0)
        assert len(exits(session)) == 1
        await wait_until_async(lambda: not body.journal.last_wills())
        body.say(again, submit("later", welcome.fencing_epoch))
        await turns()
        assert "later" in {fields["user_tag"] for fields in session.of(312)}

    play(tmp_path, scene, last_will_on="crash", last_will="flatten")


def test_parking_after_the_will_of_a_crash_is_the_same_matter(tmp_path: Path) -> None:
    """The supervisor gives up later: nothing is done twice, and a hello ends it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)
        await turns()
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        await wait_until_async(lambda: all(will.is_done for will in body.journal.last_wills()))
        parked = ChildParked(child_id=ChildId("strategies/one"), restarts=3, reason="CRASHED")
        body.receive(ChildId("strategies"), parked)
        await turns()
        assert len(body.journal.last_wills()) == 1
        assert canceled(session) == ["b2"]
        body.hello()
        assert body.journal.last_wills() == []

    play(tmp_path, scene, last_will_on="crash")


def test_strategy_with_nothing_at_stake_is_nobodys_concern(tmp_path: Path) -> None:
    """Strategy two has neither an order nor a position."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, _ = body.hello("two")
        dies(body, other)
        await passes(body, 10 * AFTER_S)
        assert told(body) == 0
        assert body.journal.last_wills() == []

    play(tmp_path, scene, last_will_on="crash")


@pytest.mark.parametrize("state", [ChildState.RESTARTING, ChildState.STOPPED])
def test_who_was_gone_before_the_order_plant_began(tmp_path: Path, state: ChildState) -> None:
    """Its time runs from the order plant's start; one that the operator has stopped is not missed."""

    async def first(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, peer)

    async def second() -> None:
        body = await begun(tmp_path, last_will_on="crash")
        stop = image("stop", "b3")
        stop.transaction_type = 2
        session = await body.link_up(orders=[image("entry", "b2"), stop])
        body.hello("two")
        fields = {"kind": "worker", "pid": 0, "incarnation": 2, "restarts": 1, "uptime_s": 0.0}
        report = ChildReport(child_id=ChildId("strategies/one"), state=state, **fields)  # type: ignore[arg-type]
        body.receive(ChildId("strategies"), TreeStatus(request_id="parked", children=(report,)))
        await passes(body, AFTER_S - 1)
        assert canceled(session) == []
        await passes(body, 2)
        assert canceled(session) == ([] if state is ChildState.STOPPED else ["b2"])
        await body.stop()

    play(tmp_path, first)
    asyncio.run(second())


def test_order_plant_that_is_ending_carries_out_nothing(tmp_path: Path) -> None:
    """Strategies that are killed while the system stops are not missed by it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.account.is_ending = True
        dies(body, peer)
        await passes(body, 10 * AFTER_S)
        assert canceled(session) == []
        body.account.is_ending = False

    play(tmp_path, scene, last_will_on="crash")


def test_unknown_name_on_the_lane_is_none_of_its_business(tmp_path: Path) -> None:
    """A lane that never said hello for a strategy ends without a word."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        dies(body, FakePeer())
        await passes(body, 10 * AFTER_S)
        assert body.account.table.open_orders(StrategyId("one"))
        assert told(body) == 0

    play(tmp_path, scene, last_will_on="crash")
