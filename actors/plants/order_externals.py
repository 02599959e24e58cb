"""Orders of others on the account: nobody here sent them, and they count in its position all the same.

A report without a tag may be about an order of ours whose answer is on its way: while such an order is unanswered, the
report waits for ``UNKNOWN_HOLD_S``, and only then it is somebody else's. Externals are journalled like our own orders,
so that they are external after a restart, too.
"""

from typing import TYPE_CHECKING

from actors.plants import order_events as events
from actors.plants.journal import JournalWriteError
from nightdesk.messages import Severity
from nightdesk.trading.broker import COMPLETIONS, EXTERNAL_STRATEGY, BrokerUpdate
from nightdesk.trading.order import Operation, Order, Purpose

if TYPE_CHECKING:
    from actors.plants.order_account import Account

UNKNOWN_HOLD_S = 1.0
"""So long a report of an order that nobody knows waits for an answer that may tell whose it is."""

HELD_MAX = 1_000
"""Reports that wait; one more is somebody else's at once."""

NEVER_TOUCHED = "external_orders is report: orders of others are never touched; set it to adopt to reach them"


class Externals:
    """Adopts them; while the broker's lists are read, all that were found are told of at once."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self._new: list[Order] = []
        self._held: list[tuple[float, BrokerUpdate]] = []
        self._is_releasing = False
        self.may_be_touched = account.settings.external_orders == "adopt"
        """Whether the operator may cancel them, and close what they opened."""

    def adopt(self, update: BrokerUpdate) -> Order | None:
        """Take in an order of somebody else; None for one that ended without a fill (it is no concern), and for a
        report that waits."""
        account = self._account
        if self._has_to_wait(update):
            self._held.append((account.context.clock.monotonic_s(), update))
            return None
        if update.kind in COMPLETIONS:
            return None
        order = events.external_order(update, account.context.market_time.now_ns(), account.connection_epoch)
        try:
            account.journal.write_intent(order)
        except JournalWriteError as error:
            account.journal_failed(error)
        account.table.add(order)
        account.orders_by_strategy[order.strategy_id] += 1
        self._new.append(order)
        account.log.warning("order_external", **events.order_fields(order))
        if not account.reconciling:
            self.tell()
        return order

    def sweep(self) -> None:
        """Take in what has waited long enough, or has an owner by now; call a few times a second."""
        if self._held:
            self._release(self._account.context.clock.monotonic_s() - UNKNOWN_HOLD_S)

    def tell(self) -> int:
        """One alert for all that were found since the last one; how many they are."""
        found, self._new = self._new, []
        if found:
            first = (f"{order.side} {order.quantity} {order.symbol} {order.venue_order_id}" for order in found[:5])
            names = ", ".join(first)
            text = f"{len(found)} orders on the account are not ours and count in its position: {names}"
            self._account.context.alert("order_external", Severity.CRITICAL, text, orders=len(found))
        return len(found)

    def _has_to_wait(self, update: BrokerUpdate) -> bool:
        if self._is_releasing or update.is_snapshot or update.client_order_id or len(self._held) >= HELD_MAX:
            return False
        if any(each.venue_order_id == update.venue_order_id for _, each in self._held):
            # What was first told of the order is first taken in.
            return True
        return self._is_awaited(update)

    def _is_awaited(self, update: BrokerUpdate) -> bool:
        """Whether an order of ours that this may be has no answer yet."""
        return any(
            order.operation is Operation.SUBMIT and order.venue_order_id is None and order.side is update.side
            for order in self._account.table.open_orders(symbol=update.symbol)
        )

    def _release(self, until_s: float) -> None:
        held, self._held = self._held, []
        kept: set[str] = set()
        for since_s, update in held:
            is_awaited = since_s > until_s and self._is_awaited(update)
            is_ours = self._account.find_by_venue(update.venue_order_id) is not None
            if update.venue_order_id in kept or (is_awaited and not is_ours):
                kept.add(update.venue_order_id)
                self._held.append((since_s, update))
                continue
            self._is_releasing = True
            self._account.on_update(update)
            self._is_releasing = False


def is_external(order: Order) -> bool:
    """Whether somebody else sent the order."""
    return order.purpose is Purpose.EXTERNAL or order.strategy_id == EXTERNAL_STRATEGY
