"""The three books side by side: the exchange's own log (the oracle), the order plant's journal, the operator's view."""

from collections import Counter
from pathlib import Path

from nightdesk.chaos.books import exchange_accounts, journal_fill_counts, journal_rows
from nightdesk.simulator.venue.log import AccountSummary
from tests.e2e.harness import System
from tests.support import wait_until

__all__ = ["agree", "differences", "exchange_orders", "exchange_summary", "journal_rows"]

ACCOUNT = "SIM-1"


def exchange_summary(state_dir: Path) -> AccountSummary:
    """What the exchange's log says of the account."""
    return exchange_accounts(state_dir)[ACCOUNT]


def exchange_orders(state_dir: Path) -> Counter[str]:
    """Each ``user_tag`` that the exchange ever received, with how often."""
    accounts = exchange_accounts(state_dir)
    return accounts[ACCOUNT].user_tags if ACCOUNT in accounts else Counter()


def agree(system: System) -> None:
    """Fail unless the three books say the same and no order was received twice; waits for messages under way."""
    difference: list[str] = []

    def no_difference() -> bool:
        difference[:] = differences(system)
        return not difference

    try:
        wait_until(no_difference, 10)
    except AssertionError:
        raise AssertionError("\n".join(difference) + "\n" + system.tail()) from None


def differences(system: System) -> list[str]:
    """Every disagreement between the books, in words."""
    exchange = exchange_summary(system.state_dir)
    found = [f"received {count} times: {tag}" for tag, count in exchange.user_tags.items() if count > 1]
    known = {row[0] for row in journal_rows(system.state_dir, "SELECT client_order_id FROM orders")}
    found += [f"at the exchange without an intent: {tag}" for tag in exchange.user_tags if tag not in known]
    theirs = Counter((fill.basket_id, fill.fill_id, fill.quantity, fill.price) for fill in exchange.fills)
    ours = journal_fill_counts(system.state_dir)
    if theirs != ours:
        found.append(f"fills only at the exchange: {theirs - ours}; only in the journal: {ours - theirs}")
    positions = {one["symbol"]: one["quantity"] for one in system.status()["positions"] if one["quantity"]}
    exchange_positions = {symbol: quantity for symbol, quantity in exchange.positions.items() if quantity}
    if positions != exchange_positions:
        found.append(f"positions: {positions} here, {exchange_positions} at the exchange")
    return found
