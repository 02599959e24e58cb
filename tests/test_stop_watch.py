"""How much of a position stops protect, and where a further one is placed."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages import OrderStatus, OrderType, Side
from nightdesk.trading.stop_watch import in_transit, is_beyond, proven_quantity, stop_trigger
from nightdesk.trading.units import to_nanos
from tests.risk_support import market, working

TICK = to_nanos(0.25)


def stop(**changes: object) -> object:
    """A protective stop of two to sell."""
    terms = {
        "side": Side.SELL,
        "order_type": OrderType.STOP_MARKET,
        "quantity": 2,
        "price": None,
        "trigger_price": 4990.0,
        "protective": True,
    }
    return working(**(terms | changes))


@pytest.mark.parametrize(
    ("changes", "proven", "coming"),
    [
        ({}, 2, 0),
        ({"filled_quantity": 1, "status": OrderStatus.PARTIALLY_FILLED}, 1, 0),
        ({"status": OrderStatus.TRIGGERED}, 2, 0),
        ({"status": OrderStatus.PENDING_UPDATE}, 2, 0),
        ({"quantity": 9}, 3, 0),
        # Our own belief, or nobody's: the exchange has not said that it works.
        ({"status": OrderStatus.INITIALIZED}, 0, 1),
        ({"status": OrderStatus.SUBMITTED}, 0, 1),
        ({"status": OrderStatus.UNKNOWN}, 0, 1),
        ({"status": OrderStatus.PENDING_CANCEL}, 0, 1),
        ({"cancel_wanted": True}, 0, 1),
        ({"status": OrderStatus.REJECTED}, 0, 0),
        # No protection at all.
        ({"side": Side.BUY}, 0, 0),
        ({"protective": False}, 0, 0),
        ({"order_type": OrderType.LIMIT, "price": 5010.0, "trigger_price": None}, 0, 0),
    ],
)
def test_only_the_exchanges_word_proves_a_stop(changes: dict[str, object], proven: int, coming: int) -> None:
    """Of three contracts long."""
    orders = [stop(**changes)]
    assert (proven_quantity(3, orders), len(in_transit(3, orders))) == (proven, coming)  # type: ignore[arg-type]


@given(
    prices=st.lists(st.integers(1, 100_000), min_size=1, max_size=20),
    sign=st.sampled_from([1, -1]),
    ticks=st.integers(1, 200),
)
def test_trigger_is_on_a_tick_and_at_most_one_tick_further_than_asked(prices: list[int], sign: int, ticks: int) -> None:
    """From the exact average of whatever fills; never nearer to the market than asked for."""
    position = sign * len(prices)
    cost = sum(sign * price * TICK for price in prices)
    trigger = stop_trigger(position, cost, TICK, ticks)
    exact = Fraction(cost, position) - sign * ticks * TICK
    assert trigger % TICK == 0
    assert 0 <= sign * (exact - trigger) < TICK or (trigger == -sign * TICK and 0 <= sign * exact < TICK)


def test_no_trigger_is_zero() -> None:
    """On the wire nothing tells it from a missing one: spreads trade there."""
    assert stop_trigger(1, 10 * TICK, TICK, 10) == -TICK
    assert stop_trigger(-1, 10 * TICK, TICK, 10) == TICK


@pytest.mark.parametrize(("last", "beyond"), [(4990.25, False), (4990.0, True), (4985.0, True)])
def test_trigger_that_the_market_has_reached_is_no_place_for_a_stop(last: float, beyond: bool) -> None:
    """The exchange would refuse it."""
    assert is_beyond(2, to_nanos(4990.0), market(last=last)) is beyond
    assert is_beyond(-2, to_nanos(4990.0), market(last=last)) is (last >= 4990.0)
