"""Closing orders: one that rests is replaced, and none outlives its market."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import (
    SetTradingState,
    TradingState,
)
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange, flatten, held, long_two, pass_time
from tests.order_plant_session_support import CONTROL, ONE, OPEN, alerts, begun, canceled, exits, play, time_of
from tests.order_plant_support import FakePeer, FakeSession, Plant, answer, image, turns
from tests.support import wait_until_async


def halt(body: Plant, state: TradingState) -> None:
    body.receive(CONTROL, SetTradingState(request_id="9", reply_to=CONTROL, trading_state=state, reason="test"))


def test_closing_order_that_rests_is_replaced_once_it_is_over(tmp_path: Path) -> None:
    """After 10 s it is canceled; the next one waits for the cancel, takes what is left, and is told as the second."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.deaf = {"*"}
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        first = exits(session)[0]["user_tag"]
        await turns()
        exchange.fill(first, 1, 1, 2)
        pass_time(body, 9.9)
        await asyncio.sleep(0.03)
        assert canceled(session) == []
        pass_time(body, 0.2)
        await wait_until_async(lambda: canceled(session) == [f"x-{first}"])
        await asyncio.sleep(0.05)
        assert len(exits(session)) == 1
        assert alerts(body) == []
        exchange.cancel(f"x-{first}")
        await wait_until_async(lambda: len(exits(session)) == 2)
        assert exits(session)[1]["quantity"] == 1
        exchange.deaf = set()
        await turns()
        pass_time(body, 10.1)
        await asyncio.sleep(0.05)
        assert len(exits(session)) == 2
        pass_time(body, 10.0)
        await wait_until_async(lambda: len(exits(session)) == 3)
        assert alerts(body) == ["exit_not_filling"]
        exchange.fills = True
        await turns()
        pass_time(body, 41.0)
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert alerts(body) == ["exit_not_filling"]
        assert held(body) == 0
        assert set(exchange.open_exits) == {1}

    play(tmp_path, OPEN, scene)


def test_closing_order_that_fills_while_it_is_canceled_has_no_successor(tmp_path: Path) -> None:
    """The fill overtakes the cancel: the position is closed once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.deaf = {"*"}
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        pass_time(body, 10.1)
        await wait_until_async(lambda: len(canceled(session)) == 1)
        exchange.fill(exits(session)[0]["user_tag"], 2, 2, 2)
        await asyncio.sleep(0.1)
        assert len(exits(session)) == 1
        assert held(body) == 0

    play(tmp_path, OPEN, scene)


def test_cancel_of_a_closing_order_that_is_refused_is_not_hammered(tmp_path: Path) -> None:
    """Again after 5 s, then after 10; the order that cannot be canceled keeps its successor back."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        exchange = Exchange(body, session)
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        exchange.deaf = {"*"}
        take = session.on_send

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            take(template_id, fields)
            if template_id == 316:
                tag = exits(session)[0]["user_tag"]
                session.lists[320] = [image(tag, fields["basket_id"])]
                message = answer(317, user_msg=[tag], basket_id=fields["basket_id"], rp_code=["6", "no"])
                asyncio.get_running_loop().call_soon(body.on_push, 317, message)

        session.on_send = refuse
        for seconds, times in ((10.1, 1), (4.8, 1), (0.3, 2), (9.0, 2), (1.1, 3)):
            pass_time(body, seconds)
            await wait_until_async(lambda times=times: len(canceled(session)) == times)  # type: ignore[misc]
            await asyncio.sleep(0.15)
            assert len(canceled(session)) == times
        assert len(exits(session)) == 1

    play(tmp_path, OPEN, scene)


