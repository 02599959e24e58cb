"""SQLite's file format, read page by page: what a damaged journal still holds, where SQLite itself would give up.

Every reader here takes any bytes: what is malformed is left out and told, nothing raises but ``OSError``. Rows are
lists of values as they were stored; whether they are as they were written is for others to say.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from actors.plants.journal_wal import DEFAULT_PAGE_SIZE, PAGE_SIZES, read_index, read_wal

INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE = 2, 5, 10, 13
_TYPES = frozenset({INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE})
FILE_HEADER_BYTES = 100
PAYLOAD_BYTES_MAX = 64_000_000
DEPTH_MAX = 20
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Row(NamedTuple):
    """One row (or entry of an index) that could be decoded; ``rowid`` is None in trees without them."""

    rowid: int | None
    values: list[object]


class Gap(NamedTuple):
    """Rows that cannot be read: those with rowids above ``low`` and up to ``high`` (None: no bound is known)."""

    page: int
    low: int | None
    high: int | None
    rows: int | None
    """How many; None where that cannot be told."""


class Malformed(Exception):
    """Bytes that SQLite did not write so; never leaves this module."""


class Pages:
    """The pages of a journal as of its last commit, those in the ``-wal`` file over those in the file itself."""

    def __init__(self, path: str) -> None:
        """Raises ``OSError``."""
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115
        size = os.fstat(self._file.fileno()).st_size
        self._wal = read_wal(path + "-wal", index=read_index(path))
        self.size = self._page_size(size)
        frames = () if self._wal is None or self._wal.page_size != self.size else self._wal.frames
        end = 0 if self._wal is None else self._wal.end
        self._newest = {frame.page_number: frame for frame in frames if frame.is_whole and frame.place < end}
        newest = {number: frame.place for number, frame in self._newest.items()}
        self.count = max(size // self.size, max(self._newest, default=0))
        self.broken = tuple(frame for frame in frames if not frame.is_whole and frame.place < end)
        """Frames of the ``-wal`` file that are damaged; the page may be of any number."""
        self.replaced = {frame for frame in self.broken if newest.get(frame.page_number, 0) > frame.place}
        """Those whose page a later frame has anew."""
        self.wal_fault = "" if self._wal is None else self._wal.fault()
        places = {frame.place for frame in frames}
        self.frames_missing = sum(1 for place in range(end) if place not in places)
        self.frames_missing += 0 if self._wal is None else self._wal.lacking

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def page(self, number: int) -> bytes:
        """The content of a page; empty for one that is not there."""
        frame = self._newest.get(number)
        if frame is not None and self._wal is not None:
            return self._wal.page(frame)
        return self._of_file(number) if 0 < number <= self.count else b""

    def broken_pages(self) -> Iterator[tuple[bytes, bool]]:
        """What damaged frames hold, and whether a later frame has it anew."""
        for frame in self.broken:
            if self._wal is None:
                return
            yield self._wal.page(frame), frame in self.replaced
            if frame not in self.replaced and 0 < frame.page_number <= self.count:
                # It may have been copied into the file itself before it was damaged.
                yield self._of_file(frame.page_number), True

    def free(self) -> set[int] | None:
        """The pages that hold nothing any more; None where their list cannot be read to its end."""
        header = self.page(1)[:FILE_HEADER_BYTES]
        if len(header) < FILE_HEADER_BYTES:
            return None
        trunk, count = struct.unpack(">2I", header[32:40])
        found: set[int] = set()
        while trunk and len(found) < count:
            content = self.page(trunk)
            if not content or trunk in found:
                return None
            following, leaves = struct.unpack(">2I", content[:8])
            if leaves > self.size // 4 - 2:
                return None
            found |= {trunk, *struct.unpack(f">{leaves}I", content[8 : 8 + 4 * leaves])}
            trunk = following
        return found if len(found) == count else None

    def _of_file(self, number: int) -> bytes:
        self._file.seek((number - 1) * self.size)
        content = self._file.read(self.size)
        return content if len(content) == self.size else b""

    def _page_size(self, size: int) -> int:
        self._file.seek(16)
        told = int.from_bytes(self._file.read(2), "big")
        likely = [DEFAULT_PAGE_SIZE, 65536 if told == 1 else told]
        if self._wal is not None and self._wal.header_is_whole:
            likely.insert(0, self._wal.page_size)
        return max((each for each in likely if each in PAGE_SIZES), key=lambda each: self._plausible(each, size))

    def _plausible(self, page_size: int, size: int) -> float:
        """How many of the pages would begin as pages do."""
        count = size // page_size
        found = 0
        for number in range(1, min(count, 200)):
            self._file.seek(number * page_size)
            found += self._file.read(1)[:1] in {bytes([each]) for each in _TYPES}
        return found / max(1, min(count, 200))


class Tree:
    """One b-tree: reads its rows in order, and notes which pages it has."""

    def __init__(self, pages: Pages, root: int) -> None:
        self.pages = pages
        self.root = root
        self.visited: set[int] = set()

    def rows(self) -> Iterator[Row | Gap]:
        """Everything in it, with what cannot be read at its place."""
        yield from self._below(self.root, None, None, 0)

    def _below(self, number: int, low: int | None, high: int | None, depth: int) -> Iterator[Row | Gap]:
        content = self.pages.page(number)
        start = FILE_HEADER_BYTES if number == 1 else 0
        if number in self.visited or depth > DEPTH_MAX or len(content) <= start or content[start] not in _TYPES:
            yield Gap(number, low, high, None)
            return
        self.visited.add(number)
        kind = content[start]
        if kind in (LEAF_TABLE, LEAF_INDEX):
            for found in leaf_rows(self.pages, content, number, self.visited):
                yield found if isinstance(found, Row) else found._replace(low=low, high=high)
            return
        places = list(_cells(content, start))
        if len(places) != _told(content, start):
            yield Gap(number, low, high, None)
        for place in places:
            try:
                child = struct.unpack_from(">I", content, place)[0]
                row, upper = self._between(content, place, kind)
            except (Malformed, struct.error):
                yield Gap(number, low, high, None)
                continue
            yield from self._below(child, low, upper, depth + 1)
            if row is not None:
                yield row
            low = upper
        yield from self._below(struct.unpack_from(">I", content, start + 8)[0], low, high, depth + 1)

    def _between(self, content: bytes, place: int, kind: int) -> tuple[Row | None, int | None]:
        """What stands between two children: a rowid, or in an index a row of its own."""
        if kind == INTERIOR_TABLE:
            return None, _signed(_varint(content, place + 4)[0])
        values = _index_cell(self.pages, content, place + 4, self.visited)
        return Row(None, values), None


def leaf_rows(pages: Pages, content: bytes, number: int, visited: set[int]) -> Iterator[Row | Gap]:
    """The rows of one leaf; overflow pages are added to ``visited``. Nothing for another kind of page."""
    start = FILE_HEADER_BYTES if number == 1 else 0
    if len(content) <= start or content[start] not in (LEAF_TABLE, LEAF_INDEX):
        return
    places = list(_cells(content, start))
    begins = int.from_bytes(content[start + 5 : start + 7], "big")
    if len(places) != _told(content, start) or (places and min(places) != begins):
        # Of more rows than it leads to, or of fewer: the newest one stands where the rows begin.
        yield Gap(number, None, None, None)
    for place in places:
        try:
            if content[start] == LEAF_TABLE:
                yield _table_cell(pages, content, place, visited)
            else:
                yield Row(None, _index_cell(pages, content, place, visited))
        except Malformed:
            yield Gap(number, None, None, 1)


def _told(content: bytes, start: int) -> int:
    """How many cells a page says that it has."""
    return int.from_bytes(content[start + 3 : start + 5], "big")


def _cells(content: bytes, start: int) -> Iterator[int]:
    begin = start + (12 if content[start] in (INTERIOR_INDEX, INTERIOR_TABLE) else 8)
    for index in range(min(_told(content, start), (len(content) - begin) // 2)):
        place = int.from_bytes(content[begin + 2 * index : begin + 2 * index + 2], "big")
        if begin <= place < len(content):
            yield place


def _table_cell(pages: Pages, content: bytes, place: int, visited: set[int]) -> Row:
    length, place = _varint(content, place)
    rowid, place = _varint(content, place)
    payload = _payload(pages, content, place, length, pages.size - 35, visited)
    return Row(_signed(rowid), _record(payload))


def _index_cell(pages: Pages, content: bytes, place: int, visited: set[int]) -> list[object]:
    length, place = _varint(content, place)
    local_max = (pages.size - 12) * 64 // 255 - 23
    return _record(_payload(pages, content, place, length, local_max, visited))


def _payload(pages: Pages, content: bytes, place: int, length: int, local_max: int, visited: set[int]) -> bytes:
    if length > PAYLOAD_BYTES_MAX:
        raise Malformed
    local = length
    if length > local_max:
        local_min = (pages.size - 12) * 32 // 255 - 23
        local = local_min + (length - local_min) % (pages.size - 4)
        local = local if local <= local_max else local_min
    found = bytearray(content[place : place + local])
    if len(found) < local:
        raise Malformed
    following = 0 if local == length else int.from_bytes(content[place + local : place + local + 4], "big")
    while len(found) < length:
        overflow = pages.page(following)
        if not overflow or following in visited:
            raise Malformed
        visited.add(following)
        found += overflow[4 : 4 + length - len(found)]
        following = int.from_bytes(overflow[:4], "big")
    return bytes(found)


def _record(payload: bytes) -> list[object]:
    header_end, place = _varint(payload, 0)
    if not place <= header_end <= len(payload):
        raise Malformed
    body, values = header_end, []
    while place < header_end:
        kind, place = _varint(payload, place)
        value, body = _value(payload, kind, body)
        values.append(value)
    if place != header_end or body != len(payload):
        raise Malformed
    return values


def _value(payload: bytes, kind: int, place: int) -> tuple[object, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], place
    if kind in (10, 11):
        raise Malformed
    length = _INTEGER_BYTES.get(kind, 8 if kind == 7 else (kind - 12) // 2)
    content = payload[place : place + length]
    if len(content) < length:
        raise Malformed
    place += length
    if kind == 7:
        return struct.unpack(">d", content)[0], place
    if kind < 7:
        return int.from_bytes(content, "big", signed=True), place
    if kind % 2 == 0:
        return content, place
    try:
        return content.decode(), place
    except UnicodeDecodeError:
        raise Malformed from None


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        if place + index >= len(content):
            raise Malformed
        byte = content[place + index]
        if index == 8:
            return value << 8 | byte, place + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    raise Malformed


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
