"""An exchange, one order plant after the other, and a strategy's end of the order lane, for the sweep of crash points.

The exchange is outside of the plants' processes, in the test's own; it is the oracle, by its own log.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from actors.lanes import LaneClient, lane_path
from nightdesk.clocks import SystemClock
from nightdesk.messages import (
    ChildId,
    ClientOrderId,
    Message,
    OrderFilled,
    OrderType,
    Side,
    StrategyHello,
    StrategyId,
    StrategyWelcome,
    SubmitOrder,
    TradingPermissionChanged,
    TradingState,
)
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import listening
from tests.support import wait_until_async

ROOT = Path(__file__).resolve().parents[2]
SYMBOL, EXCHANGE, ACCOUNT = "ESZ6", "CME", "SIM-1"
STRATEGY = StrategyId("one")
PLANT = ChildId("plants/order")
TICKS_PER_SECOND = 20.0
DEADLINE_S = 60.0
"""Of anything that takes a part of a second on an idle machine."""
DYING_S = 3.0


def configuration(folder: Path, durability: str = "process") -> RunConfiguration:
    """One strategy, a quiet synthetic market, and limits that nothing here meets."""
    settings = {
        "name": "crash",
        "mode": "sim",
        "gateway": {"url": "wss://127.0.0.1", "system_name": "-", "reconnect_initial_s": 0.02, "reconnect_max_s": 0.1},
        "instruments": [
            {"symbol": SYMBOL, "exchange": EXCHANGE, "tick_size": 0.25, "point_value": 50.0, "commission": 2.0}
        ],
        "risk": {"max_order_quantity": 50, "max_position": 99, "max_open_orders": 99, "max_orders_per_second": 999},
        "strategies": [{"name": STRATEGY, "class": "m:C", "symbols": [SYMBOL]}],
        "exchange": {
            "sessions": "always",
            "source": {"kind": "synthetic", "ticks_per_second": TICKS_PER_SECOND},
            "wire_log_mb": 1000,
        },
        "journal": {"durability": durability},
    }
    return RunConfiguration(
        settings=Settings.model_validate(settings),
        config_file=str(folder / "crash.yaml"),
        state_dir=str(folder / "s"),
        runtime_dir=str(folder / "r"),
    )


class LaneStrategy:
    """A strategy's end of the order lane; it comes back by itself, and keeps everything that it was told."""

    def __init__(self, run: RunConfiguration) -> None:
        self.got: list[Message] = []
        self._path = lane_path(run.runtime_dir, PLANT, "order")
        self._since = 0
        self._lane: LaneClient | None = None

    async def begin(self) -> None:
        """A new plant is to come: a new lane, since the old one's pauses grow with each plant that dies young.

        Only what is told from now on counts for ``permitted`` and ``welcome``.
        """
        await self.close()
        self._since = len(self.got)
        hello = StrategyHello(strategy_id=STRATEGY, child_id=ChildId("strategies/one"), incarnation=1)
        self._lane = LaneClient(
            self._path,
            on_open=lambda peer: peer.send(hello),
            on_message=self._take,
            on_close=lambda: None,
        )
        await self._lane.start()

    async def close(self) -> None:
        """Close the lane for good."""
        if self._lane is not None:
            await self._lane.close()

    def of(self, kind: type[Any], client_order_id: str = "") -> list[Any]:
        """All messages of a kind, of one order or (empty) of all."""
        return [
            each
            for each in self.got
            if isinstance(each, kind) and client_order_id in ("", getattr(each, "client_order_id", ""))
        ]

    @property
    def welcome(self) -> StrategyWelcome | None:
        """The present plant's, if it has come."""
        found = [each for each in self.got[self._since :] if isinstance(each, StrategyWelcome)]
        return found[-1] if found else None

    @property
    def permitted(self) -> bool:
        """Whether the present plant takes orders."""
        permitted = False
        for each in self.got[self._since :]:
            if isinstance(each, StrategyWelcome):
                permitted = each.trading_permitted
            elif isinstance(each, TradingPermissionChanged):
                permitted = each.permitted and self.welcome is not None
        return permitted

    @property
    def halted(self) -> bool:
        """Whether the present plant has said that trading is halted, which nothing here asks for."""
        news = (each for each in self.got[self._since :] if isinstance(each, TradingPermissionChanged))
        return any(each.trading_state is TradingState.HALTED for each in news)

    @property
    def epoch(self) -> int:
        """Of the newest welcome."""
        return int(self.of(StrategyWelcome)[-1].fencing_epoch)

    def submit(self, client_order_id: str, side: Side, quantity: int, price: float | None = None) -> None:
        """A market order, or a limit order at a price."""
        self.send(
            SubmitOrder(
                client_order_id=ClientOrderId(client_order_id),
                strategy_id=STRATEGY,
                fencing_epoch=self.epoch,
                symbol=SYMBOL,
                exchange=EXCHANGE,
                side=side,
                order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
                quantity=quantity,
                price=price,
            )
        )

    def send(self, message: Message) -> None:
        assert self._lane is not None
        self._lane.send(message)

    def position(self) -> int:
        """What a strategy believes: its plant's welcome, and every fill since."""
        welcome = self.of(StrategyWelcome)[-1]
        held = sum(each.quantity for each in welcome.positions if each.symbol == SYMBOL)
        after = self.got[self.got.index(welcome) :]
        return int(held) + sum(
            each.last_quantity if each.side is Side.BUY else -each.last_quantity
            for each in after
            if isinstance(each, OrderFilled)
        )

    def _take(self, message: Message) -> None:
        self.got.append(message)


