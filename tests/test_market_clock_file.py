"""The published market clock: what readers see of it, whatever happens to the process that writes it."""

import multiprocessing
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.clocks import ManualClock, ManualTime, SystemClock, WallTime
from nightdesk.market_clock_file import (
    CLOCK_FILE,
    LEASE_S,
    LOOK_S,
    REPLACED_BACK_MAX_NS,
    MarketClockWriter,
    PublishedTime,
)
from tests.support import wait_until

NS = 1_000_000_000
SUNDAY_NS = 1_710_107_700 * NS
WALL_NS = 1_795_000_000 * NS
FAR_NS = 1 << 62
TAG_NS = 1_000_003
"""The records of the processes' tests: the limit is the time times this."""


class World:
    """One folder, one manual clock, a writer and a reader."""

    def __init__(self, folder: Path, speed: float = 60.0) -> None:
        self.folder, self.speed = folder, speed
        self.clock = ManualClock(WALL_NS)
        self.clock.advance(1000.0)
        self.reader = PublishedTime(folder, speed=speed, clock=self.clock)
        self.writer = self.new_writer()

    def new_writer(self) -> MarketClockWriter:
        return MarketClockWriter(self.folder, speed=self.speed, clock=self.clock)

    def seen_after(self, seconds: float) -> float:
        """Market seconds since Sunday's pre-open."""
        self.clock.advance(seconds)
        return (self.reader.now_ns() - SUNDAY_NS) / NS


def test_time_passes_at_the_published_rate(tmp_path: Path) -> None:
    """Sixty market seconds in one; a standing market stands, and the configured speed is told all the while."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    assert (world.seen_after(5.0), world.reader.speed, world.reader.is_known) == (0.0, 60.0, True)
    world.writer.publish(SUNDAY_NS, 60.0, FAR_NS)
    assert world.seen_after(1.0) == 60.0
    assert world.seen_after(0.5) == 90.0
    world.writer.publish(world.reader.now_ns(), 0.0, FAR_NS)
    assert world.seen_after(3600.0) == 90.0


def test_fast_market_waits_at_its_next_step_for_its_exchange(tmp_path: Path) -> None:
    """Faster than life, time does not run past what the exchange has not done yet, however long that takes."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    world.writer.publish(SUNDAY_NS, 60.0, SUNDAY_NS + 90 * NS)
    assert world.seen_after(1.0) == 60.0
    assert world.seen_after(3600.0) == 90.0
    world.writer.publish(SUNDAY_NS + 90 * NS, 60.0, FAR_NS)
    assert world.seen_after(1.0) == 150.0


def test_market_at_real_time_goes_on_without_its_exchange(tmp_path: Path) -> None:
    """At speed 1 the time stands for the lease at the next known step, then it goes on; the exchange follows later."""
    world = World(tmp_path, 1.0)
    world.writer.begin(SUNDAY_NS)
    world.writer.publish(SUNDAY_NS, 1.0, SUNDAY_NS + 2 * NS)
    assert world.seen_after(2.0 + LEASE_S) == 2.0
    assert world.seen_after(10.0) == 12.0
    world.writer.publish(SUNDAY_NS + 2 * NS, 1.0, FAR_NS)
    assert world.seen_after(0.0) == 12.0, "what was seen is not taken back"
    assert world.seen_after(9.0) == 12.0
    assert world.seen_after(3.0) == 14.0


def test_killed_exchange_is_followed_without_a_step_back(tmp_path: Path) -> None:
    """A new writer knows what readers see, says whether the old one had stopped in order, and continues."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    world.writer.publish(SUNDAY_NS, 60.0, FAR_NS)
    assert world.seen_after(10.0) == 600.0
    second = world.new_writer()
    assert second.resumed is not None
    assert not second.resumed.stopped
    assert second.resumed_ns == SUNDAY_NS + 600 * NS
    second.begin(second.resumed_ns)
    second.close()
    assert world.seen_after(10.0) == 600.0
    third = world.new_writer()
    assert third.resumed is not None
    assert third.resumed.stopped


def test_tape_that_starts_again_sets_the_time_back_for_everybody(tmp_path: Path) -> None:
    """Only a start at an earlier time does, as another generation."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS + 3600 * NS)
    assert world.seen_after(1.0) == 3600.0
    world.writer.publish(SUNDAY_NS, 0.0, SUNDAY_NS)
    assert world.seen_after(1.0) == 3600.0
    world.new_writer().begin(SUNDAY_NS)
    assert world.seen_after(1.0) == 0.0


