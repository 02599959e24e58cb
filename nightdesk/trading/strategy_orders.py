"""A strategy's own small view of its orders, kept from events; it follows the order plant's table, the truth."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, cast

import msgspec

from nightdesk.messages import (
    ClientOrderId,
    Denial,
    FillId,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderInDoubt,
    OrderInitialized,
    OrderModifyRejected,
    OrderPendingCancel,
    OrderPendingUpdate,
    OrderRejected,
    OrderReport,
    OrderStatus,
    OrderSubmitted,
    OrderTriggered,
    OrderUpdated,
    VenueOrderId,
)
from nightdesk.trading.linked_orders import STOP_MARK, TARGET_MARK, exit_id

FINISHED_KEPT_MAX = 1000
"""Finished orders that are remembered."""

FILLS_KEPT_MAX = 10_000
"""Fills whose keys are remembered to recognize one that is told twice."""

_FillKey = tuple[VenueOrderId, FillId]

FINISHED = frozenset(
    {OrderStatus.DENIED, OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)
_PENDING = frozenset({OrderStatus.PENDING_UPDATE, OrderStatus.PENDING_CANCEL})

_replace = msgspec.structs.replace


class StrategyOrders:
    """Orders by id. Each event moves one order; a finished order changes only by a late fill."""

    def __init__(self) -> None:
        self._open: dict[ClientOrderId, OrderReport] = {}
        self._finished: OrderedDict[ClientOrderId, OrderReport] = OrderedDict()
        self._before_pending: dict[ClientOrderId, OrderStatus] = {}
        self._fills: set[_FillKey] = set()
        self._fills_by_age: deque[_FillKey] = deque()
        self._asked: set[ClientOrderId] = set()

    def get(self, client_order_id: ClientOrderId) -> OrderReport | None:
        """One order, finished or not; None when unknown."""
        return self._open.get(client_order_id) or self._finished.get(client_order_id)

    def working(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Every order that is not finished, oldest first."""
        return tuple(order for order in self._open.values() if symbol is None or order.symbol == symbol)

    def put(self, order: OrderReport) -> None:
        """Take an order as it is: a new one of ours, or one that the order plant told us of."""
        key = order.client_order_id
        if order.status in FINISHED:
            self._open.pop(key, None)
            self._before_pending.pop(key, None)
            self._finished[key] = order
            while len(self._finished) > FINISHED_KEPT_MAX:
                self._finished.popitem(last=False)
        else:
            self._finished.pop(key, None)
            self._open[key] = order
            if order.status not in _PENDING:
                self._before_pending.pop(key, None)

    def exits(self, client_order_id: ClientOrderId) -> tuple[OrderReport, ...]:
        """The exits of a bracket that are not finished, by its entry's id; oldest first."""
        return tuple(order for order in self._open.values() if order.parent_client_order_id == client_order_id)

    def exits_unheard_of(self) -> list[ClientOrderId]:
        """The ids of exits that entries of ours may have brought while nobody told us; they may be asked for."""
        self._asked = {
            exit_id(order.client_order_id, mark, 1)
            for order in (*self._open.values(), *self._finished.values())
            if order.filled_quantity or order.status not in FINISHED
            for mark, ticks in ((STOP_MARK, order.stop_ticks), (TARGET_MARK, order.target_ticks))
            if ticks and self.get(exit_id(order.client_order_id, mark, 1)) is None
        }
        return sorted(self._asked)

    def apply(self, event: OrderEvent) -> bool:
        """Take one event; False when nobody may hear of it: a fill that we know already, an exit that there is not."""
        if isinstance(event, OrderDenied) and event.client_order_id in self._asked:
            self._asked.discard(event.client_order_id)
            return False
        if isinstance(event, OrderFilled) and not self._is_new_fill(event):
            return False
        order = self.get(event.client_order_id)
        if order is None:
            if isinstance(event, OrderInitialized):
                self.put(_from_initialized(event))
            return True
        if order.status in FINISHED and not isinstance(event, OrderFilled):
            return True
        step = _STEPS.get(type(event))
        if step is not None:
            self.put(step(self, order, event))
        return True

    def _is_new_fill(self, event: OrderFilled) -> bool:
        """The filled quantity of an order only grows; an order that we do not know is told by the fill's key."""
        order = self.get(event.client_order_id)
        key = (event.venue_order_id, event.fill_id)
        if key in self._fills or (order is not None and event.filled_quantity <= order.filled_quantity):
            return False
        self._fills.add(key)
        self._fills_by_age.append(key)
        if len(self._fills_by_age) > FILLS_KEPT_MAX:
            self._fills.discard(self._fills_by_age.popleft())
        return True

    def _settled(self, order: OrderReport, status: OrderStatus) -> OrderStatus:
        """The status to show: a modification or cancel that is on its way covers the one below it."""
        if order.status in _PENDING:
            self._before_pending[order.client_order_id] = status
            return order.status
        return status

    def _pending(self, order: OrderReport, status: OrderStatus) -> OrderReport:
        if order.status not in _PENDING:
            self._before_pending[order.client_order_id] = order.status
        return _replace(order, status=status)

    def _restored(self, order: OrderReport, pending: OrderStatus) -> OrderReport:
        if order.status != pending:
            return order
        status = self._before_pending.get(order.client_order_id, OrderStatus.ACCEPTED)
        return _replace(order, status=status)

    def _initialized(self, order: OrderReport, event: OrderInitialized) -> OrderReport:
        return _replace(order, expire_ns=event.expire_ns)

    def _submitted(self, order: OrderReport, event: OrderSubmitted) -> OrderReport:
        return _replace(order, status=OrderStatus.SUBMITTED) if order.status == OrderStatus.INITIALIZED else order

    def _accepted(self, order: OrderReport, event: OrderAccepted) -> OrderReport:
        status = self._settled(order, _working_status(order))
        return _replace(order, status=status, venue_order_id=event.venue_order_id, ts_last_ns=event.ts_event_ns)

    def _triggered(self, order: OrderReport, event: OrderTriggered) -> OrderReport:
        return _replace(order, status=self._settled(order, OrderStatus.TRIGGERED), ts_last_ns=event.ts_event_ns)

    def _pending_update(self, order: OrderReport, event: OrderPendingUpdate) -> OrderReport:
        return self._pending(order, OrderStatus.PENDING_UPDATE)

    def _pending_cancel(self, order: OrderReport, event: OrderPendingCancel) -> OrderReport:
        return self._pending(order, OrderStatus.PENDING_CANCEL)

    def _updated(self, order: OrderReport, event: OrderUpdated) -> OrderReport:
        status = order.status if order.status == OrderStatus.PENDING_CANCEL else _working_status(order)
        return _replace(
            order,
            status=status,
            quantity=event.quantity,
            leaves_quantity=max(event.quantity - order.filled_quantity, 0),
            price=event.price,
            trigger_price=event.trigger_price,
            stop_ticks=event.stop_ticks,
            target_ticks=event.target_ticks,
            ts_last_ns=event.ts_event_ns,
        )

    def _modify_rejected(self, order: OrderReport, event: OrderModifyRejected) -> OrderReport:
        return self._restored(order, OrderStatus.PENDING_UPDATE)

    def _cancel_rejected(self, order: OrderReport, event: OrderCancelRejected) -> OrderReport:
        return self._restored(order, OrderStatus.PENDING_CANCEL)

    def _in_doubt(self, order: OrderReport, event: OrderInDoubt) -> OrderReport:
        return _replace(order, status=OrderStatus.UNKNOWN, text=event.text)

    def _filled(self, order: OrderReport, event: OrderFilled) -> OrderReport:
        if order.status in FINISHED:
            status = order.status
        elif event.leaves_quantity == 0:
            status = OrderStatus.FILLED
        else:
            status = self._settled(order, OrderStatus.PARTIALLY_FILLED)
        return _replace(
            order,
            status=status,
            venue_order_id=event.venue_order_id,
            filled_quantity=event.filled_quantity,
            leaves_quantity=event.leaves_quantity,
            average_price=event.average_price,
            ts_last_ns=event.ts_event_ns,
        )

    def _ended(self, order: OrderReport, event: OrderEvent) -> OrderReport:
        text = getattr(event, "text", "")
        return _replace(order, status=ENDINGS[type(event)], leaves_quantity=0, text=text, ts_last_ns=event.ts_event_ns)


