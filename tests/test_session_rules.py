"""When a strategy opens nothing, and before which closes it is flat: the rules by themselves."""

from datetime import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from nightdesk.calendars.load import load_calendar
from nightdesk.messages import Denial, OrderType, Side, TimeInForce
from nightdesk.settings.session_rules import rules_of
from nightdesk.settings.strategy_session import StrategySession
from nightdesk.trading.risk import check_modify, check_order
from nightdesk.trading.risk_view import MarketView
from nightdesk.trading.session_rules import NoTradeWindow, SessionRules
from nightdesk.trading.sessions import NS_PER_S, AlwaysOpen, Break, MarketPhase, SessionCalendar
from tests.calendar_support import at, calendars, moments
from tests.test_risk import order, view

ES = load_calendar("cme_equity")
LONG = frozenset({Break.WEEKEND, Break.HOLIDAY})
EVERY = frozenset(Break)


def rules(**changes: object) -> SessionRules:
    return rules_of(StrategySession.model_validate(changes))


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-24 15:54", False),
        ("2026-11-24 15:55", True),
        ("2026-11-24 17:04", True),
        ("2026-11-24 17:05", False),
        # Before and after the change of the clocks: the exchange's own time counts.
        ("2026-10-30 15:55", True),
        ("2026-11-02 15:54", False),
    ],
)
def test_window_is_by_the_exchanges_clocks(moment: str, inside: bool) -> None:
    """From its first minute to just before its last, in winter as in summer."""
    window = rules(no_trade=[{"from": "15:55", "to": "17:05"}])
    assert (window.window_at(ES, at(moment)) is not None) is inside


@given(begins=st.times(), ends=st.times(), moment=st.times())
def test_window_over_midnight_is_the_rest_of_the_day(begins: time, ends: time, moment: time) -> None:
    """A window and the one from its end to its beginning share no moment, and leave none out."""
    assume(begins != ends)
    window, rest = NoTradeWindow(begins, ends), NoTradeWindow(ends, begins)
    assert window.contains(moment) is not rest.contains(moment)


def test_hour_that_the_clocks_show_twice_counts_twice() -> None:
    """2026-11-01, 01:30 in Chicago, an hour apart; and the one that is skipped in March counts as what is shown."""
    window = rules(no_trade=[{"from": "01:00", "to": "02:00"}])
    hour_ns = 3600 * NS_PER_S
    first_ns = at("2026-11-01 01:30")
    shown = [window.window_at(AlwaysOpen(), first_ns + step * hour_ns) is not None for step in (-1, 0, 1, 2)]
    assert shown == [False, True, True, False]
    spring = rules(no_trade=[{"from": "02:00", "to": "03:00"}])
    before_ns = at("2026-03-08 01:59")
    assert [spring.window_at(AlwaysOpen(), before_ns + step * 60 * NS_PER_S) for step in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("flat_over", "moment", "flat"),
    [
        (EVERY, "2026-11-24 15:54:59", False),
        (EVERY, "2026-11-24 15:55:00", True),
        (EVERY, "2026-11-24 16:59:59", True),
        (EVERY, "2026-11-24 17:00:00", False),
        (LONG, "2026-11-24 15:58:00", False),
        (LONG, "2026-11-20 15:55:00", True),
        (LONG, "2026-11-22 16:59:59", True),
        (LONG, "2026-11-22 17:00:00", False),
        # The day after Thanksgiving closes early, and its early close leads to the weekend.
        (LONG, "2026-11-27 12:10:00", True),
        # Thanksgiving's own halt, 12:00 to 17:00, is shorter than a holiday and inside of a session.
        (EVERY, "2026-11-26 11:58:00", False),
        # July 3, 2026: the session halts over the whole weekend.
        (LONG, "2026-07-03 11:56:00", True),
        (frozenset({Break.DAILY}), "2026-11-20 15:58:00", False),
    ],
)
def test_flat_time_is_before_the_breaks_that_are_named(flat_over: frozenset[Break], moment: str, flat: bool) -> None:
    """Five minutes before the close that leads to such a break, until the next opening."""
    found = SessionRules(flat_over=flat_over, flat_before_ns=300 * NS_PER_S).flat_at(ES, at(moment))
    assert (found is not None) is flat


