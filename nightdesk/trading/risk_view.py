"""What the checks of the gate look at, and which orders only lower a position."""

import msgspec

from nightdesk.messages import Denial, Side, SubmitOrder, TradingState
from nightdesk.trading.protection import is_protection
from nightdesk.trading.sessions import MarketPhase


class TickRules(msgspec.Struct, frozen=True):
    """What a price of one contract must satisfy."""

    exchange: str
    tick_size: float


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """What the calendar, the contract's end and the strategy's own rules say at the moment of the order.

    The texts are for people; an empty one says that nothing stands against the order.
    """

    phase: MarketPhase = MarketPhase.OPEN
    trading_begins: str = ""
    """When the market trades next, where it does not."""
    may_exit: bool = False
    """Whether an order that only lowers the position goes although the calendar says that nothing trades."""
    contradicted: bool = False
    """Whether live trades say that the market trades, whatever the calendar says."""
    no_trade: str = ""
    """Why the strategy opens no position now."""
    unprotective_buy: int = 0
    """What the strategy's orders that protect nothing may still buy: entries, exits and targets."""
    unprotective_sell: int = 0
    protective_buy: int = 0
    """What its protective stops may still buy, those that are being canceled left out."""
    protective_sell: int = 0
    filled: int = 0
    """What an order that is being changed has filled; its quantity includes that."""
    ended: str = ""
    """Since when the contract is not traded any more."""
    mismatch: str = ""
    """How the gateway contradicts what is configured of the contract."""
    left: str = ""
    """Why the contract is not, not any more or not yet what an alias means."""


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the checks look at, as it stands at the moment of the order."""

    trading_state: TradingState
    connected: bool
    reconciling: bool
    journal_writable: bool
    paused: bool
    flattening: bool
    """A flatten of this strategy and symbol is under way."""
    current_epoch: int
    is_duplicate_id: bool
    tick_rules: TickRules | None
    strategy_position: int
    market: MarketView = MarketView()


class Refusal(msgspec.Struct, frozen=True):
    """Why the gate keeps an order: a code of the closed set and a text with the values."""

    code: Denial
    text: str


def reducible(order: SubmitOrder, view: GateView) -> int:
    """What an order of this side can lower the strategy's position by."""
    return max(0, -view.strategy_position if order.side is Side.BUY else view.strategy_position)


def only_lowers(order: SubmitOrder, view: GateView) -> bool:
    """Whether the order, with those of its own kind, is no more than the position.

    There are two kinds: protective stops, and everything else. Of a stop and a target only one is to fill, and both
    give way to an exit, so each kind may have the whole position; what a fill makes too much is taken back.
    """
    market, is_buy = view.market, order.side is Side.BUY
    if is_protection(order):
        pending = market.protective_buy if is_buy else market.protective_sell
    else:
        pending = market.unprotective_buy if is_buy else market.unprotective_sell
    return order.quantity - market.filled + pending <= reducible(order, view)
