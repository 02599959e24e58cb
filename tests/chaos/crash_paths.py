"""The ways of an order through its plant on which the plant is killed, and what each death must lead to."""

from abc import ABC, abstractmethod
from itertools import count
from typing import ClassVar

from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Denial,
    Flatten,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderDenied,
    OrderFilled,
    OrderStatus,
    OrderType,
    OrderUpdated,
    PositionReport,
    QueryOrder,
    Side,
)
from nightdesk.trading.order import Purpose
from tests.chaos.crash_books import Books, is_final, read_books
from tests.chaos.crash_probes import Call, Kind
from tests.chaos.crash_rig import ACCOUNT, STRATEGY, SYMBOL, Rig

FAR = 4000.0
"""A price to buy at that the market does not reach."""
TICK = 0.25
QUANTITY = 2

NO_INTENT = "row 2: before the intent's commit"
UNSENT = "row 3: between commit and send"
UNHEARD = "row 4: between send and acknowledgement"
UNKNOWN = "row 5: between acknowledgement and journal"
UNBOOKED = "row 6: between fill and commit"
WRITTEN = "all of it is in the journal"
PASSED = "passed"
"""Nobody died."""


class Path(ABC):
    """One way; ``name`` begins the ids of its orders."""

    name: ClassVar[str]
    rows: ClassVar[frozenset[str]]
    """What a whole sweep must meet."""
    at_birth: ClassVar[bool] = False
    """The way begins with the plant's birth."""
    durability: ClassVar[str] = "process"
    """Of the journal."""
    left_out: ClassVar[frozenset[str]] = frozenset()
    """System calls that are no points; none on a way that is short enough."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.order_id = ""

    async def prepare(self, rig: Rig) -> None:
        """Bring the living plant to where the way begins; the default is a new id alone."""
        self.order_id = f"{self.name}-{next(self._numbers)}"

    @abstractmethod
    def act(self, rig: Rig) -> None:
        """Set out; what happens from now on is swept."""

    @abstractmethod
    def passed(self, rig: Rig) -> bool:
        """Whether the strategy has been told of the end of it."""

    @abstractmethod
    def judge(self, books: Books, trace: list[Call]) -> str:
        """Which row of the fault matrix this death is, by the books that it has left."""

    @abstractmethod
    async def settled(self, rig: Rig, row: str) -> None:
        """With the next plant in service (or, after a passed way, with the same): check, and leave nothing at work."""


def heard(trace: list[Call]) -> bool:
    """Whether something was read from the gateway after something was sent to it."""
    sent = [index for index, call in enumerate(trace) if call.kind is Kind.LINK_OUT and call.got]
    return bool(sent) and any(call.kind is Kind.LINK_IN and call.got for call in trace[sent[0] :])


async def resting(rig: Rig, order_id: str) -> None:
    """Let an order rest far from the market."""
    rig.strategy.submit(order_id, Side.BUY, QUANTITY, FAR)
    await rig.until(lambda: rig.strategy.of(OrderAccepted, order_id), f"{order_id} is accepted")


async def cancel(rig: Rig, order_id: str) -> None:
    """Cancel it, and wait for the word."""
    strategy = rig.strategy
    strategy.send(
        CancelOrder(client_order_id=ClientOrderId(order_id), strategy_id=STRATEGY, fencing_epoch=strategy.epoch)
    )
    await rig.until(lambda: strategy.of(OrderCanceled, order_id), f"{order_id} is canceled")


def adopted(books: Books, order_id: str, status: OrderStatus) -> None:
    """Fail unless the journal has the exchange's order, with all its fills, in this state."""
    row, exchanged = books.row(order_id), books.exchanged(order_id)
    assert row is not None
    assert (row["status"], row["venue_order_id"]) == (status, exchanged.venue_order_id), row
    assert not books.lacking(order_id), f"{order_id}: executions {books.lacking(order_id)} were not recovered"


def never_received(books: Books, order_id: str) -> None:
    """Fail unless it left a tombstone, and nothing at the exchange."""
    row = books.row(order_id)
    assert row is not None
    assert (row["status"], row["text"][:9], row["tombstone"]) == (OrderStatus.REJECTED, "NOT_FOUND", 1), row
    assert books.exchanged(order_id).received == 0


