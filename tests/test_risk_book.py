"""What the gate tells the book and asks it: every denial reached by events alone, and what survives a restart."""

from datetime import UTC, date, datetime, time

import pytest

from nightdesk.errors import InvariantError, JournalError
from nightdesk.messages import Denial, OrderType, Side
from nightdesk.trading.ledger import ACCOUNT, Money
from nightdesk.trading.risk_book import ROW_KEYS, Breach, RiskBook
from nightdesk.trading.risk_prices import ClockSkew
from nightdesk.trading.risk_report import LimitState, Moment, limit_rows
from nightdesk.trading.risk_terms import (
    AccountRules,
    BrokerLimits,
    Collar,
    LevelLimits,
    LossBasis,
    MarkTime,
    RiskTerms,
)
from tests.risk_support import FLAT_MONEY, ONE, TODAY, TWO, book, exposures, facts, quote, submit, trade, working

LOSS = 500_000_000


def code(desk: RiskBook, now_s: float = 100.0, **terms: object) -> Denial | None:
    """What the book says to an order without anything held."""
    refusal = desk.check(submit(**terms), facts(now_s=now_s))
    return None if refusal is None else refusal.code


def test_the_first_order_passes_and_an_equal_one_does_not() -> None:
    """Until the window is over."""
    desk = book(LevelLimits(duplicate_window_s=1.0))
    assert code(desk) is None
    desk.on_sent(submit(), 100.0)
    assert code(desk, 100.999) is Denial.RISK_DUPLICATE_ORDER
    assert code(desk, 101.0) is None


def test_an_order_that_equals_an_exit_is_no_duplicate() -> None:
    """A reversal closes, and then opens as much."""
    desk = book(LevelLimits(duplicate_window_s=1.0))
    desk.on_sent(submit(), 100.0, is_reducing=True)
    assert code(desk, 100.1) is None


def test_a_strategy_with_a_longer_window_waits_longer() -> None:
    """The book remembers for the longest window of all."""
    desk = book(LevelLimits(duplicate_window_s=1.0), strategies={ONE: LevelLimits(duplicate_window_s=3.0)})
    desk.on_sent(submit(), 100.0)
    desk.on_sent(submit(strategy_id=TWO), 100.0)
    assert code(desk, 102.9) is Denial.RISK_DUPLICATE_ORDER
    assert code(desk, 102.9, strategy_id=TWO) is None


def test_sends_and_changes_are_throttled_for_strategy_and_account() -> None:
    """One strategy at its own limit does not stop another; at the account's limit all stop."""
    desk = book(LevelLimits(max_orders_per_second=3), strategies={ONE: LevelLimits(max_orders_per_second=2)})
    desk.on_sent(submit(), 100.0)
    desk.on_changed(ONE, 100.1)
    assert code(desk, 100.2, price=1.0) is Denial.RISK_ORDER_RATE
    assert code(desk, 100.2, strategy_id=TWO) is None
    desk.on_changed(TWO, 100.2)
    assert code(desk, 100.3, strategy_id=TWO) is Denial.RISK_ORDER_RATE
    assert code(desk, 101.0, strategy_id=TWO) is None


def test_too_many_cancels_deny_new_orders() -> None:
    """Of that strategy, not of others."""
    desk = book(strategies={ONE: LevelLimits(max_cancels_per_second=2), TWO: LevelLimits(max_cancels_per_second=2)})
    for _ in range(2):
        desk.on_canceled(ONE, 100.0)
    assert code(desk, 100.5) is None
    desk.on_canceled(ONE, 100.5)
    assert code(desk, 100.9) is Denial.RISK_CANCEL_RATE
    assert code(desk, 100.9, strategy_id=TWO) is None
    assert code(desk, 101.0) is None


def test_refusals_in_a_row_deny_until_one_is_accepted() -> None:
    """Or until the operator says so; a restart keeps them."""
    limits = LevelLimits(rejects_in_row_max=2)
    desk = book(limits)
    desk.on_rejected(ONE)
    assert code(desk) is None
    desk.on_rejected(TWO)
    assert code(desk) is Denial.RISK_REJECTS
    again = book(limits)
    again.load(desk.rows())
    assert code(again) is Denial.RISK_REJECTS
    again.on_accepted(TWO)
    assert code(again) is None
    desk.reset(ACCOUNT)
    assert code(desk) is None


