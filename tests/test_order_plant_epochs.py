"""Fencing: no command of a process that is not its strategy's present one does anything, whatever epoch it names."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    Flatten,
    Message,
    ModifyBracket,
    ModifyOrder,
    Side,
    StrategyId,
    SubmitOco,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    configuration,
    filled,
    image,
    play,
    started,
    submit,
    turns,
    working,
)

ONE = StrategyId("one")
BRACKET = ClientOrderId("bracket")
ENTRY = ClientOrderId("entry")

COMMANDS: dict[str, Callable[[int], Message]] = {
    "submit": lambda epoch: submit("late", epoch),
    "oco": lambda epoch: SubmitOco(
        strategy_id=ONE,
        fencing_epoch=epoch,
        first=submit("late-1", epoch, side=Side.SELL, price=5100.0),
        second=submit("late-2", epoch, side=Side.SELL, price=5200.0),
    ),
    "modify": lambda epoch: ModifyOrder(client_order_id=ENTRY, strategy_id=ONE, fencing_epoch=epoch, price=4000.0),
    "modify_bracket": lambda epoch: ModifyBracket(
        client_order_id=BRACKET, strategy_id=ONE, fencing_epoch=epoch, stop_ticks=8
    ),
    "cancel": lambda epoch: CancelOrder(client_order_id=ENTRY, strategy_id=ONE, fencing_epoch=epoch),
    "cancel_all": lambda epoch: CancelAllOrders(strategy_id=ONE, fencing_epoch=epoch),
    "flatten": lambda epoch: Flatten(strategy_id=ONE, fencing_epoch=epoch),
}


async def with_orders(body: Plant, peer: FakePeer, epoch: int) -> None:
    """A position, an entry that works, and a bracket that waits."""
    await working(body, peer, epoch, "in", "b0")
    body.on_push(352, filled("in", "b0", "f0", 2, 2, 0))
    await working(body, peer, epoch, ENTRY, "b1")
    await working(body, peer, epoch, BRACKET, "b2", price=4990.0, stop_ticks=4)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_the_present_process_is_carried_out(tmp_path: Path, name: str) -> None:
    """So that the tests below can fail: each of these commands has an effect where it may."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await with_orders(body, peer, epoch)
        known = len(session.sent)
        body.say(peer, COMMANDS[name](epoch))
        await turns()
        assert len(session.sent) > known

    play(tmp_path, scenario)


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_a_former_process_does_nothing(tmp_path: Path, name: str, ahead: int) -> None:
    """With its own epoch, with the present one (a small number that it can guess), with the next one."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await with_orders(body, peer, epoch)
        body.hello()
        known = len(session.sent)
        body.say(peer, COMMANDS[name](epoch + ahead))
        await turns()
        assert len(session.sent) == known
        assert not body.gate.flattening

    play(tmp_path, scenario)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_of_before_the_order_plants_death_does_nothing_after_it(tmp_path: Path, name: str) -> None:
    """Its epoch was given by a process that is dead; the new one knows nobody before his hello."""
    epochs: list[int] = []

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await with_orders(body, peer, epoch)
        epochs.append(epoch)

    play(tmp_path, scenario)

    async def again() -> None:
        body = await started(configuration(tmp_path))
        shown = [image(ENTRY, "b1"), image(BRACKET, "b2")]
        session = await body.link_up(orders=shown)
        for epoch in (-1, *epochs, epochs[0] + 1):
            body.say(FakePeer(), COMMANDS[name](epoch))
        await turns()
        assert session.sent == []
        assert not body.gate.flattening
        await body.stop()

    asyncio.run(again())
