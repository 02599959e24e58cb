"""What stays blocked, and for how long, while the broker refuses, is silent or shows lists that cannot be whole."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants.order_lists import REFUSALS_MAX
from actors.plants.order_reconcile import ALERTS_AFTER_S
from nightdesk.errors import LinkError
from nightdesk.messages import (
    ChildId,
    ClientOrderId,
    Denial,
    Flatten,
    OperatorCancelAll,
    OperatorFlatten,
    OrderDenied,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
)
from nightdesk.rithmic import lists as wire
from nightdesk.rithmic.session import RequestRefused
from tests.order_plant_support import (
    FAST,
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
REFUSED = RequestRefused("13", "permission denied")
LISTS = (wire.SHOW_ORDERS, wire.SHOW_ORDERS_OF_DAY, wire.REPLAY_EXECUTIONS, wire.SHOW_FILLS)


def alerts(body: Plant, event: str) -> list[str]:
    """The texts of one kind of alert."""
    return [alert.text for alert in body.context.alerts if alert.event == event]  # type: ignore[attr-defined]


async def doubtful(body: Plant, session: FakeSession, peer: FakePeer, epoch: int, *tags: str) -> None:
    """Orders whose frames may have left: the link breaks in the send."""
    session.fail = LinkError("reset")
    session.refusals = dict.fromkeys(LISTS, LinkError("silence"))
    for tag in tags:
        body.say(peer, submit(tag, epoch))
    await wait_until_async(lambda: body.account.table.counts[OrderStatus.UNKNOWN] == len(tags))
    body.link_down()


@pytest.mark.parametrize("query", [324, 3506, 3512])
@pytest.mark.parametrize("error", [REFUSED, LinkError("no answer")])
def test_question_that_the_broker_does_not_serve_is_left_out_after_three_times(
    tmp_path: Path, query: int, error: Exception
) -> None:
    """Told once; the next connection asks it once more, and one that is answered is asked as ever."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(prepare=lambda session: session.refusals.update({query: error}))
        assert len(session.asked(query)) == REFUSALS_MAX
        assert len(session.asked(320)) == REFUSALS_MAX
        body.reconciler.request("once more")
        await wait_until_async(lambda: not body.account.reconciling)
        assert len(session.asked(query)) == REFUSALS_MAX
        body.link_down()
        session = await body.link_up(prepare=lambda session: session.refusals.update({query: error}))
        assert (len(session.asked(query)), len(session.asked(320))) == (1, 1)
        assert len(alerts(body, "reconcile_query_unserved")) == 1
        body.link_down()
        session = await body.link_up()
        assert len(session.asked(320)) == 1
        body.link_down()
        session = await body.link_up(prepare=lambda session: session.refusals.update({query: error}))
        assert len(session.asked(query)) == REFUSALS_MAX
        await body.stop()

    asyncio.run(run())


@pytest.mark.parametrize("refused", [[320], [3506, 3512]])
def test_without_what_is_required_trading_stays_blocked(tmp_path: Path, refused: list[int]) -> None:
    """The list of orders, and the executions by one of their two answers: refused for ever, nothing is settled."""

    async def run() -> None:
        body = await started(configuration(tmp_path))

        def prepare(session: FakeSession) -> None:
            session.refusals = dict.fromkeys(refused, REFUSED)

        session = await body.link_up(wait=False, prepare=prepare)
        await wait_until_async(lambda: len(session.asked(320)) > 3 * REFUSALS_MAX)
        assert body.account.reconciling
        session.refusals = {}
        body.link_down()
        await body.link_up()
        await body.stop()

    asyncio.run(run())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_silence_is_told_at_its_times(tmp_path: Path, how: str) -> None:
    """Also while one question waits for its own deadline: the operator hears of it after 10, 30 and 60 s."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        if how == "fails":
            session = await body.link_up(wait=False)
            session.fail_requests = LinkError("silence")
        else:
            session = await body.link_up()

            async def hangs(template_id: int, **fields: Any) -> list[Any]:
                await asyncio.Event().wait()
                return []

            session.request = hangs  # type: ignore[method-assign]
            body.reconciler.request("test")
        for number, after_s in enumerate(ALERTS_AFTER_S, start=1):
            known_s = ALERTS_AFTER_S[number - 2] if number > 1 else 0.0
            body.context.clock.advance(after_s - known_s - 0.5)  # type: ignore[attr-defined]
            await asyncio.sleep(0.12)
            assert len(alerts(body, "reconcile_unsettled")) == number - 1
            body.context.clock.advance(0.5)  # type: ignore[attr-defined]
            await wait_until_async(lambda: len(alerts(body, "reconcile_unsettled")) == number)  # noqa: B023
        body.context.clock.advance(600.0)  # type: ignore[attr-defined]
        await asyncio.sleep(0.12)
        assert len(alerts(body, "reconcile_unsettled")) == len(ALERTS_AFTER_S)
        assert "the broker's answers" in alerts(body, "reconcile_unsettled")[0]
        await body.stop()

    asyncio.run(run())


def test_while_the_broker_is_silent_only_the_operator_gets_through(tmp_path: Path) -> None:
    """Entries, exits and flattens of strategies are kept back; cancel-all and flatten of the operator go out."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        await working(body, peer, epoch, "o2", "b2", price=4000.0)
        body.link_down()
        silent = await body.link_up(wait=False, prepare=lambda session: session.refusals.update({320: REFUSED}))
        body.say(peer, submit("o3", epoch))
        body.say(peer, submit("o4", epoch, side=Side.SELL, order_type=OrderType.MARKET, price=None))
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.STATE_RECONCILING] * 2
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(peer.of(OrderDenied)) == 3)
        assert "not certain" in peer.of(OrderDenied)[2].text
        assert silent.of(312) == []
        body.receive(CONTROL, OperatorCancelAll(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))
        await turns()
        assert {fields["basket_id"] for fields in silent.of(316)} == {"b2"}
        body.receive(CONTROL, OperatorFlatten(request_id="2", reply_to=CONTROL, strategy_id=StrategyId("")))
        await wait_until_async(lambda: silent.of(312))
        assert [(fields["quantity"], fields["transaction_type"]) for fields in silent.of(312)] == [(2, 2)]
        assert body.account.reconciling

    play(tmp_path, scenario)


