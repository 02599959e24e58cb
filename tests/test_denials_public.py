"""Every denial code, reached by a strategy through its public API: what it calls, and the callback that it gets.

A real strategy runs on a real runner; its lane leads to a whole order plant, whose broker is a script.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from nightdesk import Strategy
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.instrument_table import ContractFacts, InstrumentTable, TableFile
from nightdesk.messages import (
    ClientOrderId,
    ConnectionLost,
    Denial,
    Message,
    OrderCancelRejected,
    OrderDenied,
    OrderEvent,
    OrderModifyRejected,
    OrderReport,
    PauseChanged,
    PauseStrategy,
    PositionReport,
    SetTradingState,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    TradingPermissionChanged,
    TradingState,
)
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.settings.models import Instrument
from nightdesk.settings.models import Strategy as StrategySection
from nightdesk.trading.host_api import HistoryCallback, InstrumentTerms
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.risk import CHECKS
from nightdesk.trading.risk_limits import RISK_CHECKS
from nightdesk.trading.runner import StrategyRunner
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_session_support import CONTROL
from tests.order_plant_support import (
    ACCOUNT_ID,
    FAST,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    opened,
    turns,
)
from tests.risk_plant_support import OPEN, kill, quiet_trade, quote, risk, time_of

ONE = StrategyId("one")
ES = InstrumentTerms(symbol="ESH4", exchange="CME", tick_size=0.25, point_value=50.0)
ES_NEXT = InstrumentTerms(symbol="ESM4", exchange="CME", tick_size=0.25, point_value=50.0)
FINER = InstrumentTerms(symbol="ESH4", exchange="CME", tick_size=0.05, point_value=50.0)
BID = 4990.0
"""A price that waits."""


class Trader(Strategy):
    """A user's strategy that writes down which codes it is told."""

    def on_start(self) -> None:
        self.codes: list[str] = []

    def on_order_denied(self, event: OrderDenied) -> None:
        self.codes.append(event.code)

    def on_order_modify_rejected(self, event: OrderModifyRejected) -> None:
        self.codes.append(event.text.partition(":")[0])

    def on_order_cancel_rejected(self, event: OrderCancelRejected) -> None:
        self.codes.append(event.text.partition(":")[0])


class Process:
    """A strategy's process without a process: the runner on one end of the lane, the order plant on the other."""

    pid = 4711

    def __init__(self, body: Plant, name: str, terms: tuple[InstrumentTerms, ...], random_text: str) -> None:
        self._body = body
        self.name = name
        self.strategy = Trader()
        self.runner = StrategyRunner(
            self.strategy,
            name=name,
            instruments=terms,
            parameters={},
            outlet=self,
            clock=MarketClock(1.0, body.context.market_time.now_ns(), 0.0, is_anchored=True),
            random_text=lambda: random_text,
            log=structlog.get_logger(),
        )
        body.say(self, StrategyHello(strategy_id=StrategyId(name), child_id=f"strategies/{name}", incarnation=1))  # type: ignore[arg-type]
        self.runner.start()

    # The runner's outlet.

    def monotonic_s(self) -> float:
        return self._body.context.clock.monotonic_s()

    def due_changed(self, due_ns: int | None) -> None:
        return None

    def request_bars(self, terms: InstrumentTerms, period_s: int, count: int, on_result: HistoryCallback) -> None:
        return None

    def rolled(self, roll: object) -> None:
        return None

    def is_order_lane_open(self) -> bool:
        return True

    def send_order(self, message: Message) -> None:
        self._body.say(self, message)  # type: ignore[arg-type]

    def call_soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    # The order plant's peer.

    def close(self) -> None:
        return None

    def send(self, message: Message) -> None:
        match message:
            case StrategyWelcome():
                self.runner.on_welcome(message)
            case OrderEvent():
                self.runner.on_order_event(message)
            case OrderReport():
                self.runner.on_order_report(message)
            case PositionReport():
                self.runner.on_position(message)
            case PauseChanged():
                self.runner.on_pause_changed(message)
            case TradingPermissionChanged():
                self.runner.on_permission_changed(message)
            case ConnectionLost():
                self.runner.on_connection_lost(message)


