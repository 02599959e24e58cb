"""A strategy with a position, an entry and a protective order; it crashes while a file named ``crash`` exists."""

from pathlib import Path

from nightdesk import QuoteTick, Strategy

FAR = 1000.0
"""In points: so far from the market that nothing fills there."""


CRASH = Path(__file__).with_name("crash")

if CRASH.exists():
    raise RuntimeError("told to crash before anything else")


class Crasher(Strategy):
    """Orders once when it may; then waits for the file."""

    def on_start(self) -> None:
        self.ordered = False

    def on_quote(self, quote: QuoteTick) -> None:
        if CRASH.exists():
            raise RuntimeError("told to crash")
        if not self.trading_permitted or self.paused or self.ordered:
            return
        self.ordered = True
        if self.position().quantity == 0:
            self.buy(1)
            self.sell(1, trigger_price=quote.bid_price - FAR, protective=True)
        self.buy(1, price=quote.bid_price - FAR)
