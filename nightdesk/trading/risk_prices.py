"""The market as the gate knows it: prices with their age, how far an order reaches beyond them, and the clocks' skew.

Pure; ``now_s`` is monotonic. None of it outlives the process: a new one knows no price until the market tells one.
"""

from typing import NamedTuple

import msgspec

from nightdesk.messages import OrderType, QuoteTick, Side, TradeTick
from nightdesk.trading.units import to_nanos

SKEW_WINDOW_S = 5.0
"""The clocks' difference is the least one seen in this time, or in the one before it."""

STOPS = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LIMIT})
IF_TOUCHED = frozenset({OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED})
_LIMITED = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED})


class MarketPrice(msgspec.Struct, frozen=True):
    """Last trade and best prices of one symbol, in billionths of a point; None where there is none."""

    last: int | None = None
    bid: int | None = None
    ask: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is any price at all."""
        return any(price is not None for price in (self.last, self.bid, self.ask))

    def largest(self) -> int:
        """The largest of the prices, by its size; 0 where there is none."""
        return max((abs(price) for price in (self.last, self.bid, self.ask) if price is not None), default=0)

    def opposite(self, side: Side) -> int | None:
        """The best price that an order of a side can trade at."""
        return self.ask if side is Side.BUY else self.bid

    def near(self, side: Side) -> int | None:
        """The best price of the orders that one of a side stands beside."""
        return self.bid if side is Side.BUY else self.ask


UNKNOWN = MarketPrice()


class PriceBoard:
    """The newest prices of all symbols; bounded by the symbols that are subscribed to."""

    def __init__(self) -> None:
        self._prices: dict[str, MarketPrice] = {}
        self._seen_s: dict[str, float] = {}

    def on_trade(self, trade: TradeTick, now_s: float) -> None:
        """A print on the tape has come."""
        self._note(trade.symbol, now_s, last=to_nanos(trade.price))

    def on_quote(self, quote: QuoteTick, now_s: float) -> None:
        """A best bid and offer has come; an empty side has no price."""
        bid = to_nanos(quote.bid_price) if quote.bid_size > 0 else None
        ask = to_nanos(quote.ask_price) if quote.ask_size > 0 else None
        self._note(quote.symbol, now_s, bid=bid, ask=ask)

    def price(self, symbol: str) -> MarketPrice:
        """What is known of a symbol."""
        return self._prices.get(symbol, UNKNOWN)

    def age_s(self, symbol: str, now_s: float) -> float | None:
        """How long ago its last tick came; None before the first."""
        seen_s = self._seen_s.get(symbol)
        return None if seen_s is None else now_s - seen_s

    def symbols(self) -> tuple[str, ...]:
        """Every symbol of which a tick has come."""
        return tuple(self._seen_s)

    def _note(self, symbol: str, now_s: float, **prices: int | None) -> None:
        self._prices[symbol] = msgspec.structs.replace(self.price(symbol), **prices)
        self._seen_s[symbol] = now_s


class Reach(NamedTuple):
    """A price that an order may trade at, and one of the market that it is held against; both in billionths."""

    what: str
    price: int
    against: str
    reference: int

    def beyond(self, side: Side) -> int:
        """How far it lies beyond: above for a buy, below for a sell; negative on the other side."""
        return self.price - self.reference if side is Side.BUY else self.reference - self.price


def is_reached(order_type: OrderType, side: Side, trigger: int, market: MarketPrice) -> bool:
    """Whether the market is where a trigger waits for it, so that the order would work at once.

    By the last trade, or the price that the order would meet before there is one; without a price it still waits.
    """
    price = market.last if market.last is not None else market.opposite(side)
    if price is None:
        return False
    return price >= trigger if (side is Side.BUY) == (order_type in STOPS) else price <= trigger


_BEST = {True: "the offer", False: "the bid"}


def reaches(
    order_type: OrderType, side: Side, price: int | None, trigger: int | None, market: MarketPrice
) -> list[Reach] | None:
    """What of an order is held against what of the market; None where it needs a price that the market has not.

    A limit is held against the last trade, and against the offer (a buy) or the bid (a sell), or the other one where
    that is missing. A market order is held to what it would meet: the offer, or the bid, against the last trade, or
    the other side of the book before there is one. A trigger may lie anywhere, the market has to come to it; the limit
    behind it is held against the trigger. An order whose trigger is reached counts as what it becomes at once.
    """
    if trigger is not None and not is_reached(order_type, side, trigger, market):
        return [] if price is None else [Reach("price", price, "the trigger", trigger)]
    touch, is_buy = market.opposite(side), side is Side.BUY
    if order_type not in _LIMITED:
        reference = market.last if market.last is not None else market.near(side)
        if touch is None or reference is None:
            return None
        against = "the last trade" if market.last is not None else _BEST[not is_buy]
        return [Reach(_BEST[is_buy], touch, against, reference)]
    book = touch if touch is not None else market.near(side)
    if price is None or not market.is_known:
        return None
    found = [] if market.last is None else [Reach("price", price, "the last trade", market.last)]
    if book is not None:
        found.append(Reach("price", price, _BEST[is_buy == (touch is not None)], book))
    return found


class ClockSkew:
    """By how much this machine's clock is ahead of the exchange's, in seconds; negative where it is behind.

    A report is late by what it was on its way, so the sample nearest to 0 of the last five to ten seconds counts. It
    is measured anew after each start; before the first sample it is None.
    """

    def __init__(self) -> None:
        self._before: float | None = None
        self._least: float | None = None
        self._begun_s = 0.0

    def on_sample(self, event_ns: int, wall_ns: int, now_s: float) -> None:
        """A live report came: the exchange's time of it, and this machine's at its receipt."""
        skew_s = (wall_ns - event_ns) / 1e9
        passed_s = now_s - self._begun_s
        if self._least is None or passed_s >= SKEW_WINDOW_S:
            self._before = self._least if passed_s < 2 * SKEW_WINDOW_S else None
            self._least, self._begun_s = skew_s, now_s
        elif abs(skew_s) < abs(self._least):
            self._least = skew_s

    def skew_s(self) -> float | None:
        """The present estimate."""
        known = [skew for skew in (self._before, self._least) if skew is not None]
        return min(known, key=abs, default=None)
