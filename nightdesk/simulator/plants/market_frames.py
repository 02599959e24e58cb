"""Market data as frames: one function per message, from the exchange's own events and states."""

from collections.abc import Sequence

from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.model import LevelDepth, ModeChanged, OrderDepth, OrderDepthKind, Product, Quoted, Traded
from nightdesk.simulator.plants.reference import NS_PER_S
from nightdesk.simulator.plants.statistics import GROUPS, Statistics
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.hot_frames import Level, best_bid_offer, last_trade
from nightdesk.simulator.wire.templates import encode

_TRADE, _NET_CHANGE, _PERCENT_CHANGE, _VOLUME, _VWAP = 1, 2, 4, 8, 16
_BID, _ASK, _LEAN_PRICE = 1, 2, 4
_TRADE_PRESENCE = _TRADE | _VOLUME | _VWAP
"""Net and percent change need the settlement price of the session before, which may be unknown."""
_AGGRESSORS = {AggressorSide.BUY: 1, AggressorSide.SELL: 2, AggressorSide.NONE: 0}

CLEAR_ORDER_BOOK, NO_BOOK, SNAPSHOT_IMAGE, BEGIN, MIDDLE, END, SOLO = range(1, 8)
BOOK_LEVELS_PER_FRAME_MAX = 8
"""An event that changes more levels of an order book is sent as a batch: BEGIN, MIDDLE …, END."""

DEPTH_ORDERS_PER_FRAME_MAX = 500
"""Orders in one 160 or 116; more of one event, or of one level, follow in further frames of that sequence number."""

COUNT_MAX = 2**31 - 1
"""Quantities in lists are 32 bits wide on the wire; a sum beyond that is shown as this."""

_UPDATE_TYPES = {OrderDepthKind.NEW: 1, OrderDepthKind.CHANGE: 2, OrderDepthKind.DELETE: 3}
_SIDES = {Side.BUY: 1, Side.SELL: 2}


def trade_frame(trade: Traded, *, is_snapshot: bool | None, settlement: float | None = None) -> OutgoingFrame:
    """Template 150; a live update has no ``is_snapshot`` field. ``settlement`` is that of the session before."""
    presence = _TRADE_PRESENCE
    net: float | None = None
    percent: float | None = None
    if settlement is not None:
        net = trade.price - settlement
        presence |= _NET_CHANGE
        if settlement > 0:
            percent = 100.0 * net / settlement
            presence |= _PERCENT_CHANGE
    return OutgoingFrame(
        last_trade(
            (trade.symbol, trade.exchange),
            presence,
            is_snapshot,
            (trade.price, trade.quantity, _AGGRESSORS[trade.aggressor], trade.volume, trade.vwap),
            (net, percent),
            trade.ts_ns,
        )
    )


def quote_frame(quote: Quoted, *, is_snapshot: bool | None) -> OutgoingFrame:
    """Template 151: an update carries only the side that changed, an image both; an empty side has its clear bit.

    The lean price comes with each of them: it depends on both sides, and is cleared when one is empty.
    """
    bid: Level | None = None
    ask: Level | None = None
    lean: float | None = None
    presence = clear = 0
    bid_size, ask_size = quote.bid_size, quote.ask_size
    if is_snapshot or quote.bid_changed:
        if bid_size > 0:
            presence = _BID
            bid = (quote.bid_price, bid_size, quote.bid_orders)
        else:
            clear = _BID
    if is_snapshot or quote.ask_changed:
        if ask_size > 0:
            presence |= _ASK
            ask = (quote.ask_price, ask_size, quote.ask_orders)
        else:
            clear |= _ASK
    if bid_size > 0 and ask_size > 0:
        presence |= _LEAN_PRICE
        lean = lean_price(quote)
    else:
        clear |= _LEAN_PRICE
    names = (quote.symbol, quote.exchange)
    return OutgoingFrame(best_bid_offer(names, (presence, clear), is_snapshot, bid, ask, lean, quote.ts_ns))


def lean_price(quote: Quoted) -> float:
    """The price between both sides that leans to the one with less behind it; both sizes must be above zero."""
    bid_size, ask_size = quote.bid_size, quote.ask_size
    return (quote.bid_price * ask_size + quote.ask_price * bid_size) / (bid_size + ask_size)


def groups_frame(
    template_id: int, product: Product, statistics: Statistics, bits: int, ts_ns: int, *, is_snapshot: bool | None
) -> OutgoingFrame:
    """Templates 152 to 155 and 163: the groups that ``bits`` name, present with their fields or cleared."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    fields: dict[str, object] = {}
    presence = clear = 0
    for bit, names in GROUPS[template_id]:
        if bits & bit:
            values = {name: getattr(statistics, name) for name in names}
            if values[names[0]] is None:
                clear |= bit
            else:
                presence |= bit
                fields |= values
    return OutgoingFrame(
        encode(
            template_id,
            symbol=product.symbol,
            exchange=product.exchange,
            presence_bits=presence,
            clear_bits=clear,
            is_snapshot=is_snapshot,
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
            **fields,
        )
    )


def mode_frame(mode: ModeChanged) -> OutgoingFrame:
    """Template 157, as an image and as an update."""
    ssboe, nanoseconds = divmod(mode.ts_ns, NS_PER_S)
    return OutgoingFrame(
        encode(
            157,
            symbol=mode.symbol,
            exchange=mode.exchange,
            market_mode=mode.mode,
            halt_reason=mode.reason,
            trade_date=mode.trade_date,
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
        )
    )


def open_interest_frame(product: Product, contracts: int, ts_ns: int, *, is_snapshot: bool | None) -> OutgoingFrame:
    """Template 158."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    return OutgoingFrame(
        encode(
            158,
            symbol=product.symbol,
            exchange=product.exchange,
            is_snapshot=is_snapshot,
            should_clear=False,
            open_interest=contracts,
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
        )
    )


