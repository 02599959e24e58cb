"""From a strategy's section ``session`` to the rules that the order plant keeps."""

from datetime import time

from nightdesk.settings.strategy_session import StrategySession
from nightdesk.trading.session_rules import NoTradeWindow, SessionRules
from nightdesk.trading.sessions import NS_PER_S, Break

FLATTEN_DEFAULT_S = 300.0
"""How long before the close a strategy is made flat where only the break is named."""


def rules_of(section: StrategySession) -> SessionRules:
    """The same, with the defaults filled in."""
    before_s = FLATTEN_DEFAULT_S if section.flatten_before_close_s is None else section.flatten_before_close_s
    over_weekend = section.over_weekend or section.over_break
    kinds = [Break.DAILY] if section.over_break == "flatten" else []
    kinds += [Break.WEEKEND, Break.HOLIDAY] if over_weekend == "flatten" else []
    return SessionRules(
        no_trade=tuple(
            NoTradeWindow(time.fromisoformat(window.begins), time.fromisoformat(window.ends))
            for window in section.no_trade
        ),
        flat_over=frozenset(kinds),
        flat_before_ns=round(before_s * NS_PER_S),
        cancels_entries=section.no_trade_entries == "cancel",
        closes_at_open=bool(kinds) and section.if_not_flat != "keep",
    )
