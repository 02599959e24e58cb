"""Journals as order plants leave them, and what is done to them."""

import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from actors.plants import order_events
from actors.plants.journal import FILE_NAME, Journal, LastWill
from actors.plants.journal_pages import LEAF_INDEX, LEAF_TABLE, Pages, Row, Tree
from actors.plants.journal_repair import repair
from actors.plants.journal_schema import MIGRATIONS
from nightdesk.messages import (
    ClientOrderId,
    FillId,
    OrderAccepted,
    OrderEvent,
    OrderFilled,
    OrderType,
    Side,
    StrategyId,
    TimeInForce,
    TradingState,
    VenueOrderId,
)
from nightdesk.trading.broker import FillKey
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.order_table import OrderTable
from nightdesk.trading.order_transitions import Step
from nightdesk.trading.roll_step import PositionRoll, RollState
from nightdesk.trading.units import from_micros

STRATEGIES = ("sma_es", "quoter_es")
SYSTEM = "Nightdesk Simulator"
ACCOUNT = "SIM-1"
NOW_NS = 1_800_000_000_000_000_000
BEGIN_NS = 1_699_998_900_000_000_000
"""Five minutes before four o'clock in Chicago: a trade date ends, and the next one follows."""
SYMBOLS = ("ESZ6", "NQZ6")
COMMISSION_MICROS = 1_250_000


class Trading:
    """Writes orders' lives into a journal, chosen by a seed."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self.journal = journal
        self._random = random.Random(seed)
        self._table = OrderTable()
        self._now_ns = BEGIN_NS
        self._count = 0
        self._epochs = {name: journal.next_fencing_epoch(StrategyId(name)) for name in STRATEGIES}

    def order(self) -> Order:
        """One more order, however it goes."""
        order = self._new()
        if self._random.random() < 0.1:
            self._table.add(order)
            self._table.step(order, Step.DENY)
            order.text = "RISK_MAX_POSITION: it would be 11"
            self.journal.write_intent(order)
            return order
        self.journal.write_intent(order)
        self._table.add(order)
        self._table.step(order, Step.SEND)
        self._table.bind(order, VenueOrderId(str(10_000_000 + self._count)))
        self._table.step(order, Step.OPEN)
        self._commit(
            order, lambda fields: OrderAccepted(**fields, venue_order_id=order.venue_order_id or VenueOrderId(""))
        )
        for _ in range(self._random.randint(0, 3)):
            if order.leaves_quantity:
                self._fill(order)
        if not order.is_final and self._random.random() < 0.6:
            step = self._random.choice((Step.CANCELED, Step.EXPIRE))
            self._table.step(order, step)
            self._commit(order, lambda fields: order_events.ended(order, fields))
        return order

    def tick(self) -> int:
        """A little later."""
        self._now_ns += self._random.randint(1, 5_000_000_000)
        return self._now_ns

    def _new(self) -> Order:
        self._count += 1
        name, number = self._random.choice(STRATEGIES), self._count
        symbol = self._random.choice(SYMBOLS)
        is_limit = self._random.random() < 0.7
        return Order(
            client_order_id=ClientOrderId(f"{name}-{number}-{self._random.randrange(1 << 32):08x}"),
            strategy_id=StrategyId(name),
            account_id=ACCOUNT,
            symbol=symbol,
            exchange="CME",
            side=self._random.choice(list(Side)),
            order_type=OrderType.LIMIT if is_limit else OrderType.STOP_MARKET,
            time_in_force=self._random.choice((TimeInForce.DAY, TimeInForce.GTC)),
            quantity=self._random.randint(1, 9),
            price=5000.0 + self._random.randint(0, 400) / 4 if is_limit else None,
            trigger_price=None if is_limit else 5100.25,
            protective=not is_limit,
            purpose=Purpose.STRATEGY,
            fencing_epoch=self._epochs[name],
            connection_epoch=1,
            broker_ts_ns=self._now_ns,
            ts_init_ns=self.tick(),
        )

    def _fill(self, order: Order) -> None:
        quantity = self._random.randint(1, order.leaves_quantity)
        price = 5000.0 + self._random.randint(0, 400) / 4
        fill_id = FillId(f"f{self._count}-{order.filled_quantity}")
        venue = order.venue_order_id or VenueOrderId("")
        order.book_fill(FillKey(ACCOUNT, "CME", venue, fill_id), quantity, price)
        is_whole = order.filled_quantity >= order.quantity
        self._table.step(order, Step.FILL_ALL if is_whole else Step.FILL_PART)

        def event(fields: order_events.Common) -> OrderFilled:
            return OrderFilled(
                **fields,
                venue_order_id=venue,
                fill_id=fill_id,
                side=order.side,
                last_quantity=quantity,
                last_price=price,
                filled_quantity=order.filled_quantity,
                leaves_quantity=order.leaves_quantity,
                average_price=order.average_price or price,
                commission=from_micros(COMMISSION_MICROS * quantity),
            )

        self._commit(order, event)

    def _commit(self, order: Order, event: Callable[[order_events.Common], OrderEvent]) -> None:
        order.ts_last_ns = self.tick()
        message = event(order_events.common(order, self._now_ns, self.journal.next_event_id()))
        fill = order_events.fill_report(message) if isinstance(message, OrderFilled) else None
        self.journal.write_order(
            order, [(message.event_id, message)], None if fill is None else (fill, ACCOUNT), self._now_ns
        )


def make_journal(folder: Path, *, orders: int = 300, seed: int = 1, is_closed: bool = True) -> Journal:
    """A journal with orders of every kind and a row at least in each table."""
    folder.mkdir(exist_ok=True)
    journal = Journal.open(str(folder), system_name=SYSTEM, durability="process")
    journal.claim(ACCOUNT)
    trading = Trading(journal, seed)
    for _ in range(orders):
        trading.order()
    sma, quoter = (StrategyId(name) for name in STRATEGIES)
    journal.write_pause(sma, "lunch", trading.tick())
    journal.write_risk_state({"rejects": '{"counts":{}}'}, trading.tick())
    for state in (TradingState.REDUCING, TradingState.ACTIVE, TradingState.HALTED, TradingState.ACTIVE):
        journal.write_trading_state(state, "test", trading.tick())
    journal.write_last_will(LastWill(quoter, "flatten", "CRASHED", 5, is_done=False), trading.tick())
    roll = PositionRoll("roll-1", sma, "ES.front", "ESU6", "ESZ6", reopens=True, begun_ns=trading.tick())
    journal.write_roll(roll, trading.tick())
    journal.write_roll(roll._replace(roll_id="roll-2", state=RollState.DONE), trading.tick())
    if is_closed:
        journal.close()
    return journal


def killed_journal(folder: Path, *, orders: int = 60, seed: int = 1) -> None:
    """The same as the kill of an order plant leaves it."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as other:
        journal = make_journal(Path(other) / "s", orders=orders, seed=seed, is_closed=False)
        shutil.copytree(Path(other) / "s", folder, dirs_exist_ok=True)
        journal.close()


