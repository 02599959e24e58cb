"""What must hold in every journal: one table of named checks, each a query for the rows that break it, or a function.

A query names rows by its columns; a function yields them in words. ``:repaired`` is the last event id that a repaired
journal had then: what was lost before it is known to be missing.
"""

import sqlite3
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from actors.plants.journal_schema import SCHEMA_VERSION, lacking
from actors.plants.journal_sums import SUM_COLUMN, SUMMED, Sums
from nightdesk.messages import OrderFilled, OrderStatus, OrderType, Side, TimeInForce, TradingState
from nightdesk.messages.codec import DecodeError, decode
from nightdesk.messages.orders import OrderEvent
from nightdesk.trading.order import Purpose
from nightdesk.trading.risk_state import row_fault
from nightdesk.trading.roll_step import RollState
from nightdesk.trading.units import to_micros, to_nanos

TIMES_MAX_NS = 7_258_118_400 * 1_000_000_000
"""The year 2200: no clock of ours or of a broker says so."""

_KINDS = {"INTEGER": "integer", "TEXT": "text", "REAL": "real", "BLOB": "blob"}
"""What ``typeof`` says of a value that a column is for."""


class View(NamedTuple):
    """An open journal as the checks see it."""

    connection: sqlite3.Connection
    columns: dict[str, tuple[str, ...]]
    """Of each table that the file has."""
    strategies: frozenset[str] | None
    """The configured ones; None where the configuration cannot be read."""
    repaired_event_id: int

    def rows(self, query: str) -> sqlite3.Cursor:
        """Run a query with the parameters that checks may use."""
        return self.connection.execute(query, {"repaired": self.repaired_event_id})


class Check(NamedTuple):
    """One thing that holds in a sound journal."""

    name: str
    meaning: str
    finds: str | Callable[[View], Iterator[str]]
    needs: str
    """The tables and columns without which it cannot be asked (an earlier version): ``orders fills.side``."""


