"""Orders for the day whose session is over: the broker should have said so, and where it has not, it is asked.

Each is asked for at most once while its market is closed, once when that takes orders again, and once when it trades.
"""

from collections.abc import Callable

from actors.plants import order_events as events
from actors.plants.order_account import Account
from actors.plants.order_externals import is_external
from actors.plants.order_sender import Sender
from nightdesk.messages import ClientOrderId, Severity, Side
from nightdesk.trading.order import Order
from nightdesk.trading.protection import is_protection
from nightdesk.trading.sessions import NS_PER_S, MarketPhase

OVERDUE_AFTER_S = 60.0
"""Of market time after the close: by then a broker has reported what the close has ended."""

OVERDUE_AFTER_MIN_S = 2.0
"""Of this machine: at high speed a minute of market time is over before a report has come."""


class DayEnds:
    """``sweep`` a few times a second; ``listed`` for each open order that a whole list of the broker shows."""

    def __init__(self, account: Account, sender: Sender, request_reconcile: Callable[[str], None]) -> None:
        self._account = account
        self._sender = sender
        self._request_reconcile = request_reconcile
        self._asked: dict[ClientOrderId, MarketPhase] = {}
        self._told: dict[ClientOrderId, MarketPhase] = {}

    def sweep(self) -> None:
        """Ask for orders whose end is overdue, and, as a market trades, for what a silent end may have hidden."""
        account = self._account
        if not account.connected or account.reconciling:
            return
        if account.replay_from_ns is not None and account.markets.is_any_trading():
            self._request_reconcile(
                "orders for the day ended while the broker told nothing; their executions are asked"
            )
        overdue = {order.client_order_id: order for order in account.table.open_orders() if self._is_overdue(order)}
        for client_order_id in self._asked.keys() - overdue.keys():
            del self._asked[client_order_id]
            self._told.pop(client_order_id, None)
        phases = {key: account.markets.phase(order.symbol) for key, order in overdue.items()}
        new = sorted(key for key, phase in phases.items() if self._asked.get(key) != phase)
        if new:
            self._asked |= phases
            self._request_reconcile(f"the day is over and nothing has told of the end of {', '.join(new[:5])}")

    def listed(self, order: Order) -> None:
        """A whole list shows an open order: one whose day is over is canceled, unless it protects a position."""
        phase = self._account.markets.phase(order.symbol)
        if is_external(order) or not self._is_overdue(order) or self._told.get(order.client_order_id) == phase:
            return
        self._asked[order.client_order_id] = self._told[order.client_order_id] = phase
        is_guard = self._is_guard(order)
        what = "it protects a position and is left alone" if is_guard else "it is canceled"
        text = f"{order.client_order_id} for the day has outlived it: the market is {phase}, and {what}"
        fields = events.order_fields(order)
        self._account.log.error("day_order_outlived", **fields, text=text)
        self._account.context.alert("day_order_outlived", Severity.ERROR, text, **fields)
        if not is_guard:
            self._sender.request_cancel(order)

    def _is_guard(self, order: Order) -> bool:
        """Whether a position would be without its stop: the broker's word that it works is worth more than our hour."""
        quantity = self._account.ledger.quantity(order.strategy_id, order.symbol)
        return is_protection(order) and (quantity > 0 if order.side is Side.SELL else quantity < 0)

    def _is_overdue(self, order: Order) -> bool:
        markets = self._account.markets
        if not markets.time.is_known or markets.contradicted(order.symbol):
            return False
        after_s = max(OVERDUE_AFTER_S, OVERDUE_AFTER_MIN_S * markets.time.speed)
        return markets.is_day_over(order, markets.time.now_ns() - round(after_s * NS_PER_S))
