"""Two ways to kill a process at its Nth call to the operating system: from outside with strace, from inside without it.

Both kill at the *entry* of a call, so that everything before it has happened and nothing of it has.
"""

import asyncio
import contextlib
import mmap
import os
import re
import shutil
import signal
import struct
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

ATTACH_S = 20.0
LEAVE_S = 5.0
NEVER = 2**62
MARKS_MAX = 65_536
HEAD = struct.Struct("<qq")
"""Of the shared file of a process that kills itself: at which call to die (0: do not count), calls so far."""


class Kind(StrEnum):
    """What a call is about."""

    LANE_IN = "read of a lane"
    LANE_OUT = "send on a lane"
    JOURNAL = "journal"
    LINK_OUT = "send to the gateway"
    LINK_IN = "read from the gateway"
    LOG = "log line"
    LOOP = "event loop"
    OTHER = "other"


class Call(NamedTuple):
    """One call of a trace; ``got`` is False where it brought nothing, or was not carried out."""

    name: str
    kind: Kind
    got: bool


class Trace(NamedTuple):
    """What a process has called while the probe was armed."""

    calls: list[Call]
    is_reached: bool
    """The point was come to: the process is dead, or dies at this moment."""


class Point(NamedTuple):
    """Where to kill: at the ``number``-th call of this name after the probe was armed."""

    name: str
    number: int


class Probe(Protocol):
    """Armed for one process and one point at a time."""

    runs_inside: bool
    """The process has to be made ready for it (``arguments``) when it is born."""

    async def arm(self, pid: int, point: Point | None) -> None:
        """From now on calls count; None records only."""
        ...

    async def disarm(self) -> Trace:
        """No call counts any more; what there was."""
        ...


WAITING = ("pause", "restart_syscall")
"""What a thread that does nothing is found in; to kill it there is to kill before the way begins."""


SILENT = frozenset(
    {"brk", "getegid", "geteuid", "getgid", "getpid", "getrandom", "getsockname", "getsockopt", "gettid", "getuid"}
    | {"madvise", "mprotect", "munmap", "newfstatat", "rseq", "rt_sigprocmask", "set_robust_list", "uname"}
)
"""Calls that leave nothing behind outside of the process: to die at one is to die at the next call that does."""


def points_of(trace: list[Call], left_out: frozenset[str] = frozenset()) -> list[Point]:
    """Every point of a recorded trace, in its order, but those at calls of these names."""
    counts: Counter[str] = Counter()
    found = []
    for call in trace:
        counts[call.name] += 1
        if call.name not in WAITING and call.name not in left_out:
            found.append(Point(call.name, counts[call.name]))
    return found


class StraceProbe:
    """Every system call of every thread, by strace's fault injection. It counts each name apart, and so do points."""

    runs_inside = False

    def __init__(self, folder: Path) -> None:
        self._file = folder / "strace.out"
        self._process: Process | None = None
        self._point: Point | None = None

    async def arm(self, pid: int, point: Point | None) -> None:
        self._file.unlink(missing_ok=True)
        self._point = point
        # -y names files, -s 0 leaves their contents out.
        arguments = ["-f", "-y", "-s", "0", "-o", str(self._file), "-p", str(pid)]
        if point is not None:
            arguments += ["-e", f"inject={point.name}:signal=KILL:when={point.number}"]
        self._process = await asyncio.create_subprocess_exec("strace", *arguments, stdin=DEVNULL, stderr=PIPE)
        assert self._process.stderr is not None
        async with asyncio.timeout(ATTACH_S):
            said = (await self._process.stderr.readline()).decode()
        if "attached" not in said:
            raise OSError(f"strace cannot attach: {said}")

    async def disarm(self) -> Trace:
        process, self._process = self._process, None
        assert process is not None
        ended = asyncio.create_task(process.communicate())
        # Of a process that dies it takes leave by itself; one that is asked to let go just then waits for ever. And no
        # signal goes by the object's own methods, which may reap the process before the event loop does.
        if not self._is_reached():
            _signal(process, signal.SIGTERM)
        await asyncio.wait({ended}, timeout=LEAVE_S)
        if not ended.done():
            _signal(process, signal.SIGKILL)
        await ended
        return Trace(self._calls(), self._is_reached())

    def _calls(self) -> list[Call]:
        return list(_parsed(self._file.read_text(errors="replace")))

    def _is_reached(self) -> bool:
        point = self._point
        return point is not None and sum(each.name == point.name for each in self._calls()) >= point.number


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


