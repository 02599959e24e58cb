"""The folder of the mailbox sockets: who may enter it, names for new sockets, and what becomes of old ones.

A process that is killed cannot remove its socket's file. Names begin with the pid of their process, so whoever makes
a new one can see which of the others are left over.
"""

import errno
import os
import secrets
import socket
import stat

from nightdesk.errors import ConfigurationError

FOLDER_NAME = "m"
"""Below ``runtime_dir``; short, because a socket's path is limited."""

PATH_BYTES_MAX = 103
"""A socket's path is limited to 107 bytes; the rest is kept for the name under which it is first bound."""

BEING_BOUND = "~"
"""Ends the first name of a socket; it gets its own when it accepts connections."""

LISTEN_BACKLOG = 128


def prepare(runtime_dir: str) -> str:
    """Make the folder, or take an existing one that is ours alone; what nobody listens at any more is removed.

    Raises ConfigurationError for a folder that is a link, or that somebody else owns: a squatter's.
    """
    folder = os.path.join(runtime_dir, FOLDER_NAME)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"runtime_dir: {folder} cannot be created ({error.strerror})") from None
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"runtime_dir: {folder} is not a folder (nor may it be a link); remove it")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"runtime_dir: {folder} belongs to user {status.st_uid}; set another runtime_dir")
    os.chmod(folder, 0o700)
    # Longer than any name below: pids have seven digits at most.
    new_path(folder)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if stat.S_ISSOCK(os.lstat(path).st_mode) and not is_served(path):
            _unlink(path)
    return folder


def clear(folder: str) -> None:
    """Remove the folder and its sockets; for the end of a run, when all its processes are gone.

    What somebody else put there stays, and the folder with it: this is no reason to end badly.
    """
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            _unlink(path)
    if not os.listdir(folder):
        os.rmdir(folder)


def new_path(folder: str) -> str:
    """A name that no process had before and none will have after this one; raises ConfigurationError if too long."""
    path = os.path.join(folder, f"{os.getpid()}-{secrets.token_hex(4)}")
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ConfigurationError(f"runtime_dir is too long for a socket: {path} (at most {PATH_BYTES_MAX} bytes)")
    return path


def sweep(folder: str) -> None:
    """Remove the sockets whose processes are gone."""
    for name in os.listdir(folder):
        pid = name.partition("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            _unlink(os.path.join(folder, name))


def listen_at(path: str) -> socket.socket:
    """A listening socket for its owner only; its name appears when it accepts connections, replacing a stale one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    first_name = path + BEING_BOUND
    try:
        # Before bind, so that the file is never open to others, not even for a moment.
        os.fchmod(sock.fileno(), 0o600)
        _unlink(first_name)
        sock.bind(first_name)
        sock.listen(LISTEN_BACKLOG)
        os.rename(first_name, path)
    except OSError:
        sock.close()
        raise
    return sock


def remove(path: str) -> None:
    """Remove one socket's file; one that is gone already is fine."""
    _unlink(path)


def is_served(path: str) -> bool:
    """Whether somebody listens at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            # A full backlog means that somebody listens, if slowly.
            return error.errno == errno.EAGAIN
        return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
