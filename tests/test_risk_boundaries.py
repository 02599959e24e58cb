"""Every control of docs/risk.md exactly at its boundary, through the whole order plant, and again after a kill.

One row for each code of the page's table: at the limit an order passes or (``from``) is denied already, one step on it
is the other way round; and what the next process makes of it. What a row needs of the market, the money or the broker
comes by the ways by which it comes in life.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nightdesk.messages import CancelOrder, ClientOrderId, Denial, OrderType, Side, StrategyId
from nightdesk.rithmic.library import TEMPLATES
from tests.calendar_support import at
from tests.order_plant_support import (
    ACCOUNT_ID,
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    image,
    turns,
    working,
)
from tests.risk_plant_support import (
    begun,
    bought,
    code,
    kill,
    pass_time,
    quiet_trade,
    risk,
    time_of,
)

DOCS = Path(__file__).parent.parent / "docs" / "risk.md"
BID = 4990.0
"""A price that waits."""

EPSILON_S = 0.001
MOMENTS = ("2024-02-27 10:00:00", "2024-02-27 10:00:02")
"""When each life begins; the first one is two seconds long where its length matters."""


class Desk:
    """One life of an order plant and of strategy ``one``."""

    def __init__(self, body: Plant, session: FakeSession, peer: FakePeer, epoch: int, life: int) -> None:
        self.body, self.session, self.peer, self.epoch = body, session, peer, epoch
        self._life, self._number = life, 0

    def tag(self) -> str:
        self._number += 1
        return f"life{self._life}-{self._number}"

    async def asks(self, **terms: Any) -> Denial | None:
        """An order, to buy one at a price that waits unless something else is said; why it is denied."""
        terms = {"quantity": 1, "price": BID} | terms
        return await code(self.body, self.peer, self.epoch, self.tag(), **terms)

    async def works(self, **terms: Any) -> ClientOrderId:
        """An order to buy two that the exchange holds."""
        tag = self.tag()
        await working(self.body, self.peer, self.epoch, tag, f"b-{tag}", **({"price": BID} | terms))
        return ClientOrderId(tag)

    async def is_refused(self) -> None:
        tag = self.tag()
        assert await code(self.body, self.peer, self.epoch, tag, price=BID) is None
        self.body.on_push(313, answer(313, user_tag=tag, basket_id=f"b-{tag}", rq_handler_rp_code=["0"]))
        self.body.on_push(351, complete(tag, f"b-{tag}", "FA", 0, 2))

    async def cancels(self, order_id: ClientOrderId) -> None:
        message = CancelOrder(client_order_id=order_id, strategy_id=StrategyId("one"), fencing_epoch=self.epoch)
        self.body.say(self.peer, message)
        await turns()

    def goes(self, seconds: float) -> None:
        pass_time(self.body, seconds)


Act = Callable[[Desk], Awaitable[Any]]


class Case(NamedTuple):
    """``reaches`` leads to the boundary and looks at both sides of it, ``after`` is what the next process says."""

    limits: dict[str, Any]
    reaches: Act
    after: Act
    broker: dict[str, Any] = {}
    mode: str = "sim"


async def quantity(desk: Desk) -> None:
    assert await desk.asks(quantity=3) is Denial.RISK_MAX_ORDER_QUANTITY
    assert await desk.asks(quantity=2) is None


async def notional(desk: Desk) -> None:
    """Two contracts at 5,000 of 50 dollars a point."""
    assert await desk.asks(quantity=2, price=5000.25) is Denial.RISK_MAX_ORDER_NOTIONAL
    assert await desk.asks(quantity=2, price=5000.0) is None


async def position(desk: Desk) -> None:
    await desk.works()
    assert await desk.asks(quantity=3) is Denial.RISK_MAX_POSITION
    assert await desk.asks(quantity=2) is None
    assert await desk.asks() is Denial.RISK_MAX_POSITION


async def position_again(desk: Desk) -> None:
    """One of the two orders is not at the exchange any more, the other is."""
    assert await desk.asks(quantity=3) is Denial.RISK_MAX_POSITION
    assert await desk.asks(quantity=2) is None


async def contracts(desk: Desk) -> None:
    """A weight of a half: four are two."""
    await desk.works()
    assert await desk.asks(quantity=3) is Denial.RISK_MAX_CONTRACTS
    assert await desk.asks(quantity=2) is None


async def contracts_again(desk: Desk) -> None:
    assert await desk.asks(quantity=3) is Denial.RISK_MAX_CONTRACTS
    assert await desk.asks(quantity=2) is None


async def open_orders(desk: Desk) -> None:
    await desk.works()
    assert await desk.asks() is None
    assert await desk.asks() is Denial.RISK_MAX_OPEN_ORDERS


async def open_orders_again(desk: Desk) -> None:
    assert await desk.asks() is None
    assert await desk.asks() is Denial.RISK_MAX_OPEN_ORDERS


async def orders_a_second(desk: Desk) -> None:
    assert [await desk.asks() for _ in range(3)] == [None, None, Denial.RISK_ORDER_RATE]
    desk.goes(1.0 - EPSILON_S)
    assert await desk.asks() is Denial.RISK_ORDER_RATE
    desk.goes(EPSILON_S)
    assert [await desk.asks() for _ in range(3)] == [None, None, Denial.RISK_ORDER_RATE]


async def orders_anew(desk: Desk) -> None:
    """A second is over before another process is there."""
    assert [await desk.asks() for _ in range(3)] == [None, None, Denial.RISK_ORDER_RATE]


async def cancels_a_second(desk: Desk) -> None:
    first, second = await desk.works(), await desk.works()
    await desk.cancels(first)
    assert await desk.asks() is None
    await desk.cancels(second)
    assert await desk.asks() is Denial.RISK_CANCEL_RATE
    desk.goes(1.0 - EPSILON_S)
    assert await desk.asks() is Denial.RISK_CANCEL_RATE
    desk.goes(EPSILON_S)
    assert await desk.asks() is None


async def collar(desk: Desk) -> None:
    """Forty ticks of a quarter."""
    quiet_trade(desk.body, 5000.0)
    assert await desk.asks(price=5010.25) is Denial.RISK_PRICE_COLLAR
    assert await desk.asks(price=5010.0) is None
    assert await desk.asks(side=Side.SELL, price=4989.75) is Denial.RISK_PRICE_COLLAR
    assert await desk.asks(side=Side.SELL, price=4990.0) is None


async def collar_again(desk: Desk) -> None:
    """Nothing is known of the market before its first tick."""
    assert await desk.asks() is Denial.STATE_DATA_STALE
    await collar(desk)


async def equal_orders(desk: Desk) -> None:
    assert await desk.asks() is None
    desk.goes(2.0 - EPSILON_S)
    assert await desk.asks() is Denial.RISK_DUPLICATE_ORDER
    desk.goes(EPSILON_S)
    assert await desk.asks() is None


async def equal_orders_again(desk: Desk) -> None:
    """The one that left last is read back from the journal, with its time, as far as a float can tell it."""
    desk.goes(2.0 - EPSILON_S)
    assert await desk.asks() is Denial.RISK_DUPLICATE_ORDER
    desk.goes(2 * EPSILON_S)
    assert await desk.asks() is None


async def self_trade(desk: Desk) -> None:
    await desk.works()
    assert await desk.asks(side=Side.SELL, price=BID) is Denial.RISK_SELF_TRADE
    assert await desk.asks(side=Side.SELL, price=BID + 0.25) is None


async def self_trade_again(desk: Desk) -> None:
    assert await desk.asks(side=Side.SELL, price=BID) is Denial.RISK_SELF_TRADE


async def refusals(desk: Desk) -> None:
    await desk.is_refused()
    assert await desk.asks() is None
    await desk.is_refused()
    assert await desk.asks() is Denial.RISK_REJECTS


async def still(desk: Desk, denial: Denial) -> None:
    assert await desk.asks() is denial


async def loses(desk: Desk, denial: Denial) -> None:
    """Two contracts, 4.50 dollars of commission, a hundred dollars a point: the limit is a loss of 104.50."""
    quiet_trade(desk.body, 5000.0)
    await bought(desk.body, desk.peer, desk.epoch)
    quiet_trade(desk.body, 4999.25)
    assert await desk.asks() is None
    quiet_trade(desk.body, 4999.0)
    assert await desk.asks() is denial
    assert await desk.asks(side=Side.SELL, quantity=2, order_type=OrderType.MARKET, price=None) is None


async def recovered(desk: Desk, denial: Denial) -> None:
    """A price that comes back does not open the gate."""
    quiet_trade(desk.body, 5050.0)
    assert await desk.asks() is denial


async def late(desk: Desk) -> None:
    time_of(desk.body).set(at("2024-02-27 15:08:59"))
    assert await desk.asks() is None
    time_of(desk.body).set(at("2024-02-27 15:09:00"))
    assert await desk.asks() is Denial.SESSION_NO_TRADE


async def late_again(desk: Desk) -> None:
    time_of(desk.body).set(at("2024-02-27 15:30:00"))
    assert await desk.asks() is Denial.SESSION_NO_TRADE
    time_of(desk.body).set(at("2024-02-27 17:00:00"))
    assert await desk.asks() is None


async def old_ticks(desk: Desk) -> None:
    assert await desk.asks() is Denial.STATE_DATA_STALE
    quiet_trade(desk.body, 5000.0)
    desk.goes(5.0)
    assert await desk.asks() is None
    desk.goes(EPSILON_S)
    assert await desk.asks() is Denial.STATE_DATA_STALE


async def old_positions(desk: Desk) -> None:
    assert await desk.asks() is Denial.STATE_POSITION_STALE
    desk.body.account.risk.on_broker_positions()
    desk.goes(90.0)
    assert await desk.asks() is None
    desk.goes(EPSILON_S)
    assert await desk.asks() is Denial.STATE_POSITION_STALE


async def clock(desk: Desk) -> None:
    time, risk_desk = time_of(desk.body), desk.body.account.risk
    for ahead_s, denial in ((1.0, None), (1.001, Denial.STATE_CLOCK), (-1.0, None), (-1.001, Denial.STATE_CLOCK)):
        # What was seen before is forgotten when it is older than what is looked at.
        desk.goes(100.0)
        for _ in range(2):
            desk.goes(6.0)
            exchange_ns = time.now_ns() - round(ahead_s * 1e9)
            risk_desk.on_sample(exchange_ns)
        assert await desk.asks() is denial, ahead_s


async def clock_anew(desk: Desk) -> None:
    """It is measured anew."""
    assert await desk.asks() is None
    await clock(desk)


async def broker(desk: Desk) -> None:
    assert await desk.asks(quantity=4) is Denial.RISK_BROKER_LIMIT
    assert await desk.asks(quantity=3) is None
    assert await desk.asks(quantity=2) is Denial.RISK_BROKER_LIMIT
    assert await desk.asks(quantity=1) is None
    assert await desk.asks(quantity=1) is Denial.RISK_BROKER_LIMIT


async def broker_again(desk: Desk) -> None:
    """None of those orders has arrived."""
    assert await desk.asks(quantity=4) is Denial.RISK_BROKER_LIMIT
    assert await desk.asks(quantity=3) is None


def to(act: Callable[[Desk, Denial], Awaitable[Any]], denial: Denial) -> Act:
    """An act about one code."""
    return lambda desk: act(desk, denial)


CASES: dict[Denial, Case] = {
    Denial.RISK_MAX_ORDER_QUANTITY: Case({"max_order_quantity": 2}, quantity, quantity),
    Denial.RISK_MAX_ORDER_NOTIONAL: Case({"max_order_notional": 500_000}, notional, notional),
    Denial.RISK_MAX_POSITION: Case({"max_position": 4}, position, position_again),
    Denial.RISK_MAX_CONTRACTS: Case(
        {"max_contracts": 2.0, "instruments": {"ES": {"contract_weight": 0.5}}}, contracts, contracts_again
    ),
    Denial.RISK_MAX_OPEN_ORDERS: Case({"max_open_orders": 2}, open_orders, open_orders_again),
    Denial.RISK_ORDER_RATE: Case({"max_orders_per_second": 2}, orders_a_second, orders_anew),
    Denial.RISK_CANCEL_RATE: Case({"max_cancels_per_second": 1}, cancels_a_second, cancels_a_second),
    Denial.RISK_PRICE_COLLAR: Case({"price_collar": {"ticks": 40}}, collar, collar_again),
    Denial.RISK_DUPLICATE_ORDER: Case({"duplicate_window_s": 2}, equal_orders, equal_orders_again),
    Denial.RISK_SELF_TRADE: Case({"self_trade": "deny"}, self_trade, self_trade_again),
    Denial.RISK_REJECTS: Case({"rejects_in_row_max": 2}, refusals, to(still, Denial.RISK_REJECTS)),
    Denial.RISK_DAILY_LOSS: Case(
        {"strategy": {"daily_loss_limit": 104.5}},
        to(loses, Denial.RISK_DAILY_LOSS),
        to(recovered, Denial.RISK_DAILY_LOSS),
    ),
    Denial.RISK_TRAILING_DRAWDOWN: Case(
        {"strategy": {"trailing_drawdown_limit": 104.5}},
        to(loses, Denial.RISK_TRAILING_DRAWDOWN),
        to(recovered, Denial.RISK_TRAILING_DRAWDOWN),
    ),
    Denial.SESSION_NO_TRADE: Case({"flatten_by": "15:10"}, late, late_again),
    Denial.STATE_DATA_STALE: Case({"market_data_stale_s": 5}, old_ticks, old_ticks),
    Denial.STATE_POSITION_STALE: Case({"position_stale_s": 90}, old_positions, old_positions),
    Denial.STATE_CLOCK: Case({"clock_skew_max_s": 1}, clock, clock_anew, mode="paper"),
    Denial.RISK_BROKER_LIMIT: Case({}, broker, broker_again, broker={"max_order_quantity": 3, "buy_limit": 4}),
}


@pytest.mark.parametrize("denial", CASES, ids=lambda denial: denial.value)
def test_control_at_its_boundary_and_after_a_kill(tmp_path: Path, denial: Denial) -> None:
    """At the limit and one beyond it; then the process is killed, and the next one holds it as before."""
    case = CASES[denial]

    async def life(number: int, act: Act, held: list[Any]) -> list[Any]:
        limits = dict(case.limits)
        own = {"risk": limits.pop("strategy")} if "strategy" in limits else {}
        body = await begun(tmp_path, risk(**limits), MOMENTS[number - 1], mode=case.mode, **own)

        def prepare(session: FakeSession) -> None:
            session.limits = TEMPLATES[305](template_id=305, account_id=ACCOUNT_ID, **case.broker)

        session = await body.link_up(prepare=prepare, orders=held)
        peer, welcome = body.hello()
        await act(Desk(body, session, peer, welcome.fencing_epoch, number))
        orders = [order for order in body.account.table.open_orders() if order.venue_order_id]
        images = [image(order.client_order_id, order.venue_order_id or "") for order in orders]
        assert body.context.crashed is None  # type: ignore[attr-defined]
        await kill(body)
        return images

    async def lives() -> None:
        held = await life(1, case.reaches, [])
        await life(2, case.after, held)

    asyncio.run(lives())


def test_every_control_of_the_page_has_its_row() -> None:
    """The table of docs/risk.md and the one above name the same codes."""
    text = DOCS.read_text(encoding="utf-8").partition("## Controls")[2].partition("\n## ")[0]
    codes = re.findall(r"^\|[^|]*\| `([A-Z_]+)` \|", text, flags=re.MULTILINE)
    assert sorted(codes) == sorted(CASES)
