"""Closing positions under adverse conditions: halts, pauses, missing executions, cancels that nobody confirms."""

from pathlib import Path

import pytest

from nightdesk.messages import (
    CancelAllOrders,
    ChildId,
    CommandResult,
    Denial,
    Flatten,
    OperatorCancelAll,
    OperatorFlatten,
    OrderDenied,
    OrderType,
    PauseStrategy,
    SetTradingState,
    Side,
    StrategyId,
    TradingState,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    opened,
    play,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONTROL = ChildId("services/control")


def alerts(body: Plant) -> list[str]:
    """The names of all alerts so far."""
    return [alert.event for alert in body.context.alerts]  # type: ignore[attr-defined]


async def _holding(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts long, and one working entry."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))
    await working(body, peer, epoch, "o2", "b2")


@pytest.mark.parametrize("state", [Denial.STATE_HALTED, Denial.STATE_PAUSED])
def test_a_strategy_that_may_not_order_may_not_flatten_either(tmp_path: Path, state: Denial) -> None:
    """Its entries are canceled; a closing order is a new order, which only the operator may send now. The stop stays:
    no other one could be sent."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await _holding(body, peer, epoch)
        stop = {"side": Side.SELL, "order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": 4990.0}
        await working(body, peer, epoch, "stop", "b3", protective=True, **stop)
        if state is Denial.STATE_HALTED:
            halt = SetTradingState(request_id="1", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
            body.receive(CONTROL, halt)
        else:
            body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [state]
        assert [fields["basket_id"] for fields in session.of(316)] == ["b2"]
        body.on_push(351, complete("o2", "b2", "C", 0, 2))
        assert len(session.of(312)) == 3
        flatten = OperatorFlatten(request_id="2", reply_to=CONTROL, strategy_id=StrategyId(""))
        body.receive(CONTROL, flatten)
        await wait_until_async(lambda: len(session.of(316)) == 2)

    play(tmp_path, scenario)


def test_neither_a_pause_nor_a_cancel_all_of_the_strategy_takes_back_a_flatten(tmp_path: Path) -> None:
    """The closing order is no entry: while it works, only the operator cancels it."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(session.of(312)) == 2)
        tag = session.of(312)[1]["user_tag"]
        body.on_push(313, answer(313, user_tag=tag, basket_id="b9", rq_handler_rp_code=["0"]))
        body.on_push(351, opened(tag, "b9", transaction_type=2))
        body.say(peer, CancelAllOrders(strategy_id=ONE, fencing_epoch=epoch))
        body.receive(CONTROL, PauseStrategy(request_id="1", reply_to=CONTROL, strategy_id=ONE, reason="test"))
        await turns()
        assert session.of(316) == []
        body.receive(CONTROL, OperatorCancelAll(request_id="2", reply_to=CONTROL, strategy_id=StrategyId("")))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b9"]

    play(tmp_path, scenario)


def test_a_flatten_says_which_cancels_were_not_confirmed(tmp_path: Path) -> None:
    """An entry that may still fill after the closing order is told to the operator and to the strategy."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await _holding(body, peer, epoch)
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        assert "1 orders are not known to be canceled" in peer.of(OrderDenied)[0].text
        assert len(session.of(312)) == 3

    play(tmp_path, scenario)


def test_missing_executions_of_one_strategy_do_not_keep_another_from_its_flatten(tmp_path: Path) -> None:
    """Only the position that is not certain cannot be closed."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        other, welcome = body.hello("two")
        await working(body, other, welcome.fencing_epoch, "t1", "b2", strategy_id=StrategyId("two"))
        body.on_push(351, complete("t1", "b2", "C", 1, 1))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: len(session.of(312)) == 3)
        assert session.of(312)[2]["transaction_type"] == 2

    play(tmp_path, scenario)


def test_a_second_flatten_sends_no_second_closing_order(tmp_path: Path) -> None:
    """Whether the first is at work or its order works: one closing order, and the answer says so."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        def answers() -> list[str]:
            told = body.context.of(CommandResult)  # type: ignore[attr-defined]
            return [message.text for message in told]

        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
        for number in range(3):
            body.receive(CONTROL, OperatorFlatten(request_id=str(number), reply_to=CONTROL, strategy_id=StrategyId("")))
        await wait_until_async(lambda: len(answers()) == 3)
        body.receive(CONTROL, OperatorFlatten(request_id="late", reply_to=CONTROL, strategy_id=ONE))
        await wait_until_async(lambda: len(answers()) == 4)
        assert [text.startswith("1 closing orders sent") for text in sorted(answers())] == [False] * 3 + [True]
        assert len(session.of(312)) == 2

    play(tmp_path, scenario)