class World:
    """A strategy that trades, its order plant, and the script of a broker."""

    def __init__(self, body: Plant, session: FakeSession, terms: tuple[InstrumentTerms, ...]) -> None:
        self.body = body
        self.session = session
        self.process = Process(body, "one", terms, "0123456789abcdef")
        self.me = self.process.strategy
        self._numbers = itertools.count(1)

    async def works(self, order_id: ClientOrderId) -> ClientOrderId:
        """The exchange holds an order."""
        await turns()
        order = self.body.account.table.get(order_id)
        assert order is not None, self.me.codes
        basket = f"b-{order_id}"
        side = 2 if order.side is Side.SELL else 1
        totals = {"quantity": order.quantity, "total_unfilled_size": order.quantity, "transaction_type": side}
        self.body.on_push(313, answer(313, user_tag=order_id, basket_id=basket, rq_handler_rp_code=["0"]))
        self.body.on_push(351, opened(order_id, basket, **totals))
        return order_id

    async def fills(self, order_id: ClientOrderId, quantity: int, price: float = 5000.0) -> ClientOrderId:
        """The exchange fills so much of it."""
        order = self.body.account.table.get(await self.works(order_id))
        assert order is not None
        left, side = order.quantity - quantity, 2 if order.side is Side.SELL else 1
        fields = {"fill_price": price, "transaction_type": side}
        fill = filled(order_id, f"b-{order_id}", f"f{next(self._numbers)}", quantity, quantity, left, **fields)
        self.body.on_push(352, fill)
        if not left:
            self.body.on_push(351, complete(order_id, f"b-{order_id}", "F", quantity, 0, transaction_type=side))
        return order_id

    async def refuses(self, order_id: ClientOrderId) -> None:
        """The broker refuses it."""
        await turns()
        self.body.on_push(313, answer(313, user_tag=order_id, rq_handler_rp_code=["6", "no"]))

    def operator(self, message: Callable[..., Message], **fields: Any) -> None:
        """A command from the console."""
        self.body.receive(CONTROL, message(request_id="r", reply_to=CONTROL, **fields))

    def goes(self, seconds: float) -> None:
        """Time passes, the machine's and the market's."""
        self.body.context.clock.advance(seconds)  # type: ignore[attr-defined]


Act = Callable[[World], Awaitable[Any]]


class Case(NamedTuple):
    """What a strategy does, and in which surroundings."""

    act: Act
    limits: dict[str, Any] = {}
    section: dict[str, Any] = {}
    terms: tuple[InstrumentTerms, ...] = (ES,)
    settings: dict[str, Any] = {}


async def buys_a_lot(world: World) -> None:
    world.me.buy(3, price=BID)


async def buys_twice(world: World) -> None:
    await world.works(world.me.buy(2, price=BID))
    world.me.buy(1, price=BID)


async def cancels_much(world: World) -> None:
    for order_id in [await world.works(world.me.buy(1, price=BID)) for _ in range(2)]:
        world.me.cancel(order_id)
    world.me.buy(1, price=BID)


async def buys_the_same_twice(world: World) -> None:
    for _ in range(2):
        world.me.buy(1, price=BID)
        await turns()


async def bids_high(world: World) -> None:
    quote(world.body, 4999.75, 5000.0)
    world.me.buy(1, price=5010.25)


async def buys_without_a_price(world: World) -> None:
    world.me.buy(1)


async def sells_to_itself(world: World) -> None:
    await world.works(world.me.buy(1, price=BID))
    world.me.sell(1, price=BID)


async def loses(world: World) -> None:
    quiet_trade(world.body, 5000.0)
    await world.fills(world.me.buy(1, price=BID), 1)
    quiet_trade(world.body, 4990.0)
    world.me.buy(1, price=BID)


async def is_refused(world: World) -> None:
    await world.refuses(world.me.buy(1, price=BID))
    world.me.buy(1, price=BID)


async def is_halted(world: World) -> None:
    world.operator(SetTradingState, trading_state=TradingState.HALTED, reason="test")
    world.me.buy(1, price=BID)


async def is_reducing(world: World) -> None:
    world.operator(SetTradingState, trading_state=TradingState.REDUCING, reason="test")
    world.me.buy(1, price=BID)


async def is_paused(world: World) -> None:
    world.operator(PauseStrategy, strategy_id=ONE, reason="test")
    world.me.buy(1, price=BID)


async def is_reconciling(world: World) -> None:
    world.body.link_down()
    await world.body.link_up(wait=False)
    world.me.buy(1, price=BID)


