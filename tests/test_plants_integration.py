"""The plants' bodies against the embedded exchange, over its real TLS socket, and on real lanes."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.lanes import LaneClient, LaneServer, Peer, lane_path
from actors.plants import plant as plant_module
from actors.plants.history import HistoryPlantBody
from actors.plants.plant import PlantBody
from actors.plants.pnl import PnlPlantBody
from actors.plants.ticker import TickerPlantBody
from nightdesk.clocks import SystemClock
from nightdesk.errors import CredentialsError, LinkError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    ChildId,
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    HistoryPage,
    Message,
    PlantStatus,
    QueryStatus,
    QuoteTick,
    RequestBars,
    RequestTicks,
    SubscribeMarketData,
    TradeTick,
)
from nightdesk.rithmic.session import PlantSession
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.simulator.assembly import listening
from tests.fake_gateway import SYSTEM_NAME, FakeGateway, frame
from tests.fakes import FakeContext
from tests.support import wait_until_async

SYMBOL, EXCHANGE = "ESZ6", "CME"
LOG = structlog.get_logger()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the paths of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as path:
        yield Path(path)


def configuration(folder: Path, **changes: Any) -> RunConfiguration:
    settings = {
        "name": "test",
        "mode": "sim",
        "gateway": {"url": "wss://127.0.0.1", "system_name": "-", "reconnect_initial_s": 0.02, "reconnect_max_s": 0.1},
        "instruments": [{"symbol": SYMBOL, "exchange": EXCHANGE, "tick_size": 0.25, "point_value": 50.0}],
        "risk": {"max_order_quantity": 5, "max_position": 9, "max_open_orders": 9, "max_orders_per_second": 99},
        "exchange": {"sessions": "always", "source": {"kind": "synthetic", "ticks_per_second": 500.0}},
        **changes,
    }
    return RunConfiguration(
        settings=Settings.model_validate(settings),
        config_file=str(folder / "test.yaml"),
        state_dir=str(folder / "s"),
        runtime_dir=str(folder / "r"),
    )


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def exchange(configured: RunConfiguration) -> Any:
    return listening(configured, clock=SystemClock(), logger=LOG)


@asynccontextmanager
async def started(body: PlantBody) -> AsyncIterator[FakeContext]:
    """A body between its start and its stop; what crashed it is raised."""
    context = body.context
    assert isinstance(context, FakeContext)
    for path in (body.run.runtime_dir, body.run.state_dir):
        os.makedirs(path, exist_ok=True)
    await body.start()
    try:
        yield context
    finally:
        await body.stop()
        await context.cancel_tasks()


def context_of(configured: RunConfiguration, child_id: str) -> FakeContext:
    return FakeContext(child_id, configured.to_json(), SystemClock())


class Listener:
    """A lane client that keeps what it gets."""

    def __init__(self, configured: RunConfiguration, plant: str, lane: str, *greetings: Message) -> None:
        self.got: list[Message] = []
        self._greetings = greetings
        self._client = LaneClient(
            lane_path(configured.runtime_dir, ChildId(plant), lane),
            on_open=self._greet,
            on_message=self.got.append,
            on_close=lambda: None,
        )

    async def __aenter__(self) -> "Listener":
        await self._client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def of(self, *kinds: type[Message]) -> list[Any]:
        return [message for message in self.got if isinstance(message, kinds)]

    def send(self, message: Message) -> None:
        self._client.send(message)

    def _greet(self, peer: Peer) -> None:
        for message in self._greetings:
            peer.send(message)


def market_listener(configured: RunConfiguration, name: str, *, conflate: bool = False) -> Listener:
    request = SubscribeMarketData(subscriber=ChildId(name), symbol=SYMBOL, exchange=EXCHANGE, conflate=conflate)
    return Listener(configured, "plants/ticker", "market", request)


def status_of(context: FakeContext, body: PlantBody) -> PlantStatus:
    body.receive(ChildId("root"), QueryStatus(request_id="1", reply_to=ChildId("services/control")))
    destination, answer = context.told[-1]
    assert destination == "services/control"
    assert isinstance(answer, PlantStatus)
    return answer


def test_ticks_flow_and_a_lost_exchange_is_announced_with_its_gap(folder: Path) -> None:
    """Lost and restored links reach the subscribers, and the first tick afterwards closes an announced gap."""

    async def scenario() -> None:
        configured = configuration(folder)
        body = TickerPlantBody(context_of(configured, "plants/ticker"))
        async with started(body) as context, market_listener(configured, "strategies/a") as listener:
            async with exchange(configured):
                await wait_until_async(lambda: len(listener.of(TradeTick)) > 5 and listener.of(QuoteTick))
                status = status_of(context, body)
                assert (status.connected, status.reconnects) == (True, 0)
                assert status.last_message_age_s is not None
            await wait_until_async(lambda: listener.of(ConnectionLost))
            assert not status_of(context, body).connected
            last_tick = listener.of(TradeTick, QuoteTick)[-1]
            async with exchange(configured):
                await wait_until_async(lambda: listener.of(DataGap) and listener.of(ConnectionRestored))
                (gap,) = listener.of(DataGap)
                assert (gap.ts_from_ns, gap.lost_trades) == (last_tick.ts_event_ns, -1)
                seen = listener.of(DataGap, TradeTick)
                await wait_until_async(lambda: any(tick.ts_event_ns >= gap.ts_to_ns for tick in listener.of(TradeTick)))
                # Quotes, one of which may have been the last tick, have microseconds only.
                assert all(tick.ts_event_ns < gap.ts_from_ns + 1000 for tick in seen[: seen.index(gap)])
                assert all(tick.ts_event_ns >= gap.ts_to_ns for tick in seen[seen.index(gap) + 1 :])
                assert gap.ts_to_ns > gap.ts_from_ns
                assert status_of(context, body).reconnects == 1
                async with market_listener(configured, "strategies/late") as late:
                    await wait_until_async(lambda: late.got)
                    assert isinstance(late.got[0], QuoteTick), "a late subscriber gets the last quote first"
                events = {alert.event for alert in context.alerts}
                assert events == {"connection_lost", "connection_restored", "data_gap"}
                assert context.crashed is None

    run(scenario)


def test_replay_at_full_speed_is_whole_for_every_strategy(folder: Path) -> None:
    """In ``block`` the tape starts when all who trade it have subscribed; all of it reaches each, in order."""
    rows = 4000
    tape = folder / "tape.csv"
    start_ns = 1_703_500_000_000_000_000
    with tape.open("w") as file:
        file.write("ts_event_ns,price,size,aggressor\n")
        for number in range(rows):
            file.write(f"{start_ns + number * 1_000_000},{4800 + number % 40 * 0.25},1,{(1, -1)[number % 2]}\n")

    async def scenario() -> None:
        strategies: list[dict[str, Any]] = [
            {"name": name, "class": "some.module:Some", "symbols": [SYMBOL], "parameters": {}} for name in ("a", "b")
        ]
        source = {"kind": "replay", "path": str(tape), "symbol": SYMBOL}
        configured = configuration(
            folder,
            strategies=strategies,
            market_lane={"overflow": "block"},
            exchange={"source": source, "speed": 0.0},
        )
        body = TickerPlantBody(context_of(configured, "plants/ticker"))
        async with exchange(configured), started(body) as context, AsyncExitStack() as stack:
            prices = await stack.enter_async_context(market_listener(configured, "plants/order", conflate=True))
            first = await stack.enter_async_context(market_listener(configured, "strategies/a"))
            await wait_until_async(lambda: status_of(context, body).connected)
            assert not first.got
            second = await stack.enter_async_context(market_listener(configured, "strategies/b"))
            await wait_until_async(lambda: len(second.of(TradeTick)) >= rows)
            await wait_until_async(lambda: len(first.of(TradeTick)) >= rows)
            times = [tick.ts_event_ns for tick in first.of(TradeTick)]
            assert times == [start_ns + number * 1_000_000 for number in range(rows)]
            assert first.of(TradeTick) == second.of(TradeTick)
            assert first.of(QuoteTick) == second.of(QuoteTick)
            assert prices.of(TradeTick)[-1].ts_event_ns == times[-1]
            assert not first.of(DataGap)

    run(scenario)


def test_replay_does_not_wait_for_ever_for_a_missing_strategy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that never comes (parked) holds up the others for the grace only."""
    monkeypatch.setattr("actors.plants.market_gate.GRACE_S", 0.1)

    async def scenario() -> None:
        strategies = [{"name": name, "class": "some.module:Some", "symbols": [SYMBOL]} for name in ("a", "b")]
        configured = configuration(folder, strategies=strategies, market_lane={"overflow": "block"})
        body = TickerPlantBody(context_of(configured, "plants/ticker"))
        async with exchange(configured), started(body), market_listener(configured, "strategies/a") as listener:
            await wait_until_async(lambda: listener.of(TradeTick))

    run(scenario)


