"""Flatten: cancel first, then one closing order per strategy and symbol, never a second one while one is open.

Protection is canceled before the closing order only where that can follow at once: while the market trades and will do
so for ``late_s`` more, the link stands, the journal can be written, what is held is certain, and no closing order is at
work. Otherwise, and where its cancel does not come back, the closing order goes out beside it; once that has filled the
protection is taken back (``order_exits.py``).
"""

import asyncio
import math
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_denials import request_denied
from actors.plants.order_externals import NEVER_TOUCHED
from actors.plants.order_flatten_notes import FlattenNotes, keep_on
from actors.plants.order_flatten_notes import Pair as Pair
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from actors.plants.order_waiting import until
from nightdesk.messages import (
    ClientOrderId,
    CommandResult,
    Denial,
    OperatorFlatten,
    OrderDenied,
    OrderStatus,
    OrderType,
    Severity,
    Side,
    StrategyId,
    SubmitOrder,
    TradingState,
)
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.sessions import NS_PER_S

EXIT_ID_PREFIX = "exit-"
EXIT_ID_RANDOM_BYTES = 6
LATE_SHARE = 0.25
"""Where it is late, cancels are waited for during this part of the time that the market still trades."""
LATE_WAIT_MIN_S = 0.5

_UNANSWERED = frozenset({OrderStatus.INITIALIZED, OrderStatus.SUBMITTED})


class FlattenPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a flatten waits before it closes what it sees; in seconds of this machine, ``late_s`` of the market."""

    cancels_s: float = 5.0
    reconciled_s: float = 10.0
    answers_s: float = 2.0
    """What the exchange has to refuse a closing order that was forced, before the operator is answered."""
    poll_s: float = 0.02
    late_s: float = 20.0
    """With less of trading left the closing order goes out beside the protection of the position."""
    late_min_s: float = 0.2
    """The same by this machine's time, for markets that run faster than it."""


class FlattenResult(NamedTuple):
    """What a flatten came to."""

    closed: int
    """Closing orders sent."""
    problems: list[str]
    shut: list[str]
    """What is held in markets that do not trade now."""
    ended: list[str]
    """What is held in contracts that are not traded any more."""

    @property
    def text(self) -> str:
        """All of it, for people."""
        return "; ".join([f"{self.closed} closing orders sent", *self.problems, *self.shut, *self.ended])

    @property
    def is_whole(self) -> bool:
        """Whether nothing stood against it."""
        return not (self.problems or self.shut or self.ended)


