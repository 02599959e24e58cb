"""A position that is being closed keeps its protection for as long as it may need it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import JournalWriteError
from nightdesk.messages import (
    OrderStatus,
    Side,
    TimeInForce,
)
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange, flatten, guarded, held, long_two, pass_time, results, without_guard
from tests.order_plant_session_support import ONE, OPEN, alerts, canceled, exits, play, time_of
from tests.order_plant_support import FakePeer, FakeSession, Plant, complete, turns, working
from tests.support import wait_until_async

STOP = {"side": Side.SELL, "protective": True, "time_in_force": TimeInForce.GTC}


@pytest.mark.parametrize(("moment", "is_late"), [("2024-02-27 15:59:39", False), ("2024-02-27 15:59:41", True)])
@pytest.mark.parametrize("at_once", [False, True])
def test_shortly_before_the_stop_the_closing_order_goes_out_beside_the_protection(
    tmp_path: Path, moment: str, is_late: bool, at_once: bool
) -> None:
    """With 20 s left it does not wait for cancels; its fill takes the protection back. Before that it comes second."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        without_guard(body)
        exchange = Exchange(body, session)
        exchange.fills = at_once
        exchange.deaf = set() if is_late else {"b3"}
        time_of(body).set(at(moment))
        flatten(body)
        await turns(3)
        assert canceled(session) == ([] if is_late else ["b3"])
        assert len(exits(session)) == is_late
        if not is_late:
            exchange.cancel("b3")
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        if not at_once:
            exchange.fill(exits(session)[0]["user_tag"], 2, 2, 2)
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert canceled(session) == ["b3"]
        assert alerts(body) == []

    play(tmp_path, OPEN, scene)


def test_protection_stays_while_the_position_is_not_certain(tmp_path: Path) -> None:
    """An execution is missing, so that no closing order can be sent: entries go, and the stop does not."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b2", time_in_force=TimeInForce.GTC)
        await working(body, peer, epoch, "partly", "b4")
        Exchange(body, session)
        body.on_push(351, complete("partly", "b4", "C", 1, 1))
        flatten(body)
        (result,) = await results(body)
        assert "executions are missing" in result.text
        assert canceled(session) == ["b2"]

    play(tmp_path, OPEN, scene)


def test_protection_whose_cancel_does_not_come_back_does_not_keep_the_closing_order(tmp_path: Path) -> None:
    """It is sent beside it and says so; when it has filled, the cancel is all that is left to wait for."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.deaf, exchange.fills = {"b3"}, True
        flatten(body)
        await wait_until_async(lambda: held(body) == 0)
        (result,) = await results(body)
        assert "1 orders are not known to be canceled" in result.text
        exchange.cancel("b3")
        assert body.flattener.is_flat(ONE)
        assert len(exits(session)) == 1

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("stop_first", [True, False])
def test_stop_that_fills_beside_the_closing_order_is_told_and_closed(tmp_path: Path, stop_first: bool) -> None:
    """Both sold two: the position has turned over, and is bought back at once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.deaf = {"b3"}
        time_of(body).set(at("2024-02-27 15:59:45"))
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        exit_tag = exits(session)[0]["user_tag"]
        fills: list[tuple[Any, ...]] = [("stop", 2, 2, 2, "b3"), (exit_tag, 2, 2, 2)]
        exchange.fills = True
        for fill in fills if stop_first else fills[::-1]:
            exchange.fill(*fill)
        assert held(body) == -2
        await wait_until_async(lambda: held(body) == 0)
        assert [(each["quantity"], each["transaction_type"]) for each in exits(session)] == [(2, 2), (2, 1)]
        assert "flatten_overshot" in alerts(body)
        assert body.flattener.is_flat(ONE)

    play(tmp_path, OPEN, scene)


def test_protection_that_is_younger_than_the_closing_order_stays(tmp_path: Path) -> None:
    """A strategy that trades on after a flatten has put it beside its next entry."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        exchange = Exchange(body, session)
        flatten(body)
        await wait_until_async(lambda: len(exits(session)) == 1)
        await turns()
        pass_time(body, 1.0)
        session.on_send = lambda template_id, fields: None
        await working(body, peer, epoch, "next", "b7")
        await working(body, peer, epoch, "guard", "b8", **STOP)
        exchange.fill(exits(session)[0]["user_tag"], 2, 2, 2)
        await asyncio.sleep(0.1)
        assert canceled(session) == []

    play(tmp_path, OPEN, scene)


@pytest.mark.parametrize("trouble", ["link", "journal"])
def test_protection_stays_where_no_closing_order_can_be_sent(tmp_path: Path, trouble: str) -> None:
    """Entries go, whatever the journal says; a position that cannot be closed keeps its stop."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b2", time_in_force=TimeInForce.GTC)
        Exchange(body, session)
        if trouble == "link":
            body.link_down()
        else:
            body.journal.failed = True
            body.account.journal_failed(JournalWriteError("disk full"))
        flatten(body)
        (result,) = await results(body)
        assert not result.ok
        assert "could not be sent" in result.text
        assert exits(session) == []
        stop = next(order for order in body.account.table.open_orders() if order.client_order_id == "stop")
        assert (stop.status, stop.cancel_wanted) == (OrderStatus.ACCEPTED, False)
        assert canceled(session) == ([] if trouble == "link" else ["b2"])

    play(tmp_path, OPEN, scene)


def test_orders_of_one_strategy_do_not_keep_another_from_its_flatten(tmp_path: Path) -> None:
    """A cancel that nobody answers delays its own strategy and symbol only."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        other, welcome = body.hello("two")
        await long_two(body, other, welcome.fencing_epoch, "two")
        await working(body, peer, epoch, "entry", "b9")
        exchange = Exchange(body, session)
        exchange.deaf = {"b9"}
        flatten(body)
        await turns(20)
        assert [each["user_tag"][:9] for each in exits(session)] == ["exit-two-"]
        await wait_until_async(lambda: len(exits(session)) == 2)

    play(tmp_path, OPEN, scene)
