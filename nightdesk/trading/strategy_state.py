"""What a strategy knows and can ask for; the base of the runner, which adds what happens to it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from nightdesk.errors import StrategyError
from nightdesk.messages import Bar, ClientOrderId, OrderEvent, OrderReport, PositionReport, QuoteTick, StrategyId
from nightdesk.trading.agenda import NEVER_NS, Agenda
from nightdesk.trading.bars import BarBuilder
from nightdesk.trading.host_api import HistoryCallback, InstrumentTerms, Log, OrderTerms
from nightdesk.trading.market_clock import MarketClock
from nightdesk.trading.order_desk import OrderDesk, OrderOutlet
from nightdesk.trading.order_ids import ClientOrderIds
from nightdesk.trading.sessions import AlwaysOpen, MarketPhase, SessionCalendar
from nightdesk.trading.strategy_contracts import AliasLegs, RollInfo, StrategyContracts, contracts_in
from nightdesk.trading.strategy_positions import StrategyPositions
from nightdesk.trading.strategy_sessions import SessionInfo, session_info, stretch_of
from nightdesk.trading.timers import TimerTable

BAR_GRACE_NS = 100_000_000
"""How far past a bar's end the market clock must be to end it without a trade: trades on their way still count. At
speed 0 there are none: time is not filled in before everything has arrived."""


class Outlet(OrderOutlet, Protocol):
    """What the runner needs of whatever drives it."""

    def monotonic_s(self) -> float: ...

    def due_changed(self, due_ns: int | None) -> None:
        """Call ``advance`` when the market clock reaches this time; None: not until told again."""
        ...

    def request_bars(self, terms: InstrumentTerms, period_s: int, count: int, on_result: HistoryCallback) -> None: ...

    def rolled(self, roll: RollInfo) -> None:
        """An alias means another contract now; before the strategy hears of it."""
        ...


class StrategyState:
    """One strategy's view of orders and positions, its bars and timers. Implements ``StrategyHost``."""

    def __init__(
        self,
        *,
        name: str,
        instruments: Sequence[InstrumentTerms],
        outlet: Outlet,
        clock: MarketClock,
        random_text: Callable[[], str],
        log: Log,
        calendars: Mapping[str, SessionCalendar] | None = None,
        aliases: Mapping[str, AliasLegs] | None = None,
    ) -> None:
        """``calendars`` by symbol; a symbol without one never closes. ``aliases`` stand beside the ``instruments``."""
        self.stopped = False
        self._name = name
        self._contracts = StrategyContracts(aliases or {}, self._rolled)
        self._symbols = (*(terms.symbol for terms in instruments), *(aliases or {}))
        self._instruments = {terms.symbol: terms for terms in (*instruments, *contracts_in(aliases or {}))}
        always = AlwaysOpen()
        self._calendars = {symbol: (calendars or {}).get(symbol, always) for symbol in self._symbols}
        self._outlet = outlet
        self._monotonic_s = outlet.monotonic_s
        self._clock = clock
        self._log = log
        self._paused = False
        self._permitted = False
        self._timers = TimerTable()
        self._builders: dict[str, list[BarBuilder]] = {}
        self._beside: set[str] = set()
        """Contracts that no alias means now, and of which something is held: their data and bars come, too."""
        self._quotes: dict[str, QuoteTick] = {}
        self._agenda = Agenda(())
        self._due_ns = NEVER_NS
        self._positions = StrategyPositions(StrategyId(name), self._instruments)
        self.desk = OrderDesk(
            StrategyId(name),
            outlet=outlet,
            ids=ClientOrderIds(name, random_text),
            now_ns=self.now_ns,
            deliver=self.on_order_event,
        )

    def on_order_event(self, event: OrderEvent) -> None:
        """Take an event of one of our orders, from the order plant or from our own desk."""
        raise NotImplementedError

    def _rolled(self, roll: RollInfo) -> None:
        """An alias means another contract."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self._name

    @property
    def symbols(self) -> Sequence[str]:
        return self._symbols

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def trading_permitted(self) -> bool:
        return self._permitted and self.desk.connected

    @property
    def log(self) -> Log:
        return self._log

    @property
    def clock_speed(self) -> float:
        """Seconds of market time in one second; 0 where only ticks move the clock."""
        return self._clock.speed

    def now_ns(self) -> int:
        return self._clock.now_ns(self._monotonic_s())

    def instrument(self, symbol: str) -> InstrumentTerms:
        terms = self._instruments.get(self._contracts.contract(symbol))
        if terms is None:
            raise StrategyError(
                f"{symbol!r} is no symbol of strategy {self._name} (it has {', '.join(self._symbols)}): "
                "add it to the strategy's symbols in the configuration"
            )
        return terms

    def submit(self, terms: OrderTerms) -> ClientOrderId:
        return self.desk.submit(*self._meant(terms))

    def submit_oco(self, first: OrderTerms, second: OrderTerms) -> tuple[ClientOrderId, ClientOrderId]:
        (one, instrument), (other, _) = self._meant(first), self._meant(second)
        return self.desk.submit_oco(one, other, instrument)

    def modify_bracket(
        self, client_order_id: ClientOrderId, *, stop_ticks: int | None, target_ticks: int | None
    ) -> None:
        self.desk.modify_bracket(client_order_id, stop_ticks=stop_ticks, target_ticks=target_ticks)

    def modify(
        self,
        client_order_id: ClientOrderId,
        *,
        quantity: int | None,
        price: float | None,
        trigger_price: float | None,
    ) -> None:
        self.desk.modify(client_order_id, quantity=quantity, price=price, trigger_price=trigger_price)

    def cancel(self, client_order_id: ClientOrderId) -> None:
        self.desk.cancel(client_order_id)

    def cancel_all(self, symbol: str) -> None:
        self.desk.cancel_all(self._contracts.contract(symbol))

    def flatten(self, symbol: str) -> None:
        self.desk.flatten(self._contracts.contract(symbol), self.instrument(symbol).exchange if symbol else "")

    def position(self, symbol: str) -> PositionReport:
        return self._positions.get(self._contracts.contract(symbol))

    def order(self, client_order_id: ClientOrderId) -> OrderReport | None:
        return self.desk.orders.get(client_order_id)

    def orders(self, symbol: str | None) -> tuple[OrderReport, ...]:
        return self.desk.orders.working(None if symbol is None else self._contracts.contract(symbol))

    def exits(self, client_order_id: ClientOrderId) -> tuple[OrderReport, ...]:
        return self.desk.orders.exits(client_order_id)

    def quote(self, symbol: str) -> QuoteTick | None:
        return self._quotes.get(self._contracts.contract(symbol))

    def session(self, symbol: str) -> SessionInfo | None:
        calendar = self._calendar(symbol)
        session = calendar.session_at(self.now_ns())
        return None if session is None else session_info(symbol, calendar, session)

    def phase(self, symbol: str) -> MarketPhase:
        return self._calendar(symbol).phase(self.now_ns())

    def next_open_ns(self, symbol: str) -> int:
        return self._calendar(symbol).next_open_ns(self.now_ns())

    def next_close_ns(self, symbol: str) -> int:
        return self._calendar(symbol).next_close_ns(self.now_ns())

    def history(self, symbol: str, period_s: int, count: int, on_result: HistoryCallback) -> None:
        def deliver(bars: tuple[Bar, ...], error: str) -> None:
            if not self.stopped:
                on_result(bars, error)

        self._outlet.request_bars(self.instrument(symbol), period_s, count, deliver)

    def set_timer(self, name: str, interval_ns: int, *, repeat: bool) -> None:
        self._timers.set(name, interval_ns, self.now_ns(), repeat=repeat)
        self._refresh_due()

    def cancel_timer(self, name: str) -> None:
        self._timers.cancel(name)
        self._refresh_due()

    def subscribe_bars(self, symbol: str, period_s: int) -> None:
        contract = self.instrument(symbol).symbol
        self._build_bars(contract, period_s)
        if symbol in self._symbols:
            for beside in self._beside:
                if self._contracts.configured(beside) == symbol:
                    self._build_bars(beside, period_s)

    def _meant(self, terms: OrderTerms) -> tuple[OrderTerms, InstrumentTerms]:
        """The terms with the contract that their symbol means now."""
        instrument = self.instrument(terms.symbol)
        if terms.symbol != instrument.symbol:
            terms = msgspec.structs.replace(terms, symbol=instrument.symbol)
        return terms, instrument

    def _build_bars(self, contract: str, period_s: int) -> None:
        """Build bars of a contract from now on, if none of that length are built already."""
        builders = self._builders.setdefault(contract, [])
        if all(builder.period_s != period_s for builder in builders):
            stretch = stretch_of(self._calendar(contract))
            builders.append(BarBuilder(contract, self._instruments[contract].exchange, period_s, stretch))

    def _calendar(self, symbol: str) -> SessionCalendar:
        return self._calendars[self._contracts.configured(symbol)]

    def _all_builders(self) -> list[BarBuilder]:
        return [builder for builders in self._builders.values() for builder in builders]

    def _refresh_due(self) -> None:
        due_ns = self._agenda.due_ns
        self._due_ns = due_ns
        self._outlet.due_changed(None if due_ns == NEVER_NS else due_ns)
