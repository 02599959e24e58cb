"""A strategy that sends no order and remembers exactly what it saw."""

import hashlib

from nightdesk import QuoteTick, Strategy, TradeTick


class Counting(Strategy):
    """Counts ticks, digests them in order, and logs what it saw when it stops."""

    def on_start(self) -> None:
        self.ticks = 0
        self.trades = 0
        self.out_of_order = 0
        self.newest_ns = {"trade": 0, "quote": 0}
        self.digest = hashlib.sha256()

    def _saw(self, kind: str, ts_event_ns: int) -> None:
        # The wire stamps quotes to the microsecond and trades to the nanosecond, so each kind has its own order.
        self.ticks += 1
        if ts_event_ns < self.newest_ns[kind]:
            self.out_of_order += 1
        self.newest_ns[kind] = ts_event_ns

    def on_trade(self, tick: TradeTick) -> None:
        self._saw("trade", tick.ts_event_ns)
        self.trades += 1
        self.digest.update(f"T {tick.price:.2f} {tick.quantity};".encode())

    def on_quote(self, tick: QuoteTick) -> None:
        self._saw("quote", tick.ts_event_ns)
        self.digest.update(f"Q {tick.bid_price:.2f} {tick.bid_size} {tick.ask_price:.2f} {tick.ask_size};".encode())

    def on_stop(self) -> None:
        self.log.info(
            "tape_seen",
            ticks=self.ticks,
            trades=self.trades,
            out_of_order=self.out_of_order,
            digest=self.digest.hexdigest(),
        )
