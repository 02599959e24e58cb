"""351 and 352: an order's life in the exchange's own words, field by field as captured servers send it.

One venue event becomes one or more frames. ``quantity`` is 0 in the pending stages and absent from most 352s; the
order of the frames and the presence of each field follow the captured sequence of a market order.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.model import Completion, Execution, OrderEventKind, OrderHappened, OrderState, Stage
from nightdesk.simulator.wire.session import FCM_ID, IB_ID
from nightdesk.simulator.wire.templates import encode

NS_PER_S = 1_000_000_000

SIDES = {Side.BUY: 1, Side.SELL: 2}
PRICE_TYPES = {
    OrderType.LIMIT: 1,
    OrderType.MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.STOP_MARKET: 4,
    OrderType.MARKET_IF_TOUCHED: 5,
    OrderType.LIMIT_IF_TOUCHED: 6,
}
DURATIONS = {TimeInForce.DAY: 1, TimeInForce.GTC: 2, TimeInForce.IOC: 3, TimeInForce.FOK: 4}
_MANUAL, _AUTO = 1, 2

_RECEIVED = (1, "Order received from client")
_NEW_STAGES = ((4, "open pending"), (7, "order received by exch gateway"), (10, "order sent to exch"))
_MODIFY_STAGES = (
    (2, "Modify received from client"),
    (5, "modify pending"),
    (8, "modify received by exch gateway"),
    (11, "modify sent to exch"),
)
_CANCEL_STAGES = (
    (3, "Cancel received from client"),
    (6, "cancel pending"),
    (9, "cancel received by exch gateway"),
    (12, "cancel sent to exch"),
)
_OPEN = (13, "open")
_MODIFIED = (14, "modified")
_COMPLETE = (15, "complete")
_MODIFICATION_FAILED = (16, "modification failed")
_CANCELLATION_FAILED = (17, "cancellation failed")
_TRIGGER_PENDING = (18, "trigger pending")

RISK_REFUSAL = "Rejected at RMS"
"""How the venue's text begins when risk management refused an order: no 352 then, the exchange never saw it."""

STATUS, MODIFY, CANCEL, TRIGGER, FILL, REJECT = range(1, 7)
"""The notify types of 352."""


def frames_of(happened: OrderHappened) -> Iterator[bytes]:
    """All frames of one event, in the order in which they are sent; a requested cancel has ``cancel_stages`` before."""
    order, ts_ns = happened.order, happened.ts_ns
    match happened.kind:
        case OrderEventKind.RECEIVED:
            yield _received(order, ts_ns)
        case OrderEventKind.OPENED:
            if order.order_type is order.terms.order_type:
                yield from _accepted(happened)
            yield _notification(order, ts_ns, _OPEN, quantity=order.quantity)
        case OrderEventKind.TRIGGER_PENDING:
            yield from _accepted(happened)
            yield _notification(order, ts_ns, _TRIGGER_PENDING, quantity=order.quantity)
        case OrderEventKind.TRIGGERED:
            yield _report(order, ts_ns, TRIGGER, "trigger", trigger_id=happened.report_id)
        case OrderEventKind.FILLED:
            if happened.execution is not None:
                yield fill_report(order, happened.execution)
        case OrderEventKind.MODIFIED:
            for stage in _MODIFY_STAGES:
                yield _notification(order, ts_ns, stage, quantity=0)
            time, date = time_and_date(ts_ns)
            yield _report(
                order,
                ts_ns,
                MODIFY,
                "modify",
                modified_size=order.quantity,
                modified_time=time,
                modified_date=date,
                modify_id=happened.report_id,
            )
            yield _notification(order, ts_ns, _MODIFIED, quantity=order.quantity)
        case OrderEventKind.MODIFY_FAILED:
            for stage in _MODIFY_STAGES:
                yield _notification(order, ts_ns, stage, quantity=0)
            yield _failed(happened, _MODIFICATION_FAILED)
        case OrderEventKind.CANCELED:
            yield cancel_report(order, ts_ns, happened.report_id)
        case OrderEventKind.CANCEL_FAILED:
            yield _failed(happened, _CANCELLATION_FAILED)
        case OrderEventKind.COMPLETED:
            if order.completion is Completion.FAILED and not happened.text.startswith(RISK_REFUSAL):
                yield from _refused_by_exchange(happened)
            yield _completed(happened)


def cancel_stages(order: OrderState, ts_ns: int) -> Iterator[bytes]:
    """What a client's cancel passes through before the exchange confirms it."""
    for stage in _CANCEL_STAGES:
        yield _notification(order, ts_ns, stage, quantity=0, sequence_number=order.original_sequence_number)


def _accepted(happened: OrderHappened) -> Iterator[bytes]:
    order, ts_ns = happened.order, happened.ts_ns
    for stage in _NEW_STAGES:
        yield _notification(order, ts_ns, stage, quantity=0, exchange_order_id=None)
    time, date = time_and_date(ts_ns)
    yield _report(
        order,
        ts_ns,
        STATUS,
        "status",
        confirmed_size=order.quantity,
        confirmed_time=time,
        confirmed_date=date,
        confirmed_id=happened.report_id,
    )


def _refused_by_exchange(happened: OrderHappened) -> Iterator[bytes]:
    order, ts_ns = happened.order, happened.ts_ns
    if order.sequence_number == order.original_sequence_number:
        for stage in _NEW_STAGES:
            yield _notification(order, ts_ns, stage, quantity=0, exchange_order_id=None)
    text = happened.text or None
    yield _report(order, ts_ns, REJECT, "reject", text=text, report_text=text)


