"""Last wills: what is done about the orders and positions of a strategy that its supervisor has set aside.

The will is journalled before anything is done about it and again when it is done, so that an order plant that is killed
in between goes on with it, and one that comes back later leaves it alone. Nothing in it can be done twice by mistake:
a canceled order is canceled, and a second closing order is never sent while one is open or in doubt.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from actors.plants.journal import JournalWriteError, LastWill
from actors.plants.order_account import Account
from actors.plants.order_flatten import Flattener
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from actors.plants.order_waiting import until
from nightdesk.messages import ChildId, ChildParked, ChildState, Severity, StrategyId, TradingState, TreeStatus

GONE = -1
"""In the place of the number of restarts: the will of a process that was not set aside, but did not come back."""

STRATEGIES = "strategies/"
"""With what the ids of strategies begin."""


class WillPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often a last will is tried."""

    poll_s: float = 0.1
    retry_s: float = 5.0
    """After the first attempt; doubled with each further one."""
    retry_max_s: float = 60.0
    attempts_max: int = 20
    alert_s: float = 30.0
    """A will that takes longer is told to the operator, once."""


class LastWills:
    """One task per strategy that is set aside; ``drop`` ends the lane of its former process."""

    def __init__(
        self,
        account: Account,
        gate: Gate,
        sender: Sender,
        flattener: Flattener,
        drop: Callable[[StrategyId], None],
        policy: WillPolicy,
    ) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._flattener = flattener
        self._drop = drop
        self._policy = policy
        self._wills = {will.strategy_id: will for will in account.journal.last_wills()}
        self._tasks: dict[StrategyId, asyncio.Task[None]] = {}
        self._outlived: set[StrategyId] = set()
        """Strategies that are back while the flatten for their absence is under way."""

    def resume(self) -> None:
        """Go on with what a former process left undone."""
        for will in self._wills.values():
            if not will.is_done:
                self._begin(will)

    def parked(self, message: ChildParked) -> None:
        """A child was set aside; the same news may come twice, and is then none."""
        strategy_id = StrategyId(message.child_id.removeprefix(STRATEGIES))
        section = next((item for item in self._account.settings.strategies if item.name == strategy_id), None)
        if section is None or not message.child_id.startswith(STRATEGIES):
            self._account.log.warning("parked_child_unknown", parked=message.child_id)
            return
        known = self._wills.get(strategy_id)
        if known is not None and known.restarts in (message.restarts, GONE):
            return
        self._fence(LastWill(strategy_id, section.last_will, message.reason, message.restarts, is_done=False))

    def gone(self, strategy_id: StrategyId, will: str, cause: str) -> None:
        """A strategy's process crashed or hung, and is not awaited any longer."""
        if strategy_id not in self._wills:
            self._fence(LastWill(strategy_id, will, cause, GONE, is_done=False))

    def _fence(self, will: LastWill) -> None:
        # What the dead process has left in its socket is stale from now on.
        self._gate.epochs[will.strategy_id] = self._account.next_fencing_epoch(will.strategy_id)
        self._drop(will.strategy_id)
        self._keep(will)
        self._begin(will)

    def found(self, status: TreeStatus) -> None:
        """The supervisor's own list: whoever was set aside while no order plant was there to hear of it."""
        for child in status.children:
            strategy_id = StrategyId(child.child_id.removeprefix(STRATEGIES))
            if child.state is ChildState.PARKED and strategy_id not in self._wills:
                reason = "set aside while the order plant was away"
                self.parked(ChildParked(child_id=ChildId(child.child_id), restarts=child.restarts, reason=reason))

    def is_parked(self, strategy_id: StrategyId) -> bool:
        """Whether a strategy is set aside, or gone."""
        return strategy_id in self._wills

    def revived(self, strategy_id: StrategyId) -> None:
        """A new process of the strategy is there: what is left of its will is void.

        A flatten that was begun because the process was gone is carried to its end: half of it would leave a position
        without its stops. Until then the strategy opens nothing.
        """
        will = self._wills.get(strategy_id)
        if will is None:
            return
        if will.restarts == GONE and will.will == "flatten" and not will.is_done:
            self._outlived.add(strategy_id)
            self._gate.closing.add(strategy_id)
            return
        self._void(strategy_id)

    def _void(self, strategy_id: StrategyId) -> None:
        del self._wills[strategy_id]
        self._outlived.discard(strategy_id)
        self._gate.closing.discard(strategy_id)
        task = self._tasks.pop(strategy_id, None)
        if task is not None:
            task.cancel()
        try:
            self._account.journal.clear_last_will(strategy_id)
        except JournalWriteError as error:
            self._account.journal_failed(error)
        self._account.log.info("strategy_revived", strategy_id=strategy_id)

    def stop(self) -> None:
        """Leave what is undone to the next process."""
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, will: LastWill) -> None:
        task = self._account.context.spawn(self._carry_out(will), name=f"last will of {will.strategy_id}")
        self._tasks[will.strategy_id] = task

    async def _carry_out(self, will: LastWill) -> None:
        account, strategy_id = self._account, will.strategy_id
        account.log.warning("last_will_begun", strategy_id=strategy_id, will=will.will, cause=will.cause)
        alerting = asyncio.create_task(self._alert_when_late(will))
        try:
            done = True
            if will.will != "keep":
                # Cancels pass in every state, and the sooner the better; what follows sees to it that they arrive.
                await self._cancel(strategy_id)
            if will.will == "cancel_entries":
                done = await self._try(strategy_id, self._cancel, lambda: not account.entries(strategy_id))
            elif will.will == "flatten":
                done = await self._try(strategy_id, self._flatten, lambda: self._flattener.is_flat(strategy_id))
        finally:
            alerting.cancel()
        if not done:
            self._alert(will, f"given up after {self._policy.attempts_max} attempts")
            self._gate.closing.discard(strategy_id)
            return
        self._keep(will._replace(is_done=True))
        account.log.warning(
            "last_will_executed",
            strategy_id=strategy_id,
            will=will.will,
            cause=will.cause,
            restarts=max(0, will.restarts),
            open_orders=len(account.table.open_orders(strategy_id)),
            positions=sum(position.quantity != 0 for position in account.ledger.reports(strategy_id)),
        )
        if strategy_id in self._outlived:
            self._tasks.pop(strategy_id, None)
            self._void(strategy_id)

    async def _try(
        self, strategy_id: StrategyId, attempt: Callable[[StrategyId], Awaitable[None]], holds: Callable[[], bool]
    ) -> bool:
        """Attempt until it holds; a rejected exit or a refused cancel is a matter of time, but not for ever."""
        pause_s = self._policy.retry_s
        tries = 0
        while tries < self._policy.attempts_max:
            await until(self._is_settled, poll_s=self._policy.poll_s)
            is_trading = self._flattener.can_close(strategy_id)
            await attempt(strategy_id)
            if await until(lambda: holds() and self._is_settled(), poll_s=self._policy.poll_s, timeout_s=pause_s):
                return True
            pause_s = min(2 * pause_s, self._policy.retry_max_s)
            # What fails in a break, where nobody trades and links are down, has not been tried.
            tries += is_trading
        return False

    def _is_settled(self) -> bool:
        """What is held and what works is certain."""
        return self._account.connected and not self._account.reconciling

    async def _cancel(self, strategy_id: StrategyId) -> None:
        for order in self._account.entries(strategy_id):
            self._sender.request_cancel(order)

    async def _flatten(self, strategy_id: StrategyId) -> None:
        # The operator (or an alarm) has stopped everything but cancels: a closing order waits for that to end.
        await until(lambda: self._account.trading_state is not TradingState.HALTED, poll_s=self._policy.poll_s)
        # In a break it waits for the opening, with the protection that the position has.
        await until(lambda: self._flattener.can_close(strategy_id), poll_s=self._policy.poll_s)
        problem = await self._flattener.flatten_all(strategy_id)
        if problem:
            self._account.log.warning("last_will_problem", strategy_id=strategy_id, problem=problem)

    async def _alert_when_late(self, will: LastWill) -> None:
        while True:
            await asyncio.sleep(self._policy.alert_s)
            if self._flattener.can_close(will.strategy_id):
                break
        self._alert(will, f"not done after {self._policy.alert_s:g} s; trading is {self._account.trading_state.value}")

    def _alert(self, will: LastWill, text: str) -> None:
        text = f"last will of {will.strategy_id} ({will.will}): {text}"
        self._account.log.error("last_will_incomplete", strategy_id=will.strategy_id, will=will.will, text=text)
        self._account.context.alert("last_will_incomplete", Severity.ERROR, text, strategy_id=will.strategy_id)

    def _keep(self, will: LastWill) -> None:
        self._wills[will.strategy_id] = will
        try:
            self._account.journal.write_last_will(will, self._account.context.clock.now_ns())
        except JournalWriteError as error:
            self._account.journal_failed(error)
