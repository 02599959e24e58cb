"""Journals of earlier versions, made with the statements that those versions used."""

import sqlite3
from contextlib import closing
from pathlib import Path

from actors.plants.journal import FILE_NAME
from nightdesk.messages import (
    ClientOrderId,
    FillId,
    OrderAccepted,
    OrderEvent,
    OrderFilled,
    Side,
    StrategyId,
    VenueOrderId,
    encode,
)

_ORDERS = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY, strategy_id TEXT NOT NULL, account_id TEXT NOT NULL, symbol TEXT NOT NULL,
    exchange TEXT NOT NULL, side TEXT NOT NULL, order_type TEXT NOT NULL, time_in_force TEXT NOT NULL,
    quantity INTEGER NOT NULL, price REAL, trigger_price REAL, protective INTEGER NOT NULL, purpose TEXT NOT NULL,
    fencing_epoch INTEGER NOT NULL, connection_epoch INTEGER NOT NULL, broker_ts_ns INTEGER NOT NULL,
    ts_init_ns INTEGER NOT NULL, status TEXT NOT NULL, venue_order_id TEXT,
    filled_quantity INTEGER NOT NULL DEFAULT 0, filled_cost_nanos TEXT NOT NULL DEFAULT '0',
    reported_filled INTEGER NOT NULL DEFAULT 0, triggered INTEGER NOT NULL DEFAULT 0,
    tombstone INTEGER NOT NULL DEFAULT 0, text TEXT NOT NULL DEFAULT '', ts_last_ns INTEGER NOT NULL,
    terms_ts_ns INTEGER NOT NULL DEFAULT 0, quantity_max INTEGER NOT NULL,{cancel_wanted} event_id INTEGER NOT NULL
);
CREATE UNIQUE INDEX orders_by_venue ON orders (account_id, venue_order_id) WHERE venue_order_id IS NOT NULL;
CREATE INDEX orders_open ON orders (ts_init_ns)
    WHERE status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED');
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL, ts_recv_ns INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE fills (
    event_id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, exchange TEXT NOT NULL, venue_order_id TEXT NOT NULL,
    fill_id TEXT NOT NULL, client_order_id TEXT NOT NULL, strategy_id TEXT NOT NULL, symbol TEXT NOT NULL,
    side TEXT NOT NULL, quantity INTEGER NOT NULL, price_nanos INTEGER NOT NULL, commission_micros INTEGER NOT NULL,
    ts_event_ns INTEGER NOT NULL, UNIQUE (account_id, exchange, venue_order_id, fill_id)
);
CREATE INDEX fills_of_order ON fills (client_order_id);
CREATE TABLE pauses (strategy_id TEXT PRIMARY KEY, reason TEXT NOT NULL, ts_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (strategy_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trading_states (
    number INTEGER PRIMARY KEY, trading_state TEXT NOT NULL, reason TEXT NOT NULL, ts_ns INTEGER NOT NULL
);
"""

_LAST_WILLS = """
CREATE TABLE last_wills (
    strategy_id TEXT PRIMARY KEY, will TEXT NOT NULL, cause TEXT NOT NULL, restarts INTEGER NOT NULL,
    is_done INTEGER NOT NULL DEFAULT 0, ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO last_wills VALUES ('quoter_es', 'flatten', 'CRASHED', 5, 1, 1700000000000000009);
"""

_ROLLS = """
CREATE TABLE rolls (
    roll_id TEXT PRIMARY KEY, strategy_id TEXT NOT NULL, alias TEXT NOT NULL, old_symbol TEXT NOT NULL,
    new_symbol TEXT NOT NULL, reopens INTEGER NOT NULL, is_done INTEGER NOT NULL DEFAULT 0, ts_ns INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO rolls VALUES ('roll-1', 'sma_es', 'ES.front', 'ESU6', 'ESZ6', 1, 1, 1700000000000000005);
"""

_CANCEL_WANTED = " cancel_wanted INTEGER NOT NULL DEFAULT 0,"

STATEMENTS = {
    "1": _ORDERS.format(cancel_wanted=""),
    "2": _ORDERS.format(cancel_wanted=_CANCEL_WANTED) + _LAST_WILLS,
    "3": _ORDERS.format(cancel_wanted=_CANCEL_WANTED) + _LAST_WILLS + _ROLLS,
}
ORDERS = 60
BEGIN_NS = 1_700_000_000_000_000_000


def make_old_journal(folder: Path, version: str) -> Path:
    """A journal of that version with orders, fills, events and a row in each other table."""
    folder.mkdir(exist_ok=True)
    path = folder / FILE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(STATEMENTS[version])
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("version", version), ("system_name", "Nightdesk Simulator"), ("account_id", "SIM-1")],
        )
        connection.execute("BEGIN")
        for number in range(1, ORDERS + 1):
            _write_order(connection, number)
        connection.executemany("INSERT INTO epochs VALUES (?, ?)", [("sma_es", 3), ("quoter_es", 2)])
        connection.execute("INSERT INTO pauses VALUES ('sma_es', 'lunch', 1700000000000000007)")
        connection.executemany(
            "INSERT INTO trading_states (trading_state, reason, ts_ns) VALUES (?, 'test', 1)",
            [("HALTED",), ("ACTIVE",)],
        )
        connection.execute("COMMIT")
    return path


def _write_order(connection: sqlite3.Connection, number: int) -> None:
    """Every second one is filled, the others work or are canceled."""
    name, venue, ts_ns = f"sma_es-{number}", str(10_000_000 + number), BEGIN_NS + number * 1_000_000_000
    is_filled, event_id = number % 2 == 0, 1_000_000 + 10 * number
    status = "FILLED" if is_filled else ("CANCELED" if number % 3 else "ACCEPTED")
    cost = str(2 * 5_000_250_000_000) if is_filled else "0"
    columns = (
        "client_order_id, strategy_id, account_id, symbol, exchange, side, order_type, time_in_force, quantity, price, "
        "protective, purpose, fencing_epoch, connection_epoch, broker_ts_ns, ts_init_ns, status, venue_order_id, "
        "filled_quantity, filled_cost_nanos, reported_filled, ts_last_ns, quantity_max, event_id"
    )
    connection.execute(
        f"INSERT INTO orders ({columns}) VALUES ({', '.join('?' * 24)})",
        (
            *(name, "sma_es", "SIM-1", "ESZ6", "CME", "BUY", "LIMIT", "DAY", 2, 5000.25, 0, "STRATEGY", 1, 1, ts_ns),
            *(ts_ns, status, venue, 2 * is_filled, cost, 2 * is_filled, ts_ns, 2, event_id + 1),
        ),
    )
    common = {"client_order_id": ClientOrderId(name), "strategy_id": StrategyId("sma_es"), "symbol": "ESZ6"}
    common |= {"exchange": "CME", "ts_event_ns": ts_ns}  # type: ignore[dict-item]
    accepted = OrderAccepted(**common, event_id=event_id, venue_order_id=VenueOrderId(venue))  # type: ignore[arg-type]
    events: list[OrderEvent] = [accepted]
    if is_filled:
        filled = OrderFilled(
            **common,  # type: ignore[arg-type]
            event_id=event_id + 1,
            venue_order_id=VenueOrderId(venue),
            fill_id=FillId(f"f{number}"),
            side=Side.BUY,
            last_quantity=2,
            last_price=5000.25,
            filled_quantity=2,
            leaves_quantity=0,
            average_price=5000.25,
            commission=2.5,
        )
        events.append(filled)
        connection.execute(
            f"INSERT INTO fills VALUES ({', '.join('?' * 13)})",
            (
                *(event_id + 1, "SIM-1", "CME", venue, f"f{number}", name, "sma_es", "ESZ6", "BUY", 2),
                *(5_000_250_000_000, 2_500_000, ts_ns),
            ),
        )
    for event in events:
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", (event.event_id, name, ts_ns, encode(event)))
