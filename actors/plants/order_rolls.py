"""Moves positions from one contract to the next when an alias rolls.

A roll is journalled before its first order, and each of its orders before it is sent, under an id that follows from the
roll's. What is to be done next follows from these orders alone (``trading/roll_step.py``): an order plant that was
killed anywhere in between goes on with the leg that is missing, and sends none twice.
"""

import asyncio
import secrets
from itertools import count

import msgspec

from actors.plants.journal import JournalWriteError, PositionRoll
from actors.plants.order_account import Account
from actors.plants.order_contracts import DueRoll
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from actors.plants.order_waiting import until
from nightdesk.messages import ClientOrderId, OrderType, Severity, Side, StrategyId, SubmitOrder, TradingState
from nightdesk.trading.order import Order
from nightdesk.trading.roll_step import Act, LegKind, LegOrder, RollStep, next_step, order_id

ROLL_ID_RANDOM_BYTES = 4

_Pair = tuple[StrategyId, str]


class RollPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds of this machine."""

    poll_s: float = 0.05
    cancels_s: float = 5.0
    """How long canceled orders are waited for before they are canceled again."""
    retry_s: float = 0.5
    """After an order of a leg that did not do; doubled with each further one."""
    retry_max_s: float = 30.0
    alert_s: float = 30.0
    """A roll that takes longer while the market trades is told to the operator, once."""


class PositionRoller:
    """One task per strategy and contract that is left; the gate denies everybody else orders in it meanwhile."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, policy: RollPolicy) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._policy = policy
        self._rolls: dict[tuple[StrategyId, str, str], PositionRoll] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for roll in account.journal.rolls():
            self._rolls[roll.strategy_id, roll.old_symbol, roll.new_symbol] = roll
            if not roll.is_done:
                gate.flattening.add((roll.strategy_id, roll.old_symbol))

    async def run(self) -> None:
        """Until cancelled: go on with what a former process left undone, and look for what is due."""
        for roll in [each for each in self._rolls.values() if not each.is_done]:
            self._begin(roll)
        while self._account.contracts.aliases:
            if self._account.contracts.refresh():
                self._account.learn_contracts()
            self.look()
            await asyncio.sleep(self._policy.poll_s)

    def look(self) -> None:
        """Begin what is due."""
        for alias in self._account.contracts.aliases:
            for due in self._account.contracts.due(alias):
                for strategy_id in self._account.contracts.strategies(alias):
                    self._treat(strategy_id, due)

    def abandon(self, strategy_id: StrategyId, symbol: str) -> None:
        """Somebody wants to be flat: what is closed is not opened again. Empty: of all strategies, in all symbols."""
        for roll in list(self._rolls.values()):
            is_meant = strategy_id in ("", roll.strategy_id) and symbol in ("", roll.old_symbol, roll.new_symbol)
            if is_meant and roll.reopens and not roll.is_done:
                self._keep(roll._replace(reopens=False))
                self._account.log.warning("roll_abandoned", strategy_id=roll.strategy_id, alias=roll.alias)

    def stop(self) -> None:
        """Leave what is undone to the next process."""
        for task in self._tasks.values():
            task.cancel()

    def _treat(self, strategy_id: StrategyId, due: DueRoll) -> None:
        account, pair = self._account, (strategy_id, due.old.symbol)
        roll = self._rolls.get((strategy_id, due.old.symbol, due.new.symbol))
        if roll is not None and not roll.is_done:
            return
        held = account.ledger.quantity(*pair)
        if not held and not (due.moves and account.table.open_orders(*pair)):
            return
        if not self._is_settled() or pair in self._gate.flattening or account.markets.ended(due.old.symbol):
            return
        if roll is not None and not due.moves:
            return
        roll = PositionRoll(
            roll_id=f"roll-{strategy_id}-{secrets.token_hex(ROLL_ID_RANDOM_BYTES)}",
            strategy_id=strategy_id,
            alias=due.alias,
            old_symbol=due.old.symbol,
            new_symbol=due.new.symbol,
            reopens=due.policy.position == "roll",
            is_done=not due.moves,
        )
        if not self._keep(roll):
            return
        if due.moves:
            self._gate.flattening.add(pair)
            account.log.info("position_roll_begun", **_fields(roll), position=held)
            self._begin(roll)
        else:
            account.log.info("position_kept", **_fields(roll), position=held)
            text = f"{strategy_id} keeps {held} {roll.old_symbol}; {roll.alias} goes over to {roll.new_symbol}"
            account.context.alert("position_kept", Severity.INFO, text, strategy_id=strategy_id)

    def _begin(self, roll: PositionRoll) -> None:
        name = f"roll of {roll.strategy_id}"
        self._tasks[roll.roll_id] = self._account.context.spawn(self._carry_out(roll.roll_id, roll), name=name)

    async def _carry_out(self, roll_id: str, begun: PositionRoll) -> None:
        pair = (begun.strategy_id, begun.old_symbol)
        alarm = asyncio.create_task(self._alert_when_late(begun))
        try:
            while True:
                await until(lambda: self._may_act(begun), poll_s=self._policy.poll_s)
                if not await self._cancel_others(pair, roll_id):
                    continue
                roll = self._present(begun)
                step = self._step(roll)
                if step.act is Act.DONE:
                    break
                if step.act is Act.GIVE_UP:
                    self._tell_incomplete(roll, "its orders fail; move the position by hand")
                    return
                if step.act is Act.SEND:
                    await asyncio.sleep(self._pause_s(step.number))
                    # What was true before the pause may not be so any more.
                    if self._may_act(roll) and self._step(self._present(begun)) == step:
                        self._send(roll, step)
                await asyncio.sleep(self._policy.poll_s)
            if self._keep(roll._replace(is_done=True)):
                self._tell_done(roll)
        finally:
            alarm.cancel()
            self._tasks.pop(roll_id, None)
            self._gate.flattening.discard(pair)

    def _present(self, roll: PositionRoll) -> PositionRoll:
        """The roll as it stands; what must not be opened any more is not."""
        account = self._account
        roll = self._rolls[roll.strategy_id, roll.old_symbol, roll.new_symbol]
        is_flat_time = account.markets.flat_time(roll.strategy_id, roll.old_symbol) is not None
        if roll.reopens and (is_flat_time or account.trading_state is TradingState.REDUCING):
            self.abandon(roll.strategy_id, roll.old_symbol)
            roll = roll._replace(reopens=False)
        return roll

    def _step(self, roll: PositionRoll) -> RollStep:
        closing, opening = self._orders(roll, LegKind.CLOSE), self._orders(roll, LegKind.OPEN)
        held = self._account.ledger.quantity(roll.strategy_id, roll.old_symbol)
        return next_step(held, _legs(closing), _legs(opening), reopens=roll.reopens)

    def _pause_s(self, number: int) -> float:
        """Before the first order of a leg there is none."""
        doublings = number - 2
        return 0.0 if doublings < 0 else min(self._policy.retry_s * 2**doublings, self._policy.retry_max_s)

    def _send(self, roll: PositionRoll, step: RollStep) -> None:
        symbol = roll.old_symbol if step.leg is LegKind.CLOSE else roll.new_symbol
        instrument = self._account.contracts.instrument(symbol)
        if not self._account.markets.is_trading(symbol) or instrument is None:
            return
        self._gate.submit_exit(
            SubmitOrder(
                client_order_id=ClientOrderId(order_id(roll.roll_id, step.leg, step.number)),
                strategy_id=roll.strategy_id,
                fencing_epoch=self._gate.epochs.get(roll.strategy_id, 0),
                symbol=symbol,
                exchange=instrument.exchange,
                side=Side.BUY if step.quantity > 0 else Side.SELL,
                order_type=OrderType.MARKET,
                quantity=abs(step.quantity),
            )
        )

    def _orders(self, roll: PositionRoll, leg: LegKind) -> list[Order]:
        found: list[Order] = []
        for number in count(1):
            order = self._account.find(ClientOrderId(order_id(roll.roll_id, leg, number)))
            if order is None:
                return found
            found.append(order)
        return found

    async def _cancel_others(self, pair: _Pair, roll_id: str) -> bool:
        """Entries, and what protected the position: it moves. Whether all of it is gone."""

        def others() -> list[Order]:
            working = self._account.table.open_orders(*pair)
            return [order for order in working if not order.client_order_id.startswith(roll_id)]

        for order in others():
            self._sender.request_cancel(order)
        await until(lambda: not others(), poll_s=self._policy.poll_s, timeout_s=self._policy.cancels_s)
        return not others() and self._is_settled()

    def _may_act(self, roll: PositionRoll) -> bool:
        account = self._account
        if not self._is_settled() or account.trading_state is TradingState.HALTED or account.journal.failed:
            return False
        pairs = {(roll.strategy_id, roll.old_symbol), (roll.strategy_id, roll.new_symbol)}
        if any((order.strategy_id, order.symbol) in pairs for order in account.table.missing_fills()):
            return False
        # A contract that has ended holds nothing any more; what was closed before may still have to be opened.
        old = roll.new_symbol if account.markets.ended(roll.old_symbol) else roll.old_symbol
        return account.markets.is_trading(old)

    def _is_settled(self) -> bool:
        return self._account.connected and not self._account.reconciling and self._sender.link.session is not None

    def _keep(self, roll: PositionRoll) -> bool:
        """Journal how a roll stands; False when that failed, and then nothing may be sent."""
        try:
            self._account.journal.write_roll(roll, self._account.context.clock.now_ns())
        except JournalWriteError as error:
            self._account.journal_failed(error)
            return False
        self._rolls[roll.strategy_id, roll.old_symbol, roll.new_symbol] = roll
        return True

    def _tell_done(self, roll: PositionRoll) -> None:
        account = self._account
        now = account.ledger.quantity(roll.strategy_id, roll.new_symbol)
        account.log.info("position_rolled", **_fields(roll), reopened=roll.reopens, position=now)
        what = f"its position in {roll.new_symbol} is {now}" if roll.reopens else "it was closed"
        text = f"{roll.strategy_id} has left {roll.old_symbol}: {what}"
        account.context.alert("position_rolled", Severity.INFO, text, strategy_id=roll.strategy_id)

    async def _alert_when_late(self, roll: PositionRoll) -> None:
        late_s = 0.0
        while late_s < self._policy.alert_s:
            await asyncio.sleep(self._policy.poll_s)
            late_s += self._policy.poll_s if self._account.markets.is_trading(roll.old_symbol) else 0.0
        self._tell_incomplete(roll, f"not done after {self._policy.alert_s:g} s; it goes on")

    def _tell_incomplete(self, roll: PositionRoll, problem: str) -> None:
        text = f"{roll.strategy_id}: roll from {roll.old_symbol} to {roll.new_symbol}: {problem}"
        self._account.log.error("roll_incomplete", **_fields(roll), problem=problem)
        self._account.context.alert("roll_incomplete", Severity.CRITICAL, text, strategy_id=roll.strategy_id)


def _legs(orders: list[Order]) -> list[LegOrder]:
    return [
        LegOrder(order.filled_quantity if order.side is Side.BUY else -order.filled_quantity, order.is_final)
        for order in orders
    ]


def _fields(roll: PositionRoll) -> dict[str, str]:
    return {"strategy_id": roll.strategy_id, "alias": roll.alias, "old": roll.old_symbol, "new": roll.new_symbol}
