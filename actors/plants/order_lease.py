"""What the order plant does about its lease on the journal, and what it prunes there."""

from actors.plants.journal import JournalWriteError
from actors.plants.journal_lease import LeaseLostError
from actors.plants.order_account import Account
from nightdesk.messages import Severity
from nightdesk.trading.sessions import NS_PER_S

TOMBSTONE_KEPT_DAYS = 14
"""An order that the broker's silence has ended is back with the first sign of it for so many days of market time; after
that it is over like any other. Longer than any break of the markets."""

PRUNE_EVERY_S = 3600.0

_CONNECTION_EPOCH = "connection_epoch"


def next_connection_epoch(account: Account) -> int:
    """The number of a new connection: it only grows, over restarts too, so that each intent names its own."""
    known = account.journal.note(_CONNECTION_EPOCH)
    # A journal of an earlier version has no such note; what is open in it is of former connections all the same.
    former = [int(known)] if known is not None and known.isdecimal() else []
    former += [order.connection_epoch for order in account.table.open_orders()]
    epoch = max(account.connection_epoch, *former, 0) + 1
    try:
        account.journal.write_note(_CONNECTION_EPOCH, str(epoch))
    except JournalWriteError as error:
        account.journal_failed(error)
    return epoch


class LeaseKeeper:
    """``look`` a few times a second: a process that has lost its lease must not live on, even with nothing to do."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._next_prune_s = account.context.clock.monotonic_s()
        account.journal.on_lease_lost = self._tell

    def look(self) -> None:
        """Raises ``LeaseLostError``, which ends the actor."""
        self._account.journal.require_lease()
        now_s = self._account.context.clock.monotonic_s()
        if now_s >= self._next_prune_s and self._account.markets.time.is_known:
            self._next_prune_s = now_s + PRUNE_EVERY_S
            self._prune_tombstones()

    def _prune_tombstones(self) -> None:
        account = self._account
        before_ns = account.markets.time.now_ns() - TOMBSTONE_KEPT_DAYS * 86_400 * NS_PER_S
        pruned = 0
        for found in account.journal.tombstones(before_ns):
            order = account.table.get(found.client_order_id) or found
            if order.revived:
                continue
            order.tombstone = False
            if not account.commit(order):
                return
            pruned += 1
        if pruned:
            account.log.info("tombstones_pruned", count=pruned, days=TOMBSTONE_KEPT_DAYS)

    def _tell(self, error: LeaseLostError) -> None:
        text = f"{error}: look which of the two runs is to trade, and stop the other"
        self._account.log.critical("lease_lost", reason=str(error))
        self._account.context.alert("lease_lost", Severity.CRITICAL, text)
