"""The order plant and the calendar: what the gate lets pass, who is made flat before a break, what a break ends."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants.order_breaks import BreakPolicy
from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_wills import WillPolicy
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import (
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    CancelOrder,
    ChildId,
    ChildParked,
    ClientOrderId,
    CommandResult,
    Denial,
    Flatten,
    ModifyOrder,
    OperatorFlatten,
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderModifyRejected,
    OrderStatus,
    OrderType,
    SetTradingState,
    Side,
    StrategyId,
    TimeInForce,
    TradingState,
)
from nightdesk.settings.models import Strategy
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import (
    FAST,
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
OPEN, LATE, CLOSED, PRE_OPEN, REOPENED = (
    f"2024-02-27 {clock}" for clock in ("10:00:00", "15:56:00", "16:10:00", "16:50:00", "17:00:01")
)
FRIDAY, WEEKEND = "2024-02-23 15:56:00", "2024-02-24 12:00:00"
FLAT = {"over_break": "flatten"}

Scene = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def time_of(body: Plant) -> ManualTime:
    time = body.context.market_time
    assert isinstance(time, ManualTime)
    return time


def alerts(body: Plant) -> list[str]:
    """All alerts that somebody might be called for."""
    return [alert.event for alert in body.context.alerts if alert.severity != "info"]  # type: ignore[attr-defined]


async def begun(folder: Path, moment: str, **changes: Any) -> Plant:
    """A plant at a moment of the exchange's clocks, with short times."""
    sections = [
        Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"], **changes})
        for name in ("one", "two")
    ]
    clock = ManualClock()
    config = configuration(folder, strategies=sections).to_json()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(moment))))
    body.reconcile_policy = msgspec.structs.replace(FAST, quiet_retry_s=0.01)
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.will_policy = WillPolicy(poll_s=0.005, retry_s=0.02, retry_max_s=0.05, attempts_max=2, alert_s=0.05)
    body.break_policy = BreakPolicy(poll_s=0.005, retry_s=0.02, retry_max_s=0.05)
    await body.start()
    return body


