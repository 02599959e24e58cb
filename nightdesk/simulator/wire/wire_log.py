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
from bisect import bisect_left
from collections.abc import Iterable
from enum import IntEnum
from itertools import accumulate, chain, pairwise, repeat
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
"""Frames, or other records, that wait for the housekeeping; with more they are written at once."""
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
        self._payloads: list[bytes] = []
        self._times: list[int] = []
        self._receivers: list[int] = []
        """Of all frames one behind the other: the connections that each went to."""
        self._starts: list[int] = []
        """Where each frame's receivers begin."""
        self._others: list[tuple[int, bytes]] = []
        """Records that are ready, each with the number of frames before it."""
        self.newest: OutgoingFrame | None = None
        """The frame that was sent last; while it stays so, further receivers of it need nothing but ``also``."""
        self.also = self._receivers.append
        """``also(number)``: the newest frame was queued for one more connection."""
        self._groups: dict[tuple[int, ...], int] = {}
        self._group_number = 0
        self._parts: list[bytes] = []
        """Of the next write, with so many records in it."""
        self._parts_records = 0
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
        if frame is self.newest:
            self.also(number)
            return
        if frame.is_spoiled:
            named = _group_record(SPOILED_GROUP, (number,), self._now_ns())
            self._frame(Kind.SPOILED, SPOILED_GROUP, frame.payload, named)
            return
        if len(self._payloads) >= WAITING_MAX:
            self.flush()
        self.newest = frame
        self._payloads.append(frame.payload)
        self._times.append(self._now_ns())
        self._starts.append(len(self._receivers))
        self._receivers.append(number)

    def fault(self, **detail: object) -> None:
        """A fault began, acted, or ended."""
        self._record(Kind.FAULT, 0, orjson.dumps(detail))

    def flush(self) -> None:
        """Hand what waits to the operating system; a full file is put aside and a new one begun."""
        done = 0
        for frames_before, record in (*self._others, (len(self._payloads), b"")):
            while done < frames_before and self._fd >= 0:
                done = self._add_frames(done, frames_before)
            if record:
                self._make_room(len(record))
                self._add(record, 1)
        self._write_out()
        self.missed += len(self._payloads) - done
        for each in (self._payloads, self._times, self._receivers, self._starts, self._others):
            each.clear()
        self.newest = None

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

    def _add_frames(self, begin: int, end: int) -> int:
        """Make records of waiting frames, of as many as one write takes; the first one that is left."""
        payloads = self._payloads[begin:end]
        lengths = list(map(len, payloads))
        if sum(lengths) > self._write_bytes_max:
            end = begin + bisect_left(list(accumulate(lengths)), self._write_bytes_max) + 1
            del payloads[end - begin :], lengths[end - begin :]
        # Before the groups are named: they are named in the file in which the frames will stand.
        self._make_room(sum(lengths) + HEADER.size * len(lengths))
        kinds: Iterable[int] = repeat(_SENT)
        if max(lengths) > FRAME_BYTES_KEPT_MAX:
            is_long = [length > FRAME_BYTES_KEPT_MAX for length in lengths]
            kinds = [_SENT | CUT if each else _SENT for each in is_long]
            payloads = [_cut(payload) if each else payload for payload, each in zip(payloads, is_long, strict=True)]
            lengths = list(map(len, payloads))
        # All of it in one go: the loop over the records is the interpreter's own, not one of ours.
        headers = map(HEADER.pack, kinds, lengths, self._times[begin:end], self._groups_of(begin, end))
        self._add(b"".join(chain.from_iterable(zip(headers, payloads, strict=True))), end - begin)
        return end

    def _groups_of(self, begin: int, end: int) -> Iterable[int]:
        """The groups' numbers of some frames; those that have none yet are named by records of their own."""
        starts = [*self._starts[begin : end + 1], len(self._receivers)][: end - begin + 1]
        receivers = self._receivers[starts[0] : starts[-1]]
        width = starts[1] - starts[0]
        is_regular = starts == list(range(starts[0], starts[-1] + 1, width))
        if is_regular and receivers == receivers[:width] * (end - begin):
            # The same readers all the time: nearly always.
            return repeat(self._group_of(tuple(receivers[:width]), self._times[begin]))
        keys = [tuple(self._receivers[first:behind]) for first, behind in pairwise(starts)]
        return [self._group_of(key, ts_ns) for key, ts_ns in zip(keys, self._times[begin:end], strict=True)]

    def _group_of(self, key: tuple[int, ...], ts_ns: int) -> int:
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS_MAX:
                self._groups.clear()
            self._group_number += 1
            group = self._groups[key] = self._group_number
            self._add(_group_record(group, key, ts_ns), 0)
        return group

    def _frame(self, kind: int, number: int, payload: bytes, before: bytes = b"") -> None:
        if len(payload) > FRAME_BYTES_KEPT_MAX:
            kind, payload = kind | CUT, _cut(payload)
        self._record(kind, number, payload, before)

    def _record(self, kind: int, number: int, body: bytes, before: bytes = b"") -> None:
        """``before`` is what this record cannot be without: it stands before it in the same file."""
        if len(self._others) >= WAITING_MAX:
            self.flush()
        self.newest = None
        record = before + HEADER.pack(kind, len(body), self._now_ns(), number) + body
        self._others.append((len(self._payloads), record))

    def _make_room(self, size: int) -> None:
        """Write what was added so far if so many bytes more are too much for one write."""
        if sum(map(len, self._parts)) + size > self._write_bytes_max:
            self._write_out()

    def _add(self, part: bytes, records: int) -> None:
        self._parts.append(part)
        self._parts_records += records

    def _write_out(self) -> None:
        if not self._parts:
            return
        if self._fd >= 0 and self._write(b"".join(self._parts)):
            self.records += self._parts_records
            if self._size >= self._segment_bytes:
                self._next_segment()
        else:
            self.missed += self._parts_records
        self._parts.clear()
        self._parts_records = 0

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


def _group_record(group: int, members: tuple[int, ...], ts_ns: int) -> bytes:
    body = b"".join(map(GROUP_MEMBER.pack, members))
    return HEADER.pack(Kind.GROUP, len(body), ts_ns, group) + body


def _cut(payload: bytes) -> bytes:
    return CUT_LENGTH.pack(len(payload)) + payload[:FRAME_BYTES_KEPT_MAX]


def _login_without_password(payload: bytes) -> bytes:
    try:
        _, request = decode(payload)
    except (MalformedFrameError, UnknownTemplateError):
        return b""
    request.password = _MASK.decode() * 8
    return bytes(request.SerializeToString())
