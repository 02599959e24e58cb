"""Which descriptors are waited for and who is called then; a wake-up for other threads and signal handlers."""

import math
import os
import select
from collections.abc import Callable

from actors.process import own_descriptors

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
_ENDED = select.POLLHUP | select.POLLERR


class Poller:
    """``select.poll`` and not epoll: an epoll set outlives a fork and would go on reporting for closed descriptors."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._watched: set[int] = set()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        own_descriptors.add(self._wake)
        self._poll.register(self._wake, READABLE)

    def set(self, descriptor: int, call: Callable[[], None], *, write: bool = False) -> None:
        """Call when the descriptor is readable or its peer is gone, and with ``write`` when it is writable, too."""
        self._calls[descriptor] = call
        self._poll.register(descriptor, READABLE | WRITABLE if write else READABLE)

    def forget(self, descriptor: int) -> None:
        """Before the descriptor is closed."""
        if self._calls.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def watch(self, descriptors: list[int]) -> None:
        """Replace the set of foreign descriptors, which ``wait`` returns when they are readable."""
        wanted = set(descriptors)
        for descriptor in self._watched - wanted:
            # A descriptor that its owner closed may be one of ours by now, under the same number.
            if descriptor not in self._calls:
                self._poll.unregister(descriptor)
        for descriptor in wanted - self._watched:
            self._poll.register(descriptor, READABLE)
        self._watched = wanted

    def wake(self) -> None:
        """End the present or the next ``wait``. From any thread or signal handler."""
        os.eventfd_write(self._wake, 1)

    def wait(self, timeout_s: float | None) -> list[int]:
        """Wait; the descriptors that something happened to. A signal handler may run within."""
        # Rounded up: a timer that is found not to be due yet would be waited for in a busy loop.
        timeout_ms = None if timeout_s is None else math.ceil(timeout_s * 1000)
        ready = []
        for descriptor, events in self._poll.poll(timeout_ms):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif events & select.POLLNVAL:
                # Its owner closed it; it is waited for no longer, and reported so that its owner looks.
                self._poll.unregister(descriptor)
                self._calls.pop(descriptor, None)
                self._watched.discard(descriptor)
            elif events & (READABLE | WRITABLE | _ENDED):
                ready.append(descriptor)
        return ready

    def dispatch(self, ready: list[int]) -> list[int]:
        """Call whom the descriptors belong to; the watched ones are returned."""
        watched = []
        for descriptor in ready:
            call = self._calls.get(descriptor)
            if call is not None:
                call()
            elif descriptor in self._watched:
                watched.append(descriptor)
        return watched

    def close(self) -> None:
        """Release the wake-up; nothing is waited for any more."""
        if self._wake >= 0:
            own_descriptors.discard(self._wake)
            os.close(self._wake)
            self._wake = -1
