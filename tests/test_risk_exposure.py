"""No sequence of orders, fills, changes and cancels leads beyond a cap on contracts, whatever fills at last."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nightdesk.messages import ClientOrderId, OrderStatus, OrderType, Side, StrategyId
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.order import Order, Terms
from nightdesk.trading.protection import is_protection
from nightdesk.trading.risk_book import RiskBook
from nightdesk.trading.risk_exposure import Exposure, Exposures, weighted
from nightdesk.trading.risk_terms import AccountRules, LevelLimits, RiskTerms
from tests.risk_support import FLAT_MONEY, ONE, TODAY, TWO, exposures, facts, submit, working

ES, MES = "ESZ6", "MESZ6"
WEIGHTS = {ES: 1000, MES: 100}
CAP, POSITION_MAX, OWN_CAP = 3000, 7, 2000


@pytest.mark.parametrize(
    ("exposure", "bound"),
    [
        (Exposure(), 0),
        (Exposure(3), 3),
        (Exposure(-3), 3),
        (Exposure(3, buy=2, sell=1), 5),
        (Exposure(3, sell=7), 4),
        (Exposure(-3, buy=1), 3),
        (Exposure(0, buy=2, sell=5), 5),
    ],
)
def test_the_bound_is_the_farthest_that_orders_can_lead(exposure: Exposure, bound: int) -> None:
    """All of one side filled and none of the other; never less than what is held."""
    assert exposure.bound == bound


def test_every_strategy_counts_by_itself() -> None:
    """Long of one and short of another are both held: each may leave while the other one stays."""
    picture = exposures({(ONE, ES): 2, (TWO, ES): -3}, [working(strategy_id=TWO, symbol=ES, side=Side.SELL)])
    assert picture.bounds() == {ES: 6}
    assert picture.bounds(TWO) == {ES: 4}
    assert picture.net() == {ES: Exposure(-1, 0, 1)}
    assert weighted({ES: 6, MES: 5}, WEIGHTS) == 6500


def test_what_may_still_fill_of_an_order_that_is_over_counts() -> None:
    """The broker reported more than the executions that came."""
    late = working(symbol=ES, quantity=3, status=OrderStatus.CANCELED, filled_quantity=1, reported_filled=3)
    assert exposures(orders=[late]).own(ONE, ES) == Exposure(0, 2, 0)


def test_of_linked_orders_the_largest_counts() -> None:
    """The server lets one of them fill; what was reported of each has happened."""
    legs = [
        working(client_order_id=f"w{number}", linked_id=f"w{1 - number}", symbol=ES, side=Side.SELL, quantity=quantity)
        for number, quantity in enumerate((3, 5))
    ]
    assert exposures(orders=legs).own(ONE, ES) == Exposure(0, 0, 5)
    legs[0].reported_filled = 1
    assert exposures(orders=legs).own(ONE, ES) == Exposure(0, 0, 6)


def test_what_a_roll_will_open_counts_for_its_strategy() -> None:
    """Before there is an order for it."""
    picture = Exposures([(ONE, ES, 2)], [], [(ONE, MES, -3)])
    assert (picture.own(ONE, MES), picture.bounds(), picture.bounds(TWO)) == (Exposure(sell=3), {ES: 2, MES: 3}, {})


def test_an_order_in_doubt_counts_until_it_is_settled() -> None:
    """It may be at work."""
    assert exposures(orders=[working(status=OrderStatus.UNKNOWN, quantity=2)]).own(ONE, ES).bound == 2


class CapMachine(RuleBasedStateMachine):
    """Two strategies, a contract and its micro, caps at each level; the naive side looks at single outcomes."""

    def __init__(self) -> None:
        super().__init__()
        # Quantities alone are tried here; that orders of two strategies may meet is another limit's affair.
        terms = RiskTerms(
            account=LevelLimits(max_contracts=CAP, max_position=POSITION_MAX),
            rules=AccountRules(is_self_trade_denied=False),
            strategies={ONE: LevelLimits(max_contracts=OWN_CAP)},
            weights=WEIGHTS,
        )
        self.book = RiskBook(terms)
        self.book.on_money(TODAY, {ACCOUNT: FLAT_MONEY})
        self.positions: dict[tuple[StrategyId, str], int] = {}
        self.orders: list[Order] = []
        self.number = 0

    def picture(self) -> Exposures:
        return exposures(self.positions, self.orders)

    def only_lowers(self, order: Order, quantity: int) -> bool:
        """Stops, and everything else, may each be as much as the position."""
        held = self.positions.get((order.strategy_id, order.symbol), 0)
        room = max(0, -held if order.side is Side.BUY else held)
        kind = [
            each.exposure
            for each in self.orders
            if each is not order
            and (each.strategy_id, each.symbol, each.side) == (order.strategy_id, order.symbol, order.side)
            and is_protection(each) == is_protection(order)
        ]
        return quantity + sum(kind) <= room

    def passes(self, order: Order, quantity: int, added: int, *, is_change: bool = False) -> bool:
        """Whether the book lets an order, or its new quantity, go."""
        asked = submit(
            strategy_id=order.strategy_id,
            symbol=order.symbol,
            side=order.side,
            quantity=quantity,
            order_type=order.order_type,
            price=order.price,
            trigger_price=order.trigger_price,
        )
        is_reducing = self.only_lowers(order, quantity - order.filled_quantity)
        moment = facts(self.orders, is_reducing=is_reducing, added=added, exposures=self.picture(), is_change=is_change)
        return self.book.check(asked, moment) is None

    @rule(
        strategy_id=st.sampled_from([ONE, TWO]),
        symbol=st.sampled_from([ES, MES]),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 12),
        is_stop=st.booleans(),
    )
    def send(self, strategy_id: StrategyId, symbol: str, side: Side, quantity: int, is_stop: bool) -> None:
        self.number += 1
        order = working(
            client_order_id=ClientOrderId(f"o{self.number}"),
            strategy_id=strategy_id,
            symbol=symbol,
            side=side,
            quantity=quantity,
            protective=is_stop,
            order_type=OrderType.STOP_MARKET if is_stop else OrderType.LIMIT,
            price=None if is_stop else 5000.0,
            trigger_price=5000.0 if is_stop else None,
        )
        if self.passes(order, quantity, quantity):
            self.orders.append(order)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.orders))
        quantity = data.draw(st.integers(1, order.exposure))
        key = (order.strategy_id, order.symbol)
        order.filled_quantity += quantity
        self.positions[key] = self.positions.get(key, 0) + (quantity if order.side is Side.BUY else -quantity)
        if order.exposure == 0:
            self.orders.remove(order)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), is_in_doubt=st.booleans())
    def end(self, data: st.DataObject, is_in_doubt: bool) -> None:
        order = data.draw(st.sampled_from(self.orders))
        if is_in_doubt:
            order.status = OrderStatus.UNKNOWN
        else:
            self.orders.remove(order)

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), is_taken=st.booleans())
    def change(self, data: st.DataObject, is_taken: bool) -> None:
        """On its way both quantities count; then one of them does."""
        order = data.draw(st.sampled_from(self.orders))
        if order.pending_terms is not None:
            terms = order.pending_terms if is_taken else order.terms()
            order.pending_terms, order.operation = None, None
            order.take_terms(terms)
            if order.exposure == 0:
                self.orders.remove(order)
            return
        quantity = data.draw(st.integers(order.filled_quantity + 1, order.filled_quantity + 12))
        added = max(0, quantity - order.filled_quantity - order.exposure)
        if self.passes(order, quantity, added, is_change=True):
            order.request_terms(Terms(quantity, order.price, order.trigger_price))

    @invariant()
    def nothing_can_lead_beyond_a_cap(self) -> None:
        """Whichever side of each symbol fills; of the account and of each strategy with a cap of its own."""
        for owners, cap in (([ONE, TWO], CAP), ([ONE], OWN_CAP)):
            worst = 0
            for symbol in (ES, MES):
                net = sum(self.positions.get((owner, symbol), 0) for owner in owners)
                mine = [each for each in self.orders if each.symbol == symbol and each.strategy_id in owners]
                buys = sum(each.exposure for each in mine if each.side is Side.BUY)
                sells = sum(each.exposure for each in mine if each.side is Side.SELL)
                farthest = max(abs(net + buys), abs(net - sells), abs(net))
                assert farthest <= POSITION_MAX
                worst += farthest * WEIGHTS[symbol]
            assert worst <= cap

    @invariant()
    def an_exit_of_a_whole_position_passes(self) -> None:
        """Where nothing else works on its side."""
        for (strategy_id, symbol), held in self.positions.items():
            side = Side.SELL if held > 0 else Side.BUY
            if held and not any(
                (each.strategy_id, each.symbol, each.side) == (strategy_id, symbol, side) for each in self.orders
            ):
                exit_order = working(strategy_id=strategy_id, symbol=symbol, side=side, quantity=abs(held))
                assert self.passes(exit_order, abs(held), abs(held))


TestCapMachine = CapMachine.TestCase
TestCapMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
