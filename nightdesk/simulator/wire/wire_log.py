"""What went over the wire: every frame received and sent, connections, and injected faults, with their times.

The oracle of chaos tests. It is a record, not a journal: records wait in memory for the next turn of the housekeeping
(a quarter of a second), so ``kill -9`` loses that much. Orders and fills lose nothing: they are in the exchange's own
log before anybody hears of them (``venue/log_file.py``). A disk without room ends the record, never the exchange.

A file is a magic line and records: a header (kind, length, wall time in nanoseconds, number) and a body. The number is
the connection's, and of frames that were sent the number of a *group*: the connections that got this very frame, named
by an earlier record of the same file. So a tick is written once however many read it, and still says who got it.
"""

import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

import orjson
from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.simulator.wire.framing import Framing, OutgoingFrame, detect_framing, unwrap
from nightdesk.simulator.wire.peek import template_of
from nightdesk.simulator.wire.templates import CLASSES, MalformedFrameError, UnknownTemplateError, decode

WIRE_LOG_FILE = "exchange-wire.log"
"""The file that is being written, in ``state_dir``; older ones have a number behind the name."""

MAGIC = b"NIGHTDESK WIRE LOG 1\n"
HEADER = struct.Struct("<BIqI")
GROUP_MEMBER = struct.Struct("<I")
CUT_LENGTH = struct.Struct("<I")
FRAME_BYTES_KEPT_MAX = 65_536
"""A longer frame is cut; its whole length is kept."""

SEGMENTS = 8
"""The space is divided by this: so much at most is dropped at once."""
WAITING_MAX = 512
"""Records that wait for the housekeeping; with more they are written at once."""
WRITE_BYTES_MAX = 1 << 20
"""Of messages in one write."""
GROUPS_MAX = 4096
"""Groups that are remembered; then they are named anew."""

LOGIN_REQUEST = 10
_MASK = b"*"


class Kind(IntEnum):
    """What a record tells; ``CUT`` is added to the kind of a frame that was too long."""

    STARTED = 1
    OPENED = 2
    CLOSED = 3
    RECEIVED = 4
    MALFORMED = 5
    TEXT = 6
    SENT = 7
    SPOILED = 8
    GROUP = 9
    FAULT = 10


CUT = 0x80
SPOILED_GROUP = 0
"""The one connection that gets a damaged frame is named anew before each of them."""
_SENT = int(Kind.SENT)
_READY = -1


