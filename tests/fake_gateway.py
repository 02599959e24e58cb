"""A gateway of a few lines for tests of the session and the plants: it answers what a test has told it to answer."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from nightdesk.rithmic.library import TEMPLATES
from nightdesk.settings.models import Gateway

SYSTEM_NAME = "Test System"


def frame(template_id: int, **fields: Any) -> bytes:
    """One framed message of the library's classes."""
    payload: bytes = TEMPLATES[template_id](template_id=template_id, **fields).SerializeToString()
    return len(payload).to_bytes(4, "big") + payload


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


class FakeGateway:
    """Logs everybody in, answers heartbeats and what ``answers`` has by template id, and keeps all requests."""

    def __init__(self, *, heartbeat_interval_s: float = 60.0) -> None:
        self.heartbeat_interval_s = heartbeat_interval_s
        self.requests: list[Any] = []
        self.connections: list[ServerConnection] = []
        self.answers: dict[int, Callable[[Any, ServerConnection], Any]] = {}
        self.mute: set[int] = set()
        self.password = "secret"
        self._server: Server | None = None

    async def __aenter__(self) -> "FakeGateway":
        self._server = await serve(self._handle, "127.0.0.1", 0, ping_interval=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    @property
    def settings(self) -> Gateway:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return Gateway(url=f"ws://127.0.0.1:{port}", system_name=SYSTEM_NAME, request_timeout_s=2.0)

    def of(self, template_id: int) -> list[Any]:
        return [request for request in self.requests if request.template_id == template_id]

    async def push(self, *frames: bytes) -> None:
        for each in frames:
            await self.connections[-1].send(each)

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            async for data in connection:
                assert isinstance(data, bytes)
                base = TEMPLATES[77].FromString(data[4:])
                request = TEMPLATES[base.template_id].FromString(data[4:])
                self.requests.append(request)
                if base.template_id not in self.mute:
                    await self._answer(request, connection)
        except ConnectionClosed:
            return

    async def _answer(self, request: Any, connection: ServerConnection) -> None:
        echoed = {"user_msg": list(request.user_msg)}
        custom = self.answers.get(request.template_id)
        if custom is not None:
            result = custom(request, connection)
            if inspect.isawaitable(result):
                result = await result
            for each in result or ():
                await connection.send(each)
        elif request.template_id == 16:
            await connection.send(frame(17, system_name=[SYSTEM_NAME], rp_code=["0"], **echoed))
        elif request.template_id == 10:
            if request.password != self.password:
                await connection.send(frame(11, rp_code=["13", "permission denied"]))
            else:
                interval = {"heartbeat_interval": self.heartbeat_interval_s}
                await connection.send(frame(11, rp_code=["0"], fcm_id="F", ib_id="I", **interval, **echoed))
        elif request.template_id == 18:
            await connection.send(frame(19, rp_code=["0"], ssboe=1))
        elif request.template_id == 12:
            await connection.send(frame(13, rp_code=["0"], **echoed))
        elif request.template_id == 100:
            await connection.send(frame(101, rp_code=["0"], **echoed))


def account_answers(gateway: FakeGateway, account_id: str = "SIM-1") -> None:
    """Let the gateway describe one account, as the order plant asks at its login."""

    def listed(template_id: int, **fields: Any) -> Callable[[Any, ServerConnection], list[bytes]]:
        def answer(request: Any, _: ServerConnection) -> list[bytes]:
            echoed = {"user_msg": list(request.user_msg)}
            data = frame(template_id, rq_handler_rp_code=["0"], **fields, **echoed)
            return [data, frame(template_id, rp_code=["0"], **echoed)]

        return answer

    gateway.answers[300] = lambda request, _: [
        frame(301, rp_code=["0"], fcm_id="F", ib_id="I", user_type=3, user_msg=list(request.user_msg))
    ]
    gateway.answers[302] = listed(303, account_id=account_id)
    gateway.answers[310] = listed(311, exchange="CME", trade_route="simulator", is_default=True)


async def eventually(predicate: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Poll with a deadline."""
    async with asyncio.timeout(timeout_s):
        while True:
            if predicate():
                return
            await asyncio.sleep(0.005)
