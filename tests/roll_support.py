"""An order plant whose strategy trades ``ES.front`` around a roll, and a broker that keeps orders over its restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_roll_task import RollPolicy
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import OrderType, Side, StrategyId, SubmitOrder, TimeInForce
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

QUICK = RollPolicy(poll_s=0.002, cancels_s=0.2, retry_s=0.002, retry_max_s=0.01, owner_s=0.02)
STOP_PRICE = 4900.0
MARKET = 2
"""The price type of a market order."""


def front(position: str, **changes: Any) -> list[Instrument]:
    """``ES.front``; what becomes of positions is given."""
    roll = Roll.model_validate({"position": position, **changes})
    return [Instrument.model_validate({"symbol": "ES.front", "exchange": "CME", "roll": roll})]


@dataclass
class Broker:
    """Confirms cancels and fills market orders at once; its orders outlive order plants. ``silent`` fills nothing.

    ``dead``: what is sent arrives nowhere, and what it says is not heard.
    """

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """What came in, in order: tags of orders, and ``cancel TAG``."""
    silent: bool = False
    dead: bool = False
    rejects: int = 0
    """How many of the next orders are refused."""
    pieces: list[int] = field(default_factory=list)
    """What the next market orders fill, one each; the rest is canceled. Without any: all of it."""

    def positions(self) -> dict[str, int]:
        """Net, by what was filled."""
        found: dict[str, int] = {}
        for order in self.orders.values():
            sign = 1 if order["transaction_type"] == 1 else -1
            found[order["symbol"]] = found.get(order["symbol"], 0) + sign * order["filled"]
        return {symbol: quantity for symbol, quantity in found.items() if quantity}

    def tags(self, prefix: str = "roll-") -> list[str]:
        """The orders that were received, by their tags."""
        return [tag for tag in self.orders if tag.startswith(prefix)]

    def working(self) -> list[str]:
        """The orders that are not over."""
        return [tag for tag, order in self.orders.items() if not order["over"]]

    def serve(self, body: Plant, session: FakeSession) -> None:
        """Answer a session from now on."""

        def on_send(template_id: int, fields: dict[str, Any]) -> None:
            if self.dead:
                return
            if template_id == 316:
                self._cancel(body, fields["basket_id"].removeprefix("basket-"))
            elif template_id == 312:
                self.log.append(fields["user_tag"])
                self.take(fields)
                if self.rejects:
                    self.rejects -= 1
                    self.orders[fields["user_tag"]]["over"] = True
                    self._tell(body, 351, self._complete(fields, "FA"))
                elif fields["price_type"] == MARKET and not self.silent:
                    self.fill(body, fields["user_tag"], self.pieces.pop(0) if self.pieces else fields["quantity"])

        session.on_send = on_send

    def take(self, fields: dict[str, Any]) -> None:
        """An order arrives."""
        assert fields["user_tag"] not in self.orders, "an order was sent twice"
        self.orders[fields["user_tag"]] = {**fields, "filled": 0, "over": False}

    def lists(self) -> dict[str, list[Any]]:
        """What the broker's lists show a new connection."""
        over = [order for order in self.orders.values() if order["over"]]
        return {
            "orders": [
                *(self._complete(each, "F" if each["filled"] else "C", is_snapshot=True) for each in over),
                *(self._working(each) for each in self.orders.values() if not each["over"]),
            ],
            "fills": [self._filled(each, is_snapshot=True) for each in self.orders.values() if each["filled"]],
        }

    def finish(self, body: Plant) -> None:
        """Fill what waits."""
        for tag, order in self.orders.items():
            if order["price_type"] == MARKET and not order["over"]:
                self.fill(body, tag, order["quantity"])

    def fill(self, body: Plant, tag: str, quantity: int) -> None:
        """Fill an order, and cancel what is left of it."""
        order = self.orders[tag]
        order["filled"], order["over"] = quantity, True
        if quantity:
            self._tell(body, 352, self._filled(order))
        self._tell(body, 351, self._complete(order, "F" if quantity == order["quantity"] else "C"))

    def rest(self, body: Plant, tag: str) -> None:
        """Tell that an order waits in the book."""
        order = self.orders[tag]
        same = {"transaction_type": order["transaction_type"], "symbol": order["symbol"]}
        totals = {"quantity": order["quantity"], "total_fill_size": 0, "total_unfilled_size": order["quantity"]}
        self._tell(body, 351, notice(351, 13, tag, f"basket-{tag}", status="open", **same, **totals))

    def _cancel(self, body: Plant, tag: str) -> None:
        self.canceled.append(f"basket-{tag}")
        self.log.append(f"cancel {tag}")
        order = self.orders[tag]
        if not order["over"]:
            order["over"] = True
            self._tell(body, 351, self._complete(order, "C"))

    def _tell(self, body: Plant, template_id: int, message: Any) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, body, template_id, message)

    def _deliver(self, body: Plant, template_id: int, message: Any) -> None:
        if not self.dead:
            body.on_push(template_id, message)

    @staticmethod
    def _filled(order: dict[str, Any], **more: Any) -> Any:
        tag, quantity = order["user_tag"], order["filled"]
        same = {"transaction_type": order["transaction_type"], "symbol": order["symbol"]}
        return filled(
            tag, f"basket-{tag}", f"fill-{tag}", quantity, quantity, order["quantity"] - quantity, **same, **more
        )

    @staticmethod
    def _complete(order: dict[str, Any], reason: str, **more: Any) -> Any:
        tag, quantity, total = order["user_tag"], order["quantity"], order.get("filled", 0)
        same = {"transaction_type": order["transaction_type"], "symbol": order["symbol"], "quantity": quantity}
        return complete(tag, f"basket-{tag}", reason, total, quantity - total, **same, **more)

    @staticmethod
    def _working(order: dict[str, Any]) -> Any:
        tag = order["user_tag"]
        same = {"transaction_type": order["transaction_type"], "symbol": order["symbol"]}
        totals = {"quantity": order["quantity"], "total_fill_size": 0, "total_unfilled_size": order["quantity"]}
        return notice(352, 1, tag, f"basket-{tag}", is_snapshot=True, status="open", **same, **totals)


