"""A strategy that writes down what it is told, with the market's time, and keeps orders at the exchange."""

import json
from pathlib import Path
from typing import Any

from nightdesk import (
    ConnectionLost,
    ConnectionRestored,
    DataGap,
    OrderEvent,
    QuoteTick,
    Strategy,
    StrategyParameters,
    TimeInForce,
    TradeTick,
)

FAR = 500.0
"""In points: so far from the market that nothing fills there."""

MORNING_S = 15 * 3600.0
"""After an opening at 17:00: 08:00 of the next day."""

IN_BREAK_S = 1200.0


class Recorder(Strategy):
    """One line of JSON for each callback; a DAY order in each session, and one that is good until it is canceled."""

    class Parameters(StrategyParameters):
        """``path`` is the file."""

        path: str

    parameters: Parameters

    def on_start(self) -> None:
        self._path = Path(self.parameters.path)
        self._awaits_trade = False
        self._awaits_quote = self.session() is not None
        self._has_lasting_order = bool(self.orders())
        self._write("start")

    def on_session_open(self, session: Any) -> None:
        self._write(
            "session_open", trade_date=session.trade_date, opens_ns=session.opens_ns, closes_ns=session.closes_ns
        )
        self._awaits_trade = self._awaits_quote = True
        self.set_timer("morning", MORNING_S, repeat=False)

    def on_session_close(self, session: Any) -> None:
        self._write(
            "session_close", trade_date=session.trade_date, opens_ns=session.opens_ns, closes_ns=session.closes_ns
        )
        self._awaits_trade = self._awaits_quote = False
        self.set_timer("in_break", IN_BREAK_S, repeat=False)

    def on_roll(self, roll: Any) -> None:
        self._write("roll", old=roll.old_symbol, new=roll.new_symbol, trade_date=roll.trade_date)

    def on_timer(self, name: str) -> None:
        self._write("timer", name=name)

    def on_trade(self, trade: TradeTick) -> None:
        if self._awaits_trade:
            self._awaits_trade = False
            self._write("first_trade", ts_event_ns=trade.ts_event_ns)

    def on_quote(self, quote: QuoteTick) -> None:
        if not self._awaits_quote or not quote.bid_size or not self.trading_permitted:
            return
        self._awaits_quote = False
        self.buy(1, price=self.round_to_tick(quote.bid_price - FAR))
        if not self._has_lasting_order:
            self._has_lasting_order = True
            self.buy(1, price=self.round_to_tick(quote.bid_price - FAR), time_in_force=TimeInForce.GTC)

    def on_connection_lost(self, event: ConnectionLost) -> None:
        self._write("lost", plant=event.plant, scheduled=event.scheduled)

    def on_connection_restored(self, event: ConnectionRestored) -> None:
        self._write("restored", plant=event.plant)

    def on_data_gap(self, gap: DataGap) -> None:
        self._write("data_gap")

    def on_order_event(self, event: OrderEvent) -> None:
        self._write("order", kind=type(event).__name__, order=event.client_order_id)

    def on_stop(self) -> None:
        self._write("stop")
        self.cancel_all()

    def _write(self, what: str, **fields: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"what": what, "now_ns": self.now_ns, **fields}) + "\n")
