"""The journal's ``-wal`` file, as SQLite documents it: is it whole, and what of it can be read.

SQLite reads it up to the first frame whose checksum is wrong and takes that for its end, so that a flipped byte in its
middle silently undoes every later commit. A process that is killed leaves at most its last frame unfinished; whatever
follows a frame that is not as it was written says that the file was damaged.
"""

import os
import struct
import sys
from array import array
from collections import Counter
from typing import BinaryIO, NamedTuple

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
WAL_MAGIC = 0x377F0682
"""With the lowest bit set the checksums count big-endian words."""
DEFAULT_PAGE_SIZE = 4096
"""SQLite's, which the journal is made with."""
PAGE_SIZES = tuple(512 << shift for shift in range(8))
_MASK = 0xFFFFFFFF
_SHM_HEADER_BYTES = 48
_SHM_SUMMED_BYTES = 40


class Frame(NamedTuple):
    """One page as a transaction left it."""

    place: int
    """From 0, in the order of the file."""
    page_number: int
    commit_pages: int
    """The size of the database in pages after the transaction whose last frame it is; else 0."""
    is_whole: bool
    """Its checksum is right, if that of the frame before it is as it was written."""


class WalIndex(NamedTuple):
    """What SQLite has noted in the ``-shm`` file of the ``-wal`` file beside it; a kill leaves it as it was."""

    frames: int
    salts: tuple[int, int]
    in_database: int
    """How many of them were in the file itself already."""

    def lacks(self, there: int) -> int:
        """How many of its frames are lost where the ``-wal`` file ends after so many."""
        return max(0, self.frames - max(there, self.in_database))


class Wal(NamedTuple):
    """What a ``-wal`` file holds of its present generation; frames of earlier ones are left out."""

    path: str
    page_size: int
    header_is_whole: bool
    frames: tuple[Frame, ...]
    lacking: int
    """How many committed frames were behind its end when it was last written to, as far as anybody knows."""

    @property
    def end(self) -> int:
        """How many frames belong to transactions that were committed."""
        return max((frame.place + 1 for frame in self.frames if frame.commit_pages and frame.is_whole), default=0)

    @property
    def broken(self) -> tuple[int, ...]:
        """Frames that are not as they were written although a later commit is there: damage, whatever ended the writer.

        Behind the last commit anything may stand: what a kill has left, and behind that what an earlier one had left.
        """
        whole = {frame.place for frame in self.frames if frame.is_whole}
        return tuple(place for place in range(self.end) if place not in whole)

    def fault(self) -> str:
        """What is wrong with the file in words; empty for nothing."""
        if not self.header_is_whole:
            return "the header of the -wal file is damaged: none of its commits would be read"
        if self.broken:
            first, of = self.broken[0], self.frames[-1].place + 1
            lost = sum(1 for frame in self.frames if frame.commit_pages and frame.place >= first)
            return f"frame {first + 1} of {of} of the -wal file is damaged: {lost} commits would be lost"
        if self.lacking:
            return f"{self.lacking} frames that were committed are missing at the end of the -wal file"
        return ""

    def page(self, frame: Frame) -> bytes:
        """The page that a frame holds."""
        with open(self.path, "rb") as file:
            file.seek(_offset(frame.place, self.page_size) + FRAME_HEADER_BYTES)
            return file.read(self.page_size)


