"""Requests for the inside of a market: the book order by order, and what has traded at each price."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

from nightdesk.simulator.plants.market_frames import COUNT_MAX, DEPTH_ORDERS_PER_FRAME_MAX, level_fields
from nightdesk.simulator.plants.reference import NS_PER_S
from nightdesk.simulator.plants.search import find_contract
from nightdesk.simulator.wire.session import BAD_INPUT, NO_DATA, OK, SUBSCRIBE, UNSUBSCRIBE, Session

VOLUME_PRICES_PER_FRAME_MAX = 500
"""Prices in one frame of 120."""


def depth_snapshot(session: Session, request: Any) -> None:
    """115 → 116: a frame for each level, then the bare end; without ``depth_price`` the whole book."""
    product = find_contract(session, 116, request, "depth")
    if product is None:
        return
    venue = session.exchange.venue
    sequence = venue.book_sequence(product.symbol)
    orders = venue.book_orders(product.symbol)
    if request.HasField("depth_price"):
        orders = tuple(order for order in orders if order.price == request.depth_price)
    if not orders:
        session.done(116, request, NO_DATA)
        return
    for _, group in groupby(orders, key=lambda order: (order.side, order.price)):
        level = list(group)
        for start in range(0, len(level), DEPTH_ORDERS_PER_FRAME_MAX):
            part = level[start : start + DEPTH_ORDERS_PER_FRAME_MAX]
            session.more(116, request, symbol=product.symbol, exchange=product.exchange, **level_fields(part, sequence))
    session.done(116, request)


def depth_updates(session: Session, request: Any) -> None:
    """117 → 118, and 160 with 161 from then on; without ``depth_price`` for the whole book. No image: that is 115."""
    product = find_contract(session, 118, request, "depth")
    if product is None:
        return
    feed = session.exchange.market_feed
    price = request.depth_price if request.HasField("depth_price") else None
    if request.HasField("request") and request.request == SUBSCRIBE:
        if not session.exchange.venue.has_orders(product.symbol):
            session.done(118, request, NO_DATA)
            return
        if session.exchange.is_lossless:
            session.outlet.pace()
        is_watched = feed.watch_orders(session, product.symbol, price)
        session.done(118, request, OK if is_watched else BAD_INPUT)
    elif request.HasField("request") and request.request == UNSUBSCRIBE:
        feed.unwatch_orders(session, product.symbol, price)
        session.done(118, request)
    else:
        session.done(118, request, BAD_INPUT)


def volume_at_price(session: Session, request: Any) -> None:
    """119 → 120: the session's volume by price, lowest price first, in frames with parallel arrays."""
    product = find_contract(session, 120, request, "market_data")
    if product is None:
        return
    volumes = sorted(session.exchange.market_feed.statistics(product.symbol).volumes.items())
    if not volumes:
        session.done(120, request, NO_DATA)
        return
    ssboe, nanoseconds = divmod(session.exchange.now_ns(), NS_PER_S)
    for start in range(0, len(volumes), VOLUME_PRICES_PER_FRAME_MAX):
        part = volumes[start : start + VOLUME_PRICES_PER_FRAME_MAX]
        session.more(
            120,
            request,
            symbol=product.symbol,
            exchange=product.exchange,
            trade_price=[price for price, _ in part],
            volume_at_price=[min(volume, COUNT_MAX) for _, volume in part],
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
        )
    session.done(120, request)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    115: depth_snapshot,
    117: depth_updates,
    119: volume_at_price,
}
