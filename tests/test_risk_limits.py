"""The risk limits, one by one: just below each of them, at it, and just beyond."""

import pytest

from nightdesk.messages import Denial, OrderType, Side
from nightdesk.trading.risk_exposure import Exposure
from nightdesk.trading.risk_limits import CHANGE_CHECKS, RISK_CHECKS, Loss, check_risk
from nightdesk.trading.risk_terms import AccountRules, BrokerLimits, Collar, Scope
from tests.risk_support import code, level, market, stop, submit, touched, usage, view, working

DENIED, PASSES = True, False
SELL = {"side": Side.SELL}
AT_MARKET: dict[str, object] = {"order_type": OrderType.MARKET, "price": None}


def test_an_order_within_no_limits_passes() -> None:
    """Nothing stands against the order that the other tests spoil."""
    assert check_risk(submit(), view(usage(level()))) is None


def test_every_check_has_a_code_of_its_own() -> None:
    """And a change is held to all but two of them."""
    codes = [denial for denial, _ in RISK_CHECKS]
    assert len(codes) == len(set(codes)) == 18
    assert {denial for denial, _ in RISK_CHECKS} - {denial for denial, _ in CHANGE_CHECKS} == {
        Denial.RISK_DUPLICATE_ORDER,
        Denial.RISK_MAX_OPEN_ORDERS,
    }


COUNTS = {
    "quantity": ("max_order_quantity", 3, Denial.RISK_MAX_ORDER_QUANTITY, None, (PASSES, PASSES, DENIED)),
    "open orders": ("max_open_orders", 3, Denial.RISK_MAX_OPEN_ORDERS, "open_orders", (PASSES, DENIED, DENIED)),
    "orders": ("max_orders_per_second", 3, Denial.RISK_ORDER_RATE, "recent_orders", (PASSES, DENIED, DENIED)),
    "cancels": ("max_cancels_per_second", 3, Denial.RISK_CANCEL_RATE, "recent_cancels", (PASSES, PASSES, DENIED)),
    "refusals": ("rejects_in_row_max", 3, Denial.RISK_REJECTS, "rejects", (PASSES, DENIED, DENIED)),
}


@pytest.mark.parametrize("scope", [Scope.ACCOUNT, Scope.STRATEGY])
@pytest.mark.parametrize(("key", "limit", "denial", "used", "outcomes"), COUNTS.values(), ids=COUNTS)
def test_counts_deny_beyond_their_limit_at_each_level(
    scope: Scope, key: str, limit: int, denial: Denial, used: str | None, outcomes: tuple[bool, bool, bool]
) -> None:
    """One below, at and one above; what is in use already leaves no room for one more at the limit."""
    at = level(scope, "one" if scope is Scope.STRATEGY else "", **{key: limit})
    for value, is_denied in zip((limit - 1, limit, limit + 1), outcomes, strict=True):
        order = submit(quantity=value if used is None else 1)
        moment = view(usage(level()), usage(at, **({} if used is None else {used: value})))
        assert code(order, moment) is (denial if is_denied else None), value


def test_a_denial_names_level_use_and_limit() -> None:
    """So that the reader knows which line of the file to look at."""
    at = usage(level(Scope.STRATEGY, "one", max_order_quantity=2))
    refusal = check_risk(submit(quantity=3), view(usage(level(max_order_quantity=9)), at))
    assert refusal is not None
    assert refusal.text == "strategy one: quantity 3, max_order_quantity 2"


@pytest.mark.parametrize(
    ("scope", "limit_micros", "is_denied"),
    [
        (Scope.ACCOUNT, 500_000_000_000, PASSES),
        (Scope.ACCOUNT, 499_999_999_999, DENIED),
        (Scope.INSTRUMENT, 500_000_000_001, PASSES),
        (Scope.INSTRUMENT, 499_999_999_999, DENIED),
    ],
)
def test_an_order_is_worth_contracts_times_price_times_point_value(
    scope: Scope, limit_micros: int, is_denied: bool
) -> None:
    """Two ES at 5,000.00 are 500,000.00: to the millionth at the limit they pass."""
    at = usage(level(scope, "ES", max_order_notional_micros=limit_micros))
    assert code(submit(quantity=2), view(at)) is (Denial.RISK_MAX_ORDER_NOTIONAL if is_denied else None)


