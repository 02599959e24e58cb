"""Sums over the rows of the journal: SQLite keeps none, so that a flipped byte inside a row would go unnoticed.

The sum of a row is the CRC-32 of its table's name and its values, kept in its own column ``row_sum``. Values that are
their column's default do not count: a later version may add columns without spoiling the sums that are there.
"""

import sqlite3
import zlib
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

SUM_COLUMN = "row_sum"
SUMMED = (
    "meta",
    "orders",
    "events",
    "fills",
    "pauses",
    "epochs",
    "trading_states",
    "last_wills",
    "rolls",
    "risk_state",
)
"""The tables that have the column."""
ASSIGNED = {"rolls": "number"}
"""Columns that SQLite gives a value, so that it is not known when the sum is made."""
FUNCTION = "journal_row_sum"
"""The same as a function of SQL, for a migration: the table's name and the values, each after its column's name."""

_encode = msgspec.msgpack.Encoder().encode


class Column(NamedTuple):
    """What the sum must know of a column."""

    name: str
    is_real: bool
    default: object
    always_counts: bool
    """It has been there from the beginning and has no default."""


class _Plan(NamedTuple):
    """Where the values are that count, for one order of columns."""

    always: tuple[int, ...]
    optional: tuple[tuple[int, str, object, bool], ...]


class Sums:
    """Makes the sums by the columns that the tables of one file have."""

    def __init__(self, columns: Mapping[str, Sequence[Column]]) -> None:
        self._columns = {table: tuple(known) for table, known in columns.items()}
        self._plans: dict[tuple[str, tuple[str, ...]], _Plan] = {}

    @classmethod
    def of_file(cls, connection: sqlite3.Connection) -> "Sums":
        """For an open file. Raises ``sqlite3.Error``."""
        return cls({table: columns_of(connection, table) for table in SUMMED})

    def of(self, table: str, columns: tuple[str, ...], values: Sequence[Any]) -> int:
        """The sum of one row; ``columns`` names its values, in any order and at least all that are not defaults."""
        plan = self._plans.get((table, columns)) or self._make_plan(table, columns)
        more: list[object] = []
        for index, name, default, is_real in plan.optional:
            value = values[index]
            if is_real and value is not None:
                # As SQLite keeps them: no whole numbers, no negative zero, and nothing for what is no number.
                value = float(value) + 0.0 if value == value else None
            if value != default or type(value) is not type(default):
                more += (name, value)
        return zlib.crc32(_encode((table, [values[index] for index in plan.always], more)))

    def is_whole(self, table: str, columns: tuple[str, ...], row: Sequence[Any]) -> bool:
        """Whether a row, its sum included, is as it was written."""
        try:
            return bool(row[columns.index(SUM_COLUMN)] == self.of(table, columns, row))
        except (TypeError, ValueError, OverflowError):
            # No version of ours writes what cannot be packed.
            return False

    def has(self, table: str) -> bool:
        """Whether rows of the table have sums."""
        return any(column.name == SUM_COLUMN for column in self._columns.get(table, ()))

    def register(self, connection: sqlite3.Connection) -> None:
        """Let SQL of this connection call ``FUNCTION``."""
        connection.create_function(FUNCTION, -1, self._of_pairs)

    def _of_pairs(self, table: str, *pairs: Any) -> int:
        return self.of(table, tuple(pairs[::2]), pairs[1::2])

    def _make_plan(self, table: str, columns: tuple[str, ...]) -> _Plan:
        always, optional = [], []
        for column in self._columns[table]:
            if column.name in (SUM_COLUMN, ASSIGNED.get(table)):
                continue
            if column.always_counts:
                always.append(columns.index(column.name))
            elif column.name in columns:
                optional.append((columns.index(column.name), column.name, column.default, column.is_real))
        # By name: a file that was migrated has the columns in another order than one that was made by this version.
        plan = _Plan(tuple(always), tuple(sorted(optional, key=lambda each: each[1])))
        self._plans[(table, columns)] = plan
        return plan


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """A table's columns as the file has them; none where there is no such table. Raises ``sqlite3.Error``."""
    found = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return tuple(_column(*row) for row in found)


def seal(tables: Iterable[tuple[str, Sequence[str]]]) -> str:
    """The statements that give every row of these tables (name and columns) the sum of what it holds now."""
    statements = []
    for table, columns in tables:
        pairs = ", ".join(f"'{name}', {name}" for name in columns if name != SUM_COLUMN)
        statements.append(f"UPDATE {table} SET {SUM_COLUMN} = {FUNCTION}('{table}', {pairs});")
    return "".join(statements)


def _column(_: int, name: str, kind: str, not_null: int, default: str | None, key: int) -> Column:
    always = bool(not_null or key) and default is None
    try:
        known = None if default is None else literal_eval(default)
    except (ValueError, SyntaxError):
        # The schema itself is damaged: no row will have the sum that this leads to.
        known = None
    return Column(name, kind == "REAL", known, always)
