"""The section ``risk``: limits of the account, of single instruments, and (stricter only) of single strategies."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nightdesk.settings.instruments import SYMBOL_PATTERN
from nightdesk.settings.section import Section, TimeOfDay

CONTRACTS_MAX = 1_000_000
"""Of every limit on contracts and orders."""

WEIGHT_DECIMALS = 3
WEIGHT_SCALE = 1000
"""Weights of contracts and their cap are counted in thousandths, exactly."""

POSITION_STALE_MIN_S = 90.0
"""The broker's whole list of positions comes once a minute."""

DUPLICATE_WINDOW_MAX_S = 60.0

Count = Annotated[int, Field(ge=1, le=CONTRACTS_MAX)]
Money = Annotated[float, Field(ge=0.01, le=1e12)]


class PriceCollar(Section):
    """How far an order's price may lie beyond the market: above it for a buy, below it for a sell. One of both."""

    ticks: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """In ticks of the instrument."""
    percent: Annotated[float, Field(ge=0.0001, le=50)] | None = None
    """In percent of the price that the order is compared with; not for spreads, which trade around zero."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.ticks is None) == (self.percent is None):
            raise ValueError("a price collar is {ticks: 40} or {percent: 0.5}, one of both")
        return self


class PerOrder(Section):
    """What every level may limit; without a value there is no limit at that level."""

    max_order_notional: Money | None = None
    """Value of one order, in currency: contracts times price times point value."""
    price_collar: PriceCollar | None = None
    """How far an order's price may lie beyond last trade, bid and offer; ``{ticks: N}`` or ``{percent: X}``."""
    market_data_stale_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds without a tick of an open market after which no position is opened in it."""
    flatten_by: TimeOfDay | None = None
    """Time of day by the exchange's clocks (Chicago's) by which positions are closed, each day, such as ``"15:10"``."""


class PerOwner(PerOrder):
    """What the account and single strategies may limit."""

    max_contracts: Annotated[float, Field(ge=0.001, le=CONTRACTS_MAX)] | None = None
    """Contracts over all instruments in the worst case, weighted: a micro counts a tenth (docs/risk.md)."""
    max_cancels_per_second: Count | None = None
    """Cancels in one second; more always pass, too, and deny new orders until the second is over."""
    duplicate_window_s: Annotated[float, Field(gt=0, le=DUPLICATE_WINDOW_MAX_S)] | None = None
    """Seconds within which a strategy's order equal to one before it is a duplicate and denied."""
    rejects_in_row_max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Orders in a row refused by broker or exchange, from which on no position is opened."""
    daily_loss_limit: Money | None = None
    """A trade date's loss, in currency, commissions included, from which on no position is opened."""
    trailing_drawdown_limit: Money | None = None
    """A fall from the highest profit ever, in currency, from which on no position is opened."""

    @model_validator(mode="after")
    def _weights_are_exact(self) -> Self:
        if self.max_contracts is not None and not _is_exact(self.max_contracts):
            raise ValueError(f"max_contracts {self.max_contracts} has more than {WEIGHT_DECIMALS} decimals; round it")
        return self


class InstrumentRisk(PerOrder):
    """Limits of one instrument: a product (all its months), a contract, or an alias; stricter than the account's."""

    max_order_quantity: Count | None = None
    """Contracts in one order."""
    max_position: Count | None = None
    """Contracts held, long or short, if every working order were filled."""
    contract_weight: Annotated[float, Field(ge=0.001, le=1000)] | None = None
    """What one contract counts in ``max_contracts``. Default: 1, of micros 0.1 (docs/risk.md)."""

    @model_validator(mode="after")
    def _weight_is_exact(self) -> Self:
        if self.contract_weight is not None and not _is_exact(self.contract_weight):
            raise ValueError(f"contract_weight {self.contract_weight} has more than {WEIGHT_DECIMALS} decimals")
        return self


class _OwnCounts(Section):
    max_order_quantity: Count | None = None
    """Contracts in one order."""
    max_position: Count | None = None
    """Contracts held per symbol, long or short, if every working order were filled."""
    max_open_orders: Count | None = None
    """Orders that are not finished."""
    max_orders_per_second: Count | None = None
    """New orders and changes in one second; cancels always pass."""


class StrategyRisk(PerOwner, _OwnCounts):
    """Limits of one strategy beside the account's, which they may only tighten."""


class _AccountCounts(Section):
    max_order_quantity: Count
    """Contracts in one order."""
    max_position: Count
    """Contracts held per symbol, long or short, if every working order were filled."""
    max_open_orders: Count
    """Orders that are not finished."""
    max_orders_per_second: Count
    """New orders and changes in one second; cancels always pass."""


class Risk(PerOwner, _AccountCounts):
    """The account's limits before each order; quantities in contracts, positions as a worst case per symbol.

    Orders that only lower a position pass, and cancels always do (docs/risk.md). Mode ``live`` needs more of them.
    """

    self_trade: Literal["deny", "allow"] = "deny"
    """What becomes of an order that would trade with one of our own, of any strategy."""
    position_stale_s: Annotated[float, Field(ge=POSITION_STALE_MIN_S, le=86_400)] | None = None
    """Seconds without the broker's list of positions (one comes each minute) after which no position is opened."""
    clock_skew_max_s: Annotated[float, Field(ge=0.001, le=3600)] | None = None
    """How far this machine's clock may be from the exchange's while positions are opened."""
    drawdown_basis: Literal["realized", "total"] = "total"
    """What counts for both loss limits: ``realized``: closed profit; ``total``: open profit, too."""
    drawdown_mark: Literal["intraday", "end_of_day"] = "intraday"
    """When the highest profit is noted: at every moment, or where a trade date ends."""
    drawdown_floor_max: Annotated[float, Field(ge=0, le=1e12)] | None = None
    """Profit, in currency, at which the floor of the trailing drawdown stops rising; 0: where the account began."""
    on_breach: Literal["reducing", "halt", "flatten"] = "reducing"
    """What a reached loss limit does: ``reducing``: entries are canceled and only exits pass; ``halt``: nothing passes
    but cancels; ``flatten``: positions are closed, too.
    """
    instruments: dict[Annotated[str, Field(pattern=SYMBOL_PATTERN)], InstrumentRisk] = {}
    """Stricter limits by product (``ES``), contract (``ESZ6``) or alias (``ES.front``); all that fit an order hold."""

    @model_validator(mode="after")
    def _floor_has_a_limit(self) -> Self:
        if self.drawdown_floor_max is not None and self.trailing_drawdown_limit is None:
            raise ValueError("drawdown_floor_max bounds nothing; add trailing_drawdown_limit, or remove it")
        return self


def thousandths(value: float) -> int:
    """A weight or a cap of contracts in thousandths; exact for what these models let in."""
    return round(value * WEIGHT_SCALE)


def _is_exact(value: float) -> bool:
    return round(value, WEIGHT_DECIMALS) == value