async def has_no_link(world: World) -> None:
    world.body.link_down()
    world.me.buy(1, price=BID)


async def has_no_journal(world: World) -> None:
    world.body.journal._connection.execute("PRAGMA query_only = ON")
    world.me.buy(1, price=BID)
    world.me.buy(1, price=BID)


async def has_a_wrong_clock(world: World) -> None:
    quiet_trade(world.body, 5000.0)
    time = time_of(world.body)
    for late_s in (6.0, 12.0):
        world.goes(late_s)
        tick_ns = time.now_ns()
        time.set(tick_ns + 3_000_000_000)
        world.body.account.risk.on_sample(tick_ns)
        time.set(tick_ns)
    world.me.buy(1, price=BID)


async def has_a_successor(world: World) -> None:
    Process(world.body, "one", (ES,), "another one")
    world.me.buy(1, price=BID)


async def trades_in_the_break(world: World) -> None:
    time_of(world.body).set(at("2024-02-27 16:10:00"))
    world.me.buy(1, price=BID)


async def trades_late(world: World) -> None:
    time_of(world.body).set(at("2024-02-27 15:30:00"))
    world.me.buy(1, price=BID)


async def asks_for_less_than_it_has(world: World) -> None:
    world.me.modify(await world.fills(world.me.buy(2, price=BID), 1), quantity=1)


async def begins_to_count_anew(world: World) -> None:
    await world.works(world.me.buy(1, price=BID))
    again = Process(world.body, "one", (ES,), "0123456789abcdef")
    again.strategy.codes = world.me.codes
    again.strategy.buy(1, price=4985.0)


async def cancels_what_it_never_had(world: World) -> None:
    world.me.cancel(ClientOrderId("nothing"))


async def cancels_what_is_over(world: World) -> None:
    world.me.cancel(await world.fills(world.me.buy(1, price=BID), 1))


async def is_too_late(world: World) -> None:
    world.me.buy(1, price=BID)
    world.goes(5.0)


async def changes_twice(world: World) -> None:
    order_id = await world.works(world.me.buy(1, price=BID))
    world.me.modify(order_id, price=4989.0)
    world.me.modify(order_id, price=4988.0)


async def buys_between_the_ticks(world: World) -> None:
    world.me.buy(1, price=4990.05)


async def buys_the_next_month(world: World) -> None:
    world.me.buy(1, "ESM4", price=BID)


async def buys_what_has_ended(world: World) -> None:
    time_of(world.body).set(at("2024-03-18 10:00:00"))
    world.me.buy(1, price=BID)


async def buys_what_is_another_thing(world: World) -> None:
    facts = ContractFacts(exchange="CME", tick_size=0.5, problem="tick_size 0.5 by the gateway, 0.25 configured")
    TableFile(world.body.run.state_dir).write(InstrumentTable(contracts={"ESH4": facts}))
    world.body.account.contracts.refresh()
    world.me.buy(1, price=BID)


ALIAS: dict[str, Any] = {
    "instruments": [
        Instrument.model_validate(
            {"symbol": "ES.front", "exchange": "CME", "roll": {"rule": "date", "position": "keep"}}
        )
    ],
    "symbols": ["ES.front"],
}

