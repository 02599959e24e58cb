"""The exchange's side of an order plant's session: what it does with cancels and closing orders, as a test says."""

import asyncio
from typing import Any

from nightdesk.messages import CommandResult, OperatorFlatten, OrderType, Side, StrategyId, TimeInForce
from tests.order_plant_session_support import CONTROL, ONE
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    filled,
    opened,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async


class Exchange:
    """From its making on it takes every market order, which rests or fills, and confirms cancels or is deaf to them.

    ``open_exits`` has, for each closing order that it took, how many were at work with it: one, or something is wrong.
    """

    def __init__(self, body: Plant, session: FakeSession) -> None:
        self._body = body
        self.fills = False
        """Whether market orders fill at once; they rest otherwise."""
        self.deaf: set[str] = set()
        """The broker's ids whose cancels are not answered; ``*`` is all."""
        self.open_exits: list[int] = []
        self._exits: dict[str, dict[str, Any]] = {}
        session.on_send = self._on_send

    def fill(self, tag: str, quantity: int, total: int, of: int, basket: str = "") -> None:
        """One execution of an order to sell, after which ``total`` of ``of`` are filled."""
        basket = basket or f"x-{tag}"
        fill_id = f"fill-{tag}-{total}"
        self._body.on_push(352, filled(tag, basket, fill_id, quantity, total, of - total, transaction_type=2))
        if total == of:
            self._exits.pop(basket, None)
            self._body.on_push(351, complete(tag, basket, "F", total, 0, transaction_type=2))

    def cancel(self, basket: str) -> None:
        """The cancel of an order is confirmed."""
        order = next(each for each in self._body.account.table.open_orders() if each.venue_order_id == basket)
        self._exits.pop(basket, None)
        side = 2 if order.side is Side.SELL else 1
        totals = {"quantity": order.quantity, "transaction_type": side}
        message = complete(order.client_order_id, basket, "C", order.filled_quantity, order.leaves_quantity, **totals)
        self._body.on_push(351, message)

    def _on_send(self, template_id: int, fields: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if template_id == 316 and not self.deaf & {"*", fields["basket_id"]}:
            loop.call_soon(self.cancel, fields["basket_id"])
        elif template_id == 312:
            tag, basket = fields["user_tag"], f"x-{fields['user_tag']}"
            self._exits[basket] = fields
            self.open_exits.append(len(self._exits))
            loop.call_soon(self._take, tag, basket, fields)

    def _take(self, tag: str, basket: str, fields: dict[str, Any]) -> None:
        side, quantity = fields["transaction_type"], fields["quantity"]
        self._body.on_push(313, answer(313, user_tag=tag, basket_id=basket, rq_handler_rp_code=["0"]))
        totals = {"quantity": quantity, "total_unfilled_size": quantity}
        self._body.on_push(351, opened(tag, basket, transaction_type=side, **totals))
        if self.fills:
            self._exits.pop(basket, None)
            self._body.on_push(352, filled(tag, basket, f"f-{tag}", quantity, quantity, 0, transaction_type=side))
            self._body.on_push(351, complete(tag, basket, "F", quantity, 0, transaction_type=side))


async def long_two(body: Plant, peer: FakePeer, epoch: int, owner: str = "") -> None:
    """Two contracts are held, and nothing works."""
    tag, basket = f"{owner}in", f"{owner}b1"
    changes = {"strategy_id": owner} if owner else {}
    await working(body, peer, epoch, tag, basket, **changes)
    body.on_push(352, filled(tag, basket, f"{owner}f1", 2, 2, 0))
    body.on_push(351, complete(tag, basket, "F", 2, 0))


async def guarded(body: Plant, peer: FakePeer, epoch: int, **changes: Any) -> None:
    """Two contracts are held, and a stop for both works, good till canceled, as ``stop`` or ``b3``."""
    await long_two(body, peer, epoch)
    terms: dict[str, Any] = {
        "side": Side.SELL,
        "order_type": OrderType.STOP_MARKET,
        "price": None,
        "trigger_price": 4990.0,
        "protective": True,
        "time_in_force": TimeInForce.GTC,
    }
    terms |= changes
    body.say(peer, submit("stop", epoch, **terms))
    await turns()
    side, quantity = 2 if terms["side"] is Side.SELL else 1, terms.get("quantity", 2)
    totals = {"quantity": quantity, "total_unfilled_size": quantity}
    body.on_push(351, opened("stop", "b3", transaction_type=side, **totals))


def without_guard(body: Plant) -> None:
    """Take away whoever cuts stops that are larger than a position: what is left of them is others' work."""
    body.account.after_update = body.sender._after_update
    body.guard.look = lambda: None  # type: ignore[method-assign]


def flatten(body: Plant, *, force: bool = False) -> None:
    """The operator's word."""
    body.receive(CONTROL, OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId(""), force=force))


def pass_time(body: Plant, seconds: float) -> None:
    """Of the machine and of the market."""
    body.context.clock.advance(seconds)  # type: ignore[attr-defined]


def held(body: Plant, owner: StrategyId = ONE) -> int:
    """A strategy's position."""
    return body.account.ledger.quantity(owner, "ESH4")


async def results(body: Plant) -> list[Any]:
    """The operator's answers, when there is one."""
    await wait_until_async(lambda: bool(body.context.of(CommandResult)))  # type: ignore[attr-defined]
    return body.context.of(CommandResult)  # type: ignore[attr-defined,no-any-return]
