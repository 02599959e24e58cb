"""Strategies that are gone: a process that crashed, or was killed because it hung, and has not come back in time.

Its end is seen on its lane, whatever becomes of its supervisor. One that is stopped in order says goodbye first, and is
not missed. Where a strategy was gone before this order plant began, its time runs from then on.
"""

from dataclasses import dataclass

from actors.plants.order_account import Account
from actors.plants.order_lane import Departure
from actors.plants.order_wills import STRATEGIES, LastWills
from nightdesk.messages import ChildState, Severity, StrategyId, TreeStatus
from nightdesk.settings.models import Strategy

CRASHED = "its process ended without a word"
CUT = "it did not read what it was told"
NEVER_CAME = "it has not come back since the order plant was started"


@dataclass(slots=True)
class _Gone:
    since_s: float
    cause: str
    is_seen: bool
    """Whether this process saw it end."""


class AbsenceWatch:
    """``went`` and ``came`` by its lane; ``look`` a few times a second."""

    def __init__(self, account: Account, wills: LastWills) -> None:
        self._account = account
        self._wills = wills
        now_s = account.context.clock.monotonic_s()
        self._sections: dict[StrategyId, Strategy] = {
            StrategyId(each.name): each for each in account.settings.strategies
        }
        self._gone = {strategy_id: _Gone(now_s, NEVER_CAME, is_seen=False) for strategy_id in self._sections}

    def went(self, strategy_id: StrategyId, how: Departure) -> None:
        """A strategy's lane has ended; one that said goodbye is started again by whoever has stopped it."""
        if how is Departure.GOODBYE or strategy_id not in self._sections:
            return
        now_s, is_lost = self._account.context.clock.monotonic_s(), how is Departure.LOST
        self._gone[strategy_id] = _Gone(now_s, CRASHED if is_lost else CUT, is_seen=is_lost)
        self.look()

    def came(self, strategy_id: StrategyId) -> None:
        """A process of the strategy is there."""
        self._gone.pop(strategy_id, None)

    def found(self, status: TreeStatus) -> None:
        """The supervisor's own list: whoever was stopped by the operator is not missed."""
        for child in status.children:
            gone = self._gone.get(StrategyId(child.child_id.removeprefix(STRATEGIES)))
            if gone is not None and not gone.is_seen and child.state is ChildState.STOPPED:
                del self._gone[StrategyId(child.child_id.removeprefix(STRATEGIES))]

    def look(self) -> None:
        """Carry out the last wills of those that are gone for too long and have something at stake."""
        account = self._account
        if account.is_ending:
            return
        now_s = account.context.clock.monotonic_s()
        for strategy_id, gone in list(self._gone.items()):
            section, gone_s = self._sections[strategy_id], now_s - gone.since_s
            is_at_once = section.last_will_on == "crash" and gone.is_seen
            if not is_at_once and gone_s < section.last_will_after_s:
                continue
            if self._wills.is_parked(strategy_id):
                del self._gone[strategy_id]
            elif self._is_at_stake(strategy_id):
                del self._gone[strategy_id]
                self._carry_out(strategy_id, section, gone.cause if is_at_once else f"{gone.cause}, {gone_s:.0f} s ago")

    def _is_at_stake(self, strategy_id: StrategyId) -> bool:
        account = self._account
        is_held = any(
            account.ledger.quantity(owner, symbol) for owner, symbol in account.ledger.pairs() if owner == strategy_id
        )
        return is_held or bool(account.table.open_orders(strategy_id))

    def _carry_out(self, strategy_id: StrategyId, section: Strategy, cause: str) -> None:
        account = self._account
        text = f"strategy {strategy_id} is gone ({cause}): its last will is {section.last_will}"
        account.log.error("strategy_gone", strategy_id=strategy_id, will=section.last_will, cause=cause)
        account.context.alert("strategy_gone", Severity.ERROR, text, strategy_id=strategy_id)
        self._wills.gone(strategy_id, section.last_will, cause)