def read_wal(
    path: str, *, index: WalIndex | None = None, frames_max: int | None = None, from_frame: int = 0
) -> Wal | None:
    """The file as it is; None where there is none, or nothing in it.

    ``index`` is what was noted of it before anybody opened it. ``frames_max`` leaves out what follows: a writer may be
    at work there. ``from_frame`` takes the frames before it for whole, as SQLite has read them. Raises ``OSError``.
    """
    if not os.path.exists(path) or os.path.getsize(path) < WAL_HEADER_BYTES:
        lacking = 0 if index is None else index.lacks(0)
        return Wal(path, DEFAULT_PAGE_SIZE, True, (), lacking) if lacking else None
    with open(path, "rb") as file:
        header = file.read(WAL_HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
        magic, _, page_size, _, *salts, first, second = struct.unpack(">8I", header)
        is_big, sums = bool(magic & 1), (first, second)
        header_is_whole = magic & ~1 == WAL_MAGIC and page_size in PAGE_SIZES
        header_is_whole = header_is_whole and _checksum(header[:24], (0, 0), is_big) == sums
        if not header_is_whole:
            page_size = DEFAULT_PAGE_SIZE
        # The last frame may be there in part; what a kill has cut off is no frame that was written.
        count = max(0, size - WAL_HEADER_BYTES) // (FRAME_HEADER_BYTES + page_size)
        headers = []
        for place in range(count if frames_max is None else min(count, frames_max)):
            file.seek(_offset(place, page_size))
            headers.append(struct.unpack(">6I", file.read(FRAME_HEADER_BYTES)))
        if not header_is_whole:
            salts, is_big = _guessed(headers, file, page_size)
        frames = []
        for place, (page_number, commit_pages, *own_salts, first, second) in enumerate(headers):
            before, sums = sums, (first, second)
            if own_salts != list(salts):
                continue
            is_whole = place < from_frame or _is_whole(file, place, page_size, before, sums, is_big)
            frames.append(Frame(place, page_number, commit_pages, is_whole))
    wal = Wal(path, page_size, header_is_whole, tuple(frames), 0)
    if index is not None and index.salts == tuple(salts):
        wal = wal._replace(lacking=index.lacks(wal.end))
    return wal if frames or wal.lacking else None


def read_index(path: str) -> WalIndex | None:
    """What the ``-shm`` file of a database notes; None where there is none, or it is not whole."""
    try:
        with open(path + "-shm", "rb") as file:
            header, copy, more = file.read(_SHM_HEADER_BYTES), file.read(_SHM_HEADER_BYTES), file.read(4)
    except FileNotFoundError:
        return None
    if len(more) < 4 or header != copy:
        return None
    sums = struct.unpack("=2I", header[_SHM_SUMMED_BYTES:])
    if _checksum(header[:_SHM_SUMMED_BYTES], (0, 0), sys.byteorder == "big") != sums:
        return None
    salts = struct.unpack(">2I", header[32:40])
    frames, in_database = struct.unpack("=2I", header[16:20] + more)
    return WalIndex(frames, (salts[0], salts[1]), in_database)


def _offset(index: int, page_size: int) -> int:
    return WAL_HEADER_BYTES + index * (FRAME_HEADER_BYTES + page_size)


def _is_whole(
    file: BinaryIO, index: int, page_size: int, before: tuple[int, int], sums: tuple[int, int], is_big: bool
) -> bool:
    file.seek(_offset(index, page_size))
    content = file.read(FRAME_HEADER_BYTES + page_size)
    if len(content) < FRAME_HEADER_BYTES + page_size:
        return False
    return _checksum(content[:8] + content[FRAME_HEADER_BYTES:], before, is_big) == sums


def _guessed(headers: list[tuple[int, ...]], file: BinaryIO, page_size: int) -> tuple[list[int], bool]:
    """Salts and byte order, where the header cannot be believed: those that most frames have."""
    if not headers:
        return [0, 0], False
    common = Counter(tuple(header[2:4]) for header in headers).most_common(1)[0][0]
    for is_big in (sys.byteorder == "big", sys.byteorder != "big"):
        for index in range(1, len(headers)):
            before, sums = headers[index - 1][4:6], headers[index][4:6]
            if _is_whole(file, index, page_size, (before[0], before[1]), (sums[0], sums[1]), is_big):
                return list(common), is_big
    return list(common), sys.byteorder == "big"


def _checksum(content: bytes, sums: tuple[int, int], is_big: bool) -> tuple[int, int]:
    words = array("I")
    words.frombytes(content)
    if is_big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    pairs = iter(words)
    for even, odd in zip(pairs, pairs, strict=True):
        first = (first + even + second) & _MASK
        second = (second + odd + first) & _MASK
    return first, second
