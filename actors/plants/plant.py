"""What all plants share: keeping one session open, in a loop with bounds, and telling what becomes of it."""

import asyncio
import random
from pathlib import Path
from typing import Any, ClassVar, Final

import pydantic

from actors.base import Body, Context
from actors.plants.link_schedule import LinkSchedule
from actors.plants.login_gate import LoginGate, LoginPostponedError, LoginsEndedError, again_delay_s
from nightdesk.errors import ConfigurationError, CredentialsError, LinkError, NightdeskError
from nightdesk.messages import ChildId, Message, PlantStatus, QueryStatus, Severity
from nightdesk.messages.orders import AccountIdentity
from nightdesk.rithmic.login_refusals import LoginRefusals
from nightdesk.rithmic.session import FORCED_LOGOUT_REASON, PlantSession, RequestRefused
from nightdesk.settings.maintenance import maintenance_hours
from nightdesk.settings.market_time import calendars_of
from nightdesk.settings.models import Gateway
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.settings.secrets import resolve_secret
from nightdesk.settings.section import DAY_S
from nightdesk.trading.schedule import MarketSchedule

LINK_STABLE_S: Final = 30.0
"""A link that stood this long makes the next failure count as the first again."""

ENDPOINT_FILE: Final = "exchange.json"
LOGIN_LOCK_FILE: Final = "login.lock"
JITTER_MIN: Final = 0.5
STOP_TIMEOUT_S: Final = 2.0
QUIET_DELAY_MAX_S: Final = 300.0
"""The longest wait between two attempts while no market trades; the next event of the calendar ends it."""

OVERDUE_POLL_S: Final = 0.25


