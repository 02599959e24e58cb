"""Daily losses and trailing drawdowns: at their limits, over days, across restarts, and against naive counting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nightdesk.messages import Side, StrategyId
from nightdesk.trading.ledger import ACCOUNT, ContractTerms, Ledger, Money
from nightdesk.trading.risk_losses import DailyLoss, Equity, TrailingDrawdown
from nightdesk.trading.risk_terms import LossBasis, MarkTime
from nightdesk.trading.units import to_nanos
from tests.risk_support import ONE, TWO, quote, trade

TOTAL, REALIZED = LossBasis.TOTAL, LossBasis.REALIZED
OWNERS = (ACCOUNT, ONE, TWO)


def test_money_is_exact_and_commissions_are_taken_off() -> None:
    """A tenth of a cent of commission a side, 20,000 times: nothing is lost in between."""
    ledger = Ledger([ContractTerms.of("ESZ6", "CME", 50.0, 0.001)])
    for _ in range(10_000):
        ledger.book(ONE, "ESZ6", "CME", Side.BUY, 1, to_nanos(5000.25))
        ledger.book(ONE, "ESZ6", "CME", Side.SELL, 1, to_nanos(5000.0))
    assert ledger.money(ONE) == Money(-10_000 * 12_502_000, 0, ())
    assert ledger.money(ACCOUNT) == ledger.money(ONE)
    assert ledger.money(TWO) == Money(0, 0, ())


def test_open_profit_needs_a_price() -> None:
    """Without one it counts as nothing and is named; a symbol that is flat needs none."""
    ledger = Ledger([ContractTerms.of(symbol, "CME", 50.0, 0.0) for symbol in ("ESZ6", "NQZ6")])
    ledger.book(ONE, "ESZ6", "CME", Side.BUY, 2, to_nanos(5000.0))
    ledger.book(TWO, "NQZ6", "CME", Side.SELL, 1, to_nanos(20000.0))
    assert ledger.money(ACCOUNT) == Money(0, 0, ("ESZ6", "NQZ6"))
    ledger.on_trade(trade(4999.5))
    ledger.on_quote(quote(20010.0, 20010.0, "NQZ6"))
    assert ledger.money(ACCOUNT) == Money(0, -550_000_000, ())
    assert ledger.money(ONE) == Money(0, -50_000_000, ())


def test_a_fraction_of_a_millionth_counts_against_the_account() -> None:
    """A third of a nano-point cannot be paid out."""
    ledger = Ledger([ContractTerms("X", "CME", 1, 0)])
    ledger.book(ONE, "X", "CME", Side.BUY, 1, 1)
    ledger.book(ONE, "X", "CME", Side.SELL, 1, 0)
    assert ledger.money(ONE) == Money(-1, 0, ())


def test_a_days_loss_counts_from_the_end_of_the_day_before() -> None:
    """What a position loses over night belongs to the new day; what was lost before does not."""
    state = DailyLoss(20261123)
    state.observe(ONE, Equity(-300, -50))
    assert state.loss_micros(ONE, TOTAL) == 350
    assert state.loss_micros(ONE, REALIZED) == 300
    assert state.roll(20261124)
    assert state.loss_micros(ONE, TOTAL) == 0
    state.observe(ONE, Equity(-300, -90))
    assert state.loss_micros(ONE, TOTAL) == 40
    assert state.loss_micros(ONE, REALIZED) == 0


def test_a_trade_date_never_comes_again() -> None:
    """A clock that goes back must not forgive a loss."""
    state = DailyLoss(20261123)
    state.observe(ONE, Equity(-300))
    state.breach(ONE)
    assert not state.roll(20261123)
    assert not state.roll(20261120)
    assert state.loss_micros(ONE, TOTAL) == 300
    assert state.is_breached(ONE)


def test_a_reached_limit_stays_reached_until_the_next_day_or_the_operator() -> None:
    """Told once; a recovery changes nothing, nor does a restart."""
    state = DailyLoss(20261123)
    state.observe(ONE, Equity(0, -500))
    assert state.breach(ONE)
    assert not state.breach(ONE)
    state.observe(ONE, Equity(0, 900))
    state = DailyLoss.from_row(state.to_row())
    assert state.is_breached(ONE)
    assert state.roll(20261124)
    assert not state.is_breached(ONE)
    state.breach(ONE)
    state.observe(ONE, Equity(-100, 900))
    state.reset(ONE)
    assert not state.is_breached(ONE)
    assert state.loss_micros(ONE, TOTAL) == 0


def test_a_journal_without_a_row_tells_where_the_day_began() -> None:
    """By its fills: what was lost on former days does not count."""
    state = DailyLoss(20261123, {ONE: Equity(-5000)})
    state.observe(ONE, Equity(-5100))
    assert state.loss_micros(ONE, TOTAL) == 100


@pytest.mark.parametrize(("equity", "is_reached"), [(-1999, False), (-2000, True), (-2001, True)])
def test_drawdown_is_reached_at_its_limit(equity: int, is_reached: bool) -> None:
    """From a mark of 0, which is where an account begins."""
    state = TrailingDrawdown(MarkTime.INTRADAY)
    state.observe(ONE, equity)
    assert state.is_reached(ONE, 2000) is is_reached
    assert state.used_micros(ONE, 2000) == -equity


@pytest.mark.parametrize(("mark_time", "mark"), [(MarkTime.INTRADAY, 900), (MarkTime.END_OF_DAY, 0)])
def test_the_mark_rises_at_once_or_with_the_days_end(mark_time: MarkTime, mark: int) -> None:
    """Open profit that was given back counts with the one, not with the other."""
    state = TrailingDrawdown(mark_time)
    for equity in (900, 400):
        state.observe(ONE, equity)
    assert state.mark_micros(ONE) == mark
    state.roll()
    assert state.mark_micros(ONE) == max(mark, 400)
    state.observe(ONE, -100)
    state.roll()
    assert state.mark_micros(ONE) == max(mark, 400)


@pytest.mark.parametrize(("high", "floor"), [(0, -2000), (1999, -1), (2000, 0), (2001, 0), (9000, 0)])
def test_the_floor_stops_where_it_is_told_to(high: int, floor: int) -> None:
    """With ``drawdown_floor_max: 0`` at the starting balance, however high the profit was."""
    state = TrailingDrawdown(MarkTime.INTRADAY, 0)
    state.observe(ONE, high)
    assert state.floor_micros(ONE, 2000) == floor
    for equity, is_reached in ((floor + 1, False), (floor, True)):
        state.observe(ONE, equity)
        assert state.is_reached(ONE, 2000) is is_reached
        assert state.used_micros(ONE, 2000) == 2000 - (equity - floor)


def test_a_first_watch_begins_at_the_present_profit() -> None:
    """An old journal that is deep in the red is not at its limit because of what was before."""
    state = TrailingDrawdown(MarkTime.INTRADAY)
    state.begin(ONE, -5000)
    state.observe(ONE, -6999)
    assert not state.is_reached(ONE, 2000)
    state.observe(ONE, -7000)
    assert state.is_reached(ONE, 2000)


def test_only_the_operator_ends_a_drawdown() -> None:
    """No recovery, no new day, no restart; afterwards it counts from there."""
    state = TrailingDrawdown(MarkTime.INTRADAY)
    state.observe(ONE, -2000)
    assert state.breach(ONE)
    assert not state.breach(ONE)
    state.observe(ONE, 100)
    state.roll()
    state = TrailingDrawdown.from_row(state.to_row(), MarkTime.INTRADAY)
    assert state.is_breached(ONE)
    state.observe(ONE, -1500)
    state.reset(ONE)
    assert not state.is_breached(ONE)
    assert state.mark_micros(ONE) == -1500


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_states_say_when_they_are_to_be_written(changes: list[int]) -> None:
    """Whatever is read back after ``is_changed`` was false is the state, but for open profit."""
    losses, falls = DailyLoss(1), TrailingDrawdown(MarkTime.INTRADAY)
    rows = losses.to_row(), falls.to_row()
    realized = 0
    for change in changes:
        realized += change
        losses.observe(ONE, Equity(realized, change))
        falls.observe(ONE, realized)
        rows = losses.to_row() if losses.is_changed else rows[0], falls.to_row() if falls.is_changed else rows[1]
        assert DailyLoss.from_row(rows[0]).loss_micros(ONE, REALIZED) == -realized
        assert TrailingDrawdown.from_row(rows[1], MarkTime.INTRADAY).mark_micros(ONE) == falls.mark_micros(ONE)


class LossMachine(RuleBasedStateMachine):
    """Money comes and goes, days pass, processes end; the naive side keeps every observation there ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.date = 1
        self.losses = DailyLoss(self.date)
        self.falls = {each: TrailingDrawdown(each) for each in MarkTime}
        self.seen: dict[StrategyId, list[tuple[int, Equity]]] = {owner: [] for owner in OWNERS}

    @rule(owner=st.sampled_from(OWNERS), realized=st.integers(-50, 50), unrealized=st.integers(-50, 50))
    def observe(self, owner: StrategyId, realized: int, unrealized: int) -> None:
        equity = Equity(realized, unrealized)
        self.seen[owner].append((self.date, equity))
        self.losses.observe(owner, equity)
        for state in self.falls.values():
            state.observe(owner, equity.value(TOTAL))

    @rule(days=st.integers(-1, 2))
    def pass_days(self, days: int) -> None:
        if self.losses.roll(self.date + days):
            self.date += days
            for state in self.falls.values():
                state.roll()

    @rule()
    def restart(self) -> None:
        self.losses = DailyLoss.from_row(self.losses.to_row())
        self.falls = {each: TrailingDrawdown.from_row(state.to_row(), each) for each, state in self.falls.items()}

    @invariant()
    def losses_are_of_this_day(self) -> None:
        for owner, seen in self.seen.items():
            before = [equity for date, equity in seen if date < self.date]
            now = seen[-1][1] if seen else Equity()
            start = before[-1] if before else Equity()
            for basis in LossBasis:
                assert self.losses.loss_micros(owner, basis) == start.value(basis) - now.value(basis)

    @invariant()
    def marks_are_the_highest_there_was(self) -> None:
        for owner, seen in self.seen.items():
            values = [equity.value(TOTAL) for _, equity in seen]
            ends = {date: equity.value(TOTAL) for date, equity in seen if date < self.date}
            assert self.falls[MarkTime.INTRADAY].mark_micros(owner) == max([0, *values])
            assert self.falls[MarkTime.END_OF_DAY].mark_micros(owner) == max([0, *ends.values()])


TestLossMachine = LossMachine.TestCase
TestLossMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
