"""No-trade windows and fills: what rests is never more than the position, entries end with the window's beginning."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    OrderCanceled,
    OrderPendingUpdate,
    OrderStatus,
    SetTradingState,
    Side,
    StrategyId,
    TimeInForce,
    TradingState,
)
from tests.calendar_support import at
from tests.order_plant_session_support import CONTROL, ONE, STOP, alerts, begun, canceled, play, time_of
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    image,
    notice,
    opened,
    submit,
    turns,
)
from tests.support import wait_until_async

WINDOW = {"session": {"no_trade": [{"from": "15:50", "to": "16:00"}]}}
BEFORE, IN_WINDOW = "2024-02-27 15:49:00", "2024-02-27 15:51:00"
TARGET: dict[str, Any] = {"side": Side.SELL, "price": 5010.0}


async def working(body: Plant, peer: FakePeer, epoch: int, tag: str, basket: str, **changes: Any) -> None:
    """An order that the exchange holds, with its own quantity."""
    body.say(peer, submit(tag, epoch, **changes))
    await turns()
    body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
    quantity = changes.get("quantity", 2)
    side = 2 if changes.get("side") is Side.SELL else 1
    body.on_push(351, opened(tag, basket, transaction_type=side, quantity=quantity, total_unfilled_size=quantity))


async def long_two(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two bought."""
    await working(body, peer, epoch, "o1", "b1")
    fill(body, "o1", "b1", 2)


def fill(body: Plant, tag: str, basket: str, quantity: int, total: int = 0, left: int = 0, side: int = 1) -> None:
    """The broker reports an execution, and the end of the order where nothing is left."""
    total = total or quantity
    key = f"{tag}-{total}"
    body.on_push(352, filled(tag, basket, key, quantity, total, left, transaction_type=side))
    if not left:
        body.on_push(351, complete(tag, basket, "F", total, 0, transaction_type=side))


def modified(session: FakeSession) -> list[tuple[str, int]]:
    """Each change that was sent: the broker's id and the new quantity."""
    return [(fields["basket_id"], fields["quantity"]) for fields in session.of(314)]


def confirm(body: Plant, tag: str, basket: str, quantity: int) -> None:
    """The exchange has changed an order that sells."""
    body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
    totals = {"quantity": quantity, "total_fill_size": 0, "total_unfilled_size": quantity}
    body.on_push(352, notice(352, 2, tag, basket, transaction_type=2, report_type="modify", **totals))


def enter(body: Plant, moment: str) -> None:
    """Time comes to a moment, and the plant looks."""
    time_of(body).set(at(moment))
    body.guard.look()


def test_entries_end_with_the_beginning_of_a_window_and_what_only_reduces_stays(tmp_path: Path) -> None:
    """A resting entry would fill inside of it; stop and target stay, each for the whole position."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b2", time_in_force=TimeInForce.GTC)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "target", "b4", **TARGET)
        body.guard.look()
        await turns()
        assert canceled(session) == []
        enter(body, IN_WINDOW)
        await turns()
        assert canceled(session) == ["b2"]
        body.on_push(351, complete("entry", "b2", "C", 0, 2))
        for _ in range(3):
            body.guard.look()
        await turns()
        assert canceled(session) == ["b2"]
        assert [event.client_order_id for event in peer.of(OrderCanceled)] == ["entry"]

    play(tmp_path, BEFORE, scene, **WINDOW)


def test_entries_are_kept_where_the_strategy_says_so(tmp_path: Path) -> None:
    """``no_trade_entries: keep``: nothing new, but what rests may fill."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "entry", "b2")
        enter(body, IN_WINDOW)
        await turns()
        assert canceled(session) == []

    play(tmp_path, BEFORE, scene, session=WINDOW["session"] | {"no_trade_entries": "keep"})


