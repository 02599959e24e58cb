"""The order plant's journal: what was intended and what came of it, in one SQLite file; only this module writes to it.

WAL with ``synchronous=NORMAL``: a commit survives the death of any process; with ``durability="power"`` (FULL) it
survives a power loss as well. Every write is one commit. After a write that failed nothing is written any more in this
process: what reached the disk is unknown, and a failed fsync that is repeated reports a success that it has not had.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Self

import msgspec

from actors.plants import journal_rows as rows
from actors.plants import journal_schema as schema
from actors.plants.journal_disk import JournalWriteError as JournalWriteError
from actors.plants.journal_disk import WalCopies, close_as_it_is, roll_back
from actors.plants.journal_lease import JournalBusyError as JournalBusyError
from actors.plants.journal_lease import JournalLease, LeaseLostError
from actors.plants.journal_lease import lock_journal as lock_journal
from actors.plants.journal_rows import LastWill as LastWill
from actors.plants.journal_soundness import require_sound
from actors.plants.journal_sums import Sums
from nightdesk.errors import JournalError
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
from nightdesk.trading.roll_step import PositionRoll

FILE_NAME = "journal.db"
REPAIRING = ".repairing"
"""Ends the name of a file that is there while a repaired journal is put into the place of the damaged one."""
EVENTS_PER_INTENT = 3
"""Event ids that an intent reserves: initialized, and submitted, denied or in doubt before anything else is written."""
EVENT_IDS_SKIPPED = 1_000_000
"""Ids that a start leaves out: what the former process told without writing it (an order that was sent) had ids too."""
BUSY_TIMEOUT_S = 1.0
STATEMENTS_CACHED = 64


class Journal:
    """One open journal; a lock beside it keeps every other process out."""

    def __init__(self, connection: sqlite3.Connection, path: str, lease: JournalLease, sums: Sums) -> None:
        self._connection = connection
        self._lease = lease
        self._sums = sums
        self._copies = WalCopies(connection)
        self.path = path
        self.failed = False
        self.on_lease_lost: Callable[[LeaseLostError], None] = lambda error: None
        self._next_event_id = self._value(rows.LAST_EVENT_ID) + EVENT_IDS_SKIPPED

    @classmethod
    def open(cls, state_dir: str, *, system_name: str, durability: Literal["process", "power"]) -> Self:
        """Open or create ``state_dir/journal.db``.

        Raises ``JournalError`` for a file that is damaged, cannot be opened, is of a later version or of another
        system, and ``JournalBusyError`` while another process holds it. A file of an earlier version is migrated.
        """
        path = os.path.join(state_dir, FILE_NAME)
        lease = JournalLease.take(path)
        try:
            if os.path.exists(path + REPAIRING):
                raise JournalError(f"{path}: a repair was broken off; end it with: python run.py journal repair")
            if not os.path.exists(path):
                schema.create(path, system_name)
            require_sound(path, system_name)
            connection = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_TIMEOUT_S, cached_statements=STATEMENTS_CACHED
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
            schema.migrate(connection)
            return cls(connection, path, lease, Sums.of_file(connection))
        except (OSError, sqlite3.Error, *schema.NOT_OF_SQLITE) as error:
            lease.release()
            raise schema.refused(path, error) from error
        except JournalError:
            lease.release()
            raise

    def close(self) -> None:
        """Close the file and let go of the lock."""
        if self.failed:
            close_as_it_is(self._connection, self.path)
        else:
            self._connection.close()
        self._lease.release()

    def claim(self, account_id: str) -> None:
        """Make the journal this account's, or raise ``JournalError`` when it is another's."""
        owner = self.note("account_id")
        if owner is None:
            self.write_note("account_id", account_id)
        elif owner != account_id:
            raise JournalError(
                f"{self.path}: the journal belongs to account {owner}, this is account {account_id}; "
                "give each account its own state_dir"
            )

    def next_event_id(self) -> int:
        """The next id of an event; ids only grow, over restarts too."""
        event_id = self._next_event_id
        self._next_event_id += 1
        return event_id

    def write_intent(self, *orders: Order) -> int:
        """Commit an order before its frame is sent (or its denial), or all orders of one frame; the first event id.

        Each order has ``EVENTS_PER_INTENT`` of them, one after the other. Raises ``JournalWriteError``;
        ``sqlite3.IntegrityError`` never, the caller has checked the ids.
        """
        event_id = self._next_event_id
        self._next_event_id += EVENTS_PER_INTENT * len(orders)
        with self._transaction():
            for last_id, order in enumerate(orders, start=1):
                values = rows.order_values(order, event_id + EVENTS_PER_INTENT * last_id - 1)
                self._connection.execute(rows.INSERT_ORDER, self._sealed("orders", rows.ORDER_COLUMNS, values))
        return event_id

    def write_order(
        self,
        order: Order,
        events: Sequence[tuple[int, Message]] = (),
        fill: tuple[FillReport, str] | None = None,
        ts_recv_ns: int = 0,
        risk_state: Mapping[str, str] | None = None,
    ) -> None:
        """Commit what came of an order: its present row, the events that will be published, at most one fill.

        ``fill`` is the report and its account, ``risk_state`` what it has changed in the state of the limits;
        ``JournalWriteError`` as above.
        """
        with self._transaction():
            run = self._connection.execute
            last_id = events[-1][0] if events else self._next_event_id - 1
            values = self._sealed("orders", rows.ORDER_COLUMNS, rows.order_values(order, last_id))
            run(rows.UPDATE_ORDER, (*values[1:], order.client_order_id))
            for event_id, message in events:
                values = (event_id, order.client_order_id, ts_recv_ns, encode(message))
                run(rows.INSERT_EVENT, self._sealed("events", rows.EVENT_COLUMNS, values))
            if fill is not None:
                values = rows.fill_values(*fill, event_id=last_id)
                run(rows.INSERT_FILL, self._sealed("fills", rows.FILL_COLUMNS, values))
            self._put_risk_state(risk_state or {}, ts_recv_ns)

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
        self._put("epochs", strategy_id, epoch)
        return epoch

    def pauses(self) -> dict[StrategyId, str]:
        """The paused strategies and why."""
        found = self._connection.execute("SELECT strategy_id, reason FROM pauses").fetchall()
        return {StrategyId(strategy_id): reason for strategy_id, reason in found}

    def write_pause(self, strategy_id: StrategyId, reason: str, ts_ns: int) -> None:
        """Keep a pause over restarts."""
        self._put("pauses", strategy_id, reason, ts_ns)

    def clear_pause(self, strategy_id: StrategyId) -> None:
        """End a pause."""
        self._write("DELETE FROM pauses WHERE strategy_id = ?", (strategy_id,))

    def trading_state(self) -> TradingState:
        """The account's state; ACTIVE in a new journal."""
        found = self._connection.execute(
            "SELECT trading_state FROM trading_states ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return TradingState.ACTIVE if found is None else TradingState(found[0])

    def write_trading_state(
        self, trading_state: TradingState, reason: str, ts_ns: int, risk_state: Mapping[str, str] | None = None
    ) -> int:
        """Keep the account's state over restarts, and give it a number; ``risk_state`` as in ``write_order``."""
        number = self._value("SELECT max(number) FROM trading_states") + 1
        values = (number, trading_state.value, reason, ts_ns)
        with self._transaction():
            sealed = self._sealed("trading_states", rows.SMALL_TABLES["trading_states"], values)
            self._connection.execute(rows.PUT["trading_states"], sealed)
            self._put_risk_state(risk_state or {}, ts_ns)
        return number

    def trading_states(self, after: int) -> list[tuple[int, TradingState, str, int]]:
        """The changes of the account's state after a number: number, state, reason, wall time in nanoseconds."""
        found = self._connection.execute(
            "SELECT number, trading_state, reason, ts_ns FROM trading_states WHERE number > ? ORDER BY number", (after,)
        ).fetchall()
        return [(number, TradingState(state), reason, ts_ns) for number, state, reason, ts_ns in found]

    def risk_state(self) -> dict[str, str]:
        """What the limits must not forget, by key."""
        return dict(self._connection.execute("SELECT key, value FROM risk_state").fetchall())

    def write_risk_state(self, risk_state: Mapping[str, str], ts_ns: int) -> None:
        """Keep several of it over restarts, all or none."""
        with self._transaction():
            self._put_risk_state(risk_state, ts_ns)

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
        self._put("last_wills", *will[:4], int(will.is_done), ts_ns)

    def clear_last_will(self, strategy_id: StrategyId) -> None:
        """The strategy is back."""
        self._write("DELETE FROM last_wills WHERE strategy_id = ?", (strategy_id,))

    def rolls(self) -> list[PositionRoll]:
        """Every roll of a position, in the order in which they began."""
        return [rows.roll_of(row) for row in self._connection.execute(rows.SELECT_ROLLS).fetchall()]

    def write_roll(self, roll: PositionRoll, ts_ns: int) -> None:
        """Keep that a roll has begun, or how it stands."""
        self._write(rows.UPSERT_ROLL, self._sealed("rolls", rows.ROLL_COLUMNS, rows.roll_values(roll, ts_ns)))

    def replay_from_ns(self) -> int | None:
        """The broker's time from when on executions are to be asked for again; None where none can be missing."""
        found = self.note("replay_from_ns")
        # What cannot be read means all of them: asking for too much does no harm.
        return None if found is None else int(found) if found.isdecimal() else 0

    def write_replay_from(self, ts_ns: int | None) -> None:
        """Keep it over restarts, or (None) take it back: they have been asked for."""
        if ts_ns is None:
            self._write("DELETE FROM meta WHERE key = 'replay_from_ns'", ())
        else:
            self._put("meta", "replay_from_ns", str(ts_ns))

    def needs_full_replay(self) -> bool:
        """Whether every execution that the broker still tells of is to be asked for: the journal was repaired.

        It is ``replay_from_ns() == 0``, and over with the same ``write_replay_from(None)``.
        """
        return self.replay_from_ns() == 0

    def note(self, key: str) -> str | None:
        """One of the small things that are kept over restarts, by its name; None where it was never written."""
        found = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def write_note(self, key: str, value: str) -> None:
        """Keep it."""
        self._put("meta", key, value)

    def tombstones(self, before_ns: int) -> list[Order]:
        """Orders that the broker's silence has ended, of which nothing was heard since a market time."""
        found = self._connection.execute(rows.SELECT_TOMBSTONES, (before_ns,)).fetchall()
        return [self._with_fills(rows.order_of(row)) for row in found]

    def gave_up_done(self) -> bool:
        """Whether the last thing that happened here was that a system that gave up left everything as configured."""
        return self.note("gave_up_done") is not None

    def write_gave_up_done(self, is_done: bool) -> None:
        """Note it, or take it back: trading goes on."""
        if is_done:
            self._put("meta", "gave_up_done", "1")
        elif self.gave_up_done():
            self._write("DELETE FROM meta WHERE key = 'gave_up_done'", ())

    def _with_fills(self, order: Order) -> Order:
        for row in self._connection.execute(rows.SELECT_KEYS_OF_ORDER, (order.client_order_id,)):
            order.fill_keys.add(FillKey(*row))
        return order

    def _value(self, statement: str) -> int:
        value: int | None = self._connection.execute(statement).fetchone()[0]
        return value or 0

    def _sealed(self, table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> tuple[object, ...]:
        return (*values, self._sums.of(table, columns, values))

    def _put_risk_state(self, risk_state: Mapping[str, str], ts_ns: int) -> None:
        columns = rows.SMALL_TABLES["risk_state"]
        for key, value in risk_state.items():
            sealed = self._sealed("risk_state", columns, (key, value, ts_ns))
            self._connection.execute(rows.PUT["risk_state"], sealed)

    def _put(self, table: str, *values: object) -> None:
        """Write one row of a small table, over the one with its key if there is one."""
        self._write(rows.PUT[table], self._sealed(table, rows.SMALL_TABLES[table], values))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        self._refuse_after_failure()
        try:
            self._connection.execute(statement, values)
            self._copies.committed()
        except sqlite3.Error as error:
            raise self._fail(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._refuse_after_failure()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
            self._copies.committed()
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def require_lease(self) -> None:
        """Raise ``LeaseLostError`` where another process has the journal: before each frame, in the same turn."""
        if not self._lease.is_held():
            error = LeaseLostError(f"{self.path}: another order plant has it; this one sends and writes nothing more")
            if not self.failed:
                self.failed = True
                self.on_lease_lost(error)
            raise error

    def _refuse_after_failure(self) -> None:
        self.require_lease()
        if self.failed:
            raise JournalWriteError(f"{self.path}: an earlier write failed")

    def _fail(self, error: sqlite3.Error) -> JournalWriteError:
        self.failed = True
        roll_back(self._connection)
        return JournalWriteError(f"{self.path}: {error}")
