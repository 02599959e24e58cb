"""What the exchange has decided about its contracts' days, as its log has it: listed, settled, expired."""

from collections.abc import Iterator
from typing import Any

import msgspec

from nightdesk.simulator.model import DayEvent, Expired, Listed, PositionSettled, Settled

KINDS: dict[str, type[DayEvent]] = {
    "LISTED": Listed,
    "SETTLED": Settled,
    "POSITION_SETTLED": PositionSettled,
    "EXPIRED": Expired,
}
"""The kinds of the log's records, and what they tell."""

_KIND_OF = {event: kind for kind, event in KINDS.items()}


def day_record(event: DayEvent) -> dict[str, Any]:
    """An event as the log has it."""
    return {"k": _KIND_OF[type(event)], "c": msgspec.to_builtins(event), "t": event.ts_ns}


def day_event(record: dict[str, Any]) -> DayEvent | None:
    """What a record of the log tells; None: it is of another kind. Raises as ``msgspec.convert`` does."""
    event = KINDS.get(record["k"])
    return None if event is None else msgspec.convert(record["c"], event)


class DayBook:
    """Mutable; by symbol."""

    def __init__(self) -> None:
        self.listed: dict[str, Listed] = {}
        self.settled: dict[str, Settled] = {}
        """The newest settlement."""
        self.expired: dict[str, Expired] = {}

    def take(self, event: DayEvent) -> None:
        """Remember what was decided; positions are the ledger's."""
        if isinstance(event, Listed):
            self.listed[event.symbol] = event
        elif isinstance(event, Settled):
            self.settled[event.symbol] = event
        elif isinstance(event, Expired):
            self.expired[event.symbol] = event

    def records(self) -> Iterator[dict[str, Any]]:
        """What a snapshot of the log keeps."""
        for events in (self.listed, self.settled, self.expired):
            for event in events.values():
                yield day_record(event)
