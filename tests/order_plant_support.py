"""An order plant without a socket: a scripted session, strategies' peers, and frames as the broker sends them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.plants.order import OrderPlantBody
from actors.plants.order_flatten import FlattenPolicy
from actors.plants.order_reconcile import ReconcilePolicy
from nightdesk.messages import (
    AccountIdentity,
    ChildId,
    ClientOrderId,
    Message,
    OrderType,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    SubmitOrder,
)
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.settings.models import Instrument, Risk, Settings, Strategy
from nightdesk.settings.runtime import RunConfiguration
from tests.fakes import FakeContext
from tests.support import wait_until_async

ACCOUNT_ID = "SIM-1"
IDENTITY = AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=(ACCOUNT_ID,))


def configuration(folder: Path, **changes: Any) -> RunConfiguration:
    """Two strategies on one contract; the folders are made."""
    for name in ("state", "run"):
        (folder / name).mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "name": "test",
        "mode": "sim",
        "instruments": [Instrument(symbol="ESH4", exchange="CME", tick_size=0.25, point_value=50.0, commission=2.25)],
        "risk": Risk(
            max_order_quantity=10, max_position=20, max_open_orders=20, max_orders_per_second=100, self_trade="allow"
        ),
        "strategies": [
            Strategy.model_validate({"name": name, "class": "m:C", "symbols": ["ESH4"]}) for name in ("one", "two")
        ],
    }
    return RunConfiguration(
        settings=Settings(**(values | changes)),
        config_file="test.yaml",
        state_dir=str(folder / "state"),
        runtime_dir=str(folder / "run"),
    )


class FakeSession:
    """Keeps what was sent; ``lists`` are the frames that the next lists push, ``fail`` what a send raises."""

    def __init__(self, body: "Plant") -> None:
        self.body = body
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.requests: list[tuple[int, dict[str, Any]]] = []
        self.lists: dict[int, list[Any]] = {320: [], 3506: []}
        self.fail: Exception | None = None
        self.fail_requests: Exception | None = None
        self.refusals: dict[int, Exception] = {}
        """What single requests raise, by template."""
        self.answers: dict[int, list[Any]] = {}
        """The frames that answers themselves bring (3513), by the template of their request."""
        self.on_request: Callable[[int, dict[str, Any]], None] = lambda template_id, fields: None
        self.on_send: Callable[[int, dict[str, Any]], None] = lambda template_id, fields: None
        self.identity = IDENTITY
        self.limits: Any = TEMPLATES[305](template_id=305, account_id=ACCOUNT_ID)
        """What the broker says of the account's limits; None: nothing."""
        self.trade_routes = {"CME": "simulator"}
        self.connected = True
        self.closed_for = ""

    async def send(self, template_id: int, **fields: Any) -> None:
        self.sent.append((template_id, fields))
        if self.fail is not None:
            raise self.fail
        self.on_send(template_id, fields)

    async def request(self, template_id: int, **fields: Any) -> list[Any]:
        self.requests.append((template_id, fields))
        self.on_request(template_id, fields)
        if self.fail_requests is not None:
            raise self.fail_requests
        if template_id in self.refusals:
            raise self.refusals[template_id]
        if template_id == 304:
            return [self.limits] if self.limits is not None else []
        for message in self.lists.get(template_id, []):
            self.body.on_push(352, message)
        return self.answers.get(template_id, [])

    async def close(self, reason: str = "closed") -> None:
        self.connected = False
        self.closed_for = reason

    def of(self, template_id: int) -> list[dict[str, Any]]:
        """The fields of every frame of one template that was sent."""
        return [fields for sent, fields in self.sent if sent == template_id]

    def asked(self, template_id: int) -> list[dict[str, Any]]:
        """The fields of every request of one template."""
        return [fields for asked, fields in self.requests if asked == template_id]


class FakePeer:
    """A strategy's end of the order lane."""

    pid = 4711

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.closed = False

    def send(self, message: Message) -> None:
        self.got.append(message)

    def close(self) -> None:
        self.closed = True

    def kinds(self) -> list[str]:
        """The names of the messages, in order."""
        return [type(message).__name__ for message in self.got]

    def of(self, kind: type[Any]) -> list[Any]:
        """The messages of one type."""
        return [message for message in self.got if isinstance(message, kind)]


class Plant(OrderPlantBody):
    """The body with its reconnect loop taken away: a test says when the link comes and goes."""

    async def _keep_link(self) -> None:
        await asyncio.Event().wait()

    async def link_up(
        self, *, wait: bool = True, prepare: Callable[[FakeSession], None] = lambda session: None, **lists: list[Any]
    ) -> FakeSession:
        """A new session; ``orders`` and ``fills`` are what the broker's lists show."""
        session = FakeSession(self)
        prepare(session)
        session.lists |= {320: lists.get("orders", []), 3506: lists.get("fills", [])}
        self.session = session  # type: ignore[assignment]
        await self.on_link_up(session)  # type: ignore[arg-type]
        if wait:
            await wait_until_async(lambda: not self.account.reconciling)
        return session

    def link_down(self, reason: str = "cut") -> None:
        """The link is gone."""
        self.session = None
        self.on_link_down(reason)

    def hello(self, name: str = "one") -> tuple[FakePeer, StrategyWelcome]:
        """A strategy's process connects."""
        peer = FakePeer()
        self.say(
            peer, StrategyHello(strategy_id=StrategyId(name), child_id=ChildId(f"strategies/{name}"), incarnation=1)
        )
        welcome = peer.got.pop()
        assert isinstance(welcome, StrategyWelcome)
        return peer, welcome

    def say(self, peer: FakePeer, message: Message) -> None:
        """A strategy's process sends one message."""
        self._lane.on_message(peer, message)  # type: ignore[arg-type]


