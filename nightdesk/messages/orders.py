"""Commands to the order plant and the events of an order's life."""

from nightdesk.messages.base import ChildId, ClientOrderId, FillId, Message, StrategyId, VenueOrderId
from nightdesk.messages.enums import Denial, OrderStatus, OrderType, Side, TimeInForce, TradingState


class SubmitOrder(Message, frozen=True, kw_only=True):
    """Send one new order; ``fencing_epoch`` is the one the order plant gave at the hello."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    fencing_epoch: int
    symbol: str
    exchange: str
    side: Side
    order_type: OrderType
    quantity: int
    price: float | None = None
    trigger_price: float | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    protective: bool = False
    """True for a stop or target that guards a position: it stays when entries are canceled."""
    trail_by_ticks: int = 0
    """A stop that the server moves with the market, so far behind the last trade; 0: it stays where it is."""
    stop_ticks: int = 0
    """An entry of a bracket: its fills bring a protective stop, so far from their average price; 0: none."""
    target_ticks: int = 0
    """The same for a target."""


class SubmitOco(Message, frozen=True, kw_only=True):
    """Send two new orders of one symbol of which each cancels the other: both or none, in one frame."""

    strategy_id: StrategyId
    fencing_epoch: int
    first: SubmitOrder
    second: SubmitOrder


class ModifyOrder(Message, frozen=True, kw_only=True):
    """Replace the terms of a working order; a term that is None stays as it is."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    fencing_epoch: int
    quantity: int | None = None
    price: float | None = None
    trigger_price: float | None = None


class ModifyBracket(Message, frozen=True, kw_only=True):
    """Move the exits of a bracket whose entry has not filled yet; a distance that is None stays as it is."""

    client_order_id: ClientOrderId
    """The entry's."""
    strategy_id: StrategyId
    fencing_epoch: int
    stop_ticks: int | None = None
    target_ticks: int | None = None


class CancelOrder(Message, frozen=True, kw_only=True):
    """Cancel one working order."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    fencing_epoch: int


class CancelAllOrders(Message, frozen=True, kw_only=True):
    """Cancel every working order of a strategy, of one symbol or (empty) of all."""

    strategy_id: StrategyId
    fencing_epoch: int
    symbol: str = ""


class Flatten(Message, frozen=True, kw_only=True):
    """Cancel a strategy's orders and close its position in one symbol or (empty) in all."""

    strategy_id: StrategyId
    fencing_epoch: int
    symbol: str = ""


class QueryOrder(Message, frozen=True, kw_only=True):
    """Ask for one order's present state; answered with ``OrderReport``."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId


class OrderEvent(Message, frozen=True, kw_only=True):
    """What happened to an order; the base of the events below. ``event_id`` only grows within a journal."""

    client_order_id: ClientOrderId
    strategy_id: StrategyId
    symbol: str
    exchange: str
    ts_event_ns: int
    event_id: int = 0


class OrderInitialized(OrderEvent, frozen=True, kw_only=True):
    """The order plant has committed the intent; nothing was sent yet."""

    side: Side
    order_type: OrderType
    quantity: int
    price: float | None
    trigger_price: float | None
    time_in_force: TimeInForce
    protective: bool
    trail_by_ticks: int = 0
    stop_ticks: int = 0
    target_ticks: int = 0
    parent_client_order_id: ClientOrderId = ClientOrderId("")
    """Of a bracket's exit: its entry."""
    linked_client_order_id: ClientOrderId = ClientOrderId("")
    """The order that cancels this one, and is canceled by it."""
    expire_ns: int = 0
    """When the exchange takes the order off by itself, in market time; 0: it does not."""


class OrderDenied(OrderEvent, frozen=True, kw_only=True):
    """The order plant refused the order; it never left."""

    code: Denial
    text: str


class OrderSubmitted(OrderEvent, frozen=True, kw_only=True):
    """The order's frame was handed to the socket."""


class OrderAccepted(OrderEvent, frozen=True, kw_only=True):
    """The exchange holds the order (open, or a stop that waits for its trigger)."""

    venue_order_id: VenueOrderId


class OrderRejected(OrderEvent, frozen=True, kw_only=True):
    """The broker or the exchange refused the order."""

    text: str


class OrderTriggered(OrderEvent, frozen=True, kw_only=True):
    """A stop's trigger price was reached; it is now a market or limit order."""


class OrderPendingUpdate(OrderEvent, frozen=True, kw_only=True):
    """A modification is on its way."""


class OrderUpdated(OrderEvent, frozen=True, kw_only=True):
    """The exchange holds the order with these terms now."""

    quantity: int
    price: float | None
    trigger_price: float | None
    stop_ticks: int = 0
    target_ticks: int = 0
    """How far the exits of a bracket's entry will be from its fills."""


