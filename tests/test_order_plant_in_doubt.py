"""What must not be taken for certain: doubts that come late, cancels of what nobody knows, lists of an old session."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from nightdesk.errors import LinkError
from nightdesk.messages import (
    CancelOrder,
    ChildId,
    ClientOrderId,
    Denial,
    ModifyOrder,
    OperatorFlatten,
    OrderDenied,
    OrderModifyRejected,
    OrderStatus,
    OrderType,
    OrderUpdated,
    Side,
    StrategyId,
    TimeInForce,
    TradingState,
)
from nightdesk.settings.models import Risk
from nightdesk.trading.order import Order
from tests.order_plant_support import (
    FAST,
    FakePeer,
    FakeSession,
    Plant,
    answer,
    configuration,
    filled,
    image,
    notice,
    opened,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
CANCELLATION_FAILED = 17
SLOW = msgspec.structs.replace(FAST, span_s=30.0)
"""Nothing is ended by a list while a test lasts."""


def alerts(body: Plant) -> list[str]:
    return [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]


def found(body: Plant, client_order_id: str) -> Order:
    order = body.account.find(ClientOrderId(client_order_id))
    assert order is not None
    return order


def exits(session: FakeSession) -> list[str]:
    """The tags of closing orders that were sent."""
    return [fields["user_tag"] for fields in session.of(312) if fields["user_tag"].startswith("exit-")]


async def held(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Strategy one is long of two."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))


async def lost_from_the_list(body: Plant, peer: FakePeer, epoch: int) -> FakeSession:
    """An order that works, and that the lists of the next connection do not show; it is not judged yet."""
    await working(body, peer, epoch, time_in_force=TimeInForce.GTC)
    body.link_down()
    body.reconciler._policy = SLOW
    session = await body.link_up(wait=False)
    await wait_until_async(lambda: found(body, "o1").status is OrderStatus.UNKNOWN)
    return session


def test_doubt_that_comes_while_positions_are_compared_is_settled(tmp_path: Path) -> None:
    """The lists were read before it: they are read again before orders pass."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        compared: list[OrderStatus] = []

        async def compare(timeout_s: float) -> dict[str, tuple[int, int]]:
            if not compared:
                order = found(body, "o1")
                body.account.doubt(order, "nobody answered")
                body.reconciler.request("nobody answered")
            compared.append(found(body, "o1").status)
            return {}

        body.reconciler.compare_positions = compare
        body.reconciler._policy = msgspec.structs.replace(FAST, positions_s=1.0)
        body.reconciler.request("a look")
        await wait_until_async(lambda: not body.account.reconciling)
        assert compared[0] is OrderStatus.UNKNOWN
        assert found(body, "o1").status is OrderStatus.ACCEPTED
        assert len(session.asked(320)) == 3

    play(tmp_path, scenario)


def test_cancel_of_an_order_that_nobody_knows_leaves_it_in_doubt(tmp_path: Path) -> None:
    """A cancel that was asked for or refused does not say whether there is an order; only the broker's list does."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        second = await lost_from_the_list(body, peer, epoch)
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        order = found(body, "o1")
        assert [fields["basket_id"] for fields in second.of(316)] == ["b1"]
        assert order.status is OrderStatus.UNKNOWN
        row = body.journal.find_order(ClientOrderId("o1"))
        assert row is not None
        assert row.cancel_wanted
        body.on_push(317, answer(317, user_msg=["o1"], basket_id="b1", rp_code=["6", "order not found"]))
        assert (order.status, order.operation) == (OrderStatus.UNKNOWN, None)
        body.sender.request_cancel(order)
        await turns()
        body.on_push(351, notice(351, CANCELLATION_FAILED, "o1", "b1"))
        assert (order.status, order.operation) == (OrderStatus.UNKNOWN, None)
        assert not body.account.is_settled("ESH4", ONE)
        second.lists[320] = [image("o1", "b1")]
        body.reconciler.stop()
        body.reconciler._policy = FAST
        body.reconciler.request("the broker shows it now")
        await wait_until_async(lambda: not body.account.reconciling)
        assert found(body, "o1").status is OrderStatus.ACCEPTED

    play(tmp_path, scenario)


def test_cancel_of_an_order_in_doubt_survives_the_order_plant(tmp_path: Path) -> None:
    """Its frame may have been lost with the process: the next one cancels what the list shows."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await lost_from_the_list(body, peer, epoch)
        body.sender.request_cancel(found(body, "o1"))
        await turns()

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        await body.stop()

    asyncio.run(again())


def test_answer_to_an_order_that_silence_has_ended_brings_it_back(tmp_path: Path) -> None:
    """The gateway has it after all: it counts, its rest is canceled, the operator is told."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await wait_until_async(lambda: body.account.table.open_count() == 0 and not body.account.reconciling)
        session.fail = None
        assert found(body, "o1").tombstone
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        await turns()
        assert alerts(body).count("order_resurrected") == 1
        assert body.account.table.worst_case("ESH4") == (2, 0)
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]

    play(tmp_path, scenario)


def test_late_refusal_of_an_order_that_silence_has_ended_changes_nothing(tmp_path: Path) -> None:
    """It confirms what was concluded."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await wait_until_async(lambda: body.account.table.open_count() == 0 and not body.account.reconciling)
        body.on_push(313, answer(313, user_tag="o1", rq_handler_rp_code=["6", "no"]))
        assert "order_resurrected" not in alerts(body)
        assert body.account.table.worst_case("ESH4") == (0, 0)

    play(tmp_path, scenario)


