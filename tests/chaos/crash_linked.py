"""Ways of orders that the server holds together: two of which one cancels the other, a bracket with its exits."""

from typing import Any

from nightdesk.messages import (
    ClientOrderId,
    Flatten,
    OrderAccepted,
    OrderCanceled,
    OrderStatus,
    OrderType,
    Side,
    SubmitOco,
    SubmitOrder,
)
from tests.chaos.crash_books import Books, is_final, read_books
from tests.chaos.crash_paths import (
    FAR,
    NO_INTENT,
    QUANTITY,
    TICK,
    UNBOOKED,
    UNHEARD,
    UNKNOWN,
    UNSENT,
    WRITTEN,
    Path,
    adopted,
    cancel,
    heard,
    never_received,
)
from tests.chaos.crash_probes import Call
from tests.chaos.crash_rig import ACCOUNT, EXCHANGE, STRATEGY, SYMBOL, Rig

EXIT_TICKS = 2_000
"""From the entry to each of its exits: the market does not reach them."""


class Oco(Path):
    """Two orders in one commit and one frame, from the read of the lane to the word that both are at work."""

    name = "oco"
    rows = frozenset({NO_INTENT, UNSENT, UNHEARD, UNKNOWN, WRITTEN})

    def act(self, rig: Rig) -> None:
        first, second = (
            self._leg(rig, name, price) for name, price in zip(self._legs(), (FAR, FAR - TICK), strict=True)
        )
        rig.strategy.send(SubmitOco(strategy_id=STRATEGY, fencing_epoch=rig.strategy.epoch, first=first, second=second))

    def passed(self, rig: Rig) -> bool:
        return all(rig.strategy.of(OrderAccepted, name) for name in self._legs())

    def judge(self, books: Books, trace: list[Call]) -> str:
        found = [books.row(name) for name in self._legs()]
        received = {books.exchanged(name).received for name in self._legs()}
        assert len({row is None for row in found}) == len(received) == 1, f"one leg without the other: {found}"
        if None in found:
            return NO_INTENT
        if received == {0}:
            return UNSENT
        if not heard(trace):
            return UNHEARD
        is_written = all(row is not None and row["status"] == OrderStatus.ACCEPTED for row in found)
        return WRITTEN if is_written else UNKNOWN

    async def settled(self, rig: Rig, row: str) -> None:
        books, legs = read_books(rig), self._legs()
        for name, other in zip(legs, reversed(legs), strict=True):
            ours = books.row(name)
            if row == NO_INTENT:
                assert ours is None
                continue
            assert ours is not None
            assert ours["linked_id"] == other
            if row == UNSENT:
                never_received(books, name)
            else:
                adopted(books, name, OrderStatus.ACCEPTED)
        if row not in (NO_INTENT, UNSENT):
            # The server takes the other one with it, and the plant knows.
            await cancel(rig, legs[0])
            await rig.until(lambda: all(rig.strategy.of(OrderCanceled, name) for name in legs), "both are canceled")

    def _legs(self) -> list[str]:
        return [f"{self.order_id}-a", f"{self.order_id}-b"]

    def _leg(self, rig: Rig, name: str, price: float) -> SubmitOrder:
        return _order(rig, name, order_type=OrderType.LIMIT, price=price)


class Bracket(Path):
    """An entry that fills at once, and its exits, which the server makes: to the word that both are at work."""

    name = "bracket"
    UNOWNED = "the entry is filled, an exit has no row"
    rows = frozenset({NO_INTENT, UNSENT, UNHEARD, UNKNOWN, UNBOOKED, UNOWNED, WRITTEN})

    def act(self, rig: Rig) -> None:
        rig.strategy.send(_order(rig, self.order_id, stop_ticks=EXIT_TICKS, target_ticks=EXIT_TICKS))

    def passed(self, rig: Rig) -> bool:
        return all(rig.strategy.of(OrderAccepted, name) for name in self._exits())

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
        if books.lacking(self.order_id):
            return UNBOOKED
        return WRITTEN if all(books.row(name) for name in self._exits()) else self.UNOWNED

    async def settled(self, rig: Rig, row: str) -> None:
        books = read_books(rig)
        if row == NO_INTENT:
            assert books.row(self.order_id) is None
            return
        if row == UNSENT:
            never_received(books, self.order_id)
            return
        adopted(books, self.order_id, OrderStatus.FILLED)
        theirs = [each for each in rig.exchange.venue.orders(ACCOUNT) if each.completion is None]
        at_work = {each.basket_id for each in theirs}
        assert all(each.original_basket_id for each in theirs), theirs
        ours = {each["venue_order_id"]: name for name, each in books.rows.items() if not is_final(each)}
        assert at_work == ours.keys(), f"exits at the exchange {at_work}, in the journal {ours}"
        assert set(ours.values()) == self._exits(), ours
        for name in self._exits():
            exit_row = books.row(name)
            assert exit_row is not None
            assert (exit_row["strategy_id"], exit_row["parent_id"]) == (STRATEGY, self.order_id)
        assert rig.strategy.position() == QUANTITY
        rig.strategy.send(Flatten(strategy_id=STRATEGY, fencing_epoch=rig.strategy.epoch, symbol=SYMBOL))
        await rig.until(lambda: rig.strategy.position() == 0, "the position is closed")
        await rig.until(lambda: all(map(is_final, read_books(rig).rows.values())), "nothing works any more")

    def _exits(self) -> set[str]:
        return {f"{self.order_id}-s1", f"{self.order_id}-t1"}


def _order(rig: Rig, name: str, **changes: Any) -> SubmitOrder:
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId(name),
        "strategy_id": STRATEGY,
        "fencing_epoch": rig.strategy.epoch,
        "symbol": SYMBOL,
        "exchange": EXCHANGE,
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "quantity": QUANTITY,
        "price": None,
    }
    return SubmitOrder(**(values | changes))
