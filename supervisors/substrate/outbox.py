"""What leaves a process: one connection, one queue and one credit window for each peer.

The peers share nothing, so one that hangs holds up its own mail only. A connection keeps the order. When it breaks,
what was not acknowledged is sent again on a new one; when nobody listens any more, everything for that peer fails at
once. A frame that the peer took is acknowledged before the connection can break, so none arrives twice from here.
"""

import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from thespian.system.transport import SendStatus, TransmitIntent

from actors.process import own_sockets
from nightdesk.clocks import Clock
from nightdesk.logs import get_logger
from supervisors.substrate import folder
from supervisors.substrate.credentials import of_peer
from supervisors.substrate.frames import ACCEPTED, UNREADABLE
from supervisors.substrate.poller import Poller

CREDIT_WINDOW = 4
"""Frames under way to one peer that it has not acknowledged."""

PEER_FRAMES_MAX = 10_000
PEER_BYTES_MAX = 256 * 1024 * 1024
"""What waits for one peer; more fails at once."""

IDLE_LINKS_MAX = 128
"""Connections that are kept for later; beyond this the one that was idle longest is closed."""

RECONNECTS_MAX = 8
"""Broken connections to a peer that listens, one after the other without any acknowledgement; then its mail fails."""

RETRY_S = 0.05
"""Until a peer whose backlog was full, or that broke the connection, is tried again."""

EXPIRY_CHECK_S = 1.0
"""How often what waits is looked through for what is too old."""

_ACKNOWLEDGEMENTS_READ = 64


@dataclass(slots=True)
class Frame:
    """One message on its way; ``intent`` is None when it was given up while under way."""

    intent: TransmitIntent | None
    content: bytes


@dataclass(slots=True)
class Link:
    """One peer."""

    path: str
    sock: socket.socket | None = None
    waiting: deque[Frame] = field(default_factory=deque)
    under_way: deque[Frame] = field(default_factory=deque)
    partial: memoryview | None = None
    waiting_bytes: int = 0
    broken: int = 0
    retry_at_s: float | None = None
    idle_since_s: float = 0.0

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.under_way


