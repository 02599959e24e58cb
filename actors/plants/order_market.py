"""What the order plant asks the calendars: may this order go, is its day over, which strategy is to be flat when."""

from collections.abc import Callable

from actors.plants.link_schedule import LinkSchedule
from actors.plants.market_herald import utc_text
from nightdesk.clocks import Clock, MarketTime
from nightdesk.errors import CalendarError
from nightdesk.messages import StrategyId, TimeInForce
from nightdesk.settings.maintenance import maintenance_hours
from nightdesk.settings.market_time import calendar_for, calendars_of
from nightdesk.settings.models import Settings
from nightdesk.settings.session_rules import rules_of
from nightdesk.trading.flatten_by import trade_date_by_clock
from nightdesk.trading.market_evidence import NEVER_NS, Stop, TradeEvidence
from nightdesk.trading.order import Order
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.session_rules import FlatTime, SessionRules
from nightdesk.trading.sessions import NS_PER_S, MarketPhase, SessionCalendar
from nightdesk.trading.trade_dates import recent_trade_dates, session_began_ns

NO_RULES = SessionRules()

EXIT_SKEW_NS = 5 * NS_PER_S
"""What this machine's clock may differ by from the exchange's, in market time, before exits are refused for it."""

LastTrade = Callable[[str], int | None]
"""When trading in a contract ends, nanoseconds UTC; None where that is not known."""


