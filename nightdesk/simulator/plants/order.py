"""The order plant: who the user is, subscriptions, orders in and their lists out."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nightdesk.messages.enums import OrderType
from nightdesk.simulator.model import NewOrder, OrderEventKind, OrderHappened, VenueEvent
from nightdesk.simulator.venue.venue import VenueRefusal
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.order_frames import (
    DURATIONS,
    NS_PER_S,
    PRICE_TYPES,
    SIDES,
    cancel_stages,
    frames_of,
    snapshot,
)
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FCM_ID,
    FCM_MISSING,
    IB_ID,
    NO_DATA,
    OK,
    PERMISSION_DENIED,
    PRICE_TYPE_MISSING,
    SYMBOL_MISSING,
    TRADE_ROUTE,
    TRADE_ROUTE_MISSING,
    USER_TYPE_MISSING,
    Session,
)

USER_TYPE_TRADER = 3
ROUTED_EXCHANGES = ("CME", "CBOT", "NYMEX", "COMEX")
"""Exchanges with a trade route from the start; those of the listed contracts are added."""

_REFUSED = "6"
_AUTO = 2
_NOT_SERVED = ("trailing_stop", "release_at_ssboe", "cancel_at_ssboe", "cancel_after_secs", "if_touched_symbol")
"""What a new order may ask for but this exchange does not do: refused, because ignoring it would be worse."""

_SIDE_OF = {number: side for side, number in SIDES.items()}
_TYPE_OF = {number: order_type for order_type, number in PRICE_TYPES.items()}
_DURATION_OF = {number: duration for duration, number in DURATIONS.items()}
_NEEDS_PRICE = (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED)
_NEEDS_TRIGGER = (
    OrderType.STOP_MARKET,
    OrderType.STOP_LIMIT,
    OrderType.MARKET_IF_TOUCHED,
    OrderType.LIMIT_IF_TOUCHED,
)


class OrderFeed:
    """Who gets the notifications of which account; each frame is encoded once for all of them."""

    def __init__(self) -> None:
        self._sessions: dict[str, list[Session]] = {}

    def subscribe(self, session: Session, account_id: str) -> None:
        """From now on the session gets the account's 351 and 352."""
        sessions = self._sessions.setdefault(account_id, [])
        if session not in sessions:
            sessions.append(session)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for sessions in self._sessions.values():
            if session in sessions:
                sessions.remove(session)

    def order_happened(self, happened: OrderHappened, *, is_requested_cancel: bool = False) -> None:
        """Send the frames of one event to the account's subscribers."""
        sessions = self._sessions.get(happened.order.terms.account_id)
        if not sessions:
            return
        payloads = list(cancel_stages(happened.order, happened.ts_ns)) if is_requested_cancel else []
        payloads.extend(frames_of(happened))
        for payload in payloads:
            frame = OutgoingFrame(payload)
            for session in sessions:
                session.send(frame)


def requested_cancels(events: Sequence[VenueEvent]) -> set[str]:
    """The orders that a client's cancel ended: not those which the same events first brought in (an IOC's rest)."""
    canceled: set[str] = set()
    for event in events:
        if isinstance(event, OrderHappened):
            if event.kind is OrderEventKind.RECEIVED:
                return set()
            if event.kind is OrderEventKind.CANCELED:
                canceled.add(event.order.basket_id)
    return canceled


def login_info(session: Session, request: Any) -> None:
    """300 → 301."""
    session.done(
        301,
        request,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        user=session.user_name,
        first_name="Nightdesk",
        last_name="Simulator",
        user_type=USER_TYPE_TRADER,
    )


def account_list(session: Session, request: Any) -> None:
    """302 → one 303 per account, then a bare one."""
    if not request.HasField("fcm_id"):
        session.done(303, request, FCM_MISSING)
    elif not request.HasField("user_type"):
        session.done(303, request, USER_TYPE_MISSING)
    elif request.fcm_id != FCM_ID or request.ib_id != IB_ID:
        session.done(303, request, PERMISSION_DENIED)
    else:
        for account_id in session.accounts:
            session.more(
                303,
                request,
                fcm_id=FCM_ID,
                ib_id=IB_ID,
                account_id=account_id,
                account_name=account_id,
                account_currency="USD",
                account_auto_liquidate="",
            )
        session.done(303, request)


