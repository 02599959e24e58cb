"""Nightdesk: headless, supervised futures trading over Rithmic.

What a strategy's author needs is importable from here: ``from nightdesk import Strategy, Side, TradeTick``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nightdesk.errors import LaneError as LaneError
    from nightdesk.errors import StrategyError as StrategyError
    from nightdesk.messages import AggressorSide as AggressorSide
    from nightdesk.messages import Bar as Bar
    from nightdesk.messages import ClientOrderId as ClientOrderId
    from nightdesk.messages import ConnectionLost as ConnectionLost
    from nightdesk.messages import ConnectionRestored as ConnectionRestored
    from nightdesk.messages import DataGap as DataGap
    from nightdesk.messages import Denial as Denial
    from nightdesk.messages import OrderAccepted as OrderAccepted
    from nightdesk.messages import OrderCanceled as OrderCanceled
    from nightdesk.messages import OrderCancelRejected as OrderCancelRejected
    from nightdesk.messages import OrderDenied as OrderDenied
    from nightdesk.messages import OrderEvent as OrderEvent
    from nightdesk.messages import OrderExpired as OrderExpired
    from nightdesk.messages import OrderFilled as OrderFilled
    from nightdesk.messages import OrderModifyRejected as OrderModifyRejected
    from nightdesk.messages import OrderRejected as OrderRejected
    from nightdesk.messages import OrderReport as OrderReport
    from nightdesk.messages import OrderStatus as OrderStatus
    from nightdesk.messages import OrderType as OrderType
    from nightdesk.messages import OrderUpdated as OrderUpdated
    from nightdesk.messages import PositionReport as PositionReport
    from nightdesk.messages import QuoteTick as QuoteTick
    from nightdesk.messages import Side as Side
    from nightdesk.messages import TimeInForce as TimeInForce
    from nightdesk.messages import TradeTick as TradeTick
    from nightdesk.trading.host_api import InstrumentTerms as InstrumentTerms
    from nightdesk.trading.host_api import OrderTerms as OrderTerms
    from nightdesk.trading.sessions import Break as Break
    from nightdesk.trading.sessions import MarketPhase as MarketPhase
    from nightdesk.trading.strategy import Strategy as Strategy
    from nightdesk.trading.strategy import StrategyParameters as StrategyParameters
    from nightdesk.trading.strategy_contracts import RollInfo as RollInfo
    from nightdesk.trading.strategy_sessions import SessionInfo as SessionInfo

_HOME = {
    "nightdesk.trading.strategy": ("Strategy", "StrategyParameters"),
    "nightdesk.trading.strategy_contracts": ("RollInfo",),
    "nightdesk.trading.strategy_sessions": ("SessionInfo",),
    "nightdesk.trading.sessions": ("Break", "MarketPhase"),
    "nightdesk.trading.host_api": ("InstrumentTerms", "OrderTerms"),
    "nightdesk.errors": ("LaneError", "StrategyError"),
    "nightdesk.messages": (
        "AggressorSide",
        "Bar",
        "ClientOrderId",
        "ConnectionLost",
        "ConnectionRestored",
        "DataGap",
        "Denial",
        "OrderAccepted",
        "OrderCancelRejected",
        "OrderCanceled",
        "OrderDenied",
        "OrderEvent",
        "OrderExpired",
        "OrderFilled",
        "OrderModifyRejected",
        "OrderRejected",
        "OrderReport",
        "OrderStatus",
        "OrderType",
        "OrderUpdated",
        "PositionReport",
        "QuoteTick",
        "Side",
        "TimeInForce",
        "TradeTick",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name at its first use: a plant that needs only messages does not load the Strategy API."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'nightdesk' has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
