"""What the broker is asked when orders have to be settled: one question after the other, each with its own deadline.

**Required** are the list of orders (320) and the executions, by their replay (3506) or their history (3512): without
both nothing is settled. **Corroborating** are the orders of this trade date and the one before (324), the other of the
two answers about executions, and the positions (402, asked by the pnl plant, see ``order_audit.py``). They show what
the required ones left out, and may be missing: a question that was refused or not answered ``REFUSALS_MAX`` times in a
row is told once and left out, until the next connection, which asks it once more.

Lists that push images are asked for one after the other, since all of them come as the same template; each is followed
by a quiet window for stragglers. A refusal, silence, or an answer without its end is *unknown*, never *none*.
"""

import asyncio
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from actors.plants.order_account import Account
from nightdesk.errors import LinkError
from nightdesk.messages import Severity
from nightdesk.rithmic import lists as wire
from nightdesk.rithmic.orders import ReportUnreadable
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.trading.broker import BrokerUpdate

REFUSALS_MAX = 3
"""So many refusals or silences in a row, and a question that only corroborates is left out."""

FILL_PAGES_MAX = 100
"""Answers of ``FILLS_MAX`` executions each; a history that is longer than all of them is not known whole."""

QUIET_WINDOWS_MAX = 40
"""Stragglers begin the quiet window anew, so often at most."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """The longest wait for each answer, in seconds of this machine."""

    orders_s: float = 10.0
    orders_of_day_s: float = 10.0
    executions_s: float = 15.0
    fills_s: float = 15.0


class Query(StrEnum):
    """The questions, by the name that people read."""

    ORDERS = "orders"
    ORDERS_OF_DAY = "orders of a day"
    EXECUTIONS = "executions"
    FILLS = "history of fills"
    POSITIONS = "positions"


class Picture(NamedTuple):
    """What one round of questions came to."""

    is_whole: bool
    """Whether everything that is required, and everything else that the broker serves, was answered."""
    fills: tuple[BrokerUpdate, ...]
    """The executions of the history (3512); the other lists were pushed as they came."""


class _Answer(StrEnum):
    GIVEN = "GIVEN"
    FAILED = "FAILED"
    LEFT_OUT = "LEFT_OUT"


class _Terms(NamedTuple):
    template_id: int
    deadline: str
    """The field of ``Deadlines``."""
    is_pushed: bool
    """Whether what is asked for comes as images beside the answer."""


_TERMS = {
    Query.ORDERS: _Terms(wire.SHOW_ORDERS, "orders_s", is_pushed=True),
    Query.ORDERS_OF_DAY: _Terms(wire.SHOW_ORDERS_OF_DAY, "orders_of_day_s", is_pushed=True),
    Query.EXECUTIONS: _Terms(wire.REPLAY_EXECUTIONS, "executions_s", is_pushed=True),
    Query.FILLS: _Terms(wire.SHOW_FILLS, "fills_s", is_pushed=False),
}

UNKNOWN = Picture(is_whole=False, fills=())


class BrokerLists:
    """Asks; ``images`` counts what is pushed, so that a window in which something came is no quiet one."""

    def __init__(self, account: Account, deadlines: Deadlines, quiet_s: float) -> None:
        self._account = account
        self._deadlines = deadlines
        self._quiet_s = quiet_s
        self._failures: dict[Query, int] = {}
        self._tried: set[Query] = set()
        self._one_at_a_time = asyncio.Lock()
        """Whatever has lists pushed holds it: two at once could not be told apart."""
        self.images = 0

    def connected(self) -> None:
        """A new connection: what was left out is asked for once more."""
        self._tried.clear()

    async def ask(self, session: PlantSession, start_s: int, finish_s: int) -> Picture:
        """All questions about orders and executions; ``start_s`` and ``finish_s`` in the broker's unix seconds."""
        async with self._one_at_a_time:
            if not await self._orders(session):
                return UNKNOWN
            listed = await self._orders_of_days(session)
            span = wire.executions_between(self._account.account_id, start_s, finish_s)
            replayed, _ = await self._ask(session, Query.EXECUTIONS, span)
            if replayed is _Answer.GIVEN:
                self.answered(Query.EXECUTIONS)
            told, fills = await self._history(session, start_s, finish_s)
        has_executions = _Answer.GIVEN in (replayed, told)
        return Picture(has_executions and _Answer.FAILED not in (listed, replayed, told), tuple(fills))

    async def orders(self, session: PlantSession) -> bool:
        """The list of orders alone; True when it was answered whole."""
        async with self._one_at_a_time:
            return await self._orders(session)

    def is_left_out(self, query: Query) -> bool:
        """Whether a question is not asked, or not waited for, any more in this connection."""
        return self._failures.get(query, 0) >= REFUSALS_MAX and query in self._tried

    def failed(self, query: Query, reason: str) -> bool:
        """A question was refused or not answered; True when it is left out from now on."""
        self._tried.add(query)
        failures = self._failures[query] = self._failures.get(query, 0) + 1
        self._account.log.warning("reconcile_answer_failed", query=query.value, reason=reason, failures=failures)
        if failures == REFUSALS_MAX:
            text = (
                f"the broker does not serve '{query}' ({reason}), asked {failures} times: orders are settled without "
                "it, by its other answers"
            )
            self._account.log.error("reconcile_query_unserved", query=query.value, reason=reason)
            self._account.context.alert("reconcile_query_unserved", Severity.ERROR, text, query=query.value)
        return failures >= REFUSALS_MAX

    def answered(self, query: Query) -> None:
        """A question was answered: it is asked as ever."""
        self._tried.add(query)
        if self._failures.pop(query, 0) >= REFUSALS_MAX:
            self._account.log.info("reconcile_query_served", query=query.value)

    async def _orders(self, session: PlantSession) -> bool:
        try:
            await self._request(session, Query.ORDERS, {"account_id": self._account.account_id})
        except (LinkError, RequestRefused) as error:
            self._account.log.warning("reconcile_answer_failed", query=Query.ORDERS.value, reason=str(error))
            return False
        return True

    async def _orders_of_days(self, session: PlantSession) -> _Answer:
        answer = _Answer.GIVEN
        for trade_date in reversed(self._account.markets.trade_dates()):
            fields = wire.orders_of_day(self._account.account_id, trade_date)
            answer, _ = await self._ask(session, Query.ORDERS_OF_DAY, fields)
            if answer is not _Answer.GIVEN:
                return answer
        self.answered(Query.ORDERS_OF_DAY)
        return answer

    async def _history(self, session: PlantSession, start_s: int, finish_s: int) -> tuple[_Answer, list[BrokerUpdate]]:
        """3512, as many answers as it takes; one that holds all that fits says nothing of what comes after it."""
        fills: list[BrokerUpdate] = []
        for _ in range(FILL_PAGES_MAX):
            span = wire.fills_between(self._account.account_id, start_s, finish_s)
            answer, frames = await self._ask(session, Query.FILLS, span)
            fills.extend(self._decoded(frames))
            if answer is not _Answer.GIVEN:
                return answer, fills
            if len(frames) < wire.FILLS_MAX:
                self.answered(Query.FILLS)
                return answer, fills
            last_s = max(wire.second_of(frame) for frame in frames)
            if last_s <= start_s:
                break
            start_s = last_s
        is_left_out = self.failed(Query.FILLS, "there are more executions than one answer holds")
        return _Answer.LEFT_OUT if is_left_out else _Answer.FAILED, fills

    def _decoded(self, frames: list[Any]) -> list[BrokerUpdate]:
        found = []
        for frame in frames:
            try:
                found.append(wire.decode_fill(frame))
            except ReportUnreadable as error:
                self._account.log.warning("report_dropped", reason=str(error))
        return found

    async def _ask(self, session: PlantSession, query: Query, fields: dict[str, Any]) -> tuple[_Answer, list[Any]]:
        """Ask what may be left out."""
        if self.is_left_out(query):
            return _Answer.LEFT_OUT, []
        try:
            frames = await self._request(session, query, fields)
        except (LinkError, RequestRefused) as error:
            # A link that is gone says nothing about the question.
            is_left_out = session.connected and self.failed(query, str(error))
            return _Answer.LEFT_OUT if is_left_out else _Answer.FAILED, []
        return _Answer.GIVEN, frames

    async def _request(self, session: PlantSession, query: Query, fields: dict[str, Any]) -> list[Any]:
        terms = _TERMS[query]
        limit_s: float = getattr(self._deadlines, terms.deadline)
        frames = await session.request(terms.template_id, timeout_s=limit_s, **fields)
        if terms.is_pushed:
            await self._quiet()
        return frames

    async def _quiet(self) -> None:
        for _ in range(QUIET_WINDOWS_MAX):
            images = self.images
            await asyncio.sleep(self._quiet_s)
            if self.images == images:
                return
