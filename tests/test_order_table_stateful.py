"""The order table against an exchange that knows what really happened, whatever order its words come in.

The exchange is a few lines: an order, what it filled, how it ended, and every report that it has made of that. Reports
are delivered in any order, any number of times, between requests of ours; a lost link takes those that were on their
way, and lists bring what they said.
"""

from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nightdesk.messages import FillId, OrderStatus, OrderType, Side
from nightdesk.messages import VenueOrderId as VenueId
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.order import Operation, Order, Terms
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import FINAL, Step
from tests.stateful_orders import Truth, sent_order
from tests.stateful_support import long, short

K, S = UpdateKind, OrderStatus
SYMBOL, ACCOUNT = "ESH4", "A"
ORDERS_MAX, FILL_MAX = 6, 3
WAYS = ["rests", "rests", "stop", "lost"]
TOLD = st.booleans()
"""Whether a report arrives at once."""
QUANTITIES, PRICES = st.integers(2, 9), st.integers(4990, 5010).map(float)
ENDS_BY_ITSELF = [None, None, None, K.COMPLETE_OTHER, K.COMPLETE_CANCELED, K.COMPLETE_FAILED]
ENDS = {K.COMPLETE_FILLED: S.FILLED, K.COMPLETE_CANCELED: S.CANCELED, K.COMPLETE_OTHER: S.EXPIRED}


