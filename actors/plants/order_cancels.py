"""Cancels that are asked for again where they were refused: each time after a longer while.

What a market refuses that does not trade waits for it at the sender; this is for one that trades.
"""

from dataclasses import dataclass

from actors.plants.order_account import Account
from actors.plants.order_sender import Sender
from nightdesk.messages import ClientOrderId
from nightdesk.trading.order import Order
from nightdesk.trading.protection import is_leaving


@dataclass(slots=True)
class _Pace:
    pause_s: float
    next_s: float


class PacedCancels:
    """``first_s`` is the pause after an order's first cancel, ``max_s`` the longest, in seconds of this machine."""

    def __init__(self, account: Account, sender: Sender, first_s: float, max_s: float) -> None:
        self._account = account
        self._sender = sender
        self._first_s = first_s
        self._max_s = max_s
        self._paces: dict[ClientOrderId, _Pace] = {}

    def request(self, order: Order) -> None:
        """Cancel an order, unless that is under way or its time has not come; call as often as you like."""
        if order.is_final or is_leaving(order):
            return
        now_s = self._account.context.clock.monotonic_s()
        pace = self._paces.get(order.client_order_id)
        if pace is None:
            self._forget_final()
            pace = self._paces[order.client_order_id] = _Pace(self._first_s, now_s)
        if now_s < pace.next_s:
            return
        pace.next_s = now_s + pace.pause_s
        pace.pause_s = min(2 * pace.pause_s, self._max_s)
        self._sender.request_cancel(order)

    def _forget_final(self) -> None:
        working = {order.client_order_id for order in self._account.table.open_orders()}
        self._paces = {key: pace for key, pace in self._paces.items() if key in working}
