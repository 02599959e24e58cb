"""Orders and their states: one visible table of transitions, and the exposure that the orders carry.

Pure: no clock, no files. The order plant commits what changed before it tells anybody.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice

from nightdesk.errors import InvariantError
from nightdesk.messages import ClientOrderId, OrderStatus, Side, StrategyId, VenueOrderId
from nightdesk.trading.broker import COMPLETIONS, BrokerUpdate, UpdateKind
from nightdesk.trading.linked_orders import counted
from nightdesk.trading.order import NO_ORDER, Change, Operation, Order, Purpose, Terms
from nightdesk.trading.order_transitions import FINAL, TRANSITIONS, Step
from nightdesk.trading.units import PRICE_TOLERANCE

FINISHED_KEPT_MAX = 2_000
"""Finished orders that stay in memory for late reports; older ones are read back from the journal when needed."""

_STEPS: dict[UpdateKind, Step] = {
    UpdateKind.RECEIVED: Step.KNOWN,
    UpdateKind.OPEN: Step.OPEN,
    UpdateKind.TRIGGER_PENDING: Step.OPEN,
    UpdateKind.TRIGGERED: Step.TRIGGER,
    UpdateKind.MODIFIED: Step.UPDATED,
    UpdateKind.MODIFY_FAILED: Step.UPDATE_REFUSED,
    UpdateKind.CANCEL_CONFIRMED: Step.CANCEL_CONFIRMED,
    UpdateKind.CANCEL_FAILED: Step.CANCEL_REFUSED,
    UpdateKind.COMPLETE_FILLED: Step.FILL_ALL,
    UpdateKind.COMPLETE_CANCELED: Step.CANCELED,
    UpdateKind.COMPLETE_FAILED: Step.REJECT,
    UpdateKind.COMPLETE_OTHER: Step.EXPIRE,
    UpdateKind.LINK_FAILED: Step.KNOWN,
    UpdateKind.NOTE: Step.KNOWN,
}

NS_PER_S = 1_000_000_000

_TELLING = COMPLETIONS | {
    *(UpdateKind.MODIFY_FAILED, UpdateKind.CANCEL_FAILED, UpdateKind.LINK_FAILED, UpdateKind.NOTE)
}
"""Reports whose text says why; the others carry only progress notes."""


class OrderTable:
    """All orders that are not over, and the newest of those that are."""

    def __init__(self, finished_kept_max: int = FINISHED_KEPT_MAX) -> None:
        self._orders: dict[ClientOrderId, Order] = {}
        self._open: dict[ClientOrderId, Order] = {}
        self._by_venue: dict[tuple[str, VenueOrderId], Order] = {}
        self._finished: OrderedDict[ClientOrderId, None] = OrderedDict()
        self._lacking: dict[ClientOrderId, Order] = {}
        self._revived: dict[ClientOrderId, Order] = {}
        self._finished_kept_max = finished_kept_max
        self.counts: Counter[OrderStatus] = Counter()
        """Orders by status; whoever rebuilds the table adds what only the journal remembers."""

    def add(self, order: Order, *, counted: bool = True) -> None:
        """Take in a new order, or (``counted`` False) one that the journal held and the counts include already."""
        if order.client_order_id in self._orders:
            raise InvariantError(f"order {order.client_order_id} is in the table already")
        self._orders[order.client_order_id] = order
        if counted:
            self.counts[order.status] += 1
        if order.venue_order_id is not None:
            self._by_venue[(order.account_id, order.venue_order_id)] = order
        self._note_lacking(order)
        self._file(order)

    def get(self, client_order_id: ClientOrderId) -> Order | None:
        """The order with our id, if it is in memory."""
        return self._orders.get(client_order_id)

    def by_venue(self, account_id: str, venue_order_id: VenueOrderId) -> Order | None:
        """The order with the broker's id, if it is in memory and bound."""
        return self._by_venue.get((account_id, venue_order_id))

    def open_orders(self, strategy_id: str = "", symbol: str = "") -> list[Order]:
        """Orders that are not over, oldest first; empty arguments select all."""
        return [
            order
            for order in self._open.values()
            if (not strategy_id or order.strategy_id == strategy_id) and (not symbol or order.symbol == symbol)
        ]

    def open_count(self) -> int:
        """How many orders are not over."""
        return len(self._open)

    def worst_case(self, symbol: str, strategy_id: StrategyId | None = None) -> tuple[int, int]:
        """Quantities (buy, sell) that may still fill: working, on their way, in doubt, reported but not booked.

        Of orders that the server has linked only one fills.
        """
        buy = sell = 0
        for order, exposure in counted(self._carrying(symbol)):
            if strategy_id is not None and order.strategy_id != strategy_id:
                continue
            if order.side is Side.BUY:
                buy += exposure
            else:
                sell += exposure
        return buy, sell

    def carrying(self) -> list[Order]:
        """Every order that may still change a position: open, reported but not booked, or back after its end."""
        over = self._lacking | self._revived
        return [*self._open.values(), *(order for order in over.values() if order.is_final)]

    def missing_fills(self) -> list[Order]:
        """Orders of which the broker reported more filled than the executions that we hold."""
        return list(self._lacking.values())

    def revived(self) -> list[Order]:
        """Orders that were over and that the broker shows at work; they count until it says otherwise."""
        return list(self._revived.values())

    def revive(self, order: Order, *, revived: bool) -> None:
        """Note that an order that was over is at work at the broker, or that it is not any more."""
        order.revived = revived
        if revived:
            self._revived[order.client_order_id] = order
        else:
            self._revived.pop(order.client_order_id, None)

    def bind(self, order: Order, venue_order_id: VenueOrderId) -> None:
        """Note the broker's id of an order; a second, different id is a defect."""
        if order.venue_order_id is None:
            order.venue_order_id = venue_order_id
            self._by_venue[(order.account_id, venue_order_id)] = order
        elif order.venue_order_id != venue_order_id:
            raise InvariantError(
                f"order {order.client_order_id} has venue_order_id {order.venue_order_id}, now also {venue_order_id}"
            )

    def step(self, order: Order, step: Step) -> bool:
        """Move one order along the table; True when its status changed. A pair that is missing raises."""
        try:
            target = TRANSITIONS[(order.status, step)]
        except KeyError:
            raise InvariantError(f"order {order.client_order_id}: no {step} in state {order.status}") from None
        status = order.resting_status() if target is None else target
        if status is order.status:
            return False
        self.counts[order.status] -= 1
        self.counts[status] += 1
        order.status = status
        self._file(order)
        return True

    def apply(self, order: Order, update: BrokerUpdate) -> list[Change]:
        """Take in one report of the broker; what became new by it (nothing for a duplicate)."""
        if update.venue_order_id:
            self.bind(order, update.venue_order_id)
        order.ts_last_ns = max(order.ts_last_ns, update.ts_event_ns)
        told_before = order.reported_filled
        if update.total_filled is not None:
            order.reported_filled = max(order.reported_filled, update.total_filled)
        elif update.kind is UpdateKind.COMPLETE_FILLED:
            # Filled whole, and no totals: what the executions do not account for is missing, not nothing.
            order.reported_filled = max(order.reported_filled, order.quantity)
        if update.text and update.kind in _TELLING:
            order.text = update.text
        if update.kind is UpdateKind.LINK_FAILED:
            order.linked_id = NO_ORDER
        if update.kind is UpdateKind.FILLED:
            changes = self._apply_fill(order, update)
        elif update.kind is UpdateKind.COMPLETE_FAILED and (order.reported_filled or order.filled_quantity):
            # A refusal of the rest after a partial fill: what is filled stays filled, the rest is gone.
            changes = self._changed(order, Step.CANCELED, update)
        else:
            if update.kind is UpdateKind.COMPLETE_FILLED and update.total_filled and not order.is_final:
                # Filled whole: what it filled is what it was for, though a report of its last change is missing.
                order.quantity = update.total_filled
            changes = self._apply_terms(order, update) + self._changed(order, _STEPS[update.kind], update)
        self._note_lacking(order)
        for linked in self._linked_with(order) if order.reported_filled > told_before else ():
            linked.link_fills += order.reported_filled - told_before
        return changes

    def forget(self, client_order_id: ClientOrderId) -> None:
        """Drop a finished order from memory."""
        order = self._orders.pop(client_order_id)
        self._finished.pop(client_order_id, None)
        if order.venue_order_id is not None:
            self._by_venue.pop((order.account_id, order.venue_order_id), None)

    def __iter__(self) -> Iterator[Order]:
        return iter(list(self._orders.values()))

    def _carrying(self, symbol: str) -> Iterable[Order]:
        yield from (order for order in self._open.values() if order.symbol == symbol)
        over = self._lacking | self._revived
        yield from (order for order in over.values() if order.is_final and order.symbol == symbol)

    def _note_lacking(self, order: Order) -> None:
        if order.missing_quantity > 0:
            self._lacking[order.client_order_id] = order
        else:
            self._lacking.pop(order.client_order_id, None)

    def _apply_fill(self, order: Order, update: BrokerUpdate) -> list[Change]:
        key = update.fill_key()
        if key in order.fill_keys:
            return []
        if update.fill_price is None or update.fill_quantity <= 0 or not update.fill_id:
            raise InvariantError(f"order {order.client_order_id}: a fill without price, quantity or id: {update}")
        self._apply_terms(order, update)
        order.book_fill(key, update.fill_quantity, update.fill_price)
        is_whole = order.filled_quantity >= order.quantity
        self.step(order, Step.FILL_ALL if is_whole else Step.FILL_PART)
        if order.status in FINAL:
            order.operation = None
        overfill = order.purpose is not Purpose.EXTERNAL and order.filled_quantity > self._quantity_max(order)
        return [Change(step=Step.FILL_PART, update=update, is_new_status=True, is_overfill=overfill)]

    def _apply_terms(self, order: Order, update: BrokerUpdate) -> list[Change]:
        """Take over the terms that the broker holds, unless the report is older than what we know of each."""
        if order.status in FINAL or update.kind in COMPLETIONS:
            return []
        is_modified = update.kind is UpdateKind.MODIFIED
        is_asked = is_modified and order.pending_terms is not None and _is_asked(order, update)
        wanted = order.pending_terms if is_asked and order.pending_terms is not None else order.terms()
        quantity, price, trigger = before = order.terms()
        states_terms = is_modified or (update.is_snapshot and _STEPS.get(update.kind) in (Step.OPEN, Step.TRIGGER))
        if update.ts_event_ns >= order.terms_ts_ns:
            quantity = wanted.quantity
            if update.total_filled is not None and update.total_unfilled:
                quantity = update.total_filled + update.total_unfilled
                order.terms_ts_ns = update.ts_event_ns
        if states_terms and update.ts_event_ns >= order.prices_ts_ns:
            price, trigger = wanted.price, wanted.trigger_price
            price = update.price if update.price is not None and price is not None else price
            trigger = update.trigger_price if update.trigger_price is not None and trigger is not None else trigger
            order.prices_ts_ns = update.ts_event_ns
        if Terms(quantity, price, trigger) == before:
            return []
        if order.link_group and not is_asked:
            order.link_losses = max(0, order.link_losses + order.quantity - quantity)
        order.take_terms(Terms(quantity, price, trigger))
        if not states_terms or order.status is OrderStatus.PENDING_UPDATE:
            return []
        return [Change(Step.UPDATED, update, is_new_status=False)]

    def _changed(self, order: Order, step: Step, update: BrokerUpdate) -> list[Change]:
        if update.is_snapshot and step is Step.OPEN and order.status is OrderStatus.UNKNOWN and order.triggered:
            step = Step.TRIGGER
        if order.status is OrderStatus.PENDING_UPDATE and not _answers(order, step, update):
            step = Step.KNOWN
        was_triggered = order.triggered
        if step is Step.TRIGGER:
            order.triggered = True
        before = order.status
        is_refused_cancel = step is Step.CANCEL_REFUSED and order.operation is Operation.CANCEL
        moved = self.step(order, step)
        if step in (Step.UPDATED, Step.UPDATE_REFUSED):
            if before is OrderStatus.PENDING_UPDATE:
                order.pending_terms, order.pending_levels, order.operation = None, None, None
            if before is OrderStatus.PENDING_UPDATE or not _is_changed_by_server(order):
                order.answered_ts_ns = max(order.answered_ts_ns, update.ts_event_ns)
        if is_refused_cancel:
            order.operation = None
        if order.status in FINAL:
            order.operation, order.pending_terms, order.cancel_wanted = None, None, False
            order.pending_levels = None
        if step is Step.TRIGGER and order.status not in FINAL:
            return [] if was_triggered else [Change(step, update, is_new_status=moved)]
        return [Change(step, update, is_new_status=moved)] if moved or is_refused_cancel else []

    def _linked_with(self, order: Order) -> list[Order]:
        """The other orders of its group, as far as they are not over."""
        if not order.link_group:
            return []
        return [each for each in self._open.values() if each is not order and each.link_group == order.link_group]

    def _quantity_max(self, order: Order) -> int:
        """The most that an order may fill; the server lets a bracket's exit grow to what its entry has filled."""
        entry = self._orders.get(order.parent_id) if order.parent_id else None
        return order.quantity_max if entry is None else max(order.quantity_max, entry.quantity_max)

    def _file(self, order: Order) -> None:
        if order.status not in FINAL:
            self._open[order.client_order_id] = order
            self._finished.pop(order.client_order_id, None)
            return
        self._open.pop(order.client_order_id, None)
        self._finished[order.client_order_id] = None
        surplus = len(self._finished) - self._finished_kept_max
        if surplus > 0:
            for client_order_id in list(islice(self._finished, surplus)):
                order = self._orders[client_order_id]
                if order.missing_quantity <= 0 and not order.revived:
                    self.forget(client_order_id)


