"""351 and 352: an order's life in the exchange's own words, field by field as captured servers send it.

One venue event becomes one or more frames. ``quantity`` is 0 in the pending stages and absent from most 352s; the
order of the frames and the presence of each field follow the captured sequence of a market order.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from nightdesk.simulator.model import (
    BracketChanged,
    Completion,
    Execution,
    Hold,
    OrderEventKind,
    OrderHappened,
    OrderState,
    Stage,
)
from nightdesk.simulator.wire.order_words import (
    AUTO,
    BRACKET_KINDS,
    BRACKET_REFUSAL,
    DURATIONS,
    MANUAL,
    NS_PER_S,
    PRICE_FIELDS,
    PRICE_TYPES,
    RISK_REFUSAL,
    SIDES,
    stamp,
)
from nightdesk.simulator.wire.session import FCM_ID, IB_ID
from nightdesk.simulator.wire.templates import encode

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
_MODIFIED_STOP = (14, "modified, trigger pending")
_COMPLETE = (15, "complete")
_MODIFICATION_FAILED = (16, "Modification Failed")
_CANCELLATION_FAILED = (17, "Cancellation Failed")
_TRIGGER_PENDING = (18, "trigger pending")
_LINK_FAILED = (20, "link orders failed")
_RELEASE_PENDING = (21, "release pending")

STATUS, MODIFY, CANCEL, TRIGGER, FILL, REJECT, NOT_MODIFIED, NOT_CANCELLED, GENERIC = range(1, 10)
"""The notify types of 352."""


def frames_of(happened: OrderHappened) -> Iterator[bytes]:
    """All frames of one event, in the order in which they are sent; a requested cancel has ``cancel_stages`` before."""
    order, ts_ns = happened.order, happened.ts_ns
    match happened.kind:
        case OrderEventKind.RECEIVED:
            yield _received(order, ts_ns)
        case OrderEventKind.OPENED:
            yield from _accepted(happened)
            yield _notification(order, ts_ns, _OPEN, quantity=order.quantity)
        case OrderEventKind.RELEASE_PENDING:
            yield _held(order, ts_ns, _RELEASE_PENDING, quan_release_pending=order.quantity)
        case OrderEventKind.TRIGGER_PENDING:
            if order.hold is Hold.CONDITION:
                yield _held(order, ts_ns, _TRIGGER_PENDING)
            else:
                yield from _accepted(happened)
                yield _notification(order, ts_ns, _TRIGGER_PENDING, quantity=order.quantity)
        case OrderEventKind.TRIGGERED:
            # A condition of the server's is no trigger at the exchange: what follows is a new order there.
            if order.stage is not Stage.RECEIVED:
                trigger_id = happened.report_id
                yield report(order, ts_ns, TRIGGER, "trigger", **_confirmed(order, ts_ns), trigger_id=trigger_id)
        case OrderEventKind.FILLED:
            if happened.execution is not None:
                yield fill_report(order, happened.execution)
        case OrderEventKind.MODIFIED:
            yield from _modified(happened)
        case OrderEventKind.MODIFY_FAILED:
            yield from _modify_failed(happened)
        case OrderEventKind.CANCELED:
            yield cancel_report(order, ts_ns, happened.report_id)
        case OrderEventKind.CANCEL_FAILED:
            yield from _cancel_failed(happened)
        case OrderEventKind.REJECTED:
            yield from _rejected(happened)
        case OrderEventKind.COMPLETED:
            yield _completed(happened)
        case OrderEventKind.WARNED:
            yield _refusal(happened, GENERIC, "generic")
        case OrderEventKind.RETAGGED:
            return


def cancel_stages(order: OrderState, ts_ns: int) -> Iterator[bytes]:
    """What a client's cancel passes through before the exchange confirms it."""
    for stage in _CANCEL_STAGES:
        yield _notification(order, ts_ns, stage, quantity=0, sequence_number=order.original_sequence_number)


def _accepted(happened: OrderHappened) -> Iterator[bytes]:
    order, ts_ns = happened.order, happened.ts_ns
    terms = order.terms
    is_changed = order.sequence_number != order.original_sequence_number
    if is_changed and terms.release_at_ns is None and terms.if_touched is None:
        # A replace has made another type of it: the exchange has had the order before.
        return
    for stage in _NEW_STAGES:
        yield _notification(order, ts_ns, stage, quantity=0, exchange_order_id=None)
    yield report(order, ts_ns, STATUS, "status", **confirm_fields(happened))


def confirm_fields(happened: OrderHappened) -> dict[str, object]:
    """What the exchange has confirmed."""
    return _confirmed(happened.order, happened.ts_ns) | {"confirmed_id": happened.report_id}