def test_an_entry_that_was_on_its_way_when_the_window_began_is_canceled_as_soon_as_it_is_known(tmp_path: Path) -> None:
    """Without the broker's id there is nothing to cancel yet."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("entry", epoch))
        await turns()
        enter(body, IN_WINDOW)
        await turns()
        assert canceled(session) == []
        body.on_push(313, answer(313, user_tag="entry", basket_id="b2", rq_handler_rp_code=["0"]))
        body.on_push(351, opened("entry", "b2"))
        await turns()
        assert canceled(session) == ["b2"]

    play(tmp_path, BEFORE, scene, **WINDOW)


def test_a_fill_in_a_window_cuts_the_stop_and_the_next_one_ends_it(tmp_path: Path) -> None:
    """Half of the target fills: half of the stop is left; then the rest: no stop, which could only open a position."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "target", "b4", **TARGET)
        enter(body, IN_WINDOW)
        fill(body, "target", "b4", 1, 1, 1, side=2)
        await turns()
        assert modified(session) == [("b3", 1)]
        assert len(peer.of(OrderPendingUpdate)) == 1
        # The second fill overtakes the answer to the change: what is too much then goes as soon as that has come.
        fill(body, "target", "b4", 1, 2, 0, side=2)
        await turns()
        assert canceled(session) == []
        confirm(body, "stop", "b3", 1)
        body.guard.look()
        await turns()
        assert canceled(session) == ["b3"]

    play(tmp_path, BEFORE, scene, **WINDOW)


def test_a_stop_is_cut_after_a_fill_at_any_time_of_the_day(tmp_path: Path) -> None:
    """Outside of windows, too: the stop has two, an exit of one fills."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "exit", "b4", **TARGET | {"quantity": 1})
        assert modified(session) == []
        fill(body, "exit", "b4", 1, side=2)
        await turns()
        assert modified(session) == [("b3", 1)]

    play(tmp_path, BEFORE, scene)


def test_a_stop_beside_an_entry_that_still_works_is_left_alone(tmp_path: Path) -> None:
    """It was put there for what the entry may still fill: cut, the position would be without it a moment later."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "entry", "b2", quantity=4)
        await working(body, peer, epoch, "stop", "b3", **STOP | {"quantity": 4})
        fill(body, "entry", "b2", 2, 2, 2)
        await working(body, peer, epoch, "exit", "b4", **TARGET | {"quantity": 1})
        fill(body, "exit", "b4", 1, side=2)
        body.guard.look()
        await turns()
        assert modified(session) == [("b3", 3)]
        confirm(body, "stop", "b3", 3)
        body.guard.look()
        body.on_push(351, complete("entry", "b2", "C", 2, 2))
        body.guard.look()
        await turns()
        assert modified(session) == [("b3", 3), ("b3", 1)]

    play(tmp_path, BEFORE, scene)


@pytest.mark.parametrize("in_window", [True, False])
def test_a_stop_that_was_faster_than_its_cancel_is_told_at_once(tmp_path: Path, in_window: bool) -> None:
    """Target and stop both fill: two short, which nobody wanted; it is critical, and the other stop goes."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "target", "b4", **TARGET)
        if in_window:
            enter(body, IN_WINDOW)
        fill(body, "target", "b4", 2, side=2)
        assert alerts(body) == []
        fill(body, "stop", "b3", 2, side=2)
        assert alerts(body) == ["position_unasked"]
        told = body.context.alerts[-1]  # type: ignore[attr-defined]
        assert told.severity == "critical"
        assert "stop has opened 2 ESH4" in told.text
        assert body.account.ledger.quantity(ONE, "ESH4") == -2

    play(tmp_path, BEFORE, scene, **WINDOW)


def test_a_change_that_is_refused_is_asked_again_ever_more_rarely_and_told(tmp_path: Path) -> None:
    """Nothing is hammered, nothing is silent: after ten seconds of trading somebody is called, once."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "exit", "b4", **TARGET | {"quantity": 1})
        fill(body, "exit", "b4", 1, side=2)
        sent: list[float] = []
        for _ in range(240):
            await turns()
            if len(session.of(314)) > len(sent):
                sent.append(body.context.clock.monotonic_s())
                body.on_push(315, answer(315, user_msg=["stop"], basket_id="b3", rq_handler_rp_code=["5", "no"]))
            body.context.clock.advance(0.5)  # type: ignore[attr-defined]
            body.guard.look()
        assert sent == [0.0, 2.0, 6.0, 14.0, 30.0, 62.0]
        assert alerts(body) == ["order_excess"]

    play(tmp_path, BEFORE, scene)


