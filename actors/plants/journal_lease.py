"""The lease on a journal: whoever holds it is the one order plant of that account, and notices when it is not any more.

The kernel's lock keeps a second process out as long as the first one lives, stopped or not. What it cannot do is speak
to a process that was stopped, or whose lock file somebody has removed, while a successor has begun: so each holder
writes the next generation into the file, and looks before each commit and each frame whether it still stands there.
"""

import fcntl
import os
from typing import Self

from nightdesk.errors import JournalError, NightdeskError

GENERATION_DIGITS = 20


class JournalBusyError(JournalError):
    """Another process holds the journal: it is ending, or a second system runs on the same ``state_dir``."""


class LeaseLostError(NightdeskError):
    """Another order plant has the journal now: this one must not send or write anything, and ends."""


def lock_journal(path: str) -> int:
    """The lock that keeps everybody else from a journal, as a descriptor to close.

    Raises ``JournalError`` where it cannot be opened, ``JournalBusyError`` while another process holds it.
    """
    path += ".lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path}: cannot be opened ({error.strerror}); mend the rights of state_dir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise JournalBusyError(f"{path}: another process uses this journal; stop it first") from None
    return lock


class JournalLease:
    """One holder's lease; its generation is one more than that of the holder before."""

    def __init__(self, path: str, lock: int, generation: int) -> None:
        self._path = path + ".lock"
        self._lock = lock
        status = os.fstat(lock)
        self._file = (status.st_dev, status.st_ino)
        self._written = f"{generation:0{GENERATION_DIGITS}d}\n".encode()
        self.generation = generation

    @classmethod
    def take(cls, path: str) -> Self:
        """Lock a journal and begin the next generation; raises as ``lock_journal``."""
        lock = lock_journal(path)
        try:
            found = os.pread(lock, GENERATION_DIGITS, 0)
            lease = cls(path, lock, (int(found) if found.isdigit() else 0) + 1)
            os.pwrite(lock, lease._written, 0)
        except OSError as error:
            os.close(lock)
            raise JournalError(
                f"{path}.lock: the journal cannot be opened for writing ({error.strerror}); make room on the disk or "
                "mend the rights of state_dir, and start again"
            ) from error
        return lease

    def is_held(self) -> bool:
        """Whether the file is still ours and nobody has begun another generation; two system calls."""
        try:
            status = os.stat(self._path)
            return (status.st_dev, status.st_ino) == self._file and (
                os.pread(self._lock, GENERATION_DIGITS + 1, 0) == self._written
            )
        except OSError:
            return False

    def release(self) -> None:
        """Let the next one begin."""
        os.close(self._lock)