def test_prices_come_from_ticks() -> None:
    """None before the first, none that are too old, and a side that is empty has none."""
    desk = book(LevelLimits(price_collar=Collar(ticks=10), market_data_stale_s=5.0))
    assert code(desk) is Denial.STATE_DATA_STALE
    desk.on_quote(quote(4999.75, 5000.25), 100.0)
    assert code(desk, 105.0) is None
    assert code(desk, 105.0, price=5003.0) is Denial.RISK_PRICE_COLLAR
    assert code(desk, 105.001) is Denial.STATE_DATA_STALE
    desk.on_trade(trade(5010.0), 106.0)
    assert code(desk, 106.0, price=5003.0) is Denial.RISK_PRICE_COLLAR
    desk.on_quote(quote(5009.75, 5010.25, ask_size=0), 106.0)
    assert code(desk, 106.0, price=5003.0) is None
    assert code(desk, 106.0, order_type=OrderType.MARKET, price=None) is Denial.STATE_DATA_STALE


def test_an_exit_passes_what_denies_an_entry() -> None:
    """Every limit that is about new risk."""
    limits = LevelLimits(
        price_collar=Collar(ticks=1),
        market_data_stale_s=1.0,
        max_orders_per_second=1,
        max_order_quantity=1,
        max_order_notional_micros=1,
        duplicate_window_s=1.0,
        daily_loss_micros=1,
        drawdown_micros=1,
        max_open_orders=1,
        max_position=2,
        max_contracts=2000,
    )
    rules = AccountRules(position_stale_s=90.0)
    desk = book(limits, rules=rules, money={ACCOUNT: Money(-5, 0, ("ESZ6",))})
    desk.broker = BrokerLimits(max_order_quantity=1, loss_limit_micros=1)
    desk.on_sent(submit(side=Side.SELL, quantity=2), 100.0)
    held = {(ONE, "ESZ6"): 2}
    stop = working(side=Side.SELL, quantity=2, protective=True, order_type=OrderType.STOP_MARKET, price=None)
    moment = facts([stop], is_reducing=True, added=2, exposures=exposures(held, [stop]))
    assert desk.check(submit(side=Side.SELL, quantity=2), moment) is None


@pytest.mark.parametrize(
    ("limits", "denial"),
    [
        (LevelLimits(max_position=2), Denial.RISK_MAX_POSITION),
        (LevelLimits(max_contracts=2000), Denial.RISK_MAX_CONTRACTS),
    ],
)
def test_a_third_exit_at_a_cap_is_denied(limits: LevelLimits, denial: Denial) -> None:
    """A stop and a target may each have the whole position; a further order beside them could turn it over."""
    desk, held = book(limits), {(ONE, "ESZ6"): 2}
    sells = [working(client_order_id=f"w{number}", side=Side.SELL, quantity=2) for number in range(2)]
    for orders, expected in ((sells[:1], None), (sells, denial)):
        moment = facts(orders, is_reducing=True, added=2, exposures=exposures(held, orders))
        refusal = desk.check(submit(side=Side.SELL, quantity=2), moment)
        assert (refusal and refusal.code) is expected


def test_the_clock_the_brokers_list_and_the_time_of_day() -> None:
    """Each denies from its own event on, and no longer than that."""
    desk = book(rules=AccountRules(position_stale_s=90.0, clock_skew_max_s=1.0))
    assert code(desk) is Denial.STATE_POSITION_STALE
    desk.on_broker_positions(100.0)
    assert code(desk, 190.0) is None
    assert code(desk, 190.1) is Denial.STATE_POSITION_STALE
    desk.skew.on_sample(event_ns=0, wall_ns=1_500_000_000, now_s=100.0)
    assert code(desk) is Denial.STATE_CLOCK
    desk.skew.on_sample(event_ns=0, wall_ns=900_000_000, now_s=101.0)
    assert code(desk) is None


