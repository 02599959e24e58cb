"""The ticker plant: subscriptions and their images, the front month, and reference data."""

from collections.abc import Callable
from typing import Any

from nightdesk.simulator.model import Product
from nightdesk.simulator.plants import depth, search
from nightdesk.simulator.plants.market_feed import ORDER_BOOK_BIT, UPDATE_BITS_ALL
from nightdesk.simulator.plants.reference import (
    front_month_name,
    name_of,
    root_of,
)
from nightdesk.simulator.plants.search import UNDERLYING_UPDATE_BITS, find_contract, price_fields
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    NO_DATA,
    PERMISSION_DENIED,
    SUBSCRIBE,
    SYMBOL_MISSING,
    UNSUBSCRIBE,
    Session,
)

_EXPIRATION_PRESENCE = 32
_TICK_SIZE_TYPE_PRESENCE = 16384
_REFERENCE_PRESENCE = 425_583
"""As captured: the tick size type is named in both words of bits, and ``is_tradable`` is sent without its bit."""


def market_data(session: Session, request: Any) -> None:
    """100 → 101, then the images of what was subscribed."""
    product = find_contract(session, 101, request, "market_data")
    if product is not None:
        _subscribe(session, 101, request, [product], UPDATE_BITS_ALL)


def market_data_by_underlying(session: Session, request: Any) -> None:
    """105 → 106: as 100, for every contract of a product, or for those that expire on one day."""
    if not request.underlying_symbol or not request.exchange:
        session.done(106, request, BAD_INPUT)
    elif not session.may("market_data"):
        session.done(106, request, PERMISSION_DENIED)
    else:
        contracts = search.contracts_by_underlying(session, request)
        if contracts:
            _subscribe(session, 106, request, contracts, UNDERLYING_UPDATE_BITS)
        else:
            session.done(106, request, NO_DATA)


def _subscribe(session: Session, response_id: int, request: Any, products: list[Product], bits_all: int) -> None:
    exchange, bits = session.exchange, request.update_bits
    is_known = request.HasField("request") and request.request in (SUBSCRIBE, UNSUBSCRIBE)
    if not is_known or not bits or bits & ~bits_all:
        session.done(response_id, request, BAD_INPUT)
    elif bits & ORDER_BOOK_BIT and not session.may("depth"):
        session.done(response_id, request, PERMISSION_DENIED)
    elif request.request == UNSUBSCRIBE:
        for product in products:
            exchange.market_feed.unsubscribe(session, product.symbol, bits)
        session.done(response_id, request)
    else:
        session.done(response_id, request)
        for product in products:
            exchange.market_feed.images(session, product.symbol, bits, exchange.now_ns())
        if exchange.is_lossless:
            session.outlet.pace()
        for product in products:
            exchange.market_feed.subscribe(session, product.symbol, bits)


def front_month(session: Session, request: Any) -> None:
    """113 → 114; with ``need_updates`` a 159 follows whenever another contract becomes the front month."""
    if not request.symbol:
        session.done(114, request, SYMBOL_MISSING)
        return
    now_ns = session.exchange.now_ns()
    root = root_of(request.symbol)
    product = session.exchange.catalog.front_month(root, request.exchange, now_ns)
    if product is None:
        session.done(114, request, NO_DATA)
        return
    session.done(
        114,
        request,
        symbol=request.symbol,
        exchange=request.exchange,
        is_front_month_symbol=True,
        symbol_name=front_month_name(request.symbol, product),
        trading_symbol=product.symbol,
        trading_exchange=product.exchange,
    )
    if request.need_updates:
        session.exchange.market_feed.front_months.follow(session, root, request.exchange, product.symbol)


def reference_data(session: Session, request: Any) -> None:
    """14 → 15, on every plant: for a contract, or for a root as its front month."""
    if not request.symbol:
        session.done(15, request, SYMBOL_MISSING)
        return
    catalog, now_ns = session.exchange.catalog, session.exchange.now_ns()
    product = catalog.find(request.symbol, request.exchange) or catalog.front_month(
        request.symbol, request.exchange, now_ns
    )
    if product is None:
        session.done(15, request, NO_DATA)
        return
    is_contract = product.symbol == request.symbol
    expiration = catalog.expiration(product.symbol, now_ns)
    session.done(
        15,
        request,
        presence_bits=_REFERENCE_PRESENCE if expiration else _REFERENCE_PRESENCE & ~_EXPIRATION_PRESENCE,
        clear_bits=_TICK_SIZE_TYPE_PRESENCE,
        symbol=request.symbol,
        exchange=request.exchange,
        exchange_symbol=product.symbol,
        symbol_name=name_of(product.symbol) if is_contract else front_month_name(request.symbol, product),
        trading_symbol=product.symbol,
        trading_exchange=product.exchange,
        product_code=root_of(product.symbol),
        instrument_type=search.FUTURE,
        expiration_date=expiration,
        currency="USD",
        is_tradable="true",
        **price_fields(product),
    )


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    100: market_data,
    105: market_data_by_underlying,
    113: front_month,
    **depth.HANDLERS,
    **search.HANDLERS,
}
