"""Settling and auditing against the embedded exchange, over its real socket, with answers that are cut or missing."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants import order_audit
from actors.plants.order import OrderPlantBody
from actors.plants.order_lists import Deadlines
from actors.plants.order_reconcile import SIMULATION
from actors.plants.pnl import PnlPlantBody
from nightdesk.clocks import SystemClock
from nightdesk.messages import ClientOrderId, OrderFilled, OrderStatus, TradingState
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.faults.script import fault_of_command
from nightdesk.trading.ledger import ACCOUNT
from tests.fakes import FakeContext
from tests.support import wait_until_async
from tests.test_order_plant_integration import (
    ROOT,
    SYMBOL,
    Trader,
    agree,
    configuration,
    exchange,
    plant,
    run,
)
from tests.test_order_plant_integration import folder as folder

EVERYTHING = [320, 324, 3506, 3512]
CUT = 10_000
QUANTITY = 20
"""More than waits at one price."""


def inject(server: Any, fault: str, **parameters: Any) -> int:
    number: int = server._exchange.injector.inject(fault_of_command({"fault": fault, **parameters}), "test")
    return number


def told(body: OrderPlantBody, event: str) -> int:
    return [alert.event for alert in body.context.alerts].count(event)  # type: ignore[attr-defined]


@asynccontextmanager
async def dead_at(
    configured: RunConfiguration, server: Any, point: str, *, quantity: int, price: float | None = None
) -> AsyncIterator[None]:
    """An order plant that was killed on the way of its order ``m1``, which the exchange has or filled."""
    config_file = Path(configured.config_file).parent / "run.json"
    config_file.write_bytes(configured.to_json())
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.order_plant_child", str(config_file), point, cwd=ROOT
    )
    async with Trader(configured) as trader:
        await wait_until_async(lambda: trader.permitted)
        trader.submit("m1", quantity=quantity, price=price)
        assert await child.wait() == -signal.SIGKILL

    def is_there() -> bool:
        orders = server._exchange.venue.orders("SIM-1")
        return bool(orders) and (price is not None or all(order.completion is not None for order in orders))

    await wait_until_async(is_there)
    yield


@asynccontextmanager
async def positions(configured: RunConfiguration) -> AsyncIterator[PnlPlantBody]:
    """A pnl plant beside the order plant."""
    context = FakeContext("plants/pnl", configured.to_json(), SystemClock())
    body = PnlPlantBody(context)
    await body.start()
    try:
        yield body
    finally:
        await body.stop()
        await context.cancel_tasks()
    assert context.crashed is None


def test_order_in_doubt_is_found_in_the_days_list_where_the_sessions_is_empty(folder: Path) -> None:
    """The frame left and its process died; 320 has its end and nothing else: adopted by 324, never sent again."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, dead_at(configured, server, "send", quantity=2, price=4000.0):
            inject(server, "partial_list", templates=[320], cut=CUT)
            async with plant(configured) as body:
                order = body.account.find(ClientOrderId("m1"))
                assert order is not None
                assert order.status is OrderStatus.ACCEPTED
                assert [each.basket_id for each in server._exchange.venue.orders("SIM-1")] == [order.venue_order_id]

    run(scenario)


def test_execution_that_the_replay_leaves_out_is_booked_from_the_history(folder: Path) -> None:
    """Killed with a fill in hand; 3506 is empty, 3512 is not: each is booked once, told, and positions agree."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, dead_at(configured, server, "fill", quantity=QUANTITY):
            executions = server._exchange.venue.executions("SIM-1", 0, 2**40)
            # The image of a filled order tells of its last one.
            assert len(executions) > 1
            inject(server, "partial_list", templates=[3506], cut=CUT)
            async with plant(configured) as body:
                assert agree(body, server)
                assert body.account.ledger.quantity(ACCOUNT, SYMBOL) == QUANTITY
                assert len(list(body.journal.fills())) == len(executions)
                assert told(body, "fills_found_in_history") == 1
            async with plant(configured) as body:
                assert agree(body, server)
                assert told(body, "fills_found_in_history") == 0

    run(scenario)


def test_broker_that_is_silent_on_what_corroborates_does_not_block_for_ever(folder: Path) -> None:
    """324 and 3512 are never answered: after three silences each is left out, and told once."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            inject(server, "mute", templates=[324, 3512])
            context = FakeContext("plants/order", configured.to_json(), SystemClock())
            body = OrderPlantBody(context)
            body.reconcile_policy = msgspec.structs.replace(
                SIMULATION,
                retry_s=0.02,
                deadlines=Deadlines(orders_s=5.0, orders_of_day_s=0.2, executions_s=5.0, fills_s=0.2),
            )
            await body.start()
            await wait_until_async(lambda: not body.account.reconciling)
            assert told(body, "reconcile_query_unserved") == 2
            async with Trader(configured) as trader:
                trader.submit("m1")
                await wait_until_async(lambda: trader.of(OrderFilled))
            await body.stop()
            await context.cancel_tasks()

    run(scenario)


