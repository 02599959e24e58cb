"""Entries with a lease: the exchange takes them off by itself, so that none outlives this machine."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Denial,
    Flatten,
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderInitialized,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
    SubmitOco,
)
from nightdesk.settings.models import Strategy
from tests.calendar_support import at
from tests.order_plant_exchange import long_two
from tests.order_plant_session_support import OPEN, alerts, begun, play, time_of
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    notice,
    submit,
    turns,
    working,
)
from tests.order_plant_support import image as image_of

ONE = StrategyId("one")
LEASE_S = 90.0
NOW_S = at(OPEN) // 10**9
END_S = NOW_S + 90
STOP: dict[str, Any] = {
    "side": Side.SELL,
    "order_type": OrderType.STOP_MARKET,
    "price": None,
    "trigger_price": 4990.0,
    "protective": True,
}


def test_entries_carry_the_end_of_their_lease_and_protection_does_not(tmp_path: Path) -> None:
    """Single, with exits, linked: a whole second, never before the lease's end, in the row before the frame leaves."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("e", epoch))
        body.say(peer, submit("b", epoch, stop_ticks=40, price=4999.0))
        legs = submit("x", epoch, price=4998.0), submit("y", epoch, price=4997.0)
        body.say(peer, SubmitOco(strategy_id=ONE, fencing_epoch=epoch, first=legs[0], second=legs[1]))
        body.say(peer, submit("s", epoch, **STOP))
        await turns()
        sent = {template_id: fields.get("cancel_at_ssboe") for template_id, fields in session.sent}
        assert sent == {312: None, 330: END_S, 328: END_S}
        assert [fields.get("cancel_at_ssboe") for fields in session.of(312)] == [END_S, None]
        for name in ("e", "b", "x", "y"):
            order = body.journal.find_order(ClientOrderId(name))
            assert order is not None
            assert order.expire_ns == END_S * 10**9
        assert {event.client_order_id: event.expire_ns for event in peer.of(OrderInitialized)}["s"] == 0

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_a_pair_with_a_protective_leg_has_no_lease(tmp_path: Path) -> None:
    """The frame has one for both, and what protects a position does not go with the machine."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        legs = submit("x", epoch, side=Side.SELL, price=5010.0), submit("y", epoch, **STOP)
        body.say(peer, SubmitOco(strategy_id=ONE, fencing_epoch=epoch, first=legs[0], second=legs[1]))
        await turns()
        (fields,) = session.of(328)
        assert "cancel_at_ssboe" not in fields
        assert {order.expire_ns for order in body.account.table} == {0}

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_without_the_setting_nothing_expires(tmp_path: Path) -> None:
    """The default."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("e", epoch))
        await turns()
        assert "cancel_at_ssboe" not in session.of(312)[0]

    play(tmp_path, OPEN, scene)


def test_the_closing_order_of_a_flatten_has_no_lease(tmp_path: Path) -> None:
    """The system's own orders end when they are done."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await asyncio.sleep(0.05)
        (fields,) = [each for each in session.of(312) if each["user_tag"].startswith("exit-")]
        assert "cancel_at_ssboe" not in fields

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


@pytest.mark.parametrize("late_s", [0.0, 1.0])
def test_an_intent_whose_lease_is_over_is_denied_before_it_is_sent(tmp_path: Path, late_s: float) -> None:
    """The commit took too long, or the loop stood still: nothing leaves, and the order is over."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("e", epoch))
        time_of(body).set(END_S * 10**9 + round(late_s * 10**9))
        await turns()
        (denied,) = peer.of(OrderDenied)
        assert denied.code is Denial.ORDER_EXPIRED
        assert session.sent == []
        kept = body.journal.find_order(ClientOrderId("e"))
        assert kept is not None
        assert (kept.status, kept.text[:13]) == (OrderStatus.DENIED, "ORDER_EXPIRED")

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_an_intent_that_is_sent_in_time_is_sent(tmp_path: Path) -> None:
    """The last moment before the end is before the end."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("e", epoch))
        time_of(body).set(END_S * 10**9 - 1)
        await turns()
        assert len(session.of(312)) == 1

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def canceled(body: Plant, second: int, *, asked: bool = False) -> None:
    """The exchange takes the entry off: 352 cancel, then 351 complete."""
    body.on_push(352, notice(352, 3, "o1", "b1", report_type="cancel", ssboe=second))
    body.on_push(351, complete("o1", "b1", "C", 0, 0, ssboe=second))


def test_the_end_of_a_lease_is_an_expiry_and_no_cancel(tmp_path: Path) -> None:
    """Reported as every cancel is; the moment says what it was."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        canceled(body, END_S)
        assert len(peer.of(OrderExpired)) == 1
        assert peer.of(OrderCanceled) == []
        assert alerts(body) == []

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_a_cancel_before_the_end_is_a_cancel(tmp_path: Path) -> None:
    """Somebody outside took it off."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        canceled(body, END_S - 1)
        assert len(peer.of(OrderCanceled)) == 1

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_a_cancel_that_was_asked_for_is_a_cancel_whenever_it_is_done(tmp_path: Path) -> None:
    """Ours was on its way."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        canceled(body, END_S + 1)
        assert len(peer.of(OrderCanceled)) == 1

    play(tmp_path, OPEN, scene, entry_lease_s=LEASE_S)


def test_a_lease_that_ended_while_nobody_listened_is_an_expiry(tmp_path: Path) -> None:
    """The next process has the end of the lease in its row, and the list says when the order was taken off."""

    async def life() -> None:
        body = await begun(tmp_path, OPEN, entry_lease_s=LEASE_S)
        await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch)
        await body.stop()
        body = await begun(tmp_path, OPEN, entry_lease_s=LEASE_S)
        gone = image_of("o1", "b1", "complete", 0, 0, notify_type=3)
        gone.ssboe = END_S
        await body.link_up(orders=[gone])
        order = body.account.find(ClientOrderId("o1"))
        assert order is not None
        assert order.status is OrderStatus.EXPIRED
        await body.stop()

    asyncio.run(life())


@pytest.mark.parametrize(("after_s", "lists"), [(6, 1), (4, 3)])
def test_an_entry_in_doubt_is_over_with_its_lease(tmp_path: Path, after_s: int, lists: int) -> None:
    """Wherever it is, it works no more: one list that does not show it is enough, and nobody is called.

    Before that, clocks included, it takes three.
    """

    async def life() -> None:
        body = await begun(tmp_path, OPEN, entry_lease_s=LEASE_S)
        await body.link_up()
        peer, welcome = body.hello()
        body.say(peer, submit("o1", welcome.fencing_epoch))
        await turns()
        body.link_down()
        time_of(body).set((END_S + after_s) * 10**9)
        session = await body.link_up()
        order = body.account.find(ClientOrderId("o1"))
        assert order is not None
        assert order.tombstone
        assert [template for template, _ in session.requests].count(320) == lists
        assert order.status is (OrderStatus.EXPIRED if lists == 1 else OrderStatus.REJECTED)
        assert ("order_not_found" in alerts(body)) is (lists > 1)
        await body.stop()

    asyncio.run(life())


@pytest.mark.parametrize("value", [0.5, 0, -1, 86_401, "60", True, math.inf])
def test_leases_of_no_sense_are_refused(value: Any) -> None:
    """A second at least, so that the exchange can have the order before its end; a day at most."""
    with pytest.raises(ValidationError):
        Strategy.model_validate({"name": "one", "class": "m:C", "symbols": ["ESH4"], "entry_lease_s": value})
