"""Judges each order by the broker's lists that were just read: adopted, asked for again, or over.

The rules. What a list shows is there. What no list shows is *unknown*: it is over only when ``attempts`` whole lists,
over ``span_s``, did not show it on a connection that is younger than its frame and than all that the broker told of it;
then it leaves a tombstone. A list that lacks what it must show, because the broker itself told of it in this session,
proves nothing at all.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.plants import order_events as events
from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_expiry import is_expired
from nightdesk.messages import OrderModifyRejected, OrderStatus, Severity, TimeInForce, VenueOrderId
from nightdesk.trading.order import Operation, Order
from nightdesk.trading.order_transitions import Step
from nightdesk.trading.sessions import NS_PER_S

if TYPE_CHECKING:
    from actors.plants.order_reconcile import ReconcilePolicy

WITNESSES_MAX = 20
"""So many of the newest orders are looked for in a list that does not show another one."""

DOUBTFUL_FACTOR = 10
"""A list that lacks what it must show counts all the same after so many times the attempts and the span: it may be the
broker that has lost them."""

LEASE_MARGIN_NS = 5 * NS_PER_S
"""What this machine's clock may be before the exchange's, which ends leases, in market time."""

_LISTS_SHOW_ENDED = "lists_show_ended"
"""The note that this broker's lists have shown orders that were over, so that those that are missing can be missed."""


