"""The embedded exchange's own vocabulary: terms, orders, and what happens to them. Nothing here knows the wire."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce


class Product(msgspec.Struct, frozen=True):
    """One listed contract; ``commission`` per contract and side, money in US dollars."""

    symbol: str
    exchange: str
    tick_size: float
    point_value: float
    commission: float


class NewOrder(msgspec.Struct, frozen=True):
    """A client's request for an order as the gateway took it from the wire."""

    account_id: str
    user: str
    user_tag: str
    symbol: str
    exchange: str
    side: Side
    order_type: OrderType
    quantity: int
    price: float | None
    trigger_price: float | None
    time_in_force: TimeInForce
    window_name: str = ""
    is_automatic: bool = True
    trade_route: str = "simulator"


class Stage(StrEnum):
    """Where an order stands at the exchange."""

    RECEIVED = "RECEIVED"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"


class Completion(StrEnum):
    """Why an order is complete; the wire's words."""

    FILLED = "F"
    CANCELED = "C"
    FAILED = "FA"


class OrderState(msgspec.Struct, frozen=True):
    """An immutable picture of one order at one moment."""

    basket_id: str
    terms: NewOrder
    stage: Stage
    order_type: OrderType
    """The present type: a triggered stop has become MARKET or LIMIT; ``terms.order_type`` is the original."""
    quantity: int
    price: float | None
    trigger_price: float | None
    filled_quantity: int
    leaves_quantity: int
    average_price: float
    sequence_number: str
    """Base-36 and new for each cancel or modify; ``original_sequence_number`` is the first one."""
    original_sequence_number: str
    completion: Completion | None
    text: str
    ts_created_ns: int
    ts_last_ns: int


class Execution(msgspec.Struct, frozen=True):
    """One fill of a client's order."""

    fill_id: str
    price: float
    quantity: int
    commission: float
    ts_ns: int


class OrderEventKind(StrEnum):
    """What happened to an order at the exchange."""

    RECEIVED = "RECEIVED"
    OPENED = "OPENED"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    MODIFIED = "MODIFIED"
    MODIFY_FAILED = "MODIFY_FAILED"
    CANCELED = "CANCELED"
    CANCEL_FAILED = "CANCEL_FAILED"
    COMPLETED = "COMPLETED"


class OrderHappened(msgspec.Struct, frozen=True):
    """One step in an order's life, with its state after the step.

    ``report_id`` is the next value of the one counter behind confirmed, fill, modify, cancel and trigger ids.
    A cancel is CANCELED then COMPLETED(C); a full fill is FILLED then COMPLETED(F); a risk refusal COMPLETED(FA).
    """

    kind: OrderEventKind
    order: OrderState
    ts_ns: int
    report_id: str = ""
    execution: Execution | None = None
    text: str = ""


class Traded(msgspec.Struct, frozen=True):
    """A print on the tape."""

    symbol: str
    exchange: str
    price: float
    quantity: int
    aggressor: AggressorSide
    ts_ns: int
    volume: int
    """The session's volume after this print."""
    vwap: float


class Quoted(msgspec.Struct, frozen=True):
    """The best bid and offer after a change; ``bid_changed`` and ``ask_changed`` say which side the update carries."""

    symbol: str
    exchange: str
    bid_price: float
    bid_size: int
    bid_orders: int
    ask_price: float
    ask_size: int
    ask_orders: int
    bid_changed: bool
    ask_changed: bool
    ts_ns: int


class PositionState(msgspec.Struct, frozen=True):
    """One account's net position in one contract; money in US dollars."""

    account_id: str
    symbol: str
    exchange: str
    net_quantity: int
    average_price: float
    buy_quantity: int
    sell_quantity: int
    realized_pnl: float
    unrealized_pnl: float
    commission: float
    working_buy_quantity: int
    working_sell_quantity: int


class AccountState(msgspec.Struct, frozen=True):
    """One account's money; ``balance`` is starting balance + realized - commission."""

    account_id: str
    balance: float
    realized_pnl: float
    unrealized_pnl: float
    commission: float


VenueEvent = OrderHappened | Traded | Quoted
"""What a step of the venue reports, in the order in which it happened."""

Step = Callable[[], list[VenueEvent]]
"""One move of the market; calling it applies it to the venue and returns what happened, clients' fills included."""
