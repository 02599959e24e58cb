"""The public Strategy class. Pure: no process, event loop, clock or file; whatever runs it implements StrategyHost."""

from pydantic import BaseModel, ConfigDict

from nightdesk.errors import StrategyError
from nightdesk.messages import (
    Bar,
    ClientOrderId,
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderModifyRejected,
    OrderRejected,
    OrderType,
    OrderUpdated,
    PositionReport,
    QuoteTick,
    Side,
    TimeInForce,
    TradeTick,
)
from nightdesk.trading.host_api import HistoryCallback, OrderTerms
from nightdesk.trading.order_terms import (
    checked_pair,
    checked_price,
    checked_quantity,
    checked_terms,
    checked_ticks,
    inferred_order_type,
)
from nightdesk.trading.strategy_contracts import RollInfo
from nightdesk.trading.strategy_sessions import SessionInfo
from nightdesk.trading.strategy_view import StrategyView

HISTORY_BARS_MAX = 10_000
"""More bars than this in one request are refused."""


class StrategyParameters(BaseModel):
    """Base of a strategy's ``Parameters``: unknown names are refused, nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strategy(StrategyView):
    """``on_trade`` is a print on the tape (somebody traded); ``on_order_filled`` is our own fill.

    Derive from this class and override the callbacks you need. They are called one after the other, never at the same
    time, and must return quickly: no sleeping, no blocking reads. A callback that raises ends the strategy's process;
    its supervisor starts a fresh one, which loads the code anew and gets its orders and positions back.

    Methods that act (``buy``, ``modify``, ...) may be called from ``on_start`` on. They return at once; what became of
    an order arrives later as a callback. A wrong argument raises ``StrategyError``. A refusal (by risk limits, by a
    pause, or because the order plant cannot be reached) never raises: it arrives as ``on_order_denied``. Only an order
    plant that stops reading makes them raise ``LaneError``.

    Declare a class ``Parameters(StrategyParameters)`` inside to have the section ``parameters`` of the configuration
    checked and typed; without it ``self.parameters`` is a read-only mapping.
    """

    Parameters: type[BaseModel] | None = None

    # Callbacks: each does nothing unless overridden.

    def on_start(self) -> None:
        """Market data and order plant are connected for the first time; trading may not be permitted yet.

        Orders and positions from before a restart are there already. No tick comes before this.
        """

    def on_stop(self) -> None:
        """The strategy is about to end in order; orders sent here still go out. Not called after a crash."""

    def on_pause(self) -> None:
        """The operator paused this strategy: orders are denied from now on, cancels pass, data keep flowing."""

    def on_resume(self) -> None:
        """The operator lifted the pause."""

    def on_tick(self, tick: TradeTick | QuoteTick) -> None:
        """Any market data: called for each trade and quote, before ``on_trade`` or ``on_quote``."""

    def on_trade(self, trade: TradeTick) -> None:
        """A print on the tape: somebody traded, not (necessarily) us."""

    def on_quote(self, quote: QuoteTick) -> None:
        """The best bid or offer changed."""

    def on_bar(self, bar: Bar) -> None:
        """A bar asked for with ``subscribe_bars`` ended."""

    def on_timer(self, name: str) -> None:
        """A timer is due on the market clock."""

    def on_session_open(self, session: SessionInfo) -> None:
        """A session of one of our symbols begins; one that was under way at ``on_start`` only ``session()`` tells."""

    def on_session_close(self, session: SessionInfo) -> None:
        """It ended, by the calendar: after its last bars; ``session.break_after`` says what follows."""

    def on_roll(self, roll: RollInfo) -> None:
        """One of our aliases means another contract from this session on; before ``on_session_open``."""

    def on_order_event(self, event: OrderEvent) -> None:
        """Any event of an order, those without a callback of their own included; before the specific callback."""

    def on_order_accepted(self, event: OrderAccepted) -> None:
        """The exchange holds the order."""

    def on_order_rejected(self, event: OrderRejected) -> None:
        """The broker or the exchange refused the order."""

    def on_order_denied(self, event: OrderDenied) -> None:
        """We refused the order before it left; ``event.code`` says why."""

    def on_order_updated(self, event: OrderUpdated) -> None:
        """The order has new terms at the exchange."""

    def on_order_modify_rejected(self, event: OrderModifyRejected) -> None:
        """A modification was refused; the former terms stand."""

    def on_order_canceled(self, event: OrderCanceled) -> None:
        """The order is gone; what it filled before stays filled."""

    def on_order_cancel_rejected(self, event: OrderCancelRejected) -> None:
        """A cancel was refused; mostly because the order was filled meanwhile."""

    def on_order_expired(self, event: OrderExpired) -> None:
        """The order's time ran out."""

    def on_order_filled(self, event: OrderFilled) -> None:
        """Our own fill: the exchange executed part or all of our order. ``position`` includes it already."""

    def on_position(self, position: PositionReport) -> None:
        """Our position changed, after a fill or because the order plant corrected it."""

    def on_connection_lost(self, event: ConnectionLost) -> None:
        """``event.plant`` (``plants/ticker``, ``plants/order`` ...) lost its gateway, or we lost the plant."""

    def on_connection_restored(self, event: ConnectionRestored) -> None:
        """``event.plant`` is back."""

    def on_data_gap(self, gap: DataGap) -> None:
        """Market data between two times were lost."""

    # What a strategy does.

    def buy(
        self,
        quantity: int,
        symbol: str | None = None,
        *,
        price: float | None = None,
        trigger_price: float | None = None,
        order_type: OrderType | None = None,
        time_in_force: TimeInForce = TimeInForce.DAY,
        protective: bool = False,
        trail_by_ticks: int = 0,
    ) -> ClientOrderId:
        """Send a buy order. Without ``order_type``: no price is market, ``price`` limit, ``trigger_price`` stop,
        both stop limit. ``symbol`` may be left out by a strategy with one symbol. A stop with ``trail_by_ticks`` begins
        at its trigger price, and the server moves it with the market, never back."""
        return self._send(
            Side.BUY,
            quantity,
            symbol,
            price,
            trigger_price,
            order_type,
            time_in_force=time_in_force,
            protective=protective,
            trail_by_ticks=trail_by_ticks,
        )

    def sell(
        self,
        quantity: int,
        symbol: str | None = None,
        *,
        price: float | None = None,
        trigger_price: float | None = None,
        order_type: OrderType | None = None,
        time_in_force: TimeInForce = TimeInForce.DAY,
        protective: bool = False,
        trail_by_ticks: int = 0,
    ) -> ClientOrderId:
        """Send a sell order; as ``buy``."""
        return self._send(
            Side.SELL,
            quantity,
            symbol,
            price,
            trigger_price,
            order_type,
            time_in_force=time_in_force,
            protective=protective,
            trail_by_ticks=trail_by_ticks,
        )

    def submit(self, terms: OrderTerms) -> ClientOrderId:
        """Send an order with complete terms."""
        return self._api.submit(checked_terms(terms, self.instrument(terms.symbol)))

    def bracket(
        self,
        side: Side,
        quantity: int,
        symbol: str | None = None,
        *,
        stop_ticks: int = 0,
        target_ticks: int = 0,
        price: float | None = None,
        trigger_price: float | None = None,
        order_type: OrderType | None = None,
        time_in_force: TimeInForce = TimeInForce.DAY,
    ) -> ClientOrderId:
        """Send an entry whose fills bring a protective stop, a target or both, held at the server; the entry's id.

        The exits stand so many ticks from the average price of the first fills, are for what has filled, and of them
        one cancels the other. They are orders of ours: ``exits(id)``, callbacks of their own, and in their reports the
        entry's id as ``parent_client_order_id``. 0 ticks: no such exit.
        """
        if not stop_ticks and not target_ticks:
            raise StrategyError("a bracket needs stop_ticks, target_ticks or both")
        return self.submit(
            OrderTerms(
                symbol=self._symbol(symbol),
                side=side,
                quantity=quantity,
                order_type=order_type or inferred_order_type(price, trigger_price),
                price=price,
                trigger_price=trigger_price,
                time_in_force=time_in_force,
                stop_ticks=stop_ticks,
                target_ticks=target_ticks,
            )
        )

    def modify_bracket(
        self, client_order_id: ClientOrderId, *, stop_ticks: int | None = None, target_ticks: int | None = None
    ) -> None:
        """Change the distances of a bracket's exits before its entry fills; after that change the exits' prices."""
        if stop_ticks is None and target_ticks is None:
            raise StrategyError("modify_bracket needs new stop_ticks or target_ticks")
        for ticks, what in ((stop_ticks, "stop_ticks"), (target_ticks, "target_ticks")):
            if ticks is not None:
                checked_ticks(ticks, what)
        self._api.modify_bracket(client_order_id, stop_ticks=stop_ticks, target_ticks=target_ticks)

    def oco(self, first: OrderTerms, second: OrderTerms) -> tuple[ClientOrderId, ClientOrderId]:
        """Send two orders of one symbol of which the server cancels one when the other fills or ends; their ids."""
        legs = [checked_terms(terms, self.instrument(terms.symbol)) for terms in (first, second)]
        checked_pair(*legs)
        return self._api.submit_oco(*legs)

    def modify(
        self,
        client_order_id: ClientOrderId,
        *,
        quantity: int | None = None,
        price: float | None = None,
        trigger_price: float | None = None,
    ) -> None:
        """Change a working order; what is not given stays. ``quantity`` is the total, what is filled included."""
        if quantity is None and price is None and trigger_price is None:
            raise StrategyError("modify needs a new quantity, price or trigger_price")
        if quantity is not None:
            checked_quantity(quantity)
        known = self._api.order(client_order_id)
        if known is not None:
            terms = self._api.instrument(known.symbol)
            price = checked_price(price, "price", terms)
            trigger_price = checked_price(trigger_price, "trigger_price", terms)
        self._api.modify(client_order_id, quantity=quantity, price=price, trigger_price=trigger_price)

    def cancel(self, client_order_id: ClientOrderId) -> None:
        """Cancel a working order; one that is finished gives ``on_order_cancel_rejected``."""
        self._api.cancel(client_order_id)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel all our working orders, of one symbol or of all."""
        self._api.cancel_all("" if symbol is None else self._symbol(symbol))

    def flatten(self, symbol: str | None = None) -> None:
        """Cancel our orders and close our position, in one symbol or in all."""
        self._api.flatten("" if symbol is None else self._symbol(symbol))

    def history(self, symbol: str | None, period_s: int, count: int, on_result: HistoryCallback) -> None:
        """Ask for the newest ``count`` past bars; ``on_result(bars, error)`` is called later, once."""
        self._positive(period_s, "period_s")
        self._positive(count, "count")
        if count > HISTORY_BARS_MAX:
            raise StrategyError(f"at most {HISTORY_BARS_MAX} bars can be asked for at once, not {count}")
        self._api.history(self._symbol(symbol), period_s, count, on_result)

    def set_timer(self, name: str, interval_s: float, repeat: bool = True) -> None:
        """Have ``on_timer(name)`` called every ``interval_s`` of market time, or once. A name replaces its former."""
        if isinstance(interval_s, bool) or not 0.001 <= interval_s <= 31_536_000:
            raise StrategyError(f"a timer's interval must be between 1 ms and a year, not {interval_s!r} s")
        self._api.set_timer(name, round(interval_s * 1e9), repeat=repeat)

    def cancel_timer(self, name: str) -> None:
        """Stop a timer; one that does not run is no error."""
        self._api.cancel_timer(name)

    def subscribe_bars(self, symbol: str | None, period_s: int) -> None:
        """Have ``on_bar`` called with bars of ``period_s`` whole seconds, built from trades, aligned to the epoch."""
        self._positive(period_s, "period_s")
        self._api.subscribe_bars(self._symbol(symbol), period_s)

    def _send(
        self,
        side: Side,
        quantity: int,
        symbol: str | None,
        price: float | None,
        trigger_price: float | None,
        order_type: OrderType | None,
        *,
        time_in_force: TimeInForce,
        protective: bool,
        trail_by_ticks: int,
    ) -> ClientOrderId:
        return self.submit(
            OrderTerms(
                symbol=self._symbol(symbol),
                side=side,
                quantity=quantity,
                order_type=order_type or inferred_order_type(price, trigger_price),
                price=price,
                trigger_price=trigger_price,
                time_in_force=time_in_force,
                protective=protective,
                trail_by_ticks=trail_by_ticks,
            )
        )

    @staticmethod
    def _positive(value: int, what: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise StrategyError(f"{what} must be a whole number, at least 1, not {value!r}")
