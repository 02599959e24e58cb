"""The table of instruments: what aliases mean, and what the gateway says of contracts, for all processes of a system.

The ticker plant writes it, everybody else reads it. It stands in two files of ``state_dir``, each whole, with a
checksum, and written under another name first: where one of them is damaged or gone, the other says the same. Most of
it follows from the configuration and the calendar; what was found by watching the market, and which contract an alias
has gone over to, stands nowhere else.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from nightdesk.trading.rolls import EXPIRATION, Leg

FILE_NAME: Final = "instruments.json"
COPY_NAME: Final = "contracts.copy.json"
"""Not of the same beginning: whoever removes files by a pattern removes one of them."""

VERSION: Final = 2
UNSEALED_VERSION: Final = 1
"""Tables of this version have no checksum."""

BYTES_MAX: Final = 1 << 20
"""A file that is longer is none of ours."""

MISSING: Final = "is missing"
DAMAGED: Final = "is damaged"


class ContractFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway says of a contract; ``problem`` is why it must not be traded, empty for nothing."""

    exchange: str
    tick_size: float | None = None
    point_value: float | None = None
    expiration_date: str = ""
    """YYYYMMDD; empty where the gateway does not say."""
    problem: str = ""


class AliasEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an alias means: the contract now, the legs around it, and the rolls that were decided by watching."""

    contract: str
    rule: str
    legs: tuple[Leg, ...] = ()
    decided: tuple[Leg, ...] = ()


class InstrumentTable(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table; ``market_ns`` is the market time at which it was written.

    ``begun_ns`` is the market time at which it was made from nothing; 0 where that is not known.
    """

    version: int = VERSION
    market_ns: int = 0
    begun_ns: int = 0
    aliases: dict[str, AliasEntry] = {}
    contracts: dict[str, ContractFacts] = {}
    checksum: str = ""

    def at(self, market_ns: int) -> "InstrumentTable":
        """The same, written at a market time."""
        return msgspec.structs.replace(self, market_ns=market_ns)

    def same_as(self, other: "InstrumentTable | None") -> bool:
        """Whether both say the same, whenever they were written."""
        return other is not None and _bare(self) == _bare(other)


_decoder = msgspec.json.Decoder(InstrumentTable)


def standing_legs(entry: AliasEntry, market_ns: int, *, is_dated: bool) -> dict[str, Leg]:
    """The legs of an entry that stand whatever the calendar says, by their contracts.

    What was in force when the table was written (at ``market_ns``) has happened; what was decided then for later counts
    for rules that watch the market, and for all where the exchange ends a contract sooner.
    """
    happened = [leg for leg in (*entry.legs, *entry.decided) if 0 < leg.from_ns <= market_ns]
    coming = [leg for leg in entry.decided if leg.from_ns > market_ns and (not is_dated or leg.reason == EXPIRATION)]
    return {leg.symbol: leg for leg in (*happened, *coming)}


class TableFile:
    """Both files as one process sees them; ``problems`` says what the last ``read`` found wrong with each."""

    def __init__(self, state_dir: str) -> None:
        self.path = Path(state_dir) / FILE_NAME
        self.copy = Path(state_dir) / COPY_NAME
        self.problems: dict[str, str] = {}
        self._seen: tuple[tuple[int, int, int], ...] | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the last ``read`` found neither file."""
        return len(self.problems) == len(self._paths) and set(self.problems.values()) == {MISSING}

    def changed(self) -> bool:
        """Whether a file is another one than at the last call."""
        seen = tuple(_state_of(path) for path in self._paths)
        is_new, self._seen = seen != self._seen, seen
        return is_new

    def read(self) -> InstrumentTable | None:
        """The table: the newer of the two, with the decisions of both; None where neither can be read."""
        self.problems = {}
        found = [table for path in self._paths if (table := self._read(path)) is not None]
        if not found:
            return None
        newest = max(found, key=lambda table: table.market_ns)
        return newest if len(found) == 1 else _with_decisions(newest, found)

    def write(self, table: InstrumentTable) -> None:
        """Put a whole table in the place of the former, the copy first. Raises ``OSError``."""
        bare = msgspec.structs.replace(table, version=VERSION, checksum="")
        sealed = msgspec.structs.replace(bare, checksum=_checksum(bare))
        content = msgspec.json.format(msgspec.json.encode(sealed), indent=1) + b"\n"
        for path in reversed(self._paths):
            _put(path, content)

    @property
    def _paths(self) -> tuple[Path, Path]:
        return self.path, self.copy

    def _read(self, path: Path) -> InstrumentTable | None:
        try:
            with path.open("rb") as file:
                content = file.read(BYTES_MAX)
        except FileNotFoundError:
            self.problems[path.name] = MISSING
            return None
        except OSError as error:
            self.problems[path.name] = f"cannot be read ({error.strerror})"
            return None
        try:
            table = _decoder.decode(content)
        except msgspec.DecodeError:
            table = None
        if table is not None and table.version not in (VERSION, UNSEALED_VERSION):
            self.problems[path.name] = f"is of version {table.version}"
            return None
        if table is None or (table.version == VERSION and table.checksum != _checksum(table)):
            self.problems[path.name] = DAMAGED
            return None
        return table


def _put(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _state_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _checksum(table: InstrumentTable) -> str:
    content = msgspec.json.encode(msgspec.structs.replace(table, checksum=""))
    return hashlib.sha256(content).hexdigest()


def _bare(table: InstrumentTable) -> InstrumentTable:
    return msgspec.structs.replace(table, version=VERSION, market_ns=0, checksum="")


def _with_decisions(newest: InstrumentTable, found: Iterable[InstrumentTable]) -> InstrumentTable:
    """Whoever was killed between two writes has left a decision in one of them."""
    aliases: dict[str, AliasEntry] = dict(newest.aliases)
    for table in found:
        for alias, entry in table.aliases.items():
            present = aliases.setdefault(alias, entry)
            aliases[alias] = msgspec.structs.replace(present, decided=_joined(present.decided, entry.decided))
    return msgspec.structs.replace(newest, aliases=aliases)


def _joined(decided: tuple[Leg, ...], others: tuple[Leg, ...]) -> tuple[Leg, ...]:
    known: Mapping[str, Leg] = {leg.symbol: leg for leg in decided}
    return (*decided, *(leg for leg in others if leg.symbol not in known))
