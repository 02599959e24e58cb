"""Lanes: Unix-domain sockets between two actors for ticks, orders and history; found by the server's child id.

A packet (SOCK_SEQPACKET keeps its borders) is a list of messages, packed once a turn of the event loop. Nothing is
dropped here: a peer that does not keep up fills the kernel's buffer, then ``buffer_max`` messages, then ``send`` raises
``LaneError`` and the sender decides. The end of a peer is seen at once, as end of stream.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable

from nightdesk.errors import ConfigurationError, LaneError
from nightdesk.logs import get_logger
from nightdesk.messages import ChildId, DecodeError, Message, decode_packet, encode

PACKET_BYTES_MAX = 65_536
"""The largest packet; a single message that is larger is refused by ``send``."""

PACKET_MESSAGES_MAX = 65_535
"""Messages in one packet: what the two bytes of its header can count."""

BUFFER_MESSAGES_MAX = 10_000
"""Messages that wait for a slow peer unless the owner of the lane says otherwise."""

SOCKET_BUFFER_BYTES = 1_048_576
"""Asked of the kernel for each sending side; it grants what its own limit (net.core.wmem_max) allows."""

PATH_BYTES_MAX = 103
"""A socket's path is limited to 107 bytes; four are kept for the name under which it is first bound."""

READS_PER_TURN_MAX = 16
"""Packets taken from one peer before others get their turn."""

RECONNECT_INITIAL_S = 0.05
RECONNECT_MAX_S = 1.0
ACCEPT_BACKLOG = 128

_HEADER_BYTES = 3
_PEER_CREDENTIALS = struct.Struct("3i")


def lane_path(runtime_dir: str, child_id: ChildId, lane: str) -> str:
    """Where the server of a lane listens; raises ConfigurationError where ``runtime_dir`` is too long for a socket."""
    path = os.path.join(runtime_dir, f"{child_id.replace('/', '.')}.{lane}")
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ConfigurationError(f"runtime_dir is too long for a socket: {path} (at most {PATH_BYTES_MAX} bytes)")
    return path


