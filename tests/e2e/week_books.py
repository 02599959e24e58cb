"""The books of a simulated week, cut at each close: the exchange's log, the journal, the wire, the log's lines."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Set
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nightdesk.simulator.venue.log_file import read_records
from nightdesk.simulator.wire.wire_log import Kind
from nightdesk.simulator.wire.wire_log_reader import TICKS, WireLogReader
from nightdesk.simulator.wire.wire_log_reader import read_records as read_wire
from tests.e2e.harness import System

NS = 1_000_000_000
USEC_NS = 1_000
TRADE, QUOTE = 150, 151
FORCED_LOGOUT = 77
CROSSED = timedelta(seconds=1)
"""Of this machine's time: an order that was decided on before a close may come to the gate so late."""
PLANT_NUMBERS = {"ticker": 1, "order": 2, "history": 3, "pnl": 4}
"""The wire's numbers of the plants."""


def fills_at_exchange(state_dir: Path, until_ns: int) -> Counter[tuple[str, str, int, float]]:
    """Executions until a moment of market time: order, fill, quantity, price."""
    return Counter(
        (record["b"], record["f"][0], record["f"][2], record["f"][1])
        for _, record in read_records(state_dir / "exchange.log")
        if record["k"] == "FILLED" and record["t"] <= until_ns
    )


def fills_in_journal(state_dir: Path, until_ns: int) -> Counter[tuple[str, str, int, float]]:
    query = "SELECT venue_order_id, fill_id, quantity, price_nanos FROM fills WHERE ts_event_ns <= ?"
    with sqlite3.connect(f"file:{state_dir / 'journal.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute(query, (until_ns,)).fetchall()
    return Counter((order, fill, quantity, nanos / NS) for order, fill, quantity, nanos in rows)


def working_day_orders(state_dir: Path, at_ns: int) -> list[str]:
    """DAY orders that stood at the exchange at a moment of market time, by its log."""
    durations: dict[str, str] = {}
    finished: dict[str, bool] = {}
    for _, record in read_records(state_dir / "exchange.log"):
        if "b" not in record or "p" not in record or record["t"] > at_ns:
            continue
        if "o" in record:
            durations[record["b"]] = record["o"]["time_in_force"]
        finished[record["b"]] = record["p"][7] is not None
    return [order for order, is_finished in finished.items() if not is_finished and durations[order] == "DAY"]


def differences_at(state_dir: Path, close_ns: int, settled_ns: int) -> list[str]:
    """Disagreements at a close; ``settled_ns`` is a moment shortly after it."""
    theirs, ours = fills_at_exchange(state_dir, close_ns), fills_in_journal(state_dir, close_ns)
    found = [f"fills only at the exchange: {theirs - ours}; only here: {ours - theirs}"] if theirs != ours else []
    left = working_day_orders(state_dir, settled_ns)
    return found + ([f"DAY orders stand after the close: {left}"] if left else [])


def unfinished_day_orders(state_dir: Path, created_before_ns: int) -> list[str]:
    """DAY orders of the journal that were sent before a close and have not ended."""
    query = (
        "SELECT client_order_id FROM orders WHERE time_in_force = 'DAY' AND broker_ts_ns < ? "
        "AND status NOT IN ('DENIED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')"
    )
    with sqlite3.connect(f"file:{state_dir / 'journal.db'}?mode=ro", uri=True) as connection:
        return [row[0] for row in connection.execute(query, (created_before_ns,)).fetchall()]


def tick_times(state_dir: Path) -> Iterator[tuple[int, int]]:
    """Template and event time of every live trade and quote that the exchange sent."""
    for record in read_wire(state_dir):
        if record.kind is Kind.SENT and record.template_id in TICKS and record.template_id is not None:
            message = record.message
            if not message.is_snapshot:
                yield record.template_id, message.ssboe * NS + message.usecs * USEC_NS


def ticks_outside(
    state_dir: Path, trading: list[tuple[int, int]], orders: list[tuple[int, int]]
) -> tuple[Counter[int], list[tuple[int, int]]]:
    """How many trades and quotes were sent, and those at times at which there can be none."""
    counts: Counter[int] = Counter()
    outside = []
    for template, ts_ns in tick_times(state_dir):
        counts[template] += 1
        if not any(begins <= ts_ns <= ends for begins, ends in (trading if template == TRADE else orders)):
            outside.append((template, ts_ns))
    return counts, outside


def links_at_exchange(state_dir: Path) -> dict[str, tuple[int, int]]:
    """Of each plant, by the wire log: logins, and how many of them the exchange ended by a forced logout."""
    reader = WireLogReader(state_dir)
    forced = {number for record in reader.sent(FORCED_LOGOUT) for number in record.connections}
    found = {}
    for plant, number in PLANT_NUMBERS.items():
        own = [each.number for each in reader.connections().values() if each.user and each.plant == number]
        found[plant] = (len(own), len(forced.intersection(own)))
    return found


def uncalled_for(system: System, expected: Set[str]) -> list[dict[str, Any]]:
    """Alerts beyond those that are expected: names, or the codes of denials.

    An order that crossed with the close is denied, and rightly told: it was on its way when trading ended.
    """
    ends = [_time(each) for each in system.events("exchange_market_mode") if each["mode"] in ("Closed", "Halted")]

    def crossed(line: dict[str, Any]) -> bool:
        is_denial = line["alert_event"] == "order_denied" and line["fields"].get("code") == "SESSION_CLOSED"
        return is_denial and any(timedelta() <= _time(line) - end <= CROSSED for end in ends)

    return [
        line
        for line in system.events("alert")
        if not expected & {line["alert_event"], line["fields"].get("code")} and not crossed(line)
    ]


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def troubled_lines(system: System) -> list[dict[str, Any]]:
    """Log lines that call for a person, or of books that differ though nobody was hurt."""
    lines = list(system.lines)
    return [line for line in lines if line.get("level") in ("error", "critical") or line.get("event") == "list_differs"]


def dump(lines: list[Any]) -> str:
    return "\n".join(json.dumps(each, default=str) for each in lines)
