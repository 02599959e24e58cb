"""A two-sided quoter: one bid and one ask beside the market, with a limit on the inventory."""

from typing import Annotated

from pydantic import Field

from nightdesk import (
    ConnectionLost,
    DataGap,
    MarketPhase,
    OrderDenied,
    OrderRejected,
    OrderReport,
    OrderStatus,
    QuoteTick,
    Side,
    Strategy,
    StrategyParameters,
)

_BUSY = frozenset(
    {
        OrderStatus.INITIALIZED,
        OrderStatus.SUBMITTED,
        OrderStatus.PENDING_UPDATE,
        OrderStatus.PENDING_CANCEL,
        OrderStatus.UNKNOWN,
    }
)
"""Something about the order is on its way or in doubt: leave it alone until that is known."""


class Quoter(Strategy):
    """Keeps a bid and an ask ``distance_ticks`` behind the best ones, each of ``quantity`` contracts.

    All it does happens on one timer: every ``requote_s`` it moves what is no longer in its place, at most one message
    per side. A side whose fill could take the position beyond ``max_position`` is not quoted. On a pause, a gap in the
    data or a lost connection both quotes are canceled, and come back with the first quote after that.
    """

    class Parameters(StrategyParameters):
        """``distance_ticks`` 0 joins the touch; ``retry_s`` is how long a refused side rests."""

        quantity: Annotated[int, Field(ge=1)] = 1
        distance_ticks: Annotated[int, Field(ge=0, le=10_000)] = 0
        requote_s: Annotated[float, Field(ge=0.1)] = 2.0
        max_position: Annotated[int, Field(ge=1)] = 2
        retry_s: Annotated[float, Field(gt=0)] = 10.0

    parameters: Parameters

    def on_start(self) -> None:
        """Quotes of ours from before a restart are taken over: they are in ``orders()``."""
        self._fresh = False
        self._resting_ns = {Side.BUY: 0, Side.SELL: 0}
        self.set_timer("requote", self.parameters.requote_s)

    def on_stop(self) -> None:
        """Nobody looks after the quotes any more."""
        self.cancel_all()

    def on_quote(self, quote: QuoteTick) -> None:
        """The host keeps the newest quote; what counts here is that there is one since the last trouble."""
        if quote.symbol == self.front():
            self._fresh = True

    def on_timer(self, name: str) -> None:
        """Put each side where it belongs."""
        quote = self.quote()
        if not self._fresh or quote is None or self.paused or not self.trading_permitted:
            return
        if self.phase() is not MarketPhase.OPEN:
            return
        distance = self.parameters.distance_ticks * self.instrument().tick_size
        bid = quote.bid_price - distance if quote.bid_size else None
        ask = quote.ask_price + distance if quote.ask_size else None
        self._quote_side(Side.BUY, bid)
        self._quote_side(Side.SELL, ask)

    def on_pause(self) -> None:
        """Cancels pass during a pause."""
        self._withdraw()

    def on_data_gap(self, gap: DataGap) -> None:
        """Prices from before the gap say nothing."""
        self._withdraw()

    def on_connection_lost(self, event: ConnectionLost) -> None:
        """Without data we would quote blindly; without the order plant the timer sets things right later."""
        if event.plant != "plants/history":
            self._withdraw()

    def on_order_denied(self, event: OrderDenied) -> None:
        """Both sides rest: the event does not say which one it was when the order is not ours any more."""
        self.log.warning("quote_denied", code=event.code, reason=event.text)
        self._rest(self.order(event.client_order_id))

    def on_order_rejected(self, event: OrderRejected) -> None:
        """The market may be closed or halted."""
        self.log.warning("quote_rejected", reason=event.text)
        self._rest(self.order(event.client_order_id))

    def _quote_side(self, side: Side, price: float | None) -> None:
        orders = [order for order in self.orders() if order.side == side]
        if any(order.status in _BUSY for order in orders):
            return
        position = self.position().quantity
        room = self.parameters.max_position - (position if side == Side.BUY else -position)
        keep = orders[0] if orders else None
        if keep is not None and (price is None or len(orders) > 1 or keep.leaves_quantity > room):
            self.cancel(orders[-1].client_order_id)
        elif keep is not None and price is not None:
            self._move(keep, self.round_to_tick(price))
        elif price is not None and room > 0 and self.now_ns >= self._resting_ns[side]:
            send = self.buy if side == Side.BUY else self.sell
            send(min(self.parameters.quantity, room), price=self.round_to_tick(price))

    def _move(self, order: OrderReport, price: float) -> None:
        tick_size = self.instrument().tick_size
        if order.price is None or abs(order.price - price) > tick_size / 2:
            self.modify(order.client_order_id, price=price)

    def _withdraw(self) -> None:
        self._fresh = False
        if self.orders():
            self.cancel_all()

    def _rest(self, order: OrderReport | None) -> None:
        until_ns = self.now_ns + round(self.parameters.retry_s * 1e9)
        for side in (Side.BUY, Side.SELL):
            if order is None or order.side == side:
                self._resting_ns[side] = until_ns
