"""Orders and changes as the events, log lines and alerts that tell of them."""

from dataclasses import replace
from typing import Any, TypedDict

from structlog.typing import FilteringBoundLogger

from nightdesk.messages import (
    ClientOrderId,
    FillReport,
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
    OrderStatus,
    OrderSubmitted,
    OrderTriggered,
    OrderUpdated,
    Severity,
    StrategyId,
)
from nightdesk.trading.broker import EXTERNAL_STRATEGY, BrokerUpdate
from nightdesk.trading.order import Change, Order, Purpose
from nightdesk.trading.order_transitions import Step

Log = FilteringBoundLogger

_LOG_NAMES: dict[type[OrderEvent], str] = {
    OrderSubmitted: "order_submitted",
    OrderAccepted: "order_accepted",
    OrderDenied: "order_denied",
    OrderRejected: "order_rejected",
    OrderTriggered: "order_triggered",
    OrderPendingUpdate: "order_pending_update",
    OrderUpdated: "order_updated",
    OrderModifyRejected: "order_modify_rejected",
    OrderPendingCancel: "order_pending_cancel",
    OrderCanceled: "order_canceled",
    OrderCancelRejected: "order_cancel_rejected",
    OrderExpired: "order_expired",
    OrderFilled: "execution_fill",
    OrderInDoubt: "order_in_doubt",
}


