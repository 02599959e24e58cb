"""The risk limits as a table of checks, each a code and a predicate. Pure: everything comes in with the view.

At its limit an order passes, beyond it it does not; only a loss limit and a count of refusals deny from the limit on,
as their names say. Of several levels each holds by itself. An order that only lowers its strategy's position is held to
``EXIT_CHECKS`` alone, which let every exit pass that does not itself raise the worst case. Cancels never come here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from nightdesk.messages import Denial, OrderType, Side, SubmitOrder
from nightdesk.trading.order import Order
from nightdesk.trading.risk_exposure import Exposure, weighted
from nightdesk.trading.risk_prices import MarketPrice, Reach, is_reached, reaches
from nightdesk.trading.risk_terms import WEIGHT_SCALE, AccountRules, BrokerLimits, Level, LevelLimits
from nightdesk.trading.risk_view import Refusal
from nightdesk.trading.units import MONEY_SCALE, PRICE_SCALE, from_nanos, to_nanos


class Loss(msgspec.Struct, frozen=True):
    """What an owner has used of a loss limit; ``is_reached`` also where it was reached before."""

    used_micros: int = 0
    is_reached: bool = False


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One level and what is used of its limits; an instrument's is the account's within its contract."""

    level: Level
    bounds: Mapping[str, int]
    """The worst case per symbol."""
    open_orders: int = 0
    recent_orders: int = 0
    recent_cancels: int = 0
    rejects: int = 0
    daily_loss: Loss = Loss()
    drawdown: Loss = Loss()

    @property
    def limits(self) -> LevelLimits:
        """The level's limits."""
        return self.level.limits


