"""What the operator asks of the order plant: pauses, halts, flattens, the account, and the answers to queries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages import (
    AccountIdentity,
    AccountStatus,
    CancelOrder,
    ChildId,
    ClientOrderId,
    CommandResult,
    Denial,
    OperatorFlatten,
    OrderDenied,
    PauseChanged,
    PauseStrategy,
    PlantStatus,
    QueryStatus,
    ResumeStrategy,
    SetTradingState,
    Side,
    StrategyId,
    TradingState,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    image,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
CONSOLE = ChildId("services/control")


def test_a_pause_denies_cancels_entries_and_survives(tmp_path: Path) -> None:
    """Protective orders stay; the pause is there after a restart; resume lets orders pass."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        await working(body, peer, epoch, "o2", "b2", side=Side.SELL, protective=True)
        body.receive(CONSOLE, PauseStrategy(request_id="r", reply_to=CONSOLE, strategy_id=ONE, reason="test"))
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        body.say(peer, submit("o3", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_PAUSED
        assert peer.of(PauseChanged)[0].paused

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        peer, welcome = body.hello()
        assert welcome.paused
        await body.link_up(orders=[image("o1", "b1"), notice_sell("o2", "b2")])
        body.receive(CONSOLE, ResumeStrategy(request_id="r", reply_to=CONSOLE, strategy_id=ONE))
        body.say(peer, submit("o4", welcome.fencing_epoch))
        await turns()
        assert peer.of(OrderDenied) == []
        await body.stop()

    asyncio.run(again())


def test_halted_denies_but_lets_cancels_pass_and_survives(tmp_path: Path) -> None:
    """The state is journalled; a system that stops in it says so by its exit code."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        assert body.exit_code() is None
        halt = SetTradingState(request_id="r", reply_to=CONSOLE, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONSOLE, halt)
        body.say(peer, submit("o2", epoch))
        assert peer.of(OrderDenied)[0].code is Denial.STATE_HALTED
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("o1"), strategy_id=ONE, fencing_epoch=epoch))
        await turns()
        assert len(session.of(316)) == 1
        assert body.exit_code() == 5

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        assert body.account.trading_state is TradingState.HALTED
        await body.stop()

    asyncio.run(again())


def test_flatten_cancels_first_and_closes_with_one_order(tmp_path: Path) -> None:
    """Allowed while halted; a second flatten sends no second exit while the first one is open."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "o1", "b1")
        body.on_push(352, filled("o1", "b1", "f1", 1, 1, 1))

        def cancels(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 316:
                body.on_push(351, complete("o1", "b1", "C", 1, 1))

        session.on_send = cancels
        body.account.set_trading_state(TradingState.HALTED, "test")
        command = OperatorFlatten(request_id="r", reply_to=CONSOLE, strategy_id=StrategyId(""))
        body.receive(CONSOLE, command)
        await wait_until_async(lambda: body.context.of(CommandResult))  # type: ignore[attr-defined]
        await turns()
        _, exit_order = session.of(312)
        assert (exit_order["transaction_type"], exit_order["quantity"], exit_order["price_type"]) == (2, 1, 2)
        body.receive(CONSOLE, command)
        await wait_until_async(lambda: len(body.context.of(CommandResult)) == 2)  # type: ignore[attr-defined]
        first, second = body.context.of(CommandResult)  # type: ignore[attr-defined]
        assert (first.ok, second.ok) == (True, False)
        assert len(session.of(312)) == 2

    play(tmp_path, scenario)


def test_status_answers_with_the_link_and_the_account(tmp_path: Path) -> None:
    """One query, two answers."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch)
        session.messages, session.last_message_s = 3, 0.0  # type: ignore[attr-defined]
        body.receive(CONSOLE, QueryStatus(request_id="q", reply_to=CONSOLE))
        status = body.context.of(AccountStatus)[0]  # type: ignore[attr-defined]
        assert (status.account_id, status.reconciled, status.orders.working) == ("SIM-1", True, 1)
        assert len(body.context.of(PlantStatus)) == 1  # type: ignore[attr-defined]

    play(tmp_path, scenario)


def test_several_accounts_need_a_choice(tmp_path: Path) -> None:
    """The message names what there is to choose from."""

    async def run() -> None:
        body = await started(configuration(tmp_path))
        session = FakeSession(body)
        session.identity = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("A", "B"))
        with pytest.raises(ConfigurationError, match="A, B"):
            await body.on_link_up(session)  # type: ignore[arg-type]
        await body.stop()

    asyncio.run(run())


def notice_sell(tag: str, basket: str) -> Any:
    """The image of a working order to sell."""
    frame = image(tag, basket)
    frame.transaction_type = 2
    return frame
