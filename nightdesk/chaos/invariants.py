"""The invariants I1 to I4, which are about orders, fills and positions; and what a verdict is. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from nightdesk.chaos.books import ExchangeOrder, FillKey, JournalOrder, Place
from nightdesk.chaos.evidence import Evidence

TOLD_MAX = 20
"""Findings of one invariant that a report shows; they are counted all the same."""


class Verdict(NamedTuple):
    """Whether one invariant holds, and by what."""

    name: str
    title: str
    looked_at: int
    """Things that were looked at; where there were none nothing is proven."""
    evidence: str
    found: tuple[str, ...]
    """What breaks it, in words."""

    @property
    def holds(self) -> bool:
        """Nothing breaks it, and there was something that could have."""
        return self.looked_at > 0 and not self.found


def verdict(name: str, title: str, looked_at: int, evidence: str, found: Iterable[str]) -> Verdict:
    """One verdict; where nothing was looked at the evidence says so."""
    told = evidence if looked_at else f"nothing was looked at ({evidence})"
    return Verdict(name, title, looked_at, told, tuple(found))


def each_order_has_one_row(evidence: Evidence) -> Verdict:
    """I1: by the broker's id or by our tag; and both say that it is over, with the same quantity filled."""
    by_venue: dict[str, list[JournalOrder]] = defaultdict(list)
    by_id: dict[str, JournalOrder] = {}
    for row in evidence.journal.orders:
        by_id[row.client_order_id] = row
        if row.venue_order_id is not None:
            by_venue[row.venue_order_id].append(row)
    found: list[str] = []
    for order in evidence.exchange.orders:
        rows = {row.client_order_id: row for row in by_venue.get(order.venue_order_id, ())}
        if order.user_tag in by_id:
            rows[order.user_tag] = by_id[order.user_tag]
        found += _faults_of(order, list(rows.values()))
    known = {order.venue_order_id for order in evidence.exchange.orders}
    for row in evidence.journal.orders:
        if row.venue_order_id is not None and row.venue_order_id not in known:
            found.append(f"{row.client_order_id}: the exchange has no order {row.venue_order_id}")
        elif not row.is_final:
            found.append(f"{row.client_order_id}: is {row.status} in the journal after everything was canceled")
    text = f"{len(evidence.exchange.orders)} orders at the exchange, {len(evidence.journal.orders)} rows"
    title = "each order at the exchange has exactly one journal row"
    return verdict("I1", title, len(evidence.exchange.orders), text, found)


def _faults_of(order: ExchangeOrder, rows: list[JournalOrder]) -> list[str]:
    name = f"{order.user_tag or 'of somebody else'} ({order.venue_order_id})"
    # One of somebody else's that never filled concerns nobody here; more than one row for it is wrong all the same.
    is_ours = bool(order.user_tag) or order.filled_quantity > 0
    if len(rows) != 1:
        return [f"{name}: {len(rows)} journal rows"] if is_ours or len(rows) > 1 else []
    (row,) = rows
    if row.venue_order_id != order.venue_order_id:
        return [f"{name}: its row names {row.venue_order_id or 'no order of the broker'}, status {row.status}"]
    if row.filled_quantity != order.filled_quantity:
        return [f"{name}: {row.filled_quantity} filled in the journal, {order.filled_quantity} at the exchange"]
    if not order.is_final:
        return [f"{name}: is {order.state} at the exchange after everything was canceled"]
    return []


def no_tag_came_twice(evidence: Evidence) -> Verdict:
    """I2: by the wire log, which has requests that a fault lost too, and by the log, which a kill spares."""
    found = [f"{tag}: in {count} requests for a new order" for tag, count in evidence.received.items() if count > 1]
    found += [f"{tag}: taken as {count} orders" for tag, count in evidence.exchange.tags.items() if count > 1]
    looked_at = len(evidence.received.keys() | evidence.exchange.tags.keys())
    text = f"{evidence.received.total()} requests by the wire log, {evidence.exchange.tags.total()} orders by the log"
    return verdict("I2", "no user_tag was received twice", looked_at, text, found)


def positions_agree(evidence: Evidence) -> Verdict:
    """I3: journal and exchange; what the order plant said; and what each strategy believes of itself."""
    journal = evidence.journal.positions()
    found = [f"journal: {text}" for text in differences(journal, evidence.exchange.positions)]
    found += [f"order plant: {text}" for text in differences(evidence.system_positions, evidence.exchange.positions)]
    own = evidence.journal.positions_by_strategy()
    told = evidence.strategy_positions
    believed = {place: own[place] for place in told}
    found += [f"strategy: {text}" for text in differences(told, believed, "itself", "journal")]
    held = {" ".join(place): quantity for place, quantity in sorted(evidence.exchange.positions.items()) if quantity}
    text = f"at the exchange {held or 'flat'}; {len(told)} positions told by strategies"
    return verdict("I3", "journal position = exchange position", len(evidence.exchange.positions), text, found)


def differences(
    ours: Counter[Place] | dict[Place, int],
    theirs: Counter[Place] | dict[Place, int],
    here: str = "here",
    there: str = "exchange",
) -> list[str]:
    """Every place where two books hold something else; what one does not name is flat there."""
    return [
        f"{' '.join(place)}: {ours.get(place, 0)} {here}, {theirs.get(place, 0)} {there}"
        for place in sorted(ours.keys() | theirs.keys())
        if ours.get(place, 0) != theirs.get(place, 0)
    ]


def each_fill_is_booked_once(evidence: Evidence) -> Verdict:
    """I4: the same executions at the same quantities and prices, each once; none missing, none invented."""
    theirs = Counter(evidence.exchange.fills)
    ours = Counter(fill.key for fill in evidence.journal.fills)
    found = [f"told twice by the exchange: {_words(key)}" for key, count in theirs.items() if count > 1]
    found += [f"booked twice: {_words(key)}" for key, count in ours.items() if count > 1]
    found += [f"missing in the journal: {_words(key)}" for key in theirs.keys() - ours.keys()]
    found += [f"only in the journal: {_words(key)}" for key in ours.keys() - theirs.keys()]
    text = f"{theirs.total()} fills at the exchange, {ours.total()} in the journal"
    return verdict("I4", "no fill is applied twice, none is missing", theirs.total(), text, found)


def _words(key: FillKey) -> str:
    account_id, venue_order_id, fill_id, quantity, price = key
    return f"{account_id} order {venue_order_id} fill {fill_id}: {quantity} at {price}"


class Losses(NamedTuple):
    """The three numbers that must be zero."""

    duplicates: int
    """Tags that were received twice, and executions that were booked twice."""
    lost: int
    """Orders at the exchange without a row, and executions that the journal lacks."""
    position_differences: int


def losses(evidence: Evidence) -> Losses:
    """Counted from the books, apart from the verdicts."""
    tags = {tag for book in (evidence.received, evidence.exchange.tags) for tag, count in book.items() if count > 1}
    ours = Counter(fill.key for fill in evidence.journal.fills)
    theirs = Counter(evidence.exchange.fills)
    ids = {row.client_order_id for row in evidence.journal.orders}
    venue = {row.venue_order_id for row in evidence.journal.orders}
    orders = [
        order
        for order in evidence.exchange.orders
        if (order.user_tag or order.filled_quantity) and order.user_tag not in ids and order.venue_order_id not in venue
    ]
    return Losses(
        duplicates=len(tags) + sum(count - 1 for count in ours.values()),
        lost=len(orders) + len(theirs.keys() - ours.keys()),
        position_differences=len(differences(evidence.journal.positions(), evidence.exchange.positions)),
    )
