"""Every row of a damaged journal that is as it was written, wherever its page is reached from.

A row with a sum is taken if the sum is right, and only then. Rows of a journal that is older than the sums are taken
if they fit their table, and only along the trees: damage inside of such a row cannot be seen.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from typing import NamedTuple

from actors.plants import journal_schema as schema
from actors.plants.journal_pages import (
    INTERIOR_INDEX,
    INTERIOR_TABLE,
    LEAF_INDEX,
    LEAF_TABLE,
    Gap,
    Pages,
    Row,
    Tree,
    leaf_rows,
)
from actors.plants.journal_sums import SUM_COLUMN, Sums, columns_of

KIND_OF = {"INTEGER": int, "TEXT": str, "REAL": float, "BLOB": bytes}
SCHEMA_COLUMNS = 5
INDEX_COLUMNS = (2, 3, 5)
"""How many values the entries of the journal's indexes have, the rowid included."""
FILE_MAGIC = b"SQLite format 3"
ORDER_NAMES = "sqlite_autoindex_orders_1"
"""The index of orders by their ids: it names orders whose rows are lost."""


class Layout(NamedTuple):
    """How the rows of a table are stored."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    not_null: tuple[bool, ...]
    defaults: tuple[object, ...]
    rowid_column: int | None
    has_rowid: bool


class Item(NamedTuple):
    """One row that can be trusted."""

    table: str
    columns: tuple[str, ...]
    rowid: int | None
    values: tuple[object, ...]


class Salvage:
    """Reads a damaged journal once; what could not be read is in the other fields afterwards."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._known = known_layouts()
        self._sums = Sums(known_columns())
        self._visited: set[int] = set()
        self.statements: dict[str, str] = {}
        """The statements that made the file's tables and indexes, where they can be read."""
        self.layouts: dict[str, Layout] = {}
        self.roots: dict[str, int] = {}
        self.index_roots: dict[str, tuple[str, int]] = {}
        self.gaps: dict[str, list[Gap]] = {table: [] for table in self._known}
        self.rejected: dict[str, list[int]] = {table: [] for table in self._known}
        """The rowids of rows that could be read and are not as they were written."""
        self.indexed: dict[str, Counter[int]] = {}
        """What indexes say that there is in a table: rowids, and how many of them name each."""
        self.index_gaps: set[str] = set()
        """Tables of which an index cannot be read to its end."""
        self.order_rowids: dict[str, int] = {}
        """Where orders are by the index of their ids."""
        self.unproven = 0
        """Rows of a version without sums."""
        self.stray_losses = 0
        """Rows of pages that nothing leads to, which are not as they were written."""
        self.unknown_pages = 0
        """Pages that hold something, and nobody can tell what."""
        self.is_stale = False
        """Rows may be older than what was last written of them."""
        self._read_schema()
        self.is_summed = not self.layouts or any(SUM_COLUMN in each.columns for each in self.layouts.values())

    def items(self) -> Iterator[Item]:
        """All rows: those that the trees lead to first, then those of pages that nothing leads to any more."""
        for table in self._known:
            if table in self.roots:
                yield from self._of_tree(table)
        self._read_indexes()
        for content, is_replaced in self._pages.broken_pages():
            found = list(self._of_stray(content, 0))
            if not is_replaced:
                self.is_stale = True
                self.unknown_pages += not found and not self._is_known(content)
            yield from found
        self.is_stale |= self._pages.frames_missing > 0
        if self.is_damaged:
            yield from self._of_strays()

    @property
    def is_damaged(self) -> bool:
        """Whether anything could not be read so far."""
        is_lost = any(self.gaps.values()) or any(self.rejected.values()) or self.is_stale
        return is_lost or set(self._known) != set(self.roots)

    def indexed_rowids(self, table: str) -> set[int]:
        """The rows that indexes are sure of: two say so, or one of them is damaged (then one is enough)."""
        enough = 1 if table in self.index_gaps else 2
        return {rowid for rowid, count in self.indexed.get(table, {}).items() if count >= enough}

    def has_rowids(self, table: str) -> bool:
        """Whether the rows of a table are numbered."""
        return self._known[table].has_rowid

    def is_incomplete(self, table: str) -> bool:
        """Whether rows of a table may be missing."""
        is_unseen = self.unknown_pages + self.stray_losses + self._pages.frames_missing > 0
        return bool(self.gaps[table] or self.rejected[table]) or (
            is_unseen and (table not in self.roots or self.is_stale)
        )

    def _read_schema(self) -> None:
        tree = Tree(self._pages, 1)
        for row in tree.rows():
            self._learn(row)
        self._visited |= tree.visited
        if set(self._known) <= set(self.roots):
            return
        # The schema has more than one page: where the first is lost, the others still say where tables begin.
        for number in range(2, self._pages.count + 1):
            content = self._pages.page(number)
            if content[:1] == bytes([LEAF_TABLE]):
                found = [self._learn(row) for row in leaf_rows(self._pages, content, number, set())]
                if any(found):
                    self._visited.add(number)

    def _learn(self, row: Row | Gap) -> bool:
        """Note what a row of the schema says; False for another row."""
        if isinstance(row, Gap) or len(row.values) != SCHEMA_COLUMNS:
            return False
        kind, name, of_table, root, statement = row.values
        if kind not in ("table", "index") or not isinstance(root, int):
            return False
        if not isinstance(name, str) or not isinstance(of_table, str):
            return False
        if kind == "index":
            self.index_roots.setdefault(name, (of_table, root))
            self.statements.setdefault(name, str(statement or ""))
        elif name in self._known and name not in self.roots:
            self.roots[name] = root
            layout = layout_of(name, str(statement))
            if layout is not None:
                self.layouts[name] = layout
                self.statements[name] = str(statement)
        return True

    def _of_tree(self, table: str) -> Iterator[Item]:
        tree = Tree(self._pages, self.roots[table])
        for row in tree.rows():
            if isinstance(row, Gap):
                self.gaps[table].append(row)
                continue
            item = self._trusted(table, row)
            if item is None and self.is_summed:
                # A damaged way may lead to another table's page.
                item = self._of_any(row)
            if item is None or item.table != table:
                self.rejected[table].append(row.rowid or 0)
            if item is not None:
                yield item
        self._visited |= tree.visited

    def _read_indexes(self) -> None:
        for name, (table, root) in self.index_roots.items():
            tree = Tree(self._pages, root)
            known = self.indexed.setdefault(table, Counter())
            for row in tree.rows():
                if isinstance(row, Gap):
                    self.index_gaps.add(table)
                    continue
                if not row.values or not isinstance(rowid := row.values[-1], int):
                    continue
                known[rowid] += 1
                if name == ORDER_NAMES:
                    self.order_rowids[str(row.values[0])] = rowid
            self._visited |= tree.visited

    def _of_strays(self) -> Iterator[Item]:
        free = self._pages.free()
        # The first page has no rows but the schema's.
        for number in range(2, self._pages.count + 1):
            if number in self._visited or number in (free or ()):
                continue
            content = self._pages.page(number)
            found = list(self._of_stray(content, number))
            self.unknown_pages += not found and bool(content.strip(b"\0")) and not self._is_known(content)
            yield from found
        # Pages of the free list may hold rows as they once were: of no concern while the present ones are all there.
        is_lacking = any(self.gaps.values()) or any(self.rejected.values()) or self.unknown_pages or self.stray_losses
        self.is_stale |= free is None and bool(is_lacking)

    def _of_stray(self, content: bytes, number: int) -> Iterator[Item]:
        if not self.is_summed:
            return
        for row in leaf_rows(self._pages, content, number, set()):
            item = None if isinstance(row, Gap) else self._of_any(row)
            if item is not None:
                yield item
            elif isinstance(row, Gap) or row.rowid is not None or not _is_entry(row):
                self.stray_losses += 1

    def _of_any(self, row: Row) -> Item | None:
        """A row of whichever table has it as its own, by its sum."""
        tables = (table for table, known in self._known.items() if known.has_rowid is (row.rowid is not None))
        found = (self._trusted(table, row) for table in tables)
        return next((item for item in found if item is not None and SUM_COLUMN in item.columns), None)

    def _is_known(self, content: bytes) -> bool:
        """Whether a page has no rows of its own: of an index, or a way to others, or the first one, or empty."""
        if content.startswith(FILE_MAGIC) or content[:1] in (bytes([INTERIOR_INDEX]), bytes([INTERIOR_TABLE])):
            return True
        if content[:1] not in (bytes([LEAF_INDEX]), bytes([LEAF_TABLE])):
            return False
        found = list(leaf_rows(self._pages, content, 0, set()))
        entries = [row for row in found if isinstance(row, Row) and row.rowid is None and _is_entry(row)]
        return not found or len(entries) > len(found) // 2

    def _trusted(self, table: str, row: Row) -> Item | None:
        for layout in self._possible(table):
            values = stored(layout, row)
            if values is None:
                continue
            if SUM_COLUMN in layout.columns:
                if self._sums.is_whole(table, layout.columns, values):
                    return Item(table, layout.columns, row.rowid, values)
            elif fits(layout, values):
                self.unproven += 1
                return Item(table, layout.columns, row.rowid, values)
        return None

    def _possible(self, table: str) -> tuple[Layout, ...]:
        """How the rows of a table may be stored: what the file says may be damaged, too."""
        known, told = self._known[table], self.layouts.get(table)
        if not self.is_summed:
            return () if told is None else (told,)
        others = other_orders(table, known)
        is_told = told is not None and set(told.columns) <= set(known.columns)
        return (told, *others) if told is not None and is_told else others


