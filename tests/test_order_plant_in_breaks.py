"""The order plant and the calendar: what a closed market refuses, what waits for its opening, what a break ends."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import LinkError
from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    CommandResult,
    Denial,
    Flatten,
    OperatorFlatten,
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderStatus,
    StrategyId,
    TimeInForce,
)
from tests.calendar_support import at
from tests.order_plant_session_support import (
    CLOSED,
    CONTROL,
    ONE,
    OPEN,
    REOPENED,
    alerts,
    canceled,
    exits,
    holding,
    obeys,
    park,
    play,
    time_of,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    image,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async


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
    """Refused until the market takes it: it is not hammered, the will is not given up, and nobody is called."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 316:
                message = answer(317, user_msg=["entry"], basket_id=fields["basket_id"], rp_code=["6", "no"])
                asyncio.get_running_loop().call_soon(body.on_push, 317, message)

        session.on_send = refuse
        time_of(body).set(at(CLOSED))
        park(body)
        await wait_until_async(lambda: session.of(316))
        await asyncio.sleep(0.2)
        assert len(session.of(316)) == 1
        assert alerts(body) == []
        obeys(body, session)
        time_of(body).set(at(REOPENED))
        await wait_until_async(lambda: all(will.is_done for will in body.journal.last_wills()))
        assert body.account.entries(ONE) == []

    play(tmp_path, OPEN, scene, last_will="cancel_entries")


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