def test_unknown_instrument_is_an_alert(folder: Path) -> None:
    """Nobody waits silently for data that will never come."""

    async def scenario() -> None:
        configured = configuration(folder)
        body = TickerPlantBody(context_of(configured, "plants/ticker"))
        request = SubscribeMarketData(subscriber=ChildId("strategies/a"), symbol="NOPE", exchange=EXCHANGE)
        async with started(body) as context, Listener(configured, "plants/ticker", "market", request):
            await wait_until_async(lambda: context.alerts)
            assert context.alerts[0].event == "market_data_refused"

    run(scenario)


def test_history_comes_in_pages_and_errors_say_why(folder: Path) -> None:
    """Bars and ticks of the exchange; a request that cannot be served is answered, too."""

    async def scenario() -> None:
        configured = configuration(
            folder, exchange={"sessions": "always", "source": {"kind": "synthetic", "ticks_per_second": 10_000.0}}
        )
        body = HistoryPlantBody(context_of(configured, "plants/history"))
        common: Any = {"symbol": SYMBOL, "exchange": EXCHANGE}

        def answer(listener: Listener, request_id: str) -> list[HistoryPage]:
            return [page for page in listener.of(HistoryPage) if page.request_id == request_id]

        async def asked(listener: Listener, request: RequestBars | RequestTicks) -> list[HistoryPage]:
            listener.send(request)
            await wait_until_async(lambda: any(page.is_last for page in answer(listener, request.request_id)))
            return answer(listener, request.request_id)

        async with (
            exchange(configured) as server,
            started(body),
            Listener(configured, "plants/history", "history") as listener,
        ):
            await wait_until_async(lambda: len(server._exchange.bars.ticks(SYMBOL, 1, 2**31 - 1)) > 600)
            now_ns = SystemClock().now_ns()
            ticks = await asked(
                listener,
                RequestTicks(request_id="t", ts_start_ns=now_ns - 60 * 10**9, ts_end_ns=now_ns, count=550, **common),
            )
            assert [len(page.ticks) for page in ticks] == [500, 50]
            times = [tick.ts_event_ns for page in ticks for tick in page.ticks]
            assert times == sorted(times)
            (bars,) = await asked(listener, RequestBars(request_id="b", period_s=1, count=2, **common))
            assert 1 <= len(bars.bars) <= 2
            assert all(bar.ts_close_ns - bar.ts_event_ns == 10**9 and bar.volume > 0 for bar in bars.bars)
            (refused,) = await asked(listener, RequestBars(request_id="x", period_s=100_000, count=2, **common))
            assert "no bars of 100000 s" in refused.error

    run(scenario)


