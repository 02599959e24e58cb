"""The audit lane's server side: the broker's own positions against our ledger."""

from dataclasses import dataclass

from actors.lanes import LaneServer, Peer
from actors.plants.order_account import Account
from nightdesk.errors import LaneError
from nightdesk.messages import (
    AccountIdentity,
    AuditHello,
    BrokerPosition,
    BrokerSnapshotEnd,
    Message,
    OrderStatus,
    Severity,
)
from nightdesk.trading.ledger import ACCOUNT

MISMATCH_S = 5.0
"""A difference that stays the same for so long, with nothing in flight, is no matter of timing."""

MISMATCH_IN_FLIGHT_S = 30.0
"""The same while orders of the symbol are on their way: a busy quoter always has one."""

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
    is_told: bool = False


class Audit:
    """Gives the pnl plant our identity and judges the positions that it brings back."""

    def __init__(self, path: str, account: Account) -> None:
        self._account = account
        self._peers: set[Peer] = set()
        self._identity: AccountIdentity | None = None
        self._broker: dict[str, int] = {}
        self._snapshot: set[str] = set()
        self._is_complete = False
        self._episodes: dict[str, _Episode] = {}
        self._server = LaneServer(path, on_open=lambda peer: None, on_message=self.on_message, on_close=self._on_close)

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def set_identity(self, identity: AccountIdentity) -> None:
        """Who we are, learned at the login; told again only when it changed."""
        if identity == self._identity:
            return
        self._identity = identity
        for peer in list(self._peers):
            _send(peer, identity)

    def on_message(self, peer: Peer, message: Message) -> None:
        """The hello of the pnl plant, or one of the broker's positions."""
        match message:
            case AuditHello():
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
                self._is_complete = True

    def check(self) -> None:
        """Compare; call a few times a second."""
        account = self._account
        if not self._is_complete or account.reconciling or not account.connected:
            self._episodes.clear()
            return
        if not account.markets.is_any_trading():
            # Nothing is traded, and the pnl plant may be without its link: only what lasts into a session counts.
            self._episodes = {symbol: episode for symbol, episode in self._episodes.items() if episode.is_told}
            return
        now_s = account.context.clock.monotonic_s()
        for symbol in account.ledger.symbols() | self._broker.keys():
            ours, theirs = account.ledger.quantity(ACCOUNT, symbol), self._broker.get(symbol, 0)
            self._judge(symbol, ours, theirs, now_s)

    def _judge(self, symbol: str, ours: int, theirs: int, now_s: float) -> None:
        account = self._account
        episode = self._episodes.get(symbol)
        if ours == theirs:
            if episode is not None and episode.is_told:
                account.log.warning("position_mismatch_ended", symbol=symbol, quantity=ours)
            self._episodes.pop(symbol, None)
            return
        if episode is None or (episode.difference != theirs - ours and not episode.is_told):
            self._episodes[symbol] = _Episode(theirs - ours, now_s)
            return
        in_flight = any(order.status in _IN_FLIGHT for order in account.table.open_orders(symbol=symbol))
        if episode.is_told or now_s - episode.since_s < (MISMATCH_IN_FLIGHT_S if in_flight else MISMATCH_S):
            return
        episode.is_told = True
        account.log.critical("position_mismatch", symbol=symbol, quantity=ours, broker_quantity=theirs)
        text = f"{symbol}: the journal says {ours}, the broker says {theirs}"
        account.context.alert("position_mismatch", Severity.CRITICAL, text, symbol=symbol)

    def _on_close(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if not self._peers:
            # Without the pnl plant the positions grow stale; the next one brings a whole list.
            self._broker.clear()
            self._snapshot.clear()
            self._is_complete = False


def _send(peer: Peer, message: Message) -> None:
    try:
        peer.send(message)
    except LaneError:
        peer.close()
