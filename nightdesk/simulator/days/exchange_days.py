"""The timetable of an exchange whose markets keep calendars: it carries out what is due, once each.

Everything follows from market time and the log: an exchange that starts derives its modes from the calendars and makes
up for what became due while there was none. What has been decided once (a settlement, the end of a contract) stands in
the log and is not decided again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nightdesk.settings.exchange import Maintenance
from nightdesk.settings.instants import iso_utc
from nightdesk.simulator.days.agenda import DayKind, Due, agenda
from nightdesk.simulator.days.flow_days import FlowDays
from nightdesk.simulator.days.maintenance import Window, windows
from nightdesk.simulator.model import OrderEventKind, OrderHappened, VenueEvent
from nightdesk.simulator.venue.days import CLOSED
from nightdesk.simulator.venue.market import PHASES, Phase
from nightdesk.trading.contracts import expiry_of
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import MarketPhase, SessionCalendar

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

OPEN, PRE_OPEN, HALTED = "Open", "Pre Open", "Halted"
SCHEDULE = "Group Schedule"
"""Why a market is in the mode that its calendar says: a word of live frames."""
EXPIRATION = "Instrument Expiration"
"""Why an expired contract is closed."""

_MODES = {
    MarketPhase.OPEN: OPEN,
    MarketPhase.PRE_OPEN: PRE_OPEN,
    MarketPhase.HALT: HALTED,
    MarketPhase.CLOSED: CLOSED,
}


class ContractEnd(NamedTuple):
    """When a contract ends, and its last trade date (YYYYMMDD)."""

    ts_ns: int
    trade_date: int


class ExchangeDays:
    """The days of the listed contracts that keep a calendar; at least one does. A ``Timetable``."""

    def __init__(
        self,
        exchange: "Exchange",
        calendars: Mapping[str, SessionCalendar],
        flow: FlowDays,
        maintenance: Maintenance | None,
        flow_changed: Callable[[], None],
    ) -> None:
        """``calendars`` of all listed contracts; ``flow_changed`` is called when the flow's next step is another."""
        self._exchange = exchange
        self._calendars = {symbol: each for symbol, each in calendars.items() if not each.never_closes}
        self._all = MarketSchedule(calendars)
        self._flow = flow
        self._maintenance = maintenance
        self._flow_changed = flow_changed
        self._modes: dict[str, str] = dict.fromkeys(calendars, OPEN)
        self._ends: dict[str, ContractEnd] = {}
        self._agenda: Iterator[Due] = iter(())
        self._due: Due | None = None
        self.is_down = False
        """Nobody is logged in, and nobody can be."""

    @property
    def next_ns(self) -> int | None:
        """When the next thing is due."""
        return None if self._due is None else self._due.ts_ns

    @property
    def is_quiet(self) -> bool:
        """Whether every market is closed or halted."""
        return all(PHASES[mode] is Phase.CLOSED for mode in self._modes.values())

    def mode(self, symbol: str) -> str:
        """The mode that the calendar says."""
        return self._modes.get(symbol, OPEN)

    def begin(self, now_ns: int) -> list[VenueEvent]:
        """Derive everything from the time at which the exchange starts; what was due meanwhile is done, but nothing
        trades. Call it once, after the log was read and before anybody is served. Returns what has happened."""
        events: list[VenueEvent] = []
        for symbol, calendar in self._calendars.items():
            events += self._list(symbol, calendar, now_ns)
            events += self._begin_market(symbol, calendar, now_ns)
        zone = next(iter(self._calendars.values())).zone
        down: Iterator[Window] = iter(())
        if self._maintenance is not None:
            down = windows(self._maintenance, self._all, zone, now_ns)
            first = next(windows(self._maintenance, self._all, zone, now_ns), None)
            self.is_down = first is not None and first.from_ns <= now_ns
        self._agenda = agenda(MarketSchedule(self._calendars), self._ends, down, now_ns)
        self._due = next(self._agenda, None)
        ended = [each for each in events if isinstance(each, OrderHappened) and each.kind is OrderEventKind.COMPLETED]
        self._exchange.logger.info(
            "exchange_days_begin",
            modes=dict(self._modes),
            is_down=self.is_down,
            orders_ended=len(ended),
            market_time=iso_utc(now_ns),
        )
        return events

    def step(self) -> Sequence[VenueEvent]:
        """Carry out what is due."""
        due = self._due
        if due is None:
            return ()
        self._due = next(self._agenda, None)
        if self._due is None:
            self._exchange.logger.error("exchange_calendar_ended", market_time=iso_utc(due.ts_ns))
        events: list[VenueEvent] = []
        if due.kind in (DayKind.MAINTENANCE_BEGINS, DayKind.MAINTENANCE_ENDS):
            self._keep_out(due)
        elif due.kind is DayKind.EXPIRY:
            events = self._expire(due.symbols[0], str(due.trade_date), due.ts_ns)
        else:
            events = self._move(due)
        self._flow_changed()
        return events

    # Beginning.

    def _list(self, symbol: str, calendar: SessionCalendar, now_ns: int) -> list[VenueEvent]:
        """Since when a contract is listed, and until when: as the log has it, by its rule for a new one."""
        venue = self._exchange.venue
        year = int(self._exchange.venue.dates.date_of(symbol, now_ns)[:4])
        expiry = expiry_of(symbol, year, calendar)
        listed = venue.day_book.listed.get(symbol)
        if listed is None:
            is_past = expiry is not None and expiry.ends_ns <= now_ns
            if expiry is not None and is_past:
                self._exchange.logger.warning("exchange_contract_past", symbol=symbol, last_day=expiry.trade_date)
            expires_ns = None if expiry is None or is_past else expiry.ends_ns
            events = venue.list_contract(symbol, expires_ns, now_ns)
        else:
            expires_ns, events = listed.expires_ns, []
        if expires_ns is not None:
            last_day = int(venue.dates.date_of(symbol, expires_ns - 1))
            self._ends[symbol] = ContractEnd(expires_ns, last_day)
        return events

    def _begin_market(self, symbol: str, calendar: SessionCalendar, now_ns: int) -> list[VenueEvent]:
        venue = self._exchange.venue
        end = self._ends.get(symbol)
        trade_date = venue.dates.date_of(symbol, now_ns)
        events: list[VenueEvent] = []
        if venue.is_expired(symbol) or (end is not None and end.ts_ns <= now_ns):
            mode = CLOSED
            events = self._expire(symbol, str(end.trade_date if end is not None else trade_date), now_ns)
        else:
            mode = _MODES[calendar.phase(now_ns)]
            events = venue.begin_mode(symbol, mode, SCHEDULE, trade_date, now_ns)
            events += self._settle_late(symbol, calendar, now_ns)
        self._modes[symbol] = mode
        self._flow.begin(symbol, PHASES[mode])
        return events

    def _settle_late(self, symbol: str, calendar: SessionCalendar, now_ns: int) -> list[VenueEvent]:
        """A session that was listed here and closed while there was no exchange has no settlement yet."""
        venue = self._exchange.venue
        closed = calendar.previous_session(now_ns)
        listed = venue.day_book.listed.get(symbol)
        if closed is None or listed is None or closed.closes_ns <= listed.ts_ns:
            return []
        return venue.settle(symbol, str(closed.trade_date), now_ns)

    # What is due.

    def _move(self, due: Due) -> list[VenueEvent]:
        events: list[VenueEvent] = []
        symbols = [symbol for symbol in due.symbols if not self._exchange.venue.is_expired(symbol)]
        for symbol in symbols:
            events += self._MOVES[due.kind](self, symbol, str(due.trade_date), due.ts_ns)
        if symbols:
            mode = self._modes[symbols[0]]
            self._exchange.logger.info(
                "exchange_market_mode",
                mode=mode,
                symbols=symbols,
                trade_date=due.trade_date,
                market_time=iso_utc(due.ts_ns),
            )
            self._exchange.market_feed.front_months.roll(due.ts_ns)
        return events

    def _pre_open(self, symbol: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._begin_session(symbol, trade_date)
        events = self._set_mode(symbol, PRE_OPEN, trade_date, now_ns)
        self._flow.queue(symbol, now_ns)
        return events

    def _open(self, symbol: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._begin_session(symbol, trade_date)
        self._flow.before_opening(symbol, now_ns)
        events = self._set_mode(symbol, OPEN, trade_date, now_ns)
        self._flow.trade(symbol, now_ns)
        return events

    def _halt(self, symbol: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._flow.sleep(symbol, now_ns)
        return self._set_mode(symbol, HALTED, trade_date, now_ns)

    def _close(self, symbol: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._flow.sleep(symbol, now_ns)
        venue = self._exchange.venue
        self._modes[symbol] = CLOSED
        # Also while a fault holds the market in a mode of its own: the day's orders end with the day.
        events = venue.set_mode(symbol, CLOSED, SCHEDULE, trade_date, now_ns)
        return events + venue.clear_flow(symbol, now_ns) + venue.settle(symbol, trade_date, now_ns)

    _MOVES: Mapping[DayKind, Callable[["ExchangeDays", str, str, int], list[VenueEvent]]] = {
        DayKind.PRE_OPEN: _pre_open,
        DayKind.OPEN: _open,
        DayKind.RESUME: _open,
        DayKind.HALT: _halt,
        DayKind.CLOSE: _close,
    }

    def _set_mode(self, symbol: str, mode: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._modes[symbol] = mode
        if self._exchange.injector.holds_mode(symbol):
            # The fault's end gives the market the calendar's mode.
            return []
        return self._exchange.venue.set_mode(symbol, mode, SCHEDULE, trade_date, now_ns)

    def _begin_session(self, symbol: str, trade_date: str) -> None:
        if self._exchange.market_feed.statistics(symbol).trade_date != trade_date:
            self._exchange.venue.begin_session(symbol)

    def _expire(self, symbol: str, trade_date: str, now_ns: int) -> list[VenueEvent]:
        self._modes[symbol] = CLOSED
        self._flow.sleep(symbol, now_ns)
        events = self._exchange.venue.expire(symbol, trade_date, EXPIRATION, now_ns)
        if events:
            price = self._exchange.venue.mark_price(symbol)
            self._exchange.logger.info(
                "exchange_contract_expired", symbol=symbol, trade_date=int(trade_date), price=price
            )
        return events

    def _keep_out(self, due: Due) -> None:
        self.is_down = due.kind is DayKind.MAINTENANCE_BEGINS
        logger = self._exchange.logger
        if self.is_down:
            count = self._exchange.end_sessions()
            logger.info(
                "exchange_maintenance_began",
                clients=count,
                market_time=iso_utc(due.ts_ns),
                until=iso_utc(due.until_ns),
            )
        else:
            logger.info("exchange_maintenance_ended", market_time=iso_utc(due.ts_ns))
