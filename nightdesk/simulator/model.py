"""The embedded exchange's own vocabulary: terms, orders, and what happens to them. Nothing here knows the wire.

The words of brackets stand in ``bracket_model.py``, those of the calendar's days in ``day_model.py``; they are part of
it.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from nightdesk.messages.enums import AggressorSide, OrderType, Side, TimeInForce
from nightdesk.simulator.bracket_model import BracketChanged as BracketChanged
from nightdesk.simulator.bracket_model import BracketKind as BracketKind
from nightdesk.simulator.bracket_model import BracketLevel as BracketLevel
from nightdesk.simulator.bracket_model import BracketTerms as BracketTerms
from nightdesk.simulator.bracket_model import ExitRole as ExitRole
from nightdesk.simulator.day_model import DayEvent as DayEvent
from nightdesk.simulator.day_model import Expired as Expired
from nightdesk.simulator.day_model import Listed as Listed
from nightdesk.simulator.day_model import PositionSettled as PositionSettled
from nightdesk.simulator.day_model import Settled as Settled


class Product(msgspec.Struct, frozen=True):
    """One listed contract; ``commission`` per contract and side, money in US dollars; a limit of 0 is none."""

    symbol: str
    exchange: str
    tick_size: float
    point_value: float
    commission: float
    margin: float = 0.0
    """Initial margin of one contract."""
    max_order_quantity: int = 0
    price_limit_percent: float = 0.0
    """How far from the session's first price it may trade."""


class AccountTerms(msgspec.Struct, frozen=True):
    """An account's money and limits, in dollars and contracts; a limit of 0 is none."""

    account_id: str
    starting_balance: float
    max_order_quantity: int = 0
    buy_limit: int = 0
    sell_limit: int = 0
    loss_limit: float = 0.0
    min_account_balance: float = 0.0
    products: tuple[str, ...] = ()
    """Product codes that it may trade; none: all."""


class PriceField(StrEnum):
    """Which price of the market a condition looks at."""

    BID = "BID"
    OFFER = "OFFER"
    TRADE = "TRADE"
    LEAN = "LEAN"


class Condition(StrEnum):
    """How the market's price is compared with the condition's."""

    EQUAL = "EQUAL"
    NOT_EQUAL = "NOT_EQUAL"
    GREATER = "GREATER"
    GREATER_EQUAL = "GREATER_EQUAL"
    LESSER = "LESSER"
    LESSER_EQUAL = "LESSER_EQUAL"


class IfTouched(msgspec.Struct, frozen=True):
    """An order is held until a market, of this or another contract, meets a condition."""

    symbol: str
    exchange: str
    condition: Condition
    price_field: PriceField
    price: float


class NewOrder(msgspec.Struct, frozen=True, gc=False):
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
    trail_by_ticks: int = 0
    """A stop that follows the market at this distance; 0: it stands still."""
    trail_by: PriceField = PriceField.TRADE
    release_at_ns: int | None = None
    cancel_at_ns: int | None = None
    cancel_after_s: int = 0
    if_touched: IfTouched | None = None
    bracket: BracketTerms | None = None


class Stage(StrEnum):
    """Where an order stands at the exchange."""

    RECEIVED = "RECEIVED"
    RELEASE_PENDING = "RELEASE_PENDING"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"


class Hold(StrEnum):
    """What an order still waits for at the server, before it goes to the exchange."""

    RELEASE = "RELEASE"
    CONDITION = "CONDITION"
    """Its if-touched condition."""
    TOUCH = "TOUCH"
    """The trigger of a MARKET_IF_TOUCHED or LIMIT_IF_TOUCHED order."""


class Completion(StrEnum):
    """Why an order is complete; the wire's words."""

    FILLED = "F"
    CANCELED = "C"
    FAILED = "FA"


