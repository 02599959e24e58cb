"""Cancels that a market refuses because it does not trade: they wait for it, are not hammered, and ask nobody."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_cancel_waits import CANCEL_RETRY_MAX_S, CANCEL_RETRY_S
from nightdesk.messages import CancelOrder, ClientOrderId, TimeInForce
from tests.calendar_support import at
from tests.order_plant_session_support import (
    CLOSED,
    ONE,
    OPEN,
    PRE_OPEN,
    REOPENED,
    alerts,
    begun,
    canceled,
    time_of,
)
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import FakePeer, FakeSession, Plant, answer, image, notice, turns, working
from tests.support import wait_until_async

CANCELLATION_FAILED = 17


def by_gateway(body: Plant, basket: str) -> None:
    body.on_push(317, answer(317, user_msg=["gtc"], basket_id=basket, rp_code=["6", "the market is closed"]))


def by_exchange(body: Plant, basket: str) -> None:
    body.on_push(351, notice(351, CANCELLATION_FAILED, "gtc", basket))


def by_silence(body: Plant, basket: str) -> None:
    body.context.clock.advance(5.5)  # type: ignore[attr-defined]
    body.sender.sweep()


def refuses(body: Plant, session: FakeSession, refuse: Callable[[Plant, str], None]) -> None:
    """From now on every cancel is refused at once."""

    def on_send(template_id: int, fields: dict[str, Any]) -> None:
        if template_id == 316:
            asyncio.get_running_loop().call_soon(refuse, body, fields["basket_id"])

    session.on_send = on_send


async def pass_time(body: Plant, seconds: float, moment: str) -> None:
    """A break does not end while this machine's time passes."""
    for _ in range(round(seconds)):
        body.context.clock.advance(1.0)  # type: ignore[attr-defined]
        time_of(body).set(at(moment))
        body.sender.sweep()
        body.day_ends.sweep()
        await turns(4)


def cancel(epoch: int) -> CancelOrder:
    return CancelOrder(client_order_id=ClientOrderId("gtc"), strategy_id=ONE, fencing_epoch=epoch)


@pytest.mark.parametrize("refuse", [by_gateway, by_exchange, by_silence])
def test_cancel_that_is_refused_in_the_break_is_tried_ever_less_often(
    tmp_path: Path, refuse: Callable[[Plant, str], None]
) -> None:
    """In an hour a dozen cancels, no list is asked for and nobody is called; the pre-open has the next one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        time_of(body).set(at(CLOSED))
        refuses(body, session, refuse)
        asked = len(session.requests)
        for _ in range(20):
            order = body.account.table.get(ClientOrderId("gtc"))
            assert order is not None
            body.sender.request_cancel(order)
            await pass_time(body, 1, CLOSED)
        few = len(session.of(316))
        assert 2 <= few <= 4
        await pass_time(body, 3580, CLOSED)
        assert len(session.of(316)) <= few + 16
        assert len(session.requests) == asked
        assert alerts(body) == []
        count = len(session.of(316))
        session.on_send = lambda template_id, fields: None
        time_of(body).set(at(PRE_OPEN))
        body.sender.sweep()
        await turns()
        assert len(session.of(316)) == count + 1

    play_at(tmp_path, OPEN, scene)


def test_pauses_between_cancels_double_up_to_the_longest(tmp_path: Path) -> None:
    """Two seconds, four, eight; five minutes at the most."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        refuses(body, session, by_gateway)
        time_of(body).set(at(CLOSED))
        body.say(peer, cancel(epoch))
        await turns()
        times = []
        for second in range(1, 1200):
            known = len(session.of(316))
            await pass_time(body, 1, CLOSED)
            times += [second] * (len(session.of(316)) - known)
        pauses = [later - sooner for sooner, later in zip([0, *times], times, strict=False)]
        assert pauses[:4] == [CANCEL_RETRY_S * 2**number for number in range(4)]
        assert pauses[-1] == CANCEL_RETRY_MAX_S

    play_at(tmp_path, OPEN, scene)


def test_cancel_that_the_pre_open_refuses_too_goes_out_with_the_opening(tmp_path: Path) -> None:
    """Then what is refused is a suspect, and the lists are asked."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        session.lists[320] = [image("gtc", "b1")]
        refuses(body, session, by_gateway)
        time_of(body).set(at(CLOSED))
        body.say(peer, cancel(epoch))
        await turns()
        for moment in (PRE_OPEN, REOPENED):
            known = len(session.of(316))
            time_of(body).set(at(moment))
            body.sender.sweep()
            await turns()
            assert len(session.of(316)) == known + 1
        asked = len(session.requests)
        await pass_time(body, 6, REOPENED)
        assert len(session.requests) > asked
        await wait_until_async(lambda: not body.account.reconciling)

    play_at(tmp_path, OPEN, scene)


def test_cancel_that_was_refused_just_before_the_close_asks_for_no_lists_in_the_break(tmp_path: Path) -> None:
    """The question waits until the market trades."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        session.lists[320] = [image("gtc", "b1")]
        body.say(peer, cancel(epoch))
        await turns()
        by_gateway(body, "b1")
        asked = len(session.requests)
        await pass_time(body, 60, CLOSED)
        assert len(session.requests) == asked
        await pass_time(body, 1, REOPENED)
        assert len(session.requests) > asked

    play_at(tmp_path, OPEN, scene)


def test_cancel_that_waits_for_the_market_survives_the_order_plant(tmp_path: Path) -> None:
    """The next process carries it out."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        refuses(body, session, by_gateway)
        time_of(body).set(at(CLOSED))
        body.say(peer, cancel(epoch))
        await turns()

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, PRE_OPEN)
        session = await body.link_up(orders=[image("gtc", "b1")])
        await turns()
        assert canceled(session) == ["b1"]
        await body.stop()

    asyncio.run(again())


def test_refused_cancel_is_a_suspect_at_once_where_the_market_contradicts_the_calendar(tmp_path: Path) -> None:
    """It trades, whatever the calendar says: the lists are asked, nothing waits."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "gtc", "b1", time_in_force=TimeInForce.GTC)
        session.lists[320] = [image("gtc", "b1")]
        body.account.markets.contradicted = lambda symbol: True  # type: ignore[method-assign]
        time_of(body).set(at(CLOSED))
        body.say(peer, cancel(epoch))
        await turns()
        by_gateway(body, "b1")
        asked = len(session.requests)
        await pass_time(body, 6, CLOSED)
        assert len(session.requests) > asked

    play_at(tmp_path, OPEN, scene)