class Markets:
    """The instruments' markets at the present market time.

    A moment or a symbol that no calendar knows counts as trading, so that ignorance never keeps an order back.
    """

    def __init__(self, settings: Settings, market_time: MarketTime, clock: Clock) -> None:
        self._time = market_time
        self._clock = clock
        self._evidence = TradeEvidence(is_our_clock=settings.mode == "sim")
        self._told: dict[str, int] = {}
        self._settings = settings
        self._calendars: dict[str, SessionCalendar | None] = dict(calendars_of(settings))
        self._of_instruments = [each for each in calendars_of(settings).values() if each is not None]
        schedule, maintenance = MarketSchedule(calendars_of(settings)), maintenance_hours(settings)
        self._link = LinkSchedule(schedule, market_time, clock, maintenance)
        self._rules = {StrategyId(each.name): rules_of(each.session) for each in settings.strategies}
        self.last_trade_ns: LastTrade = lambda symbol: None
        """May be replaced by whoever knows the contracts' ends."""

    @property
    def time(self) -> MarketTime:
        """The market's clock."""
        return self._time

    @property
    def flat_strategies(self) -> list[StrategyId]:
        """The strategies that are to be flat over some break."""
        return [strategy_id for strategy_id, rules in self._rules.items() if rules.flat_over]

    def phase(self, symbol: str) -> MarketPhase:
        """What a symbol's market does."""
        calendar = self._calendar(symbol)
        try:
            return MarketPhase.OPEN if calendar is None else calendar.phase(self._time.now_ns())
        except CalendarError:
            return MarketPhase.OPEN

    def calendar(self, symbol: str) -> SessionCalendar | None:
        """A symbol's calendar; None where nobody knows it."""
        return self._calendar(symbol)

    def trade_date(self, at_ns: int | None = None) -> int | None:
        """The latest trade date of all instruments, at a time or now; None while the market's time is not known.

        At a moment that no calendar knows it is that of the exchange's clocks, which goes on at 17:00.
        """
        if at_ns is None and not self._time.is_known:
            return None
        moment_ns = self._time.now_ns() if at_ns is None else at_ns
        found = []
        for calendar in self._of_instruments:
            try:
                found.append(calendar.trade_date(moment_ns))
            except CalendarError:
                continue
        return max(found) if found else trade_date_by_clock(moment_ns)

    def trade_dates(self) -> list[int]:
        """This trade date and the one before it, of all instruments, oldest first."""
        return recent_trade_dates(self._of_instruments, self._time.now_ns())

    def session_began_ns(self, symbol: str) -> int:
        """When the session in force of a symbol's market began."""
        return session_began_ns(self._calendar(symbol), self._time.now_ns())

    def is_trading(self, symbol: str) -> bool:
        """Whether orders of any type are executed now."""
        return self.phase(symbol) is MarketPhase.OPEN

    def may_exit(self, symbol: str) -> bool:
        """Whether an order that only lowers a position may be sent now: our word is not the last where it says no.

        Within ``EXIT_SKEW_S`` of a beginning or an end of trading, and while trades come, the exchange decides; an
        exit that it refuses costs nothing.
        """
        if self.is_trading(symbol) or self.contradicted(symbol):
            return True
        calendar, now_ns = self._calendar(symbol), self._time.now_ns()
        try:
            stopped_ns = None if calendar is None else calendar.stopped_ns(now_ns)
            if calendar is None or stopped_ns is None:
                return True
            return now_ns - stopped_ns <= EXIT_SKEW_NS or calendar.next_open_ns(now_ns) - now_ns <= EXIT_SKEW_NS
        except CalendarError:
            return True

    def contradicted(self, symbol: str) -> bool:
        """Whether live trades say that a market trades, or a contract, that does not by what we know."""
        stop = self._stop(symbol)
        return stop is not None and self._evidence.holds(stop)

    def on_trade(self, symbol: str, ts_event_ns: int) -> str:
        """A trade has come from the market just now, with the exchange's time of it.

        Returns how it contradicts our calendar, once for each end of trading; else nothing.
        """
        stop = self._stop(symbol)
        text = "" if stop is None else self._evidence.on_trade(stop, ts_event_ns)
        if stop is None or not text:
            return ""
        calendar = self._calendar(symbol)
        whose = symbol if self.ended(symbol) or calendar is None else calendar.name
        if self._told.get(whose) == stop.stopped_ns:
            return ""
        self._told[whose] = stop.stopped_ns
        return text

    def is_any_trading(self) -> bool:
        """Whether some market trades, and the gateway is not maintained: else nothing is urgent, and what it says, or
        does not, proves nothing."""
        return self._link.is_trading()

    def trading_begins(self, symbol: str) -> str:
        """When a symbol trades next, for people; empty where that is not known."""
        calendar = self._calendar(symbol)
        try:
            return "" if calendar is None else utc_text(calendar.next_open_ns(self._time.now_ns()))
        except CalendarError:
            return ""

    def next_event_ns(self, symbol: str) -> int:
        """When a symbol's calendar has its next event; 0 where it has none or nobody knows."""
        calendar = self._calendar(symbol)
        try:
            event = None if calendar is None else calendar.next_event(self._time.now_ns())
        except CalendarError:
            return 0
        return 0 if event is None else event.ts_ns

    def ended(self, symbol: str) -> str:
        """Since when a contract is not traded any more, for people; empty while it is."""
        ends_ns = self.last_trade_ns(symbol)
        return "" if ends_ns is None or self._time.now_ns() < ends_ns else utc_text(ends_ns)

    def is_no_trade_window(self, strategy_id: StrategyId, symbol: str) -> bool:
        """Whether one of a strategy's times of the day without trading is now, and its entries are to be canceled."""
        rules, calendar = self._rules.get(strategy_id, NO_RULES), self._calendar(symbol)
        if calendar is None or not rules.cancels_entries:
            return False
        return rules.window_at(calendar, self._time.now_ns()) is not None

    def no_trade(self, strategy_id: StrategyId, symbol: str) -> str:
        """Why a strategy opens no position in a symbol now, for people; empty where its rules let it."""
        rules, calendar = self._rules.get(strategy_id, NO_RULES), self._calendar(symbol)
        if calendar is None or rules == NO_RULES:
            return ""
        window = rules.window_at(calendar, self._time.now_ns())
        if window is not None:
            return f"strategy {strategy_id} does not trade from {window.begins:%H:%M} to {window.ends:%H:%M}"
        flat = self.flat_time(strategy_id, symbol)
        if flat is None:
            return ""
        return f"strategy {strategy_id} is flat over the {flat.kind} break, until {utc_text(flat.opens_ns)}"

    def flat_time(self, strategy_id: StrategyId, symbol: str) -> FlatTime | None:
        """The time to be flat that a strategy is in with a symbol."""
        rules, calendar = self._rules.get(strategy_id, NO_RULES), self._calendar(symbol)
        if calendar is None or not rules.flat_over:
            return None
        try:
            return rules.flat_at(calendar, self._time.now_ns())
        except CalendarError:
            return None

    def missed_flat_time(self, strategy_id: StrategyId, symbol: str) -> FlatTime | None:
        """The time to be flat that the present trading in a symbol came after; None where there was none."""
        rules, calendar = self._rules.get(strategy_id, NO_RULES), self._calendar(symbol)
        if calendar is None or not rules.flat_over:
            return None
        try:
            return rules.missed_at(calendar, self._time.now_ns())
        except CalendarError:
            return None

    def pause_before(self, symbol: str) -> tuple[int, int] | None:
        """When trading stopped before the present trading, and when that began; None where nobody knows."""
        calendar = self._calendar(symbol)
        if calendar is None or calendar.never_closes:
            return None
        try:
            if not calendar.is_open(self._time.now_ns()):
                return None
            opened_ns, _ = calendar.stretch(self._time.now_ns())
            stopped_ns = None if opened_ns <= calendar.first_ns else calendar.stopped_ns(opened_ns - 1)
        except CalendarError:
            return None
        return None if stopped_ns is None else (stopped_ns, opened_ns)

    def closes_at_open(self, strategy_id: StrategyId) -> bool:
        """Whether a strategy's position that was to be closed before a break is closed after it."""
        return self._rules.get(strategy_id, NO_RULES).closes_at_open

    def is_day_over(self, order: Order, at_ns: int | None = None) -> bool:
        """Whether an order for the day has outlived the session that it was sent for, at a time or now."""
        calendar = self._calendar(order.symbol)
        if order.time_in_force is not TimeInForce.DAY or calendar is None or calendar.never_closes:
            return False
        if at_ns is None and not self._time.is_known:
            return False
        try:
            return calendar.next_close_ns(order.ts_init_ns) <= (self._time.now_ns() if at_ns is None else at_ns)
        except CalendarError:
            return False

    def _stop(self, symbol: str) -> Stop | None:
        """Since when a symbol is not traded by what we know; None where it is."""
        calendar, now_ns = self._calendar(symbol), self._time.now_ns()
        if not self._time.is_known:
            return None
        ends_ns = self.last_trade_ns(symbol)
        if ends_ns is not None and ends_ns <= now_ns:
            return Stop(symbol, ends_ns, NEVER_NS, now_ns, self._clock.monotonic_s())
        try:
            stopped_ns = None if calendar is None else calendar.stopped_ns(now_ns)
            if calendar is None or stopped_ns is None:
                return None
            opens_ns = calendar.next_open_ns(now_ns)
        except CalendarError:
            return None
        return Stop(symbol, stopped_ns, opens_ns, now_ns, self._clock.monotonic_s())

    def _calendar(self, symbol: str) -> SessionCalendar | None:
        """Of any contract: an order of somebody else, or of a month that is not configured any more, has one too."""
        if symbol not in self._calendars:
            try:
                self._calendars[symbol] = calendar_for(symbol, self._settings)
            except CalendarError:
                self._calendars[symbol] = None
        return self._calendars[symbol]