class NewOrder(Path):
    """A market order from the read of the lane to the last word about its fills."""

    name = "order"
    rows = frozenset({NO_INTENT, UNSENT, UNHEARD, UNKNOWN, UNBOOKED, WRITTEN})

    def act(self, rig: Rig) -> None:
        rig.strategy.submit(self.order_id, Side.BUY if rig.strategy.position() <= 0 else Side.SELL, QUANTITY)

    def passed(self, rig: Rig) -> bool:
        filled = sum(each.last_quantity for each in rig.strategy.of(OrderFilled, self.order_id))
        return filled == QUANTITY and isinstance(rig.strategy.got[-1], PositionReport)

    def judge(self, books: Books, trace: list[Call]) -> str:
        row = books.row(self.order_id)
        if row is None:
            return NO_INTENT
        if not books.exchanged(self.order_id).received:
            return UNSENT
        if not heard(trace):
            return UNHEARD
        if row["venue_order_id"] is None:
            return UNKNOWN
        return UNBOOKED if books.lacking(self.order_id) else WRITTEN

    async def settled(self, rig: Rig, row: str) -> None:
        books = read_books(rig)
        if row == NO_INTENT:
            assert books.row(self.order_id) is None
            assert books.exchanged(self.order_id).received == 0, "an order without an intent is at the exchange"
            rig.strategy.send(QueryOrder(client_order_id=ClientOrderId(self.order_id), strategy_id=STRATEGY))
            await rig.until(lambda: rig.strategy.of(OrderDenied, self.order_id), "the plant says what it knows")
            assert rig.strategy.of(OrderDenied, self.order_id)[-1].code is Denial.ORDER_UNKNOWN
        elif row == UNSENT:
            never_received(books, self.order_id)
        else:
            adopted(books, self.order_id, OrderStatus.FILLED)


class PowerOrder(NewOrder):
    """The same with a journal that survives a power loss: each commit has its fsync, a call more to die at."""

    name = "order-power"
    durability = "power"


class Fill(Path):
    """The fills of an order that rests, from the read of the frame to the last word about them."""

    name = "fill"
    rows = frozenset({UNBOOKED, WRITTEN})

    async def prepare(self, rig: Rig) -> None:
        await super().prepare(rig)
        await resting(rig, self.order_id)

    def act(self, rig: Rig) -> None:
        venue = rig.exchange.venue
        (order,) = [each for each in venue.orders(ACCOUNT) if each.terms.user_tag == self.order_id]
        # The exchange moves it to where it trades: a fill that nobody here has asked for at this moment.
        events = venue.modify(
            ACCOUNT,
            order.basket_id,
            quantity=QUANTITY,
            price=venue.quote(SYMBOL).ask_price + 40 * TICK,
            trigger_price=None,
            order_type=OrderType.LIMIT,
            now_ns=rig.exchange.now_ns(),
        )
        rig.exchange.record(events)
        rig.exchange.publish(events)

    def passed(self, rig: Rig) -> bool:
        filled = sum(each.last_quantity for each in rig.strategy.of(OrderFilled, self.order_id))
        return filled == QUANTITY and isinstance(rig.strategy.got[-1], PositionReport)

    def judge(self, books: Books, trace: list[Call]) -> str:
        return UNBOOKED if books.lacking(self.order_id) else WRITTEN

    async def settled(self, rig: Rig, row: str) -> None:
        adopted(read_books(rig), self.order_id, OrderStatus.FILLED)
        # Back to flat, so that no sweep is too long for the limit of the position.
        rig.strategy.submit(f"{self.order_id}-out", Side.SELL, QUANTITY)
        await rig.until(lambda: rig.strategy.position() == 0, "the position is closed")


class Cancel(Path):
    """The cancel of an order that rests, from the read of the lane to the word that it is canceled."""

    name = "cancel"
    NOT_ASKED = "the cancel is in no book"
    ASKED = "the cancel is journalled, the order works"
    GONE = "the order is gone, the journal does not know"
    rows = frozenset({NOT_ASKED, ASKED, GONE, WRITTEN})

    async def prepare(self, rig: Rig) -> None:
        await super().prepare(rig)
        await resting(rig, self.order_id)

    def act(self, rig: Rig) -> None:
        order_id, epoch = ClientOrderId(self.order_id), rig.strategy.epoch
        rig.strategy.send(CancelOrder(client_order_id=order_id, strategy_id=STRATEGY, fencing_epoch=epoch))

    def passed(self, rig: Rig) -> bool:
        return bool(rig.strategy.of(OrderCanceled, self.order_id))

    def judge(self, books: Books, trace: list[Call]) -> str:
        row = books.row(self.order_id)
        assert row is not None
        if is_final(row):
            return WRITTEN
        is_asked = row["status"] == OrderStatus.PENDING_CANCEL or row["cancel_wanted"]
        if books.exchanged(self.order_id).state == "CANCELED":
            assert is_asked, "the cancel was sent before it was journalled"
            return self.GONE
        return self.ASKED if is_asked else self.NOT_ASKED

    async def settled(self, rig: Rig, row: str) -> None:
        if row == self.NOT_ASKED:
            welcome = rig.strategy.welcome
            assert welcome is not None
            assert [each.client_order_id for each in welcome.orders] == [self.order_id]
            await cancel(rig, self.order_id)
        elif row in (self.ASKED, self.GONE):
            # Nobody asks again: who was told that the cancel is on its way may rely on it.
            await rig.until(lambda: is_final(read_books(rig).row(self.order_id)), "the cancel is carried out")
        books = read_books(rig)
        adopted(books, self.order_id, OrderStatus.CANCELED)
        assert books.exchanged(self.order_id).state == "CANCELED"


