"""The account's state of trading: set by operator and rules, journalled, told, and written down with its author."""

import os
from typing import TYPE_CHECKING

from actors.plants.journal import JournalWriteError
from actors.plants.state_audit import Author, StateAudit
from nightdesk.messages import Severity, TradingState

if TYPE_CHECKING:
    from actors.plants.order_account import Account


class TradingStates:
    """One per account; ``audit`` takes further lines of whoever acts on the limits."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        journal = account.journal
        self.audit = StateAudit(os.path.dirname(journal.path), account.context.clock, self._audit_failed)
        last, changes = self.audit.last_number() or 0, journal.trading_states(after=0)
        self.reason = changes[-1][2] if changes else ""
        """Why the state is what it is."""
        self.audit.catch_up([change for change in changes if change[0] > last])
        if changes and changes[-1][1] is not TradingState.ACTIVE:
            self._tell_kept(changes[-1][1])

    def _tell_kept(self, trading_state: TradingState) -> None:
        """A system that is started and sends nothing says why."""
        fields = {"trading_state": trading_state.value, "reason": self.reason}
        self._account.log.warning("trading_state_kept", **fields)
        text = f"trading is still {trading_state.value}: {self.reason}; resume-trading ends it"
        self._account.context.alert("trading_state_kept", Severity.WARNING, text, trading_state=trading_state.value)

    def set(
        self,
        trading_state: TradingState,
        reason: str,
        author: Author,
        rule_state: tuple[TradingState, TradingState] | None = None,
    ) -> bool:
        """Change the state; False when the journal could not take it (it holds all the same).

        ``rule_state``: a loss limit sets it, and with what it is to be undone, in one commit. Whoever else sets a state
        takes it out of the limits' hands.
        """
        account = self._account
        before, account.trading_state = account.trading_state, trading_state
        account.risk.record.rule_state, self.reason = rule_state, reason
        now_ns, number = account.context.clock.now_ns(), 0
        try:
            number = account.journal.write_trading_state(trading_state, reason, now_ns, account.risk.rows())
        except JournalWriteError as error:
            account.journal_failed(error)
        fields = {"trading_state": trading_state.value, "before": before.value, "reason": reason}
        # Without a number the journal does not have it.
        self.audit.write("trading_state", author, **fields, **({"number": number} if number else {}))
        account.log.warning("trading_state_changed", **fields)
        text = f"trading is {trading_state.value} (was {before.value}): {reason}"
        account.context.alert("trading_state_changed", Severity.WARNING, text, trading_state=trading_state.value)
        account.tell_permission()
        return bool(number)

    def _audit_failed(self, text: str) -> None:
        self._account.log.error("trading_state_audit_failed", reason=text)
