"""The market clock of a simulation, published in ``market.clock`` in the runtime folder (docs/market-time.md).

One process writes it, the embedded exchange; every other maps it into its memory and reads it without a system call.
The file holds two slots and a counter. A record is written into the slot that is not in use, and then the counter is
put up by one store: a reader that finds the counter as it was before has read a whole record, and a writer that is
killed at any moment leaves the last whole record in force. The checksum is for machines that reorder memory accesses.
"""

import contextlib
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from nightdesk.clocks import Clock

CLOCK_FILE = "market.clock"

LEASE_S = 1.0
"""At real time: how long past the next known step the exchange may be silent before time goes on without it."""

LOOK_S = 1.0
"""How often a reader looks whether the file is another one."""

REPLACED_BACK_MAX_NS = 3_600_000_000_000
"""A file that took the place of another and is behind it by more is another market's: readers follow it."""

TRIES_MAX = 1000
"""Of one reading; a record that is not whole after so many never will be."""

NS_PER_S = 1_000_000_000
MODE = 0o600

_MAGIC = b"NDCLOCK1"
_HEAD = struct.Struct("@8sq")
_SLOT = struct.Struct("@qqdddqqqq")
_CRC = struct.Struct("@q")
_SLOT_AT = (64, 192)
_SIZE = 320
_COUNTER = 1
"""Place of the counter, in words of eight bytes."""


class ClockRecord(NamedTuple):
    """One state of the market clock: from ``market_ns`` at ``monotonic_s`` on, ``rate`` market seconds a second."""

    market_ns: int
    monotonic_s: float
    rate: float
    """0: the time stands (a tape at speed 0, a market that waits for its first client, a stopped exchange)."""
    speed: float
    """As configured."""
    limit_ns: int
    """The exchange's next known step; time does not run past it while it is late."""
    floor_ns: int
    """What readers may have seen before this record."""
    generation: int
    """Another one after each start at an earlier time (a tape that is played again)."""
    stopped: int
    """1: the exchange has ended in order; 0: it runs, or was killed."""


class MarketClockWriter:
    """The exchange's end of the file. ``resumed`` is the last record of an earlier exchange, None without one."""

    def __init__(self, runtime_dir: Path | str, *, speed: float, clock: Clock) -> None:
        """Takes over the file of an earlier exchange, or makes one (mode 0600)."""
        self._clock = clock
        self._speed = speed
        path = Path(runtime_dir) / CLOCK_FILE
        mapped = _open(path, writable=True)
        if mapped is None:
            _create(path)
            mapped = _open(path, writable=True)
        if mapped is None:
            raise OSError(f"{path} cannot be mapped")
        self._map = mapped
        self._words = memoryview(mapped).cast("q")
        self._count = self._words[_COUNTER]
        self.resumed = _read(mapped, self._words)
        self._record = self.resumed
        self._generation = 1 if self.resumed is None else self.resumed.generation

    @property
    def resumed_ns(self) -> int | None:
        """The market time that readers see now by what an earlier exchange published; None without one."""
        return None if self.resumed is None else market_at(self.resumed, self._clock.monotonic_s())

    def begin(self, market_ns: int) -> None:
        """The exchange starts at this time; one before ``resumed_ns`` begins a new generation."""
        resumed_ns = self.resumed_ns
        if resumed_ns is not None and market_ns < resumed_ns:
            self._generation += 1
            self._record = None
        self.publish(market_ns, 0.0, market_ns)

    def publish(self, market_ns: int, rate: float, limit_ns: int, *, is_stopped: bool = False) -> None:
        """Tell the time of now, how fast it passes, and how far it may go until the next call."""
        now_s = self._clock.monotonic_s()
        floor_ns = market_ns if self._record is None else max(market_at(self._record, now_s), market_ns)
        limit_ns = max(limit_ns, market_ns)
        record = ClockRecord(market_ns, now_s, rate, self._speed, limit_ns, floor_ns, self._generation, int(is_stopped))
        self._record = record
        count = self._count + 1
        at = _SLOT_AT[count & 1]
        payload = _SLOT.pack(count, *record)
        self._map[at : at + _SLOT.size + _CRC.size] = payload + _CRC.pack(zlib.crc32(payload))
        self._words[_COUNTER] = self._count = count

    def close(self) -> None:
        """The exchange has ended in order: the time stands from now on."""
        if self._record is not None:
            now_ns = market_at(self._record, self._clock.monotonic_s())
            self.publish(now_ns, 0.0, now_ns, is_stopped=True)
        self._words.release()
        self._map.close()


