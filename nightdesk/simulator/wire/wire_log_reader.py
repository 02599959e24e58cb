"""Reads the wire log: the oracle's questions, and its lines for a person."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import orjson

from nightdesk.errors import ConfigurationError, JournalError
from nightdesk.simulator.wire.peek import template_of
from nightdesk.simulator.wire.templates import MESSAGE_NAMES, MalformedFrameError, UnknownTemplateError, decode
from nightdesk.simulator.wire.wire_log import (
    CUT,
    CUT_LENGTH,
    FRAME_BYTES_KEPT_MAX,
    GROUP_MEMBER,
    HEADER,
    MAGIC,
    WIRE_LOG_FILE,
    Kind,
    segments,
)

TICKS = (150, 151)
LOGIN_REQUEST = 10
LOGIN_ANSWER = 11
TEXT_LENGTH_MAX = 2_000
"""Of one message in a line for a person."""

_BODY_BYTES_MAX = 1 << 26
_NS_PER_S = 1_000_000_000


class Record(msgspec.Struct, frozen=True):
    """One thing that happened on the wire, by the machine's clock."""

    kind: Kind
    ts_ns: int
    connections: tuple[int, ...]
    """Of a frame that was sent: everybody who got it; otherwise the one connection, or nobody."""
    body: bytes
    length: int
    """Of the frame on the wire; more than ``len(body)`` when it was cut."""

    @property
    def template_id(self) -> int | None:
        """The message's template id; None for what is no message."""
        is_message = self.kind in (Kind.RECEIVED, Kind.MALFORMED, Kind.SENT, Kind.SPOILED)
        return template_of(self.body) if is_message else None

    @property
    def message(self) -> Any:
        """The decoded message; None for what is no message that is known."""
        try:
            return decode(self.body)[1] if self.template_id is not None else None
        except (MalformedFrameError, UnknownTemplateError):
            return None

    @property
    def detail(self) -> dict[str, Any]:
        """Of connections and faults: what was noted."""
        has_detail = self.kind in (Kind.OPENED, Kind.CLOSED, Kind.FAULT)
        found: dict[str, Any] = orjson.loads(self.body) if has_detail else {}
        return found


class Connection(msgspec.Struct):
    """One connection as the record has it; ``plant`` is the wire's number."""

    number: int
    opened_ns: int
    user: str = ""
    plant: int = 0
    closed_ns: int | None = None
    reason: str = ""
    unsent_frames: int = 0


def read_records(path: Path | str) -> Iterator[Record]:
    """Every record of a wire log, oldest first; ``path`` is the newest file or the folder that it is in.

    A torn end, as a kill leaves it, ends its file. Raises ``ConfigurationError`` where there is no log and
    ``JournalError`` for a file that is none.
    """
    path = Path(path)
    if path.is_dir():
        path /= WIRE_LOG_FILE
    files = segments(path)
    if not files:
        raise ConfigurationError(f"{path}: there is no wire log; name the exchange's state_dir, or look at wire_log_mb")
    for each in files:
        try:
            with each.open("rb") as file:
                yield from _read_file(each, file)
        except FileNotFoundError:
            # The oldest file may be dropped while it is waited for.
            continue
        except OSError as error:
            raise ConfigurationError(f"{each}: cannot be read ({error.strerror}); check its mode") from None


def _read_file(path: Path, file: BinaryIO) -> Iterator[Record]:
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        if MAGIC.startswith(magic):
            return
        raise JournalError(f"{path}: is no wire log of this version; move it away")
    groups: dict[int, tuple[int, ...]] = {}
    for header in iter(partial(file.read, HEADER.size), b""):
        if len(header) < HEADER.size:
            return
        kind, length, ts_ns, number = HEADER.unpack(header)
        place = file.tell() - HEADER.size
        if kind & ~CUT not in Kind.__members__.values() or length > _BODY_BYTES_MAX:
            raise JournalError(f"{path}: is damaged at byte {place}; move it away")
        body = file.read(length)
        if len(body) < length:
            return
        if kind == Kind.GROUP:
            groups[number] = tuple(member for (member,) in GROUP_MEMBER.iter_unpack(body))
        else:
            yield _record(path, place, groups, kind, ts_ns, number, body)