def test_reader_that_was_there_first_tells_wall_time_until_the_exchange_comes(tmp_path: Path) -> None:
    """Before there is a market there is no market time; the first record sets it, to an earlier date too."""
    clock = ManualClock(WALL_NS)
    reader = PublishedTime(tmp_path, speed=5.0, clock=clock)
    assert (reader.now_ns(), reader.is_known, reader.speed) == (WALL_NS, False, 5.0)
    writer = MarketClockWriter(tmp_path, speed=60.0, clock=clock)
    clock.advance(LOOK_S)
    assert (reader.now_ns(), reader.is_known) == (clock.now_ns(), False), "a file without a record says nothing"
    writer.begin(SUNDAY_NS)
    assert (reader.now_ns(), reader.is_known, reader.speed) == (SUNDAY_NS, True, 60.0)


def test_reader_notices_that_the_file_is_another_one(tmp_path: Path) -> None:
    """A folder that was emptied under a run: the time goes on; another market's time counts even if it is earlier."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    assert world.seen_after(0.0) == 0.0
    for back_ns, seen_s in ((10 * NS, 0.0), (REPLACED_BACK_MAX_NS + NS, -3601.0)):
        (tmp_path / CLOCK_FILE).unlink()
        world.new_writer().begin(SUNDAY_NS - back_ns)
        assert world.seen_after(LOOK_S) == seen_s


def test_another_market_s_file_counts_though_its_first_record_comes_later(tmp_path: Path) -> None:
    """The exchange makes the file, builds itself, and then says its time: who looked in between follows as well."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    assert world.seen_after(0.0) == 0.0
    (tmp_path / CLOCK_FILE).unlink()
    second = world.new_writer()
    assert world.seen_after(LOOK_S) == 0.0
    second.begin(SUNDAY_NS - REPLACED_BACK_MAX_NS - NS)
    assert world.seen_after(0.0) == -3601.0


def test_file_is_private_and_anything_else_in_its_place_is_replaced(tmp_path: Path) -> None:
    """Mode 0600; a cut off file, another format or a link is not written into."""
    path, elsewhere = tmp_path / CLOCK_FILE, tmp_path / "elsewhere"
    clock = ManualClock(WALL_NS)
    for content in (b"", b"short", b"x" * 320, None):
        path.unlink(missing_ok=True)
        if content is None:
            elsewhere.write_bytes(b"theirs")
            path.symlink_to(elsewhere)
        else:
            path.write_bytes(content)
        reader = PublishedTime(tmp_path, speed=1.0, clock=clock)
        assert not reader.is_known
        MarketClockWriter(tmp_path, speed=1.0, clock=clock).begin(SUNDAY_NS)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        clock.advance(LOOK_S)
        assert reader.now_ns() == SUNDAY_NS
    assert elsewhere.read_bytes() == b"theirs"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["elsewhere", CLOCK_FILE]


def test_record_that_is_being_written_is_not_seen_at_any_of_its_bytes(tmp_path: Path) -> None:
    """Cut a publication off after each byte that it changes: readers and the next exchange have the record before."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    path = tmp_path / CLOCK_FILE
    for number in range(1, 4):
        before = path.read_bytes()
        world.writer.publish(SUNDAY_NS + number * 1_234_567_890, 0.0, FAR_NS)
        after = path.read_bytes()
        # The counter, which stands first in the file, is written last.
        changed = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
        assert changed[0] < 16
        torn = bytearray(before)
        for place in changed[1:]:
            torn[place] = after[place]
            path.write_bytes(torn)
            reader = PublishedTime(tmp_path, speed=1.0, clock=world.clock)
            assert reader.now_ns() == SUNDAY_NS + (number - 1) * 1_234_567_890
        path.write_bytes(after)


def test_damaged_file_tells_nothing_and_serves_the_next_exchange(tmp_path: Path) -> None:
    """After a power cut a record may be half there: no reader waits for it, the next record counts."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    path = tmp_path / CLOCK_FILE
    content = bytearray(path.read_bytes())
    content[192:224] = b"\xff" * 32
    path.write_bytes(content)
    assert not world.reader.is_known
    writer = world.new_writer()
    assert writer.resumed is None
    writer.begin(SUNDAY_NS)
    assert world.seen_after(0.0) == 0.0


def test_machine_that_was_started_again_finds_the_time_where_it_was(tmp_path: Path) -> None:
    """The monotonic clock began anew: nothing is known to have passed."""
    world = World(tmp_path)
    world.writer.begin(SUNDAY_NS)
    world.writer.publish(SUNDAY_NS + 7 * NS, 60.0, FAR_NS)
    rebooted = MarketClockWriter(tmp_path, speed=60.0, clock=ManualClock(WALL_NS))
    assert rebooted.resumed_ns == SUNDAY_NS + 7 * NS


