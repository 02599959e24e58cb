"""The order plant's past executions: 3506/3507 and 3512/3513."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.model import Execution, OrderState
from nightdesk.simulator.plants.reference import day_of_index, start_of_day_s
from nightdesk.simulator.plants.requests import REFUSED, RequestRefusal, require, require_account
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.order_frames import fill_report, time_and_date
from nightdesk.simulator.wire.order_words import stamp
from nightdesk.simulator.wire.session import BAD_INPUT, FCM_ID, IB_ID, NO_DATA, OK, Session

SECONDS_PER_DAY = 86_400
DATE_BEGINS_BEFORE_DAYS = 7
"""No trade date begins more days before its own."""
RECORDS_MAX = 10_000
"""Fills in one answer; a request that asks for more is refused."""


def replay_executions(session: Session, request: Any) -> None:
    """3506 → the account's fills of that time as 352 images, then 3507."""
    require_account(session, request)
    require(request, "start_index", "finish_index")
    found = session.exchange.venue.executions(request.account_id, request.start_index, request.finish_index)
    for order, execution in found:
        session.send(OutgoingFrame(fill_report(order, execution, is_snapshot=True)))
    session.done(3507, request, OK if found else NO_DATA)


def fill_history(session: Session, request: Any) -> None:
    """3512 → one 3513 per fill, oldest first, then a bare one; ``trade_date`` indices are YYYYMMDD."""
    require_account(session, request)
    require(request, "start_index", "finish_index")
    start_s, finish_s, dates = _span_of(request)
    count_max = RECORDS_MAX
    if request.HasField("max_record_count"):
        count_max = request.max_record_count
        if not 1 <= count_max <= RECORDS_MAX:
            raise RequestRefusal(REFUSED, f"max_record_count is between 1 and {RECORDS_MAX}")
    venue = session.exchange.venue
    found = [
        each
        for each in venue.executions(request.account_id, start_s, finish_s)
        if dates is None or dates[0] <= venue.dates.date_of(each[0].terms.symbol, each[1].ts_ns) <= dates[1]
    ][:count_max]
    for order, execution in found:
        _fill(session, request, order, execution)
    session.done(3513, request, OK if found else NO_DATA)


def _span_of(request: Any) -> tuple[int, int, tuple[str, str] | None]:
    """The first and the last unix second that the request asks for, and its first and last trade date if it has them.

    A trade date may begin days before its own, behind a weekend or a holiday.
    """
    if request.index_format in ("", "ssboe"):
        return request.start_index, request.finish_index, None
    first, last = day_of_index(request.start_index), day_of_index(request.finish_index)
    if request.index_format != "trade_date" or first is None or last is None:
        raise RequestRefusal(*BAD_INPUT)
    start_s = start_of_day_s(first) - DATE_BEGINS_BEFORE_DAYS * SECONDS_PER_DAY
    finish_s = start_of_day_s(last) + 2 * SECONDS_PER_DAY - 1
    return start_s, finish_s, (first.strftime("%Y%m%d"), last.strftime("%Y%m%d"))


def _fill(session: Session, request: Any, order: OrderState, execution: Execution) -> None:
    terms = order.terms
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
        **stamp(execution.ts_ns),
    )


HANDLERS: dict[int, Callable[[Session, Any], None]] = {3506: replay_executions, 3512: fill_history}