def _record(
    path: Path, place: int, groups: dict[int, tuple[int, ...]], kind: int, ts_ns: int, number: int, body: bytes
) -> Record:
    whole = len(body)
    if kind & CUT:
        (whole,) = CUT_LENGTH.unpack_from(body)
        body = body[CUT_LENGTH.size :]
    known = Kind(kind & ~CUT)
    connections: tuple[int, ...] = (number,) if number else ()
    if known in (Kind.SENT, Kind.SPOILED):
        if number not in groups:
            raise JournalError(f"{path}: is damaged at byte {place}: nobody is named who got the frame; move it away")
        connections = groups[number]
    return Record(known, ts_ns, connections, body, whole)


class WireLogReader:
    """Questions to a wire log; each reads it anew, so that it may still be growing."""

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def records(self, since_ns: int = 0) -> Iterator[Record]:
        """All records from a moment on."""
        return (record for record in read_records(self._path) if record.ts_ns >= since_ns)

    def received(self, template_id: int) -> list[Record]:
        """Every request of this template."""
        return self._where(lambda each: each.kind is Kind.RECEIVED and each.template_id == template_id)

    def sent(self, template_id: int) -> list[Record]:
        """Every frame of this template that was sent to anybody."""
        return self._where(lambda each: each.kind is Kind.SENT and each.template_id == template_id)

    def faults(self) -> list[dict[str, Any]]:
        """What was injected, what it did, and when it ended."""
        return [each.detail | {"ts_ns": each.ts_ns} for each in self.records() if each.kind is Kind.FAULT]

    def ticks_sent_to(self, connection: int) -> list[Record]:
        """Every trade and quote that this connection was sent, images of a subscription's start left out."""
        ticks = self._where(
            lambda each: each.kind is Kind.SENT and connection in each.connections and each.template_id in TICKS
        )
        return [each for each in ticks if not getattr(each.message, "is_snapshot", False)]

    def connections(self) -> dict[int, Connection]:
        """Every connection by its number, with who logged in on it and how it ended."""
        found: dict[int, Connection] = {}
        asked: dict[int, Any] = {}
        for record in self.records():
            if record.kind is Kind.SENT and record.template_id == LOGIN_ANSWER:
                _note_login(found, asked, record)
            if len(record.connections) != 1:
                continue
            (number,) = record.connections
            if record.kind is Kind.OPENED:
                found[number] = Connection(number, record.ts_ns)
            elif record.kind is Kind.CLOSED and number in found:
                found[number].closed_ns = record.ts_ns
                found[number].reason = record.detail["reason"]
                found[number].unsent_frames = record.detail["unsent_frames"]
            elif record.kind is Kind.RECEIVED and record.template_id == LOGIN_REQUEST:
                asked[number] = record.message
        return found

    def _where(self, wanted: Callable[[Record], bool]) -> list[Record]:
        return [record for record in self.records() if wanted(record)]


def _note_login(found: dict[int, Connection], asked: dict[int, Any], record: Record) -> None:
    (number,) = record.connections
    request, answer = asked.get(number), record.message
    if number in found and request is not None and list(answer.rp_code) == ["0"]:
        found[number].user, found[number].plant = request.user, request.infra_type


def lines_of(path: Path | str, since_s: float | None) -> Iterator[str]:
    """The record's lines; ``since_s`` leaves out what is older than that before its newest record."""
    since_ns = 0
    if since_s is not None:
        newest_ns = max((record.ts_ns for record in read_records(path)), default=0)
        since_ns = newest_ns - round(since_s * _NS_PER_S)
    return (line_of(record) for record in read_records(path) if record.ts_ns >= since_ns)


def line_of(record: Record) -> str:
    """One record as a line: time, kind, connections, and the message or what was noted."""
    second, nanoseconds = divmod(record.ts_ns, _NS_PER_S)
    stamp = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
    receivers = ",".join(map(str, record.connections[:8])) + ("…" if len(record.connections) > 8 else "")
    return f"{stamp} {record.kind.name.lower():9} {receivers or '-':5} {_text(record)[:TEXT_LENGTH_MAX]}"


def _text(record: Record) -> str:
    if record.detail:
        return orjson.dumps(record.detail).decode()
    message = record.message
    if message is None or record.length > FRAME_BYTES_KEPT_MAX:
        return f"{record.length} bytes {record.body[:64].hex()}"
    template_id = record.template_id or 0
    return f"{template_id} {MESSAGE_NAMES.get(template_id, '')} {_fields(message)}"


def _fields(message: Any) -> str:
    pairs = [(field.name, value) for field, value in message.ListFields() if field.name != "template_id"]
    return " ".join(f"{name}={list(value) if hasattr(value, 'append') else value!r}" for name, value in pairs)