def test_wall_clock_that_is_set_moves_no_market_time_but_the_wall_s(tmp_path: Path) -> None:
    """A simulation follows the monotonic clock alone; at a real exchange the wall clock is the market's."""
    world = World(tmp_path, 1.0)
    world.writer.begin(SUNDAY_NS)
    world.writer.publish(SUNDAY_NS, 1.0, FAR_NS)
    manual, wall = ManualTime(world.clock, SUNDAY_NS), WallTime(world.clock)
    for wall_ns in (0, WALL_NS * 2):
        world.clock.set_wall(wall_ns)
        assert world.reader.now_ns() == SUNDAY_NS == manual.now_ns()
        assert wall.now_ns() == wall_ns


_RATES = st.sampled_from([0.0, 0.25, 1.0, 60.0, 100_000.0])
_SECONDS = st.floats(0.0, 50.0)
_ACTS = st.one_of(
    st.tuples(st.just("pass"), _SECONDS),
    st.tuples(st.just("publish"), st.integers(-(10**13), 10**13), _RATES, st.integers(-(10**12), 10**14)),
    st.tuples(st.just("kill"), st.integers(0, 10**13)),
    st.tuples(st.just("stop"), st.integers(0, 10**13)),
    st.tuples(
        st.just("open"),
    ),
)


@given(acts=st.lists(_ACTS, max_size=40))
def test_no_reader_ever_sees_time_go_back(acts: list[tuple[object, ...]]) -> None:
    """Whatever is published, at whatever rates and limits, by however many exchanges one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.writer.begin(SUNDAY_NS)
        readers = [world.reader]
        seen = [world.reader.now_ns()]
        for act, *rest in acts:
            match act, rest:
                case "pass", [float() as seconds]:
                    world.clock.advance(seconds)
                case "publish", [int() as ahead_ns, float() as rate, int() as limit_ns]:
                    now_ns = SUNDAY_NS + ahead_ns
                    world.writer.publish(now_ns, rate, now_ns + limit_ns)
                case "open", _:
                    readers.append(PublishedTime(folder, speed=1.0, clock=world.clock))
                    seen.append(0)
                case _, [int() as ahead_ns]:
                    if act == "stop":
                        world.writer.close()
                    world.writer = world.new_writer()
                    assert world.writer.resumed_ns is not None
                    world.writer.begin(world.writer.resumed_ns + ahead_ns)
            for place, reader in enumerate(readers):
                now_ns = reader.now_ns()
                assert now_ns >= seen[place]
                seen[place] = now_ns
            # What one has seen, an exchange that starts now knows, and a reader that comes now as well.
            assert PublishedTime(folder, speed=1.0, clock=world.clock).now_ns() == max(seen)
            assert world.new_writer().resumed_ns == max(seen)


def _write(folder: str) -> None:
    """Publish records whose fields belong together, as fast as possible."""
    writer = MarketClockWriter(folder, speed=60.0, clock=SystemClock())
    number = 0 if writer.resumed is None else writer.resumed.market_ns
    while True:
        number += 1
        writer.publish(number, number * 0.5, number * TAG_NS)


@contextmanager
def _writing(folder: Path) -> Iterator[BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(str(folder),), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_no_reader_sees_half_a_record_while_another_process_writes(tmp_path: Path) -> None:
    """Five thousand different records and more, each whole."""
    reader = PublishedTime(tmp_path, speed=1.0, clock=SystemClock())
    with _writing(tmp_path):
        wait_until(lambda: reader.is_known, 30.0)
        newest = different = 0
        while different < 5_000:
            record = reader.record()
            assert record is not None
            assert record.limit_ns == record.market_ns * TAG_NS
            assert record.rate == record.market_ns * 0.5
            assert record.market_ns >= newest
            different += record.market_ns > newest
            newest = record.market_ns


def test_writers_that_are_killed_leave_a_whole_record_and_are_followed(tmp_path: Path) -> None:
    """Killed at any moment, in the middle of a record too: readers do not wait, and the next one goes on from there."""
    reader = PublishedTime(tmp_path, speed=1.0, clock=SystemClock())
    newest = 0
    for _ in range(4):
        with _writing(tmp_path) as process:
            before = newest
            wait_until(lambda before=before: _number(reader) > before + 500, 30.0)  # type: ignore[misc]
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            record = reader.record()
            assert record is not None
            assert record.limit_ns == record.market_ns * TAG_NS
            assert record.market_ns > newest
            newest = record.market_ns


def _number(reader: PublishedTime) -> int:
    record = reader.record()
    return 0 if record is None else record.market_ns
