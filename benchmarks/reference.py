"""What the exchange sends, written down by a client of its own: the other side of the count of ticks."""

import asyncio
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from websockets.asyncio.client import connect

from nightdesk.settings.runtime import ExchangeEndpoint
from nightdesk.simulator.wire.framing import Framing
from tests.simulator_support import RawClient
from tests.support import wait_until

TICKER = 1
LAST_TRADE, BEST_BID_OFFER = 150, 151
BOTH = 3
HEARTBEAT, HEARTBEAT_S = 18, 20.0
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

    def missing_from(self, seen: "Tape") -> tuple[int, int, int]:
        """How many of our trades and quotes another tape does not have, and how many we have."""
        trades, quotes = self.trades - seen.trades, self.quotes - seen.quotes
        return trades.total(), quotes.total(), self.trades.total() + self.quotes.total()


class Reference(threading.Thread):
    """A second subscriber in this process; speaks the protocol through the exchange's own templates."""

    def __init__(self, runtime_dir: Path) -> None:
        super().__init__(daemon=True)
        self._runtime_dir = runtime_dir
        self._ending = threading.Event()
        self.tape = Tape()
        self.running = False

    def start(self) -> None:
        """Returns when the first tick is there."""
        super().start()
        wait_until(lambda: self.tape.trades, 30)
        self.running = True

    def stop(self) -> None:
        """End it; a second call changes nothing."""
        self.running = False
        self._ending.set()
        self.join(10)

    def run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        endpoint = ExchangeEndpoint.model_validate_json((self._runtime_dir / "exchange.json").read_bytes())
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        async with connect(endpoint.url, ssl=context, compression=None, max_queue=100_000) as socket:
            client = RawClient(socket, Framing.PREFIXED)
            login = {"user": endpoint.user, "password": endpoint.password, "system_name": endpoint.system_name}
            await client.login(TICKER, **login)
            await client.send(100, symbol="ESZ6", exchange="CME", request=1, update_bits=BOTH)
            loop = asyncio.get_running_loop()
            beat_at_s = loop.time() + HEARTBEAT_S
            while not self._ending.is_set():
                self._take(*await client.receive())
                if loop.time() > beat_at_s:
                    beat_at_s = loop.time() + HEARTBEAT_S
                    await client.send(HEARTBEAT)

    def _take(self, template_id: int, message: object) -> None:
        if getattr(message, "is_snapshot", False):
            return
        if template_id == LAST_TRADE:
            ts_ns = message.source_ssboe * NANOS + message.source_nsecs  # type: ignore[attr-defined]
            self.tape.trades[ts_ns, message.trade_price, message.trade_size] += 1  # type: ignore[attr-defined]
        elif template_id == BEST_BID_OFFER:
            self.tape.quotes[message.ssboe * 1_000_000 + message.usecs] += 1  # type: ignore[attr-defined]
