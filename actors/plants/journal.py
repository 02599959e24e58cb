"""The order plant's journal: what was intended and what came of it, in one SQLite file; the only module that opens it.

WAL with ``synchronous=NORMAL``: a commit survives the death of any process; with ``durability="power"`` (FULL) it
survives a power loss as well. Every write is one commit. After a write that failed nothing is written any more in this
process: what reached the disk is unknown, and a failed fsync that is repeated reports a success that it has not had.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

import msgspec

from actors.plants import journal_rows as rows
from actors.plants import journal_schema as schema
from nightdesk.errors import JournalError, NightdeskError
from nightdesk.messages import (
    ClientOrderId,
    FillReport,
    Message,
    OrderReport,
    OrderStatus,
    StrategyId,
    TradingState,
    VenueOrderId,
    encode,
)
from nightdesk.trading.broker import FillKey
from nightdesk.trading.order import Order

FILE_NAME = "journal.db"
EVENTS_PER_INTENT = 3
"""Event ids that an intent reserves: initialized, and submitted, denied or in doubt before anything else is written."""
EVENT_IDS_SKIPPED = 1_000_000
"""Ids that a start leaves out: what the former process told without writing it (an order that was sent) had ids too."""
BUSY_TIMEOUT_S = 1.0
STATEMENTS_CACHED = 64


class JournalBusyError(JournalError):
    """Another process holds the journal: it is ending, or a second system runs on the same ``state_dir``."""


class JournalWriteError(NightdeskError):
    """Nothing was written, now or later: send no new order, and restart the order plant when the disk is mended."""


class LastWill(NamedTuple):
    """What is done about the orders and positions of a strategy that was set aside: once for each time."""

    strategy_id: StrategyId
    will: str
    """``keep``, ``cancel_entries`` or ``flatten``."""
    cause: str
    restarts: int
    is_done: bool


class PositionRoll(NamedTuple):
    """A strategy's position is moved from one contract to the next; its orders' ids begin with ``roll_id``."""

    roll_id: str
    strategy_id: StrategyId
    alias: str
    old_symbol: str
    new_symbol: str
    reopens: bool
    """Whether what is closed is opened in the new contract."""
    is_done: bool


class Journal:
    """One open journal; a lock beside it keeps every other process out."""

    def __init__(self, connection: sqlite3.Connection, path: str, lock: int) -> None:
        self._connection = connection
        self._lock = lock
        self.path = path
        self.failed = False
        self._next_event_id = self._value(rows.LAST_EVENT_ID) + EVENT_IDS_SKIPPED

    @classmethod
    def open(cls, state_dir: str, *, system_name: str, durability: Literal["process", "power"]) -> Self:
        """Open or create ``state_dir/journal.db``.

        Raises ``JournalError`` for a file that is damaged, cannot be opened, is of a later version or of another
        system, and ``JournalBusyError`` while another process holds it. A file of an earlier version is migrated.
        """
        path = os.path.join(state_dir, FILE_NAME)
        lock = _lock(path + ".lock")
        try:
            if not os.path.exists(path):
                schema.create(path, system_name)
            connection = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_TIMEOUT_S, cached_statements=STATEMENTS_CACHED
            )
            schema.check(connection, path, system_name)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
            schema.migrate(connection)
            return cls(connection, path, lock)
        except (OSError, sqlite3.Error) as error:
            os.close(lock)
            raise schema.refused(path, error) from error
        except JournalError:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._connection.close()
        os.close(self._lock)

    def claim(self, account_id: str) -> None:
        """Make the journal this account's, or raise ``JournalError`` when it is another's."""
        owner = self._connection.execute("SELECT value FROM meta WHERE key = 'account_id'").fetchone()
        if owner is None:
            self._write("INSERT INTO meta VALUES ('account_id', ?)", (account_id,))
        elif owner[0] != account_id:
            raise JournalError(
                f"{self.path}: the journal belongs to account {owner[0]}, this is account {account_id}; "
                "give each account its own state_dir"
            )

    def next_event_id(self) -> int:
        """The next id of an event; ids only grow, over restarts too."""
        event_id = self._next_event_id
        self._next_event_id += 1
        return event_id

    def write_intent(self, order: Order) -> int:
        """Commit an order before its frame is sent (or its denial); the first of ``EVENTS_PER_INTENT`` event ids.

        Raises ``JournalWriteError``; ``sqlite3.IntegrityError`` never, the caller has checked the id.
        """
        event_id = self._next_event_id
        self._next_event_id += EVENTS_PER_INTENT
        self._write(rows.INSERT_ORDER, rows.order_values(order, event_id + EVENTS_PER_INTENT - 1))
        return event_id

    def write_order(
        self,
        order: Order,
        events: Sequence[tuple[int, Message]] = (),
        fill: tuple[FillReport, str] | None = None,
        ts_recv_ns: int = 0,
    ) -> None:
        """Commit what came of an order: its present row, the events that will be published, at most one fill.

        ``fill`` is the report and its account; ``JournalWriteError`` as above.
        """
        self._begin()
        try:
            run = self._connection.execute
            last_id = events[-1][0] if events else self._next_event_id - 1
            run(rows.UPDATE_ORDER, rows.update_values(order, last_id))
            for event_id, message in events:
                run(rows.INSERT_EVENT, (event_id, order.client_order_id, ts_recv_ns, encode(message)))
            if fill is not None:
                run(rows.INSERT_FILL, rows.fill_values(*fill, event_id=last_id))
            run("COMMIT")
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def open_orders(self) -> list[Order]:
        """Orders that were not over, oldest first, with the keys of their fills."""
        found = self._connection.execute(rows.SELECT_OPEN).fetchall()
        return [self._with_fills(rows.order_of(row)) for row in found]

    def find_order(self, client_order_id: ClientOrderId) -> Order | None:
        """One order of any age by our id."""
        row = self._connection.execute(rows.SELECT_ORDER, (client_order_id,)).fetchone()
        return None if row is None else self._with_fills(rows.order_of(row))

    def find_by_venue(self, account_id: str, venue_order_id: VenueOrderId) -> Order | None:
        """One order of any age by the broker's id."""
        row = self._connection.execute(rows.SELECT_BY_VENUE, (account_id, venue_order_id)).fetchone()
        return None if row is None else self._with_fills(rows.order_of(row))

    def has_order(self, client_order_id: ClientOrderId) -> bool:
        """Whether this id was ever used."""
        return self._connection.execute(rows.HAS_ORDER, (client_order_id,)).fetchone() is not None

    def has_fill(self, key: FillKey) -> bool:
        """Whether this execution is booked."""
        return self._connection.execute(rows.HAS_FILL, msgspec.structs.astuple(key)).fetchone() is not None

    def newest_orders(self, limit: int) -> tuple[OrderReport, ...]:
        """The newest orders, newest first."""
        found = self._connection.execute(rows.SELECT_NEWEST_ORDERS, (limit,)).fetchall()
        return tuple(rows.order_of(row).report() for row in found)

    def fills(self) -> Iterator[tuple[FillReport, int, int]]:
        """Every fill, oldest first, with its exact price (billionths) and commission (millionths)."""
        for row in self._connection.execute(rows.SELECT_FILLS):
            yield rows.fill_of(row)

    def newest_fills(self, limit: int) -> tuple[FillReport, ...]:
        """The newest fills, newest first."""
        found = self._connection.execute(rows.SELECT_NEWEST_FILLS, (limit,)).fetchall()
        return tuple(rows.fill_of(row)[0] for row in found)

    def status_counts(self) -> dict[OrderStatus, int]:
        """How many orders the journal holds in each status."""
        found = self._connection.execute("SELECT status, count(*) FROM orders GROUP BY status").fetchall()
        return {OrderStatus(status): count for status, count in found}

    def orders_by_strategy(self) -> dict[StrategyId, int]:
        """How many orders each strategy sent (denied ones left out)."""
        return {StrategyId(key): count for key, count in self._connection.execute(rows.ORDERS_BY_STRATEGY)}

    def fills_by_strategy(self) -> dict[StrategyId, int]:
        """How many executions each strategy had."""
        return {StrategyId(key): count for key, count in self._connection.execute(rows.FILLS_BY_STRATEGY)}

    def newest_broker_ts_ns(self) -> int:
        """The newest time of the broker that the journal knows, 0 for none."""
        return self._value(rows.NEWEST_BROKER_TS)

    def next_fencing_epoch(self, strategy_id: StrategyId) -> int:
        """A new epoch for a strategy's process; commands of every former one are stale from now on."""
        found = self._connection.execute("SELECT epoch FROM epochs WHERE strategy_id = ?", (strategy_id,)).fetchone()
        epoch: int = 1 if found is None else found[0] + 1
        self._write("INSERT OR REPLACE INTO epochs VALUES (?, ?)", (strategy_id, epoch))
        return epoch

    def pauses(self) -> dict[StrategyId, str]:
        """The paused strategies and why."""
        found = self._connection.execute("SELECT strategy_id, reason FROM pauses").fetchall()
        return {StrategyId(strategy_id): reason for strategy_id, reason in found}

    def write_pause(self, strategy_id: StrategyId, reason: str, ts_ns: int) -> None:
        """Keep a pause over restarts."""
        self._write("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?)", (strategy_id, reason, ts_ns))

    def clear_pause(self, strategy_id: StrategyId) -> None:
        """End a pause."""
        self._write("DELETE FROM pauses WHERE strategy_id = ?", (strategy_id,))

    def trading_state(self) -> TradingState:
        """The account's state; ACTIVE in a new journal."""
        found = self._connection.execute(
            "SELECT trading_state FROM trading_states ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return TradingState.ACTIVE if found is None else TradingState(found[0])

    def write_trading_state(self, trading_state: TradingState, reason: str, ts_ns: int) -> None:
        """Keep the account's state over restarts; former ones stay as a record."""
        self._write(
            "INSERT INTO trading_states (trading_state, reason, ts_ns) VALUES (?, ?, ?)",
            (trading_state.value, reason, ts_ns),
        )

    def last_wills(self) -> list[LastWill]:
        """The last will of each strategy that is set aside, carried out or not."""
        found = self._connection.execute(
            "SELECT strategy_id, will, cause, restarts, is_done FROM last_wills"
        ).fetchall()
        return [
            LastWill(StrategyId(strategy_id), will, cause, restarts, bool(is_done))
            for strategy_id, will, cause, restarts, is_done in found
        ]

    def write_last_will(self, will: LastWill, ts_ns: int) -> None:
        """Keep that a strategy was set aside, and whether what it wanted for that case is done."""
        self._write(
            "INSERT OR REPLACE INTO last_wills VALUES (?, ?, ?, ?, ?, ?)",
            (will.strategy_id, will.will, will.cause, will.restarts, int(will.is_done), ts_ns),
        )

    def clear_last_will(self, strategy_id: StrategyId) -> None:
        """The strategy is back."""
        self._write("DELETE FROM last_wills WHERE strategy_id = ?", (strategy_id,))

    def rolls(self) -> list[PositionRoll]:
        """Every roll of a position, oldest first."""
        found = self._connection.execute(
            "SELECT roll_id, strategy_id, alias, old_symbol, new_symbol, reopens, is_done FROM rolls ORDER BY ts_ns"
        ).fetchall()
        return [
            PositionRoll(roll_id, StrategyId(strategy_id), alias, old, new, bool(reopens), bool(is_done))
            for roll_id, strategy_id, alias, old, new, reopens, is_done in found
        ]

    def write_roll(self, roll: PositionRoll, ts_ns: int) -> None:
        """Keep that a roll has begun, or how it stands."""
        self._write(
            "INSERT INTO rolls VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (roll_id) DO UPDATE SET reopens = excluded.reopens, is_done = excluded.is_done",
            (*roll[:5], int(roll.reopens), int(roll.is_done), ts_ns),
        )

    def gave_up_done(self) -> bool:
        """Whether the last thing that happened here was that a system that gave up left everything as configured."""
        return self._connection.execute("SELECT 1 FROM meta WHERE key = 'gave_up_done'").fetchone() is not None

    def write_gave_up_done(self, is_done: bool) -> None:
        """Note it, or take it back: trading goes on."""
        if is_done:
            self._write("INSERT OR REPLACE INTO meta VALUES ('gave_up_done', '1')", ())
        elif self.gave_up_done():
            self._write("DELETE FROM meta WHERE key = 'gave_up_done'", ())

    def _with_fills(self, order: Order) -> Order:
        for row in self._connection.execute(rows.SELECT_KEYS_OF_ORDER, (order.client_order_id,)):
            order.fill_keys.add(FillKey(*row))
        return order

    def _value(self, statement: str) -> int:
        value: int | None = self._connection.execute(statement).fetchone()[0]
        return value or 0

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._refuse_after_failure()
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def _begin(self) -> None:
        self._refuse_after_failure()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def _refuse_after_failure(self) -> None:
        if self.failed:
            raise JournalWriteError(f"{self.path}: an earlier write failed")

    def _fail(self, error: sqlite3.Error) -> JournalWriteError:
        self.failed = True
        if self._connection.in_transaction:
            self._connection.rollback()
        return JournalWriteError(f"{self.path}: {error}")


def _lock(path: str) -> int:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"{path}: cannot be opened ({error.strerror}); mend the rights of state_dir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise JournalBusyError(f"{path}: another process uses this journal; stop it first") from None
    return lock
