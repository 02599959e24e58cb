"""A control socket: who may speak, how much, and one JSON line for each JSON line.

The system's own is served by the actor ``services/control``, the exchange's (faults on command) by the exchange.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson
from structlog.typing import FilteringBoundLogger

LINE_BYTES_MAX = 65_536
CLIENTS_MAX = 16
CLIENT_IDLE_S = 60.0
WRITE_TIMEOUT_S = 5.0
_CREDENTIALS = struct.Struct("3i")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a client."""

    request_id: str
    verb: str
    arguments: dict[str, str | int | bool | None] = {}


class Caller(NamedTuple):
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int


class Reply(NamedTuple):
    """``error`` is None for success; ``result`` is anything that JSON can say."""

    result: Any
    error: str | None


Handler = Callable[[Caller, Request], Awaitable[Reply]]
Refusal = Callable[[Caller, str], None]


class ControlServer:
    """Serves requests of one connection in order; a line that is no request gets an error reply."""

    def __init__(
        self,
        path: str,
        *,
        handler: Handler,
        refusal: Refusal,
        spawn: Callable[..., asyncio.Task[Any]],
        log: FilteringBoundLogger,
        other_uids: Collection[int] = (),
    ) -> None:
        """The user who runs this is answered, and ``other_uids``; ``refusal`` is told of everybody else."""
        self._path = path
        self._other_uids = frozenset(other_uids)
        self._handler = handler
        self._refusal = refusal
        self._spawn = spawn
        self._log = log
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen, replacing the socket file that an earlier incarnation left; the folder's lock excludes others."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        # Before bind, so that the file is never open to others, not even for a moment.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(self._path)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=LINE_BYTES_MAX)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's streams take a cancelled one of theirs for an error of the loop (Python 3.11).
        task = self._spawn(self._serve(reader, writer), name="control client")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = _caller(writer)
        fault = self._fault_of(caller)
        try:
            if fault is None:
                await self._converse(caller, reader, writer)
            else:
                self._log.warning("control_refused", peer_pid=caller.pid, peer_uid=caller.uid, reason=fault)
                self._refusal(caller, fault)
                await _write(writer, "", Reply(None, fault))
        except (OSError, EOFError, TimeoutError):
            # The client went away, or says and takes nothing: its connection ends, nobody else is concerned.
            pass
        finally:
            writer.close()

    def _fault_of(self, caller: Caller) -> str | None:
        if caller.uid != os.geteuid() and caller.uid not in self._other_uids:
            return f"user {caller.uid} may not control this system"
        if len(self._clients) > CLIENTS_MAX:
            return f"{CLIENTS_MAX} clients are connected already"
        return None

    async def _converse(self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(CLIENT_IDLE_S):
                try:
                    line = await reader.readline()
                except ValueError:
                    text = f"a request is one line of at most {LINE_BYTES_MAX} bytes"
                    self._refusal(caller, text)
                    await _write(writer, "", Reply(None, text))
                    return
            if not line.endswith(b"\n"):
                return
            request = self._parse(caller, line)
            if isinstance(request, Request):
                await _write(writer, request.request_id, await self._handler(caller, request))
            else:
                await _write(writer, "", request)

    def _parse(self, caller: Caller, line: bytes) -> Request | Reply:
        try:
            return msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"not a request: {error}"
            self._refusal(caller, text)
            return Reply(None, text)


async def _write(writer: asyncio.StreamWriter, request_id: str, reply: Reply) -> None:
    answer: Mapping[str, Any] = {"request_id": request_id, "ok": reply.error is None}
    key, value = ("result", reply.result) if reply.error is None else ("error", reply.error)
    writer.write(orjson.dumps({**answer, key: value}) + b"\n")
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()


def _caller(writer: asyncio.StreamWriter) -> Caller:
    connection = writer.get_extra_info("socket")
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Caller(pid, uid)
