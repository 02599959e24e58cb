"""The gate: what a strategy asks for is checked and committed; only then does the sender get it."""

from collections import Counter
from collections.abc import Callable

import msgspec

from actors.plants import order_events as events
from actors.plants.journal import EVENTS_PER_INTENT, JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_denials import Denials
from actors.plants.order_expiry import lease_end_ns
from actors.plants.order_externals import is_external
from actors.plants.order_sender import Sender
from nightdesk.messages import (
    CancelAllOrders,
    CancelOrder,
    ClientOrderId,
    Denial,
    Message,
    ModifyBracket,
    ModifyOrder,
    OrderCancelRejected,
    OrderModifyRejected,
    OrderStatus,
    Side,
    StrategyId,
    SubmitOco,
    SubmitOrder,
)
from nightdesk.trading.held_terms import pair_fault, ticks_fault
from nightdesk.trading.order import Levels, Order, Purpose, Terms
from nightdesk.trading.protection import is_leaving, is_protection
from nightdesk.trading.risk import check_modify, check_opening, check_order
from nightdesk.trading.risk_view import GateView, MarketView, Refusal, only_lowers
from nightdesk.trading.sessions import MarketPhase

Reply = Callable[[Message], None]
"""The way back to whoever asked, even when it is no longer the owner of its strategy."""


