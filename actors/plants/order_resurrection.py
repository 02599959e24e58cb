"""Orders that are over by our books and at work by the broker's: what they fill counts, their rest is canceled.

The rule. An order that ended by the broker's silence (a *tombstone*) is back with the first sign that it works: any
image of it, any live report but one of a fill of before the end of its day. Where the broker itself reported the end,
a late image is a normal thing: a list is older than the report that has overtaken it. Such an order is back when an
image is newer than all that was known of it, or when a second list, asked for after the first, shows it once more; a
live report that is newer has the lists asked. A replayed execution says that an order filled once, not that it works.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.plants import order_events as events
from actors.plants.order_externals import is_external
from nightdesk.messages import ClientOrderId, Severity
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.order import Order

if TYPE_CHECKING:
    from actors.plants.order_account import Account

_AT_WORK = frozenset({UpdateKind.OPEN, UpdateKind.TRIGGER_PENDING, UpdateKind.TRIGGERED, UpdateKind.MODIFIED})
"""Reports that leave no doubt that the broker has the order."""

_HEARD_OF = _AT_WORK | {UpdateKind.RECEIVED, UpdateKind.FILLED}
"""Enough, where nothing but silence has ended it. Words that nobody documents are among what counts as received."""


class Resurrections:
    """Judges what comes of orders that are over; ``cancel`` and ``request_reconcile`` are the sender's."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self._told: set[ClientOrderId] = set()
        self._shown: dict[ClientOrderId, Order] = {}
        self._shown_before: dict[ClientOrderId, Order] = {}
        self.cancel: Callable[[Order], None] = lambda order: None
        self.request_reconcile: Callable[[str], None] = lambda reason: None

    def begin_list(self) -> None:
        """The broker's lists are asked for anew."""
        self._shown_before, self._shown = self._shown, {}

    def doubtful(self) -> list[Order]:
        """Orders that the lists just read show at work for the first time after their end: the next ones decide."""
        return list(self._shown.values())

    def gone(self, order: Order) -> None:
        """A whole list does not show an order that was back: it is over once more, by the broker's silence."""
        self._account.table.revive(order, revived=False)
        self._account.log.warning("order_resurrected_gone", **events.order_fields(order))

    def answered(self, order: Order) -> None:
        """The gateway has taken an order: one that silence had ended is there after all."""
        if order.is_final and order.tombstone and not order.revived:
            self._revive(order)

    def judge(self, order: Order, update: BrokerUpdate, known_ns: int) -> None:
        """Take in a report about an order that was over before it; ``known_ns`` is the newest time known until then."""
        if update.kind in COMPLETIONS or order.filled_quantity >= order.quantity:
            self._is_over(order)
        elif order.revived:
            # Told and canceled already. A list that still shows it says that this cancel was lost.
            if update.is_snapshot and update.kind is not UpdateKind.FILLED:
                self.cancel(order)
        elif order.tombstone:
            if update.kind in _HEARD_OF and not self._is_late_fill(order, update):
                self._revive(order)
        elif update.is_snapshot:
            self._judge_image(order, update, known_ns)
        elif update.kind in _AT_WORK | {UpdateKind.FILLED} and update.ts_event_ns > known_ns:
            self.request_reconcile(f"{order.client_order_id}: reported as {update.kind} after it was {order.status}")

    def _judge_image(self, order: Order, update: BrokerUpdate, known_ns: int) -> None:
        if update.kind not in _AT_WORK:
            return
        if update.ts_event_ns > known_ns or order.client_order_id in self._shown_before:
            self._shown.pop(order.client_order_id, None)
            self._revive(order)
        else:
            self._shown[order.client_order_id] = order

    def _is_late_fill(self, order: Order, update: BrokerUpdate) -> bool:
        if update.kind is not UpdateKind.FILLED:
            return False
        markets = self._account.markets
        of_before = markets.is_day_over(order) and not markets.is_day_over(order, update.ts_event_ns)
        return update.is_snapshot or of_before

    def _is_over(self, order: Order) -> None:
        if order.tombstone or order.revived:
            order.tombstone = False
            self._account.table.revive(order, revived=False)
            self._account.commit(order)

    def _revive(self, order: Order) -> None:
        """It counts until it is over at the broker, and that is journalled; foreign ones are left alone."""
        account = self._account
        account.table.revive(order, revived=True)
        order.tombstone = True
        account.commit(order)
        if order.client_order_id not in self._told:
            self._told.add(order.client_order_id)
            what = "it is not ours and is left alone" if is_external(order) else "its rest is canceled"
            text = f"order {order.client_order_id} was over ({order.status}) and is at the broker; {what}"
            account.log.critical("order_resurrected", **events.order_fields(order))
            account.context.alert("order_resurrected", Severity.CRITICAL, text, client_order_id=order.client_order_id)
        self.cancel(order)
