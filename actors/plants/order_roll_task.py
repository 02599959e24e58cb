"""Carries out one roll: closes the former contract, then opens the next one.

The closing order goes out while the protective stop still rests, and the stop is canceled once the position is gone.
The other way round (cancel, then close) the position would have neither stop nor exit until the cancel is confirmed
and the exit has arrived; a lost link, a halt, a kill or a refusal in that time would leave it naked for as long as that
lasts. This way it has one or the other at every moment, and whatever interrupts, the stop stays. What can go wrong
instead is that the stop fills as well, in the moment between the fill of the closing order and the cancel's: the price
must reach the stop just then. The position is of the other side then; the next step closes it, and what the stop has
ended is not opened again. After a kill in that moment a stop rests without a position, and does harm only if the price
reaches it before the next order plant cancels it, which is the first thing it does.

Everything else at work in the former contract (entries, targets, stops that would not lower the position) is canceled
before: two orders that close, the stop being one of them, are the most that there is.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_gate import Gate
from actors.plants.order_roll_book import RollBook
from actors.plants.order_roll_reports import RollReports
from actors.plants.order_sender import Sender
from nightdesk.messages import ClientOrderId, Denial, OrderType, Side, StrategyId, SubmitOrder, TradingState
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.protection import STOP_TYPES, protects
from nightdesk.trading.roll_step import Act, LegKind, PositionRoll, RollState, RollStep, order_id
from nightdesk.trading.sessions import NS_PER_S

AGE_MAX_S = 4 * 86_400.0
"""Market time. The longest weekend is shorter; what is older is a decision of another market."""

CLOSE_MARGIN_S = 5.0
"""Market time before the end of trading in which nothing is closed that is to be opened again: the second leg would
wait for the opening."""
CLOSE_MARGIN_MACHINE_S = 0.2
"""The same in seconds of this machine, where market time is faster."""

PASSING = frozenset(
    {
        Denial.SESSION_CLOSED,
        Denial.STATE_DISCONNECTED,
        Denial.STATE_RECONCILING,
        Denial.STATE_JOURNAL_FAILED,
        Denial.STATE_HALTED,
        Denial.RISK_MAX_OPEN_ORDERS,
        Denial.RISK_ORDER_RATE,
        Denial.RISK_CANCEL_RATE,
        Denial.RISK_PRICE_COLLAR,
        Denial.RISK_DUPLICATE_ORDER,
        Denial.RISK_SELF_TRADE,
        Denial.STATE_DATA_STALE,
        Denial.STATE_POSITION_STALE,
        Denial.STATE_CLOCK,
    }
)
"""Refusals of the second leg that are waited out; after any other the strategy stays flat."""


class RollPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds of this machine."""

    poll_s: float = 0.05
    cancels_s: float = 5.0
    """How long canceled orders are waited for before they are canceled again; the closing order waits once."""
    rests_s: float = 10.0
    """A leg's order that has not ended after so long is canceled; what it lacks is in the next one."""
    retry_s: float = 0.5
    """After an order of a leg that did not fill; doubled with each further one."""
    retry_max_s: float = 30.0
    alert_s: float = 30.0
    """A roll that takes longer while the market trades is told to the operator, once."""
    owner_s: float = 10.0
    """How long a strategy whose process is away may take to be back."""
    own_orders_s: float = 5.0
    """How long orders of other strategies of the alias, which a leg could trade with, are waited for."""
    protection_s: float = 5.0
    """How long a strategy may take to protect what was opened in the next contract, where it had protection before."""