_LINE = re.compile(r"^\d+ +(?P<name>[a-z_0-9]+)\((?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>[a-z_0-9]+) resumed>(?P<rest>.*)$")
_RESULT = re.compile(r"= (?P<result>-?\d+|0x[0-9a-f]+)[^=]*$")


def _parsed(text: str) -> Iterator[Call]:
    resumed = {(each["pid"], each["name"]): each["rest"] for each in map(_RESUMED.match, text.splitlines()) if each}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, rest = match["name"], match["rest"]
        if rest.endswith("<unfinished ...>"):
            rest += resumed.get((line.split()[0], name), "")
        result = _RESULT.search(rest)
        got = result is not None and result["result"] not in ("0", "?") and not result["result"].startswith("-")
        yield Call(name, _kind_of(name, rest), got)


_SOCKET_CALLS = {
    "recvfrom": Kind.LANE_IN, "sendto": Kind.LANE_OUT, "read": Kind.LINK_IN, "write": Kind.LINK_OUT,
    "recvmsg": Kind.LINK_IN, "sendmsg": Kind.LINK_OUT, "writev": Kind.LINK_OUT, "readv": Kind.LINK_IN,
}  # fmt: skip
"""Lanes are read and written by Python's sockets, the gateway's stream by the event loop's library."""


def _kind_of(name: str, rest: str) -> Kind:
    first = rest.partition(",")[0]
    if "/journal.db" in rest:
        return Kind.JOURNAL
    if name == "write" and first.startswith("1<"):
        return Kind.LOG
    if "socket:[" in first or "TCP" in first or "UNIX" in first:
        return _SOCKET_CALLS.get(name, Kind.OTHER)
    return Kind.LOOP if "poll" in name or name.startswith("io_uring") else Kind.OTHER


KINDS = tuple(Kind)
CALL = "call"
"""The one name of a point inside a process: there all calls are counted together."""


class InsideProbe:
    """Calls of the interpreter into the modules that leave the process; it counts and kills itself (``crash_inside``).

    For machines without strace, or without the right to use it. A commit is one call here.
    """

    runs_inside = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inside.calls"
        self.path.write_bytes(bytes(HEAD.size + MARKS_MAX))

    async def arm(self, pid: int, point: Point | None) -> None:
        self._write(NEVER if point is None else point.number)

    async def disarm(self) -> Trace:
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            target, count = HEAD.unpack_from(shared)
            marks = shared[HEAD.size : HEAD.size + count]
        self._write(0)
        # The last call is the one that it died at: it is not counted.
        return Trace([Call(CALL, KINDS[mark & 0x7F], bool(mark & 0x80)) for mark in marks], count + 1 >= target)

    def _write(self, target: int) -> None:
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            HEAD.pack_into(shared, 0, target, 0)


async def strace_works(folder: Path) -> bool:
    """Whether strace is there and may attach to a process that is not its own child."""
    if shutil.which("strace") is None:
        return False
    sleeper = await asyncio.create_subprocess_exec("sleep", "60")
    probe = StraceProbe(folder)
    try:
        await probe.arm(sleeper.pid, None)
        await probe.disarm()
    except (OSError, TimeoutError):
        return False
    finally:
        sleeper.kill()
        await sleeper.wait()
    return True
