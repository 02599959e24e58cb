"""The order plant's risk limits: of accounts (304), of products (306), and their changes (3508, 356)."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.plants.accounts import require_trader
from nightdesk.simulator.plants.reference import root_of
from nightdesk.simulator.plants.requests import REFUSED, RequestRefusal, require, require_account
from nightdesk.simulator.wire.definitions import BITS
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import BAD_INPUT, FCM_ID, IB_ID, NO_DATA, OK, Session

_DISABLED = 2
_ACCOUNT_BITS = {
    "buy_limit": 1,
    "sell_limit": 2,
    "loss_limit": 4,
    "max_order_quantity": 8,
    "min_account_balance": 16,
    "status": 128,
    "currency": 256,
}
_PRODUCT_BITS = {
    "max_order_quantity": 8,
    "buy_margin_rate": 16,
    "sell_margin_rate": 32,
    "commission_fill_rate": 64,
}
_THRESHOLD_BIT = BITS[3508]["AUTO_LIQ_THRESHOLD_CURRENT_VALUE"]
"""The only update there is; a request without bits means it."""
_REQUESTS = {"subscribe": True, "unsubscribe": False}


def _present(fields: dict[str, object], bits: dict[str, int], *, always: str = "") -> dict[str, object]:
    """The fields that are set (a limit of 0 is none, and stays absent), with the bits that name them."""
    found = {name: value for name, value in fields.items() if value or name == always}
    return found | {"presence_bits": sum(bits[name] for name in found)}


def account_limits(session: Session, request: Any) -> None:
    """304 → one 305 per account, then a bare one; nothing here liquidates an account by itself."""
    require_trader(request)
    for account_id in session.accounts:
        terms = session.exchange.venue.terms(account_id)
        limits: dict[str, object] = {
            "buy_limit": terms.buy_limit,
            "sell_limit": terms.sell_limit,
            "loss_limit": terms.loss_limit,
            "max_order_quantity": terms.max_order_quantity,
            "min_account_balance": terms.min_account_balance,
            "status": "active",
            "currency": "USD",
        }
        session.more(
            305,
            request,
            **_present(limits, _ACCOUNT_BITS),
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            account_id=account_id,
            auto_liquidate=_DISABLED,
            disable_on_auto_liquidate=_DISABLED,
            auto_liquidate_criteria="",
            auto_liquidate_threshold=0.0,
            auto_liquidate_max_min_account_balance=0.0,
            check_min_account_balance=terms.min_account_balance > 0,
        )
    session.done(305, request)


def product_limits(session: Session, request: Any) -> None:
    """306 → one 307 per product that the account may trade, then a bare one; rates per contract and side."""
    require_account(session, request)
    allowed = session.exchange.venue.terms(request.account_id).products
    told: set[str] = set()
    for product in session.exchange.venue.products():
        root = root_of(product.symbol)
        if root in told or (allowed and root not in allowed):
            continue
        told.add(root)
        rates: dict[str, object] = {
            "max_order_quantity": product.max_order_quantity,
            "buy_margin_rate": product.margin,
            "sell_margin_rate": product.margin,
            "commission_fill_rate": product.commission,
        }
        session.more(
            307,
            request,
            **_present(rates, _PRODUCT_BITS, always="commission_fill_rate"),
            fcm_id=FCM_ID,
            ib_id=IB_ID,
            account_id=request.account_id,
            product_code=root,
        )
    session.done(307, request, OK if told else NO_DATA)


def subscribe_limits(session: Session, request: Any) -> None:
    """3508 → 3509, then the present 356; another follows whenever the account's balance reaches a new high."""
    require_account(session, request)
    require(request, "request")
    if request.request not in _REQUESTS:
        raise RequestRefusal(REFUSED, f"unknown request {request.request}")
    if request.update_bits & ~_THRESHOLD_BIT:
        raise RequestRefusal(*BAD_INPUT)
    is_on = _REQUESTS[request.request]
    exchange = session.exchange
    exchange.order_feed.subscribe_limits(session, request.account_id, is_on=is_on)
    session.done(3509, request)
    if is_on:
        session.send(OutgoingFrame(exchange.order_feed.limits(exchange.venue, request.account_id, exchange.now_ns())))


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    304: account_limits,
    306: product_limits,
    3508: subscribe_limits,
}
