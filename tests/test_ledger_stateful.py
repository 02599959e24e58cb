"""The ledger against a naive one in fractions: positions, averages, profit and commissions, whatever comes how often.

Executions come as reports of orders, so that the key of each is what keeps it from counting twice; two strategies
trade two contracts on one account. A restart builds the ledger anew from what a journal would hold.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nightdesk.messages import (
    AggressorSide,
    FillId,
    OrderType,
    QuoteTick,
    Side,
    StrategyId,
    TradeTick,
    VenueOrderId,
)
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.ledger import ACCOUNT, ContractTerms, Ledger
from nightdesk.trading.order import Order
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from tests.stateful_orders import sent_order
from tests.stateful_support import long, short

ONE, TWO = StrategyId("one"), StrategyId("two")
NANOS = 10**9


class Contract(NamedTuple):
    tick: Fraction
    point_value: Fraction
    commission: Fraction


CONTRACTS = {
    "ESH4": Contract(Fraction(1, 4), Fraction(50), Fraction(9, 4)),
    "ZNH4": Contract(Fraction(1, 64), Fraction(1000), Fraction(81, 100)),
}
"""A tick of a 64th is exact in billionths, and its commission in millionths."""

PAIRS = [(owner, symbol) for owner in (ONE, TWO) for symbol in CONTRACTS]


@dataclass
class Naive:
    """A position by average cost, in points."""

    quantity: int = 0
    average: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)
    """Points times contracts."""
    commission: Fraction = Fraction(0)
    closes: int = 0
    """How often a part of a position was closed: each may leave a billionth of a point in the open cost."""

    def book(self, signed: int, price: Fraction, commission: Fraction) -> None:
        self.commission += commission
        for _ in range(abs(signed)):
            self._one(1 if signed > 0 else -1, price)
        self.closes += 1

    def _one(self, sign: int, price: Fraction) -> None:
        """One contract after the other: nothing is cleverer than that."""
        if self.quantity * sign >= 0:
            held = abs(self.quantity)
            self.average = (self.average * held + price) / (held + 1)
        else:
            self.realized += (price - self.average) * -sign
        self.quantity += sign


class Fill(NamedTuple):
    owner: StrategyId
    symbol: str
    side: Side
    quantity: int
    price_nanos: int
    commission_micros: int


class LedgerMachine(RuleBasedStateMachine):
    """Fills in whole ticks, negative prices too; marks from prints and quotes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = OrderTable()
        self.ledger = self.new_ledger()
        self.naive = {key: Naive() for key in [*PAIRS, *((ACCOUNT, symbol) for symbol in CONTRACTS)]}
        self.marks: dict[str, tuple[Fraction | None, Fraction | None, Fraction | None]] = {}
        self.orders: list[Order] = []
        self.reports: list[BrokerUpdate] = []
        self.rows: list[Fill] = []
        """What a journal holds."""

    @staticmethod
    def new_ledger() -> Ledger:
        return Ledger(
            ContractTerms.of(symbol, "CME", float(each.point_value), float(each.commission))
            for symbol, each in CONTRACTS.items()
        )

    def new_order(self, owner: StrategyId, symbol: str, side: Side, quantity: int) -> Order:
        terms = {"strategy_id": owner, "symbol": symbol}
        self.orders.append(sent_order(self.table, len(self.orders), side=side, quantity=quantity, **terms))
        return self.orders[-1]

    @rule(
        pair=st.sampled_from(PAIRS),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 9),
        rest=st.integers(0, 9),
        ticks=st.integers(-500, 25_000),
    )
    def fill(self, pair: tuple[StrategyId, str], side: Side, quantity: int, rest: int, ticks: int) -> None:
        """Of an order that works already, or of a new one, of which something may be left."""
        working = [
            order
            for order in self.orders
            if (order.strategy_id, order.symbol, order.side) == (*pair, side) and order.leaves_quantity
        ]
        order = working[0] if working else self.new_order(*pair, side, quantity + rest)
        left = order.leaves_quantity
        quantity = min(quantity, left)
        contract = CONTRACTS[order.symbol]
        price = ticks * contract.tick
        report = BrokerUpdate(
            kind=UpdateKind.FILLED,
            account_id="A",
            symbol=order.symbol,
            exchange="CME",
            venue_order_id=VenueOrderId(f"v-{order.client_order_id}"),
            client_order_id=order.client_order_id,
            side=order.side,
            order_type=OrderType.MARKET,
            total_filled=order.filled_quantity + quantity,
            total_unfilled=left - quantity,
            # The exchange counts executions anew for each order: only with the order's id is one of them itself.
            fill_id=FillId(f"f{len(order.fill_keys)}"),
            fill_price=float(price),
            fill_quantity=quantity,
        )
        self.reports.append(report)
        self.hear(report)
        signed = quantity if order.side is Side.BUY else -quantity
        for owner in (order.strategy_id, ACCOUNT):
            self.naive[owner, order.symbol].book(signed, price, contract.commission * quantity)

    @rule(
        pair=st.sampled_from(PAIRS), side=st.sampled_from(Side), quantity=st.integers(1, 9), ticks=st.integers(19, 24)
    )
    def fill_whole(self, pair: tuple[StrategyId, str], side: Side, quantity: int, ticks: int) -> None:
        """Often, and near one price."""
        self.fill(pair, side, quantity, 0, 1000 * ticks)

    def hear(self, report: BrokerUpdate) -> None:
        """As the order plant does: what the table calls new is booked and journalled."""
        order = self.table.get(report.client_order_id)
        assert order is not None
        for change in self.table.apply(order, report):
            if change.step is Step.FILL_PART and report.fill_price is not None:
                price_nanos = round(Fraction(report.fill_price) * NANOS)
                key = (order.strategy_id, order.symbol)
                commission = self.ledger.book(*key, "CME", order.side, report.fill_quantity, price_nanos)
                self.rows.append(Fill(*key, order.side, report.fill_quantity, price_nanos, commission))

    @precondition(lambda self: self.reports)
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        self.hear(data.draw(st.sampled_from(self.reports)))

    @rule(symbol=st.sampled_from(list(CONTRACTS)), ticks=st.integers(-500, 25_000))
    def trade(self, symbol: str, ticks: int) -> None:
        price = ticks * CONTRACTS[symbol].tick
        tick = TradeTick(
            symbol=symbol,
            exchange="CME",
            price=float(price),
            quantity=1,
            aggressor_side=AggressorSide.BUY,
            ts_event_ns=0,
            ts_recv_ns=0,
        )
        self.ledger.on_trade(tick)
        self.marks[symbol] = (price, *self.marks.get(symbol, (None, None, None))[1:])

    @rule(
        symbol=st.sampled_from(list(CONTRACTS)),
        ticks=st.integers(-500, 25_000),
        spread=st.integers(1, 4),
        sizes=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    )
    def quote(self, symbol: str, ticks: int, spread: int, sizes: tuple[int, int]) -> None:
        bid, ask = ticks * CONTRACTS[symbol].tick, (ticks + spread) * CONTRACTS[symbol].tick
        tick = QuoteTick(
            symbol=symbol,
            exchange="CME",
            bid_price=float(bid),
            bid_size=sizes[0],
            ask_price=float(ask),
            ask_size=sizes[1],
            ts_event_ns=0,
            ts_recv_ns=0,
        )
        self.ledger.on_quote(tick)
        last = self.marks.get(symbol, (None, None, None))[0]
        self.marks[symbol] = (last, bid if sizes[0] else None, ask if sizes[1] else None)

    @rule(number=st.integers(0, 3))
    def restart(self, number: int) -> None:
        """The journal's rows make the same ledger; prices come anew."""
        if number:
            return
        self.ledger = self.new_ledger()
        self.marks.clear()
        for row in self.rows:
            self.ledger.book_as_charged(row.owner, row.symbol, "CME", *row[2:])

    def mark(self, symbol: str) -> Fraction | None:
        """The last print, held within the quote; without a print the quote's middle, or its one side."""
        last, bid, ask = self.marks.get(symbol, (None, None, None))
        if last is None:
            sides = [each for each in (bid, ask) if each is not None]
            return sum(sides, Fraction(0)) / len(sides) if sides else None
        low = last if bid is None else max(last, bid)
        return low if ask is None else min(low, ask)

    @invariant()
    def positions_are_those_of_the_naive_ledger(self) -> None:
        for (owner, symbol), naive in self.naive.items():
            report, contract = self.ledger.report(owner, symbol), CONTRACTS[symbol]
            assert report.quantity == naive.quantity
            assert Fraction(report.commission) == Fraction(float(naive.commission))
            if naive.quantity:
                assert abs(Fraction(report.average_price) - naive.average) < Fraction(naive.closes + 1, NANOS) * 10
            mark, open_points = self.mark(symbol), Fraction(0)
            if mark is not None:
                open_points = (mark - naive.average) * naive.quantity
            slack = float(Fraction(naive.closes, NANOS) * contract.point_value) + 1e-6
            assert abs(report.realized_pnl - naive.realized * contract.point_value) <= slack
            assert abs(report.unrealized_pnl - open_points * contract.point_value) <= slack

    @invariant()
    def money_is_exact(self) -> None:
        """Realized and open together are the cash that flowed and what is held, to the last millionth."""
        for owner in (ONE, TWO, ACCOUNT):
            money = self.ledger.money(owner)
            pairs = [(symbol, self.naive[owner, symbol]) for symbol in CONTRACTS]
            held = {symbol for symbol, naive in pairs if naive.quantity}
            assert set(money.unmarked) == {symbol for symbol in held if self.mark(symbol) is None}
            if money.unmarked:
                continue
            exact = Fraction(0)
            for symbol, naive in pairs:
                open_points = ((self.mark(symbol) or 0) - naive.average) * naive.quantity
                exact += (naive.realized + open_points) * CONTRACTS[symbol].point_value - naive.commission
            found = Fraction(money.realized_micros + money.unrealized_micros, 10**6)
            # Each of two amounts for each of two contracts is rounded down to a millionth.
            assert 0 <= exact - found < Fraction(4, 10**6)

    @invariant()
    def what_is_closed_is_exact_where_nothing_is_held(self) -> None:
        for owner in (ONE, TWO, ACCOUNT):
            pairs = [(symbol, self.naive[owner, symbol]) for symbol in CONTRACTS]
            if any(naive.quantity for _, naive in pairs):
                continue
            exact = [naive.realized * CONTRACTS[symbol].point_value - naive.commission for symbol, naive in pairs]
            assert self.ledger.money(owner).realized_micros == sum(exact) * 10**6

    @invariant()
    def the_account_is_the_sum_of_its_strategies(self) -> None:
        """In contracts, in commissions, and in cash: what each has paid and taken."""
        for symbol in CONTRACTS:
            owned = [self.ledger.report(owner, symbol) for owner in (ONE, TWO)]
            account = self.ledger.report(ACCOUNT, symbol)
            assert account.quantity == sum(each.quantity for each in owned)
            assert round(account.commission * 100) == round(sum(each.commission for each in owned) * 100)
            cash = [self._cash(owner, symbol) for owner in (ACCOUNT, ONE, TWO)]
            assert cash[0] == cash[1] + cash[2]

    def _cash(self, owner: StrategyId, symbol: str) -> int:
        position = self.ledger._positions.get((owner, symbol))
        return 0 if position is None else position.realized - position.open_cost


TestLedger = short(LedgerMachine, 80, 40)
TestLedgerLong = long(LedgerMachine)
