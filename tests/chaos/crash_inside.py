"""Inside a process that is to die at its Nth call to the outside; ``crash_probes.InsideProbe`` says at which one.

The interpreter's profiler sees each call into C, before it and after it: both are points, since what a call does is
done between them.
"""

import mmap
import os
import select
import signal
import socket
import sqlite3
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.chaos.crash_probes import HEAD, KINDS, MARKS_MAX, Kind

_LANE = {"recv": Kind.LANE_IN, "send": Kind.LANE_OUT}
_LINK = {"recv": Kind.LINK_IN, "recv_into": Kind.LINK_IN, "send": Kind.LINK_OUT, "sendmsg": Kind.LINK_OUT}
_BEGUN, _DONE = "c_call", "c_return"


def arm(path: Path) -> None:
    """Every thread that is started from now on counts; the file says from when on, and where to die."""
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)

    def count(_frame: FrameType, event: str, function: Any) -> None:
        if event not in (_BEGUN, _DONE):
            return
        target, calls = HEAD.unpack_from(shared)
        if not target or (kind := _kind_of(function)) is None:
            return
        calls += 1
        if calls == target:
            os.kill(os.getpid(), signal.SIGKILL)
        if calls <= MARKS_MAX:
            shared[HEAD.size + calls - 1] = KINDS.index(kind) | (0x80 if event == _DONE else 0)
        HEAD.pack_into(shared, 0, target, calls)

    threading.setprofile(count)


def _kind_of(function: Any) -> Kind | None:
    """What a built-in function is about; None for those that do not leave the process."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if isinstance(owner, sqlite3.Connection | sqlite3.Cursor):
        return Kind.JOURNAL if name == "execute" else None
    if isinstance(owner, socket.socket):
        try:
            family = owner.family
        except ValueError:
            return None
        return (_LANE if family == socket.AF_UNIX else _LINK).get(name)
    if isinstance(owner, select.epoll):
        return Kind.LOOP if name == "poll" else None
    return Kind.LOG if function is os.write else None
