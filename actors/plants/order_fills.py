"""The history of fills (3512) against the replay of executions (3506) and our own books.

An execution that only the history has is booked like any other, under its key, and told. It carries no tag, so that one
of an order that nobody knows waits while an intent of ours is in doubt that it may belong to. What we have booked and
the broker does not tell of, although it tells of what came before and after it, is told, too.
"""

from collections.abc import Iterable

from actors.plants.order_account import Account
from nightdesk.messages import OrderStatus, Severity
from nightdesk.trading.broker import BrokerUpdate, FillKey

COMPARED_MAX = 500
"""So many of our newest executions are looked for in what the broker tells."""

NAMED_MAX = 5


class FillHistory:
    """One per account: ``begin_round`` before the lists, ``replayed`` and ``take`` with them, ``compare`` after."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._told: dict[FillKey, int] = {}
        """What the broker has told in this round, and its times of it."""
        self._postponed: list[BrokerUpdate] = []
        self._missed: set[FillKey] = set()
        self._since_ns = 0

    def begin_round(self, since_ns: int) -> None:
        """The lists are asked for anew, executions since a moment of the broker's."""
        self._since_ns = since_ns
        self._told.clear()
        self._postponed.clear()

    def replayed(self, update: BrokerUpdate) -> None:
        """The replay has told of an execution."""
        self._told[update.fill_key()] = update.ts_event_ns

    def take(self, fills: Iterable[BrokerUpdate]) -> None:
        """Book what only the history has; ``fills`` are its executions."""
        account, found = self._account, []
        for update in fills:
            key = update.fill_key()
            is_replayed = key in self._told
            self._told[key] = update.ts_event_ns
            if update.account_id != account.account_id or is_replayed or account.journal.has_fill(key):
                continue
            if account.find_by_venue(update.venue_order_id) is None and self._may_be_ours(update):
                self._postponed.append(update)
                continue
            found.append(update)
        self._book(found)

    def adopt_postponed(self) -> None:
        """Nothing is in doubt any more: what belongs to no order of ours is somebody else's."""
        postponed, self._postponed = self._postponed, []
        self._book(postponed)

    def compare(self) -> None:
        """Tell of executions in our books that the broker does not tell of, between those that it does; each once."""
        account = self._account
        if not self._told:
            return
        # A list of orders may show one that is older than what was asked for: it says nothing of those after it.
        oldest_ns, newest_ns = max(min(self._told.values()), self._since_ns), max(self._told.values())
        missing = []
        for fill in account.journal.newest_fills(COMPARED_MAX):
            key = FillKey(account.account_id, fill.exchange, fill.venue_order_id, fill.fill_id)
            if oldest_ns < fill.ts_event_ns < newest_ns and key not in self._told and key not in self._missed:
                self._missed.add(key)
                missing.append(f"{fill.side} {fill.quantity} {fill.symbol} {fill.client_order_id} ({fill.fill_id})")
        if missing:
            names = ", ".join(missing[:NAMED_MAX])
            account.log.error("fills_unknown_to_broker", count=len(missing), fills=names)
            text = f"{len(missing)} executions in the journal are not told by the broker: {names}"
            account.context.alert("fills_unknown_to_broker", Severity.ERROR, text, count=len(missing))

    def _book(self, updates: list[BrokerUpdate]) -> None:
        account = self._account
        for update in updates:
            account.on_update(update)
        if updates:
            names = ", ".join(
                f"{update.side} {update.fill_quantity} {update.symbol} {update.venue_order_id} ({update.fill_id})"
                for update in updates[:NAMED_MAX]
            )
            account.log.warning("fills_found_in_history", count=len(updates), fills=names)
            text = f"{len(updates)} executions were told by the broker's history of fills alone and are booked: {names}"
            account.context.alert("fills_found_in_history", Severity.WARNING, text, count=len(updates))

    def _may_be_ours(self, update: BrokerUpdate) -> bool:
        return any(
            order.venue_order_id is None
            and order.status is OrderStatus.UNKNOWN
            and (order.symbol, order.side) == (update.symbol, update.side)
            for order in self._account.table.open_orders()
        )
