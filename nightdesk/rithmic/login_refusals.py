"""The refused logins of all plants of one system, in one file: brokers lock users who are refused again and again.

Whoever reads it to decide, or writes, holds the login lock: one login is made, and counted, at a time.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
from structlog.typing import FilteringBoundLogger

from nightdesk.errors import ConfigurationError, CredentialsError
from nightdesk.settings.instants import iso_utc

REFUSALS_FILE: Final = "login_refusals.json"
"""In ``state_dir``; it exists from a refusal to the next good login or start by hand."""

MODE: Final = 0o600
REASON_CHARACTERS_MAX: Final = 300
OUT_OF_MEANS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""No descriptor, no memory: this says nothing about the file."""


class Refusals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has been refused since the last good login, and when the newest refusal was by each of the clocks."""

    counted: Annotated[int, msgspec.Meta(ge=0)] = 0
    """While the link had to stand."""
    quiet: Annotated[int, msgspec.Meta(ge=0)] = 0
    """While no market traded, or in the gateway's maintenance."""
    wall_ns: int = 0
    market_ns: int = 0
    monotonic_s: float = 0.0
    reason: str = ""


class LoginRefusals:
    """The file; it outlives every process of the system, and a whole run."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / REFUSALS_FILE

    def read(self) -> Refusals:
        """What it holds; nothing where there is none. A file that nobody can read may hide refusals.

        Raises ``CredentialsError``, which ends the system: the next start by hand makes the file anew. Raises
        ``OSError`` where this process lacks the means to look, which ends it alone: the next one has them.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Refusals)
        except FileNotFoundError:
            return Refusals()
        except (OSError, msgspec.DecodeError) as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_MEANS:
                raise
            raise CredentialsError(
                f"{self.path} cannot be read ({error}), so nobody knows how often the gateway has refused the login; "
                "start again when you know that it is not locked"
            ) from None

    def write(self, refusals: Refusals) -> None:
        """Put this in its place; a reader finds the one or the other. Raises ``OSError``."""
        new = self.path.with_name(f"{self.path.name}.new")
        content = msgspec.json.encode(refusals)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        os.replace(new, self.path)

    def clear(self) -> None:
        """A login was good, or somebody has started the system by hand. Raises ``OSError``."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def forget(state_dir: str, log: FilteringBoundLogger) -> None:
    """Somebody starts the system: what was refused in an earlier run does not count any more, and a line says so.

    Raises ``ConfigurationError`` where the file cannot be removed.
    """
    refusals = LoginRefusals(state_dir)
    try:
        known = refusals.read()
    except CredentialsError as error:
        fields = {"reason": str(error)}
    else:
        if known == Refusals():
            return
        fields = {"tries": str(known.counted + known.quiet), "last": iso_utc(known.wall_ns), "reason": known.reason}
    try:
        refusals.clear()
    except OSError as error:
        raise ConfigurationError(f"{refusals.path}: cannot be removed ({error.strerror}); remove it yourself") from None
    log.warning("login_refusals_forgotten", **fields)
