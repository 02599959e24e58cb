"""The two books side by side: the exchange's own log (the oracle) and the order plant's journal."""

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.messages.enums import OrderStatus
from nightdesk.simulator.venue.log import AccountSummary, read_summary
from nightdesk.trading.strategy_orders import FINISHED

EXCHANGE_LOG = "exchange.log"
JOURNAL = "journal.db"
NANOS = 1_000_000_000

COMPLETE_STATES = frozenset({"FILLED", "CANCELED", "FAILED"})
"""What the exchange's log says of an order that is over."""

FillKey = tuple[str, str, str, int, float]
"""Account, the broker's id of the order, the fill's id, contracts, price."""

Place = tuple[str, str]
"""Account and symbol."""


class JournalOrder(NamedTuple):
    """One row of the journal."""

    client_order_id: str
    strategy_id: str
    account_id: str
    symbol: str
    status: str
    venue_order_id: str | None
    filled_quantity: int

    @property
    def is_final(self) -> bool:
        """Whether it is over."""
        return self.status in FINISHED


class JournalFill(NamedTuple):
    """One execution of the journal; ``signed_quantity`` is negative for a sale."""

    key: FillKey
    strategy_id: str
    symbol: str
    signed_quantity: int


class JournalBook(NamedTuple):
    """What the order plant has written."""

    orders: list[JournalOrder]
    fills: list[JournalFill]

    def positions(self) -> Counter[Place]:
        """Net positions of the account."""
        found: Counter[Place] = Counter()
        for fill in self.fills:
            found[fill.key[0], fill.symbol] += fill.signed_quantity
        return found

    def positions_by_strategy(self) -> Counter[Place]:
        """Net positions by strategy and symbol."""
        found: Counter[Place] = Counter()
        for fill in self.fills:
            found[fill.strategy_id, fill.symbol] += fill.signed_quantity
        return found


class ExchangeOrder(NamedTuple):
    """One order of the exchange's log."""

    venue_order_id: str
    account_id: str
    user_tag: str
    symbol: str
    state: str
    filled_quantity: int

    @property
    def is_final(self) -> bool:
        """Whether it is over."""
        return self.state in COMPLETE_STATES


class ExchangeBook(NamedTuple):
    """What the exchange has written."""

    orders: list[ExchangeOrder]
    fills: list[FillKey]
    tags: Counter[str]
    """How often an order with each tag was taken; those without a tag are left out."""
    positions: Counter[Place]


def exchange_accounts(state_dir: Path) -> dict[str, AccountSummary]:
    """The accounts by the exchange's log; none before it has begun one."""
    path = state_dir / EXCHANGE_LOG
    return read_summary(path) if path.exists() else {}


def exchange_book(state_dir: Path) -> ExchangeBook:
    """The whole log. Raises ``JournalError`` for a damaged one."""
    book = ExchangeBook([], [], Counter(), Counter())
    for account_id, summary in exchange_accounts(state_dir).items():
        for basket_id, order in summary.orders.items():
            terms = (account_id, order.user_tag, order.symbol, order.state, order.filled_quantity)
            book.orders.append(ExchangeOrder(basket_id, *terms))
        book.fills.extend(
            (account_id, fill.basket_id, fill.fill_id, fill.quantity, fill.price) for fill in summary.fills
        )
        book.tags.update({tag: count for tag, count in summary.user_tags.items() if tag})
        book.positions.update({(account_id, symbol): net for symbol, net in summary.positions.items()})
    return book


def journal_rows(state_dir: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the journal, which may be in use; nothing is changed."""
    connection = sqlite3.connect(f"file:{state_dir / JOURNAL}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def journal_fill_counts(state_dir: Path) -> Counter[tuple[str, str, int, float]]:
    """Each execution without its account, with how often it is there."""
    rows = journal_rows(state_dir, "SELECT venue_order_id, fill_id, quantity, price_nanos FROM fills")
    return Counter((order, fill, quantity, price_nanos / NANOS) for order, fill, quantity, price_nanos in rows)


def journal_book(state_dir: Path) -> JournalBook:
    """Every order but those that never left (denied), and every execution."""
    columns = "client_order_id, strategy_id, account_id, symbol, status, venue_order_id, filled_quantity"
    orders = journal_rows(state_dir, f"SELECT {columns} FROM orders WHERE status != '{OrderStatus.DENIED}'")
    fills = journal_rows(
        state_dir,
        "SELECT account_id, venue_order_id, fill_id, quantity, price_nanos, strategy_id, symbol, side FROM fills",
    )
    return JournalBook([JournalOrder(*row) for row in orders], [_fill(*row) for row in fills])


def _fill(
    account_id: str,
    venue_order_id: str,
    fill_id: str,
    quantity: int,
    price_nanos: int,
    strategy_id: str,
    symbol: str,
    side: str,
) -> JournalFill:
    key = (account_id, venue_order_id, fill_id, quantity, price_nanos / NANOS)
    return JournalFill(key, strategy_id, symbol, quantity if side == "BUY" else -quantity)