def test_the_skew_is_the_least_that_was_seen_lately() -> None:
    """A late report says nothing of the clock; a clock that was put wrong shows within ten seconds."""
    skew = ClockSkew()
    assert skew.skew_s() is None
    for moment, late_s in enumerate((0.3, 0.02, 0.5, 0.1)):
        skew.on_sample(0, round(late_s * 1e9), moment)
    assert skew.skew_s() == 0.02
    for moment in range(5, 11):
        skew.on_sample(0, -3_000_000_000, moment)
    assert skew.skew_s() == -3.0
    skew.on_sample(0, 0, 11.0)
    skew.on_sample(4_000_000_000, 0, 100.0)
    assert skew.skew_s() == -4.0


def test_a_loss_limit_is_told_once_and_denies_from_then_on() -> None:
    """At the limit, to the millionth; a recovery changes nothing, the next trade date does."""
    limits = LevelLimits(daily_loss_micros=LOSS)
    desk = book(limits)
    assert desk.on_money(TODAY, {ACCOUNT: Money(-LOSS + 1, 0, ())}) == []
    assert code(desk) is None
    (breach,) = desk.on_money(TODAY, {ACCOUNT: Money(-LOSS + 1, -1, ())})
    assert breach == Breach(
        ACCOUNT, Denial.RISK_DAILY_LOSS, "the account has lost 500.00 today, which reaches its daily_loss_limit"
    )
    assert desk.on_money(TODAY, {ACCOUNT: Money(LOSS, 0, ())}) == []
    assert code(desk) is Denial.RISK_DAILY_LOSS
    assert desk.on_money(TODAY + 1, {ACCOUNT: Money(LOSS, 0, ())}) == []
    assert code(desk) is None


def test_a_strategys_loss_limit_is_its_own() -> None:
    """Another strategy trades on."""
    desk = book(strategies={ONE: LevelLimits(drawdown_micros=LOSS)})
    lost = Money(-LOSS, 0, ())
    (breach,) = desk.on_money(TODAY, {ACCOUNT: lost, ONE: lost})
    assert (breach.owner, breach.code) == (ONE, Denial.RISK_TRAILING_DRAWDOWN)
    assert code(desk) is Denial.RISK_TRAILING_DRAWDOWN
    assert code(desk, strategy_id=TWO) is None
    desk.reset(ONE)
    assert code(desk) is None


def test_an_end_of_day_mark_rises_with_the_trade_date() -> None:
    """What was made on a day and kept to its end; the next day falls from there."""
    rules = AccountRules(mark_time=MarkTime.END_OF_DAY)
    desk = book(LevelLimits(drawdown_micros=LOSS), rules=rules)
    for trade_date, profit, codes in (
        (TODAY, 3 * LOSS, []),
        (TODAY, LOSS, []),
        (TODAY + 1, 1, []),
        (TODAY + 1, 0, [Denial.RISK_TRAILING_DRAWDOWN]),
    ):
        breaches = desk.on_money(trade_date, {ACCOUNT: Money(profit, 0, ())})
        assert [breach.code for breach in breaches] == codes


def test_a_strategys_counts_are_its_own_orders_and_positions() -> None:
    """Those of others stand at the account."""
    desk = book(LevelLimits(max_open_orders=3), strategies={ONE: LevelLimits(max_open_orders=1, max_position=2)})
    others = [working(client_order_id=f"w{number}", strategy_id=TWO) for number in range(2)]
    moment = facts(others, exposures=exposures({(TWO, "ESZ6"): 9}, others))
    assert desk.check(submit(), moment) is None
    own = [*others[:1], working()]
    for strategy_id, expected in ((ONE, Denial.RISK_MAX_OPEN_ORDERS), (TWO, None)):
        refusal = desk.check(submit(strategy_id=strategy_id), facts(own))
        assert (refusal and refusal.code) is expected
    held = facts(exposures=exposures({(ONE, "ESZ6"): 2}))
    refusal = desk.check(submit(), held)
    assert refusal is not None
    assert refusal.code is Denial.RISK_MAX_POSITION


