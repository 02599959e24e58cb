"""A recorded tape of book levels: each row is the book's best levels after one event.

Columns: ``ts_event_ns``; ``bid_px_0``, ``bid_sz_0``, ``ask_px_0``, ``ask_sz_0`` and so on for levels 1, 2 …; the number
of orders ``bid_ct_0``, ``ask_ct_0`` where known. A level without a price or a size is not there.
"""

from collections.abc import Iterator
from itertools import count, islice, takewhile
from typing import Any, NamedTuple

from nightdesk.simulator.flows.columns import ColumnType, RecordedFile
from nightdesk.simulator.flows.tape import TickReader
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.matching import Best


class Level(NamedTuple):
    """One price of one side; ``orders`` 0 where nobody counted."""

    price: int
    size: int
    orders: int


class DepthRow(NamedTuple):
    """The levels after one event, the best first."""

    ts_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def best(self) -> Best:
        """The best bid and offer."""
        bid = self.bids[0] if self.bids else (None, 0, 0)
        ask = self.asks[0] if self.asks else (None, 0, 0)
        return Best(*bid, *ask)


class DepthTape:
    """A file of book levels of one contract."""

    has_quotes = True

    def __init__(self, path: str, scale: Scale, limit: int = 0, contract: str | None = None) -> None:
        """Checks the columns. Raises ``ConfigurationError``."""
        self._file = RecordedFile(path, contract)
        self._reader = TickReader(self._file, scale)
        self._limit = limit
        self._file.require(("ts_event_ns", *_columns("bid", 0)[:2], *_columns("ask", 0)[:2]), "a tape of book levels")
        names = self._file.names
        self.depth = sum(1 for _ in takewhile(lambda place: f"bid_px_{place}" in names, count()))
        types: dict[str, ColumnType] = {"ts_event_ns": int}
        for side in ("bid", "ask"):
            for place in range(self.depth):
                types.update(zip(_columns(side, place), (float, int, int), strict=True))
        self._types = types

    def rows(self) -> Iterator[DepthRow]:
        """The rows in the file's order. Raises ``ConfigurationError`` as ``Tape.rows`` does."""
        newest_ns = 0
        half = 2 + 3 * self.depth
        for values in islice(self._file.rows(self._types), self._limit or None):
            number = values[0]
            ts_ns = self._file.check_time(number, values[1], newest_ns)
            newest_ns = max(newest_ns, ts_ns)
            bids = self._side(number, "bid", values[2:half])
            yield DepthRow(ts_ns, bids, self._side(number, "ask", values[half:]))

    def _side(self, number: int, side: str, cells: tuple[Any, ...]) -> tuple[Level, ...]:
        levels: list[Level] = []
        for place in range(self.depth):
            price, size, orders = cells[3 * place : 3 * place + 3]
            if price is None or not size:
                continue
            names = _columns(side, place)
            ticks = self._reader.ticks(number, names[0], price)
            if ticks is None:
                continue
            for name, count_of in ((names[1], size), (names[2], orders)):
                if count_of is not None and count_of < 0:
                    raise self._file.bad(number, name, count_of, "is negative")
            if levels and (ticks >= levels[-1].price) == (side == "bid"):
                raise self._file.bad(number, names[0], price, "is not worse than the level before it")
            levels.append(Level(ticks, size, orders or 0))
        return tuple(levels)


def _columns(side: str, place: int) -> tuple[str, str, str]:
    return f"{side}_px_{place}", f"{side}_sz_{place}", f"{side}_ct_{place}"
