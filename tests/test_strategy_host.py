"""The strategy actor against in-process lane servers that play the ticker, order and history plants."""

import asyncio
import contextlib
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.lanes import LaneServer, Peer, lane_path
from actors.strategies.host import HISTORY, ORDER, TICKER, StrategyBody
from nightdesk.clocks import SystemClock
from nightdesk.errors import StrategyError
from nightdesk.messages import (
    Bar,
    ChildId,
    ClientOrderId,
    Denial,
    FillId,
    HistoryPage,
    Message,
    OrderFilled,
    OrderReport,
    OrderStatus,
    OrderType,
    QueryOrder,
    QueryStatus,
    RequestBars,
    Side,
    StrategyHello,
    StrategyId,
    StrategyStatus,
    StrategyWelcome,
    SubmitOrder,
    SubscribeMarketData,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.settings.models import Exchange, Instrument, Risk, Settings
from nightdesk.settings.models import Strategy as StrategySection
from nightdesk.settings.runtime import RunConfiguration
from tests.e2e.harness import short_folder
from tests.fakes import FakeContext
from tests.strategy_support import START_NS, quote_at, trade_at
from tests.support import wait_until_async

MODULE = "host_test_strategy"

SOURCE = """
    from nightdesk import Strategy


    class Probe(Strategy):
        VERSION = 1

        def on_start(self):
            self.calls = ["start"]
            self.results = []

        def on_stop(self):
            self.calls.append("stop")
            self.sell(1)

        def on_pause(self):
            self.calls.append("pause")

        def on_trade(self, trade):
            self.calls.append(("trade", trade.price))
            if trade.price == 13.0:
                raise RuntimeError("unlucky")
            if trade.price == 7.0:
                self.buy(2)

        def on_timer(self, name):
            self.calls.append(name)

        def on_order_denied(self, event):
            self.calls.append(event.code)

        def on_order_filled(self, event):
            self.calls.append(("filled", self.position().quantity))

        def on_connection_lost(self, event):
            self.calls.append(("lost", event.plant))

        def on_connection_restored(self, event):
            self.calls.append(("restored", event.plant, event.downtime_ms >= 0))

        def on_data_gap(self, gap):
            self.calls.append(("gap", gap.ts_from_ns, gap.ts_to_ns))
"""


class _Plant:
    """One lane server; ``got`` holds what the strategy sent, ``peer`` its connection."""

    def __init__(self, runtime_dir: str, child_id: ChildId, lane: str) -> None:
        self.got: list[Any] = []
        self.peer: Peer | None = None
        self.welcomes = 0
        self.paused = False
        self.is_silent = False
        path = lane_path(runtime_dir, child_id, lane)
        self.server = LaneServer(path, on_open=self._open, on_message=self._take, on_close=self._close)

    def send(self, *messages: Message) -> None:
        assert self.peer is not None
        for message in messages:
            self.peer.send(message)

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.got if isinstance(message, kind)]

    def _open(self, peer: Peer) -> None:
        self.peer = peer

    def _close(self, peer: Peer) -> None:
        self.peer = None

    def _take(self, peer: Peer, message: Message) -> None:
        self.got.append(message)
        if isinstance(message, StrategyHello) and not self.is_silent:
            self.welcomes += 1
            peer.send(
                StrategyWelcome(
                    strategy_id=message.strategy_id,
                    fencing_epoch=self.welcomes,
                    paused=self.paused,
                    trading_permitted=True,
                    orders=(),
                    positions=(),
                )
            )