def test_only_orders_of_the_other_side_and_the_same_contract_are_our_own_to_meet() -> None:
    """An offer of the micro at the same price is another market."""
    desk = book()
    for symbol, side, expected in (
        ("MESZ6", Side.SELL, None),
        ("ESZ6", Side.BUY, None),
        ("ESZ6", Side.SELL, Denial.RISK_SELF_TRADE),
    ):
        refusal = desk.check(submit(), facts([working(symbol=symbol, side=side, strategy_id=TWO)]))
        assert (refusal and refusal.code) is expected


@pytest.mark.parametrize("first", range(3))
def test_the_earliest_time_to_be_flat_of_all_levels_counts(first: int) -> None:
    """14:59 at one of them and later at the others; in winter that is 20:59 UTC, and closing begins a minute before."""
    limits = [LevelLimits(flatten_by=time(15, 30))] * 3
    limits[first] = LevelLimits(flatten_by=time(14, 59))
    terms = RiskTerms(account=limits[0], instruments={"ES": limits[1]}, strategies={ONE: limits[2]})
    desk = RiskBook(terms, lambda symbol: (symbol, "ES"))
    desk.on_money(TODAY, {ACCOUNT: FLAT_MONEY})
    for moment, expected in ((time(20, 57, 59), None), (time(20, 58), Denial.SESSION_NO_TRADE)):
        now_ns = int(datetime.combine(date(2026, 11, 23), moment, UTC).timestamp()) * 10**9
        refusal = desk.check(submit(), facts(now_ns=now_ns))
        assert (refusal and refusal.code) is expected


def test_only_what_is_realized_counts_where_it_is_so_configured() -> None:
    """And then a position without a price hides nothing."""
    desk = book(LevelLimits(daily_loss_micros=LOSS), rules=AccountRules(loss_basis=LossBasis.REALIZED))
    assert desk.on_money(TODAY, {ACCOUNT: Money(-LOSS + 1, -LOSS, ("ESZ6",))}) == []
    assert code(desk) is None


def test_a_position_without_a_price_stops_entries_with_a_loss_limit() -> None:
    """Until a tick of it comes: after a restart its loss is not known."""
    desk = book(LevelLimits(daily_loss_micros=LOSS), money={ACCOUNT: Money(0, 0, ("NQZ6",))})
    assert code(desk) is Denial.STATE_DATA_STALE
    desk.on_money(TODAY, {ACCOUNT: FLAT_MONEY})
    assert code(desk) is None


def test_nothing_is_decided_before_the_money_is_known() -> None:
    """A gate that forgets to tell is a defect, not a day without losses."""
    desk = RiskBook(RiskTerms(account=LevelLimits(daily_loss_micros=LOSS)))
    with pytest.raises(InvariantError, match="on_money comes first"):
        desk.check(submit(), facts())


def test_the_day_goes_on_after_a_restart() -> None:
    """Losses, marks and refusals; what is written is only what has changed."""
    limits = LevelLimits(daily_loss_micros=LOSS, drawdown_micros=LOSS, rejects_in_row_max=1)
    desk = book(limits)
    desk.on_rejected(ONE)
    rows = desk.rows()
    assert set(rows) == set(ROW_KEYS)
    assert desk.rows() == {}
    desk.on_money(TODAY, {ACCOUNT: Money(LOSS, 0, ())})
    rows |= desk.rows()
    again = RiskBook(RiskTerms(account=limits))
    again.load(rows)
    again.begin(TODAY, {ACCOUNT: FLAT_MONEY})
    assert again.rows() == {}
    codes = [breach.code for breach in again.on_money(TODAY, {ACCOUNT: Money(0, 0, ())})]
    assert codes == [Denial.RISK_TRAILING_DRAWDOWN]
    assert again.loss_of_account_micros(LossBasis.TOTAL) == 0
    assert again.rejects.count(ONE) == 1


