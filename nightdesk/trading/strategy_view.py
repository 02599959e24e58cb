"""What a strategy can ask at any time: itself, the market, its orders and positions. The base of ``Strategy``."""

from collections.abc import Sequence
from typing import Any

from nightdesk.errors import StrategyError
from nightdesk.messages import ClientOrderId, OrderReport, PositionReport, QuoteTick
from nightdesk.trading.host_api import InstrumentTerms, Log, StrategyHost
from nightdesk.trading.order_terms import rounded_to_tick
from nightdesk.trading.sessions import MarketPhase
from nightdesk.trading.strategy_sessions import SessionInfo


class StrategyView:
    """Everything is answered from what this process knows; nothing is sent."""

    # The type is the subclass's own affair: it annotates ``parameters: Parameters`` to have it checked.
    parameters: Any = None
    """The configured parameters."""

    _host: StrategyHost | None = None

    def attach(self, host: StrategyHost, parameters: object) -> None:
        """Connect to what runs this strategy; called by that, once, before ``on_start``."""
        self._host = host
        self.parameters = parameters

    @property
    def name(self) -> str:
        """The configured name."""
        return self._api.name

    @property
    def symbols(self) -> Sequence[str]:
        """The configured symbols."""
        return self._api.symbols

    @property
    def log(self) -> Log:
        """A structured logger: ``self.log.info("cross_found", fast=fast)``."""
        return self._api.log

    @property
    def now_ns(self) -> int:
        """Market time: nanoseconds since the Unix epoch, UTC, on the exchange's clock."""
        return self._api.now_ns()

    @property
    def trading_permitted(self) -> bool:
        """True while the order plant is connected, reconciled and takes orders."""
        return self._api.trading_permitted

    @property
    def paused(self) -> bool:
        """True while the operator has paused this strategy."""
        return self._api.paused

    def instrument(self, symbol: str | None = None) -> InstrumentTerms:
        """Tick size, point value and exchange of one of our symbols."""
        return self._api.instrument(self._symbol(symbol))

    def front(self, symbol: str | None = None) -> str:
        """The contract that one of our symbols means now; ticks, orders and positions name it."""
        return self.instrument(symbol).symbol

    def round_to_tick(self, price: float, symbol: str | None = None) -> float:
        """The nearest price that the exchange has."""
        return rounded_to_tick(price, self.instrument(symbol).tick_size)

    def position(self, symbol: str | None = None) -> PositionReport:
        """Our own net position; its ``quantity`` is positive when long, negative when short, 0 when flat."""
        return self._api.position(self._symbol(symbol))

    def quote(self, symbol: str | None = None) -> QuoteTick | None:
        """The newest quote; None before the first one."""
        return self._api.quote(self._symbol(symbol))

    def order(self, client_order_id: ClientOrderId) -> OrderReport | None:
        """One of our orders, a recently finished one too; None when unknown."""
        return self._api.order(client_order_id)

    def orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Our orders that are not finished, oldest first, those on their way and those in doubt included."""
        return self._api.orders(None if symbol is None else self._symbol(symbol))

    def exits(self, client_order_id: ClientOrderId) -> tuple[OrderReport, ...]:
        """The exits that an entry sent with ``bracket`` has brought, as long as they work: stop and target."""
        return self._api.exits(client_order_id)

    def session(self, symbol: str | None = None) -> SessionInfo | None:
        """The session in progress at ``now_ns``, its halts included; None between sessions."""
        return self._api.session(self._symbol(symbol))

    def phase(self, symbol: str | None = None) -> MarketPhase:
        """What the market does by its calendar: open, pre_open, halt or closed."""
        return self._api.phase(self._symbol(symbol))

    def next_open_ns(self, symbol: str | None = None) -> int:
        """When the market trades again, after a halt too; the present moment while it does."""
        return self._api.next_open_ns(self._symbol(symbol))

    def next_close_ns(self, symbol: str | None = None) -> int:
        """When the session in progress, or the next one, closes."""
        return self._api.next_close_ns(self._symbol(symbol))

    @property
    def _api(self) -> StrategyHost:
        if self._host is None:
            raise StrategyError("a strategy's methods work from on_start on, not in __init__: move the call there")
        return self._host

    def _symbol(self, symbol: str | None) -> str:
        if symbol is not None:
            self._api.instrument(symbol)
            return symbol
        if len(self._api.symbols) != 1:
            raise StrategyError(f"name the symbol: this strategy trades {', '.join(self._api.symbols)}")
        return self._api.symbols[0]
