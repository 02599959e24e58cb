"""What follows from a reached loss limit beside the denials, as ``risk.on_breach`` says: once for each, and told.

``reducing``: the account's trading is REDUCING, entries are taken back (``order_guard.py``). ``halt``: it is HALTED, or
the strategy that reached its own is paused. ``flatten``: as ``reducing``, and positions are closed until none is left.
What a rule has set ends with its reason. What was done is journalled in one commit with the state that it sets, so that
a process that is killed in between leaves either both or neither; the next one goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from actors.plants.order_account import Account
from actors.plants.order_flatten import Flattener, Pair
from actors.plants.state_audit import Author
from nightdesk.messages import Severity, StrategyId, TradingState
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.order import Purpose
from nightdesk.trading.risk_book import Breach
from nightdesk.trading.risk_terms import OnBreach

_STRICTNESS = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED)

Pause = Callable[[StrategyId, str], tuple[bool, str]]
Resume = Callable[[StrategyId], tuple[bool, str]]


class BreachPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of this machine between two attempts to close a position; doubled with each."""

    retry_s: float = 0.5
    retry_max_s: float = 30.0


@dataclass(slots=True)
class _Closing:
    """A position that a breach closes."""

    retry_s: float
    next_try_s: float = 0.0
    is_at_work: bool = False
    is_told: bool = False


class BreachKeeper:
    """Looks a few times a second, and at once where a limit is reached by a fill or found so by an order."""

    def __init__(
        self, account: Account, flattener: Flattener, pause: Pause, resume: Resume, policy: BreachPolicy
    ) -> None:
        self._account = account
        self._flattener = flattener
        self._pause = pause
        self._resume = resume
        self._policy = policy
        self._action = account.risk.book.terms.rules.on_breach
        self._closings: dict[Pair, _Closing] = {}
        account.risk.on_breach = self._on_breach

    def look(self) -> None:
        """Do what is to be done, and undo what has no reason any more."""
        standing = {(each.owner, each.code): each for each in self._account.risk.book.standing()}
        record = self._account.risk.record
        if record.forget_ended(standing):
            self._undo()
            self._account.risk.write()
        for key in record.begun(standing):
            record.acted.add(key)
            self._act(standing[key])
        if self._action is OnBreach.FLATTEN:
            self._close()

    def _on_breach(self, breaches: list[Breach]) -> None:
        if breaches:
            self.look()

    def _act(self, breach: Breach) -> None:
        account, fields = self._account, {"owner": breach.owner or "account", "code": breach.code.value}
        text = f"{breach.text}: {_CONSEQUENCES[self._action]}"
        account.log.critical("risk_breach", **fields, on_breach=self._action.value, text=text)
        account.context.alert("risk_breach", Severity.CRITICAL, text, **fields)
        account.states.audit.write("breach", Author(breach.code.value), owner=fields["owner"], reason=text)
        if breach.owner == ACCOUNT:
            self._tighten(breach)
        elif self._action is OnBreach.HALT and breach.owner not in account.pauses:
            account.risk.record.pauses[breach.owner] = breach.text
            self._pause(breach.owner, breach.text)
        account.risk.write()

    def _tighten(self, breach: Breach) -> None:
        """Set the state that the breach leads to, where the present one is not stricter."""
        account = self._account
        wanted = TradingState.HALTED if self._action is OnBreach.HALT else TradingState.REDUCING
        present = account.trading_state
        if _STRICTNESS.index(wanted) > _STRICTNESS.index(present):
            rule_state = account.risk.record.rule_state
            before = present if rule_state is None or rule_state[0] is not present else rule_state[1]
            account.states.set(wanted, breach.text, Author(breach.code.value), (wanted, before))

    def _undo(self) -> None:
        """Take back what rules have set whose limits are not reached any more, unless somebody else has set it anew."""
        account, record = self._account, self._account.risk.record
        if record.are_over(ACCOUNT) and record.rule_state is not None:
            # Whoever else sets a state takes it out of the record.
            _, before = record.rule_state
            account.states.set(before, "no loss limit of the account is reached any more", Author("risk"))
        for strategy_id, reason in list(record.pauses.items()):
            if not record.are_over(strategy_id):
                continue
            del record.pauses[strategy_id]
            if account.pauses.get(strategy_id) == reason:
                self._resume(strategy_id)

    def _close(self) -> None:
        account = self._account
        owners = {owner for owner, _ in account.risk.record.acted}
        pairs = [pair for pair in self._flattener.pairs(StrategyId(""), "") if owners & {ACCOUNT, pair[0]}]
        for pair in self._closings.keys() - set(pairs):
            if not self._closings[pair].is_at_work:
                del self._closings[pair]
        for pair in pairs:
            if account.ledger.quantity(*pair):
                self._begin(pair, self._closings.setdefault(pair, _Closing(self._policy.retry_s)))

    def _begin(self, pair: Pair, closing: _Closing) -> None:
        account = self._account
        is_closing = any(order.purpose is Purpose.EXIT for order in account.table.open_orders(*pair))
        cannot = account.is_ending or account.journal.failed or account.trading_state is TradingState.HALTED
        if closing.is_at_work or is_closing or cannot or self._now_s() < closing.next_try_s:
            return
        # In a break it waits for the opening, with the protection that the position has.
        if account.is_settled(pair[1], pair[0]) and account.markets.may_exit(pair[1]):
            closing.is_at_work = True
            account.context.spawn(self._attempt(pair, closing), name=f"flatten {pair[0]} for its loss limit")

    async def _attempt(self, pair: Pair, closing: _Closing) -> None:
        try:
            problem = await self._flattener.flatten_all(*pair)
        finally:
            closing.is_at_work = False
            closing.next_try_s = self._now_s() + closing.retry_s
            closing.retry_s = min(2 * closing.retry_s, self._policy.retry_max_s)
        if problem and not closing.is_told:
            closing.is_told = True
            text = f"{pair[0]} {pair[1]} is to be closed for a loss limit: {problem}"
            self._account.context.alert("flatten_incomplete", Severity.ERROR, text, strategy_id=pair[0])

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()


_CONSEQUENCES = {
    OnBreach.REDUCING: "entries are canceled, and only exits pass",
    OnBreach.HALT: "entries are canceled, and nothing passes but cancels",
    OnBreach.FLATTEN: "entries are canceled, and positions are closed",
}