def test_open_profit_is_written_when_asked_for() -> None:
    """A price alone is not worth a write; once a minute and at the end it is taken along."""
    desk = book(LevelLimits(daily_loss_micros=LOSS))
    desk.rows()
    desk.on_money(TODAY, {ACCOUNT: Money(0, -7, ())})
    assert desk.rows() == {}
    rows = desk.rows(everything=True)
    again = RiskBook(RiskTerms(account=LevelLimits()))
    again.load(rows)
    assert again.loss_of_account_micros(LossBasis.TOTAL) == 7


def test_a_journal_of_former_days_begins_at_what_they_left() -> None:
    """A loss of last month is no loss of today, and no fall from a profit that nobody watched."""
    desk = RiskBook(RiskTerms(account=LevelLimits(daily_loss_micros=LOSS, drawdown_micros=LOSS)))
    before = Money(-9 * LOSS, 0, ())
    desk.begin(TODAY, {ACCOUNT: before})
    assert desk.on_money(TODAY, {ACCOUNT: before}) == []
    assert len(desk.on_money(TODAY, {ACCOUNT: Money(-10 * LOSS, 0, ())})) == 2


@pytest.mark.parametrize("key", ROW_KEYS)
def test_a_damaged_row_stops_the_start(key: str) -> None:
    """Instead of a limit that begins anew."""
    with pytest.raises(JournalError, match="cannot be read"):
        book().load({key: '{"trade_date": "x"}'})


def test_the_report_shows_every_limit_with_its_use() -> None:
    """One row each, by level; near from 80 percent on, reached where the gate would deny."""
    desk = book(
        LevelLimits(
            max_order_quantity=3,
            max_position=5,
            max_open_orders=4,
            max_contracts=5000,
            daily_loss_micros=LOSS,
            market_data_stale_s=5.0,
        ),
        rules=AccountRules(position_stale_s=180.0),
        instruments={"ESZ6": LevelLimits(max_position=2)},
        strategies={ONE: LevelLimits(daily_loss_micros=LOSS // 2)},
        weights={"MESZ6": 100},
    )
    desk.broker = BrokerLimits(buy_limit=10)
    desk.on_money(TODAY, {ACCOUNT: Money(-LOSS * 8 // 10, 0, ()), ONE: Money(-LOSS, 0, ())})
    desk.on_trade(trade(5000.0), 99.0)
    held = {(ONE, "ESZ6"): 2, (TWO, "MESZ6"): 5}
    orders = [working(symbol="MESZ6", strategy_id=TWO)]
    moment = Moment(
        now_s=100.0,
        now_ns=0,
        exposures=exposures(held, orders),
        orders=orders,
        symbols=["ESZ6", "MESZ6"],
        open_symbols=["ESZ6"],
    )
    rows = {(row.level, row.name, row.symbol): row for row in limit_rows(desk, moment)}
    shown = {key: (row.limit, row.use, row.percent, row.state) for key, row in rows.items()}
    assert shown == {
        ("account", "max_order_quantity", ""): (3, None, None, LimitState.PER_ORDER),
        ("account", "self_trade", ""): ("deny", None, None, LimitState.PER_ORDER),
        ("account", "max_open_orders", ""): (4, 1, 25.0, LimitState.OK),
        ("account", "max_position", "ESZ6"): (5, 2, 40.0, LimitState.OK),
        ("account", "max_position", "MESZ6"): (5, 6, 120.0, LimitState.REACHED),
        ("account", "max_contracts", ""): (5.0, 2.6, 52.0, LimitState.OK),
        ("account", "daily_loss_limit", ""): (500.0, 400.0, 80.0, LimitState.NEAR),
        ("account", "market_data_stale_s", "ESZ6"): (5.0, 1.0, 20.0, LimitState.OK),
        ("account", "position_stale_s", ""): (180.0, None, None, LimitState.UNKNOWN),
        ("instrument ESZ6", "max_position", "ESZ6"): (2, 2, 100.0, LimitState.REACHED),
        ("strategy one", "daily_loss_limit", ""): (250.0, 500.0, 200.0, LimitState.REACHED),
        ("broker", "buy_limit", ""): (10, 8, 80.0, LimitState.NEAR),
    }
