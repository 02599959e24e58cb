"""A strategy that writes down every tick it sees, to be compared with what the exchange sent."""

import os
from pathlib import Path

from nightdesk import QuoteTick, Strategy, StrategyParameters, TradeTick


class Witness(Strategy):
    """One line a tick, straight to a file that survives the death of the process; a line in the log for the first."""

    class Parameters(StrategyParameters):
        """``path`` is the file."""

        path: str

    parameters: Parameters

    def on_start(self) -> None:
        path = Path(self.parameters.path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seen = False

    def on_trade(self, tick: TradeTick) -> None:
        self._write(f"T {tick.ts_event_ns} {tick.price} {tick.quantity}", tick.ts_recv_ns)

    def on_quote(self, tick: QuoteTick) -> None:
        self._write(f"Q {tick.ts_event_ns} {tick.bid_price} {tick.ask_price}", tick.ts_recv_ns)

    def _write(self, line: str, ts_recv_ns: int) -> None:
        os.write(self._file, f"{ts_recv_ns} {line}\n".encode())
        if not self._seen:
            self._seen = True
            self.log.info("first_tick")
