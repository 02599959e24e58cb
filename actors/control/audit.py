"""Every command and its result, one JSON line each, in ``state_dir/control_audit.log``."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson

from nightdesk.clocks import Clock

AUDIT_BYTES_MAX = 50_000_000
"""Then the file becomes ``control_audit.log.1``, replacing the one before."""
AUDITED_TEXT_MAX = 1_000


class AuditLog:
    """Appends lines; each is one write, so that a crash tears at most the last one."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

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
        payload = orjson.dumps(line) + b"\n"
        if self._size + len(payload) > AUDIT_BYTES_MAX:
            self._rotate()
        self._size += os.write(self._descriptor, payload)

    def close(self) -> None:
        """End writing."""
        os.close(self._descriptor)

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._descriptor = self._open()
        self._size = 0

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._path, flags, 0o600)
