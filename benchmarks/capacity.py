"""How many ticks the exchange can send: ``python -m benchmarks.capacity [--clients N] [--seconds S]`` prints Markdown.

The whole exchange with its synthetic market and its logs in a process of its own; here so many TLS connections that
count frames and do nothing else. The market is made faster until the exchange does not keep up: its market time falls
behind the clock, or frames wait for their sockets. ``--memory TICKS`` tells the exchange's resident memory instead,
after each million ticks published to one client at speed 0.
"""

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import structlog
import uvloop
from websockets.asyncio.client import connect

from nightdesk.clocks import SystemClock
from nightdesk.settings.exchange import ExchangeUser
from nightdesk.settings.models import SyntheticSource
from nightdesk.settings.section import Secret
from nightdesk.simulator.assembly import assemble
from nightdesk.simulator.wire.certificates import load_or_create
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.templates import encode
from tests.simulator_support import RawClient
from tests.test_simulator_client import configuration

CLIENTS, SECONDS = 50, 5.0
CLIENTS_MAX = 100
"""Sessions that one user may have."""
USER, SECRET = "counting", "NIGHTDESK_CAPACITY"
FIRST_RATE, RATE_MAX = 100.0, 20_000.0
HALVINGS = 4
"""Of the distance between the fastest market that was kept up with and the slowest that was not."""
BEHIND_MAX_S = 0.1
"""Market time behind the clock, or frames that wait, as seconds of the market, at which it does not keep up."""
WARM_UP_S = 1.0
MILLION = 1_000_000
SUBSCRIBE = {"symbol": "ESH4", "exchange": "CME", "request": 1, "update_bits": 3}
_BINARY, _MASKED, _TWO_BYTES = 0x82, 0x80, 126


class Counter(asyncio.Protocol):
    """Counts the WebSocket frames of one connection by their headers alone."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        """Kept, for a transport that nobody refers to is closed."""
        self.frames = 0
        self.is_lost = False
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Walk from header to header; what is left of the last frame waits for more."""
        data = self._rest + data
        at, end = 0, len(data)
        while at + 4 <= end:
            length = data[at + 1]
            size = length + 2 if length < _TWO_BYTES else int.from_bytes(data[at + 2 : at + 4], "big") + 4
            if at + size > end:
                break
            at += size
            self.frames += 1
        self._rest = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        """The exchange cut it off."""
        self.is_lost = True


class Measured(NamedTuple):
    """One market's run; rates are frames a second of all clients together."""

    ticks_per_s: float
    frames_per_s: float
    behind_s: float
    exchange_share: float
    clients_share: float
    is_kept_up: bool


