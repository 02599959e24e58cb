"""The ticker plant: subscriptions, snapshot images, trades and quotes; reference data and the front month."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.model import Product, Quoted, Traded
from nightdesk.simulator.plants.reference import expiration_of, name_of, root_of
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import BAD_INPUT, NO_DATA, SYMBOL_MISSING, Session
from nightdesk.simulator.wire.templates import encode

NS_PER_S = 1_000_000_000
SUBSCRIBE = 1
UNSUBSCRIBE = 2
LAST_TRADE_BIT = 1
BBO_BIT = 2

_TRADE_PRESENCE = 1 | 8 | 16
"""Of the groups of 150: the trade, the volume and the vwap; net and percent change need a settlement price."""
_BID_PRESENCE = 1
_ASK_PRESENCE = 2
_AGGRESSORS = {AggressorSide.BUY: 1, AggressorSide.SELL: 2, AggressorSide.NONE: None}


class MarketFeed:
    """Who gets which contract's trades and quotes; each message is encoded once for all of them."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """``on_change`` is called after each subscription and each loss of one."""
        self._on_change = on_change
        self._trades: dict[str, list[Session]] = {}
        self._quotes: dict[str, list[Session]] = {}
        self.changes = 0
        """Counts subscriptions, so that the market can wait until no more are coming in."""

    def subscribers(self, symbol: str | None) -> set[Session]:
        """Sessions that get this contract's data; ``None``: any contract's."""
        found: set[Session] = set()
        for table in (self._trades, self._quotes):
            for listed, sessions in table.items():
                if symbol is None or listed == symbol:
                    found.update(sessions)
        return found

    def subscribe(self, session: Session, symbol: str, update_bits: int) -> None:
        """Start what ``update_bits`` name; a subscription that is there already stays as it is."""
        for bit, table in ((LAST_TRADE_BIT, self._trades), (BBO_BIT, self._quotes)):
            sessions = table.setdefault(symbol, [])
            if update_bits & bit and session not in sessions:
                sessions.append(session)
                self.changes += 1
        self._on_change()

    def unsubscribe(self, session: Session, symbol: str, update_bits: int) -> None:
        """Stop what ``update_bits`` name."""
        for bit, table in ((LAST_TRADE_BIT, self._trades), (BBO_BIT, self._quotes)):
            sessions = table.get(symbol, [])
            if update_bits & bit and session in sessions:
                sessions.remove(session)
        self._on_change()

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for table in (self._trades, self._quotes):
            for sessions in table.values():
                if session in sessions:
                    sessions.remove(session)
        self._on_change()

    def trade(self, trade: Traded) -> None:
        """Send a print to its subscribers."""
        sessions = self._trades.get(trade.symbol)
        if sessions:
            frame = trade_frame(trade, is_snapshot=None)
            for session in sessions:
                session.send(frame)

    def quote(self, quote: Quoted) -> None:
        """Send a change of the best bid and offer to its subscribers."""
        sessions = self._quotes.get(quote.symbol)
        if sessions and (quote.bid_changed or quote.ask_changed):
            frame = quote_frame(quote, is_snapshot=None)
            for session in sessions:
                session.send(frame)


def trade_frame(trade: Traded, *, is_snapshot: bool | None) -> OutgoingFrame:
    """Template 150; a live update has no ``is_snapshot`` field."""
    ssboe, nanoseconds = divmod(trade.ts_ns, NS_PER_S)
    usecs = nanoseconds // 1000
    return OutgoingFrame(
        encode(
            150,
            symbol=trade.symbol,
            exchange=trade.exchange,
            presence_bits=_TRADE_PRESENCE,
            clear_bits=0,
            is_snapshot=is_snapshot,
            trade_price=trade.price,
            trade_size=trade.quantity,
            aggressor=_AGGRESSORS[trade.aggressor],
            volume=trade.volume,
            vwap=trade.vwap,
            ssboe=ssboe,
            usecs=usecs,
            source_ssboe=ssboe,
            source_usecs=usecs,
            source_nsecs=nanoseconds,
        )
    )