class Flattener:
    """One task per request; a strategy and symbol is closed by one of them at a time."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, policy: FlattenPolicy) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._policy = policy
        self.notes = FlattenNotes(account)
        self.on_flatten: Callable[[StrategyId, str], None] = lambda strategy_id, symbol: None
        """Told of each flatten before it begins: whoever moves positions opens none again."""
        self.on_exit: Callable[[Order], None] = lambda order: None
        """Told of each closing order that was sent."""

    def begin_operator(self, command: OperatorFlatten) -> None:
        """Close every position of the account, or of one strategy; orders of others only where they are asked for."""

        async def flatten() -> None:
            before = {order.client_order_id for order in self._account.table}
            pairs = self._all_pairs(command.strategy_id, "")
            self.notes.begun(pairs)
            foreign = await self._cancel_externals(command)
            result = await self._flatten(command.strategy_id, "", force=command.force, is_operators=True)
            if command.force:
                result.problems.extend(await self._refusals_since(before))
            result.problems.extend(foreign)
            left = self._keep_on(pairs, result)
            is_halted = self._account.trading_state is TradingState.HALTED
            text = f"{result.text}{self._left_alone()}" + ("; trading stays HALTED" if is_halted else "")
            self._account.context.tell(
                command.reply_to,
                CommandResult(request_id=command.request_id, ok=result.is_whole, text=text),
            )
            await self.notes.end(pair for pair in pairs if pair not in left)

        self._account.context.spawn(flatten(), name="flatten by the operator")

    async def _cancel_externals(self, command: OperatorFlatten) -> list[str]:
        """Orders of others first, where they are meant, so that none of them opens what was closed; what is left."""
        account, policy = self._account, self._policy
        if not command.externals:
            return []
        if not account.externals.may_be_touched:
            return [NEVER_TOUCHED]
        for order in account.table.open_orders(EXTERNAL_STRATEGY):
            self._sender.request_cancel(order)
        await until(
            lambda: not account.table.open_orders(EXTERNAL_STRATEGY), poll_s=policy.poll_s, timeout_s=policy.cancels_s
        )
        left = len(account.table.open_orders(EXTERNAL_STRATEGY))
        return [f"{left} orders of others are not known to be canceled"] if left else []

    def _left_alone(self) -> str:
        account = self._account
        held = [
            f"{account.ledger.quantity(owner, symbol)} {symbol}"
            for owner, symbol in account.ledger.pairs()
            if owner == EXTERNAL_STRATEGY and account.ledger.quantity(owner, symbol)
        ]
        if account.externals.may_be_touched or not held:
            return ""
        return f"; positions of others are left alone (external_orders: report): {', '.join(held)}"

    async def _refusals_since(self, before: set[ClientOrderId]) -> list[str]:
        """What the exchange refuses at once of the closing orders that were sent: whoever forces them is told."""
        sent = [
            order
            for order in self._account.table
            if order.purpose is Purpose.EXIT and order.client_order_id not in before
        ]
        policy = self._policy
        await until(
            lambda: not any(order.status in _UNANSWERED for order in sent),
            poll_s=policy.poll_s,
            timeout_s=policy.answers_s,
        )
        refused = [order for order in sent if order.status is OrderStatus.REJECTED]
        return [f"{order.strategy_id} {order.symbol}: refused: {order.text}" for order in refused]

    def begin_strategy(self, strategy_id: StrategyId, symbol: str) -> None:
        """Close a strategy's position in one symbol, or (empty) in all."""

        async def flatten() -> None:
            pairs = self._all_pairs(strategy_id, symbol)
            self.notes.begun(pairs)
            result = await self._flatten(strategy_id, symbol)
            left = self._keep_on(pairs, result)
            if result.problems:
                self._account.context.alert("flatten_incomplete", Severity.ERROR, result.text, strategy_id=strategy_id)
            if not result.is_whole:
                self._account.publish(self._incomplete(strategy_id, symbol, result))
            await self.notes.end(pair for pair in pairs if pair not in left)

        self._account.context.spawn(flatten(), name=f"flatten {strategy_id}")

    def _keep_on(self, pairs: list[Pair], result: FlattenResult) -> list[Pair]:
        """What a lost link or a silent broker has broken off goes on when both are back; whoever asked is told."""
        left = [pair for pair in pairs if result.problems and self.is_broken_off(pair)]
        if left:
            result.problems.append("it goes on by itself once the broker has answered")
            keep_on(self._account, self, left)
        return left

    def is_broken_off(self, pair: Pair) -> bool:
        """Whether a position is held that nothing closes, because nothing is certain now."""
        account, is_closing = self._account, any(order.purpose is Purpose.EXIT for order in self._open(pair))
        if is_closing or pair in self._gate.flattening or account.is_settled(pair[1], pair[0]):
            return False
        return account.ledger.quantity(*pair) != 0

    async def flatten_all(self, strategy_id: StrategyId, symbol: str = "") -> str:
        """Close what a strategy (or, empty, the account) holds; what stood against it, empty for nothing."""
        result = await self._flatten(strategy_id, symbol)
        return "" if result.is_whole else result.text

    def is_flat(self, strategy_id: StrategyId, symbol: str = "") -> bool:
        """Whether nothing is held and nothing works any more; what a contract that has ended held does not count."""
        return not any(
            self._open(pair) or self._account.ledger.quantity(*pair) for pair in self.pairs(strategy_id, symbol)
        )

    def can_close(self, strategy_id: StrategyId) -> bool:
        """Whether something of what is held or works is in a market that trades, or nothing is."""
        pairs = self.pairs(strategy_id, "")
        return not pairs or any(self._account.markets.may_exit(symbol) for _, symbol in pairs)

    def pairs(self, strategy_id: StrategyId, symbol: str) -> list[Pair]:
        """What holds a position or may come to hold one, in contracts that have not ended."""
        return [pair for pair in self._all_pairs(strategy_id, symbol) if not self._is_over(pair[1])]

    def _ended(self, strategy_id: StrategyId, symbol: str) -> list[str]:
        """What is held in contracts that have ended, for people; that it is held is told by whoever reads the books."""
        account = self._account
        return [
            f"{owner} {name}: position {account.ledger.quantity(owner, name)} is held in a contract that ended "
            f"{account.markets.ended(name)}: the exchange settles it, no order does"
            for owner, name in self._all_pairs(strategy_id, symbol)
            if account.ledger.quantity(owner, name) and self._is_over(name)
        ]

    async def _flatten(
        self, strategy_id: StrategyId, symbol: str, *, force: bool = False, is_operators: bool = False
    ) -> FlattenResult:
        self.on_flatten(strategy_id, symbol)
        account, flattening = self._account, self._gate.flattening
        # Whoever forces it lets the exchange decide whether a contract has ended.
        pairs = self._all_pairs(strategy_id, symbol) if force else self.pairs(strategy_id, symbol)
        ended = [] if force else self._ended(strategy_id, symbol)
        busy = [pair for pair in pairs if pair in flattening]
        pairs = [pair for pair in pairs if pair not in flattening]
        flattening.update(pairs)
        try:
            account.log.warning("flatten_started", strategy_id=strategy_id, symbol=symbol, pairs=len(pairs))
            results = await asyncio.gather(
                *(self._flatten_pair(pair, force=force, is_operators=is_operators) for pair in pairs)
            )
        finally:
            flattening.difference_update(pairs)
        problems = [f"{owner} {name}: another flatten is at work" for owner, name in busy]
        problems += [problem for each in results for problem in each.problems]
        shut = [text for each in results for text in each.shut]
        closed = sum(each.closed for each in results)
        account.log.warning("flatten_done", strategy_id=strategy_id, closed=closed, problems=[*problems, *shut, *ended])
        return FlattenResult(closed, problems, shut, ended)

    async def _flatten_pair(self, pair: Pair, *, force: bool, is_operators: bool) -> FlattenResult:
        """One strategy and symbol, whatever becomes of others."""
        account, policy = self._account, self._policy
        asked: set[ClientOrderId] = set()

        def are_gone() -> bool:
            leaving = self._leaving(pair)
            for order in leaving:
                if order.purpose is not Purpose.EXIT and order.client_order_id not in asked:
                    asked.add(order.client_order_id)
                    self._sender.request_cancel(order)
            return not leaving

        def is_settled() -> bool:
            return account.is_settled(pair[1], pair[0])

        are_gone()
        longest_s = self._longest_s(pair[1], force=force)
        await until(is_settled, poll_s=policy.poll_s, timeout_s=min(policy.reconciled_s, longest_s))
        await until(are_gone, poll_s=policy.poll_s, timeout_s=min(policy.cancels_s, longest_s))
        problems = []
        left = sum(order.purpose is not Purpose.EXIT for order in self._leaving(pair))
        if left:
            problems.append(f"{pair[0]} {pair[1]}: {left} orders are not known to be canceled")
        if account.ledger.quantity(*pair) and not (force or account.markets.may_exit(pair[1])):
            begins = account.markets.trading_begins(pair[1])
            text = f"{pair[0]} {pair[1]}: the market does not trade before {begins}; flatten again then"
            return FlattenResult(0, problems, [text], [])
        if not is_operators and account.connected and not is_settled():
            # A silent broker: only the operator may send a closing order into what nobody knows.
            problem: str | None = f"{pair[0]} {pair[1]}: the position is not certain, the broker's answers are missing"
        else:
            problem = self._close(*pair)
        if problem:
            problems.append(problem)
        return FlattenResult(int(problem == ""), problems, [], [])

    def _is_over(self, symbol: str) -> bool:
        """Whether a contract is not traded any more: no order closes a position in it; its settlement does."""
        markets = self._account.markets
        return bool(markets.ended(symbol)) and not markets.contradicted(symbol)

    def _all_pairs(self, strategy_id: StrategyId, symbol: str) -> list[Pair]:
        account = self._account
        working = {(order.strategy_id, order.symbol) for order in self._working()}
        held = {pair for pair in account.ledger.pairs() if account.ledger.quantity(*pair)}
        if not account.externals.may_be_touched:
            held = {pair for pair in held if pair[0] != EXTERNAL_STRATEGY}
        return sorted(pair for pair in working | held if strategy_id in ("", pair[0]) and symbol in ("", pair[1]))

    def _working(self) -> list[Order]:
        """What works at the broker, also after its end by our books."""
        table = self._account.table
        return [order for order in (*table.open_orders(), *table.revived()) if order.purpose is not Purpose.EXTERNAL]

    def _open(self, pair: Pair) -> list[Order]:
        return [order for order in self._working() if (order.strategy_id, order.symbol) == pair]

    def _leaving(self, pair: Pair) -> list[Order]:
        """What is to end before the closing order: protection only where that can follow at once."""
        working = self._open(pair)
        if not self._account.ledger.quantity(*pair) or self._can_close_now(pair, working):
            return working
        return [order for order in working if not order.protective]

    def _can_close_now(self, pair: Pair, working: list[Order]) -> bool:
        account = self._account
        if account.journal.failed or not account.is_settled(pair[1], pair[0]):
            # Nothing is certain without a link either.
            return False
        return not self._is_late(pair[1]) and not any(order.purpose is Purpose.EXIT for order in working)

    def _left_s(self, symbol: str) -> float:
        """For how much longer the market trades, in seconds of this machine; 0 where the calendar says it does not."""
        markets = self._account.markets
        if not markets.is_trading(symbol):
            return 0.0
        stops_ns = markets.next_event_ns(symbol)
        return (stops_ns - markets.time.now_ns()) / NS_PER_S / self._speed() if stops_ns else math.inf

    def _is_late(self, symbol: str) -> bool:
        return self._left_s(symbol) < max(self._policy.late_s / self._speed(), self._policy.late_min_s)

    def _longest_s(self, symbol: str, *, force: bool) -> float:
        """A flatten that waits for ever closes nothing, and one that waits for the close neither."""
        if not self._is_late(symbol) or not (force or self._account.markets.may_exit(symbol)):
            return math.inf
        return max(self._left_s(symbol) * LATE_SHARE, LATE_WAIT_MIN_S)

    def _speed(self) -> float:
        return max(1.0, self._account.markets.time.speed)

    def _close(self, strategy_id: StrategyId, symbol: str) -> str | None:
        """Send the closing order: empty text when sent, None when there is nothing to close, else why not."""
        account = self._account
        exits = [order for order in self._open((strategy_id, symbol)) if order.purpose is Purpose.EXIT]
        if exits:
            return f"{strategy_id} {symbol}: closing order {exits[0].client_order_id} is {exits[0].status.value}"
        quantity = account.ledger.quantity(strategy_id, symbol)
        if not quantity:
            return None
        if any((order.strategy_id, order.symbol) == (strategy_id, symbol) for order in account.table.missing_fills()):
            return f"{strategy_id} {symbol}: executions are missing, the position is not certain"
        client_order_id = ClientOrderId(f"{EXIT_ID_PREFIX}{strategy_id}-{secrets.token_hex(EXIT_ID_RANDOM_BYTES)}")
        sent = self._gate.submit_exit(
            SubmitOrder(
                client_order_id=client_order_id,
                strategy_id=strategy_id,
                fencing_epoch=self._gate.epochs.get(strategy_id, 0),
                symbol=symbol,
                exchange=account.ledger.report(strategy_id, symbol).exchange,
                side=Side.SELL if quantity > 0 else Side.BUY,
                order_type=OrderType.MARKET,
                quantity=abs(quantity),
            )
        )
        order = account.table.get(client_order_id)
        if not sent or order is None:
            why = "the journal cannot be written" if account.journal.failed else "there is no link to the gateway"
            return f"{strategy_id} {symbol}: the closing order could not be sent: {why}"
        self.on_exit(order)
        return ""

    def _incomplete(self, strategy_id: StrategyId, symbol: str, result: FlattenResult) -> OrderDenied:
        account = self._account
        code = Denial.ORDER_OPERATION_IN_FLIGHT
        if not result.problems:
            code = Denial.SESSION_CLOSED if result.shut else Denial.INSTRUMENT_EXPIRED
        elif self._sender.link.session is None:
            code = Denial.STATE_DISCONNECTED
        elif account.journal.failed:
            code = Denial.STATE_JOURNAL_FAILED
        return request_denied(account, strategy_id, symbol, code, f"flatten: {result.text}")


def is_closing_order(order: Order) -> bool:
    """Whether it is the closing order of a flatten: the legs of a roll have their own keeper."""
    return order.purpose is Purpose.EXIT and order.client_order_id.startswith(EXIT_ID_PREFIX)
