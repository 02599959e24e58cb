"""Cancels that are tried again: what a market refuses that does not trade waits for it, and nothing is hammered."""

from dataclasses import dataclass

from actors.plants.order_account import Account
from nightdesk.messages import ClientOrderId
from nightdesk.trading.order import Order
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
    """When each order's cancel may be sent again."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._waits: dict[ClientOrderId, _Wait] = {}

    def is_trading(self, order: Order) -> bool:
        """Whether the order's market trades, by the calendar or by what is heard of it."""
        return self._phase(order) is MarketPhase.OPEN

    def note(self, order: Order) -> int:
        """A cancel was sent or refused, and this is how often: the next one comes later."""
        wait = self._waits.get(order.client_order_id)
        pause_s = CANCEL_RETRY_S if wait is None else min(2 * wait.pause_s, CANCEL_RETRY_MAX_S)
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

    def _phase(self, order: Order) -> MarketPhase:
        markets = self._account.markets
        return MarketPhase.OPEN if markets.contradicted(order.symbol) else markets.phase(order.symbol)