class PlantBody(Body):
    """The body of a plant; a subclass says what to do with the link. The hooks run on the body's loop.

    The loop is the only thing that heals here: it opens a new session after each loss, waiting longer each time, and
    ends the actor with ``LinkError`` when ``reconnect_attempts_max`` is spent, or with ``CredentialsError`` when the
    gateway has refused ``login_refusals_max`` logins of all plants together (``LoginGate``).

    While no market trades nothing of this counts and nobody is told: gateways are maintained then. A link that is
    still missing when trading has begun is an alert at once.
    """

    kind: ClassVar[str]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.run = RunConfiguration.from_json(context.config)
        self.session: PlantSession | None = None
        """The session while the link is up, else None."""
        self.reconnects = 0
        self._link: asyncio.Task[Any] | None = None
        self._watch: asyncio.Task[Any] | None = None
        self._down_since_s: float | None = None
        self._opened_at_s: float | None = None
        self._failures = 0
        self._refusals = 0
        self._quiet_failures = 0
        self._quiet_refusals = 0
        self._is_outage_told = False
        self._is_refused_again = False
        self._postponed_s = 0.0
        self._is_missing_told = False
        self.schedule = MarketSchedule(calendars_of(self.run.settings))
        maintenance = maintenance_hours(self.run.settings)
        self.link_schedule = LinkSchedule(self.schedule, context.market_time, context.clock, maintenance)
        self._logins = LoginGate(
            LoginRefusals(self.run.state_dir),
            refusals_max=self._settings().login_refusals_max,
            link_schedule=self.link_schedule,
            market_time=context.market_time,
            clock=context.clock,
            log=context.log,
        )
        self._logins.has_logged_in = context.incarnation > 1
        self._past_messages = 0
        self._past_message_s: float | None = None

    async def start(self) -> None:
        """Begin to connect; being started does not mean that the link is up."""
        self._link = self.context.spawn(self._keep_link(), name=f"{self.kind}_link")
        self._watch = self.context.spawn(self._watch_reopening(), name=f"{self.kind}_reopening")

    async def stop(self) -> None:
        """Log out."""
        session, self.session = self.session, None
        for task in (self._link, self._watch):
            if task is not None:
                task.cancel()
        if session is not None:
            await session.close()
        if self._link is not None:
            await asyncio.wait({self._link}, timeout=STOP_TIMEOUT_S)

    def receive(self, origin: ChildId, message: Message) -> None:
        """Answer ``QueryStatus``; a subclass takes its own messages first."""
        if isinstance(message, QueryStatus):
            self.context.tell(message.reply_to, self.plant_status(message.request_id))
        else:
            self.context.log.warning("mail_not_understood", origin=origin, message=type(message).__name__)

    def plant_status(self, request_id: str) -> PlantStatus:
        """The connection as it is now."""
        session = self.session
        last_s = self._past_message_s
        messages = self._past_messages
        if session is not None:
            messages += session.messages
            last_s = session.last_message_s if session.last_message_s is not None else last_s
        return PlantStatus(
            request_id=request_id,
            child_id=self.context.child_id,
            connected=session is not None and session.connected,
            last_message_age_s=None if last_s is None else self.context.clock.monotonic_s() - last_s,
            messages=messages,
            reconnects=self.reconnects,
        )

    async def wait_until_ready(self) -> None:
        """Before each attempt: return when it makes sense to connect."""

    def identity(self) -> AccountIdentity | None:
        """Who we are, for a plant that the gateway does not tell; the order plant learns it at its own login."""
        return None

    async def on_link_up(self, session: PlantSession) -> None:
        """Logged in: subscribe. Raising ``LinkError`` or ``RequestRefused`` counts as a loss of the link."""

    def on_link_restored(self, downtime_ms: int) -> None:
        """After ``on_link_up``, when there had been a link before."""

    def on_link_down(self, reason: str) -> None:
        """The link that was up is gone."""

    def on_push(self, template_id: int, message: Any) -> None:
        """One frame that answers no request; must not block. Raising ends the actor."""

    async def _keep_link(self) -> None:
        while True:
            await self.wait_until_ready()
            reason = await self._hold_one_link()
            is_quiet = not self.link_schedule.is_trading()
            if self._postponed_s:
                # Nothing was tried: it does not count.
                pass
            elif not is_quiet:
                self._quiet_failures = self._quiet_refusals = 0
                self._failures += 1
            else:
                self._quiet_failures += 1
            if self._failures > self._settings().reconnect_attempts_max:
                raise LinkError(f"no lasting link after {self._failures - 1} attempts; the last one: {reason}")
            event_ns = self.link_schedule.next_event_ns()
            await self.link_schedule.wait(self._delay_s(), is_quiet=is_quiet)
            if event_ns is not None and self.context.market_time.now_ns() >= event_ns:
                self._logins.event_ns = event_ns

    async def _watch_reopening(self) -> None:
        """Tell of a link that is missing while a market trades, once in each outage and after each break."""
        while True:
            await asyncio.sleep(OVERDUE_POLL_S)
            is_overdue = self.link_schedule.is_overdue(is_up=self.session is not None)
            if not self.link_schedule.is_watching:
                # A warning of before the break does not say that the link is still missing after it.
                self._is_missing_told = False
            if not is_overdue or self._is_missing_told:
                continue
            self._is_outage_told = self._is_missing_told = True
            self.context.log.error("reconnect_overdue", plant=self.kind)
            text = f"plant {self.kind} has no connection although the market trades"
            self.context.alert("reconnect_overdue", Severity.CRITICAL, text, plant=self.kind)

    async def _hold_one_link(self) -> str:
        """Open a session, stay with it to its end, and return why it ended."""
        is_open = self._is_refused_again = False
        self._postponed_s = 0.0
        try:
            session = self._new_session()
        except LinkError as error:
            return self._attempt_failed(error)
        try:
            await session.open()
            is_open = True
            await self._hold(session)
            return await session.wait_closed()
        except LoginsEndedError:
            raise
        except LoginPostponedError as error:
            self._postponed_s = error.delay_s
            self.context.log.info("login_postponed", plant=self.kind, reason=str(error))
            return str(error)
        except CredentialsError as error:
            # The same words were good before: perhaps it is the gateway that is not ready.
            self._is_refused_again = self._logins.has_logged_in and not is_open
            self._count_refusal(error, is_login=not is_open)
            return str(error)
        except (LinkError, RequestRefused) as error:
            return self._attempt_failed(error)
        finally:
            self._past_messages += session.messages
            self._past_message_s = session.last_message_s or self._past_message_s
            await session.close()

    async def _hold(self, session: PlantSession) -> None:
        clock = self.context.clock
        log = self.context.log
        self.session = session
        self._opened_at_s = clock.monotonic_s()
        self._quiet_failures = self._quiet_refusals = 0
        log.info("plant_logged_in", plant=self.kind)
        reason = "stopped"
        try:
            await self.on_link_up(session)
            if self._down_since_s is not None:
                downtime_ms = round((clock.monotonic_s() - self._down_since_s) * 1000)
                self._down_since_s = None
                self.reconnects += 1
                log.info("connection_restored", plant=self.kind, downtime_ms=downtime_ms)
                if self._is_outage_told:
                    text = f"plant {self.kind} is connected again after {downtime_ms / 1000:.1f} s"
                    self.context.alert("connection_restored", Severity.INFO, text, downtime_ms=downtime_ms)
                self.on_link_restored(downtime_ms)
            self._is_outage_told = False
            reason = await session.wait_closed()
        except (LinkError, RequestRefused) as error:
            reason = str(error)
        finally:
            self.session = None
        self._tell_lost(reason)

    def _tell_lost(self, reason: str) -> None:
        now_s = self.context.clock.monotonic_s()
        if self._down_since_s is None:
            self._down_since_s = now_s
        lifetime_s = 0.0 if self._opened_at_s is None else now_s - self._opened_at_s
        if lifetime_s >= LINK_STABLE_S:
            self._failures = self._refusals = 0
        is_scheduled = not self.link_schedule.is_trading()
        log = self.context.log.info if is_scheduled else self.context.log.warning
        log("connection_lost", plant=self.kind, reason=reason, scheduled=is_scheduled)
        if not is_scheduled:
            self._is_outage_told = self._is_missing_told = True
            text = f"plant {self.kind} lost its connection: {reason}"
            self.context.alert("connection_lost", Severity.WARNING, text, reason=reason)
        self.on_link_down(reason)
        if reason == FORCED_LOGOUT_REASON and lifetime_s < LINK_STABLE_S and not is_scheduled:
            # Somebody else uses this login, perhaps: two who throw each other out would go on for ever.
            raise CredentialsError(f"plant {self.kind} is logged out by the gateway right after its login")

    def _attempt_failed(self, error: NightdeskError) -> str:
        """A link that never stood; the log shows each attempt, so that a wrong address is seen at once."""
        if self.link_schedule.is_trading():
            log, tries = self.context.log.warning, self._failures + 1
        else:
            log, tries = self.context.log.info, self._quiet_failures + 1
        log("connection_attempt_failed", plant=self.kind, reason=str(error), tries=tries)
        return str(error)

    def _count_refusal(self, error: CredentialsError, *, is_login: bool) -> None:
        """Of a login all plants' refusals count; one that is thrown out right after its login counts for itself."""
        if is_login and self._logins.is_last_quiet:
            self._refused_quietly(error)
            return
        self._refusals = max(self._refusals + 1, self._logins.last.counted if is_login else 0)
        tries_max = self._settings().login_refusals_max
        self.context.log.error("login_refused", plant=self.kind, reason=str(error), tries=self._refusals)
        self.context.alert("login_refused", Severity.CRITICAL, str(error), tries=self._refusals, tries_max=tries_max)
        if self._refusals >= tries_max:
            raise error

    def _refused_quietly(self, error: CredentialsError) -> None:
        """A gateway under maintenance refuses everybody; but whoever has just started the system should hear of it."""
        self._quiet_refusals = max(self._quiet_refusals + 1, self._logins.last.quiet)
        self.context.log.info("login_refused", plant=self.kind, reason=str(error), scheduled=True)
        if not self._logins.has_logged_in and self._quiet_refusals == 1:
            text = f"{error}; no market trades now, so this may be maintenance: it is tried again"
            self.context.alert("login_refused", Severity.WARNING, text, tries=1)

    def _delay_s(self) -> float:
        settings = self._settings()
        if self._postponed_s:
            return self._postponed_s
        if self._is_refused_again and self._refusals:
            return again_delay_s(self._refusals)
        if self._quiet_refusals >= settings.login_refusals_max:
            # More of them could lock the user; the next event of the calendar ends this wait.
            return DAY_S
        # Far below the limits of a float however many attempts there are.
        doublings = min(max(self._failures if not self._quiet_failures else self._quiet_failures, 1) - 1, 30)
        limit_s = max(QUIET_DELAY_MAX_S, settings.reconnect_max_s) if self._quiet_failures else settings.reconnect_max_s
        longest_s: float = min(limit_s, settings.reconnect_initial_s * 2**doublings)
        return longest_s * random.uniform(JITTER_MIN, 1.0)

    def _settings(self) -> Gateway:
        """The reconnect limits; in sim mode a configuration without a gateway gets the defaults."""
        configured = self.run.settings.gateway
        return configured if configured is not None else Gateway(url="wss://127.0.0.1", system_name="")

    def _new_session(self) -> PlantSession:
        gateway, user, password = self._gateway()
        return PlantSession(
            self.kind,
            gateway=gateway,
            user=user,
            password=password,
            login_lock_path=str(Path(self.run.runtime_dir) / LOGIN_LOCK_FILE),
            clock=self.context.clock,
            log=self.context.log,
            on_push=self.on_push,
            identity=self.identity(),
            login_watch=self._logins,
        )

    def _gateway(self) -> tuple[Gateway, str, str]:
        """Where to log in, and as whom; read anew at each attempt, since the embedded exchange may have moved."""
        settings = self.run.settings
        if settings.mode == "sim":
            path = Path(self.run.runtime_dir) / ENDPOINT_FILE
            try:
                endpoint = ExchangeEndpoint.model_validate_json(path.read_bytes())
            except (OSError, pydantic.ValidationError) as error:
                raise LinkError(f"the exchange does not listen yet: {type(error).__name__} {path}") from error
            update = {"url": endpoint.url, "system_name": endpoint.system_name, "ca_file": endpoint.ca_file}
            return self._settings().model_copy(update=update), endpoint.user, endpoint.password
        if settings.gateway is None or settings.credentials is None:
            raise ConfigurationError(f"mode {settings.mode} needs gateway and credentials")
        user, password = resolve_secret(settings.credentials.user), resolve_secret(settings.credentials.password)
        return settings.gateway, user, password