class WireLog:
    """Writes the record; nothing here ever raises for the disk's sake."""

    def __init__(
        self,
        folder: Path | str,
        *,
        limit_bytes: int,
        clock: Clock,
        logger: FilteringBoundLogger,
        secrets: Iterable[str] = (),
    ) -> None:
        """Begins a new file; ``secrets`` (passwords) are not written down wherever they stand before a login."""
        self.path = Path(folder) / WIRE_LOG_FILE
        self.records = 0
        """Records that were written."""
        self.missed = 0
        """Records that were not written because the disk took no more."""
        self.is_stopped = False
        self._now_ns = clock.now_ns
        self._logger = logger
        self._limit_bytes = limit_bytes
        self._segment_bytes = max(1, limit_bytes // SEGMENTS)
        self._write_bytes_max = min(WRITE_BYTES_MAX, self._segment_bytes // 2)
        self._secrets = [secret.encode() for secret in secrets if secret]
        # Lists of bytes and numbers side by side, not of objects: the garbage collector has nothing to look at.
        self._waiting: list[bytes] = []
        """Messages, and records that are ready."""
        self._times: list[int] = []
        self._receivers: list[int | list[int]] = []
        """Of each message one connection, or several; ``_READY`` for a record."""
        self._more: list[int] | None = None
        """The connections of the newest frame once there are two."""
        self._newest: OutgoingFrame | None = None
        self._groups: dict[tuple[int, ...], int] = {}
        self._group_number = 0
        self._fd = -1
        self._size = 0
        self._next_segment()
        self._record(Kind.STARTED, 0, b"")

    def opened(self, number: int, peer: str) -> None:
        """A connection was made."""
        self._record(Kind.OPENED, number, orjson.dumps({"peer": peer}))

    def closed(self, number: int, reason: str, unsent_frames: int) -> None:
        """A connection ended; frames that were sent but still waited for the socket are counted."""
        self._record(Kind.CLOSED, number, orjson.dumps({"reason": reason, "unsent_frames": unsent_frames}))

    def received(self, number: int, frame: bytes | str, framing: Framing | None, *, is_logged_in: bool) -> None:
        """A client's frame as it came; passwords in it are masked. ``framing`` is None for a connection's first one."""
        if isinstance(frame, str):
            self._frame(Kind.TEXT, number, self._masked(frame.encode(errors="replace"), is_logged_in))
            return
        try:
            payload = unwrap(frame, framing or detect_framing(frame))
        except MalformedFrameError:
            self._frame(Kind.MALFORMED, number, self._masked(frame, is_logged_in))
            return
        template_id = template_of(payload)
        if template_id == LOGIN_REQUEST:
            payload = _login_without_password(payload)
        kind: int = Kind.RECEIVED if template_id in CLASSES else Kind.MALFORMED
        self._frame(kind, number, self._masked(payload, is_logged_in))

    def sent(self, frame: OutgoingFrame, number: int) -> None:
        """A frame was queued for a connection; the same object for the next ones makes no further record."""
        # Twenty thousand times a second: what can be done later, in one go, is done when the records are written.
        if frame is self._newest:
            if self._more is None:
                self._receivers[-1] = self._more = [self._receivers[-1]]  # type: ignore[list-item]
            self._more.append(number)
            return
        if frame.is_spoiled:
            self._record(Kind.GROUP, SPOILED_GROUP, GROUP_MEMBER.pack(number))
            self._frame(Kind.SPOILED, SPOILED_GROUP, frame.payload)
            return
        if len(self._waiting) >= WAITING_MAX:
            self.flush()
        self._newest, self._more = frame, None
        self._waiting.append(frame.payload)
        self._times.append(self._now_ns())
        self._receivers.append(number)

    def fault(self, **detail: object) -> None:
        """A fault began, acted, or ended."""
        self._record(Kind.FAULT, 0, orjson.dumps(detail))

    def flush(self) -> None:
        """Hand what waits to the operating system; a full file is put aside and a new one begun."""
        count, position = len(self._waiting), 0
        while position < count and self._fd >= 0:
            parts, end = self._rendered(position)
            if not self._write(b"".join(parts)):
                break
            self.records += end - position
            position = end
            if self._size >= self._segment_bytes:
                self._next_segment()
        self.missed += count - position
        for each in (self._waiting, self._times, self._receivers):
            each.clear()
        self._newest = self._more = None

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.missed:
            self._logger.error("exchange_wire_log_incomplete", records_missed=self.missed)

    def _masked(self, payload: bytes, is_logged_in: bool) -> bytes:
        if not is_logged_in:
            for secret in self._secrets:
                payload = payload.replace(secret, _MASK * len(secret))
        return payload

    def _rendered(self, start: int) -> tuple[list[bytes], int]:
        """Records as bytes, from one of those that wait up to the one at which there are enough for one write."""
        parts: list[bytes] = []
        pack, kind, newest, group, size = HEADER.pack, _SENT, None, 0, 0
        waiting = zip(self._waiting[start:], self._times[start:], self._receivers[start:], strict=True)
        for end, (payload, ts_ns, receivers) in enumerate(waiting, start + 1):
            if receivers == _READY:
                parts.append(payload)
            else:
                if receivers != newest:
                    newest = receivers
                    group = self._group_of(receivers, ts_ns, parts)
                if len(payload) > FRAME_BYTES_KEPT_MAX:
                    payload = _cut(payload)
                    parts += (pack(kind | CUT, len(payload), ts_ns, group), payload)
                else:
                    parts += (pack(kind, len(payload), ts_ns, group), payload)
            size += len(payload)
            if size > self._write_bytes_max:
                return parts, end
        return parts, len(self._waiting)

    def _group_of(self, receivers: int | list[int], ts_ns: int, parts: list[bytes]) -> int:
        """The number of a group; a new one is named by a record of its own."""
        key = (receivers,) if isinstance(receivers, int) else tuple(receivers)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS_MAX:
                self._groups.clear()
            self._group_number += 1
            group = self._groups[key] = self._group_number
            body = b"".join(map(GROUP_MEMBER.pack, key))
            parts.append(HEADER.pack(Kind.GROUP, len(body), ts_ns, group) + body)
        return group

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if len(payload) > FRAME_BYTES_KEPT_MAX:
            kind, payload = kind | CUT, _cut(payload)
        self._record(kind, number, payload)

    def _record(self, kind: int, number: int, body: bytes) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self.flush()
        now_ns = self._now_ns()
        self._newest = self._more = None
        self._waiting.append(HEADER.pack(kind, len(body), now_ns, number) + body)
        self._times.append(now_ns)
        self._receivers.append(_READY)

    def _write(self, payload: bytes) -> bool:
        try:
            while payload:
                written = os.write(self._fd, payload)
                self._size += written
                payload = payload[written:]
        except OSError as error:
            self._stop(error)
            return False
        return True

    def _stop(self, error: OSError) -> None:
        self.is_stopped = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._logger.error("exchange_wire_log_stopped", path=str(self.path), reason=error.strerror or str(error))

    def _next_segment(self) -> None:
        """Put the present file aside, drop the oldest ones, and begin a new one."""
        try:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            older = segments(self.path)[:-1] if self.path.exists() else segments(self.path)
            if self.path.exists():
                number = int(older[-1].name.rpartition(".")[2]) + 1 if older else 1
                aside = self.path.with_name(f"{WIRE_LOG_FILE}.{number:08d}")
                self.path.rename(aside)
                older.append(aside)
            sizes = [(path, path.stat().st_size) for path in older]
            room = self._limit_bytes - self._segment_bytes - self._write_bytes_max - FRAME_BYTES_KEPT_MAX
            while sizes and sum(size for _, size in sizes) > room:
                sizes.pop(0)[0].unlink()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            self._stop(error)
            return
        self._size = 0
        # Each file names its own groups: the one before may be dropped.
        self._groups.clear()
        self._write(MAGIC)


def segments(path: Path) -> list[Path]:
    """The files of a record, oldest first; the one that is being written is the last."""
    older = sorted(each for each in path.parent.glob(f"{path.name}.*") if each.name.rpartition(".")[2].isdigit())
    return [*older, path] if path.exists() else older


def _cut(payload: bytes) -> bytes:
    return CUT_LENGTH.pack(len(payload)) + payload[:FRAME_BYTES_KEPT_MAX]


def _login_without_password(payload: bytes) -> bytes:
    try:
        _, request = decode(payload)
    except (MalformedFrameError, UnknownTemplateError):
        return b""
    request.password = _MASK.decode() * 8
    return bytes(request.SerializeToString())