async def exchange_process(folder: Path, ticks_per_s: float, speed: float) -> None:
    """The child: serve, and tell for each line on the standard input how it is getting on."""
    source = SyntheticSource(kind="synthetic", seed=3, ticks_per_second=ticks_per_s)
    os.environ[SECRET] = USER
    secret = Secret(env=SECRET)
    user = ExchangeUser(user=secret, password=secret, sessions_per_plant_max=CLIENTS_MAX)
    exchange, log = assemble(
        configuration(folder, source=source, sessions="always", speed=speed, heartbeat_interval_s=3600.0, users=[user]),
        clock=SystemClock(),
        logger=structlog.get_logger(),
    )
    async with ExchangeServer(exchange, load_or_create(str(folder)), 0) as server:
        began_ns, began_s = exchange.now_ns(), time.monotonic()
        print(json.dumps({"url": server.url}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            lag_s = (time.monotonic() - began_s) * speed - (exchange.now_ns() - began_ns) / 1e9
            unsent = sum(session.outlet.unsent_frames for session in exchange.sessions)
            print(json.dumps({"lag_s": lag_s, "unsent": unsent}), flush=True)
    log.close()


class Child:
    """The exchange's process."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._process = process
        self._watched = psutil.Process(process.pid)

    async def report(self) -> dict[str, Any]:
        """How it is getting on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"report\n")
        return await read_line(self._process)

    def processor_s(self) -> float:
        """Processor time that it has used."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        """Its memory that is in use now."""
        return float(self._watched.memory_info().rss) / (1 << 20)

    async def logged_in(self) -> RawClient:
        """A new connection to the ticker plant."""
        context = ssl.create_default_context(cafile=str(self.folder / "exchange-ca.pem"))
        socket = await connect(self.url, ssl=context, compression=None, max_queue=1000)
        client = RawClient(socket, Framing.BARE)
        await client.login(1, user=USER, password=USER)
        return client


async def read_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of the child's output."""
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(await process.stdout.readline())
    return told


@asynccontextmanager
async def exchange(ticks_per_s: float, speed: float) -> AsyncIterator[Child]:
    """An exchange in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        words = [sys.executable, "-m", "benchmarks.capacity", "--exchange", folder, str(ticks_per_s), str(speed)]
        process = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield Child(process, (await read_line(process))["url"], Path(folder))
        finally:
            process.kill()
            await process.wait()


async def counting(child: Child) -> Counter:
    """Subscribe, counting from the first frame on: nothing is sent to a client before."""
    client = await child.logged_in()
    counter = Counter(client)
    transport: Any = client.socket.transport
    transport.set_protocol(counter)
    payload = encode(100, **SUBSCRIBE)
    transport.write(bytes((_BINARY, _MASKED | len(payload), 0, 0, 0, 0)) + payload)
    return counter


async def measure(ticks_per_s: float, clients: int, seconds: float) -> Measured:
    """One market for some seconds."""
    async with exchange(ticks_per_s, 1.0) as child:
        counters = [await counting(child) for _ in range(clients)]
        await asyncio.sleep(WARM_UP_S)
        before = await child.report()
        frames, began_s = sum(each.frames for each in counters), time.monotonic()
        exchange_s, clients_s = child.processor_s(), time.process_time()
        await asyncio.sleep(seconds)
        elapsed_s = time.monotonic() - began_s
        frames = sum(each.frames for each in counters) - frames
        exchange_s, clients_s = child.processor_s() - exchange_s, time.process_time() - clients_s
        told = await child.report()
        is_whole = not any(each.is_lost for each in counters)
    waiting_s = told["unsent"] / clients / ticks_per_s
    behind_s = max(told["lag_s"] - max(0.0, min(before["lag_s"], BEHIND_MAX_S)), waiting_s)
    return Measured(
        ticks_per_s,
        frames / elapsed_s,
        behind_s,
        exchange_s / elapsed_s,
        clients_s / elapsed_s,
        is_whole and behind_s < BEHIND_MAX_S,
    )


async def search(clients: int, seconds: float) -> None:
    """Double the rate until it is too much, then close in on the largest that is not."""
    print(f"{clients} clients, {seconds:g} s each, load {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors\n")
    print("| market, ticks/s | sent to all clients, ticks/s | behind | processor, exchange | clients | keeps up |")
    print("|---|---|---|---|---|---|")
    best: Measured | None = None
    low, high, rate, left = 0.0, 0.0, FIRST_RATE, HALVINGS
    while left and rate <= RATE_MAX:
        found = await measure(rate, clients, seconds)
        print(
            f"| {rate:,.0f} | {found.frames_per_s:,.0f} | {found.behind_s:.2f} s | {found.exchange_share:.0%} "
            f"| {found.clients_share:.0%} | {'yes' if found.is_kept_up else 'no'} |",
            flush=True,
        )
        if found.is_kept_up:
            low = rate
            best = found if best is None or found.frames_per_s > best.frames_per_s else best
        else:
            high = rate
        left -= bool(high)
        rate = (low + high) / 2 if high else low * 2
    if best is not None:
        print(f"\nLargest: {best.frames_per_s:,.0f} ticks/s in all, {best.frames_per_s / clients:,.0f} to each client.")


async def memory(ticks: int) -> None:
    """Resident memory of the exchange while one client takes so many ticks."""
    step = min(MILLION, max(1, ticks // 4))
    print("| ticks published | resident memory | ticks/s |\n|---|---|---|")
    async with exchange(20.0, 0.0) as child:
        client = await child.logged_in()
        await client.send(100, **SUBSCRIBE)
        taken, began_s = 0, time.monotonic()
        async for _ in client.socket:
            taken += 1
            if taken % step == 0:
                now_s = time.monotonic()
                speed = step / (now_s - began_s)
                print(f"| {taken:,} | {child.resident_mib():.0f} MiB | {speed:,.0f} |", flush=True)
                began_s = now_s
            if taken >= ticks:
                return


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--memory", type=int, default=0, metavar="TICKS")
    parser.add_argument("--exchange", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if arguments.exchange:
        folder, ticks_per_s, speed = arguments.exchange
        for name in ("state", "runtime"):
            Path(folder, name).mkdir()
        uvloop.run(exchange_process(Path(folder), float(ticks_per_s), float(speed)))
    elif arguments.memory:
        uvloop.run(memory(arguments.memory))
    else:
        uvloop.run(search(arguments.clients, arguments.seconds))


if __name__ == "__main__":
    main()
