"""The gate: what a strategy asks for is checked and committed; only then does the sender get it."""

from collections.abc import Callable

import msgspec

from actors.plants import order_events as events
from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account, is_external
from actors.plants.order_sender import Sender
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    Denial,
    Message,
    ModifyOrder,
    OrderCancelRejected,
    OrderDenied,
    OrderInitialized,
    OrderModifyRejected,
    OrderStatus,
    Severity,
    Side,
    StrategyId,
    SubmitOrder,
)
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.order import Order, Purpose, Terms
from nightdesk.trading.risk import GateView, MarketView, OrderRate, Refusal, check_modify, check_order
from nightdesk.trading.sessions import MarketPhase

JOURNALLED_INTEGER_MAX = 2**31 - 1
"""A denied order may carry any number; only what fits a column is kept."""

DENIALS_KEPT_PER_SECOND = 200
"""Denials with a row and a log line each; of more within a second only the answers are sent, and the number is logged:
a strategy that has gone wild must not keep the others waiting, nor fill the disk."""

Reply = Callable[[Message], None]
"""The way back to whoever asked, even when it is no longer the owner of its strategy."""


class Gate:
    """Checks and commits. ``epochs`` has each strategy's current fencing epoch, ``flattening`` what is being closed."""

    def __init__(self, account: Account, sender: Sender) -> None:
        self._account = account
        self._sender = sender
        self._rate = OrderRate()
        self._denials = OrderRate()
        self._denials_unkept = 0
        self._told_until: dict[tuple[StrategyId, str, Denial], int] = {}
        self.epochs: dict[StrategyId, int] = {}
        self.flattening: set[tuple[StrategyId, str]] = set()

    def submit(self, command: SubmitOrder, reply: Reply) -> None:
        """Check, commit, send."""
        refusal = check_order(command, self._view(command))
        if refusal is not None:
            self._deny(command, refusal, reply)
            return
        order = self._new_order(command, Purpose.STRATEGY)
        if not self._commit_intent(order):
            self._deny(command, Refusal(Denial.STATE_JOURNAL_FAILED, "the journal cannot be written"), reply)
            return
        self._rate.note(self._now_s())
        self._sender.submit(order)

    def submit_exit(self, command: SubmitOrder) -> bool:
        """The closing order of a flatten: no limit stands against it, the journal and the link do."""
        order = self._new_order(command, Purpose.EXIT)
        if self._sender.link.session is None or not self._commit_intent(order):
            return False
        self._sender.submit(order)
        return True

    def modify(self, command: ModifyOrder, reply: Reply) -> None:
        """Check the new terms, commit, send the whole order anew."""
        order = self._account.find(command.client_order_id)
        refusal = self._refusal_of(order, command.strategy_id)
        if order is not None and refusal is None:
            terms = Terms(
                command.quantity if command.quantity is not None else order.quantity,
                command.price if command.price is not None else order.price,
                command.trigger_price if command.trigger_price is not None else order.trigger_price,
            )
            refusal = self._modify_refusal(command, order, terms)
            if refusal is None:
                if self._sender.modify(order, terms):
                    self._rate.note(self._now_s())
                return
        text = "" if refusal is None else f"{refusal.code}: {refusal.text}"
        self._account.log.warning("order_modify_denied", client_order_id=command.client_order_id, text=text)
        reply(OrderModifyRejected(**self._fields(command.client_order_id, command.strategy_id, order), text=text))

    def cancel(self, command: CancelOrder, reply: Reply) -> None:
        """Cancels pass in every state; only an order that is none of the caller's, or over, is refused."""
        order = self._account.find(command.client_order_id)
        refusal = self._refusal_of(order, command.strategy_id)
        if refusal is None and command.fencing_epoch != self.epochs.get(command.strategy_id):
            refusal = Refusal(Denial.EPOCH_STALE, f"fencing epoch {command.fencing_epoch} is not the current one")
        if refusal is None and self._sender.link.session is None:
            refusal = Refusal(Denial.STATE_DISCONNECTED, "the order plant has no connection to the gateway")
        if refusal is None and order is not None:
            self._sender.request_cancel(order)
            return
        text = "" if refusal is None else f"{refusal.code}: {refusal.text}"
        reply(OrderCancelRejected(**self._fields(command.client_order_id, command.strategy_id, order), text=text))

    def cancel_all(self, command: CancelAllOrders) -> bool:
        """Cancel a strategy's orders, one by one, but not the closing order of a flatten; False for a stale epoch."""
        if command.fencing_epoch != self.epochs.get(command.strategy_id):
            return False
        for order in self._account.table.open_orders(command.strategy_id, command.symbol):
            if order.purpose is not Purpose.EXIT:
                self._sender.request_cancel(order)
        return True

    def sweep(self) -> None:
        """Tell of the denials that were answered only; call a few times a second."""
        count, self._denials_unkept = self._denials_unkept, 0
        if count:
            self._account.log.error("orders_denied_unkept", count=count)
            text = f"{count} further orders were denied within a second; they are counted, not kept"
            self._account.context.alert("orders_denied_unkept", Severity.ERROR, text, count=count)

    def _commit_intent(self, order: Order) -> bool:
        """One commit before the frame; False when it failed, and then nothing may be sent."""
        account = self._account
        try:
            event_id = account.journal.write_intent(order)
        except JournalWriteError as error:
            account.journal_failed(error)
            return False
        account.table.add(order)
        account.orders_by_strategy[order.strategy_id] += 1
        account.publish(
            OrderInitialized(
                **events.common(order, order.ts_init_ns, event_id),
                side=order.side,
                order_type=order.order_type,
                quantity=order.quantity,
                price=order.price,
                trigger_price=order.trigger_price,
                time_in_force=order.time_in_force,
                protective=order.protective,
            )
        )
        return True

    def _deny(self, command: SubmitOrder, refusal: Refusal, reply: Reply) -> None:
        account = self._account
        order = self._new_order(command, Purpose.STRATEGY)
        order.status = OrderStatus.DENIED
        if self._denials.recent(self._now_s()) >= DENIALS_KEPT_PER_SECOND:
            self._denials_unkept += 1
            account.table.counts[OrderStatus.DENIED] += 1
            reply(OrderDenied(**account.event_fields(order), code=refusal.code, text=refusal.text))
            return
        self._denials.note(self._now_s())
        order.text = f"{refusal.code}: {refusal.text}"
        order.fencing_epoch = min(order.fencing_epoch, JOURNALLED_INTEGER_MAX)
        fits = abs(order.quantity) <= JOURNALLED_INTEGER_MAX and order.fencing_epoch >= 0
        if refusal.code is not Denial.ORDER_DUPLICATE_ID and fits and not self._is_used(command.client_order_id):
            try:
                account.journal.write_intent(order)
            except JournalWriteError as error:
                account.journal_failed(error)
            account.table.add(order)
        message = OrderDenied(**account.event_fields(order), code=refusal.code, text=refusal.text)
        account.record(order, message, alert=self._alert_of(command, refusal.code))
        reply(message)

    def _alert_of(self, command: SubmitOrder, code: Denial) -> Severity | None:
        """A strategy may ask all through a break: what the calendar denies is told once until its next event."""
        if code not in _BY_SCHEDULE:
            return Severity.WARNING
        markets, key = self._account.markets, (command.strategy_id, command.symbol, code)
        if markets.time.now_ns() < self._told_until.get(key, 0):
            return None
        self._told_until[key] = markets.next_event_ns(command.symbol)
        return Severity.INFO

    def _is_used(self, client_order_id: ClientOrderId) -> bool:
        account = self._account
        return account.table.get(client_order_id) is not None or account.journal.has_order(client_order_id)

    def _view(self, command: SubmitOrder, changed: Order | None = None) -> GateView:
        account = self._account
        buy, sell = account.table.worst_case(command.symbol)
        own_buy, own_sell = account.table.worst_case(command.symbol, command.strategy_id)
        if changed is not None:
            at_stake = changed.exposure + changed.filled_quantity
            if changed.side is Side.BUY:
                buy, own_buy = buy - at_stake, own_buy - at_stake
            else:
                sell, own_sell = sell - at_stake, own_sell - at_stake
        return GateView(
            limits=account.limits,
            trading_state=account.trading_state,
            connected=account.connected and self._sender.link.session is not None,
            reconciling=account.reconciling or account.is_ending,
            journal_writable=not account.journal.failed,
            paused=command.strategy_id in account.pauses,
            flattening=(command.strategy_id, command.symbol) in self.flattening,
            current_epoch=self.epochs.get(command.strategy_id, -1),
            is_duplicate_id=changed is None and self._is_used(command.client_order_id),
            tick_rules=account.tick_rules.get(command.symbol),
            account_position=account.ledger.quantity(ACCOUNT, command.symbol),
            worst_case_buy=buy,
            worst_case_sell=sell,
            strategy_position=account.ledger.quantity(command.strategy_id, command.symbol),
            strategy_worst_buy=own_buy,
            strategy_worst_sell=own_sell,
            open_orders=account.table.open_count(),
            recent_orders=self._rate.recent(self._now_s()),
            market=self._market_view(command, changed),
        )

    def _market_view(self, command: SubmitOrder, changed: Order | None) -> MarketView:
        markets, symbol = self._account.markets, command.symbol
        phase = markets.phase(symbol)
        no_trade = markets.no_trade(command.strategy_id, symbol)
        exits = {Side.BUY: 0, Side.SELL: 0}
        if no_trade:
            for order in self._account.table.open_orders(command.strategy_id, symbol):
                if order is not changed and not order.protective:
                    exits[order.side] += order.exposure
        return MarketView(
            phase=phase,
            trading_begins="" if phase is MarketPhase.OPEN else markets.trading_begins(symbol),
            no_trade=no_trade,
            ended=markets.ended(symbol),
            unprotective_buy=exits[Side.BUY],
            unprotective_sell=exits[Side.SELL],
            filled=0 if changed is None else changed.filled_quantity,
            mismatch=self._account.contracts.mismatch(symbol),
            left=self._account.contracts.left(symbol),
        )

    def _refusal_of(self, order: Order | None, strategy_id: StrategyId) -> Refusal | None:
        if order is None or order.strategy_id != strategy_id:
            return Refusal(Denial.ORDER_UNKNOWN, "no order of this strategy has this id")
        if order.is_final:
            return Refusal(Denial.ORDER_NOT_WORKING, f"the order is {order.status}")
        return None

    def _modify_refusal(self, command: ModifyOrder, order: Order, terms: Terms) -> Refusal | None:
        if order.operation is not None or order.cancel_wanted or order.status not in _AT_REST:
            return Refusal(Denial.ORDER_OPERATION_IN_FLIGHT, f"the order is {order.status}; wait for its answer")
        if terms.quantity <= order.filled_quantity:
            return Refusal(Denial.ORDER_INVALID, f"quantity {terms.quantity}, {order.filled_quantity} are filled")
        as_order = SubmitOrder(
            client_order_id=order.client_order_id,
            strategy_id=order.strategy_id,
            fencing_epoch=command.fencing_epoch,
            symbol=order.symbol,
            exchange=order.exchange,
            side=order.side,
            order_type=order.order_type,
            quantity=terms.quantity,
            price=terms.price,
            trigger_price=terms.trigger_price,
            time_in_force=order.time_in_force,
            protective=order.protective,
        )
        return check_modify(as_order, self._view(as_order, order))

    def _new_order(self, command: SubmitOrder, purpose: Purpose) -> Order:
        account = self._account
        return Order(
            **msgspec.structs.asdict(command),
            account_id=account.account_id,
            purpose=purpose,
            connection_epoch=account.connection_epoch,
            broker_ts_ns=account.broker_ts_ns,
            ts_init_ns=account.context.market_time.now_ns(),
        )

    def _fields(self, client_order_id: ClientOrderId, strategy_id: StrategyId, order: Order | None) -> events.Common:
        if order is not None and not is_external(order):
            return self._account.event_fields(order)
        return {
            "client_order_id": client_order_id,
            "strategy_id": strategy_id,
            "symbol": "",
            "exchange": "",
            "ts_event_ns": self._account.context.market_time.now_ns(),
            "event_id": self._account.journal.next_event_id(),
        }

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()


_BY_SCHEDULE = frozenset({Denial.SESSION_CLOSED, Denial.SESSION_NO_TRADE, Denial.INSTRUMENT_ROLLED})
"""Denials that the calendar or the strategy's own configuration brings about each day: no reason to call anybody."""

_AT_REST = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED})