class PublishedTime:
    """Market time as the exchange of this run publishes it; never backwards within one generation.

    Before an exchange has ever run in this folder there is no market time: ``is_known`` is false, ``now_ns`` tells the
    machine's wall time, and the first record sets the time, backwards too.
    """

    def __init__(self, runtime_dir: Path | str, *, speed: float, clock: Clock) -> None:
        """``speed`` is told until the exchange says its own. Nothing needs to exist yet."""
        self._path = Path(runtime_dir) / CLOCK_FILE
        self._clock = clock
        self._monotonic_s = clock.monotonic_s
        self._speed = speed
        self._map: mmap.mmap | None = None
        self._words: memoryview | None = None
        self._identity: tuple[int, int] | None = None
        self._look_at_s = float("-inf")
        self._count = 0
        self._is_replaced = False
        self._record: ClockRecord | None = None
        self._floor_ns = 0

    @property
    def is_known(self) -> bool:
        """Whether an exchange has published a time."""
        self.now_ns()
        return self._record is not None

    @property
    def speed(self) -> float:
        """Market seconds in one second, as configured; 0: as fast as everybody keeps up."""
        return self._speed if self._record is None else self._record.speed

    def now_ns(self) -> int:
        """The market's time, nanoseconds since the Unix epoch, UTC."""
        monotonic_s = self._monotonic_s()
        if monotonic_s >= self._look_at_s:
            self._look(monotonic_s)
        words = self._words
        if words is not None and words[_COUNTER] != self._count:
            self._take(monotonic_s)
        record = self._record
        if record is None:
            return self._clock.now_ns()
        # Read after the record: with an older reading the time would stand behind the record's own.
        now_ns = market_at(record, monotonic_s)
        if now_ns > self._floor_ns:
            self._floor_ns = now_ns
        return self._floor_ns

    def record(self) -> ClockRecord | None:
        """What is published at present."""
        self.now_ns()
        return self._record

    def close(self) -> None:
        """Let go of the file; what was read last stays in force."""
        self._look_at_s = float("inf")
        self._release()

    def _take(self, monotonic_s: float) -> None:
        if self._map is None or self._words is None:
            return
        count = self._words[_COUNTER]
        record = _read(self._map, self._words)
        if record is None:
            return
        self._count = count
        before = self._record
        is_another = before is None or record.generation != before.generation
        if is_another or (self._is_replaced and market_at(record, monotonic_s) < self._floor_ns - REPLACED_BACK_MAX_NS):
            self._floor_ns = 0
        self._is_replaced = False
        self._record = record

    def _look(self, monotonic_s: float) -> None:
        """Is the file another one than that which is mapped?"""
        self._look_at_s = monotonic_s + LOOK_S
        try:
            status = os.stat(self._path)
        except OSError:
            return
        identity = (status.st_dev, status.st_ino)
        if identity == self._identity:
            return
        mapped = _open(self._path, writable=False)
        if mapped is None:
            return
        self._release()
        self._map, self._words = mapped, memoryview(mapped).cast("q")
        # Its first record may come later: the exchange makes the file before it knows its time.
        self._identity, self._count, self._is_replaced = identity, 0, True

    def _release(self) -> None:
        if self._words is not None:
            self._words.release()
        if self._map is not None:
            self._map.close()
        self._map = self._words = None


def market_at(record: ClockRecord, monotonic_s: float) -> int:
    """The market time that a record means at a monotonic time.

    Beyond the limit the time stands. At real time (a rate of at most 1) it goes on after ``LEASE_S``, as a market's
    does whose exchange is dead; a faster one waits for its exchange. A monotonic time before the record's own is that
    of a machine that was started again: nothing has passed.
    """
    market_ns, since_s, rate, _, limit_ns, floor_ns, _, _ = record
    elapsed_s = monotonic_s - since_s
    if rate and elapsed_s > 0:
        now_ns = market_ns + int(elapsed_s * rate * NS_PER_S)
        if now_ns > limit_ns:
            late_s = elapsed_s - (limit_ns - market_ns) / NS_PER_S / rate - LEASE_S
            now_ns = limit_ns + int(late_s * rate * NS_PER_S) if rate <= 1 and late_s > 0 else limit_ns
    else:
        now_ns = market_ns
    return now_ns if now_ns > floor_ns else floor_ns


def _read(mapped: mmap.mmap, words: memoryview) -> ClockRecord | None:
    """The record in force; None while there is none, or the file is damaged.

    A try fails where a whole record is written in its few microseconds; so many in a row do not.
    """
    for _ in range(TRIES_MAX):
        count = words[_COUNTER]
        if not count:
            return None
        at = _SLOT_AT[count & 1]
        payload = mapped[at : at + _SLOT.size]
        (crc,) = _CRC.unpack_from(mapped, at + _SLOT.size)
        if words[_COUNTER] == count and zlib.crc32(payload) == crc:
            number, *fields = _SLOT.unpack(payload)
            if number == count:
                return ClockRecord(*fields)
    return None


def _open(path: Path, *, writable: bool) -> mmap.mmap | None:
    """Map a file; None where there is none, or something else stands in its place."""
    try:
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_size != _SIZE:
            return None
        mapped = mmap.mmap(descriptor, _SIZE, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    if mapped[: len(_MAGIC)] != _MAGIC:
        mapped.close()
        return None
    return mapped


def _create(path: Path) -> None:
    """A file without a record takes the place of whatever is there; nobody sees it half made."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        os.write(descriptor, _HEAD.pack(_MAGIC, 0).ljust(_SIZE, b"\0"))
    finally:
        os.close(descriptor)
    os.replace(new, path)
