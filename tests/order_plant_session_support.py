"""The order plant beside the calendar: moments of an exchange's days, and what tests of them share."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.plants.order_breaks import BreakPolicy
from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_wills import WillPolicy
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import (
    ChildId,
    ChildParked,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
)
from nightdesk.settings.models import Strategy
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
    working,
)

ONE = StrategyId("one")
CONTROL = ChildId("services/control")
OPEN, LATE, CLOSED, PRE_OPEN, REOPENED = (
    f"2024-02-27 {clock}" for clock in ("10:00:00", "15:56:00", "16:10:00", "16:50:00", "17:00:01")
)
FRIDAY, WEEKEND = "2024-02-23 15:56:00", "2024-02-24 12:00:00"
FLAT = {"over_break": "flatten"}
STOP: dict[str, Any] = {
    "side": Side.SELL,
    "order_type": OrderType.STOP_MARKET,
    "price": None,
    "trigger_price": 4990.0,
    "protective": True,
    "time_in_force": TimeInForce.GTC,
}
"""A protective stop for two that is good till canceled."""

Scene = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def time_of(body: Plant) -> ManualTime:
    time = body.context.market_time
    assert isinstance(time, ManualTime)
    return time


def alerts(body: Plant) -> list[str]:
    """All alerts that somebody might be called for."""
    return [alert.event for alert in body.context.alerts if alert.severity != "info"]  # type: ignore[attr-defined]


async def begun(folder: Path, moment: str, **changes: Any) -> Plant:
    """A plant at a moment of the exchange's clocks, with short times."""
    sections = [
        Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"], **changes})
        for name in ("one", "two")
    ]
    clock = ManualClock()
    config = configuration(folder, strategies=sections).to_json()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(moment))))
    body.reconcile_policy = msgspec.structs.replace(FAST, quiet_retry_s=0.01)
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.will_policy = WillPolicy(poll_s=0.005, retry_s=0.02, retry_max_s=0.05, attempts_max=2, alert_s=0.05)
    body.break_policy = BreakPolicy(poll_s=0.005, retry_s=0.02, retry_max_s=0.05)
    await body.start()
    return body


def play(folder: Path, moment: str, scene: Scene, **changes: Any) -> None:
    """A plant that is connected and reconciled, and strategy ``one`` on its lane."""

    async def run() -> None:
        body = await begun(folder, moment, **changes)
        session = await body.link_up()
        peer, welcome = body.hello()
        await scene(body, session, peer, welcome.fencing_epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


async def holding(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts long, an entry good till canceled and a protective stop working."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))
    await working(body, peer, epoch, "entry", "b2", time_in_force=TimeInForce.GTC)
    await working(body, peer, epoch, "stop", "b3", **STOP)


def exits(session: FakeSession) -> list[dict[str, Any]]:
    return [fields for fields in session.of(312) if fields["user_tag"].startswith("exit-")]


def canceled(session: FakeSession) -> list[str]:
    return sorted(fields["basket_id"] for fields in session.of(316))


def obeys(body: Plant, session: FakeSession) -> None:
    """From now on the exchange confirms cancels and fills market orders at once."""

    def on_send(template_id: int, fields: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if template_id == 316:
            orders = {order.venue_order_id: order for order in body.account.table.open_orders()}
            order = orders[fields["basket_id"]]
            side = 2 if order.side is Side.SELL else 1
            message = complete(order.client_order_id, fields["basket_id"], "C", 0, 2, transaction_type=side)
            loop.call_soon(body.on_push, 351, message)
        elif template_id == 312:
            tag, quantity = fields["user_tag"], fields["quantity"]
            side = fields["transaction_type"]
            fill = filled(tag, f"basket-{tag}", f"fill-{tag}", quantity, quantity, 0, transaction_type=side)
            done = complete(tag, f"basket-{tag}", "F", quantity, 0, transaction_type=side)
            loop.call_soon(body.on_push, 352, fill)
            loop.call_soon(body.on_push, 351, done)

    session.on_send = on_send


def park(body: Plant) -> None:
    """The supervisor has set strategy ``one`` aside."""
    message = ChildParked(child_id=ChildId("strategies/one"), restarts=5, reason="CRASHED")
    body.receive(ChildId("strategies"), message)
