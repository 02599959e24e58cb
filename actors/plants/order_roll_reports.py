"""What people hear of a roll."""

from actors.plants.order_account import Account
from actors.plants.order_roll_book import RollBook, fields_of
from nightdesk.messages import Severity
from nightdesk.trading.order import Purpose
from nightdesk.trading.protection import protects
from nightdesk.trading.roll_step import PositionRoll


class RollReports:
    """Of one roll in one process; what lasts is told once."""

    def __init__(self, account: Account, book: RollBook) -> None:
        self._account = account
        self._book = book
        self._told: set[str] = set()

    def done(self, roll: PositionRoll) -> None:
        """It is over, and as it should be."""
        account = self._account
        now = account.ledger.quantity(roll.strategy_id, roll.new_symbol)
        account.log.info("position_rolled", **fields_of(roll), reopened=roll.reopens, position=now)
        what = f"its position in {roll.new_symbol} is {now}" if roll.reopens else "it was closed"
        text = f"{roll.strategy_id} has left {roll.old_symbol}: {what}"
        account.context.alert("position_rolled", Severity.INFO, text, strategy_id=roll.strategy_id)

    def not_reopened(self, roll: PositionRoll, reason: str) -> None:
        """What was closed stays closed, and the strategy did not ask for that."""
        text = f"{roll.strategy_id}: nothing is opened in {roll.new_symbol}: {reason}; {self._rest(roll)}"
        self._account.log.critical("roll_not_reopened", **fields_of(roll), problem=reason)
        self._account.context.alert("roll_abandoned", Severity.CRITICAL, text, strategy_id=roll.strategy_id)

    def late(self, roll: PositionRoll, after_s: float) -> None:
        """It takes long."""
        if self._is_new("late"):
            self.incomplete(roll, f"not done after {after_s:g} s; it goes on")

    def incomplete(self, roll: PositionRoll, problem: str) -> None:
        """A person is needed, or may be."""
        text = f"{roll.strategy_id}: roll from {roll.old_symbol} to {roll.new_symbol}: {problem}; {self._rest(roll)}"
        self._account.log.error("roll_incomplete", **fields_of(roll), problem=problem)
        self._account.context.alert("roll_incomplete", Severity.CRITICAL, text, strategy_id=roll.strategy_id)

    def unprotected(self, roll: PositionRoll, reason: str) -> None:
        """Tell of a position that had a stop and has none, while nothing is on its way to close it."""
        held = self._book.held(roll)
        if not held or not roll.was_protected:
            return
        working = self._account.table.open_orders(roll.strategy_id, roll.old_symbol)
        if not any(order.purpose is Purpose.EXIT or protects(order, held) for order in working):
            self._tell_unprotected(roll, held, roll.old_symbol, reason)

    def unprotected_next(self, roll: PositionRoll) -> None:
        """The same of what was opened."""
        account = self._account
        held = account.ledger.quantity(roll.strategy_id, roll.new_symbol)
        working = account.table.open_orders(roll.strategy_id, roll.new_symbol)
        if held and not any(protects(order, held) for order in working):
            reason = f"it had one in {roll.old_symbol}, and the strategy has put none here yet"
            self._tell_unprotected(roll, held, roll.new_symbol, reason)

    def _rest(self, roll: PositionRoll) -> str:
        held = self._account.ledger.quantity(roll.strategy_id, roll.old_symbol)
        return f"{held} {roll.old_symbol} are held, {self._book.missing(roll)} are closed and not opened again"

    def _tell_unprotected(self, roll: PositionRoll, held: int, symbol: str, reason: str) -> None:
        if not self._is_new("unprotected"):
            return
        text = f"{roll.strategy_id} holds {held} {symbol} without a stop: {reason}"
        self._account.log.critical("position_unprotected", **fields_of(roll), position=held, problem=reason)
        self._account.context.alert("position_unprotected", Severity.CRITICAL, text, strategy_id=roll.strategy_id)

    def _is_new(self, what: str) -> bool:
        is_new = what not in self._told
        self._told.add(what)
        return is_new
