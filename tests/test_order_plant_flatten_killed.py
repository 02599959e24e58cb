"""A flatten whose order plant is killed: the position that it was about to close is not left without stop and exit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_flatten import FlattenPolicy
from nightdesk.errors import JournalError
from nightdesk.messages import Flatten, OperatorFlatten, OrderStatus, SetTradingState, StrategyId, TradingState
from tests.order_plant_exchange import Exchange, guarded, held, long_two, results
from tests.order_plant_session_support import CONTROL, ONE, OPEN, alerts, begun, canceled, exits
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import FakePeer, FakeSession, Plant, answer, complete, filled, image, turns, working
from tests.support import wait_until_async


def stop_is_canceled() -> Any:
    """The stop as the broker's list shows it afterwards."""
    return complete("stop", "b3", "C", 0, 2, transaction_type=2, is_snapshot=True)


async def asked(
    body: Plant, session: FakeSession, peer: FakePeer, epoch: int, who: str, *, cancels_s: float = 600.0
) -> None:
    """The stop is canceled at the exchange, and nobody here hears of it any more."""
    await guarded(body, peer, epoch)
    body.flattener._policy = FlattenPolicy(cancels_s=cancels_s, reconciled_s=min(cancels_s, 10.0))
    if who == "operator":
        body.receive(CONTROL, OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))
    else:
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
    await turns()
    assert canceled(session) == ["b3"]
    assert exits(session) == []


@pytest.mark.parametrize("who", ["operator", "strategy"])
def test_next_order_plant_closes_what_was_to_be_closed(tmp_path: Path, who: str) -> None:
    """The stop is gone and nobody asks again: it goes on by itself, once, and tells."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await asked(body, session, peer, epoch, who)

    play_at(tmp_path, OPEN, scene)

    async def second() -> None:
        body = await begun(tmp_path, OPEN)
        session = await body.link_up(orders=[stop_is_canceled()])
        exchange = Exchange(body, session)
        exchange.fills = True
        await wait_until_async(lambda: not body.account.ledger.quantity(ONE, "ESH4"))
        await turns()
        assert len(exits(session)) == 1
        assert alerts(body).count("flatten_resumed") == 1
        await wait_until_async(lambda: body.journal.note("flattens") == "[]")
        await body.stop()

    async def third() -> None:
        body = await begun(tmp_path, OPEN)
        await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch, "in-2", "b9")
        body.on_push(352, filled("in-2", "b9", "f9", 2, 2, 0))
        await asyncio.sleep(0.1)
        assert body.account.ledger.quantity(ONE, "ESH4") == 2
        assert "flatten_resumed" not in alerts(body)
        await body.stop()

    asyncio.run(second())
    asyncio.run(third())


@pytest.mark.parametrize("who", ["operator", "strategy"])
def test_flatten_whose_link_is_lost_goes_on_with_the_next_one(tmp_path: Path, who: str) -> None:
    """The same process; whoever asked is told, and the position is closed once, over as many links as it takes."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await asked(body, session, peer, epoch, who, cancels_s=0.1)
        body.link_down()
        if who == "operator":
            (told,) = await results(body)
            assert (told.ok, told.text.endswith("goes on by itself once the broker has answered")) == (False, True)
        else:
            await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        assert body.journal.note("flattens") != "[]"
        second = await body.link_up(orders=[stop_is_canceled()])
        exchange = Exchange(body, second)
        exchange.fills = True
        await wait_until_async(lambda: not held(body))
        await wait_until_async(lambda: body.journal.note("flattens") == "[]")
        assert (len(exits(second)), alerts(body).count("flatten_resumed")) == (1, 1)

    play_at(tmp_path, OPEN, scene)


@pytest.mark.parametrize("who", ["operator", "strategy"])
def test_closing_order_that_was_refused_is_followed_by_one_of_the_next_process(tmp_path: Path, who: str) -> None:
    """A halted market has refused it, the stop is gone, and the process dies before it is sent again."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        Exchange(body, session)
        take = session.on_send

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id != 312:
                take(template_id, fields)
                return
            message = answer(313, user_msg=[fields["user_tag"]], rp_code=["6", "the market is halted"])
            asyncio.get_running_loop().call_soon(body.on_push, 313, message)

        session.on_send = refuse
        if who == "operator":
            body.receive(CONTROL, OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId("")))
        else:
            body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        assert (len(exits(session)), held(body)) == (1, 2)

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, OPEN)
        session = await body.link_up(orders=[stop_is_canceled()])
        exchange = Exchange(body, session)
        exchange.fills = True
        await wait_until_async(lambda: not held(body))
        assert (len(exits(session)), alerts(body).count("flatten_resumed")) == (1, 1)
        await wait_until_async(lambda: body.journal.note("flattens") == "[]")
        await body.stop()

    asyncio.run(again())


def test_flatten_that_was_broken_off_waits_for_what_is_certain_and_for_the_end_of_a_halt(tmp_path: Path) -> None:
    """A list that does not come, or the operator's HALTED: no closing order before."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await asked(body, session, peer, epoch, "strategy")
        halt = SetTradingState(request_id="2", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONTROL, halt)

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, OPEN)
        session = await body.link_up(orders=[stop_is_canceled()])
        await asyncio.sleep(0.15)
        assert exits(session) == []
        body.account.set_trading_state(TradingState.ACTIVE, "test")
        await wait_until_async(lambda: len(exits(session)) == 1)
        await body.stop()

    asyncio.run(again())


def test_flatten_whose_closing_order_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    """Its order stands in the journal and is settled like any other."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        Exchange(body, session)
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(exits(session)) == 1)
        await wait_until_async(lambda: body.journal.note("flattens") == "[]")

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, OPEN)
        (order,) = body.account.table.open_orders()
        shown = image(order.client_order_id, f"x-{order.client_order_id}")
        shown.transaction_type = 2
        session = await body.link_up(orders=[stop_is_canceled(), shown])
        await asyncio.sleep(0.1)
        assert exits(session) == []
        await body.stop()

    asyncio.run(again())


def test_closing_order_that_never_arrived_is_followed_by_another_once_that_is_settled(tmp_path: Path) -> None:
    """Killed between the commit and the answer: three lists do not show it, and the position has no stop any more."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        assert body.journal.note("flattens") == '[["one","ESH4"]]'

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, OPEN)
        assert [order.status for order in body.account.table.open_orders()] == [OrderStatus.UNKNOWN]
        session = await body.link_up(wait=False)
        Exchange(body, session).fills = True
        await wait_until_async(lambda: not body.account.ledger.quantity(ONE, "ESH4"))
        assert len(exits(session)) == 1
        assert "order_not_found" in alerts(body)
        await wait_until_async(lambda: body.journal.note("flattens") == "[]")
        await body.stop()

    asyncio.run(again())


def test_note_that_cannot_be_read_stops_the_order_plant(tmp_path: Path) -> None:
    """As any damage of the journal does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.journal.write_note("flattens", "{")

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        with pytest.raises(JournalError, match="the note flattens cannot be read"):
            await begun(tmp_path, OPEN)

    asyncio.run(again())
