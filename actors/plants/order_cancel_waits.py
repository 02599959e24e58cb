"""Cancels that are tried again: each time after a longer while, and at once where a market has become livelier.

What a market refuses that does not trade waits for it at the sender; whoever wants an order gone asks ``PacedCancels``
as often as he likes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.plants.order_account import Account
from nightdesk.messages import ClientOrderId
from nightdesk.trading.order import Order
from nightdesk.trading.protection import is_leaving
from nightdesk.trading.sessions import MarketPhase

CANCEL_RETRY_S = 2.0
"""From a cancel that was refused to the next one, of this machine; doubled with each further one."""

CANCEL_RETRY_MAX_S = 300.0

_LIVELINESS = {MarketPhase.CLOSED: 0, MarketPhase.HALT: 0, MarketPhase.PRE_OPEN: 1, MarketPhase.OPEN: 2}
"""A market that has become livelier since may take what it refused before."""


@dataclass(slots=True)
class _Wait:
    next_s: float
    pause_s: float
    phase: MarketPhase
    tries: int


class CancelWaits:
    """When each order's cancel may be sent again: ``first_s`` after the first, ``max_s`` at the latest."""

    def __init__(self, account: Account, first_s: float = CANCEL_RETRY_S, max_s: float = CANCEL_RETRY_MAX_S) -> None:
        self._account = account
        self._first_s = first_s
        self._max_s = max_s
        self._waits: dict[ClientOrderId, _Wait] = {}

    def is_trading(self, order: Order) -> bool:
        """Whether the order's market trades, by the calendar or by what is heard of it."""
        return self._phase(order) is MarketPhase.OPEN

    def note(self, order: Order) -> int:
        """A cancel was sent or refused, and this is how often: the next one comes later."""
        wait = self._waits.get(order.client_order_id)
        if wait is None:
            self._forget_ended()
        pause_s = self._first_s if wait is None else min(2 * wait.pause_s, self._max_s)
        tries = 1 if wait is None else wait.tries + 1
        next_s = self._account.context.clock.monotonic_s() + pause_s
        self._waits[order.client_order_id] = _Wait(next_s, pause_s, self._phase(order), tries)
        return tries

    def is_waiting(self, order: Order) -> bool:
        """Whether it is too early: neither has the pause passed nor has the market become livelier."""
        wait = self._waits.get(order.client_order_id)
        if wait is None or self._account.context.clock.monotonic_s() >= wait.next_s:
            return False
        return _LIVELINESS[self._phase(order)] <= _LIVELINESS[wait.phase]

    def forget(self, order: Order) -> None:
        """It is over, or on its way by other means."""
        self._waits.pop(order.client_order_id, None)

    def orders(self) -> list[Order]:
        """The orders whose cancels wait."""
        found = (self._account.table.get(each) for each in self._waits)
        return [order for order in found if order is not None]

    def _forget_ended(self) -> None:
        working = {order.client_order_id for order in self._account.table.carrying()}
        self._waits = {key: wait for key, wait in self._waits.items() if key in working}

    def _phase(self, order: Order) -> MarketPhase:
        markets = self._account.markets
        return MarketPhase.OPEN if markets.contradicted(order.symbol) else markets.phase(order.symbol)


class PacedCancels:
    """Asks again for cancels that were refused."""

    def __init__(self, waits: CancelWaits, cancel: Callable[[Order], None]) -> None:
        """``cancel`` is the sender's."""
        self._waits = waits
        self._cancel = cancel

    def request(self, order: Order) -> None:
        """Cancel an order, unless that is under way or its time has not come; call as often as you like."""
        if not (order.is_final or is_leaving(order) or self._waits.is_waiting(order)):
            self._waits.note(order)
            self._cancel(order)
