"""The order plant dies at any moment, again and again; afterwards its journal, its table and the exchange agree.

The order plant is the real one (journal, sender, reconciliation) on a session without a socket, the exchange is the
naive one. A process may die before and after each of its commits and each of its frames: between the intent and the
send, the send and the answer, an execution and its commit, and while it recovers from the death before.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from actors.plants.journal import FILE_NAME
from actors.plants.journal_verify import verify_file
from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Message,
    ModifyOrder,
    OrderReport,
    OrderType,
    Side,
    StrategyId,
    SubmitOco,
    TradingState,
    VenueOrderId,
)
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.ledger import ACCOUNT
from tests.order_plant_support import submit
from tests.stateful_exchange import VenueOrder
from tests.stateful_plant import NAMES, PlantMachine
from tests.stateful_support import long, short

SYMBOL = "ESH4"
MOMENTS_MAX = 12
"""How far ahead a death is set: within the commits and frames of the next few things that happen."""

LIFE_MAX = 30
"""A whole life of an order, with the fills of a bracket, has fewer moments."""

LEAST_MOMENTS = 4
"""A commit and a frame, and both sides of each."""

STRANGERS_MAX = 2

BY_RULE = frozenset(
    {
        *("order_denied", "order_rejected", "order_in_doubt", "order_not_found", "order_external"),
        # A stop has filled while other orders had closed its position already.
        "position_unasked",
    }
)
"""Alerts that a person may get, each with its reason; any other one is a failure."""


def is_alive(machine: PlantMachine) -> bool:
    return machine.is_alive()


class RecoveryMachine(PlantMachine):
    """Limits, stops, brackets and OCO orders; deaths, lost links, reports that come twice."""

    # What strategies ask for.

    @precondition(is_alive)
    @rule(
        name=st.sampled_from(NAMES),
        side=st.sampled_from(Side),
        quantity=st.integers(1, 3),
        kind=st.sampled_from(["limit", "market", "stop", "bracket"]),
        is_taken=st.booleans(),
    )
    def order(self, name: str, side: Side, quantity: int, kind: str, is_taken: bool) -> None:
        away = -10 if side is Side.BUY else 10
        terms: dict[str, Any] = {"price": 5000.0 + away, "side": side, "quantity": quantity}
        if kind == "market":
            terms |= {"order_type": OrderType.MARKET, "price": None}
        elif kind == "stop":
            terms |= {"order_type": OrderType.STOP_MARKET, "price": None, "trigger_price": 5000.0 - away}
        elif kind == "bracket":
            terms |= {"stop_ticks": 40, "target_ticks": 20}
        tag = self.new_id(name)
        self.say(name, lambda epoch: submit(tag, epoch, strategy_id=StrategyId(name), **terms))
        if is_taken:
            self.settle_all()

    @precondition(is_alive)
    @rule(
        side=st.sampled_from(Side),
        kind=st.sampled_from(["limit", "market", "stop", "bracket"]),
        part=st.integers(0, 3),
        death=st.integers(1, LIFE_MAX),
        deaths=st.lists(st.integers(1, MOMENTS_MAX), max_size=1),
    )
    def a_life_that_is_cut(self, side: Side, kind: str, part: int, death: int, deaths: list[int]) -> None:
        """An order is sent, taken, filled in part and canceled, and somewhere on that way the process dies."""
        self.life.condemn(death)
        self.order("one", side, 3, kind, True)
        self.settle_all()
        tag = f"o{self.numbers}"
        order = next((each for each in self.exchange.working() if each.tag == tag), None)
        if order is not None and part:
            self.exchange.fill(order, part, 5000.0)
            self.settle_all()
        if self.is_alive():
            terms = {"client_order_id": ClientOrderId(tag), "strategy_id": StrategyId("one")}
            self.say("one", lambda epoch: CancelOrder(**terms, fencing_epoch=epoch))  # type: ignore[arg-type]
            self.settle_all()
        self.restart(deaths)

    @precondition(is_alive)
    @rule(name=st.sampled_from(NAMES), quantity=st.integers(1, 3))
    def pair(self, name: str, quantity: int) -> None:
        tags, owner = [self.new_id(name), self.new_id(name)], StrategyId(name)

        def make(epoch: int) -> Message:
            legs = [
                submit(tag, epoch, strategy_id=owner, quantity=quantity, price=price)
                for tag, price in zip(tags, (4990.0, 4980.0), strict=True)
            ]
            return SubmitOco(strategy_id=owner, fencing_epoch=epoch, first=legs[0], second=legs[1])

        self.say(name, make)

    def known(self) -> list[tuple[StrategyId, ClientOrderId]]:
        """What strategies may cancel and change."""
        orders = self.body.account.table.open_orders()
        return [(each.strategy_id, each.client_order_id) for each in orders if each.strategy_id != EXTERNAL_STRATEGY]

    @precondition(lambda self: self.is_alive() and self.known())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        owner, tag = data.draw(st.sampled_from(self.known()))
        self.say(owner, lambda epoch: CancelOrder(client_order_id=tag, strategy_id=owner, fencing_epoch=epoch))
        if self.is_alive():
            self.canceled.add(tag)

    @precondition(lambda self: self.is_alive() and self.known())
    @rule(data=st.data(), quantity=st.integers(1, 4))
    def change(self, data: st.DataObject, quantity: int) -> None:
        owner, tag = data.draw(st.sampled_from(self.known()))
        terms = {"client_order_id": tag, "strategy_id": owner, "quantity": quantity}
        self.say(owner, lambda epoch: ModifyOrder(**terms, fencing_epoch=epoch))  # type: ignore[arg-type]

    # What the exchange does.

    @precondition(lambda self: self.exchange.inbox)
    @rule(refused=st.integers(0, 4).map(lambda number: number == 0))
    def is_carried_out(self, refused: bool) -> None:
        self.carry_out(refused=refused)

    def any_order(self, data: st.DataObject) -> VenueOrder:
        order: VenueOrder = data.draw(st.sampled_from(self.exchange.working()))
        return order

    @precondition(lambda self: self.exchange.working())
    @rule(data=st.data(), price=st.integers(4900, 5100))
    def fill(self, data: st.DataObject, price: int) -> None:
        order = self.any_order(data)
        self.exchange.fill(order, data.draw(st.integers(1, order.leaves)), float(price))

    @precondition(lambda self: self.exchange.working())
    @rule(data=st.data())
    def trigger(self, data: st.DataObject) -> None:
        self.exchange.trigger(self.any_order(data))

    @precondition(lambda self: self.exchange.working())
    @rule(data=st.data(), end=st.sampled_from(["C", "FA"]))
    def finish(self, data: st.DataObject, end: str) -> None:
        self.exchange.finish(self.any_order(data), end)

    @precondition(lambda self: sum(each.is_foreign for each in self.exchange.orders.values()) < STRANGERS_MAX)
    @rule(side=st.sampled_from([1, 2]), quantity=st.integers(1, 2))
    def stranger(self, side: int, quantity: int) -> None:
        self.exchange.foreign(SYMBOL, side, quantity)

    # What happens on the way.

    @precondition(lambda self: self.is_alive() and self.exchange.outbox)
    @rule(count=st.integers(1, 6))
    def deliver(self, count: int) -> None:
        """In the order in which they were said, as one connection does."""
        for _ in range(min(count, len(self.exchange.outbox))):
            self.push(*self.exchange.outbox.pop(0))

    @precondition(lambda self: self.is_alive() and (self.exchange.inbox or self.exchange.outbox))
    @rule()
    def settle(self) -> None:
        """All that was asked for is done, and told."""
        self.settle_all()

    @precondition(lambda self: self.is_alive() and self.delivered)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        self.push(*data.draw(st.sampled_from(self.delivered)))

    @precondition(is_alive)
    @rule()
    def lose_link(self) -> None:
        self.cut_link()

    @precondition(is_alive)
    @rule(moments=st.integers(1, MOMENTS_MAX))
    def condemn(self, moments: int) -> None:
        """It will die soon."""
        self.life.condemn(moments)

    @rule(deaths=st.lists(st.integers(1, MOMENTS_MAX), max_size=2))
    def restart(self, deaths: list[int]) -> None:
        """The process is killed where it stands, if it is not dead already; some of its successors, too."""
        self.run(self.end())
        self.run(self.start(*deaths))
        self.agree()

    # What must hold.

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert len(self.exchange.tags) == len(set(self.exchange.tags))
        assert set(self.exchange.tags) <= set(self.owners)

    @invariant()
    def nothing_is_booked_that_did_not_happen(self) -> None:
        """What is known of an order is never more than what it has filled."""
        for order in self.body.account.table if self.is_alive() else ():
            if order.venue_order_id is not None:
                assert order.filled_quantity <= self.exchange.orders[order.venue_order_id].filled

    def agree(self) -> None:
        """Right after a recovery: orders, positions and the journal are those of the exchange."""
        account, exchange = self.body.account, self.exchange
        assert account.trading_state is TradingState.ACTIVE
        assert not account.reconciling
        positions: dict[str, int] = {}
        for order in exchange.orders.values():
            ours = account.find_by_venue(VenueOrderId(order.basket))
            if ours is None:
                is_no_concern = order.is_foreign and order.end and not order.filled
                assert is_no_concern, f"{order} is nobody's"
                continue
            owner = EXTERNAL_STRATEGY if order.is_foreign else self.owners[(order.entry or order).tag]
            assert ours.strategy_id == owner
            assert ours.client_order_id == order.tag or not order.tag
            assert (ours.filled_quantity, ours.leaves_quantity) == (order.filled, order.leaves), f"{ours} {order}"
            assert ours.is_final == bool(order.end), f"{ours} {order}"
            assert ours.is_final or (ours.price or 0.0, ours.triggered) == (order.price, order.is_triggered)
            positions[owner] = positions.get(owner, 0) + order.signed
        for owner, quantity in positions.items():
            assert account.ledger.quantity(StrategyId(owner), SYMBOL) == quantity
        assert account.ledger.quantity(ACCOUNT, SYMBOL) == exchange.positions().get(SYMBOL, 0)
        at_work = sorted(order.basket for order in exchange.working())
        assert sorted(order.venue_order_id or "" for order in account.table.open_orders()) == at_work
        assert account.table.missing_fills() == account.table.revived() == []

    def books(self) -> dict[str, OrderReport]:
        return {each.client_order_id: each for each in self.body.account.journal.newest_orders(1000)}

    def teardown(self) -> None:
        """A last death and recovery, and the same once more, which changes nothing."""
        try:
            self.recover_and_look()
            self.run(self.end())
            result = verify_file(str(Path(self.folder.name) / "state" / FILE_NAME), list(NAMES))
            assert result["sound"], result
        finally:
            self.close()

    def recover_and_look(self) -> None:
        self.restart([])
        before = self.books()
        # A cancel that waited may have left with the recovery.
        has_left = bool(self.exchange.inbox)
        self.restart([])
        assert has_left or self.books() == before
        assert not [each for each in self.exchange.working() if each.tag in self.canceled]
        found = {*self.alerts, *self.life.alerts}
        assert found <= BY_RULE, found
        assert "order_external" not in found or any(each.is_foreign for each in self.exchange.orders.values())
        never_there = set(self.owners) - {order.tag for order in self.exchange.orders.values()}
        assert "order_not_found" not in found or never_there


Step = Callable[[RecoveryMachine], None]


def fills(number: int, quantity: int) -> Step:
    """One of the exchange's orders, by its place; nothing where it never came to be."""

    def step(machine: RecoveryMachine) -> None:
        order = machine.exchange.orders.get(f"b{number}")
        if order is not None and order.leaves >= quantity:
            machine.exchange.fill(order, quantity, 5000.0)

    return step


