"""The exchange's ledger: exact money."""

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.simulator.model import Product
from nightdesk.simulator.venue.counters import Counters
from nightdesk.simulator.venue.ledger import Ledger, Position, Scale, Turnover, dollars
from nightdesk.simulator.venue.snapshot import records_of, restore_ledger
from tests.market_support import ES

ZN = Product("ZNZ6", "CBOT", 0.015625, 1000.0, 0.85)


def test_average_price_and_realized_profit_of_a_partial_close() -> None:
    """What is closed takes its share of the cost; the average of the rest stays."""
    position = Position(Scale(ES))
    position.apply(2, 20000)
    position.apply(2, 20004)
    assert position.average_price == 5000.5
    position.apply(-1, 20006)
    assert dollars(position.realized_micros) == 4 * 12.5
    assert (position.net, position.average_price) == (3, 5000.5)
    assert dollars(position.unrealized_micros(20000)) == -3 * 2 * 12.5


def test_reversal_closes_and_opens_at_the_fill() -> None:
    """A sell of more than is held closes the long and opens a short at its price."""
    position = Position(Scale(ES))
    position.apply(2, 20000)
    position.apply(-5, 20010)
    assert (position.net, position.average_price) == (-3, 5002.5)
    assert dollars(position.realized_micros) == 2 * 10 * 12.5
    assert (position.bought, position.sold) == (2, 5)


def test_tick_worth_a_fraction_of_a_cent_is_exact() -> None:
    """ZN's tick is worth 15.625 dollars, which whole cents could not hold."""
    scale = Scale(ZN)
    position = Position(scale)
    position.apply(1, 7000)
    position.apply(-1, 7001)
    assert dollars(position.realized_micros) == 15.625
    assert scale.price(7001) == 109.390625


def test_price_off_the_tick_has_no_ticks() -> None:
    """Off-tick prices and what is no number give None."""
    scale = Scale(ES)
    assert (scale.ticks(5000.25), scale.ticks(5000.3)) == (20001, None)
    assert scale.ticks(float("nan")) is None
    assert scale.ticks(float("inf")) is None


@given(st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(19_900, 20_100)), max_size=40))
def test_profit_is_conserved_to_the_micro_dollar(fills: list[tuple[int, int]]) -> None:
    """Realized plus open profit is the cash flow, exactly, whatever the order of fills."""
    position = Position(Scale(ES))
    cash = 0
    for quantity, ticks in fills:
        position.apply(quantity, ticks)
        cash -= quantity * ticks * 12_500_000
    mark = 20_000
    net = sum(quantity for quantity, _ in fills)
    assert position.net == net
    assert position.realized_micros + position.unrealized_micros(mark) == cash + net * mark * 12_500_000
    if net == 0:
        assert (position.cost_micros, position.realized_micros) == (0, cash)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(19_900, 20_100)), min_size=1, max_size=20))
def test_average_price_of_opening_fills_is_their_mean(fills: list[tuple[int, int]]) -> None:
    """Compared with exact fractions."""
    position = Position(Scale(ES))
    for quantity, ticks in fills:
        position.apply(quantity, ticks)
    mean = Fraction(sum(quantity * ticks for quantity, ticks in fills), 4 * sum(quantity for quantity, _ in fills))
    assert position.average_price == float(mean)


def test_balance_is_start_plus_realized_less_commission() -> None:
    """Open profit is not in the balance."""
    ledger = Ledger(("A",), 1000.0)
    position = ledger.position("A", ES.symbol, Scale(ES))
    position.apply(1, 20000)
    position.apply(-1, 20004)
    position.apply(1, 20004)
    assert dollars(ledger.balance_micros("A")) == 1000.0 + 50.0 - 3 * 2.25


def test_snapshot_keeps_what_the_day_began_with() -> None:
    """The day's turnover survives a snapshot; of an older snapshot, which does not know it, it begins anew."""
    scale, day_ns = Scale(ES), 86_400 * 10**9
    ledger = Ledger(("A",), 1000.0)
    for day, fills in ((1, ((2, 20000), (-1, 20004))), (2, ((-1, 20008), (3, 20008)))):
        ledger.roll(day * day_ns)
        for signed, ticks in fills:
            ledger.position("A", ES.symbol, scale).apply(signed, ticks)
    today = Turnover(3, 1, 8 * 12_500_000, 4 * 2_250_000)
    position = ledger.positions("A")[ES.symbol]
    assert position.turnover.since(position.before) == today
    (head, *_) = records_of({}, [], ledger, Counters(), {}, [], [])
    for record, expected in ((head, today), (_without_day(head), Turnover(0, 0, 0, 0))):
        again = Ledger(("A",), 1000.0)
        restore_ledger(again, record, {ES.symbol: scale})
        found = again.positions("A")[ES.symbol]
        assert found.turnover == position.turnover
        assert found.turnover.since(found.before) == expected


def _without_day(head: dict[str, Any]) -> dict[str, Any]:
    positions = {ES.symbol: head["positions"]["A"][ES.symbol][:6]}
    return head | {"positions": {"A": positions}}