class Outbox:
    """``finish`` is called once for each intent, with what became of it; never from within ``send``."""

    def __init__(self, poller: Poller, finish: Callable[[TransmitIntent, object], None], clock: Clock) -> None:
        self._poller = poller
        self._finish = finish
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._checked_s = 0.0
        self.pending = 0

    @property
    def intents(self) -> list[TransmitIntent]:
        """All that is not finished, for reports."""
        frames = [frame for link in self._links.values() for frame in (*link.under_way, *link.waiting)]
        return [frame.intent for frame in frames if frame.intent is not None]

    def send(self, path: str, intent: TransmitIntent, content: bytes) -> None:
        """Send a frame as soon as the peer takes it."""
        self.pending += 1
        link = self._links.get(path)
        if link is None:
            self._make_room()
            link = self._links[path] = Link(path)
        frame = Frame(intent, content)
        if len(link.waiting) >= PEER_FRAMES_MAX or link.waiting_bytes + len(content) > PEER_BYTES_MAX:
            self._end(frame, SendStatus.Failed)
            return
        link.waiting.append(frame)
        link.waiting_bytes += len(content)
        self._pump(link)

    def abandon(self, path: str) -> None:
        """The peer is known to be dead."""
        link = self._links.get(path)
        if link is not None:
            self._drop(link, SendStatus.DeadTarget)

    def turn(self) -> None:
        """Try again what is due, give up what is too old; to be called after each wait."""
        now = self._clock.monotonic_s()
        for link in [link for link in self._links.values() if link.retry_at_s is not None]:
            if link.retry_at_s is not None and now >= link.retry_at_s:
                link.retry_at_s = None
                self._pump(link)
        if self.pending and now - self._checked_s >= EXPIRY_CHECK_S:
            self._checked_s = now
            for link in list(self._links.values()):
                self._expire(link)

    def next_delay_s(self) -> float | None:
        """How soon ``turn`` has something to do; None for never."""
        if any(link.retry_at_s is not None for link in self._links.values()):
            return RETRY_S
        return EXPIRY_CHECK_S if self.pending else None

    def close(self) -> None:
        """Close every connection; what was not acknowledged has failed."""
        for link in list(self._links.values()):
            self._drop(link, SendStatus.Failed)

    def _pump(self, link: Link) -> None:
        """Write as much as window and socket take."""
        while link.retry_at_s is None:
            if link.partial is None:
                if not link.waiting or len(link.under_way) >= CREDIT_WINDOW:
                    return
                if link.sock is None and not self._connect(link):
                    return
                frame = link.waiting.popleft()
                link.waiting_bytes -= len(frame.content)
                link.under_way.append(frame)
                link.partial = memoryview(frame.content)
            if link.sock is None:
                return
            try:
                sent = link.sock.send(link.partial)
            except BlockingIOError:
                self._poller.set(link.sock.fileno(), lambda: self._on_ready(link), write=True)
                return
            except OSError:
                self._broken(link)
                return
            link.partial = link.partial[sent:] if sent < len(link.partial) else None

    def _connect(self, link: Link) -> bool:
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            get_logger().warning("mailbox_not_connected", path=link.path, reason=str(error))
            self._drop(link, SendStatus.Failed)
            return False
        try:
            sock.connect(link.path)
        except BlockingIOError:
            sock.close()
            link.retry_at_s = self._clock.monotonic_s() + RETRY_S
            return False
        except (FileNotFoundError, ConnectionRefusedError) as error:
            sock.close()
            if isinstance(error, ConnectionRefusedError):
                # Its process was killed: names are not used twice, so nobody will ever listen there again.
                folder.remove(link.path)
            self._drop(link, SendStatus.DeadTarget)
            return False
        except OSError as error:
            sock.close()
            get_logger().warning("mailbox_not_connected", path=link.path, reason=str(error))
            self._drop(link, SendStatus.Failed)
            return False
        if not of_peer(sock).trusted:
            get_logger().warning("mailbox_peer_refused", path=link.path, peer_uid=of_peer(sock).uid)
            sock.close()
            self._drop(link, SendStatus.Failed)
            return False
        own_sockets.add(sock)
        link.sock = sock
        self._poller.set(sock.fileno(), lambda: self._on_ready(link))
        return True

    def _on_ready(self, link: Link) -> None:
        if link.sock is None:
            return
        try:
            answers = link.sock.recv(_ACKNOWLEDGEMENTS_READ)
        except BlockingIOError:
            answers = None
        except OSError:
            answers = b""
        if answers == b"":
            self._broken(link)
            return
        for answer in answers or b"":
            if not link.under_way or answer not in ACCEPTED + UNREADABLE:
                get_logger().warning("mailbox_answer_refused", path=link.path, answer=answer)
                self._broken(link)
                return
            accepted = answer == ACCEPTED[0]
            link.broken = 0
            self._end(link.under_way.popleft(), SendStatus.Sent if accepted else SendStatus.BadPacket)
        self._poller.set(link.sock.fileno(), lambda: self._on_ready(link))
        if link.idle:
            link.idle_since_s = self._clock.monotonic_s()
        self._pump(link)

    def _broken(self, link: Link) -> None:
        self._disconnect(link)
        if link.idle:
            del self._links[link.path]
            return
        link.broken += 1
        if link.broken > RECONNECTS_MAX:
            self._drop(link, SendStatus.Failed)
            return
        while link.under_way:
            frame = link.under_way.pop()
            link.waiting.appendleft(frame)
            link.waiting_bytes += len(frame.content)
        if link.broken > 1:
            link.retry_at_s = self._clock.monotonic_s() + RETRY_S
        self._pump(link)

    def _expire(self, link: Link) -> None:
        kept: deque[Frame] = deque()
        for frame in link.waiting:
            if frame.intent is not None and not frame.intent.expired():
                kept.append(frame)
            else:
                link.waiting_bytes -= len(frame.content)
                self._end(frame, SendStatus.Failed)
        link.waiting = kept
        for frame in link.under_way:
            if frame.intent is not None and frame.intent.expired():
                # Its acknowledgement may still come, so its place is kept.
                self._end(frame, SendStatus.Failed)

    def _drop(self, link: Link, status: object) -> None:
        """Forget the peer; all that was for it has ended."""
        self._links.pop(link.path, None)
        self._disconnect(link)
        frames = [*link.under_way, *link.waiting]
        link.under_way.clear()
        link.waiting.clear()
        link.retry_at_s = None
        for frame in frames:
            self._end(frame, status)

    def _end(self, frame: Frame, status: object) -> None:
        intent, frame.intent = frame.intent, None
        if intent is not None:
            self.pending -= 1
            self._finish(intent, status)

    def _disconnect(self, link: Link) -> None:
        if link.sock is not None:
            self._poller.forget(link.sock.fileno())
            own_sockets.discard(link.sock)
            link.sock.close()
            link.sock = None
        link.partial = None

    def _make_room(self) -> None:
        idle = [link for link in self._links.values() if link.idle]
        if len(idle) >= IDLE_LINKS_MAX:
            self._drop(min(idle, key=lambda link: link.idle_since_s), SendStatus.Sent)
