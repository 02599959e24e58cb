"""What is left behind by a system that gives up: working entries canceled, or positions closed, as configured."""

from collections.abc import Callable

from actors.plants.journal import JournalWriteError
from actors.plants.order_account import Account
from actors.plants.order_flatten import Flattener, FlattenPolicy
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from actors.plants.order_waiting import until
from nightdesk.messages import Severity, StrategyId, TradingState

POLL_S = 0.02
CONNECT_SHARE = 0.4
"""The part of the time in which an order plant that is not connected and reconciled may still become so."""
CANCEL_SHARE = 0.3
"""The part in which a flatten waits for its cancels before it closes what it sees."""

ALL = StrategyId("")


class LastActions:
    """The order plant's last actions when it is stopped because a supervisor above it has given up."""

    def __init__(
        self, account: Account, gate: Gate, sender: Sender, on_flatten: Callable[[StrategyId, str], None]
    ) -> None:
        """``on_flatten`` is told of a flatten before it begins: whoever moves positions opens none again."""
        self._account = account
        self._gate = gate
        self._sender = sender
        self._on_flatten = on_flatten
        self.is_done = False

    async def carry_out(self, budget_s: float) -> bool:
        """Do what ``on_system_give_up`` says within the time; True (and a note in the journal) when it is done."""
        account = self._account
        action = account.settings.on_system_give_up
        account.is_ending = True
        account.log.critical("last_actions_begun", action=action, trading_state=account.trading_state.value)
        self.is_done = done = action == "keep" or await self._leave(action, budget_s)
        orders = [order.client_order_id for order in account.table.open_orders()]
        held = [position.symbol for position in account.ledger.reports(ALL) if position.quantity]
        log = account.log.warning if done else account.log.critical
        log("last_actions_done" if done else "last_actions_incomplete", action=action, open_orders=orders, held=held)
        text = f"the system gives up; {action}: {'done' if done else 'NOT done'}, {len(orders)} orders work"
        text += f", positions in {', '.join(held)}" if held else ", no position"
        account.context.alert("last_actions", Severity.WARNING if done else Severity.CRITICAL, text, action=action)
        if done:
            try:
                account.journal.write_gave_up_done(True)
            except JournalWriteError as error:
                account.journal_failed(error)
        return done

    async def _leave(self, action: str, budget_s: float) -> bool:
        account = self._account
        ends_s = account.context.clock.monotonic_s() + budget_s
        # Cancels pass in every state; they wait for the link by themselves.
        for order in account.entries():
            self._sender.request_cancel(order)
        is_settled = await until(self._is_settled, poll_s=POLL_S, timeout_s=budget_s * CONNECT_SHARE)
        is_halted = account.trading_state is TradingState.HALTED
        if action == "flatten" and is_settled and not is_halted:
            policy = FlattenPolicy(cancels_s=budget_s * CANCEL_SHARE, reconciled_s=0.0, poll_s=POLL_S)
            flattener = Flattener(account, self._gate, self._sender, policy)
            flattener.on_flatten = self._on_flatten
            await flattener.flatten_all(ALL)
            left_s = ends_s - account.context.clock.monotonic_s()
            return await until(lambda: flattener.is_flat(ALL), poll_s=POLL_S, timeout_s=left_s)
        for order in account.entries():
            self._sender.request_cancel(order)
        left_s = ends_s - account.context.clock.monotonic_s()
        is_left = await until(
            lambda: self._is_settled() and not account.entries(), poll_s=POLL_S, timeout_s=max(0.0, left_s)
        )
        return is_left and action == "cancel"

    def _is_settled(self) -> bool:
        return self._account.connected and not self._account.reconciling
