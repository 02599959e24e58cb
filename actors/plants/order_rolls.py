"""Moves positions from one contract to the next when an alias rolls.

A roll is journalled before its first order, and each of its orders before it is sent, under an id that follows from the
roll's. What is to be done next follows from these orders alone (``trading/roll_step.py``): an order plant that was
killed anywhere in between goes on with the leg that is missing, and sends none twice. What is opened for a strategy
between two contracts is opened once, whatever comes to be held in the former one later.
"""

import asyncio
import secrets

from actors.plants.order_account import Account
from actors.plants.order_contracts import DueRoll
from actors.plants.order_gate import Gate
from actors.plants.order_left_behind import LeftBehind
from actors.plants.order_roll_book import RollBook, fields_of
from actors.plants.order_roll_task import Owners, RollPolicy, RollTask
from actors.plants.order_sender import Sender
from nightdesk.messages import Severity, StrategyId
from nightdesk.trading.clock_witness import ClockWitness
from nightdesk.trading.protection import protects
from nightdesk.trading.roll_step import PositionRoll, RollState

ROLL_ID_RANDOM_BYTES = 4


class PositionRoller:
    """One task per strategy and contract that is left; the gate denies everybody openings in both meanwhile."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, owners: Owners, policy: RollPolicy) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._owners = owners
        self._policy = policy
        self._book = RollBook(account)
        self._left_behind = LeftBehind(account, self._book)
        self._tasks: dict[str, tuple[RollTask, asyncio.Task[None]]] = {}
        self._witness = ClockWitness() if account.settings.mode != "sim" else None
        """The embedded exchange's own time needs none."""
        self._doubted_s = 0.0
        account.risk.plans = self._book.planned
        account.contracts.bar = self._book.bar

    async def run(self) -> None:
        """Until cancelled: go on with what a former process left undone, and look for what is due."""
        for roll in self._book.under_way():
            self._begin(roll)
        while True:
            if self._account.contracts.refresh():
                self._account.learn_contracts()
            self.look()
            await asyncio.sleep(self._policy.poll_s)

    def symbols(self) -> list[str]:
        """The contracts in which something is going to be opened: prices of them are needed."""
        return [roll.new_symbol for roll in self._book.under_way() if roll.reopens]

    def on_tick(self, ts_event_ns: int) -> None:
        """A tick of the exchange came, with its time there."""
        if self._witness is not None:
            self._witness.note(ts_event_ns, self._account.context.clock.monotonic_s())

    def look(self) -> None:
        """Begin what is due, and tell of what nobody moves."""
        account = self._account
        if account.is_ending:
            return
        dues = [due for alias in account.contracts.aliases for due in account.contracts.due(alias)]
        wanted = [
            (strategy_id, due)
            for due in dues
            for strategy_id in account.contracts.strategies(due.alias)
            if self._is_wanted(strategy_id, due)
        ]
        if not wanted or self._is_confirmed(wanted):
            self._doubted_s = 0.0
            for strategy_id, due in wanted:
                self._treat(strategy_id, due)
        self._left_behind.look()

    def abandon(self, strategy_id: StrategyId, symbol: str) -> None:
        """Somebody wants to be flat: what is closed is not opened again. Empty: of all strategies, in all symbols."""
        for roll in self._book.under_way():
            if strategy_id in ("", roll.strategy_id) and symbol in ("", roll.old_symbol, roll.new_symbol):
                self._book.forsake(roll, self._sender)

    def stop(self) -> None:
        """Leave what is undone to the next process, and its contracts to whoever acts last in this one."""
        for roll_task, task in self._tasks.values():
            task.cancel()
            roll_task.release()

    def _is_wanted(self, strategy_id: StrategyId, due: DueRoll) -> bool:
        """Whether a roll that is due has anything to do for a strategy."""
        account, pair = self._account, (strategy_id, due.old.symbol)
        held = account.ledger.quantity(*pair)
        if not held and not (due.moves and account.table.open_orders(*pair)):
            return False
        roll = self._book.get((strategy_id, due.old.symbol, due.new.symbol))
        if roll is not None and (not roll.is_done or not due.moves or roll.state is RollState.GAVE_UP):
            return False
        is_certain = account.is_settled(due.old.symbol, strategy_id) and self._sender.link.session is not None
        return is_certain and pair not in self._gate.flattening and not account.markets.ended(due.old.symbol)

    def _is_confirmed(self, wanted: list[tuple[StrategyId, DueRoll]]) -> bool:
        """Whether the exchange's own time says so, too: a clock that was set ahead makes everything due."""
        account, time = self._account, self._account.markets.time
        if self._witness is None:
            return True
        problem = self._witness.problem(time.now_ns(), account.context.clock.monotonic_s())
        if not problem:
            return True
        symbols = sorted({due.old.symbol for _, due in wanted})
        if any(account.markets.is_trading(symbol) for symbol in symbols):
            is_told = self._doubted_s >= self._policy.alert_s
            self._doubted_s += self._policy.poll_s
            if self._doubted_s >= self._policy.alert_s and not is_told:
                account.log.critical("roll_unconfirmed", symbols=symbols, problem=problem)
                text = f"positions in {', '.join(symbols)} are due to roll, and are not moved: {problem}"
                account.context.alert("roll_unconfirmed", Severity.CRITICAL, text)
        return False

    def _treat(self, strategy_id: StrategyId, due: DueRoll) -> None:
        account, pair = self._account, (strategy_id, due.old.symbol)
        held = account.ledger.quantity(*pair)
        is_spent = self._book.is_spent((strategy_id, due.old.symbol, due.new.symbol))
        roll = PositionRoll(
            roll_id=f"roll-{strategy_id}-{secrets.token_hex(ROLL_ID_RANDOM_BYTES)}",
            strategy_id=strategy_id,
            alias=due.alias,
            old_symbol=due.old.symbol,
            new_symbol=due.new.symbol,
            reopens=due.policy.position == "roll" and not is_spent,
            state=RollState.UNDER_WAY if due.moves else RollState.DONE,
            was_protected=any(protects(order, held) for order in account.table.open_orders(*pair)),
            begun_ns=account.markets.time.now_ns(),
        )
        if not self._book.keep(roll):
            return
        if due.moves:
            account.log.info("position_roll_begun", **fields_of(roll), position=held)
            self._begin(roll)
        else:
            account.log.info("position_kept", **fields_of(roll), position=held)
            text = f"{strategy_id} keeps {held} {roll.old_symbol}; {roll.alias} goes over to {roll.new_symbol}"
            account.context.alert("position_kept", Severity.INFO, text, strategy_id=strategy_id)

    def _begin(self, roll: PositionRoll) -> None:
        roll_task = RollTask(self._account, self._gate, self._sender, self._book, self._owners, self._policy, roll)
        task = self._account.context.spawn(roll_task.run(), name=f"roll of {roll.strategy_id}")
        self._tasks[roll.roll_id] = (roll_task, task)
        task.add_done_callback(lambda _: self._tasks.pop(roll.roll_id, None))