class _World:
    """The three plants, a strategy body, and the user's folder."""

    def __init__(self, folder: Path, runtime: Path, source: str, **section: Any) -> None:
        self.folder = folder
        (folder / f"{MODULE}.py").write_text(textwrap.dedent(source))
        self.runtime_dir = str(runtime)
        settings = Settings(
            name="host_test",
            mode="sim",
            instruments=[Instrument(symbol="ESZ6", exchange="CME", tick_size=0.25, point_value=50.0)],
            risk=Risk(max_order_quantity=1, max_position=1, max_open_orders=1, max_orders_per_second=1),
            strategies=[
                StrategySection(
                    **({"name": "probe", "class": f"{MODULE}:Probe", "path": ".", "symbols": ["ESZ6"]} | section)
                )
            ],
            exchange=Exchange(speed=1.0),
        )
        run = RunConfiguration(
            settings=settings, config_file=str(folder / "c.yaml"), state_dir=str(folder), runtime_dir=self.runtime_dir
        )
        self.context = FakeContext("strategies/probe", run.to_json(), SystemClock())
        self.market = _Plant(self.runtime_dir, TICKER, "market")
        self.order = _Plant(self.runtime_dir, ORDER, "order")
        self.history = _Plant(self.runtime_dir, HISTORY, "history")
        self.body = StrategyBody(self.context)

    @property
    def strategy(self) -> Any:
        runner = self.body._runner
        assert runner is not None
        return runner.strategy

    @property
    def calls(self) -> list[Any]:
        return getattr(self.strategy, "calls", [])

    async def up(self) -> None:
        """Everything connected, on_start called and market data subscribed to."""
        for plant in (self.market, self.order, self.history):
            await plant.server.start()
        await self.body.start()
        await wait_until_async(lambda: self.market.of(SubscribeMarketData) and self.history.peer)

    async def restart(self, plant: _Plant, child_id: ChildId, lane: str) -> _Plant:
        """End a plant's process and start a new one."""
        await plant.server.close()
        fresh = _Plant(self.runtime_dir, child_id, lane)
        await fresh.server.start()
        return fresh

    async def down(self) -> None:
        for plant in (self.market, self.order, self.history):
            await plant.server.close()


@contextlib.asynccontextmanager
async def _world(folder: Path, source: str = SOURCE, **section: Any) -> AsyncIterator[_World]:
    """A running strategy; what ends the actor in a real process fails the test here."""
    with short_folder() as runtime:
        world = _World(folder, runtime, source, **section)
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, details: world.context.crash(details.get("exception", RuntimeError(str(details))))
        )
        try:
            yield world
        finally:
            await world.down()


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    """The user's folder is on the import path of this process only as long as the test."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


def test_a_welcome_in_parts_is_taken_as_one(tmp_path: Path) -> None:
    """More orders than fit a packet come in several welcomes: the strategy starts with all of them, and only then."""

    def order(name: str) -> OrderReport:
        return OrderReport(
            client_order_id=ClientOrderId(name),
            venue_order_id=VenueOrderId(f"b-{name}"),
            strategy_id=StrategyId("probe"),
            symbol="ESZ6",
            exchange="CME",
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.DAY,
            status=OrderStatus.ACCEPTED,
            quantity=1,
            filled_quantity=0,
            leaves_quantity=1,
            price=1.0,
            trigger_price=None,
            average_price=None,
            protective=False,
            ts_init_ns=1,
            ts_last_ns=1,
        )

    async def run() -> None:
        async with _world(tmp_path) as world:
            world.order.is_silent = True
            for plant in (world.market, world.order, world.history):
                await plant.server.start()
            await world.body.start()
            await wait_until_async(lambda: world.order.of(StrategyHello) and world.market.peer)
            for more, names in ((True, "ab"), (True, "cd"), (False, "e")):
                assert world.calls == []
                welcome = StrategyWelcome(
                    strategy_id=StrategyId("probe"),
                    fencing_epoch=1,
                    paused=False,
                    trading_permitted=True,
                    orders=tuple(order(name) for name in names),
                    positions=(),
                    more=more,
                )
                world.order.send(welcome)
            await wait_until_async(lambda: world.market.of(SubscribeMarketData))
            assert [report.client_order_id for report in world.strategy.orders()] == list("abcde")
            assert world.order.of(QueryOrder) == []
            await world.body.stop()

    asyncio.run(run())


def test_start_waits_for_both_lanes_and_subscribes_afterwards(tmp_path: Path) -> None:
    """Neither a market lane alone nor an order lane without a welcome starts the strategy."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.market.server.start()
            await world.body.start()
            await wait_until_async(lambda: world.market.peer)
            assert (world.calls, world.market.got) == ([], [])
            world.order.is_silent = True
            await world.order.server.start()
            await wait_until_async(lambda: world.order.of(StrategyHello))
            assert world.calls == []
            await world.order.server.close()
            world.order.is_silent = False
            await world.order.server.start()
            await wait_until_async(lambda: world.market.got)
            assert world.calls == ["start"]
            (subscription,) = world.market.got
            assert (subscription.subscriber, subscription.symbol, subscription.exchange) == (
                "strategies/probe",
                "ESZ6",
                "CME",
            )
            await world.body.stop()

    asyncio.run(run())


