"""Locks that one run holds from start to end: on its folders, and on its login at a real gateway.

The kernel releases them however the run ends; processes of the run inherit them, so that a run counts as over only when
the last of them has gone.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import default_state_dir, prepare_folder
from nightdesk.settings.models import Gateway, Settings
from nightdesk.settings.secrets import resolve_secret

LOCK_FILE = "lock"
LOGIN_LOCKS = "logins"
"""The folder of login locks, beside the default folders of state, so that all runs of one user share it."""
_HOLDER_BYTES_MAX = 8192


class Holder(NamedTuple):
    """Whose lock it is; the three lines of the lock's file."""

    pid: int
    name: str
    config_file: str

    def __str__(self) -> str:
        return f"{self.name}, process {self.pid}, {self.config_file}"


class FileLock:
    """An exclusive lock on a file of its own."""

    def __init__(self, path: Path, owner: Holder, complaint: Callable[[Holder], str]) -> None:
        """Take the lock; raises ``ConfigurationError`` with the complaint about whoever holds it."""
        self._descriptor = _open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, "".join(f"{item}\n" for item in owner).encode(errors="replace"), 0)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            raise ConfigurationError(complaint(holder)) from None
        except OSError as error:
            os.close(self._descriptor)
            raise ConfigurationError(f"{path}: cannot be written ({error.strerror}); make room there") from None

    def release(self) -> None:
        """Let the next run begin."""
        os.close(self._descriptor)


def lock_folder(key: str, folder: str, owner: Holder) -> FileLock:
    """The lock of ``state_dir`` or ``runtime_dir``: two systems in one folder would destroy each other's state."""

    def complaint(holder: Holder) -> str:
        mend = f"stop that one first, or set another {key}"
        if holder.name == owner.name:
            mend = "stop it first, or give this configuration another name"
        return f"{owner.name} is running already: {key} {folder} is in use ({holder}); {mend}"

    return FileLock(Path(folder) / LOCK_FILE, owner, complaint)


def lock_logins(settings: Settings, owner: Holder, environ: Mapping[str, str] = os.environ) -> list[FileLock]:
    """The locks of a login at a gateway, and of the account where one is named; none in mode sim.

    A copied configuration with folders of its own would else log in a second time: the gateway then throws one of the
    two out, again and again, or both trade one account. The user's name (never the password) is read here for that,
    and only its digest is written.
    """
    if settings.gateway is None or settings.credentials is None:
        return []
    folder = default_state_dir(LOGIN_LOCKS, environ)
    prepare_folder("state_dir", folder)
    where = address_of(settings.gateway)
    locks: list[FileLock] = []
    try:
        for what, value in _identities(settings, environ):
            digest = hashlib.sha256("\n".join((*where, what, value)).encode(errors="surrogateescape")).hexdigest()
            locks.append(FileLock(folder / digest[:32], owner, _login_complaint(where, what)))
    except ConfigurationError:
        for lock in locks:
            lock.release()
        raise
    return locks


def address_of(gateway: Gateway) -> tuple[str, str]:
    """Where a login goes: host and port, and the system's name, each in one form however it is written."""
    url = urlsplit(gateway.url)
    port = url.port or (80 if url.scheme == "ws" else 443)
    return f"{url.hostname}:{port}", gateway.system_name.strip().casefold()


def is_locked(folder: str) -> bool:
    """Whether a run still holds the folder."""
    try:
        descriptor = os.open(Path(folder) / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _identities(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if settings.credentials is not None:
        yield "user", resolve_secret(settings.credentials.user, environ)
    if settings.account is not None:
        yield "account", settings.account


def _login_complaint(where: tuple[str, str], what: str) -> Callable[[Holder], str]:
    def complaint(holder: Holder) -> str:
        return (
            f"gateway.url: another system of yours uses this {what} at {where[0]} already ({holder}); "
            "stop that one first: one login and one account carry one system"
        )

    return complaint


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        text = f"{path}: cannot be opened ({error.strerror}); mend that, or set another folder"
        raise ConfigurationError(text) from None


def _holder(descriptor: int) -> Holder:
    lines = os.pread(descriptor, _HOLDER_BYTES_MAX, 0).decode(errors="replace").splitlines()
    pid, name, config_file = [*lines, "", "", ""][:3]
    return Holder(int(pid) if pid.isdigit() else 0, name or "unknown", config_file or "unknown")
