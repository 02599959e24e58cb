"""An order plant whose strategy trades ``ES.front`` around a roll, and a broker that keeps orders over its restarts."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_rolls import RollPolicy
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import OrderType, Side
from nightdesk.settings.models import Instrument, Roll, Strategy
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import (
    FAST,
    FakePeer,
    FakeSession,
    Plant,
    complete,
    configuration,
    filled,
    notice,
    submit,
    turns,
)
from tests.support import wait_until_async

OLD, NEW = "ESZ3", "ESH4"
DAY_BEFORE, ROLLING, BREAK, AFTER = (
    f"2023-12-{when}" for when in ("05 10:00:00", "06 15:50:00", "06 16:30:00", "06 17:00:05")
)
"""The last close of ESZ3 as the front contract is on December 6 at 16:00, an hour before ESH4's first opening."""

SETTLED_S = 5.0


def front(position: str, **changes: Any) -> list[Instrument]:
    """``ES.front``; what becomes of positions is given."""
    roll = Roll.model_validate({"position": position, **changes})
    return [Instrument.model_validate({"symbol": "ES.front", "exchange": "CME", "roll": roll})]


@dataclass
class Broker:
    """Confirms cancels and fills market orders at once; its orders outlive order plants. ``silent`` fills nothing."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    silent: bool = False
    rejects: int = 0
    """How many of the next orders are refused."""

    def positions(self) -> dict[str, int]:
        """Net, of market orders alone."""
        found: dict[str, int] = {}
        for order in self.orders.values():
            if order["price_type"] == 2 and order["done"]:
                sign = 1 if order["transaction_type"] == 1 else -1
                found[order["symbol"]] = found.get(order["symbol"], 0) + sign * order["quantity"]
        return {symbol: quantity for symbol, quantity in found.items() if quantity}

    def tags(self, prefix: str = "roll-") -> list[str]:
        """The orders that were received, by their tags."""
        return [tag for tag in self.orders if tag.startswith(prefix)]

    def serve(self, body: Plant, session: FakeSession) -> None:
        """Answer a session from now on."""

        def on_send(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 316:
                self._cancel(body, fields["basket_id"])
            elif template_id == 312:
                assert fields["user_tag"] not in self.orders, "an order was sent twice"
                self.orders[fields["user_tag"]] = {**fields, "done": False}
                if self.rejects:
                    self.rejects -= 1
                    self._tell(body, 351, self._complete(fields, "FA", 0))
                elif fields["price_type"] == 2 and not self.silent:
                    self._fill(body, fields)

        session.on_send = on_send

    def lists(self) -> dict[str, list[Any]]:
        """What the broker's lists show a new connection."""
        filled_ones = [order for order in self.orders.values() if order["done"]]
        open_ones = [order for order in self.orders.values() if not order["done"] and "gone" not in order]
        return {
            "orders": [
                *(self._complete(order, "F", order["quantity"], is_snapshot=True) for order in filled_ones),
                *(self._working(order) for order in open_ones),
            ],
            "fills": [self._filled(order, is_snapshot=True) for order in filled_ones],
        }

    def finish(self, body: Plant) -> None:
        """Fill what waits."""
        for order in self.orders.values():
            if order["price_type"] == 2 and not order["done"]:
                self._fill(body, order)

    def _fill(self, body: Plant, fields: dict[str, Any]) -> None:
        self.orders[fields["user_tag"]]["done"] = True
        self._tell(body, 352, self._filled(fields))
        self._tell(body, 351, self._complete(fields, "F", fields["quantity"]))

    def _cancel(self, body: Plant, basket: str) -> None:
        self.canceled.append(basket)
        tag = basket.removeprefix("basket-")
        order = body.account.table.get(tag)  # type: ignore[arg-type]
        assert order is not None
        if tag in self.orders:
            self.orders[tag]["gone"] = True
        side = 2 if order.side is Side.SELL else 1
        message = complete(tag, basket, "C", 0, 2, transaction_type=side, symbol=order.symbol)
        self._tell(body, 351, message)

    @staticmethod
    def _tell(body: Plant, template_id: int, message: Any) -> None:
        asyncio.get_running_loop().call_soon(body.on_push, template_id, message)

    @staticmethod
    def _filled(fields: dict[str, Any], **more: Any) -> Any:
        tag, quantity = fields["user_tag"], fields["quantity"]
        same = {"transaction_type": fields["transaction_type"], "symbol": fields["symbol"]}
        return filled(tag, f"basket-{tag}", f"fill-{tag}", quantity, quantity, 0, **same, **more)

    @staticmethod
    def _complete(fields: dict[str, Any], reason: str, total: int, **more: Any) -> Any:
        tag, quantity = fields["user_tag"], fields["quantity"]
        same = {"transaction_type": fields["transaction_type"], "symbol": fields["symbol"], "quantity": quantity}
        return complete(tag, f"basket-{tag}", reason, total, quantity - total, **same, **more)

    @staticmethod
    def _working(fields: dict[str, Any]) -> Any:
        tag = fields["user_tag"]
        same = {"transaction_type": fields["transaction_type"], "symbol": fields["symbol"]}
        totals = {"quantity": fields["quantity"], "total_fill_size": 0, "total_unfilled_size": fields["quantity"]}
        return notice(352, 1, tag, f"basket-{tag}", is_snapshot=True, status="open", **same, **totals)


def time_of(body: Plant) -> ManualTime:
    """The market's clock of a plant."""
    time = body.context.market_time
    assert isinstance(time, ManualTime)
    return time


async def begun(folder: Path, moment: str, position: str = "roll", **changes: Any) -> Plant:
    """A plant at a moment of the exchange's clocks, with short times."""
    strategies = [Strategy.model_validate({"name": "one", "class": "m:C", "symbols": ["ES.front"]})]
    config = configuration(folder, instruments=front(position), strategies=strategies, **changes).to_json()
    clock = ManualClock()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(moment))))
    body.reconcile_policy = FAST
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.roll_policy = RollPolicy(poll_s=0.002, cancels_s=0.2, retry_s=0.002, retry_max_s=0.01)
    await body.start()
    return body


async def connected(body: Plant, broker: Broker) -> tuple[FakeSession, FakePeer, int]:
    """The link is up, the broker answers, and the strategy has said hello."""
    session = await body.link_up(wait=False, **broker.lists())
    broker.serve(body, session)
    await wait_until_async(lambda: not body.account.reconciling)
    peer, welcome = body.hello()
    return session, peer, welcome.fencing_epoch


async def holding(body: Plant, peer: FakePeer, epoch: int, quantity: int = 2) -> None:
    """Long in the old contract, with an entry and a protective stop at work."""
    market = {"symbol": OLD, "order_type": OrderType.MARKET, "price": None}
    body.say(peer, submit("o1", epoch, quantity=quantity, **market))
    await wait_until_async(lambda: held(body, OLD) == quantity)
    for tag, more in (("entry", {}), ("stop", {"side": Side.SELL, "protective": True})):
        body.say(peer, submit(tag, epoch, symbol=OLD, **more))
        await turns()
        side = 2 if more else 1
        totals = {"quantity": 2, "total_fill_size": 0, "total_unfilled_size": 2}
        body.on_push(
            351, notice(351, 13, tag, f"basket-{tag}", status="open", transaction_type=side, symbol=OLD, **totals)
        )


def held(body: Plant, symbol: str) -> int:
    """The strategy's position."""
    return body.account.ledger.quantity("one", symbol)  # type: ignore[arg-type]
