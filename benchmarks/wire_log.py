"""What the wire log costs: ``python -m benchmarks.wire_log [TICKS]`` prints a Markdown table.

A scripted market at speed 0, one or ten TLS clients in a process of their own that only count frames; the exchange's
processor time per tick with the record and without it, in turns, the best of each.
"""

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog
import uvloop
from websockets.asyncio.client import connect

from nightdesk.clocks import SystemClock
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.wire_log import WireLog
from tests.simulator_support import RawClient, ScriptedFlow, quote, running_exchange, trade

TICKS = 60_000
TURNS = 8
CLIENTS = (1, 10)
ROOM_BYTES = 1 << 30


async def measure(ticks: int, clients: int, *, is_recorded: bool) -> float:
    """Microseconds of the exchange's processor time for one tick that one client gets."""
    events = [trade(number) if number % 2 else quote(number) for number in range(ticks)]
    with tempfile.TemporaryDirectory(prefix="nd-") as temporary:
        folder = Path(temporary)
        async with running_exchange(folder, ScriptedFlow(events), speed=0.0) as (exchange, server):
            if is_recorded:
                logger = structlog.get_logger()
                exchange.wire_log = WireLog(folder, limit_bytes=ROOM_BYTES, clock=SystemClock(), logger=logger)
            words = [sys.executable, "-m", "benchmarks.wire_log", "client", temporary, server.url]
            counting = await asyncio.create_subprocess_exec(*words, str(clients), str(ticks), stdout=subprocess.PIPE)
            assert counting.stdout is not None
            await counting.stdout.readline()
            began_s = time.process_time()
            await counting.wait()
            spent_s = time.process_time() - began_s
            if exchange.wire_log is not None:
                exchange.wire_log.close()
    return spent_s / ticks / clients * 1e6


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
    print("subscribed", flush=True)

    async def read(client: RawClient) -> None:
        for _ in range(ticks):
            await client.socket.recv()

    await asyncio.gather(*map(read, opened))


def main(ticks: int) -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print("| clients | without, µs a tick and client | with, µs a tick and client | cost |")
    print("|---|---|---|---|")
    for clients in CLIENTS:
        best = {False: float("inf"), True: float("inf")}
        for turn in range(TURNS * 2):
            is_recorded = bool(turn % 2)
            found = uvloop.run(measure(ticks // clients, clients, is_recorded=is_recorded))
            best[is_recorded] = min(best[is_recorded], found)
        cost = best[True] / best[False] - 1
        print(f"| {clients} | {best[False]:.2f} | {best[True]:.2f} | {cost:+.1%} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        asyncio.run(count(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else TICKS)