def subscribe_orders(session: Session, request: Any) -> None:
    """308 → 309: from here on the session gets the account's notifications."""
    if not session.refuses_account(309, request):
        session.exchange.order_feed.subscribe(session, request.account_id)
        session.done(309, request)


def subscribe_brackets(session: Session, request: Any) -> None:
    """336 → 337; there are no brackets yet, so nothing follows."""
    if not session.refuses_account(337, request):
        session.done(337, request)


def trade_routes(session: Session, request: Any) -> None:
    """310 → one 311 per exchange, then a bare one; routes never change here, so 350 is never sent."""
    for exchange in dict.fromkeys((*ROUTED_EXCHANGES, *session.exchange.catalog.exchanges)):
        session.more(
            311,
            request,
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            exchange=exchange,
            trade_route=TRADE_ROUTE,
            status="UP",
            is_default=True,
        )
    session.done(311, request)


def new_order(session: Session, request: Any) -> None:
    """312 → 313 with the basket id, a bare 313, then the notifications; what cannot be an order is refused at once."""
    refusal = _refusal_of_terms(session, request)
    if refusal is not None:
        session.done(313, request, refusal, user_tag=request.user_tag or None)
        return
    exchange = session.exchange
    order_type = _TYPE_OF[request.price_type]
    order = NewOrder(
        account_id=request.account_id,
        user=session.user_name,
        user_tag=request.user_tag,
        symbol=request.symbol,
        exchange=request.exchange,
        side=_SIDE_OF[request.transaction_type],
        order_type=order_type,
        quantity=request.quantity,
        price=request.price if order_type in _NEEDS_PRICE else None,
        trigger_price=request.trigger_price if order_type in _NEEDS_TRIGGER else None,
        time_in_force=_DURATION_OF[request.duration],
        window_name=request.window_name,
        is_automatic=request.manual_or_auto == _AUTO,
        trade_route=TRADE_ROUTE,
    )
    now_ns = exchange.now_ns()
    basket_id, events = exchange.venue.submit(order, now_ns)
    exchange.record(events)
    ssboe, nanoseconds = divmod(now_ns, NS_PER_S)
    session.more(
        313, request, basket_id=basket_id, ssboe=ssboe, usecs=nanoseconds // 1000, user_tag=request.user_tag or None
    )
    session.done(313, request)
    exchange.publish(events)


def _refusal_of_terms(session: Session, request: Any) -> tuple[str, ...] | None:
    if not request.HasField("symbol"):
        return SYMBOL_MISSING
    if not request.HasField("trade_route"):
        return TRADE_ROUTE_MISSING
    if not request.HasField("price_type") or request.price_type not in _TYPE_OF:
        return PRICE_TYPE_MISSING
    if request.account_id not in session.accounts:
        return PERMISSION_DENIED
    if request.trade_route != TRADE_ROUTE:
        return (_REFUSED, f"unknown trade route {request.trade_route}")
    if not _is_known(request, "transaction_type", _SIDE_OF) or not _is_known(request, "duration", _DURATION_OF):
        return BAD_INPUT
    if request.quantity < 1:
        return BAD_INPUT
    for name in _NOT_SERVED:
        if getattr(request, name):
            return (_REFUSED, f"{name} is not served by the simulator")
    return _refusal_of_prices(_TYPE_OF[request.price_type], request)


def _is_known(request: Any, name: str, table: Mapping[int, object]) -> bool:
    # The definitions give enumerations a zero of their own that means nothing.
    return request.HasField(name) and getattr(request, name) in table


