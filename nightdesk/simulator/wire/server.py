"""The sockets: a WebSocket server over TLS on the loopback, and the tasks that keep an exchange going."""

import asyncio
import contextlib
import logging
import os
from http import HTTPStatus
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.engine import MAINTENANCE, Exchange
from nightdesk.simulator.wire.certificates import Certificates
from nightdesk.simulator.wire.framing import FRAME_BYTES_MAX
from nightdesk.simulator.wire.gateway import GOING_AWAY, receive
from nightdesk.simulator.wire.outlet import BACKLOG_BYTES_LOW, Outlet
from nightdesk.simulator.wire.session import Session

HOST = "127.0.0.1"
HOUSEKEEPING_S = 0.25
NO_CLOSE_FRAME = 1006

_SOCKETS_LOG = logging.getLogger("nightdesk.simulator.sockets")
_SOCKETS_LOG.setLevel(logging.WARNING)
# What knocks at the port without being a WebSocket client is nothing that anybody has to mend.
_SOCKETS_LOG.addFilter(lambda record: record.msg != "opening handshake failed")


class ExchangeServer:
    """An async context: listening inside, closed outside."""

    def __init__(self, exchange: Exchange, certificates: Certificates, port: int) -> None:
        self._exchange = exchange
        self._certificates = certificates
        self._port = port
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"wss://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        try:
            self._server = await self._listen()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ConfigurationError(
                f"exchange.port: {self._port} cannot be listened on ({reason}); set another port, or 0 for any free one"
            ) from None
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self._exchange.url = self.url
        self._tasks = [
            asyncio.create_task(self._exchange.run_market(), name="market"),
            asyncio.create_task(self._housekeep(), name="housekeeping"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def run(self) -> None:
        """Until cancelled; raises what the market or the housekeeping raised. The end of a tape is not the end."""
        await asyncio.gather(*self._tasks)

    async def _listen(self) -> Server:
        return await serve(
            self._serve_client,
            HOST,
            self._port,
            ssl=self._certificates.server_context,
            compression=None,
            max_size=FRAME_BYTES_MAX,
            # Liveness is the protocol's own heartbeat; clients' pings are answered by the library.
            ping_interval=None,
            write_limit=BACKLOG_BYTES_LOW,
            close_timeout=1.0,
            logger=_SOCKETS_LOG,
            process_request=self._refuse_in_maintenance,
        )

    def _refuse_in_maintenance(self, connection: ServerConnection, _request: Request) -> Response | None:
        """A client that could connect and was cut off at once might take that for its own failure."""
        if not self._exchange.is_down:
            return None
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{MAINTENANCE}\n")

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self._exchange.housekeep()

    async def _serve_client(self, connection: ServerConnection) -> None:
        exchange = self._exchange
        wire_log = exchange.wire_log
        number = exchange.next_connection_number()
        outlet = Outlet(connection, number=number, wire_log=wire_log)
        session = Session(exchange, outlet, exchange.clock.monotonic_s())
        if wire_log is not None:
            wire_log.opened(number, _name_of(connection.remote_address))
        exchange.admit(session)
        exchange.injector.connected(session)
        writer = asyncio.create_task(outlet.run(), name="writer")
        if exchange.is_down:
            # The maintenance began while the connection was being made.
            outlet.finish(GOING_AWAY, MAINTENANCE)
        try:
            while not outlet.closed:
                frame = await connection.recv()
                if wire_log is not None:
                    wire_log.received(number, frame, session.framing, is_logged_in=session.plant is not None)
                if outlet.faults is None or await outlet.faults.incoming(frame):
                    receive(session, frame)
        except ConnectionClosed:
            pass
        else:
            # Closing is the writer's: what was answered before goes out first.
            await writer
        finally:
            exchange.forget(session)
            exchange.injector.disconnected(session)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            if wire_log is not None:
                wire_log.closed(number, outlet.reason or _close_of(connection), outlet.unsent_frames)


def _name_of(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _close_of(connection: ServerConnection) -> str:
    """How the client ended it, or the network."""
    code = connection.close_code
    return "the client is gone" if code is None or code == NO_CLOSE_FRAME else f"closed by the client with {code}"