@pytest.mark.parametrize(
    ("terms", "worth_points"),
    [
        (AT_MARKET, 5000.25),
        (stop(5100.0), 5100.0),
        (stop(5100.0, 5101.0), 5101.0),
        (
            {"side": Side.SELL, "order_type": OrderType.LIMIT_IF_TOUCHED, "price": 5099.0, "trigger_price": 5100.0},
            5100.0,
        ),
        ({"price": -37.5}, 37.5),
    ],
)
def test_an_order_is_valued_at_the_largest_price_it_knows(terms: dict[str, object], worth_points: float) -> None:
    """Its own, and without one the market's; below zero by its size."""
    worth = round(worth_points * 50_000_000)
    for limit, is_denied in ((worth, PASSES), (worth - 1, DENIED)):
        moment = view(usage(level(max_order_notional_micros=limit)))
        assert code(submit(**terms), moment) is (Denial.RISK_MAX_ORDER_NOTIONAL if is_denied else None)


COLLAR_TICKS = [
    # 10 ticks are 2.50 points; the market is 4,999.75 / 5,000.25, the last trade at 5,000.00.
    ("buy at the collar", Side.BUY, {"price": 5002.5}, market(), PASSES),
    ("buy a tick beyond the last trade's", Side.BUY, {"price": 5002.75}, market(), DENIED),
    ("buy beyond the offer's only", Side.BUY, {"price": 5002.5}, market(ask=4999.75), DENIED),
    ("buy far below", Side.BUY, {"price": 4000.0}, market(), PASSES),
    ("sell at the collar", Side.SELL, {"price": 4997.5}, market(), PASSES),
    ("sell a tick beyond the last trade's", Side.SELL, {"price": 4997.25}, market(), DENIED),
    ("sell beyond the bid's only", Side.SELL, {"price": 4997.5}, market(bid=5000.25), DENIED),
    ("sell far above", Side.SELL, {"price": 6000.0}, market(), PASSES),
    ("buy without a last trade", Side.BUY, {"price": 5002.75}, market(last=None), PASSES),
    ("buy without a last trade, beyond", Side.BUY, {"price": 5003.0}, market(last=None), DENIED),
    ("buy without an offer, by the bid", Side.BUY, {"price": 5002.5}, market(ask=None, last=None), DENIED),
    ("buy at the market", Side.BUY, AT_MARKET, market(ask=5002.5), PASSES),
    ("buy at a market that is away", Side.BUY, AT_MARKET, market(ask=5002.75), DENIED),
    ("sell at a market that is away", Side.SELL, AT_MARKET, market(bid=4997.25), DENIED),
    ("buy at a market without a last trade", Side.BUY, AT_MARKET, market(last=None, ask=5002.25), PASSES),
    ("buy at a market that is away from its bid", Side.BUY, AT_MARKET, market(last=None, ask=5002.5), DENIED),
    ("buy stop far above waits", Side.BUY, stop(6000.0), market(), PASSES),
    ("buy stop that is reached is a market order", Side.BUY, stop(5000.0), market(ask=5002.75), DENIED),
    ("buy stop a tick above the last trade still waits", Side.BUY, stop(5000.25), market(ask=5002.75), PASSES),
    ("sell stop that is reached is a market order", Side.SELL, stop(5000.0), market(bid=4997.25), DENIED),
    ("stop limit at its trigger's collar", Side.BUY, stop(6000.0, 6002.5), market(), PASSES),
    ("stop limit beyond its trigger's collar", Side.BUY, stop(6000.0, 6002.75), market(), DENIED),
    ("reached stop limit against the market", Side.BUY, stop(4999.0, 5002.75), market(), DENIED),
    ("buy if touched far below waits", Side.BUY, touched(4000.0), market(ask=5002.75), PASSES),
    ("buy if touched that is reached", Side.BUY, touched(5000.0), market(ask=5002.75), DENIED),
    ("limit if touched beyond its trigger's collar", Side.SELL, touched(6000.0, 5997.25), market(), DENIED),
]


@pytest.mark.parametrize("scope", [Scope.ACCOUNT, Scope.INSTRUMENT, Scope.STRATEGY])
@pytest.mark.parametrize(
    ("side", "terms", "prices", "is_denied"),
    [case[1:] for case in COLLAR_TICKS],
    ids=[case[0] for case in COLLAR_TICKS],
)
def test_collar_in_ticks(scope: Scope, side: Side, terms: dict[str, object], prices: object, is_denied: bool) -> None:
    """Beyond the market a price passes at the collar and not a tick further, at each level."""
    moment = view(usage(level()), usage(level(scope, "x", price_collar=Collar(ticks=10))), market=prices)
    assert code(submit(side=side, **terms), moment) is (Denial.RISK_PRICE_COLLAR if is_denied else None)


def test_collar_in_percent_is_exact() -> None:
    """One percent of 5,000.00 is 50.00, to the billionth; at a price of zero nothing may be beyond it."""
    at = usage(level(price_collar=Collar(percent=1_000_000)))
    only_last = market(bid=None, ask=None)
    assert code(submit(price=5050.0), view(at, market=only_last)) is None
    assert code(submit(price=5050.000000001), view(at, market=only_last)) is Denial.RISK_PRICE_COLLAR
    assert code(submit(price=0.01), view(at, market=market(0.0, None, None))) is Denial.RISK_PRICE_COLLAR
    assert code(submit(price=-49.5), view(at, market=market(-50.0, None, None))) is None
    assert code(submit(price=-49.49), view(at, market=market(-50.0, None, None))) is Denial.RISK_PRICE_COLLAR


@pytest.mark.parametrize(
    ("terms", "prices"),
    [
        ({}, market(None, None, None)),
        (AT_MARKET, market(ask=None)),
        (AT_MARKET, market(last=None, bid=None)),
        ({"order_type": OrderType.MARKET, "price": None, "side": Side.SELL}, market(bid=None)),
    ],
)
def test_a_collar_without_a_price_denies(terms: dict[str, object], prices: object) -> None:
    """What an order is to be held against is missing: an empty book, or nothing seen yet."""
    at = usage(level(price_collar=Collar(ticks=10)))
    assert code(submit(**terms), view(at, market=prices)) is Denial.STATE_DATA_STALE


@pytest.mark.parametrize(
    ("age_s", "is_open", "is_denied"),
    [(4.999, True, PASSES), (5.0, True, PASSES), (5.001, True, DENIED), (None, True, DENIED), (3600.0, False, PASSES)],
)
def test_market_data_may_be_as_old_as_the_limit(age_s: float | None, is_open: bool, is_denied: bool) -> None:
    """Where the market trades; before its opening no ticks are to be expected."""
    moment = view(usage(level(market_data_stale_s=5.0)), market_age_s=age_s, is_open=is_open)
    assert code(submit(), moment) is (Denial.STATE_DATA_STALE if is_denied else None)


def test_a_market_order_that_cannot_be_valued_is_denied() -> None:
    """It may be worth anything."""
    at = usage(level(max_order_notional_micros=1))
    order = submit(order_type=OrderType.MARKET, price=None)
    assert code(order, view(at, market=market(None, None, None))) is Denial.STATE_DATA_STALE


