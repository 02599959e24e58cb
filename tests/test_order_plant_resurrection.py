"""Orders that are over by our books and at work at the broker: found again, counted, canceled, told once."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from nightdesk.messages import CancelOrder, ClientOrderId, OrderFilled, OrderStatus, StrategyId, TimeInForce
from nightdesk.trading.order_table import OrderTable
from tests.calendar_support import at
from tests.order_plant_session_support import CLOSED, ONE, OPEN, REOPENED, alerts, begun, canceled, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
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

ENDED_S = 1_700_000_100
"""The broker's time at which it reported an end; frames are of 100 s before unless they say otherwise."""


class _Changing:
    """Lists of orders that differ each time they are asked for; the last of ``lists`` comes first."""

    def __init__(self, lists: list[list[Any]]) -> None:
        self._lists = lists

    def get(self, template_id: int, default: list[Any]) -> list[Any]:
        return self._lists.pop() if template_id == 320 else default


def told(body: Plant) -> int:
    return alerts(body).count("order_resurrected")


def newer(message: Any, seconds: int = 60) -> Any:
    """The same, of a time after the end."""
    message.ssboe = ENDED_S + seconds
    return message


async def ended_by_the_broker(body: Plant, peer: FakePeer, epoch: int) -> None:
    await working(body, peer, epoch)
    body.on_push(351, complete("o1", "b1", "C", 0, 2, ssboe=ENDED_S))
    assert body.account.table.open_count() == 0


@pytest.mark.parametrize(
    ("duration", "moment", "status"),
    [(TimeInForce.DAY, CLOSED, OrderStatus.EXPIRED), (TimeInForce.GTC, OPEN, OrderStatus.CANCELED)],
)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_order_that_a_silent_broker_ended_comes_back(
    tmp_path: Path, duration: TimeInForce, moment: str, status: OrderStatus, is_restarted: bool
) -> None:
    """Expired or canceled by absence: the image that shows it at work cancels it, and its fills count; also later."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1", time_in_force=duration)
        time_of(body).set(at(moment))
        body.link_down()
        await body.link_up()
        found = body.account.find(ClientOrderId("o1"))
        assert found is not None
        assert (found.status, found.tombstone) == (status, True)
        if not is_restarted:
            await shows(body)

    async def shows(body: Plant) -> None:
        time_of(body).set(at(REOPENED))
        body.link_down()
        session = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert canceled(session) == ["b1"]
        assert told(body) == 1
        assert body.account.table.worst_case("ESH4") == (2, 0)
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))
        assert body.account.ledger.quantity(ONE, "ESH4") == 1
        assert body.account.table.worst_case("ESH4") == (1, 0)
        body.on_push(351, complete("o1", "b1", "C", 1, 1))
        assert body.account.table.worst_case("ESH4") == (0, 0)
        assert told(body) == 1

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, REOPENED)
        await shows(body)
        await body.stop()

    if is_restarted:
        asyncio.run(again())


def test_executions_of_an_order_that_was_ended_by_absence_bring_nothing_back(tmp_path: Path) -> None:
    """A replay, or a late live report of before the close: it filled in part, and that says nothing of its rest."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        time_of(body).set(at(CLOSED))
        body.link_down()
        await body.link_up()
        time_of(body).set(at(REOPENED))
        before_s = at("2024-02-27 15:59:59") // 10**9
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1, ssboe=before_s))
        body.link_down()
        session = await body.link_up(fills=[filled("o1", "b1", "f2", 1, 2, 0, ssboe=before_s, is_snapshot=True)])
        assert [event.filled_quantity for event in peer.of(OrderFilled)] == [1, 2]
        assert canceled(session) == []
        assert told(body) == 0

    play_at(tmp_path, OPEN, scene)


def test_replay_of_a_canceled_orders_execution_is_no_sign_of_life(tmp_path: Path) -> None:
    """An order good till canceled that was missing in three lists: a replay tells later that it had filled in part."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, time_in_force=TimeInForce.GTC)
        body.link_down()
        await body.link_up()
        body.link_down()
        third = await body.link_up(fills=[newer(filled("o1", "b1", "f1", 1, 1, 1, is_snapshot=True))])
        assert [event.filled_quantity for event in peer.of(OrderFilled)] == [1]
        assert canceled(third) == []
        assert told(body) == 0
        body.on_push(352, newer(filled("o1", "b1", "f2", 1, 1, 1)))
        assert told(body) == 0

    play(tmp_path, scenario)


def test_image_that_the_end_has_overtaken_is_no_resurrection(tmp_path: Path) -> None:
    """The broker reported the end; an older list shows the order once, the next one does not: nothing happens."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await ended_by_the_broker(body, peer, epoch)
        body.link_down()
        second = await body.link_up(wait=False)
        second.lists = cast(Any, _Changing([[], [image("o1", "b1")]]))
        await wait_until_async(lambda: not body.account.reconciling)
        assert [template for template, _ in second.requests].count(320) == 2
        body.link_down()
        third = await body.link_up(wait=False)
        third.lists = cast(Any, _Changing([[], [image("o1", "b1")]]))
        await wait_until_async(lambda: not body.account.reconciling)
        assert [template for template, _ in third.requests].count(320) == 2
        assert canceled(second) == canceled(third) == []
        assert told(body) == 0

    play(tmp_path, scenario)


