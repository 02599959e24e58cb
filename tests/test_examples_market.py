"""The examples on the embedded exchange's synthetic market, without processes: do they trade at all?"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nightdesk.examples.quoter import Quoter
from nightdesk.examples.sma_cross import SmaCross
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderStatus,
    OrderUpdated,
    QuoteTick,
    SubmitOrder,
    TradeTick,
    VenueOrderId,
)
from nightdesk.messages.base import FillId
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import Completion, NewOrder, OrderEventKind, OrderHappened, Product, Quoted, Traded
from nightdesk.simulator.venue.venue import Venue
from nightdesk.trading.strategy import Strategy
from tests.strategy_support import START_NS, Bench

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT = "SIM-1"
ES = Product(symbol="ESZ6", exchange="CME", tick_size=0.25, point_value=50.0, commission=1.25)


class _Market:
    """A venue with its flow, and a bench whose commands it carries out at once."""

    def __init__(self, strategy_class: type[Strategy], source: SyntheticSource) -> None:
        self.venue = Venue([ES], [ACCOUNT], 100_000.0)
        self.flow = SyntheticFlow(source, self.venue, [ES], START_NS)
        self.bench = Bench(strategy_class)
        self.bench.start()
        self.commands = 0
        self._done = 0
        self._by_basket: dict[str, SubmitOrder] = {}
        self._baskets: dict[str, str] = {}

    def run(self, seconds: float) -> None:
        end_ns = START_NS + round(seconds * 1e9)
        while True:
            step = self.flow.next()
            assert step is not None
            ts_ns, act = step
            if ts_ns > end_ns:
                return
            self.bench.pass_time((ts_ns - self.bench.clock.now_ns()) / 1e9)
            self._obey(ts_ns)
            self._tell(act())
            self._obey(ts_ns)

    def _obey(self, now_ns: int) -> None:
        while self._done < len(self.bench.sent):
            command: Any = self.bench.sent[self._done]
            self._done += 1
            self.commands += 1
            match command:
                case SubmitOrder():
                    self._tell(self._submit(command, now_ns))
                case ModifyOrder():
                    order = self.bench.order_of(command)  # type: ignore[arg-type]
                    if order.status == OrderStatus.PENDING_UPDATE:
                        basket = self._baskets[command.client_order_id]
                        self._tell(
                            self.venue.modify(
                                ACCOUNT,
                                basket,
                                quantity=order.quantity,
                                price=command.price,
                                trigger_price=None,
                                order_type=order.order_type,
                                now_ns=now_ns,
                            )
                        )
                case CancelOrder():
                    self._tell(self.venue.cancel(ACCOUNT, self._baskets[command.client_order_id], now_ns))
                case CancelAllOrders():
                    self._tell(self.venue.cancel_all(ACCOUNT, now_ns))

    def _submit(self, command: SubmitOrder, now_ns: int) -> list[Any]:
        basket, events = self.venue.submit(
            NewOrder(
                account_id=ACCOUNT,
                user="nightdesk",
                user_tag=command.client_order_id,
                symbol=command.symbol,
                exchange=command.exchange,
                side=command.side,
                order_type=command.order_type,
                quantity=command.quantity,
                price=command.price,
                trigger_price=command.trigger_price,
                time_in_force=command.time_in_force,
            ),
            now_ns,
        )
        self._by_basket[basket] = command
        self._baskets[command.client_order_id] = basket
        return events

    def _tell(self, events: list[Any]) -> None:
        for event in events:
            match event:
                case Traded():
                    self.bench.runner.on_trade(
                        TradeTick(
                            symbol=event.symbol,
                            exchange=event.exchange,
                            price=event.price,
                            quantity=event.quantity,
                            aggressor_side=event.aggressor,
                            ts_event_ns=event.ts_ns,
                            ts_recv_ns=event.ts_ns,
                        )
                    )
                case Quoted():
                    self.bench.runner.on_quote(
                        QuoteTick(
                            symbol=event.symbol,
                            exchange=event.exchange,
                            bid_price=event.bid_price,
                            bid_size=event.bid_size,
                            ask_price=event.ask_price,
                            ask_size=event.ask_size,
                            ts_event_ns=event.ts_ns,
                            ts_recv_ns=event.ts_ns,
                        )
                    )
                case OrderHappened():
                    self._tell_order(event)

    def _tell_order(self, event: OrderHappened) -> None:
        command = self._by_basket.get(event.order.basket_id)
        if command is None:
            return
        common = self.bench.common(command)
        venue_order_id = VenueOrderId(event.order.basket_id)
        runner = self.bench.runner
        match event.kind:
            case OrderEventKind.OPENED:
                runner.on_order_event(OrderAccepted(**common, venue_order_id=venue_order_id))
            case OrderEventKind.MODIFIED:
                runner.on_order_event(
                    OrderUpdated(**common, quantity=event.order.quantity, price=event.order.price, trigger_price=None)
                )
            case OrderEventKind.COMPLETED if event.order.completion == Completion.CANCELED:
                runner.on_order_event(OrderCanceled(**common))
            case OrderEventKind.FILLED if event.execution is not None:
                runner.on_order_event(
                    OrderFilled(
                        **common,
                        venue_order_id=venue_order_id,
                        fill_id=FillId(event.execution.fill_id),
                        side=event.order.terms.side,
                        last_quantity=event.execution.quantity,
                        last_price=event.execution.price,
                        filled_quantity=event.order.filled_quantity,
                        leaves_quantity=event.order.leaves_quantity,
                        average_price=event.order.average_price,
                        commission=event.execution.commission,
                    )
                )


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("strategy_class", [SmaCross, Quoter])
def test_example_is_filled_within_a_minute_of_the_default_market(strategy_class: type[Strategy], seed: int) -> None:
    """Default parameters, 20 ticks a second: fills in 60 s, the position agrees with the broker, few messages."""
    market = _Market(strategy_class, SyntheticSource(kind="synthetic", seed=seed))
    market.run(60.0)
    (position,) = market.venue.positions(ACCOUNT)
    assert market.bench.runner.fills >= 1
    assert position.net_quantity == market.bench.position()
    assert market.commands <= 62


@pytest.mark.parametrize("strategy_class", [SmaCross, Quoter])
def test_shipped_configuration_begins_with_a_market_that_moves_soon(strategy_class: type[Strategy]) -> None:
    """The seed of config/sim.yaml is one with which both examples are filled in the first 25 seconds."""
    shipped = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())["exchange"]["source"]
    market = _Market(strategy_class, SyntheticSource(**shipped))
    market.run(25.0)
    assert market.bench.runner.fills >= 1