@pytest.mark.parametrize("heard", ["before", "after"])
def test_what_a_killed_plant_had_not_cut_is_cut_by_the_next(
    tmp_path: Path, heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is written down: the orders and the position say that two may be sold and one is held."""

    async def run() -> None:
        body = await begun(tmp_path, BEFORE)
        await body.link_up()
        peer, welcome = body.hello()
        await long_two(body, peer, welcome.fencing_epoch)
        await working(body, peer, welcome.fencing_epoch, "stop", "b3", **STOP)
        await working(body, peer, welcome.fencing_epoch, "exit", "b4", **TARGET | {"quantity": 1})
        # Killed between the fill and the cut.
        monkeypatch.setattr(body.guard, "_treat", lambda pair: None)
        if heard == "before":
            fill(body, "exit", "b4", 1, side=2)
        body.link_down()
        await body.stop()
        body = await begun(tmp_path, BEFORE)
        stop = image("stop", "b3", left=2)
        fields = {"transaction_type": 2, "price_type": 4, "orig_price_type": 4, "trigger_price": 4990.0, "duration": 2}
        for name, value in fields.items():
            setattr(stop, name, value)
        sold = filled("exit", "b4", "exit-1", 1, 1, 0, transaction_type=2, is_snapshot=True)
        session = await body.link_up(orders=[stop], fills=[sold])
        await wait_until_async(lambda: not body.account.reconciling)
        assert body.account.ledger.quantity(ONE, "ESH4") == 1
        body.guard.look()
        await turns()
        assert modified(session) == [("b3", 1)]
        await body.stop()

    asyncio.run(run())


def test_a_halt_keeps_no_stop_from_being_cut(tmp_path: Path) -> None:
    """What only lowers an order opens nothing: it passes as a cancel does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        await working(body, peer, epoch, "stop", "b3", **STOP)
        await working(body, peer, epoch, "exit", "b4", **TARGET | {"quantity": 1})
        halt = SetTradingState(request_id="1", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONTROL, halt)
        fill(body, "exit", "b4", 1, side=2)
        await turns()
        assert modified(session) == [("b3", 1)]

    play(tmp_path, BEFORE, scene)


def gate_answers(body: Plant, peer: FakePeer, epoch: int, orders: dict[str, dict[str, Any]]) -> dict[str, OrderStatus]:
    """Each order in its turn, and what became of it at the gate."""
    for tag, changes in orders.items():
        body.say(peer, submit(tag, epoch, **changes))
    found = {tag: body.account.table.get(ClientOrderId(tag)) for tag in orders}
    return {tag: order.status for tag, order in found.items() if order is not None}


def test_the_flag_protective_lets_pass_stops_up_to_the_position_and_nothing_else(tmp_path: Path) -> None:
    """Their sum counts, a target is an exit, and a stop that is being canceled makes room for its successor."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        enter(body, IN_WINDOW)
        first: dict[str, dict[str, Any]] = {
            "half": STOP | {"quantity": 1},
            "too much": STOP | {"quantity": 2},
            "other half": STOP | {"quantity": 1},
            "third": STOP | {"quantity": 1},
            "flagged target": TARGET | {"protective": True, "quantity": 2},
            "second target": TARGET | {"protective": True, "quantity": 1},
            "flagged entry": {"protective": True},
        }
        passed = [tag for tag, status in gate_answers(body, peer, epoch, first).items() if status != "DENIED"]
        assert passed == ["half", "other half", "flagged target"]
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("half"), strategy_id=ONE, fencing_epoch=epoch))
        assert gate_answers(body, peer, epoch, {"new": STOP | {"quantity": 1}}) == {"new": OrderStatus.INITIALIZED}

    play(tmp_path, BEFORE, scene, **WINDOW)


def test_another_strategys_orders_are_no_concern_of_a_window(tmp_path: Path) -> None:
    """A window is of one strategy; orders of others in the same contract rest on."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        await working(body, other, welcome.fencing_epoch, "t1", "b2", strategy_id=StrategyId("two"))
        body.account.markets._rules.pop(StrategyId("two"))
        enter(body, IN_WINDOW)
        await turns()
        assert canceled(session) == []

    play(tmp_path, BEFORE, scene, **WINDOW)
