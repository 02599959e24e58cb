"""The running world of a chaos run: exchange, proxy and system, and everything that is asked of them."""

import asyncio
import base64
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from os import SEEK_END
from pathlib import Path
from typing import Any

from nightdesk.chaos.books import EXCHANGE_LOG
from nightdesk.chaos.evidence import Kill
from nightdesk.chaos.invariants_life import EXIT, ROOT
from nightdesk.chaos.job import Job, write_exchange, write_system
from nightdesk.chaos.process import RunProcess, arguments_of, destroy, is_over, kill, marked, parent_of, until_gone
from nightdesk.chaos.proxy import Proxy
from nightdesk.chaos.recorder import Recorder
from nightdesk.clocks import Clock
from nightdesk.console.client import request
from nightdesk.errors import ConfigurationError, LinkError, NightdeskError
from nightdesk.settings.folders import CONTROL_SOCKET, EXCHANGE_SOCKET

POLL_S = 0.05
STATUS_POLL_S = 0.2
STATUS_TIMEOUT_S = 6.0
LISTENS_S = 60.0
"""What the exchange has to start on a machine that others load."""

SYSTEM_END_S = 30.0
"""What a system has to end, killed or asked."""

RUN = "run"
PLANTS = 4
ACTIVE, HALTED = "ACTIVE", "HALTED"
ENDPOINT_EVENT = "simulator_listening"
RECEIVED = b'"k":"RECEIVED"'

Status = dict[str, Any]
NO_ARGUMENTS: Mapping[str, object] = {}