def _confirmed(order: OrderState, ts_ns: int) -> dict[str, object]:
    time, date = time_and_date(ts_ns)
    return {"confirmed_size": order.quantity, "confirmed_time": time, "confirmed_date": date}


def modify_fields(happened: OrderHappened) -> dict[str, object]:
    """What the exchange has modified."""
    time, date = time_and_date(happened.ts_ns)
    return {
        "modified_size": happened.order.quantity,
        "modified_time": time,
        "modified_date": date,
        "modify_id": happened.report_id,
    }


def _modified(happened: OrderHappened) -> Iterator[bytes]:
    order, ts_ns, text = happened.order, happened.ts_ns, happened.text or None
    # A change with a text is the server's own (a stop that trails, an exit that grows): no client asked for it.
    for stage in () if text else _MODIFY_STAGES:
        yield _notification(order, ts_ns, stage, quantity=0)
    yield report(order, ts_ns, MODIFY, "modify", **modify_fields(happened), text=text)
    stage = _MODIFIED_STOP if order.stage is Stage.TRIGGER_PENDING else _MODIFIED
    yield _notification(order, ts_ns, stage, quantity=order.quantity, text=text)


def _modify_failed(happened: OrderHappened) -> Iterator[bytes]:
    # What risk management or a bracket's own system refuses never comes to the exchange, which so reports nothing.
    stages = _MODIFY_STAGES if _is_from_exchange(happened) else _MODIFY_STAGES[:1]
    for stage in stages:
        yield _notification(happened.order, happened.ts_ns, stage, quantity=0)
    if _is_from_exchange(happened):
        yield _refusal(happened, NOT_MODIFIED, "not modified")
    yield _failed(happened, _MODIFICATION_FAILED)


def _cancel_failed(happened: OrderHappened) -> Iterator[bytes]:
    # Of an order that is complete the order management system says so itself, without asking the exchange.
    stages = _CANCEL_STAGES[:1] if happened.order.stage is Stage.COMPLETE else _CANCEL_STAGES
    for stage in stages:
        yield _notification(happened.order, happened.ts_ns, stage, quantity=0)
    yield _refusal(happened, NOT_CANCELLED, "not cancelled")
    yield _failed(happened, _CANCELLATION_FAILED)


def _is_from_exchange(happened: OrderHappened) -> bool:
    return not happened.text.startswith((RISK_REFUSAL, BRACKET_REFUSAL))


def _rejected(happened: OrderHappened) -> Iterator[bytes]:
    order, ts_ns = happened.order, happened.ts_ns
    if order.sequence_number == order.original_sequence_number:
        for stage in _NEW_STAGES:
            yield _notification(order, ts_ns, stage, quantity=0, exchange_order_id=None)
    yield _refusal(happened, REJECT, "reject")


def _refusal(happened: OrderHappened, notify_type: int, report_type: str) -> bytes:
    text = happened.text or None
    return report(happened.order, happened.ts_ns, notify_type, report_type, text=text, report_text=text)


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


def link_failed(order: OrderState, ts_ns: int, text: str) -> bytes:
    """351 for each order of a link that could not be made."""
    return _notification(order, ts_ns, _LINK_FAILED, quantity=order.quantity, text=text, report_text=text)


def bracket_update(changed: BracketChanged) -> bytes:
    """353: what a bracket's target and stop of one level are now."""
    # Zeros tell that a bracket has only one kind of exit; behind its first level they would be a level at 0 ticks.
    has_stop, has_target = (not changed.level or each for each in (changed.stop_quantity, changed.target_quantity))
    return encode(
        353,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        account_id=changed.account_id,
        basket_id=changed.basket_id,
        stop_ticks=changed.stop_ticks if has_stop else None,
        stop_quantity=changed.stop_quantity if has_stop else None,
        stop_quantity_released=changed.stop_quantity_released if has_stop else None,
        target_ticks=changed.target_ticks if has_target else None,
        target_quantity=changed.target_quantity if has_target else None,
        target_quantity_released=changed.target_quantity_released if has_target else None,
    )


def fill_report(order: OrderState, execution: Execution, *, is_snapshot: bool | None = None) -> bytes:
    """352 of one execution."""
    fields = fill_fields(execution) | {"is_snapshot": is_snapshot, "avg_fill_price": order.average_price}
    return report(order, execution.ts_ns, FILL, "fill", **fields)