class Peer:
    """One end of one connection. All calls belong on the event loop's thread."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: "Callable[[Peer, Message], None]",
        on_close: "Callable[[Peer], None]",
        buffer_max: int,
        send_buffer_bytes: int = SOCKET_BUFFER_BYTES,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        self.pid, self.uid = _credentials(sock)
        self.on_drained: Callable[[], None] | None = None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_close = on_close
        self._buffer_max = buffer_max
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._packet = b""
        self._packet_messages = 0
        self._flush_planned = False
        self._refused = False
        self._closed = False
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def buffered(self) -> int:
        """Messages that the kernel has not taken yet."""
        return len(self._waiting) + self._packet_messages

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, message: Message) -> None:
        """Queue a message; it leaves at the end of this turn of the loop, packed with its neighbours.

        Raises LaneError when the connection is closed, when ``buffer_max`` messages wait already, and for a message of
        more than 64 KiB. In each case the message was not sent and never will be.
        """
        if self._closed:
            raise LaneError("the lane is closed")
        if self.buffered >= self._buffer_max:
            raise LaneError(f"the peer does not keep up: {self.buffered} messages wait")
        payload = _encode(message)
        if len(payload) + _HEADER_BYTES > PACKET_BYTES_MAX:
            raise LaneError(f"{type(message).__name__} of {len(payload)} bytes does not fit a packet")
        self._waiting.append(payload)
        self._waiting_bytes += len(payload)
        if self._refused:
            return
        if self._waiting_bytes >= PACKET_BYTES_MAX:
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close the connection after a last attempt to send what waits; ``on_close`` follows."""
        if not self._closed and not self._refused:
            self._flush()
        self._end()

    def _flush(self) -> None:
        self._flush_planned = False
        while not self._closed and self._fill_packet():
            try:
                self._sock.send(self._packet)
            except BlockingIOError:
                if not self._refused:
                    self._refused = True
                    self._loop.add_writer(self._sock.fileno(), self._writable)
                return
            except OSError:
                self._end()
                return
            self._packet = b""
            self._packet_messages = 0

    def _fill_packet(self) -> bool:
        """Make the next packet unless one is left from a refused attempt; False when nothing waits."""
        if self._packet_messages:
            return True
        waiting = self._waiting
        size = _HEADER_BYTES
        parts = [b""]
        while waiting and size + len(waiting[0]) <= PACKET_BYTES_MAX and len(parts) <= PACKET_MESSAGES_MAX:
            size += len(waiting[0])
            parts.append(waiting.popleft())
        count = len(parts) - 1
        # The header of a MessagePack array with a 16-bit length: the packet is what ``encode_packet`` would make.
        parts[0] = b"\xdc" + count.to_bytes(2, "big")
        self._packet = b"".join(parts)
        self._packet_messages = count
        self._waiting_bytes -= size - _HEADER_BYTES
        return count > 0

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock.fileno())
        self._refused = False
        self._flush()
        if not self._refused and not self._closed and self.on_drained is not None:
            self.on_drained()

    def _read(self) -> None:
        for _ in range(READS_PER_TURN_MAX):
            try:
                payload = self._sock.recv(PACKET_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                payload = b""
            if not payload:
                self._end()
                return
            if not self._deliver(payload):
                return

    def _deliver(self, payload: bytes) -> bool:
        try:
            if len(payload) > PACKET_BYTES_MAX:
                raise DecodeError(f"a packet of more than {PACKET_BYTES_MAX} bytes")
            messages = decode_packet(payload)
        except DecodeError as error:
            get_logger().warning("lane_packet_refused", peer_pid=self.pid, size=len(payload), reason=str(error))
            self._end()
            return False
        for message in messages:
            self._on_message(self, message)
            if self._closed:
                return False
        return True

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        if self._refused:
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._waiting.clear()
        self._packet_messages = 0
        # Never from within the owner's own call of send or close.
        self._loop.call_soon(self._on_close, self)


class LaneServer:
    """The listening side of a lane; a stale socket file of a dead predecessor is replaced."""

    def __init__(
        self,
        path: str,
        *,
        on_open: Callable[[Peer], None],
        on_message: Callable[[Peer, Message], None],
        on_close: Callable[[Peer], None],
        buffer_max: int = BUFFER_MESSAGES_MAX,
        send_buffer_bytes: int = SOCKET_BUFFER_BYTES,
    ) -> None:
        self._path = path
        self._on_open = on_open
        self._on_message = on_message
        self._on_close = on_close
        self._buffer_max = buffer_max
        self._send_buffer_bytes = send_buffer_bytes
        self._peers: set[Peer] = set()
        self._sock: socket.socket | None = None
        self._inode = 0

    @property
    def peers(self) -> frozenset[Peer]:
        """The open connections."""
        return frozenset(self._peers)

    async def start(self) -> None:
        """Listen. The name appears only when connections are accepted, and only its owner may use it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._inode = _listen(sock, self._path)
        except OSError:
            sock.close()
            raise
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept)

    async def close(self) -> None:
        """Stop listening and close every connection; their ``on_close`` have run when this returns."""
        if self._sock is None:
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        for peer in list(self._peers):
            peer.close()
        await asyncio.sleep(0)
        _remove(self._path, self._inode)

    def _accept(self) -> None:
        while self._sock is not None:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            uid = _credentials(sock)[1]
            if uid != os.getuid():
                get_logger().warning("lane_peer_refused", uid=uid)
                sock.close()
                continue
            peer = Peer(
                sock,
                on_message=self._on_message,
                on_close=self._closed,
                buffer_max=self._buffer_max,
                send_buffer_bytes=self._send_buffer_bytes,
            )
            self._peers.add(peer)
            self._on_open(peer)

    def _closed(self, peer: Peer) -> None:
        self._peers.discard(peer)
        self._on_close(peer)


class LaneClient:
    """The connecting side of a lane; it reconnects by itself until it is closed."""

    def __init__(
        self,
        path: str,
        *,
        on_open: Callable[[Peer], None],
        on_message: Callable[[Message], None],
        on_close: Callable[[], None],
        buffer_max: int = BUFFER_MESSAGES_MAX,
        reconnect_max_s: float = RECONNECT_MAX_S,
    ) -> None:
        """``reconnect_max_s`` is the longest pause between two attempts."""
        self._path = path
        self._on_open = on_open
        self._on_message = on_message
        self._on_close = on_close
        self._buffer_max = buffer_max
        self._reconnect_max_s = reconnect_max_s
        self._delay_s = RECONNECT_INITIAL_S
        self._opened_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self.peer: Peer | None = None

    async def start(self) -> None:
        """Begin to connect; ``on_open`` follows, now or when the server is there."""
        self._running = True
        self._connect()

    def send(self, message: Message) -> None:
        """As ``Peer.send``; raises LaneError when there is no connection."""
        if self.peer is None:
            raise LaneError("the lane is not connected")
        self.peer.send(message)

    async def close(self) -> None:
        """Close for good; a connection's ``on_close`` has run when this returns."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self.peer is not None:
            self.peer.close()
            await asyncio.sleep(0)

    def _connect(self) -> None:
        self._timer = None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            # Absent, refused, or its backlog is full: on a Unix socket each of them is known at once.
            sock.close()
            self._retry()
            return
        loop = asyncio.get_running_loop()
        self._opened_at_s = loop.time()
        peer = Peer(sock, on_message=self._deliver, on_close=self._closed, buffer_max=self._buffer_max)
        if peer.uid != os.getuid():
            get_logger().warning("lane_peer_refused", uid=peer.uid)
            peer.close()
            return
        self.peer = peer
        self._on_open(peer)

    def _retry(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._delay_s, self._connect)
        self._delay_s = min(self._delay_s * 2, self._reconnect_max_s)

    def _deliver(self, _peer: Peer, message: Message) -> None:
        self._on_message(message)

    def _closed(self, peer: Peer) -> None:
        known, self.peer = self.peer is peer, None
        if asyncio.get_running_loop().time() - self._opened_at_s >= RECONNECT_MAX_S:
            self._delay_s = RECONNECT_INITIAL_S
        if self._running:
            self._retry()
        if known:
            self._on_close()


_encoded: tuple[Message | None, bytes] = (None, b"")


def _encode(message: Message) -> bytes:
    """Pack a message once where it goes to several peers one after the other."""
    global _encoded
    known, payload = _encoded
    if known is not message:
        payload = encode(message)
        _encoded = (message, payload)
    return payload


def _listen(sock: socket.socket, path: str) -> int:
    """Bind under another name first, so that the file is never open to others and replaces a stale one at once."""
    first_name = path + ".new"
    if os.path.lexists(first_name):
        os.unlink(first_name)
    sock.bind(first_name)
    os.chmod(first_name, 0o600)
    sock.listen(ACCEPT_BACKLOG)
    os.rename(first_name, path)
    return os.stat(path).st_ino


def _remove(path: str, inode: int) -> None:
    """Remove the socket's file unless a successor listens under this name already."""
    if os.path.exists(path) and os.stat(path).st_ino == inode:
        os.unlink(path)


def _credentials(sock: socket.socket) -> tuple[int, int]:
    pid, uid, _gid = _PEER_CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    )
    return pid, uid