def time_of(body: Plant) -> ManualTime:
    """The market's clock of a plant."""
    time = body.context.market_time
    assert isinstance(time, ManualTime)
    return time


def strategies(**symbols: str) -> list[Strategy]:
    """Strategies by name, each with its one symbol."""
    return [Strategy.model_validate({"name": key, "class": "m:C", "symbols": [each]}) for key, each in symbols.items()]


async def begun(
    folder: Path, moment: str, position: str = "roll", *, policy: RollPolicy | None = None, **changes: Any
) -> Plant:
    """A plant at a moment of the exchange's clocks, with short times."""
    changes = {"instruments": front(position), "strategies": strategies(one="ES.front"), **changes}
    config = configuration(folder, **changes).to_json()
    clock = ManualClock()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(moment))))
    body.reconcile_policy = FAST
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.roll_policy = policy if policy is not None else QUICK
    await body.start()
    return body


async def connected(body: Plant, broker: Broker, name: str = "one") -> tuple[FakeSession, FakePeer, int]:
    """The link is up, the broker answers, and a strategy has said hello."""
    session = await body.link_up(wait=False, **broker.lists())
    broker.serve(body, session)
    await wait_until_async(lambda: not body.account.reconciling)
    peer, welcome = body.hello(name)
    return session, peer, welcome.fencing_epoch


async def holding(
    body: Plant, broker: Broker, peer: FakePeer, epoch: int, quantity: int = 2, name: str = "one"
) -> None:
    """Long (or short) in the old contract, with an entry and a protective stop at work."""
    long, lots = quantity > 0, abs(quantity)
    entry, exit_side = (Side.BUY, Side.SELL) if long else (Side.SELL, Side.BUY)
    tag = "" if name == "one" else f"{name}-"
    common = {"strategy_id": name, "symbol": OLD, "quantity": lots, "price": None}
    body.say(peer, submit(f"{tag}o1", epoch, side=entry, order_type=OrderType.MARKET, **common))
    await wait_until_async(lambda: held(body, OLD, name) == quantity)
    await working(body, broker, peer, submit(f"{tag}entry", epoch, strategy_id=name, symbol=OLD, side=entry))
    stop: dict[str, Any] = {
        "side": exit_side,
        "protective": True,
        "order_type": OrderType.STOP_MARKET,
        "trigger_price": STOP_PRICE,
    }
    stop["time_in_force"] = TimeInForce.GTC
    await working(body, broker, peer, submit(f"{tag}stop", epoch, **common, **stop))


async def working(body: Plant, broker: Broker, peer: FakePeer, command: SubmitOrder) -> None:
    """An order that the exchange holds."""
    body.say(peer, command)
    await turns()
    broker.rest(body, command.client_order_id)
    await turns()


def held(body: Plant, symbol: str, name: str = "one") -> int:
    """A strategy's position."""
    return body.account.ledger.quantity(StrategyId(name), symbol)


def alerts(body: Plant) -> list[str]:
    """The names of all alerts but those of fills."""
    context = body.context
    assert isinstance(context, FakeContext)
    return [alert.event for alert in context.alerts if alert.event != "execution_fill"]


def is_done(body: Plant) -> bool:
    """Whether there was a roll, and all are over."""
    rolls = body.journal.rolls()
    return bool(rolls) and all(roll.is_done for roll in rolls)


Scene = Callable[[Plant, Broker, FakeSession, FakePeer, int], Awaitable[None]]


def play(folder: Path, scene: Scene, position: str = "roll", moment: str = DAY_BEFORE, **changes: Any) -> None:
    """A connected plant and its strategy."""

    async def run() -> None:
        broker = Broker()
        body = await begun(folder, moment, position, **changes)
        session, peer, epoch = await connected(body, broker)
        await scene(body, broker, session, peer, epoch)
        await body.stop()
        assert isinstance(body.context, FakeContext)
        assert body.context.crashed is None

    asyncio.run(run())
