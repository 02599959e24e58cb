"""A strategy that tries what the calendar and its own rules deny, and logs how each try ended."""

from typing import Any

from nightdesk import MarketPhase, OrderDenied, OrderFilled, Strategy

FAR = 500.0
"""In points: so far below the market that nothing fills there."""

STEP_S = 15.0

LAST_S = 900.0
"""It tries from a quarter of an hour before the close on, where everything is denied."""


class SessionProber(Strategy):
    """Holds two contracts into its time to be flat; at each step sends what should be denied then."""

    VERSION = 1

    def on_start(self) -> None:
        self.tries: dict[str, str] = {}
        self.set_timer("step", STEP_S)
        session = self.session("ESZ6")
        self.log.info("probe", what="start", trade_date=session.trade_date if session else None)

    def on_timer(self, name: str) -> None:
        if not self.trading_permitted:
            return
        held = self.position("ESZ6").quantity
        if "in" not in self.tries.values() and not held:
            self._try("in", self.buy(2, "ESZ6"))
        elif self.next_close_ns("ESZ6") - self.now_ns > LAST_S * 10**9 and self.session("ESZ6") is not None:
            return
        elif self.phase("ESZ6") is not MarketPhase.PRE_OPEN:
            self._try("market order", self.buy(1, "ESZ6"))
            self._try("ended contract", self.buy(1, "ESU6"))
        else:
            self._try("early market order", self.buy(1, "ESZ6"))
            self._try("early limit order", self.buy(1, "ESZ6", price=self._far()))

    def on_order_denied(self, event: OrderDenied) -> None:
        self._tell(event, f"{event.code}")

    def on_order_filled(self, event: OrderFilled) -> None:
        self._tell(event, f"filled {event.side}")

    def on_session_open(self, session: Any) -> None:
        self._session("open", session)

    def on_session_close(self, session: Any) -> None:
        self._session("close", session)

    def _session(self, what: str, session: Any) -> None:
        if session.symbol == "ESZ6":
            self.log.info("probe", what=what, trade_date=session.trade_date, position=self.position("ESZ6").quantity)

    def _try(self, what: str, client_order_id: str) -> None:
        self.tries[client_order_id] = what

    def _tell(self, event: Any, how: str) -> None:
        what = self.tries.get(event.client_order_id, "exit")
        self.log.info("probe", what=what, how=how, phase=self.phase("ESZ6").value, at_s=self.now_ns // 10**9)

    def _far(self) -> float:
        quote = self.quote("ESZ6")
        return self.round_to_tick(5000.0 if quote is None else quote.bid_price, "ESZ6") - FAR
