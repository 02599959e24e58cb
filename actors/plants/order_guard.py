"""Takes back what is more than a position: stops that a fill has left too large, and entries where none may fill (in a
no-trade window, while trading is REDUCING, after a loss limit).

Between a fill at the exchange and the end of our cancel or change there is the way there and back, and a stop that
triggers meanwhile opens a position. That cannot be kept from happening: it is told at once. What could not be cut (the
link was down, the exchange refused, the order plant was killed) is cut as soon as it can be; nothing of it is written
down, since the orders and the position say all of it.
"""

from dataclasses import dataclass

from actors.plants.order_account import Account
from actors.plants.order_events import order_fields
from actors.plants.order_gate import Gate
from actors.plants.order_sender import Sender
from nightdesk.messages import ClientOrderId, OrderStatus, Severity, StrategyId
from nightdesk.trading.broker import BrokerUpdate
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.protection import Cut, beyond_exits, protection_beyond
from nightdesk.trading.sessions import MarketPhase

RETRY_S = 2.0
"""After the first attempt at an order; doubled with each further one."""
RETRY_MAX_S = 60.0
SERVER_CUTS_S = 2.0
"""What the server has to cut orders that it has linked, as it does with every fill; our own cut would only meet it."""
EXCESS_ALERT_S = 10.0
"""What is too much for so long while the market trades is told, once for an order."""

_AT_REST = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED})
_Pair = tuple[StrategyId, str]


@dataclass(slots=True)
class _Attempts:
    """At one order, as long as the same is to stay of it."""

    keep: int
    began_s: float
    next_s: float
    pause_s: float = RETRY_S
    is_told: bool = False


class PositionGuard:
    """Looks after each report that moves a position, and a few times a second."""

    def __init__(self, account: Account, gate: Gate, sender: Sender) -> None:
        self._account = account
        self._gate = gate
        self._sender = sender
        self._held = {pair: account.ledger.quantity(*pair) for pair in account.ledger.pairs()}
        self._attempts: dict[ClientOrderId, _Attempts] = {}
        # A former process may have been killed before it cut: all protection is looked at once.
        self._shrunk = {(each.strategy_id, each.symbol) for each in account.table.open_orders() if each.protective}
        self._pump = account.after_update
        account.after_update = self._after_update

    def look(self) -> None:
        """Cut what is too much; call a few times a second."""
        account = self._account
        pairs = {(each.strategy_id, each.symbol) for each in account.table.open_orders()}
        self._shrunk &= pairs
        for pair in pairs:
            if pair in self._shrunk or account.risk.is_closing_only(*pair):
                self._treat(pair)
        for client_order_id in list(self._attempts):
            order = account.table.get(client_order_id)
            if order is None or order.is_final:
                del self._attempts[client_order_id]

    def _after_update(self, order: Order, update: BrokerUpdate) -> None:
        self._pump(order, update)
        pair = (order.strategy_id, order.symbol)
        quantity = self._account.ledger.quantity(*pair)
        before = self._held.get(pair, 0)
        if order.parent_id and not order.is_final:
            # The server has made or moved it by itself, perhaps after the position was closed.
            self._shrunk.add(pair)
        if quantity == before or order.purpose is Purpose.EXTERNAL:
            return
        self._held[pair] = quantity
        if abs(quantity) < abs(before) or quantity * before < 0:
            self._shrunk.add(pair)
        self._tell_opened(order, before, quantity)
        self._treat(pair)

    def _treat(self, pair: _Pair) -> None:
        account = self._account
        if not account.connected or account.reconciling or pair in self._gate.flattening:
            return
        if any((each.strategy_id, each.symbol) == pair for each in account.table.missing_fills()):
            # The position is not what it seems: its protection may be for what is not booked yet.
            return
        quantity, orders = account.ledger.quantity(*pair), account.table.open_orders(*pair)
        if account.risk.is_closing_only(*pair):
            cuts = beyond_exits(quantity, orders)
        elif pair in self._shrunk:
            cuts = protection_beyond(quantity, orders)
        else:
            return
        if not cuts and not protection_beyond(quantity, orders, with_entries=False):
            self._shrunk.discard(pair)
        wanted = {cut.order.client_order_id: cut.keep for cut in cuts}
        for order in orders:
            attempts = self._attempts.get(order.client_order_id)
            if attempts is not None and attempts.keep != wanted.get(order.client_order_id):
                del self._attempts[order.client_order_id]
        for cut in cuts:
            self._attempt(cut, quantity)

    def _attempt(self, cut: Cut, quantity: int) -> None:
        order, now_s = cut.order, self._account.context.clock.monotonic_s()
        first_s = now_s + (SERVER_CUTS_S if order.link_group and order.protective else 0.0)
        attempts = self._attempts.setdefault(order.client_order_id, _Attempts(cut.keep, now_s, first_s))
        self._tell_excess(cut, quantity, attempts, now_s)
        if now_s < attempts.next_s or (cut.keep and not self._can_change(order)):
            return
        attempts.next_s, attempts.pause_s = now_s + attempts.pause_s, min(2 * attempts.pause_s, RETRY_MAX_S)
        self._account.log.warning("order_cut", **order_fields(order), position=quantity, keep=cut.keep)
        if cut.keep:
            self._sender.modify(order, order.terms()._replace(quantity=order.filled_quantity + cut.keep))
        else:
            self._sender.request_cancel(order)

    def _can_change(self, order: Order) -> bool:
        """A cancel waits for the answer before it and for the market by itself; a change does not.

        Of an order whose executions are missing nobody knows how much is left to keep.
        """
        if order.operation is not None or order.status not in _AT_REST or order.missing_quantity:
            return False
        markets = self._account.markets
        return markets.phase(order.symbol) is MarketPhase.PRE_OPEN or markets.may_exit(order.symbol)

    def _tell_excess(self, cut: Cut, quantity: int, attempts: _Attempts, now_s: float) -> None:
        account, order = self._account, cut.order
        if not account.markets.is_trading(order.symbol):
            # No order is cut while nobody trades, and none can fill.
            attempts.began_s = now_s
        if attempts.is_told or now_s - attempts.began_s < EXCESS_ALERT_S:
            return
        attempts.is_told = True
        text = (
            f"{order.client_order_id} may fill {order.exposure} {order.symbol}, position {quantity}, and could not be "
            f"cut to {cut.keep}: it would open a position"
        )
        account.log.error("order_excess", **order_fields(order), text=text)
        account.context.alert("order_excess", Severity.ERROR, text, client_order_id=order.client_order_id)

    def _tell_opened(self, order: Order, before: int, quantity: int) -> None:
        """A fill beyond the position of what was only to lower it: both a stop and a target, or an entry too late.

        Where a closing order had a part in it, whoever watches that one closes what is open now.
        """
        account, pair = self._account, (order.strategy_id, order.symbol)
        opened = abs(quantity) - (abs(before) if quantity * before > 0 else 0)
        if opened <= 0 or order.purpose is not Purpose.STRATEGY:
            return
        if not order.protective and not account.markets.is_no_trade_window(*pair):
            return
        entry = account.find(order.parent_id)
        if entry is not None and entry.exposure >= opened:
            # The reports of the entry's fills come after those of its exit's.
            return
        text = f"{order.client_order_id} has opened {opened} {order.symbol}, which it was not to: position {quantity}"
        account.log.critical("position_unasked", **order_fields(order), position=quantity, text=text)
        account.context.alert("position_unasked", Severity.CRITICAL, text, client_order_id=order.client_order_id)
