"""What arrives at a process: who may connect, how many, how long they may take, and which frames are taken.

Nothing is read from another user. Connections that have not said anything whole are few and short-lived, so that
a flood of idle ones, from wherever it comes, costs a little memory and nobody's mail.
"""

import socket
from collections.abc import Callable
from typing import Any

from actors.process import own_sockets
from nightdesk.clocks import Clock
from nightdesk.logs import get_logger
from supervisors.substrate.credentials import Credentials, of_peer
from supervisors.substrate.frames import (
    ACCEPTED,
    FRAME_BYTES_MAX,
    UNPICKLING_ERRORS,
    UNREADABLE,
    FrameError,
    FrameReader,
    unpack,
)
from supervisors.substrate.poller import Poller

CONNECTIONS_MAX = 512
"""Of peers that have sent something whole; a system has a peer for each of its processes at most."""

NEWCOMERS_MAX = 64
"""Connections that have not sent anything whole yet; beyond this the oldest of them is closed."""

FIRST_FRAME_S = 5.0
"""How long a newcomer may keep us waiting without a byte."""

HALF_FRAME_S = 10.0
"""How long the rest of a frame may keep us waiting without a byte."""

ACCEPTS_PER_TURN_MAX = 64
READ_BYTES = 262_144

LOG_INTERVAL_S = 1.0
"""Each kind of refusal has one line within this time; those that followed are then summed up in another one."""


class Arrival:
    """One accepted connection."""

    __slots__ = ("credentials", "known", "moved_s", "reader", "sock")

    def __init__(self, sock: socket.socket, credentials: Credentials, bytes_max: int, now_s: float) -> None:
        self.sock = sock
        self.credentials = credentials
        self.reader = FrameReader(bytes_max)
        self.known = False
        self.moved_s = now_s


class Inbox:
    """``deliver`` is called with sender and message of each frame, before it is acknowledged."""

    def __init__(
        self,
        listener: socket.socket,
        poller: Poller,
        deliver: Callable[[Any, Any], None],
        clock: Clock,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        self._listener = listener
        self._poller = poller
        self._deliver = deliver
        self._clock = clock
        self._frame_bytes_max = frame_bytes_max
        # In the order in which they came, which a dict keeps.
        self._arrivals: dict[int, Arrival] = {}
        self._newcomers: dict[int, Arrival] = {}
        self._refusals: dict[tuple[str, str], tuple[float, int]] = {}
        own_sockets.add(listener)
        poller.set(listener.fileno(), self._accept)

    def turn(self) -> None:
        """Close whom time has run out for; to be called after what was readable has been read."""
        now = self._clock.monotonic_s()
        for arrival in list(self._newcomers.values()):
            if now - arrival.moved_s > FIRST_FRAME_S:
                self._refuse(arrival, "no frame within the time")
        for arrival in [arrival for arrival in self._arrivals.values() if arrival.reader.half]:
            if now - arrival.moved_s > HALF_FRAME_S:
                self._refuse(arrival, "half a frame")
        self._sum_up(now)

    def next_delay_s(self) -> float | None:
        """How soon ``turn`` may have something to do; None for never."""
        waiting = self._newcomers or self._refusals or any(arrival.reader.half for arrival in self._arrivals.values())
        return 1.0 if waiting else None

    def close(self) -> None:
        """Stop listening and close every connection."""
        for arrival in [*self._arrivals.values(), *self._newcomers.values()]:
            self._end(arrival)
        self._poller.forget(self._listener.fileno())
        own_sockets.discard(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._log("mailbox_not_accepted", str(error))
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        credentials = of_peer(sock)
        if not credentials.trusted:
            self._log("mailbox_peer_refused", "another user", peer_uid=credentials.uid, peer_pid=credentials.pid)
            sock.close()
            return
        if len(self._newcomers) >= NEWCOMERS_MAX:
            self._refuse(next(iter(self._newcomers.values())), "too many that say nothing")
        sock.setblocking(False)
        own_sockets.add(sock)
        arrival = Arrival(sock, credentials, self._frame_bytes_max, self._clock.monotonic_s())
        self._newcomers[sock.fileno()] = arrival
        self._poller.set(sock.fileno(), lambda: self._read(arrival))
        # Whoever means it has sent its first frame by now, and is no newcomer when the next one comes.
        self._read(arrival)

    def _read(self, arrival: Arrival) -> None:
        try:
            received = arrival.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._end(arrival)
            return
        arrival.moved_s = self._clock.monotonic_s()
        arrival.reader.add(received)
        try:
            answers = self._take_frames(arrival)
        except FrameError as error:
            self._refuse(arrival, "a wrong frame", detail=str(error))
            return
        if answers and not self._answer(arrival, answers):
            self._end(arrival)

    def _take_frames(self, arrival: Arrival) -> bytes:
        taken = 0
        while (payload := arrival.reader.next()) is not None:
            try:
                sender, message = unpack(payload)
            except UNPICKLING_ERRORS as error:
                self._answer(arrival, ACCEPTED * taken + UNREADABLE)
                raise FrameError(f"a frame that cannot be unpickled: {type(error).__name__}: {error}") from error
            self._deliver(sender, message)
            taken += 1
        if taken and not arrival.known:
            self._make_known(arrival)
        return ACCEPTED * taken

    def _make_known(self, arrival: Arrival) -> None:
        arrival.known = True
        self._newcomers.pop(arrival.sock.fileno(), None)
        if len(self._arrivals) >= CONNECTIONS_MAX:
            # Whoever is there longest; should it have something to say, it connects again.
            self._refuse(next(iter(self._arrivals.values())), "too many connections")
        self._arrivals[arrival.sock.fileno()] = arrival

    def _answer(self, arrival: Arrival, answers: bytes) -> bool:
        try:
            return arrival.sock.send(answers) == len(answers)
        except OSError:
            return False

    def _refuse(self, arrival: Arrival, reason: str, **keys: object) -> None:
        self._log("mailbox_connection_refused", reason, peer_pid=arrival.credentials.pid, **keys)
        self._end(arrival)

    def _end(self, arrival: Arrival) -> None:
        descriptor = arrival.sock.fileno()
        if descriptor < 0:
            return
        self._arrivals.pop(descriptor, None)
        self._newcomers.pop(descriptor, None)
        self._poller.forget(descriptor)
        own_sockets.discard(arrival.sock)
        arrival.sock.close()

    def _log(self, event: str, reason: str, **keys: object) -> None:
        now = self._clock.monotonic_s()
        last_s, count = self._refusals.get((event, reason), (-LOG_INTERVAL_S, 0))
        if now - last_s < LOG_INTERVAL_S:
            self._refusals[event, reason] = (last_s, count + 1)
            return
        self._refusals[event, reason] = (now, 0)
        get_logger().warning(event, reason=reason, **keys)

    def _sum_up(self, now: float) -> None:
        for (event, reason), (last_s, count) in list(self._refusals.items()):
            if now - last_s >= LOG_INTERVAL_S:
                del self._refusals[event, reason]
                if count:
                    get_logger().warning(event, reason=reason, count=count)
