"""The exchange's command socket: one JSON line for each JSON line, to its own user and root alone."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.typing import FilteringBoundLogger

from nightdesk.control_socket import Caller, ControlServer, Reply, Request
from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import EXCHANGE_SOCKET
from nightdesk.simulator.faults.script import described, fault_of_command
from nightdesk.simulator.faults.spec import Lasting, name_of

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

ROOT_UID = 0

_Verb = Callable[[Mapping[str, Any]], Any]


class CommandSocket:
    """Injects, lists and heals faults for ``run.py simulator fault | faults | heal``."""

    def __init__(self, exchange: "Exchange", runtime_dir: str, logger: FilteringBoundLogger) -> None:
        self._exchange = exchange
        self._logger = logger
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = ControlServer(
            str(Path(runtime_dir) / EXCHANGE_SOCKET),
            handler=self._handle,
            refusal=lambda _caller, _text: None,
            spawn=self._spawn,
            log=logger,
            other_uids={ROOT_UID},
        )
        self._verbs: dict[str, _Verb] = {"fault": self._fault, "faults": self._faults, "heal": self._heal}

    async def start(self) -> None:
        """Listen; clients may connect when this returns."""
        await self._server.start()

    async def close(self) -> None:
        """End every connection and remove the socket."""
        await self._server.close()

    def _spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _handle(self, caller: Caller, request: Request) -> Reply:
        verb = self._verbs.get(request.verb)
        if verb is None:
            return Reply(None, f"no such command: {request.verb[:40]!r} (there are {', '.join(self._verbs)})")
        try:
            return Reply(verb(request.arguments), None)
        except ConfigurationError as error:
            return Reply(None, str(error))

    def _fault(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        fault = fault_of_command(arguments)
        meant = len(self._exchange.injector.meant(fault))
        number = self._exchange.injector.inject(fault, "command")
        name = name_of(type(fault))
        if not isinstance(fault, Lasting):
            text = f"{name}: {meant} connection{'' if meant == 1 else 's'} struck"
        elif fault.for_s is None:
            text = f"{name} is active; end it with: heal {number}"
        else:
            text = f"{name} is active for {fault.for_s:g} s as number {number}"
        return {"number": number, "text": text}

    def _faults(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        _refuse_others(arguments, ())
        exchange = self._exchange
        log = exchange.wire_log
        return {
            "active": exchange.injector.status(),
            "injected": exchange.injector.injected,
            "known": described(),
            "connections": [
                {
                    "number": session.outlet.number,
                    "user": session.user_name,
                    "plant": session.plant.name.lower() if session.plant is not None else "",
                }
                for session in sorted(exchange.sessions, key=lambda each: each.outlet.number)
            ],
            "wire_log": None
            if log is None
            else {"path": str(log.path), "records": log.records, "missed": log.missed, "stopped": log.is_stopped},
        }

    def _heal(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        _refuse_others(arguments, ("number",))
        number = arguments.get("number")
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise ConfigurationError("number: must be a whole number, as faults lists it")
        healed = self._exchange.injector.heal(number)
        return {"healed": healed, "text": f"{healed} healed" if healed else "nothing was active"}


def _refuse_others(arguments: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in arguments:
        if key not in known:
            raise ConfigurationError(f"{key[:40]}: is not a known argument; remove it")
