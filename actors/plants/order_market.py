"""What the order plant asks the calendars: may this order go, is its day over, which strategy is to be flat when."""

from collections.abc import Callable

from actors.plants.market_herald import utc_text
from nightdesk.clocks import MarketTime
from nightdesk.errors import CalendarError
from nightdesk.messages import StrategyId, TimeInForce
from nightdesk.settings.market_time import calendar_for, calendars_of
from nightdesk.settings.models import Settings
from nightdesk.settings.session_rules import rules_of
from nightdesk.trading.order import Order
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.session_rules import FlatTime, SessionRules
from nightdesk.trading.sessions import MarketPhase, SessionCalendar

NO_RULES = SessionRules()

LastTrade = Callable[[str], int | None]
"""When trading in a contract ends, nanoseconds UTC; None where that is not known."""


class Markets:
    """The instruments' markets at the present market time.

    A moment or a symbol that no calendar knows counts as trading, so that ignorance never keeps an order back.
    """

    def __init__(self, settings: Settings, market_time: MarketTime) -> None:
        self._time = market_time
        self._settings = settings
        self._calendars: dict[str, SessionCalendar | None] = dict(calendars_of(settings))
        self._schedule = MarketSchedule(calendars_of(settings))
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

    def is_trading(self, symbol: str) -> bool:
        """Whether orders of any type are executed now."""
        return self.phase(symbol) is MarketPhase.OPEN

    def is_any_trading(self) -> bool:
        """Whether some market trades: while none does, nothing is urgent."""
        try:
            return self._schedule.is_any_open(self._time.now_ns())
        except CalendarError:
            return True

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

    def _calendar(self, symbol: str) -> SessionCalendar | None:
        """Of any contract: an order of somebody else, or of a month that is not configured any more, has one too."""
        if symbol not in self._calendars:
            try:
                self._calendars[symbol] = calendar_for(symbol, self._settings)
            except CalendarError:
                self._calendars[symbol] = None
        return self._calendars[symbol]