ENDINGS: dict[type[OrderEvent], OrderStatus] = {
    OrderDenied: OrderStatus.DENIED,
    OrderRejected: OrderStatus.REJECTED,
    OrderCanceled: OrderStatus.CANCELED,
    OrderExpired: OrderStatus.EXPIRED,
}
"""The events that finish an order without a fill."""

_Step = Callable[[StrategyOrders, OrderReport, OrderEvent], OrderReport]

_STEPS = cast(
    dict[type[OrderEvent], _Step],
    {
        OrderInitialized: StrategyOrders._initialized,
        OrderSubmitted: StrategyOrders._submitted,
        OrderAccepted: StrategyOrders._accepted,
        OrderTriggered: StrategyOrders._triggered,
        OrderPendingUpdate: StrategyOrders._pending_update,
        OrderPendingCancel: StrategyOrders._pending_cancel,
        OrderUpdated: StrategyOrders._updated,
        OrderModifyRejected: StrategyOrders._modify_rejected,
        OrderCancelRejected: StrategyOrders._cancel_rejected,
        OrderInDoubt: StrategyOrders._in_doubt,
        OrderFilled: StrategyOrders._filled,
        **dict.fromkeys(ENDINGS, StrategyOrders._ended),
    },
)


def _working_status(order: OrderReport) -> OrderStatus:
    return OrderStatus.PARTIALLY_FILLED if order.filled_quantity else OrderStatus.ACCEPTED


