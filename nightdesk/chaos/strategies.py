"""The four busy strategies of a chaos run: they trade as much as they may, and bear witness of what they are told.

None of them is meant to earn anything. Each may be told to fail: a file whose name the parameter ``trouble`` gives
holds a word of ``TROUBLES``; whoever finds it removes it first, so that one file is one failure.
"""

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nightdesk import (
    DataGap,
    OrderReport,
    OrderStatus,
    QuoteTick,
    Side,
    Strategy,
    StrategyParameters,
    TimeInForce,
    TradeTick,
)

TICKS_MISSING_NS = 500_000_000
"""A market with many ticks a second that was silent for so long was not heard: that must have been announced."""

STORM = "storm"
"""The word of a file that stays: its strategy fails at each start, too."""

STALE_ORDER_NS = 3_000_000_000
"""An order meant to be done at once that is still there after this is canceled, as a careful strategy would."""

WITHOUT_END_S = 3600.0

_AT_REST = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.TRIGGERED})


class Busy(Strategy):
    """What the four share: the pace, the witness, and trouble on command."""

    class Parameters(StrategyParameters):
        """``pace_s`` of market time between two turns; ``position_max`` contracts, working orders included."""

        pace_s: Annotated[float, Field(ge=0.01, le=60)] = 0.2
        position_max: Annotated[int, Field(ge=1, le=1000)] = 6
        trouble: str = ""
        seed: int = 1

    parameters: Parameters

    def on_start(self) -> None:
        """Orders and positions of a former life are there already and are dealt with like any other."""
        self._trouble = Path(self.parameters.trouble) if self.parameters.trouble else None
        if self._trouble is not None and self._trouble.exists() and self._trouble.read_text().strip() == STORM:
            _raise(self)
        self._chance = random.Random(f"{self.parameters.seed} {self.name} {self.now_ns}")
        self._seen_ns: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self.set_timer("turn", self.parameters.pace_s)

    def on_tick(self, tick: TradeTick | QuoteTick) -> None:
        """The witness: exchange time that jumps says that ticks are missing."""
        seen_ns = self._seen_ns.get(tick.symbol)
        if seen_ns is not None and tick.ts_event_ns - seen_ns > TICKS_MISSING_NS:
            self.log.info("chaos_ticks_missing", symbol=tick.symbol, ts_from_ns=seen_ns, ts_to_ns=tick.ts_event_ns)
        if seen_ns is None or tick.ts_event_ns > seen_ns:
            self._seen_ns[tick.symbol] = tick.ts_event_ns

    def on_data_gap(self, gap: DataGap) -> None:
        """The other half of the witness: what was announced."""
        self.log.info("chaos_gap_told", symbol=gap.symbol, ts_from_ns=gap.ts_from_ns, ts_to_ns=gap.ts_to_ns)

    def on_pause(self) -> None:
        """The run is at its end, or the operator is one of its faults: say what we believe to hold."""
        self._told.clear()
        self._tell_positions()

    def on_timer(self, name: str) -> None:
        """One turn."""
        if self._trouble is not None and self._trouble.exists():
            self._fail(self._trouble)
        if self.paused:
            self._tell_positions()
        if self.trading_permitted and not self.paused:
            self._cancel_stale()
            self.turn()

    def turn(self) -> None:
        """What this one does when it may trade."""
        raise NotImplementedError

    def room(self, side: Side, symbol: str) -> int:
        """Contracts that may still be ordered on a side, whatever of our orders is filled."""
        held = self.position(symbol).quantity
        asked = sum(order.leaves_quantity for order in self.orders(symbol) if order.side == side)
        return self.parameters.position_max - asked - (held if side == Side.BUY else -held)

    def best(self, side: Side, symbol: str) -> float | None:
        """The price at which an order of this side joins the market; None where there is none."""
        quote = self.quote(symbol)
        if quote is None or not quote.bid_size or not quote.ask_size:
            return None
        return quote.bid_price if side == Side.BUY else quote.ask_price

    def send(self, side: Side, quantity: int, symbol: str, price: float | None = None) -> None:
        """A market or a limit order."""
        (self.buy if side == Side.BUY else self.sell)(quantity, symbol, price=price)

    def at_rest(self, symbol: str) -> list[OrderReport]:
        """Orders that take a command now."""
        return [order for order in self.orders(symbol) if order.status in _AT_REST and not order.protective]

    def is_quick(self, order: OrderReport) -> bool:
        """Whether an order is meant to be done at once."""
        return order.price is None and order.trigger_price is None

    def _cancel_stale(self) -> None:
        for order in self.orders():
            if self.is_quick(order) and self.now_ns - order.ts_init_ns > STALE_ORDER_NS and order.status in _AT_REST:
                self.cancel(order.client_order_id)

    def _tell_positions(self) -> None:
        for symbol in self.symbols:
            quantity = self.position(symbol).quantity
            if self._told.get(symbol) != quantity:
                self._told[symbol] = quantity
                self.log.info("chaos_position", symbol=symbol, quantity=quantity)

    def _fail(self, file: Path) -> None:
        with contextlib.suppress(OSError):
            word = file.read_text().strip()
            if word != STORM:
                file.unlink()
            TROUBLES.get(word, _nothing)(self)


def _nothing(strategy: Busy) -> None:
    """An unknown word is no trouble."""


def _raise(strategy: Busy) -> None:
    raise RuntimeError("told to fail")