class Judge:
    """One per account; ``begin`` with each reconciliation, ``judge`` after each round of lists."""

    def __init__(self, account: Account, policy: "ReconcilePolicy") -> None:
        self._account = account
        self._policy = policy
        self._seen: set[VenueOrderId] = set()
        self._counts = True
        self._doubtful = 0
        self._shows_ended = policy.lists_show_ended or account.journal.note(_LISTS_SHOW_ENDED) is not None
        self.not_found = 0
        self.wants_new_session = False
        """An order that is not listed was sent over this very connection: another one is to say so, too."""
        self.on_listed: Callable[[Order], None] = lambda order: None

    def begin(self) -> None:
        """Each order is judged by the answers of this reconciliation alone."""
        self.not_found = self._doubtful = 0
        self.wants_new_session = False
        for order in self._account.table.open_orders():
            order.misses = 0

    def shows_ended(self) -> None:
        """A list of the broker has shown an order that is over."""
        if not self._shows_ended:
            self._shows_ended = True
            try:
                self._account.journal.write_note(_LISTS_SHOW_ENDED, "1")
            except JournalWriteError as error:
                self._account.journal_failed(error)

    def judge(self, seen: set[VenueOrderId], policy: "ReconcilePolicy", *, counts: bool) -> list[Order]:
        """What must be asked for again. ``seen`` are the broker's ids of the lists just read; ``counts``: some market
        traded when they were asked for."""
        account = self._account
        self._seen, self._policy, self._counts = seen, policy, counts
        unsettled = [*account.table.missing_fills(), *account.resurrections.doubtful(), *self._lost_again()]
        absent = []
        for order in account.table.open_orders():
            if order.operation is Operation.SUBMIT:
                # Sent while the lists were on their way (an operator's exit); its own answer or time-out decides.
                continue
            if order.venue_order_id is None or order.venue_order_id not in seen:
                absent.append(order)
                continue
            order.misses = 0
            if order.status is OrderStatus.UNKNOWN:
                account.table.step(order, Step.SETTLE)
                account.commit(order)
            self.on_listed(order)
        is_credible = not absent or not counts or self._is_credible()
        return unsettled + [order for order in absent if not self._is_gone(order, is_credible=is_credible)]

    def settle_updates(self) -> None:
        """Changes and cancels that were on their way when the link was lost: the lists told which terms hold."""
        for order in self._account.table.open_orders():
            if order.operation is None and order.status is OrderStatus.PENDING_UPDATE:
                self._settle_update(order)
            if order.operation is None and order.status is OrderStatus.PENDING_CANCEL:
                order.cancel_wanted = True

    def _is_credible(self) -> bool:
        """Whether the lists show what they must, or have failed to for so long that it makes no difference."""
        missing = self._missing_witnesses()
        self._doubtful = self._doubtful + 1 if missing else 0
        if missing and self._doubtful <= self._policy.attempts * DOUBTFUL_FACTOR:
            self._account.log.warning("reconcile_list_doubtful", lacks=missing[:5], lists=self._doubtful)
            return False
        return True

    def _missing_witnesses(self) -> list[str]:
        """Orders that the broker has told of in this session, and that its lists do not show."""
        account, found = self._account, []
        if not self._shows_ended:
            return []
        for report in account.journal.newest_orders(WITNESSES_MAX):
            venue_order_id = report.venue_order_id
            if venue_order_id is None or venue_order_id in self._seen:
                continue
            order = account.find(report.client_order_id)
            # One that filled is listed by its last execution, as a replay brings it, too: it is never among those seen.
            is_filled = order is not None and order.status is OrderStatus.FILLED
            is_witness = order is not None and order.is_final and not is_filled and not order.tombstone
            if is_witness and report.ts_last_ns >= account.markets.session_began_ns(report.symbol):
                found.append(f"{report.client_order_id} ({venue_order_id})")
        return found

    def _lost_again(self) -> list[Order]:
        """Orders that were back after their end and are not listed now; what must be asked for again."""
        account, doubtful = self._account, []
        for order in account.table.revived():
            if order.venue_order_id in self._seen or not self._counts:
                continue
            order.misses += 1
            if order.misses < self._policy.attempts:
                doubtful.append(order)
            else:
                account.resurrections.gone(order)
        return doubtful

    def _is_gone(self, order: Order, *, is_credible: bool) -> bool:
        """Count a list that did not show the order; True when that was often enough and its end is journalled."""
        account = self._account
        is_lease_over = is_expired(order, account.markets.time.now_ns() - LEASE_MARGIN_NS)
        if is_lease_over or account.markets.is_day_over(order):
            # Expected: it ended with its lease or its session. Fills that it had before count whenever they come; a
            # gateway under maintenance may not tell of them: they are asked for until that was done while a market
            # trades.
            known_ns = account.replay_from_ns
            account.keep_replay_from(order.broker_ts_ns if known_ns is None else min(known_ns, order.broker_ts_ns))
            text = f"its {'lease' if is_lease_over else 'day'} is over, and the broker does not list it any more"
            account.end(order, Step.EXPIRE, text, tombstone=True)
            return True
        if not self._counts:
            # A gateway under maintenance may show nothing at all: it is asked again until a market trades.
            return False
        now_s = account.context.clock.monotonic_s()
        if order.misses == 0:
            order.first_miss_s = now_s
            account.doubt(order, "the broker's list does not show the order")
        if not is_credible:
            return False
        order.misses += 1
        is_enough = order.misses >= self._policy.attempts and now_s - order.first_miss_s >= self._policy.span_s
        if self._policy.fresh_session and self._is_of_this_session(order):
            # Of one that the broker never told of, no list of this session will be enough.
            self.wants_new_session |= is_enough or order.venue_order_id is None
            return False
        if is_enough:
            self._end(order)
        return is_enough

    def _is_of_this_session(self, order: Order) -> bool:
        """Whether the order was sent over this connection, or the broker told of it over this connection."""
        is_sent = order.venue_order_id is None and order.connection_epoch == self._account.connection_epoch
        return is_sent or order.heard_epoch == self._account.connection_epoch

    def _end(self, order: Order) -> None:
        account = self._account
        self.not_found += 1
        if order.venue_order_id is None:
            text = f"NOT_FOUND: {order.misses} lists of the broker do not show it"
            account.end(order, Step.NOT_FOUND, text, tombstone=True)
        else:
            # The broker had it: a day order is over with its session, anything else was canceled behind our back.
            is_day_order = order.time_in_force is TimeInForce.DAY
            text = "NOT_FOUND: the broker no longer lists the order"
            account.end(order, Step.EXPIRE if is_day_order else Step.CANCELED, text, tombstone=True)
        account.context.alert(
            "order_not_found", Severity.ERROR, f"{order.client_order_id}: {order.text}", **events.order_fields(order)
        )

    def _settle_update(self, order: Order) -> None:
        account = self._account
        wanted, order.pending_terms = order.pending_terms, None
        wanted_levels, order.pending_levels = order.pending_levels, None
        account.table.step(order, Step.SETTLE)
        fields = account.event_fields(order)
        is_other = wanted is not None and not wanted.is_same(order.terms())
        refused = is_other or wanted_levels not in (None, order.levels())
        text = "the link was lost and the broker holds the former terms"
        message = OrderModifyRejected(**fields, text=text) if refused else events.updated(order, fields)
        account.commit(order, message)
        account.tell(order, message)
