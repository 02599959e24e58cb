"""A new journal from what a damaged one still holds: rows as they were, and what is missing put right or told.

Nothing is guessed. An execution whose row is lost is taken from its event; an order whose row is lost, but not its
fills, is made from these; an order whose fills are lost becomes ``UNKNOWN``, and the broker's lists settle it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from actors.plants import journal_rows as rows
from actors.plants import journal_schema as schema
from actors.plants.journal_checks import event_of
from actors.plants.journal_salvage import Item, Salvage
from actors.plants.journal_sums import SUM_COLUMN, Sums
from nightdesk.errors import JournalError
from nightdesk.messages import (
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    TradingState,
)
from nightdesk.trading.broker import EXTERNAL_STRATEGY
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.order_transitions import FINAL

SAFETY_TABLES = ("trading_states", "pauses", "risk_state")
"""What keeps orders back: where rows of it may be lost, trading is halted until somebody has looked."""
REBUILT_TEXT = "rebuilt by journal repair from its executions"

_ENDS = (
    (OrderCanceled, OrderStatus.CANCELED),
    (OrderExpired, OrderStatus.EXPIRED),
    (OrderRejected, OrderStatus.REJECTED),
)
_OF_ORDER = "SELECT event_id, quantity, price_nanos, ts_event_ns FROM fills WHERE client_order_id = ? ORDER BY event_id"
_DOUBTFUL = """
    SELECT o.client_order_id FROM orders o LEFT JOIN (
        SELECT client_order_id, sum(quantity) AS quantity, sum(quantity * price_nanos) AS cost FROM fills
        GROUP BY client_order_id) f USING (client_order_id)
    WHERE o.filled_quantity <> coalesce(f.quantity, 0) OR o.filled_cost_nanos <> CAST(coalesce(f.cost, 0) AS TEXT)
        OR o.event_id < (SELECT max(event_id) FROM events e WHERE e.client_order_id = o.client_order_id)
        OR (:stale AND o.status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED'))
"""


Fills = list[tuple[int, int, int, int]]
"""Fills of one order: ``event_id, quantity, price_nanos, ts_event_ns``."""


@dataclass
class Rebuilt:
    """What became of the rows."""

    kept: dict[str, int] = field(default_factory=dict)
    kept_rowids: dict[str, set[int]] = field(default_factory=dict)
    rebuilt_rowids: dict[str, set[int]] = field(default_factory=dict)
    rebuilt_orders: list[str] = field(default_factory=list)
    rebuilt_fills: list[int] = field(default_factory=list)
    adjusted_orders: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    """Rows that contradict others, in words."""
    halted: str = ""
    """Why trading is halted at the next start; empty: it is not."""


class Rebuilder:
    """Writes one new journal; ``path`` must not exist."""

    def __init__(self, path: str, salvage: Salvage) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._run = sqlite3.connect(path, isolation_level=None)
        self._salvage = salvage
        self._homeless: list[Item] = []
        """Orders whose number another order has: one of the two is damaged."""
        self.result = Rebuilt()

    def close(self) -> None:
        """Let go of the file; what is not committed is lost with it."""
        self._run.close()

    def write(self, *, system_name: Callable[[], str], now_ns: int, note: str) -> Rebuilt:
        """Copy all rows, mend what is missing, and mark the journal; ``system_name`` is asked where the file's is lost.

        Raises ``JournalError`` for a file of which nothing can be used, and ``sqlite3.Error``.
        """
        self._run.execute("PRAGMA synchronous = OFF")
        self._make_tables()
        self._run.execute("BEGIN")
        for item in self._salvage.items():
            self._insert(item)
        for item in self._homeless:
            if self._try("INSERT", item.table, item.columns, item.values):
                self._note_kept(item)
            else:
                self._merge_order(item, is_last=True)
        if not any(self.result.kept.get(table) for table in ("orders", "fills", "events")):
            raise JournalError("nothing that it holds can be read: no order, no fill and no event")
        self._run.execute("COMMIT")
        self._check_version()
        schema.migrate(self._run)
        self._run.execute("BEGIN")
        self._sums = Sums.of_file(self._run)
        self._run.execute("CREATE INDEX events_of_order ON events (client_order_id, event_id)")
        self._number_orders()
        self._rebuild_fills()
        self._rebuild_orders()
        self._adjust_orders()
        self._rebuild_epochs()
        self._judge_safety()
        self._mark(system_name, now_ns, note)
        self._run.execute("DROP INDEX events_of_order")
        self._run.execute("COMMIT")
        return self.result

    def _make_tables(self) -> None:
        if self._salvage.is_summed:
            self._run.executescript(schema.TABLES)
            return
        try:
            for statement in self._salvage.statements.values():
                if statement:
                    self._run.execute(statement)
        except sqlite3.Error as error:
            raise JournalError(
                f"it is of a version without sums, and its tables cannot be made again ({error})"
            ) from None

    def _check_version(self) -> None:
        found = self._run.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        version = None if found is None else str(found[0])
        if version is None and not self._salvage.is_summed:
            raise JournalError("it is of a version without sums, and which one cannot be read")
        if self._salvage.is_summed:
            # The tables are of this version already.
            sums = Sums.of_file(self._run)
            values = ("version", schema.SCHEMA_VERSION)
            self._run.execute(rows.PUT["meta"], (*values, sums.of("meta", schema.META_COLUMNS, values)))

    def _insert(self, item: Item) -> None:
        columns, values = item.columns, item.values
        if item.table == "orders":
            columns, values = ("rowid", *columns), (item.rowid, *values)
        if self._try("INSERT", item.table, columns, values):
            self._note_kept(item)
        elif item.table == "orders":
            self._merge_order(item)
        elif item.table == "epochs":
            epoch = item.values[item.columns.index("epoch")]
            strategy_id = item.values[item.columns.index("strategy_id")]
            found = self._run.execute("SELECT epoch FROM epochs WHERE strategy_id = ?", (strategy_id,)).fetchone()
            if found is not None and isinstance(epoch, int) and epoch > found[0]:
                self._try("INSERT OR REPLACE", item.table, item.columns, item.values)

    def _note_kept(self, item: Item) -> None:
        self.result.kept[item.table] = self.result.kept.get(item.table, 0) + 1
        self.result.kept_rowids.setdefault(item.table, set()).add(item.rowid or 0)

    def _merge_order(self, item: Item, *, is_last: bool = False) -> None:
        """The newer of two rows of an order counts; two orders on one rowid are two orders."""
        fresh = dict(zip(item.columns, item.values, strict=True))
        name = fresh["client_order_id"]
        found = self._run.execute("SELECT event_id FROM orders WHERE client_order_id = ?", (name,)).fetchone()
        if found is None and is_last:
            self.result.unusable.append(f"order {name}: its venue_order_id is another order's")
        elif found is None:
            self._homeless.append(item)
        elif found[0] < fresh["event_id"]:
            pairs = ", ".join(f"{column} = ?" for column in item.columns)
            self._run.execute(f"UPDATE orders SET {pairs} WHERE client_order_id = ?", (*item.values, name))

    def _try(self, verb: str, table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> bool:
        try:
            marks = ", ".join("?" * len(values))
            self._run.execute(f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
        except sqlite3.IntegrityError:
            return False
        return True

    def _put(self, table: str, row: Mapping[str, Any], verb: str = "INSERT") -> bool:
        """Write one row with its sum."""
        columns = tuple(name for name in row if name != SUM_COLUMN)
        values = tuple(row[name] for name in columns)
        if self._sums.has(table):
            columns, values = (*columns, SUM_COLUMN), (*values, self._sums.of(table, columns, values))
        return self._try(verb, table, columns, values)

    def _rows(self, query: str, values: Mapping[str, object] | tuple[object, ...] = ()) -> Iterator[dict[str, Any]]:
        found = self._run.execute(query, values)
        names = [each[0] for each in found.description]
        for row in found.fetchall():
            yield dict(zip(names, row, strict=True))

    def _number_orders(self) -> None:
        """Put orders whose rowid is damaged (no sum knows it) to where indexes say that they are."""
        told: Mapping[str, int] = self._salvage.order_rowids
        indexed: Mapping[int, int] = self._salvage.indexed.get("orders", {})
        owners = {rowid: name for name, rowid in told.items()}
        moves = []
        for rowid, name in self._run.execute("SELECT rowid, client_order_id FROM orders").fetchall():
            place = told.get(name, rowid)
            if place != rowid and (indexed.get(place, 0) > 1 or owners.get(rowid, name) != name):
                moves.append((rowid, place))
        # By way of numbers that are nobody's: one may be moved to where another one stands.
        for rowid, _ in moves:
            self._run.execute("UPDATE orders SET rowid = ? WHERE rowid = ?", (-rowid, rowid))
        for rowid, place in moves:
            with suppress(sqlite3.IntegrityError):
                self._run.execute("UPDATE orders SET rowid = ? WHERE rowid = ?", (place, -rowid))
        if moves:
            there = {row[0] for row in self._run.execute("SELECT rowid FROM orders")}
            self.result.kept_rowids["orders"] = there

    def _rebuild_fills(self) -> None:
        """Each event of an execution was written with the execution's row, which says the same."""
        account = self._account()
        found = self._run.execute(
            "SELECT payload, o.account_id FROM events e LEFT JOIN orders o USING (client_order_id) "
            "WHERE e.event_id NOT IN (SELECT event_id FROM fills) ORDER BY e.event_id"
        ).fetchall()
        for payload, account_id in found:
            event = event_of(payload)
            if not isinstance(event, OrderFilled):
                continue
            values = rows.fill_values(rows.report_of_event(event), account_id or account, event_id=event.event_id)
            if self._put("fills", dict(zip(rows.FILL_COLUMNS, values, strict=True))):
                self.result.rebuilt_fills.append(event.event_id)
                self.result.rebuilt_rowids.setdefault("fills", set()).add(event.event_id)
            else:
                self.result.unusable.append(f"event {event.event_id}: execution {event.fill_id} is booked already")

    def _account(self) -> str:
        found = self._run.execute("SELECT value FROM meta WHERE key = 'account_id'").fetchone()
        if found is None:
            found = self._run.execute(
                "SELECT account_id FROM orders WHERE account_id <> '' GROUP BY 1 ORDER BY count(*) DESC"
            ).fetchone()
        return str(found[0]) if found is not None else ""

    def _rebuild_orders(self) -> None:
        """Orders of which only fills are left: their position counts, and belongs to their strategy."""
        taken = {row[0] for row in self._run.execute("SELECT rowid FROM orders")}
        vacant = iter(sorted(set(range(1, max(taken, default=0))) - taken))
        found = self._run.execute(
            "SELECT DISTINCT client_order_id FROM fills WHERE client_order_id NOT IN "
            "(SELECT client_order_id FROM orders) ORDER BY event_id"
        ).fetchall()
        for (name,) in found:
            (first,) = self._rows("SELECT * FROM fills WHERE client_order_id = ? ORDER BY event_id LIMIT 1", (name,))
            fills, told = self._run.execute(_OF_ORDER, (name,)).fetchall(), self._events(name)
            order = _adjusted(_order_of_fills(first, fills, told), fills, told)
            rowid = self._salvage.order_rowids.get(name)
            if rowid is None or rowid in taken:
                rowid = next((each for each in vacant if each not in taken), None)
            self._write_order(order | {"rowid": rowid}, is_new=True)
            taken.add(rowid or 0)
            self.result.rebuilt_rowids.setdefault("orders", set()).add(rowid or 0)
            self.result.rebuilt_orders.append(name)

    def _write_order(self, order: dict[str, Any], *, is_new: bool) -> None:
        """Write the row of an order with its sum; ``rowid`` among its values says where."""
        columns = tuple(name for name in order if name not in (SUM_COLUMN, "rowid"))
        values = tuple(order[name] for name in columns)
        columns, values = (*columns, SUM_COLUMN), (*values, self._sums.of("orders", columns, values))
        name = order["client_order_id"]
        try:
            if is_new:
                marks = ", ".join("?" * len(values))
                statement = f"INSERT INTO orders (rowid, {', '.join(columns)}) VALUES (?, {marks})"
                self._run.execute(statement, (order.get("rowid"), *values))
            else:
                pairs = ", ".join(f"{column} = ?" for column in columns)
                self._run.execute(f"UPDATE orders SET {pairs} WHERE client_order_id = ?", (*values, name))
        except sqlite3.IntegrityError:
            raise JournalError(f"what it holds contradicts itself: order {name} is another order, too") from None

    def _events(self, client_order_id: str) -> list[OrderEvent]:
        query = "SELECT payload FROM events WHERE client_order_id = ? ORDER BY event_id"
        found = (event_of(row[0]) for row in self._run.execute(query, (client_order_id,)).fetchall())
        return [event for event in found if event is not None]

    def _adjust_orders(self) -> None:
        """Orders whose rows say more, or are older, than what is left of their fills and events."""
        doubtful = [row[0] for row in self._run.execute(_DOUBTFUL, {"stale": self._salvage.is_stale}).fetchall()]
        rebuilt = set(self.result.rebuilt_orders)
        for name in doubtful:
            (order,) = self._rows("SELECT * FROM orders WHERE client_order_id = ?", (name,))
            fills = self._run.execute(_OF_ORDER, (name,)).fetchall()
            self._write_order(_adjusted(order, fills, self._events(name)), is_new=False)
            if name not in rebuilt:
                self.result.adjusted_orders.append(name)

    def _rebuild_epochs(self) -> None:
        for row in self._rows(
            "SELECT strategy_id, max(fencing_epoch) AS epoch FROM orders "
            "WHERE purpose = 'STRATEGY' AND status <> 'DENIED' AND fencing_epoch > 0 GROUP BY strategy_id"
        ):
            found = self._run.execute(
                "SELECT epoch FROM epochs WHERE strategy_id = ?", (row["strategy_id"],)
            ).fetchone()
            if found is None or found[0] < row["epoch"]:
                self._put("epochs", row, "INSERT OR REPLACE")

    def _judge_safety(self) -> None:
        """Halt, where a change of the trading state, or another reason to keep still, may be lost."""
        names = {row[0] for row in self._run.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        lost = [table for table in SAFETY_TABLES if table in names and self._salvage.is_incomplete(table)]
        if lost:
            self.result.halted = f"rows of {', '.join(lost)} may be lost"

    def _mark(self, system_name: Callable[[], str], now_ns: int, note: str) -> None:
        meta = dict(self._run.execute("SELECT key, value FROM meta").fetchall())
        newest = self._run.execute(
            "SELECT max(event_id) FROM (SELECT event_id FROM events UNION ALL SELECT event_id FROM fills "
            "UNION ALL SELECT event_id FROM orders)"
        ).fetchone()[0]
        if "system_name" not in meta:
            meta["system_name"] = system_name()
        if account := self._account():
            meta.setdefault("account_id", account)
        # From the beginning: executions of every time may be what is missing.
        meta |= {"repaired": note, "repaired_event_id": str(newest), "replay_from_ns": "0"}
        for key, value in meta.items():
            self._put("meta", {"key": key, "value": value}, "INSERT OR REPLACE")
        if self.result.halted:
            reason = f"the journal was repaired, {self.result.halted}"
            (number,) = self._run.execute("SELECT coalesce(max(number), 0) + 1 FROM trading_states").fetchone()
            state = {"number": number, "trading_state": TradingState.HALTED.value, "reason": reason, "ts_ns": now_ns}
            self._put("trading_states", state)


def _order_of_fills(first: Mapping[str, Any], fills: Fills, told: list[OrderEvent]) -> dict[str, Any]:
    """The row of an order as far as its fills and events can say; ``first`` is the row of its first fill."""
    filled = sum(fill[1] for fill in fills)
    totals = [event.filled_quantity + event.leaves_quantity for event in told if isinstance(event, OrderFilled)]
    is_external = first["strategy_id"] == EXTERNAL_STRATEGY
    order = Order(
        client_order_id=first["client_order_id"],
        strategy_id=first["strategy_id"],
        account_id=first["account_id"],
        symbol=first["symbol"],
        exchange=first["exchange"],
        side=Side(first["side"]),
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        quantity=max([filled, *totals[-1:]]),
        price=None,
        trigger_price=None,
        protective=False,
        purpose=Purpose.EXTERNAL if is_external else Purpose.STRATEGY,
        fencing_epoch=0,
        connection_epoch=0,
        broker_ts_ns=min(fill[3] for fill in fills),
        ts_init_ns=min(fill[3] for fill in fills),
        ts_last_ns=max(fill[3] for fill in fills),
        status=OrderStatus.UNKNOWN,
        venue_order_id=first["venue_order_id"],
        text=REBUILT_TEXT,
    )
    return dict(zip(rows.ORDER_COLUMNS, rows.order_values(order, fills[-1][0]), strict=True))


def _adjusted(order: dict[str, Any], fills: Fills, told: list[OrderEvent]) -> dict[str, Any]:
    """An order's row with what its fills and events say; ``UNKNOWN`` where they do not say how it ended."""
    filled = sum(fill[1] for fill in fills)
    ends = [status for event in told for kind, status in _ENDS if isinstance(event, kind)]
    status = OrderStatus(order["status"])
    if filled and filled >= max(order["quantity"], order["quantity_max"]):
        status = OrderStatus.FILLED
    elif status is OrderStatus.FILLED or status not in FINAL:
        status = ends[-1] if ends else OrderStatus.UNKNOWN
    if status is OrderStatus.REJECTED and filled:
        status = OrderStatus.CANCELED
    venue = [event.venue_order_id for event in told if isinstance(event, OrderAccepted | OrderFilled)]
    return order | {
        "status": status.value,
        "filled_quantity": filled,
        "filled_cost_nanos": str(sum(fill[1] * fill[2] for fill in fills)),
        # What the broker said of executions that are lost it says anew, if it still knows them.
        "reported_filled": filled,
        "venue_order_id": order["venue_order_id"] or (venue[-1] if venue else None),
        "event_id": max([order["event_id"], *(event.event_id for event in told), *(fill[0] for fill in fills)]),
    }