def quote_frame(quote: Quoted, *, is_snapshot: bool | None) -> OutgoingFrame:
    """Template 151: an update carries only the side that changed, an image both; an empty side has its clear bit."""
    ssboe, nanoseconds = divmod(quote.ts_ns, NS_PER_S)
    fields: dict[str, object] = {}
    presence = clear = 0
    if is_snapshot or quote.bid_changed:
        if quote.bid_size > 0:
            presence |= _BID_PRESENCE
            fields["bid_price"] = quote.bid_price
            fields["bid_size"] = quote.bid_size
            fields["bid_orders"] = quote.bid_orders
        else:
            clear |= _BID_PRESENCE
    if is_snapshot or quote.ask_changed:
        if quote.ask_size > 0:
            presence |= _ASK_PRESENCE
            fields["ask_price"] = quote.ask_price
            fields["ask_size"] = quote.ask_size
            fields["ask_orders"] = quote.ask_orders
        else:
            clear |= _ASK_PRESENCE
    return OutgoingFrame(
        encode(
            151,
            symbol=quote.symbol,
            exchange=quote.exchange,
            presence_bits=presence,
            clear_bits=clear,
            is_snapshot=is_snapshot,
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
            **fields,
        )
    )


def market_data(session: Session, request: Any) -> None:
    """100 → 101, then the images of what was subscribed."""
    product = session.exchange.catalog.find(request.symbol, request.exchange)
    if not request.symbol:
        session.done(101, request, SYMBOL_MISSING)
    elif product is None:
        session.done(101, request, NO_DATA)
    elif request.request == SUBSCRIBE and request.HasField("request"):
        session.done(101, request)
        _send_images(session, product, request.update_bits)
        if session.exchange.is_lossless:
            session.outlet.pace()
        session.exchange.market_feed.subscribe(session, product.symbol, request.update_bits)
    elif request.request == UNSUBSCRIBE:
        session.exchange.market_feed.unsubscribe(session, product.symbol, request.update_bits)
        session.done(101, request)
    else:
        session.done(101, request, BAD_INPUT)


def _send_images(session: Session, product: Product, update_bits: int) -> None:
    last_trade = session.exchange.venue.last_trade(product.symbol)
    if update_bits & LAST_TRADE_BIT and last_trade is not None:
        session.send(trade_frame(last_trade, is_snapshot=True))
    quote = session.exchange.venue.quote(product.symbol)
    if update_bits & BBO_BIT and quote is not None:
        session.send(quote_frame(quote, is_snapshot=True))


def front_month(session: Session, request: Any) -> None:
    """113 → 114: the first configured contract of the root."""
    product = session.exchange.catalog.front_month(root_of(request.symbol), request.exchange)
    if product is None:
        session.done(114, request, NO_DATA)
        return
    session.done(
        114,
        request,
        symbol=request.symbol,
        exchange=request.exchange,
        is_front_month_symbol=True,
        symbol_name=_front_month_name(request.symbol, product),
        trading_symbol=product.symbol,
        trading_exchange=product.exchange,
    )


def reference_data(session: Session, request: Any) -> None:
    """14 → 15, on every plant: for a contract, or for a root as its front month."""
    catalog = session.exchange.catalog
    product = catalog.find(request.symbol, request.exchange) or catalog.front_month(request.symbol, request.exchange)
    if not request.symbol:
        session.done(15, request, SYMBOL_MISSING)
        return
    if product is None:
        session.done(15, request, NO_DATA)
        return
    is_contract = product.symbol == request.symbol
    today = datetime.fromtimestamp(session.exchange.now_ns() / NS_PER_S, UTC).date()
    expiration = expiration_of(product.symbol, today)
    session.done(
        15,
        request,
        presence_bits=_REFERENCE_PRESENCE if expiration else _REFERENCE_PRESENCE & ~_EXPIRATION_PRESENCE,
        clear_bits=_TICK_SIZE_TYPE_PRESENCE,
        symbol=request.symbol,
        exchange=request.exchange,
        exchange_symbol=product.symbol,
        symbol_name=name_of(product.symbol) if is_contract else _front_month_name(request.symbol, product),
        trading_symbol=product.symbol,
        trading_exchange=product.exchange,
        product_code=root_of(product.symbol),
        instrument_type="Future",
        expiration_date=expiration,
        currency="USD",
        is_tradable="true",
        ftoq_price=0.01,
        qtof_price=100.0,
        min_qprice_change=product.tick_size,
        min_fprice_change=product.tick_size * 100.0,
        single_point_value=product.point_value,
    )


_EXPIRATION_PRESENCE = 32
_TICK_SIZE_TYPE_PRESENCE = 16384
_REFERENCE_PRESENCE = (
    1 | 2 | 4 | 8 | _EXPIRATION_PRESENCE | 64 | 512 | 1024 | 2048 | 4096 | 8192 | 65536 | 131072 | 262144
)


def _front_month_name(root: str, product: Product) -> str:
    return f"Front Month for {root} - {product.symbol}.{product.exchange}"


HANDLERS: dict[int, Callable[[Session, Any], None]] = {100: market_data, 113: front_month}