class Owners(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the strategies' processes."""

    is_parked: Callable[[StrategyId], bool]
    is_connected: Callable[[StrategyId], bool]


class RollTask:
    """One roll under way; the gate denies its strategy all orders in the former contract while it acts."""

    def __init__(
        self,
        account: Account,
        gate: Gate,
        sender: Sender,
        book: RollBook,
        owners: Owners,
        policy: RollPolicy,
        roll: PositionRoll,
    ) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._book = book
        self._owners = owners
        self._policy = policy
        self._roll = roll
        self._reports = RollReports(account, book)
        self._claimed: tuple[StrategyId, str] | None = None
        self._slept_s = 0.0
        self._trading_s = 0.0
        self._since: dict[object, float] = {}

    async def run(self) -> None:
        """Until the roll is over."""
        try:
            while not self._turn(self._present()):
                await asyncio.sleep(self._policy.poll_s)
                self._note_time()
        finally:
            self.release()
        await self._watch_protection(self._present())

    def release(self) -> None:
        """Let others act in the former contract."""
        if self._claimed is not None:
            self._gate.flattening.discard(self._claimed)
            self._claimed = None

    def _turn(self, roll: PositionRoll) -> bool:
        """One look; whether the roll is over."""
        step = self._book.step(roll)
        obstacle = self._obstacle(roll, step) or self._claim(roll)
        if obstacle:
            self.release()
            self._reports.unprotected(roll, obstacle)
            return False
        if step.act is Act.WAIT:
            self._cancel_resting(roll)
            return False
        stale = self._stale(roll)
        if stale:
            return self._abandon(roll, stale)
        if step.act is Act.GIVE_UP:
            return self._give_up(roll)
        if step.act is Act.SEND and not self._has_owner(roll):
            return False
        if step.act is Act.SEND and step.leg is LegKind.CLOSE:
            self._close(roll, step)
            return False
        if self._cancel(self._others(roll)):
            return False
        if step.act is Act.DONE:
            return self._finish(roll)
        self._open(roll, step)
        return False

    def _present(self) -> PositionRoll:
        """The roll as it stands; what must not be opened any more is not."""
        account, roll = self._account, self._book.present(self._roll)
        is_flat_time = account.risk.flat_time(roll.strategy_id, roll.old_symbol) is not None
        if roll.reopens and not roll.is_done and (is_flat_time or account.trading_state is TradingState.REDUCING):
            self._book.forsake(roll, self._sender)
        return self._book.present(roll)

    # What stands against the next step.

    def _obstacle(self, roll: PositionRoll, step: RollStep) -> str:
        """Why nothing may be done now, for people; it passes by itself, or with a person."""
        account = self._account
        if account.is_ending:
            return "the order plant is ending"
        if self._sender.link.session is None or not all(
            account.is_settled(symbol, roll.strategy_id) for symbol in (roll.old_symbol, roll.new_symbol)
        ):
            return "what is held and at work is not certain"
        if account.trading_state is TradingState.HALTED:
            return "trading is HALTED"
        if account.journal.failed:
            return "the journal cannot be written"
        if step.act is Act.SEND and step.leg is LegKind.OPEN:
            shut = "" if account.markets.is_trading(roll.new_symbol) else f"{roll.new_symbol} does not trade now"
            return shut or self._barred(roll)
        if step.act is Act.SEND:
            return self._close_obstacle(roll)
        # Cancels need a market; without an order there is nothing that would need one.
        if step.act is Act.DONE and self._others(roll) and not account.markets.may_exit(roll.old_symbol):
            return f"{roll.old_symbol} does not trade now"
        return ""

    def _close_obstacle(self, roll: PositionRoll) -> str:
        markets, symbol = self._account.markets, roll.old_symbol
        if any(order.purpose is Purpose.EXIT for order in self._others(roll)):
            return f"another closing order is at work in {symbol}"
        if not roll.reopens:
            return "" if markets.may_exit(symbol) else f"{symbol} does not trade now"
        if not markets.is_trading(symbol):
            return f"{symbol} does not trade now"
        ends_ns, stops_ns = self._account.contracts.last_trade_ns(symbol), markets.next_event_ns(symbol)
        margin_s = max(CLOSE_MARGIN_S, CLOSE_MARGIN_MACHINE_S * markets.time.speed)
        margin_s = min(margin_s, self._account.contracts.lead_s(roll.alias) / 2)
        is_late = 0 < stops_ns < markets.time.now_ns() + margin_s * NS_PER_S
        if ends_ns is not None and ends_ns <= stops_ns:
            # There is no later occasion at the end of a contract.
            return ""
        return f"{symbol} trades for less than {margin_s:g} s" if is_late else self._barred(roll)

    def _barred(self, roll: PositionRoll) -> str:
        """Why the strategy's own rules let nothing be opened now. What it holds is its decision of before: it is moved
        once they do, and not closed for the sake of a time of the day."""
        return self._account.markets.no_trade(roll.strategy_id, roll.new_symbol)

    def _claim(self, roll: PositionRoll) -> str:
        pair = (roll.strategy_id, roll.old_symbol)
        if self._claimed is None:
            if pair in self._gate.flattening:
                return "a flatten is at work"
            self._gate.flattening.add(pair)
            self._claimed = pair
        return ""

    def _stale(self, roll: PositionRoll) -> str:
        """Why a roll of a former time is none of the present, for people."""
        account = self._account
        if roll.strategy_id not in account.contracts.strategies(roll.alias):
            return f"no strategy {roll.strategy_id} with {roll.alias} is configured"
        time = account.markets.time
        age_s = (time.now_ns() - roll.begun_ns) / NS_PER_S
        return f"it began {age_s / 86_400:.1f} days ago" if time.is_known and age_s > AGE_MAX_S else ""

    def _has_owner(self, roll: PositionRoll) -> bool:
        """Whether to go on: a position is opened for a strategy only that can look after it."""
        strategy_id = roll.strategy_id
        reason = ""
        if strategy_id in self._account.pauses:
            reason = "is paused"
        elif self._owners.is_parked(strategy_id):
            reason = "is parked"
        elif not self._owners.is_connected(strategy_id):
            reason = "is not connected"
        if not reason or not roll.reopens:
            self._since.pop("away", None)
            return True
        if reason == "is not connected" and self._passed_s("away") < self._policy.owner_s:
            return False
        self._forsake(roll, f"strategy {strategy_id} {reason}")
        return False

    # The steps.

    def _close(self, roll: PositionRoll, step: RollStep) -> None:
        others = [order for order in self._others(roll) if not protects(order, -step.quantity)]
        if self._cancel(others) and self._passed_s("cancels") < self._policy.cancels_s:
            return
        side = Side.BUY if step.quantity > 0 else Side.SELL
        if self._is_early(step) or self._would_meet_own(roll, roll.old_symbol, side):
            return
        self._gate.submit_exit(self._order(roll, roll.old_symbol, step, abs(step.quantity)))

    def _open(self, roll: PositionRoll, step: RollStep) -> None:
        side = Side.BUY if step.quantity > 0 else Side.SELL
        if self._is_early(step) or self._would_meet_own(roll, roll.new_symbol, side):
            return
        quantity = min(abs(step.quantity), self._account.risk.max_order_quantity(roll.strategy_id, roll.new_symbol))
        command = self._order(roll, roll.new_symbol, step, quantity)
        with self._book.judging(roll):
            refusal = self._gate.opening_refusal(command)
        if refusal is None:
            self._gate.submit_exit(command, Purpose.ROLL)
        elif refusal.code not in PASSING:
            self._forsake(roll, f"{refusal.code}: {refusal.text}")

    def _order(self, roll: PositionRoll, symbol: str, step: RollStep, quantity: int) -> SubmitOrder:
        instrument = self._account.contracts.instrument(symbol)
        exchange = instrument.exchange if instrument is not None else ""
        return SubmitOrder(
            client_order_id=ClientOrderId(order_id(roll.roll_id, step.leg, step.number)),
            strategy_id=roll.strategy_id,
            fencing_epoch=self._gate.epochs.get(roll.strategy_id, 0),
            symbol=symbol,
            exchange=exchange or self._account.ledger.report(roll.strategy_id, symbol).exchange,
            side=Side.BUY if step.quantity > 0 else Side.SELL,
            order_type=OrderType.MARKET,
            quantity=quantity,
        )

    def _finish(self, roll: PositionRoll) -> bool:
        if not self._book.keep(roll._replace(state=RollState.DONE)):
            return False
        self._reports.done(roll)
        return True

    def _give_up(self, roll: PositionRoll) -> bool:
        if not self._book.keep(roll._replace(state=RollState.GAVE_UP)):
            return False
        self._reports.incomplete(roll, "its orders fail; move the rest by hand")
        self._reports.unprotected(roll, "its orders fail")
        return True

    def _abandon(self, roll: PositionRoll, reason: str) -> bool:
        """Nothing is sent in the name of a roll that is none any more."""
        if not self._book.keep(roll._replace(state=RollState.ABANDONED, reopens=False)):
            return False
        self._reports.not_reopened(roll, reason)
        return True

    def _forsake(self, roll: PositionRoll, reason: str) -> None:
        self._book.forsake(roll, self._sender)
        self._reports.not_reopened(roll, reason)

    # Orders at work.

    def _others(self, roll: PositionRoll) -> list[Order]:
        """What works in the former contract and is no order of the roll; in one that has ended nothing does."""
        if self._account.markets.ended(roll.old_symbol):
            return []
        working = self._account.table.open_orders(roll.strategy_id, roll.old_symbol)
        return [order for order in working if not order.client_order_id.startswith(roll.roll_id)]

    def _cancel(self, orders: Iterable[Order]) -> bool:
        """Cancel what is not canceled yet, again after a while; whether anything of it is still at work."""
        found = list(orders)
        for order in found:
            asked = ("cancel", order.client_order_id)
            if asked not in self._since or self._passed_s(asked) >= self._policy.cancels_s:
                self._since[asked] = self._slept_s
                self._sender.request_cancel(order)
        if not found:
            self._since.pop("cancels", None)
        return bool(found)

    def _cancel_resting(self, roll: PositionRoll) -> None:
        for order in (each for leg in self._book.orders(roll) for each in leg):
            if not order.is_final and self._passed_s(("rests", order.client_order_id)) >= self._policy.rests_s:
                self._cancel([order])

    def _would_meet_own(self, roll: PositionRoll, symbol: str, side: Side) -> bool:
        """Whether the account could trade with itself: strategies of an alias leave a contract at the same moment."""
        others = set(self._account.contracts.strategies(roll.alias)) - {roll.strategy_id}
        meets = any(
            order.strategy_id in others and order.side is not side and order.present_type() not in STOP_TYPES
            for order in self._account.table.open_orders(symbol=symbol)
        )
        if not meets:
            self._since.pop(("own", symbol), None)
        return meets and self._passed_s(("own", symbol)) < self._policy.own_orders_s

    def _is_early(self, step: RollStep) -> bool:
        """Before the first order of a leg there is no pause."""
        if not step.failed:
            return False
        pause_s = min(self._policy.retry_s * 2.0 ** (step.failed - 1), self._policy.retry_max_s)
        return self._passed_s(("retry", step.leg, step.number)) < pause_s

    # Time, in seconds that this task has slept.

    def _passed_s(self, what: object) -> float:
        """How long something has been so; 0 for the first time."""
        return self._slept_s - self._since.setdefault(what, self._slept_s)

    def _note_time(self) -> None:
        self._slept_s += self._policy.poll_s
        if self._account.markets.is_trading(self._roll.old_symbol) and not self._barred(self._roll):
            self._trading_s += self._policy.poll_s
        if self._trading_s >= self._policy.alert_s:
            self._reports.late(self._book.present(self._roll), self._policy.alert_s)

    async def _watch_protection(self, roll: PositionRoll) -> None:
        """What had a stop in the former contract is to have one in the next: the strategy's to put, in a moment."""
        if roll.was_protected and roll.reopens and roll.state is RollState.DONE:
            await asyncio.sleep(self._policy.protection_s)
            self._reports.unprotected_next(roll)
