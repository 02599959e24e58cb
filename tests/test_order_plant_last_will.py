"""What becomes of a strategy's orders and positions when it is parked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_wills import WillPolicy
from nightdesk.messages import (
    ChildId,
    ChildParked,
    ChildReport,
    ChildState,
    Denial,
    OrderDenied,
    QueryStatus,
    SetTradingState,
    Severity,
    Side,
    StrategyId,
    TradingState,
    TreeStatus,
)
from nightdesk.settings.models import Strategy
from tests import order_plant_support
from tests.fakes import FakeContext
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    image,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
STRATEGIES = ChildId("strategies")
FAST = WillPolicy(poll_s=0.005, retry_s=0.05, retry_max_s=0.1, attempts_max=3, alert_s=30.0)

Scene = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def strategies(last_will: str) -> list[Strategy]:
    return [
        Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"], "last_will": last_will})
        for name in ("one", "two")
    ]


def play(folder: Path, scene: Scene, *, last_will: str = "cancel_entries", **changes: Any) -> None:
    """A plant at work whose strategy ``one`` has the last will."""

    async def run() -> None:
        body = Plant(context(folder, strategies=strategies(last_will), **changes))
        body.will_policy = FAST
        await begin(body)
        session = await body.link_up()
        peer, welcome = body.hello()
        await scene(body, session, peer, welcome.fencing_epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


def context(folder: Path, **changes: Any) -> Any:
    return FakeContext("plants/order", configuration(folder, **changes).to_json())


async def begin(body: Plant) -> None:
    """Start with short times."""
    body.reconcile_policy = order_plant_support.FAST
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    await body.start()


def parked(body: Plant, restarts: int = 5) -> None:
    """The supervisor has set strategy ``one`` aside."""
    message = ChildParked(child_id=ChildId("strategies/one"), restarts=restarts, reason="CRASHED")
    body.receive(STRATEGIES, message)


def done(body: Plant) -> bool:
    return all(will.is_done for will in body.journal.last_wills()) and bool(body.journal.last_wills())


async def holding(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts long, an entry and a protective stop working."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))
    await working(body, peer, epoch, "entry", "b2")
    await working(body, peer, epoch, "stop", "b3", side=Side.SELL, protective=True)


def canceled(session: FakeSession) -> list[str]:
    return [fields["basket_id"] for fields in session.of(316)]


def test_a_parked_strategys_entries_are_canceled_and_its_protection_stays(tmp_path: Path) -> None:
    """The default: nothing new is opened for somebody who is not there, and what guards the position works on."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        other, welcome = body.hello("two")
        await working(body, other, welcome.fencing_epoch, "t1", "b4", strategy_id=StrategyId("two"))
        parked(body)
        await turns()
        assert canceled(session) == ["b2"]
        assert not done(body)
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        await wait_until_async(lambda: done(body))
        assert {order.client_order_id for order in body.account.table.open_orders()} == {"stop", "t1"}
        assert peer.closed
        assert not other.closed

    play(tmp_path, scene)


def test_keep_leaves_everything_as_it_is(tmp_path: Path) -> None:
    """A will that wants nothing is carried out at once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        parked(body)
        await wait_until_async(lambda: done(body))
        assert canceled(session) == []
        assert len(session.of(312)) == 3

    play(tmp_path, scene, last_will="keep")


def test_flatten_cancels_all_of_it_and_closes_once(tmp_path: Path) -> None:
    """Entries and protection go first; one closing order; the will is done when nothing is held."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        parked(body)
        await turns()
        assert sorted(canceled(session)) == ["b2", "b3"]
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        body.on_push(351, complete("stop", "b3", "C", 0, 2, transaction_type=2))
        await wait_until_async(lambda: len(session.of(312)) == 4)
        tag = session.of(312)[3]["user_tag"]
        assert not done(body)
        body.on_push(313, answer(313, user_tag=tag, basket_id="b9", rq_handler_rp_code=["0"]))
        body.on_push(352, filled(tag, "b9", "f9", 2, 2, 0, transaction_type=2))
        await wait_until_async(lambda: done(body))
        assert body.account.ledger.quantity(ONE, "ESH4") == 0
        assert len(session.of(312)) == 4

    play(tmp_path, scene, last_will="flatten")


def test_a_refused_closing_order_is_followed_by_another_within_bounds(tmp_path: Path) -> None:
    """A market that refuses is asked again a few times; then the operator is told, and the will stays undone."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 312:
                refusal = answer(313, user_tag=fields["user_tag"], rp_code=["6", "market is reserved"])
                asyncio.get_running_loop().call_soon(body.on_push, 313, refusal)

        session.on_send = refuse
        parked(body)
        await wait_until_async(
            lambda: "last_will_incomplete" in [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]
        )
        assert len(session.of(312)) == 1 + FAST.attempts_max
        assert len({fields["user_tag"] for fields in session.of(312)}) == 1 + FAST.attempts_max
        assert not done(body)

    play(tmp_path, scene, last_will="flatten")


def test_the_news_of_a_parking_counts_once(tmp_path: Path) -> None:
    """Told by mail, told again, and found in the supervisor's list: one will, and no critical alert of ours."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        parked(body)
        parked(body)
        report = ChildReport(
            child_id=ChildId("strategies/one"),
            kind="worker",
            pid=0,
            incarnation=6,
            state=ChildState.PARKED,
            restarts=5,
            uptime_s=0.0,
        )
        body.receive(STRATEGIES, TreeStatus(request_id="parked", children=(report,)))
        await turns()
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        await wait_until_async(lambda: done(body))
        assert canceled(session) == ["b1"]
        severities = {alert.severity for alert in body.context.alerts}  # type: ignore[attr-defined]
        assert Severity.CRITICAL not in severities

    play(tmp_path, scene)


