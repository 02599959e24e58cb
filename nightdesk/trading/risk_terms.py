"""The limits as the gate keeps them: exact integers, by level. Which of them hold for an order, and how they are told.

Money is in millionths of the currency, weights of contracts in thousandths. None is no limit. Every level holds by
itself, so that the strictest wins whatever the configuration says.
"""

from collections.abc import Iterable, Mapping
from datetime import time
from enum import StrEnum

import msgspec

from nightdesk.messages import StrategyId
from nightdesk.trading.ledger import ACCOUNT

WEIGHT_SCALE = 1000
PERCENT_SCALE = 1_000_000
"""Percentages are kept in millionths of a percent."""


class Scope(StrEnum):
    """What a level is about."""

    ACCOUNT = "account"
    INSTRUMENT = "instrument"
    STRATEGY = "strategy"


class LossBasis(StrEnum):
    """What counts as profit and loss."""

    REALIZED = "realized"
    TOTAL = "total"


class MarkTime(StrEnum):
    """When the highest profit is noted."""

    INTRADAY = "intraday"
    END_OF_DAY = "end_of_day"


class OnBreach(StrEnum):
    """What a reached loss limit does beside denying openings."""

    REDUCING = "reducing"
    HALT = "halt"
    FLATTEN = "flatten"


class Collar(msgspec.Struct, frozen=True):
    """How far a price may lie beyond another: in ticks, or in millionths of a percent of it. The other one is 0."""

    ticks: int = 0
    percent: int = 0

    def width(self, reference_nanos: int, tick_nanos: int) -> int:
        """The same in billionths of a point, rounded down, so that it never lets more through."""
        if self.ticks:
            return self.ticks * tick_nanos
        return abs(reference_nanos) * self.percent // (100 * PERCENT_SCALE)

    def __str__(self) -> str:
        return f"{self.ticks} ticks" if self.ticks else f"{self.percent / PERCENT_SCALE:g} %"


class LevelLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one level."""

    max_order_quantity: int | None = None
    max_position: int | None = None
    max_open_orders: int | None = None
    max_orders_per_second: int | None = None
    max_cancels_per_second: int | None = None
    max_order_notional_micros: int | None = None
    max_contracts: int | None = None
    """In thousandths."""
    price_collar: Collar | None = None
    market_data_stale_s: float | None = None
    duplicate_window_s: float | None = None
    rejects_in_row_max: int | None = None
    daily_loss_micros: int | None = None
    drawdown_micros: int | None = None
    flatten_by: time | None = None


class AccountRules(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of the account alone."""

    is_self_trade_denied: bool = True
    position_stale_s: float | None = None
    clock_skew_max_s: float | None = None
    loss_basis: LossBasis = LossBasis.TOTAL
    mark_time: MarkTime = MarkTime.INTRADAY
    floor_max_micros: int | None = None
    on_breach: OnBreach = OnBreach.REDUCING


class BrokerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker's risk system holds the account to (template 305); None where it names none."""

    max_order_quantity: int | None = None
    buy_limit: int | None = None
    """Contracts long over all symbols, with all working buys."""
    sell_limit: int | None = None
    loss_limit_micros: int | None = None
    """A day's loss, closed and open."""


class Level(msgspec.Struct, frozen=True):
    """One level's limits, and whose they are: nobody's name for the account."""

    scope: Scope
    name: str
    limits: LevelLimits

    @property
    def prefix(self) -> str:
        """How a denial's text begins: nothing for the account."""
        return "" if self.scope is Scope.ACCOUNT else f"{self.scope} {self.name}: "

    @property
    def owner(self) -> StrategyId:
        """Under whom what is used of the limits is counted: the account, but for a strategy's."""
        return StrategyId(self.name) if self.scope is Scope.STRATEGY else ACCOUNT


class RiskTerms(msgspec.Struct, frozen=True, kw_only=True):
    """All limits of a system."""

    account: LevelLimits
    rules: AccountRules = AccountRules()
    instruments: Mapping[str, LevelLimits] = {}
    """By product, contract or alias."""
    strategies: Mapping[StrategyId, LevelLimits] = {}
    weights: Mapping[str, int] = {}
    """By product, contract or alias; of others it is a whole contract."""

    def levels(self, strategy_id: StrategyId, names: Iterable[str]) -> tuple[Level, ...]:
        """The levels that hold for a strategy's order in a contract with these names (contract, alias, product)."""
        found = [Level(Scope.ACCOUNT, "", self.account)]
        found += [Level(Scope.INSTRUMENT, name, self.instruments[name]) for name in names if name in self.instruments]
        own = self.strategies.get(strategy_id)
        if own is not None:
            found.append(Level(Scope.STRATEGY, strategy_id, own))
        return tuple(found)

    def owners(self) -> tuple[Level, ...]:
        """The levels that have counts, windows and money of their own: the account and the strategies with limits."""
        return (
            Level(Scope.ACCOUNT, "", self.account),
            *(Level(Scope.STRATEGY, name, limits) for name, limits in self.strategies.items()),
        )

    def weight(self, names: Iterable[str]) -> int:
        """What a contract with these names (the most particular first) counts, in thousandths."""
        return next((self.weights[name] for name in names if name in self.weights), WEIGHT_SCALE)