def margin_rate_frame(product: Product) -> OutgoingFrame:
    """Template 162, always an image: a contract's margin does not change while the exchange runs."""
    return OutgoingFrame(
        encode(162, symbol=product.symbol, exchange=product.exchange, is_snapshot=True, margin_rate=product.margin)
    )


def front_month_frame(root: str, exchange: str, name: str, product: Product) -> OutgoingFrame:
    """Template 159."""
    return OutgoingFrame(
        encode(
            159,
            symbol=root,
            exchange=exchange,
            is_front_month_symbol=True,
            symbol_name=name,
            trading_symbol=product.symbol,
            trading_exchange=product.exchange,
        )
    )


def book_image(symbol: str, exchange: str, levels: Sequence[LevelDepth], ts_ns: int) -> OutgoingFrame:
    """Template 156 with everything that is shown, or the word that there is no book."""
    return _book_frame(symbol, exchange, SNAPSHOT_IMAGE if levels else NO_BOOK, levels, ts_ns)


def book_frames(
    symbol: str, exchange: str, changes: Sequence[LevelDepth], ts_ns: int, *, is_empty: bool
) -> list[OutgoingFrame]:
    """Template 156 for one event: alone, in a batch, or as the end of the book when nothing is left of it."""
    if is_empty:
        return [_book_frame(symbol, exchange, CLEAR_ORDER_BOOK, (), ts_ns)]
    if len(changes) <= BOOK_LEVELS_PER_FRAME_MAX:
        return [_book_frame(symbol, exchange, SOLO, changes, ts_ns)]
    starts = range(0, len(changes), BOOK_LEVELS_PER_FRAME_MAX)
    kinds = [BEGIN, *[MIDDLE] * (len(starts) - 2), END]
    return [
        _book_frame(symbol, exchange, kind, changes[start : start + BOOK_LEVELS_PER_FRAME_MAX], ts_ns)
        for kind, start in zip(kinds, starts, strict=True)
    ]


def _book_frame(symbol: str, exchange: str, kind: int, levels: Sequence[LevelDepth], ts_ns: int) -> OutgoingFrame:
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    bids = [level for level in levels if level.side is Side.BUY]
    asks = [level for level in levels if level.side is Side.SELL]
    return OutgoingFrame(
        encode(
            156,
            symbol=symbol,
            exchange=exchange,
            presence_bits=(_BID if bids else 0) | (_ASK if asks else 0),
            update_type=kind,
            bid_price=[level.price for level in bids],
            bid_size=[min(level.size, COUNT_MAX) for level in bids],
            bid_orders=[level.orders for level in bids],
            impl_bid_size=[0] * len(bids),
            ask_price=[level.price for level in asks],
            ask_size=[min(level.size, COUNT_MAX) for level in asks],
            ask_orders=[level.orders for level in asks],
            impl_ask_size=[0] * len(asks),
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
        )
    )


def depth_frame(symbol: str, exchange: str, sequence: int, orders: Sequence[OrderDepth], ts_ns: int) -> OutgoingFrame:
    """Template 160: what happened to single orders; the arrays are parallel."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    usecs = nanoseconds // 1000
    return OutgoingFrame(
        encode(
            160,
            symbol=symbol,
            exchange=exchange,
            sequence_number=sequence,
            update_type=[_UPDATE_TYPES[order.kind] for order in orders],
            transaction_type=[_SIDES[order.side] for order in orders],
            depth_price=[order.price for order in orders],
            prev_depth_price=[order.previous_price or 0.0 for order in orders],
            prev_depth_price_flag=[order.previous_price is not None for order in orders],
            depth_size=[order.size for order in orders],
            depth_order_priority=[order.priority for order in orders],
            exchange_order_id=[order.exchange_order_id for order in orders],
            ssboe=ssboe,
            usecs=usecs,
            source_ssboe=ssboe,
            source_usecs=usecs,
            source_nsecs=nanoseconds,
        )
    )


def depth_end_frame(symbol: str, exchange: str, sequence: int, ts_ns: int) -> OutgoingFrame:
    """Template 161: the event with this sequence number is complete."""
    ssboe, nanoseconds = divmod(ts_ns, NS_PER_S)
    return OutgoingFrame(
        encode(
            161,
            symbol=[symbol],
            exchange=[exchange],
            sequence_number=sequence,
            ssboe=ssboe,
            usecs=nanoseconds // 1000,
        )
    )


def level_fields(orders: Sequence[OrderDepth], sequence: int) -> dict[str, object]:
    """What one data frame of 116 says of one level."""
    first = orders[0]
    return {
        "sequence_number": sequence,
        "depth_side": _SIDES[first.side],
        "depth_price": first.price,
        "depth_size": [order.size for order in orders],
        "depth_order_priority": [order.priority for order in orders],
        "exchange_order_id": [order.exchange_order_id for order in orders],
    }
