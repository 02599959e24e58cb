"""What the wire log costs: ``python -m benchmarks.wire_log [TICKS]`` prints a Markdown table.

A scripted market at speed 0, one or ten TLS clients in a process of their own that only count frames. The record is
switched on and off in turns every ``SPELL_TICKS`` of one run and neighbouring spells are compared, so that whatever
else the machine does strikes both alike. It is processor time of the exchange's process; what the record still holds is
written before its spell ends.
"""

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import structlog
import uvloop
from websockets.asyncio.client import connect

from nightdesk.clocks import SystemClock
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import Quoted, Traded, VenueEvent
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.wire_log import WireLog
from tests.simulator_support import RawClient, ScriptedFlow, quote, running_exchange, trade

TICKS = 300_000
SPELL_TICKS = 500
CLIENTS = (1, 10)
ROOM_BYTES = 1 << 30


class Switch:
    """Turns the record on and off, and notes what each spell took."""

    def __init__(self) -> None:
        self.spent_s: dict[bool, list[float]] = {False: [], True: []}
        """Processor time of every spell, with the record (True) and without it."""
        self.exchange: Exchange | None = None
        self.log: WireLog | None = None
        self._is_on = False
        self._began_s: float | None = None

    def turn(self) -> None:
        """A spell is over."""
        assert self.exchange is not None
        assert self.log is not None
        self.log.flush()
        now_s = time.process_time()
        if self._began_s is not None:
            self.spent_s[self._is_on].append(now_s - self._began_s)
        self._is_on = not self._is_on
        for session in self.exchange.sessions:
            session.outlet._wire_log = self.log if self._is_on else None
        self._began_s = time.process_time()


class SwitchingFlow(ScriptedFlow):
    """A scripted market that turns a switch every so many ticks."""

    def __init__(self, events: Sequence[Traded | Quoted], switch: Switch) -> None:
        super().__init__(events)
        self._switch = switch
        self._given = 0

    def next(self) -> tuple[int, Callable[[], list[VenueEvent]]] | None:
        # The first step is taken out before anybody is connected.
        if self._given and self._given % SPELL_TICKS == 0:
            self._switch.turn()
        self._given += 1
        return super().next()


async def measure(ticks: int, clients: int) -> tuple[float, float]:
    """Microseconds of the exchange's processor time for one tick that one client gets: without the record, and it."""
    events = [trade(number) if number % 2 else quote(number) for number in range(ticks)]
    switch = Switch()
    with tempfile.TemporaryDirectory(prefix="nd-") as temporary:
        folder = Path(temporary)
        flow = SwitchingFlow(events, switch)
        # The clients send no heartbeats.
        async with running_exchange(folder, flow, speed=0.0, heartbeat_interval_s=3_600.0) as (exchange, server):
            logger = structlog.get_logger()
            switch.exchange = exchange
            switch.log = WireLog(folder, limit_bytes=ROOM_BYTES, clock=SystemClock(), logger=logger)
            words = [sys.executable, "-m", "benchmarks.wire_log", "client", temporary, server.url]
            counting = await asyncio.create_subprocess_exec(*words, str(clients), str(ticks), stdout=subprocess.PIPE)
            assert await counting.wait() == 0, "a client did not get all ticks"
            switch.log.close()
    pairs = list(zip(switch.spent_s[False], switch.spent_s[True], strict=False))
    scale = 1e6 / SPELL_TICKS / clients
    return median(off for off, _ in pairs) * scale, median(on - off for off, on in pairs) * scale


async def count(folder: str, url: str, clients: int, ticks: int) -> None:
    """The other process: subscribe with every client, then read until each has all ticks."""
    context = ssl.create_default_context(cafile=f"{folder}/exchange-ca.pem")
    opened = []
    for _ in range(clients):
        client = RawClient(await connect(url, ssl=context, compression=None, max_queue=1000), Framing.PREFIXED)
        await client.login(1)
        opened.append(client)
    for client in opened:
        await client.send(100, symbol="ESH4", exchange="CME", request=1, update_bits=3)

    async def read(client: RawClient) -> None:
        for _ in range(ticks):
            await client.socket.recv()

    await asyncio.gather(*map(read, opened))


def main(ticks: int) -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print("| clients | without, µs a tick and client | the record, µs a tick and client | cost |")
    print("|---|---|---|---|")
    for clients in CLIENTS:
        without, record = uvloop.run(measure(ticks, clients))
        print(f"| {clients} | {without:.2f} | {record:.2f} | {record / without:+.1%} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        asyncio.run(count(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else TICKS)
