"""What the tests of replays share: a naive market that records itself, and tapes written as short lines."""

from pathlib import Path
from typing import Any

from nightdesk.settings.models import ReplaySource
from nightdesk.simulator.flows.mbo import Message
from nightdesk.simulator.flows.players import record
from nightdesk.simulator.flows.replay import ReplayFlow
from nightdesk.simulator.model import VenueEvent
from nightdesk.simulator.venue.matching import Matched, Outcome
from nightdesk.simulator.venue.replay_book import ReplayBook
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ES, quiet_venue

MBO_HEADER = "ts_event_ns,action,side,price,size,order_id,flags"
_SIDES = {"B": 1, "A": -1, "N": 0}


def messages(*lines: str) -> list[Message]:
    """``T A 100 3`` is a trade, ``A B 100 5 #7`` an order with its number; prices are ticks."""
    found = []
    for number, line in enumerate(lines, 1):
        action, side, price, size, *order_id = line.split()
        found.append(
            Message(number, action, _SIDES[side], int(price), int(size), int(order_id[0][1:]) if order_id else 0)
        )
    return found


def play(book: ReplayBook, *lines: str | Message) -> list[tuple[int, int]]:
    """One event; the clients' fills as price and quantity."""
    for each in lines:
        record(book, messages(each)[0] if isinstance(each, str) else each)
    return fills(book.end_event())


def fills(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    return [(outcome.price, outcome.quantity) for outcome in outcomes if isinstance(outcome, Matched)]


def mbo_csv(path: Path, events: list[list[str]], *, snapshot: list[str] | None = None) -> Path:
    """A tape of order messages; each event has the second of its place, prices are ticks of ES."""
    lines = [MBO_HEADER]
    for index, event in enumerate([*([snapshot] if snapshot else []), *events]):
        rows = messages(*event)
        for place, row in enumerate(rows):
            is_snapshot = snapshot is not None and not index
            flags = 40 if is_snapshot else 128 if place == len(rows) - 1 else 0
            side = {1: "B", -1: "A", 0: "N"}[row.side]
            price = f"{row.price * ES.tick_size:.2f}"
            lines.append(f"{index * 10**9},{row.action},{side},{price},{row.size},{row.order_id},{flags}")
    return text_file(path, "\n".join(lines) + "\n")


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def replay(path: Path | None = None, venue: Venue | None = None, **source: Any) -> tuple[Venue, ReplayFlow]:
    """A flow of one tape on ES, or of the tapes that are given."""
    venue = venue or quiet_venue()
    if path is not None:
        source = {"path": str(path), "symbol": ES.symbol, **source}
    return venue, ReplayFlow(ReplaySource(kind="replay", **source), venue)


def step(flow: ReplayFlow) -> list[VenueEvent]:
    found = flow.next()
    assert found is not None
    return found[1]()


def play_all(flow: ReplayFlow) -> list[VenueEvent]:
    events: list[VenueEvent] = []
    while (found := flow.next()) is not None:
        events += found[1]()
    return events


class NaiveMarket:
    """Single orders in a list, oldest place first; matches by search and records what the exchange would publish."""

    def __init__(self) -> None:
        self.orders: list[list[int]] = []
        """Number, side (1 or -1), price, size."""

    def levels(self, side: int) -> list[tuple[int, int, int]]:
        """Price, size and number of orders, the best first."""
        prices = sorted({order[2] for order in self.orders if order[1] == side}, reverse=side > 0)
        return [
            (price, sum(sizes), len(sizes))
            for price in prices
            for sizes in [[order[3] for order in self.orders if order[1:3] == [side, price]]]
        ]

    def enter(self, number: int, side: int, price: int, size: int, *, is_known: bool = False) -> list[Message]:
        """A new limit order, or one that was modified and is entered anew."""
        trades: list[Message] = []
        changes: list[Message] = []
        while size:
            makers = [order for order in self.orders if order[1] == -side and (price - order[2]) * side >= 0]
            if not makers:
                break
            maker = min(makers, key=lambda order: order[2] * side)
            quantity = min(size, maker[3])
            size -= quantity
            maker[3] -= quantity
            trades.append(Message(0, "T", side, maker[2], quantity, number))
            if is_known:
                trades.append(Message(0, "F", side, maker[2], quantity, number))
            trades.append(Message(0, "F", -side, maker[2], quantity, maker[0]))
            if maker[3]:
                changes.append(Message(0, "M", -side, maker[2], maker[3], maker[0]))
            else:
                changes.append(Message(0, "C", -side, maker[2], quantity, maker[0]))
                self.orders.remove(maker)
        if size:
            self.orders.append([number, side, price, size])
            changes.append(Message(0, "M" if is_known else "A", side, price, size, number))
        elif is_known:
            changes.append(Message(0, "C", side, price, 0, number))
        return trades + changes

    def cancel(self, number: int) -> list[Message]:
        for order in self.orders:
            if order[0] == number:
                self.orders.remove(order)
                return [Message(0, "C", order[1], order[2], order[3], number)]
        return []

    def modify(self, number: int, price: int, size: int) -> list[Message]:
        for order in self.orders:
            if order[0] != number:
                continue
            if price == order[2] and size <= order[3]:
                order[3] = size
                return [Message(0, "M", order[1], price, size, number)]
            self.orders.remove(order)
            return self.enter(number, order[1], price, size, is_known=True)
        return []
