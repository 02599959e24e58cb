"""What one connection still has to send: a bounded queue, a writer, and back-pressure for those who fill it."""

import asyncio
import socket
import struct
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from nightdesk.simulator.wire.framing import Framing, OutgoingFrame
from nightdesk.simulator.wire.wire_log import WireLog

BACKLOG_BYTES_MAX = 32 << 20
"""More than this unsent and the client is cut off: it does not keep up, and memory is not endless."""

BACKLOG_BYTES_LOW = 64 << 10
"""``room`` returns below this."""

UNCONFIRMED_FRAMES_MAX = 256
"""Frames that a paced client may be behind. Its kernel alone would hold thousands: only the client's own answer to a
ping tells that it has come so far, and without that its order would act on a market far ahead of what it sees."""

TRICKLE_STEP_S = 0.02
"""Between two writes of a connection that a fault makes slow."""

PONG_WAIT_S = 10.0
"""A client that leaves a ping unanswered so long is no longer paced: the sockets alone hold the market back for it."""


_LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class FrameFaults(Protocol):
    """What faults do to one connection's frames while any is active."""

    def outgoing(self, frame: OutgoingFrame) -> None:
        """Take a frame that would be sent, to ``put`` it, another one, or none."""
        ...

    async def incoming(self, frame: bytes | str) -> bool:
        """Take a frame of the client, perhaps after a while; False: it never arrived."""
        ...

    def flush(self) -> None:
        """Let go of frames that are held back: the connection ends after them."""
        ...