@given(data=st.data(), calendar=calendars(), before_s=st.integers(1, 7200))
def test_flat_time_leads_from_its_beginning_to_the_opening(
    data: st.DataObject, calendar: SessionCalendar, before_s: int
) -> None:
    """Whatever the calendar: a moment is in the flat time that it is given, and nobody is flat in all of a break."""
    now_ns = data.draw(moments(calendar))
    found = SessionRules(flat_over=EVERY, flat_before_ns=before_s * NS_PER_S).flat_at(calendar, now_ns)
    last = calendar.sessions[-1]
    if found is not None:
        assert found.begins_ns <= now_ns < found.opens_ns
        assert calendar.pause_at(found.stops_ns) is found.kind
        assert found.opens_ns == calendar.next_open_ns(found.stops_ns)
    elif calendar.session_at(now_ns) is None:
        assert now_ns >= last.closes_ns


@given(
    data=st.data(),
    calendar=calendars(),
    order_type=st.sampled_from([OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET]),
    time_in_force=st.sampled_from(TimeInForce),
    protective=st.booleans(),
)
def test_nothing_passes_outside_of_trading_but_what_waits_in_pre_open(
    data: st.DataObject,
    calendar: SessionCalendar,
    order_type: OrderType,
    time_in_force: TimeInForce,
    protective: bool,
) -> None:
    """At no instant outside of a segment does the gate let an order of any kind go out that would have to trade."""
    # A stop that must fill at once is no order at any time.
    assume(order_type is not OrderType.STOP_MARKET or time_in_force in (TimeInForce.DAY, TimeInForce.GTC))
    now_ns = data.draw(moments(calendar))
    phase = calendar.phase(now_ns)
    candidate = order(
        order_type=order_type,
        time_in_force=time_in_force,
        protective=protective,
        price=5000.0 if order_type is OrderType.LIMIT else None,
        trigger_price=5000.0 if order_type is OrderType.STOP_MARKET else None,
    )
    refusal = check_order(candidate, view(market=MarketView(phase=phase)))
    trades = any(
        segment.opens_ns <= now_ns < segment.closes_ns for each in calendar.sessions for segment in each.segments
    )
    rests = order_type is not OrderType.MARKET and time_in_force in (TimeInForce.DAY, TimeInForce.GTC)
    assert (refusal is None) is (trades or (phase is MarketPhase.PRE_OPEN and rests))
    assert refusal is None or refusal.code is Denial.SESSION_CLOSED


@pytest.mark.parametrize("phase", [MarketPhase.CLOSED, MarketPhase.HALT])
def test_closed_market_is_the_reason_even_without_a_link(phase: MarketPhase) -> None:
    """In the break the link may be down and the lists unread: the strategy hears what it can wait for."""
    market = MarketView(phase=phase, trading_begins="2026-11-24T23:00:00Z")
    refusal = check_order(order(), view(market=market, connected=False, reconciling=True))
    assert refusal is not None
    assert refusal.code is Denial.SESSION_CLOSED
    assert "trading begins 2026-11-24T23:00:00Z" in refusal.text
    assert check_modify(order(), view(market=market)) == refusal


@pytest.mark.parametrize(
    ("changes", "state", "passes"),
    [
        ({}, {}, False),
        ({"protective": True}, {}, False),
        ({"side": Side.SELL}, {"strategy_position": 1}, True),
        ({"side": Side.SELL, "quantity": 2}, {"strategy_position": 1}, False),
        ({"side": Side.SELL, "protective": True}, {"strategy_position": 1}, True),
        ({"side": Side.BUY, "protective": True}, {"strategy_position": 1}, False),
        ({"side": Side.BUY, "quantity": 3}, {"strategy_position": -3}, True),
    ],
)
def test_no_trade_lets_pass_only_what_lowers_the_position(
    changes: dict[str, object], state: dict[str, object], passes: bool
) -> None:
    """Protection and exits, by what they do: the flag alone opens no position."""
    refusal = check_order(order(**changes), view(market=MarketView(no_trade="it is 15:56"), **state))
    assert (refusal is None) is passes
    assert refusal is None or refusal.code is Denial.SESSION_NO_TRADE


