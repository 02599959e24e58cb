"""The exchange under random faults and ``kill -9``: its log of orders and the wire log tell one story."""

import asyncio
import contextlib
import json
import os
import random
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from nightdesk.simulator.venue.summary import AccountSummary
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.wire_log_reader import WireLogReader
from tests.chaos.seeds import forms, seeded
from tests.chaos.test_exchange_faults import MIX
from tests.e2e.agreement import exchange_summary
from tests.e2e.harness import Process, run_cli, short_folder, sim_configuration, write_configuration
from tests.simulator_support import ACCOUNT, SYSTEM, RawClient

SEED = 31
ORDER = 2
NEW_ORDER, ORDER_ANSWER, REPORT = 312, 313, 352
FILL = 5
TERMS = {
    "symbol": "ESZ6", "exchange": "CME", "duration": 1, "trade_route": "simulator", "manual_or_auto": 2,
}  # fmt: skip
MARKET, LIMIT = 2, 1
UNWRITTEN_S = 1.0
"""What the wire log may lack before a kill: a quarter of a second by its word, more on a busy machine."""
NS_PER_S = 1_000_000_000
PATIENCE_S = 1.0


class Trader:
    """Orders without end over whatever connection there is; it believes nothing that it is told."""

    def __init__(self, endpoint: Path, seed: int) -> None:
        self._endpoint = endpoint
        self._random = random.Random(seed)
        self.sent = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(OSError, ValueError, TimeoutError, WebSocketException, AssertionError):
                async with self._connected() as client:
                    await self._trade(client)
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[RawClient]:
        told = json.loads(self._endpoint.read_text())
        context = ssl.create_default_context(cafile=told["ca_file"])
        async with connect(told["url"], ssl=context, compression=None, open_timeout=2, close_timeout=0.1) as socket:
            client = RawClient(socket, Framing.PREFIXED)
            login = client.login(ORDER, user=told["user"], password=told["password"], system_name=SYSTEM)
            await asyncio.wait_for(login, PATIENCE_S)
            await client.send(308, **ACCOUNT)
            yield client

    async def _trade(self, client: RawClient) -> None:
        """Until the connection ends, or nothing has come from it for a while."""
        quiet = 0
        while quiet < 20:
            self.sent += 1
            is_market = self._random.random() < 0.6
            price: dict[str, Any] = {"price_type": MARKET} if is_market else {"price_type": LIMIT, "price": 4000.0}
            terms = {"transaction_type": self._random.choice((1, 2)), "quantity": self._random.randint(1, 3)} | price
            tag = f"t{self.sent}"
            order = client.send(NEW_ORDER, user_msg=[tag], user_tag=tag, **ACCOUNT, **TERMS, **terms)
            await asyncio.wait_for(order, PATIENCE_S)
            quiet += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while True:
                        await client.socket.recv()
                        quiet = 0


async def _kill_and_restart(folder: Path, file: str, kills: int, chance: random.Random) -> list[int]:
    """Trade through so many kills; when each was, in nanoseconds of the wire log's clock."""
    killed_ns: list[int] = []
    trader = Trader(folder / "r" / "exchange.json", chance.getrandbits(32))
    trading = asyncio.create_task(trader.run())
    try:
        for turn in range(kills + 1):
            simulator = Process("simulator", "--config", file, "--log-format", "json")
            try:
                await asyncio.to_thread(simulator.wait_for, "exchange_listening")
                words = ["simulator", "fault", "mix", "--seed", str(chance.getrandbits(32)), "--config", file]
                words += ["--set", "rate_per_minute=180", "--set", "spell_s=0.8", "--set", f"faults={json.dumps(MIX)}"]
                assert (await asyncio.to_thread(run_cli, *words)).returncode == 0
                await asyncio.to_thread(simulator.wait_for, "exchange_fault_begins", count=6)
                await asyncio.sleep(chance.uniform(0.5, 2.0))
                if turn < kills:
                    os.kill(simulator.process.pid, signal.SIGKILL)
                    simulator.process.wait(10)
                    killed_ns.append(max(each.ts_ns for each in WireLogReader(folder / "s").records()))
                else:
                    # What lies between the two is what slow lines still hold; without faults it arrives.
                    assert (await asyncio.to_thread(run_cli, "simulator", "heal", "--config", file)).returncode == 0
                    await asyncio.sleep(UNWRITTEN_S)
                    trading.cancel()
                    assert await asyncio.to_thread(simulator.stop) == 0
            finally:
                simulator.destroy()
            assert "Traceback" not in "".join(simulator.raw)
    finally:
        trading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trading
    return killed_ns


def _differences(logged: AccountSummary, wire: WireLogReader, killed_ns: list[int]) -> list[str]:
    received = wire.received(NEW_ORDER)
    at_ns = {each.message.user_tag: each.ts_ns for each in received}
    found = [f"received {n} times: {tag}" for tag, n in Counter(e.message.user_tag for e in received).items() if n > 1]
    found += [f"logged {count} times: {tag}" for tag, count in logged.user_tags.items() if count > 1]
    # Of the last moment before a kill the wire log may lack frames; the log of orders lacks nothing.
    lost = [tag for tag in logged.user_tags if tag not in at_ns]
    if len(lost) > len(killed_ns) * UNWRITTEN_S * 40:
        found.append(f"never received, but logged: {lost}")
    answers = [each.message for each in wire.sent(ORDER_ANSWER)]
    taken = {tag for each in answers if list(each.rp_code) == ["0"] or each.basket_id for tag in each.user_msg}
    found += [f"acknowledged, but not logged: {tag}" for tag in sorted(taken - logged.user_tags.keys())]
    ended_ns = [each.closed_ns for each in wire.connections().values() if each.closed_ns is not None] + killed_ns
    for tag in at_ns.keys() - logged.user_tags.keys():
        # A slow or cut line holds a request back; when its connection ends meanwhile it never arrives.
        if tag in taken or not any(0 <= end - at_ns[tag] < 3 * NS_PER_S for end in ended_ns):
            found.append(f"received, but not logged: {tag}")
    fills = {(fill.basket_id, fill.fill_id): (fill.price, fill.quantity) for fill in logged.fills}
    if len(fills) != len(logged.fills):
        found.append("a fill was logged twice")
    told = [each.message for each in wire.sent(REPORT) if each.message.notify_type == FILL]
    for each in told:
        key, terms = (each.basket_id, each.fill_id), (each.fill_price, each.fill_size)
        if fills.get(key) != terms:
            found.append(f"told of {key} {terms}, but logged {fills.get(key)}")
    if len(told) < 10:
        found.append("too few fills to say anything")
    return found


@pytest.mark.parametrize("kills", forms(1, 15))
def test_log_and_wire_agree_after_faults_and_kills(kills: int, request: pytest.FixtureRequest) -> None:
    """Every order taken is logged once, every fill told is logged as told, and no restart loses or invents one."""
    with seeded(request, SEED) as chance, short_folder() as folder:
        content = sim_configuration(folder)
        content["exchange"]["source"]["ticks_per_second"] = 50
        file = str(write_configuration(folder, content))
        killed_ns = asyncio.run(_kill_and_restart(folder, file, kills, chance))
        logged = exchange_summary(folder / "s")
        assert _differences(logged, WireLogReader(folder / "s"), killed_ns) == []
        net = sum(each.quantity if each.side.name == "BUY" else -each.quantity for each in logged.fills)
        assert logged.positions["ESZ6"] == net
