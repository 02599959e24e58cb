"""What systemd is told through ``sd_notify``: ready, alive, stopping, and a line of status. Without systemd, nothing.

The protocol is datagrams of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names; see sd_notify(3).
"""

import os
import socket
from collections.abc import MutableMapping

from nightdesk.logs import get_logger

FEEDS_PER_WATCHDOG = 2
"""The watchdog is fed at half of its time, as sd_watchdog_enabled(3) advises."""

SILENCE_BEATS_MAX = 2.5
"""Beats of root that may be missing before the watchdog is fed no more, where its own time is shorter than that."""

MICROSECONDS = 1_000_000


class Notifier:
    """One service's word to its manager. No call waits, and none raises: it is advice to a process that may be gone."""

    def __init__(self, address: str | None, watchdog_s: float | None, heartbeat_s: float) -> None:
        self._address = address
        self._feed_every_s = watchdog_s / FEEDS_PER_WATCHDOG if watchdog_s is not None else None
        self._silence_max_s = max(self._feed_every_s or 0.0, SILENCE_BEATS_MAX * heartbeat_s)
        self._feed_at_s = 0.0
        self._starving = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], heartbeat_s: float) -> "Notifier":
        """Read and remove the variables: what is below this process has nothing to say to the service manager."""
        address = environ.pop("NOTIFY_SOCKET", None)
        microseconds = environ.pop("WATCHDOG_USEC", "")
        watchdog_pid = environ.pop("WATCHDOG_PID", "")
        meant = watchdog_pid in ("", str(os.getpid()))
        watchdog_s = int(microseconds) / MICROSECONDS if microseconds.isdecimal() and int(microseconds) else None
        return cls(address, watchdog_s if meant else None, heartbeat_s)

    def booting(self) -> None:
        """The tree is being started."""
        self._send("STATUS=starting")

    def ready(self) -> None:
        """The whole tree has started; a unit of ``Type=notify`` is active from now on."""
        self._send("READY=1", "STATUS=running")

    def stopping(self, reason: str) -> None:
        """The system stops in order."""
        self._send("STOPPING=1", f"STATUS=stopping: {reason}")

    def ended(self, code: int) -> None:
        """The last word; its number is the exit code."""
        self._send(f"STATUS=ended with exit code {code}")

    def feed(self, now_s: float, root_heard_s: float) -> None:
        """Called in each turn: keep the watchdog quiet, but only as long as root has been heard lately.

        Root in turn watches its branches, and they their children: a tree that does not beat up to here is hung.
        """
        if self._feed_every_s is None or now_s < self._feed_at_s:
            return
        silent_s = now_s - root_heard_s
        if silent_s > self._silence_max_s:
            if not self._starving:
                self._starving = True
                get_logger().error("watchdog_starved", silent_s=round(silent_s, 1))
                self._send("STATUS=root is silent: the watchdog is not fed")
            return
        if self._starving:
            self._starving = False
            self._send("STATUS=running")
        self._feed_at_s = now_s + self._feed_every_s
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A path, or a name in the abstract namespace, which is written with "@" for its first byte, a zero.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(text.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, address)
        except OSError as error:
            get_logger().warning("notify_failed", reason=str(error), text=text)
