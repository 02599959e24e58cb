"""Processes of ``run.py`` as an operator sees them: their output, their exit codes, and what they leave behind."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from nightdesk.clocks import Clock

RUN = Path(__file__).resolve().parents[2] / "run.py"
MARK = "NIGHTDESK_CHAOS_RUN"
"""An environment variable that every process of one run inherits: how what is left over is found."""

LINE_BYTES_MAX = 1 << 20
POLL_S = 0.02
END_S = 10.0
"""What a killed process has to disappear."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

OnLine = Callable[[dict[str, Any]], None]


class RunProcess:
    """One process; ``on_line`` gets each record of its log, ``output`` every byte that it writes."""

    def __init__(self, mark: str, output: Path, clock: Clock, on_line: OnLine) -> None:
        self._mark = mark
        self._output = output
        self._clock = clock
        self._on_line = on_line
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """0 before it was started."""
        return 0 if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.returncode

    async def start(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        """Start it in a session of its own, so that a Ctrl-C is ours alone; it dies with us."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(RUN),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env={**os.environ, **environment, MARK: self._mark},
            start_new_session=True,
            preexec_fn=die_with_parent,
            limit=LINE_BYTES_MAX,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        with self._output.open("ab") as output:
            async for line in process.stdout:
                self._take(line, output)
        await process.wait()

    def _take(self, line: bytes, output: BinaryIO) -> None:
        output.write(line)
        if not line.startswith(b"{"):
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        self._on_line(record)

    async def wait(self, timeout_s: float) -> int | None:
        """Its exit code; None when it has not ended in time."""
        if self._process is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                code = await self._process.wait()
                if self._reader is not None:
                    await asyncio.wait({self._reader}, timeout=END_S)
        except TimeoutError:
            return None
        return code

    async def stop(self, timeout_s: float, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Ask it to end; its exit code, None when it did not in time."""
        self.signal(number)
        return await self.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            kill(self._process.pid, number)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; False when there is no such process any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def marked(mark: str) -> list[int]:
    """Every living process of this run, by the mark that it has inherited."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if needle in Path(f"/proc/{entry}/environ").read_bytes() and not is_over(int(entry)):
                found.append(int(entry))
        except OSError:
            # It has ended meanwhile, or belongs to somebody else.
            continue
    return found


def is_over(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    fields = _stat(pid)
    return not fields or fields[0] in ("Z", "X")


def parent_of(pid: int) -> int:
    """Its parent's pid; 0 when it has ended."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def children_of(pid: int) -> list[int]:
    """The pids of a process's living children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descriptors_of(pid: int) -> int:
    """How many files it has open; 0 when it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def memory_bytes_of(pid: int) -> int:
    """Its address space; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def arguments_of(pid: int) -> bytes:
    """Its command line; nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def until_gone(mark: str, clock: Clock, timeout_s: float) -> list[int]:
    """Wait until no process of the run is left; those that are left all the same."""
    ends_s = clock.monotonic_s() + timeout_s
    while True:
        left = marked(mark)
        if not left or clock.monotonic_s() >= ends_s:
            return left
        await asyncio.sleep(POLL_S)


async def destroy(mark: str, clock: Clock) -> None:
    """Kill whatever is left of the run, until nothing is."""
    ends_s = clock.monotonic_s() + END_S
    while (left := marked(mark)) and clock.monotonic_s() < ends_s:
        for pid in left:
            kill(pid, signal.SIGKILL)
        await asyncio.sleep(POLL_S)


def _stat(pid: int) -> list[str]:
    """State, parent, … of ``/proc/PID/stat``; nothing for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def die_with_parent() -> None:
    """A run that is killed itself leaves nothing behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
