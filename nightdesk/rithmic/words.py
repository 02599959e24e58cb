"""The wire's enumerations and ours; the only place where one becomes the other.

The numbers are R|Protocol's (``async_rithmic``'s ``.proto`` files); 5 and 6 of the price types are in requests only, so
that notifications carry them as open enumeration values.
"""

from enum import IntEnum
from typing import Final

from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce

SIDE_TO_WIRE: Final[dict[Side, int]] = {Side.BUY: 1, Side.SELL: 2}
SIDE_FROM_WIRE: Final[dict[int, Side]] = {number: side for side, number in SIDE_TO_WIRE.items()}

AGGRESSOR_FROM_WIRE: Final[dict[int, AggressorSide]] = {
    0: AggressorSide.NONE,
    1: AggressorSide.BUY,
    2: AggressorSide.SELL,
}

ORDER_TYPE_TO_WIRE: Final[dict[OrderType, int]] = {
    OrderType.LIMIT: 1,
    OrderType.MARKET: 2,
    OrderType.STOP_LIMIT: 3,
    OrderType.STOP_MARKET: 4,
    OrderType.MARKET_IF_TOUCHED: 5,
    OrderType.LIMIT_IF_TOUCHED: 6,
}
ORDER_TYPE_FROM_WIRE: Final[dict[int, OrderType]] = {number: kind for kind, number in ORDER_TYPE_TO_WIRE.items()}

TIME_IN_FORCE_TO_WIRE: Final[dict[TimeInForce, int]] = {
    TimeInForce.DAY: 1,
    TimeInForce.GTC: 2,
    TimeInForce.IOC: 3,
    TimeInForce.FOK: 4,
}
TIME_IN_FORCE_FROM_WIRE: Final[dict[int, TimeInForce]] = {
    number: duration for duration, number in TIME_IN_FORCE_TO_WIRE.items()
}

ORDER_PLACEMENT_AUTO: Final = 2
"""``manual_or_auto`` of everything we send: no person presses a button (the library's own default is MANUAL)."""

TRAIL_BY_TRADES: Final = 3
"""``trail_by_price_id``: a stop that trails without one is refused (1112), and no source names its values; they are
taken to count as those of an if-touched condition do (bid, offer, trade)."""


class BracketType(IntEnum):
    """``bracket_type`` of template 330: which exits an entry brings; they stay where they are."""

    STOP_ONLY_STATIC = 4
    TARGET_ONLY_STATIC = 5
    TARGET_AND_STOP_STATIC = 6


SUBSCRIBE: Final = 1
UNSUBSCRIBE: Final = 2


class InfraType(IntEnum):
    """The plants as a login names them."""

    TICKER = 1
    ORDER = 2
    HISTORY = 3
    PNL = 4


class RithmicNotify(IntEnum):
    """``notify_type`` of template 351."""

    ORDER_RECEIVED_FROM_CLIENT = 1
    MODIFY_RECEIVED_FROM_CLIENT = 2
    CANCEL_RECEIVED_FROM_CLIENT = 3
    OPEN_PENDING = 4
    MODIFY_PENDING = 5
    CANCEL_PENDING = 6
    ORDER_RECEIVED_BY_EXCHANGE_GATEWAY = 7
    MODIFY_RECEIVED_BY_EXCHANGE_GATEWAY = 8
    CANCEL_RECEIVED_BY_EXCHANGE_GATEWAY = 9
    ORDER_SENT_TO_EXCHANGE = 10
    MODIFY_SENT_TO_EXCHANGE = 11
    CANCEL_SENT_TO_EXCHANGE = 12
    OPEN = 13
    MODIFIED = 14
    COMPLETE = 15
    MODIFICATION_FAILED = 16
    CANCELLATION_FAILED = 17
    TRIGGER_PENDING = 18
    GENERIC = 19
    LINK_ORDERS_FAILED = 20
    RELEASE_PENDING = 21


class ExchangeNotify(IntEnum):
    """``notify_type`` of template 352."""

    STATUS = 1
    MODIFY = 2
    CANCEL = 3
    TRIGGER = 4
    FILL = 5
    REJECT = 6
    NOT_MODIFIED = 7
    NOT_CANCELLED = 8
    GENERIC = 9


class Completion:
    """``completion_reason`` of a 351 with ``RithmicNotify.COMPLETE``."""

    FILLED: Final = "F"
    CANCELED: Final = "C"
    FAILED: Final = "FA"


class TradeBits(IntEnum):
    """``presence_bits`` of template 150: which groups of fields the frame carries."""

    LAST_TRADE = 1


class QuoteBits(IntEnum):
    """``presence_bits`` and ``clear_bits`` of template 151."""

    BID = 1
    ASK = 2


class UpdateBits(IntEnum):
    """``update_bits`` of template 100: which kinds of data to send."""

    LAST_TRADE = 1
    BBO = 2


class BarType(IntEnum):
    """``bar_type`` of templates 200 and 202 (intraday periods count their own unit)."""

    SECOND = 1
    MINUTE = 2
    DAILY = 3


class TickBarType(IntEnum):
    """``bar_type`` of template 206."""

    TICK = 1


class ReplayDirection(IntEnum):
    """``direction`` of templates 202 and 206: which end of the range counts against ``user_max_count``."""

    FIRST = 1
    LAST = 2


class ReplayOrder(IntEnum):
    """``time_order`` of templates 202 and 206."""

    FORWARDS = 1
    BACKWARDS = 2


LOGIN_ANSWER: Final = 11
REJECT: Final = 75
FORCED_LOGOUT: Final = 77
