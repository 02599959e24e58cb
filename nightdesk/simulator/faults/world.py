"""Faults that strike connections as a whole, the market, or the account."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nightdesk.messages.enums import OrderType, Side, TimeInForce
from nightdesk.simulator.faults.spec import (
    Drop,
    Fault,
    ForcedLogout,
    ForeignOrders,
    Maintenance,
    ReservedMarket,
    Reset,
)
from nightdesk.simulator.model import NewOrder
from nightdesk.simulator.wire.gateway import force_logout
from nightdesk.simulator.wire.session import Session

if TYPE_CHECKING:
    from nightdesk.simulator.engine import Exchange

FOREIGN_USER = "somebody-else"
CLOSED = "Closed"


def drop(session: Session) -> None:
    """The connection ends without a close frame."""
    session.outlet.abort("fault: drop")


def reset(session: Session) -> None:
    """The connection ends with a TCP reset."""
    session.outlet.abort("fault: rst", is_reset=True)


def log_out(session: Session) -> None:
    """77, then the close; a session that is not logged in has nothing to lose but its socket."""
    if session.plant is not None:
        force_logout(session)
    else:
        drop(session)


STRIKES: dict[type[Fault], Callable[[Session], None]] = {Drop: drop, Reset: reset, ForcedLogout: log_out}
"""What happens at once to each connection that is meant."""
_ENDS = {"drop": drop, "rst": reset, "forced_logout": log_out}


class World:
    """A lasting fault of the exchange itself; its frames, if it has any, are a filter's business."""

    def __init__(self, exchange: "Exchange", fault: Any, over: Callable[[], None]) -> None:
        """``over`` is called when the fault has ended by itself."""
        self.exchange = exchange
        self.fault = fault
        self.over = over
        self.number = 0
        """The fault's number; the injector sets it before ``begin``."""

    def begin(self) -> None:
        """The fault begins; what it names is there."""

    def end(self) -> None:
        """The fault is over."""

    def cancel(self) -> None:
        """The exchange ends: do nothing more."""


class Mode(World):
    """Markets in another mode until the end."""

    reason = "fault"

    @property
    def mode(self) -> str:
        """The mode that the markets have meanwhile."""
        mode: str = self.fault.mode
        return mode

    @property
    def symbols(self) -> Sequence[str]:
        """The contracts that are meant."""
        return self.listed if self.fault.symbol is None else [self.fault.symbol]

    @property
    def listed(self) -> Sequence[str]:
        """All contracts."""
        return [product.symbol for product in self.exchange.catalog.products]

    def begin(self) -> None:
        self.exchange.set_mode(self.symbols, self.mode, self.reason)

    def end(self) -> None:
        # Another fault may hold the market still: then it is that one's.
        others = [active.world for active in self.exchange.injector.active if isinstance(active.world, Mode)]
        for symbol in self.symbols:
            usual = self.exchange.scheduled_mode(symbol)
            mode = next((other.mode for other in reversed(others) if symbol in other.symbols), usual)
            self.exchange.set_mode([symbol], mode, f"{self.reason} is over")


class Break(Mode):
    """The daily break: closed markets, no sessions."""

    reason = "maintenance"
    mode = CLOSED

    @property
    def symbols(self) -> Sequence[str]:
        return self.listed

    def begin(self) -> None:
        super().begin()
        for session in list(self.exchange.sessions):
            _ENDS[self.fault.how](session)


class Foreign(World):
    """Orders of somebody else on a client's account."""

    fault: ForeignOrders

    def __init__(self, exchange: "Exchange", fault: ForeignOrders, over: Callable[[], None]) -> None:
        super().__init__(exchange, fault, over)
        accounts = [account for user in exchange.users.values() for account in user.accounts]
        self._account_id = fault.account or accounts[0]
        products = {product.symbol: product for product in exchange.catalog.products}
        self._product = products[fault.symbol] if fault.symbol is not None else next(iter(products.values()))
        self._left = fault.count
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._send()

    def end(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        fault, exchange = self.fault, self.exchange
        order = NewOrder(
            account_id=self._account_id,
            user=FOREIGN_USER,
            user_tag="",
            symbol=self._product.symbol,
            exchange=self._product.exchange,
            side=Side(fault.side),
            order_type=OrderType.MARKET if fault.price is None else OrderType.LIMIT,
            quantity=fault.quantity,
            price=fault.price,
            trigger_price=None,
            time_in_force=TimeInForce.DAY,
            is_automatic=False,
        )
        _, events = exchange.venue.submit(order, exchange.now_ns())
        exchange.record(events)
        exchange.publish(events)
        self._left -= 1
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(fault.every_s, self._send) if self._left else loop.call_later(0, self.over)


WORLDS: dict[type[Fault], type[World]] = {ReservedMarket: Mode, Maintenance: Break, ForeignOrders: Foreign}
"""Who does it."""
