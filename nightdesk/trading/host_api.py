"""What a strategy and whatever runs it say to each other: the actor now, a replay engine elsewhere."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from nightdesk.messages import Bar, ClientOrderId, OrderReport, OrderType, PositionReport, QuoteTick, Side, TimeInForce
from nightdesk.trading.sessions import MarketPhase
from nightdesk.trading.strategy_sessions import SessionInfo


class InstrumentTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A contract as a strategy sees it; ``tick_size`` in price units, ``point_value`` in money for one whole point."""

    symbol: str
    exchange: str
    tick_size: float
    point_value: float


class OrderTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a new order asks for; ``protective`` marks a stop or target that stays when entries are canceled.

    ``trail_by_ticks`` lets a stop follow the market; ``stop_ticks`` and ``target_ticks`` make it a bracket's entry.
    """

    symbol: str
    side: Side
    quantity: int
    order_type: OrderType = OrderType.MARKET
    price: float | None = None
    trigger_price: float | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    protective: bool = False
    trail_by_ticks: int = 0
    stop_ticks: int = 0
    target_ticks: int = 0


HistoryCallback = Callable[[tuple[Bar, ...], str], None]
"""Gets the bars, oldest first, and an error text that is empty when the request succeeded."""


class Log(Protocol):
    """A structured logger: ``event`` is a constant snake_case name, everything else is a key."""

    def debug(self, event: str, **fields: object) -> object: ...

    def info(self, event: str, **fields: object) -> object: ...

    def warning(self, event: str, **fields: object) -> object: ...

    def error(self, event: str, **fields: object) -> object: ...


class StrategyHost(Protocol):
    """The side of a strategy's methods that does the work; every call comes from the strategy's own callbacks."""

    @property
    def name(self) -> str: ...

    @property
    def symbols(self) -> Sequence[str]: ...

    @property
    def paused(self) -> bool: ...

    @property
    def trading_permitted(self) -> bool: ...

    @property
    def log(self) -> Log: ...

    def now_ns(self) -> int:
        """Market time."""
        ...

    def instrument(self, symbol: str) -> InstrumentTerms:
        """Raises ``StrategyError`` for a symbol that the strategy does not trade."""
        ...

    def submit(self, terms: OrderTerms) -> ClientOrderId:
        """Send an order whose terms were checked; ``LaneError`` when the order plant does not keep up."""
        ...

    def submit_oco(self, first: OrderTerms, second: OrderTerms) -> tuple[ClientOrderId, ClientOrderId]:
        """Send two orders of which one cancels the other; their terms were checked, each and together."""
        ...

    def modify_bracket(
        self, client_order_id: ClientOrderId, *, stop_ticks: int | None, target_ticks: int | None
    ) -> None: ...

    def modify(
        self,
        client_order_id: ClientOrderId,
        *,
        quantity: int | None,
        price: float | None,
        trigger_price: float | None,
    ) -> None: ...

    def cancel(self, client_order_id: ClientOrderId) -> None: ...

    def cancel_all(self, symbol: str) -> None:
        """``symbol`` may be empty: of all symbols."""
        ...

    def flatten(self, symbol: str) -> None:
        """``symbol`` may be empty: in all symbols."""
        ...

    def position(self, symbol: str) -> PositionReport: ...

    def order(self, client_order_id: ClientOrderId) -> OrderReport | None: ...

    def orders(self, symbol: str | None) -> tuple[OrderReport, ...]: ...

    def exits(self, client_order_id: ClientOrderId) -> tuple[OrderReport, ...]: ...

    def quote(self, symbol: str) -> QuoteTick | None: ...

    def session(self, symbol: str) -> SessionInfo | None: ...

    def phase(self, symbol: str) -> MarketPhase: ...

    def next_open_ns(self, symbol: str) -> int: ...

    def next_close_ns(self, symbol: str) -> int: ...

    def history(self, symbol: str, period_s: int, count: int, on_result: HistoryCallback) -> None: ...

    def set_timer(self, name: str, interval_ns: int, *, repeat: bool) -> None: ...

    def cancel_timer(self, name: str) -> None: ...

    def subscribe_bars(self, symbol: str, period_s: int) -> None: ...
