"""A strategy that sends as many orders as it may: half of them fill at once, half of them rest and are canceled."""

from typing import Annotated

from pydantic import Field

from nightdesk import OrderReport, OrderStatus, Strategy, StrategyParameters


class Burst(Strategy):
    """Orders of one contract each; the position stays between one short and one long."""

    class Parameters(StrategyParameters):
        """``pace_s`` of market time between two turns; ``orders_max`` at work or on their way at any time."""

        pace_s: Annotated[float, Field(ge=0.01, le=60)] = 0.02
        orders_max: Annotated[int, Field(ge=2, le=1000)] = 8
        far: Annotated[float, Field(gt=0)] = 500.0

    parameters: Parameters

    def on_start(self) -> None:
        """Orders of a former life are dealt with like any other."""
        self.set_timer("turn", self.parameters.pace_s)

    def on_pause(self) -> None:
        """The burst is over: what rests goes."""
        self._cancel_resting()

    def on_timer(self, name: str) -> None:
        """Cancel what rests, and send until there are as many as allowed."""
        self._cancel_resting()
        quote = self.quote()
        if quote is None or self.paused or not self.trading_permitted:
            return
        rests = round(quote.bid_price - self.parameters.far)
        orders = self.orders()
        crossing = sum(_is_crossing(order) for order in orders)
        for number in range(self.parameters.orders_max - len(orders)):
            if number % 2 or crossing:
                self.buy(1, price=float(rests))
            else:
                (self.buy if self.position().quantity <= 0 else self.sell)(1)
                crossing += 1

    def _cancel_resting(self) -> None:
        for order in self.orders():
            if order.status is OrderStatus.ACCEPTED and not _is_crossing(order):
                self.cancel(order.client_order_id)


def _is_crossing(order: OrderReport) -> bool:
    """At the market: it fills at once."""
    return order.price is None
