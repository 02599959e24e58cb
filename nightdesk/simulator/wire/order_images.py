"""Orders as lists tell them: 352 of an order's present state, and its 351 and 352 of the past, all marked as images."""

from collections.abc import Iterable, Iterator

from nightdesk.simulator.model import Completion, Hold, OrderEventKind, OrderHappened, OrderState, Stage
from nightdesk.simulator.wire.order_frames import (
    CANCEL,
    FILL,
    REJECT,
    STATUS,
    cancel_fields,
    confirm_fields,
    fill_fields,
    frames_of,
    modify_fields,
    report,
)
from nightdesk.simulator.wire.templates import CLASSES

_IMAGE_MARK = CLASSES[351](is_snapshot=True).SerializeToString()
"""``is_snapshot`` as bytes: a field may stand anywhere in a message, so an image is a frame with this behind it."""

_STATUS_OF_STAGE = {
    Stage.RECEIVED: "open pending",
    Stage.RELEASE_PENDING: "release pending",
    Stage.TRIGGER_PENDING: "trigger pending",
    Stage.OPEN: "open",
    Stage.COMPLETE: "complete",
}
_REPORT_OF_COMPLETION = {
    None: (STATUS, "status"),
    Completion.FILLED: (FILL, "fill"),
    Completion.CANCELED: (CANCEL, "cancel"),
    Completion.FAILED: (REJECT, "reject"),
}


def images_of(happened: OrderHappened) -> Iterator[bytes]:
    """The frames of a past event, marked as images, as an order's history sends them."""
    for payload in frames_of(happened):
        yield payload + _IMAGE_MARK


def snapshot(order: OrderState, history: Iterable[OrderHappened]) -> bytes:
    """352 as the lists of orders send it: the present state in one frame, with what was reported last of each kind."""
    notify_type, report_type = _REPORT_OF_COMPLETION[order.completion]
    fields: dict[str, object] = {"cancelled_size": 0}
    for happened in history:
        fields |= _reported(happened, is_first="confirmed_id" not in fields)
    fields |= {
        "is_snapshot": True,
        "status": _STATUS_OF_STAGE[order.stage],
        "quantity": order.quantity,
        "avg_fill_price": order.average_price if order.filled_quantity else None,
        "text": order.text or None,
    }
    return report(order, order.ts_last_ns, notify_type, report_type, **fields)


def _reported(happened: OrderHappened, *, is_first: bool) -> dict[str, object]:
    match happened.kind:
        case OrderEventKind.OPENED | OrderEventKind.TRIGGER_PENDING:
            # The exchange confirms an order once, and never what the server holds back from it.
            return confirm_fields(happened) if is_first and happened.order.hold is not Hold.CONDITION else {}
        case OrderEventKind.TRIGGERED if happened.order.stage is not Stage.RECEIVED:
            return {"trigger_id": happened.report_id}
        case OrderEventKind.MODIFIED:
            return modify_fields(happened)
        case OrderEventKind.FILLED if happened.execution is not None:
            return fill_fields(happened.execution)
        case OrderEventKind.CANCELED:
            return cancel_fields(happened.order, happened.ts_ns, happened.report_id)
        case _:
            return {}
