"""No sequence of commands and events leads beyond a limit, whatever fills in the end; cancels and exits always pass.

The gate is the whole order plant's, with two strategies, two contracts and limits of every level; the exchange is the
naive one. What could be held at worst is counted here from the exchange's own book and from what is on its way to it,
order by order, never by the gate's code. A rule about *after* needs one about *before*: something of ours may raise
the worst case only as long as it stays within each limit; fills, ends, lost links and restarts may not raise it at all.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from nightdesk.messages import (
    CancelOrder,
    ChildId,
    Message,
    ModifyOrder,
    OrderDenied,
    OrderType,
    SetTradingState,
    Side,
    StrategyId,
    SubmitOco,
    SubmitOrder,
    TimeInForce,
    TradingState,
)
from nightdesk.rithmic.library import TEMPLATES
from nightdesk.settings.models import Instrument, Risk, Strategy
from nightdesk.trading.order import Order
from tests.order_plant_support import ACCOUNT_ID, submit
from tests.stateful_exchange import VenueOrder
from tests.stateful_plant import NAMES, PlantMachine
from tests.stateful_support import long, short
from tests.stateful_worst_case import NaiveCount

CONTROL = ChildId("services/control")
FULL, MICRO = "ESH4", "MESH4"
WEIGHTS = {FULL: 10, MICRO: 1}
"""In tenths of a contract."""

POSITION, CONTRACTS, QUANTITY, OPEN_ORDERS, RATE = 6, 70, 4, 7, 8
"""The account's: per symbol, in tenths over both, per order, at work at once, per second."""
OWN_POSITION, OWN_CONTRACTS, OWN_QUANTITY, OWN_OPEN_ORDERS = 4, 45, 3, 5
"""Strategy ``one``'s."""
FULL_POSITION = 5
"""The instrument's."""
BROKER_LIMIT, BROKER_QUANTITY = 5, 4
"""The broker's: bought, or sold, over both symbols; per order."""

STRANGERS_MAX = 2
PAUSE_S = 0.1
"""Between two commands: more than the limit of a second are among them only now and then."""


SELDOM = st.integers(0, 3)
"""Something happens where it is 0."""


