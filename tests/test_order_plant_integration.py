"""The order plant against the embedded exchange, over its real TLS socket and a real order lane."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.lanes import LaneClient, lane_path
from actors.plants.journal import Journal
from actors.plants.order import OrderPlantBody
from actors.plants.order_reconcile import ReconcilePolicy
from nightdesk.clocks import SystemClock
from nightdesk.messages import (
    CancelOrder,
    ChildId,
    ClientOrderId,
    CommandResult,
    Message,
    ModifyOrder,
    OperatorFlatten,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderStatus,
    OrderType,
    OrderUpdated,
    PositionReport,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    SubmitOrder,
    TradingPermissionChanged,
)
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import listening
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.list_check import ListCheck
from tests.fakes import FakeContext
from tests.support import wait_until_async
from tests.test_order_table import make_order

SYMBOL, EXCHANGE = "ESZ6", "CME"
ONE = StrategyId("one")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the paths of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as path:
        yield Path(path)


def configuration(folder: Path) -> RunConfiguration:
    """A lively synthetic market and one strategy."""
    settings = {
        "name": "test",
        "mode": "sim",
        "gateway": {"url": "wss://127.0.0.1", "system_name": "-", "reconnect_initial_s": 0.02, "reconnect_max_s": 0.1},
        "instruments": [
            {"symbol": SYMBOL, "exchange": EXCHANGE, "tick_size": 0.25, "point_value": 50.0, "commission": 2.0}
        ],
        "risk": {"max_order_quantity": 50, "max_position": 99, "max_open_orders": 99, "max_orders_per_second": 999},
        "strategies": [{"name": "one", "class": "m:C", "symbols": [SYMBOL]}],
        "exchange": {"sessions": "always", "source": {"kind": "synthetic", "ticks_per_second": 500.0}},
    }
    return RunConfiguration(
        settings=Settings.model_validate(settings),
        config_file=str(folder / "test.yaml"),
        state_dir=str(folder / "s"),
        runtime_dir=str(folder / "r"),
    )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """With a bound on its time."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


def exchange(configured: RunConfiguration) -> Any:
    """The exchange's server, listening."""
    return listening(configured, clock=SystemClock(), logger=structlog.get_logger())


@asynccontextmanager
async def plant(configured: RunConfiguration) -> AsyncIterator[OrderPlantBody]:
    """An order plant that is connected and reconciled."""
    os.makedirs(configured.runtime_dir, exist_ok=True)
    os.makedirs(configured.state_dir, exist_ok=True)
    context = FakeContext("plants/order", configured.to_json(), SystemClock())
    body = OrderPlantBody(context)
    body.reconcile_policy = ReconcilePolicy(span_s=0.2, quiet_s=0.05, replay_everything=True, positions_s=0.0)
    await body.start()
    try:
        await wait_until_async(lambda: not body.account.reconciling)
        yield body
        assert context.crashed is None
    finally:
        await body.stop()
        await context.cancel_tasks()


class Trader:
    """A strategy's end of the real lane."""

    def __init__(self, configured: RunConfiguration) -> None:
        self.got: list[Message] = []
        self._lane = LaneClient(
            lane_path(configured.runtime_dir, ChildId("plants/order"), "order"),
            on_open=lambda peer: peer.send(
                StrategyHello(strategy_id=ONE, child_id=ChildId("strategies/one"), incarnation=1)
            ),
            on_message=self.got.append,
            on_close=lambda: None,
        )

    async def __aenter__(self) -> "Trader":
        await self._lane.start()
        await wait_until_async(lambda: self.of(StrategyWelcome))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lane.close()

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.got if isinstance(message, kind)]

    @property
    def permitted(self) -> bool:
        """Whether the plant takes orders, by the last that it said."""
        words = [m for m in self.got if isinstance(m, StrategyWelcome | TradingPermissionChanged)]
        last = words[-1]
        return last.trading_permitted if isinstance(last, StrategyWelcome) else last.permitted

    @property
    def epoch(self) -> int:
        epoch: int = self.of(StrategyWelcome)[-1].fencing_epoch
        return epoch

    def submit(
        self, client_order_id: str, side: Side = Side.BUY, quantity: int = 1, price: float | None = None
    ) -> None:
        self._lane.send(
            SubmitOrder(
                client_order_id=ClientOrderId(client_order_id),
                strategy_id=ONE,
                fencing_epoch=self.epoch,
                symbol=SYMBOL,
                exchange=EXCHANGE,
                side=Side.BUY,
                order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
                quantity=quantity,
                price=price,
            )
        )

    def send(self, message: Message) -> None:
        self._lane.send(message)


