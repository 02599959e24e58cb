"""Flatten: cancel first, then one closing order per strategy and symbol, never a second one while one is open."""

import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from actors.plants.order_waiting import until
from nightdesk.messages import (
    ClientOrderId,
    CommandResult,
    Denial,
    OperatorFlatten,
    OrderDenied,
    OrderType,
    Severity,
    Side,
    StrategyId,
    SubmitOrder,
)
from nightdesk.trading.order import Order, Purpose

EXIT_ID_RANDOM_BYTES = 6


class FlattenPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a flatten waits before it closes what it sees."""

    cancels_s: float = 5.0
    reconciled_s: float = 10.0
    poll_s: float = 0.02


class FlattenResult(NamedTuple):
    """What a flatten came to."""

    closed: int
    """Closing orders sent."""
    problems: list[str]
    shut: list[str]
    """What is held in markets that do not trade now."""

    @property
    def text(self) -> str:
        """All of it, for people."""
        return "; ".join([f"{self.closed} closing orders sent", *self.problems, *self.shut])

    @property
    def is_whole(self) -> bool:
        """Whether nothing stood against it."""
        return not self.problems and not self.shut


class Flattener:
    """One task per request; a strategy and symbol is closed by one of them at a time."""

    def __init__(self, account: Account, gate: Gate, sender: Sender, policy: FlattenPolicy) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._policy = policy
        self.on_flatten: Callable[[StrategyId, str], None] = lambda strategy_id, symbol: None
        """Told of each flatten before it begins: whoever moves positions opens none again."""

    def begin_operator(self, command: OperatorFlatten) -> None:
        """Close every position of the account, or of one strategy; orders of others on the account are left alone."""

        async def flatten() -> None:
            result = await self._flatten(command.strategy_id, "")
            self._account.context.tell(
                command.reply_to,
                CommandResult(request_id=command.request_id, ok=result.is_whole, text=result.text),
            )

        self._account.context.spawn(flatten(), name="flatten by the operator")

    def begin_strategy(self, strategy_id: StrategyId, symbol: str) -> None:
        """Close a strategy's position in one symbol, or (empty) in all."""

        async def flatten() -> None:
            result = await self._flatten(strategy_id, symbol)
            if result.problems:
                self._account.context.alert("flatten_incomplete", Severity.ERROR, result.text, strategy_id=strategy_id)
            if not result.is_whole:
                self._account.publish(self._incomplete(strategy_id, symbol, result))

        self._account.context.spawn(flatten(), name=f"flatten {strategy_id}")

    async def flatten_all(self, strategy_id: StrategyId, symbol: str = "") -> str:
        """Close what a strategy (or, empty, the account) holds; what stood against it, empty for nothing."""
        result = await self._flatten(strategy_id, symbol)
        return "" if result.is_whole else result.text

    def is_flat(self, strategy_id: StrategyId, symbol: str = "") -> bool:
        """Whether nothing is held and nothing works any more."""
        return not any(
            self._open([pair]) or self._account.ledger.quantity(*pair) for pair in self.pairs(strategy_id, symbol)
        )

    def can_close(self, strategy_id: StrategyId) -> bool:
        """Whether something of what is held or works is in a market that trades, or nothing is."""
        pairs = self.pairs(strategy_id, "")
        return not pairs or any(self._account.markets.is_trading(symbol) for _, symbol in pairs)

    async def _flatten(self, strategy_id: StrategyId, symbol: str) -> FlattenResult:
        self.on_flatten(strategy_id, symbol)
        account, flattening = self._account, self._gate.flattening
        pairs = self.pairs(strategy_id, symbol)
        busy = [pair for pair in pairs if pair in flattening]
        pairs = [pair for pair in pairs if pair not in flattening]
        flattening.update(pairs)
        try:
            account.log.warning("flatten_started", strategy_id=strategy_id, symbol=symbol, pairs=len(pairs))
            for order in self._leaving(pairs):
                if order.purpose is not Purpose.EXIT:
                    self._sender.request_cancel(order)
            # A flatten that waits for ever closes nothing.
            poll_s = self._policy.poll_s
            await until(lambda: not account.reconciling, poll_s=poll_s, timeout_s=self._policy.reconciled_s)
            await until(lambda: not self._leaving(pairs), poll_s=poll_s, timeout_s=self._policy.cancels_s)
            problems = [f"{owner} {name}: another flatten is at work" for owner, name in busy]
            shut = []
            closed = 0
            for pair in pairs:
                left = sum(order.purpose is not Purpose.EXIT for order in self._leaving([pair]))
                if left:
                    problems.append(f"{pair[0]} {pair[1]}: {left} orders are not known to be canceled")
                if account.ledger.quantity(*pair) and not account.markets.is_trading(pair[1]):
                    begins = account.markets.trading_begins(pair[1])
                    text = f"{pair[0]} {pair[1]}: the market does not trade before {begins}; flatten again then"
                    shut.append(text)
                    continue
                problem = self._close(*pair)
                closed += problem == ""
                if problem:
                    problems.append(problem)
        finally:
            flattening.difference_update(pairs)
        account.log.warning("flatten_done", strategy_id=strategy_id, closed=closed, problems=[*problems, *shut])
        return FlattenResult(closed, problems, shut)

    def pairs(self, strategy_id: StrategyId, symbol: str) -> list[tuple[StrategyId, str]]:
        """What holds a position or may come to hold one."""
        account = self._account
        working = {
            (order.strategy_id, order.symbol)
            for order in account.table.open_orders()
            if order.purpose is not Purpose.EXTERNAL
        }
        held = {pair for pair in account.ledger.pairs() if account.ledger.quantity(*pair)}
        return sorted(pair for pair in working | held if strategy_id in ("", pair[0]) and symbol in ("", pair[1]))

    def _open(self, pairs: list[tuple[StrategyId, str]]) -> list[Order]:
        return [
            order
            for order in self._account.table.open_orders()
            if (order.strategy_id, order.symbol) in pairs and order.purpose is not Purpose.EXTERNAL
        ]

    def _leaving(self, pairs: list[tuple[StrategyId, str]]) -> list[Order]:
        """What is to end before the closing orders: all but the protection of what cannot be closed now."""
        account = self._account

        def stays(order: Order) -> bool:
            held = account.ledger.quantity(order.strategy_id, order.symbol)
            return order.protective and bool(held) and not account.markets.is_trading(order.symbol)

        return [order for order in self._open(pairs) if not stays(order)]

    def _close(self, strategy_id: StrategyId, symbol: str) -> str | None:
        """Send the closing order: empty text when sent, None when there is nothing to close, else why not."""
        account = self._account
        exits = [order for order in self._open([(strategy_id, symbol)]) if order.purpose is Purpose.EXIT]
        if exits:
            return f"{strategy_id} {symbol}: closing order {exits[0].client_order_id} is {exits[0].status.value}"
        quantity = account.ledger.quantity(strategy_id, symbol)
        if not quantity:
            return None
        if any((order.strategy_id, order.symbol) == (strategy_id, symbol) for order in account.table.missing_fills()):
            return f"{strategy_id} {symbol}: executions are missing, the position is not certain"
        sent = self._gate.submit_exit(
            SubmitOrder(
                client_order_id=ClientOrderId(f"exit-{strategy_id}-{secrets.token_hex(EXIT_ID_RANDOM_BYTES)}"),
                strategy_id=strategy_id,
                fencing_epoch=self._gate.epochs.get(strategy_id, 0),
                symbol=symbol,
                exchange=account.ledger.report(strategy_id, symbol).exchange,
                side=Side.SELL if quantity > 0 else Side.BUY,
                order_type=OrderType.MARKET,
                quantity=abs(quantity),
            )
        )
        return "" if sent else f"{strategy_id} {symbol}: the closing order could not be sent"

    def _incomplete(self, strategy_id: StrategyId, symbol: str, result: FlattenResult) -> OrderDenied:
        account = self._account
        code = Denial.ORDER_OPERATION_IN_FLIGHT
        if not result.problems:
            code = Denial.SESSION_CLOSED
        elif self._sender.link.session is None:
            code = Denial.STATE_DISCONNECTED
        elif account.journal.failed:
            code = Denial.STATE_JOURNAL_FAILED
        rules = account.tick_rules.get(symbol)
        return OrderDenied(
            client_order_id=ClientOrderId(""),
            strategy_id=strategy_id,
            symbol=symbol,
            exchange=rules.exchange if rules is not None else "",
            ts_event_ns=account.context.market_time.now_ns(),
            event_id=account.journal.next_event_id(),
            code=code,
            text=f"flatten: {result.text}",
        )
