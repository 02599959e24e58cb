"""Orders for the day that end unheard, or do not end: executions are asked for again, what outlives its day is told."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from actors.plants import order_day_ends
from nightdesk.messages import ClientOrderId, OrderExpired, OrderFilled, OrderType, Side, TimeInForce
from nightdesk.rithmic import orders as wire
from tests.calendar_support import at
from tests.order_plant_session_support import CLOSED, ONE, OPEN, PRE_OPEN, REOPENED, alerts, begun, canceled, time_of
from tests.order_plant_session_support import play as play_at
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    filled,
    image,
    opened,
    turns,
    working,
)
from tests.support import wait_until_async

MORNING_S = at("2024-02-27 09:00") // 10**9
BEFORE_CLOSE_S = at("2024-02-27 15:58") // 10**9
JUST_CLOSED, OVERDUE = "2024-02-27 16:00:59", "2024-02-27 16:01:01"


def lists_of(session: FakeSession) -> int:
    return [template for template, _ in session.requests].count(wire.SHOW_ORDERS)


def replay_starts(session: FakeSession) -> list[int]:
    return [fields["start_index"] for template, fields in session.requests if template == wire.REPLAY_EXECUTIONS]


async def at_rest(body: Plant) -> None:
    """Sweeps have been, and nothing is being asked."""
    await asyncio.sleep(0.02)
    body.day_ends.sweep()
    body.sender.sweep()
    await wait_until_async(lambda: not body.account.reconciling)
    await turns()


async def ended_in_maintenance(body: Plant, peer: FakePeer, epoch: int) -> FakeSession:
    """An order of the morning that fills at 15:58, unheard; the gateway of the break lists nothing."""
    body.reconciler._policy = msgspec.structs.replace(body.reconcile_policy, replay_everything=False)
    await working(body, peer, epoch, "seen", "b0")
    body.on_push(352, filled("seen", "b0", "f0", 2, 2, 0, ssboe=MORNING_S))
    await working(body, peer, epoch, "day", "b1")
    body.link_down()
    time_of(body).set(at(CLOSED))
    return await body.link_up()


FILL = filled("day", "b1", "f1", 1, 1, 1, ssboe=BEFORE_CLOSE_S, is_snapshot=True)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_execution_of_before_the_close_that_maintenance_hid_is_found_at_the_opening(
    tmp_path: Path, is_restarted: bool
) -> None:
    """Expired by empty lists; asked for again at the first opening, from before that order, also by a new process."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        session = await ended_in_maintenance(body, peer, epoch)
        assert [event.client_order_id for event in peer.of(OrderExpired)] == ["day"]
        if not is_restarted:
            # What is heard meanwhile must not move the start behind the fill.
            body.account.broker_ts_ns = at("2024-02-27 16:30")
            await opens(body, session)
            assert [event.client_order_id for event in peer.of(OrderFilled)] == ["seen", "day"]

    async def opens(body: Plant, session: FakeSession) -> None:
        asked = lists_of(session)
        time_of(body).set(at(PRE_OPEN))
        await at_rest(body)
        assert lists_of(session) == asked
        session.lists[3506] = [FILL]
        time_of(body).set(at(REOPENED))
        await at_rest(body)
        assert lists_of(session) == asked + 1
        assert replay_starts(session)[-1] == MORNING_S - 60
        assert body.account.ledger.quantity(ONE, "ESH4") == 3
        assert "order_resurrected" not in alerts(body)
        await at_rest(body)
        assert lists_of(session) == asked + 1
        assert body.journal.replay_from_ns() is None

    play_at(tmp_path, OPEN, scene)

    async def again() -> None:
        body = await begun(tmp_path, CLOSED)
        body.reconciler._policy = msgspec.structs.replace(body.reconcile_policy, replay_everything=False)
        body.account.broker_ts_ns = at("2024-02-27 16:30")
        session = await body.link_up()
        assert replay_starts(session) == [MORNING_S - 60]
        await opens(body, session)
        await body.stop()

    if is_restarted:
        asyncio.run(again())


def test_oldest_of_the_orders_that_ended_unheard_is_where_the_replay_begins(tmp_path: Path) -> None:
    """Whichever is judged first."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        for number, moment in enumerate(("09:30", "09:10", "09:20")):
            await working(body, peer, epoch, f"o{number}", f"b{number}")
            body.account.table.get(ClientOrderId(f"o{number}")).broker_ts_ns = at(f"2024-02-27 {moment}")  # type: ignore[union-attr]
        body.link_down()
        time_of(body).set(at(CLOSED))
        await body.link_up()
        assert body.journal.replay_from_ns() == at("2024-02-27 09:10")

    play_at(tmp_path, OPEN, scene)


def test_orders_that_end_by_absence_while_a_market_trades_are_not_asked_for_again(tmp_path: Path) -> None:
    """The lists of an open market say what there is."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        time_of(body).set(at(REOPENED))
        session = await body.link_up()
        assert len(peer.of(OrderExpired)) == 1
        assert body.journal.replay_from_ns() is None
        await at_rest(body)
        assert lists_of(session) == 1

    play_at(tmp_path, OPEN, scene)