def test_list_that_lacks_what_it_must_show_proves_nothing(tmp_path: Path) -> None:
    """The broker itself told of an order of this session that its empty list leaves out: asked for again, for long."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        time_s = body.context.market_time.now_ns() // 10**9
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(351, complete("o1", "b1", "C", 0, 2, ssboe=time_s))
        known = image("o1", "b1", "complete", 0, 2, notify_type=3)
        body.link_down()
        await body.link_up(orders=[known])
        await doubtful(body, body.link.session, peer, epoch, "o2")  # type: ignore[arg-type]
        empty = await body.link_up(wait=False)
        doubts = []

        def show_at_last(template_id: int, _fields: dict[str, Any]) -> None:
            if template_id == 320 and len(empty.asked(320)) == 3 * FAST.attempts:
                doubts.append(body.account.table.counts[OrderStatus.UNKNOWN])
                empty.lists[320] = [known, image("o2", "b2")]

        empty.on_request = show_at_last
        await wait_until_async(lambda: not body.account.reconciling)
        assert doubts == [1]
        assert [order.venue_order_id for order in body.account.table.open_orders()] == ["b2"]
        assert alerts(body, "order_not_found") == []

    play(tmp_path, scenario)


def test_broker_that_has_lost_its_list_does_not_block_for_ever(tmp_path: Path) -> None:
    """Ten times the usual lists, and the order counts as never received, with its tombstone and its alert."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        time_s = body.context.market_time.now_ns() // 10**9
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(351, complete("o1", "b1", "C", 0, 2, ssboe=time_s))
        body.link_down()
        await body.link_up(orders=[image("o1", "b1", "complete", 0, 2, notify_type=3)])
        await doubtful(body, body.link.session, peer, epoch, "o2")  # type: ignore[arg-type]
        empty = await body.link_up()
        assert len(empty.asked(320)) > 10 * FAST.attempts
        order = body.account.find(ClientOrderId("o2"))
        assert order is not None
        assert (order.status, order.tombstone) == (OrderStatus.REJECTED, True)
        assert len(alerts(body, "order_not_found")) == 1

    play(tmp_path, scenario)


def test_order_that_was_sent_over_this_connection_is_asked_for_on_another_one(tmp_path: Path) -> None:
    """Its list does not show it: the session is left, once, and only lists of the next one can end the order."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.reconciler._policy = msgspec.structs.replace(FAST, fresh_session=True)
        body.say(peer, submit("o1", epoch))
        await turns()
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        await wait_until_async(lambda: session.closed_for)
        assert "in doubt" in session.closed_for
        assert body.account.table.counts[OrderStatus.UNKNOWN] == 1
        body.link_down(session.closed_for)
        second = await body.link_up()
        assert not second.closed_for
        assert len(second.asked(320)) == FAST.attempts
        assert body.account.find(ClientOrderId("o1")).status is OrderStatus.REJECTED  # type: ignore[union-attr]
        assert second.of(312) == []

    play(tmp_path, scenario)