@pytest.mark.parametrize("who", ["operator", "strategy"])
def test_closing_order_that_is_back_after_its_end_is_not_followed_by_another(tmp_path: Path, who: str) -> None:
    """It works at the broker until the broker says otherwise: two of them would turn the position over."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await held(body, peer, epoch)
        await body.flattener.flatten_all(ONE)
        await turns()
        (tag,) = exits(session)
        body.link_down()
        second = await body.link_up()
        assert found(body, tag).tombstone
        body.on_push(351, opened(tag, "x1", transaction_type=2, price_type=2, orig_price_type=2))
        assert found(body, tag).revived
        assert not body.account.is_settled("ESH4", ONE)
        if who == "operator":
            body.receive(CONTROL, OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))
        else:
            body.flattener.begin_strategy(ONE, "")
        await wait_until_async(lambda: not body.gate.flattening)
        await turns()
        assert exits(second) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_operators", [False, True])
def test_only_the_operator_closes_into_what_nobody_knows(tmp_path: Path, is_operators: bool) -> None:
    """Whatever of ours wants a position closed (a will, a loss limit, a break) waits for a broker that is silent."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await held(body, peer, epoch)
        session.fail = LinkError("reset")
        session.fail_requests = LinkError("silence")
        body.say(peer, submit("o2", epoch, side=Side.SELL, order_type=OrderType.LIMIT, price=5100.0))
        await wait_until_async(lambda: found(body, "o2").status is OrderStatus.UNKNOWN)
        session.fail = None
        if is_operators:
            body.receive(CONTROL, OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=ONE))
            await wait_until_async(lambda: exits(session))
        else:
            problem = await body.flattener.flatten_all(ONE)
            assert "the position is not certain" in problem
        await turns()
        assert len(exits(session)) == is_operators

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_known", [False, True])
def test_list_of_the_session_that_told_of_an_order_does_not_end_it(tmp_path: Path, is_known: bool) -> None:
    """Three lists without it, over the named time: a list of a new session is to say so, too."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.reconciler._policy = msgspec.structs.replace(FAST, fresh_session=True)
        if is_known:
            await working(body, peer, epoch, time_in_force=TimeInForce.GTC)
        else:
            session.fail = LinkError("reset")
            body.say(peer, submit("o1", epoch, time_in_force=TimeInForce.GTC))
        await turns()
        body.reconciler.request("a look")
        await wait_until_async(lambda: session.closed_for)
        assert found(body, "o1").status is OrderStatus.UNKNOWN
        body.link_down()
        second = await body.link_up()
        assert found(body, "o1").is_final
        assert found(body, "o1").tombstone
        assert not second.closed_for

    play(tmp_path, scenario)


def test_change_that_the_list_shows_with_dust_is_made(tmp_path: Path) -> None:
    """A price that was computed is the same price to the billionth of a point, though not the same float."""
    price = 5000.250000000001

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, price=5000.0)
        change = ModifyOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch, price=price)
        body.say(peer, change)
        await turns()
        body.link_down()
        shown = image("o1", "b1")
        shown.price = 5000.25
        await body.link_up(orders=[shown])
        assert [len(peer.of(kind)) for kind in (OrderModifyRejected, OrderUpdated)] == [0, 1]

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_cancel_that_was_on_its_way_when_a_list_lacked_its_order_goes_out_again(
    tmp_path: Path, is_restarted: bool
) -> None:
    """The next list shows it after all: nobody knows what became of the cancel, and somebody wants the order gone."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, time_in_force=TimeInForce.GTC)
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        body.reconciler._policy = msgspec.structs.replace(FAST, span_s=0.2)
        body.reconciler.request("a look")
        await wait_until_async(lambda: found(body, "o1").status is OrderStatus.UNKNOWN)
        if is_restarted:
            return
        session.lists[320] = [image("o1", "b1")]
        await wait_until_async(lambda: len(session.of(316)) == 2)

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert len(session.of(316)) == 1
        await body.stop()

    if is_restarted:
        asyncio.run(again())


def test_exit_beside_one_that_is_back_after_its_end_would_not_only_lower(tmp_path: Path) -> None:
    """Both would fill: what works at the broker counts, whatever our books say of its end."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await held(body, peer, epoch)
        await working(body, peer, epoch, "out", "b2", side=Side.SELL, price=5100.0, time_in_force=TimeInForce.GTC)
        body.link_down()
        await body.link_up()
        assert found(body, "out").tombstone
        body.on_push(351, opened("out", "b2", transaction_type=2))
        assert found(body, "out").revived
        body.account.set_trading_state(TradingState.REDUCING, "test")
        body.say(peer, submit("out-2", epoch, side=Side.SELL, price=5050.0))
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.STATE_REDUCING]

    play(tmp_path, scenario)


def test_order_that_is_back_after_its_end_is_not_traded_with(tmp_path: Path) -> None:
    """It works at the broker: one of ours on the other side would meet it."""
    risk = Risk(max_order_quantity=10, max_position=20, max_open_orders=20, max_orders_per_second=100)

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "out", "b2", side=Side.SELL, price=5100.0, time_in_force=TimeInForce.GTC)
        body.link_down()
        await body.link_up()
        body.on_push(351, opened("out", "b2", transaction_type=2))
        assert found(body, "out").revived
        body.say(peer, submit("o1", epoch, price=5100.0))
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.RISK_SELF_TRADE]

    play(tmp_path, scenario, risk=risk)
