"""The rolls of positions that the journal knows, what they have done, and what they bar others from."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_sender import Sender
from nightdesk.messages import ClientOrderId, Side, StrategyId
from nightdesk.trading.order import Order
from nightdesk.trading.roll_step import LegKind, LegOrder, PositionRoll, RollStep, missing, next_step, order_id

RollKey = tuple[StrategyId, str, str]
"""Strategy, former contract, next contract."""


class RollBook:
    """One row of the journal for each roll; of each strategy and pair of contracts, the one that counts."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._rolls: dict[RollKey, PositionRoll] = {}
        self._ids: dict[RollKey, set[str]] = {}
        self._under_way: dict[str, PositionRoll] = {}
        self._judged = ""
        for roll in account.journal.rolls():
            self._take(roll)

    def present(self, roll: PositionRoll) -> PositionRoll:
        """A roll as it stands now."""
        return self._rolls[roll.strategy_id, roll.old_symbol, roll.new_symbol]

    def get(self, key: RollKey) -> PositionRoll | None:
        """The roll of a strategy between two contracts: the one under way, else the last one."""
        return self._rolls.get(key)

    def under_way(self) -> list[PositionRoll]:
        """What no process has ended."""
        return list(self._under_way.values())

    def keep(self, roll: PositionRoll) -> bool:
        """Journal how a roll stands; False when that failed, and then nothing may be sent."""
        account = self._account
        try:
            account.journal.write_roll(roll, account.context.clock.now_ns())
        except JournalWriteError as error:
            account.journal_failed(error)
            return False
        self._take(roll)
        return True

    def forsake(self, roll: PositionRoll, sender: Sender) -> None:
        """Somebody wants to be flat, or nobody is there for the position: what is closed is not opened again."""
        if roll.reopens and not roll.is_done and self.keep(roll._replace(reopens=False)):
            self._account.log.warning("roll_abandoned", **fields_of(roll))
        for order in self.orders(roll)[1]:
            sender.request_cancel(order)

    def is_spent(self, key: RollKey) -> bool:
        """Whether an earlier roll between these contracts has closed something: that is opened once, never again."""
        ids = self._ids.get(key, ())
        return any(order.filled_quantity for roll_id in ids for order in self._orders(roll_id, LegKind.CLOSE))

    def orders(self, roll: PositionRoll) -> tuple[list[Order], list[Order]]:
        """The orders of both legs, oldest first."""
        return self._orders(roll.roll_id, LegKind.CLOSE), self._orders(roll.roll_id, LegKind.OPEN)

    def step(self, roll: PositionRoll) -> RollStep:
        """What comes next."""
        closing, opening = self.orders(roll)
        return next_step(self.held(roll), _legs(closing), _legs(opening), reopens=roll.reopens)

    def held(self, roll: PositionRoll) -> int:
        """What is still to be closed; nothing is closed in a contract that has ended."""
        if self._account.markets.ended(roll.old_symbol):
            return 0
        return self._account.ledger.quantity(roll.strategy_id, roll.old_symbol)

    def missing(self, roll: PositionRoll) -> int:
        """What was closed and is not opened again (long positive)."""
        closing, opening = self.orders(roll)
        return missing(_legs(closing), _legs(opening))

    def planned(self) -> list[tuple[StrategyId, str, int]]:
        """What rolls under way will buy (sell, negative) in their next contracts, beyond their orders at work there."""
        found = []
        for roll in self._under_way.values():
            if not roll.reopens or roll.roll_id == self._judged:
                continue
            working = sum(
                order.exposure if order.side is Side.BUY else -order.exposure for order in self.orders(roll)[1]
            )
            quantity = self.held(roll) + self.missing(roll) - working
            if quantity:
                found.append((roll.strategy_id, roll.new_symbol, quantity))
        return found

    @contextmanager
    def judging(self, roll: PositionRoll) -> Iterator[None]:
        """While a roll's own order is judged, its plan does not count against it."""
        self._judged = roll.roll_id
        try:
            yield
        finally:
            self._judged = ""

    def bar(self, strategy_id: StrategyId, alias: str, symbol: str) -> str:
        """Why a strategy opens nothing in a contract until its position has moved, for people; empty for nothing.

        Whatever it holds in the former contract comes on top of what it would open in the next one.
        """
        for roll in self._under_way.values():
            if roll.strategy_id == strategy_id and symbol in (roll.old_symbol, roll.new_symbol):
                return f"its position is being moved from {roll.old_symbol} to {roll.new_symbol}"
        account = self._account
        due = account.contracts.last_due(alias)
        if due is None or not due.moves or due.new.symbol != symbol or account.markets.ended(due.old.symbol):
            return ""
        held = account.ledger.quantity(strategy_id, due.old.symbol)
        return f"{held} {due.old.symbol} are held, which {alias} has left" if held else ""

    def _take(self, roll: PositionRoll) -> None:
        key = (roll.strategy_id, roll.old_symbol, roll.new_symbol)
        self._ids.setdefault(key, set()).add(roll.roll_id)
        former = self._rolls.get(key)
        if former is None or former.is_done or former.roll_id == roll.roll_id:
            self._rolls[key] = roll
        if roll.is_done:
            self._under_way.pop(roll.roll_id, None)
        else:
            self._under_way[roll.roll_id] = roll

    def _orders(self, roll_id: str, leg: LegKind) -> list[Order]:
        found: list[Order] = []
        for number in count(1):
            order = self._account.find(ClientOrderId(order_id(roll_id, leg, number)))
            if order is None:
                return found
            found.append(order)
        return found


def fields_of(roll: PositionRoll) -> dict[str, str]:
    """A roll in a line of the log."""
    return {"strategy_id": roll.strategy_id, "alias": roll.alias, "old": roll.old_symbol, "new": roll.new_symbol}


def _legs(orders: list[Order]) -> list[LegOrder]:
    return [
        LegOrder(order.filled_quantity if order.side is Side.BUY else -order.filled_quantity, _is_over(order))
        for order in orders
    ]


def _is_over(order: Order) -> bool:
    # One that the broker shows at work after all may still fill.
    return order.is_final and not order.revived
