"""Every command and its result, one JSON line each, in ``state_dir/control_audit.log``."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson

from nightdesk.clocks import Clock

AUDIT_BYTES_MAX = 50_000_000
"""Then the file becomes ``control_audit.log.1``, replacing the one before."""
AUDITED_TEXT_MAX = 1_000


class AuditLog:
    """Appends lines; each is one write, so that a crash tears at most the last one.

    A file that cannot be written (a full disk) must not take the operator's commands away: ``on_failure`` is told, once
    until a line can be written again, and the command goes on.
    """

    def __init__(self, path: Path, clock: Clock, on_failure: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_failure = on_failure
        self._descriptor: int | None = None
        self._size = 0
        self._failed = False

    def write(self, *, uid: int, pid: int, verb: str, arguments: Mapping[str, object], result: str) -> None:
        """Record who asked for what and how it ended (``ok`` or the error's text)."""
        line = {
            "time": datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC).isoformat(timespec="microseconds"),
            "uid": uid,
            "pid": pid,
            "verb": verb[:AUDITED_TEXT_MAX],
            "arguments": {key[:AUDITED_TEXT_MAX]: str(value)[:AUDITED_TEXT_MAX] for key, value in arguments.items()},
            "result": result[:AUDITED_TEXT_MAX],
        }
        try:
            self._append(orjson.dumps(line) + b"\n")
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._on_failure(f"{self._path}: {error.strerror}")
        else:
            self._failed = False

    def open(self) -> None:
        """Make the file before the first command, as far as that can be done."""
        try:
            self._opened()
        except OSError as error:
            self._failed = True
            self._on_failure(f"{self._path}: {error.strerror}")

    def close(self) -> None:
        """End writing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, payload: bytes) -> None:
        descriptor = self._opened()
        if self._size + len(payload) > AUDIT_BYTES_MAX:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            descriptor = self._opened()
        self._size += os.write(descriptor, payload)

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor
