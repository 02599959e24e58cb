"""A breakout with brackets: the stop and the target of each entry are held at the server from its first fill on."""

from collections import deque
from typing import Annotated

from pydantic import Field

from nightdesk import (
    Bar,
    ClientOrderId,
    MarketPhase,
    OrderCanceled,
    OrderDenied,
    OrderFilled,
    OrderRejected,
    OrderReport,
    Side,
    Strategy,
    StrategyParameters,
    TradeTick,
)


class BracketBreakout(Strategy):
    """Follows the price out of the range of the last ``bars``, with ``quantity`` contracts at most.

    Nothing is sent while anything of ours works or is held. When the price has gone ``lock_ticks`` in our favour, the
    stop moves to the entry's price. A position whose stop is gone for another reason than the target's fill is closed.
    """

    class Parameters(StrategyParameters):
        """Distances in ticks from the entry's price; ``lock_ticks`` 0: the stop stays where it is."""

        bars: Annotated[int, Field(ge=2, le=10_000)] = 20
        period_s: Annotated[int, Field(ge=1)] = 60
        quantity: Annotated[int, Field(ge=1)] = 1
        stop_ticks: Annotated[int, Field(ge=1)] = 12
        target_ticks: Annotated[int, Field(ge=1)] = 24
        lock_ticks: Annotated[int, Field(ge=0)] = 12

    parameters: Parameters

    def on_start(self) -> None:
        """Exits from before a restart are in ``orders()``; they name their entry."""
        self._bars: deque[Bar] = deque(maxlen=self.parameters.bars)
        self._locked = False
        self.subscribe_bars(None, self.parameters.period_s)

    def on_bar(self, bar: Bar) -> None:
        """A close beyond all bars before it is an entry, unless something of ours is there."""
        if bar.symbol != self.front():
            return
        is_full = len(self._bars) == self.parameters.bars
        highest = max((each.high for each in self._bars), default=0.0)
        lowest = min((each.low for each in self._bars), default=0.0)
        self._bars.append(bar)
        is_free = not self.position().quantity and not self.orders()
        if not is_full or not is_free or self.paused or not self.trading_permitted:
            return
        if self.phase() is not MarketPhase.OPEN or lowest <= bar.close <= highest:
            return
        self._locked = False
        self.bracket(
            Side.BUY if bar.close > highest else Side.SELL,
            self.parameters.quantity,
            stop_ticks=self.parameters.stop_ticks,
            target_ticks=self.parameters.target_ticks,
        )

    def on_trade(self, trade: TradeTick) -> None:
        """Once far enough ahead, the stop goes to where the position costs nothing."""
        held = self.position()
        if not held.quantity or self._locked or not self.parameters.lock_ticks or trade.symbol != held.symbol:
            return
        direction = 1 if held.quantity > 0 else -1
        gain = (trade.price - held.average_price) * direction
        stop = self._stop()
        if stop is None or gain < self.parameters.lock_ticks * self.instrument().tick_size:
            return
        self._locked = True
        self.modify(stop.client_order_id, trigger_price=self.round_to_tick(held.average_price))

    def on_order_filled(self, event: OrderFilled) -> None:
        """What became of an entry: its exits tell by their own fills."""
        exit_order = self._exit(event.client_order_id)
        if exit_order is not None:
            what = "target" if exit_order.trigger_price is None else "stop"
            self.log.info("bracket_exit_filled", exit=what, price=event.last_price, quantity=event.last_quantity)

    def on_order_canceled(self, event: OrderCanceled) -> None:
        """The target's fill cancels the stop; any other end of it leaves a position alone."""
        self._look_after(event.client_order_id)

    def on_order_rejected(self, event: OrderRejected) -> None:
        """A stop that the exchange does not take: the price was beyond it already."""
        self._look_after(event.client_order_id)

    def on_order_denied(self, event: OrderDenied) -> None:
        """The next breakout is another chance."""
        self.log.warning("entry_denied", code=event.code, reason=event.text)

    def _look_after(self, client_order_id: ClientOrderId) -> None:
        gone = self._exit(client_order_id)
        if gone is not None and gone.trigger_price is not None and self.position().quantity and self._stop() is None:
            self.log.warning("stop_gone", position=self.position().quantity)
            self.flatten()

    def _exit(self, client_order_id: ClientOrderId) -> OrderReport | None:
        order = self.order(client_order_id)
        return order if order is not None and order.parent_client_order_id else None

    def _stop(self) -> OrderReport | None:
        """The stop that works."""
        exits = (each for each in self.orders() if each.parent_client_order_id)
        return next((each for each in exits if each.trigger_price is not None), None)
