"""Every limit with what is used of it, for people. Pure; floats are good enough here, decisions are made elsewhere."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from nightdesk.messages import Side
from nightdesk.trading.order import Order
from nightdesk.trading.risk_book import RiskBook
from nightdesk.trading.risk_exposure import Exposures, weighted
from nightdesk.trading.risk_limits import Usage, broker_worst
from nightdesk.trading.risk_terms import WEIGHT_SCALE, Level, LossBasis, Scope
from nightdesk.trading.units import from_micros

NEAR_PERCENT = 80.0


class LimitState(StrEnum):
    """How much of a limit is used."""

    OK = "ok"
    NEAR = "near"
    """From ``NEAR_PERCENT`` on."""
    REACHED = "reached"
    """An order that needs more of it is denied."""
    PER_ORDER = "per_order"
    """Each order is held against it; nothing is used up."""
    UNKNOWN = "unknown"
    """Nothing was seen yet that it is held against, so that openings are denied."""


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    """One limit. Money is in currency, times are in seconds; ``symbol`` is empty where it is about all of them."""

    name: str
    """As in the configuration."""
    level: str
    """``account``, ``instrument ES``, ``strategy cross`` or ``broker``."""
    symbol: str = ""
    limit: float | str
    use: float | None = None
    percent: float | None = None
    state: LimitState


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What the limits are held against now; ``now_s`` is monotonic, ``now_ns`` the market's time."""

    now_s: float
    now_ns: int
    exposures: Exposures
    orders: Sequence[Order]
    symbols: Sequence[str]
    """The contracts that are traded now."""
    open_symbols: Sequence[str]
    """Those of them whose market trades."""


def limit_rows(book: RiskBook, moment: Moment) -> list[LimitRow]:
    """All limits that are set: the account's, the instruments', the strategies', the broker's."""
    rows: list[LimitRow] = []
    levels = list(book.terms.owners())
    levels[1:1] = [Level(Scope.INSTRUMENT, name, limits) for name, limits in book.terms.instruments.items()]
    for level in levels:
        usage = book.usage(level, moment.exposures, moment.orders, moment.now_s)
        rows += _of_orders(level)
        rows += _of_counts(usage)
        rows += _of_exposure(book, usage, moment)
        rows += _of_losses(usage)
        rows += _of_market(book, level, moment)
        if level.scope is Scope.ACCOUNT:
            rows += _of_account(book, moment)
    rows += _of_broker(book, moment)
    return rows


def row(
    name: str, level: str, limit: float, use: float | None, *, symbol: str = "", is_reached: bool | None = None
) -> LimitRow:
    """A limit with a use; ``is_reached`` where more than the numbers decides."""
    if use is None:
        return LimitRow(name=name, level=level, symbol=symbol, limit=limit, state=LimitState.UNKNOWN)
    percent = round(max(0.0, 100.0 * use / limit), 1) if limit else 100.0
    reached = use >= limit if is_reached is None else is_reached
    state = LimitState.REACHED if reached else LimitState.NEAR if percent >= NEAR_PERCENT else LimitState.OK
    return LimitRow(name=name, level=level, symbol=symbol, limit=limit, use=use, percent=percent, state=state)


def _level(level: Level) -> str:
    return f"{level.scope} {level.name}".rstrip()


def _of_orders(level: Level) -> Iterator[LimitRow]:
    limits = level.limits
    notional = limits.max_order_notional_micros
    for name, limit in (
        ("max_order_quantity", limits.max_order_quantity),
        ("max_order_notional", None if notional is None else from_micros(notional)),
        ("price_collar", None if limits.price_collar is None else str(limits.price_collar)),
        ("duplicate_window_s", limits.duplicate_window_s),
    ):
        if limit is not None:
            yield LimitRow(name=name, level=_level(level), limit=limit, state=LimitState.PER_ORDER)