class OrderState(msgspec.Struct, frozen=True, gc=False):
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
    original_basket_id: str = ""
    """Of a bracket's exits: the entry."""
    linked_basket_ids: tuple[str, ...] = ()
    """Orders that end together (a bracket's exits, OCO legs), this one included."""
    bracket_kind: BracketKind | None = None
    hold: Hold | None = None
    """Set while the server holds the order back (stages RELEASE_PENDING and TRIGGER_PENDING)."""
    exit_role: ExitRole | None = None
    released_quantity: int = 0
    """Of a bracket's exit: how much the entry's fills have released for its level so far."""
    linked_fills: int = 0
    """Of an OCO leg: the other legs' fills that its quantity has been reduced by."""
    trail_by_ticks: int = 0
    """The present distance of a trailing stop."""
    if_touched: IfTouched | None = None
    """The present condition while ``hold`` is RELEASE or CONDITION."""
    exit_level: int = 0
    """Of a bracket's exit: which of its bracket's targets or stops it is, counted from 0."""


class Execution(msgspec.Struct, frozen=True, gc=False):
    """One fill of a client's order."""

    fill_id: str
    price: float
    quantity: int
    commission: float
    ts_ns: int


class OrderEventKind(StrEnum):
    """What happened to an order at the exchange."""

    RECEIVED = "RECEIVED"
    RELEASE_PENDING = "RELEASE_PENDING"
    OPENED = "OPENED"
    TRIGGER_PENDING = "TRIGGER_PENDING"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    MODIFIED = "MODIFIED"
    MODIFY_FAILED = "MODIFY_FAILED"
    CANCELED = "CANCELED"
    CANCEL_FAILED = "CANCEL_FAILED"
    REJECTED = "REJECTED"
    """By the exchange itself, after the risk system let it pass; COMPLETED(FA) follows."""
    COMPLETED = "COMPLETED"
    WARNED = "WARNED"
    """A margin warning in ``text``; the order goes on (352 GENERIC)."""
    RETAGGED = "RETAGGED"
    """The client gave it another ``user_tag``; nothing else changes, and nobody is told."""


class OrderHappened(msgspec.Struct, frozen=True, gc=False):
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


class OrderDepthKind(StrEnum):
    """What happened to one resting order of the public book."""

    NEW = "NEW"
    CHANGE = "CHANGE"
    DELETE = "DELETE"


class OrderDepth(msgspec.Struct, frozen=True):
    """One resting order of the public book after (or, when it is gone, before) a change."""

    kind: OrderDepthKind
    side: Side
    price: float
    previous_price: float | None
    """Of a CHANGE that moved it; otherwise None."""
    size: int
    priority: int
    exchange_order_id: str


class LevelDepth(msgspec.Struct, frozen=True):
    """One price level of the public book; size 0: the level is gone."""

    side: Side
    price: float
    size: int
    orders: int


class BookChanged(msgspec.Struct, frozen=True):
    """Everything that one exchange event did to the public book; only reported while somebody watches it."""

    symbol: str
    exchange: str
    sequence: int
    orders: tuple[OrderDepth, ...]
    levels: tuple[LevelDepth, ...]
    ts_ns: int


class ModeChanged(msgspec.Struct, frozen=True):
    """A market opened, closed, halted or was reserved; ``mode`` and ``reason`` are the wire's words."""

    symbol: str
    exchange: str
    mode: str
    reason: str
    trade_date: str
    ts_ns: int


class OrdersLinked(msgspec.Struct, frozen=True):
    """Orders became one-cancels-other of each other."""

    account_id: str
    basket_ids: tuple[str, ...]
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
    day_buy_quantity: int = 0
    """Of the present day (the trade date, or that of UTC), as the three that follow."""
    day_sell_quantity: int = 0
    day_realized_pnl: float = 0.0
    day_commission: float = 0.0


class AccountState(msgspec.Struct, frozen=True):
    """One account's money; ``balance`` is starting balance + realized - commission."""

    account_id: str
    balance: float
    realized_pnl: float
    unrealized_pnl: float
    commission: float
    margin_used: float = 0.0
    """Of the open positions."""
    margin_reserved: float = 0.0
    """Of working orders, beyond that."""
    day_start_balance: float = 0.0
    """With which the present day began: the trade date, or the day of UTC where markets are always open."""


VenueEvent = OrderHappened | Traded | Quoted | BookChanged | ModeChanged | BracketChanged | OrdersLinked | DayEvent
"""What a step of the venue reports, in the order in which it happened."""

Step = Callable[[], list[VenueEvent]]
"""One move of the market; calling it applies it to the venue and returns what happened, clients' fills included."""