class Outlet:
    """The sending side of one connection. ``send`` never waits; ``run`` is the one task that writes."""

    def __init__(self, connection: ServerConnection, *, number: int = 0, wire_log: WireLog | None = None) -> None:
        self.number = number
        """Counts connections, for the wire log and as a fault's target."""
        self.faults: FrameFaults | None = None
        """Faults that this connection's frames pass through; None while none is active anywhere."""
        self.reason = ""
        """Why the exchange ended the connection; empty while it did not."""
        self._connection = connection
        self._wire_log = wire_log
        self._cuts: dict[object, tuple[bool, bool]] = {}
        """Who has cut the connection, and whether for reading and for writing."""
        self._rates: dict[object, float] = {}
        """Who slows the connection down, and to how many bytes a second."""
        self._uncut = asyncio.Event()
        self._uncut.set()
        self._heard = asyncio.Event()
        self._heard.set()
        self._is_trickling = False
        self._is_reading = True
        self._is_reset_due = False
        self._frames: list[bytes] = []
        self._unsent = 0
        """Frames that are being written, or were given up."""
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

    @property
    def unsent_frames(self) -> int:
        """Frames that wait for the socket, or waited for it when the connection ended."""
        return self._unsent + len(self._frames)

    def send(self, frame: OutgoingFrame, framing: Framing) -> None:
        """Queue a message; faults, where any is active, decide what becomes of it."""
        if self.faults is not None:
            self.faults.outgoing(frame)
        else:
            self.put(frame, framing)

    def put(self, frame: OutgoingFrame, framing: Framing) -> None:
        """Queue exactly this frame and note it; dropped when the connection ends anyway."""
        if self._closed or self._closing is not None:
            return
        log = self._wire_log
        if log is not None:
            # For all readers of a tick but its first one this is one append.
            if frame is log.newest:
                log.also(self.number)
            else:
                log.sent(frame, self.number)
        transport_bytes = frame.transport_bytes(framing)
        self._frames.append(transport_bytes)
        self._bytes += len(transport_bytes)
        self._pushed += 1
        if not self._has_room():
            self._room.clear()
        if self._bytes > BACKLOG_BYTES_MAX:
            self.abort("the client does not take its data")
        self._wake.set()

    def pace(self) -> None:
        """From now on ``room`` waits for the client itself, not only for the sockets between."""
        if not self._is_paced:
            self._is_paced = True
            self._confirmed = self._pushed

    def finish(self, code: int, reason: str) -> None:
        """Close the socket after everything queued so far has been written."""
        if self.faults is not None:
            self.faults.flush()
        if not self.closed:
            self.reason = reason or f"closed with {code}"
            self._closing = (code, reason)
            self._wake.set()

    def abort(self, reason: str, *, is_reset: bool = False) -> None:
        """Drop the connection at once, without a word, with a reset if so wished; what is queued is lost."""
        self.reason = self.reason or reason
        self._is_reset_due = is_reset
        self._end()
        # Of a connection that is cut, the client must not even see the end.
        if not self._is_cut:
            self._drop()

    def cut(self, cause: object, *, reading: bool, writing: bool) -> None:
        """As if a cable were out: nothing is read, or written, any more, and the socket stays; until ``uncut``."""
        self._cuts[cause] = (reading, writing)
        self._apply_cuts()

    def uncut(self, cause: object) -> None:
        """This cause is over. With the last one the cable is in again: what waited on both sides arrives late."""
        self._cuts.pop(cause, None)
        self._apply_cuts()
        if self._closed and not self._is_cut:
            self._drop()
        self._wake.set()

    def slow(self, cause: object, bytes_per_s: float | None) -> None:
        """Bytes leave one by one, so many a second; of several causes the slowest counts. None: this one is over."""
        if bytes_per_s is None:
            self._rates.pop(cause, None)
        else:
            self._rates[cause] = bytes_per_s

    async def until_heard(self) -> None:
        """Wait while what the client sends does not arrive."""
        while not self._heard.is_set():
            await self._heard.wait()

    @property
    def _is_cut(self) -> bool:
        return not self._uncut.is_set()

    def _apply_cuts(self) -> None:
        is_deaf = any(reading for reading, _ in self._cuts.values())
        is_mute = any(writing for _, writing in self._cuts.values())
        for event, is_off in ((self._heard, is_deaf), (self._uncut, is_mute)):
            if is_off:
                event.clear()
            else:
                event.set()
        self._apply_reading()

    def _apply_reading(self) -> None:
        is_reading = self._heard.is_set() and not self._is_trickling
        if is_reading is self._is_reading or self._closed:
            return
        self._is_reading = is_reading
        if is_reading:
            self._connection.transport.resume_reading()
        else:
            self._connection.transport.pause_reading()

    async def _whole(self) -> None:
        while self._is_cut:
            await self._uncut.wait()

    def _drop(self) -> None:
        transport = self._connection.transport
        if transport.is_closing():
            return
        if self._is_reset_due:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()

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
                await self._whole()
                if self._frames and connection.protocol.state is State.OPEN:
                    batch, self._frames = self._frames, []
                    self._unsent = len(batch)
                    written = sum(map(len, batch))
                    # Our frames are whole and unmasked, so many can go down in one TLS record and one system call.
                    if not self._rates:
                        connection.transport.write(b"".join(batch))
                        await connection.drain()
                    else:
                        await self._trickle(b"".join(batch))
                    self._unsent = 0
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

    async def _trickle(self, payload: bytes) -> None:
        """Write byte by byte. Nothing is read meanwhile: the answer to a ping must not stand inside a frame of ours."""
        transport = self._connection.transport
        self._is_trickling = True
        self._apply_reading()
        try:
            while payload and not self._closed:
                rate = min(self._rates.values(), default=None)
                count = len(payload) if rate is None else max(1, round(rate * TRICKLE_STEP_S))
                transport.write(payload[:count])
                payload = payload[count:]
                if rate is not None:
                    await asyncio.sleep(max(TRICKLE_STEP_S, 1 / rate))
                await self._whole()
        finally:
            self._is_trickling = False
            self._apply_reading()
        await self._connection.drain()

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
        self._unsent += len(self._frames)
        self._frames.clear()
        self._room.set()
        self._wake.set()