def _completed(happened: OrderHappened) -> bytes:
    order = happened.order
    text = happened.text or order.text or None
    failed = order.completion is Completion.FAILED
    return _notification(
        order,
        happened.ts_ns,
        _COMPLETE,
        quantity=order.quantity,
        exchange_order_id=None if failed else order.basket_id,
        completion_reason=str(order.completion),
        avg_fill_price=order.average_price if order.filled_quantity else None,
        text=text,
        report_text=text,
    )


def _failed(happened: OrderHappened, stage: tuple[int, str]) -> bytes:
    text = happened.text or None
    return _notification(
        happened.order, happened.ts_ns, stage, quantity=happened.order.quantity, text=text, report_text=text
    )


def fill_report(order: OrderState, execution: Execution, *, is_snapshot: bool | None = None) -> bytes:
    """352 of one execution."""
    time, date = time_and_date(execution.ts_ns)
    return _report(
        order,
        execution.ts_ns,
        FILL,
        "fill",
        is_snapshot=is_snapshot,
        fill_price=execution.price,
        fill_size=execution.quantity,
        fill_time=time,
        fill_date=date,
        fill_id=execution.fill_id,
        avg_fill_price=order.average_price,
    )


def cancel_report(order: OrderState, ts_ns: int, report_id: str) -> bytes:
    """352 of a cancel: a new sequence number, the old one beside it."""
    time, date = time_and_date(ts_ns)
    return _report(
        order,
        ts_ns,
        CANCEL,
        "cancel",
        cancelled_size=order.quantity - order.filled_quantity,
        cancelled_time=time,
        cancelled_date=date,
        cancelled_id=report_id,
    )


def snapshot(order: OrderState) -> bytes:
    """352 as the lists of orders send it: the order's present state in one frame."""
    completed = order.stage is Stage.COMPLETE
    if not completed:
        notify_type, report_type = STATUS, "status"
        status = _TRIGGER_PENDING[1] if order.stage is Stage.TRIGGER_PENDING else _OPEN[1]
    else:
        status = _COMPLETE[1]
        notify_type, report_type = {
            Completion.FILLED: (FILL, "fill"),
            Completion.CANCELED: (CANCEL, "cancel"),
            Completion.FAILED: (REJECT, "reject"),
            None: (STATUS, "status"),
        }[order.completion]
    canceled = order.completion is Completion.CANCELED
    return _report(
        order,
        order.ts_last_ns,
        notify_type,
        report_type,
        is_snapshot=True,
        status=status,
        quantity=order.quantity,
        cancelled_size=order.quantity - order.filled_quantity if canceled else None,
        avg_fill_price=order.average_price if order.filled_quantity else None,
        text=order.text or None,
    )


def _received(order: OrderState, ts_ns: int) -> bytes:
    terms = order.terms
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    notify_type, status = _RECEIVED
    return encode(
        351,
        notify_type=notify_type,
        status=status,
        basket_id=order.basket_id,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        user_id=terms.user,
        account_id=terms.account_id,
        symbol=terms.symbol,
        exchange=terms.exchange,
        trade_exchange=terms.exchange,
        trade_route=terms.trade_route,
        quantity=order.quantity,
        price=order.price,
        trigger_price=order.trigger_price,
        user_tag=terms.user_tag or None,
        window_name=terms.window_name or None,
        transaction_type=SIDES[terms.side],
        duration=DURATIONS[terms.time_in_force],
        price_type=PRICE_TYPES[order.order_type],
        orig_price_type=PRICE_TYPES[terms.order_type],
        manual_or_auto=_AUTO if terms.is_automatic else _MANUAL,
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
    )


def _common(order: OrderState, ts_ns: int) -> dict[str, object]:
    """What 351 (but for its first stage) and 352 share."""
    terms = order.terms
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    return {
        "basket_id": order.basket_id,
        "fcm_id": FCM_ID,
        "ib_id": IB_ID,
        "user_id": terms.user,
        "account_id": terms.account_id,
        "symbol": terms.symbol,
        "exchange": terms.exchange,
        "trade_exchange": terms.exchange,
        "trade_route": terms.trade_route,
        "exchange_order_id": order.basket_id,
        "instrument_type": "Future",
        "price": order.price,
        "trigger_price": order.trigger_price,
        "sequence_number": order.sequence_number,
        "orig_sequence_number": order.original_sequence_number,
        "cor_sequence_number": order.original_sequence_number,
        "currency": "USD",
        "ssboe": ssboe,
        "usecs": nanoseconds // 1000,
        "total_fill_size": order.filled_quantity,
        "total_unfilled_size": order.leaves_quantity,
        "user_tag": terms.user_tag or None,
        "window_name": terms.window_name or None,
        "transaction_type": SIDES[terms.side],
        "duration": DURATIONS[terms.time_in_force],
        "price_type": PRICE_TYPES[order.order_type],
        "orig_price_type": PRICE_TYPES[terms.order_type],
        "manual_or_auto": _AUTO if terms.is_automatic else _MANUAL,
    }


def _notification(order: OrderState, ts_ns: int, stage: tuple[int, str], **fields: object) -> bytes:
    return encode(351, **(_common(order, ts_ns) | {"notify_type": stage[0], "status": stage[1]} | fields))


def _report(order: OrderState, ts_ns: int, notify_type: int, report_type: str, **fields: object) -> bytes:
    return encode(352, **(_common(order, ts_ns) | {"notify_type": notify_type, "report_type": report_type} | fields))


def time_and_date(ts_ns: int) -> tuple[str, str]:
    """A moment as ``HH:MM:SS`` and ``YYYYMMDD``, UTC."""
    return _time_and_date(ts_ns // NS_PER_S)


@lru_cache(maxsize=1024)
def _time_and_date(second: int) -> tuple[str, str]:
    moment = datetime.fromtimestamp(second, UTC)
    return moment.strftime("%H:%M:%S"), moment.strftime("%Y%m%d")