FAST = ReconcilePolicy(
    attempts=3,
    span_s=0.0,
    quiet_s=0.0,
    retry_s=0.01,
    replay_everything=True,
    positions_s=0.0,
    fresh_session=False,
)
"""Nobody brings positions, and no link comes back by itself."""


async def started(run: RunConfiguration, policy: ReconcilePolicy = FAST) -> Plant:
    """A plant that has read its journal, without a link."""
    body = Plant(FakeContext("plants/order", run.to_json()))
    body.reconcile_policy = policy
    body.flatten_policy = FlattenPolicy(cancels_s=0.2, reconciled_s=0.1, poll_s=0.005)
    await body.start()
    return body


async def turns(count: int = 5) -> None:
    """Let tasks that are ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


def submit(client_order_id: str, epoch: int, **changes: Any) -> SubmitOrder:
    """A limit order to buy two."""
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId(client_order_id),
        "strategy_id": StrategyId("one"),
        "fencing_epoch": epoch,
        "symbol": "ESH4",
        "exchange": "CME",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "quantity": 2,
        "price": 5000.0,
    }
    return SubmitOrder(**(values | changes))


def answer(template_id: int, **fields: Any) -> Any:
    """313, 315 or 317 of the library's classes."""
    return TEMPLATES[template_id](template_id=template_id, **fields)


def notice(template_id: int, notify_type: int, tag: str, basket: str, **fields: Any) -> Any:
    """351 or 352 of the library's classes about a limit order of two."""
    values: dict[str, Any] = {
        "template_id": template_id,
        "notify_type": notify_type,
        "user_tag": tag,
        "basket_id": basket,
        "account_id": ACCOUNT_ID,
        "symbol": "ESH4",
        "exchange": "CME",
        "transaction_type": 1,
        "duration": 1,
        "price_type": 1,
        "orig_price_type": 1,
        "price": 5000.0,
        "ssboe": 1_700_000_000,
    }
    return TEMPLATES[template_id](**(values | fields))


def opened(tag: str, basket: str, **fields: Any) -> Any:
    """351 open."""
    totals = {"quantity": 2, "total_fill_size": 0, "total_unfilled_size": 2}
    return notice(351, 13, tag, basket, status="open", **(totals | fields))


def filled(tag: str, basket: str, fill_id: str, quantity: int, total: int, left: int, **fields: Any) -> Any:
    """352 fill."""
    values = {
        "fill_id": fill_id,
        "fill_size": quantity,
        "fill_price": 5000.0,
        "total_fill_size": total,
        "total_unfilled_size": left,
        "report_type": "fill",
    }
    return notice(352, 5, tag, basket, **(values | fields))


def complete(tag: str, basket: str, reason: str, total: int, left: int, **fields: Any) -> Any:
    """351 complete."""
    totals = {"total_fill_size": total, "total_unfilled_size": left, "completion_reason": reason}
    return notice(351, 15, tag, basket, status="complete", **(totals | fields))


def image(tag: str, basket: str, status: str = "open", total: int = 0, left: int = 2, notify_type: int = 1) -> Any:
    """352 in a list of orders."""
    return notice(
        352,
        notify_type,
        tag,
        basket,
        is_snapshot=True,
        status=status,
        quantity=2,
        total_fill_size=total,
        total_unfilled_size=left,
    )


def historic(basket: str, fill_id: str, quantity: int, **fields: Any) -> Any:
    """3513: an execution in the history of fills."""
    values: dict[str, Any] = {
        "template_id": 3513,
        "basket_id": basket,
        "account_id": ACCOUNT_ID,
        "symbol": "ESH4",
        "exchange": "CME",
        "transaction_type": "BUY",
        "fill_id": fill_id,
        "fill_size": quantity,
        "fill_price": 5000.0,
        "ssboe": 1_700_000_000,
    }
    return TEMPLATES[3513](**(values | fields))


Scenario = Callable[[Plant, FakeSession, FakePeer, int], Awaitable[None]]


def play(folder: Path, scenario: Scenario, **changes: Any) -> None:
    """A plant that is connected and reconciled, and strategy ``one`` on its lane."""

    async def run() -> None:
        body = await started(configuration(folder, **changes))
        session = await body.link_up()
        peer, welcome = body.hello()
        assert welcome.trading_permitted
        await scenario(body, session, peer, welcome.fencing_epoch)
        await body.stop()
        assert body.context.crashed is None  # type: ignore[attr-defined]

    asyncio.run(run())


async def working(body: Plant, peer: FakePeer, epoch: int, tag: str = "o1", basket: str = "b1", **changes: Any) -> None:
    """An order of two that the exchange holds."""
    body.say(peer, submit(tag, epoch, **changes))
    await turns()
    body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
    side = 2 if changes.get("side") is Side.SELL else 1
    body.on_push(351, opened(tag, basket, transaction_type=side))