def agree(body: OrderPlantBody, server: Any) -> bool:
    """The journal's position is the exchange's."""
    positions = {position.symbol: position.net_quantity for position in server._exchange.venue.positions("SIM-1")}
    theirs: int = positions.get(SYMBOL, 0)
    return theirs == body.account.ledger.quantity(ACCOUNT, SYMBOL)


def test_orders_live_their_whole_lives_at_the_exchange(folder: Path) -> None:
    """Market order filled, limit order changed and canceled, a refusal at the exchange; positions agree."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, plant(configured) as body, Trader(configured) as trader:
            trader.submit("m1", quantity=2)
            await wait_until_async(lambda: sum(fill.last_quantity for fill in trader.of(OrderFilled)) == 2)
            await wait_until_async(lambda: trader.of(PositionReport)[-1].quantity == 2)
            trader.submit("l1", price=4000.0)
            await wait_until_async(lambda: "l1" in {event.client_order_id for event in trader.of(OrderAccepted)})
            l1 = ClientOrderId("l1")
            trader.send(ModifyOrder(client_order_id=l1, strategy_id=ONE, fencing_epoch=trader.epoch, price=4000.25))
            await wait_until_async(lambda: trader.of(OrderUpdated))
            assert trader.of(OrderUpdated)[0].price == 4000.25
            trader.send(CancelOrder(client_order_id=l1, strategy_id=ONE, fencing_epoch=trader.epoch))
            await wait_until_async(lambda: trader.of(OrderCanceled))
            assert agree(body, server)
            assert trader.of(OrderRejected) == []
            # Filled, canceled and at work: the exchange's list and our books say the same of each.
            trader.submit("l2", price=4000.0)
            await wait_until_async(lambda: "l2" in {event.client_order_id for event in trader.of(OrderAccepted)})
            audit = body.audit._lists
            audit.ask_soon()
            await wait_until_async(lambda: audit._last is not None)
            assert audit._last == ListCheck((), {})

    run(scenario)


def test_a_restart_adopts_orders_and_recovers_fills_exactly_once(folder: Path) -> None:
    """A new process with the old journal: the resting order is known, the fills of the time between are booked."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            async with plant(configured) as body, Trader(configured) as trader:
                trader.submit("low", price=4000.0)
                trader.submit("near", quantity=40, price=server._exchange.venue.quote(SYMBOL).bid_price)
                await wait_until_async(lambda: len(trader.of(OrderAccepted)) == 2 or trader.of(OrderFilled))
            venue = server._exchange.venue
            orders = {order.terms.user_tag: order for order in venue.orders("SIM-1")}
            account_id, basket = "SIM-1", orders["near"].basket_id
            if orders["near"].leaves_quantity:
                # Cross the spread with the order while nobody of ours listens, so that it fills.
                events = venue.modify(
                    account_id,
                    basket,
                    quantity=40,
                    price=venue.quote(SYMBOL).ask_price + 50.0,
                    trigger_price=None,
                    order_type=OrderType.LIMIT,
                    now_ns=server._exchange.now_ns(),
                )
                server._exchange.record(events)
            async with plant(configured) as body, Trader(configured) as trader:
                await wait_until_async(lambda: agree(body, server))
                low = body.account.table.get(ClientOrderId("low"))
                assert low is not None
                assert low.status is OrderStatus.ACCEPTED
                fills = body.journal.newest_fills(500)
                assert len({fill.fill_id for fill in fills}) == len(fills)
                states = [order for order in venue.orders(account_id) if order.terms.user_tag == "near"]
                assert len(states) == 1
                near = body.account.find(ClientOrderId("near"))
                assert near is not None
                await wait_until_async(lambda: near.filled_quantity == venue.orders(account_id)[1].filled_quantity)

    run(scenario)


