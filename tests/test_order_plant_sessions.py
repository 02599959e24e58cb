"""The order plant and the calendar: what the gate lets pass, and whom it tells."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Denial,
    ModifyOrder,
    OrderDenied,
    OrderModifyRejected,
    OrderType,
    Side,
    TimeInForce,
)
from tests.calendar_support import at
from tests.order_plant_session_support import (
    CLOSED,
    ONE,
    OPEN,
    PRE_OPEN,
    WEEKEND,
    alerts,
    canceled,
    holding,
    play,
    time_of,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    filled,
    submit,
    turns,
    working,
)


@pytest.mark.parametrize(
    ("moment", "changes", "code"),
    [
        (OPEN, {}, None),
        (CLOSED, {}, Denial.SESSION_CLOSED),
        (CLOSED, {"protective": True}, Denial.SESSION_CLOSED),
        (WEEKEND, {}, Denial.SESSION_CLOSED),
        ("2024-02-19 13:00", {}, Denial.SESSION_CLOSED),
        (PRE_OPEN, {}, None),
        (PRE_OPEN, {"order_type": OrderType.MARKET, "price": None}, Denial.SESSION_CLOSED),
        (PRE_OPEN, {"time_in_force": TimeInForce.IOC}, Denial.SESSION_CLOSED),
        (OPEN, {"price": 5000.1}, Denial.PRICE_OFF_TICK),
        ("2024-02-27 15:29", {}, None),
        ("2024-02-27 15:30", {}, Denial.SESSION_NO_TRADE),
    ],
)
def test_gate_knows_the_time(tmp_path: Path, moment: str, changes: dict[str, Any], code: Denial | None) -> None:
    """Each denial with its code, nothing sent, and nobody called for what happens every day, but for protection."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, **changes))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == ([] if code is None else [code])
        assert len(session.of(312)) == (code is None)
        is_told = code is Denial.PRICE_OFF_TICK or bool(changes.get("protective"))
        assert alerts(body) == (["order_denied"] if is_told else [])

    play(tmp_path, moment, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


def test_contract_that_has_ended_is_denied(tmp_path: Path) -> None:
    """As soon as somebody says when that is; cancels still pass."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        body.account.markets.last_trade_ns = lambda symbol: at(OPEN) if symbol == "ESH4" else None
        body.say(peer, submit("late", epoch))
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.INSTRUMENT_EXPIRED]
        assert canceled(session) == ["b1"]

    play(tmp_path, OPEN, scene)


def test_exits_protection_and_cancels_pass_in_a_no_trade_window(tmp_path: Path) -> None:
    """And changes of entries do not; changes of protection do."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        time_of(body).set(at("2024-02-27 15:31"))
        body.say(peer, submit("exit", epoch, side=Side.SELL, order_type=OrderType.MARKET, price=None))
        for name, terms in (("entry", {"price": 4999.0}), ("stop", {"trigger_price": 4989.0})):
            change = ModifyOrder(client_order_id=ClientOrderId(name), strategy_id=ONE, fencing_epoch=epoch)
            body.say(peer, msgspec.structs.replace(change, **terms))
        body.say(peer, submit("over", epoch, side=Side.SELL, quantity=1))
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("entry"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.client_order_id for event in peer.of(OrderModifyRejected)] == ["entry"]
        assert peer.of(OrderModifyRejected)[0].text.startswith("SESSION_NO_TRADE")
        assert [fields["basket_id"] for fields in session.of(314)] == ["b3"]
        assert [event.client_order_id for event in peer.of(OrderDenied)] == ["over"]
        assert session.of(312)[-1]["user_tag"] == "exit"
        assert canceled(session) == ["b2"]

    play(tmp_path, OPEN, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


@pytest.mark.parametrize("protective", [True, False])
def test_exit_that_is_partly_filled_may_be_changed_in_a_no_trade_window(tmp_path: Path, protective: bool) -> None:
    """A stop trails and an exit chases for what is left of them; what they have filled opens nothing."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.on_push(351, complete("o1", "b1", "F", 2, 0))
        await working(body, peer, epoch, "out", "b2", side=Side.SELL, protective=protective)
        body.on_push(352, filled("out", "b2", "f2", 1, 1, 1))
        time_of(body).set(at("2024-02-27 15:31"))
        terms: dict[str, Any] = {"client_order_id": ClientOrderId("out"), "strategy_id": ONE, "fencing_epoch": epoch}
        body.say(peer, ModifyOrder(**terms, quantity=3))
        await turns()
        assert [event.text[:16] for event in peer.of(OrderModifyRejected)] == ["SESSION_NO_TRADE"]
        body.say(peer, ModifyOrder(**terms, price=4999.0))
        await turns()
        assert [fields["basket_id"] for fields in session.of(314)] == ["b2"]

    play(tmp_path, OPEN, scene, session={"no_trade": [{"from": "15:30", "to": "15:50"}]})


def test_denials_of_a_break_are_told_once(tmp_path: Path) -> None:
    """A strategy asks again and again: each time it is answered, people hear of it once until the calendar goes on."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def told() -> int:
            return [alert.event for alert in body.context.alerts].count("order_denied")  # type: ignore[attr-defined]

        for number in range(3):
            body.say(peer, submit(f"o{number}", epoch))
        assert [denied.code for denied in peer.of(OrderDenied)] == [Denial.SESSION_CLOSED] * 3
        assert told() == 1
        time_of(body).set(at(PRE_OPEN))
        body.say(peer, submit("o3", epoch, order_type=OrderType.MARKET, price=None))
        assert told() == 2

    play(tmp_path, CLOSED, scene)
