"""The log's summary: the oracle for tests."""

from collections import Counter
from pathlib import Path

import msgspec

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import Completion, NewOrder, OrderEventKind, PositionSettled
from nightdesk.simulator.venue.day_book import KINDS as DAY_KINDS
from nightdesk.simulator.venue.day_book import day_event
from nightdesk.simulator.venue.log_file import (
    BRACKET,
    LINK,
    PRICE,
    SESSION,
    SNAPSHOT,
    SNAPSHOT_END,
    damaged_record,
    read_records,
)

_OF_NO_ORDER = frozenset({BRACKET, LINK, PRICE, SESSION, SNAPSHOT, SNAPSHOT_END})


class FillSummary(msgspec.Struct, frozen=True):
    """One execution as the log has it."""

    fill_id: str
    basket_id: str
    user_tag: str
    symbol: str
    side: Side
    price: float
    quantity: int


class OrderSummary(msgspec.Struct, frozen=True):
    """One order as its newest record in the log has it."""

    user_tag: str
    symbol: str
    state: str
    """One of the keys of ``AccountSummary.orders_by_state``."""
    filled_quantity: int


class AccountSummary(msgspec.Struct):
    """What the log says of one account."""

    orders_by_state: Counter[str]
    """Keys RECEIVED, TRIGGER_PENDING, OPEN, FILLED, CANCELED, FAILED."""
    user_tags: Counter[str]
    """How often an order with this tag was received; more than once is a fault."""
    fills: list[FillSummary]
    positions: Counter[str]
    """Net quantity by symbol; a flat one has 0."""
    orders: dict[str, OrderSummary] = msgspec.field(default_factory=dict)
    """Every order by its basket id."""


def read_summary(path: Path | str) -> dict[str, AccountSummary]:
    """The accounts as the log alone has them; the oracle against which journals are compared.

    Of a log that was replaced by a snapshot: the orders that were kept, and all positions.
    """
    terms: dict[str, NewOrder] = {}
    states: dict[str, str] = {}
    accounts: dict[str, AccountSummary] = {}
    in_snapshot = False
    for number, record in read_records(path):
        try:
            if record["k"] in DAY_KINDS:
                event = day_event(record)
                if isinstance(event, PositionSettled):
                    accounts[event.account_id].positions[event.symbol] -= event.net_quantity
                continue
            if record["k"] in _OF_NO_ORDER:
                in_snapshot = record["k"] == SNAPSHOT or (in_snapshot and record["k"] != SNAPSHOT_END)
                if record["k"] == SNAPSHOT:
                    for account, positions in record["positions"].items():
                        net = Counter({symbol: int(values[0]) for symbol, values in positions.items()})
                        accounts[account] = AccountSummary(Counter(), Counter(), [], net)
                continue
            kind, basket_id = OrderEventKind(record["k"]), record["b"]
            if kind in (OrderEventKind.RECEIVED, OrderEventKind.RETAGGED):
                terms[basket_id] = msgspec.convert(record["o"], NewOrder)
            order = terms[basket_id]
            summary = accounts.setdefault(order.account_id, AccountSummary(Counter(), Counter(), [], Counter()))
            if kind is OrderEventKind.RECEIVED:
                summary.user_tags[order.user_tag] += 1
            completion = record["p"][7]
            states[basket_id] = Completion(completion).name if completion else record["p"][0]
            summary.orders[basket_id] = OrderSummary(order.user_tag, order.symbol, states[basket_id], record["p"][5])
            if kind is OrderEventKind.FILLED:
                fill_id, price, quantity, _ = record["f"]
                summary.fills.append(
                    FillSummary(fill_id, basket_id, order.user_tag, order.symbol, order.side, price, quantity)
                )
                if not in_snapshot:
                    summary.positions[order.symbol] += quantity if order.side is Side.BUY else -quantity
        except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
            raise damaged_record(path, number, error) from error
    for basket_id, state in states.items():
        accounts[terms[basket_id].account_id].orders_by_state[state] += 1
    return accounts
