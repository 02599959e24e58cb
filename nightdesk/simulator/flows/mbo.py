"""A recorded order book: every message of the exchange about every order, grouped into the events that they belong to.

Columns (others are ignored):

``ts_event_ns``
    the exchange's time
``action``
    ``A`` a new order, ``C`` an order or a part of it is gone, ``M`` an order's new price and size, ``T`` a trade (its
    side is the aggressor's, ``N`` in an auction), ``F`` what one order got in the trade before it (the book changes
    by the ``C`` or ``M`` that follows), ``R`` the book is cleared, ``N`` nothing
``side``
    ``B`` bid, ``A`` offer, ``N`` none
``price``, ``size``, ``order_id``
    of the order, or of the trade
``flags``
    128: the last message of its event; 32: of a snapshot, the book as it stood, each price's orders in their order
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from nightdesk.errors import ConfigurationError
from nightdesk.simulator.flows.columns import ColumnType, RecordedFile
from nightdesk.simulator.flows.tape import TickReader
from nightdesk.simulator.venue.ledger import Scale

MBO_COLUMNS = ("ts_event_ns", "action", "side", "price", "size", "order_id", "flags")
LAST_FLAG = 128
SNAPSHOT_FLAG = 32

_TYPES: dict[str, ColumnType] = dict(zip(MBO_COLUMNS, (int, str, str, float, int, int, int), strict=True))
_SIDES = {"B": 1, "A": -1, "N": 0, None: 0}
_PRICED = frozenset("AMTF")
_OF_AN_ORDER = frozenset("ACM")
_ACTIONS = frozenset("ACMTFRN")


class Message(NamedTuple):
    """One message; ``side`` is 1 bid, -1 offer, 0 none, the price whole ticks (0 where the action has none)."""

    number: int
    action: str
    side: int
    price: int
    size: int
    order_id: int


class MboEvent(NamedTuple):
    """What happened at once. A snapshot carries the time of the event after it; its orders' own are in the past."""

    ts_ns: int
    is_snapshot: bool
    messages: list[Message]


class MboTape:
    """A file of one contract's order messages."""

    def __init__(self, path: str, scale: Scale, limit: int = 0, contract: str | None = None) -> None:
        """Checks the columns. Raises ``ConfigurationError``."""
        self.file = RecordedFile(path, contract)
        self.file.require(MBO_COLUMNS, "a tape of order messages")
        self._reader = TickReader(self.file, scale)
        self._limit = limit

    @property
    def begins_ns(self) -> int:
        """The time of its first event. Raises ``ConfigurationError`` as ``events`` does."""
        first = next(self.events(), None)
        return first.ts_ns if first is not None else 0

    def events(self) -> Iterator[MboEvent]:
        """The events in the file's order; ``limit`` counts messages, an event cut by it is left out.

        Raises ``ConfigurationError`` naming file, row and column at the first bad value.
        """
        snapshot: list[Message] = []
        messages: list[Message] = []
        ts_ns = newest_ns = 0
        count = 0
        for values in islice(self.file.rows(_TYPES), self._limit or None):
            count += 1
            number, row_ns, flags = values[0], values[1], values[7]
            if flags is None or flags < 0:
                raise self.file.bad(number, "flags", flags, "is not a sum of flags")
            message = self._message(values)
            if flags & SNAPSHOT_FLAG:
                if messages:
                    raise self.file.bad(number, "flags", flags, "begins a snapshot inside an event; mend or remove it")
                snapshot.append(message)
                ts_ns = max(ts_ns, row_ns or 0)
                continue
            ts_ns = self.file.check_time(number, row_ns, newest_ns)
            newest_ns = max(newest_ns, ts_ns)
            if snapshot:
                yield MboEvent(ts_ns, True, snapshot)
                snapshot = []
            messages.append(message)
            if flags & LAST_FLAG:
                yield MboEvent(ts_ns, False, messages)
                messages = []
        if snapshot:
            yield MboEvent(ts_ns, True, snapshot)
        if messages and count != self._limit:
            raise ConfigurationError(
                f"{self.file.path}: the file ends inside the event that begins at row {messages[0].number}: no message "
                f"with flag {LAST_FLAG}; complete it or remove its rows"
            )

    def _message(self, values: tuple[Any, ...]) -> Message:
        number, _, action, side_name, price, size, order_id, _ = values
        bad = self.file.bad
        if action not in _ACTIONS:
            raise bad(number, "action", action, f"is not one of {', '.join(sorted(_ACTIONS))}")
        side = _SIDES.get(side_name)
        if side is None or (action == "A" and not side):
            raise bad(number, "side", side_name, "is not B or A")
        if size is None:
            size = 0
        if size < 0 or (not size and action in "AM"):
            raise bad(number, "size", size, "is not the size of an order")
        if order_id is None and action in _OF_AN_ORDER:
            raise bad(number, "order_id", order_id, "is missing")
        ticks = 0
        if action in _PRICED:
            found = self._reader.ticks(number, "price", price)
            if found is None:
                raise bad(number, "price", price, "is missing")
            ticks = found
        return Message(number, action, side, ticks, size, order_id or 0)
