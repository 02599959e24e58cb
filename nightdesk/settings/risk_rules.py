"""What the section ``risk`` cannot mean: levels that loosen others, unknown instruments, a live file without limits."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from nightdesk.calendars.load import product_of
from nightdesk.settings.risk import InstrumentRisk, PriceCollar, Risk, StrategyRisk
from nightdesk.settings.section import Section
from nightdesk.settings.yaml_source import KeyPath

if TYPE_CHECKING:
    from nightdesk.settings.models import Settings

TRADE_DAY_BEGINS = "17:00"
"""By the exchange's clocks; a time of day is earlier than another by the distance from here."""

LIVE_NEEDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("price_collar",), "price_collar: {ticks: 40}"),
    (("daily_loss_limit",), "daily_loss_limit: 500"),
    (("max_order_notional", "max_contracts"), "max_order_notional: 400000"),
    (("market_data_stale_s",), "market_data_stale_s: 5"),
    (("duplicate_window_s",), "duplicate_window_s: 1"),
    (("rejects_in_row_max",), "rejects_in_row_max: 3"),
)
"""What mode live does not start without: one of the keys each time, and how it is written."""


class Rule(NamedTuple):
    """How two levels' values of one key compare: the text of the bound, and whether the second keeps it."""

    words: str
    keeps: Callable[[Any, Any], bool]


def risk_complaints(settings: "Settings") -> Iterator[tuple[KeyPath, str]]:
    """Every rule of the limits that a configuration breaks."""
    yield from _instruments(settings)
    for index, strategy in enumerate(settings.strategies):
        path: KeyPath = ("strategies", index, "risk")
        yield from _looser(path, strategy.risk, settings.risk, f"strategy {strategy.name}")
    if settings.mode == "live":
        yield from _live(settings.risk)


def _live(risk: Risk) -> Iterator[tuple[KeyPath, str]]:
    missing = [
        f"{' or '.join(keys)} (such as {example})"
        for keys, example in LIVE_NEEDS
        if all(getattr(risk, key) is None for key in keys)
    ]
    if missing:
        yield ("risk",), f"mode live needs {len(missing)} more of its limits; add {', '.join(missing)}"


def _instruments(settings: "Settings") -> Iterator[tuple[KeyPath, str]]:
    known = {product_of(each.symbol) for each in settings.instruments}
    for name, limits in settings.risk.instruments.items():
        path: KeyPath = ("risk", "instruments", name)
        if product_of(name) not in known:
            yield path, f"{name} is of none of the instruments ({', '.join(sorted(known))}); mend it or remove it"
        yield from _looser(path, limits, settings.risk, name)


def _looser(
    path: KeyPath, own: InstrumentRisk | StrategyRisk, account: Risk, whose: str
) -> Iterator[tuple[KeyPath, str]]:
    for key in type(own).model_fields:
        rule = _RULES.get(key)
        value, bound = getattr(own, key), getattr(account, key, None)
        if rule is None or value is None or bound is None or rule.keeps(value, bound):
            continue
        text = f"{_shown(value)} is looser than the account's {_shown(bound)} (risk.{key})"
        yield (*path, key), f"{text}; {whose} may only be stricter: {rule.words} {_shown(bound)}"


def _shown(value: object) -> str:
    if isinstance(value, Section):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.model_dump(exclude_none=True).items())
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _is_tighter(value: PriceCollar, bound: PriceCollar) -> bool:
    # A collar in ticks and one in percent cannot be compared without a price: both hold, each by itself.
    for own, other in ((value.ticks, bound.ticks), (value.percent, bound.percent)):
        if own is not None and other is not None:
            return own <= other
    return True


def _since_begin(time_of_day: str) -> int:
    hours, minutes = (int(part) for part in time_of_day.split(":"))
    begins_hours, begins_minutes = (int(part) for part in TRADE_DAY_BEGINS.split(":"))
    return (60 * (hours - begins_hours) + minutes - begins_minutes) % (24 * 60)


_AT_MOST = Rule("at most", lambda value, bound: value <= bound)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "max_order_quantity",
            "max_position",
            "max_open_orders",
            "max_orders_per_second",
            "max_cancels_per_second",
            "max_order_notional",
            "max_contracts",
            "market_data_stale_s",
            "rejects_in_row_max",
            "daily_loss_limit",
            "trailing_drawdown_limit",
        ),
        _AT_MOST,
    ),
    "duplicate_window_s": Rule("at least", lambda value, bound: value >= bound),
    "price_collar": Rule("at most", _is_tighter),
    "flatten_by": Rule("not later than", lambda value, bound: _since_begin(value) <= _since_begin(bound)),
}
