"""The operator's verbs about limits and the state of trading; who asked is passed on, with the reason."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from nightdesk.control_socket import Caller, Request
from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.messages import (
    ChildId,
    Message,
    QueryRisk,
    ResetRisk,
    RiskReport,
    SetTradingState,
    StrategyId,
    TradingState,
)

REASON_LENGTH_MAX = 200
ACCOUNT_NAME = "account"


class Asked(Request, frozen=True, kw_only=True):
    """A request with whoever is at the other end of the socket."""

    caller: Caller


class Asker(Protocol):
    """What control has for its verbs."""

    async def ask_order_plant(self, question: Callable[[str], Message]) -> Message:
        """Its answer to a query. Raises ``LinkError`` without one."""
        ...

    async def command(self, question: Callable[[str], Message]) -> dict[str, Any]:
        """What became of a command. Raises ``ConfigurationError`` for a refusal, ``LinkError`` without an answer."""
        ...


class RiskVerbs:
    """Each verb with the arguments that it takes; ``strategies`` are the configured ones."""

    def __init__(self, asker: Asker, child_id: ChildId, strategies: Mapping[str, str]) -> None:
        self._asker = asker
        self._child_id = child_id
        self._strategies = strategies
        self.verbs: dict[str, tuple[Callable[[Asked], Awaitable[Any]], frozenset[str]]] = {
            "risk": (self._risk, frozenset()),
            "risk-reset": (self._reset, frozenset({"id", "reason"})),
            "reduce": (self._setting(TradingState.REDUCING), frozenset({"reason"})),
            "halt": (self._setting(TradingState.HALTED), frozenset({"reason"})),
            "resume-trading": (self._setting(TradingState.ACTIVE), frozenset({"reason"})),
        }

    async def _risk(self, request: Asked) -> dict[str, Any]:
        answer = await self._asker.ask_order_plant(
            lambda request_id: QueryRisk(request_id=request_id, reply_to=self._child_id)
        )
        if not isinstance(answer, RiskReport):
            raise LinkError("plants/order gave an unexpected answer; look at status before trying again")
        return {
            "trading_state": answer.trading_state,
            "reason": answer.reason,
            "breaches": [{"owner": owner, "code": code} for owner, code in answer.breaches],
            "limits": [msgspec.structs.asdict(row) for row in answer.limits],
        }

    async def _reset(self, request: Asked) -> dict[str, Any]:
        owner, reason = self._owner(request), required_reason(request)
        return await self._asker.command(
            lambda request_id: ResetRisk(
                request_id=request_id,
                reply_to=self._child_id,
                owner=owner,
                reason=reason,
                uid=request.caller.uid,
                pid=request.caller.pid,
            )
        )

    def _setting(self, trading_state: TradingState) -> Callable[[Asked], Awaitable[Any]]:
        async def verb(request: Asked) -> dict[str, Any]:
            reason = required_reason(request)
            return await self._asker.command(
                lambda request_id: SetTradingState(
                    request_id=request_id,
                    reply_to=self._child_id,
                    trading_state=trading_state,
                    reason=reason,
                    uid=request.caller.uid,
                    pid=request.caller.pid,
                )
            )

        return verb

    def _owner(self, request: Asked) -> StrategyId:
        given = str(request.arguments.get("id") or "")
        name = given.removeprefix("strategies/")
        if given == ACCOUNT_NAME and ACCOUNT_NAME not in self._strategies:
            return StrategyId("")
        if name not in self._strategies:
            known = ", ".join((ACCOUNT_NAME, *self._strategies))
            raise ConfigurationError(f"no such owner of limits: {given[:80]!r} (there are {known})")
        return StrategyId(name)


def required_reason(request: Request) -> str:
    """The reason of a request that needs one."""
    reason = given_reason(request)
    if not reason:
        raise ConfigurationError(f'{request.verb} needs a reason: add --reason "TEXT"')
    return reason


def given_reason(request: Request) -> str:
    """The reason of a request in one line, without what would move a terminal's cursor wherever it is shown."""
    words = " ".join(str(request.arguments.get("reason") or "").split())
    return "".join(letter for letter in words if letter.isprintable())[:REASON_LENGTH_MAX]