def _is_entry(row: Row) -> bool:
    """Whether a row looks like one of an index."""
    return len(row.values) in INDEX_COLUMNS and isinstance(row.values[-1], int)


def stored(layout: Layout, row: Row) -> tuple[object, ...] | None:
    """A row's values as SQLite would give them; None where there are too many for the table."""
    values = list(row.values)
    if len(values) > len(layout.columns):
        return None
    # Columns that were added later are not in rows of before.
    values += layout.defaults[len(values) :]
    if layout.rowid_column is not None:
        values[layout.rowid_column] = row.rowid
    for index, kind in enumerate(layout.kinds):
        if kind == "REAL" and type(values[index]) is int:
            values[index] = float(values[index])  # type: ignore[arg-type]
    return tuple(values)


def fits(layout: Layout, values: Sequence[object]) -> bool:
    """Whether all values are of the kinds that their columns are for."""
    return all(
        (value is None and not required) or isinstance(value, KIND_OF.get(kind, object))
        for value, kind, required in zip(values, layout.kinds, layout.not_null, strict=True)
    )


@cache
def known_layouts() -> dict[str, Layout]:
    """The tables as this version makes them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.TABLES)
        found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    layouts = {name: layout_of(name, statement) for name, statement in found}
    return {name: layout for name, layout in layouts.items() if layout is not None}


@cache
def known_columns() -> dict[str, tuple]:  # type: ignore[type-arg]
    """The same as the sums need it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema.TABLES)
        return {table: columns_of(connection, table) for table in known_layouts()}