def test_exit_beside_its_stop_passes_and_a_second_exit_does_not() -> None:
    """What is protective gives way to an exit; two exits could turn the position over."""
    sell = order(side=Side.SELL, quantity=2)
    beside_stop = view(strategy_position=2, market=MarketView(no_trade="now"))
    assert check_order(sell, beside_stop) is None
    stop = order(
        side=Side.SELL,
        quantity=2,
        protective=True,
        order_type=OrderType.STOP_MARKET,
        price=None,
        trigger_price=4990.0,
    )
    assert check_order(stop, beside_stop) is None
    market = MarketView(no_trade="now", unprotective_sell=1)
    assert check_order(stop, view(strategy_position=2, market=market)) is None
    refusal = check_order(sell, view(strategy_position=2, market=market))
    assert refusal is not None
    assert refusal.code is Denial.SESSION_NO_TRADE


@pytest.mark.parametrize("why", ["no_trade", "left"])
@pytest.mark.parametrize("protective", [True, False])
def test_what_an_exit_has_filled_does_not_count_when_it_is_changed(why: str, protective: bool) -> None:
    """Five, three of them filled, beside a position of two: the rest only lowers it."""
    market = MarketView(filled=3, no_trade="now") if why == "no_trade" else MarketView(filled=3, left="now")
    beside = view(strategy_position=2, market=market)
    for quantity, passes in ((5, True), (6, False)):
        changed = order(side=Side.SELL, quantity=quantity, protective=protective)
        assert (check_modify(changed, beside) is None) is passes


def test_contract_that_has_ended_and_price_off_the_tick_have_codes_of_their_own() -> None:
    """``INSTRUMENT_EXPIRED`` before anything about the session; ``PRICE_OFF_TICK`` for any finite price."""
    ended = MarketView(ended="2026-12-18T14:30:00Z", phase=MarketPhase.CLOSED)
    refusal = check_order(order(), view(market=ended))
    assert refusal is not None
    assert (refusal.code, "2026-12-18T14:30:00Z" in refusal.text) == (Denial.INSTRUMENT_EXPIRED, True)
    for terms in ({"price": 5000.3}, {"order_type": OrderType.STOP_LIMIT, "trigger_price": 5000.1}):
        refusal = check_order(order(**terms), view())
        assert refusal is not None
        assert refusal.code is Denial.PRICE_OFF_TICK


def test_defaults_keep_everything_and_name_no_rule() -> None:
    """Without the section a strategy trades whenever its market does."""
    assert rules() == SessionRules(flat_before_ns=300 * NS_PER_S)
    for moment in ("2026-11-20 15:59", "2026-11-21 12:00", "2026-11-23 09:00"):
        assert (rules().flat_at(ES, at(moment)), rules().window_at(ES, at(moment))) == (None, None)


@pytest.mark.parametrize(
    ("changes", "flat_over"),
    [
        ({"over_break": "flatten"}, EVERY),
        ({"over_break": "flatten", "over_weekend": "keep"}, frozenset({Break.DAILY})),
        ({"over_weekend": "flatten"}, LONG),
    ],
)
def test_weekend_follows_the_daily_break_unless_it_is_named(
    changes: dict[str, object], flat_over: frozenset[Break]
) -> None:
    """Nobody who is flat every night means to hold over the weekend."""
    assert rules(**changes).flat_over == flat_over


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"flatten_before_close_s": 60.0}, "add over_break: flatten"),
        ({"no_trade": [{"from": "15:55", "to": "15:55"}]}, "pause it"),
        ({"no_trade": [{"from": "24:00", "to": "15:55"}]}, "from"),
        ({"over_break": "close"}, "over_break"),
        ({"flatten_before_close_s": 0.0, "over_break": "flatten"}, "flatten_before_close_s"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, object], complaint: str) -> None:
    """With the key and the mend."""
    with pytest.raises(ValidationError, match=complaint):
        StrategySession.model_validate(changes)