class World:
    """Everything that a fault may lay hands on."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self.job = job
        self.clock = clock
        self.proxy = Proxy(clock)
        self.recorder = Recorder()
        self.round = 0
        self.kills: list[Kill] = []
        self.logouts: Counter[int] = Counter()
        """Forced logouts by the pid of the plant that they were given to."""
        self.leaks: list[str] = []
        self.left: list[str] = []
        self.ends = 0
        self.exchange_log_path = Path(job.exchange.state_dir) / EXCHANGE_LOG
        self.exchange_events: list[dict[str, Any]] = []
        self._name = secrets.token_hex(8)
        self._exchange: RunProcess | None = None
        self._system: RunProcess | None = None
        self._counted_bytes = 0
        self._orders = 0

    async def start(self) -> None:
        """The exchange, the proxy, then the system."""
        (self.job.folder / "home").mkdir(mode=0o700, exist_ok=True)
        write_exchange(self.job)
        await self.start_exchange()
        await self.proxy.start()
        write_system(self.job, self.proxy.port)
        await self.start_system()

    async def destroy(self) -> None:
        """Whatever there still is of the run is ended."""
        await self.proxy.close()
        for generation in range(1, self.recorder.generation + 1):
            await destroy(self._system_mark(generation), self.clock)
        await destroy(self._exchange_mark, self.clock)
        for process in (self._system, self._exchange):
            if process is not None:
                await process.wait(SYSTEM_END_S)

    # The exchange.

    @property
    def exchange_pid(self) -> int:
        """0 while there is none."""
        return 0 if self._exchange is None else self._exchange.pid

    @property
    def has_exchange_ended(self) -> bool:
        """Whether the exchange has ended by itself."""
        return self._exchange is not None and self._exchange.exit_code is not None

    async def start_exchange(self) -> None:
        """Start it and let the proxy know where it listens. Raises ``LinkError`` when it does not come up."""
        self.exchange_events.clear()
        process = RunProcess(self._exchange_mark, self._output("exchange"), self.clock, self._take_exchange)
        self._exchange = process
        arguments = ("simulator", "--config", self.job.exchange.config_file, "--log-format", "json")
        await process.start(arguments, self.job.environment)

        def listens() -> bool:
            return any(line.get("event") == ENDPOINT_EVENT for line in self.exchange_events)

        if not await self.until(lambda: listens() or process.exit_code is not None, LISTENS_S) or not listens():
            raise LinkError(f"the exchange does not come up; look at {self._output('exchange')}")
        (url,) = [line["url"] for line in self.exchange_events if line.get("event") == ENDPOINT_EVENT]
        self.proxy.far_port = int(url.rpartition(":")[2])

    async def end_exchange(self, *, is_killed: bool) -> None:
        """Kill it, or ask it to end; nobody listens until it is started again."""
        assert self._exchange is not None
        self.proxy.far_port = 0
        if is_killed:
            kill(self._exchange.pid)
            await self._exchange.wait(SYSTEM_END_S)
        elif await self._exchange.stop(SYSTEM_END_S) is None:
            self.left.append("the exchange did not end when it was asked to")
        await destroy(self._exchange_mark, self.clock)

    async def fault(self, name: str, **parameters: object) -> int:
        """Let the exchange do something wrong; the fault's number. Raises ``NotNowError`` where there is none."""
        # The socket takes words, which the exchange reads as YAML.
        words = {key: str(value) if isinstance(value, float | list) else value for key, value in parameters.items()}
        arguments = {"fault": name, **words}
        try:
            answer = await self._ask_exchange("fault", arguments)
        except LinkError as error:
            raise NotNowError(str(error)) from None
        except ConfigurationError as error:
            if "no exchange is running" not in str(error):
                raise
            raise NotNowError(str(error)) from None
        return int(answer["number"])

    async def heal(self, number: int | None = None) -> None:
        """End one fault at the exchange, or all of them; one that is over already is no error."""
        try:
            await self._ask_exchange("heal", {} if number is None else {"number": number})
        except NightdeskError:
            if number is None:
                raise

    def orders_at_exchange(self) -> int:
        """Orders that the exchange has taken so far, by its log."""
        try:
            with self.exchange_log_path.open("rb") as log:
                if log.seek(0, SEEK_END) < self._counted_bytes:
                    # It was replaced by a shorter one, which has all orders of the day.
                    self._counted_bytes = self._orders = 0
                log.seek(self._counted_bytes)
                part = log.read()
        except FileNotFoundError:
            return 0
        whole = part[: part.rfind(b"\n") + 1]
        self._counted_bytes += len(whole)
        self._orders += whole.count(RECEIVED)
        return self._orders

    # The system.

    @property
    def system_pid(self) -> int:
        """Of ``run.py``."""
        return 0 if self._system is None else self._system.pid

    @property
    def admin_pid(self) -> int:
        """Of Thespian's admin, which is root's parent."""
        root = self.recorder.pids.get(ROOT, 0)
        return parent_of(root) if root else 0

    async def start_system(self) -> None:
        """Start ``run.py`` (again)."""
        self.recorder.begin()
        mark = self._system_mark(self.recorder.generation)
        self._system = RunProcess(mark, self._output("system"), self.clock, self.recorder.take)
        arguments = ("--config", self.job.system.config_file, "--log-format", "json")
        await self._system.start(arguments, self.job.environment)

    async def stop_system(self) -> int | None:
        """Ask the system to stop; its exit code. What outlives it is noted and killed."""
        assert self._system is not None
        code = await self._system.stop(SYSTEM_END_S)
        await self.system_ended()
        return code

    async def system_ended(self) -> bool:
        """Wait until ``run.py`` has ended, and look for what is left of it; False when it did not end by itself."""
        assert self._system is not None
        code = await self._system.wait(SYSTEM_END_S)
        mark = self._system_mark(self.recorder.generation)
        left = await until_gone(mark, self.clock, SYSTEM_END_S if code is not None else 0.0)
        self.ends += 1
        if left:
            self.left.append(f"start {self.recorder.generation}: {len(left)} processes left {SYSTEM_END_S:g} s later")
            await destroy(mark, self.clock)
        return code is not None

    async def exit_code(self, timeout_s: float) -> int | None:
        """What ``run.py`` ends with by itself; None when it goes on for so long."""
        return None if self._system is None else await self._system.wait(timeout_s)

    async def offline(self, words: tuple[str, ...], timeout_s: float) -> int | None:
        """The exit code of a verb that needs no running system; None when it did not end in time."""
        process = RunProcess(self._system_mark(self.recorder.generation), self._output("system"), self.clock, _ignore)
        await process.start((*words, "--config", self.job.system.config_file), self.job.environment)
        return await process.wait(timeout_s)

    @property
    def has_system_ended(self) -> bool:
        """Whether ``run.py`` has ended by itself."""
        return self._system is not None and self._system.exit_code is not None

    async def control(self, verb: str, arguments: Mapping[str, object] = NO_ARGUMENTS, timeout_s: float = 15.0) -> Any:
        """One request over the control socket. Raises ``NightdeskError``."""
        return await asyncio.to_thread(
            request, self.job.system, verb, arguments, timeout_s=timeout_s, socket_name=CONTROL_SOCKET
        )

    async def status(self) -> Status | None:
        """The status; None when nobody answers."""
        try:
            found: Status = await self.control("status", timeout_s=STATUS_TIMEOUT_S)
        except (NightdeskError, ValueError):
            return None
        return found

    def pids(self, status: Status) -> dict[str, int]:
        """Every process of the tree by a status, with root and ``run.py``."""
        found = {child["id"]: int(child["pid"]) for child in status["children"]}
        return {**found, ROOT: self.recorder.pids.get(ROOT, 0), RUN: self.system_pid}

    def note_kill(self, child_id: str) -> int:
        """This child is about to be made to fail; its pid. Raises ``NotNowError`` when it does not live."""
        pid = self.recorder.pids.get(child_id, 0)
        if not pid or is_over(pid):
            raise NotNowError(f"{child_id} does not live")
        self.kills.append(Kill(self.recorder.generation, self.round, child_id, pid))
        return pid

    def is_death_logged(self, pid: int) -> bool:
        """Whether there is an exit line for this process."""
        return bool(self.recorder.events(EXIT, pid=pid))

    async def until(self, predicate: Callable[[], object], timeout_s: float) -> bool:
        """Poll until the predicate holds; False when it did not in time."""
        ends_s = self.clock.monotonic_s() + timeout_s
        while not predicate():
            if self.clock.monotonic_s() > ends_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    def outputs(self) -> list[Path]:
        """The files that hold everything that exchange and system have written to their standard outputs."""
        return [self._output("exchange"), self._output("system")]

    def told_in_arguments(self) -> list[str]:
        """Processes whose command line has the canary in it."""
        marks = [self._exchange_mark, self._system_mark(self.recorder.generation)]
        found = []
        for pid in (pid for mark in marks for pid in marked(mark)):
            words = arguments_of(pid)
            found += [f"command line of process {pid}" for canary in self.canaries() if canary in words]
        return found

    def canaries(self) -> tuple[bytes, ...]:
        """The password in the forms in which it might be written."""
        password = self.job.password.encode()
        return password, password.hex().encode(), base64.b64encode(password).rstrip(b"=")

    def _take_exchange(self, line: dict[str, Any]) -> None:
        self.exchange_events.append(line)

    async def _ask_exchange(self, verb: str, arguments: dict[str, object]) -> Any:
        return await asyncio.to_thread(request, self.job.exchange, verb, arguments, socket_name=EXCHANGE_SOCKET)

    def _output(self, name: str) -> Path:
        return self.job.folder / f"{name}.out"

    @property
    def _exchange_mark(self) -> str:
        return f"{self._name}-exchange"

    def _system_mark(self, generation: int) -> str:
        return f"{self._name}-system-{generation}"


def _ignore(line: dict[str, Any]) -> None:
    """Of verbs the output is kept and nothing else."""


class NotNowError(NightdeskError):
    """A fault cannot be done at this moment (whom it is about does not live): the round goes on without it."""


def is_in_service(status: Status) -> bool:
    """Every child runs, every plant is connected, every strategy may trade; the account's state is a question apart."""
    plants, strategies = status["plants"].values(), status["strategies"].values()
    return (
        len(plants) == PLANTS
        and all(plant["connected"] for plant in plants)
        and all(child["state"] == "running" and not is_over(child["pid"]) for child in status["children"])
        and all(strategy["state"] == "running" for strategy in strategies)
    )
