"""Orders, levels and moments for the tests of the risk limits."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nightdesk.messages import (
    AggressorSide,
    ClientOrderId,
    Denial,
    OrderStatus,
    OrderType,
    QuoteTick,
    Side,
    StrategyId,
    SubmitOrder,
    TimeInForce,
    TradeTick,
)
from nightdesk.trading.ledger import ACCOUNT, Money
from nightdesk.trading.order import Order, Purpose
from nightdesk.trading.risk_book import OrderFacts, RiskBook
from nightdesk.trading.risk_exposure import Exposure, Exposures
from nightdesk.trading.risk_limits import RiskView, Usage, check_risk
from nightdesk.trading.risk_prices import MarketPrice
from nightdesk.trading.risk_terms import AccountRules, BrokerLimits, Level, LevelLimits, RiskTerms, Scope
from nightdesk.trading.units import to_nanos

ONE, TWO = StrategyId("one"), StrategyId("two")
TICK_NANOS = to_nanos(0.25)
POINT_VALUE_MICROS = 50_000_000
FLAT_MONEY = Money(0, 0, ())
TODAY = 20261123


def submit(**changes: object) -> SubmitOrder:
    """A buy of one ES at 5,000.00; a price or a trigger more or less makes it another type."""
    values: dict[str, object] = {
        "client_order_id": ClientOrderId("o1"),
        "strategy_id": ONE,
        "fencing_epoch": 1,
        "symbol": "ESZ6",
        "exchange": "CME",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "quantity": 1,
        "price": 5000.0,
    }
    return SubmitOrder(**(values | changes))  # type: ignore[arg-type]


def stop(trigger: float, price: float | None = None) -> dict[str, Any]:
    """The terms of a stop, with a limit where it has a price."""
    order_type = OrderType.STOP_MARKET if price is None else OrderType.STOP_LIMIT
    return {"order_type": order_type, "price": price, "trigger_price": trigger}


def touched(trigger: float, price: float | None = None) -> dict[str, Any]:
    """The same of an if-touched order."""
    order_type = OrderType.MARKET_IF_TOUCHED if price is None else OrderType.LIMIT_IF_TOUCHED
    return {"order_type": order_type, "price": price, "trigger_price": trigger}


def working(**changes: object) -> Order:
    """An accepted limit order of one ES at 5,000.00."""
    values: dict[str, Any] = {
        "client_order_id": ClientOrderId("w1"),
        "strategy_id": ONE,
        "account_id": "A",
        "symbol": "ESZ6",
        "exchange": "CME",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.DAY,
        "quantity": 1,
        "price": 5000.0,
        "trigger_price": None,
        "protective": False,
        "purpose": Purpose.STRATEGY,
        "fencing_epoch": 1,
        "connection_epoch": 1,
        "broker_ts_ns": 0,
        "ts_init_ns": 0,
        "status": OrderStatus.ACCEPTED,
    }
    return Order(**(values | changes))


def level(scope: Scope = Scope.ACCOUNT, name: str = "", **limits: Any) -> Level:
    """A level with these limits."""
    return Level(scope, name, LevelLimits(**limits))


def usage(at: Level, **used: Any) -> Usage:
    """A level with what is used of it."""
    return Usage(**({"level": at, "bounds": {}} | used))


def market(last: float | None = 5000.0, bid: float | None = 4999.75, ask: float | None = 5000.25) -> MarketPrice:
    """Prices in points."""
    return MarketPrice(*(None if price is None else to_nanos(price) for price in (last, bid, ask)))


def view(*levels: Usage, **changes: object) -> RiskView:
    """A moment in which nothing is held and nothing is wrong."""
    values: dict[str, object] = {
        "levels": levels,
        "rules": AccountRules(),
        "broker": BrokerLimits(),
        "own": Exposure(),
        "added": 1,
        "net": {},
        "weights": {"ESZ6": 1000, "MESZ6": 100},
        "market": market(),
        "market_age_s": 0.0,
        "is_open": True,
        "tick_nanos": TICK_NANOS,
        "point_value_micros": POINT_VALUE_MICROS,
    }
    return RiskView(**(values | changes))  # type: ignore[arg-type]


def code(order: SubmitOrder, moment: RiskView, *, is_change: bool = False) -> Denial | None:
    """Why the order is denied; None where it passes."""
    refusal = check_risk(order, moment, is_change=is_change)
    return None if refusal is None else refusal.code


def exposures(positions: Mapping[tuple[StrategyId, str], int] | None = None, orders: Iterable[Order] = ()) -> Exposures:
    """Of positions by strategy and symbol, and of orders."""
    return Exposures(((*key, quantity) for key, quantity in (positions or {}).items()), orders)


def facts(orders: Sequence[Order] = (), now_s: float = 100.0, **changes: object) -> OrderFacts:
    """A moment for a book: an order that opens, in an open market, with nothing held."""
    values: dict[str, object] = {
        "now_s": now_s,
        "now_ns": 0,
        "is_reducing": False,
        "added": 1,
        "exposures": exposures(orders=orders),
        "orders": orders,
        "tick_nanos": TICK_NANOS,
        "point_value_micros": POINT_VALUE_MICROS,
        "is_open": True,
    }
    return OrderFacts(**(values | changes))  # type: ignore[arg-type]


def book(
    account: LevelLimits | None = None, *, money: Mapping[StrategyId, Money] | None = None, **terms: Any
) -> RiskBook:
    """A book of these limits whose trade date has begun."""
    made = RiskBook(RiskTerms(account=account or LevelLimits(), **terms))
    made.on_money(TODAY, {ACCOUNT: FLAT_MONEY} | dict(money or {}))
    return made


def trade(price: float, symbol: str = "ESZ6") -> TradeTick:
    """A print."""
    return TradeTick(
        symbol=symbol,
        exchange="CME",
        price=price,
        quantity=1,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=0,
        ts_recv_ns=0,
    )


def quote(bid: float, ask: float, symbol: str = "ESZ6", *, bid_size: int = 1, ask_size: int = 1) -> QuoteTick:
    """A best bid and offer."""
    return QuoteTick(
        symbol=symbol,
        exchange="CME",
        bid_price=bid,
        bid_size=bid_size,
        ask_price=ask,
        ask_size=ask_size,
        ts_event_ns=0,
        ts_recv_ns=0,
    )