class OrderModifyRejected(OrderEvent, frozen=True, kw_only=True):
    """A modification was denied or refused; the order's former terms stand."""

    text: str


class OrderPendingCancel(OrderEvent, frozen=True, kw_only=True):
    """A cancel is on its way; the order can still fill."""


class OrderCanceled(OrderEvent, frozen=True, kw_only=True):
    """The order is gone from the exchange; what it filled before stays filled."""

    text: str = ""


class OrderCancelRejected(OrderEvent, frozen=True, kw_only=True):
    """A cancel was denied or refused."""

    text: str


class OrderExpired(OrderEvent, frozen=True, kw_only=True):
    """The order's time ran out at the exchange."""


class OrderFilled(OrderEvent, frozen=True, kw_only=True):
    """The exchange executed part or all of our order. ``commission`` is in the account's currency."""

    venue_order_id: VenueOrderId
    fill_id: FillId
    side: Side
    last_quantity: int
    last_price: float
    filled_quantity: int
    leaves_quantity: int
    average_price: float
    commission: float


class OrderInDoubt(OrderEvent, frozen=True, kw_only=True):
    """Nobody knows yet whether the broker has this order; its status is ``UNKNOWN`` until reconciled."""

    text: str


class OrderReport(Message, frozen=True, kw_only=True):
    """The present state of one order, for recovery and for the operator."""

    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId | None
    strategy_id: StrategyId
    symbol: str
    exchange: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    status: OrderStatus
    quantity: int
    filled_quantity: int
    leaves_quantity: int
    price: float | None
    trigger_price: float | None
    average_price: float | None
    protective: bool
    ts_init_ns: int
    ts_last_ns: int
    text: str = ""
    trail_by_ticks: int = 0
    stop_ticks: int = 0
    target_ticks: int = 0
    parent_client_order_id: ClientOrderId = ClientOrderId("")
    """Of a bracket's exit: its entry."""
    linked_client_order_id: ClientOrderId = ClientOrderId("")
    """The order that cancels this one, and is canceled by it."""
    expire_ns: int = 0
    """When the exchange takes the order off by itself, in market time; 0: it does not."""


class PositionReport(Message, frozen=True, kw_only=True):
    """A net position (long positive, short negative); money in the instrument's currency.

    ``strategy_id`` is empty for the account's own net position.
    """

    strategy_id: StrategyId
    symbol: str
    exchange: str
    quantity: int
    average_price: float
    realized_pnl: float
    unrealized_pnl: float
    commission: float = 0.0


class StrategyHello(Message, frozen=True, kw_only=True):
    """A strategy opens its order lane."""

    strategy_id: StrategyId
    child_id: ChildId
    incarnation: int


class StrategyGoodbye(Message, frozen=True, kw_only=True):
    """A strategy's process is stopped in order: its lane ends now, and nobody has to miss it."""

    strategy_id: StrategyId


class StrategyWelcome(Message, frozen=True, kw_only=True):
    """The order plant's answer: the fencing epoch, whether the strategy is paused, and what it owns.

    Orders that do not fit one packet come in several welcomes; ``more`` is set in all but the last.
    """

    strategy_id: StrategyId
    fencing_epoch: int
    paused: bool
    trading_permitted: bool
    orders: tuple[OrderReport, ...]
    positions: tuple[PositionReport, ...]
    more: bool = False


class PauseChanged(Message, frozen=True, kw_only=True):
    """The strategy was paused or resumed by the operator."""

    strategy_id: StrategyId
    paused: bool
    reason: str


class TradingPermissionChanged(Message, frozen=True, kw_only=True):
    """Orders are accepted (connected and reconciled) or not, and why."""

    permitted: bool
    trading_state: TradingState
    reason: str


class AccountIdentity(Message, frozen=True, kw_only=True):
    """Who we are at the broker, as the order plant learned at its login; the pnl plant needs it."""

    fcm_id: str
    ib_id: str
    user_type: int
    account_ids: tuple[str, ...]


class AuditHello(Message, frozen=True, kw_only=True):
    """The pnl plant opens its audit lane."""

    child_id: ChildId
    incarnation: int


class BrokerPosition(Message, frozen=True, kw_only=True):
    """A net position as the broker's PnL plant reports it."""

    account_id: str
    symbol: str
    exchange: str
    quantity: int
    average_price: float
    ts_event_ns: int
    is_snapshot: bool


class BrokerSnapshotEnd(Message, frozen=True, kw_only=True):
    """The broker's list of positions for one account is complete; what it did not name is flat."""

    account_id: str
    ts_event_ns: int
