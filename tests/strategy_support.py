"""A strategy's surroundings for tests: a runner on a manual clock, and an exchange that answers when told to."""

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from nightdesk.clocks import ManualClock
from nightdesk.errors import LaneError
from nightdesk.messages import (
    AggressorSide,
    Denial,
    FillId,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderDenied,
    OrderFilled,
    OrderReport,
    OrderUpdated,
    QuoteTick,
    Side,
    StrategyId,
    StrategyWelcome,
    SubmitOrder,
    TradeTick,
    VenueOrderId,
)
from nightdesk.trading.host_api import HistoryCallback, InstrumentTerms
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.runner import StrategyRunner
from nightdesk.trading.strategy import Strategy
from nightdesk.trading.strategy_class import checked_parameters
from nightdesk.trading.strategy_contracts import AliasLegs, RollInfo

START_NS = 1_700_000_000_000_000_000
TICK = 0.25
ES = InstrumentTerms(symbol="ESZ6", exchange="CME", tick_size=TICK, point_value=50.0)
NQ = InstrumentTerms(symbol="NQZ6", exchange="CME", tick_size=TICK, point_value=20.0)


def trade_at(ts_ns: int, price: float = 5000.0, quantity: int = 1, symbol: str = "ESZ6") -> TradeTick:
    """A print on the tape."""
    return TradeTick(
        symbol=symbol,
        exchange="CME",
        price=price,
        quantity=quantity,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=ts_ns,
        ts_recv_ns=ts_ns,
    )


def quote_at(ts_ns: int, bid: float = 5000.0, ask: float | None = None, symbol: str = "ESZ6") -> QuoteTick:
    """A quote, one tick wide unless an ask is given."""
    return QuoteTick(
        symbol=symbol,
        exchange="CME",
        bid_price=bid,
        bid_size=5,
        ask_price=bid + TICK if ask is None else ask,
        ask_size=5,
        ts_event_ns=ts_ns,
        ts_recv_ns=ts_ns,
    )


class Bench:
    """Runs one strategy on a manual clock; ``sent`` holds its commands, the methods play the order plant."""

    def __init__(
        self,
        strategy_class: type[Strategy],
        parameters: Mapping[str, object] | None = None,
        *,
        instruments: tuple[InstrumentTerms, ...] = (ES,),
        name: str = "test",
        aliases: Mapping[str, AliasLegs] | None = None,
    ) -> None:
        self.clock = ManualClock(START_NS)
        self.sent: list[Message] = []
        self.soon: deque[Callable[[], None]] = deque()
        self.due_ns: int | None = None
        self.rolls: list[RollInfo] = []
        self.lane_open = True
        self.lane_full = False
        self.last_price = 5000.0
        self.name = name
        self._numbers = itertools.count(1)
        strategy = strategy_class()
        self.strategy: Any = strategy
        self.runner = StrategyRunner(
            strategy,
            name=name,
            instruments=instruments,
            parameters=checked_parameters(strategy_class, parameters or {}),
            outlet=self,
            clock=MarketClock(1.0, START_NS, 0.0, is_anchored=True),
            random_text=lambda: "0123456789abcdef",
            log=structlog.get_logger(),
            aliases=aliases,
        )

    # The runner's outlet.

    def monotonic_s(self) -> float:
        return self.clock.monotonic_s()

    def due_changed(self, due_ns: int | None) -> None:
        self.due_ns = due_ns

    def rolled(self, roll: RollInfo) -> None:
        self.rolls.append(roll)

    def request_bars(self, terms: InstrumentTerms, period_s: int, count: int, on_result: HistoryCallback) -> None:
        self.soon.append(lambda: on_result((), "no history here"))

    def is_order_lane_open(self) -> bool:
        return self.lane_open

    def send_order(self, message: Message) -> None:
        if self.lane_full:
            raise LaneError("the peer does not keep up")
        self.sent.append(message)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    # What a test does.

    def start(self, *, paused: bool = False, permitted: bool = True) -> None:
        """Welcome, then on_start."""
        self.welcome(paused=paused, permitted=permitted)
        self.runner.start()

    def welcome(self, *, paused: bool = False, permitted: bool = True, **owned: Any) -> None:
        self.runner.on_welcome(
            StrategyWelcome(
                strategy_id=StrategyId(self.name),
                fencing_epoch=7,
                paused=paused,
                trading_permitted=permitted,
                orders=owned.get("orders", ()),
                positions=owned.get("positions", ()),
            )
        )

    def turn(self) -> None:
        """One turn of the loop."""
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, waking the runner when it asked for it."""
        end_ns = self.clock.now_ns() + round(seconds * 1e9)
        while self.due_ns is not None and self.due_ns <= end_ns:
            self.clock.advance(max(self.due_ns - self.clock.now_ns(), 0) / 1e9 + 1e-6)
            self.runner.advance()
        self.clock.advance(max(end_ns - self.clock.now_ns(), 0) / 1e9)

    def trade(self, price: float, *, after_s: float = 0.0, quantity: int = 1) -> None:
        self.clock.advance(after_s)
        self.last_price = price
        self.runner.on_trade(trade_at(self.clock.now_ns(), price, quantity))

    def quote(self, bid: float, *, after_s: float = 0.0) -> None:
        self.clock.advance(after_s)
        self.runner.on_quote(quote_at(self.clock.now_ns(), bid))

    def of(self, kind: type[Message]) -> list[Any]:
        """The commands of one type, oldest first."""
        return [message for message in self.sent if isinstance(message, kind)]

    def order_of(self, command: SubmitOrder) -> OrderReport:
        order = self.runner.order(command.client_order_id)
        assert order is not None
        return order

    def common(self, command: Any) -> dict[str, Any]:
        order = self.runner.order(command.client_order_id)
        return {
            "client_order_id": command.client_order_id,
            "strategy_id": StrategyId(self.name),
            "symbol": order.symbol if order else "ESZ6",
            "exchange": "CME",
            "ts_event_ns": self.clock.now_ns(),
        }

    def accept(self, command: SubmitOrder) -> None:
        self.runner.on_order_event(OrderAccepted(**self.common(command), venue_order_id=VenueOrderId("v1")))

    def deny(self, command: SubmitOrder, code: Denial = Denial.RISK_MAX_POSITION) -> None:
        self.runner.on_order_event(OrderDenied(**self.common(command), code=code, text="too much"))

    def cancel(self, command: Any) -> None:
        self.runner.on_order_event(OrderCanceled(**self.common(command)))

    def update(self, command: Any, price: float) -> None:
        order = self.order_of(command)
        self.runner.on_order_event(
            OrderUpdated(**self.common(command), quantity=order.quantity, price=price, trigger_price=None)
        )

    def fill(self, command: Any, quantity: int | None = None, price: float = 5000.0) -> OrderFilled:
        order = self.order_of(command)
        last = order.leaves_quantity if quantity is None else quantity
        event = OrderFilled(
            **self.common(command),
            venue_order_id=VenueOrderId("v1"),
            fill_id=FillId(f"f{next(self._numbers)}"),
            side=order.side,
            last_quantity=last,
            last_price=price,
            filled_quantity=order.filled_quantity + last,
            leaves_quantity=order.leaves_quantity - last,
            average_price=price,
            commission=0.0,
        )
        self.runner.on_order_event(event)
        return event

    def position(self) -> int:
        return self.runner.position("ESZ6").quantity


def signed(order: OrderReport) -> int:
    """What the order may still do to the position."""
    return order.leaves_quantity if order.side == Side.BUY else -order.leaves_quantity
