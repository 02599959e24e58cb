"""What the order plant makes of lists, refusals and executions that do not fit together."""

import asyncio
import math
from pathlib import Path

import pytest

from nightdesk.errors import LinkError
from nightdesk.messages import (
    CancelOrder,
    ChildId,
    ClientOrderId,
    Denial,
    OperatorCancelAll,
    OrderDenied,
    OrderFilled,
    OrderStatus,
    PauseStrategy,
    StrategyId,
)
from nightdesk.trading.ledger import ACCOUNT
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    image,
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


def alerts(body: Plant) -> list[str]:
    """The names of all alerts so far."""
    return [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]


def cancel(client_order_id: str, epoch: int) -> CancelOrder:
    return CancelOrder(client_order_id=ClientOrderId(client_order_id), strategy_id=ONE, fencing_epoch=epoch)


def test_an_order_that_filled_in_part_and_ended_while_we_were_away_is_over(tmp_path: Path) -> None:
    """The replay of its execution says that it filled once, not that the rest works: the list names it no more."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        await body.link_up(fills=[filled("o1", "b1", "f1", 1, 1, 1, is_snapshot=True)])
        assert body.account.table.open_count() == 0
        assert body.account.table.worst_case("ESH4") == (0, 0)
        assert body.account.ledger.quantity(ONE, "ESH4") == 1

    play(tmp_path, scenario)


def test_a_foreign_order_that_ended_after_a_partial_fill_is_not_held_open(tmp_path: Path) -> None:
    """Its image in the list comes before the execution that makes it known; both are taken in."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        ended = image("", "x1", "complete", 1, 1, notify_type=3)
        await body.link_up(orders=[ended], fills=[filled("", "x1", "f1", 1, 1, 1, is_snapshot=True)])
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 1
        assert body.account.table.open_count() == 0
        assert body.account.table.worst_case("ESH4") == (0, 0)
        await body.stop()

    asyncio.run(run())


def test_a_completion_without_totals_asks_for_the_execution(tmp_path: Path) -> None:
    """Filled, says the broker, and nothing more: the execution is missing, and the position waits for it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[3506] = [filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)]
        body.on_push(351, complete("o1", "b1", "F", 0, 0))
        assert body.account.table.worst_case("ESH4") == (2, 0)
        await wait_until_async(lambda: peer.of(OrderFilled))
        assert body.account.ledger.quantity(ONE, "ESH4") == 2

    play(tmp_path, scenario)


@pytest.mark.parametrize("broken", [{"fill_price": math.nan}, {"fill_price": math.inf}, {"fill_size": -2}])
def test_a_fill_with_an_impossible_value_is_asked_for_again(tmp_path: Path, broken: dict[str, float]) -> None:
    """Nothing is booked and nothing crashes: the totals say that an execution is missing."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1", "complete", 2, 0, notify_type=5)]
        session.lists[3506] = [filled("o1", "b1", "f1", 2, 2, 0, is_snapshot=True)]
        frame = filled("o1", "b1", "f1", 2, 2, 0)
        for name, value in broken.items():
            setattr(frame, name, value)
        body.on_push(352, frame)
        assert peer.of(OrderFilled) == []
        await wait_until_async(lambda: peer.of(OrderFilled))
        assert body.account.ledger.quantity(ONE, "ESH4") == 2

    play(tmp_path, scenario)


def test_a_refusal_after_a_report_does_not_end_a_live_order(tmp_path: Path) -> None:
    """The exchange holds it and its gateway refuses it: the list decides, and the order stays in the books."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        body.on_push(313, answer(313, user_tag="o1", rp_code=["6", "refused"]))
        assert body.account.reconciling
        await wait_until_async(lambda: not body.account.reconciling)
        assert [order.status for order in body.account.table.open_orders()] == [OrderStatus.ACCEPTED]

    play(tmp_path, scenario)


def test_a_cancel_that_was_refused_though_the_order_is_gone_is_found_out(tmp_path: Path) -> None:
    """'Order not found' and no end of it: a few seconds later the broker's lists are asked."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.say(peer, cancel("o1", epoch))
        await turns()
        known = len(session.requests)
        body.on_push(317, answer(317, user_msg=["o1"], basket_id="b1", rp_code=["6", "order not found"]))
        assert len(session.requests) == known
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        assert body.account.reconciling
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)


def test_a_cancel_without_an_answer_is_told_to_the_operator(tmp_path: Path) -> None:
    """It is asked for again when the list still shows the order, and the operator knows that the broker is mute."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        body.say(peer, cancel("o1", epoch))
        await turns()
        body.context.clock.advance(6.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        assert alerts(body).count("answer_overdue") == 1
        await wait_until_async(lambda: len(session.of(316)) == 2)

    play(tmp_path, scenario)


def test_a_cancel_that_waits_survives_the_order_plant(tmp_path: Path) -> None:
    """Asked for while the link was down, and the process dies: the next one carries it out."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        body.receive(CONTROL, OperatorCancelAll(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        await body.stop()

    asyncio.run(again())


def test_a_tombstone_that_lives_is_canceled_until_it_is_over(tmp_path: Path) -> None:
    """The first cancel is lost with the link: the next list that shows the order brings another one, not an alert."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session.fail = LinkError("reset")
        body.say(peer, submit("o1", epoch))
        await wait_until_async(lambda: body.account.table.open_count() == 0 and not body.account.reconciling)
        body.on_push(351, opened("o1", "b1"))
        await turns()
        body.link_down()
        second = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert [fields["basket_id"] for fields in second.of(316)] == ["b1"]
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        assert alerts(body).count("order_resurrected") == 1
        row = body.journal.find_order(ClientOrderId("o1"))
        assert row is not None
        assert not row.tombstone

    play(tmp_path, scenario)


def test_controls_during_a_reconciliation_take_effect_after_it_at_the_latest(tmp_path: Path) -> None:
    """A pause, a halt and a cancel-all while the lists are read: cancels go out at once, the states hold."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch)
        body.link_down()
        session = await body.link_up(wait=False)
        session.fail_requests = LinkError("silence")
        assert body.account.reconciling
        body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        assert body.account.reconciling
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        session.fail_requests = None
        await wait_until_async(lambda: not body.account.reconciling)
        body.say(peer, submit("o2", welcome.fencing_epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_PAUSED
        await body.stop()

    asyncio.run(run())