def words(values: type[StrEnum]) -> str:
    """A closed set as SQL has it."""
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def in_words(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> str:
    """A row by its columns' names."""
    return " ".join(f"{column[0]}={value!r}" for column, value in zip(cursor.description, row, strict=True))


def row_sums(view: View) -> Iterator[str]:
    """Rows that are not as they were written."""
    sums = Sums.of_file(view.connection)
    for table in SUMMED:
        if table not in view.columns:
            yield f"the table {table} is missing"
            continue
        found = view.connection.execute(f"SELECT * FROM {table}")
        columns = tuple(each[0] for each in found.description)
        if SUM_COLUMN not in columns:
            yield f"{table} has no column {SUM_COLUMN}"
            continue
        for row in found:
            if not sums.is_whole(table, columns, row):
                yield f"{table}: {in_words(found, row)}"


def value_kinds(view: View) -> Iterator[str]:
    """SQLite keeps any kind of value in any column."""
    for table in view.columns:
        declared = view.connection.execute(f"PRAGMA table_info({table})").fetchall()
        for _, name, kind, not_null, _, key in declared:
            if kind not in _KINDS:
                continue
            kinds = f"'{_KINDS[kind]}'" if not_null or key else f"'{_KINDS[kind]}', 'null'"
            found = view.connection.execute(f"SELECT * FROM {table} WHERE typeof({name}) NOT IN ({kinds})")
            for row in found:
                yield f"{table}.{name}: {in_words(found, row)}"


def event_payloads(view: View) -> Iterator[str]:
    """The message inside of an event is of the same order and has the same id."""
    found = view.rows("SELECT event_id, client_order_id, payload FROM events")
    for event_id, client_order_id, payload in found:
        event = event_of(payload)
        if event is None:
            yield f"event_id={event_id} client_order_id={client_order_id!r}: its payload is no event of an order"
        elif (event.event_id, event.client_order_id) != (event_id, client_order_id):
            yield f"event_id={event_id} client_order_id={client_order_id!r}: its payload is {event!r}"


def fills_and_events(view: View) -> Iterator[str]:
    """Each execution was written together with the event that tells of it."""
    found = view.rows(
        "SELECT f.client_order_id, f.strategy_id, f.symbol, f.exchange, f.ts_event_ns, f.event_id, f.venue_order_id, "
        "f.fill_id, f.side, f.quantity, f.price_nanos, f.commission_micros, e.payload "
        "FROM fills f LEFT JOIN events e USING (event_id) WHERE e.event_id IS NOT NULL OR f.event_id > :repaired"
    )
    for row in found:
        event = None if row[-1] is None else event_of(row[-1])
        if event is None or fill_facts(event) != row[:-1]:
            yield f"event_id={row[5]} fill_id={row[7]!r}: the event of this fill is {event!r}"
    found = view.rows("SELECT event_id, payload FROM events WHERE event_id NOT IN (SELECT event_id FROM fills)")
    for event_id, payload in found:
        if isinstance(event := event_of(payload), OrderFilled):
            yield f"event_id={event_id}: there is no fill for {event!r}"


def event_of(payload: object) -> OrderEvent | None:
    """The event in a payload; None where there is none."""
    try:
        event = decode(payload) if isinstance(payload, bytes) else None
    except DecodeError:
        return None
    return event if isinstance(event, OrderEvent) else None


def fill_facts(event: OrderEvent) -> tuple[object, ...] | None:
    """What a fill's row says of an execution, in the order of ``fills_and_events``; None for another event."""
    if not isinstance(event, OrderFilled):
        return None
    return (
        *(event.client_order_id, event.strategy_id, event.symbol, event.exchange, event.ts_event_ns, event.event_id),
        *(event.venue_order_id, event.fill_id, event.side.value, event.last_quantity),
        *(to_nanos(event.last_price), to_micros(event.commission)),
    )


def strategies_known(view: View) -> Iterator[str]:
    """Pauses, last wills and rolls are of strategies that are configured, or that traded here."""
    known = set(view.strategies or ())
    for table in ("orders", "epochs"):
        known |= {row[0] for row in view.connection.execute(f"SELECT DISTINCT strategy_id FROM {table}")}
    for table in ("pauses", "last_wills", "rolls"):
        if "strategy_id" not in view.columns.get(table, ()):
            # Of an earlier version, or what "tables" finds.
            continue
        found = view.connection.execute(f"SELECT * FROM {table}")
        place = [each[0] for each in found.description].index("strategy_id")
        yield from (f"{table}: {in_words(found, row)}" for row in found if row[place] not in known)


def tables_lacking(view: View) -> Iterator[str]:
    """A table or a column under another name is one that nobody finds."""
    version = view.connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    return lacking(view.columns, "" if version is None else str(version[0]))


def risk_states(view: View) -> Iterator[str]:
    """What the limits keep can be read."""
    for key, value in view.connection.execute("SELECT key, value FROM risk_state"):
        fault = row_fault(str(key), str(value))
        if fault:
            yield f"risk_state {key}: {fault}"


_STATUSES_BY_QUANTITY = """
    SELECT client_order_id, status, quantity, quantity_max, filled_quantity, reported_filled, venue_order_id FROM orders
    WHERE CASE status
        WHEN 'DENIED' THEN filled_quantity <> 0 OR venue_order_id IS NOT NULL
        WHEN 'INITIALIZED' THEN filled_quantity <> 0
        WHEN 'ACCEPTED' THEN filled_quantity <> 0
        WHEN 'TRIGGERED' THEN filled_quantity <> 0 OR NOT triggered
        WHEN 'PARTIALLY_FILLED' THEN filled_quantity = 0
        WHEN 'FILLED' THEN max(filled_quantity, reported_filled) < quantity
        WHEN 'REJECTED' THEN filled_quantity <> 0
        ELSE 0 END
    OR (status <> 'FILLED' AND filled_quantity > 0 AND filled_quantity >= max(quantity, quantity_max))
    OR filled_quantity < 0 OR (status <> 'DENIED' AND quantity < 1)
"""

_FILLS_OF_ORDERS = """
    SELECT o.client_order_id, o.filled_quantity, o.filled_cost_nanos, coalesce(f.quantity, 0) AS fills_quantity,
        coalesce(f.cost, 0) AS fills_cost_nanos
    FROM orders o LEFT JOIN (
        SELECT client_order_id, sum(quantity) AS quantity, sum(quantity * price_nanos) AS cost FROM fills
        GROUP BY client_order_id) f USING (client_order_id)
    WHERE o.filled_quantity <> coalesce(f.quantity, 0) OR o.filled_cost_nanos <> CAST(coalesce(f.cost, 0) AS TEXT)
"""

_EPOCHS = """
    SELECT client_order_id, strategy_id, fencing_epoch, before, epoch FROM (
        SELECT client_order_id, strategy_id, fencing_epoch, max(fencing_epoch) OVER (
            PARTITION BY strategy_id ORDER BY orders.rowid ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM orders WHERE purpose = 'STRATEGY' AND status <> 'DENIED' AND fencing_epoch > 0)
    LEFT JOIN epochs USING (strategy_id)
    WHERE fencing_epoch < before OR epoch IS NULL OR fencing_epoch > epoch
"""


_VERSIONS = "(" + ", ".join(f"'{number}'" for number in range(1, int(SCHEMA_VERSION) + 1)) + ")"


def _beyond(*columns: str) -> str:
    return " OR ".join(f"{column} NOT BETWEEN 0 AND {TIMES_MAX_NS}" for column in columns)


CHECKS = (
    Check(
        "meta",
        "the journal says its version and whose it is",
        "SELECT version, system_name FROM (SELECT (SELECT value FROM meta WHERE key = 'version') AS version, "
        "(SELECT value FROM meta WHERE key = 'system_name') AS system_name) "
        f"WHERE version IS NULL OR version NOT IN {_VERSIONS} OR system_name IS NULL",
        "meta",
    ),
    Check("tables", "each table and column of this version is there", tables_lacking, "meta.value"),
    Check("row_sums", "each row is as it was written", row_sums, "orders.row_sum"),
    Check("value_kinds", "columns hold the kind of value that they are for", value_kinds, "orders"),
    Check(
        "order_words",
        "sides, types, times in force, statuses and purposes of orders are known",
        f"SELECT * FROM orders WHERE side NOT IN {words(Side)} OR order_type NOT IN {words(OrderType)} "
        f"OR time_in_force NOT IN {words(TimeInForce)} OR status NOT IN {words(OrderStatus)} "
        f"OR purpose NOT IN {words(Purpose)} OR protective NOT IN (0, 1) OR triggered NOT IN (0, 1) "
        "OR tombstone NOT IN (0, 1)",
        "orders",
    ),
    Check("order_status", "an order's status fits its quantities", _STATUSES_BY_QUANTITY, "orders"),
    Check("order_fills", "what an order has filled is the sum of its fills", _FILLS_OF_ORDERS, "orders fills"),
    Check(
        "order_reported",
        "the broker's total is not less than what an order has filled",
        "SELECT client_order_id, filled_quantity, reported_filled FROM orders WHERE reported_filled < filled_quantity",
        "orders",
    ),
    Check(
        "order_times",
        "times of orders are possible",
        f"SELECT client_order_id, ts_init_ns, ts_last_ns, broker_ts_ns, terms_ts_ns FROM orders WHERE "
        f"{_beyond('ts_init_ns', 'ts_last_ns', 'broker_ts_ns', 'terms_ts_ns')} OR ts_last_ns < ts_init_ns",
        "orders",
    ),
    Check(
        "order_held",
        "what the server holds of orders is possible",
        "SELECT client_order_id, trail_by_ticks, stop_ticks, target_ticks, expire_ns, parent_id, linked_id FROM orders "
        f"WHERE status <> 'DENIED' AND (trail_by_ticks < 0 OR stop_ticks < 0 OR target_ticks < 0 OR "
        f"{_beyond('expire_ns')} OR client_order_id IN (parent_id, linked_id) OR (parent_id <> '' AND NOT protective))",
        "orders.expire_ns",
    ),
    Check(
        "venue_ids",
        "no two orders of an account have one id of the broker",
        "SELECT account_id, venue_order_id, group_concat(client_order_id) AS client_order_ids FROM orders NOT INDEXED "
        "WHERE venue_order_id IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1",
        "orders",
    ),
    Check(
        "one_account",
        "all orders are of the journal's account",
        "SELECT client_order_id, orders.account_id, value AS account FROM orders JOIN meta ON key = 'account_id' "
        "WHERE orders.account_id NOT IN ('', value)",
        "orders meta",
    ),
    Check("epochs", "fencing epochs of a strategy's orders only grow, up to its present one", _EPOCHS, "orders epochs"),
    Check(
        "fill_order",
        "each fill has its order, and agrees with it",
        "SELECT f.event_id, f.fill_id, f.client_order_id, f.strategy_id, f.symbol, f.side, f.venue_order_id, "
        "o.strategy_id AS its_strategy, o.symbol AS its_symbol, o.side AS its_side, o.venue_order_id AS its_venue_id "
        "FROM fills f LEFT JOIN orders o USING (client_order_id) WHERE o.client_order_id IS NULL "
        "OR f.account_id <> o.account_id OR f.strategy_id <> o.strategy_id OR f.symbol <> o.symbol "
        "OR f.exchange <> o.exchange OR f.side <> o.side OR f.venue_order_id IS NOT o.venue_order_id",
        "orders fills",
    ),
    Check(
        "fill_values",
        "fills have quantities, ids and possible times",
        f"SELECT * FROM fills WHERE quantity < 1 OR fill_id = '' OR side NOT IN {words(Side)} "
        f"OR {_beyond('ts_event_ns')}",
        "fills",
    ),
    Check(
        "fill_keys",
        "no execution is booked twice",
        "SELECT account_id, exchange, venue_order_id, fill_id, count(*) AS times FROM fills NOT INDEXED "
        "GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
        "fills",
    ),
    Check("fill_events", "each fill is what its event says, and each event of one has its fill", fills_and_events,
          "fills events"),
    Check("event_payloads", "each event's message is of its order", event_payloads, "events"),
    Check(
        "event_order",
        "each event has its order, whose row is not older",
        "SELECT e.event_id, e.client_order_id, o.event_id AS orders_event_id FROM events e "
        "LEFT JOIN orders o USING (client_order_id) "
        "WHERE (o.client_order_id IS NULL AND e.event_id > :repaired) OR e.event_id > o.event_id",
        "orders events",
    ),
    Check("event_values", "events have possible ids and times",
          f"SELECT event_id, ts_recv_ns FROM events WHERE event_id < 1 OR {_beyond('ts_recv_ns')}", "events"),
    Check(
        "trading_states",
        "changes of the trading state are known, and none is missing",
        f"SELECT * FROM trading_states WHERE trading_state NOT IN {words(TradingState)} "
        "OR number < 1 OR (number > (SELECT count(*) FROM trading_states) AND :repaired = 0)",
        "trading_states",
    ),
    Check("last_wills", "last wills are known", "SELECT * FROM last_wills WHERE is_done NOT IN (0, 1) "
          "OR will NOT IN ('keep', 'cancel_entries', 'flatten')", "last_wills"),
    Check("rolls", "the states of rolls are known", f"SELECT * FROM rolls WHERE state NOT IN {words(RollState)}",
          "rolls.state"),
    Check("risk_state", "the state of the limits can be read", risk_states, "risk_state"),
    Check("strategies", "pauses, last wills and rolls are of known strategies", strategies_known, "orders epochs"),
)  # fmt: skip
"""Every check, in the order in which they are asked."""