class Common(TypedDict):
    """The fields that every order event has."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    symbol: str
    exchange: str
    ts_event_ns: int
    event_id: int


def common(order: Order, ts_event_ns: int, event_id: int) -> Common:
    """Those fields of one order."""
    return {
        "client_order_id": order.client_order_id,
        "strategy_id": order.strategy_id,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "ts_event_ns": ts_event_ns,
        "event_id": event_id,
    }


def event_of(order: Order, change: Change, fields: Common) -> OrderEvent | None:
    """The event that tells of a change; None for one that concerns nobody outside (fills are made elsewhere)."""
    match change.step:
        case Step.OPEN:
            return OrderAccepted(**fields, venue_order_id=change.update.venue_order_id)
        case Step.TRIGGER:
            return OrderTriggered(**fields)
        case Step.UPDATED:
            return updated(order, fields)
        case Step.UPDATE_REFUSED:
            return OrderModifyRejected(**fields, text=order.text)
        case Step.CANCEL_REFUSED:
            return OrderCancelRejected(**fields, text=order.text)
        case Step.CANCELED | Step.REJECT | Step.EXPIRE:
            return ended(order, fields)
        case _:
            return None


def ended(order: Order, fields: Common) -> OrderEvent:
    """The event of an order that is over without having filled whole."""
    if order.status is OrderStatus.REJECTED:
        return OrderRejected(**fields, text=order.text)
    if order.status is OrderStatus.EXPIRED:
        return OrderExpired(**fields)
    return OrderCanceled(**fields, text=order.text)


def severity_of_end(order: Order) -> Severity | None:
    """How loud the end of an order is: a refused stop may leave a position alone, and somebody must look."""
    if order.status is not OrderStatus.REJECTED:
        return None
    return Severity.ERROR if order.protective else Severity.WARNING


def updated(order: Order, fields: Common) -> OrderUpdated:
    """The terms that hold now."""
    return OrderUpdated(
        **fields,
        quantity=order.quantity,
        price=order.price,
        trigger_price=order.trigger_price,
        stop_ticks=order.stop_ticks,
        target_ticks=order.target_ticks,
    )


def initialized(order: Order, event_id: int) -> OrderInitialized:
    """A new order, as it was committed."""
    return OrderInitialized(
        **common(order, order.ts_init_ns, event_id),
        side=order.side,
        order_type=order.order_type,
        quantity=order.quantity,
        price=order.price,
        trigger_price=order.trigger_price,
        time_in_force=order.time_in_force,
        protective=order.protective,
        trail_by_ticks=order.trail_by_ticks,
        stop_ticks=order.stop_ticks,
        target_ticks=order.target_ticks,
        parent_client_order_id=order.parent_id,
        linked_client_order_id=order.linked_id,
        expire_ns=order.expire_ns,
    )


def external_order(update: BrokerUpdate, now_ns: int, connection_epoch: int) -> Order:
    """An order of somebody else, as far as the report that shows it first can say."""
    totals = (update.total_filled or 0) + (update.total_unfilled or 0)
    return Order(
        client_order_id=ClientOrderId(f"external-{update.account_id}-{update.venue_order_id}"),
        strategy_id=StrategyId(EXTERNAL_STRATEGY),
        account_id=update.account_id,
        symbol=update.symbol,
        exchange=update.exchange,
        side=update.side,
        order_type=update.order_type,
        time_in_force=update.time_in_force,
        quantity=totals or update.quantity or update.fill_quantity or 1,
        price=update.price,
        trigger_price=update.trigger_price,
        protective=False,
        purpose=Purpose.EXTERNAL,
        fencing_epoch=0,
        connection_epoch=connection_epoch,
        broker_ts_ns=update.ts_event_ns,
        ts_init_ns=now_ns,
        status=OrderStatus.SUBMITTED,
        venue_order_id=update.venue_order_id,
    )


def bracket_exit(
    update: BrokerUpdate, entry: Order, client_order_id: ClientOrderId, now_ns: int, connection_epoch: int
) -> Order:
    """An exit that the server has made of a bracket, as far as the report that shows it first can say.

    No process of the strategy sent it: it has no fencing epoch. Its executions are asked for from its entry's time on.
    """
    order = external_order(update, now_ns, connection_epoch)
    return replace(
        order,
        client_order_id=client_order_id,
        strategy_id=entry.strategy_id,
        protective=True,
        purpose=Purpose.STRATEGY,
        broker_ts_ns=entry.broker_ts_ns,
        parent_id=entry.client_order_id,
        # It may grow to what its entry fills.
        quantity_max=max(order.quantity, entry.quantity_max),
    )


def fill_report(message: OrderFilled) -> FillReport:
    """The execution as the journal keeps it."""
    return FillReport(
        fill_id=message.fill_id,
        client_order_id=message.client_order_id,
        venue_order_id=message.venue_order_id,
        strategy_id=message.strategy_id,
        symbol=message.symbol,
        exchange=message.exchange,
        side=message.side,
        quantity=message.last_quantity,
        price=message.last_price,
        commission=message.commission,
        ts_event_ns=message.ts_event_ns,
    )


def persisted(order: Order) -> tuple[object, ...]:
    """What of an order the journal keeps and a report can change; a difference is worth a commit."""
    return (
        order.status,
        order.venue_order_id,
        order.terms(),
        order.filled_quantity,
        order.reported_filled,
        order.triggered,
        order.text,
        order.levels(),
        order.linked_id,
    )


def order_fields(order: Order) -> dict[str, Any]:
    """The keys of every log line about an order."""
    fields: dict[str, Any] = {
        "strategy_id": order.strategy_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "quantity": order.quantity,
        "price": order.price if order.price is not None else order.trigger_price,
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
    }
    return {key: value for key, value in fields.items() if value is not None}


def log_fields(order: Order, message: OrderEvent) -> tuple[str, dict[str, Any]]:
    """The name and the keys of the log line about an event."""
    fields = order_fields(order)
    if isinstance(message, OrderFilled):
        fields["quantity"] = message.last_quantity
        fields["price"] = message.last_price
        fields["fill_id"] = message.fill_id
        fields["leaves_quantity"] = message.leaves_quantity
        fields["commission"] = message.commission
    if isinstance(message, OrderDenied):
        fields["code"] = message.code.value
    text = getattr(message, "text", "")
    if text:
        fields["text"] = text
    return _LOG_NAMES[type(message)], fields


def describe(order: Order, message: OrderEvent) -> str:
    """One line for a person."""
    kind = "protective " if order.protective else ""
    subject = f"{order.strategy_id}: {kind}{order.side.value} {order.quantity} {order.symbol}"
    if isinstance(message, OrderFilled):
        return (
            f"{order.strategy_id}: {order.side.value} {message.last_quantity} {order.symbol} filled at "
            f"{message.last_price:g}, {message.leaves_quantity} left"
        )
    if isinstance(message, OrderDenied):
        return f"{subject} denied: {message.code.value}: {message.text}"
    name = _LOG_NAMES[type(message)].removeprefix("order_").replace("_", " ")
    text = getattr(message, "text", "")
    return f"{subject} {name}: {text}" if text else f"{subject} {name}"
