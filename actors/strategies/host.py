"""The actor that runs one strategy: its lanes to the plants, and the loop that drives the strategy's runner."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from actors.base import Body, Context
from actors.contracts import Contracts
from actors.lanes import LaneClient, Peer, lane_path
from actors.strategies.contracts import ContractDesk
from actors.strategies.history import HistoryDesk
from actors.strategies.loading import load_strategy_class
from actors.strategies.timekeeper import Timekeeper
from nightdesk.errors import ConfigurationError, InvariantError, LaneError
from nightdesk.messages import (
    ChildId,
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    HistoryPage,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderInDoubt,
    OrderInitialized,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderRejected,
    OrderReport,
    OrderSubmitted,
    OrderTriggered,
    OrderUpdated,
    PauseChanged,
    PositionReport,
    QueryStatus,
    QuoteTick,
    StrategyGoodbye,
    StrategyHello,
    StrategyId,
    StrategyStatus,
    StrategyWelcome,
    TradeTick,
    TradingPermissionChanged,
)
from nightdesk.settings.market_time import calendar_for
from nightdesk.settings.models import Settings, Strategy
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.host_api import HistoryCallback, InstrumentTerms
from nightdesk.trading.runner import StrategyRunner
from nightdesk.trading.strategy_class import checked_parameters, mistyped_callbacks
from nightdesk.trading.strategy_contracts import RollInfo

TICKER = ChildId("plants/ticker")
ORDER = ChildId("plants/order")
HISTORY = ChildId("plants/history")

RANDOM_BYTES = 8
"""Of chance in each client_order_id: 16 hexadecimal digits, of which a long strategy name leaves at least nine."""

DRAIN_TIMEOUT_S = 1.0
"""How long the end waits for the order plant to take what on_stop sent."""

_ORDER_EVENTS = (
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderInDoubt,
    OrderInitialized,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderRejected,
    OrderSubmitted,
    OrderTriggered,
    OrderUpdated,
)


class StrategyBody(Body):
    """One strategy. ``on_start`` is called when market and order lanes are both up for the first time and the order
    plant has said what we own, trading permitted or not; only then market data are subscribed to, so that no tick comes
    before ``on_start``. The history lane is not waited for.

    A callback that raises ends the actor; the supervisor starts a fresh process with fresh code.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._run = RunConfiguration.from_json(context.config)
        self._section = _section_of(self._run.settings, context.child_id)
        _check_symbols(self._run.settings, self._section)
        self._contracts = ContractDesk(context, Contracts(self._run, context.market_time), self._section.symbols)
        self._timekeeper = Timekeeper(context, is_simulated=self._run.settings.mode == "sim")
        self._runner: StrategyRunner | None = None
        self._welcomed = False
        self._welcome_orders: tuple[OrderReport, ...] = ()
        self._market_handlers: dict[type[Message], Callable[..., None]] = {}
        self._order_handlers: dict[type[Message], Callable[..., None]] = {}
        self._market = self._client(TICKER, "market", self._market_open, self._on_market, self._market_lost)
        self._order = self._client(ORDER, "order", self._order_open, self._on_order, self._order_lost)
        self._history = self._client(HISTORY, "history", self._history_open, self._on_history, self._history_lost)
        self._history_desk = HistoryDesk(self._section.name, self._history.send, lambda: _is_open(self._history))

    async def start(self) -> None:
        section = self._section
        base = Path(self._run.config_file).parent
        strategy_class = load_strategy_class(section.strategy_class, section.path, base)
        parameters = checked_parameters(strategy_class, section.parameters)
        for method, meant in mistyped_callbacks(strategy_class).items():
            self.context.log.warning("callback_unknown", strategy_id=section.name, method=method, meant=meant)
        runner = StrategyRunner(
            strategy_class(),
            name=section.name,
            instruments=self._contracts.instruments(),
            parameters=parameters,
            outlet=self,
            clock=self._timekeeper.market_clock(),
            random_text=lambda: secrets.token_hex(RANDOM_BYTES),
            log=self.context.log.bind(strategy_id=section.name),
            calendars={symbol: calendar_for(symbol, self._run.settings) for symbol in section.symbols},
            aliases=self._contracts.aliases(),
        )
        self._runner = runner
        self._contracts.attach(runner, self._market.send)
        self._bind(runner)
        for lane in (self._market, self._order, self._history):
            await lane.start()
        self._timekeeper.start(runner)
        self.context.spawn(self._contracts.run(), name="contracts")

    async def stop(self) -> None:
        runner = self._started_runner()
        runner.stop()
        self._market_handlers = {}
        self._timekeeper.stop()
        await self._drain_orders()
        self._say_goodbye()
        self._history_desk.close()
        for lane in (self._market, self._history, self._order):
            await lane.close()

    def receive(self, origin: ChildId, message: Message) -> None:
        if isinstance(message, QueryStatus):
            self.context.tell(message.reply_to, self._status(message.request_id))

    # Outlet: what the runner needs.

    def monotonic_s(self) -> float:
        return self.context.clock.monotonic_s()

    def is_order_lane_open(self) -> bool:
        return _is_open(self._order)

    def send_order(self, message: Message) -> None:
        self._order.send(message)

    def call_soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def request_bars(self, terms: InstrumentTerms, period_s: int, count: int, on_result: HistoryCallback) -> None:
        self._history_desk.request(terms, period_s, count, on_result)

    def rolled(self, roll: RollInfo) -> None:
        self._contracts.rolled(roll)

    def due_changed(self, due_ns: int | None) -> None:
        self._timekeeper.due_changed(self._started_runner(), due_ns)

    # Lanes.

    def _client(
        self,
        server: ChildId,
        lane: str,
        on_open: Callable[[Peer], None],
        on_message: Callable[[Message], None],
        on_close: Callable[[], None],
    ) -> LaneClient:
        path = lane_path(self._run.runtime_dir, server, lane)
        return LaneClient(path, on_open=on_open, on_message=on_message, on_close=on_close)

    def _bind(self, runner: StrategyRunner) -> None:
        """Bound once: what arrives 50,000 times a second costs one look into a dict."""
        links: dict[type[Message], Callable[..., None]] = {
            ConnectionLost: runner.on_connection_lost,
            ConnectionRestored: runner.on_connection_restored,
        }
        self._market_handlers = {
            TradeTick: runner.on_trade,
            QuoteTick: runner.on_quote,
            DataGap: runner.on_data_gap,
            **links,
        }
        self._order_handlers = {
            **dict.fromkeys(_ORDER_EVENTS, runner.on_order_event),
            StrategyWelcome: self._on_welcome,
            OrderReport: runner.on_order_report,
            PositionReport: runner.on_position,
            PauseChanged: runner.on_pause_changed,
            TradingPermissionChanged: runner.on_permission_changed,
            **links,
        }

    def _on_market(self, message: Message) -> None:
        handler = self._market_handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _on_order(self, message: Message) -> None:
        handler = self._order_handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _on_history(self, message: Message) -> None:
        if isinstance(message, HistoryPage):
            self._history_desk.page(message)

    def _market_open(self, peer: Peer) -> None:
        if self._started_runner().started:
            self._subscribe()
            self._restored(TICKER)
        else:
            self._start_strategy()

    def _market_lost(self) -> None:
        self._contracts.lane_lost()
        self._started_runner().on_market_lane_lost()
        self._lost(TICKER)

    def _order_open(self, peer: Peer) -> None:
        self._welcome_orders = ()
        peer.send(
            StrategyHello(
                strategy_id=StrategyId(self._section.name),
                child_id=self.context.child_id,
                incarnation=self.context.incarnation,
            )
        )

    def _order_lost(self) -> None:
        self._welcomed = False
        self._started_runner().desk.lane_lost()
        self._lost(ORDER)

    def _on_welcome(self, welcome: StrategyWelcome) -> None:
        orders = self._welcome_orders + welcome.orders
        self._welcome_orders = orders if welcome.more else ()
        if welcome.more:
            return
        welcome = msgspec.structs.replace(welcome, orders=orders)
        runner = self._started_runner()
        runner.on_welcome(welcome)
        self._welcomed = True
        if runner.started:
            self._restored(ORDER)
        else:
            self._start_strategy()

    def _history_open(self, peer: Peer) -> None:
        self._restored(HISTORY)

    def _history_lost(self) -> None:
        self._history_desk.lane_lost()
        self._lost(HISTORY)

    def _lost(self, plant: ChildId) -> None:
        runner = self._started_runner()
        if not runner.stopped:
            now_ns = self.context.clock.now_ns()
            runner.on_connection_lost(
                ConnectionLost(plant=plant, reason="the plant's process ended", ts_recv_ns=now_ns)
            )

    def _restored(self, plant: ChildId) -> None:
        runner = self._started_runner()
        now_ns = self.context.clock.now_ns()
        downtime_ms = runner.downtime_ms(plant)
        runner.on_connection_restored(ConnectionRestored(plant=plant, downtime_ms=downtime_ms, ts_recv_ns=now_ns))

    def _start_strategy(self) -> None:
        """The first time that both lanes are up, in whichever order they came."""
        runner = self._started_runner()
        if self._welcomed and _is_open(self._market) and not runner.stopped:
            runner.start()
            self.context.log.info("strategy_started", strategy_id=self._section.name, paused=runner.paused)
            self._subscribe()

    def _subscribe(self) -> None:
        self._contracts.subscribe()

    # The end.

    def _say_goodbye(self) -> None:
        """Whoever ends without it has crashed, and its last will may be due."""
        try:
            self._order.send(StrategyGoodbye(strategy_id=StrategyId(self._section.name)))
        except LaneError:
            # The order plant is away itself; it counts from its own start.
            self.context.log.debug("goodbye_not_sent")

    async def _drain_orders(self) -> None:
        """Give what on_stop sent the time to leave: first this turn's flush, then a slow peer."""
        await asyncio.sleep(0)
        peer = self._order.peer
        if peer is None or peer.closed or not peer.buffered:
            return
        drained = asyncio.Event()
        peer.on_drained = drained.set
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await drained.wait()
        except TimeoutError:
            self.context.log.warning("orders_not_taken_at_stop", buffered=peer.buffered)

    def _status(self, request_id: str) -> StrategyStatus:
        runner = self._runner
        return StrategyStatus(
            request_id=request_id,
            strategy_id=StrategyId(self._section.name),
            state=_state_of(runner),
            ticks=runner.trades + runner.quotes if runner else 0,
            trades=runner.trades if runner else 0,
            quotes=runner.quotes if runner else 0,
            orders_sent=runner.desk.sent if runner else 0,
            fills=runner.fills if runner else 0,
            last_event_ns=runner.last_event_ns if runner else 0,
        )

    def _started_runner(self) -> StrategyRunner:
        if self._runner is None:
            raise InvariantError("the strategy was not loaded")
        return self._runner


def _is_open(lane: LaneClient) -> bool:
    """A peer that has ended is closed at once, but told on the loop's next turn."""
    return lane.peer is not None and not lane.peer.closed


def _state_of(runner: StrategyRunner | None) -> str:
    if runner is None or not runner.started:
        return "starting"
    if runner.paused:
        return "paused"
    return "running" if runner.trading_permitted else "waiting"


def _section_of(settings: Settings, child_id: ChildId) -> Strategy:
    name = child_id.rpartition("/")[2]
    for section in settings.strategies:
        if section.name == name:
            return section
    raise ConfigurationError(f"the configuration has no strategy {name}")


def _check_symbols(settings: Settings, section: Strategy) -> None:
    symbols = {instrument.symbol for instrument in settings.instruments}
    missing = [symbol for symbol in section.symbols if symbol not in symbols]
    if missing:
        raise ConfigurationError(f"strategies: {section.name}: symbols: {', '.join(missing)} is not in instruments")
