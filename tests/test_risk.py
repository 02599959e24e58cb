"""The gate's checks, one by one, and their codes."""

import pytest

from nightdesk.messages import ClientOrderId, Denial, OrderType, Side, StrategyId, SubmitOrder, TradingState
from nightdesk.trading.risk import CHECKS, check_modify, check_opening, check_order
from nightdesk.trading.risk_limits import RISK_CHECKS
from nightdesk.trading.risk_view import GateView, MarketView, TickRules
from nightdesk.trading.sessions import MarketPhase


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
        "trading_state": TradingState.ACTIVE,
        "connected": True,
        "reconciling": False,
        "journal_writable": True,
        "paused": False,
        "flattening": False,
        "current_epoch": 3,
        "is_duplicate_id": False,
        "tick_rules": TickRules("CME", 0.25),
        "strategy_position": 0,
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


def test_reducing_lets_pass_only_what_lowers_the_position() -> None:
    """Pending exits count: together they may not turn the position over; a stop beside them is none of them."""
    beside = MarketView(unprotective_sell=1, protective_sell=3)
    state = view(trading_state=TradingState.REDUCING, strategy_position=3, market=beside)
    assert code_of(order(side=Side.SELL, quantity=2), state) is None
    assert code_of(order(side=Side.SELL, quantity=3), state) is Denial.STATE_REDUCING
    assert code_of(order(side=Side.BUY), state) is Denial.STATE_REDUCING


def test_the_text_carries_the_values() -> None:
    """Whoever reads a denial sees what was asked for and what stood against it."""
    state = view(trading_state=TradingState.REDUCING, strategy_position=3)
    refusal = check_order(order(side=Side.SELL, quantity=4), state)
    assert refusal is not None
    assert "SELL 4 ESH4 with position 3" in refusal.text


def test_a_change_needs_no_new_id() -> None:
    """It replaces the order that has it."""
    state = view(is_duplicate_id=True)
    assert check_order(order(), state) is not None
    assert check_modify(order(), state) is None


def test_every_check_has_a_code_of_the_closed_set() -> None:
    """The table names no code twice; of those of the limits only the time of day, which has rules in both."""
    codes = [code for code, _ in CHECKS]
    assert len(codes) == len(set(codes))
    assert set(codes) & {code for code, _ in RISK_CHECKS} == {Denial.SESSION_NO_TRADE}


OF_ITS_STRATEGY: dict[str, object] = {
    "current_epoch": 4,
    "is_duplicate_id": True,
    "paused": True,
    "flattening": True,
    "market": MarketView(left="ES.front leaves it"),
}
"""What stands against a strategy's own order, and not against the second leg of a roll."""


def test_an_opening_order_of_the_system_passes_what_is_its_strategys_own_matter() -> None:
    """Epoch, id, pause, flatten and the roll that it belongs to; each of them denies the strategy's own order."""
    assert check_opening(order(), view(**OF_ITS_STRATEGY)) is None
    assert all(check_order(order(), view(**{name: value})) for name, value in OF_ITS_STRATEGY.items())


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"market": MarketView(mismatch="tick size 0.5")}, Denial.INSTRUMENT_MISMATCH),
        ({"market": MarketView(ended="2024-03-15")}, Denial.INSTRUMENT_EXPIRED),
        ({"market": MarketView(phase=MarketPhase.CLOSED)}, Denial.SESSION_CLOSED),
        ({"market": MarketView(no_trade="it is 15:56")}, Denial.SESSION_NO_TRADE),
        ({"trading_state": TradingState.HALTED}, Denial.STATE_HALTED),
        ({"trading_state": TradingState.REDUCING}, Denial.STATE_REDUCING),
        ({"journal_writable": False}, Denial.STATE_JOURNAL_FAILED),
    ],
)
def test_an_opening_order_of_the_system_passes_all_other_checks(state: dict[str, object], code: Denial) -> None:
    """A roll may not put a position into a contract that no strategy may open one in."""
    refusal = check_opening(order(), view(**state))
    assert refusal is not None
    assert refusal.code is code


@pytest.mark.parametrize(
    ("market", "position", "quantity", "code"),
    [
        (MarketView(phase=MarketPhase.CLOSED, may_exit=True), 2, 2, None),
        (MarketView(phase=MarketPhase.HALT, may_exit=True), 2, 3, Denial.SESSION_CLOSED),
        (MarketView(phase=MarketPhase.CLOSED, may_exit=True), 0, 1, Denial.SESSION_CLOSED),
        (MarketView(phase=MarketPhase.CLOSED, may_exit=True, unprotective_sell=1), 2, 2, Denial.SESSION_CLOSED),
        (MarketView(phase=MarketPhase.CLOSED, may_exit=True, protective_sell=2), 2, 2, None),
        (MarketView(phase=MarketPhase.CLOSED), 2, 2, Denial.SESSION_CLOSED),
        (MarketView(phase=MarketPhase.PRE_OPEN, may_exit=True), 2, 2, None),
        (MarketView(ended="2024-03-15", contradicted=True), 2, 2, None),
        (MarketView(ended="2024-03-15", contradicted=True), 0, 2, Denial.INSTRUMENT_EXPIRED),
        (MarketView(ended="2024-03-15", may_exit=True), 2, 2, Denial.INSTRUMENT_EXPIRED),
    ],
)
def test_an_exit_gives_way_to_our_calendar_only_where_nothing_speaks_against_it(
    market: MarketView, position: int, quantity: int, code: Denial | None
) -> None:
    """What only lowers the position is not refused for a belief about time that seconds or trades contradict."""
    sell = order(side=Side.SELL, quantity=quantity, order_type=OrderType.MARKET, price=None)
    assert code_of(sell, view(market=market, strategy_position=position)) is code


@pytest.mark.parametrize(
    ("order_type", "protective", "code"),
    [
        (OrderType.STOP_MARKET, True, None),
        (OrderType.STOP_LIMIT, True, None),
        (OrderType.STOP_MARKET, False, Denial.SESSION_NO_TRADE),
        (OrderType.LIMIT, True, Denial.SESSION_NO_TRADE),
        (OrderType.MARKET, True, Denial.SESSION_NO_TRADE),
    ],
)
def test_only_a_stop_is_exempt_as_protection_and_only_up_to_the_position(
    order_type: OrderType, protective: bool, code: Denial | None
) -> None:
    """Beside a target that has the whole position; beside stops that have it no further one passes."""
    terms = {
        "side": Side.SELL,
        "quantity": 2,
        "order_type": order_type,
        "protective": protective,
        "price": 5000.0 if order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        "trigger_price": 5000.0 if order_type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT) else None,
    }
    beside_target = view(strategy_position=2, market=MarketView(no_trade="now", unprotective_sell=2))
    assert code_of(order(**terms), beside_target) is code
    beside_stop = view(strategy_position=2, market=MarketView(no_trade="now", unprotective_sell=2, protective_sell=1))
    assert code_of(order(**terms), beside_stop) is Denial.SESSION_NO_TRADE