def test_a_position_without_a_price_hides_a_loss() -> None:
    """With a loss limit nothing is opened until it is known; without one nobody asks."""
    assert code(submit(), view(usage(level(daily_loss_micros=1)), unmarked=["NQZ6"])) is Denial.STATE_DATA_STALE
    assert code(submit(), view(usage(level(drawdown_micros=1)), unmarked=["NQZ6"])) is Denial.STATE_DATA_STALE
    assert code(submit(), view(usage(level()), unmarked=["NQZ6"])) is None


@pytest.mark.parametrize(("age_s", "is_denied"), [(179.9, PASSES), (180.0, PASSES), (180.1, DENIED), (None, DENIED)])
def test_the_brokers_positions_may_be_as_old_as_the_limit(age_s: float | None, is_denied: bool) -> None:
    """Never seen is too old."""
    moment = view(usage(level()), rules=AccountRules(position_stale_s=180.0), position_age_s=age_s)
    assert code(submit(), moment) is (Denial.STATE_POSITION_STALE if is_denied else None)


@pytest.mark.parametrize(
    ("skew_s", "is_denied"),
    [(0.999, PASSES), (1.0, PASSES), (1.001, DENIED), (-1.0, PASSES), (-1.001, DENIED), (None, PASSES)],
)
def test_the_clock_may_be_as_far_off_as_the_limit(skew_s: float | None, is_denied: bool) -> None:
    """To either side; an embedded exchange tells nothing that this clock could be held against."""
    moment = view(usage(level()), rules=AccountRules(clock_skew_max_s=1.0), clock_skew_s=skew_s)
    assert code(submit(), moment) is (Denial.STATE_CLOCK if is_denied else None)


@pytest.mark.parametrize(("age_s", "is_denied"), [(0.0, DENIED), (0.999, DENIED), (1.0, PASSES), (None, PASSES)])
def test_an_equal_order_is_denied_within_the_window(age_s: float | None, is_denied: bool) -> None:
    """When the window is over it passes; a change is no new order."""
    moment = view(usage(level(duplicate_window_s=1.0)), duplicate_age_s=age_s)
    assert code(submit(), moment) is (Denial.RISK_DUPLICATE_ORDER if is_denied else None)
    assert code(submit(), moment, is_change=True) is None


@pytest.mark.parametrize("key", ["daily_loss", "drawdown"])
def test_a_loss_limit_that_is_reached_denies(key: str) -> None:
    """Of the account, or of the order's strategy."""
    denial = {"daily_loss": Denial.RISK_DAILY_LOSS, "drawdown": Denial.RISK_TRAILING_DRAWDOWN}[key]
    at = level(Scope.STRATEGY, "one", **{f"{key}_micros": 500_000_000})
    assert code(submit(), view(usage(at, **{key: Loss(499_999_999)}))) is None
    assert code(submit(), view(usage(at, **{key: Loss(500_000_000, is_reached=True)}))) is denial


def test_a_time_of_day_to_be_flat_denies() -> None:
    """With the words of the window."""
    refusal = check_risk(submit(), view(usage(level()), no_trade="positions are closed by 15:10 until 17:00"))
    assert refusal is not None
    assert refusal.code is Denial.SESSION_NO_TRADE
    assert "15:10" in refusal.text