def test_ticks_reach_the_strategy_and_its_order_the_plant(tmp_path: Path) -> None:
    """A trade makes it buy, the fill is in its position, and the status counts all of it."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            world.market.send(quote_at(START_NS), trade_at(START_NS + 1, 5.0), trade_at(START_NS + 2, 7.0))
            await wait_until_async(lambda: world.order.of(SubmitOrder))
            (command,) = world.order.of(SubmitOrder)
            assert (command.side, command.quantity, command.fencing_epoch) == (Side.BUY, 2, 1)
            assert command.client_order_id.startswith("probe-1-")
            world.order.send(_fill(command))
            await wait_until_async(lambda: ("filled", 2) in world.calls)
            world.body.receive(
                ChildId("services/control"), QueryStatus(request_id="q", reply_to=ChildId("services/control"))
            )
            expected = StrategyStatus(
                request_id="q",
                strategy_id=StrategyId("probe"),
                state="running",
                ticks=3,
                trades=2,
                quotes=1,
                orders_sent=1,
                fills=1,
                last_event_ns=START_NS + 2,
            )
            assert world.context.told == [("services/control", expected)]
            assert world.context.crashed is None
            await world.body.stop()

    asyncio.run(run())


def _fill(command: SubmitOrder) -> OrderFilled:
    return OrderFilled(
        client_order_id=command.client_order_id,
        strategy_id=command.strategy_id,
        symbol=command.symbol,
        exchange=command.exchange,
        ts_event_ns=START_NS,
        venue_order_id=VenueOrderId("v"),
        fill_id=FillId("f"),
        side=command.side,
        last_quantity=command.quantity,
        last_price=5000.0,
        filled_quantity=command.quantity,
        leaves_quantity=0,
        average_price=5000.0,
        commission=1.0,
    )


def test_orders_of_on_stop_still_leave(tmp_path: Path) -> None:
    """The order lane is closed only after what on_stop sent was taken."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            await world.body.stop()
            await wait_until_async(lambda: world.order.of(SubmitOrder))
            assert world.calls == ["start", "stop"]

    asyncio.run(run())


def test_restart_of_the_ticker_plant_is_told_and_the_gap_computed(tmp_path: Path) -> None:
    """Lost, restored with a new subscription, and a gap from the last tick seen to the first new one."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            world.market.send(trade_at(START_NS + 10, 5.0))
            await wait_until_async(lambda: ("trade", 5.0) in world.calls)
            world.market = await world.restart(world.market, TICKER, "market")
            await wait_until_async(lambda: world.market.of(SubscribeMarketData))
            world.market.send(trade_at(START_NS + 90, 6.0))
            await wait_until_async(lambda: ("trade", 6.0) in world.calls)
            assert world.calls[2:] == [
                ("lost", "plants/ticker"),
                ("restored", "plants/ticker", True),
                ("gap", START_NS + 10, START_NS + 90),
                ("trade", 6.0),
            ]
            await world.body.stop()

    asyncio.run(run())


def test_order_without_the_order_plant_is_denied_and_a_new_welcome_gives_a_new_epoch(tmp_path: Path) -> None:
    """The strategy goes on; the next order carries the epoch of the new order plant."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            await world.order.server.close()
            await wait_until_async(lambda: ("lost", "plants/order") in world.calls)
            world.market.send(trade_at(START_NS, 7.0))
            await wait_until_async(lambda: Denial.STATE_DISCONNECTED in world.calls)
            world.order.got.clear()
            await world.order.server.start()
            await wait_until_async(lambda: ("restored", "plants/order", True) in world.calls)
            world.market.send(trade_at(START_NS + 1, 7.0))
            await wait_until_async(lambda: world.order.of(SubmitOrder))
            assert world.order.of(SubmitOrder)[0].fencing_epoch == 2
            assert world.context.crashed is None
            await world.body.stop()

    asyncio.run(run())


