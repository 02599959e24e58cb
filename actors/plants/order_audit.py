"""The audit: our ledger, the broker's list of orders and its positions, held against each other all the time.

The positions come from the pnl plant over the audit lane, the list from ``order_list_audit.py``. What differs has a
reconciliation settle it first; what differs even then is told in one line with all three numbers, and trading is
REDUCING from then on, unless ``audit.on_mismatch`` says otherwise, until the operator resumes it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.lanes import LaneServer, Peer
from actors.plants.order_account import Account
from actors.plants.order_list_audit import ListAudit
from actors.plants.order_waiting import until
from actors.plants.state_audit import Author
from nightdesk.errors import LaneError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    Message,
    OrderStatus,
    Severity,
    TradingState,
)
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.list_check import Difference

MISMATCH_S = 5.0
"""A difference that stays the same for so long, with nothing in flight, is no matter of timing."""

MISMATCH_IN_FLIGHT_S = 30.0
"""The same while orders of the symbol are on their way: a busy quoter always has one."""

SNAPSHOT_AGE_MAX_S = 180.0
"""A whole list of the broker's positions that is older says nothing: three of them are missing."""

STALE_GRACE_S = 90.0
"""Without a list that can be compared for so long while a market trades, somebody is told."""

AGREE_S = 0.5
"""Fills and positions come over two connections: so long they may differ without a reason."""

POLL_S = 0.02

RULE = "audit"
"""Who sets the trading state, in its record."""

_IN_FLIGHT = frozenset(
    {
        OrderStatus.INITIALIZED,
        OrderStatus.SUBMITTED,
        OrderStatus.PENDING_UPDATE,
        OrderStatus.PENDING_CANCEL,
        OrderStatus.UNKNOWN,
    }
)


@dataclass(slots=True)
class _Episode:
    difference: int
    since_s: float
    is_asked: bool = False
    """A reconciliation was asked to settle it."""
    is_told: bool = False


