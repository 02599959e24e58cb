"""Frames of market data, history and positions as our messages.

Times are the exchange's where the frame has them (``source_*``), else the gateway's (``ssboe``, ``usecs``); the bars'
integer markers are used, never the library's naive local times.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from nightdesk.messages.enums import AggressorSide
from nightdesk.messages.market import Bar, QuoteTick, TradeTick
from nightdesk.messages.orders import BrokerPosition
from nightdesk.rithmic.words import AGGRESSOR_FROM_WIRE, BarType, QuoteBits, TradeBits

LAST_TRADE: Final = 150
BEST_BID_OFFER: Final = 151
INSTRUMENT_POSITION: Final = 450

DAY_S: Final = 86_400
_NS: Final = 1_000_000_000
_LAST_TRADE_BIT: Final = int(TradeBits.LAST_TRADE)
_BID_BIT: Final = int(QuoteBits.BID)
_ASK_BIT: Final = int(QuoteBits.ASK)


class MarketDecoder:
    """Trades and quotes of one connection; keeps the last known side of each quote.

    A message with ``is_snapshot`` is an image of the state at the subscription, no new print: ask it before publishing.
    """

    def __init__(self) -> None:
        self._quotes: dict[tuple[str, str], QuoteTick] = {}

    def trade(self, message: Any, ts_recv_ns: int) -> TradeTick | None:
        """Template 150, or None when the frame carries no print (only volume or change)."""
        if not message.presence_bits & _LAST_TRADE_BIT:
            return None
        return TradeTick(
            symbol=message.symbol,
            exchange=message.exchange,
            price=message.trade_price,
            quantity=message.trade_size,
            aggressor_side=AGGRESSOR_FROM_WIRE.get(message.aggressor, AggressorSide.NONE),
            ts_event_ns=_trade_time_ns(message),
            ts_recv_ns=ts_recv_ns,
        )

    def quote(self, message: Any, ts_recv_ns: int) -> QuoteTick | None:
        """Template 151 merged with the side that it does not carry, or None when it changes neither side."""
        present = message.presence_bits
        cleared = message.clear_bits
        if not (present | cleared) & (_BID_BIT | _ASK_BIT):
            return None
        key = (message.symbol, message.exchange)
        last = self._quotes.get(key)
        bid_price, bid_size, ask_price, ask_size = (
            (last.bid_price, last.bid_size, last.ask_price, last.ask_size) if last is not None else (0.0, 0, 0.0, 0)
        )
        if present & _BID_BIT:
            bid_size = message.bid_size
            # A side without orders keeps its last price.
            bid_price = message.bid_price if bid_size or message.bid_price else bid_price
        if present & _ASK_BIT:
            ask_size = message.ask_size
            ask_price = message.ask_price if ask_size or message.ask_price else ask_price
        if cleared & _BID_BIT:
            bid_size = 0
        if cleared & _ASK_BIT:
            ask_size = 0
        quote = self._quotes[key] = QuoteTick(
            symbol=key[0],
            exchange=key[1],
            bid_price=bid_price,
            bid_size=bid_size,
            ask_price=ask_price,
            ask_size=ask_size,
            ts_event_ns=message.ssboe * _NS + message.usecs * 1000,
            ts_recv_ns=ts_recv_ns,
        )
        return quote

    def last_quote(self, symbol: str, exchange: str) -> QuoteTick | None:
        """The state after the last quote or image."""
        return self._quotes.get((symbol, exchange))

    def forget(self) -> None:
        """After a loss of the link the state is unknown until the next image."""
        self._quotes.clear()


def _trade_time_ns(message: Any) -> int:
    seconds: int = message.source_ssboe
    if seconds:
        # source_nsecs counts within the second, as the gateway's jop_nsecs, which comes without microseconds.
        return seconds * _NS + int(message.source_nsecs or message.source_usecs * 1000)
    return int(message.ssboe) * _NS + int(message.usecs) * 1000


def decode_bar(message: Any) -> Bar | None:
    """Templates 203 and 250; None for a frame without a bar.

    The marker is the end of an intraday bar in seconds, and the trade date ``YYYYMMDD`` of a daily one.
    """
    if not message.marker:
        return None
    if message.type == BarType.DAILY:
        period_s = DAY_S
        day = datetime.strptime(str(message.marker), "%Y%m%d").replace(tzinfo=UTC)
        start_s = int(day.timestamp())
    else:
        period_s = int(message.period or 0)
        start_s = message.marker - period_s
    return Bar(
        symbol=message.symbol,
        exchange=message.exchange,
        period_s=period_s,
        open=message.open_price,
        high=message.high_price,
        low=message.low_price,
        close=message.close_price,
        volume=message.volume,
        trades=message.num_trades,
        ts_event_ns=start_s * _NS,
        ts_close_ns=(start_s + period_s) * _NS,
    )


def decode_tick(message: Any, ts_recv_ns: int) -> TradeTick | None:
    """Template 207 of one-tick bars, thus one print each; None for a frame without a time."""
    if not message.data_bar_ssboe:
        return None
    microseconds = message.data_bar_usecs[-1] if message.data_bar_usecs else 0
    aggressor = AggressorSide.NONE
    if message.ask_volume and not message.bid_volume:
        aggressor = AggressorSide.BUY
    elif message.bid_volume and not message.ask_volume:
        aggressor = AggressorSide.SELL
    return TradeTick(
        symbol=message.symbol,
        exchange=message.exchange,
        price=message.close_price,
        quantity=message.volume,
        aggressor_side=aggressor,
        ts_event_ns=message.data_bar_ssboe[-1] * _NS + microseconds * 1000,
        ts_recv_ns=ts_recv_ns,
    )


class AccountTotals(NamedTuple):
    """What template 451 says of all positions together; zero may also mean that it says nothing."""

    account_id: str
    net_quantity: int
    open_quantity: int
    """Long and short contracts, without their signs."""
    is_snapshot: bool


def decode_totals(message: Any) -> AccountTotals:
    """Template 451, of which only the quantities are read."""
    return AccountTotals(
        message.account_id, message.net_quantity, message.open_position_quantity, bool(message.is_snapshot)
    )


def decode_position(message: Any) -> BrokerPosition:
    """Template 450: one account's net position in one instrument."""
    return BrokerPosition(
        account_id=message.account_id,
        symbol=message.symbol,
        exchange=message.exchange,
        quantity=message.net_quantity,
        average_price=message.avg_open_fill_price,
        ts_event_ns=message.ssboe * _NS + message.usecs * 1000,
        is_snapshot=message.is_snapshot,
    )
