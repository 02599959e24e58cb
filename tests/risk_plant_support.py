"""An order plant with limits at a moment of the exchange's days: prices, money, the broker's words, and its death."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.plants.order_breaches import BreachPolicy
from actors.plants.order_breaks import BreakPolicy
from actors.plants.order_flatten import FlattenPolicy
from actors.plants.state_audit import FILE_NAME
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import AggressorSide, Denial, OrderDenied, QuoteTick, Side, TradeTick
from nightdesk.settings.models import Risk, Strategy
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
    submit,
    turns,
    working,
)

OPEN = "2024-02-27 10:00:00"
NEXT_DAY = "2024-02-27 17:00:01"
COMMISSION = 2.25
POINT_VALUE = 50.0

Scene = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def risk(**changes: Any) -> Risk:
    """Wide limits, and those that are given."""
    wide = {
        "max_order_quantity": 10,
        "max_position": 20,
        "max_open_orders": 20,
        "max_orders_per_second": 100,
        "self_trade": "allow",
    }
    return Risk.model_validate(wide | changes)


def strategies(**sections: Any) -> list[Strategy]:
    """Two on one contract; the first one with these sections."""
    names = {"one": sections, "two": {}}
    return [
        Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"], **more})
        for name, more in names.items()
    ]


async def begun(
    folder: Path, limits: Risk | None = None, moment: str = OPEN, *, mode: str = "sim", **sections: Any
) -> Plant:
    """A plant that has read its journal, with short times."""
    clock = ManualClock()
    config = configuration(folder, risk=limits or risk(), strategies=strategies(**sections), mode=mode).to_json()
    body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(moment))))
    body.reconcile_policy = msgspec.structs.replace(FAST, quiet_retry_s=0.01)
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    body.break_policy = BreakPolicy(poll_s=0.005, retry_s=0.02, retry_max_s=0.05)
    body.breach_policy = BreachPolicy(retry_s=0.0, retry_max_s=0.0)
    await body.start()
    return body


def play(folder: Path, scene: Scene, limits: Risk | None = None, moment: str = OPEN, **sections: Any) -> None:
    """A plant that is connected and reconciled, strategy ``one`` on its lane; killed where the scene ends."""

    async def run() -> None:
        body = await begun(folder, limits, moment, **sections)
        session = await body.link_up()
        peer, welcome = body.hello()
        await scene(body, session, peer, welcome.fencing_epoch)
        assert body.context.crashed is None  # type: ignore[attr-defined]
        await kill(body)

    asyncio.run(run())


async def kill(body: Plant) -> None:
    """As a SIGKILL leaves it: what was not committed is not written any more."""
    body.limits.close = lambda: None  # type: ignore[method-assign]
    await body.stop()


def trade(body: Plant, price: float, symbol: str = "ESH4") -> None:
    """A print has come, and the plant looks at its money."""
    quiet_trade(body, price, symbol)
    body.limits.look()


def quiet_trade(body: Plant, price: float, symbol: str = "ESH4") -> None:
    """A print has come just now."""
    now_ns = body.context.market_time.now_ns()
    tick = TradeTick(
        symbol=symbol,
        exchange="CME",
        price=price,
        quantity=1,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=now_ns,
        ts_recv_ns=now_ns,
    )
    body._on_market(tick)


def quote(body: Plant, bid: float, ask: float) -> None:
    """A best bid and offer has come just now."""
    now_ns = body.context.market_time.now_ns()
    tick = QuoteTick(
        symbol="ESH4",
        exchange="CME",
        bid_price=bid,
        bid_size=5,
        ask_price=ask,
        ask_size=5,
        ts_event_ns=now_ns,
        ts_recv_ns=now_ns,
    )
    body._on_market(tick)


async def bought(body: Plant, peer: FakePeer, epoch: int, price: float = 5000.0, tag: str = "in") -> None:
    """Two contracts, by an order that is filled whole."""
    basket = f"b-{tag}"
    await working(body, peer, epoch, tag, basket)
    body.on_push(352, filled(tag, basket, f"f-{tag}", 2, 2, 0, fill_price=price))
    body.on_push(351, complete(tag, basket, "F", 2, 0))


async def sold(body: Plant, peer: FakePeer, epoch: int, price: float, tag: str = "out") -> None:
    """The two again."""
    basket = f"b-{tag}"
    await working(body, peer, epoch, tag, basket, side=Side.SELL)
    body.on_push(352, filled(tag, basket, f"f-{tag}", 2, 2, 0, fill_price=price, transaction_type=2))
    body.on_push(351, complete(tag, basket, "F", 2, 0, transaction_type=2))


async def code(body: Plant, peer: FakePeer, epoch: int, tag: str = "x", **changes: Any) -> Denial | None:
    """Why an order is denied; None where it leaves."""
    known = len(peer.of(OrderDenied))
    body.say(peer, submit(tag, epoch, **changes))
    await turns()
    denials = peer.of(OrderDenied)[known:]
    return denials[0].code if denials else None


def alerts(body: Plant, event: str) -> list[str]:
    """The texts of all alerts of one kind."""
    return [each.text for each in body.context.alerts if each.event == event]  # type: ignore[attr-defined]


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``trading_state.jsonl``."""
    path = folder / "state" / FILE_NAME
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def time_of(body: Plant) -> ManualTime:
    """The market's time."""
    time = body.context.market_time
    assert isinstance(time, ManualTime)
    return time


def pass_time(body: Plant, seconds: float) -> None:
    """Of the machine and of the market."""
    body.context.clock.advance(seconds)  # type: ignore[attr-defined]
