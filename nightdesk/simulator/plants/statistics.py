"""What a session of one contract has been so far: extremes, volume by price, close and settlement. Pure.

Every change is reported as the presence bits of the message that carries it, so that whoever sends knows at once
whether there is anything to send: mostly there is not.
"""

from nightdesk.simulator.model import Quoted, Traded
from nightdesk.simulator.plants.reference import utc_date

TRADE_STATISTICS = 152
QUOTE_STATISTICS = 153
INDICATOR_PRICES = 154
END_OF_DAY_PRICES = 155
ORDER_PRICE_LIMITS = 163

OPEN, HIGH, LOW = 1, 2, 4
HIGHEST_BID, LOWEST_ASK = 1, 2
OPENING_INDICATOR, CLOSING_INDICATOR = 1, 2
CLOSE, SETTLEMENT, PROJECTED_SETTLEMENT, ADJUSTED_CLOSE = 1, 2, 4, 8
HIGH_PRICE_LIMIT, LOW_PRICE_LIMIT = 1, 2

GROUPS: dict[int, tuple[tuple[int, tuple[str, ...]], ...]] = {
    TRADE_STATISTICS: ((OPEN, ("open_price",)), (HIGH, ("high_price",)), (LOW, ("low_price",))),
    QUOTE_STATISTICS: ((HIGHEST_BID, ("highest_bid_price",)), (LOWEST_ASK, ("lowest_ask_price",))),
    INDICATOR_PRICES: ((OPENING_INDICATOR, ("opening_indicator",)), (CLOSING_INDICATOR, ("closing_indicator",))),
    END_OF_DAY_PRICES: (
        (CLOSE, ("close_price", "close_date")),
        (SETTLEMENT, ("settlement_price", "settlement_date", "settlement_price_type")),
        (PROJECTED_SETTLEMENT, ("projected_settlement_price",)),
        (ADJUSTED_CLOSE, ("adjusted_close_price",)),
    ),
    ORDER_PRICE_LIMITS: ((HIGH_PRICE_LIMIT, ("high_price_limit",)), (LOW_PRICE_LIMIT, ("low_price_limit",))),
}
"""Of each message with presence bits: the bit and its fields, which are attributes of ``Statistics`` as well."""

SETTLEMENT_TYPE = "final"

Changes = dict[int, int]
"""Template id: the bits of the groups that changed; a group whose fields are None now has to be cleared."""


class Statistics:
    """Mutable. A session begins with the exchange and ends when a change of the market's mode names another trade date.

    The first price of the session is its opening indicator as well; the last one is projected settlement and closing
    indicator when the market leaves the mode "Open", and close, adjusted close and settlement when the session ends, if
    the exchange has not settled it at its close already.
    """

    def __init__(self) -> None:
        self.trade_date = ""
        """YYYYMMDD: the UTC day of the first print until a mode change has named another; empty before that."""
        self.volumes: dict[float, int] = {}
        """Contracts traded in this session, by price."""
        self.last_price: float | None = None
        self.close_price: float | None = None
        self.close_date: str | None = None
        self.settlement_price: float | None = None
        self.settlement_date: str | None = None
        self.settlement_price_type: str | None = None
        self.adjusted_close_price: float | None = None
        self.high_price_limit: float | None = None
        self.low_price_limit: float | None = None
        self._begin()

    def _begin(self) -> None:
        self.open_price: float | None = None
        self.high_price: float | None = None
        self.low_price: float | None = None
        self.highest_bid_price: float | None = None
        self.lowest_ask_price: float | None = None
        self.opening_indicator: float | None = None
        self.closing_indicator: float | None = None
        self.projected_settlement_price: float | None = None
        self.volumes = {}

    def trade(self, trade: Traded) -> int:
        """Count a print; the bits of 152. ``OPEN`` tells that the opening indicator changed as well."""
        price, quantity = trade.price, trade.quantity
        if quantity <= 0:
            return 0
        self.last_price = price
        self.volumes[price] = self.volumes.get(price, 0) + quantity
        if self.high_price is None or self.low_price is None:
            self.open_price = self.high_price = self.low_price = self.opening_indicator = price
            self.trade_date = self.trade_date or utc_date(trade.ts_ns)
            return OPEN | HIGH | LOW
        if price > self.high_price:
            self.high_price = price
            return HIGH
        if price < self.low_price:
            self.low_price = price
            return LOW
        return 0

    def quote(self, quote: Quoted) -> int:
        """Look at a best bid and offer; the bits of 153."""
        changed = 0
        if quote.bid_size > 0 and (self.highest_bid_price is None or quote.bid_price > self.highest_bid_price):
            self.highest_bid_price = quote.bid_price
            changed = HIGHEST_BID
        if quote.ask_size > 0 and (self.lowest_ask_price is None or quote.ask_price < self.lowest_ask_price):
            self.lowest_ask_price = quote.ask_price
            changed |= LOWEST_ASK
        return changed

    def limit(self, limits: tuple[float, float] | None) -> int:
        """The lowest and the highest price that may be traded now; the bits of 163."""
        low, high = limits if limits is not None else (None, None)
        changed = (HIGH_PRICE_LIMIT if high != self.high_price_limit else 0) | (
            LOW_PRICE_LIMIT if low != self.low_price_limit else 0
        )
        self.low_price_limit, self.high_price_limit = low, high
        return changed

    def settle(self, price: float, date: str) -> None:
        """Close and settlement of the last session that has ended, where they are known."""
        self.close_price = self.settlement_price = self.adjusted_close_price = price
        self.close_date = self.settlement_date = date
        self.settlement_price_type = SETTLEMENT_TYPE

    def mode(self, *, is_open: bool, trade_date: str) -> Changes:
        """The market's mode changed; another trade date ends the session."""
        changes: Changes = {}
        if trade_date and self.trade_date and trade_date != self.trade_date:
            if self.last_price is not None and self.volumes and self.settlement_date != self.trade_date:
                self.settle(self.last_price, self.trade_date)
            self._begin()
            changes = {
                TRADE_STATISTICS: OPEN | HIGH | LOW,
                QUOTE_STATISTICS: HIGHEST_BID | LOWEST_ASK,
                INDICATOR_PRICES: OPENING_INDICATOR | CLOSING_INDICATOR,
                END_OF_DAY_PRICES: CLOSE | SETTLEMENT | PROJECTED_SETTLEMENT | ADJUSTED_CLOSE,
            }
        elif not is_open and self.volumes and self.projected_settlement_price != self.last_price:
            self.closing_indicator = self.projected_settlement_price = self.last_price
            changes = {INDICATOR_PRICES: CLOSING_INDICATOR, END_OF_DAY_PRICES: PROJECTED_SETTLEMENT}
        self.trade_date = trade_date or self.trade_date
        return changes
