"""The order plant's single orders: in (312), changed (314), canceled (316, 346), positions closed (3504)."""

from collections.abc import Callable, Sequence
from typing import Any

from nightdesk.simulator.model import OrderEventKind, OrderHappened, Stage
from nightdesk.simulator.plants.order_feed import requested_cancels
from nightdesk.simulator.plants.order_terms import if_touched_of, new_trail_of, order_of, prices_of, type_of
from nightdesk.simulator.plants.requests import (
    REFUSED,
    RequestRefusal,
    missing,
    require,
    require_account,
    require_short,
)
from nightdesk.simulator.venue.venue import VenueRefusal
from nightdesk.simulator.wire.order_words import COMPLETE_REFUSAL, MANUAL, stamp
from nightdesk.simulator.wire.session import BAD_INPUT, NO_DATA, Session


def new_order(session: Session, request: Any) -> None:
    """312 → 313 with the basket id, a bare 313, then the notifications."""
    order = order_of(session, request)
    exchange = session.exchange
    now_ns = exchange.now_ns()
    basket_id, events = exchange.venue.submit(order, now_ns)
    exchange.record(events)
    session.more(313, request, basket_id=basket_id, **stamp(now_ns), user_tag=request.user_tag or None)
    session.done(313, request)
    exchange.publish(events)


def modify_order(session: Session, request: Any) -> None:
    """314 → 315 and the notifications: a replace of the whole terms, so none of them may be missing."""
    require_account(session, request)
    require(request, "basket_id", "symbol", "exchange", "quantity")
    order_type = type_of(request)
    trail_by_ticks = new_trail_of(request, order_type)
    prices = prices_of(request, order_type, trails=bool(trail_by_ticks))
    if request.quantity < 1:
        raise RequestRefusal(*BAD_INPUT)
    exchange = session.exchange
    _require_contract(exchange.venue.order_history(request.account_id, request.basket_id), request)
    events = exchange.venue.modify(
        request.account_id,
        request.basket_id,
        quantity=request.quantity,
        price=prices.limit,
        trigger_price=prices.trigger,
        order_type=order_type,
        trail_by_ticks=trail_by_ticks,
        if_touched=if_touched_of(session, request),
        now_ns=exchange.now_ns(),
    )
    exchange.record(events)
    _acknowledge(session, 315, request)
    exchange.publish(events)


def _require_contract(history: Sequence[OrderHappened], request: Any) -> None:
    """Refuse a replace that names another contract than its order's: one of the two is a mistake."""
    if not history:
        return
    terms = history[-1].order.terms
    if (request.symbol, request.exchange) != (terms.symbol, terms.exchange):
        raise RequestRefusal(REFUSED, f"order {request.basket_id} is of {terms.symbol}.{terms.exchange}")


def cancel_order(session: Session, request: Any) -> None:
    """316 → 317 and the notifications. The cancel of a finished order is acknowledged, and then fails."""
    require_account(session, request)
    require(request, "basket_id")
    exchange = session.exchange
    now_ns = exchange.now_ns()
    try:
        events = exchange.venue.cancel(request.account_id, request.basket_id, now_ns)
    except VenueRefusal:
        history = exchange.venue.order_history(request.account_id, request.basket_id)
        if not history or history[-1].order.stage is not Stage.COMPLETE:
            raise
        _acknowledge(session, 317, request)
        failed = OrderHappened(OrderEventKind.CANCEL_FAILED, history[-1].order, now_ns, text=COMPLETE_REFUSAL)
        exchange.order_feed.order_happened(failed)
        return
    exchange.record(events)
    _acknowledge(session, 317, request)
    # What else the cancel ended (the other legs of an OCO order) was not asked for.
    exchange.publish(events, canceled_by_request=requested_cancels(events) & {request.basket_id})


def _acknowledge(session: Session, response_id: int, request: Any) -> None:
    session.done(response_id, request, basket_id=request.basket_id, **stamp(session.exchange.now_ns()))


def cancel_all(session: Session, request: Any) -> None:
    """346 → 347, then the notifications of each cancel."""
    require_account(session, request)
    require(request, "user_type")
    exchange = session.exchange
    events = exchange.venue.cancel_all(request.account_id, exchange.now_ns())
    exchange.record(events)
    session.done(347, request)
    exchange.publish(events, canceled_by_request=requested_cancels(events))


def rename_order(session: Session, request: Any) -> None:
    """3500 → 3501: another ``user_tag``, empty to take it away; it shows in everything that is sent from now on."""
    require_account(session, request)
    require(request, "basket_id")
    if not request.HasField("user_tag"):
        raise missing("user_tag")
    require_short(request, "user_tag")
    exchange = session.exchange
    events = exchange.venue.retag(request.account_id, request.basket_id, request.user_tag, exchange.now_ns())
    exchange.record(events)
    session.done(3501, request)


def exit_position(session: Session, request: Any) -> None:
    """3504 → 3505; the closing market orders show up as any other order. Without a symbol all positions are closed."""
    require_account(session, request)
    exchange = session.exchange
    require_short(request, "window_name")
    symbol = request.symbol or None
    if symbol is not None or request.exchange:
        require(request, "symbol", "exchange")
    if request.trading_algorithm:
        raise RequestRefusal(REFUSED, f"trading_algorithm {request.trading_algorithm} is not served by the simulator")
    if symbol is not None and exchange.catalog.find(symbol, request.exchange) is None:
        raise RequestRefusal(*NO_DATA)
    events = exchange.venue.exit_position(
        request.account_id,
        symbol,
        session.user_name,
        exchange.now_ns(),
        is_automatic=request.manual_or_auto != MANUAL,
        window_name=request.window_name,
    )
    exchange.record(events)
    session.done(3505, request, symbol=symbol, exchange=request.exchange or None)
    exchange.publish(events)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    312: new_order,
    314: modify_order,
    316: cancel_order,
    346: cancel_all,
    3500: rename_order,
    3504: exit_position,
}