CASES: dict[Denial, Case] = {
    Denial.RISK_MAX_ORDER_QUANTITY: Case(buys_a_lot, {"max_order_quantity": 2}),
    Denial.RISK_MAX_POSITION: Case(buys_a_lot, {"max_position": 2}),
    Denial.RISK_MAX_OPEN_ORDERS: Case(buys_twice, {"max_open_orders": 1}),
    Denial.RISK_ORDER_RATE: Case(buys_twice, {"max_orders_per_second": 1}),
    Denial.RISK_MAX_ORDER_NOTIONAL: Case(buys_a_lot, {"max_order_notional": 500_000}),
    Denial.RISK_MAX_CONTRACTS: Case(buys_a_lot, {"max_contracts": 2.5}),
    Denial.RISK_CANCEL_RATE: Case(cancels_much, {"max_cancels_per_second": 1}),
    Denial.RISK_PRICE_COLLAR: Case(bids_high, {"price_collar": {"ticks": 40}}),
    Denial.RISK_DUPLICATE_ORDER: Case(buys_the_same_twice, {"duplicate_window_s": 1}),
    Denial.RISK_SELF_TRADE: Case(sells_to_itself, {"self_trade": "deny"}),
    Denial.RISK_DAILY_LOSS: Case(loses, section={"risk": {"daily_loss_limit": 400}}),
    Denial.RISK_TRAILING_DRAWDOWN: Case(loses, section={"risk": {"trailing_drawdown_limit": 400}}),
    Denial.RISK_REJECTS: Case(is_refused, {"rejects_in_row_max": 1}),
    Denial.RISK_BROKER_LIMIT: Case(buys_a_lot),
    Denial.STATE_HALTED: Case(is_halted),
    Denial.STATE_REDUCING: Case(is_reducing),
    Denial.STATE_PAUSED: Case(is_paused),
    Denial.STATE_RECONCILING: Case(is_reconciling),
    Denial.STATE_DISCONNECTED: Case(has_no_link),
    Denial.STATE_JOURNAL_FAILED: Case(has_no_journal),
    Denial.STATE_DATA_STALE: Case(buys_without_a_price, {"market_data_stale_s": 5}),
    Denial.STATE_POSITION_STALE: Case(buys_a_lot, {"position_stale_s": 90}),
    Denial.STATE_CLOCK: Case(has_a_wrong_clock, {"clock_skew_max_s": 1}, settings={"mode": "paper"}),
    Denial.EPOCH_STALE: Case(has_a_successor),
    Denial.SESSION_CLOSED: Case(trades_in_the_break),
    Denial.SESSION_NO_TRADE: Case(trades_late, {"flatten_by": "15:10"}),
    Denial.ORDER_INVALID: Case(asks_for_less_than_it_has),
    Denial.ORDER_DUPLICATE_ID: Case(begins_to_count_anew),
    Denial.ORDER_UNKNOWN: Case(cancels_what_it_never_had),
    Denial.ORDER_NOT_WORKING: Case(cancels_what_is_over),
    Denial.ORDER_EXPIRED: Case(is_too_late, section={"entry_lease_s": 1.0}),
    Denial.ORDER_OPERATION_IN_FLIGHT: Case(changes_twice),
    Denial.PRICE_OFF_TICK: Case(buys_between_the_ticks, terms=(FINER,)),
    Denial.INSTRUMENT_UNKNOWN: Case(buys_the_next_month, terms=(ES, ES_NEXT)),
    Denial.INSTRUMENT_EXPIRED: Case(buys_what_has_ended),
    Denial.INSTRUMENT_MISMATCH: Case(buys_what_is_another_thing),
    Denial.INSTRUMENT_ROLLED: Case(buys_the_next_month, terms=(ES, ES_NEXT), settings=ALIAS),
}


@pytest.mark.parametrize("code", list(Denial), ids=lambda code: code.value)
def test_strategy_is_told_the_code(tmp_path: Path, code: Denial) -> None:
    """Through the public API alone, and nothing of the order has left."""
    case = CASES[code]

    async def run() -> None:
        clock = ManualClock()
        settings = dict(case.settings)
        symbols = settings.pop("symbols", ["ESH4"])
        sections = [
            StrategySection.model_validate({"name": name, "class": "m:C", "symbols": symbols, **case.section})
            for name in ("one", "two")
        ]
        config = configuration(tmp_path, risk=risk(**case.limits), strategies=sections, **settings).to_json()
        body = Plant(FakeContext("plants/order", config, clock, market_time=ManualTime(clock, at(OPEN))))
        body.reconcile_policy = FAST
        await body.start()
        if code is Denial.RISK_BROKER_LIMIT:
            session = FakeSession(body)
            session.limits = TEMPLATES[305](template_id=305, account_id=ACCOUNT_ID, buy_limit=2, presence_bits=1)
            body.session = session  # type: ignore[assignment]
            await body.on_link_up(session)  # type: ignore[arg-type]
            body.account.reconciling = False
        else:
            session = await body.link_up()
        world = World(body, session, case.terms)
        await case.act(world)
        left = len(session.of(312))
        await turns()
        assert world.me.codes[-1:] == [code.value]
        assert len(session.of(312)) == left
        await kill(body)

    asyncio.run(run())


def test_no_code_is_forgotten() -> None:
    """The enumeration, the cases and the gate's own tables name the same set."""
    assert set(CASES) == set(Denial)
    assert {code for code, _ in (*CHECKS, *RISK_CHECKS)} <= set(CASES)