def test_day_order_whose_end_is_not_reported_is_asked_for(tmp_path: Path) -> None:
    """A minute after the close, once; the list does not show it, and it has expired."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        await working(body, peer, epoch, "gtc", "b2", time_in_force=TimeInForce.GTC)
        session.lists[320] = [image("gtc", "b2")]
        time_of(body).set(at(JUST_CLOSED))
        await at_rest(body)
        assert lists_of(session) == 1
        time_of(body).set(at(OVERDUE))
        await at_rest(body)
        assert lists_of(session) == 2
        assert [event.client_order_id for event in peer.of(OrderExpired)] == ["o1"]
        assert [order.client_order_id for order in body.account.table.open_orders()] == ["gtc"]
        assert alerts(body) == []

    play_at(tmp_path, OPEN, scene)


def test_day_order_that_outlives_its_day_is_canceled_and_asked_for_before_the_opening(tmp_path: Path) -> None:
    """Told once in the break, and once more when it would trade again; asked as seldom."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.lists[320] = [image("o1", "b1")]
        time_of(body).set(at(OVERDUE))
        for _ in range(3):
            await at_rest(body)
        assert alerts(body) == ["day_order_outlived"]
        assert body.context.alerts[-1].severity == "error"  # type: ignore[attr-defined]
        assert canceled(session) == ["b1"]
        assert lists_of(session) == 2
        body.reconciler.request("for another reason")
        await at_rest(body)
        assert alerts(body) == ["day_order_outlived"]
        time_of(body).set(at(PRE_OPEN))
        for _ in range(3):
            await at_rest(body)
        assert alerts(body) == ["day_order_outlived"] * 2
        assert lists_of(session) == 4
        body.on_push(351, complete("o1", "b1", "C", 0, 2))
        time_of(body).set(at(REOPENED))
        await at_rest(body)
        assert lists_of(session) == 4
        assert alerts(body) == ["day_order_outlived"] * 2

    play_at(tmp_path, OPEN, scene)


def test_day_order_of_somebody_else_that_outlives_its_day_is_asked_for_once(tmp_path: Path) -> None:
    """It is none of ours to cancel, and the broker is not asked four times a second for it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(351, opened("", "x1"))
        known = alerts(body)
        session.lists[320] = [image("", "x1")]
        time_of(body).set(at(OVERDUE))
        for _ in range(3):
            await at_rest(body)
        assert lists_of(session) == 2
        assert alerts(body) == known == ["order_external"]
        assert canceled(session) == []

    play_at(tmp_path, OPEN, scene)


@pytest.mark.parametrize("is_held", [True, False])
def test_stop_that_outlives_its_day_stays_beside_its_position(tmp_path: Path, is_held: bool) -> None:
    """The broker says that it guards; our calendar may be wrong. Without a position it is canceled as any other."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        stop = {"side": Side.SELL, "protective": True, "order_type": OrderType.STOP_MARKET, "price": None}
        await working(body, peer, epoch, "stop", "b2", trigger_price=4990.0, **stop)
        if not is_held:
            body.account.ledger.book(ONE, "ESH4", "CME", Side.SELL, 2, 5_000_000_000_000)
        shown = image("stop", "b2")
        shown.transaction_type = 2
        session.lists[320] = [shown]
        time_of(body).set(at(OVERDUE))
        await at_rest(body)
        assert alerts(body) == ["day_order_outlived"]
        assert canceled(session) == ([] if is_held else ["b2"])

    play_at(tmp_path, OPEN, scene)


def test_login_that_finds_a_day_order_of_yesterday_at_work_cancels_it(tmp_path: Path) -> None:
    """The link was down at the close and in the break; nobody has to wait for a sweep."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.link_down()
        time_of(body).set(at("2024-02-27 17:05"))
        second = await body.link_up(orders=[image("o1", "b1")])
        await turns()
        assert alerts(body) == ["day_order_outlived"]
        assert canceled(second) == ["b1"]

    play_at(tmp_path, OPEN, scene)


def test_minute_of_market_time_is_two_seconds_of_this_machine_at_high_speed(tmp_path: Path) -> None:
    """At speed 1000 a report needs longer than the minute takes."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        time_of(body).speed = 1000.0
        time_of(body).set(at("2024-02-27 16:33"))
        assert order_day_ends.OVERDUE_AFTER_MIN_S * 1000.0 == 2000.0
        await at_rest(body)
        assert lists_of(session) == 1
        time_of(body).set(at("2024-02-27 16:34"))
        await at_rest(body)
        assert lists_of(session) == 2

    play_at(tmp_path, OPEN, scene)


def test_calendar_that_the_market_contradicts_ends_no_order(tmp_path: Path) -> None:
    """Trades come though the day should be over: then it is not."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.account.markets.contradicted = lambda symbol: True  # type: ignore[method-assign]
        session.lists[320] = [image("o1", "b1")]
        time_of(body).set(at(OVERDUE))
        await at_rest(body)
        assert lists_of(session) == 1
        assert alerts(body) == []
        assert canceled(session) == []

    play_at(tmp_path, OPEN, scene)
