"""The account as the order plant owns it: orders, positions, pauses and the journal behind them.

Whatever changes an order goes through here: table first, then one commit, then the event to its strategy. A failed
write of the journal stops new orders for good; reports still count in memory, since a fill that is known must not be
denied, and the next start recovers it from the broker.
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from actors.base import Context
from actors.contracts import Contracts
from actors.plants import order_events as events
from actors.plants.journal import Journal, JournalWriteError
from actors.plants.order_contracts import ContractBook
from actors.plants.order_expiry import is_expiry
from actors.plants.order_externals import Externals
from actors.plants.order_held import HeldOrders
from actors.plants.order_market import Markets
from actors.plants.order_resurrection import Resurrections
from actors.plants.order_risk import RiskDesk
from actors.plants.order_states import TradingStates
from actors.plants.state_audit import BY_ITSELF, Author
from nightdesk.messages import (
    ClientOrderId,
    FillReport,
    Message,
    OrderEvent,
    OrderFilled,
    OrderInDoubt,
    OrderStatus,
    Severity,
    StrategyId,
    TradingPermissionChanged,
    TradingState,
    VenueOrderId,
)
from nightdesk.settings.models import Settings
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.ledger import ContractTerms, Ledger
from nightdesk.trading.order import Change, Operation, Order, Purpose
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from nightdesk.trading.risk_view import TickRules
from nightdesk.trading.units import from_micros, to_nanos

UNJOURNALLED_EPOCHS = 1_000_000_000
"""Epochs above this were never written: the journal had failed, and no order passes with it."""

Publish = Callable[[StrategyId, Message], None]


class Account:
    """One account's state. Everything runs on the body's loop."""

    def __init__(
        self, context: Context, settings: Settings, journal: Journal, publish: Publish, contracts: Contracts
    ) -> None:
        self.context = context
        self.settings = settings
        self.journal = journal
        self.markets = Markets(settings, context.market_time, context.clock)
        self.table = OrderTable()
        self.ledger = Ledger(())
        self.tick_rules: dict[str, TickRules] = {}
        self.account_id = ""
        self.connected = False
        self.reconciling = True
        self.is_ending = False
        """The order plant is being stopped: what is still asked for must not be opened any more."""
        self.connection_epoch = 0
        self.broker_ts_ns = 0
        self.trading_state = journal.trading_state()
        self.pauses = journal.pauses()
        self.fills_by_strategy: Counter[StrategyId] = Counter()
        self.orders_by_strategy: Counter[StrategyId] = Counter()
        self.recovered_fills = 0
        """Fills that lists of the broker brought, since the last reconciliation began."""
        self.lists_read = False
        """Whether a whole answer of this connection says what there is: one of a time of trading, or the last one."""
        self.unsettled: list[Order] = []
        """What the reconciliation that is under way has to ask for again."""
        self.replay_from_ns = journal.replay_from_ns()
        """The broker's time from which on executions may be missing; None while none can be."""
        self.externals = Externals(self)
        self.resurrections = Resurrections(self)
        self.held = HeldOrders(self)
        self.request_reconcile: Callable[[str], None] = lambda reason: None
        """Has the broker's lists asked; the sender's."""
        self.after_update: Callable[[Order, BrokerUpdate], None] = lambda order, update: None
        """What the sender does once an order was reported on (a cancel may have waited for it)."""
        self.contracts = ContractBook(contracts, self.markets, context.market_time)
        self.learn_contracts()
        self._publish = publish
        self._journal_alarmed = False
        self._unjournalled_epoch = 0
        self.risk = RiskDesk(self)
        self.states = TradingStates(self)
        self._rebuild()

    @property
    def log(self) -> events.Log:
        """The actor's log."""
        return self.context.log

    def learn_contracts(self) -> None:
        """Take over the terms of contracts that were not known so far; aliases bring new ones with time."""
        for item in self.contracts.listed():
            if item.symbol not in self.tick_rules:
                self.ledger.learn(ContractTerms.of(item.symbol, item.exchange, item.point_value, item.commission))
                self.tick_rules[item.symbol] = TickRules(item.exchange, item.tick_size)

    def permission(self) -> TradingPermissionChanged:
        """Whether orders are accepted now, and why not."""
        reason = ""
        if not self.connected:
            reason = "disconnected"
        elif self.reconciling or self.is_ending:
            reason = "reconciling" if self.reconciling else "the order plant is ending"
        elif self.journal.failed:
            reason = "the journal cannot be written"
        elif self.trading_state is TradingState.HALTED:
            reason = "halted"
        return TradingPermissionChanged(permitted=not reason, trading_state=self.trading_state, reason=reason)

    def is_settled(self, symbol: str = "", strategy_id: StrategyId | str = "") -> bool:
        """Whether orders and position of a symbol, a strategy or (empty) of all are certain, whatever else is in doubt.

        While one order is asked for, the others' reports come as ever; nothing is certain before the first lists of a
        connection.
        """
        if not self.connected or (self.reconciling and not self.lists_read):
            return False
        doubtful = [*self.unsettled, *self.table.missing_fills()]
        doubtful += [order for order in self.table.open_orders() if order.status is OrderStatus.UNKNOWN]
        doubtful += [order for order in self.table.revived() if order.purpose is not Purpose.EXTERNAL]
        return not any(symbol in ("", each.symbol) and strategy_id in ("", each.strategy_id) for each in doubtful)

    def publish(self, message: OrderEvent) -> None:
        """Tell the owner of an order what happened to it."""
        self._publish(message.strategy_id, message)

    def commit(self, order: Order, *messages: OrderEvent, fill: FillReport | None = None) -> bool:
        """Write an order's row with what will be published; False (and an alarm) when the journal fails."""
        try:
            self.journal.write_order(
                order,
                [(message.event_id, message) for message in messages],
                None if fill is None else (fill, order.account_id),
                self.context.clock.now_ns(),
                self.risk.rows(),
            )
        except JournalWriteError as error:
            self.journal_failed(error)
            return False
        return True

    def journal_failed(self, error: JournalWriteError) -> None:
        """No new orders from now on; cancels pass."""
        if self._journal_alarmed:
            return
        self._journal_alarmed = True
        self.log.critical("journal_failed", reason=str(error))
        self.context.alert("journal_failed", Severity.CRITICAL, f"no new orders are sent: {error}")
        self.tell_permission()

    def tell(self, order: Order, message: OrderEvent, *, alert: Severity | None = None) -> None:
        """Publish one event that is committed, with its log line and perhaps an alert."""
        self.publish(message)
        self.record(order, message, alert=alert)

    def record(self, order: Order, message: OrderEvent, *, alert: Severity | None = None) -> None:
        """The log line of an event, and perhaps its alert."""
        name, fields = events.log_fields(order, message)
        getattr(self.log, alert or Severity.INFO)(name, **fields)
        if alert is not None:
            fields.pop("text", None)
            self.context.alert(name, alert, events.describe(order, message), **fields)

    def doubt(self, order: Order, text: str) -> None:
        """Nobody knows whether the broker has the order: say so until a list of the broker settles it."""
        # Whoever has asked for its cancel wants it gone if it is there.
        order.cancel_wanted |= order.operation is Operation.CANCEL or order.status is OrderStatus.PENDING_CANCEL
        order.operation = None
        if not self.table.step(order, Step.DOUBT):
            return
        order.text = text
        message = OrderInDoubt(**self.event_fields(order), text=text)
        self.commit(order, message)
        # Where its day is over it can do no harm any more, and the next list settles it.
        self.tell(order, message, alert=None if self.markets.is_day_over(order) else Severity.ERROR)

    def end(self, order: Order, step: Step, text: str, *, tombstone: bool = False) -> None:
        """End an order by our own knowledge (refused, not found, gone) and tell its owner.

        ``tombstone``: it follows from the broker's silence alone, so that the broker may yet say otherwise.
        """
        before = order.status
        if not self.table.step(order, step):
            return
        if step is Step.REJECT:
            self.risk.on_step(order, before)
        order.text, order.tombstone = text, tombstone
        order.operation, order.pending_terms, order.cancel_wanted = None, None, False
        message = events.ended(order, self.event_fields(order))
        self.commit(order, message)
        self.tell(order, message, alert=events.severity_of_end(order))

    def keep_replay_from(self, ts_ns: int | None) -> None:
        """Journal from when on executions are to be asked for again, however this process ends; None: no more."""
        if ts_ns == self.replay_from_ns:
            return
        self.replay_from_ns = ts_ns
        try:
            self.journal.write_replay_from(ts_ns)
        except JournalWriteError as error:
            self.journal_failed(error)

    def event_fields(self, order: Order, ts_event_ns: int = 0) -> events.Common:
        """The fields that every order event has, with the next event id."""
        return events.common(order, ts_event_ns or self.context.market_time.now_ns(), self.journal.next_event_id())

    def find(self, client_order_id: ClientOrderId) -> Order | None:
        """An order of any age by our id; one that only the journal had is in the table afterwards."""
        order = self.table.get(client_order_id)
        if order is None and client_order_id:
            order = self.journal.find_order(client_order_id)
            if order is not None:
                self.table.add(order, counted=False)
        return order

    def find_by_venue(self, venue_order_id: VenueOrderId) -> Order | None:
        """An order of any age by the broker's id; one that only the journal had is in the table afterwards."""
        order = self.table.by_venue(self.account_id, venue_order_id)
        if order is not None:
            return order
        order = self.journal.find_by_venue(self.account_id, venue_order_id)
        if order is None:
            return None
        known = self.table.get(order.client_order_id)
        if known is None:
            self.table.add(order, counted=False)
        return known or order

    def is_used(self, client_order_id: ClientOrderId) -> bool:
        """Whether an order of any age has this id."""
        return self.table.get(client_order_id) is not None or self.journal.has_order(client_order_id)

    def on_update(self, update: BrokerUpdate) -> Order | None:
        """Take in one report of the broker; the order that it is about, None where it is of no concern."""
        if update.account_id != self.account_id:
            return None
        self.broker_ts_ns = max(self.broker_ts_ns, update.ts_event_ns)
        if update.is_snapshot and self._is_known_history(update):
            return None
        order = self._order_of(update)
        if order is None and self.held.keep(update):
            return None
        if order is None:
            order = self.externals.adopt(update)
        if order is None:
            return None
        was_bound = order.venue_order_id is not None
        # Whatever the lists say, the broker has it.
        order.misses = 0
        if not (update.is_snapshot and update.kind is UpdateKind.FILLED):
            # A replayed execution says that it filled once, not that it is there.
            order.heard_epoch = self.connection_epoch
        was_final, known_ns = order.is_final, order.ts_last_ns
        if is_expiry(order, update, self.markets):
            update = msgspec.structs.replace(update, kind=UpdateKind.COMPLETE_OTHER)
        before, status = events.persisted(order), order.status
        changes = self.table.apply(order, update)
        self.risk.on_step(order, status)
        if order.operation is Operation.SUBMIT:
            order.operation = None
        if not changes and events.persisted(order) != before:
            self.commit(order)
        for change in changes:
            self._carry_out(order, change)
        if was_final:
            self.resurrections.judge(order, update, known_ns)
        self.after_update(order, update)
        if not was_bound:
            self.held.bound(order)
        return order

    def entries(self, strategy_id: StrategyId | None = None) -> list[Order]:
        """Working orders of strategies that open positions: no protective ones, none that closes for a flatten."""
        return [
            order
            for order in self.table.open_orders(strategy_id or "")
            if order.purpose in (Purpose.STRATEGY, Purpose.ROLL) and not order.protective
        ]

    def next_fencing_epoch(self, strategy_id: StrategyId) -> int:
        """A new epoch for a strategy; without a journal it is only new in this process, which sends nothing anyway."""
        try:
            return self.journal.next_fencing_epoch(strategy_id)
        except JournalWriteError as error:
            self.journal_failed(error)
            self._unjournalled_epoch += 1
            return UNJOURNALLED_EPOCHS + self._unjournalled_epoch

    def set_trading_state(self, trading_state: TradingState, reason: str, author: Author = BY_ITSELF) -> bool:
        """Change the account's state, journalled; False when the journal could not take it (it holds all the same)."""
        return self.states.set(trading_state, reason, author)

    def tell_permission(self) -> None:
        """Tell every strategy whether orders are accepted now."""
        self._publish(StrategyId(""), self.permission())

    def _rebuild(self) -> None:
        for fill, price_nanos, commission in self.journal.fills():
            self.ledger.book_as_charged(
                fill.strategy_id, fill.symbol, fill.exchange, fill.side, fill.quantity, price_nanos, commission
            )
        self.table.counts.update(self.journal.status_counts())
        self.fills_by_strategy.update(self.journal.fills_by_strategy())
        self.orders_by_strategy.update(self.journal.orders_by_strategy())
        self.broker_ts_ns = self.journal.newest_broker_ts_ns()
        for order in self.journal.open_orders():
            self.table.add(order, counted=False)
            is_bound = order.venue_order_id is not None
            if order.status is OrderStatus.INITIALIZED or (order.status is OrderStatus.SUBMITTED and not is_bound):
                self.doubt(order, "the order plant was restarted before an answer came")
            order.cancel_wanted |= order.status is OrderStatus.PENDING_CANCEL

    def _is_known_history(self, update: BrokerUpdate) -> bool:
        """An image that says nothing new about an order that is over; lists name the whole session's orders."""
        if update.kind is UpdateKind.FILLED:
            return self.journal.has_fill(update.fill_key())
        if update.kind not in COMPLETIONS or self.table.by_venue(update.account_id, update.venue_order_id) is not None:
            return False
        order = self.journal.find_by_venue(update.account_id, update.venue_order_id)
        return order is not None and order.is_final and order.filled_quantity >= (update.total_filled or 0)

    def _order_of(self, update: BrokerUpdate) -> Order | None:
        order = self.find_by_venue(update.venue_order_id) or self.held.exit_of(update)
        if order is not None:
            return order
        order = self.find(update.client_order_id)
        if order is None or order.venue_order_id not in (None, update.venue_order_id):
            leg = self.held.leg_of(update)
            if leg is None and order is not None:
                # One tag under two of the broker's ids: the second is somebody's, and it trades on our account.
                self.log.critical("client_order_id_seen_twice", client_order_id=order.client_order_id)
            return leg
        return None if order.status is OrderStatus.DENIED else order

    def _carry_out(self, order: Order, change: Change) -> None:
        if change.update.kind is UpdateKind.FILLED and change.step is Step.FILL_PART:
            self._book(order, change)
            return
        message = events.event_of(order, change, self.event_fields(order, change.update.ts_event_ns))
        if message is None:
            self.commit(order)
            return
        self.commit(order, message)
        self.tell(order, message, alert=events.severity_of_end(order))

    def _book(self, order: Order, change: Change) -> None:
        update = change.update
        price = update.fill_price or 0.0
        commission = from_micros(
            self.ledger.book(
                order.strategy_id, order.symbol, order.exchange, order.side, update.fill_quantity, to_nanos(price)
            )
        )
        self.fills_by_strategy[order.strategy_id] += 1
        self.recovered_fills += update.is_snapshot
        breaches = self.risk.observe()
        message = OrderFilled(
            **self.event_fields(order, update.ts_event_ns),
            venue_order_id=update.venue_order_id,
            fill_id=update.fill_id,
            side=order.side,
            last_quantity=update.fill_quantity,
            last_price=price,
            filled_quantity=order.filled_quantity,
            leaves_quantity=order.leaves_quantity,
            average_price=order.average_price or price,
            commission=commission,
        )
        self.commit(order, message, fill=events.fill_report(message))
        self.tell(order, message, alert=Severity.INFO)
        self._publish(order.strategy_id, self.ledger.report(order.strategy_id, order.symbol))
        if change.is_overfill:
            self._overfilled(order)
        self.risk.on_breach(breaches)

    def _overfilled(self, order: Order) -> None:
        text = f"{order.client_order_id} filled {order.filled_quantity}, ordered at most {order.quantity_max}"
        self.log.critical("order_overfilled", **events.order_fields(order), filled_quantity=order.filled_quantity)
        self.context.alert("order_overfilled", Severity.CRITICAL, text, client_order_id=order.client_order_id)
        self.set_trading_state(TradingState.HALTED, f"overfill: {text}", Author("overfill"))
