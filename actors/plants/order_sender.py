"""The sender: hands each frame to the socket exactly once and waits for its answer.

Nothing here sends anything twice, with one exception that can do no harm: a cancel of an order that the broker still
shows. An order whose fate is unknown is in doubt and belongs to the reconciliation.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.plants import order_events as events
from actors.plants.order_account import Account
from actors.plants.order_cancel_waits import CancelWaits
from actors.plants.order_expiry import is_expired
from actors.plants.order_externals import is_external
from actors.plants.order_levels import LevelSender
from nightdesk.errors import LinkError
from nightdesk.messages import (
    ClientOrderId,
    Denial,
    OrderCancelRejected,
    OrderDenied,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderStatus,
    OrderSubmitted,
    Severity,
)
from nightdesk.rithmic import orders as wire
from nightdesk.rithmic.held_orders import new_frame
from nightdesk.rithmic.session import NotSentError, PlantSession
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.order import Operation, Order, Terms
from nightdesk.trading.order_transitions import Step

ANSWER_TIMEOUT_S = 5.0
"""Without any answer to a new order, a change or a cancel for so long, its outcome is unknown."""

LINKED_CANCEL_S = 1.0
"""What the server has to cancel an order with the one that it is linked with."""


@dataclass(slots=True)
class Link:
    """The present way to the broker; each connection brings another session."""

    session: PlantSession | None = None


class Sender:
    """Sends what the gate let pass; ``request_reconcile`` is called when an outcome is unknown."""

    def __init__(self, account: Account, link: Link, request_reconcile: Callable[[str], None]) -> None:
        self.link = link
        self._account = account
        self._request_reconcile = request_reconcile
        self._suspects: dict[ClientOrderId, float] = {}
        """Orders whose cancel was refused, and when they should be over at the latest if that is because they end."""
        self._waits = CancelWaits(account)
        self._linked: dict[ClientOrderId, float] = {}
        """Orders that the server is canceling with another one, and until when that is waited for."""
        self.levels = LevelSender(account, self)
        account.after_update = self._after_update
        account.request_reconcile = request_reconcile
        account.resurrections.cancel = self._cancel_revived
        account.resurrections.request_reconcile = request_reconcile

    def submit(self, *orders: Order) -> None:
        """Send a new order whose intent is committed, or the two of an OCO order in one frame."""
        for order in orders:
            order.operation = Operation.SUBMIT
            order.operation_deadline_s = self.answer_deadline_s()
        self._account.context.spawn(self._transmit_new(orders), name=f"submit {orders[0].client_order_id}")

    def modify(self, order: Order, terms: Terms) -> bool:
        """Commit and send an order's new terms; False when the journal could not take them and nothing is sent."""
        account = self._account
        before = order.quantity_max
        order.request_terms(terms)
        order.operation_deadline_s = self.answer_deadline_s()
        account.table.step(order, Step.REQUEST_UPDATE)
        message = OrderPendingUpdate(**account.event_fields(order))
        if not account.commit(order, message):
            order.quantity_max = before
            self.modify_refused(order, f"{Denial.STATE_JOURNAL_FAILED}: the journal cannot be written")
            return False
        account.publish(message)
        account.context.spawn(self._transmit_modify(order, terms), name=f"modify {order.client_order_id}")
        return True

    def request_cancel(self, order: Order) -> None:
        """Send the cancel now, or as soon as the order can take it."""
        if order.is_final or order.operation is Operation.CANCEL:
            return
        is_new = not order.cancel_wanted
        order.cancel_wanted = True
        self.pump(order)
        if is_new and order.cancel_wanted:
            # It waits for the broker's id, another answer, the link or the market; a restart must not forget it.
            self._account.commit(order)

    def pump(self, order: Order) -> None:
        """Send a cancel that waited, if nothing else of the order is in flight and the broker's id is known."""
        if order.is_final:
            order.cancel_wanted = False
            if not order.revived:
                self._waits.forget(order)
        if not order.cancel_wanted or order.operation is not None or order.venue_order_id is None:
            return
        if self.link.session is None or order.status is OrderStatus.PENDING_UPDATE or self._waits.is_waiting(order):
            return
        if self._is_canceled_with_another(order):
            return
        order.cancel_wanted = False
        order.operation = Operation.CANCEL
        order.operation_deadline_s = self.answer_deadline_s()
        if self._account.table.step(order, Step.REQUEST_CANCEL):
            message = OrderPendingCancel(**self._account.event_fields(order))
            self._account.commit(order, message)
            self._account.publish(message)
        elif order.status is OrderStatus.UNKNOWN:
            self._account.commit(order)
        self._account.context.spawn(self._transmit_cancel(order), name=f"cancel {order.client_order_id}")

    def on_answer(self, answer: wire.OrderAnswer) -> None:
        """313, 315 or 317: the gateway's own word, before the exchange's."""
        order = self._account.find(answer.client_order_id)
        if order is None:
            self._account.log.warning("answer_of_unknown_order", client_order_id=answer.client_order_id)
            return
        if answer.request in wire.NEW_ORDERS:
            self._on_new_order_answer(order, answer)
            other = self._account.table.get(order.linked_id) if answer.is_refused and order.linked_id else None
            if other is not None and other.operation is Operation.SUBMIT:
                # One frame, one refusal.
                self._on_new_order_answer(other, answer)
        elif answer.request in wire.NEW_LEVELS:
            self.levels.on_answer(order, answer)
        elif answer.is_refused and answer.request == wire.MODIFY_ORDER:
            self.modify_refused(order, answer.text)
        elif answer.is_refused and order.operation is Operation.CANCEL:
            self._on_cancel_refused(order, answer.text)

    def sweep(self) -> None:
        """Give up waiting for answers that are overdue; call a few times a second."""
        now_s = self._now_s()
        for order in self._account.table.open_orders():
            if order.operation is None or now_s < order.operation_deadline_s:
                continue
            operation, order.operation = order.operation, None
            text = f"no answer to {operation.value.lower()} within {ANSWER_TIMEOUT_S:g} s"
            if operation is Operation.CANCEL and not self._waits.is_trading(order):
                self._let_wait(order, text)
                continue
            if operation is Operation.SUBMIT:
                self._account.doubt(order, text)
            else:
                order.cancel_wanted |= operation is Operation.CANCEL
                fields = events.order_fields(order)
                self._account.log.error("answer_overdue", **fields, operation=operation.value)
                self._account.context.alert(
                    "answer_overdue", Severity.ERROR, f"{order.client_order_id}: {text}", **fields
                )
            self._request_reconcile(f"{order.client_order_id}: {text}")
        self._sweep_suspects(now_s)
        for order in self._waits.orders():
            self.pump(order)
        for client_order_id in [key for key, until_s in self._linked.items() if now_s >= until_s]:
            waiting = self._account.table.get(client_order_id)
            if waiting is not None:
                self.pump(waiting)
            self._linked.pop(client_order_id, None)
        for order in self._account.table.revived():
            self._cancel_revived(order)

    def link_lost(self) -> None:
        """What was in flight has no answer any more."""
        for order in self._account.table.revived():
            self._waits.forget(order)
        for order in self._account.table.open_orders():
            operation, order.operation = order.operation, None
            if order.status in (OrderStatus.INITIALIZED, OrderStatus.SUBMITTED) and order.venue_order_id is None:
                self._account.doubt(order, "the link was lost before an answer came")
            if operation is Operation.CANCEL:
                order.cancel_wanted = True

    async def _transmit_new(self, orders: tuple[Order, ...]) -> None:
        account = self._account
        session = self.link.session
        try:
            if session is None or not all(self._is_unsent(order) for order in orders):
                # The link was lost between the commit and this turn, and may even be back: it is another one.
                raise NotSentError("the link was lost")
            if any(is_expired(order, account.context.market_time.now_ns()) for order in orders):
                self._deny_unsent(orders, Denial.ORDER_EXPIRED, "its lease was over before it could be sent")
                return
            route = session.trade_routes.get(orders[0].exchange, "")
            template_id, fields = new_frame(orders, route)
            await session.send(template_id, **fields)
        except NotSentError as error:
            self._deny_unsent(orders, Denial.STATE_DISCONNECTED, str(error))
        except LinkError as error:
            for order in orders:
                account.doubt(order, f"the send failed: {error}")
            self._request_reconcile(f"{orders[0].client_order_id}: the send failed")
        else:
            for order in orders:
                self._note_sent(order)

    def _note_sent(self, order: Order) -> None:
        account = self._account
        if order.status is OrderStatus.INITIALIZED:
            account.table.step(order, Step.SEND)
        message = OrderSubmitted(**account.event_fields(order))
        account.record(order, message)
        if order.status is OrderStatus.SUBMITTED:
            # A report that overtook the return of the send has told more than this event would.
            account.publish(message)

    def _is_unsent(self, order: Order) -> bool:
        is_of_now = order.connection_epoch == self._account.connection_epoch
        return order.status is OrderStatus.INITIALIZED and is_of_now

    def _deny_unsent(self, orders: tuple[Order, ...], code: Denial, text: str) -> None:
        """Nothing left this process, so the orders are over and may not come back."""
        account = self._account
        for order in orders:
            order.operation = None
            if order.status not in (OrderStatus.INITIALIZED, OrderStatus.UNKNOWN):
                continue
            account.table.step(order, Step.DENY)
            order.text = f"{code}: {text}"
            message = OrderDenied(**account.event_fields(order), code=code, text=text)
            account.commit(order, message)
            account.tell(order, message, alert=Severity.ERROR if order.protective else Severity.WARNING)

    async def _transmit_modify(self, order: Order, terms: Terms) -> None:
        session = self.link.session
        try:
            if session is None:
                raise NotSentError("the link was lost")
            await session.send(wire.MODIFY_ORDER, **wire.modify_order_fields(order, terms))
        except NotSentError as error:
            self.modify_refused(order, f"{Denial.STATE_DISCONNECTED}: {error}")
        except LinkError as error:
            order.operation = None
            self._request_reconcile(f"{order.client_order_id}: the change was perhaps not sent: {error}")

    async def _transmit_cancel(self, order: Order) -> None:
        session = self.link.session
        try:
            if session is None:
                raise NotSentError("the link was lost")
            await session.send(wire.CANCEL_ORDER, **wire.cancel_order_fields(order))
        except LinkError as error:
            if not order.is_final:
                order.operation, order.cancel_wanted = None, True
            self._request_reconcile(f"{order.client_order_id}: the cancel was perhaps not sent: {error}")

    def _on_new_order_answer(self, order: Order, answer: wire.OrderAnswer) -> None:
        if order.operation is Operation.SUBMIT and (answer.is_refused or answer.venue_order_id):
            order.operation = None
        if answer.is_refused and order.venue_order_id is None:
            self._account.end(order, Step.REJECT, answer.text)
            return
        if answer.is_refused:
            # The broker has reported on the order before and now refuses it: its lists decide which of them holds.
            self._request_reconcile(f"{order.client_order_id}: refused after it was reported: {answer.text}")
            return
        if answer.venue_order_id and order.venue_order_id is None and order.status is not OrderStatus.DENIED:
            self._account.table.bind(order, answer.venue_order_id)
            if not order.is_final:
                self._account.table.step(order, Step.KNOWN)
            order.heard_epoch = self._account.connection_epoch
            self._account.commit(order)
            self._account.resurrections.answered(order)
            self._account.held.bound(order)
        self.pump(order)

    def modify_refused(self, order: Order, text: str) -> None:
        """A change is not made: what was, holds."""
        if order.status is not OrderStatus.PENDING_UPDATE:
            return
        order.operation, order.pending_terms, order.pending_levels = None, None, None
        self._account.table.step(order, Step.UPDATE_REFUSED)
        message = OrderModifyRejected(**self._account.event_fields(order), text=text)
        self._account.commit(order, message)
        self._account.tell(order, message)
        self.pump(order)

    def _on_cancel_refused(self, order: Order, text: str) -> None:
        order.operation = None
        self._account.table.step(order, Step.CANCEL_REFUSED)
        message = OrderCancelRejected(**self._account.event_fields(order), text=text)
        self._account.commit(order, message)
        self._account.tell(order, message)
        if self._waits.is_trading(order):
            self._waits.forget(order)
            self._suspects[order.client_order_id] = self._now_s() + ANSWER_TIMEOUT_S
        else:
            self._let_wait(order, text)

    def _after_update(self, order: Order, update: BrokerUpdate) -> None:
        if update.kind is UpdateKind.CANCEL_FAILED and not self._waits.is_trading(order):
            self._let_wait(order, update.text)
        self.pump(order)

    def _is_canceled_with_another(self, order: Order) -> bool:
        """Whether the cancel of the order that it is linked with is on its way, which ends both: a second one would be
        of an order that is over, which brokers do not like. It goes out all the same where the first has no effect."""
        other = self._account.table.get(order.linked_id) if order.linked_id else None
        if other is None or other.operation is not Operation.CANCEL or other.is_final:
            return False
        return self._now_s() < self._linked.setdefault(order.client_order_id, self._now_s() + LINKED_CANCEL_S)

    def _let_wait(self, order: Order, text: str) -> None:
        """A market that does not trade has not taken a cancel: it goes out later, with the pre-open at the latest."""
        if order.is_final:
            return
        order.cancel_wanted = True
        self._account.commit(order)
        if self._waits.note(order) == 1:
            self._account.log.warning("cancel_waits", **events.order_fields(order), text=text)

    def _sweep_suspects(self, now_s: float) -> None:
        """A cancel is refused because the order is over, as a rule; one that stays open may be a mistake of ours."""
        for client_order_id in [key for key, due_s in self._suspects.items() if now_s >= due_s]:
            order = self._account.table.get(client_order_id)
            is_open = order is not None and not order.is_final
            if order is not None and is_open and not self._waits.is_trading(order):
                # Lists of a gateway under maintenance prove nothing: the question waits for the market.
                continue
            del self._suspects[client_order_id]
            if order is not None and is_open:
                self._request_reconcile(f"{client_order_id}: its cancel was refused and it is still {order.status}")

    def _cancel_revived(self, order: Order) -> None:
        """Cancel an order that was over and works; until the broker says that it is over, and ever less often."""
        if order.venue_order_id is None or is_external(order) or self.link.session is None:
            return
        if self._waits.is_waiting(order):
            return
        if self._waits.note(order) > 1 and self._waits.is_trading(order):
            self._request_reconcile(f"{order.client_order_id}: it was over, and its cancel is not confirmed")
        self._account.context.spawn(self._transmit_cancel(order), name=f"cancel {order.client_order_id}")

    def answer_deadline_s(self) -> float:
        """When what is sent now should have an answer."""
        return self._now_s() + ANSWER_TIMEOUT_S

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()
