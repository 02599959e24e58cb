"""The exchange as a whole: the venue, its log and history, the market's motor, and everybody who is connected."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.market_clock_file import MarketClockWriter
from nightdesk.settings.exchange import Maintenance
from nightdesk.simulator.days.exchange_days import OPEN, ExchangeDays
from nightdesk.simulator.days.flow_days import NoFlowDays
from nightdesk.simulator.faults.injector import Injector
from nightdesk.simulator.flows.drive import AS_FAST_AS_TAKEN, MarketDrive
from nightdesk.simulator.flows.flow import Flow
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import (
    BookChanged,
    BracketChanged,
    ModeChanged,
    OrderEventKind,
    OrderHappened,
    PositionSettled,
    Product,
    Quoted,
    Settled,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.plants.bar_feed import BarFeed
from nightdesk.simulator.plants.bars import BarStore
from nightdesk.simulator.plants.history import RECORDS_MAX
from nightdesk.simulator.plants.market_feed import MarketFeed
from nightdesk.simulator.plants.order_feed import OrderFeed
from nightdesk.simulator.plants.past import Past
from nightdesk.simulator.plants.pnl import PnlFeed
from nightdesk.simulator.plants.reference import Catalog
from nightdesk.simulator.plants.replays import ReplayDesk, records_of_output
from nightdesk.simulator.plants.repository import Agreements
from nightdesk.simulator.venue.log import ExchangeLog
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire.gateway import GOING_AWAY, force_logout
from nightdesk.simulator.wire.session import Session, User
from nightdesk.simulator.wire.wire_log import WireLog
from nightdesk.trading.sessions import SessionCalendar

HEARTBEAT_GRACE_S = 10.0
"""A client is dropped when it has sent nothing for the heartbeat interval and this; no source states the real one."""

LOGIN_DEADLINE_S = 30.0
"""A connection that has not logged in by then, or was refused and lingers, is closed."""

MAINTENANCE = "maintenance"
"""Why a connection is closed that comes in a maintenance."""


class ExchangeSetup(msgspec.Struct, frozen=True):
    """How the exchange runs; ``played_symbols`` are the contracts of recorded tapes, none in a synthetic market."""

    system_name: str
    products: tuple[Product, ...]
    users: tuple[User, ...]
    speed: float = 1.0
    played_symbols: frozenset[str] = frozenset()
    heartbeat_interval_s: float = 60.0
    heartbeat_grace_s: float = HEARTBEAT_GRACE_S
    login_deadline_s: float = LOGIN_DEADLINE_S
    history_records_max: int = RECORDS_MAX
    history_pause_s: float = 0.0
    """Seconds of an answer's output after which it halts until the client resumes it; 0: never."""
    is_prefix_required: bool = False
    """Frames without the four-byte length are rejected; otherwise a connection's first frame decides."""
    start_ns: int | None = None
    """The market time at which the exchange begins; None: with its flow's first step."""
    front_month_days: int = 0
    """Days before a contract's last one from which the next one is the front month."""
    quiet_speed: float | None = None
    """A faster speed while all markets are closed."""
    waits_for_clients: bool = False
    """The market begins with its first subscriber at any speed, as tapes and markets at speed 0 do."""