@cache
def other_orders(table: str, known: Layout) -> tuple[Layout, ...]:
    """The orders that a table's columns can have: a file that was made by an earlier version has the new ones last."""
    found = {known.columns: known}
    for version in schema.MIGRATIONS:
        later = [name for name in _added(table, int(version)) if name in known.columns]
        columns = [name for name in known.columns if name not in later] + later
        found[tuple(columns)] = _reordered(known, columns)
    return tuple(found.values())


def layout_of(table: str, statement: str) -> Layout | None:
    """How the rows of a table are stored, by the statement that made it; None for one that makes no such table."""
    if not re.match(r"\s*CREATE TABLE\b", statement, re.IGNORECASE):
        return None
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(statement)
            found = connection.execute(f"PRAGMA table_info({table})").fetchall()
            columns = columns_of(connection, table)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    has_rowid = "WITHOUT ROWID" not in statement.upper()
    keys = [row[0] for row in found if row[5]]
    is_alias = has_rowid and len(keys) == 1 and found[keys[0]][2] == "INTEGER"
    return Layout(
        columns=tuple(row[1] for row in found),
        kinds=tuple(row[2] for row in found),
        not_null=tuple(bool(row[3] or row[5]) for row in found),
        defaults=tuple(column.default for column in columns),
        rowid_column=keys[0] if is_alias else None,
        has_rowid=has_rowid,
    )


def _added(table: str, since: int) -> list[str]:
    found = []
    for version, (_, statements) in schema.MIGRATIONS.items():
        if int(version) >= since:
            found += re.findall(rf"ALTER TABLE {table} ADD COLUMN (\w+)", statements)
    return found


def _reordered(layout: Layout, columns: Sequence[str]) -> Layout:
    places = [layout.columns.index(name) for name in columns]
    return Layout(
        columns=tuple(columns),
        kinds=tuple(layout.kinds[place] for place in places),
        not_null=tuple(layout.not_null[place] for place in places),
        defaults=tuple(layout.defaults[place] for place in places),
        rowid_column=None if layout.rowid_column is None else places.index(layout.rowid_column),
        has_rowid=layout.has_rowid,
    )
