"""Who gets which contract's market data; each message is encoded once for all who get it, and only if somebody does."""

from collections.abc import Callable, Iterable
from typing import Protocol

from nightdesk.simulator.model import (
    BookChanged,
    LevelDepth,
    ModeChanged,
    OrderDepth,
    PositionState,
    Product,
    Quoted,
    Settled,
    Traded,
)
from nightdesk.simulator.plants.depth_window import BookWindow, quote_levels
from nightdesk.simulator.plants.front_months import FrontMonths
from nightdesk.simulator.plants.market_frames import (
    DEPTH_ORDERS_PER_FRAME_MAX,
    book_frames,
    book_image,
    depth_end_frame,
    depth_frame,
    groups_frame,
    margin_rate_frame,
    mode_frame,
    open_interest_frame,
    quote_frame,
    trade_frame,
)
from nightdesk.simulator.plants.reference import Catalog, utc_date
from nightdesk.simulator.plants.statistics import (
    ADJUSTED_CLOSE,
    CLOSE,
    CLOSING_INDICATOR,
    END_OF_DAY_PRICES,
    HIGH,
    HIGH_PRICE_LIMIT,
    HIGHEST_BID,
    INDICATOR_PRICES,
    LOW,
    LOW_PRICE_LIMIT,
    LOWEST_ASK,
    OPEN,
    OPENING_INDICATOR,
    ORDER_PRICE_LIMITS,
    PROJECTED_SETTLEMENT,
    QUOTE_STATISTICS,
    SETTLEMENT,
    TRADE_STATISTICS,
    Changes,
    Statistics,
)
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import Session

LAST_TRADE_BIT = 1
BBO_BIT = 2
ORDER_BOOK_BIT = 4
MARKET_MODE_BIT = 1024
OPEN_INTEREST_BIT = 2048
MARGIN_RATE_BIT = 4096
UPDATE_BITS_ALL = (1 << 17) - 1

OPEN_MODE = "Open"
SCHEDULE = "Group Schedule"
"""The mode in which a market trades, and why a market is in its mode when nobody has said so: words of live frames."""

_GROUPS_OF_BITS: dict[int, tuple[int, int]] = {
    8: (TRADE_STATISTICS, OPEN),
    16: (INDICATOR_PRICES, OPENING_INDICATOR),
    32: (TRADE_STATISTICS, HIGH | LOW),
    64: (QUOTE_STATISTICS, HIGHEST_BID | LOWEST_ASK),
    128: (END_OF_DAY_PRICES, CLOSE),
    256: (INDICATOR_PRICES, CLOSING_INDICATOR),
    512: (END_OF_DAY_PRICES, SETTLEMENT),
    8192: (ORDER_PRICE_LIMITS, HIGH_PRICE_LIMIT),
    16384: (ORDER_PRICE_LIMITS, LOW_PRICE_LIMIT),
    32768: (END_OF_DAY_PRICES, PROJECTED_SETTLEMENT),
    65536: (END_OF_DAY_PRICES, ADJUSTED_CLOSE),
}
"""Update bit: the message that it brings, and which of its groups."""

_IMAGES = (TRADE_STATISTICS, QUOTE_STATISTICS, INDICATOR_PRICES, END_OF_DAY_PRICES)
"""Images with groups that follow those of trades and quotes."""

WATCHED_PRICES_MAX = 1000
"""Prices at which one session may watch the single orders of one contract."""

Prices = frozenset[float]
"""Price levels of single orders that somebody watches; None in its place: the whole book."""


class MarketState(Protocol):
    """What the feed asks of the venue: last states for images, and to watch a book only while somebody wants it."""

    def quote(self, symbol: str) -> Quoted | None: ...

    def last_trade(self, symbol: str) -> Traded | None: ...

    def mode(self, symbol: str) -> str: ...

    def price_limits(self, symbol: str) -> tuple[float, float] | None: ...

    def watch_depth(self, symbol: str, on: bool) -> None: ...

    def book(self, symbol: str) -> tuple[LevelDepth, ...]: ...

    def has_orders(self, symbol: str) -> bool: ...

    def has_levels(self, symbol: str) -> bool: ...

    def accounts(self) -> tuple[str, ...]: ...

    def positions(self, account_id: str) -> list[PositionState]: ...