class Gate:
    """Checks and commits. ``epochs`` has each strategy's current fencing epoch, ``flattening`` what is being closed."""

    def __init__(self, account: Account, sender: Sender) -> None:
        self._account = account
        self._sender = sender
        self._denials = Denials(account)
        self.epochs: dict[StrategyId, int] = {}
        self.flattening: set[tuple[StrategyId, str]] = set()
        self.closing: set[StrategyId] = set()
        """Strategies that are back before the flatten for their absence is done."""

    def submit(self, command: SubmitOrder, reply: Reply) -> None:
        """Check, commit, send."""
        view = self._view(command)
        refusal = check_order(command, view) or self._account.risk.check(command, view)
        if refusal is not None:
            self._deny(command, refusal, reply)
            return
        order = self._new_order(command, Purpose.STRATEGY)
        if not self._commit_intent(order):
            self._deny(command, _JOURNAL_FAILED, reply)
            return
        self._account.risk.on_sent(command, is_reducing=only_lowers(command, view))
        self._sender.submit(order)

    def submit_oco(self, command: SubmitOco, reply: Reply) -> None:
        """Check two orders of which one cancels the other, commit both at once, send one frame; both or none."""
        legs = [
            msgspec.structs.replace(leg, strategy_id=command.strategy_id, fencing_epoch=command.fencing_epoch)
            for leg in (command.first, command.second)
        ]
        orders = [self._new_order(leg, Purpose.STRATEGY) for leg in legs]
        refusal = self._pair_refusal(legs, orders[0])
        if refusal is None:
            for order, other in zip(orders, reversed(orders), strict=True):
                order.linked_id = other.client_order_id
            # The frame has one lease for both, and what protects a position never has one.
            lease_ns = min(order.expire_ns for order in orders)
            for order in orders:
                order.expire_ns = lease_ns
            refusal = None if self._commit_intent(*orders) else _JOURNAL_FAILED
        if refusal is not None:
            for leg in legs:
                self._deny(leg, refusal, reply)
            return
        for leg in legs:
            self._account.risk.on_sent(leg)
        self._sender.submit(*orders)

    def _pair_refusal(self, legs: list[SubmitOrder], first_order: Order) -> Refusal | None:
        first, second = legs
        fault = pair_fault(first, second)
        if not fault and first.client_order_id == second.client_order_id:
            fault = f"both legs have the id {first.client_order_id}"
        if fault:
            return Refusal(Denial.ORDER_INVALID, f"OCO order: {fault}")
        view = self._view(first)
        refusal = check_order(first, view) or self._account.risk.check(first, view)
        if refusal is not None:
            return refusal
        # Only one of them fills, so that each is held against the limits by itself; they are two orders all the same.
        view = self._view(second)
        return check_order(second, view) or self._account.risk.check(second, view, beside=first_order)

    def modify_bracket(self, command: ModifyBracket, reply: Reply) -> None:
        """Check the new distances of a bracket's exits, commit, send them."""
        order = self._account.find(command.client_order_id)
        refusal = self._refusal_of(order, command.strategy_id)
        if order is not None and refusal is None:
            levels = Levels(
                command.stop_ticks if command.stop_ticks is not None else order.stop_ticks,
                command.target_ticks if command.target_ticks is not None else order.target_ticks,
            )
            refusal = self._levels_refusal(command, order, levels)
            if refusal is None:
                if self._sender.levels.request(order, levels):
                    self._account.risk.on_changed(order.strategy_id)
                return
        self._refuse_modify(command, order, refusal, reply)

    def submit_exit(self, command: SubmitOrder, purpose: Purpose = Purpose.EXIT) -> bool:
        """The closing order of a flatten, or a leg of a roll: no limit stands against it, the journal and the link do.

        It counts in the rate of orders, which is the account's.
        """
        order = self._new_order(command, purpose)
        if self._sender.link.session is None or not self._commit_intent(order):
            return False
        self._account.risk.on_sent(command, is_reducing=purpose is not Purpose.ROLL)
        self._sender.submit(order)
        return True

    def opening_refusal(self, command: SubmitOrder) -> Refusal | None:
        """What stands against an order of the system's own that opens a position (the second leg of a roll).

        All checks but those of the strategy's process and state: epoch, id, pause, a flatten, and a roll that is under
        way, which the order belongs to.
        """
        view = self._view(command)
        return check_opening(command, view) or self._account.risk.check(command, view)

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
            refusal = self._modify_refusal(command, order, terms, order.levels())
            if refusal is None:
                if self._sender.modify(order, terms):
                    self._account.risk.on_changed(order.strategy_id)
                return
        self._refuse_modify(command, order, refusal, reply)

    def _refuse_modify(
        self, command: ModifyOrder | ModifyBracket, order: Order | None, refusal: Refusal | None, reply: Reply
    ) -> None:
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
            self._cancel(order)
            return
        text = "" if refusal is None else f"{refusal.code}: {refusal.text}"
        reply(OrderCancelRejected(**self._fields(command.client_order_id, command.strategy_id, order), text=text))

    def cancel_all(self, command: CancelAllOrders) -> bool:
        """Cancel a strategy's orders, one by one, but none of a flatten or a roll; False for a stale epoch."""
        if command.fencing_epoch != self.epochs.get(command.strategy_id):
            return False
        for order in self._account.table.open_orders(command.strategy_id, command.symbol):
            if order.purpose is Purpose.STRATEGY:
                self._cancel(order)
        return True

    def cancel_entries(self, strategy_id: StrategyId, symbol: str) -> None:
        """Cancel what could open a position, in one symbol or (empty) in all."""
        for order in self._account.entries(strategy_id):
            if order.purpose is Purpose.STRATEGY and symbol in ("", order.symbol):
                self._cancel(order)

    def _cancel(self, order: Order) -> None:
        if not is_leaving(order):
            self._account.risk.on_canceled(order.strategy_id)
        self._sender.request_cancel(order)

    def sweep(self) -> None:
        """Tell of the denials that were answered only; call a few times a second."""
        self._denials.sweep()

    def _commit_intent(self, *orders: Order) -> bool:
        """One commit before the frame; False when it failed, and then nothing may be sent."""
        account = self._account
        try:
            event_id = account.journal.write_intent(*orders)
        except JournalWriteError as error:
            account.journal_failed(error)
            return False
        for number, order in enumerate(orders):
            account.table.add(order)
            account.orders_by_strategy[order.strategy_id] += 1
            account.publish(events.initialized(order, event_id + number * EVENTS_PER_INTENT))
        return True

    def _deny(self, command: SubmitOrder, refusal: Refusal, reply: Reply) -> None:
        order, is_used = self._new_order(command, Purpose.STRATEGY), self._account.is_used(command.client_order_id)
        reply(self._denials.record(order, refusal, is_used=is_used))

    def _view(self, command: SubmitOrder, changed: Order | None = None) -> GateView:
        account = self._account
        return GateView(
            trading_state=account.trading_state,
            connected=account.connected and self._sender.link.session is not None,
            reconciling=account.reconciling or account.is_ending,
            journal_writable=not account.journal.failed,
            paused=command.strategy_id in account.pauses,
            flattening=(command.strategy_id, command.symbol) in self.flattening or command.strategy_id in self.closing,
            current_epoch=self.epochs.get(command.strategy_id, -1),
            is_duplicate_id=changed is None and account.is_used(command.client_order_id),
            tick_rules=account.tick_rules.get(command.symbol),
            strategy_position=account.ledger.quantity(command.strategy_id, command.symbol),
            market=self._market_view(command, changed),
        )

    def _market_view(self, command: SubmitOrder, changed: Order | None) -> MarketView:
        markets, symbol = self._account.markets, command.symbol
        phase = markets.phase(symbol)
        stops, others = Counter[Side](), Counter[Side]()
        for order in self._account.table.carrying():
            if order is changed or (order.strategy_id, order.symbol) != (command.strategy_id, symbol):
                continue
            if not is_protection(order):
                others[order.side] += order.exposure
            elif not is_leaving(order):
                # One that is being canceled gives way to its successor; where both fill, what is too much is cut.
                stops[order.side] += order.exposure
        return MarketView(
            phase=phase,
            trading_begins="" if phase is MarketPhase.OPEN else markets.trading_begins(symbol),
            may_exit=markets.may_exit(symbol),
            contradicted=markets.contradicted(symbol),
            no_trade=markets.no_trade(command.strategy_id, symbol),
            ended=markets.ended(symbol),
            unprotective_buy=others[Side.BUY],
            unprotective_sell=others[Side.SELL],
            protective_buy=stops[Side.BUY],
            protective_sell=stops[Side.SELL],
            filled=0 if changed is None else changed.filled_quantity,
            mismatch=self._account.contracts.mismatch(symbol),
            left=self._account.contracts.left(symbol, command.strategy_id),
        )

    def _refusal_of(self, order: Order | None, strategy_id: StrategyId) -> Refusal | None:
        if order is None or order.strategy_id != strategy_id:
            return Refusal(Denial.ORDER_UNKNOWN, "no order of this strategy has this id")
        if order.is_final:
            return Refusal(Denial.ORDER_NOT_WORKING, f"the order is {order.status}")
        return None

    def _modify_refusal(
        self, command: ModifyOrder | ModifyBracket, order: Order, terms: Terms, levels: Levels
    ) -> Refusal | None:
        if order.operation is not None or order.cancel_wanted or order.status not in _AT_REST:
            return Refusal(Denial.ORDER_OPERATION_IN_FLIGHT, f"the order is {order.status}; wait for its answer")
        if terms.quantity <= order.filled_quantity:
            return Refusal(Denial.ORDER_INVALID, f"quantity {terms.quantity}, {order.filled_quantity} are filled")
        if order.is_bracket and terms.quantity > order.quantity_max:
            text = f"quantity {terms.quantity}, the bracket's exits are for {order.quantity_max}: send another bracket"
            return Refusal(Denial.ORDER_INVALID, text)
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
            trail_by_ticks=order.trail_by_ticks,
            stop_ticks=levels.stop_ticks,
            target_ticks=levels.target_ticks,
        )
        view = self._view(as_order, order)
        return check_modify(as_order, view) or self._account.risk.check(as_order, view, order)

    def _levels_refusal(self, command: ModifyBracket, order: Order, levels: Levels) -> Refusal | None:
        if not order.is_bracket:
            return Refusal(Denial.ORDER_INVALID, "the order is no entry of a bracket")
        for name, before, ticks in zip(Levels._fields, order.levels(), levels, strict=True):
            if ticks != before and not before:
                return Refusal(Denial.ORDER_INVALID, f"{name} {ticks}: the bracket was sent without that exit")
            fault = ticks_fault(ticks, name, least=1 if before else 0)
            if fault:
                return Refusal(Denial.ORDER_INVALID, fault)
        if levels == order.levels():
            return Refusal(Denial.ORDER_INVALID, "the exits are to be where they are")
        if order.filled_quantity or order.reported_filled:
            return Refusal(Denial.ORDER_NOT_WORKING, "the entry has filled: change the prices of its exits")
        return self._modify_refusal(command, order, order.terms(), levels)

    def _new_order(self, command: SubmitOrder, purpose: Purpose) -> Order:
        account = self._account
        order = Order(
            **msgspec.structs.asdict(command),
            account_id=account.account_id,
            purpose=purpose,
            connection_epoch=account.connection_epoch,
            broker_ts_ns=account.broker_ts_ns,
            ts_init_ns=account.context.market_time.now_ns(),
        )
        order.expire_ns = lease_end_ns(order, account.settings)
        return order

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


_JOURNAL_FAILED = Refusal(Denial.STATE_JOURNAL_FAILED, "the journal cannot be written")
_AT_REST = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED})
