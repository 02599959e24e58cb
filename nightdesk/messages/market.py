"""Market data and the state of the links it arrives on."""

from nightdesk.messages.base import ChildId, Message
from nightdesk.messages.enums import AggressorSide


class TradeTick(Message, frozen=True, kw_only=True):
    """A print on the tape: somebody traded. Our own executions are ``OrderFilled``."""

    symbol: str
    exchange: str
    price: float
    quantity: int
    aggressor_side: AggressorSide
    ts_event_ns: int
    ts_recv_ns: int


class QuoteTick(Message, frozen=True, kw_only=True):
    """The best bid and offer after a change; a side without orders has size 0 and its last price (0.0 before any)."""

    symbol: str
    exchange: str
    bid_price: float
    bid_size: int
    ask_price: float
    ask_size: int
    ts_event_ns: int
    ts_recv_ns: int


class Bar(Message, frozen=True, kw_only=True):
    """Open, high, low, close and volume of one interval; ``ts_event_ns`` is the bar's start."""

    symbol: str
    exchange: str
    period_s: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    ts_event_ns: int
    ts_close_ns: int


class DataGap(Message, frozen=True, kw_only=True):
    """Market data between two times were lost; each loss is announced, none is silent.

    ``lost_trades`` is the number of prints known to be missing, -1 where nobody can know.
    """

    symbol: str
    exchange: str
    ts_from_ns: int
    ts_to_ns: int
    lost_trades: int
    cause: str


class ConnectionLost(Message, frozen=True, kw_only=True):
    """A plant lost its connection to the gateway (or its process ended).

    ``scheduled``: no market trades now, so that the loss is none of anybody's concern.
    """

    plant: ChildId
    reason: str
    ts_recv_ns: int
    scheduled: bool = False


class ConnectionRestored(Message, frozen=True, kw_only=True):
    """A plant is logged in again and has its subscriptions back."""

    plant: ChildId
    downtime_ms: int
    ts_recv_ns: int


class SubscribeMarketData(Message, frozen=True, kw_only=True):
    """Asks the ticker plant for trades and quotes of one instrument; ``conflate`` asks for the newest quote only."""

    subscriber: ChildId
    symbol: str
    exchange: str
    conflate: bool = False


class UnsubscribeMarketData(Message, frozen=True, kw_only=True):
    """Gives a subscription back: an alias has left this contract, and the subscriber holds nothing in it."""

    subscriber: ChildId
    symbol: str
    exchange: str


class RequestBars(Message, frozen=True, kw_only=True):
    """Asks the history plant for past bars: the newest ``count`` of them before ``ts_end_ns`` (0: until now)."""

    request_id: str
    symbol: str
    exchange: str
    period_s: int
    count: int
    ts_end_ns: int = 0


class RequestTicks(Message, frozen=True, kw_only=True):
    """Asks the history plant for past trades in ``[ts_start_ns, ts_end_ns]``, at most ``count`` of them."""

    request_id: str
    symbol: str
    exchange: str
    ts_start_ns: int
    ts_end_ns: int
    count: int


class HistoryPage(Message, frozen=True, kw_only=True):
    """One page of an answer; ``is_last`` ends it. ``error`` is empty unless the request failed."""

    request_id: str
    bars: tuple[Bar, ...] = ()
    ticks: tuple[TradeTick, ...] = ()
    is_last: bool
    error: str = ""