def test_executions_are_required_in_one_of_their_two_answers(folder: Path) -> None:
    """Neither 3506 nor 3512 ends: blocked until one of them is answered again."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            number = inject(server, "partial_list", templates=[3506, 3512], cut=0, terminal=False)
            context = FakeContext("plants/order", configured.to_json(), SystemClock())
            body = OrderPlantBody(context)
            limits = Deadlines(orders_s=5.0, orders_of_day_s=5.0, executions_s=0.1, fills_s=0.1)
            body.reconcile_policy = msgspec.structs.replace(SIMULATION, retry_s=0.02, deadlines=limits)
            await body.start()
            await wait_until_async(lambda: told(body, "reconcile_query_unserved") == 2)
            await asyncio.sleep(0.3)
            assert body.account.reconciling
            server._exchange.injector.heal(number)
            session = body.session
            assert session is not None
            await session.close()
            await wait_until_async(lambda: not body.account.reconciling)
            await body.stop()
            await context.cancel_tasks()

    run(scenario)


@pytest.fixture
def quick_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second instead of seconds."""
    for name in ("MISMATCH_S", "MISMATCH_IN_FLIGHT_S"):
        monkeypatch.setattr(order_audit, name, 0.3)


def test_positions_corroborate_a_restart(folder: Path) -> None:
    """The pnl plant is asked for a whole list before orders pass, and it agrees."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, positions(configured):
            async with plant(configured) as body, Trader(configured) as trader:
                trader.submit("m1", quantity=2)
                await wait_until_async(lambda: body.account.ledger.quantity(ACCOUNT, SYMBOL) == 2)
            context = FakeContext("plants/order", configured.to_json(), SystemClock())
            body = OrderPlantBody(context)
            body.reconcile_policy = msgspec.structs.replace(SIMULATION, positions_s=20.0)
            compared: list[dict[str, tuple[int, int]] | None] = []

            async def compare(timeout_s: float) -> dict[str, tuple[int, int]] | None:
                compared.append(await body.audit.compare(timeout_s))
                return compared[-1]

            await body.start()
            body.reconciler.compare_positions = compare
            await wait_until_async(lambda: not body.account.reconciling)
            assert compared == [{}]
            assert agree(body, server)
            await body.stop()
            await context.cancel_tasks()

    run(scenario)


def test_position_that_nothing_explains_reduces_trading(folder: Path, quick_audit: None) -> None:
    """A journal that is younger than the position, and lists that are cut: the pnl plant's word is not overheard."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            async with plant(configured) as body, Trader(configured) as trader:
                trader.submit("m1", quantity=2)
                await wait_until_async(lambda: body.account.ledger.quantity(ACCOUNT, SYMBOL) == 2)
            (Path(configured.state_dir) / "journal.db").unlink()
            (Path(configured.state_dir) / "journal.db-wal").unlink(missing_ok=True)
            inject(server, "partial_list", templates=EVERYTHING, cut=CUT)
            async with plant(configured) as body, positions(configured):
                await wait_until_async(lambda: told(body, "position_mismatch") == 1)
                assert body.account.trading_state is TradingState.REDUCING
                text = next(alert.text for alert in body.context.alerts if alert.event == "position_mismatch")  # type: ignore[attr-defined]
                assert text.startswith(f"{SYMBOL}: the journal says 0, ")
                assert "its positions 2" in text
                server._exchange.injector.heal()
                body.reconciler.request("the lists are whole again")
                await wait_until_async(lambda: told(body, "position_mismatch_ended") == 1)
                assert agree(body, server)
                assert body.account.trading_state is TradingState.REDUCING

    run(scenario)


def test_positions_that_are_cut_out_of_their_answer_are_not_flat(folder: Path, quick_audit: None) -> None:
    """402 brings the account's line and its end, and no position: *unknown*, so nobody is called."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, plant(configured) as body, positions(configured) as pnl:
            async with Trader(configured) as trader:
                trader.submit("m1", quantity=2)
                await wait_until_async(lambda: body.audit._broker.get(SYMBOL) == 2)
            inject(server, "partial_list", templates=[402], cut=CUT)
            # An answer may have been on its way.
            await asyncio.sleep(0.3)
            for _ in range(5):
                known = body.audit._snapshots
                pnl._snapshot_due.set()
                await asyncio.sleep(0.2)
                assert body.audit._snapshots == known
            assert body.audit._broker[SYMBOL] == 2
            assert told(body, "position_mismatch") == 0
            order = body.account.find(ClientOrderId("m1"))
            assert order is not None
            assert order.status is OrderStatus.FILLED

    run(scenario)
