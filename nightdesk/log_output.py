"""Where log lines go: a bounded writer on standard output that never waits, whatever stands at the other end.

A pipe whose reader sleeps, a stopped terminal or a stuck journal must not stop an actor. Non-blocking mode is no
property of a descriptor but of the open file behind it, which the user's shell and every other process with the same
standard output share; so it is never set there. Pipes and terminals are opened a second time instead.
"""

import errno
import os
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable

from nightdesk.clocks import Clock, SystemClock

LINE_BYTES_MAX = 4096
"""Of one line with its line feed: up to this size (PIPE_BUF) a pipe keeps the lines of many writers whole."""

PENDING_BYTES_MAX = 131_072
"""Of lines that wait for room at the other end; what is over is dropped, counted, and reported when there is room."""

STANDARD_OUTPUT = 1
STALLED = "stalled"

_CUT = "…[cut]…".encode()
_FULL = frozenset({errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EINTR})
"""No room now, perhaps later. Every other error means that nobody reads any more."""


class LineOutput:
    """Lines on one descriptor, each written with one system call as long as there is room for it.

    Lines for which there is no room wait, in order; ``report`` makes the line that says how many were dropped and why.
    ``write`` and ``flush`` return at once and raise nothing. They may be called from any thread.
    """

    def __init__(
        self,
        report: Callable[[int, str], bytes],
        descriptor: int = STANDARD_OUTPUT,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        clock: Clock | None = None,
    ) -> None:
        self._report = report
        self._descriptor = descriptor
        self._pending_bytes_max = pending_bytes_max
        self._clock = clock or SystemClock()
        self._channel: _Channel | None = None
        self._reset()

    def write(self, line: bytes) -> None:
        """Write one line, without its line feed; cut where it is too long."""
        line = cut(line) + b"\n"
        with self._lock:
            # A finalizer may log from within our own work; its line takes its place at the end.
            if not self._at_work:
                self._move()
                if not self._pending and self.dropped == 0:
                    line = self._put(line)
            self._keep(line)

    def flush(self) -> bool:
        """Write what waits, as far as there is room; True when nothing waits any more."""
        with self._lock:
            if not self._at_work:
                self._move()
            return not self._pending and self.dropped == 0

    def drain(self, wait_s: float) -> bool:
        """As ``flush``, but give a slow reader a moment; for a process that is about to end."""
        until_s = self._clock.monotonic_s() + wait_s
        while not self.flush():
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0 or self._channel is None or not self._channel.wait(left_s):
                return False
        return True

    def after_fork(self) -> None:
        """In a forked child: what waits is the parent's to write, and so is its descriptor."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._at_work = False
        self.dropped = 0
        self._reason = STALLED

    def _move(self) -> None:
        while self._pending:
            line = self._pending[0]
            left = self._put(line)
            if not self._pending:
                return
            self._pending_bytes -= len(line) - len(left)
            if left:
                self._pending[0] = left
                return
            self._pending.popleft()
        if self.dropped:
            count, self.dropped = self.dropped, 0
            line = cut(self._report(count, self._reason)) + b"\n"
            left = self._put(line)
            if len(left) == len(line) or self.dropped:
                self.dropped = count
            else:
                self._keep(left)

    def _put(self, line: bytes) -> bytes:
        """What of the line is still to be written. Where nobody reads any more that is nothing: all is dropped."""
        self._at_work = True
        try:
            if self._channel is None:
                self._channel = _open(self._descriptor)
            return line[self._channel.put(line) :]
        except OSError as error:
            if error.errno in _FULL:
                return line
            self._lose(errno.errorcode.get(error.errno or 0, "OSError"))
            return b""
        finally:
            self._at_work = False

    def _lose(self, reason: str) -> None:
        self._reason = reason
        self.dropped += max(len(self._pending), 1)
        self._pending.clear()
        self._pending_bytes = 0
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def _keep(self, line: bytes) -> None:
        if not line:
            return
        if self.dropped or self._pending_bytes + len(line) > self._pending_bytes_max:
            # Once lines are missing the following ones are dropped too, so that the report stands at the only gap.
            if not self.dropped:
                self._reason = STALLED
            self.dropped += 1
            return
        self._pending.append(line)
        self._pending_bytes += len(line)


def cut(line: bytes) -> bytes:
    """A line that fits, the middle of a longer one being replaced by a mark."""
    if len(line) < LINE_BYTES_MAX:
        return line
    room = LINE_BYTES_MAX - 1 - len(_CUT)
    head = line[: room // 2].decode("utf-8", "ignore").encode()
    tail = line[-(room - room // 2) :].decode("utf-8", "ignore").encode()
    return head + _CUT + tail


def hold_standard_streams() -> None:
    """Open the null device in the place of each closed standard stream; the first thing a program does.

    The next file that is opened would get the free number otherwise, and a journal would be written to as the log.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


class _Channel:
    """One way to write without waiting. ``put`` returns how much was taken; raises OSError, EAGAIN without room."""

    def __init__(self, descriptor: int, *, owned: bool = False) -> None:
        self._descriptor = descriptor
        self._owned = owned

    def put(self, line: bytes) -> int:
        return os.write(self._descriptor, line)

    def wait(self, seconds: float) -> bool:
        """Wait until there may be room; False when there was none in time."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        if self._owned:
            try:
                os.close(self._descriptor)
            except OSError:
                return


class _File(_Channel):
    """A regular file: there is nobody to wait for but the disk. Its offset is shared, so it is not opened again."""

    def wait(self, seconds: float) -> bool:
        return False


class _Socket(_Channel):
    """A socket, such as the journal's: non-blocking by the call."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def put(self, line: bytes) -> int:
        return self._socket.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close(self) -> None:
        self._socket.close()


class _Borrowed(_Channel):
    """A pipe or terminal of somebody else's, which may not be opened again.

    Non-blocking by the call where the kernel can (pipes, since Linux 5.7); else we look for room first, which leaves
    the moment between the look and the write to another writer.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._can = True

    def put(self, line: bytes) -> int:
        if self._can:
            try:
                return os.pwritev(self._descriptor, [line], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE):
                    raise
                self._can = False
        if not self.wait(0):
            raise BlockingIOError(errno.EAGAIN, "no room")
        return os.write(self._descriptor, line)


def _open(descriptor: int) -> _Channel:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return _File(descriptor)
    if stat.S_ISSOCK(mode):
        return _Socket(descriptor)
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return _Channel(os.open(f"/proc/self/fd/{descriptor}", flags), owned=True)
    except OSError:
        return _Borrowed(descriptor)
