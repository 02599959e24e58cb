"""Holds what the exchange reports against the calendar and this machine's clock, and tells where they differ."""

from actors.plants.order_account import Account
from nightdesk.messages import Severity, TradeTick
from nightdesk.trading.broker import BrokerUpdate
from nightdesk.trading.market_evidence import SKEW_AGAIN_S, ClockSkew

_REPORTS = ""
"""The source of reports of orders; those of trades are their symbols."""


class Witness:
    """Hears of each live trade and each report of an order; the markets themselves remember what was proved."""

    def __init__(self, account: Account) -> None:
        self._account = account
        # An embedded exchange's clock is the one that we read.
        self._skews: dict[str, ClockSkew] | None = None if account.settings.mode == "sim" else {}
        self._told_s: float | None = None

    def on_trade(self, trade: TradeTick) -> None:
        """A trade has come just now."""
        account = self._account
        text = account.markets.on_trade(trade.symbol, trade.ts_event_ns)
        if text:
            text += "; orders that only lower a position pass, whatever the calendar says"
            account.log.critical("market_contradicts_calendar", symbol=trade.symbol, text=text)
            account.context.alert("market_contradicts_calendar", Severity.CRITICAL, text, symbol=trade.symbol)
        self._compare(trade.symbol, trade.ts_event_ns)

    def on_report(self, update: BrokerUpdate) -> None:
        """A report of an order has come just now; what a list brings is of another time."""
        if not update.is_snapshot:
            self._compare(_REPORTS, update.ts_event_ns)

    def _compare(self, source: str, ts_event_ns: int) -> None:
        account = self._account
        if self._skews is None or not ts_event_ns:
            return
        ahead_s = self._skews.setdefault(source, ClockSkew()).observe(ts_event_ns, account.markets.time.now_ns())
        now_s = account.context.clock.monotonic_s()
        if not ahead_s or (self._told_s is not None and now_s - self._told_s < SKEW_AGAIN_S):
            return
        self._told_s = now_s
        text = (
            f"this machine's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the exchange's: "
            "sessions begin and end so much too early or too late; set it (NTP)"
        )
        account.log.warning("clock_skew", ahead_s=round(ahead_s, 3), text=text)
        account.context.alert("clock_skew", Severity.WARNING, text, ahead_s=round(ahead_s, 3))