def _is_changed_by_server(order: Order) -> bool:
    """Trailing and linked orders are, and each change is reported as one of ours would be."""
    return bool(order.trail_by_ticks or order.link_group)


def _answers(order: Order, step: Step, update: BrokerUpdate) -> bool:
    """Whether a report may end the change that is under way; what is no answer to any always passes."""
    if step is Step.UPDATED:
        return _is_asked(order, update)
    # A refusal does not say which change it is of, and each is told twice or more often.
    return step is not Step.UPDATE_REFUSED or not _is_copy(order, update)


def _is_copy(order: Order, update: BrokerUpdate) -> bool:
    """Whether a report answers a change before the present one, or has answered it: no two have one time, as long as
    times are finer than seconds."""
    ts_ns, answered_ns = update.ts_event_ns, order.answered_ts_ns
    return 0 < ts_ns < answered_ns or (ts_ns == answered_ns and ts_ns % NS_PER_S != 0)


def _is_asked(order: Order, update: BrokerUpdate) -> bool:
    """Whether a change that is reported is the one that we asked for: not one that the server made by itself, and not a
    copy of an earlier one, of which the reports say what they have made of the order."""
    wanted = order.pending_terms
    if _is_copy(order, update):
        return False
    if wanted is None:
        return not (_is_changed_by_server(order) or order.pending_levels)
    if update.total_filled is not None and update.total_filled + (update.total_unfilled or 0) != wanted.quantity:
        return False
    told = ((update.price, wanted.price), (update.trigger_price, wanted.trigger_price))
    return all(there is None or asked is None or abs(there - asked) <= PRICE_TOLERANCE for there, asked in told)