def test_positions_reach_the_order_plant_with_the_end_of_each_snapshot(folder: Path) -> None:
    """The pnl plant logs in as whom the order plant says, and reports a whole list before its end."""

    async def scenario() -> None:
        configured = configuration(folder)
        got: list[Message] = []

        async with exchange(configured):
            session = order_session(configured, lambda *_: None)
            await session.open()
            identity = session.identity
            assert identity is not None

            def take(peer: Peer, message: Message) -> None:
                got.append(message)
                if isinstance(message, AuditHello):
                    assert isinstance(identity, AccountIdentity)
                    peer.send(identity)

            path = lane_path(configured.runtime_dir, ChildId("plants/order"), "audit")
            audit = LaneServer(path, on_open=lambda _: None, on_message=take, on_close=lambda _: None)
            await audit.start()
            body = PnlPlantBody(context_of(configured, "plants/pnl"))
            async with started(body):
                await wait_until_async(lambda: any(isinstance(message, BrokerSnapshotEnd) for message in got))
                await session.request(
                    312,
                    user_tag="nd-test-1",
                    account_id="SIM-1",
                    symbol=SYMBOL,
                    exchange=EXCHANGE,
                    quantity=2,
                    transaction_type=1,
                    duration=1,
                    price_type=2,
                    trade_route=session.trade_routes[EXCHANGE],
                    manual_or_auto=2,
                )
                await wait_until_async(lambda: [m for m in got if isinstance(m, BrokerPosition) and m.quantity == 2])
                assert body.session is not None
                body._snapshot_due.set()
                before = len(got)
                await wait_until_async(lambda: any(isinstance(m, BrokerSnapshotEnd) for m in got[before:]))
                images = [m for m in got[before:] if isinstance(m, BrokerPosition) and m.is_snapshot]
                assert [(m.account_id, m.symbol, m.quantity) for m in images] == [("SIM-1", SYMBOL, 2)]
            await session.close()
            await audit.close()

    run(scenario)


