"""Machines around a real order plant: its process, which may die at any moment, and a naive exchange."""

import asyncio
import selectors
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis.stateful import RuleBasedStateMachine

from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.messages import Message, StrategyHello, StrategyId
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_session_support import OPEN
from tests.order_plant_support import FAST, FakePeer, FakeSession, Plant, configuration, turns
from tests.stateful_exchange import Exchange
from tests.stateful_support import silent

NAMES = ("one", "two")

TURNS_MAX, TURN_S = 20_000, 0.001
"""How often it is looked whether a recovery is over, and how much of the loop's time passes in between."""


class _Idle(selectors.DefaultSelector):
    """Waits for nothing: what would be waited is passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.passed_s += timeout
        return found


class QuickLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes while nobody has anything to do, so that the same choices always lead to the same."""

    def __init__(self) -> None:
        self._idle = _Idle()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.passed_s


class Life:
    """One process: it counts its moments and dies at one of them. What it does afterwards reaches nobody."""

    def __init__(self, body: Plant, exchange: Exchange, death: int) -> None:
        self.is_dead = False
        self.alerts: list[str] = []
        """What a person has been called for."""
        self._body = body
        self._exchange = exchange
        self._left = death
        """Moments until it dies; 0: it lives."""
        self._commit = body.journal._transaction
        self._write = body.journal._write
        body.journal._transaction = self._transaction  # type: ignore[method-assign]
        body.journal._write = self._written  # type: ignore[method-assign]

    def condemn(self, moments: int) -> None:
        """It dies so many moments from now."""
        self._left = moments

    def die(self) -> None:
        if not self.is_dead:
            self.is_dead = self._body.journal.failed = True
            context: Any = self._body.context
            self.alerts = [alert.event for alert in context.alerts if alert.severity != "info"]

    def sent(self, template_id: int, fields: dict[str, Any]) -> None:
        """A frame leaves."""
        self._pass()
        if not self.is_dead:
            self._exchange.receive(template_id, fields)
            self._pass()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._pass()
        with self._commit():
            yield
        self._pass()

    def _written(self, statement: str, values: tuple[object, ...]) -> None:
        self._pass()
        self._write(statement, values)
        self._pass()

    def _pass(self) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                self.die()


class PlantMachine(RuleBasedStateMachine):
    """The process, two strategies' lanes, and what is on its way; ``changes`` are settings, ``limits`` the broker's."""

    changes: dict[str, Any] = {}
    limits: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = QuickLoop()
        self.folder = tempfile.TemporaryDirectory(prefix="nd-")
        self.clock = ManualClock()
        self.exchange = Exchange(at(OPEN))
        self.delivered: list[tuple[int, Any]] = []
        self.numbers = 0
        self.owners: dict[str, str] = {}
        """The strategy of each order that was ever asked for, by its id."""
        self.alerts: list[str] = []
        self.canceled: set[str] = set()
        """The orders whose cancel was taken, and was not refused by the exchange."""
        self.run(self.start())

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)

    async def start(self, *deaths: int) -> None:
        """Processes begin, of which the first ones die while they recover; the last one lives."""
        for death in (*deaths, 0):
            run = configuration(Path(self.folder.name), **self.changes)
            market_time = ManualTime(self.clock, at(OPEN))
            context = FakeContext("plants/order", run.to_json(), self.clock, market_time=market_time)
            context.log = silent()
            self.body = Plant(context)
            self.body.reconcile_policy = msgspec.structs.replace(FAST, retry_s=0.0, quiet_retry_s=0.0)
            await self.body.start()
            self.life = Life(self.body, self.exchange, death)
            self.is_gone = False
            await self.connect()
            if not self.life.is_dead:
                return
            await self.end()

    async def connect(self) -> None:
        """A new session: the exchange has carried out, or never got, all that was sent before."""
        life, exchange = self.life, self.exchange
        while exchange.inbox:
            exchange.carry_out()
        exchange.outbox.clear()
        self.delivered.clear()
        exchange.is_heard = True

        def prepare(session: FakeSession) -> None:
            session.limits = session.limits if self.limits is None else self.limits
            session.on_send = life.sent
            session.on_request = lambda template_id, fields: session.lists.update(exchange.lists())
            session.answers[3512] = exchange.history()

        await self.body.link_up(wait=False, prepare=prepare)
        self.peers = {name: self.hello(name) for name in NAMES}
        for _ in range(TURNS_MAX):
            if life.is_dead or not self.body.account.reconciling:
                return
            await asyncio.sleep(TURN_S)
        raise AssertionError("the recovery does not end")

    def hello(self, name: str) -> tuple[FakePeer, int]:
        peer = FakePeer()
        message = StrategyHello(strategy_id=StrategyId(name), child_id=f"strategies/{name}", incarnation=1)  # type: ignore[arg-type]
        self.body.say(peer, message)
        welcome: Any = peer.got.pop()
        return peer, welcome.fencing_epoch

    async def end(self) -> None:
        """As a SIGKILL leaves it; nothing for a process that is gone."""
        self.life.die()
        if self.is_gone:
            return
        self.is_gone = True
        self.alerts += self.life.alerts
        context: Any = self.body.context
        assert context.crashed is None
        await context.cancel_tasks()
        await self.body.stop()
        self.exchange.is_heard = False
        self.exchange.outbox.clear()

    def is_alive(self) -> bool:
        return not self.life.is_dead and self.body.account.connected

    def say(self, name: str, make: Callable[[int], Message]) -> None:
        """A strategy says something, with its epoch."""
        peer, epoch = self.peers[name]
        self.soon(lambda body: body.say(peer, make(epoch)))

    def soon(self, act: Callable[[Plant], None]) -> None:
        """Something reaches the process, and what it leads to is done."""

        async def done() -> None:
            act(self.body)
            await turns()

        self.run(done())

    def push(self, template_id: int, message: Any) -> None:
        """A frame reaches the process, if there is one."""
        if self.is_alive():
            if template_id in (351, 352):
                self.delivered.append((template_id, message))
            self.soon(lambda body: body.on_push(template_id, message))

    def carry_out(self, *, refused: bool = False) -> None:
        """The exchange does, or refuses, what was asked of it first."""
        template_id, fields = self.exchange.inbox[0]
        if template_id == 316 and refused:
            self.canceled.discard(self.exchange.orders[fields["basket_id"]].tag)
        self.exchange.carry_out(refused=refused)

    def settle_all(self) -> None:
        """The exchange carries out and reports all that was asked of it."""
        while self.exchange.inbox:
            self.exchange.carry_out()
        while self.exchange.outbox and self.is_alive():
            self.push(*self.exchange.outbox.pop(0))

    def pass_time(self, seconds: float) -> None:
        """The machine's, the market's and the loop's."""
        self.clock.advance(seconds)
        self.run(asyncio.sleep(seconds))

    def cut_link(self) -> None:
        """Part of what was sent has arrived; the next connection is there at once."""
        del self.exchange.inbox[len(self.exchange.inbox) // 2 :]
        self.exchange.is_heard = False
        self.soon(lambda body: body.link_down())
        self.run(self.connect())

    def new_id(self, name: str) -> str:
        self.numbers += 1
        self.owners[f"o{self.numbers}"] = name
        return f"o{self.numbers}"

    def close(self) -> None:
        """Nothing of it is left behind."""
        try:
            self.run(self.end())
        finally:
            self.loop.close()
            self.folder.cleanup()
