"""What history knows of a contract: a recorded past from files, before what the market did in this session.

The files are read when somebody first asks for their contract. Nothing recorded is served that lies after the session's
first trade (before that: after market time), so that a past never tells the future; recorded times stay as they are.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.model import Traded
from nightdesk.simulator.plants.bars import UNIT_S, BarStore, start_of
from nightdesk.simulator.plants.past_columns import (
    BarColumns,
    Columns,
    Segment,
    TimeSegment,
    TradeColumns,
    seamless,
)
from nightdesk.simulator.plants.past_file import PastFile, check, read
from nightdesk.simulator.plants.tick_bars import Print

AnyColumns = TypeVar("AnyColumns", TradeColumns, BarColumns, Columns)


class Past:
    """The configured files. ``load`` may run in a thread; everything else is quick once it has."""

    def __init__(self, files: Sequence[PastFile], logger: FilteringBoundLogger) -> None:
        """Looks at the files' columns. Raises ``ConfigurationError`` with the file, what is wrong, and the mend."""
        self._files: defaultdict[str, list[PastFile]] = defaultdict(list)
        self._columns: dict[str, list[Columns]] = {}
        self._logger = logger
        self._lock = threading.Lock()
        for file in files:
            check(file)
            self._files[file.product.symbol].append(file)

    def has(self, symbol: str) -> bool:
        """Whether files are configured for this contract."""
        return symbol in self._files

    def is_ready(self, symbol: str) -> bool:
        """Whether there is nothing to be read for this contract any more."""
        return symbol not in self._files or symbol in self._columns

    def load(self, symbol: str, until_s: int) -> None:
        """Read the contract's files; one that turns out to be unusable is left out, and the log says why."""
        with self._lock:
            if self.is_ready(symbol):
                return
            found: list[Columns] = []
            for file in self._files[symbol]:
                try:
                    found.append(read(file, datetime.fromtimestamp(until_s, UTC).date()))
                except ConfigurationError as error:
                    self._logger.error("exchange_past_unusable", path=file.path, symbol=symbol, error=str(error))
            found.sort(key=lambda columns: columns.starts[0] // columns.units_per_s)
            rows = sum(len(columns.starts) for columns in found)
            self._logger.info("exchange_past_loaded", symbol=symbol, rows=rows, files=len(found))
            self._columns[symbol] = found

    def of(self, symbol: str) -> Sequence[Columns]:
        """What was read, the one that begins first at first."""
        return self._columns.get(symbol, ())


def _rows(columns: Columns, from_s: int, before_s: int, until_s: int) -> range:
    """The rows that start in ``[from_s, before_s)`` and have ended by ``until_s``."""
    per_s = columns.units_per_s
    ended = until_s - columns.row_s + (1 if columns.row_s else 0)
    first = bisect_left(columns.starts, from_s * per_s)
    end = bisect_left(columns.starts, min(before_s, ended) * per_s)
    return range(first, max(first, end))


def _serves(columns: Columns, unit: BarUnit, period: int) -> bool:
    """Whether bars of this length can be made of these rows: of trades always, of bars when they divide it."""
    return not columns.row_s or (period * UNIT_S[unit]) % columns.row_s == 0


class Trades:
    """Recorded trades, then the session's, oldest first."""

    def __init__(self, past: Sequence[tuple[TradeColumns, range]], session: Sequence[Traded]) -> None:
        self._past = past
        self._session = session

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self._past) + len(self._session)

    def after(self, skipped: int) -> Iterator[Traded | Print]:
        """All but the first ones."""
        parts: list[Iterator[Traded | Print]] = []
        for columns, rows in self._past:
            left = rows[skipped:]
            skipped -= len(rows) - len(left)
            parts.append(columns.prints(left.start, left.stop))
        return chain(*parts, islice(self._session, skipped, None))


class ContractHistory:
    """One contract's past and session together, as it is at this moment; its iterators may run in a thread."""

    def __init__(self, past: Sequence[Columns], store: BarStore, symbol: str, exchange: str, now_s: int) -> None:
        self._past = past
        self._store = store
        self._names = (symbol, exchange)
        begins_s = store.begins_s(symbol)
        self._until_s = now_s if begins_s is None else begins_s

    def time_bars(self, unit: BarUnit, period: int, start_s: int, finish_s: int) -> list[Segment]:
        """Bars whose *end* is in ``[start_s, finish_s]``, oldest first; a bar over a seam is made of all sides."""
        usable = [columns for columns in self._past if _serves(columns, unit, period)]
        # Whole bars only, so that no bar depends on the interval that was asked for.
        from_s, before_s = start_of(start_s - 1, unit, period), start_of(finish_s, unit, period)
        parts = [
            TimeSegment(columns, rows, *self._names, unit, period)
            for columns, rows in self._parts(usable, from_s, before_s)
        ]
        return seamless(parts, self._store.bars_as_now(self._names[0], unit, period, start_s, finish_s))

    def trades(self, start_s: int, finish_s: int) -> "Trades":
        """Trades with their second in ``[start_s, finish_s]``."""
        usable = [columns for columns in self._past if isinstance(columns, TradeColumns)]
        parts = self._parts(usable, start_s, finish_s + 1)
        return Trades(parts, self._store.ticks(self._names[0], start_s, finish_s))

    def _parts(self, usable: Sequence[AnyColumns], from_s: int, before_s: int) -> list[tuple[AnyColumns, range]]:
        """Each file's rows that start in ``[from_s, before_s)``.

        Where files overlap, the one that begins first goes on to its end; that is so whatever is asked for, so that
        pages fit together.
        """
        parts: list[tuple[AnyColumns, range]] = []
        for columns in usable:
            rows = _rows(columns, from_s, before_s, self._until_s)
            if rows:
                parts.append((columns, rows))
            from_s = max(from_s, columns.end_s)
        return parts
