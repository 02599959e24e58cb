"""The network between the system and the exchange: a TCP proxy that can be as bad as a real one.

It sees bytes of TLS and nothing of what they mean. What it holds back is delivered when it may pass again, as a network
does; what is in it when a link is reset is lost.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from enum import StrEnum

from nightdesk.clocks import Clock

HOST = "127.0.0.1"
PART_BYTES = 65_536
PARTS_HELD_MAX = 256
"""Per direction: a sender that has filled so many reads has to wait, as behind a full window."""

CONNECT_TIMEOUT_S = 5.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends RST."""


class Way(StrEnum):
    """A direction, as the exchange sees it."""

    IN = "in"
    OUT = "out"


BOTH = (Way.IN, Way.OUT)


class LinkTimes:
    """When a link carried what its client sent; by the port under which the exchange knows it."""

    def __init__(self, port: int, opened_ns: int) -> None:
        self.port = port
        self.opened_ns = opened_ns
        self.client_last_ns = opened_ns
        """When the client's last bytes came; what is delivered later than that was on its way."""


class Link:
    """One connection through the proxy: a socket to each side, and a pump for each direction."""

    def __init__(self, number: int, near: socket.socket, far: socket.socket, clock: Clock) -> None:
        self.number = number
        self.times = LinkTimes(far.getsockname()[1], clock.now_ns())
        self._clock = clock
        self._ends = {Way.IN: (near, far), Way.OUT: (far, near)}
        self._open = {way: asyncio.Event() for way in BOTH}
        self._bytewise: set[Way] = set()
        self._cut_next: set[Way] = set()
        self._over = asyncio.Event()
        for way in BOTH:
            self._open[way].set()

    async def run(self) -> None:
        """Carry bytes until either side ends, or the link is reset or cut."""
        tasks: list[asyncio.Task[None]] = []
        for way in BOTH:
            parts: asyncio.Queue[bytes] = asyncio.Queue(PARTS_HELD_MAX)
            tasks.append(asyncio.create_task(self._take(way, parts)))
            tasks.append(asyncio.create_task(self._give(way, parts)))
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            # A socket is closed only when nobody waits for it any more: its number may be another's at once.
            await asyncio.gather(*tasks, return_exceptions=True)
            for near, _ in self._ends.values():
                near.close()

    def hold(self, ways: Iterable[Way]) -> None:
        """Deliver nothing in these directions until ``release``."""
        for way in ways:
            self._open[way].clear()

    def bytewise(self, ways: Iterable[Way]) -> None:
        """Deliver single bytes in these directions until ``release``."""
        self._bytewise.update(ways)

    def cut_next(self, way: Way) -> None:
        """Deliver half of what comes next in this direction, then an ordinary end of the connection."""
        self._cut_next.add(way)

    def release(self) -> None:
        """Everything passes again; what was held is delivered."""
        self._bytewise.clear()
        self._cut_next.clear()
        for way in BOTH:
            self._open[way].set()

    def reset(self) -> None:
        """RST to both sides; what was under way is lost."""
        for near, _ in self._ends.values():
            with contextlib.suppress(OSError):
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._over.set()

    async def _take(self, way: Way, parts: asyncio.Queue[bytes]) -> None:
        loop = asyncio.get_running_loop()
        source, _ = self._ends[way]
        part = b"begin"
        while part:
            try:
                part = await loop.sock_recv(source, PART_BYTES)
            except OSError:
                part = b""
            if way is Way.IN and part:
                self.times.client_last_ns = self._clock.now_ns()
            await parts.put(part)

    async def _give(self, way: Way, parts: asyncio.Queue[bytes]) -> None:
        loop = asyncio.get_running_loop()
        _, sink = self._ends[way]
        try:
            while part := await parts.get():
                await self._open[way].wait()
                if way in self._cut_next:
                    await loop.sock_sendall(sink, part[: max(1, len(part) // 2)])
                    break
                for piece in _pieces(part) if way in self._bytewise else (part,):
                    await loop.sock_sendall(sink, piece)
            await self._open[way].wait()
        except OSError:
            # The other side is gone: so is the link.
            pass
        self._over.set()


class Proxy:
    """Listens on a port of its own that never changes, and goes on to wherever the exchange listens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listener: socket.socket | None = None
        self._acceptor: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: dict[int, Link] = {}
        self._number = 0
        self._holds: set[Way] = set()
        self.is_refusing = False
        self.port = 0
        self.far_port = 0
        """Where the exchange listens; 0: nowhere at the moment."""
        self.times: list[LinkTimes] = []
        """Of every link that there was."""

    async def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._acceptor = asyncio.create_task(self._accept(self._listener))

    async def close(self) -> None:
        """End every link and listen no more."""
        tasks = [task for task in (self._acceptor, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    @property
    def links(self) -> list[Link]:
        """Those that carry bytes now, oldest first."""
        return [self._links[number] for number in sorted(self._links)]

    def hold(self, ways: Iterable[Way]) -> None:
        """Deliver nothing in these directions, on links made meanwhile neither."""
        self._holds.update(ways)
        for link in self.links:
            link.hold(self._holds)

    def release(self) -> None:
        """The network is good again."""
        self._holds.clear()
        self.is_refusing = False
        for link in self.links:
            link.release()

    def reset(self) -> int:
        """RST on every link; how many there were."""
        links = self.links
        for link in links:
            link.reset()
        return len(links)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(self._serve(near))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: socket.socket) -> None:
        near.setblocking(False)
        far = socket.socket()
        far.setblocking(False)
        try:
            if self.is_refusing or not self.far_port:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(far, (HOST, self.far_port))
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._number += 1
            link = self._links[self._number] = Link(self._number, near, far, self._clock)
            self.times.append(link.times)
            link.hold(self._holds)
            try:
                await link.run()
            finally:
                del self._links[link.number]
        except (OSError, TimeoutError):
            # Nobody listens: the client is refused, too.
            return
        finally:
            near.close()
            far.close()


def _pieces(part: bytes) -> Iterable[bytes]:
    return (part[index : index + 1] for index in range(len(part)))