class OrderTableMachine(RuleBasedStateMachine):
    """Six orders at most; what the table says is held against what is true after every step, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = OrderTable()
        self.orders: list[Order] = []
        self.truths: list[Truth] = []
        self.reports: list[list[BrokerUpdate]] = []
        """All that the exchange has said of each order."""
        self.on_their_way: list[tuple[int, BrokerUpdate]] = []
        self.heard: list[dict[FillId, int]] = []
        self.was_final: list[OrderStatus | None] = []
        self.is_linked = True
        self.now = 0
        self.random = Random(0)

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)

    def of(self, data: st.DataObject, *numbers: int) -> int:
        return data.draw(st.sampled_from(numbers))

    def any_truth(self, **wanted: Any) -> list[int]:
        """Orders that work at the exchange and have these attributes."""
        return [
            number
            for number, truth in enumerate(self.truths)
            if truth.is_here and not truth.end and all(getattr(truth, key) == value for key, value in wanted.items())
        ]

    def fillable(self) -> list[int]:
        return [each for each in self.any_truth() if self.truths[each].trigger is None or self.truths[each].triggered]

    def update(self, number: int, kind: UpdateKind, **fields: Any) -> BrokerUpdate:
        """A report of how an order stands, with a time of its own."""
        order, truth = self.orders[number], self.truths[number]
        self.now += 1
        left = truth.leaves if not truth.end else truth.quantity - truth.filled
        values: dict[str, Any] = {
            "kind": kind,
            "account_id": ACCOUNT,
            "symbol": SYMBOL,
            "exchange": "CME",
            "venue_order_id": VenueId(f"v{number}"),
            "client_order_id": order.client_order_id,
            "side": order.side,
            "order_type": order.order_type,
            "quantity": truth.quantity,
            "price": truth.price,
            "trigger_price": truth.trigger,
            "total_filled": truth.filled,
            "total_unfilled": left,
            "ts_event_ns": self.now,
        }
        return BrokerUpdate(**(values | fields))

    def tell(self, number: int, *, is_told: bool) -> None:
        """What is on its way of an order arrives, in the order in which it was said; or it stays on its way."""
        mine = [(each, report) for each, report in self.on_their_way if each == number and is_told]
        self.on_their_way = [(each, report) for each, report in self.on_their_way if each != number or not is_told]
        for each in mine:
            self.hear(*each)

    def say(self, number: int, kind: UpdateKind, **fields: Any) -> None:
        report = self.update(number, kind, **fields)
        self.reports[number].append(report)
        if self.is_linked:
            self.on_their_way.append((number, report))

    def hear(self, number: int, report: BrokerUpdate) -> None:
        order = self.orders[number]
        before = order.status
        changes = self.table.apply(order, report)
        if report.kind is K.FILLED:
            is_new = report.fill_id not in self.heard[number]
            assert len(changes) == is_new, "an execution counts once"
            self.heard[number][report.fill_id] = report.fill_quantity
        if before in FINAL and order.status is not before:
            assert report.kind is K.FILLED, "what is over is changed by late fills only"
        assert not any(change.is_overfill for change in changes)

    # What we do.

    @precondition(lambda self: self.is_linked and len(self.orders) < ORDERS_MAX)
    @rule(quantity=QUANTITIES, price=PRICES, side=st.sampled_from(Side), how=st.sampled_from(WAYS), is_told=TOLD)
    def send(self, quantity: int, price: float, side: Side, how: str, is_told: bool) -> None:
        number, is_stop, is_lost = len(self.orders), how == "stop", how == "lost"
        trigger = price if is_stop else None
        order_type = OrderType.STOP_LIMIT if is_stop else OrderType.LIMIT
        terms = {"order_type": order_type, "price": price, "trigger_price": trigger}
        self.orders.append(sent_order(self.table, number, side=side, quantity=quantity, **terms))
        self.truths.append(Truth(quantity, price, trigger, is_here=not is_lost))
        self.reports.append([])
        self.heard.append({})
        self.was_final.append(None)
        if not is_lost:
            self.say(number, K.RECEIVED)
            self.say(number, K.TRIGGER_PENDING if is_stop else K.OPEN)
            self.tell(number, is_told=is_told)

    def at_rest(self) -> list[int]:
        return [
            number
            for number, order in enumerate(self.orders)
            if order.status in (S.ACCEPTED, S.TRIGGERED, S.PARTIALLY_FILLED)
            and order.operation is None
            and order.venue_order_id
            and self.truths[number].request is None
        ]

    @precondition(lambda self: self.is_linked and self.at_rest())
    @rule(data=st.data(), more=QUANTITIES, price=PRICES, then=st.sampled_from(["", "made", "refused"]), is_told=TOLD)
    def change(self, data: st.DataObject, more: int, price: float, then: str, is_told: bool) -> None:
        number = self.of(data, *self.at_rest())
        order = self.orders[number]
        terms = Terms(order.filled_quantity + more, price, order.trigger_price)
        order.request_terms(terms)
        self.table.step(order, Step.REQUEST_UPDATE)
        self.truths[number].request = Operation.MODIFY, terms
        if then:
            self.all_that_can_still_fill_is_counted()
            self.carry_out(number, is_refused=then == "refused")
            self.tell(number, is_told=is_told)

    @precondition(lambda self: self.is_linked and self.at_rest())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = self.of(data, *self.at_rest())
        self.orders[number].operation = Operation.CANCEL
        self.table.step(self.orders[number], Step.REQUEST_CANCEL)
        self.truths[number].request = Operation.CANCEL, None

    # What the exchange does.

    def end(self, number: int, kind: UpdateKind, **fields: Any) -> None:
        self.truths[number].end = kind
        self.say(number, kind, **fields)

    @precondition(lambda self: self.any_truth(triggered=False))
    @rule(data=st.data(), is_told=TOLD)
    def trigger(self, data: st.DataObject, is_told: bool) -> None:
        number = self.of(data, *self.any_truth(triggered=False))
        if self.truths[number].trigger is not None:
            self.truths[number].triggered = True
            self.say(number, K.TRIGGERED)
            self.tell(number, is_told=is_told)

    @precondition(lambda self: self.fillable())
    @rule(data=st.data(), price=PRICES, is_told=TOLD)
    def fill(self, data: st.DataObject, price: float, is_told: bool) -> None:
        number = self.of(data, *self.fillable())
        truth = self.truths[number]
        quantity = data.draw(st.integers(1, min(truth.leaves, FILL_MAX)))
        truth.fills.append((FillId(f"f{number}-{len(truth.fills)}"), quantity, price))
        self.say_fill(number, len(truth.fills) - 1)
        if truth.leaves == 0:
            self.end(number, K.COMPLETE_FILLED)
        self.tell(number, is_told=is_told)

    def say_fill(self, number: int, index: int) -> None:
        fill_id, quantity, price = self.truths[number].fills[index]
        self.say(number, K.FILLED, fill_id=fill_id, fill_quantity=quantity, fill_price=price)

    @precondition(lambda self: self.any_truth())
    @rule(data=st.data(), kind=st.sampled_from(ENDS_BY_ITSELF))
    def ends(self, data: st.DataObject, kind: UpdateKind | None) -> None:
        """Its time is over, somebody else cancels it, or the exchange does not want it any more; as a rule it stays."""
        if kind is not None:
            self.end(self.of(data, *self.any_truth()), kind)

    @precondition(lambda self: self.any_truth(is_closing=True))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        self.end(self.of(data, *self.any_truth(is_closing=True)), K.COMPLETE_CANCELED)

    def complete_all(self) -> None:
        for number in self.any_truth(is_closing=True):
            self.end(number, K.COMPLETE_CANCELED)

    def requested(self) -> list[int]:
        return [number for number, truth in enumerate(self.truths) if truth.request]

    @precondition(lambda self: self.requested())
    @rule(data=st.data(), is_refused=st.booleans(), is_told=TOLD)
    def answer(self, data: st.DataObject, is_refused: bool, is_told: bool) -> None:
        number = self.of(data, *self.requested())
        self.carry_out(number, is_refused)
        self.tell(number, is_told=is_told)

    def carry_out(self, number: int, is_refused: bool) -> None:
        truth = self.truths[number]
        assert truth.request is not None
        (operation, terms), truth.request = truth.request, None
        is_refused |= (
            truth.end is not None or truth.is_closing or (terms is not None and terms.quantity <= truth.filled)
        )
        if operation is Operation.CANCEL and is_refused:
            self.say(number, K.CANCEL_FAILED)
        elif operation is Operation.CANCEL:
            truth.is_closing = True
            self.say(number, K.CANCEL_CONFIRMED)
        elif is_refused:
            self.say(number, K.MODIFY_FAILED)
        elif terms is not None:
            truth.quantity, truth.price = terms.quantity, terms.price or 0.0
            self.say(number, K.MODIFIED)

    # What happens on the way.

    @precondition(lambda self: self.on_their_way)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        self.hear(*self.on_their_way.pop(data.draw(st.integers(0, len(self.on_their_way) - 1))))

    @precondition(lambda self: any(self.reports))
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """Anything that was said before and is not on its way still."""
        number = self.of(data, *[number for number, said in enumerate(self.reports) if said])
        report = data.draw(st.sampled_from(self.reports[number]))
        if (number, report) not in self.on_their_way:
            self.hear(number, report)

    @precondition(lambda self: self.is_linked and self.orders)
    @rule()
    def lose_link(self) -> None:
        """What was on its way is lost, also the requests; what is in flight has no answer any more."""
        self.is_linked = False
        self.on_their_way.clear()
        for number, order in enumerate(self.orders):
            if self.truths[number].request and self.random.random() < 0.5:
                self.carry_out(number, is_refused=False)
            self.truths[number].request = None
            operation, order.operation = order.operation, None
            if order.status is S.SUBMITTED and order.venue_order_id is None:
                self.table.step(order, Step.DOUBT)
            order.cancel_wanted |= operation is Operation.CANCEL and not order.is_final
        self.complete_all()

    @precondition(lambda self: not self.is_linked)
    @rule()
    def return_of_link(self) -> None:
        """The lists show every order as it is, and every execution; then each order is judged by them."""
        self.is_linked = True
        for number in range(len(self.orders)):
            for report in self.images(number):
                self.hear(number, report)
            self.judge(number)

    def images(self, number: int) -> list[BrokerUpdate]:
        """What lists show of an order, in any order."""
        truth = self.truths[number]
        if not truth.is_here:
            return []
        working = K.TRIGGERED if truth.triggered else K.OPEN if truth.trigger is None else K.TRIGGER_PENDING
        kind = truth.end or working
        found = [self.update(number, kind, is_snapshot=True)]
        for fill_id, quantity, price in truth.fills:
            terms = {"fill_id": fill_id, "fill_quantity": quantity, "fill_price": price}
            fill = self.update(number, K.FILLED, is_snapshot=True, **terms)
            found.append(fill)
        self.random.shuffle(found)
        return found

    def judge(self, number: int) -> None:
        """As the reconciliation does, with answers that are complete."""
        order, truth = self.orders[number], self.truths[number]
        if order.is_final:
            return
        if not truth.is_here:
            if order.status is S.SUBMITTED:
                self.table.step(order, Step.DOUBT)
            self.table.step(order, Step.NOT_FOUND)
            return
        if order.status is S.UNKNOWN:
            self.table.step(order, Step.SETTLE)
        if order.status in (S.PENDING_UPDATE, S.PENDING_CANCEL) and order.operation is None:
            order.pending_terms = None
            self.table.step(order, Step.SETTLE)

    # What must hold.

    @invariant()
    def orders_are_what_the_table_says_of_them(self) -> None:
        """Counts, open orders and the worst case are those that a recount finds."""
        for status in S:
            assert self.table.counts[status] == sum(order.status is status for order in self.orders)
        assert self.table.open_orders() == [order for order in self.orders if order.status not in FINAL]
        assert self.table.open_count() == len(self.table.open_orders())
        worst = tuple(sum(each.exposure for each in self.orders if each.side is side) for side in (Side.BUY, Side.SELL))
        assert self.table.worst_case(SYMBOL) == worst
        lacking = [order for order in self.orders if order.reported_filled > order.filled_quantity]
        assert sorted(each.client_order_id for each in self.table.missing_fills()) == [
            each.client_order_id for each in lacking
        ]

    @invariant()
    def nothing_is_filled_that_was_not_told(self) -> None:
        """Each execution that was heard of counts once, none else does, and no order is more than filled."""
        for order, heard in zip(self.orders, self.heard, strict=True):
            assert order.filled_quantity == sum(heard.values()) <= order.quantity_max
            assert {key.fill_id for key in order.fill_keys} == set(heard)
            assert 0 <= order.leaves_quantity <= order.quantity_max

    @invariant()
    def all_that_can_still_fill_is_counted(self) -> None:
        """What works at the exchange, what may begin to, and what has filled there and is not known here."""
        for order, truth in zip(self.orders, self.truths, strict=True):
            terms = truth.request[1] if truth.request else None
            may_fill = truth.leaves if truth.is_here else 0
            if terms is not None and not truth.end:
                may_fill = max(may_fill, terms.quantity - truth.filled)
            assert order.exposure >= may_fill + truth.filled - order.filled_quantity

    @invariant()
    def final_is_final(self) -> None:
        """No order comes back to life."""
        for number, order in enumerate(self.orders):
            assert self.was_final[number] is None or order.is_final
            self.was_final[number] = order.status if order.is_final else None

    def teardown(self) -> None:
        """When everything is answered and heard, in any order, the table says what is true."""
        for number in self.requested():
            self.carry_out(number, is_refused=self.random.random() < 0.5)
        self.complete_all()
        self.random.shuffle(self.on_their_way)
        is_told = self.is_linked
        while self.on_their_way:
            self.hear(*self.on_their_way.pop())
            self.all_that_can_still_fill_is_counted()
        if not is_told:
            self.return_of_link()
        for number, order in enumerate(self.orders):
            self.is_true(order, self.truths[number])
        self.orders_are_what_the_table_says_of_them()

    def is_true(self, order: Order, truth: Truth) -> None:
        if not truth.is_here:
            assert order.filled_quantity == 0
            assert order.status in (S.SUBMITTED, S.UNKNOWN, S.REJECTED)
            return
        cost = sum(quantity * int(price) * 10**9 for _, quantity, price in truth.fills)
        assert (order.filled_quantity, order.filled_cost_nanos) == (truth.filled, cost)
        assert order.operation is None
        assert order.pending_terms is None
        if truth.end is K.COMPLETE_FAILED:
            assert order.status is (S.CANCELED if truth.filled else S.REJECTED)
        elif truth.end:
            assert order.status is ENDS[truth.end]
        else:
            rest = S.PARTIALLY_FILLED if truth.filled else S.TRIGGERED if truth.triggered else S.ACCEPTED
            assert order.status is rest
            assert (order.quantity, order.price) == (truth.quantity, truth.price)
            assert order.exposure == truth.leaves


TestOrderTable = short(OrderTableMachine, 120, 50)
TestOrderTableLong = long(OrderTableMachine)