def test_order_that_two_lists_show_after_its_end_is_canceled(tmp_path: Path) -> None:
    """The second list was asked for long after the end: the broker's report of it was wrong."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await ended_by_the_broker(body, peer, epoch)
        body.link_down()
        second = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert canceled(second) == ["b1"]
        assert told(body) == 1
        row = body.journal.find_order(ClientOrderId("o1"))
        assert row is not None
        assert row.tombstone

    play(tmp_path, scenario)


def test_image_that_is_newer_than_the_end_needs_no_second_list(tmp_path: Path) -> None:
    """It was made after the end, and says that the order works."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await ended_by_the_broker(body, peer, epoch)
        body.link_down()
        second = await body.link_up(orders=[newer(image("o1", "b1"))])
        await turns()
        assert canceled(second) == ["b1"]
        assert [template for template, _ in second.requests].count(320) == 1

    play(tmp_path, scenario)


def test_live_report_after_the_end_has_the_lists_decide(tmp_path: Path) -> None:
    """An older one is a late report; a newer one is worth a question, and the answer cancels the order."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await ended_by_the_broker(body, peer, epoch)
        asked = len(session.requests)
        body.on_push(351, opened("o1", "b1"))
        body.on_push(351, notice(351, 1, "o1", "b1", ssboe=ENDED_S + 60))
        await turns()
        assert len(session.requests) == asked
        session.lists[320] = [newer(image("o1", "b1"), 120)]
        body.on_push(351, newer(opened("o1", "b1"), 90))
        assert body.account.reconciling
        await wait_until_async(lambda: canceled(session) == ["b1"])
        assert told(body) == 1

    play(tmp_path, scenario)


def test_order_that_the_gateway_refused_is_found_by_its_id(tmp_path: Path) -> None:
    """It never had the broker's id: the list names it by ours, also to a new process."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch))
        await turns()
        body.on_push(313, answer(313, user_tag="o1", rp_code=["6", "refused"]))
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        session = await body.link_up(orders=[newer(image("o1", "b7"))])
        await turns()
        assert canceled(session) == ["b7"]
        assert told(body) == 1
        await body.stop()

    asyncio.run(again())


def test_order_of_somebody_else_that_comes_back_is_left_alone(tmp_path: Path) -> None:
    """It counts, it is told, and it is not ours to cancel."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(351, opened("", "x1"))
        body.link_down()
        await body.link_up()
        assert body.account.table.open_count() == 0
        body.link_down()
        third = await body.link_up(orders=[image("", "x1")])
        await turns()
        assert canceled(third) == []
        assert told(body) == 1
        assert body.account.table.worst_case("ESH4") == (2, 0)

    play(tmp_path, scenario)


def test_cancel_of_what_came_back_is_tried_until_it_is_over(tmp_path: Path) -> None:
    """Ever less often; and once the lists have not shown it for long it is over again."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await ended_by_the_broker(body, peer, epoch)
        session.lists[320] = [newer(image("o1", "b1"), 120)]
        body.on_push(351, newer(opened("o1", "b1")))
        await wait_until_async(lambda: canceled(session) == ["b1"] and not body.account.reconciling)
        cancels = []
        for _ in range(4):
            body.context.clock.advance(5.0)  # type: ignore[attr-defined]
            body.sender.sweep()
            await turns()
            await wait_until_async(lambda: not body.account.reconciling)
            cancels.append(len(session.of(316)))
        assert cancels == [2, 3, 3, 4]
        session.lists[320] = []
        body.context.clock.advance(20.0)  # type: ignore[attr-defined]
        body.sender.sweep()
        await wait_until_async(lambda: body.account.table.revived() == [])
        assert body.account.table.worst_case("ESH4") == (0, 0)
        assert told(body) == 1

    play(tmp_path, scenario)


def test_what_came_back_is_not_forgotten_among_finished_orders(tmp_path: Path) -> None:
    """The table keeps few finished orders in memory; one that works at the broker is none of them."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.account.table = OrderTable(finished_kept_max=1)
        await ended_by_the_broker(body, peer, epoch)
        body.link_down()
        await body.link_up(orders=[newer(image("o1", "b1"))])
        for number in range(2, 5):
            await working(body, peer, epoch, f"o{number}", f"b{number}")
            body.on_push(351, complete(f"o{number}", f"b{number}", "C", 0, 2))
        assert body.account.table.get(ClientOrderId("o1")) is not None
        assert body.account.table.worst_case("ESH4") == (2, 0)

    play(tmp_path, scenario)


def test_cancel_of_our_own_that_crossed_with_the_list_is_none(tmp_path: Path) -> None:
    """A strategy cancels, the end is reported, and a reconciliation for another reason shows it complete."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.say(
            peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=StrategyId("one"), fencing_epoch=epoch)
        )
        await turns()
        body.on_push(351, complete("o1", "b1", "C", 0, 2, ssboe=ENDED_S))
        body.link_down()
        done = newer(image("o1", "b1", "complete", 0, 2, notify_type=3))
        await body.link_up(orders=[done])
        assert told(body) == 0

    play(tmp_path, scenario)
