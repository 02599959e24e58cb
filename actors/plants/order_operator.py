"""What the operator asks of the order plant: pauses, the trading state, cancels, and the answers to queries."""

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account, is_external
from actors.plants.order_flatten import Flattener
from actors.plants.order_lane import OrderLane
from actors.plants.order_sender import Sender
from nightdesk.messages import (
    AccountStatus,
    ChildId,
    CommandResult,
    FillsReport,
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
    QueryStatus,
    ResumeStrategy,
    SetTradingState,
    Severity,
    StrategyId,
)

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
                self._answer(message.reply_to, message.request_id, *self._pause(message.strategy_id, message.reason))
            case ResumeStrategy():
                self._answer(message.reply_to, message.request_id, *self._resume(message.strategy_id))
            case SetTradingState():
                written = self._account.set_trading_state(message.trading_state, message.reason)
                text = f"trading is {message.trading_state.value}"
                self._answer(message.reply_to, message.request_id, written, text if written else NOT_WRITTEN)
            case OperatorCancelAll():
                self._answer(message.reply_to, message.request_id, *self._cancel_all(message.strategy_id))
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

    def _pause(self, strategy_id: StrategyId, reason: str) -> tuple[bool, str]:
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

    def _resume(self, strategy_id: StrategyId) -> tuple[bool, str]:
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

    def _cancel_all(self, strategy_id: StrategyId) -> tuple[bool, str]:
        orders = [order for order in self._account.table.open_orders(strategy_id) if not is_external(order)]
        for order in orders:
            self._sender.request_cancel(order)
        self._account.log.warning("cancel_all", strategy_id=strategy_id, orders=len(orders))
        if self._sender.link.session is None and orders:
            return False, f"{len(orders)} cancels wait for the connection to the gateway"
        return True, f"{len(orders)} orders are being canceled"

    def _answer(self, reply_to: ChildId, request_id: str, ok: bool, text: str) -> None:
        self._account.context.tell(reply_to, CommandResult(request_id=request_id, ok=ok, text=text))