SELF_TRADES = [
    ("below our offer", {"price": 4999.75}, SELL | {"price": 5000.0}, PASSES),
    ("at our offer", {"price": 5000.0}, SELL | {"price": 5000.0}, DENIED),
    ("above our offer", {"price": 5000.25}, SELL | {"price": 5000.0}, DENIED),
    ("sell above our bid", SELL | {"price": 5000.25}, {"side": Side.BUY}, PASSES),
    ("sell at our bid", SELL | {"price": 5000.0}, {"side": Side.BUY}, DENIED),
    ("market order, our offer at the touch", AT_MARKET, SELL | {"price": 5000.25}, DENIED),
    ("market order, our offer anywhere", AT_MARKET, SELL | {"price": 9000.0}, DENIED),
    ("our market order on its way", {"price": 4000.0}, SELL | AT_MARKET, DENIED),
    ("our stop that waits", {"price": 5000.0}, SELL | stop(4990.0), PASSES),
    ("our stop limit that waits", {"price": 5000.0}, SELL | stop(4991.0, 4990.0), PASSES),
    ("our stop limit that was triggered", {"price": 5000.0}, SELL | stop(4991.0, 4990.0) | {"triggered": True}, DENIED),
    ("stop that waits", stop(5001.0), SELL | {"price": 4990.0}, PASSES),
    ("stop that is reached", stop(5000.0), SELL | {"price": 5000.25}, DENIED),
]


@pytest.mark.parametrize(
    ("terms", "ours", "is_denied"), [case[1:] for case in SELF_TRADES], ids=[case[0] for case in SELF_TRADES]
)
def test_no_order_trades_with_one_of_our_own(
    terms: dict[str, object], ours: dict[str, object], is_denied: bool
) -> None:
    """By its price, or by what a market order can reach; unless the configuration allows it."""
    moment = view(usage(level()), opposite=[working(**ours)])
    assert code(submit(**terms), moment) is (Denial.RISK_SELF_TRADE if is_denied else None)
    allowed = view(usage(level()), opposite=[working(**ours)], rules=AccountRules(is_self_trade_denied=False))
    assert code(submit(**terms), allowed) is None


def test_a_collar_bounds_what_a_market_order_reaches() -> None:
    """10 ticks from the offer at 5,000.25: our own offer at 5,002.75 is in reach, a tick further it is not."""
    at = usage(level(price_collar=Collar(ticks=10)))
    order = submit(order_type=OrderType.MARKET, price=None)
    near, far = working(side=Side.SELL, price=5002.75), working(side=Side.SELL, price=5003.0)
    assert code(order, view(at, opposite=[near])) is Denial.RISK_SELF_TRADE
    assert code(order, view(at, opposite=[far])) is None


def test_a_change_on_its_way_counts_with_its_sharper_price() -> None:
    """Our offer may be at either of its prices."""
    ours = working(side=Side.SELL, price=5001.0)
    moment = view(usage(level()), opposite=[ours])
    assert code(submit(price=5000.0), moment) is None
    ours.request_terms(ours.terms()._replace(price=5000.0))
    assert code(submit(price=5000.0), moment) is Denial.RISK_SELF_TRADE


POSITIONS = [
    ("long", Exposure(3), Side.BUY, 2, PASSES),
    ("long, beyond", Exposure(3), Side.BUY, 3, DENIED),
    ("long with a buy at work", Exposure(3, buy=1), Side.BUY, 1, PASSES),
    ("long with a buy at work, beyond", Exposure(3, buy=1), Side.BUY, 2, DENIED),
    ("turning over", Exposure(3), Side.SELL, 8, PASSES),
    ("turning over, beyond", Exposure(3), Side.SELL, 9, DENIED),
    ("short with sells at work", Exposure(-2, sell=2), Side.SELL, 1, PASSES),
    ("short with sells at work, beyond", Exposure(-2, sell=2), Side.SELL, 2, DENIED),
    ("sells make no room for buys", Exposure(5, sell=5), Side.BUY, 1, DENIED),
    ("over the limit, not raising it", Exposure(9), Side.SELL, 18, PASSES),
    ("over the limit, raising it", Exposure(9), Side.SELL, 19, DENIED),
]


@pytest.mark.parametrize(
    ("own", "side", "quantity", "is_denied"), [case[1:] for case in POSITIONS], ids=[case[0] for case in POSITIONS]
)
@pytest.mark.parametrize("scope", list(Scope))
def test_position_in_the_worst_case(scope: Scope, own: Exposure, side: Side, quantity: int, is_denied: bool) -> None:
    """Filled and working on each side against a limit of 5; what raises nothing passes whatever is held."""
    at = usage(level(scope, "one", max_position=5), bounds={"ESZ6": own.bound})
    order, moment = submit(side=side, quantity=quantity), view(at, own=own, added=quantity)
    assert code(order, moment) is (Denial.RISK_MAX_POSITION if is_denied else None)