class _Instrument:
    """One contract's subscribers and the session's statistics."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.statistics = Statistics()
        self.mode: ModeChanged | None = None
        self.bits: dict[Session, int] = {}
        """Update bits of each subscriber; what follows is made of them."""
        self.orders: dict[Session, Prices | None] = {}
        """Who watches single orders, and at which prices; None: all."""
        self.trades: list[Session] = []
        self.quotes: list[Session] = []
        self.books: list[Session] = []
        self.masks: dict[int, dict[int, list[Session]]] = {}
        """The subscribers of each message with groups, by the groups that they want."""
        self.window: BookWindow | None = None
        self.is_depth_watched = False

    def with_bit(self, bit: int) -> list[Session]:
        return [session for session, bits in self.bits.items() if bits & bit]

    def arrange(self) -> None:
        """The lists that each tick uses, after a change of the subscriptions."""
        self.trades = self.with_bit(LAST_TRADE_BIT)
        self.quotes = self.with_bit(BBO_BIT)
        self.books = self.with_bit(ORDER_BOOK_BIT)
        if not self.books:
            self.window = None
        self.masks = {}
        for session, bits in self.bits.items():
            for template_id, groups in groups_wanted(bits).items():
                self.masks.setdefault(template_id, {}).setdefault(groups, []).append(session)


class MarketFeed:
    """Takes the venue's public events and sends them to their subscribers."""

    def __init__(self, on_change: Callable[[], None], market: MarketState, catalog: Catalog) -> None:
        """``on_change`` is called after each subscription and each loss of one."""
        self._on_change = on_change
        self._market = market
        self._instruments = {product.symbol: _Instrument(product) for product in catalog.products}
        self.front_months = FrontMonths(catalog)
        self._subscribers: dict[str | None, frozenset[Session]] = {}
        self.changes = 0
        """Counts subscriptions, so that the market can wait until no more are coming in."""

    def subscribers(self, symbol: str | None) -> frozenset[Session]:
        """Sessions that get this contract's data; ``None``: any contract's."""
        found = self._subscribers.get(symbol)
        if found is None:
            instruments = [each for name, each in self._instruments.items() if symbol is None or name == symbol]
            found = frozenset(session for each in instruments for session in (*each.bits, *each.orders))
            self._subscribers[symbol] = found
        return found

    def statistics(self, symbol: str) -> Statistics:
        """What a listed contract's session has been so far."""
        return self._instruments[symbol].statistics

    def subscribe(self, session: Session, symbol: str, update_bits: int) -> None:
        """Start what ``update_bits`` name; a subscription that is there already stays as it is."""
        instrument = self._instruments[symbol]
        before = instrument.bits.get(session, 0)
        instrument.bits[session] = before | update_bits
        self.changes += bool(update_bits & ~before)
        self._rearrange(instrument)

    def unsubscribe(self, session: Session, symbol: str, update_bits: int) -> None:
        """Stop what ``update_bits`` name."""
        instrument = self._instruments[symbol]
        left = instrument.bits.get(session, 0) & ~update_bits
        instrument.bits.pop(session, None)
        if left:
            instrument.bits[session] = left
        self._rearrange(instrument)

    def watch_orders(self, session: Session, symbol: str, price: float | None) -> bool:
        """Send what happens to single orders at ``price``; None: of the whole book. False: that is a price too many."""
        instrument = self._instruments[symbol]
        watched = instrument.orders.get(session, frozenset())
        if price is not None and watched is not None and len(watched | {price}) > WATCHED_PRICES_MAX:
            return False
        instrument.orders[session] = None if price is None or watched is None else watched | {price}
        self.changes += 1
        self._rearrange(instrument)
        return True

    def unwatch_orders(self, session: Session, symbol: str, price: float | None) -> None:
        """Send no more of ``price``; None: of anything. Who watches the whole book goes on after a single price."""
        instrument = self._instruments[symbol]
        watched = instrument.orders.get(session, frozenset())
        if price is None or (watched is not None and not watched - {price}):
            instrument.orders.pop(session, None)
        elif watched is not None:
            instrument.orders[session] = watched - {price}
        self._rearrange(instrument)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for instrument in self._instruments.values():
            if session in instrument.bits or session in instrument.orders:
                instrument.bits.pop(session, None)
                instrument.orders.pop(session, None)
                self._rearrange(instrument)
        self.front_months.forget(session)
        self._on_change()

    def _rearrange(self, instrument: _Instrument) -> None:
        instrument.arrange()
        symbol = instrument.product.symbol
        is_wanted = bool(instrument.books or instrument.orders)
        if is_wanted is not instrument.is_depth_watched:
            instrument.is_depth_watched = is_wanted
            self._market.watch_depth(symbol, is_wanted)
        if instrument.books and instrument.window is None:
            instrument.window = BookWindow(self._market.book(symbol))
        self._subscribers.clear()
        self._on_change()

    def images(self, session: Session, symbol: str, update_bits: int, now_ns: int) -> None:
        """The present state of everything that ``update_bits`` name; what is not known is cleared in its image."""
        instrument = self._instruments[symbol]
        product, statistics = instrument.product, instrument.statistics
        trade, quote = self._market.last_trade(symbol), self._market.quote(symbol)
        if update_bits & LAST_TRADE_BIT and trade is not None:
            session.send(trade_frame(trade, is_snapshot=True, settlement=statistics.settlement_price))
        if update_bits & BBO_BIT and quote is not None:
            session.send(quote_frame(quote, is_snapshot=True))
        wanted = groups_wanted(update_bits)
        for template_id in _IMAGES:
            if template_id in wanted:
                bits = wanted[template_id]
                session.send(groups_frame(template_id, product, statistics, bits, now_ns, is_snapshot=True))
        if update_bits & ORDER_BOOK_BIT:
            window = instrument.window or BookWindow(self._market.book(symbol))
            session.send(book_image(symbol, product.exchange, window.image(), now_ns))
        if update_bits & MARKET_MODE_BIT:
            session.send(mode_frame(instrument.mode or self._usual_mode(instrument, now_ns)))
        if update_bits & OPEN_INTEREST_BIT:
            session.send(open_interest_frame(product, self._open_interest(symbol), now_ns, is_snapshot=True))
        if update_bits & MARGIN_RATE_BIT and product.margin > 0:
            session.send(margin_rate_frame(product))
        if ORDER_PRICE_LIMITS in wanted:
            bits = wanted[ORDER_PRICE_LIMITS]
            statistics.limit(self._market.price_limits(symbol))
            session.send(groups_frame(ORDER_PRICE_LIMITS, product, statistics, bits, now_ns, is_snapshot=True))

    def _open_interest(self, symbol: str) -> int:
        """Contracts that the accounts hold, the anonymous market counted as one holder of the opposite side."""
        nets = [
            position.net_quantity
            for account_id in self._market.accounts()
            for position in self._market.positions(account_id)
            if position.symbol == symbol
        ]
        return max(sum(net for net in nets if net > 0), -sum(net for net in nets if net < 0))

    def _usual_mode(self, instrument: _Instrument, now_ns: int) -> ModeChanged:
        product = instrument.product
        mode = self._market.mode(product.symbol)
        trade_date = instrument.statistics.trade_date or utc_date(now_ns)
        return ModeChanged(product.symbol, product.exchange, mode, SCHEDULE, trade_date, now_ns)

    def trade(self, trade: Traded) -> None:
        """Send a print to its subscribers, and what it changes in the session's statistics."""
        instrument = self._instruments.get(trade.symbol)
        if instrument is None:
            return
        changed = instrument.statistics.trade(trade)
        sessions = instrument.trades
        if sessions:
            _send(sessions, trade_frame(trade, is_snapshot=None, settlement=instrument.statistics.settlement_price))
        if changed and instrument.bits:
            changes = {TRADE_STATISTICS: changed}
            if changed & OPEN:
                changes |= {INDICATOR_PRICES: OPENING_INDICATOR}
                changes |= {ORDER_PRICE_LIMITS: instrument.statistics.limit(self._market.price_limits(trade.symbol))}
            self._send_groups(instrument, changes, trade.ts_ns)

    def quote(self, quote: Quoted) -> None:
        """Send a change of the best bid and offer to its subscribers, and what it changes in the statistics."""
        instrument = self._instruments.get(quote.symbol)
        if instrument is None:
            return
        changed = instrument.statistics.quote(quote)
        sessions = instrument.quotes
        if sessions and (quote.bid_changed or quote.ask_changed):
            _send(sessions, quote_frame(quote, is_snapshot=None))
        if changed and instrument.bits:
            self._send_groups(instrument, {QUOTE_STATISTICS: changed}, quote.ts_ns)
        if instrument.window is not None and not self._reports_book(quote.symbol):
            # A tape without levels and orders reports no changes of a book: its best quote is the book. The venue's own
            # is that of the last event that is being told, which others may follow.
            changes = instrument.window.replace(quote_levels(quote))
            self._send_book(instrument, instrument.window, changes, quote.ts_ns)

    def _reports_book(self, symbol: str) -> bool:
        return self._market.has_orders(symbol) or self._market.has_levels(symbol)

    def book(self, event: BookChanged) -> None:
        """Send what one event did to the book, by level and by order."""
        instrument = self._instruments.get(event.symbol)
        if instrument is None:
            return
        if instrument.window is not None and event.levels:
            self._send_book(instrument, instrument.window, instrument.window.apply(event.levels), event.ts_ns)
        if instrument.orders and event.orders:
            self._send_orders(instrument, event)

    def mode(self, event: ModeChanged) -> None:
        """Send a market's new mode; another trade date begins a session with statistics of its own."""
        instrument = self._instruments.get(event.symbol)
        if instrument is None:
            return
        instrument.mode = event
        is_open = event.mode == OPEN_MODE
        changes = instrument.statistics.mode(is_open=is_open, trade_date=event.trade_date)
        _send(instrument.with_bit(MARKET_MODE_BIT), mode_frame(event))
        if not changes:
            return
        self._send_groups(instrument, changes, event.ts_ns)
        if TRADE_STATISTICS in changes:
            contracts = self._open_interest(event.symbol)
            frame = open_interest_frame(instrument.product, contracts, event.ts_ns, is_snapshot=None)
            _send(instrument.with_bit(OPEN_INTEREST_BIT), frame)

    def settled(self, event: Settled) -> None:
        """Send a trade date's close and settlement."""
        if (instrument := self._instruments.get(event.symbol)) is not None:
            instrument.statistics.settle(event.price, event.trade_date)
            self._send_groups(instrument, {END_OF_DAY_PRICES: CLOSE | SETTLEMENT | ADJUSTED_CLOSE}, event.ts_ns)

    def _send_groups(self, instrument: _Instrument, changes: Changes, ts_ns: int) -> None:
        product, statistics = instrument.product, instrument.statistics
        for template_id, changed in changes.items():
            for mask, sessions in instrument.masks.get(template_id, {}).items():
                if mask & changed:
                    frame = groups_frame(template_id, product, statistics, mask & changed, ts_ns, is_snapshot=None)
                    _send(sessions, frame)

    @staticmethod
    def _send_book(instrument: _Instrument, window: BookWindow, changes: list[LevelDepth], ts_ns: int) -> None:
        if changes:
            product = instrument.product
            is_empty = window.is_empty
            for frame in book_frames(product.symbol, product.exchange, changes, ts_ns, is_empty=is_empty):
                _send(instrument.books, frame)

    @staticmethod
    def _send_orders(instrument: _Instrument, event: BookChanged) -> None:
        by_prices: dict[Prices | None, list[Session]] = {}
        for session, prices in instrument.orders.items():
            by_prices.setdefault(prices, []).append(session)
        end = depth_end_frame(event.symbol, event.exchange, event.sequence, event.ts_ns)
        for prices, sessions in by_prices.items():
            orders = event.orders if prices is None else orders_at(prices, event.orders)
            for start in range(0, len(orders), DEPTH_ORDERS_PER_FRAME_MAX):
                part = orders[start : start + DEPTH_ORDERS_PER_FRAME_MAX]
                _send(sessions, depth_frame(event.symbol, event.exchange, event.sequence, part, event.ts_ns))
            if orders:
                _send(sessions, end)


def groups_wanted(update_bits: int) -> dict[int, int]:
    """The messages with groups that update bits bring, and which of their groups."""
    wanted: dict[int, int] = {}
    for bit, (template_id, groups) in _GROUPS_OF_BITS.items():
        if update_bits & bit:
            wanted[template_id] = wanted.get(template_id, 0) | groups
    return wanted


def orders_at(prices: Prices, orders: Iterable[OrderDepth]) -> tuple[OrderDepth, ...]:
    """The changes at these prices, moves away from them included."""
    return tuple(order for order in orders if order.price in prices or order.previous_price in prices)


def _send(sessions: Iterable[Session], frame: OutgoingFrame) -> None:
    for session in sessions:
        session.send(frame)