class Audit:
    """Gives the pnl plant our identity and judges the positions that it brings back.

    Compared is with a whole list that is younger than the opening, the link and ``SNAPSHOT_AGE_MAX_S``. Being told who
    we are once more has the pnl plant ask for one at once.
    """

    def __init__(self, path: str, account: Account, lists: ListAudit, request_reconcile: Callable[[str], None]) -> None:
        self._account = account
        self._lists = lists
        lists.on_lasting = self._orders_differ
        self._request_reconcile = request_reconcile
        self._reduces = account.settings.audit.on_mismatch == "reduce"
        self._snapshots = 0
        self._comparable_since_s: float | None = None
        self._peers: set[Peer] = set()
        self._identity: AccountIdentity | None = None
        self._broker: dict[str, int] = {}
        self._snapshot: set[str] = set()
        self._snapshot_s: float | None = None
        """When the last whole list had come, by this machine's monotonic clock; None: there is none."""
        self._trusted_from_s = 0.0
        """Older lists are of before the opening or the link's return."""
        self._was_trading = False
        self._wanted_since_s: float | None = None
        self._is_stale_told = False
        self._episodes: dict[str, _Episode] = {}
        self._server = LaneServer(path, on_open=lambda peer: None, on_message=self.on_message, on_close=self._on_close)

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def set_identity(self, identity: AccountIdentity) -> None:
        """Who we are, learned at each login; what the broker said of positions before it does not count any more."""
        self._identity = identity
        self._ask_anew()

    def on_message(self, peer: Peer, message: Message) -> None:
        """The hello of the pnl plant (what it told before is void), or one of the broker's positions."""
        match message:
            case AuditHello():
                self._forget()
                self._peers.add(peer)
                if self._identity is not None:
                    _send(peer, self._identity)
            case BrokerPosition() if message.account_id == self._account.account_id:
                self._broker[message.symbol] = message.quantity
                if message.is_snapshot:
                    self._snapshot.add(message.symbol)
            case BrokerSnapshotEnd() if message.account_id == self._account.account_id:
                # A list is complete: what it did not name is flat.
                for symbol in self._broker.keys() - self._snapshot:
                    self._broker[symbol] = 0
                self._snapshot.clear()
                self._snapshot_s = self._now_s()
                self._account.risk.on_broker_positions()
                self._snapshots += 1

    async def compare(self, timeout_s: float) -> dict[str, tuple[int, int]] | None:
        """Have the pnl plant ask for all positions: by symbol, ours and the broker's where they differ.

        None where no whole list comes within the time: that is *unknown*, never *flat*.
        """
        known = self._snapshots
        self._ask()
        if not await until(lambda: self._snapshots > known, poll_s=POLL_S, timeout_s=timeout_s):
            return None
        await until(lambda: not self._differences(), poll_s=POLL_S, timeout_s=min(AGREE_S, timeout_s))
        return self._differences()

    def confirm(self, differences: dict[str, tuple[int, int]]) -> None:
        """A reconciliation has asked for everything again and again, and these positions differ still."""
        for symbol, (ours, theirs) in differences.items():
            episode = self._episodes.setdefault(symbol, _Episode(theirs - ours, self._now_s()))
            episode.is_asked = True
            # Its lists were read and agree by now, or the reconciliation would not have come so far.
            self._tell(symbol, episode, ours, theirs, listed=ours)

    def check(self) -> None:
        """Compare; call a few times a second."""
        account = self._account
        self._lists.look()
        self._follow()
        is_comparable = account.connected and not account.reconciling and account.markets.is_any_trading()
        if not is_comparable or not self._is_current():
            # While nothing is traded the pnl plant may be without its link: only what lasts into a session counts.
            # What was told stays told until both agree.
            self._episodes = {key: each for key, each in self._episodes.items() if each.is_told or each.is_asked}
            self._comparable_since_s = None
            self._watch_staleness(is_wanted=is_comparable)
            return
        if self._comparable_since_s is None:
            self._comparable_since_s = self._now_s()
        self._end_staleness()
        for symbol in account.ledger.symbols() | self._broker.keys():
            ours, theirs = account.ledger.quantity(ACCOUNT, symbol), self._broker.get(symbol, 0)
            self._judge(symbol, ours, theirs, self._now_s())

    def _follow(self) -> None:
        """At an opening the broker's picture is of before it: ask for a new one."""
        is_trading = self._account.markets.is_any_trading()
        if is_trading and not self._was_trading:
            self._ask_anew()
        self._was_trading = is_trading

    def _differences(self) -> dict[str, tuple[int, int]]:
        ledger = self._account.ledger
        found = {
            symbol: (ledger.quantity(ACCOUNT, symbol), self._broker.get(symbol, 0))
            for symbol in ledger.symbols() | self._broker.keys()
        }
        return {symbol: (ours, theirs) for symbol, (ours, theirs) in found.items() if ours != theirs}

    def _ask_anew(self) -> None:
        self._trusted_from_s = self._now_s()
        self._ask()

    def _ask(self) -> None:
        """Being told who we are has the pnl plant ask for a whole list."""
        if self._identity is not None:
            for peer in list(self._peers):
                _send(peer, self._identity)

    def _is_current(self) -> bool:
        taken_s = self._snapshot_s
        if taken_s is None or taken_s < self._trusted_from_s:
            return False
        return self._now_s() - taken_s <= SNAPSHOT_AGE_MAX_S

    def _watch_staleness(self, *, is_wanted: bool) -> None:
        if not is_wanted:
            self._wanted_since_s = None
            return
        if self._wanted_since_s is None:
            self._wanted_since_s = self._now_s()
        waited_s = self._now_s() - self._wanted_since_s
        if waited_s < STALE_GRACE_S or self._is_stale_told:
            return
        self._is_stale_told = True
        self._account.log.warning("audit_stale", waited_s=round(waited_s))
        text = (
            f"positions are not compared with the broker's: it has told no whole list for {waited_s:.0f} s of trading"
        )
        self._account.context.alert("audit_stale", Severity.WARNING, text)

    def _end_staleness(self) -> None:
        self._wanted_since_s = None
        if self._is_stale_told:
            self._is_stale_told = False
            self._account.log.info("audit_stale_ended")

    def _judge(self, symbol: str, ours: int, theirs: int, now_s: float) -> None:
        account = self._account
        episode = self._episodes.get(symbol)
        if ours == theirs:
            if episode is not None and episode.is_told:
                account.log.warning("position_mismatch_ended", symbol=symbol, quantity=ours)
                text = f"{symbol}: journal and broker agree again on {ours}; trading is {account.trading_state.value}"
                account.context.alert("position_mismatch_ended", Severity.INFO, text, symbol=symbol)
            self._episodes.pop(symbol, None)
            return
        if episode is None or (episode.difference != theirs - ours and not episode.is_told):
            self._episodes[symbol] = _Episode(theirs - ours, now_s)
            return
        if episode.is_told:
            return
        in_flight = any(order.status in _IN_FLIGHT for order in account.table.open_orders(symbol=symbol))
        comparable_s = now_s if self._comparable_since_s is None else self._comparable_since_s
        lasts_s = now_s - max(episode.since_s, comparable_s)
        if lasts_s < (MISMATCH_IN_FLIGHT_S if in_flight else MISMATCH_S):
            return
        if episode.is_asked:
            self._tell(symbol, episode, ours, theirs)
            return
        # A report that was lost on the way is asked for first.
        episode.is_asked, episode.since_s = True, now_s
        self._lists.ask_soon()
        self._request_reconcile(f"{symbol}: the journal says {ours}, the broker's positions {theirs}")

    def _tell(self, symbol: str, episode: _Episode, ours: int, theirs: int, listed: int | None = None) -> None:
        if episode.is_told:
            return
        episode.is_told = True
        if listed is None:
            listed = self._lists.position(symbol, ours, episode.since_s)
        self._tell_mismatch("position_mismatch", symbol, (ours, listed, theirs), self._lists.first(symbol))

    def _orders_differ(self, differences: list[Difference]) -> None:
        """The list of orders differs although all was settled."""
        for symbol in dict.fromkeys(each.symbol for each in differences):
            episode = self._episodes.get(symbol)
            if episode is not None and episode.is_told:
                # The line about its position has named the order.
                continue
            first = next(each.text for each in differences if each.symbol == symbol)
            ours = self._account.ledger.quantity(ACCOUNT, symbol)
            theirs = self._broker.get(symbol, 0) if self._is_current() else None
            listed = self._lists.position(symbol, ours)
            self._tell_mismatch("orders_mismatch", symbol, (ours, listed, theirs), first)

    def _tell_mismatch(self, event: str, symbol: str, numbers: tuple[int, int | None, int | None], first: str) -> None:
        """One line with the three numbers, one alert, and REDUCING."""
        account, (ours, listed, theirs), first = self._account, numbers, first or "none"
        account.log.critical(
            event, symbol=symbol, quantity=ours, list_quantity=listed, broker_quantity=theirs, first_order=first
        )
        by_list = "unknown" if listed is None else listed
        by_broker = "unknown" if theirs is None else theirs
        text = (
            f"{symbol}: the journal says {ours}, the broker's list of orders {by_list}, its positions {by_broker}; "
            f"first order that differs: {first}"
        )
        if event == "position_mismatch":
            account.context.alert("position_mismatch", Severity.CRITICAL, text, symbol=symbol)
        else:
            account.context.alert("orders_mismatch", Severity.CRITICAL, text, symbol=symbol)
        if self._reduces and account.trading_state is TradingState.ACTIVE:
            account.set_trading_state(TradingState.REDUCING, text, Author(RULE))

    def _on_close(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if not self._peers:
            # Without the pnl plant the positions grow stale; the next one brings a whole list.
            self._forget()

    def _forget(self) -> None:
        self._broker.clear()
        self._snapshot.clear()
        self._snapshot_s = None

    def _now_s(self) -> float:
        return self._account.context.clock.monotonic_s()


def _send(peer: Peer, message: Message) -> None:
    try:
        peer.send(message)
    except LaneError:
        peer.close()