def _refusal_of_prices(order_type: OrderType, request: Any) -> tuple[str, ...] | None:
    for needed, name in ((_NEEDS_PRICE, "price"), (_NEEDS_TRIGGER, "trigger_price")):
        if order_type in needed and not (request.HasField(name) and math.isfinite(getattr(request, name))):
            return (_REFUSED, f"{name} is missing")
    return None


def modify_order(session: Session, request: Any) -> None:
    """314 → 315 and the notifications: a replace of the whole terms."""
    if request.account_id not in session.accounts:
        session.done(315, request, PERMISSION_DENIED)
        return
    exchange = session.exchange
    order_type = _TYPE_OF.get(request.price_type) if request.HasField("price_type") else None
    has_price = request.HasField("price") and order_type is not OrderType.MARKET
    has_trigger = request.HasField("trigger_price")
    prices = [request.price] * has_price + [request.trigger_price] * has_trigger
    if request.quantity < 1 or not all(map(math.isfinite, prices)):
        session.done(315, request, BAD_INPUT)
        return
    try:
        events = exchange.venue.modify(
            request.account_id,
            request.basket_id,
            quantity=request.quantity,
            price=request.price if has_price else None,
            trigger_price=request.trigger_price if has_trigger else None,
            order_type=order_type,
            now_ns=exchange.now_ns(),
        )
    except VenueRefusal as refusal:
        session.done(315, request, (_REFUSED, str(refusal)), basket_id=request.basket_id)
        return
    exchange.record(events)
    _acknowledge(session, 315, request)
    exchange.publish(events)


def cancel_order(session: Session, request: Any) -> None:
    """316 → 317 and the notifications."""
    if request.account_id not in session.accounts:
        session.done(317, request, PERMISSION_DENIED)
        return
    exchange = session.exchange
    try:
        events = exchange.venue.cancel(request.account_id, request.basket_id, exchange.now_ns())
    except VenueRefusal as refusal:
        session.done(317, request, (_REFUSED, str(refusal)), basket_id=request.basket_id)
        return
    exchange.record(events)
    _acknowledge(session, 317, request)
    exchange.publish(events, canceled_by_request=requested_cancels(events))


def _acknowledge(session: Session, response_id: int, request: Any) -> None:
    ssboe, nanoseconds = divmod(session.exchange.now_ns(), NS_PER_S)
    session.done(response_id, request, basket_id=request.basket_id, ssboe=ssboe, usecs=nanoseconds // 1000)


def cancel_all(session: Session, request: Any) -> None:
    """346 → 347, then the notifications of each cancel."""
    if session.refuses_account(347, request):
        return
    if not request.HasField("user_type"):
        session.done(347, request, USER_TYPE_MISSING)
        return
    exchange = session.exchange
    events = exchange.venue.cancel_all(request.account_id, exchange.now_ns())
    exchange.record(events)
    session.done(347, request)
    exchange.publish(events, canceled_by_request=requested_cancels(events))


def exit_position(session: Session, request: Any) -> None:
    """3504 → 3505; the closing market orders show up as any other order."""
    if session.refuses_account(3505, request):
        return
    exchange = session.exchange
    symbol = request.symbol or None
    if symbol is not None and exchange.catalog.find(symbol, request.exchange) is None:
        session.done(3505, request, NO_DATA)
        return
    events = exchange.venue.exit_position(request.account_id, symbol, session.user_name, exchange.now_ns())
    exchange.record(events)
    session.done(3505, request, symbol=symbol, exchange=request.exchange or None)
    exchange.publish(events)


def show_orders(session: Session, request: Any) -> None:
    """320 → a burst of 352 images without ``user_msg``, finished orders too, then 321."""
    if session.refuses_account(321, request):
        return
    orders = session.exchange.venue.orders(request.account_id)
    for order in orders:
        session.send(OutgoingFrame(snapshot(order)))
    session.done(321, request, OK if orders else NO_DATA)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    300: login_info,
    302: account_list,
    308: subscribe_orders,
    310: trade_routes,
    312: new_order,
    314: modify_order,
    316: cancel_order,
    320: show_orders,
    336: subscribe_brackets,
    346: cancel_all,
    3504: exit_position,
}
