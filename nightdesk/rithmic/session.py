"""One logged-in connection to one plant of an R|Protocol gateway; after a loss it is replaced, never repaired."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.errors import ConfigurationError, CredentialsError, LinkError
from nightdesk.messages.orders import AccountIdentity
from nightdesk.rithmic import library
from nightdesk.rithmic.login_lock import login_lock
from nightdesk.rithmic.pending import PendingRequests, RequestRefused
from nightdesk.rithmic.words import FORCED_LOGOUT, REJECT, InfraType
from nightdesk.settings.models import Gateway

__all__ = ["FORCED_LOGOUT_REASON", "LoginWatch", "NotSentError", "PlantSession", "RequestRefused"]

TEMPLATE_VERSION: Final = "3.9"
SEND_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
LOGIN_LOCK_TIMEOUT_S: Final = 60.0
HEARTBEAT_INTERVAL_MAX_S: Final = 30.0
"""The gateway's own interval counts up to this one: a longer one would find a dead link too late."""
HEARTBEAT_INTERVAL_DEFAULT_S: Final = 30.0
SILENCE_GRACE_S: Final = 5.0
UNKNOWN_TEMPLATES_LOGGED_MAX: Final = 100
PERMISSION_DENIED: Final = "13"
FORCED_LOGOUT_REASON: Final = "forced logout"

_LOGIN, _LOGOUT, _LOGOUT_ANSWER, _HEARTBEAT, _HEARTBEAT_ANSWER = 10, 12, 13, 18, 19
_LOGIN_INFO, _ACCOUNT_LIST, _TRADE_ROUTES, _TRADE_ROUTE = 300, 302, 310, 350
_UNANSWERED: Final = frozenset({_HEARTBEAT_ANSWER, _LOGOUT_ANSWER})


class NotSentError(LinkError):
    """Nothing of the request left this process: it may be refused at once. A plain ``LinkError`` means: unknown."""


class LoginWatch(Protocol):
    """Decides whether a login is tried, and is told what became of it; called while the login lock is held."""

    def before_login(self) -> None:
        """Raises a ``NightdeskError`` where nothing is to be tried."""
        ...

    def login_refused(self, reason: str) -> None:
        """The gateway has denied it."""
        ...

    def login_accepted(self) -> None:
        """We are logged in."""
        ...


