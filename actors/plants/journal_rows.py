"""The journal's statements, and rows to orders and fills and back."""

from collections.abc import Sequence
from typing import Any

from nightdesk.errors import JournalError
from nightdesk.messages import (
    ClientOrderId,
    FillId,
    FillReport,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.units import from_micros, from_nanos, to_micros, to_nanos

_ORDER_COLUMNS = (
    "client_order_id, strategy_id, account_id, symbol, exchange, side, order_type, time_in_force, quantity, price, "
    "trigger_price, protective, purpose, fencing_epoch, connection_epoch, broker_ts_ns, ts_init_ns, status, "
    "venue_order_id, filled_quantity, filled_cost_nanos, reported_filled, triggered, tombstone, text, ts_last_ns, "
    "terms_ts_ns, quantity_max, cancel_wanted"
)
_WHOLE_NUMBERS = (8, 11, 13, 14, 15, 16, 19, 21, 22, 23, 25, 26, 27, 28)
"""The places of those columns that hold whole numbers."""
INSERT_ORDER = f"INSERT INTO orders ({_ORDER_COLUMNS}, event_id) VALUES ({', '.join('?' * 30)})"
UPDATE_ORDER = (
    "UPDATE orders SET quantity = ?, price = ?, trigger_price = ?, status = ?, venue_order_id = ?, "
    "filled_quantity = ?, filled_cost_nanos = ?, reported_filled = ?, triggered = ?, tombstone = ?, text = ?, "
    "ts_last_ns = ?, terms_ts_ns = ?, quantity_max = ?, cancel_wanted = ?, event_id = ? WHERE client_order_id = ?"
)
SELECT_ORDER = f"SELECT {_ORDER_COLUMNS} FROM orders WHERE client_order_id = ?"
SELECT_BY_VENUE = f"SELECT {_ORDER_COLUMNS} FROM orders WHERE account_id = ? AND venue_order_id = ?"
SELECT_OPEN = (
    f"SELECT {_ORDER_COLUMNS} FROM orders WHERE status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED') "
    "ORDER BY ts_init_ns, rowid"
)
SELECT_NEWEST_ORDERS = f"SELECT {_ORDER_COLUMNS} FROM orders ORDER BY rowid DESC LIMIT ?"
HAS_ORDER = "SELECT 1 FROM orders WHERE client_order_id = ?"
ORDERS_BY_STRATEGY = "SELECT strategy_id, count(*) FROM orders WHERE status <> 'DENIED' GROUP BY strategy_id"

INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?)"

INSERT_FILL = f"INSERT INTO fills VALUES ({', '.join('?' * 13)})"
_FILL_COLUMNS = (
    "fill_id, client_order_id, venue_order_id, strategy_id, symbol, exchange, side, quantity, price_nanos, "
    "commission_micros, ts_event_ns"
)
SELECT_FILLS = f"SELECT {_FILL_COLUMNS} FROM fills ORDER BY event_id"
SELECT_NEWEST_FILLS = f"SELECT {_FILL_COLUMNS} FROM fills ORDER BY event_id DESC LIMIT ?"
SELECT_KEYS_OF_ORDER = "SELECT account_id, exchange, venue_order_id, fill_id FROM fills WHERE client_order_id = ?"
HAS_FILL = "SELECT 1 FROM fills WHERE account_id = ? AND exchange = ? AND venue_order_id = ? AND fill_id = ?"
FILLS_BY_STRATEGY = "SELECT strategy_id, count(*) FROM fills GROUP BY strategy_id"

LAST_EVENT_ID = (
    "SELECT max((SELECT coalesce(max(event_id), 0) FROM events), (SELECT coalesce(max(event_id), 0) FROM orders))"
)
NEWEST_BROKER_TS = (
    "SELECT max((SELECT coalesce(max(ts_event_ns), 0) FROM fills), (SELECT coalesce(max(broker_ts_ns), 0) FROM orders))"
)