@pytest.mark.parametrize(
    ("symbol", "bounds", "quantity", "is_denied"),
    [
        ("ESZ6", {"ESZ6": 4}, 1, PASSES),
        ("ESZ6", {"ESZ6": 4}, 2, DENIED),
        ("ESZ6", {"MESZ6": 40}, 1, PASSES),
        ("ESZ6", {"MESZ6": 41}, 1, DENIED),
        ("MESZ6", {"ESZ6": 4}, 9, PASSES),
        ("MESZ6", {"ESZ6": 4}, 10, PASSES),
        ("MESZ6", {"ESZ6": 4}, 11, DENIED),
    ],
)
def test_contracts_over_all_instruments_are_weighted(
    symbol: str, bounds: dict[str, int], quantity: int, is_denied: bool
) -> None:
    """A micro is a tenth: 5 are 5 ES, or 4 ES and 10 MES."""
    at = usage(level(max_contracts=5000), bounds=bounds)
    order = submit(symbol=symbol, quantity=quantity)
    assert code(order, view(at, added=quantity)) is (Denial.RISK_MAX_CONTRACTS if is_denied else None)


HELD = {"net": {"ESZ6": Exposure(1), "NQZ6": Exposure(1, buy=1)}}
SHORT = {"net": {"NQZ6": Exposure(-9)}}


def test_what_raises_nothing_passes_over_a_cap() -> None:
    """Orders of others may have led there; the way back is open."""
    at = usage(level(max_contracts=5000), bounds={"ESZ6": 9})
    for quantity, is_denied in ((18, PASSES), (19, DENIED)):
        moment = view(at, own=Exposure(9), added=quantity)
        denial = Denial.RISK_MAX_CONTRACTS if is_denied else None
        assert code(submit(side=Side.SELL, quantity=quantity), moment) is denial


BROKER = [
    ("quantity at it", BrokerLimits(max_order_quantity=2), {"quantity": 2}, {}, PASSES),
    ("quantity beyond it", BrokerLimits(max_order_quantity=2), {"quantity": 3}, {}, DENIED),
    ("long over all symbols", BrokerLimits(buy_limit=5), {"quantity": 2}, HELD, PASSES),
    ("long beyond it", BrokerLimits(buy_limit=5), {"quantity": 3}, HELD, DENIED),
    ("a short elsewhere makes no room", BrokerLimits(buy_limit=5), {"quantity": 6}, SHORT, DENIED),
    ("short beyond it", BrokerLimits(sell_limit=5), {"side": Side.SELL, "quantity": 6}, {}, DENIED),
    ("a buy within a sell limit", BrokerLimits(sell_limit=5), {"quantity": 6}, {}, PASSES),
    ("a loss below it", BrokerLimits(loss_limit_micros=100), {}, {"broker_loss_micros": 99}, PASSES),
    ("a loss at it", BrokerLimits(loss_limit_micros=100), {}, {"broker_loss_micros": 100}, DENIED),
]


@pytest.mark.parametrize(
    ("broker", "terms", "state", "is_denied"), [case[1:] for case in BROKER], ids=[case[0] for case in BROKER]
)
def test_the_brokers_own_limits_hold_whatever_ours_are(
    broker: BrokerLimits, terms: dict[str, object], state: dict[str, object], is_denied: bool
) -> None:
    """Without a level of ours that is stricter."""
    order = submit(**terms)
    moment = view(usage(level()), broker=broker, added=order.quantity, **state)
    assert code(order, moment) is (Denial.RISK_BROKER_LIMIT if is_denied else None)
