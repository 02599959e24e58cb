"""Moves a bracket's exits before its entry fills: one distance after the other, each after the answer before it.

The server finds what is to be moved by its present distance, so that a change cannot be made twice. It takes a change
of an entry that has filled, too, and reports later that it failed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from actors.plants import order_events as events
from nightdesk.errors import LinkError
from nightdesk.messages import Denial, OrderPendingUpdate, OrderStatus, VenueOrderId
from nightdesk.rithmic import held_orders as wire
from nightdesk.rithmic import orders as order_wire
from nightdesk.rithmic.session import NotSentError
from nightdesk.trading.order import Levels, Operation, Order
from nightdesk.trading.order_transitions import Step

if TYPE_CHECKING:
    from actors.plants.order_account import Account
    from actors.plants.order_sender import Sender


class LevelSender:
    """The sender's part for distances."""

    def __init__(self, account: "Account", sender: "Sender") -> None:
        self._account = account
        self._sender = sender

    def request(self, order: Order, levels: Levels) -> bool:
        """Commit and send new distances; False when the journal could not take it and nothing is sent."""
        account = self._account
        order.request_levels(levels)
        order.operation_deadline_s = self._sender.answer_deadline_s()
        account.table.step(order, Step.REQUEST_UPDATE)
        message = OrderPendingUpdate(**account.event_fields(order))
        if not account.commit(order, message):
            self._sender.modify_refused(order, f"{Denial.STATE_JOURNAL_FAILED}: the journal cannot be written")
            return False
        account.publish(message)
        self._send_next(order)
        return True

    def on_answer(self, order: Order, answer: order_wire.OrderAnswer) -> None:
        """333 or 335: the gateway has taken one of the distances, or not."""
        wanted = order.pending_levels
        if wanted is None or order.operation is not Operation.MODIFY or order.status is not OrderStatus.PENDING_UPDATE:
            return
        if answer.is_refused:
            self._sender.modify_refused(order, answer.text)
            return
        if order.filled_quantity:
            # Taken, and it will fail: its report says so.
            return
        is_stop = answer.request == order_wire.MODIFY_STOP
        # A 353 may have said it before, and then the next one is on its way.
        if self._take(order, Levels(wanted.stop_ticks, 0) if is_stop else Levels(0, wanted.target_ticks)):
            self._go_on(order)

    def on_report(self, report: wire.BracketReport) -> None:
        """353: how far the exits of a bracket are now, whoever has moved them."""
        order = self._account.find_by_venue(report.venue_order_id)
        if report.account_id != self._account.account_id or order is None or not order.is_bracket:
            return
        if self._take(order, report.levels):
            if order.pending_levels is not None and order.status is OrderStatus.PENDING_UPDATE:
                self._go_on(order)
            elif not order.is_final:
                self._tell(order)
            else:
                self._account.commit(order)

    def in_doubt(self) -> list[Order]:
        """Brackets of which nobody knows how far their exits are: the answer to a change was lost."""
        return [
            order
            for order in self._account.table.open_orders()
            if order.is_bracket and order.status is OrderStatus.PENDING_UPDATE and order.operation is None
        ]

    def told(self, found: Mapping[VenueOrderId, Levels]) -> None:
        """The server's lists of brackets, read after an answer was lost."""
        for order in self.in_doubt():
            if order.venue_order_id is not None and order.venue_order_id in found:
                self._take(order, found[order.venue_order_id])

    def _take(self, order: Order, levels: Levels) -> bool:
        """Take over distances of exits that there are; whether one was new."""
        before = order.levels()
        order.take_levels(Levels(*(new if old and new else old for old, new in zip(before, levels, strict=True))))
        return order.levels() != before

    def _go_on(self, order: Order) -> None:
        """Send what is left of a change, or tell that all of it is made."""
        if order.pending_levels is not None and order.levels() != order.pending_levels:
            self._account.commit(order)
            order.operation_deadline_s = self._sender.answer_deadline_s()
            self._send_next(order)
            return
        order.operation, order.pending_levels = None, None
        self._account.table.step(order, Step.UPDATED)
        self._tell(order)
        self._sender.pump(order)

    def _tell(self, order: Order) -> None:
        message = events.updated(order, self._account.event_fields(order))
        self._account.commit(order, message)
        self._account.tell(order, message)

    def _send_next(self, order: Order) -> None:
        self._account.context.spawn(self._transmit(order), name=f"modify bracket {order.client_order_id}")

    async def _transmit(self, order: Order) -> None:
        session = self._sender.link.session
        if order.pending_levels is None:
            return
        frames = wire.level_frames(order, order.pending_levels)
        try:
            if session is None:
                raise NotSentError("the link was lost")
            template_id, fields = frames[0]
            await session.send(template_id, **fields)
        except NotSentError as error:
            self._sender.modify_refused(order, f"{Denial.STATE_DISCONNECTED}: {error}")
        except LinkError as error:
            order.operation = None
            self._account.request_reconcile(f"{order.client_order_id}: the change was perhaps not sent: {error}")
