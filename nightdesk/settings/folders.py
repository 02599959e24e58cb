"""The folders of state: where they are by default, and how they are created."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nightdesk.errors import ConfigurationError

RUNTIME_DIR_BYTES_MAX = 80
"""A socket's path is limited to 108 bytes by the kernel; this leaves enough for the longest name."""
CONTROL_SOCKET = "control.sock"
"""Where control listens, in ``runtime_dir``."""
EXCHANGE_SOCKET = "exchange.sock"
"""Where the embedded exchange takes commands for faults, in ``runtime_dir``."""


class Folders(NamedTuple):
    """What the operator's verbs need of a configuration, and nothing else of it."""

    name: str
    state_dir: str
    runtime_dir: str
    config_file: str


def default_state_dir(name: str, environ: Mapping[str, str]) -> Path:
    """systemd's folder, else XDG's, else the one below the home folder."""
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].split(":")[0]) / name
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "nightdesk" / name
    try:
        return Path("~/.local/state/nightdesk").expanduser() / name
    except RuntimeError:
        raise ConfigurationError(
            "state_dir: this user has no home folder (HOME is not set); set state_dir in the configuration"
        ) from None


def default_runtime_dir(name: str, environ: Mapping[str, str]) -> Path:
    """systemd's folder, else XDG's, else one of this user's below /tmp."""
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0]) / name
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "nightdesk" / name
    return Path(f"/tmp/nightdesk-{os.geteuid()}") / name


def too_long_for_sockets(runtime_dir: str) -> bool:
    """Whether socket names below this folder would not fit."""
    return len(os.fsencode(runtime_dir)) > RUNTIME_DIR_BYTES_MAX


def prepare_folder(key: str, path: Path) -> None:
    """Create the folder with mode 0700; refuse one that somebody else owns or may write to, or could exchange."""
    try:
        for missing in [folder for folder in (*reversed(path.parents), path) if not folder.exists()]:
            missing.mkdir(mode=0o700, exist_ok=True)
        status, parent = path.lstat(), path.parent.stat()
    except OSError as error:
        raise ConfigurationError(
            f"{key}: {path} cannot be created ({error.strerror}); set {key} in the configuration to a folder of yours"
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(
            f"{key}: {path} is not a folder (nor may it be a link); remove it or set another {key}"
        )
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{key}: {path} belongs to user {status.st_uid}; set {key} to a folder of your own")
    if status.st_mode & 0o022:
        raise ConfigurationError(f"{key}: others may write to {path}; run: chmod 700 {path}")
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{key}: {path} cannot be written to; make it so, or set another {key}")
    exchangeable = parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX
    if parent.st_uid not in (os.geteuid(), 0) or exchangeable:
        raise ConfigurationError(f"{key}: others may rename {path}, since they may write to {path.parent}; set another")
