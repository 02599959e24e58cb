"""What control does with a request: ask those who know, gather their answers until a deadline, answer once."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import orjson

from actors.base import Body, Context
from actors.control.audit import AuditLog
from actors.control.market import market_report
from actors.control.risk import Asked, RiskVerbs, given_reason
from actors.control.status import (
    Answers,
    branches,
    children,
    key_of,
    keys_without_hope,
    status,
    status_keys,
    tree_keys,
)
from nightdesk.control_socket import Caller, ControlServer, Reply, Request
from nightdesk.errors import ConfigurationError, LinkError, NightdeskError
from nightdesk.messages import (
    ChildId,
    CommandResult,
    FillsReport,
    Message,
    OperatorCancelAll,
    OperatorFlatten,
    OrdersReport,
    PauseStrategy,
    PositionsReport,
    QueryFills,
    QueryOrders,
    QueryPositions,
    QuerySpec,
    QueryStatus,
    RestartChild,
    ResumeStrategy,
    SpecReport,
    StopSystem,
    StrategyId,
    TerminateChild,
)
from nightdesk.settings.children import BRANCHES, CONTROL, ORDER_PLANT, all_children, children_of, supervisor_of
from nightdesk.settings.folders import CONTROL_SOCKET
from nightdesk.settings.market_time import calendars_of
from nightdesk.settings.models import Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.trading.schedule import MarketSchedule

QUERY_DEADLINE_S = 2.0
COMMAND_DEADLINE_S = 10.0
SUPERVISOR_DEADLINE_S = 14.0
"""A child has its time to stop, or to start; the console waits a little longer still."""
ROWS_DEFAULT = 100
ROWS_MAX = 2_000
AUDIT_NAME = "control_audit.log"

Verb = Callable[[Asked], Awaitable[Any]]


class _Gathering:
    """The answers to one request: complete when everybody who was asked has answered."""

    def __init__(self, wanted: set[str], settings: Settings) -> None:
        self.wanted = wanted
        self._settings = settings
        self.answers: dict[str, Message] = {}
        self.complete = asyncio.Event()

    def add(self, origin: ChildId, message: Message) -> None:
        self.answers[key_of(origin, message)] = message
        self.wanted -= keys_without_hope(self._settings, origin, message)
        if self.wanted <= self.answers.keys():
            self.complete.set()


class ControlBody(Body):
    """Serves the operator's verbs; holds no state but the requests that wait for answers."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        run = RunConfiguration.from_json(context.config)
        self._settings = run.settings
        self._schedule = MarketSchedule(calendars_of(run.settings))
        self._gatherings: dict[str, _Gathering] = {}
        self._audit = AuditLog(Path(run.state_dir) / AUDIT_NAME, context.clock, self._audit_failed)
        path = os.path.join(run.runtime_dir, CONTROL_SOCKET)
        self._server = ControlServer(
            path, handler=self._handle, refusal=self._refused, spawn=context.spawn, log=context.log
        )
        self._verbs: dict[str, tuple[Verb, frozenset[str]]] = {
            "status": (self._status, frozenset()),
            "tree": (self._tree, frozenset()),
            "orders": (self._orders, frozenset({"all", "limit"})),
            "positions": (self._positions, frozenset()),
            "fills": (self._fills, frozenset({"limit"})),
            "pause": (self._pause, frozenset({"id", "reason"})),
            "resume": (self._resume, frozenset({"id"})),
            "children": (self._children, frozenset({"id"})),
            "spec": (self._spec, frozenset({"id"})),
            "restart": (self._restart, frozenset({"id"})),
            "terminate": (self._terminate, frozenset({"id"})),
            "cancel-all": (self._cancel_all, frozenset({"id", "external"})),
            "flatten": (self._flatten, frozenset({"id", "force", "external"})),
            "stop": (self._stop, frozenset({"reason"})),
        }
        strategies = {each.name: each.name for each in run.settings.strategies}
        self._verbs |= RiskVerbs(self, context.child_id, strategies).verbs

    async def start(self) -> None:
        self._audit.open()
        await self._server.start()

    async def stop(self) -> None:
        await self._server.close()
        self._audit.close()

    def receive(self, origin: ChildId, message: Message) -> None:
        """Answers, filed under their request; one that comes after its deadline is dropped."""
        gathering = self._gatherings.get(getattr(message, "request_id", ""))
        if gathering is not None:
            gathering.add(origin, message)

    async def _handle(self, caller: Caller, request: Request) -> Reply:
        try:
            asked = Asked(request.request_id, request.verb, request.arguments, caller=caller)
            reply = Reply(await self._carry_out(asked), None)
        except NightdeskError as error:
            reply = Reply(None, str(error))
        result = reply.error or "ok"
        self._audit.write(uid=caller.uid, pid=caller.pid, verb=request.verb, arguments=request.arguments, result=result)
        return reply

    def _audit_failed(self, text: str) -> None:
        self.context.log.error("control_audit_failed", reason=text)

    def _refused(self, caller: Caller, text: str) -> None:
        self._audit.write(uid=caller.uid, pid=caller.pid, verb="", arguments={}, result=text)

    async def _carry_out(self, request: Asked) -> Any:
        found = self._verbs.get(request.verb)
        if found is None:
            raise ConfigurationError(f"no such verb: {request.verb[:40]!r} (there are {', '.join(self._verbs)})")
        verb, allowed = found
        unknown = request.arguments.keys() - allowed
        if unknown:
            raise ConfigurationError(f"{request.verb} takes no argument {sorted(unknown)[0][:40]!r}")
        return await verb(request)

    async def _status(self, request: Request) -> dict[str, Any]:
        answers = await self._ask_status((*self._supervisors(), *self._workers()), status_keys)
        return status(self._settings, answers, market_report(self._schedule, self.context.market_time.now_ns()))

    async def _tree(self, request: Request) -> dict[str, Any]:
        answers = await self._ask_status(self._supervisors(), lambda _: tree_keys())
        return {"mode": self._settings.mode, "children": children(self._settings, answers)}

    async def _ask_status(self, destinations: tuple[ChildId, ...], keys: Callable[..., set[str]]) -> Answers:
        def question(request_id: str) -> list[tuple[ChildId, Message]]:
            query = QueryStatus(request_id=request_id, reply_to=self.context.child_id)
            return [(destination, query) for destination in destinations]

        return await self._gather(question, keys(self._settings), QUERY_DEADLINE_S)

    async def _orders(self, request: Request) -> list[dict[str, Any]]:
        every = request.arguments.get("all") is True
        limit = _limit(request)
        answer = await self._ask_order_plant(
            lambda request_id: QueryOrders(
                request_id=request_id, reply_to=self.context.child_id, working_only=not every, limit=limit
            ),
            QUERY_DEADLINE_S,
        )
        return [msgspec.structs.asdict(order) for order in answer.orders] if isinstance(answer, OrdersReport) else []

    async def _positions(self, request: Request) -> list[dict[str, Any]]:
        answer = await self._ask_order_plant(
            lambda request_id: QueryPositions(request_id=request_id, reply_to=self.context.child_id), QUERY_DEADLINE_S
        )
        found = answer.positions if isinstance(answer, PositionsReport) else ()
        return [msgspec.structs.asdict(position) for position in found]

    async def _fills(self, request: Request) -> list[dict[str, Any]]:
        limit = _limit(request)
        answer = await self._ask_order_plant(
            lambda request_id: QueryFills(request_id=request_id, reply_to=self.context.child_id, limit=limit),
            QUERY_DEADLINE_S,
        )
        return [msgspec.structs.asdict(fill) for fill in answer.fills] if isinstance(answer, FillsReport) else []

    async def _pause(self, request: Request) -> dict[str, Any]:
        name, reason = self._strategy(request), _reason(request)
        return await self._command(
            lambda request_id: PauseStrategy(
                request_id=request_id, reply_to=self.context.child_id, strategy_id=name, reason=reason
            )
        )

    async def _resume(self, request: Request) -> dict[str, Any]:
        name = self._strategy(request)
        return await self._command(
            lambda request_id: ResumeStrategy(request_id=request_id, reply_to=self.context.child_id, strategy_id=name)
        )

    async def _cancel_all(self, request: Request) -> dict[str, Any]:
        name, externals = self._strategy_or_all(request), _flag(request, "external")
        return await self._command(
            lambda request_id: OperatorCancelAll(
                request_id=request_id, reply_to=self.context.child_id, strategy_id=name, externals=externals
            )
        )

    async def _flatten(self, request: Request) -> dict[str, Any]:
        name, force = self._strategy_or_all(request), _flag(request, "force")
        externals = _flag(request, "external")
        return await self._command(
            lambda request_id: OperatorFlatten(
                request_id=request_id,
                reply_to=self.context.child_id,
                strategy_id=name,
                force=force,
                externals=externals,
            )
        )

    async def _restart(self, request: Request) -> dict[str, Any]:
        child_id = self._child(request)
        supervisor = ChildId(supervisor_of(child_id))

        def question(request_id: str) -> RestartChild:
            return RestartChild(request_id=request_id, reply_to=self.context.child_id, child_id=child_id)

        if child_id in (CONTROL, supervisor_of(CONTROL)):
            # Whoever restarts control cannot be answered by it afterwards: the answer leaves first.
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, self.context.tell, supervisor, question(token_hex(8)))
            return {"text": f"{child_id} is being restarted"}
        return await self._command(question, supervisor, SUPERVISOR_DEADLINE_S)

    async def _terminate(self, request: Request) -> dict[str, Any]:
        child_id = self._child(request)
        if child_id in (CONTROL, supervisor_of(CONTROL)):
            raise ConfigurationError(f"without {child_id} nobody could start it again; use restart, or stop the system")
        return await self._command(
            lambda request_id: TerminateChild(request_id=request_id, reply_to=self.context.child_id, child_id=child_id),
            ChildId(supervisor_of(child_id)),
            SUPERVISOR_DEADLINE_S,
        )

    async def _children(self, request: Request) -> list[dict[str, Any]]:
        given = request.arguments.get("id")
        known = self._supervisors()
        if given is not None and given not in known:
            raise ConfigurationError(f"no such branch: {str(given)[:80]!r} (there are {', '.join(known)})")
        answers = await self._ask_status(known, lambda _: tree_keys())
        return branches(self._settings, answers, known if given is None else (str(given),))

    async def _spec(self, request: Request) -> dict[str, Any]:
        child_id = self._child(request)
        answer = await self._ask(
            lambda request_id: QuerySpec(request_id=request_id, reply_to=self.context.child_id, child_id=child_id),
            ChildId(supervisor_of(child_id)),
            QUERY_DEADLINE_S,
        )
        if not isinstance(answer, SpecReport):
            raise ConfigurationError(getattr(answer, "text", "") or f"{child_id} has no spec")
        spec: dict[str, Any] = orjson.loads(answer.spec_json)
        return spec

    async def _stop(self, request: Request) -> dict[str, Any]:
        reason = _reason(request)
        return await self._command(
            lambda request_id: StopSystem(request_id=request_id, reply_to=self.context.child_id, reason=reason),
            ChildId("root"),
        )

    async def _command(
        self,
        question: Callable[[str], Message],
        destination: ChildId = ORDER_PLANT,
        deadline_s: float | None = None,
    ) -> dict[str, Any]:
        answer = await self._ask(question, destination, COMMAND_DEADLINE_S if deadline_s is None else deadline_s)
        if not isinstance(answer, CommandResult):
            raise LinkError(f"{destination} gave an unexpected answer; look at status before trying again")
        if not answer.ok:
            raise ConfigurationError(answer.text)
        return {"text": answer.text}

    async def ask_order_plant(self, question: Callable[[str], Message]) -> Message:
        """A query of the order plant."""
        return await self._ask_order_plant(question, QUERY_DEADLINE_S)

    async def command(self, question: Callable[[str], Message]) -> dict[str, Any]:
        """A command to the order plant."""
        return await self._command(question)

    async def _ask_order_plant(self, question: Callable[[str], Message], deadline_s: float) -> Message:
        return await self._ask(question, ORDER_PLANT, deadline_s)

    async def _ask(self, question: Callable[[str], Message], destination: ChildId, deadline_s: float) -> Message:
        answers = await self._gather(lambda request_id: [(destination, question(request_id))], {"result"}, deadline_s)
        if "result" not in answers:
            raise LinkError(
                f"{destination} did not answer within {deadline_s:g} s; whether it acted is unknown: look at status"
            )
        return answers["result"]

    async def _gather(
        self, question: Callable[[str], list[tuple[ChildId, Message]]], wanted: set[str], deadline_s: float
    ) -> Answers:
        request_id = token_hex(8)
        gathering = self._gatherings[request_id] = _Gathering(wanted, self._settings)
        try:
            for destination, message in question(request_id):
                self.context.tell(destination, message)
            async with asyncio.timeout(deadline_s):
                await gathering.complete.wait()
        except TimeoutError:
            self.context.log.warning("control_unanswered", missing=sorted(wanted - gathering.answers.keys()))
        finally:
            del self._gatherings[request_id]
        return gathering.answers

    def _supervisors(self) -> tuple[ChildId, ...]:
        return tuple(ChildId(name) for name in ("root", *BRANCHES))

    def _workers(self) -> tuple[ChildId, ...]:
        return (*children_of("plants", self._settings), *children_of("strategies", self._settings))

    def _strategy(self, request: Request) -> StrategyId:
        given = str(request.arguments.get("id") or "")
        known = children_of("strategies", self._settings)
        name = given.removeprefix("strategies/")
        if f"strategies/{name}" not in known:
            raise ConfigurationError(f"no such strategy: {given[:80]!r} (there are {', '.join(known) or 'none'})")
        return StrategyId(name)

    def _strategy_or_all(self, request: Request) -> StrategyId:
        # Only an absent id is the whole account: an empty one is an unset variable in somebody's script.
        return StrategyId("") if request.arguments.get("id") is None else self._strategy(request)

    def _child(self, request: Request) -> ChildId:
        given = str(request.arguments.get("id") or "")
        known = all_children(self._settings)
        for candidate in (given, f"strategies/{given}"):
            if candidate in known:
                return ChildId(candidate)
        raise ConfigurationError(f"no such child: {given[:80]!r} (there are {', '.join(known)})")


def _limit(request: Request) -> int:
    value = request.arguments.get("limit", ROWS_DEFAULT)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= ROWS_MAX:
        raise ConfigurationError(f"limit: expected a whole number from 1 to {ROWS_MAX}")
    return value


def _flag(request: Request, name: str) -> bool:
    value = request.arguments.get(name, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}: expected true or false, not {str(value)[:40]!r}")
    return value


def _reason(request: Request) -> str:
    return given_reason(request) or "by the operator"
