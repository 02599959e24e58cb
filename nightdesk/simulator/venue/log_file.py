"""The exchange's append-only log: the only I/O of the market's side, and its oracle in tests.

JSON lines. Kinds of records, in the key ``k``: ``SESSION`` (an exchange started: its products and accounts),
``PRICE`` (a last price, at most one a minute of market time for each symbol), ``LINK`` (orders became
one-cancels-other), ``BRACKET`` (a bracket's distances and quantities), those of ``day_book.KINDS`` (what the calendar
does to contracts and positions) and the kinds of ``OrderEventKind``, each with the order's picture after the step. A
log that was replaced by a snapshot begins with ``SNAPSHOT`` (positions, counters, places), the steps of the orders that
were kept, and ``SNAPSHOT_END``. Nothing is derived again at recovery: what a record says is what was.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from nightdesk.errors import JournalError
from nightdesk.simulator.model import (
    BracketChanged,
    DayEvent,
    OrderEventKind,
    OrderHappened,
    OrdersLinked,
    OrderState,
    Product,
    Quoted,
    Traded,
    VenueEvent,
)
from nightdesk.simulator.venue.day_book import day_record

LAST_PRICE_INTERVAL_NS = 60_000_000_000
"""Market time between two records of one symbol's last price."""

SESSION = "SESSION"
PRICE = "PRICE"
LINK = "LINK"
BRACKET = "BRACKET"
SNAPSHOT = "SNAPSHOT"
SNAPSHOT_END = "SNAPSHOT_END"


class ExchangeLog:
    """Appends records as they happen; what ``append`` has returned from survives ``kill -9``."""

    def __init__(self, path: Path | str) -> None:
        """Opens (or creates, mode 0600) the file and cuts a torn last line off.

        Each append is one ``write`` to a descriptor opened with O_APPEND, so nothing waits in a buffer of ours. All
        events of one command go into the same ``write``: a kill cannot part them, only the end of the file can be
        torn.
        """
        self.path = Path(path)
        self.newest_ns = 0
        """The newest market time among the records that ``rebuild`` has read; 0: none."""
        self._last_prices: dict[str, Traded] = {}
        self._written_ns: dict[str, int] = {}
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _cut_torn_line(self._fd)

    def append(self, events: Iterable[VenueEvent]) -> None:
        """Write what must survive: every step of an order, links, brackets, and last prices from time to time.

        Call it with everything the venue returned *before* any of it is sent to a client.
        """
        lines: list[bytes] = []
        for event in events:
            # Nearly all of them are trades and quotes.
            if isinstance(event, Traded):
                self._last_prices[event.symbol] = event
                written_ns = self._written_ns.get(event.symbol)
                # A replay that starts again goes back in time: any distance counts, not only forward.
                if written_ns is None or abs(event.ts_ns - written_ns) >= LAST_PRICE_INTERVAL_NS:
                    lines.append(self._price_record(event))
            elif isinstance(event, Quoted):
                continue
            elif isinstance(event, OrderHappened):
                lines.append(orjson.dumps(order_record(event)))
            elif isinstance(event, OrdersLinked):
                lines.append(orjson.dumps({"k": LINK, "b": event.basket_ids, "t": event.ts_ns}))
            elif isinstance(event, BracketChanged):
                lines.append(orjson.dumps({"k": BRACKET, "c": msgspec.to_builtins(event)}))
            elif isinstance(event, DayEvent):
                lines.append(orjson.dumps(day_record(event)))
        self._write(lines)

    def append_session(self, products: Iterable[Product], accounts: Iterable[str]) -> None:
        """Write that an exchange has started; ``rebuild`` does."""
        self._write([orjson.dumps(session_record(products, accounts))])

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return os.fstat(self._fd).st_size

    def replace(self, records: Iterable[dict[str, Any]]) -> None:
        """Put other records in the place of all; a kill at any moment leaves either the old file or the new one."""
        new = self.path.with_name(self.path.name + ".new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self._fd)
        self._fd = fd
        for record in records:
            self._write([orjson.dumps(record)])
        os.fsync(fd)
        os.replace(new, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)

    def close(self) -> None:
        """Write the last prices and close the file."""
        if self._fd < 0:
            return
        self._write([self._price_record(trade) for trade in self._last_prices.values()])
        os.close(self._fd)
        self._fd = -1

    def _price_record(self, trade: Traded) -> bytes:
        self._written_ns[trade.symbol] = trade.ts_ns
        return orjson.dumps({"k": PRICE, "s": trade.symbol, "p": trade.price, "t": trade.ts_ns})

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        payload = b"\n".join(lines) + b"\n"
        while payload:
            payload = payload[os.write(self._fd, payload) :]


def session_record(products: Iterable[Product], accounts: Iterable[str]) -> dict[str, Any]:
    """An exchange has started."""
    return {"k": SESSION, "products": msgspec.to_builtins(list(products)), "accounts": list(accounts)}


def read_records(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and records; a torn last line is left out. Raises ``JournalError`` for a damaged line."""
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise _damaged(path, number, str(error)) from error
            if not isinstance(record, dict):
                raise _damaged(path, number, "it is not a record")
            yield number, record


def damaged_record(path: Path | str, number: int, error: Exception) -> JournalError:
    """The error for a line that is JSON but not one of our records."""
    return _damaged(path, number, f"{type(error).__name__}: {error}")


def _damaged(path: Path | str, number: int, what: str) -> JournalError:
    return JournalError(
        f"{path}:{number}: the exchange's log is damaged ({what}); move the file away to start with empty accounts, "
        "see docs/runbook.md"
    )


def order_record(event: OrderHappened) -> dict[str, Any]:
    """A step of an order as the log has it."""
    order = event.order
    record: dict[str, Any] = {"k": event.kind, "b": order.basket_id, "t": event.ts_ns}
    if event.kind in (OrderEventKind.RECEIVED, OrderEventKind.RETAGGED):
        record["o"] = msgspec.to_builtins(order.terms)
    if event.report_id:
        record["r"] = event.report_id
    if event.execution is not None:
        fill = event.execution
        record["f"] = (fill.fill_id, fill.price, fill.quantity, fill.commission)
    record["p"] = (
        order.stage,
        order.order_type,
        order.quantity,
        order.price,
        order.trigger_price,
        order.filled_quantity,
        order.sequence_number,
        order.completion,
        order.text,
    )
    extras = _extras(order)
    if event.text != order.text:
        extras["text"] = event.text
    if extras:
        record["x"] = extras
    return record


def _extras(order: OrderState) -> dict[str, Any]:
    """What most orders have not."""
    extras: dict[str, Any] = {}
    if order.hold is not None:
        extras["hold"] = order.hold
    if order.exit_role is not None:
        extras["exit"] = (order.original_basket_id, order.exit_role, order.bracket_kind, order.released_quantity)
        if order.exit_level:
            extras["level"] = order.exit_level
    if order.linked_basket_ids:
        extras["linked"] = (order.linked_basket_ids, order.linked_fills)
    if order.trail_by_ticks != order.terms.trail_by_ticks:
        extras["trail"] = order.trail_by_ticks
    if order.if_touched != order.terms.if_touched:
        extras["touch"] = msgspec.to_builtins(order.if_touched)
    return extras


def _cut_torn_line(fd: int) -> None:
    """Truncate the file behind its last newline; a kill in the middle of a ``write`` leaves such an end."""
    size = os.fstat(fd).st_size
    end = size
    while end > 0:
        start = max(0, end - 65_536)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(fd, end)
