"""One order as the order plant knows it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nightdesk.messages import (
    ClientOrderId,
    OrderReport,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.trading.broker import BrokerUpdate, FillKey
from nightdesk.trading.order_transitions import FINAL, Step
from nightdesk.trading.units import from_nanos, to_nanos

NO_ORDER = ClientOrderId("")


class Operation(StrEnum):
    """What was asked of the broker about an order and is not answered yet; at most one at a time."""

    SUBMIT = "SUBMIT"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"


class Purpose(StrEnum):
    """Why an order exists."""

    STRATEGY = "STRATEGY"
    EXIT = "EXIT"
    """The one closing order of a flatten, or an order of a roll that closes."""
    ROLL = "ROLL"
    """An order of a roll that opens in the next contract what was closed in the former one."""
    EXTERNAL = "EXTERNAL"
    """Sent by somebody else on our account."""


_TRIGGERED_AS = {
    OrderType.STOP_MARKET: OrderType.MARKET,
    OrderType.MARKET_IF_TOUCHED: OrderType.MARKET,
    OrderType.STOP_LIMIT: OrderType.LIMIT,
    OrderType.LIMIT_IF_TOUCHED: OrderType.LIMIT,
}


class Terms(NamedTuple):
    """The terms that a modification can change; ``quantity`` is the whole order, filled part included."""

    quantity: int
    price: float | None
    trigger_price: float | None

    def is_same(self, other: "Terms") -> bool:
        """Whether both are the same to the billionth of a point: floats came over the wire."""
        return self._in_nanos() == other._in_nanos()

    def _in_nanos(self) -> tuple[int | None, ...]:
        return (self.quantity, *(None if each is None else to_nanos(each) for each in self[1:]))


class Levels(NamedTuple):
    """How far a bracket's exits are from the average price of its entry's fills, in ticks; 0: there is none."""

    stop_ticks: int
    target_ticks: int


@dataclass(slots=True)
class Change:
    """One thing that a broker report made new; the order plant turns it into an event."""

    step: Step
    update: BrokerUpdate
    is_new_status: bool
    is_overfill: bool = False


@dataclass(slots=True)
class Order:
    """Mutable; only the order table and the order plant's own modules change it."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    account_id: str
    symbol: str
    exchange: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: int
    price: float | None
    trigger_price: float | None
    protective: bool
    purpose: Purpose
    fencing_epoch: int
    connection_epoch: int
    broker_ts_ns: int
    """The newest broker time known when the intent was made; replays of executions start there."""
    ts_init_ns: int
    trail_by_ticks: int = 0
    """A stop that the server moves with the market; 0: it stays where it is."""
    stop_ticks: int = 0
    """An entry of a bracket: how far its stop will be; 0: it brings none."""
    target_ticks: int = 0
    expire_ns: int = 0
    """When the server takes it off by itself, in market time, a whole second; 0: never."""
    parent_id: ClientOrderId = NO_ORDER
    """Of a bracket's exit: its entry."""
    linked_id: ClientOrderId = NO_ORDER
    """The other leg of an OCO order, as long as the server holds the link."""
    status: OrderStatus = OrderStatus.INITIALIZED
    venue_order_id: VenueOrderId | None = None
    filled_quantity: int = 0
    filled_cost_nanos: int = 0
    reported_filled: int = 0
    """The broker's own total, which only grows; more than ``filled_quantity`` means that executions are missing."""
    triggered: bool = False
    tombstone: bool = False
    """Ended by the broker's silence alone; if the broker shows it later, its fills count and the rest is canceled."""
    revived: bool = False
    """The broker shows it at work after its end: it counts until the broker says that it is over."""
    text: str = ""
    ts_last_ns: int = 0
    terms_ts_ns: int = 0
    """The broker's time of the newest report of the quantity."""
    prices_ts_ns: int = field(default=0, compare=False)
    """The same of the prices, which a fill does not tell."""
    answered_ts_ns: int = field(default=0, compare=False)
    """The same of an answer to a change: what is not newer is a copy of it, and answers no later change."""
    quantity_max: int = 0
    """The most that we ever asked for; more than that filled is an overfill."""
    fill_keys: set[FillKey] = field(default_factory=set)
    operation: Operation | None = None
    operation_deadline_s: float = 0.0
    link_losses: int = 0
    """What the server has taken from its quantity by itself, since an order that it is linked with has filled."""
    link_fills: int = 0
    """What those orders have said that they filled, since this process knows of them."""
    pending_terms: Terms | None = None
    pending_levels: Levels | None = None
    cancel_wanted: bool = False
    """A cancel is due as soon as the order can be canceled (no broker's id yet, or another operation in flight)."""
    heard_epoch: int = field(default=0, compare=False)
    """The connection over which the broker told of it last, of those of this process."""
    misses: int = 0
    """How many complete answers of the broker in a row did not show this order."""
    first_miss_s: float = 0.0

    def __post_init__(self) -> None:
        self.quantity_max = max(self.quantity_max, self.quantity)
        self.ts_last_ns = max(self.ts_last_ns, self.ts_init_ns)
        self.prices_ts_ns = max(self.prices_ts_ns, self.terms_ts_ns)

    @property
    def is_final(self) -> bool:
        """The order is over; only late fills can still change it."""
        return self.status in FINAL

    @property
    def leaves_quantity(self) -> int:
        """What can still fill."""
        return 0 if self.is_final else max(0, self.quantity - self.filled_quantity)

    @property
    def missing_quantity(self) -> int:
        """What the broker reported as filled and no execution accounts for yet."""
        return max(0, self.reported_filled - self.filled_quantity)

    @property
    def exposure(self) -> int:
        """The worst case: all that may still be booked, with the larger quantity while a change is on its way."""
        if self.is_final:
            working = self.quantity - self.filled_quantity if self.revived else 0
            return max(self.missing_quantity, working)
        pending = self.pending_terms.quantity if self.pending_terms is not None else 0
        return max(self.missing_quantity, max(self.quantity, pending) - self.filled_quantity, 0)

    @property
    def is_bracket(self) -> bool:
        """Whether its fills bring exits that the server holds."""
        return bool(self.stop_ticks or self.target_ticks)

    @property
    def link_group(self) -> str:
        """What the orders have in common of which the server lets one fill and cancels the others; empty: it is alone.

        A bracket's exits have their entry in common.
        """
        return self.parent_id or (min(self.client_order_id, self.linked_id) if self.linked_id else "")

    @property
    def average_price(self) -> float | None:
        """The average of the executions, None before the first."""
        if not self.filled_quantity:
            return None
        return from_nanos(self.filled_cost_nanos) / self.filled_quantity

    def resting_status(self) -> OrderStatus:
        """The status of an order that works with nothing in flight, from what has happened to it."""
        if self.filled_quantity:
            return OrderStatus.PARTIALLY_FILLED
        return OrderStatus.TRIGGERED if self.triggered else OrderStatus.ACCEPTED

    def present_type(self) -> OrderType:
        """The type it has now: a triggered stop works as the order that it became."""
        return _TRIGGERED_AS.get(self.order_type, self.order_type) if self.triggered else self.order_type

    def terms(self) -> Terms:
        """The terms that hold now."""
        return Terms(self.quantity, self.price, self.trigger_price)

    def request_terms(self, terms: Terms) -> None:
        """Note the terms of a change that goes to the broker."""
        self.pending_terms = terms
        self.operation = Operation.MODIFY
        self.quantity_max = max(self.quantity_max, terms.quantity)

    def request_levels(self, levels: Levels) -> None:
        """Note how far a bracket's exits are to be, once that goes to the broker."""
        self.pending_levels = levels
        self.operation = Operation.MODIFY

    def levels(self) -> Levels:
        """How far the exits of a bracket's entry are to be."""
        return Levels(self.stop_ticks, self.target_ticks)

    def take_levels(self, levels: Levels) -> None:
        """Replace them by what the broker holds."""
        self.stop_ticks, self.target_ticks = levels

    def take_terms(self, terms: Terms) -> None:
        """Replace the terms by those that the broker holds."""
        self.quantity, self.price, self.trigger_price = terms

    def book_fill(self, key: FillKey, quantity: int, price: float) -> None:
        """Count one execution whose key was not seen before."""
        self.fill_keys.add(key)
        self.filled_quantity += quantity
        self.filled_cost_nanos += quantity * to_nanos(price)
        self.reported_filled = max(self.reported_filled, self.filled_quantity)

    def report(self) -> OrderReport:
        """The order as others may see it."""
        return OrderReport(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            strategy_id=self.strategy_id,
            symbol=self.symbol,
            exchange=self.exchange,
            side=self.side,
            order_type=self.order_type,
            time_in_force=self.time_in_force,
            status=self.status,
            quantity=self.quantity,
            filled_quantity=self.filled_quantity,
            leaves_quantity=self.leaves_quantity,
            price=self.price,
            trigger_price=self.trigger_price,
            average_price=self.average_price,
            protective=self.protective,
            ts_init_ns=self.ts_init_ns,
            ts_last_ns=self.ts_last_ns,
            text=self.text,
            trail_by_ticks=self.trail_by_ticks,
            stop_ticks=self.stop_ticks,
            target_ticks=self.target_ticks,
            parent_client_order_id=self.parent_id,
            linked_client_order_id=self.linked_id,
            expire_ns=self.expire_ns,
        )
