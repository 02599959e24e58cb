"""The table of instruments, ``state_dir/instruments.json``: what aliases mean, and what the gateway says of contracts.

The ticker plant writes it, whole and under another name first; everybody else reads it. What it says of dates follows
from the configuration and the calendar, so that a file that is missing or damaged costs only what was found by watching
the market: it is derived again.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from nightdesk.trading.rolls import Leg

FILE_NAME: Final = "instruments.json"
VERSION: Final = 1
BYTES_MAX: Final = 1 << 20
"""A file that is longer is none of ours."""


class ContractFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway says of a contract; ``problem`` is why it must not be traded, empty for nothing."""

    exchange: str
    tick_size: float | None = None
    point_value: float | None = None
    expiration_date: str = ""
    """YYYYMMDD; empty where the gateway does not say."""
    problem: str = ""


class AliasEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias means: the contract now, the legs around it, and the rolls that its rule has found."""

    contract: str
    rule: str
    legs: tuple[Leg, ...] = ()
    decided: tuple[Leg, ...] = ()


class InstrumentTable(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table; ``market_ns`` is the market time at which it was written."""

    version: int = VERSION
    market_ns: int = 0
    aliases: dict[str, AliasEntry] = {}
    contracts: dict[str, ContractFacts] = {}

    def at(self, market_ns: int) -> "InstrumentTable":
        """The same, written at a market time."""
        return msgspec.structs.replace(self, market_ns=market_ns)


_decoder = msgspec.json.Decoder(InstrumentTable)


class TableFile:
    """The file as one process sees it."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE_NAME
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether the file is another one than at the last call."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            seen = (0, 0, 0)
        is_new, self._seen = seen != self._seen, seen
        return is_new

    def read(self) -> InstrumentTable | None:
        """The table; None where there is no file, or one that cannot be understood."""
        try:
            with self.path.open("rb") as file:
                table = _decoder.decode(file.read(BYTES_MAX))
        except (OSError, msgspec.DecodeError):
            return None
        return table if table.version == VERSION else None

    def write(self, table: InstrumentTable) -> None:
        """Put a whole table in the place of the former. Raises ``OSError``."""
        fresh = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