class Damage(NamedTuple):
    """What becomes of a file: a stretch of it (from and length, in parts of the whole) is overwritten or cut off."""

    kind: str
    place: float
    length: int
    noise: int
    in_wal: bool

    def apply(self, path: Path) -> None:
        """Do it."""
        content = bytearray(path.read_bytes())
        begin = int(self.place * len(content))
        noise = random.Random(self.noise)
        match self.kind:
            case "bit":
                content[begin] ^= 1 << self.noise % 8
            case "bytes":
                for _ in range(self.length % 30 + 1):
                    content[noise.randrange(len(content))] = noise.randrange(256)
            case "zeros":
                content[begin : begin + self.length] = bytes(len(content[begin : begin + self.length]))
            case "noise":
                content[begin : begin + self.length] = noise.randbytes(len(content[begin : begin + self.length]))
            case _:
                del content[begin:]
        path.write_bytes(content)


def damages() -> st.SearchStrategy[Damage]:
    """Any of them."""
    return st.builds(
        Damage,
        kind=st.sampled_from(["bit", "bit", "bytes", "zeros", "noise", "cut"]),
        place=st.floats(0, 1, exclude_max=True),
        length=st.integers(1, 9000),
        noise=st.integers(0, 1 << 32),
        in_wal=st.booleans(),
    )


def tables_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a journal, oldest first where that has a meaning."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def mend(folder: Path, *, is_dry: bool = False, system_name: Callable[[], str] = lambda: SYSTEM) -> dict[str, Any]:
    """Repair the journal in a folder."""
    return repair(
        str(folder),
        name="test",
        config_file="test.yaml",
        strategies=STRATEGIES,
        system_name=system_name,
        now_ns=NOW_NS,
        is_dry=is_dry,
    )


def leaves(folder: Path, table: str) -> list[int]:
    """The pages that hold a table's rows."""
    with closing(Pages(str(journal_of(folder)))) as pages:
        (root,) = (row.values[3] for row in Tree(pages, 1).rows() if isinstance(row, Row) and row.values[1] == table)
        assert isinstance(root, int)
        tree = Tree(pages, root)
        assert list(tree.rows())
        return sorted(page for page in tree.visited if pages.page(page)[0] in (LEAF_TABLE, LEAF_INDEX))


def overwrite(folder: Path, page: int, content: bytes = b"\xa5" * 4096) -> None:
    """Spoil one page of the file."""
    path = journal_of(folder)
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * 4096 : (page - 1) * 4096 + len(content)] = content
    path.write_bytes(whole)


def journal_of(folder: Path) -> Path:
    """The journal in a folder of state."""
    return folder / FILE_NAME


def without_later_columns(version: int) -> str:
    """The statements that take away from this version's tables the columns that an earlier one did not have."""
    found = []
    for since, (_, statements) in MIGRATIONS.items():
        if int(since) >= version:
            found += re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", statements)
    taken = "".join(f"ALTER TABLE {table} DROP COLUMN {column};" for table, column in found)
    return taken + ("DROP TABLE risk_state;" if version < 5 else "")
