"""The ledger counts quantity and money exactly."""

from hypothesis import given
from hypothesis import strategies as st

from nightdesk.messages import AggressorSide, QuoteTick, Side, StrategyId, TradeTick
from nightdesk.trading.ledger import ACCOUNT, ContractTerms, Ledger, Position
from nightdesk.trading.units import from_nanos, is_on_tick, to_micros, to_nanos

ES = ContractTerms.of("ESH4", "CME", 50.0, 2.25)
ONE = StrategyId("one")
TWO = StrategyId("two")

fills = st.lists(
    st.tuples(
        st.sampled_from([ONE, TWO]),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(min_value=1, max_value=50),
        st.integers(min_value=-4_000, max_value=40_000),
    ),
    max_size=60,
)


def _book(ledger: Ledger, strategy: StrategyId, side: Side, quantity: int, price: float) -> int:
    return ledger.book(strategy, "ESH4", "CME", side, quantity, to_nanos(price))


@given(fills)
def test_any_sequence_of_fills_conserves_quantity_and_money(sequence: list[tuple[StrategyId, Side, int, int]]) -> None:
    """Realized points equal the cash that flowed plus the cost of what is open, to the last billionth."""
    position = Position()
    cash = net = commission = 0
    for _, side, quantity, ticks in sequence:
        price = ticks * 250_000_000
        position.book(side, quantity, price, quantity * 7)
        signed = quantity if side is Side.BUY else -quantity
        net += signed
        cash -= signed * price
        commission += quantity * 7
        assert net == position.quantity
        assert cash + position.open_cost == position.realized
        assert cash + net * 123_456_789 == position.realized + position.unrealized(123_456_789)
    assert commission == position.commission_micros
    if net == 0:
        assert position.open_cost == 0


@given(fills)
def test_account_quantity_is_the_sum_of_the_strategies(sequence: list[tuple[StrategyId, Side, int, int]]) -> None:
    """What the strategies hold adds up to what the account holds, money in total (realized and open) included."""
    ledger = Ledger([ES])
    for strategy, side, quantity, ticks in sequence:
        ledger.book(strategy, "ESH4", "CME", side, quantity, ticks * 250_000_000)
    assert ledger.quantity(ACCOUNT, "ESH4") == ledger.quantity(ONE, "ESH4") + ledger.quantity(TWO, "ESH4")
    reports = [ledger.report(key, "ESH4") for key in (ACCOUNT, ONE, TWO)]
    assert round(reports[0].commission * 100) == round((reports[1].commission + reports[2].commission) * 100)


def test_a_flip_through_zero_closes_first_and_opens_the_rest_at_the_fill_price() -> None:
    """Long 2 at 5000, sell 5 at 5010: 20 points realized, short 3 at 5010."""
    ledger = Ledger([ES])
    _book(ledger, ONE, Side.BUY, 2, 5000.0)
    _book(ledger, ONE, Side.SELL, 5, 5010.0)
    report = ledger.report(ONE, "ESH4")
    assert (report.quantity, report.average_price, report.realized_pnl) == (-3, 5010.0, 1000.0)
    assert report.commission == 7 * 2.25


def test_average_cost_closes_in_parts() -> None:
    """Buys at 5000 and 5001, one sold at 5002: 1.5 points realized and the average stays."""
    ledger = Ledger([ES])
    _book(ledger, ONE, Side.BUY, 1, 5000.0)
    _book(ledger, ONE, Side.BUY, 1, 5001.0)
    _book(ledger, ONE, Side.SELL, 1, 5002.0)
    report = ledger.report(ONE, "ESH4")
    assert (report.quantity, report.average_price, report.realized_pnl) == (1, 5000.5, 75.0)


def _quote(bid: float, bid_size: int, ask: float, ask_size: int) -> QuoteTick:
    return QuoteTick(
        symbol="ESH4",
        exchange="CME",
        bid_price=bid,
        bid_size=bid_size,
        ask_price=ask,
        ask_size=ask_size,
        ts_event_ns=0,
        ts_recv_ns=0,
    )


def test_the_mark_is_the_last_trade_held_inside_the_quote() -> None:
    """A print outside the present quote does not value the position; an empty side bounds nothing."""
    ledger = Ledger([ES])
    _book(ledger, ONE, Side.BUY, 1, 5000.0)
    assert ledger.report(ONE, "ESH4").unrealized_pnl == 0.0
    ledger.on_quote(_quote(5002.0, 1, 5003.0, 1))
    assert ledger.report(ONE, "ESH4").unrealized_pnl == 125.0
    trade = TradeTick(
        symbol="ESH4",
        exchange="CME",
        price=5010.0,
        quantity=1,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=0,
        ts_recv_ns=0,
    )
    ledger.on_trade(trade)
    assert ledger.report(ONE, "ESH4").unrealized_pnl == 150.0
    ledger.on_quote(_quote(5002.0, 1, 5003.0, 0))
    assert ledger.report(ONE, "ESH4").unrealized_pnl == 500.0


def test_a_contract_that_nobody_configured_counts_in_quantity_only() -> None:
    """A foreign fill in an unknown contract is a position, without any money made up."""
    ledger = Ledger([ES])
    ledger.book(StrategyId("external"), "NQH4", "CME", Side.BUY, 3, to_nanos(18000.25))
    report = ledger.report(ACCOUNT, "NQH4")
    assert (report.quantity, report.realized_pnl, report.commission) == (3, 0.0, 0.0)


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_prices_survive_the_way_through_integers(nanos: int) -> None:
    """A price with at most six digits before and nine after the point comes back as it was."""
    assert to_nanos(from_nanos(nanos)) == nanos


def test_ticks_are_exact_for_binary_and_decimal_tick_sizes() -> None:
    """0.1 + 0.2 style errors do not refuse a good price, and a wrong one is found."""
    assert is_on_tick(70.10, 0.01)
    assert is_on_tick(110.015625, 0.015625)
    assert is_on_tick(-37.63, 0.01)
    assert not is_on_tick(70.105, 0.01)
    assert not is_on_tick(5000.3, 0.25)
    assert to_micros(12.5) == 12_500_000
