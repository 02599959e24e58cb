"""Runs one strategy: messages become its callbacks, its calls become messages. Pure; an actor or a replay drives it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from nightdesk.messages import (
    ChildId,
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
    OrderReport,
    OrderUpdated,
    PauseChanged,
    PositionReport,
    QuoteTick,
    StrategyWelcome,
    TradeTick,
    TradingPermissionChanged,
)
from nightdesk.trading.agenda import NEVER_NS, Agenda
from nightdesk.trading.due import DueBars, DueTimers
from nightdesk.trading.gap_watch import GapWatch
from nightdesk.trading.host_api import InstrumentTerms, Log
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.sessions import SessionCalendar
from nightdesk.trading.strategy import Strategy
from nightdesk.trading.strategy_contracts import AliasLegs, ContractLeg, RollInfo
from nightdesk.trading.strategy_sessions import DueSessions
from nightdesk.trading.strategy_state import BAR_GRACE_NS, Outlet, StrategyState


class StrategyRunner(StrategyState):
    """One strategy with its view of orders and positions, its bars and timers, driven by messages and by time.

    A tick first moves the market clock (bars and timers that this makes due come before it), then goes to ``on_tick``
    and ``on_trade`` or ``on_quote``; callbacks that the strategy does not override cost nothing.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        name: str,
        instruments: Sequence[InstrumentTerms],
        parameters: object,
        outlet: Outlet,
        clock: MarketClock,
        random_text: Callable[[], str],
        log: Log,
        calendars: Mapping[str, SessionCalendar] | None = None,
        aliases: Mapping[str, AliasLegs] | None = None,
    ) -> None:
        super().__init__(
            name=name,
            instruments=instruments,
            outlet=outlet,
            clock=clock,
            random_text=random_text,
            log=log,
            calendars=calendars,
            aliases=aliases,
        )
        self.strategy = strategy
        self.started = False
        self.trades = self.quotes = self.fills = 0
        self.last_event_ns = 0
        self._gaps = GapWatch()
        self._is_stepped = clock.speed == 0
        """A tape as fast as possible: everything happens at its own time, however far time jumps."""
        grace_ns = 0 if self._is_stepped else BAR_GRACE_NS
        self._sessions = DueSessions(self._calendars, strategy.on_session_open, strategy.on_session_close, grace_ns)
        self._agenda = Agenda(
            (
                DueBars(self._all_builders, strategy.on_bar, grace_ns),
                self._contracts,
                self._sessions,
                DueTimers(self._timers, strategy.on_timer),
            )
        )
        self._muted: dict[str, int] = {}
        """Contracts whose data come although no alias means them yet, or any more: until when nothing is delivered."""
        self._lost: dict[ChildId, float] = {}
        self._on_tick = cast(Callable[[TradeTick | QuoteTick], None] | None, self._overridden("on_tick"))
        self._on_trade = cast(Callable[[TradeTick], None] | None, self._overridden("on_trade"))
        self._on_quote = cast(Callable[[QuoteTick], None] | None, self._overridden("on_quote"))
        self._on_event = cast(Callable[[OrderEvent], None] | None, self._overridden("on_order_event"))
        self._on_order = _order_callbacks(strategy)
        strategy.attach(self, parameters)

    # Driven from outside.

    def start(self) -> None:
        """Both lanes are up for the first time."""
        self.started = True
        self._sessions.begin(self.now_ns())
        self._refresh_due()
        self.strategy.on_start()
        if self._paused:
            self.strategy.on_pause()

    def stop(self) -> None:
        """The end; nothing is delivered afterwards."""
        if self.started and not self.stopped:
            self.strategy.on_stop()
        self.stopped = True
        self._outlet.due_changed(None)

    def on_trade(self, trade: TradeTick) -> None:
        """Take a print on the tape."""
        if self._muted and trade.ts_event_ns < self._muted.get(trade.symbol, 0):
            return
        self.trades += 1
        self._on_time(trade.symbol, trade.ts_event_ns)
        for builder in self._builders.get(trade.symbol, ()):
            end_ns = builder.end_ns
            bar = builder.add(trade)
            if builder.end_ns != end_ns:
                self._refresh_due()
            if bar is not None:
                self.strategy.on_bar(bar)
        if self._on_tick is not None:
            self._on_tick(trade)
        if self._on_trade is not None:
            self._on_trade(trade)

    def on_quote(self, quote: QuoteTick) -> None:
        """Take a new best bid and offer."""
        if self._muted and quote.ts_event_ns < self._muted.get(quote.symbol, 0):
            return
        self.quotes += 1
        self._on_time(quote.symbol, quote.ts_event_ns)
        self._quotes[quote.symbol] = quote
        if self._on_tick is not None:
            self._on_tick(quote)
        if self._on_quote is not None:
            self._on_quote(quote)

    def on_data_gap(self, gap: DataGap) -> None:
        """A loss that the ticker plant announces itself."""
        self._gaps.announced(gap.symbol, gap.ts_to_ns)
        self.strategy.on_data_gap(gap)

    def on_market_lane_lost(self) -> None:
        """The ticker plant's process is gone: what is missed until the next tick is a gap, unless it says so itself."""
        self._gaps.lane_lost()

    def on_order_event(self, event: OrderEvent) -> None:
        """Take an event of one of our orders; a fill that is told twice counts once."""
        if self.stopped or not self.desk.orders.apply(event):
            return
        news = self._positions.fill(event) if type(event) is OrderFilled else None
        self._deliver(event)
        if news is not None:
            self._deliver_position(news)

    def on_order_report(self, report: OrderReport) -> None:
        """The answer about an order that a welcome did not name; that welcome's positions include its fills."""
        for event in self.desk.report(report):
            self._deliver(event)

    def on_position(self, report: PositionReport) -> None:
        """Take the order plant's word for one position; the account's own positions are not ours."""
        if report.strategy_id == self._name:
            news = self._positions.report(report)
            if news is not None:
                self._deliver_position(news)

    def on_welcome(self, welcome: StrategyWelcome) -> None:
        """The order plant is there, for the first time or again.

        All orders and positions are taken over before the first callback, so that none of them acts on half of it.
        """
        self._permitted = welcome.trading_permitted
        missed = self.desk.welcome(welcome, is_first=not self.started)
        changed = self._positions.replace_all(welcome.positions)
        for event in missed:
            self._deliver(event)
        for news in changed:
            self._deliver_position(news)
        self._set_paused(welcome.paused)

    def on_pause_changed(self, change: PauseChanged) -> None:
        """The operator paused or resumed us."""
        if change.strategy_id == self._name:
            self._set_paused(change.paused)

    def on_permission_changed(self, change: TradingPermissionChanged) -> None:
        """The order plant takes orders, or does not."""
        if change.permitted != self._permitted:
            self._log.info("trading_permission_changed", permitted=change.permitted, reason=change.reason)
        self._permitted = change.permitted

    def on_connection_lost(self, event: ConnectionLost) -> None:
        """Told once per outage, whether the plant says so or its lane broke."""
        if event.plant not in self._lost:
            self._lost[event.plant] = self._monotonic_s()
            if self.started and not self.stopped:
                self.strategy.on_connection_lost(event)

    def on_connection_restored(self, event: ConnectionRestored) -> None:
        """Told once per outage."""
        if self._lost.pop(event.plant, None) is not None and self.started and not self.stopped:
            self.strategy.on_connection_restored(event)

    def downtime_ms(self, plant: ChildId) -> int:
        """How long a plant has been away; 0 when it is not."""
        since_s = self._lost.get(plant)
        return 0 if since_s is None else round((self._monotonic_s() - since_s) * 1000)

    def advance(self, market_ns: int | None = None) -> None:
        """Market time has gone on without a tick, as far as ``market_ns`` says: end the bars and call the timers that
        are due. Without it the clock runs on by itself."""
        if market_ns is None:
            self._advance(self.now_ns())
            return
        if self._is_stepped and self._clock.is_anchored:
            self._advance(market_ns)
        shift_ns = self._clock.fill(market_ns, self._monotonic_s())
        if shift_ns:
            self._shift(shift_ns)
        self._advance(self.now_ns())

    # Contracts.

    def front(self, alias: str) -> str:
        """The contract that an alias means at the strategy's own time."""
        return self._contracts.contract(alias)

    def expect(self, alias: str, legs: Sequence[ContractLeg]) -> None:
        """Which contracts an alias will mean, as it is known now."""
        for leg in legs:
            self._instruments.setdefault(leg.terms.symbol, leg.terms)
            self._positions.add(leg.terms.symbol)
        self._contracts.expect(alias, legs)
        self._refresh_due()

    def hold_back(self, symbol: str) -> None:
        """Nothing of a contract is delivered until its alias means it: of one that it has left, never again."""
        if symbol == self._contracts.contract(self._contracts.configured(symbol)):
            return
        self._muted[symbol] = self._contracts.starts_ns(symbol) or NEVER_NS
        if symbol in self._beside:
            self._beside.discard(symbol)
            self._builders.pop(symbol, None)
            self._refresh_due()

    def let_through(self, symbol: str) -> None:
        """Something is held in a contract that its alias does not mean: its data are needed, bars too."""
        self._muted.pop(symbol, None)
        front = self._contracts.contract(self._contracts.configured(symbol))
        if symbol != front and symbol not in self._beside:
            self._beside.add(symbol)
            for builder in self._builders.get(front, ()):
                self._build_bars(symbol, builder.period_s)

    def holds(self, symbol: str) -> bool:
        """Whether something of ours is open in a contract."""
        return bool(self.position(symbol).quantity or self.orders(symbol))

    def _rolled(self, roll: RollInfo) -> None:
        self._muted.pop(roll.new_symbol, None)
        self._beside.discard(roll.new_symbol)
        for builder in self._builders.get(roll.old_symbol, ()):
            self._build_bars(roll.new_symbol, builder.period_s)
        if self.holds(roll.old_symbol):
            self._beside.add(roll.old_symbol)
        else:
            self._muted[roll.old_symbol] = NEVER_NS
            for builder in self._builders.pop(roll.old_symbol, []):
                bar = builder.reset()
                if bar is not None:
                    self.strategy.on_bar(bar)
        self._log.info("contract_changed", alias=roll.alias, old=roll.old_symbol, new=roll.new_symbol)
        self._outlet.rolled(roll)
        self.strategy.on_roll(roll)

    # Time.

    def _on_time(self, symbol: str, ts_event_ns: int) -> None:
        """Every tick passes here first."""
        if ts_event_ns >= self._due_ns and self._is_stepped and self._clock.is_anchored:
            self._advance(ts_event_ns)
        shift_ns = self._clock.observe(ts_event_ns, self._monotonic_s())
        if shift_ns:
            self._shift(shift_ns)
        gap_from_ns = self._gaps.seen(symbol, ts_event_ns)
        if gap_from_ns is not None:
            self._announce_gap(symbol, gap_from_ns, ts_event_ns)
        if ts_event_ns > self.last_event_ns:
            self.last_event_ns = ts_event_ns
        if ts_event_ns >= self._due_ns:
            self._advance(self.now_ns())
        if ts_event_ns >= self._sessions.own_ns:
            self._cross(ts_event_ns)

    def _cross(self, ts_event_ns: int) -> None:
        """A tick of the other side of a close: what still waited for ticks on their way comes before it."""
        if not self.started or self.stopped:
            return
        while self._sessions.own_ns <= ts_event_ns and not self.stopped:
            self._agenda.catch_up(self._sessions.own_ns, is_over=lambda: self.stopped)
        self._refresh_due()

    def _shift(self, shift_ns: int) -> None:
        self._timers.shift(shift_ns)
        self._gaps.forget()
        self._sessions.begin(self.now_ns())
        self.last_event_ns = 0
        for builder in self._all_builders():
            bar = builder.reset()
            if bar is not None:
                self.strategy.on_bar(bar)
        self._refresh_due()

    def _advance(self, now_ns: int) -> None:
        if not self.started or self.stopped:
            return
        self._agenda.run(now_ns, step=self._step if self._is_stepped else None, is_over=lambda: self.stopped)
        self._refresh_due()

    def _step(self, now_ns: int) -> None:
        self._clock.fill(now_ns, self._monotonic_s())

    def _announce_gap(self, symbol: str, from_ns: int, ts_event_ns: int) -> None:
        gap = DataGap(
            symbol=symbol,
            exchange=self.instrument(symbol).exchange,
            ts_from_ns=from_ns,
            ts_to_ns=ts_event_ns,
            lost_trades=-1,
            cause="the market lane was lost",
        )
        # The plant that would log it was not there to notice.
        self._log.warning(
            "data_gap", symbol=symbol, ts_from_ns=from_ns, ts_to_ns=ts_event_ns, lost_trades=-1, cause=gap.cause
        )
        self.strategy.on_data_gap(gap)

    def _deliver(self, event: OrderEvent) -> None:
        if type(event) is OrderFilled:
            self.fills += 1
        if not self.started or self.stopped:
            return
        if self._on_event is not None:
            self._on_event(event)
        callback = self._on_order.get(type(event))
        if callback is not None:
            callback(event)

    def _deliver_position(self, position: PositionReport) -> None:
        if self.started and not self.stopped:
            self.strategy.on_position(position)

    def _set_paused(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        if self.started and not self.stopped:
            (self.strategy.on_pause if paused else self.strategy.on_resume)()

    def _overridden(self, name: str) -> object | None:
        """The strategy's own callback, bound once; None when it is the empty one of the base class."""
        own = getattr(type(self.strategy), name) is not getattr(Strategy, name)
        return cast(object, getattr(self.strategy, name)) if own else None


def _order_callbacks(strategy: Strategy) -> Mapping[type[OrderEvent], Callable[[Any], None]]:
    return {
        OrderAccepted: strategy.on_order_accepted,
        OrderRejected: strategy.on_order_rejected,
        OrderDenied: strategy.on_order_denied,
        OrderUpdated: strategy.on_order_updated,
        OrderModifyRejected: strategy.on_order_modify_rejected,
        OrderCanceled: strategy.on_order_canceled,
        OrderCancelRejected: strategy.on_order_cancel_rejected,
        OrderExpired: strategy.on_order_expired,
        OrderFilled: strategy.on_order_filled,
    }