@dataclass
class Life:
    """One process of the order plant."""

    pid: int
    incarnation: int
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0


class Rig:
    """Everything of a sweep; ``plant`` is the one that lives, or that has died last."""

    def __init__(self, folder: Path, run: RunConfiguration, server: Any, nursery: Process) -> None:
        self.folder = folder
        self.state_dir = Path(run.state_dir)
        self.exchange = server._exchange
        self.strategy = LaneStrategy(run)
        self.lives: list[Life] = []
        self.inside = ""
        """The file of a probe inside the process; empty for none."""
        self.output = folder / "plants.out"
        self._nursery = nursery
        self._config = folder / "run.json"
        self._config.write_bytes(run.to_json())
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    @property
    def plant(self) -> Life:
        return self.lives[-1]

    async def raise_plant(self, *, held: bool = False) -> None:
        """Let a plant be born; one that is held does nothing before ``release``."""
        await self.strategy.begin()
        incarnation = len(self.lives) + 1
        birth = {
            "config": str(self._config), "incarnation": incarnation, "output": str(self.output), "held": held,
            "inside": self.inside,
        }  # fmt: skip
        await self._say(birth)
        async with asyncio.timeout(DEADLINE_S):
            await self._born.get()

    async def release(self) -> None:
        """Let the plant that is held begin."""
        await self._say({"go": self.plant.pid})

    async def serve(self) -> None:
        """Wait until the plant takes orders."""
        await self.until(lambda: self.strategy.permitted, "the plant takes orders")

    async def until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait for something that the living plant does."""
        await self.until_dead_or(predicate, what)
        if not predicate():
            raise AssertionError(f"the plant died with {self.plant.status} before this: {what}\n{self.tail()}")

    async def until_dead_or(self, predicate: Callable[[], object], what: str) -> None:
        """Wait for something that the living plant does, or for its death."""
        try:
            await wait_until_async(lambda: self.plant.dead.is_set() or self.strategy.halted or predicate(), DEADLINE_S)
        except AssertionError:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}\n{self.tail()}") from None
        if self.strategy.halted:
            raise AssertionError(f"trading is HALTED before this: {what}\n{self.tail()}")

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        if not self.plant.dead.is_set():
            os.kill(self.plant.pid, signal.SIGKILL)
        await self.buried()

    async def died(self) -> bool:
        """Whether the plant dies of a kill that is on its way; False when the probe was gone before."""
        try:
            async with asyncio.timeout(DYING_S):
                await self.plant.dead.wait()
        except TimeoutError:
            return False
        await self.buried()
        return True

    async def buried(self) -> None:
        """Wait until the plant is dead and the exchange has read all that it has sent."""
        async with asyncio.timeout(DEADLINE_S):
            await self.plant.dead.wait()
        if self.plant.status != -signal.SIGKILL:
            raise AssertionError(f"the plant ended with {self.plant.status}, not by the kill\n{self.tail()}")
        await wait_until_async(lambda: not self.order_sessions(), DEADLINE_S)

    def order_sessions(self) -> int:
        """Order plants that are logged in at the exchange."""
        return sum(each.plant is not None and each.plant.name == "ORDER" for each in self.exchange.sessions)

    def tail(self) -> str:
        """The last lines of the plants' log."""
        return "\n".join(self.output.read_text().splitlines()[-25:]) if self.output.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """Every line of the plants' log."""
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]

    def events(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event in the present plant's log."""
        return [line for line in self.log() if (line["event"], line.get("incarnation")) == (event, len(self.lives))]

    async def close(self) -> None:
        """End everything."""
        await self.strategy.close()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        await self._nursery.wait()
        await self._reader

    async def _say(self, words: dict[str, Any]) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(json.dumps(words).encode() + b"\n")
        await self._nursery.stdin.drain()

    async def _read(self) -> None:
        assert self._nursery.stdout is not None
        async for line in self._nursery.stdout:
            told = json.loads(line)
            if "pid" in told:
                self.lives.append(Life(told["pid"], len(self.lives) + 1))
                self._born.put_nowait(told["pid"])
                continue
            for life in self.lives:
                if life.pid == told["dead"] and not life.dead.is_set():
                    life.status = told["status"]
                    life.dead.set()


@asynccontextmanager
async def crash_rig(durability: str = "process") -> AsyncIterator[Rig]:
    """A rig in a folder of its own, without a plant yet."""
    folder = Path(tempfile.mkdtemp(prefix="nd-"))
    try:
        run = configuration(folder, durability)
        logger = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(40)
        )
        async with listening(run, clock=SystemClock(), logger=logger) as server:
            nursery = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.nursery", stdin=PIPE, stdout=PIPE, cwd=ROOT
            )
            rig = Rig(folder, run, server, nursery)
            try:
                yield rig
            finally:
                await rig.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