class Exchange:
    """Everything happens on one event loop; ``publish`` and the handlers never wait."""

    _days: ExchangeDays | None = None
    """None where markets never close."""

    def __init__(
        self,
        setup: ExchangeSetup,
        *,
        venue: Venue,
        flow: Flow,
        bars: BarStore,
        past: Past | None = None,
        exchange_log: ExchangeLog,
        clock: Clock,
        logger: FilteringBoundLogger,
        wire_log: WireLog | None = None,
        market_clock: MarketClockWriter | None = None,
    ) -> None:
        self.system_name = setup.system_name
        self.url = ""
        """Where the exchange can be reached; empty until somebody listens for it."""
        self.is_lossless = setup.speed == AS_FAST_AS_TAKEN
        """The market waits for those who listen to it."""
        self.is_prefix_required = setup.is_prefix_required
        self.heartbeat_interval_s = setup.heartbeat_interval_s
        self.users = {user.name: user for user in setup.users}
        self.catalog = Catalog(setup.products)
        self.venue = venue
        self.bars = bars
        self.clock = clock
        self.logger = logger
        self.wire_log = wire_log
        """The record of everything received and sent; None: none is kept."""
        self.market_feed = MarketFeed(lambda: self.drive.subscriptions_changed(), venue, self.catalog)
        self.order_feed = OrderFeed()
        self.order_feed.attach(venue)
        self.bar_feed = BarFeed(lambda: self.drive.subscriptions_changed())
        self.pnl_feed = PnlFeed(venue, clock)
        self.agreements = Agreements()
        self.past = past if past is not None else Past((), logger)
        self.replays = ReplayDesk(records_of_output(setup.history_pause_s), clock, logger)
        self.history_records_max = setup.history_records_max
        self._setup = setup
        self._log = exchange_log
        self._sessions: set[Session] = set()
        self._sessions_counted = 0
        self._connections_counted = 0
        self.injector = Injector(self)
        """The faults on command."""
        self._tellers: dict[type, Callable[[Any], None]] = {
            Quoted: self.market_feed.quote,
            Traded: self._tell_trade,
            BookChanged: self.market_feed.book,
            ModeChanged: self.market_feed.mode,
            BracketChanged: self.order_feed.bracket,
            Settled: self.market_feed.settled,
            PositionSettled: self.pnl_feed.position_settled,
        }
        """Who tells the subscribers of what happened, by its type; orders' events are told below."""
        self.drive = MarketDrive(
            flow,
            speed=setup.speed,
            starts_when_wanted=setup.speed == AS_FAST_AS_TAKEN or bool(setup.played_symbols) or setup.waits_for_clients,
            clock=clock,
            apply=self._apply,
            advance=self._advance,
            is_wanted=lambda: bool(self._listeners()),
            changes=lambda: self.market_feed.changes + self.bar_feed.changes,
            room=self._room,
            start_ns=setup.start_ns,
            quiet_speed=setup.quiet_speed,
            market_clock=market_clock,
            ends_with_flow=bool(setup.played_symbols),
        )

    @property
    def sessions(self) -> Set[Session]:
        """The open connections."""
        return self._sessions

    def now_ns(self) -> int:
        """Market time, with which orders and ticks are stamped."""
        return self.drive.now_ns()

    def next_session_number(self) -> int:
        """Counts logins."""
        self._sessions_counted += 1
        return self._sessions_counted

    def next_connection_number(self) -> int:
        """Counts connections."""
        self._connections_counted += 1
        return self._connections_counted

    def admit(self, session: Session) -> None:
        """A connection was opened."""
        self._sessions.add(session)

    def forget(self, session: Session) -> None:
        """A connection ended, or its session did."""
        self._sessions.discard(session)
        self.market_feed.forget(session)
        self.order_feed.forget(session)
        self.pnl_feed.forget(session)
        self.replays.forget(session)
        for key in self.bar_feed.forget(session):
            self.bars.unwatch(*key)

    def record(self, events: Sequence[VenueEvent]) -> None:
        """Make sure of what happened before anybody is told of it."""
        self._log.append(events)

    def publish(self, events: Sequence[VenueEvent], *, canceled_by_request: Set[str] = frozenset()) -> None:
        """Tell the subscribers; ``canceled_by_request`` are the orders that a client's cancel ended."""
        for event in events:
            tell = self._tellers.get(type(event))
            if tell is not None:
                tell(event)
            elif isinstance(event, OrderHappened):
                self._tell_order(event, canceled_by_request)

    def set_mode(self, symbols: Iterable[str], mode: str, reason: str) -> None:
        """Open, close, halt or reserve markets, and tell everybody."""
        now_ns = self.now_ns()
        for symbol in symbols:
            if not self.venue.is_expired(symbol):
                trade_date = self.venue.dates.date_of(symbol, now_ns)
                self._apply(self.venue.set_mode(symbol, mode, reason, trade_date, now_ns))

    def keep_days(
        self, calendars: Mapping[str, SessionCalendar], maintenance: Maintenance | None, flow: SyntheticFlow | None
    ) -> None:
        """Open and close markets by their calendars from now on; before anybody is served.

        What became due while there was no exchange is done and recorded now. ``flow`` rests while markets are closed;
        None: the exchange's flow is a recording.
        """
        flow_changed = self.drive.changed if flow is not None else lambda: None
        days = self._days = ExchangeDays(self, calendars, flow or NoFlowDays(), maintenance, flow_changed)
        self.catalog.keep_calendars(calendars, self.venue.dates, self._setup.front_month_days)
        for settled in self.venue.day_book.settled.values():
            self.market_feed.settled(settled)
        self._apply(days.begin(self.now_ns()))
        self.drive.use(days)

    def scheduled_mode(self, symbol: str) -> str:
        """The mode that a market has by its calendar."""
        return self._days.mode(symbol) if self._days is not None else OPEN

    @property
    def is_down(self) -> bool:
        """Whether a maintenance keeps everybody out."""
        return self._days is not None and self._days.is_down

    def end_sessions(self) -> int:
        """Everybody who is logged in is logged out by force (77), other connections are closed; how many there were."""
        sessions = list(self._sessions)
        for session in sessions:
            if session.plant is not None:
                force_logout(session)
            else:
                session.outlet.finish(GOING_AWAY, MAINTENANCE)
        return len(sessions)

    async def run_market(self) -> None:
        """Until the tape ends; orders still rest and positions can still be read after that."""
        await self.drive.run()
        self.logger.info("exchange_tape_ended", steps=self.drive.steps)

    def housekeep(self) -> None:
        """What time itself brings: silent clients are dropped, bars close, positions are marked."""
        now_s = self.clock.monotonic_s()
        for session in list(self._sessions):
            is_in = session.plant is not None
            limit_s = (
                self._setup.heartbeat_interval_s + self._setup.heartbeat_grace_s
                if is_in
                else self._setup.login_deadline_s
            )
            if now_s - session.last_heard_s > limit_s:
                self.logger.info("exchange_client_silent", user=session.user_name, limit_s=limit_s)
                session.outlet.abort("the client is silent")
                self.forget(session)
        if self.wire_log is not None:
            self.wire_log.flush()
        events = self._advance(self.now_ns())
        if events:
            self._apply(events)
        self.close_bars()
        self.replays.tend()
        self.market_feed.front_months.roll(self.now_ns())
        self.pnl_feed.tend(self.now_ns())

    def close_bars(self) -> None:
        """Send the live bars that market time has left behind."""
        for bar in self.bars.advance(self.now_ns()):
            self.bar_feed.closed(bar)

    def _tell_trade(self, trade: Traded) -> None:
        self.market_feed.trade(trade)
        self.pnl_feed.traded()
        for bar in self.bars.add(trade):
            self.bar_feed.closed(bar)
        self.bar_feed.trade(trade)

    def _tell_order(self, event: OrderHappened, canceled_by_request: Set[str]) -> None:
        is_requested = event.kind is OrderEventKind.CANCELED and event.order.basket_id in canceled_by_request
        self.order_feed.order_happened(event, is_requested_cancel=is_requested)
        self.pnl_feed.order_happened(event)

    def _advance(self, now_ns: int) -> list[VenueEvent]:
        """What the venue's own timers bring until a moment."""
        timer_ns = self.venue.next_timer_ns
        return self.venue.advance(now_ns) if timer_ns is not None and timer_ns <= now_ns else []

    def _apply(self, events: list[VenueEvent]) -> None:
        self.record(events)
        self.publish(events)

    def _listeners(self) -> Set[Session]:
        """Those whom the market plays for: subscribers of what is recorded, or of anything; of live bars as well."""
        feeds = (self.market_feed.subscribers, self.bar_feed.subscribers)
        symbols = self._setup.played_symbols or (None,)
        return {session for symbol in symbols for subscribers in feeds for session in subscribers(symbol)}

    async def _room(self) -> None:
        for session in self._listeners():
            await session.outlet.room()
