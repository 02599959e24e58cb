"""The gate's checks, one by one, and their codes."""

import pytest

from nightdesk.messages import ClientOrderId, Denial, OrderType, Side, StrategyId, SubmitOrder, TradingState
from nightdesk.trading.risk import CHECKS, GateView, Limits, OrderRate, TickRules, check_modify, check_order


def order(**changes: object) -> SubmitOrder:
    """A good limit order of one contract."""
    values: dict[str, object] = {
        "client_order_id": ClientOrderId("o1"),
        "strategy_id": StrategyId("one"),
        "fencing_epoch": 3,
        "symbol": "ESH4",
        "exchange": "CME",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "quantity": 1,
        "price": 5000.25,
    }
    return SubmitOrder(**(values | changes))  # type: ignore[arg-type]


def view(**changes: object) -> GateView:
    """A state in which the good order passes."""
    values: dict[str, object] = {
        "limits": Limits(max_order_quantity=5, max_position=10, max_open_orders=4, max_orders_per_second=3),
        "trading_state": TradingState.ACTIVE,
        "connected": True,
        "reconciling": False,
        "journal_writable": True,
        "paused": False,
        "flattening": False,
        "current_epoch": 3,
        "is_duplicate_id": False,
        "tick_rules": TickRules("CME", 0.25),
        "account_position": 0,
        "worst_case_buy": 0,
        "worst_case_sell": 0,
        "strategy_position": 0,
        "strategy_worst_buy": 0,
        "strategy_worst_sell": 0,
        "open_orders": 0,
        "recent_orders": 0,
    }
    return GateView(**(values | changes))  # type: ignore[arg-type]


def code_of(candidate: SubmitOrder, state: GateView) -> Denial | None:
    """The code of the refusal, None when the order passes."""
    refusal = check_order(candidate, state)
    return None if refusal is None else refusal.code


def test_a_good_order_passes() -> None:
    """Nothing stands against the order that the other tests spoil."""
    assert check_order(order(), view()) is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"current_epoch": 4}, Denial.EPOCH_STALE),
        ({"is_duplicate_id": True}, Denial.ORDER_DUPLICATE_ID),
        ({"connected": False}, Denial.STATE_DISCONNECTED),
        ({"reconciling": True}, Denial.STATE_RECONCILING),
        ({"journal_writable": False}, Denial.STATE_JOURNAL_FAILED),
        ({"trading_state": TradingState.HALTED}, Denial.STATE_HALTED),
        ({"trading_state": TradingState.REDUCING}, Denial.STATE_REDUCING),
        ({"paused": True}, Denial.STATE_PAUSED),
        ({"tick_rules": None}, Denial.INSTRUMENT_UNKNOWN),
        ({"tick_rules": TickRules("NYMEX", 0.25)}, Denial.INSTRUMENT_UNKNOWN),
        ({"flattening": True}, Denial.ORDER_OPERATION_IN_FLIGHT),
        ({"open_orders": 4}, Denial.RISK_MAX_OPEN_ORDERS),
        ({"recent_orders": 3}, Denial.RISK_ORDER_RATE),
        ({"account_position": 10}, Denial.RISK_MAX_POSITION),
        ({"account_position": 4, "worst_case_buy": 6}, Denial.RISK_MAX_POSITION),
    ],
)
def test_each_state_denies_with_its_own_code(state: dict[str, object], code: Denial) -> None:
    """Every refusal has a code of the closed set."""
    assert code_of(order(), view(**state)) is code


@pytest.mark.parametrize(
    "terms",
    [
        {"quantity": 0},
        {"quantity": -3},
        {"price": None},
        {"price": float("nan")},
        {"price": float("inf")},
        {"order_type": OrderType.MARKET},
        {"order_type": OrderType.STOP_MARKET, "price": None},
        {"trigger_price": 5000.0},
        {"client_order_id": ClientOrderId("")},
        {"client_order_id": ClientOrderId("x" * 65)},
    ],
)
def test_orders_that_make_no_sense_are_invalid(terms: dict[str, object]) -> None:
    """Missing, superfluous or impossible prices, quantities below one, unusable ids."""
    assert code_of(order(**terms), view()) is Denial.ORDER_INVALID


def test_the_worst_case_counts_each_side_by_itself() -> None:
    """Working sells do not make room for a buy: they may never fill."""
    state = view(account_position=9, worst_case_sell=9)
    assert code_of(order(quantity=1), state) is None
    assert code_of(order(quantity=2), state) is Denial.RISK_MAX_POSITION
    short = view(account_position=-9, worst_case_sell=1)
    assert code_of(order(side=Side.SELL), short) is Denial.RISK_MAX_POSITION


def test_the_texts_carry_the_values() -> None:
    """Whoever reads a denial sees which number met which limit."""
    refusal = check_order(order(quantity=2), view(account_position=9))
    assert refusal is not None
    assert "worst case 11" in refusal.text
    assert "max_position 10" in refusal.text


def test_reducing_lets_pass_only_what_lowers_the_position() -> None:
    """Pending exits count: together they may not turn the position over."""
    state = view(trading_state=TradingState.REDUCING, strategy_position=3, strategy_worst_sell=1)
    assert code_of(order(side=Side.SELL, quantity=2), state) is None
    assert code_of(order(side=Side.SELL, quantity=3), state) is Denial.STATE_REDUCING
    assert code_of(order(side=Side.BUY), state) is Denial.STATE_REDUCING


def test_a_change_needs_no_new_id_and_no_free_slot() -> None:
    """A change replaces an open order, so the number of open orders does not stop it; the quantity limits do."""
    state = view(open_orders=4, is_duplicate_id=True)
    assert check_modify(order(), state) is None
    refusal = check_modify(order(quantity=6), state)
    assert refusal is not None
    assert refusal.code is Denial.RISK_MAX_ORDER_QUANTITY


def test_the_order_rate_slides() -> None:
    """What was sent a second ago no longer counts."""
    rate = OrderRate()
    for moment in (10.0, 10.4, 10.8):
        rate.note(moment)
    assert rate.recent(10.9) == 3
    assert rate.recent(11.0) == 2
    assert rate.recent(12.0) == 0


def test_every_check_has_a_code_of_the_closed_set() -> None:
    """The table names no code twice."""
    codes = [code for code, _ in CHECKS]
    assert len(codes) == len(set(codes))
