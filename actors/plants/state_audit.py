"""Who let trading go on, and who stopped it: one JSON line for each change, in ``state_dir/trading_state.jsonl``."""

import contextlib
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from nightdesk.clocks import Clock
from nightdesk.messages import TradingState

FILE_NAME = "trading_state.jsonl"
TEXT_MAX = 500
"""Characters of one value; a line stays shorter than a page of memory, so that it is written whole."""
TAIL_BYTES = 65_536
"""Of the file's end, in which its last change of state is looked for."""


class Author(NamedTuple):
    """Who asked for it: a rule by its name, or a user by what the kernel says of the control socket's other end."""

    rule: str = ""
    uid: int = -1
    pid: int = -1


BY_ITSELF = Author("order_plant")


class StateAudit:
    """Appends lines and has each on the disk before it returns.

    A file that cannot be written keeps nobody from stopping: ``on_failure`` is told, once until it can be written.
    """

    def __init__(self, state_dir: str, clock: Clock, on_failure: Callable[[str], None]) -> None:
        self.path = os.path.join(state_dir, FILE_NAME)
        self._clock = clock
        self._on_failure = on_failure
        self._has_failed = False

    def write(self, what: str, author: Author, **fields: str | int | bool) -> None:
        """One line: ``what`` happened, by whom, and what belongs to it."""
        who: dict[str, str | int] = {"rule": author.rule} if author.rule else {"uid": author.uid, "pid": author.pid}
        self._append(self._clock.now_ns(), what, who, fields)

    def catch_up(self, changes: Iterable[tuple[int, TradingState, str, int]]) -> None:
        """Append the journal's changes of state (number, state, reason, time) that have no line.

        A process that is killed between the journal and this file leaves one without.
        """
        for number, trading_state, reason, ts_ns in changes:
            fields: dict[str, str | int | bool] = {"trading_state": trading_state.value, "reason": reason}
            self._append(ts_ns, "trading_state", {"found": "in the journal"}, {**fields, "number": number})

    def last_number(self) -> int | None:
        """The number of the newest change of state that has a line; None where the file has none."""
        try:
            with open(self.path, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            with contextlib.suppress(orjson.JSONDecodeError):
                found = orjson.loads(line)
                if isinstance(found, dict) and isinstance(found.get("number"), int):
                    return int(found["number"])
        return None

    def _append(self, ts_ns: int, what: str, who: dict[str, str | int], fields: dict[str, str | int | bool]) -> None:
        time = datetime.fromtimestamp(ts_ns / 1e9, UTC).isoformat(timespec="microseconds")
        cut = {key: value[:TEXT_MAX] if isinstance(value, str) else value for key, value in fields.items()}
        # Alone on its line even where a crash has torn the one before.
        payload = orjson.dumps({"time": time, "what": what, **who, **cut}) + b"\n"
        try:
            self._write(payload)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                self._on_failure(f"{self.path}: {error.strerror}")
        else:
            self._has_failed = False

    def _write(self, payload: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                payload = b"\n" + payload
            os.write(descriptor, payload)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not size:
            self._sync_folder()

    def _sync_folder(self) -> None:
        """A new file's name is as much as its content."""
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
