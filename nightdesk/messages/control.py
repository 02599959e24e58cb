"""Commands of the operator and the answers to them. Each carries a ``request_id`` and is answered once."""

from nightdesk.messages.base import ChildId, ClientOrderId, FillId, Message, StrategyId, VenueOrderId
from nightdesk.messages.enums import Side, TradingState
from nightdesk.messages.lifecycle import ChildReport
from nightdesk.messages.orders import OrderReport, PositionReport


class QueryStatus(Message, frozen=True, kw_only=True):
    """Ask an actor, or the root supervisor for the tree, for its status; the answer goes to ``reply_to``."""

    request_id: str
    reply_to: ChildId


class TreeStatus(Message, frozen=True, kw_only=True):
    """Every child of the tree, in start order."""

    request_id: str
    children: tuple[ChildReport, ...]


class PlantStatus(Message, frozen=True, kw_only=True):
    """One plant connection. ``last_message_age_s`` is None before the first message."""

    request_id: str
    child_id: ChildId
    connected: bool
    last_message_age_s: float | None
    messages: int
    reconnects: int


class StrategyStatus(Message, frozen=True, kw_only=True):
    """One strategy as its own process sees it; ``state`` is starting, running, paused or waiting (for permission)."""

    request_id: str
    strategy_id: StrategyId
    state: str
    ticks: int
    trades: int
    quotes: int
    orders_sent: int
    fills: int
    last_event_ns: int


class OrderStatistics(Message, frozen=True, kw_only=True):
    """Counts of orders by their state over the whole journal."""

    working: int
    filled: int
    canceled: int
    denied: int
    rejected: int
    unknown: int


class AccountStatus(Message, frozen=True, kw_only=True):
    """What the order plant, the owner of the account, knows."""

    request_id: str
    account_id: str
    trading_state: TradingState
    reconciled: bool
    paused_strategies: tuple[StrategyId, ...]
    fills_by_strategy: tuple[tuple[StrategyId, int], ...]
    orders_by_strategy: tuple[tuple[StrategyId, int], ...]
    orders: OrderStatistics
    positions: tuple[PositionReport, ...]


class QueryOrders(Message, frozen=True, kw_only=True):
    """Ask the order plant for working orders, or for the newest ``limit`` of all."""

    request_id: str
    reply_to: ChildId
    working_only: bool
    limit: int


class OrdersReport(Message, frozen=True, kw_only=True):
    """The answer to ``QueryOrders``."""

    request_id: str
    orders: tuple[OrderReport, ...]


class QueryPositions(Message, frozen=True, kw_only=True):
    """Ask the order plant for positions, per strategy and for the account."""

    request_id: str
    reply_to: ChildId


class PositionsReport(Message, frozen=True, kw_only=True):
    """The answer to ``QueryPositions``; those without a strategy are the account's own."""

    request_id: str
    positions: tuple[PositionReport, ...]


class QueryFills(Message, frozen=True, kw_only=True):
    """Ask the order plant for the newest ``limit`` fills."""

    request_id: str
    reply_to: ChildId
    limit: int


class FillReport(Message, frozen=True, kw_only=True):
    """One execution as the journal holds it."""

    fill_id: FillId
    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId
    strategy_id: StrategyId
    symbol: str
    exchange: str
    side: Side
    quantity: int
    price: float
    commission: float
    ts_event_ns: int


class FillsReport(Message, frozen=True, kw_only=True):
    """The answer to ``QueryFills``."""

    request_id: str
    fills: tuple[FillReport, ...]


class PauseStrategy(Message, frozen=True, kw_only=True):
    """Let a strategy send no orders until it is resumed; its data keep flowing."""

    request_id: str
    reply_to: ChildId
    strategy_id: StrategyId
    reason: str


class ResumeStrategy(Message, frozen=True, kw_only=True):
    """Let a paused strategy send orders again."""

    request_id: str
    reply_to: ChildId
    strategy_id: StrategyId


class SetTradingState(Message, frozen=True, kw_only=True):
    """Halt, reduce or resume the account's trading."""

    request_id: str
    reply_to: ChildId
    trading_state: TradingState
    reason: str
    uid: int = -1
    """Of the user who asked, as the kernel says; -1: unknown."""
    pid: int = -1


class ResetRisk(Message, frozen=True, kw_only=True):
    """Let an owner of limits go on: its losses and refusals count from here. Empty: the account."""

    request_id: str
    reply_to: ChildId
    owner: StrategyId
    reason: str
    uid: int = -1
    """Of the user who asked, as the kernel says; -1: unknown."""
    pid: int = -1


