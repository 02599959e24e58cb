"""The writer behind the logs: it never waits, keeps the order, counts what it drops, and touches no shared flag."""

import fcntl
import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nightdesk.log_output import LINE_BYTES_MAX, STALLED, LineOutput, cut
from tests.support import wait_until

REPOSITORY = Path(__file__).resolve().parents[1]
PENDING = 20_000
AT_ONCE_S = 0.5
"""Far below any stall, far above what a busy machine takes for one write."""


def report(count: int, reason: str) -> bytes:
    return f"dropped {count} {reason}".encode()


def output_on(descriptor: int) -> LineOutput:
    return LineOutput(report, descriptor, pending_bytes_max=PENDING)


def nothing() -> None:
    return


def pipe() -> tuple[int, int, Callable[[], None]]:
    read_end, write_end = os.pipe()
    return read_end, write_end, nothing


def journal() -> tuple[int, int, Callable[[], None]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return theirs.detach(), ours.detach(), nothing


def terminal() -> tuple[int, int, Callable[[], None]]:
    """Nobody reads its master; a real one stops the same way at Ctrl-S."""
    master, slave = pty.openpty()
    return master, slave, nothing


def pipe_of_somebody_else() -> tuple[int, int, Callable[[], None]]:
    """One that cannot be opened a second time; what stands in /proc/self/fd is a directory's business here."""
    read_end, write_end, _ = pipe()
    patch = pytest.MonkeyPatch()
    real = os.open

    def refuse(path: str, *arguments: int) -> int:
        if str(path).startswith("/proc/self/fd/"):
            raise PermissionError(13, "not yours")
        return real(path, *arguments)

    patch.setattr(os, "open", refuse)
    return read_end, write_end, patch.undo


KINDS = (pipe, journal, terminal, pipe_of_somebody_else)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    read_end, write_end, undo = request.param()
    yield read_end, write_end
    undo()
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            continue


def read(descriptor: int) -> bytes:
    """What can be read now, however much it is."""
    text = b""
    while select.select([descriptor], [], [], 0.1)[0]:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:
            break
        if not part:
            break
        text += part
    return text


def lines_of(text: bytes) -> list[bytes]:
    return text.replace(b"\r\n", b"\n").split(b"\n")[:-1]


def read_lines(descriptor: int) -> list[bytes]:
    return lines_of(read(descriptor))


def fill(output: LineOutput, count: int = 2_000) -> list[bytes]:
    """Write until far more than the buffers hold; each call must return at once."""
    lines = [b"line %05d " % number + b"x" * 500 for number in range(count)]
    for line in lines:
        began = time.perf_counter()
        output.write(line)
        assert time.perf_counter() - began < AT_ONCE_S
    return lines


def test_stalled_reader_stops_no_writer_and_the_drops_are_reported_at_their_place(ends: tuple[int, int]) -> None:
    """First what fitted, in order; then one line with the number that is missing; then what came after it."""
    read_end, write_end = ends
    output = output_on(write_end)
    lines = fill(output)
    missing = output.dropped
    assert 0 < missing < len(lines)
    seen = bytearray()

    def moved() -> bool:
        done = output.flush()
        seen.extend(read(read_end))
        return done

    wait_until(moved)
    output.write(b"after")
    seen += read(read_end)
    kept = len(lines) - missing
    assert lines_of(bytes(seen)) == [*lines[:kept], report(missing, STALLED), b"after"]


def test_flag_that_other_processes_share_stays_as_it_is(ends: tuple[int, int]) -> None:
    """Standard output is the same open file as the user's shell's: it must not become non-blocking."""
    read_end, write_end = ends
    before = fcntl.fcntl(write_end, fcntl.F_GETFL)
    output = output_on(write_end)
    output.write(b"x")
    assert read_lines(read_end) == [b"x"]
    assert fcntl.fcntl(write_end, fcntl.F_GETFL) == before


def test_reader_that_has_gone_changes_nothing(ends: tuple[int, int]) -> None:
    """Each line is dropped and counted, without an exception."""
    read_end, write_end = ends
    output = output_on(write_end)
    os.close(read_end)
    for _ in range(10):
        output.write(b"x")
    assert output.dropped == 10
    assert output.flush() is False
    assert output.dropped == 10


def test_reader_that_comes_back_is_told_what_it_missed(tmp_path: Path) -> None:
    """A named pipe whose reader was restarted."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_end = os.open(path, os.O_WRONLY)
    output = output_on(write_end)
    output.write(b"one")
    assert read_lines(first) == [b"one"]
    os.close(first)
    output.write(b"two")
    output.write(b"three")
    second = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output.write(b"four")
    assert read_lines(second) == [report(2, "EPIPE"), b"four"]


def test_closed_descriptor_changes_nothing() -> None:
    """Nor one that is closed in the course of the run."""
    read_end, write_end = os.pipe()
    output = output_on(write_end)
    os.close(write_end)
    output.write(b"x")
    assert output.dropped == 1
    os.close(read_end)


def test_full_disk_delays_lines_and_tears_none() -> None:
    """The device that is always full: lines wait, then are dropped."""
    with Path("/dev/full").open("wb") as full:
        output = output_on(full.fileno())
        fill(output, 200)
        assert output.dropped > 0
        assert output.drain(0.2) is False


def test_file_is_appended_to_where_the_shared_offset_stands(tmp_path: Path) -> None:
    """``run.py > file`` without append mode: lines of parent and child follow one another."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        output = output_on(file.fileno())
        output.write(b"one")
        os.write(file.fileno(), b"two\n")
        output.write(b"three")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_drain_gives_a_slow_reader_a_moment() -> None:
    """A process that ends does not lose its last lines to a reader that is merely slow."""
    read_end, write_end = os.pipe()
    output = output_on(write_end)
    fill(output, 140)
    with subprocess.Popen(["cat"], stdin=read_end, stdout=subprocess.DEVNULL):
        assert output.drain(10)
        os.close(read_end)
        os.close(write_end)
        # The output has opened the pipe a second time; its reader sees the end only when that is closed, too.
        output.after_fork()


def test_forked_child_does_not_repeat_what_waits_in_its_parent() -> None:
    """A supervisor that forks while the pipe is full must not say everything twice."""
    read_end, write_end = os.pipe()
    output = output_on(write_end)
    fill(output, 140)
    output.after_fork()
    read_lines(read_end)
    output.write(b"child")
    assert read_lines(read_end) == [b"child"]


def test_long_line_is_cut_in_its_middle_at_whole_characters() -> None:
    """Head and tail are what names the event and the error."""
    line = cut("é".encode() * 5000 + b"end")
    assert len(line) < LINE_BYTES_MAX
    assert line.decode().endswith("end")
    assert cut(b"short") == b"short"


def test_lines_from_many_threads_stay_whole() -> None:
    """A worker's main thread and its body's thread log at the same time."""
    code = (
        "import threading\nfrom nightdesk.logs import configure, drain, get_logger\n"
        "configure(log_format='json', level='info')\nlog = get_logger()\n"
        "work = lambda: [log.info('line', text='z' * 3000, n=n) for n in range(100)]\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n[thread.join() for thread in threads]\ndrain(20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=REPOSITORY)
    lines = done.stdout.splitlines()
    assert {line[:1] + line[-1:] for line in lines} == {b"{}"}
    assert sum(b'"line"' in line for line in lines) + sum(b"log_lines_dropped" in line for line in lines) >= 50


def test_closed_standard_streams_are_held_by_the_null_device() -> None:
    """Otherwise the journal would get number 1, and the log would be written into it."""
    code = (
        "import os\nos.closerange(0, 3)\nfrom nightdesk.log_output import hold_standard_streams\n"
        "hold_standard_streams()\nos._exit(os.open('/dev/null', os.O_RDONLY))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=REPOSITORY).returncode == 3


def test_socket_of_the_journal_is_not_left_open() -> None:
    """``after_fork`` closes what the output opened."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        output = output_on(ours.fileno())
        output.write(b"x")
        before = len(os.listdir("/proc/self/fd"))
        output.after_fork()
        assert len(os.listdir("/proc/self/fd")) == before - 1