class PlantSession:
    """Connects, logs in, reads, keeps the link alive, and tells when and why it is gone.

    ``on_push`` runs on the event loop, in the reader, for each frame that answers no open request; it must not block.
    Pushed are also the frames of lists that carry no ``user_msg`` (352, 450, 451 with ``is_snapshot``), and answers
    that come after their request was given up.
    """

    def __init__(
        self,
        plant: str,
        *,
        gateway: Gateway,
        user: str,
        password: str,
        login_lock_path: str,
        clock: Clock,
        log: FilteringBoundLogger,
        on_push: Callable[[int, Any], None],
        identity: AccountIdentity | None = None,
        login_watch: LoginWatch | None = None,
    ) -> None:
        self._kind = plant
        self._gateway = gateway
        self._credentials = (user, password)
        self._login_lock_path = login_lock_path
        self._login_watch = login_watch
        self._clock = clock
        self._log = log
        self._on_push = on_push
        self._plant: Any = None
        self._pending = PendingRequests(plant)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed: asyncio.Future[str] | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._last_frame_s = 0.0
        self._unknown: set[int] = set()
        self.identity = identity
        self.trade_routes: dict[str, str] = {}
        self.connected = False
        self.last_message_s: float | None = None
        self.messages = 0
        self.before_send: Callable[[], None] = lambda: None
        """Called in the very turn in which a frame is written; what it raises ends the session, and nothing is sent."""
        self.faults: Counter[str] = Counter()
        """Frames that were dropped, by kind: text, length, undecodable, unknown."""

    async def open(self) -> None:
        """Connect and log in.

        Raises ``LinkError``; ``CredentialsError`` when the gateway denies the login; ``ConfigurationError`` for a url
        in clear text or a system name that the gateway does not offer; what the ``LoginWatch`` raises.
        """
        self._closed = asyncio.get_running_loop().create_future()
        try:
            self._plant = library.build_plant(self._kind, self._gateway, *self._credentials)
        except OSError as error:
            raise LinkError(f"cannot read the CA file {self._gateway.ca_file}: {error}") from error
        if self.identity is not None:
            library.set_identity(self._plant, self.identity)
        is_open = False
        try:
            async with login_lock(self._login_lock_path, LOGIN_LOCK_TIMEOUT_S):
                if self._login_watch is not None:
                    self._login_watch.before_login()
                await self._connect()
                heartbeat_interval_s = await self._log_in()
                if self._login_watch is not None:
                    self._login_watch.login_accepted()
            self._start(self._beat(heartbeat_interval_s))
            if self._kind == "order":
                await self._learn_account()
            is_open = True
        finally:
            if not is_open:
                await self._shut()

    async def wait_closed(self) -> str:
        """Wait until the link is gone and return why; raises what a push handler raised."""
        if self._closed is None:
            raise LinkError("the session was never opened")
        try:
            return await asyncio.shield(self._closed)
        finally:
            await self._shut()

    async def request(self, template_id: int, *, timeout_s: float | None = None, **fields: Any) -> list[Any]:
        """Send one request once and return its data frames, none where the gateway has no data.

        Raises ``RequestRefused``; ``NotSentError`` when the link is down; ``LinkError`` when the outcome is unknown.
        """
        user_msg, answer = self._pending.add()
        limit_s = self._gateway.request_timeout_s if timeout_s is None else timeout_s
        try:
            await self.send(template_id, user_msg=user_msg, **fields)
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError:
            raise LinkError(f"no answer to template {template_id} within {limit_s:g} s") from None
        finally:
            self._pending.discard(user_msg)
            if answer.done() and not answer.cancelled():
                # The link may have failed it while the send was failing too; nobody else will ask for it.
                answer.exception()

    async def send(self, template_id: int, **fields: Any) -> None:
        """Write one frame, once. Raises ``NotSentError`` or (nobody knows what arrived) ``LinkError``."""
        if not self.connected or not self._plant.is_connected:
            raise NotSentError(f"plant {self._kind} is not connected")
        frame = library.build_frame(self._plant, template_id, fields)
        self.before_send()
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._plant.ws.send(frame)
        except library.CONNECTION_ERRORS as error:
            # Not sent again, neither here nor later: the gateway may have it.
            reason = f"send failed: {_words(error)}"
            self._lose(reason)
            raise LinkError(reason) from error

    def pause_reading(self) -> None:
        """Leave frames in the socket, so that the gateway has to wait."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._may_read.is_set():
            self._last_frame_s = self._clock.monotonic_s()
            self._may_read.set()

    async def close(self, reason: str = "closed") -> None:
        """Log out and close; ``wait_closed`` returns the reason."""
        if self.connected:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._plant.ws.send(library.build_frame(self._plant, _LOGOUT, {}))
            except library.CONNECTION_ERRORS:
                self._log.debug("logout_not_sent")
        self._lose(reason)
        await self._shut()

    async def _connect(self) -> None:
        attempt = asyncio.ensure_future(self._plant._connect())
        try:
            await asyncio.wait({attempt}, timeout=self._gateway.connect_timeout_s)
        finally:
            if not attempt.done():
                attempt.cancel()
        if not attempt.done() or attempt.cancelled():
            raise LinkError(f"no connection to {self._gateway.url} within {self._gateway.connect_timeout_s:g} s")
        error = attempt.exception()
        if error is not None and type(error) is Exception and "SYSTEM_NAME" in str(error):
            # The library says this with a bare Exception.
            raise ConfigurationError(f"gateway.system_name: the gateway does not offer {self._gateway.system_name!r}")
        if error is not None:
            raise LinkError(f"cannot connect to {self._gateway.url}: {_words(error)}") from error
        self.connected = True
        self._last_frame_s = self._clock.monotonic_s()
        self._start(self._read())

    async def _log_in(self) -> float:
        user, password = self._credentials
        try:
            answers = await self.request(
                _LOGIN,
                template_version=TEMPLATE_VERSION,
                user=user,
                password=password,
                system_name=self._gateway.system_name,
                app_name=self._gateway.app_name,
                app_version=self._gateway.app_version,
                infra_type=int(InfraType[self._kind.upper()]),
            )
        except RequestRefused as refusal:
            text = f"the gateway refused the login of plant {self._kind}: {refusal}"
            if refusal.code != PERMISSION_DENIED:
                raise LinkError(text) from None
            if self._login_watch is not None:
                self._login_watch.login_refused(text)
            raise CredentialsError(text) from None
        # The gateway expects one heartbeat at once.
        await self.send(_HEARTBEAT)
        interval_s = answers[0].heartbeat_interval if answers else 0.0
        if not (math.isfinite(interval_s) and interval_s > 0):
            interval_s = HEARTBEAT_INTERVAL_DEFAULT_S
        return float(min(interval_s, HEARTBEAT_INTERVAL_MAX_S))

    async def _learn_account(self) -> None:
        try:
            known = await self.request(_LOGIN_INFO)
            if not known:
                raise LinkError("the gateway did not say who we are (template 301 is empty)")
            info = known[0]
            identity = AccountIdentity(fcm_id=info.fcm_id, ib_id=info.ib_id, user_type=info.user_type, account_ids=())
            library.set_identity(self._plant, identity)
            accounts = await self.request(_ACCOUNT_LIST)
            routes = await self.request(_TRADE_ROUTES, subscribe_for_updates=True)
        except RequestRefused as refusal:
            raise LinkError(f"the gateway does not describe the account: {refusal}") from refusal
        self.identity = AccountIdentity(
            fcm_id=identity.fcm_id,
            ib_id=identity.ib_id,
            user_type=identity.user_type,
            account_ids=tuple(account.account_id for account in accounts),
        )
        for route in routes:
            self._learn_route(route)

    def _learn_route(self, route: Any) -> None:
        if route.is_default or route.exchange not in self.trade_routes:
            self.trade_routes[route.exchange] = route.trade_route

    def _start(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        task.add_done_callback(self._on_task_done)
        self._tasks.append(task)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """A defect in a push handler must end the actor, not just this task."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._lose(f"defect: {_words(error)}", error)

    async def _read(self) -> None:
        connection = self._plant.ws
        may_read = self._may_read
        try:
            while True:
                if not may_read.is_set():
                    await may_read.wait()
                self._take(await connection.recv())
        except library.CONNECTION_ERRORS as error:
            self._lose(f"connection lost: {_words(error)}")

    def _take(self, frame: bytes | str) -> None:
        self._last_frame_s = self.last_message_s = self._clock.monotonic_s()
        self.messages += 1
        if isinstance(frame, str):
            return self._drop("text")
        length = len(frame) - library.LENGTH_BYTES
        if length <= 0 or int.from_bytes(frame[: library.LENGTH_BYTES], "big") != length:
            return self._drop("length")
        try:
            template_id = library.template_of(frame)
            kind = library.TEMPLATES.get(template_id)
            if kind is None:
                return self._drop_unknown(template_id)
            message = kind.FromString(frame[library.LENGTH_BYTES :])
        except library.UNDECODABLE:
            return self._drop("undecodable")
        if template_id in library.ANSWERS and self._pending.take(template_id, message):
            return None
        if template_id == FORCED_LOGOUT:
            return self._lose(FORCED_LOGOUT_REASON)
        if template_id == REJECT:
            self._log.warning("request_rejected", text=" ".join(message.rp_code))
        if template_id == _TRADE_ROUTE:
            self._learn_route(message)
        if template_id not in _UNANSWERED:
            self._on_push(template_id, message)
        return None

    def _drop(self, kind: str) -> None:
        self.faults[kind] += 1
        if self.faults[kind] == 1:
            self._log.warning("frame_dropped", kind=kind)

    def _drop_unknown(self, template_id: int) -> None:
        self.faults["unknown"] += 1
        if template_id not in self._unknown and len(self._unknown) < UNKNOWN_TEMPLATES_LOGGED_MAX:
            self._unknown.add(template_id)
            self._log.warning("frame_dropped", kind="unknown", template_id=template_id)

    async def _beat(self, interval_s: float) -> None:
        """Send heartbeats, and give the link up when not even they are answered."""
        silence_max_s = interval_s + SILENCE_GRACE_S
        while True:
            await asyncio.sleep(interval_s / 2)
            silent_s = self._clock.monotonic_s() - self._last_frame_s
            # While reading is paused the silence is ours.
            if self._may_read.is_set() and silent_s > silence_max_s:
                return self._lose(f"no frame for {silent_s:.1f} s")
            try:
                await self.send(_HEARTBEAT)
            except LinkError as error:
                return self._lose(f"heartbeat not sent: {error}")

    def _lose(self, reason: str, error: BaseException | None = None) -> None:
        """The first reason is the one that is told."""
        self.connected = False
        self._pending.fail_all(LinkError(reason))
        if self._closed is None or self._closed.done():
            return
        if error is None:
            self._closed.set_result(reason)
        else:
            self._closed.set_exception(error)

    async def _shut(self) -> None:
        """Let go of the tasks and the socket; a socket that does not close in time is aborted."""
        self._lose("closed")
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
        connection = self._plant.ws if self._plant is not None else None
        if connection is None:
            return
        self._plant.ws = None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()
        except library.CONNECTION_ERRORS:
            connection.transport.abort()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