def test_paused_strategy_hears_of_it_after_its_start(tmp_path: Path) -> None:
    """A pause from before a restart is in force at once; its state says so."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            world.order.paused = True
            await world.up()
            assert world.calls == ["start", "pause"]
            world.body.receive(ChildId("x"), QueryStatus(request_id="q", reply_to=ChildId("x")))
            (status,) = world.context.of(StrategyStatus)
            assert getattr(status, "state", None) == "paused"
            await world.body.stop()

    asyncio.run(run())


def test_callback_that_raises_ends_the_actor(tmp_path: Path) -> None:
    """Nobody catches it: the supervisor starts a fresh process."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            world.market.send(trade_at(START_NS, 13.0))
            await wait_until_async(lambda: world.context.crashed)
            assert str(world.context.crashed) == "unlucky"

    asyncio.run(run())


def test_timer_fires_between_ticks(tmp_path: Path) -> None:
    """The market clock runs on with the monotonic clock."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            world.market.send(trade_at(START_NS, 5.0))
            await wait_until_async(lambda: ("trade", 5.0) in world.calls)
            world.strategy.set_timer("soon", 0.02)
            await wait_until_async(lambda: world.calls.count("soon") >= 3)
            await world.body.stop()

    asyncio.run(run())


def test_history_is_collected_from_its_pages(tmp_path: Path) -> None:
    """One answer per request: all bars, the plant's error, or that it was lost."""

    async def run() -> None:
        async with _world(tmp_path) as world:
            await world.up()
            results: list[Any] = []

            def keep(bars: tuple[Bar, ...], error: str) -> None:
                results.append((len(bars), error))

            for _ in range(3):
                world.strategy.history(None, 60, 3, keep)
            await wait_until_async(lambda: len(world.history.of(RequestBars)) == 3)
            first, second, _ = (request.request_id for request in world.history.of(RequestBars))
            world.history.send(
                HistoryPage(request_id=first, bars=(_bar(0), _bar(1)), is_last=False),
                HistoryPage(request_id=second, is_last=True, error="no such symbol"),
                HistoryPage(request_id=first, bars=(_bar(2), _bar(3)), is_last=True),
            )
            await wait_until_async(lambda: len(results) == 2)
            await world.history.server.close()
            await wait_until_async(lambda: len(results) == 3)
            world.strategy.history(None, 60, 3, keep)
            await wait_until_async(lambda: len(results) == 4)
            assert results[:2] == [(0, "no such symbol"), (3, "")]
            assert "lost" in results[2][1]
            assert "not connected" in results[3][1]
            await world.body.stop()

    asyncio.run(run())


def _bar(minute: int) -> Bar:
    start_ns = START_NS + minute * 60_000_000_000
    return Bar(
        symbol="ESZ6",
        exchange="CME",
        period_s=60,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=1,
        trades=1,
        ts_event_ns=start_ns,
        ts_close_ns=start_ns + 60_000_000_000,
    )


def test_restarted_strategy_runs_the_file_as_it_is_now(tmp_path: Path) -> None:
    """An edit of the same length within the same second is seen: no byte code cache is written."""

    async def run() -> None:
        for version in ("1", "2"):
            source = SOURCE.replace("VERSION = 1", f"VERSION = {version}")
            async with _world(tmp_path, source) as world:
                await world.body.start()
                assert str(world.strategy.VERSION) == version
                await world.body.stop()

    asyncio.run(run())
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"class": f"{MODULE}:Missing"}, "has no class Missing"),
        ({"class": f"{MODULE}:Strange"}, "is not a subclass"),
        ({"class": f"{MODULE}:Picky", "parameters": {"size": "big"}}, r"parameters\.size"),
    ],
)
def test_class_that_cannot_be_used_fails_the_start_and_not_the_system(
    tmp_path: Path, section: dict[str, Any], text: str
) -> None:
    """A StrategyError without an exit code: the supervisor parks this strategy, others trade on."""
    source = SOURCE + textwrap.dedent(
        """
        class Strange: ...

        from nightdesk import StrategyParameters

        class Picky(Strategy):
            class Parameters(StrategyParameters):
                size: int = 1
        """
    ).replace("\n", "\n    ")

    async def run() -> None:
        async with _world(tmp_path, source, **section) as world:
            with pytest.raises(StrategyError, match=text) as caught:
                await world.body.start()
            assert caught.value.exit_code is None

    asyncio.run(run())
