"""From the section ``risk`` to the limits that the gate keeps: exact integers, and which of them fit a contract."""

from collections.abc import Callable
from datetime import time
from typing import Any

from nightdesk.calendars.load import product_of
from nightdesk.messages import StrategyId
from nightdesk.settings.contracts import alias_for
from nightdesk.settings.models import Settings
from nightdesk.settings.risk import InstrumentRisk, PriceCollar, Risk, StrategyRisk, thousandths
from nightdesk.trading.risk_terms import (
    PERCENT_SCALE,
    AccountRules,
    Collar,
    LevelLimits,
    LossBasis,
    MarkTime,
    OnBreach,
    RiskTerms,
)
from nightdesk.trading.units import to_micros

_TENTH, _FIFTH = 100, 200
WEIGHTS: dict[str, int] = {
    **dict.fromkeys(("MES", "MNQ", "M2K", "MYM", "MCL", "MNG", "MGC", "MHG", "M6A", "M6B", "M6E"), _TENTH),
    # A tenth of the ether or bitcoin contract is more than they are; less would let a cap through that counts tenths.
    **dict.fromkeys(("MBT", "MET"), _TENTH),
    **dict.fromkeys(("SIL", "XC", "XK", "XW"), _FIFTH),
}
"""Products that count less than a whole contract, in thousandths: micros a tenth, of some the size is a fifth."""


def risk_terms(settings: Settings) -> RiskTerms:
    """All limits of a configuration."""
    risk = settings.risk
    own_weights = {
        name: thousandths(each.contract_weight)
        for name, each in risk.instruments.items()
        if each.contract_weight is not None
    }
    return RiskTerms(
        account=_limits(risk),
        rules=AccountRules(
            is_self_trade_denied=risk.self_trade == "deny",
            position_stale_s=risk.position_stale_s,
            clock_skew_max_s=risk.clock_skew_max_s,
            loss_basis=LossBasis(risk.drawdown_basis),
            mark_time=MarkTime(risk.drawdown_mark),
            floor_max_micros=_micros(risk.drawdown_floor_max),
            on_breach=OnBreach(risk.on_breach),
        ),
        instruments={name: _limits(each) for name, each in risk.instruments.items()},
        strategies={StrategyId(each.name): _limits(each.risk) for each in settings.strategies},
        weights={**WEIGHTS, **own_weights},
    )


def names_of(settings: Settings) -> Callable[[str], tuple[str, ...]]:
    """What a contract may be called in ``risk.instruments``, the most particular first: itself, alias, product."""
    known: dict[str, tuple[str, ...]] = {}

    def names(symbol: str) -> tuple[str, ...]:
        if symbol not in known:
            alias = alias_for(symbol, settings)
            found = (symbol, *(() if alias is None else (alias.symbol,)), product_of(symbol))
            known[symbol] = tuple(dict.fromkeys(found))
        return known[symbol]

    return names


def _limits(level: Risk | InstrumentRisk | StrategyRisk) -> LevelLimits:
    values: dict[str, Any] = dict(level)
    contracts, flatten_by = values.get("max_contracts"), level.flatten_by
    return LevelLimits(
        **{key: values.get(key) for key in _AS_THEY_ARE},
        max_order_notional_micros=_micros(level.max_order_notional),
        max_contracts=None if contracts is None else thousandths(contracts),
        price_collar=None if level.price_collar is None else _collar(level.price_collar),
        daily_loss_micros=_micros(values.get("daily_loss_limit")),
        drawdown_micros=_micros(values.get("trailing_drawdown_limit")),
        flatten_by=None if flatten_by is None else time.fromisoformat(flatten_by),
    )


_AS_THEY_ARE = (
    "max_order_quantity",
    "max_position",
    "max_open_orders",
    "max_orders_per_second",
    "max_cancels_per_second",
    "market_data_stale_s",
    "duplicate_window_s",
    "rejects_in_row_max",
)
"""Keys whose values need no other unit; a level that does not have one has no limit of it."""


def _collar(collar: PriceCollar) -> Collar:
    if collar.ticks is not None:
        return Collar(ticks=collar.ticks)
    return Collar(percent=0 if collar.percent is None else round(collar.percent * PERCENT_SCALE))


def _micros(value: float | None) -> int | None:
    return None if value is None else to_micros(value)
