"""Orders that the server has linked: what they count in the worst case, and how many orders entries still bring."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.messages import ClientOrderId, FillId, OrderStatus, OrderType, Side, StrategyId, VenueOrderId
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.linked_orders import counted, exit_id, exit_mark, exits_to_come
from nightdesk.trading.order import Order, Terms
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from nightdesk.trading.risk_exposure import Exposures
from tests.test_order_table import make_order, update

K = UpdateKind
A, B = ClientOrderId("a"), ClientOrderId("b")


def leg(name: ClientOrderId, quantity: int, side: Side = Side.BUY) -> Order:
    """One of two legs of an OCO order, at work."""
    order = replace(make_order(name, quantity, side), linked_id=B if name == A else A)
    order.status = OrderStatus.ACCEPTED
    return order


def table_of(*orders: Order) -> OrderTable:
    table = OrderTable()
    for order in orders:
        table.add(order)
    return table


@pytest.mark.parametrize(
    ("legs", "worst"),
    [
        ((leg(A, 3), leg(B, 2)), (3, 0)),
        ((leg(A, 2), leg(B, 3)), (3, 0)),
        ((leg(A, 3), leg(B, 2, Side.SELL)), (3, 2)),
        ((leg(A, 3), make_order("c", 2), leg(B, 2)), (5, 0)),
        ((leg(A, 3),), (3, 0)),
    ],
)
def test_of_linked_orders_of_one_side_the_largest_counts(legs: tuple[Order, ...], worst: tuple[int, int]) -> None:
    """The server lets no more fill; what is linked to nobody here counts as ever; the gate's sum is the same."""
    assert table_of(*legs).worst_case("ESH4") == worst
    own = Exposures((), legs).own(StrategyId("one"), "ESH4")
    assert (own.buy, own.sell) == worst


def test_exits_of_one_bracket_count_once_and_those_of_two_twice() -> None:
    """What they have in common is their entry."""
    exits = [
        replace(make_order(exit_id(entry, mark, 1), 2, Side.SELL), parent_id=ClientOrderId(entry))
        for entry in ("one", "two")
        for mark in ("s", "t")
    ]
    assert table_of(*exits).worst_case("ESH4") == (0, 4)


def test_what_is_filled_and_not_booked_counts_beside_the_other_leg() -> None:
    """It has happened: the leg that works may fill all the same."""
    first, second = leg(A, 3), leg(B, 2)
    first.reported_filled, first.status = 1, OrderStatus.CANCELED
    assert sum(exposure for _, exposure in counted([first, second])) == 3


def test_a_link_that_failed_lets_both_count() -> None:
    """The server says that one does not cancel the other: from then on both may fill."""
    first, second = leg(A, 3), leg(B, 2)
    table = table_of(first, second)
    table.bind(first, VenueOrderId("v1"))
    table.apply(first, update(K.LINK_FAILED, 1, text="link orders failed"))
    assert table.worst_case("ESH4") == (5, 0)
    assert first.text == "link orders failed"


def test_a_change_of_one_leg_counts_with_its_larger_quantity() -> None:
    """Between the request and the answer the broker may hold either."""
    first, second = leg(A, 2), leg(B, 3)
    first.request_terms(Terms(4, 5000.0, None))
    assert table_of(first, second).worst_case("ESH4") == (4, 0)


class Server:
    """Two linked orders of one side: what fills of one the other loses, and each report is late as it likes."""

    def __init__(self, quantities: tuple[int, int]) -> None:
        self.leaves = list(quantities)
        self.filled = [0, 0]
        self.reports: list[tuple[int, BrokerUpdate]] = []
        self._now = 0

    @property
    def total_max(self) -> int:
        """The most that can ever be filled in all."""
        return sum(self.filled) + max(self.leaves)

    def fill(self, which: int, quantity: int) -> None:
        """Execute what there is of one leg, and let the other one follow."""
        quantity = min(quantity, self.leaves[which])
        if not quantity:
            return
        other = 1 - which
        self.leaves[which] -= quantity
        self.filled[which] += quantity
        fill_id = FillId(f"f{which}-{self.filled[which]}")
        self._report(which, K.FILLED, fill_id=fill_id, fill_price=5000.0, fill_quantity=quantity)
        if not self.leaves[which]:
            self._report(which, K.COMPLETE_FILLED)
        if not self.leaves[other]:
            return
        self.leaves[other] = 0 if not self.leaves[which] else max(0, self.leaves[other] - quantity)
        self._report(other, K.MODIFIED if self.leaves[other] else K.COMPLETE_CANCELED)

    def cancel(self) -> None:
        """A client's cancel of one leg ends both."""
        for which in (0, 1):
            if self.leaves[which]:
                self.leaves[which] = 0
                self._report(which, K.COMPLETE_CANCELED)

    def _report(self, which: int, kind: UpdateKind, **fields: object) -> None:
        self._now += 1
        ids = {"venue_order_id": VenueOrderId(f"v{which}"), "client_order_id": (A, B)[which]}
        totals = {"total_filled": self.filled[which], "total_unfilled": self.leaves[which]}
        self.reports.append((which, update(kind, self._now, **(ids | totals | fields))))


