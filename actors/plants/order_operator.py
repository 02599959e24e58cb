"""What the operator asks of the order plant: pauses, the trading state, cancels, and the answers to queries."""

import msgspec

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_externals import NEVER_TOUCHED, is_external
from actors.plants.order_flatten import Flattener
from actors.plants.order_lane import OrderLane
from actors.plants.order_sender import Sender
from actors.plants.state_audit import Author
from nightdesk.messages import (
    AccountStatus,
    ChildId,
    CommandResult,
    FillsReport,
    LimitReport,
    Message,
    OperatorCancelAll,
    OperatorFlatten,
    OrdersReport,
    OrderStatistics,
    OrderStatus,
    PauseStrategy,
    PositionsReport,
    QueryFills,
    QueryOrders,
    QueryPositions,
    QueryRisk,
    QueryStatus,
    ResetRisk,
    ResumeStrategy,
    RiskReport,
    SetTradingState,
    Severity,
    StrategyId,
    TradingState,
)

LIMITS_MAX = 2_000
LIST_MAX = 500
"""Rows of one answer: mailbox mail is for people, the journal has the rest."""

NOT_WRITTEN = "it holds until the order plant is restarted: the journal cannot be written"


class Operator:
    """Carries out commands from the mailbox; each is answered once."""

    def __init__(self, account: Account, sender: Sender, lane: OrderLane, flattener: Flattener) -> None:
        self._account = account
        self._sender = sender
        self._lane = lane
        self._flattener = flattener

    def receive(self, message: Message) -> bool:
        """Take one message; False when it is none of the operator's."""
        match message:
            case PauseStrategy():
                self._answer(message.reply_to, message.request_id, *self.pause(message.strategy_id, message.reason))
            case ResumeStrategy():
                self._answer(message.reply_to, message.request_id, *self.resume(message.strategy_id))
            case SetTradingState():
                author = Author(uid=message.uid, pid=message.pid)
                written = self._account.set_trading_state(message.trading_state, message.reason, author)
                text = f"trading is {message.trading_state.value}{self._still_reached(message.trading_state)}"
                self._answer(message.reply_to, message.request_id, written, text if written else NOT_WRITTEN)
            case ResetRisk():
                self._answer(message.reply_to, message.request_id, *self._reset(message))
            case QueryRisk():
                self._account.context.tell(message.reply_to, self._limits(message))
            case OperatorCancelAll():
                self._answer(message.reply_to, message.request_id, *self._cancel_all(message))
            case OperatorFlatten():
                self._flattener.begin_operator(message)
            case QueryOrders() | QueryPositions() | QueryFills():
                self._account.context.tell(message.reply_to, self._report(message))
            case _:
                return False
        return True

    def status(self, query: QueryStatus) -> AccountStatus:
        """What the owner of the account knows."""
        account = self._account
        counts = account.table.counts
        ended = counts[OrderStatus.CANCELED] + counts[OrderStatus.EXPIRED]
        over = ended + sum(counts[status] for status in (OrderStatus.DENIED, OrderStatus.FILLED, OrderStatus.REJECTED))
        unknown = counts[OrderStatus.UNKNOWN]
        return AccountStatus(
            request_id=query.request_id,
            account_id=account.account_id,
            trading_state=account.trading_state,
            reconciled=account.connected and not account.reconciling,
            paused_strategies=tuple(sorted(account.pauses)),
            fills_by_strategy=tuple(sorted(account.fills_by_strategy.items())),
            orders_by_strategy=tuple(sorted(account.orders_by_strategy.items())),
            orders=OrderStatistics(
                working=counts.total() - over - unknown,
                filled=counts[OrderStatus.FILLED],
                canceled=ended,
                denied=counts[OrderStatus.DENIED],
                rejected=counts[OrderStatus.REJECTED],
                unknown=unknown,
            ),
            positions=account.ledger.reports(),
        )

    def _report(self, query: QueryOrders | QueryPositions | QueryFills) -> Message:
        account = self._account
        if isinstance(query, QueryPositions):
            return PositionsReport(request_id=query.request_id, positions=account.ledger.reports())
        limit = max(0, min(query.limit, LIST_MAX))
        if isinstance(query, QueryFills):
            return FillsReport(request_id=query.request_id, fills=account.journal.newest_fills(limit))
        if query.working_only:
            working = [order.report() for order in account.table.open_orders()]
            return OrdersReport(request_id=query.request_id, orders=tuple(working[-limit:] if limit else ()))
        return OrdersReport(request_id=query.request_id, orders=account.journal.newest_orders(limit))

    def pause(self, strategy_id: StrategyId, reason: str) -> tuple[bool, str]:
        """Let a strategy send nothing; whether it is journalled, and what was done."""
        account = self._account
        settings = next((item for item in account.settings.strategies if item.name == strategy_id), None)
        if settings is None:
            return False, f"no strategy is named {strategy_id}"
        written = True
        try:
            account.journal.write_pause(strategy_id, reason, account.context.clock.now_ns())
        except JournalWriteError as error:
            account.journal_failed(error)
            written = False
        account.pauses[strategy_id] = reason
        canceled = 0
        if settings.on_pause == "cancel_entries":
            entries = account.entries(strategy_id)
            canceled = len(entries)
            for order in entries:
                self._sender.request_cancel(order)
        account.log.warning("strategy_paused", strategy_id=strategy_id, reason=reason, canceled=canceled)
        account.context.alert(
            "strategy_paused", Severity.WARNING, f"{strategy_id} is paused: {reason}", strategy_id=strategy_id
        )
        self._lane.pause_changed(strategy_id, paused=True, reason=reason)
        text = f"{strategy_id} is paused, {canceled} orders are being canceled"
        return written, text if written else f"{text}; {NOT_WRITTEN}"

    def resume(self, strategy_id: StrategyId) -> tuple[bool, str]:
        """Let it trade again; False where it was not paused, or stays so."""
        account = self._account
        if strategy_id not in account.pauses:
            return False, f"{strategy_id} is not paused"
        try:
            account.journal.clear_pause(strategy_id)
        except JournalWriteError as error:
            # A pause that could come back after a restart is not ended: the safer state stays.
            account.journal_failed(error)
            return False, f"{strategy_id} stays paused: {error}"
        del account.pauses[strategy_id]
        account.log.info("strategy_resumed", strategy_id=strategy_id)
        account.context.alert("strategy_resumed", Severity.INFO, f"{strategy_id} trades again", strategy_id=strategy_id)
        self._lane.pause_changed(strategy_id, paused=False, reason="resumed by the operator")
        return True, f"{strategy_id} is resumed"

    def _reset(self, message: ResetRisk) -> tuple[bool, str]:
        account, whose = self._account, message.owner or "account"
        if account.risk.book.daily_loss is None:
            return False, "the market's time is not known yet: nothing has been counted"
        reached = [breach.code.value for breach in account.risk.book.standing() if breach.owner == message.owner]
        refused = account.risk.book.rejects.count(message.owner)
        written = account.risk.reset(message.owner)
        author = Author(uid=message.uid, pid=message.pid)
        had = ", ".join([*reached, *([f"{refused} refusals in a row"] if refused else [])]) or "nothing was reached"
        account.states.audit.write("risk_reset", author, owner=whose, reason=message.reason, had=had)
        account.log.warning("risk_reset", owner=whose, reason=message.reason, had=had)
        text = f"losses and refusals of {whose} count from here ({had})"
        return written, text if written else f"{text}; {NOT_WRITTEN}"

    def _still_reached(self, trading_state: TradingState) -> str:
        """What denies orders all the same, for people."""
        if trading_state is not TradingState.ACTIVE:
            return ""
        standing = [f"{each.owner or 'account'} {each.code.value}" for each in self._account.risk.book.standing()]
        return f"; still reached: {', '.join(standing)} (risk-reset ends that)" if standing else ""

    def _limits(self, query: QueryRisk) -> RiskReport:
        account = self._account
        rows = account.risk.report()[:LIMITS_MAX]
        return RiskReport(
            request_id=query.request_id,
            trading_state=account.trading_state,
            reason=account.states.reason,
            breaches=tuple((each.owner or "account", each.code.value) for each in account.risk.book.standing()),
            limits=tuple(LimitReport(**{**msgspec.structs.asdict(row), "state": row.state.value}) for row in rows),
        )

    def _cancel_all(self, message: OperatorCancelAll) -> tuple[bool, str]:
        strategy_id = message.strategy_id
        if message.externals and not self._account.externals.may_be_touched:
            return False, NEVER_TOUCHED
        orders = [
            order
            for order in self._account.table.open_orders(strategy_id)
            if message.externals or not is_external(order)
        ]
        for order in orders:
            self._sender.request_cancel(order)
        self._account.log.warning("cancel_all", strategy_id=strategy_id, orders=len(orders))
        if self._sender.link.session is None and orders:
            return False, f"{len(orders)} cancels wait for the connection to the gateway"
        return True, f"{len(orders)} orders are being canceled"

    def _answer(self, reply_to: ChildId, request_id: str, ok: bool, text: str) -> None:
        self._account.context.tell(reply_to, CommandResult(request_id=request_id, ok=ok, text=text))