class Modify(Path):
    """The change of an order that rests, from the read of the lane to the word that it is changed."""

    name = "modify"
    NOT_ASKED = "the change is in no book"
    ASKED = "the change is journalled, the former terms hold"
    CHANGED = "the new terms hold, the journal does not know"
    rows = frozenset({NOT_ASKED, ASKED, CHANGED, WRITTEN})
    PRICE = FAR + TICK

    async def prepare(self, rig: Rig) -> None:
        await super().prepare(rig)
        await resting(rig, self.order_id)

    def act(self, rig: Rig) -> None:
        order_id, epoch = ClientOrderId(self.order_id), rig.strategy.epoch
        change = ModifyOrder(
            client_order_id=order_id, strategy_id=STRATEGY, fencing_epoch=epoch, price=self.PRICE, quantity=QUANTITY + 1
        )
        rig.strategy.send(change)

    def passed(self, rig: Rig) -> bool:
        return bool(rig.strategy.of(OrderUpdated, self.order_id))

    def _theirs(self, rig: Rig) -> tuple[int, float]:
        (order,) = [each for each in rig.exchange.venue.orders(ACCOUNT) if each.terms.user_tag == self.order_id]
        return order.quantity, order.price

    def judge(self, books: Books, trace: list[Call]) -> str:
        row = books.row(self.order_id)
        assert row is not None
        if row["price"] == self.PRICE:
            return WRITTEN
        if row["status"] != OrderStatus.PENDING_UPDATE:
            return self.NOT_ASKED
        return self.CHANGED if heard(trace) else self.ASKED

    async def settled(self, rig: Rig, row: str) -> None:
        ours = read_books(rig).row(self.order_id)
        assert ours is not None
        assert (ours["quantity"], ours["price"]) == self._theirs(rig), ours
        assert ours["status"] == OrderStatus.ACCEPTED, ours
        if row == self.NOT_ASKED:
            assert self._theirs(rig) == (QUANTITY, FAR), "the change was sent before it was journalled"
        elif row in (self.CHANGED, WRITTEN):
            assert self._theirs(rig) == (QUANTITY + 1, self.PRICE)
        await cancel(rig, self.order_id)


class FlattenAll(Path):
    """A flatten: the cancel of what works, then one closing order, to the end of the position."""

    name = "flatten"
    NOT_NOTED = "the flatten is in no book"
    NOT_BEGUN = "the flatten is noted, no closing order is in any book"
    EXIT_UNSENT = "the closing order is journalled and was not sent"
    EXIT_SENT = "the closing order is at the exchange, the journal lacks its fills"
    rows = frozenset({NOT_NOTED, NOT_BEGUN, EXIT_UNSENT, EXIT_SENT, WRITTEN})

    def __init__(self) -> None:
        super().__init__()
        self._exits: set[str] = set()

    async def prepare(self, rig: Rig) -> None:
        await super().prepare(rig)
        self._exits = set(read_books(rig).rows)
        rig.strategy.submit(f"{self.order_id}-in", Side.BUY, QUANTITY)
        await rig.until(lambda: rig.strategy.position() == QUANTITY, "there is a position")
        await resting(rig, self.order_id)

    def act(self, rig: Rig) -> None:
        rig.strategy.send(Flatten(strategy_id=STRATEGY, fencing_epoch=rig.strategy.epoch, symbol=SYMBOL))

    def passed(self, rig: Rig) -> bool:
        return rig.strategy.position() == 0

    def _new_exits(self, books: Books) -> list[str]:
        return [name for name, row in books.rows.items() if row["purpose"] == Purpose.EXIT and name not in self._exits]

    def judge(self, books: Books, trace: list[Call]) -> str:
        exits = self._new_exits(books)
        assert len(exits) <= 1, f"more than one closing order: {exits}"
        is_noted = _is_noted(books)
        if not exits:
            return self.NOT_BEGUN if is_noted else self.NOT_NOTED
        if not books.exchanged(exits[0]).received:
            assert is_noted, "a closing order is journalled and the flatten is not"
            return self.EXIT_UNSENT
        return self.EXIT_SENT if books.lacking(exits[0]) else WRITTEN

    async def settled(self, rig: Rig, row: str) -> None:
        if row == self.NOT_NOTED:
            # Who asked for it sees in its welcome what is left, and asks again. Any other one is carried to its end.
            assert rig.strategy.position() == QUANTITY
            self.act(rig)
        await rig.until(lambda: rig.strategy.position() == 0, "the position is closed")
        await rig.until(lambda: is_final(read_books(rig).row(self.order_id)), "nothing works any more")
        await rig.until(lambda: not _is_noted(read_books(rig)), "the flatten is over")
        books = read_books(rig)
        exits = [name for name in self._new_exits(books) if books.exchanged(name).received]
        assert len(exits) == 1, f"not one closing order was sent: {exits}"


def _is_noted(books: Books) -> bool:
    return books.notes.get("flattens", "[]") != "[]"
