"""A strategy that has one timer and says when it was called."""

from nightdesk import QuoteTick, Strategy, TradeTick


class Minutes(Strategy):
    """Logs at what market time the timer of a minute came, and what its time had been before (nanoseconds).

    Whatever keeps its process waiting shows as a jump between the two: a minute that was jumped over is not lost.
    """

    def on_start(self) -> None:
        self.first_trade = 0.0
        self.before_ns = self.now_ns
        self.set_timer("minute", 60.0, repeat=True)
        self.log.info("minutes_begun", market_ns=self.now_ns)

    def on_tick(self, tick: TradeTick | QuoteTick) -> None:
        self.before_ns = self.now_ns

    def on_trade(self, trade: TradeTick) -> None:
        if not self.first_trade:
            self.first_trade = trade.ts_event_ns / 1e9
            self.log.info("minutes_first_trade", market_s=self.first_trade)

    def on_timer(self, name: str) -> None:
        self.log.info("minute_came", market_ns=self.now_ns, before_ns=self.before_ns)
        self.before_ns = self.now_ns