class QueryRisk(Message, frozen=True, kw_only=True):
    """Ask the order plant for every limit with what is used of it."""

    request_id: str
    reply_to: ChildId


class LimitReport(Message, frozen=True, kw_only=True):
    """One limit; money is in currency, times are in seconds. ``symbol`` is empty where it is about all of them."""

    name: str
    """As in the configuration."""
    level: str
    """``account``, ``instrument ES``, ``strategy cross`` or ``broker``."""
    symbol: str
    limit: float | str
    use: float | None
    percent: float | None
    state: str
    """``ok``, ``near``, ``reached``, ``per_order`` or ``unknown``."""


class RiskReport(Message, frozen=True, kw_only=True):
    """The answer to ``QueryRisk``; ``breaches`` are the loss limits that are reached: owner and code.

    ``reason`` is why the state was set last; empty where nobody ever did.
    """

    request_id: str
    trading_state: TradingState
    reason: str
    breaches: tuple[tuple[str, str], ...]
    limits: tuple[LimitReport, ...]


class OperatorCancelAll(Message, frozen=True, kw_only=True):
    """Cancel every working order of the account, or of one strategy; orders of others only where that is asked for."""

    request_id: str
    reply_to: ChildId
    strategy_id: StrategyId
    externals: bool = False


class OperatorFlatten(Message, frozen=True, kw_only=True):
    """Cancel all and close every position of the account, or of one strategy.

    ``force``: whatever the calendar says of the markets; the exchange decides. ``externals``: orders of others, too.
    """

    request_id: str
    reply_to: ChildId
    strategy_id: StrategyId
    force: bool = False
    externals: bool = False


class RestartChild(Message, frozen=True, kw_only=True):
    """Restart a child (or revive a parked one); carried out by its supervisor.

    One that runs is stopped and started again, unless ``running_too`` is False, which is OTP's ``restart_child``.
    """

    request_id: str
    reply_to: ChildId
    child_id: ChildId
    running_too: bool = True


class TerminateChild(Message, frozen=True, kw_only=True):
    """Stop a child and keep it stopped until ``RestartChild``; its spec stays. Of a stopped child it changes nothing.

    Carried out by its supervisor; answered with ``CommandResult`` (``not_found: ID`` for a child that is not there).
    """

    request_id: str
    reply_to: ChildId
    child_id: ChildId


class QuerySpec(Message, frozen=True, kw_only=True):
    """Ask a child's supervisor for its spec: ``SpecReport``, or ``CommandResult`` (not ok, ``not_found: ID``)."""

    request_id: str
    reply_to: ChildId
    child_id: ChildId


class SpecReport(Message, frozen=True, kw_only=True):
    """The answer to ``QuerySpec``: the fields of the ``ChildSpec`` as a JSON object, without its opaque ``config``.

    Of a child that is a supervisor, ``children`` (ids in start order) and ``branch`` (its own ``strategy``,
    ``intensity`` and ``period_s``) are added.
    """

    request_id: str
    spec_json: bytes


class AddChild(Message, frozen=True, kw_only=True):
    """OTP's ``start_child``, for programs: addressed to a supervisor, which adds the child at the end of its list.

    ``spec`` is a packed ``ChildSpec``. Answered with ``CommandResult`` when the child has started or failed to. The
    child is lost when its supervisor restarts.
    """

    request_id: str
    reply_to: ChildId
    spec: bytes


class DeleteChild(Message, frozen=True, kw_only=True):
    """OTP's ``delete_child``, for programs: forget a child that is stopped; answered with ``CommandResult``."""

    request_id: str
    reply_to: ChildId
    child_id: ChildId


class CountChildren(Message, frozen=True, kw_only=True):
    """Ask a supervisor how many children it has; answered with ``ChildCounts``."""

    request_id: str
    reply_to: ChildId


class ChildCounts(Message, frozen=True, kw_only=True):
    """OTP's four numbers; ``active`` children have acknowledged their start and have a process."""

    request_id: str
    specs: int
    active: int
    supervisors: int
    workers: int


class StopSystem(Message, frozen=True, kw_only=True):
    """Stop the whole system in order; carried out by the root supervisor."""

    request_id: str
    reply_to: ChildId
    reason: str


class CommandResult(Message, frozen=True, kw_only=True):
    """The answer to a command: done, or why not."""

    request_id: str
    ok: bool
    text: str