def _of_counts(usage: Usage) -> Iterator[LimitRow]:
    limits, level = usage.limits, _level(usage.level)
    for name, limit, use in (
        ("max_open_orders", limits.max_open_orders, usage.open_orders),
        ("max_orders_per_second", limits.max_orders_per_second, usage.recent_orders),
        ("rejects_in_row_max", limits.rejects_in_row_max, usage.rejects),
    ):
        if limit is not None:
            yield row(name, level, limit, use)
    cancels = limits.max_cancels_per_second
    if cancels is not None:
        is_reached = usage.recent_cancels > cancels
        yield row("max_cancels_per_second", level, cancels, usage.recent_cancels, is_reached=is_reached)


def _of_exposure(book: RiskBook, usage: Usage, moment: Moment) -> Iterator[LimitRow]:
    limits, level = usage.limits, _level(usage.level)
    if limits.max_position is not None:
        for symbol in dict.fromkeys((*moment.symbols, *usage.bounds)):
            if usage.level.scope is not Scope.INSTRUMENT or usage.level.name in book.names_of(symbol):
                yield row("max_position", level, limits.max_position, usage.bounds.get(symbol, 0), symbol=symbol)
    if limits.max_contracts is not None:
        used = weighted(usage.bounds, book.weights(usage.bounds))
        yield row("max_contracts", level, limits.max_contracts / WEIGHT_SCALE, used / WEIGHT_SCALE)


def _of_losses(usage: Usage) -> Iterator[LimitRow]:
    limits, level = usage.limits, _level(usage.level)
    for name, limit, loss in (
        ("daily_loss_limit", limits.daily_loss_micros, usage.daily_loss),
        ("trailing_drawdown_limit", limits.drawdown_micros, usage.drawdown),
    ):
        if limit is not None:
            yield row(name, level, from_micros(limit), from_micros(loss.used_micros), is_reached=loss.is_reached)


def _of_market(book: RiskBook, level: Level, moment: Moment) -> Iterator[LimitRow]:
    stale_s, flatten_by = level.limits.market_data_stale_s, level.limits.flatten_by
    for symbol in moment.symbols:
        if level.scope is Scope.INSTRUMENT and level.name not in book.names_of(symbol):
            continue
        if stale_s is not None and symbol in moment.open_symbols:
            age_s = book.prices.age_s(symbol, moment.now_s)
            is_stale = age_s is not None and age_s > stale_s
            yield row("market_data_stale_s", _level(level), stale_s, age_s, symbol=symbol, is_reached=is_stale)
        if flatten_by is not None:
            window = book.window_of(flatten_by, symbol, moment.now_ns)
            state = LimitState.OK if window is None else LimitState.REACHED
            limit = f"{flatten_by:%H:%M}"
            yield LimitRow(name="flatten_by", level=_level(level), symbol=symbol, limit=limit, state=state)


def _of_account(book: RiskBook, moment: Moment) -> Iterator[LimitRow]:
    rules = book.terms.rules
    skew_s = book.skew.skew_s()
    for name, limit, use in (
        ("position_stale_s", rules.position_stale_s, book.position_age_s(moment.now_s)),
        ("clock_skew_max_s", rules.clock_skew_max_s, None if skew_s is None else abs(skew_s)),
    ):
        if limit is not None:
            yield row(name, "account", limit, use, is_reached=use is not None and use > limit)
    if rules.is_self_trade_denied:
        yield LimitRow(name="self_trade", level="account", limit="deny", state=LimitState.PER_ORDER)


def _of_broker(book: RiskBook, moment: Moment) -> Iterator[LimitRow]:
    broker, net = book.broker, moment.exposures.net()
    if broker.max_order_quantity is not None:
        limit = broker.max_order_quantity
        yield LimitRow(name="max_order_quantity", level="broker", limit=limit, state=LimitState.PER_ORDER)
    for name, quantity, side in (
        ("buy_limit", broker.buy_limit, Side.BUY),
        ("sell_limit", broker.sell_limit, Side.SELL),
    ):
        if quantity is not None:
            yield row(name, "broker", quantity, broker_worst(net, side))
    if broker.loss_limit_micros is not None:
        used = book.loss_of_account_micros(LossBasis.TOTAL)
        yield row("loss_limit", "broker", from_micros(broker.loss_limit_micros), from_micros(used))
