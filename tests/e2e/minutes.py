"""A strategy that has one timer and remembers when it was called."""

from nightdesk import Strategy, TradeTick

KEPT_MAX = 2_000


class Minutes(Strategy):
    """Says at its end at what market times the timer of a minute came, and when the first trade did (seconds)."""

    def on_start(self) -> None:
        self.minutes: list[float] = []
        self.first_trade = 0.0
        self.set_timer("minute", 60.0, repeat=True)
        self.log.info("minutes_begun", market_s=self.now_ns / 1e9)

    def on_trade(self, trade: TradeTick) -> None:
        if not self.first_trade:
            self.first_trade = trade.ts_event_ns / 1e9
            self.log.info("minutes_first_trade", market_s=self.first_trade)

    def on_timer(self, name: str) -> None:
        if len(self.minutes) < KEPT_MAX:
            self.minutes.append(self.now_ns / 1e9)

    def on_stop(self) -> None:
        self.log.info("minutes_seen", market_s=self.minutes, first_trade=self.first_trade)