def test_a_parking_that_nobody_heard_of_is_found_in_the_supervisors_list(tmp_path: Path) -> None:
    """Mail to a process that is not there is lost: a new order plant asks who is parked."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        asked = [destination for destination, message in body.context.told if isinstance(message, QueryStatus)]  # type: ignore[attr-defined]
        assert STRATEGIES in asked
        await working(body, peer, epoch, "o1", "b1")
        reports = tuple(
            ChildReport(
                child_id=ChildId(f"strategies/{name}"),
                kind="worker",
                pid=0,
                incarnation=6,
                state=state,
                restarts=5,
                uptime_s=0.0,
            )
            for name, state in (("one", ChildState.PARKED), ("two", ChildState.RUNNING))
        )
        body.receive(STRATEGIES, TreeStatus(request_id="parked", children=reports))
        await turns()
        assert canceled(session) == ["b1"]
        assert [will.strategy_id for will in body.journal.last_wills()] == ["one"]

    play(tmp_path, scene)


def test_late_orders_of_a_parked_process_are_stale(tmp_path: Path) -> None:
    """What the dead process has left in its socket opens nothing after its will."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        parked(body)
        body.say(peer, submit("late", epoch))
        await turns()
        assert peer.of(OrderDenied)[0].code is Denial.EPOCH_STALE
        assert session.of(312) == []

    play(tmp_path, scene)


def test_a_revived_strategy_trades_on_and_may_be_parked_again(tmp_path: Path) -> None:
    """Its hello ends what is left of the will; the next parking is another one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        parked(body)
        await wait_until_async(lambda: done(body))
        again, welcome = body.hello()
        assert body.journal.last_wills() == []
        await working(body, again, welcome.fencing_epoch, "o2", "b2")
        parked(body, restarts=11)
        await turns()
        assert canceled(session) == ["b2"]

    play(tmp_path, scene)


def test_an_order_plant_that_dies_in_the_middle_goes_on_with_the_will(tmp_path: Path) -> None:
    """Journalled before anything was done: the next process closes the position, the one after it does nothing."""

    async def first(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        body.link_down()
        parked(body)
        await turns()
        assert not done(body)

    play(tmp_path, first, last_will="flatten")
    images = [image("entry", "b2"), image("stop", "b3")]
    for order in images:
        order.transaction_type = 1 if order.user_tag == "entry" else 2

    async def second() -> None:
        body = Plant(context(tmp_path, strategies=strategies("flatten")))
        body.will_policy = FAST
        await begin(body)
        session = await body.link_up(orders=images)
        await wait_until_async(lambda: sorted(set(canceled(session))) == ["b2", "b3"])
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        body.on_push(351, complete("stop", "b3", "C", 0, 2, transaction_type=2))
        await wait_until_async(lambda: len(session.of(312)) == 1)
        tag = session.of(312)[0]["user_tag"]
        body.on_push(313, answer(313, user_tag=tag, basket_id="b9", rq_handler_rp_code=["0"]))
        body.on_push(352, filled(tag, "b9", "f9", 2, 2, 0, transaction_type=2))
        await wait_until_async(lambda: done(body))
        await body.stop()

    async def third() -> None:
        body = Plant(context(tmp_path, strategies=strategies("flatten")))
        body.will_policy = FAST
        await begin(body)
        session = await body.link_up()
        await turns(20)
        assert session.sent == []
        await body.stop()

    asyncio.run(second())
    asyncio.run(third())


def test_a_halt_lets_a_will_cancel_but_not_close(tmp_path: Path) -> None:
    """HALTED means that only cancels pass: the closing order waits for the operator's word."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        set_state(body, TradingState.HALTED)
        parked(body)
        await turns(50)
        assert canceled(session) == ["b2"]
        assert len(session.of(312)) == 3
        set_state(body, TradingState.ACTIVE)
        await wait_until_async(lambda: sorted(set(canceled(session))) == ["b2", "b3"])

    play(tmp_path, scene, last_will="flatten")


def set_state(body: Plant, state: TradingState) -> None:
    body.receive(CONTROL, SetTradingState(request_id="1", reply_to=CONTROL, trading_state=state, reason="test"))


def test_a_parked_child_that_is_no_strategy_is_none_of_its_business(tmp_path: Path) -> None:
    """An alert channel has no orders."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for child_id in ("services/alerts/log", "strategies/unknown", "one"):
            body.receive(STRATEGIES, ChildParked(child_id=ChildId(child_id), restarts=1, reason="CRASHED"))
        assert body.journal.last_wills() == []

    play(tmp_path, scene)
