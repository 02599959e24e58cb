"""What a process of ours does to itself before anything else, and what it can ask of the kernel about others."""

import ctypes
import faulthandler
import logging
import os
import signal
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FATAL_SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGQUIT)
_IGNORED_SIGNALS = (signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)
_logging_root = logging.root
_logging_manager = logging.Logger.manager

_STANDARD_ERROR = 2

FAULT_BYTES_MAX = 65_536
"""What is read of a fault's text; a pipe holds no more unless it is told to."""

_NO_PIPE = -1
_fault_pipe = [_NO_PIPE]
"""Where the next process that is forked here tells of its faults, until it takes it over."""

own_descriptors: set[int] = set()
"""Descriptors that only this process has a use for; a forked child closes its copies (see ``close_inherited``)."""

own_sockets: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
"""The same for sockets; the objects are emptied, lest the child's garbage collector closes what is not theirs."""


def die_with_parent(expected_parent_pid: int) -> None:
    """Let the kernel kill this process when its parent ends; exit at once if the parent has ended already.

    The parent is compared with the expected pid and never with 1: the runner is a subreaper. The signal is tied to the
    parent's *thread* that forked, which is why supervisors have one thread only.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected_parent_pid:
        os._exit(1)


def become_subreaper() -> None:
    """Adopt every descendant whose parent ends, so that none can escape."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent_from_now_on() -> None:
    """Give every process that is forked below this one its parent-death signal in its first moments."""
    parent = [os.getpid()]

    def remember() -> None:
        parent[0] = os.getpid()

    def arm() -> None:
        die_with_parent(parent[0])

    os.register_at_fork(before=remember, after_in_child=arm)


def take_over(on_terminate: Callable[[], None]) -> None:
    """Undo what Thespian and the parent process left behind in a new actor.

    Thespian replaces the root logger by one that sends mail from whichever thread logs, and catches every signal,
    SIGSEGV included, which would make a real fault spin for ever. SIGTERM calls ``on_terminate`` on the main thread.
    """
    logging.root = _logging_root
    logging.Logger.root = _logging_root
    logging.Logger.manager = _logging_manager

    def terminate(_number: int, _frame: FrameType | None) -> None:
        on_terminate()

    for fatal in _FATAL_SIGNALS:
        signal.signal(fatal, signal.SIG_DFL)
    for ignored in _IGNORED_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    _tell_faults()


@contextmanager
def faults_of_next_process() -> Iterator[int]:
    """What a process that is forked in this block says when it dies of a real fault; for ``fault_text`` after its end.

    Standard error would not do: in a pipe that nobody reads a dying process would wait for ever, and as it is mostly
    the log's pipe, the many small pieces of such a text would tear other processes' lines.
    """
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    own_descriptors.add(reading)
    _fault_pipe[0] = writing
    try:
        yield reading
    finally:
        _fault_pipe[0] = _NO_PIPE
        os.close(writing)


def fault_text(descriptor: int) -> str:
    """What an ended process said of its fault, empty if it had none; its descriptor is closed."""
    try:
        return os.read(descriptor, FAULT_BYTES_MAX).decode("utf-8", "replace")
    except BlockingIOError:
        # Somebody whom it forked itself holds the other end.
        return ""
    finally:
        own_descriptors.discard(descriptor)
        os.close(descriptor)


def _tell_faults() -> None:
    """Write of this process's faults into the pipe that its parent made for it."""
    pipe = _fault_pipe[0]
    _fault_pipe[0] = _NO_PIPE
    if pipe == _NO_PIPE:
        # An actor of a plain system; by its number, for sys.stderr may be None, or something that has no descriptor.
        pipe = _STANDARD_ERROR
    else:
        own_descriptors.add(pipe)
    faulthandler.enable(pipe)


def close_inherited() -> None:
    """Close what a forked process has of its parent's own descriptors; Python calls this in each one."""
    # Enabled a second time it would leave the signals as they are; and its descriptor is closed here.
    faulthandler.disable()
    descriptors = {*own_descriptors, *(sock.detach() for sock in list(own_sockets))}
    own_descriptors.clear()
    own_sockets.clear()
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            continue


os.register_at_fork(after_in_child=close_inherited)


def children_of(parent_pid: int) -> list[int]:
    """The pids of a process's children, ended ones that nobody has waited for included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            # The command's name stands in brackets and may hold anything, blanks and brackets too.
            if int(stat.rpartition(")")[2].split()[1]) == parent_pid:
                found.append(int(entry.name))
    return found


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