def order_values(order: Order, event_id: int) -> tuple[object, ...]:
    """The values of ``INSERT_ORDER``."""
    return (
        order.client_order_id,
        order.strategy_id,
        order.account_id,
        order.symbol,
        order.exchange,
        order.side.value,
        order.order_type.value,
        order.time_in_force.value,
        order.quantity,
        order.price,
        order.trigger_price,
        int(order.protective),
        order.purpose.value,
        order.fencing_epoch,
        order.connection_epoch,
        order.broker_ts_ns,
        order.ts_init_ns,
        order.status.value,
        order.venue_order_id,
        order.filled_quantity,
        str(order.filled_cost_nanos),
        order.reported_filled,
        int(order.triggered),
        int(order.tombstone),
        order.text,
        order.ts_last_ns,
        order.terms_ts_ns,
        order.quantity_max,
        int(order.cancel_wanted),
        event_id,
    )


def update_values(order: Order, event_id: int) -> tuple[object, ...]:
    """The values of ``UPDATE_ORDER``."""
    return (
        order.quantity,
        order.price,
        order.trigger_price,
        order.status.value,
        order.venue_order_id,
        order.filled_quantity,
        str(order.filled_cost_nanos),
        order.reported_filled,
        int(order.triggered),
        int(order.tombstone),
        order.text,
        order.ts_last_ns,
        order.terms_ts_ns,
        order.quantity_max,
        int(order.cancel_wanted),
        event_id,
        order.client_order_id,
    )


def order_of(row: tuple[Any, ...]) -> Order:
    """An order from its row; raises ``JournalError`` for words and kinds of values that no version of ours wrote."""
    try:
        _require_numbers(row, _WHOLE_NUMBERS, int)
        _require_numbers([value for value in row[9:11] if value is not None], (0, 1), int | float)
        return Order(
            client_order_id=ClientOrderId(row[0]),
            strategy_id=StrategyId(row[1]),
            account_id=row[2],
            symbol=row[3],
            exchange=row[4],
            side=Side(row[5]),
            order_type=OrderType(row[6]),
            time_in_force=TimeInForce(row[7]),
            quantity=row[8],
            price=row[9],
            trigger_price=row[10],
            protective=bool(row[11]),
            purpose=Purpose(row[12]),
            fencing_epoch=row[13],
            connection_epoch=row[14],
            broker_ts_ns=row[15],
            ts_init_ns=row[16],
            status=OrderStatus(row[17]),
            venue_order_id=None if row[18] is None else VenueOrderId(row[18]),
            filled_quantity=row[19],
            filled_cost_nanos=int(row[20]),
            reported_filled=row[21],
            triggered=bool(row[22]),
            tombstone=bool(row[23]),
            text=row[24],
            ts_last_ns=row[25],
            terms_ts_ns=row[26],
            quantity_max=row[27],
            cancel_wanted=bool(row[28]),
        )
    except (TypeError, ValueError) as error:
        raise JournalError(f"the journal is damaged: order {row[0]!r}: {error}; see docs/runbook.md") from error


def _require_numbers(row: Sequence[Any], places: Sequence[int], kind: Any) -> None:
    """SQLite keeps any kind of value in any column, and a damaged file may have any."""
    for place in places:
        if place < len(row) and not isinstance(row[place], kind):
            raise TypeError(f"a number was expected, not {row[place]!r}")


def fill_values(fill: FillReport, account_id: str, *, event_id: int) -> tuple[object, ...]:
    """The values of ``INSERT_FILL``."""
    return (
        event_id,
        account_id,
        fill.exchange,
        fill.venue_order_id,
        fill.fill_id,
        fill.client_order_id,
        fill.strategy_id,
        fill.symbol,
        fill.side.value,
        fill.quantity,
        to_nanos(fill.price),
        to_micros(fill.commission),
        fill.ts_event_ns,
    )


def fill_of(row: tuple[Any, ...]) -> tuple[FillReport, int, int]:
    """A fill from its row, with its exact price and commission."""
    try:
        _require_numbers(row, range(7, 11), int)
        report = FillReport(
            fill_id=FillId(row[0]),
            client_order_id=ClientOrderId(row[1]),
            venue_order_id=VenueOrderId(row[2]),
            strategy_id=StrategyId(row[3]),
            symbol=row[4],
            exchange=row[5],
            side=Side(row[6]),
            quantity=row[7],
            price=from_nanos(row[8]),
            commission=from_micros(row[9]),
            ts_event_ns=row[10],
        )
    except (TypeError, ValueError) as error:
        raise JournalError(f"the journal is damaged: fill {row[0]!r}: {error}; see docs/runbook.md") from error
    return report, row[8], row[9]
