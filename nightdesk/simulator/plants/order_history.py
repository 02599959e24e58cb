"""The order plant's past executions: 3506/3507 and 3512/3513."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from nightdesk.simulator.model import Execution, OrderState
from nightdesk.simulator.plants.reference import day_of_index, start_of_day_s
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.order_frames import NS_PER_S, fill_report, time_and_date
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FCM_ID,
    FINISH_INDEX_MISSING,
    IB_ID,
    NO_DATA,
    OK,
    START_INDEX_MISSING,
    Session,
)

RECORDS_MAX = 10_000
"""Fills in one answer; a request may ask for fewer."""


def _refuses_range(session: Session, response_id: int, request: Any) -> bool:
    if session.refuses_account(response_id, request):
        return True
    if not request.HasField("start_index"):
        session.done(response_id, request, START_INDEX_MISSING)
    elif not request.HasField("finish_index"):
        session.done(response_id, request, FINISH_INDEX_MISSING)
    else:
        return False
    return True


def replay_executions(session: Session, request: Any) -> None:
    """3506 → the account's fills of that time as 352 images, then 3507."""
    if _refuses_range(session, 3507, request):
        return
    found = session.exchange.venue.executions(request.account_id, request.start_index, request.finish_index)
    for order, execution in found:
        session.send(OutgoingFrame(fill_report(order, execution, is_snapshot=True)))
    session.done(3507, request, OK if found else NO_DATA)


def fill_history(session: Session, request: Any) -> None:
    """3512 → one 3513 per fill, then a bare one; ``trade_date`` indices are UTC days as YYYYMMDD."""
    if _refuses_range(session, 3513, request):
        return
    start_s, finish_s = request.start_index, request.finish_index
    if request.index_format == "trade_date":
        first, last = day_of_index(start_s), day_of_index(finish_s)
        if first is None or last is None:
            session.done(3513, request, BAD_INPUT)
            return
        start_s, finish_s = start_of_day_s(first), start_of_day_s(last + timedelta(days=1)) - 1
    elif request.index_format not in ("", "ssboe"):
        session.done(3513, request, BAD_INPUT)
        return
    count_max = min(request.max_record_count, RECORDS_MAX) if request.max_record_count > 0 else RECORDS_MAX
    found = session.exchange.venue.executions(request.account_id, start_s, finish_s)[:count_max]
    for order, execution in found:
        _fill(session, request, order, execution)
    session.done(3513, request, OK if found else NO_DATA)


def _fill(session: Session, request: Any, order: OrderState, execution: Execution) -> None:
    terms = order.terms
    ssboe, nanoseconds = divmod(execution.ts_ns, NS_PER_S)
    time, day = time_and_date(execution.ts_ns)
    session.more(
        3513,
        request,
        basket_id=order.basket_id,
        sequence_number=order.sequence_number,
        orig_sequence_number=order.original_sequence_number,
        cor_sequence_number=order.original_sequence_number,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        account_id=terms.account_id,
        symbol=terms.symbol,
        exchange=terms.exchange,
        trade_exchange=terms.exchange,
        trade_route=terms.trade_route,
        exchange_order_id=order.basket_id,
        instrument_type="Future",
        transaction_type=terms.side.value,
        duration=terms.time_in_force.value,
        price_type=order.order_type.value,
        orig_price_type=terms.order_type.value,
        manual_or_auto="AUTO" if terms.is_automatic else "MANUAL",
        fill_time=time,
        fill_date=day,
        fill_id=execution.fill_id,
        price=order.price,
        trigger_price=order.trigger_price,
        fill_price=execution.price,
        avg_fill_price=order.average_price,
        fill_size=execution.quantity,
        total_fill_size=order.filled_quantity,
        total_unfilled_size=order.leaves_quantity,
        ssboe=ssboe,
        usecs=nanoseconds // 1000,
    )


HANDLERS: dict[int, Callable[[Session, Any], None]] = {3506: replay_executions, 3512: fill_history}
