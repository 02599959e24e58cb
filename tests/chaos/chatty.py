"""A strategy that writes a line for each tick: the most that any actor of a busy system says."""

from nightdesk import QuoteTick, Strategy, TradeTick


class Chatty(Strategy):
    """Trades nothing."""

    def on_trade(self, tick: TradeTick) -> None:
        self.log.info("tick_seen", price=tick.price, text="x" * 300)

    def on_quote(self, tick: QuoteTick) -> None:
        self.log.info("tick_seen", price=tick.bid_price, text="x" * 300)


class FailsAtStart(Strategy):
    """Never gets to trade."""

    def on_start(self) -> None:
        raise RuntimeError("at each start")
