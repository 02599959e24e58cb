"""What the two books say of an order at the moment of a death, and whether all is well at the end of a sweep."""

import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.chaos import invariants, invariants_life
from nightdesk.chaos.books import EXCHANGE_LOG, JOURNAL, exchange_book, journal_book
from nightdesk.chaos.evidence import Evidence, PlantLife
from nightdesk.chaos.gather import Wire
from nightdesk.messages import (
    OrderDenied,
    OrderEvent,
    OrderFilled,
    OrderInitialized,
    OrderStatus,
    OrderSubmitted,
)
from nightdesk.simulator.venue.log import read_summary
from tests.chaos.crash_rig import ACCOUNT, STRATEGY, SYMBOL, Rig

BESIDE = "journal.db-wal", "journal.db-shm"
NOT_WRITTEN = (OrderInitialized, OrderSubmitted, OrderDenied)
"""Told without an entry among the journal's events: the intent's own row holds them, or nothing hangs on them."""


class Exchanged(NamedTuple):
    """An order by the exchange's log."""

    received: int
    state: str
    """Empty for one that it does not know."""
    venue_order_id: str
    fills: frozenset[str]


class Books(NamedTuple):
    """Both at one moment; the journal as a file that nobody has open."""

    rows: dict[str, dict[str, Any]]
    booked: dict[str, frozenset[str]]
    """The fill ids of each order."""
    events: frozenset[int]
    exchange: dict[str, Exchanged]
    """By our tag; a bracket's exits, which the server makes without one, are left out."""
    notes: dict[str, str]
    """The journal's small things that are kept over restarts."""

    def row(self, client_order_id: str) -> dict[str, Any] | None:
        """The journal's row of an order."""
        return self.rows.get(client_order_id)

    def exchanged(self, client_order_id: str) -> Exchanged:
        """What the exchange has of it."""
        return self.exchange.get(client_order_id, Exchanged(0, "", "", frozenset()))

    def lacking(self, client_order_id: str) -> frozenset[str]:
        """Executions that the journal does not hold."""
        return self.exchanged(client_order_id).fills - self.booked.get(client_order_id, frozenset())


def read_books(rig: Rig) -> Books:
    """Of a dead plant a copy of the journal is read, so that looking at it mends nothing before the next plant does."""
    path = rig.state_dir / JOURNAL
    if rig.plant.dead.is_set():
        path = _copied(rig)
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")
        rows = {row["client_order_id"]: dict(row) for row in connection.execute("SELECT * FROM orders")}
        fills = connection.execute("SELECT client_order_id, fill_id FROM fills").fetchall()
        events = frozenset(row[0] for row in connection.execute("SELECT event_id FROM events"))
        notes = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        connection.close()
    assert sound == "ok", f"the journal is damaged: {sound}"
    booked = {name: frozenset(fill for owner, fill in fills if owner == name) for name in rows}
    return Books(rows, booked, events, _exchange(rig.state_dir), notes)


def _copied(rig: Rig) -> Path:
    folder = rig.folder / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (JOURNAL, *BESIDE):
        if (rig.state_dir / name).exists():
            shutil.copy(rig.state_dir / name, folder / name)
    return folder / JOURNAL


def _exchange(state_dir: Path) -> dict[str, Exchanged]:
    path = state_dir / EXCHANGE_LOG
    account = read_summary(path).get(ACCOUNT) if path.exists() else None
    if account is None:
        return {}
    found = {}
    for basket_id, order in account.orders.items():
        if not order.user_tag:
            continue
        fills = frozenset(fill.fill_id for fill in account.fills if fill.basket_id == basket_id)
        found[order.user_tag] = Exchanged(account.user_tags[order.user_tag], order.state, basket_id, fills)
    return found


def check_moment(rig: Rig, books: Books) -> None:
    """What must hold at every moment, also right after a death and before anybody has recovered anything."""
    for tag, exchanged in books.exchange.items():
        assert exchanged.received == 1, f"{tag} was received {exchanged.received} times"
        assert tag in books.rows, (
            f"{tag} is at the exchange and has no row in the journal: it was sent before its commit"
        )
    for name, fills in books.booked.items():
        extra = fills - books.exchanged(name).fills
        assert not extra, f"{name}: executions {extra} are booked that the exchange does not have"
    told = [each for each in rig.strategy.got if isinstance(each, OrderEvent) and not isinstance(each, NOT_WRITTEN)]
    early = [each for each in told if each.event_id and each.event_id not in books.events]
    # A change, a cancel or a question that is refused changes nothing: its answer is told and not kept.
    early = [each for each in early if not type(each).__name__.endswith(("ModifyRejected", "CancelRejected"))]
    assert not early, f"told before it was journalled: {early}"
    told_fills = Counter((each.venue_order_id, each.fill_id) for each in rig.strategy.of(OrderFilled))
    twice = [key for key, count in told_fills.items() if count > 1]
    assert not twice, f"fills told twice: {twice}"


def verdicts(rig: Rig) -> list[invariants.Verdict]:
    """I1 to I4 and I7 over the whole sweep, when the last plant is dead and nothing works any more."""
    wire = Wire()
    rig.exchange.wire_log.flush()
    wire.read(rig.state_dir)
    lines = [line for line in rig.log() if "timestamp" in line]
    stamps: dict[int, list[str]] = {}
    for line in lines:
        stamps.setdefault(line["incarnation"], []).append(line["timestamp"])
    evidence = Evidence(
        exchange=exchange_book(rig.state_dir),
        journal=journal_book(rig.state_dir),
        received=Counter({tag: count for tag, count in wire.tags.items() if tag}),
        system_positions={(ACCOUNT, SYMBOL): rig.strategy.position()},
        strategy_positions={(STRATEGY, SYMBOL): rig.strategy.position()},
        lines=[],
    )
    evidence.order_logins = wire.order_logins([])
    evidence.order_plants = len(rig.lives)
    evidence.plant_lives = [PlantLife(1, number, each[0], each[-1]) for number, each in stamps.items()]
    return [
        invariants.each_order_has_one_row(evidence),
        invariants.no_tag_came_twice(evidence),
        invariants.positions_agree(evidence),
        invariants.each_fill_is_booked_once(evidence),
        invariants_life.one_order_plant_lives(evidence),
    ]


def is_final(row: dict[str, Any] | None) -> bool:
    """Whether an order is over by its row."""
    final = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.DENIED)
    return row is not None and row["status"] in final
