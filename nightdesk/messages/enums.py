"""The closed sets of words that messages use; FIX's and OTP's terms."""

from enum import StrEnum


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    STOP_LIMIT = "STOP_LIMIT"
    MARKET_IF_TOUCHED = "MARKET_IF_TOUCHED"
    LIMIT_IF_TOUCHED = "LIMIT_IF_TOUCHED"


class TimeInForce(StrEnum):
    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class AggressorSide(StrEnum):
    """Which side of a trade on the tape took liquidity."""

    BUY = "BUY"
    SELL = "SELL"
    NONE = "NONE"


class OrderStatus(StrEnum):
    """Where an order stands; ``UNKNOWN`` while its outcome at the broker is in doubt."""

    INITIALIZED = "INITIALIZED"
    DENIED = "DENIED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    TRIGGERED = "TRIGGERED"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_CANCEL = "PENDING_CANCEL"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


class TradingState(StrEnum):
    """The account's state: cancels pass in each of them."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class Denial(StrEnum):
    """Why an order was not sent; the closed set of codes, ``CATEGORY_CONDITION``."""

    RISK_MAX_ORDER_QUANTITY = "RISK_MAX_ORDER_QUANTITY"
    RISK_MAX_POSITION = "RISK_MAX_POSITION"
    RISK_MAX_OPEN_ORDERS = "RISK_MAX_OPEN_ORDERS"
    RISK_ORDER_RATE = "RISK_ORDER_RATE"
    RISK_MAX_ORDER_NOTIONAL = "RISK_MAX_ORDER_NOTIONAL"
    RISK_MAX_CONTRACTS = "RISK_MAX_CONTRACTS"
    RISK_CANCEL_RATE = "RISK_CANCEL_RATE"
    RISK_PRICE_COLLAR = "RISK_PRICE_COLLAR"
    RISK_DUPLICATE_ORDER = "RISK_DUPLICATE_ORDER"
    RISK_SELF_TRADE = "RISK_SELF_TRADE"
    RISK_DAILY_LOSS = "RISK_DAILY_LOSS"
    RISK_TRAILING_DRAWDOWN = "RISK_TRAILING_DRAWDOWN"
    RISK_REJECTS = "RISK_REJECTS"
    RISK_BROKER_LIMIT = "RISK_BROKER_LIMIT"
    STATE_HALTED = "STATE_HALTED"
    STATE_REDUCING = "STATE_REDUCING"
    STATE_PAUSED = "STATE_PAUSED"
    STATE_RECONCILING = "STATE_RECONCILING"
    STATE_DISCONNECTED = "STATE_DISCONNECTED"
    STATE_JOURNAL_FAILED = "STATE_JOURNAL_FAILED"
    STATE_DATA_STALE = "STATE_DATA_STALE"
    STATE_POSITION_STALE = "STATE_POSITION_STALE"
    STATE_CLOCK = "STATE_CLOCK"
    EPOCH_STALE = "EPOCH_STALE"
    SESSION_CLOSED = "SESSION_CLOSED"
    SESSION_NO_TRADE = "SESSION_NO_TRADE"
    ORDER_INVALID = "ORDER_INVALID"
    ORDER_DUPLICATE_ID = "ORDER_DUPLICATE_ID"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    ORDER_NOT_WORKING = "ORDER_NOT_WORKING"
    ORDER_EXPIRED = "ORDER_EXPIRED"
    ORDER_OPERATION_IN_FLIGHT = "ORDER_OPERATION_IN_FLIGHT"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    INSTRUMENT_EXPIRED = "INSTRUMENT_EXPIRED"
    INSTRUMENT_MISMATCH = "INSTRUMENT_MISMATCH"
    INSTRUMENT_ROLLED = "INSTRUMENT_ROLLED"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class ExitReason(StrEnum):
    """How a process ended (OTP's reasons)."""

    NORMAL = "NORMAL"
    SHUTDOWN = "SHUTDOWN"
    KILLED = "KILLED"
    CRASHED = "CRASHED"


class ChildState(StrEnum):
    """The state of a child in its supervisor's list."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    PARKED = "parked"


class BarUnit(StrEnum):
    """What the length of a bar counts."""

    SECOND = "SECOND"
    MINUTE = "MINUTE"
    DAY = "DAY"
    WEEK = "WEEK"
    TICK = "TICK"
