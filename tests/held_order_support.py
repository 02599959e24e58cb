"""A quiet market at the embedded exchange, moved by a test, and a strategy's end of the lane for orders held there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from actors.plants.order import OrderPlantBody
from nightdesk.messages import (
    ClientOrderId,
    Flatten,
    ModifyBracket,
    ModifyOrder,
    OrderStatus,
    OrderType,
    Side,
    SubmitOco,
    SubmitOrder,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.model import OrderState
from nightdesk.simulator.venue.book import Order
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.ledger import ACCOUNT
from tests.support import wait_until_async
from tests.test_order_plant_integration import EXCHANGE, ONE, SYMBOL, Trader, agree, configuration, exchange, plant

TICK = 0.25
BID, ASK = 5000.0, 5000.25
DEEP = 1_000_000
SIM = "SIM-1"


def quiet(folder: Path, **strategy: Any) -> RunConfiguration:
    """The configuration of the order plant's integration, on a market that does next to nothing by itself."""
    run = configuration(folder)
    values = run.settings.model_dump(by_alias=True)
    values["exchange"]["source"] = {"kind": "synthetic", "ticks_per_second": 0.001}
    values["strategies"][0] |= strategy
    return run.model_copy(update={"settings": type(run.settings).model_validate(values)})


class Floor:
    """The market of a server: what a test lets others do in it."""

    def __init__(self, server: Any) -> None:
        self._exchange = server._exchange
        self.venue = self._exchange.venue

    def clear(self) -> None:
        """Take away whatever the flow has put there, and let a hundred wait on each side."""
        self.venue.market(SYMBOL).matcher.cancel_anonymous()
        for price, is_buy in ((BID, True), (ASK, False)):
            self._send(is_buy, 100, price)

    def print_at(self, price: float) -> None:
        """Somebody trades at a price, and at all that stand before it on the way."""
        last = self.venue.market(SYMBOL).matcher.last_price
        is_down = round(price / TICK) <= (round(BID / TICK) if last is None else last)
        self._send(is_down, 1, price)
        self._send(not is_down, DEEP, price, TimeInForce.IOC)

    def sell(self, quantity: int, price: float) -> None:
        """Somebody sells so much, no lower than a price; what finds nobody is gone."""
        self._send(False, quantity, price, TimeInForce.IOC)

    def buy(self, quantity: int, price: float) -> None:
        """Somebody buys so much, no higher than a price."""
        self._send(True, quantity, price, TimeInForce.IOC)

    def rest(self, is_buy: bool, quantity: int, price: float) -> None:
        """Somebody's order waits."""
        self._send(is_buy, quantity, price)

    def orders(self) -> dict[str, OrderState]:
        """Ours as the exchange has them, by the broker's id."""
        return {order.basket_id: order for order in self.venue.orders(SIM)}

    def _send(self, is_buy: bool, quantity: int, price: float, time_in_force: TimeInForce = TimeInForce.GTC) -> None:
        order = Order(is_buy, quantity, round(price / TICK), None, time_in_force)
        outcomes = self.venue.market(SYMBOL).matcher.submit(order)
        events = self.venue.step(SYMBOL, outcomes, self._exchange.now_ns())
        self._exchange.record(events)
        self._exchange.publish(events)


class Holder(Trader):
    """A strategy that has its orders held at the server."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    def bracket(self, name: str, side: Side = Side.BUY, quantity: int = 2, **changes: Any) -> None:
        """An entry with a stop ten points away and a target of five, at the market unless a price is given."""
        self.order(name, side=side, quantity=quantity, **({"stop_ticks": 40, "target_ticks": 20} | changes))

    def order(self, name: str, **changes: Any) -> None:
        self.send(self.command(name, **changes))

    def command(self, name: str, **changes: Any) -> SubmitOrder:
        price, trigger = changes.get("price"), changes.get("trigger_price")
        values: dict[str, Any] = {
            "client_order_id": ClientOrderId(name),
            "strategy_id": ONE,
            "fencing_epoch": self.epoch,
            "symbol": SYMBOL,
            "exchange": EXCHANGE,
            "side": Side.BUY,
            "order_type": OrderType.STOP_MARKET if trigger else OrderType.LIMIT if price else OrderType.MARKET,
            "quantity": 2,
        }
        return SubmitOrder(**(values | changes))

    def oco(self, first: SubmitOrder, second: SubmitOrder) -> None:
        self.send(SubmitOco(strategy_id=ONE, fencing_epoch=self.epoch, first=first, second=second))

    def move(self, name: str, **terms: Any) -> None:
        self.send(ModifyOrder(client_order_id=ClientOrderId(name), strategy_id=ONE, fencing_epoch=self.epoch, **terms))

    def move_exits(self, name: str, **ticks: int) -> None:
        self.send(
            ModifyBracket(client_order_id=ClientOrderId(name), strategy_id=ONE, fencing_epoch=self.epoch, **ticks)
        )

    def flatten(self) -> None:
        self.send(Flatten(strategy_id=ONE, fencing_epoch=self.epoch))

    def about(self, kind: type[Any], name: str) -> list[Any]:
        """The messages of one type about one order."""
        return [message for message in self.of(kind) if message.client_order_id == name]


@asynccontextmanager
async def trading(run: RunConfiguration) -> AsyncIterator[tuple[Floor, OrderPlantBody, Holder]]:
    """The exchange, the order plant, and a strategy that may trade."""
    async with exchange(run) as server:
        floor = Floor(server)
        async with plant(run) as body, Holder(run) as holder:
            await wait_until_async(lambda: holder.permitted)
            floor.clear()
            yield floor, body, holder
            await settled(floor, body)


async def settled(floor: Floor, body: OrderPlantBody) -> None:
    """Our books and the exchange's come to say the same: position, every order's state, and nobody is a stranger."""

    def same() -> bool:
        return not body.account.reconciling and differences(floor, body) == []

    await wait_until_async(same)


def differences(floor: Floor, body: OrderPlantBody) -> list[str]:
    """In what our books and the exchange's differ."""
    found = []
    theirs = sum(each.net_quantity for each in floor.venue.positions(SIM) if each.symbol == SYMBOL)
    ours = body.account.ledger.quantity(ACCOUNT, SYMBOL)
    if theirs != ours or body.account.ledger.quantity(ONE, SYMBOL) != ours:
        found.append(f"position {ours}, the exchange's {theirs}")
    known = {order.venue_order_id: order for order in body.account.table if order.venue_order_id is not None}
    for basket_id, state in floor.orders().items():
        venue_order_id = VenueOrderId(basket_id)
        order = known.pop(venue_order_id, None) or body.journal.find_by_venue(SIM, venue_order_id)
        if order is None or order.strategy_id == EXTERNAL_STRATEGY:
            found.append(f"{basket_id} {state.stage} is {'nobody' if order is None else 'a stranger'}'s")
        elif (order.is_final, order.filled_quantity) != (state.completion is not None, state.filled_quantity):
            found.append(f"{order.client_order_id} is {order.status}, {order.filled_quantity} filled; {state}")
    found += [f"{order.client_order_id} is not at the exchange" for order in known.values()]
    return found


def status_of(body: OrderPlantBody, name: str) -> OrderStatus | None:
    """An order's state by our books; None before there is one."""
    order = body.account.find(ClientOrderId(name))
    return None if order is None else order.status


__all__ = ["ASK", "BID", "ONE", "SIM", "SYMBOL", "TICK", "Floor", "Holder", "agree", "exchange", "plant"]