class RiskGateMachine(PlantMachine):
    """Time passes only where a rule says so."""

    limits = TEMPLATES[305](
        template_id=305,
        account_id=ACCOUNT_ID,
        buy_limit=BROKER_LIMIT,
        sell_limit=BROKER_LIMIT,
        max_order_quantity=BROKER_QUANTITY,
    )

    def __init__(self) -> None:
        own = {
            "max_position": OWN_POSITION,
            "max_contracts": OWN_CONTRACTS / 10,
            "max_order_quantity": OWN_QUANTITY,
            "max_open_orders": OWN_OPEN_ORDERS,
        }
        self.changes = {
            "instruments": [
                Instrument(symbol=symbol, exchange="CME", tick_size=0.25, point_value=5.0 * weight)
                for symbol, weight in WEIGHTS.items()
            ],
            "strategies": [
                Strategy.model_validate(
                    {"name": name, "class": "m:C", "symbols": [FULL, MICRO], "entry_lease_s": 3600.0, **more}
                )
                for name, more in (("one", {"risk": own}), ("two", {}))
            ],
            "risk": Risk.model_validate(
                {
                    "max_order_quantity": QUANTITY,
                    "max_position": POSITION,
                    "max_contracts": CONTRACTS / 10,
                    "max_open_orders": OPEN_ORDERS,
                    "max_orders_per_second": RATE,
                    "self_trade": "allow",
                    "instruments": {"ES": {"max_position": FULL_POSITION}},
                }
            ),
        }
        self.sent_s: list[float] = []
        """When each new order and change of the last second left."""
        self.frames = 0
        super().__init__()
        self.count = NaiveCount(self.exchange, self.owners, WEIGHTS)
        self.before = self.count.worst()

    def look(self, *, is_exit: bool = False, is_sent: bool = False) -> None:
        """Held against what was before: what has grown has grown by something of ours, and is within its limits."""
        before, now = self.before, self.count.worst()
        self.before = now
        grown = [
            (before.account[FULL], now.account[FULL], min(POSITION, FULL_POSITION)),
            (before.account[MICRO], now.account[MICRO], POSITION),
            (before.one[FULL], now.one[FULL], OWN_POSITION),
            (before.one[MICRO], now.one[MICRO], OWN_POSITION),
            (before.contracts, now.contracts, CONTRACTS),
            (before.contracts_one, now.contracts_one, OWN_CONTRACTS),
        ]
        if not is_exit:
            grown += [
                (before.bought, now.bought, BROKER_LIMIT),
                (before.sold, now.sold, BROKER_LIMIT),
                (before.open_orders, now.open_orders, OPEN_ORDERS),
                (before.open_orders_one, now.open_orders_one, OWN_OPEN_ORDERS),
            ]
        for was, is_now, limit in grown:
            assert is_now <= was or (is_sent and is_now <= limit), (was, is_now, limit)

    # What strategies ask for.

    def command(self, name: str, make: Any, orders: list[SubmitOrder], *, is_change: bool = False) -> bool:
        """Say it; whether it has left. Each frame that leaves is looked at."""
        self.clock.advance(PAUSE_S)
        state, exits = self.body.account.trading_state, [self.is_exit(order) for order in orders]
        frames = len(self.frames_of_orders())
        self.say(name, make)
        has_left = len(self.frames_of_orders()) > frames
        if not has_left:
            self.look()
            return False
        assert state is not TradingState.HALTED
        assert state is TradingState.ACTIVE or all(exits)
        now_s = self.clock.monotonic_s()
        self.sent_s = [*(each for each in self.sent_s if each > now_s - 1.0), *([now_s] * len(orders))]
        if not all(exits):
            assert len(self.sent_s) <= RATE
            largest = min(BROKER_QUANTITY, QUANTITY, OWN_QUANTITY if name == "one" else QUANTITY)
            assert all(order.quantity <= largest for order in orders)
        # An exit is exempt from what counts orders and from the broker's limits, and a pair is one frame.
        self.look(is_exit=all(exits), is_sent=True)
        return True

    def frames_of_orders(self) -> list[int]:
        session: Any = self.body.session
        return (
            [template_id for template_id, _ in session.sent if template_id in (312, 314, 328, 330)] if session else []
        )

    def is_exit(self, order: SubmitOrder) -> bool:
        """By the naive book: with all of its kind it is no more than what is held, and that is known here."""
        held = self.body.account.ledger.quantity(order.strategy_id, order.symbol)
        room = max(0, -held if order.side is Side.BUY else held)
        kind = [
            each.exposure
            for each in self.body.account.table.open_orders(order.strategy_id, order.symbol)
            if each.side is order.side
            and each.protective == order.protective
            and each.client_order_id != order.client_order_id
        ]
        return order.quantity + sum(kind) <= room

    @precondition(lambda self: self.is_alive())
    @rule(
        name=st.sampled_from(NAMES),
        symbol=st.sampled_from([FULL, MICRO]),
        side=st.sampled_from(Side),
        quantity=st.sampled_from([1, 1, 2, 2, 3, 5]),
        kind=st.sampled_from(["limit", "market", "stop", "protection", "bracket"]),
        then=st.sampled_from(["", "is taken", "is filled", "is filled"]),
    )
    def order(self, name: str, symbol: str, side: Side, quantity: int, kind: str, then: str) -> None:
        away = -10 if side is Side.BUY else 10
        terms: dict[str, Any] = {"price": 5000.0 + away}
        if kind == "market":
            terms = {"order_type": OrderType.MARKET, "price": None}
        elif kind in ("stop", "protection"):
            terms = {"order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": 5000.0 - away}
            terms["protective"] = kind == "protection"
        elif kind == "bracket":
            terms |= {"stop_ticks": 40, "target_ticks": 20}
        owner, tag = StrategyId(name), self.new_id(name)
        terms |= {"strategy_id": owner, "symbol": symbol, "side": side, "quantity": quantity}
        self.command(name, lambda epoch: submit(tag, epoch, **terms), [submit(tag, 0, **terms)])
        self.goes_on(tag, then)

    def goes_on(self, tag: str, then: str) -> None:
        """What the exchange makes of an order at once, where it makes anything of it."""
        if then:
            self.settle_all()
            self.look()
        order = next((each for each in self.exchange.working() if each.tag == tag), None)
        if order is not None and then == "is filled":
            self.exchange.fill(order, order.leaves, 5000.0)
            self.look()
            self.settle_all()
            self.look()

    @precondition(lambda self: self.is_alive())
    @rule(
        name=st.sampled_from(NAMES),
        symbol=st.sampled_from([FULL, MICRO]),
        sides=st.tuples(st.sampled_from(Side), st.sampled_from(Side)),
        quantities=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        then=st.sampled_from(["", "is taken", "is filled"]),
    )
    def pair(self, name: str, symbol: str, sides: tuple[Side, Side], quantities: tuple[int, int], then: str) -> None:
        owner, tags = StrategyId(name), (self.new_id(name), self.new_id(name))

        def legs(epoch: int) -> list[SubmitOrder]:
            common: dict[str, Any] = {"strategy_id": owner, "symbol": symbol, "time_in_force": TimeInForce.GTC}
            return [
                submit(tag, epoch, **common, side=side, quantity=quantity, price=price)
                for tag, side, quantity, price in zip(tags, sides, quantities, (4990.0, 4980.0), strict=True)
            ]

        def make(epoch: int) -> Message:
            first, second = legs(epoch)
            return SubmitOco(strategy_id=owner, fencing_epoch=epoch, first=first, second=second)

        self.command(name, make, legs(0))
        self.goes_on(tags[0], then)

    def own(self) -> list[Order]:
        return [each for each in self.body.account.table.open_orders() if each.strategy_id in NAMES]

    @precondition(lambda self: self.is_alive() and self.own())
    @rule(data=st.data(), more=st.integers(1, 5), then=st.sampled_from(["", "another", "is taken", "is filled"]))
    def change(self, data: st.DataObject, more: int, then: str) -> None:
        order = data.draw(st.sampled_from(self.own()))
        tag, owner = order.client_order_id, order.strategy_id
        quantity = order.filled_quantity + more

        def make(epoch: int) -> Message:
            return ModifyOrder(client_order_id=tag, strategy_id=owner, fencing_epoch=epoch, quantity=quantity)

        terms: dict[str, Any] = {"strategy_id": owner, "symbol": order.symbol, "side": order.side}
        self.command(owner, make, [submit(tag, 0, **terms, quantity=more, protective=order.protective)])
        if then == "another":
            # Beside the change, which has no answer yet.
            for name in NAMES:
                self.order(name, order.symbol, order.side, 1, "limit", "")
        else:
            self.goes_on(tag, then)

    @precondition(lambda self: self.is_alive() and self.own())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.cancels(data.draw(st.sampled_from(self.own())))

    def cancels(self, order: Order) -> None:
        """Whatever the limits and the state of trading: it leaves now, or as soon as the order can take it."""
        tag, owner = order.client_order_id, order.strategy_id
        self.say(owner, lambda epoch: CancelOrder(client_order_id=tag, strategy_id=owner, fencing_epoch=epoch))
        session: Any = self.body.session
        has_left = any(fields["basket_id"] == order.venue_order_id for fields in session.of(316))
        assert has_left or order.cancel_wanted or order.is_final
        self.look()

    @precondition(lambda self: self.is_alive() and self.body.account.trading_state is not TradingState.HALTED)
    @rule(name=st.sampled_from(NAMES), symbol=st.sampled_from([FULL, MICRO]))
    def leave(self, name: str, symbol: str) -> None:
        """An exit passes where nothing else works on its side, whatever the limits say."""
        owner = StrategyId(name)
        held = self.body.account.ledger.quantity(owner, symbol)
        side = Side.SELL if held > 0 else Side.BUY
        table = self.body.account.table
        if not held or any(each.side is side for each in table.open_orders(owner, symbol)) or table.missing_fills():
            return
        tag = self.new_id(name)
        terms: dict[str, Any] = {"strategy_id": owner, "symbol": symbol, "side": side, "quantity": abs(held)}
        terms |= {"order_type": OrderType.MARKET, "price": None}
        peer = self.peers[name][0]
        denied = len(peer.of(OrderDenied))
        has_left = self.command(name, lambda epoch: submit(tag, epoch, **terms), [submit(tag, 0, **terms)])
        assert has_left, peer.of(OrderDenied)[denied:]

    # What others do.

    @precondition(lambda self: self.is_alive())
    @rule(state=st.sampled_from([*[TradingState.ACTIVE] * 6, TradingState.REDUCING, TradingState.HALTED]))
    def operator(self, state: TradingState) -> None:
        message = SetTradingState(request_id="r", reply_to=CONTROL, trading_state=state, reason="test")
        self.soon(lambda body: body.receive(CONTROL, message))
        self.look()
        for order in self.own()[:1]:
            self.cancels(order)

    @precondition(lambda self: sum(each.is_foreign for each in self.exchange.orders.values()) < STRANGERS_MAX)
    @rule(side=st.sampled_from([1, 2]), quantity=st.integers(1, 3), symbol=st.sampled_from([FULL, MICRO]))
    def stranger(self, side: int, quantity: int, symbol: str) -> None:
        """Nobody asks the gate; from then on it counts."""
        if any(each.venue_order_id is None for each in self.own()):
            # Its report would wait, for it could be about one of ours.
            return
        self.exchange.foreign(symbol, side, quantity)
        self.push(*self.exchange.outbox.pop())
        self.before = self.count.worst()

    @precondition(lambda self: self.exchange.inbox)
    @rule(refused=st.integers(0, 4).map(lambda number: number == 0))
    def is_carried_out(self, refused: bool) -> None:
        self.carry_out(refused=refused)
        self.look()

    def any_order(self, data: st.DataObject) -> VenueOrder:
        order: VenueOrder = data.draw(st.sampled_from(self.exchange.working()))
        return order

    @precondition(lambda self: self.exchange.working())
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        order = self.any_order(data)
        self.exchange.fill(order, data.draw(st.integers(1, order.leaves)), 5000.0)
        self.look()

    @precondition(lambda self: self.exchange.working())
    @rule(data=st.data(), end=st.sampled_from(["C", "FA"]))
    def finish(self, data: st.DataObject, end: str) -> None:
        """Its lease is over, somebody cancels it, or the exchange does not want it any more."""
        self.exchange.finish(self.any_order(data), end)
        self.look()

    @precondition(lambda self: self.is_alive() and self.exchange.outbox)
    @rule(count=st.integers(1, 6))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.exchange.outbox))):
            self.push(*self.exchange.outbox.pop(0))
        self.look()

    @precondition(lambda self: self.is_alive() and (self.exchange.inbox or self.exchange.outbox))
    @rule()
    def settle(self) -> None:
        """All that was asked for is done, and told."""
        self.settle_all()
        self.look()

    @precondition(lambda self: self.is_alive() and self.delivered)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        self.push(*data.draw(st.sampled_from(self.delivered)))
        self.look()

    @precondition(lambda self: self.is_alive())
    @rule(number=SELDOM)
    def lose_link(self, number: int) -> None:
        if not number:
            self.cut_link()
            self.look()

    @rule(number=SELDOM)
    def restart(self, number: int) -> None:
        """A new process has nothing of the last second in its rates, and is never there within one."""
        if number:
            return
        self.run(self.end())
        self.clock.advance(1.0)
        self.run(self.start())
        self.look()

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.look()

    @invariant()
    def each_filled_position_is_within_its_limit(self) -> None:
        """Not only what could be held: what is held, where nobody else has a part in it."""
        if any(order.is_foreign for order in self.exchange.orders.values()):
            return
        for symbol, quantity in self.exchange.positions().items():
            assert abs(quantity) <= (FULL_POSITION if symbol == FULL else POSITION)

    def teardown(self) -> None:
        self.close()


TestRiskGate = short(RiskGateMachine, 30, 40)
TestRiskGateLong = long(RiskGateMachine, 300, 60)