def _from_initialized(event: OrderInitialized) -> OrderReport:
    """An order that the order plant made for us, such as the closing order of a flatten."""
    return OrderReport(
        client_order_id=event.client_order_id,
        venue_order_id=None,
        strategy_id=event.strategy_id,
        symbol=event.symbol,
        exchange=event.exchange,
        side=event.side,
        order_type=event.order_type,
        time_in_force=event.time_in_force,
        status=OrderStatus.INITIALIZED,
        quantity=event.quantity,
        filled_quantity=0,
        leaves_quantity=event.quantity,
        price=event.price,
        trigger_price=event.trigger_price,
        average_price=None,
        protective=event.protective,
        ts_init_ns=event.ts_event_ns,
        ts_last_ns=event.ts_event_ns,
        trail_by_ticks=event.trail_by_ticks,
        stop_ticks=event.stop_ticks,
        target_ticks=event.target_ticks,
        parent_client_order_id=event.parent_client_order_id,
        linked_client_order_id=event.linked_client_order_id,
        expire_ns=event.expire_ns,
    )


def as_new(report: OrderReport) -> OrderReport:
    """An order as it was before anything had happened to it."""
    return _replace(
        report,
        venue_order_id=None,
        status=OrderStatus.INITIALIZED,
        filled_quantity=0,
        leaves_quantity=report.quantity,
        average_price=None,
    )


def missed_events(before: OrderReport, now: OrderReport) -> list[OrderEvent]:
    """What must have happened to an order between two reports, for a strategy that was not connected meanwhile."""
    common: dict[str, Any] = {
        "client_order_id": now.client_order_id,
        "strategy_id": now.strategy_id,
        "symbol": now.symbol,
        "exchange": now.exchange,
        "ts_event_ns": now.ts_last_ns,
    }
    events: list[OrderEvent] = []
    if before.status in FINISHED:
        return events
    if before.venue_order_id is None and now.venue_order_id is not None:
        events.append(OrderAccepted(**common, venue_order_id=now.venue_order_id))
    if now.filled_quantity > before.filled_quantity:
        events.append(_missed_fill(before, now, common))
    if now.status == OrderStatus.DENIED:
        events.append(OrderDenied(**common, code=Denial.STATE_DISCONNECTED, text=now.text))
    elif now.status == OrderStatus.REJECTED:
        events.append(OrderRejected(**common, text=now.text))
    elif now.status == OrderStatus.CANCELED:
        events.append(OrderCanceled(**common, text=now.text))
    elif now.status == OrderStatus.EXPIRED:
        events.append(OrderExpired(**common))
    elif now.status == OrderStatus.UNKNOWN and before.status != OrderStatus.UNKNOWN:
        events.append(OrderInDoubt(**common, text=now.text))
    return events


def _missed_fill(before: OrderReport, now: OrderReport, common: dict[str, Any]) -> OrderFilled:
    """One fill that stands for all that were missed; its price makes the order's average come out right."""
    quantity = now.filled_quantity - before.filled_quantity
    average = now.average_price or 0.0
    value = average * now.filled_quantity - (before.average_price or 0.0) * before.filled_quantity
    return OrderFilled(
        **common,
        venue_order_id=now.venue_order_id or VenueOrderId(""),
        fill_id=FillId(f"missed-{now.client_order_id}-{now.filled_quantity}"),
        side=now.side,
        last_quantity=quantity,
        last_price=value / quantity,
        filled_quantity=now.filled_quantity,
        leaves_quantity=now.leaves_quantity,
        average_price=average,
        commission=0.0,
    )