def test_closing_order_that_a_halted_market_refuses_is_sent_again_until_it_is_taken(tmp_path: Path) -> None:
    """After 0.5 s, 1 s, 2 s …, told once; what the market takes in the end closes the position, and nothing follows."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        exchange = Exchange(body, session)
        take = session.on_send

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id != 312:
                take(template_id, fields)
                return
            message = answer(313, user_msg=[fields["user_tag"]], rp_code=["6", "the market is halted"])
            asyncio.get_running_loop().call_soon(body.on_push, 313, message)

        session.on_send = refuse
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        for pause_s, times in ((0.5, 2), (1.0, 3), (2.0, 4), (4.0, 5)):
            await asyncio.sleep(0.1)
            assert len(exits(session)) == times - 1
            pass_time(body, pause_s + 0.01)
            await wait_until_async(lambda times=times: len(exits(session)) == times)  # type: ignore[misc]
        assert alerts(body).count("flatten_incomplete") == 1
        session.on_send, exchange.fills = take, True
        await asyncio.sleep(0.1)
        pass_time(body, 8.1)
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        pass_time(body, 60.0)
        await asyncio.sleep(0.1)
        assert (len(exits(session)), held(body)) == (6, 0)
        assert alerts(body).count("flatten_incomplete") == 1

    play(tmp_path, OPEN, scene)


def test_halt_of_the_operator_lets_a_closing_order_rest(tmp_path: Path) -> None:
    """No order leaves while trading is HALTED, so none is canceled to be sent anew; afterwards it is."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        Exchange(body, session)
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        halt(body, TradingState.HALTED)
        pass_time(body, 60.0)
        await asyncio.sleep(0.05)
        assert canceled(session) == []
        halt(body, TradingState.ACTIVE)
        await wait_until_async(lambda: len(exits(session)) == 2)

    play(tmp_path, OPEN, scene)


def test_closing_order_of_a_process_that_died_is_watched_by_the_next(tmp_path: Path) -> None:
    """It is known by its id and by the books."""

    async def run() -> None:
        body = await begun(tmp_path, OPEN)
        session = await body.link_up()
        peer, welcome = body.hello()
        await long_two(body, peer, welcome.fencing_epoch)
        Exchange(body, session)
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        tag = exits(session)[0]["user_tag"]
        await body.stop()
        body = await begun(tmp_path, OPEN)
        listed = image(tag, f"x-{tag}")
        listed.transaction_type = 2
        session = await body.link_up(orders=[listed])
        exchange = Exchange(body, session)
        exchange.fills = True
        await asyncio.sleep(0.03)
        pass_time(body, 10.1)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await wait_until_async(lambda: held(body) == 0)
        await body.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("moment", "halts", "reopens", "after_s"),
    [
        # Presidents' Day: the session halts at noon, and orders for the day live on.
        ("2024-02-19 11:59:00", "2024-02-19 12:00:06", "2024-02-19 17:00:01", 0.0),
        # A close ends them; where the exchange does not say so, they are canceled.
        ("2024-02-27 15:59:00", "2024-02-27 16:00:06", "2024-02-27 17:00:01", 10.1),
    ],
)
def test_closing_order_does_not_outlive_the_stop(
    tmp_path: Path, moment: str, halts: str, reopens: str, after_s: float
) -> None:
    """Canceled when trading stops, told, and nothing goes on at the opening by itself."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        Exchange(body, session)
        time_of(body).set(at(moment))
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        assert canceled(session) == []
        time_of(body).set(at(halts))
        await asyncio.sleep(0.05)
        assert bool(canceled(session)) is (after_s == 0.0)
        pass_time(body, after_s)
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        assert "position 2 is held" in body.context.alerts[-1].text  # type: ignore[attr-defined]
        time_of(body).set(at(reopens))
        await asyncio.sleep(0.05)
        assert (len(exits(session)), held(body)) == (1, 2)
        assert alerts(body) == ["flatten_incomplete"]

    play(tmp_path, moment[:10] + " 10:00", scene)


def test_closing_order_that_was_forced_has_its_time(tmp_path: Path) -> None:
    """The calendar says that nobody trades, and the exchange is to decide: it rests as long as any, then it goes."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        Exchange(body, session)
        time_of(body).set(at("2024-02-27 16:30:00"))
        flatten(body, force=True)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        pass_time(body, 9.9)
        await asyncio.sleep(0.03)
        assert canceled(session) == []
        pass_time(body, 0.2)
        await wait_until_async(lambda: len(canceled(session)) == 1)
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))

    play(tmp_path, OPEN, scene)
