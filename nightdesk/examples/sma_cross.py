"""A moving-average cross on bars that are built from ticks: always in the market, long or short."""

from collections import deque
from typing import Annotated, Self

from pydantic import Field, model_validator

from nightdesk import (
    Bar,
    ConnectionRestored,
    MarketPhase,
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Strategy,
    StrategyParameters,
)


class SmaCross(Strategy):
    """Holds ``quantity`` long while the fast average is above the slow one, ``quantity`` short while below.

    Signals only set a target position. Orders follow from it one at a time: while one is on its way, works or is in
    doubt, no other is sent, and none is larger than ``quantity``; a reversal is one order that closes and, after its
    fill, one that opens. So the position can never exceed ``quantity``, whatever is denied, rejected or lost.
    """

    class Parameters(StrategyParameters):
        """``period_s`` is the length of a bar; averages are over ``fast`` and ``slow`` bars."""

        fast: Annotated[int, Field(ge=1)] = 3
        slow: Annotated[int, Field(ge=2, le=10_000)] = 8
        period_s: Annotated[int, Field(ge=1)] = 2
        quantity: Annotated[int, Field(ge=1)] = 1
        retry_s: Annotated[float, Field(gt=0)] = 5.0
        """After an order that was refused the next one waits this long."""

        @model_validator(mode="after")
        def _fast_is_faster(self) -> Self:
            if self.fast >= self.slow:
                raise ValueError("fast must be less than slow")
            return self

    parameters: Parameters

    def on_start(self) -> None:
        """Whatever position is there from before stays until the averages say otherwise."""
        self._closes: deque[float] = deque(maxlen=self.parameters.slow)
        self._target: int | None = None
        self._retry_ns = 0
        self.subscribe_bars(None, self.parameters.period_s)

    def on_bar(self, bar: Bar) -> None:
        """Each bar moves both averages; also the moment to try again what was refused before.

        Around a roll the bars of a contract that is still, or already, held come as well: their prices are others.
        """
        if bar.symbol != self.front():
            return
        self._closes.append(bar.close)
        if len(self._closes) == self.parameters.slow:
            closes = list(self._closes)
            slow = sum(closes) / len(closes)
            fast = sum(closes[-self.parameters.fast :]) / self.parameters.fast
            if fast != slow:
                self._set_target(self.parameters.quantity if fast > slow else -self.parameters.quantity, fast, slow)
        self._approach()

    def on_order_filled(self, event: OrderFilled) -> None:
        """The second half of a reversal follows the first at once."""
        self._approach()

    def on_order_canceled(self, event: OrderCanceled) -> None:
        """Somebody else canceled it, the operator for one: go on with the next bar."""
        self._wait()

    def on_order_expired(self, event: OrderExpired) -> None:
        """As a cancel."""
        self._wait()

    def on_order_rejected(self, event: OrderRejected) -> None:
        """The market may be closed or halted."""
        self.log.warning("entry_rejected", reason=event.text)
        self._wait()

    def on_order_denied(self, event: OrderDenied) -> None:
        """Risk limits, a pause, or no connection."""
        self.log.warning("entry_denied", code=event.code, reason=event.text)
        self._wait()

    def on_resume(self) -> None:
        """The averages have stayed warm during the pause."""
        self._approach()

    def on_connection_restored(self, event: ConnectionRestored) -> None:
        """The order plant, or the data that our target came from, is back."""
        self._approach()

    def _set_target(self, target: int, fast: float, slow: float) -> None:
        if target != self._target:
            self._target = target
            self.log.info("cross_found", target=target, fast=round(fast, 4), slow=round(slow, 4))

    def _approach(self) -> None:
        """Send at most one order towards the target."""
        if self._target is None or self.paused or not self.trading_permitted or self.orders():
            return
        if self.now_ns < self._retry_ns or self.phase() is not MarketPhase.OPEN:
            return
        position = self.position().quantity
        missing = self._target - position
        if missing == 0:
            return
        limit = abs(position) if position * missing < 0 else self.parameters.quantity
        quantity = min(abs(missing), limit, self.parameters.quantity)
        if missing > 0:
            self.buy(quantity)
        else:
            self.sell(quantity)

    def _wait(self) -> None:
        self._retry_ns = self.now_ns + round(self.parameters.retry_s * 1e9)
