"""Orders that the server makes or links by itself: whose they are, though they carry no tag of ours.

A bracket's exits come with the broker's id of their entry, the legs of an OCO order with each other's. An exit is taken
in with its first report, whichever that is, under an id that follows from its entry's, and has one row from then on. A
report may come before the broker's id of the entry is known: while such an entry or leg is unanswered or in doubt it
waits; once the broker's lists have settled that, what is left is somebody else's.
"""

from typing import TYPE_CHECKING

from actors.plants import order_events as events
from actors.plants.journal import JournalWriteError
from actors.plants.order_externals import is_external
from nightdesk.messages import ClientOrderId, OrderStatus
from nightdesk.trading.broker import BrokerUpdate
from nightdesk.trading.linked_orders import exit_id, exit_mark
from nightdesk.trading.order import Order

if TYPE_CHECKING:
    from actors.plants.order_account import Account

STRAYS_MAX = 1_000
"""Reports that wait; one more, and it is somebody else's order."""

STRAY_WAIT_S = 1.0
"""For so long an answer may be on its way; then the broker's lists are asked."""


class HeldOrders:
    """Finds the owners; ``sweep`` a few times a second, ``settle`` when whole lists were read."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self._strays: list[BrokerUpdate] = []
        self._since_s = 0.0
        self._is_settled = False

    def exit_of(self, update: BrokerUpdate) -> Order | None:
        """The exit that a report is the first of, if its entry is ours; it is known and journalled from now on."""
        if not update.entry_venue_order_id:
            return None
        entry = self._account.find_by_venue(update.entry_venue_order_id)
        if entry is None or is_external(entry) or entry.symbol != update.symbol or entry.side is update.side:
            return None
        return self._adopt(entry, update)

    def leg_of(self, update: BrokerUpdate) -> Order | None:
        """The leg of an OCO order that a report without its tag is about: the other leg says so."""
        for venue_order_id in update.linked_venue_order_ids:
            known = None if venue_order_id == update.venue_order_id else self._account.find_by_venue(venue_order_id)
            leg = None if known is None or not known.linked_id else self._account.find(known.linked_id)
            if leg is None or leg.venue_order_id is not None or leg.status is OrderStatus.DENIED:
                continue
            if (leg.side, leg.order_type) == (update.side, update.order_type):
                return leg
        return None

    def keep(self, update: BrokerUpdate) -> bool:
        """Let a report wait if its order may turn out to be ours."""
        if self._is_settled or len(self._strays) >= STRAYS_MAX or not self._may_be_ours(update):
            return False
        if not self._strays:
            self._since_s = self._account.context.clock.monotonic_s()
        self._strays.append(update)
        return True

    def bound(self, order: Order) -> None:
        """The broker's id of an order has become known: what waited for it has an owner."""
        if self._strays and (order.is_bracket or order.linked_id):
            self._release()

    def sweep(self) -> None:
        """Ask the broker's lists where an answer does not come."""
        account = self._account
        if not self._strays or account.reconciling:
            return
        if not any(self._may_be_ours(update) for update in self._strays):
            self._release()
        elif account.context.clock.monotonic_s() - self._since_s >= STRAY_WAIT_S:
            self._since_s = account.context.clock.monotonic_s()
            ids = sorted({update.venue_order_id for update in self._strays})[:5]
            account.request_reconcile(f"orders without a tag may be ours: {', '.join(ids)}")

    def settle(self) -> None:
        """Whole lists were read: what has no owner now is somebody else's."""
        self._is_settled = True
        self._release()
        self._is_settled = False

    def link_lost(self) -> None:
        """The next connection's lists tell all of it anew."""
        self._strays.clear()

    def _release(self) -> None:
        strays, self._strays = self._strays, []
        for update in strays:
            self._account.on_update(update)

    def _may_be_ours(self, update: BrokerUpdate) -> bool:
        """Whether the broker's id that a report names may be that of an order of ours that has none yet."""
        if not update.entry_venue_order_id and not update.linked_venue_order_ids:
            return False
        unbound = (
            order
            for order in self._account.table
            if order.venue_order_id is None
            and order.symbol == update.symbol
            and (not order.is_final or order.tombstone)
        )
        if update.entry_venue_order_id:
            return any(order.is_bracket and order.side is not update.side for order in unbound)
        return any(order.linked_id for order in unbound)

    def _adopt(self, entry: Order, update: BrokerUpdate) -> Order:
        account = self._account
        order = events.bracket_exit(
            update,
            entry,
            self._next_id(entry, exit_mark(update.order_type)),
            account.context.market_time.now_ns(),
            account.connection_epoch,
        )
        event_id = account.journal.next_event_id()
        try:
            event_id = account.journal.write_intent(order)
        except JournalWriteError as error:
            account.journal_failed(error)
        account.table.add(order)
        account.orders_by_strategy[order.strategy_id] += 1
        account.publish(events.initialized(order, event_id))
        fields = events.order_fields(order)
        account.log.info("bracket_exit_adopted", **fields, parent_client_order_id=entry.client_order_id)
        return order

    def _next_id(self, entry: Order, mark: str) -> ClientOrderId:
        """The first that is free: a bracket has one stop and one target, and new ones where those were canceled."""
        number = 1
        while self._account.is_used(exit_id(entry.client_order_id, mark, number)):
            number += 1
        return exit_id(entry.client_order_id, mark, number)