def fill_fields(execution: Execution) -> dict[str, object]:
    """One execution."""
    time, date = time_and_date(execution.ts_ns)
    return {
        "fill_price": execution.price,
        "fill_size": execution.quantity,
        "fill_time": time,
        "fill_date": date,
        "fill_id": execution.fill_id,
    }


def cancel_report(order: OrderState, ts_ns: int, report_id: str) -> bytes:
    """352 of a cancel: a new sequence number, the old one beside it."""
    return report(order, ts_ns, CANCEL, "cancel", **cancel_fields(order, ts_ns, report_id))


def cancel_fields(order: OrderState, ts_ns: int, report_id: str) -> dict[str, object]:
    """What a cancel has taken away."""
    time, date = time_and_date(ts_ns)
    return {
        "cancelled_size": order.quantity - order.filled_quantity,
        "cancelled_time": time,
        "cancelled_date": date,
        "cancelled_id": report_id,
    }


def _received(order: OrderState, ts_ns: int) -> bytes:
    notify_type, status = _RECEIVED
    return encode(351, **_terms(order, ts_ns), notify_type=notify_type, status=status, quantity=order.quantity)


def _terms(order: OrderState, ts_ns: int) -> dict[str, object]:
    """What every frame of an order has, from the first one on."""
    terms = order.terms
    kind = order.bracket_kind
    fields: dict[str, object] = {
        "basket_id": order.basket_id,
        "fcm_id": FCM_ID,
        "ib_id": IB_ID,
        "user_id": terms.user,
        "account_id": terms.account_id,
        "symbol": terms.symbol,
        "exchange": terms.exchange,
        "trade_exchange": terms.exchange,
        "trade_route": terms.trade_route,
        "price": order.price,
        "trigger_price": order.trigger_price,
        **stamp(ts_ns),
        "user_tag": terms.user_tag or None,
        "window_name": terms.window_name or None,
        "transaction_type": SIDES[terms.side],
        "duration": DURATIONS[terms.time_in_force],
        "price_type": PRICE_TYPES[order.order_type],
        "orig_price_type": PRICE_TYPES[terms.order_type],
        "manual_or_auto": AUTO if terms.is_automatic else MANUAL,
        "original_basket_id": order.original_basket_id or None,
        "linked_basket_ids": ",".join(order.linked_basket_ids) if len(order.linked_basket_ids) > 1 else None,
        "bracket_type": BRACKET_KINDS[kind] if kind is not None else None,
        "cancel_after_secs": terms.cancel_after_s or None,
    }
    if terms.cancel_at_ns is not None:
        fields["cancel_at_ssboe"], nanoseconds = divmod(terms.cancel_at_ns, NS_PER_S)
        fields["cancel_at_usecs"] = nanoseconds // 1000
    return fields


def _common(order: OrderState, ts_ns: int) -> dict[str, object]:
    """What 351 (but for its first stage) and 352 share."""
    return _terms(order, ts_ns) | {
        "exchange_order_id": order.basket_id,
        "instrument_type": "Future",
        "sequence_number": order.sequence_number,
        "orig_sequence_number": order.original_sequence_number,
        "cor_sequence_number": order.original_sequence_number,
        "currency": "USD",
        "total_fill_size": order.filled_quantity,
        "total_unfilled_size": order.leaves_quantity,
    }


def _held(order: OrderState, ts_ns: int, stage: tuple[int, str], **fields: object) -> bytes:
    """351 of an order that the server still keeps to itself."""
    return _notification(order, ts_ns, stage, quantity=order.quantity, exchange_order_id=None, **fields)


def _notification(order: OrderState, ts_ns: int, stage: tuple[int, str], **fields: object) -> bytes:
    return encode(351, **(_common(order, ts_ns) | {"notify_type": stage[0], "status": stage[1]} | fields))


def report(order: OrderState, ts_ns: int, notify_type: int, report_type: str, **fields: object) -> bytes:
    """352 of an order, with the fields of its kind."""
    head = {"notify_type": notify_type, "report_type": report_type}
    if order.trail_by_ticks:
        fields |= {"trail_by_ticks": order.trail_by_ticks, "trail_by_price_id": PRICE_FIELDS[order.terms.trail_by]}
    return encode(352, **(_common(order, ts_ns) | head | fields))


def time_and_date(ts_ns: int) -> tuple[str, str]:
    """A moment as ``HH:MM:SS`` and ``YYYYMMDD``, UTC."""
    return _time_and_date(ts_ns // NS_PER_S)


@lru_cache(maxsize=1024)
def _time_and_date(second: int) -> tuple[str, str]:
    moment = datetime.fromtimestamp(second, UTC)
    return moment.strftime("%H:%M:%S"), moment.strftime("%Y%m%d")
