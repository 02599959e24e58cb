"""What one connection still has to send: a bounded queue, a writer, and back-pressure for those who fill it."""

import asyncio

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

BACKLOG_BYTES_MAX = 32 << 20
"""More than this unsent and the client is cut off: it does not keep up, and memory is not endless."""

BACKLOG_BYTES_LOW = 64 << 10
"""``room`` returns below this."""

UNCONFIRMED_FRAMES_MAX = 256
"""Frames that a paced client may be behind. Its kernel alone would hold thousands: only the client's own answer to a
ping tells that it has come so far, and without that its order would act on a market far ahead of what it sees."""

PONG_WAIT_S = 10.0
"""A client that leaves a ping unanswered so long is no longer paced: the sockets alone hold the market back for it."""


class Outlet:
    """The sending side of one connection. ``push`` never waits; ``run`` is the one task that writes."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._frames: list[bytes] = []
        self._bytes = 0
        self._pushed = 0
        self._confirmed = 0
        self._is_paced = False
        self._is_ping_out = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing: tuple[int, str] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more, or nothing should."""
        return self._closed or self._closing is not None

    def push(self, frame: bytes) -> None:
        """Queue a whole WebSocket frame; dropped when the connection ends anyway."""
        if self.closed:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._pushed += 1
        if not self._has_room():
            self._room.clear()
        if self._bytes > BACKLOG_BYTES_MAX:
            self.abort()
        self._wake.set()

    def pace(self) -> None:
        """From now on ``room`` waits for the client itself, not only for the sockets between."""
        if not self._is_paced:
            self._is_paced = True
            self._confirmed = self._pushed

    def finish(self, code: int, reason: str) -> None:
        """Close the socket after everything queued so far has been written."""
        if not self.closed:
            self._closing = (code, reason)
            self._wake.set()

    def abort(self) -> None:
        """Drop the connection at once; what is queued is lost."""
        self._end()
        self._connection.transport.abort()

    async def room(self) -> None:
        """Wait until the client has taken enough, or is gone."""
        await self._room.wait()

    async def run(self) -> None:
        """Write until the connection ends."""
        connection = self._connection
        try:
            while connection.protocol.state is State.OPEN and not self._closed:
                await self._wake.wait()
                self._wake.clear()
                if self._frames and connection.protocol.state is State.OPEN:
                    batch, self._frames = self._frames, []
                    written = sum(map(len, batch))
                    # Our frames are whole and unmasked, so many can go down in one TLS record and one system call.
                    connection.transport.write(b"".join(batch))
                    await connection.drain()
                    self._bytes -= written
                    self._update_room()
                if self._is_paced and not self._is_ping_out:
                    await self._ping(self._pushed - len(self._frames))
                if self._closing is not None and not self._frames:
                    await connection.close(*self._closing)
                    return
        except (ConnectionClosed, OSError):
            return
        finally:
            self._end()

    async def _ping(self, frames_written: int) -> None:
        if frames_written - self._confirmed < UNCONFIRMED_FRAMES_MAX // 4:
            return
        self._is_ping_out = True
        pong = asyncio.ensure_future(await self._connection.ping())

        def confirm(answered: "asyncio.Future[float]") -> None:
            self._is_ping_out = False
            if not answered.cancelled() and answered.exception() is None:
                self._confirmed = frames_written
                self._update_room()
                if self._pushed - self._confirmed >= UNCONFIRMED_FRAMES_MAX // 4:
                    self._wake.set()

        give_up = asyncio.get_running_loop().call_later(PONG_WAIT_S, self._stop_pacing)
        pong.add_done_callback(confirm)
        pong.add_done_callback(lambda _answered: give_up.cancel())

    def _stop_pacing(self) -> None:
        self._is_paced = False
        self._update_room()

    def _has_room(self) -> bool:
        is_confirmed = not self._is_paced or self._pushed - self._confirmed <= UNCONFIRMED_FRAMES_MAX
        return is_confirmed and self._bytes <= BACKLOG_BYTES_LOW

    def _update_room(self) -> None:
        if self._has_room():
            self._room.set()

    def _end(self) -> None:
        self._closed = True
        self._frames.clear()
        self._room.set()
        self._wake.set()
