"""The order plant's answers about the user: login, accounts, routes, permissions, profile."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.plants.requests import RequestRefusal, require, require_account
from nightdesk.simulator.plants.search import exchange_permissions
from nightdesk.simulator.wire.session import (
    ACCOUNT_DENIED,
    FCM_ID,
    IB_ID,
    NO_DATA,
    OK,
    PERMISSION_DENIED,
    TRADE_ROUTE,
    Plant,
    Session,
)

USER_TYPE_TRADER = 3
FIRST_NAME = "Nightdesk"
LAST_NAME = "Simulator"
ROUTED_EXCHANGES = ("CME", "CBOT", "NYMEX", "COMEX")
"""Exchanges with a trade route from the start; those of the listed contracts are added."""

_SUBSCRIBE = 1
_PARSE_ERROR = "an error occurred while parsing data."


def login_info(session: Session, request: Any) -> None:
    """300 → 301."""
    session.done(
        301,
        request,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        user=session.user_name,
        first_name=FIRST_NAME,
        last_name=LAST_NAME,
        user_type=USER_TYPE_TRADER,
    )


def require_trader(request: Any) -> None:
    """Refuse a request over a firm's accounts that does not name the firm or the type of the user."""
    require(request, "fcm_id", "user_type")
    if request.fcm_id != FCM_ID or request.ib_id != IB_ID:
        raise RequestRefusal(*ACCOUNT_DENIED)


def account_list(session: Session, request: Any) -> None:
    """302 → one 303 per account, then a bare one."""
    require_trader(request)
    for account_id in session.accounts:
        limit = session.exchange.venue.terms(account_id).loss_limit
        session.more(
            303,
            request,
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            account_id=account_id,
            account_name=account_id,
            account_currency="USD",
            account_auto_liquidate="",
            loss_limit=f"{limit:.2f}" if limit else None,
        )
    session.done(303, request)


def trade_routes(session: Session, request: Any) -> None:
    """310 → one 311 per exchange, then a bare one; 350 follows for each change, if the client asked for updates."""
    feed = session.exchange.order_feed
    for exchange in dict.fromkeys((*ROUTED_EXCHANGES, *session.exchange.catalog.exchanges)):
        session.more(
            311,
            request,
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            exchange=exchange,
            trade_route=TRADE_ROUTE,
            status=feed.route_status(exchange),
            is_default=True,
        )
    session.done(311, request)
    if request.subscribe_for_updates:
        feed.subscribe_routes(session)


def easy_to_borrow(session: Session, request: Any) -> None:
    """348 → 349: nothing that is listed here is borrowed, so a subscription is code 7 and brings nothing."""
    require(request, "request")
    session.done(349, request, NO_DATA if request.request == _SUBSCRIBE else OK)


def session_config(session: Session, request: Any) -> None:
    """3502 → 3503: only refusals of it were ever seen, under code 7 on the order plant and 13 on every other."""
    session.done(3503, request, ("7" if session.plant is Plant.ORDER else "13", _PARSE_ERROR))


def user_info(session: Session, request: Any) -> None:
    """3510 → one 3511 of the user itself, then a bare one."""
    _require_self(session, request)
    user = session.user
    limit = user.sessions_per_plant_max if user is not None else None
    session.more(
        3511,
        request,
        fcm_id=FCM_ID,
        ib_id=IB_ID,
        user=session.user_name,
        first_name=FIRST_NAME,
        last_name=LAST_NAME,
        type=str(USER_TYPE_TRADER),
        tp_max_session_count=limit,
        op_max_session_count=limit,
    )
    session.done(3511, request)


def _require_self(session: Session, request: Any) -> None:
    if (request.fcm_id or FCM_ID, request.ib_id or IB_ID) != (FCM_ID, IB_ID):
        raise RequestRefusal(*ACCOUNT_DENIED)
    # Only an administrator could ask about others.
    if request.user not in ("", session.user_name):
        raise RequestRefusal(*PERMISSION_DENIED)


def subscribe_orders(session: Session, request: Any) -> None:
    """308 → 309: from here on the session gets the account's notifications."""
    require_account(session, request)
    session.exchange.order_feed.subscribe(session, request.account_id)
    session.done(309, request)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    300: login_info,
    302: account_list,
    308: subscribe_orders,
    310: trade_routes,
    342: exchange_permissions,
    348: easy_to_borrow,
    3502: session_config,
    3510: user_info,
}