class RiskView(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks look at; ages and skews are None where nothing was ever seen."""

    levels: Sequence[Usage]
    rules: AccountRules
    broker: BrokerLimits
    own: Exposure
    """The strategy's in the order's symbol; of an order that is being changed, with its present terms."""
    added: int
    """By how much the order raises what may still be bought or sold: its quantity, or what a change adds."""
    net: Mapping[str, Exposure]
    """The account's as the broker sees it."""
    weights: Mapping[str, int]
    """Of each symbol in ``bounds`` and of the order's own."""
    market: MarketPrice
    market_age_s: float | None
    is_open: bool
    """Whether the market trades, so that ticks are to be expected."""
    tick_nanos: int
    point_value_micros: int
    unmarked: Sequence[str] = ()
    """Symbols with a position and without a price, so that the open profit is not known."""
    duplicate_age_s: float | None = None
    opposite: Sequence[Order] = ()
    """Our working orders of the other side in this symbol, all strategies'."""
    position_age_s: float | None = None
    clock_skew_s: float | None = None
    broker_loss_micros: int = 0
    no_trade: str = ""
    """Why nothing is opened at this time of day."""


def check_risk(
    order: SubmitOrder, view: RiskView, *, is_change: bool = False, is_reducing: bool = False
) -> Refusal | None:
    """The first limit that the order does not keep, or None. A change is held to all but what only a new order can
    break; the order then has the new terms with the whole quantity."""
    for code, predicate in EXIT_CHECKS if is_reducing else CHANGE_CHECKS if is_change else RISK_CHECKS:
        text = predicate(order, view)
        if text is not None:
            return Refusal(code, text)
    return None


_Predicate = Callable[[SubmitOrder, RiskView], str | None]
_Limit = TypeVar("_Limit", int, float)


def _clock(order: SubmitOrder, view: RiskView) -> str | None:
    limit, skew = view.rules.clock_skew_max_s, view.clock_skew_s
    if limit is None or skew is None or abs(skew) <= limit:
        return None
    return f"this machine's clock is {skew:+.3f} s from the exchange's, clock_skew_max_s {limit:g}"


def _position_stale(order: SubmitOrder, view: RiskView) -> str | None:
    limit, age = view.rules.position_stale_s, view.position_age_s
    if limit is None or (age is not None and age <= limit):
        return None
    return f"the broker's positions were last seen {_ago(age)}, position_stale_s {limit:g}"


def _data_stale(order: SubmitOrder, view: RiskView) -> str | None:
    for usage in view.levels:
        limit = usage.limits.market_data_stale_s
        if limit is not None and view.is_open and (view.market_age_s is None or view.market_age_s > limit):
            last = f"last tick of {order.symbol} {_ago(view.market_age_s)}"
            return f"{usage.level.prefix}{last}, market_data_stale_s {limit:g}"
    if any(usage.limits.price_collar for usage in view.levels) and _reaches(order, view) is None:
        return f"no price of {order.symbol} to hold a {order.side} {order.order_type} order against (price_collar)"
    needs_value = any(usage.limits.max_order_notional_micros is not None for usage in view.levels)
    if needs_value and order.order_type is OrderType.MARKET and not view.market.is_known:
        return f"no price of {order.symbol} to value a {order.order_type} order with (max_order_notional)"
    if view.unmarked and any(_has_loss_limit(usage.limits) for usage in view.levels):
        return f"no price of {', '.join(view.unmarked)}, so that the open profit of a position is not known"
    return None


def _has_loss_limit(limits: LevelLimits) -> bool:
    return limits.daily_loss_micros is not None or limits.drawdown_micros is not None


def _no_trade(order: SubmitOrder, view: RiskView) -> str | None:
    return view.no_trade or None


def _daily_loss(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.daily_loss_micros):
        if usage.daily_loss.is_reached:
            lost = f"loss of the day {money_text(usage.daily_loss.used_micros)}"
            return f"{usage.level.prefix}{lost}, daily_loss_limit {money_text(limit)}"
    return None


def _trailing_drawdown(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.drawdown_micros):
        if usage.drawdown.is_reached:
            fall = f"{money_text(usage.drawdown.used_micros)} used up"
            return f"{usage.level.prefix}{fall} of trailing_drawdown_limit {money_text(limit)}"
    return None


def _rejects(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.rejects_in_row_max):
        if usage.rejects >= limit:
            return f"{usage.level.prefix}{usage.rejects} orders refused in a row, rejects_in_row_max {limit}"
    return None


def _cancel_rate(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.max_cancels_per_second):
        if usage.recent_cancels > limit:
            return f"{usage.level.prefix}over {limit} cancels in the last second, max_cancels_per_second {limit}"
    return None


def _order_rate(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.max_orders_per_second):
        if usage.recent_orders >= limit:
            sent = f"{usage.recent_orders} orders in the last second"
            return f"{usage.level.prefix}{sent}, max_orders_per_second {limit}"
    return None


def _max_order_quantity(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.max_order_quantity):
        if order.quantity > limit:
            return f"{usage.level.prefix}quantity {order.quantity}, max_order_quantity {limit}"
    return None


def notional_micros(order: SubmitOrder, market: MarketPrice, point_value_micros: int) -> int:
    """What an order is worth at the larger of its prices, or at the market's largest; rounded up."""
    prices = [abs(to_nanos(price)) for price in (order.price, order.trigger_price) if price is not None]
    price = max(prices, default=market.largest())
    return -(-order.quantity * price * point_value_micros // PRICE_SCALE)


def _max_order_notional(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.max_order_notional_micros):
        value = notional_micros(order, view.market, view.point_value_micros)
        if value > limit:
            return f"{usage.level.prefix}order worth {money_text(value)}, max_order_notional {money_text(limit)}"
    return None


def _reaches(order: SubmitOrder, view: RiskView) -> list[Reach] | None:
    price, trigger = _nanos(order.price), _nanos(order.trigger_price)
    return reaches(order.order_type, order.side, price, trigger, view.market)


def _price_collar(order: SubmitOrder, view: RiskView) -> str | None:
    for usage in view.levels:
        collar = usage.limits.price_collar
        for reach in (_reaches(order, view) or ()) if collar is not None else ():
            if collar is not None and reach.beyond(order.side) > collar.width(reach.reference, view.tick_nanos):
                where = "above" if order.side is Side.BUY else "below"
                far = f"{order.side} at {reach.what} {from_nanos(reach.price):.10g} is too far {where}"
                return f"{usage.level.prefix}{far} {reach.against} {from_nanos(reach.reference):.10g}, collar {collar}"
    return None


def _duplicate(order: SubmitOrder, view: RiskView) -> str | None:
    for usage, limit in _limited(view, lambda limits: limits.duplicate_window_s):
        if view.duplicate_age_s is not None and view.duplicate_age_s < limit:
            ago = f"an equal order was sent {view.duplicate_age_s:.3f} s ago"
            return f"{usage.level.prefix}{ago}, duplicate_window_s {limit:g}"
    return None


def _self_trade(order: SubmitOrder, view: RiskView) -> str | None:
    if not view.rules.is_self_trade_denied:
        return None
    limit = _reachable(order.order_type, order.side, _nanos(order.price), _nanos(order.trigger_price), view)
    if limit is None:
        return None
    for other in view.opposite:
        theirs = _resting_limit(other, view)
        if theirs is not None and _cross(order.side, limit, theirs):
            own = f"{other.side} {other.leaves_quantity} of {other.strategy_id} ({other.client_order_id})"
            return f"{order.side} {order.quantity} {order.symbol} would trade with our own {own}"
    return None


_ANY_PRICE = 1 << 200
"""Beyond every price: what a market order may reach where no collar bounds it."""


def _reachable(order_type: OrderType, side: Side, price: int | None, trigger: int | None, view: RiskView) -> int | None:
    """The worst price that an order can trade at as soon as it is there; None where its trigger still waits.

    A market order reaches as far as the widest price that a collar would let a limit order have.
    """
    if trigger is not None and not is_reached(order_type, side, trigger, view.market):
        return None
    if price is not None:
        return price
    sign = 1 if side is Side.BUY else -1
    touch = view.market.opposite(side)
    collars = [usage.limits.price_collar for usage in view.levels if usage.limits.price_collar is not None]
    if touch is None or not collars:
        return sign * _ANY_PRICE
    return touch + sign * min(collar.width(touch, view.tick_nanos) for collar in collars)


def _resting_limit(order: Order, view: RiskView) -> int | None:
    """At which price a working order may trade, with the sharper one while a change is on its way."""
    sign = 1 if order.side is Side.BUY else -1
    order_type = order.present_type()
    if order_type is OrderType.MARKET:
        return sign * _ANY_PRICE
    if order_type is not OrderType.LIMIT:
        return None
    pending = order.pending_terms.price if order.pending_terms is not None else None
    prices = [to_nanos(price) for price in (order.price, pending) if price is not None]
    return max(prices, key=lambda price: sign * price, default=None)


def _cross(side: Side, limit: int, theirs: int) -> bool:
    return limit >= theirs if side is Side.BUY else limit <= theirs


def _max_open_orders(order: SubmitOrder, view: RiskView) -> str | None:
    # A bracket's entry brings its exits.
    asked = 1 + bool(order.stop_ticks) + bool(order.target_ticks)
    for usage, limit in _limited(view, lambda limits: limits.max_open_orders):
        if usage.open_orders + asked > limit:
            more = "" if asked == 1 else f", {asked} more are asked for"
            return f"{usage.level.prefix}{usage.open_orders} orders are open{more}, max_open_orders {limit}"
    return None


def _growth(order: SubmitOrder, view: RiskView) -> int:
    """By how much the order raises its strategy's worst case in its symbol."""
    return view.own.plus(order.side, view.added).bound - view.own.bound


def _max_position(order: SubmitOrder, view: RiskView) -> str | None:
    growth = _growth(order, view)
    for usage, limit in _limited(view, lambda limits: limits.max_position):
        worst = usage.bounds.get(order.symbol, 0) + growth
        if growth > 0 and worst > limit:
            asked = f"{order.side} {order.quantity} {order.symbol}: worst case {worst}"
            return f"{usage.level.prefix}{asked} (position {view.own.position}), max_position {limit}"
    return None


def _max_contracts(order: SubmitOrder, view: RiskView) -> str | None:
    growth = _growth(order, view) * view.weights[order.symbol]
    for usage, limit in _limited(view, lambda limits: limits.max_contracts):
        worst = weighted(usage.bounds, view.weights) + growth
        if growth > 0 and worst > limit:
            asked = f"{order.side} {order.quantity} {order.symbol}: worst case {_contracts(worst)} contracts"
            return f"{usage.level.prefix}{asked} over all instruments, max_contracts {_contracts(limit)}"
    return None


def _broker_limit(order: SubmitOrder, view: RiskView) -> str | None:
    broker = view.broker
    if broker.max_order_quantity is not None and order.quantity > broker.max_order_quantity:
        return f"quantity {order.quantity}, the broker's max_order_quantity {broker.max_order_quantity}"
    if broker.loss_limit_micros is not None and view.broker_loss_micros >= broker.loss_limit_micros:
        lost, limit = money_text(view.broker_loss_micros), money_text(broker.loss_limit_micros)
        return f"loss of the day {lost}, the broker's loss_limit {limit}"
    is_buy = order.side is Side.BUY
    limit_quantity = broker.buy_limit if is_buy else broker.sell_limit
    before = broker_worst(view.net, order.side)
    own = view.net.get(order.symbol, Exposure()).plus(order.side, view.added)
    worst = broker_worst({**view.net, order.symbol: own}, order.side)
    if limit_quantity is not None and before < worst and worst > limit_quantity:
        name = "buy_limit" if is_buy else "sell_limit"
        return f"{order.side} {order.quantity} {order.symbol}: worst case {worst}, the broker's {name} {limit_quantity}"
    return None


def broker_worst(net: Mapping[str, Exposure], side: Side) -> int:
    """Contracts long (or short) over all symbols if every working buy (or sell) were filled, as the broker counts."""
    if side is Side.BUY:
        return sum(max(0, each.position + each.buy) for each in net.values())
    return sum(max(0, each.sell - each.position) for each in net.values())


def _limited(view: RiskView, limit_of: Callable[[LevelLimits], _Limit | None]) -> Iterator[tuple[Usage, _Limit]]:
    for usage in view.levels:
        limit = limit_of(usage.limits)
        if limit is not None:
            yield usage, limit


def money_text(micros: int) -> str:
    """An amount for people."""
    return f"{micros / MONEY_SCALE:.2f}"


def _contracts(thousandths: int) -> str:
    return f"{thousandths / WEIGHT_SCALE:g}"


def _nanos(price: float | None) -> int | None:
    return None if price is None else to_nanos(price)


def _ago(age_s: float | None) -> str:
    return "never" if age_s is None else f"{age_s:.1f} s ago"


RISK_CHECKS: tuple[tuple[Denial, _Predicate], ...] = (
    (Denial.STATE_CLOCK, _clock),
    (Denial.STATE_POSITION_STALE, _position_stale),
    (Denial.STATE_DATA_STALE, _data_stale),
    (Denial.SESSION_NO_TRADE, _no_trade),
    (Denial.RISK_DAILY_LOSS, _daily_loss),
    (Denial.RISK_TRAILING_DRAWDOWN, _trailing_drawdown),
    (Denial.RISK_REJECTS, _rejects),
    (Denial.RISK_CANCEL_RATE, _cancel_rate),
    (Denial.RISK_ORDER_RATE, _order_rate),
    (Denial.RISK_MAX_ORDER_QUANTITY, _max_order_quantity),
    (Denial.RISK_MAX_ORDER_NOTIONAL, _max_order_notional),
    (Denial.RISK_PRICE_COLLAR, _price_collar),
    (Denial.RISK_DUPLICATE_ORDER, _duplicate),
    (Denial.RISK_SELF_TRADE, _self_trade),
    (Denial.RISK_MAX_OPEN_ORDERS, _max_open_orders),
    (Denial.RISK_MAX_POSITION, _max_position),
    (Denial.RISK_MAX_CONTRACTS, _max_contracts),
    (Denial.RISK_BROKER_LIMIT, _broker_limit),
)
"""What a new order must pass, in this order: what is wrong with the present comes before what is wrong with the order,
and what it asks for before what it would lead to."""

_ONLY_NEW = frozenset({Denial.RISK_DUPLICATE_ORDER, Denial.RISK_MAX_OPEN_ORDERS})

CHANGE_CHECKS: tuple[tuple[Denial, _Predicate], ...] = tuple(each for each in RISK_CHECKS if each[0] not in _ONLY_NEW)
"""What a change must pass."""

_ALWAYS = frozenset({Denial.RISK_MAX_POSITION, Denial.RISK_MAX_CONTRACTS})

EXIT_CHECKS: tuple[tuple[Denial, _Predicate], ...] = tuple(each for each in RISK_CHECKS if each[0] in _ALWAYS)
"""What an order must pass that only lowers its strategy's position. An exit raises no worst case, nor do a stop and a
target; a further order beside them may, for all of them can fill."""