def _raise_after_order(strategy: Busy) -> None:
    """The order must be sent once, though the callback that sent it fails."""
    symbol = strategy.symbols[0]
    if strategy.trading_permitted and not strategy.paused:
        strategy.send(Side.BUY if strategy.position(symbol).quantity <= 0 else Side.SELL, 1, symbol)
    raise RuntimeError("told to fail after an order")


def _spin(strategy: Busy) -> None:
    while strategy.name:
        pass


def _block(strategy: Busy) -> None:
    threading.Event().wait(WITHOUT_END_S)


TROUBLES: dict[str, Callable[[Busy], None]] = {
    "raise": _raise,
    "raise_after_order": _raise_after_order,
    "spin": _spin,
    "block": _block,
    STORM: _raise,
}
"""How a strategy may be told to fail."""


class Quoter(Busy):
    """A bid and an ask at the touch, which follow the market by changes, or by a cancel and a new order."""

    def turn(self) -> None:
        for symbol in self.symbols:
            for side in (Side.BUY, Side.SELL):
                self._quote(side, symbol)

    def _quote(self, side: Side, symbol: str) -> None:
        price = self.best(side, symbol)
        own = [order for order in self.orders(symbol) if order.side == side]
        if price is None or len(own) > 1:
            return
        if not own:
            if self.room(side, symbol) > 0:
                self.send(side, 1, symbol, price)
            return
        order = own[0]
        if order.status not in _AT_REST:
            return
        if self._chance.random() < 0.5:
            self.cancel(order.client_order_id)
        elif order.price is not None and abs(order.price - price) > self.instrument(symbol).tick_size / 2:
            self.modify(order.client_order_id, price=price)


class Taker(Busy):
    """Market orders of both sides, and limit orders that cross and take what is there at once."""

    OPEN_MAX = 3

    def turn(self) -> None:
        for symbol in self.symbols:
            if len(self.orders(symbol)) < self.OPEN_MAX:
                self._take(symbol)

    def _take(self, symbol: str) -> None:
        side = self._chance.choice((Side.BUY, Side.SELL))
        if self.room(side, symbol) <= 0:
            side = Side.SELL if side == Side.BUY else Side.BUY
        quantity = min(self._chance.randint(1, 2), self.room(side, symbol))
        if quantity <= 0:
            return
        opposite = self.best(Side.SELL if side == Side.BUY else Side.BUY, symbol)
        if opposite is None or self._chance.random() < 0.7:
            self.send(side, quantity, symbol)
        else:
            order = self.buy if side == Side.BUY else self.sell
            order(quantity, symbol, price=opposite, time_in_force=TimeInForce.IOC)


class Protector(Busy):
    """Enters at the market, keeps a protective stop behind the position, moves it, and leaves by a flatten."""

    STOP_TICKS = 60
    LEAVE_CHANCE = 0.15

    def turn(self) -> None:
        symbol = self.symbols[0]
        held = self.position(symbol).quantity
        stops = [order for order in self.orders(symbol) if order.protective]
        others = [order for order in self.orders(symbol) if not order.protective]
        if others:
            return
        if held == 0:
            for order in stops:
                if order.status in _AT_REST:
                    self.cancel(order.client_order_id)
            if not stops:
                self.send(self._chance.choice((Side.BUY, Side.SELL)), self._chance.randint(1, 2), symbol)
        elif not stops:
            self._protect(symbol, held)
        elif self._chance.random() < self.LEAVE_CHANCE:
            self.flatten(symbol)
        elif stops[0].status in _AT_REST:
            self.modify(stops[0].client_order_id, trigger_price=self._stop_price(symbol, held))

    def _protect(self, symbol: str, held: int) -> None:
        price = self._stop_price(symbol, held)
        (self.sell if held > 0 else self.buy)(abs(held), symbol, trigger_price=price, protective=True)

    def _stop_price(self, symbol: str, held: int) -> float:
        near = self.best(Side.BUY, symbol) or self.position(symbol).average_price
        distance = (self.STOP_TICKS + self._chance.randint(0, 20)) * self.instrument(symbol).tick_size
        return self.round_to_tick(near - distance if held > 0 else near + distance, symbol)


class Changer(Busy):
    """Orders behind the market that are changed in price and quantity and canceled all the time."""

    BEHIND_TICKS = 20
    OPEN_MAX = 5

    def turn(self) -> None:
        symbol = self._chance.choice(list(self.symbols))
        resting = self.at_rest(symbol)
        if resting and self._chance.random() < 0.7:
            order = self._chance.choice(resting)
            if self._chance.random() < 0.5:
                self.cancel(order.client_order_id)
            else:
                self._change(order, symbol)
        side = self._chance.choice((Side.BUY, Side.SELL))
        price = self._price(side, symbol)
        if price is not None and len(self.orders(symbol)) < self.OPEN_MAX and self.room(side, symbol) >= 2:
            self.send(side, self._chance.randint(1, 2), symbol, price)

    def _change(self, order: OrderReport, symbol: str) -> None:
        price = self._price(order.side, symbol)
        if price is not None:
            quantity = order.filled_quantity + self._chance.randint(1, 2)
            self.modify(order.client_order_id, price=price, quantity=quantity)

    def _price(self, side: Side, symbol: str) -> float | None:
        best = self.best(side, symbol)
        if best is None:
            return None
        away = self._chance.randint(self.BEHIND_TICKS // 4, self.BEHIND_TICKS) * self.instrument(symbol).tick_size
        return self.round_to_tick(best - away if side == Side.BUY else best + away, symbol)


KINDS: tuple[type[Busy], ...] = (Quoter, Taker, Protector, Changer)
"""A run with more strategies than these begins again with the first."""
