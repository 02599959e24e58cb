"""What the exchange sent, from its own wire log: the other side of the count of ticks."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nightdesk.simulator.wire.wire_log import Kind
from nightdesk.simulator.wire.wire_log_reader import TICKS, WireLogReader

TICKER = 1
LAST_TRADE = 150
NANOS = 1_000_000_000
MICROS = 1_000


@dataclass
class Tape:
    """Ticks by their keys; a trade's is time, price, quantity, a quote's its time in microseconds."""

    trades: Counter[tuple[int, float, int]] = field(default_factory=Counter)
    quotes: Counter[int] = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What a witness wrote."""
        tape = cls()
        for line in path.read_text().splitlines():
            _, kind, first, *rest = line.split()
            if kind == "T":
                tape.trades[int(first), float(rest[0]), int(rest[1])] += 1
            elif kind == "Q":
                tape.quotes[int(first) // MICROS] += 1
        return tape

    @classmethod
    def sent(cls, state_dir: Path, from_ns: int, to_ns: int) -> Self:
        """What the exchange sent to the ticker plant between two times, by its own wire log; images do not count."""
        tape = cls()
        log = WireLogReader(state_dir)
        ticker = {number for number, each in log.connections().items() if each.plant == TICKER}
        for record in log.records(from_ns):
            if record.ts_ns > to_ns:
                break
            if record.kind is not Kind.SENT or record.template_id not in TICKS or ticker.isdisjoint(record.connections):
                continue
            message = record.message
            if message.is_snapshot:
                continue
            if record.template_id == LAST_TRADE:
                ts_ns = message.source_ssboe * NANOS + message.source_nsecs
                tape.trades[ts_ns, message.trade_price, message.trade_size] += 1
            else:
                tape.quotes[message.ssboe * 1_000_000 + message.usecs] += 1
        return tape

    def missing_from(self, seen: "Tape") -> tuple[int, int, int]:
        """How many of our trades and quotes another tape does not have, and how many we have."""
        trades, quotes = self.trades - seen.trades, self.quotes - seen.quotes
        return trades.total(), quotes.total(), self.trades.total() + self.quotes.total()


class Reference:
    """The time in which every tick counts."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._from_ns = 0
        self._to_ns = 0
        self.running = False

    def start(self) -> None:
        """From now on."""
        self._from_ns = time.time_ns()
        self.running = True

    def stop(self) -> None:
        """Until now; a second call changes nothing."""
        if self.running:
            self._to_ns = time.time_ns()
            self.running = False

    @property
    def tape(self) -> Tape:
        """What the exchange sent in that time; read a moment after it, when the exchange has written it down."""
        return Tape.sent(self._state_dir, self._from_ns, self._to_ns)
