"""The journal's statements, and rows to orders and fills and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from nightdesk.errors import JournalError
from nightdesk.messages import (
    ClientOrderId,
    FillId,
    FillReport,
    OrderFilled,
    OrderStatus,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
    VenueOrderId,
)
from nightdesk.trading.order import Operation, Order, Purpose
from nightdesk.trading.roll_step import PositionRoll, RollState
from nightdesk.trading.units import from_micros, from_nanos, to_micros, to_nanos

_ORDER_COLUMNS = (
    "client_order_id, strategy_id, account_id, symbol, exchange, side, order_type, time_in_force, quantity, price, "
    "trigger_price, protective, purpose, fencing_epoch, connection_epoch, broker_ts_ns, ts_init_ns, status, "
    "venue_order_id, filled_quantity, filled_cost_nanos, reported_filled, triggered, tombstone, text, ts_last_ns, "
    "terms_ts_ns, quantity_max, cancel_wanted, trail_by_ticks, stop_ticks, target_ticks, expire_ns, parent_id, "
    "linked_id"
)
_WHOLE_NUMBERS = (8, 11, 13, 14, 15, 16, 19, 21, 22, 23, 25, 26, 27, 28, 29, 30, 31, 32)
"""The places of those columns that hold whole numbers."""
ORDER_COLUMNS = (*_ORDER_COLUMNS.split(", "), "event_id")
"""What ``order_values`` are the values of."""
INSERT_ORDER = (
    f"INSERT INTO orders ({_ORDER_COLUMNS}, event_id, row_sum) VALUES ({', '.join('?' * (len(ORDER_COLUMNS) + 1))})"
)
UPDATE_ORDER = (
    f"UPDATE orders SET {', '.join(f'{column} = ?' for column in ORDER_COLUMNS[1:])}, row_sum = ? "
    "WHERE client_order_id = ?"
)
"""The whole row, so that its sum is surely that of what the file has."""
SELECT_ORDER = f"SELECT {_ORDER_COLUMNS} FROM orders WHERE client_order_id = ?"
SELECT_BY_VENUE = f"SELECT {_ORDER_COLUMNS} FROM orders WHERE account_id = ? AND venue_order_id = ?"
SELECT_OPEN = (
    f"SELECT {_ORDER_COLUMNS} FROM orders WHERE status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED') "
    "ORDER BY ts_init_ns, rowid"
)
SELECT_TOMBSTONES = (
    f"SELECT {_ORDER_COLUMNS} FROM orders WHERE tombstone = 1 AND ts_last_ns < ? "
    "AND status IN ('FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')"
)
SELECT_NEWEST_ORDERS = f"SELECT {_ORDER_COLUMNS} FROM orders ORDER BY rowid DESC LIMIT ?"
HAS_ORDER = "SELECT 1 FROM orders WHERE client_order_id = ?"
ORDERS_BY_STRATEGY = "SELECT strategy_id, count(*) FROM orders WHERE status <> 'DENIED' GROUP BY strategy_id"

EVENT_COLUMNS = ("event_id", "client_order_id", "ts_recv_ns", "payload")
INSERT_EVENT = f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}, row_sum) VALUES (?, ?, ?, ?, ?)"

FILL_COLUMNS = (
    *("event_id", "account_id", "exchange", "venue_order_id", "fill_id", "client_order_id", "strategy_id", "symbol"),
    *("side", "quantity", "price_nanos", "commission_micros", "ts_event_ns"),
)
"""What ``fill_values`` are the values of."""
INSERT_FILL = f"INSERT INTO fills ({', '.join(FILL_COLUMNS)}, row_sum) VALUES ({', '.join('?' * 14)})"
_FILL_COLUMNS = (
    "fill_id, client_order_id, venue_order_id, strategy_id, symbol, exchange, side, quantity, price_nanos, "
    "commission_micros, ts_event_ns"
)
SELECT_FILLS = f"SELECT {_FILL_COLUMNS} FROM fills ORDER BY event_id"
SELECT_NEWEST_FILLS = f"SELECT {_FILL_COLUMNS} FROM fills ORDER BY event_id DESC LIMIT ?"
SELECT_KEYS_OF_ORDER = "SELECT account_id, exchange, venue_order_id, fill_id FROM fills WHERE client_order_id = ?"
HAS_FILL = "SELECT 1 FROM fills WHERE account_id = ? AND exchange = ? AND venue_order_id = ? AND fill_id = ?"
FILLS_BY_STRATEGY = "SELECT strategy_id, count(*) FROM fills GROUP BY strategy_id"

_ROLL_COLUMNS = "roll_id, strategy_id, alias, old_symbol, new_symbol, reopens, state, was_protected, begun_ns"
ROLL_COLUMNS = (*_ROLL_COLUMNS.split(", "), "ts_ns")
"""What ``roll_values`` are the values of."""
SELECT_ROLLS = f"SELECT {_ROLL_COLUMNS} FROM rolls ORDER BY number"
UPSERT_ROLL = (
    f"INSERT INTO rolls ({_ROLL_COLUMNS}, ts_ns, row_sum) VALUES ({', '.join('?' * 11)}) ON CONFLICT (roll_id) "
    "DO UPDATE SET reopens = excluded.reopens, state = excluded.state, was_protected = excluded.was_protected, "
    "ts_ns = excluded.ts_ns, row_sum = excluded.row_sum"
)

SMALL_TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("key", "value"),
    "epochs": ("strategy_id", "epoch"),
    "pauses": ("strategy_id", "reason", "ts_ns"),
    "trading_states": ("number", "trading_state", "reason", "ts_ns"),
    "last_wills": ("strategy_id", "will", "cause", "restarts", "is_done", "ts_ns"),
    "risk_state": ("key", "value", "ts_ns"),
}
"""Tables of a few rows, with what a row is written from."""
PUT = {
    table: f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}, row_sum) VALUES ({', '.join('?' * len(columns))}, ?)"
    for table, columns in SMALL_TABLES.items()
}

LAST_EVENT_ID = (
    "SELECT max((SELECT coalesce(max(event_id), 0) FROM events), (SELECT coalesce(max(event_id), 0) FROM orders))"
)
NEWEST_BROKER_TS = (
    "SELECT max((SELECT coalesce(max(ts_event_ns), 0) FROM fills), (SELECT coalesce(max(broker_ts_ns), 0) FROM orders))"
)


class LastWill(NamedTuple):
    """What is done about the orders and positions of a strategy that was set aside: once for each time."""

    strategy_id: StrategyId
    will: str
    """``keep``, ``cancel_entries`` or ``flatten``."""
    cause: str
    restarts: int
    is_done: bool


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
        int(order.cancel_wanted or order.operation is Operation.CANCEL),
        order.trail_by_ticks,
        order.stop_ticks,
        order.target_ticks,
        order.expire_ns,
        order.parent_id,
        order.linked_id,
        event_id,
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
            trail_by_ticks=row[29],
            stop_ticks=row[30],
            target_ticks=row[31],
            expire_ns=row[32],
            parent_id=ClientOrderId(row[33]),
            linked_id=ClientOrderId(row[34]),
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


def report_of_event(event: OrderFilled) -> FillReport:
    """The execution that an event tells of."""
    return FillReport(
        fill_id=event.fill_id,
        client_order_id=event.client_order_id,
        venue_order_id=event.venue_order_id,
        strategy_id=event.strategy_id,
        symbol=event.symbol,
        exchange=event.exchange,
        side=event.side,
        quantity=event.last_quantity,
        price=event.last_price,
        commission=event.commission,
        ts_event_ns=event.ts_event_ns,
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


def roll_values(roll: PositionRoll, ts_ns: int) -> tuple[object, ...]:
    """The values of ``UPSERT_ROLL``; ``ts_ns`` is the wall time of the last change, for people."""
    return (
        *(roll.roll_id, roll.strategy_id, roll.alias, roll.old_symbol, roll.new_symbol),
        *(int(roll.reopens), roll.state.value, int(roll.was_protected), roll.begun_ns, ts_ns),
    )


def roll_of(row: tuple[Any, ...]) -> PositionRoll:
    """A roll from its row; raises ``JournalError`` for what no version of ours wrote."""
    try:
        _require_numbers(row, (5, 7, 8), int)
        return PositionRoll(
            roll_id=row[0],
            strategy_id=StrategyId(row[1]),
            alias=row[2],
            old_symbol=row[3],
            new_symbol=row[4],
            reopens=bool(row[5]),
            state=RollState(row[6]),
            was_protected=bool(row[7]),
            begun_ns=row[8],
        )
    except (TypeError, ValueError) as error:
        raise JournalError(f"the journal is damaged: roll {row[0]!r}: {error}; see docs/runbook.md") from error