def order_session(configured: RunConfiguration, on_push: Callable[[int, Any], None]) -> PlantSession:
    endpoint = ExchangeEndpoint.model_validate_json((Path(configured.runtime_dir) / "exchange.json").read_bytes())
    assert configured.settings.gateway is not None
    update = {"url": endpoint.url, "system_name": endpoint.system_name, "ca_file": endpoint.ca_file}
    return PlantSession(
        "order",
        gateway=configured.settings.gateway.model_copy(update=update),
        user=endpoint.user,
        password=endpoint.password,
        login_lock_path=str(Path(configured.runtime_dir) / "login.lock"),
        clock=SystemClock(),
        log=LOG,
        on_push=on_push,
    )


def test_server_of_another_authority_is_not_trusted(folder: Path) -> None:
    """With a CA file only that CA counts; the library's bundled root does not know the exchange either."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with exchange(configured):
            session = order_session(configured, lambda *_: None)
            assert session._gateway.ca_file is not None
            session._gateway = session._gateway.model_copy(update={"ca_file": None})
            with pytest.raises(LinkError, match="CERTIFICATE_VERIFY_FAILED"):
                await session.open()

    run(scenario)


def write_endpoint(configured: RunConfiguration, gateway: FakeGateway, password: str) -> None:
    folder = Path(configured.runtime_dir)
    folder.mkdir(exist_ok=True)
    endpoint = ExchangeEndpoint(
        url=gateway.settings.url, system_name=SYSTEM_NAME, ca_file="-", user="u", password=password
    )
    (folder / "exchange.json").write_text(endpoint.model_dump_json())


def test_refused_login_ends_the_actor_after_three_tries(folder: Path) -> None:
    """No session war and no lock-out: three refusals and the system ends with exit code 3."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with FakeGateway() as gateway:
            write_endpoint(configured, gateway, "wrong")
            async with started(TickerPlantBody(context_of(configured, "plants/ticker"))) as context:
                await wait_until_async(lambda: context.crashed)
                assert isinstance(context.crashed, CredentialsError)
                assert context.crashed.exit_code == 3
                assert len(gateway.of(10)) == 3
                assert [alert.event for alert in context.alerts] == ["login_refused"] * 3

    run(scenario)


def test_forced_logout_right_after_the_login_is_no_endless_war(folder: Path) -> None:
    """Somebody else uses the login: three times thrown out and we stay out."""

    async def scenario() -> None:
        configured = configuration(folder)
        async with FakeGateway() as gateway:
            gateway.answers[18] = lambda *_: [frame(77)]
            write_endpoint(configured, gateway, gateway.password)
            async with started(TickerPlantBody(context_of(configured, "plants/ticker"))) as context:
                await wait_until_async(lambda: context.crashed)
                assert isinstance(context.crashed, CredentialsError)
                assert len(gateway.of(10)) == 3

    run(scenario)


def test_reconnect_loop_is_bounded(folder: Path) -> None:
    """When its attempts are spent the plant crashes into its supervisor."""

    async def scenario() -> None:
        gateway = {
            "url": "wss://127.0.0.1",
            "system_name": "-",
            "reconnect_initial_s": 0.001,
            "reconnect_max_s": 0.002,
            "reconnect_attempts_max": 3,
        }
        configured = configuration(folder, gateway=gateway)
        async with started(HistoryPlantBody(context_of(configured, "plants/history"))) as context:
            await wait_until_async(lambda: context.crashed)
            assert isinstance(context.crashed, LinkError)
            assert "after 3 attempts" in str(context.crashed)
            assert not context.alerts

    run(scenario)


def test_backoff_doubles_to_its_limit_with_jitter(folder: Path) -> None:
    """Clients that lost one gateway must not come back in step."""
    configured = configuration(folder)
    body = PlantBody(context_of(configured, "plants/ticker"))
    for failures, longest_s in ((1, 0.02), (2, 0.04), (3, 0.08), (4, 0.1), (10_000, 0.1)):
        body._failures = failures
        delays = [body._delay_s() for _ in range(50)]
        assert max(delays) <= longest_s
        assert min(delays) >= longest_s * plant_module.JITTER_MIN
        assert len(set(delays)) > 1