@settings(max_examples=300, deadline=None)
@given(
    quantities=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 8),
)
def test_no_order_of_reports_hides_what_linked_orders_may_still_fill(
    quantities: tuple[int, int], seed: int, steps: int
) -> None:
    """Booked and worst case together are never less than what the server may have filled in the end."""
    chance = random.Random(seed)
    legs = leg(A, quantities[0]), leg(B, quantities[1])
    table = table_of(*legs)
    server, waiting = Server(quantities), []
    for _ in range(steps):
        if chance.random() < 0.1:
            server.cancel()
        else:
            server.fill(chance.randrange(2), chance.randint(1, 3))
        waiting += server.reports
        server.reports = []
        chance.shuffle(waiting)
        for _ in range(chance.randint(0, len(waiting))):
            which, report = waiting.pop() if chance.random() < 0.8 else chance.choice(waiting)
            table.apply(legs[which], report)
            booked = sum(each.filled_quantity for each in legs)
            assert booked + table.worst_case("ESH4")[0] >= server.total_max
            if not waiting:
                break
    for which, report in waiting:
        table.apply(legs[which], report)
    assert [each.filled_quantity for each in legs] == server.filled
    assert sum(server.filled) <= max(quantities)
    assert table.worst_case("ESH4")[0] == max(server.leaves)


def test_entries_of_brackets_promise_orders_until_these_are_there() -> None:
    """Each kind of exit once; where the target is there the stop is to come; an entry without exits brings none."""
    both, stop_only = replace(make_order("x"), stop_ticks=8, target_ticks=4), replace(make_order("y"), stop_ticks=8)
    assert exits_to_come([both, stop_only, make_order("z")]) == 3
    target = replace(make_order("x-t1", side=Side.SELL), parent_id=ClientOrderId("x"))
    assert exits_to_come([both, stop_only, target]) == 2


@pytest.mark.parametrize(
    ("order_type", "mark"),
    [
        (OrderType.LIMIT, "t"),
        (OrderType.LIMIT_IF_TOUCHED, "t"),
        (OrderType.STOP_MARKET, "s"),
        (OrderType.STOP_LIMIT, "s"),
        (OrderType.MARKET, "s"),
    ],
)
def test_the_type_of_an_exit_says_which_it_is(order_type: OrderType, mark: str) -> None:
    """A stop that was sent at the market is a stop."""
    assert exit_mark(order_type) == mark


def test_a_server_side_move_of_a_trailing_stop_is_no_answer_to_our_change() -> None:
    """What we asked for is in flight until its own report comes; meanwhile the trigger that holds is known."""
    order = replace(make_order(side=Side.SELL), trail_by_ticks=8, order_type=OrderType.STOP_MARKET)
    order.price, order.trigger_price = None, 4990.0
    table = table_of(order)
    table.step(order, Step.SEND)
    table.apply(order, update(K.TRIGGER_PENDING, 1, total_filled=0, total_unfilled=5))
    order.request_terms(Terms(7, None, 4990.0))
    table.step(order, Step.REQUEST_UPDATE)
    table.apply(order, update(K.MODIFIED, 2, total_filled=0, total_unfilled=5, trigger_price=4992.0))
    assert (order.status, order.trigger_price) == (OrderStatus.PENDING_UPDATE, 4992.0)
    assert table.worst_case("ESH4") == (0, 7)
    table.apply(order, update(K.MODIFIED, 3, total_filled=0, total_unfilled=7, trigger_price=4990.0))
    assert (order.status, order.quantity, order.trigger_price) == (OrderStatus.ACCEPTED, 7, 4990.0)


def test_an_exit_that_grew_with_its_entry_is_no_overfill() -> None:
    """Its fill may come before the report that it had grown."""
    entry = make_order("x", quantity=4)
    grown = replace(make_order("x-t1", 1, Side.SELL), parent_id=ClientOrderId("x"))
    table = table_of(entry, grown)
    table.step(grown, Step.SEND)
    filled = {"fill_id": FillId("f"), "fill_price": 5001.0, "fill_quantity": 3, "total_filled": 3, "total_unfilled": 0}
    (change,) = table.apply(grown, update(K.FILLED, 1, **filled))
    assert not change.is_overfill
    more = {"fill_id": FillId("g"), "fill_price": 5001.0, "fill_quantity": 2, "total_filled": 5, "total_unfilled": 0}
    (change,) = table.apply(grown, update(K.FILLED, 2, **more))
    assert change.is_overfill


def test_an_order_that_is_complete_was_for_what_it_filled() -> None:
    """The report of its last change is missing: what its completion says holds, so that its row makes sense."""
    shrunk = replace(make_order("x-t1", 3, Side.SELL), parent_id=ClientOrderId("x"))
    table = table_of(shrunk)
    table.step(shrunk, Step.SEND)
    filled = {"fill_id": FillId("f"), "fill_price": 5001.0, "fill_quantity": 1, "total_filled": 1, "total_unfilled": 0}
    table.apply(shrunk, update(K.FILLED, 1, **filled))
    table.apply(shrunk, update(K.COMPLETE_FILLED, 2, total_filled=1, total_unfilled=0))
    assert (shrunk.status, shrunk.quantity, shrunk.exposure) == (OrderStatus.FILLED, 1, 0)