def play(folder: Path, moment: str, scene: Scene, **changes: Any) -> None:
    """A plant that is connected and reconciled, and strategy ``one`` on its lane."""

    async def run() -> None:
        body = await begun(folder, moment, **changes)
        session = await body.link_up()
        peer, welcome = body.hello()
        await scene(body, session, peer, welcome.fencing_epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


async def holding(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts long, an entry good till canceled and a protective stop working."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))
    await working(body, peer, epoch, "entry", "b2", time_in_force=TimeInForce.GTC)
    await working(body, peer, epoch, "stop", "b3", side=Side.SELL, protective=True, time_in_force=TimeInForce.GTC)


def exits(session: FakeSession) -> list[dict[str, Any]]:
    return [fields for fields in session.of(312) if fields["user_tag"].startswith("exit-")]


def canceled(session: FakeSession) -> list[str]:
    return sorted(fields["basket_id"] for fields in session.of(316))


def obeys(body: Plant, session: FakeSession) -> None:
    """From now on the exchange confirms cancels and fills market orders at once."""

    def on_send(template_id: int, fields: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if template_id == 316:
            orders = {order.venue_order_id: order for order in body.account.table.open_orders()}
            order = orders[fields["basket_id"]]
            side = 2 if order.side is Side.SELL else 1
            message = complete(order.client_order_id, fields["basket_id"], "C", 0, 2, transaction_type=side)
            loop.call_soon(body.on_push, 351, message)
        elif template_id == 312:
            tag, quantity = fields["user_tag"], fields["quantity"]
            side = fields["transaction_type"]
            fill = filled(tag, f"basket-{tag}", f"fill-{tag}", quantity, quantity, 0, transaction_type=side)
            done = complete(tag, f"basket-{tag}", "F", quantity, 0, transaction_type=side)
            loop.call_soon(body.on_push, 352, fill)
            loop.call_soon(body.on_push, 351, done)

    session.on_send = on_send


# The gate.


@pytest.mark.parametrize(
    ("moment", "changes", "code"),
    [
        (OPEN, {}, None),
        (CLOSED, {}, Denial.SESSION_CLOSED),
        (CLOSED, {"protective": True}, Denial.SESSION_CLOSED),
        (WEEKEND, {}, Denial.SESSION_CLOSED),
        ("2024-02-19 13:00", {}, Denial.SESSION_CLOSED),
        (PRE_OPEN, {}, None),
        (PRE_OPEN, {"order_type": OrderType.MARKET, "price": None}, Denial.SESSION_CLOSED),
        (PRE_OPEN, {"time_in_force": TimeInForce.IOC}, Denial.SESSION_CLOSED),
        (OPEN, {"price": 5000.1}, Denial.PRICE_OFF_TICK),
        ("2024-02-27 15:29", {}, None),
        ("2024-02-27 15:30", {}, Denial.SESSION_NO_TRADE),
    ],
)
def test_gate_knows_the_time(tmp_path: Path, moment: str, changes: dict[str, Any], code: Denial | None) -> None:
    """Each denial with its code, nothing sent, and nobody called for what happens every day."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, **changes))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == ([] if code is None else [code])
        assert len(session.of(312)) == (code is None)
        assert alerts(body) == (["order_denied"] if code is Denial.PRICE_OFF_TICK else [])

    play(tmp_path, moment, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


def test_contract_that_has_ended_is_denied(tmp_path: Path) -> None:
    """As soon as somebody says when that is; cancels still pass."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.account.markets.last_trade_ns = lambda symbol: at(OPEN) if symbol == "ESH4" else None
        body.say(peer, submit("late", epoch))
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.INSTRUMENT_EXPIRED]
        assert canceled(session) == ["b1"]

    play(tmp_path, OPEN, scene)


def test_exits_protection_and_cancels_pass_in_a_no_trade_window(tmp_path: Path) -> None:
    """And changes of entries do not; changes of protection do."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        time_of(body).set(at("2024-02-27 15:31"))
        body.say(peer, submit("exit", epoch, side=Side.SELL, order_type=OrderType.MARKET, price=None))
        for name in ("entry", "stop"):
            change = ModifyOrder(
                client_order_id=ClientOrderId(name), strategy_id=ONE, fencing_epoch=epoch, price=4999.0
            )
            body.say(peer, change)
        body.say(peer, submit("over", epoch, side=Side.SELL, quantity=1))
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("entry"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.client_order_id for event in peer.of(OrderModifyRejected)] == ["entry"]
        assert peer.of(OrderModifyRejected)[0].text.startswith("SESSION_NO_TRADE")
        assert [fields["basket_id"] for fields in session.of(314)] == ["b3"]
        assert [event.client_order_id for event in peer.of(OrderDenied)] == ["over"]
        assert session.of(312)[-1]["user_tag"] == "exit"
        assert canceled(session) == ["b2"]

    play(tmp_path, OPEN, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


@pytest.mark.parametrize("protective", [True, False])
def test_exit_that_is_partly_filled_may_be_changed_in_a_no_trade_window(tmp_path: Path, protective: bool) -> None:
    """A stop trails and an exit chases for what is left of them; what they have filled opens nothing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        await working(body, peer, epoch, "out", "b2", side=Side.SELL, protective=protective)
        body.on_push(352, filled("out", "b2", "f2", 1, 1, 1))
        time_of(body).set(at("2024-02-27 15:31"))
        terms = {"client_order_id": ClientOrderId("out"), "strategy_id": ONE, "fencing_epoch": epoch}
        body.say(peer, ModifyOrder(**terms, quantity=3))
        await turns()
        assert [event.text[:16] for event in peer.of(OrderModifyRejected)] == ["SESSION_NO_TRADE"]
        body.say(peer, ModifyOrder(**terms, price=4999.0))
        await turns()
        assert [fields["basket_id"] for fields in session.of(314)] == ["b2"]

    play(tmp_path, OPEN, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


# Flat before the break.


def test_strategy_is_flat_before_the_close_and_stays_so(tmp_path: Path) -> None:
    """Entry and protection canceled, one closing order, entries denied until the opening; the other one as well."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at("2024-02-27 15:54:59"))
        await asyncio.sleep(0.05)
        assert canceled(session) == []
        time_of(body).set(at("2024-02-27 15:55:00"))
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert canceled(session) == ["b2", "b3"]
        assert [(fields["quantity"], fields["transaction_type"]) for fields in exits(session)] == [(2, 2)]
        sent = len(session.of(312))
        body.say(peer, submit("again", epoch))
        assert peer.of(OrderDenied)[-1].code is Denial.SESSION_NO_TRADE
        assert "2024-02-27T23:00:00Z" in peer.of(OrderDenied)[-1].text
        time_of(body).set(at(PRE_OPEN))
        body.say(peer, submit("early", epoch))
        assert peer.of(OrderDenied)[-1].code is Denial.SESSION_NO_TRADE
        time_of(body).set(at(REOPENED))
        body.say(peer, submit("next", epoch))
        await turns()
        assert len(session.of(312)) == sent + 1
        assert alerts(body) == []

    play(tmp_path, OPEN, scene, session=FLAT)


@pytest.mark.parametrize(
    ("rules", "moment", "flat"),
    [
        ({"over_weekend": "flatten"}, LATE, False),
        ({"over_weekend": "flatten"}, FRIDAY, True),
        ({"over_break": "flatten", "over_weekend": "keep"}, FRIDAY, False),
        ({"over_break": "flatten", "flatten_before_close_s": 60.0}, LATE, False),
        ({}, FRIDAY, False),
    ],
)
def test_only_the_breaks_that_are_named_flatten(tmp_path: Path, rules: dict[str, Any], moment: str, flat: bool) -> None:
    """Over the others the position and its orders stay."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(moment))
        if flat:
            await wait_until_async(lambda: body.flattener.is_flat(ONE))
        await asyncio.sleep(0.05)
        assert len(exits(session)) == flat

    play(tmp_path, OPEN if moment == LATE else "2024-02-23 10:00", scene, session=rules)


def test_restart_in_the_middle_finishes_and_a_later_one_finds_nothing_to_do(tmp_path: Path) -> None:
    """Killed after the cancels and before the closing order: derived from what is held, not from a note."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

    play(tmp_path, OPEN, scene)

    async def again(moment: str, orders: list[Any]) -> tuple[int, list[str]]:
        body = await begun(tmp_path, moment, session=FLAT)
        session = await body.link_up(wait=False, orders=orders)
        obeys(body, session)
        await wait_until_async(lambda: body.flattener.is_flat(ONE) and not body.account.reconciling)
        await asyncio.sleep(0.05)
        count = len(exits(session))
        await body.stop()
        return count, alerts(body)

    listed = [image("entry", "b2"), image("stop", "b3")]
    assert asyncio.run(again(LATE, listed)) == (1, [])
    assert asyncio.run(again("2024-02-27 15:57:00", [])) == (0, [])
    assert asyncio.run(again(CLOSED, [])) == (0, [])


def test_what_could_not_be_closed_is_told_once_and_tried_again(tmp_path: Path) -> None:
    """The exchange refuses the closing order; the next attempt is taken; and what the close finds open is told too."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 312:
                message = answer(313, user_tag=fields["user_tag"], rp_code=["1039", "no"])
                asyncio.get_running_loop().call_soon(body.on_push, 313, message)

        session.on_send = refuse
        time_of(body).set(at(LATE))
        # Nobody confirms the cancels.
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        body.context.clock.advance(1.0)  # type: ignore[attr-defined]
        await wait_until_async(lambda: len(exits(session)) >= 2)
        assert alerts(body).count("flatten_incomplete") == 1
        time_of(body).set(at(CLOSED))
        await wait_until_async(lambda: alerts(body).count("flatten_incomplete") == 2)
        text = body.context.alerts[-1].text  # type: ignore[attr-defined]
        assert "position 2 is held over it" in text
        count = len(exits(session))
        time_of(body).set(at(REOPENED))
        await asyncio.sleep(0.05)
        assert len(exits(session)) == count
        assert alerts(body).count("flatten_incomplete") == 2

    play(tmp_path, OPEN, scene, session=FLAT)


def test_halted_trading_only_cancels_entries_before_the_break(tmp_path: Path) -> None:
    """The operator stopped everything: nothing is closed behind his back, and he is told what is held."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        halt = SetTradingState(request_id="1", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONTROL, halt)
        time_of(body).set(at(LATE))
        await wait_until_async(lambda: canceled(session) == ["b2"])
        await asyncio.sleep(0.05)
        assert exits(session) == []
        time_of(body).set(at(CLOSED))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))

    play(tmp_path, OPEN, scene, session=FLAT)


def test_denials_of_a_break_are_told_once(tmp_path: Path) -> None:
    """A strategy asks again and again: each time it is answered, people hear of it once until the calendar goes on."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def told() -> int:
            return [alert.event for alert in body.context.alerts].count("order_denied")  # type: ignore[attr-defined]

        for number in range(3):
            body.say(peer, submit(f"o{number}", epoch))
        assert [denied.code for denied in peer.of(OrderDenied)] == [Denial.SESSION_CLOSED] * 3
        assert told() == 1
        time_of(body).set(at(PRE_OPEN))
        body.say(peer, submit("o3", epoch, order_type=OrderType.MARKET, price=None))
        assert told() == 2

    play(tmp_path, CLOSED, scene)


# Closing in a closed market.


def park(body: Plant) -> None:
    """The supervisor has set strategy ``one`` aside."""
    message = ChildParked(child_id=ChildId("strategies/one"), restarts=5, reason="CRASHED")
    body.receive(ChildId("strategies"), message)


def test_flatten_in_a_closed_market_is_refused_with_the_time_and_protection_stays(tmp_path: Path) -> None:
    """The operator's and the strategy's own: entries go, the position and what guards it stay; nobody is called."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(CLOSED))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: peer.of(OrderDenied))
        assert peer.of(OrderDenied)[0].code is Denial.SESSION_CLOSED
        body.receive(CONTROL, OperatorFlatten(request_id="2", reply_to=CONTROL, strategy_id=StrategyId("")))
        await wait_until_async(lambda: body.context.of(CommandResult))  # type: ignore[attr-defined]
        (result,) = body.context.of(CommandResult)  # type: ignore[attr-defined]
        assert not result.ok
        assert "one ESH4: the market does not trade before 2024-02-27T23:00:00Z; flatten again then" in result.text
        assert canceled(session) == ["b2"]
        assert exits(session) == []
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


def test_last_will_of_the_break_is_carried_out_at_the_opening(tmp_path: Path) -> None:
    """No attempt is spent and nobody is called meanwhile; at the opening the position is closed."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        flatten_all, tried = body.flattener.flatten_all, []

        async def counted(strategy_id: StrategyId, symbol: str = "") -> str:
            tried.append(strategy_id)
            return await flatten_all(strategy_id, symbol)

        body.flattener.flatten_all = counted  # type: ignore[method-assign]
        time_of(body).set(at(CLOSED))
        park(body)
        await asyncio.sleep(0.3)
        assert tried == []
        assert alerts(body) == []
        assert "stop" in {order.client_order_id for order in body.account.table.open_orders()}
        time_of(body).set(at(REOPENED))
        await wait_until_async(lambda: all(will.is_done for will in body.journal.last_wills()))
        assert len(exits(session)) == 1
        assert body.flattener.is_flat(ONE)

    play(tmp_path, OPEN, scene, last_will="flatten")


def test_cancels_that_fail_in_the_break_spend_no_attempt_of_a_last_will(tmp_path: Path) -> None:
    """Refused until the market takes it: the will is not given up, and nobody is called."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 316:
                message = answer(317, user_msg=["entry"], basket_id=fields["basket_id"], rp_code=["6", "no"])
                asyncio.get_running_loop().call_soon(body.on_push, 317, message)

        session.on_send = refuse
        time_of(body).set(at(CLOSED))
        park(body)
        await wait_until_async(lambda: len(session.of(316)) > 4)
        assert alerts(body) == []
        obeys(body, session)
        time_of(body).set(at(REOPENED))
        await wait_until_async(lambda: all(will.is_done for will in body.journal.last_wills()))
        assert body.account.entries(ONE) == []

    play(tmp_path, OPEN, scene, last_will="cancel_entries")


# What a break ends.


def test_day_order_that_ends_with_its_session_expires(tmp_path: Path) -> None:
    """The exchange reports a cancel that nobody asked for, at the close; one that was asked for is a cancel."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "day", "b1")
        await working(body, peer, epoch, "asked", "b2")
        await working(body, peer, epoch, "broker", "b3")
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("asked"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        noon_s, close_s = (at(f"2024-02-27 {clock}") // 10**9 for clock in ("12:00", "16:00"))
        body.on_push(351, complete("broker", "b3", "C", 0, 2, ssboe=noon_s))
        time_of(body).set(at(CLOSED))
        body.on_push(351, complete("day", "b1", "C", 0, 2, ssboe=close_s))
        body.on_push(351, complete("asked", "b2", "C", 0, 2, ssboe=close_s))
        assert [event.client_order_id for event in peer.of(OrderExpired)] == ["day"]
        assert [event.client_order_id for event in peer.of(OrderCanceled)] == ["broker", "asked"]
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("moment", [CLOSED, REOPENED])
@pytest.mark.parametrize("is_listed", [False, True])
def test_day_orders_end_quietly_when_the_link_was_down_at_the_close(
    tmp_path: Path, moment: str, is_listed: bool
) -> None:
    """Not listed, or listed as ended: expired by the first list, without a doubt; a fill of before still counts."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        await working(body, peer, epoch, "o2", "b2")
        body.say(peer, submit("unanswered", epoch))
        await turns()
        body.account.context.alerts.clear()  # type: ignore[attr-defined]
        time_of(body).set(at("2024-02-27 15:59:59"))
        time_of(body).set(at(moment))
        body.link_down()
        close_s = at("2024-02-27 16:00") // 10**9
        orders = [image("o1", "b1", "complete", 0, 2, notify_type=3)] if is_listed else []
        for each in orders:
            each.ssboe = close_s
        fill = filled("o2", "b2", "f2", 1, 1, 1, is_snapshot=True)
        await body.link_up(orders=orders, fills=[fill])
        assert {event.client_order_id for event in peer.of(OrderExpired)} == {"o1", "o2", "unanswered"}
        assert [event.last_quantity for event in peer.of(OrderFilled)] == [1]
        assert body.account.table.open_count() == 0
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


def test_order_that_lives_on_is_not_given_up_in_the_break(tmp_path: Path) -> None:
    """A gateway under maintenance lists nothing: no doubt, no end and no alert before a market trades."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        time_of(body).set(at(CLOSED))
        body.link_down()
        session = await body.link_up(wait=False, orders=[])
        for _ in range(4):
            body.context.clock.advance(20.0)  # type: ignore[attr-defined]
            time_of(body).set(at(CLOSED))
            await asyncio.sleep(0.05)
        assert body.account.table.get(ClientOrderId("gtc")).status is OrderStatus.ACCEPTED  # type: ignore[union-attr]
        assert alerts(body) == []
        session.lists[320] = [image("gtc", "b1")]
        time_of(body).set(at(REOPENED))
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.table.open_count() == 1
        assert "reconcile_unsettled" not in alerts(body)

    play(tmp_path, OPEN, scene)


def test_reconciliation_that_does_not_end_is_told_at_the_opening(tmp_path: Path) -> None:
    """Failed answers in the break call nobody; the first one in the session does, however short that is."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        from nightdesk.errors import LinkError

        body.link_down()
        time_of(body).set(at(CLOSED))
        session = await body.link_up(wait=False)
        session.fail_requests = LinkError("maintenance")
        for _ in range(4):
            body.context.clock.advance(20.0)  # type: ignore[attr-defined]
            time_of(body).set(at(CLOSED))
            await asyncio.sleep(0.03)
        assert alerts(body) == []
        time_of(body).set(at(REOPENED))
        await wait_until_async(lambda: "reconcile_unsettled" in alerts(body))

    play(tmp_path, OPEN, scene)


def test_position_is_compared_while_a_market_trades(tmp_path: Path) -> None:
    """A broker's picture that is old, because the pnl plant's link is down in the break, is no mismatch then."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.audit.on_message(FakePeer(), AuditHello(child_id=ChildId("plants/pnl"), incarnation=1))  # type: ignore[arg-type]
        position = BrokerPosition(
            account_id="SIM-1",
            symbol="ESH4",
            exchange="CME",
            quantity=0,
            average_price=0.0,
            is_snapshot=True,
            ts_event_ns=1,
        )
        body.audit.on_message(FakePeer(), position)  # type: ignore[arg-type]
        body.audit.on_message(FakePeer(), BrokerSnapshotEnd(account_id="SIM-1", ts_event_ns=1))  # type: ignore[arg-type]

        def pass_time(moment: str) -> None:
            for _ in range(10):
                body.context.clock.advance(10.0)  # type: ignore[attr-defined]
                time_of(body).set(at(moment))
                body.audit.check()

        pass_time(CLOSED)
        assert alerts(body) == []
        pass_time(REOPENED)
        assert alerts(body) == ["position_mismatch"]

    play(tmp_path, OPEN, scene)