def says(make: Callable[[RecoveryMachine], None]) -> Step:
    """Of a strategy, as long as there is somebody to hear it."""
    return lambda machine: make(machine) if machine.is_alive() else None


def ends(machine: RecoveryMachine, kind: type[CancelOrder] | type[ModifyOrder], **terms: Any) -> None:
    """The first order is canceled or changed."""
    about = {"client_order_id": ClientOrderId("o1"), "strategy_id": StrategyId("one")} | terms
    machine.say("one", lambda epoch: kind(**about, fencing_epoch=epoch))


HISTORIES: dict[str, list[Step]] = {
    "a limit order, changed, filled in part, canceled": [
        says(lambda machine: machine.order("one", Side.BUY, 3, "limit", False)),
        says(lambda machine: ends(machine, ModifyOrder, quantity=4)),
        fills(1, 2),
        says(lambda machine: ends(machine, CancelOrder)),
    ],
    "a bracket, filled in two pieces, its target in two": [
        says(lambda machine: machine.order("one", Side.BUY, 2, "bracket", False)),
        *(fills(1, 1), fills(1, 1), fills(3, 1), fills(3, 1)),
    ],
    "a pair, one of which fills in two pieces": [
        says(lambda machine: machine.pair("two", 2)),
        *(fills(1, 1), fills(1, 1)),
    ],
    "a stop that is triggered, and somebody else's order": [
        says(lambda machine: machine.order("two", Side.SELL, 2, "stop", False)),
        lambda machine: machine.stranger(1, 2),
        *(fills(1, 1), fills(2, 2)),
    ],
    "an order that is refused, and two at once": [
        says(lambda machine: machine.order("one", Side.BUY, 1, "limit", False)),
        lambda machine: machine.carry_out(refused=True) if machine.exchange.inbox else None,
        says(lambda machine: machine.order("one", Side.BUY, 1, "market", False)),
        says(lambda machine: machine.order("two", Side.SELL, 1, "market", False)),
        *(fills(1, 1), fills(2, 1)),
    ],
}


def cut(history: list[Step], death: int, *, settles: bool) -> bool:
    """A history up to a moment, the recovery, and all that must hold then; whether the process died before its end."""
    machine = RecoveryMachine()
    try:
        machine.life.condemn(death)
        for step in history:
            step(machine)
            if settles:
                machine.settle_all()
        is_cut = machine.life.is_dead
        # The next process dies, too, while it recovers.
        machine.restart([death % MOMENTS_MAX + 1])
        machine.nothing_is_sent_twice()
    finally:
        machine.teardown()
    return is_cut


@pytest.mark.parametrize("settles", [True, False], ids=["each step is answered", "nothing is answered"])
@pytest.mark.parametrize("name", HISTORIES)
def test_any_prefix_of_a_history_is_recovered_from(name: str, settles: bool) -> None:
    """Before and after each commit and each frame of it, one after the other."""
    death = 1
    while cut(HISTORIES[name], death, settles=settles):
        death += 1
    assert death > LEAST_MOMENTS


TestRecovery = short(RecoveryMachine, 12, 25)
TestRecoveryLong = long(RecoveryMachine, 200, 50)