def test_a_dropped_link_reconciles_and_trading_goes_on(folder: Path) -> None:
    """The socket is cut under the plant: it reconnects, compares, and takes orders again."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, plant(configured) as body, Trader(configured) as trader:
            trader.submit("low", price=4000.0)
            await wait_until_async(lambda: trader.of(OrderAccepted))
            session = body.session
            assert session is not None
            await session.close()
            await wait_until_async(lambda: body.account.reconciling)
            await wait_until_async(lambda: not body.account.reconciling)
            trader.submit("m1")
            await wait_until_async(lambda: trader.of(OrderFilled))
            assert agree(body, server)
            tags = [order.terms.user_tag for order in server._exchange.venue.orders("SIM-1")]
            assert sorted(tags) == ["low", "m1"]

    run(scenario)


def test_an_intent_that_never_left_becomes_a_tombstone(folder: Path) -> None:
    """The process died between commit and send: the exchange has nothing, so the order counts as never received."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            async with plant(configured) as body:
                pass
            journal = Journal.open(configured.state_dir, system_name="Nightdesk Simulator", durability="process")
            journal.write_intent(make_order("lost"))
            journal.close()
            async with plant(configured) as body:
                found = body.account.find(ClientOrderId("lost"))
                assert found is not None
                assert (found.status, found.text[:9]) == (OrderStatus.REJECTED, "NOT_FOUND")
            assert server._exchange.venue.orders("SIM-1") == []

    run(scenario)


def test_flatten_closes_the_account(folder: Path) -> None:
    """Resting orders canceled, the position closed, ours and the exchange's both flat."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server, plant(configured) as body, Trader(configured) as trader:
            trader.submit("m1", quantity=3)
            trader.submit("low", price=4000.0)
            await wait_until_async(lambda: trader.of(PositionReport) and trader.of(PositionReport)[-1].quantity == 3)
            console = ChildId("services/control")
            body.receive(console, OperatorFlatten(request_id="r", reply_to=console, strategy_id=StrategyId("")))
            await wait_until_async(lambda: body.context.of(CommandResult))  # type: ignore[attr-defined]
            assert body.context.of(CommandResult)[0].ok  # type: ignore[attr-defined]
            await wait_until_async(lambda: body.account.ledger.quantity(ACCOUNT, SYMBOL) == 0)
            assert agree(body, server)
            assert body.account.table.open_count() == 0

    run(scenario)


@pytest.mark.parametrize(
    ("point", "arrives"),
    [
        ("before_commit", False),
        ("commit", False),
        ("send", True),
        ("answer", True),
        ("fill", True),
        ("fill_committed", True),
    ],
)
def test_a_kill_at_any_point_of_an_orders_way_is_settled(folder: Path, point: str, arrives: bool) -> None:
    """SIGKILL of the plant's process: one row per order at the exchange, no tag twice, no fill lost or doubled."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured) as server:
            config_file = folder / "run.json"
            config_file.write_bytes(configured.to_json())
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.order_plant_child", str(config_file), point, cwd=ROOT
            )
            async with Trader(configured) as trader:
                await wait_until_async(lambda: trader.permitted)
                trader.submit("m1", quantity=2)
                assert await child.wait() == -signal.SIGKILL
            venue = server._exchange.venue
            await wait_until_async(lambda: all(order.completion is not None for order in venue.orders("SIM-1")))
            async with plant(configured) as body:
                orders = venue.orders("SIM-1")
                assert [order.terms.user_tag for order in orders] == ["m1"] * arrives
                order = body.journal.find_order(ClientOrderId("m1"))
                if order is None:
                    assert point == "before_commit"
                else:
                    assert order.status is (OrderStatus.FILLED if arrives else OrderStatus.REJECTED)
                assert len(list(body.journal.fills())) == len(venue.executions("SIM-1", 0, 2**40))
                assert agree(body, server)

    run(scenario)
