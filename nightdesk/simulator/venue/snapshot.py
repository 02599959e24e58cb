"""The log's replacement by a snapshot: what a long-lived exchange still needs, in the log's own records."""

from collections.abc import Iterator
from typing import Any

import msgspec

from nightdesk.simulator.venue.client_order import ClientOrder, utc_date
from nightdesk.simulator.venue.counters import Counters
from nightdesk.simulator.venue.ledger import Ledger, Position, Scale, Turnover
from nightdesk.simulator.venue.log_file import BRACKET, LINK, SNAPSHOT, SNAPSHOT_END, order_record

LOG_BYTES_MAX = 64 * 1024 * 1024
"""A log that is larger at a start is replaced by a snapshot."""

DATES_KEPT = 2
"""Days (UTC) of finished orders that a snapshot keeps, counted back from the last one with an order."""

_POSITION_FIELDS = ("net", "cost_micros", "bought", "sold", "realized_micros", "commission_micros")


def records_of(
    orders: dict[str, ClientOrder],
    places: list[str],
    ledger: Ledger,
    counters: Counters,
    marks: dict[str, float],
    groups: list[tuple[str, ...]],
    brackets: list[Any],
) -> Iterator[dict[str, Any]]:
    """The records of a snapshot; the steps of the kept orders follow its head. ``brackets`` are the last reports."""
    kept = _kept(orders)
    yield {
        "k": SNAPSHOT,
        "counters": (counters.basket, counters.report, counters.sequence),
        "marks": marks,
        "positions": {
            account: {
                symbol: [*(getattr(position, field) for field in _POSITION_FIELDS), *position.before]
                for symbol, position in ledger.positions(account).items()
            }
            for account in ledger.accounts
        },
        "day": ledger.day_start(),
        "places": places,
    }
    for order in kept.values():
        for step in order.history:
            yield order_record(step)
    for ids in groups:
        legs = [kept[basket_id] for basket_id in ids if basket_id in kept]
        if legs:
            yield {"k": LINK, "b": [leg.basket_id for leg in legs], "t": 0, "f": [leg.linked_fills for leg in legs]}
    for changed in brackets:
        if changed.basket_id in kept:
            yield {"k": BRACKET, "c": msgspec.to_builtins(changed)}
    yield {"k": SNAPSHOT_END}


def restore_ledger(ledger: Ledger, record: dict[str, Any], scales: dict[str, Scale]) -> None:
    """Give a fresh ledger what a snapshot's head says."""
    for account, positions in record["positions"].items():
        ledger.add_account(account)
        for symbol, values in positions.items():
            position: Position = ledger.position(account, symbol, scales[symbol])
            count = len(_POSITION_FIELDS)
            for field, value in zip(_POSITION_FIELDS, values[:count], strict=True):
                setattr(position, field, int(value))
            # An older snapshot does not say what was traded before its day: the day's turnover begins with it.
            position.before = Turnover(*map(int, values[count:])) if values[count:] else position.turnover
    day, balances = record["day"]
    ledger.set_day_start(day, balances)


def _kept(orders: dict[str, ClientOrder]) -> dict[str, ClientOrder]:
    """Working orders, those of the last days, and those that working ones belong to (entries, linked orders)."""
    days = sorted({utc_date(order.ts_last_ns) for order in orders.values()})[-DATES_KEPT:]
    needed: set[str] = set()
    for order in orders.values():
        if order.completion is None or utc_date(order.ts_last_ns) in days:
            needed |= {order.basket_id, order.entry_id, *order.linked_ids}
    # Most orders have no entry.
    needed.discard("")
    for order in orders.values():
        # The exits of a kept entry tell how much of it is closed.
        if order.entry_id in needed:
            needed.add(order.basket_id)
    return {basket_id: order for basket_id, order in orders.items() if basket_id in needed}
