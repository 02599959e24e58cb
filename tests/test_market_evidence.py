"""What live reports prove about the calendar and the clock, and what they do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.trading.market_evidence import (
    GOES_ON_S,
    LATE_S,
    NEVER_NS,
    NS_PER_S,
    PRINT_GRACE_S,
    SKEW_REPORTS,
    VALID_S,
    ClockSkew,
    Stop,
    TradeEvidence,
)

CLOSED_NS = 1_700_000_000 * NS_PER_S
OPENS_NS = CLOSED_NS + 3600 * NS_PER_S


def stop(after_s: float, *, opens_ns: int = OPENS_NS, since_ns: int = CLOSED_NS) -> Stop:
    """The break as it stands some seconds after the close, by our clock."""
    return Stop("ESH4", since_ns, opens_ns, since_ns + round(after_s * NS_PER_S), 1000.0 + after_s)


def traded(after_s: float) -> int:
    """An exchange's time."""
    return CLOSED_NS + round(after_s * NS_PER_S)


@pytest.mark.parametrize("is_our_clock", [True, False])
def test_one_trade_within_the_break_proves_the_calendar_wrong(is_our_clock: bool) -> None:
    """The exchange's own time lies where our calendar has none: at any speed, whatever our clock says."""
    evidence = TradeEvidence(is_our_clock=is_our_clock)
    assert "10 minutes after the calendar's end" in evidence.on_trade(stop(601), traded(600))
    assert evidence.holds(stop(602))


@pytest.mark.parametrize("is_our_clock", [True, False])
@pytest.mark.parametrize("after_s", [-3600.0, -0.5, 0.0, PRINT_GRACE_S, 3600 - PRINT_GRACE_S, 3600.0, 1e6])
def test_prints_of_a_close_and_of_an_opening_and_times_from_nowhere_prove_nothing(
    after_s: float, is_our_clock: bool
) -> None:
    """A last trade shown again at a login, prints of the close itself, an opening a moment early, a wrong date."""
    evidence = TradeEvidence(is_our_clock=is_our_clock)
    late = stop(max(after_s, 0.0) + 3.0 if after_s < 3600 else 3599.0)
    assert evidence.on_trade(late, traded(after_s)) == ""
    assert not evidence.holds(late)


def test_a_proof_ends_with_the_trades_and_with_its_break() -> None:
    """Half a minute without a further trade, or another stop: the calendar counts again."""
    evidence = TradeEvidence(is_our_clock=False)
    evidence.on_trade(stop(600), traded(600))
    assert evidence.holds(stop(600 + VALID_S))
    assert not evidence.holds(stop(600.5 + VALID_S))
    evidence.on_trade(stop(700), traded(700))
    assert evidence.holds(stop(701))
    assert not evidence.holds(stop(1.0, since_ns=OPENS_NS))


def test_trades_of_before_the_close_that_go_on_prove_our_clock_ahead() -> None:
    """Seven minutes ahead: trading goes on at the exchange while we count it as closed."""
    evidence = TradeEvidence(is_our_clock=False)
    told = [evidence.on_trade(stop(after_s), traded(after_s - 420)) for after_s in range(1, 31)]
    first = next(index for index, text in enumerate(told) if text)
    assert first + 1 == LATE_S
    assert "7 minutes ahead of the exchange's" in told[first]
    assert evidence.holds(stop(31))


def test_a_clock_that_is_behind_is_proved_by_trades_of_the_next_session() -> None:
    """The exchange has opened minutes ago, we still wait for it; a second early is no matter."""
    evidence = TradeEvidence(is_our_clock=False)
    assert evidence.on_trade(stop(3599), traded(3600.5)) == ""
    assert "5 minutes behind" in evidence.on_trade(stop(3400), traded(3700))


def test_trades_in_a_contract_that_has_ended_prove_its_end_wrong() -> None:
    """There is no next opening that they could belong to."""
    evidence = TradeEvidence(is_our_clock=True)
    ended = stop(90_000, opens_ns=NEVER_NS)
    assert evidence.on_trade(ended, traded(-5)) == ""
    assert evidence.on_trade(ended, traded(89_999))
    assert evidence.holds(ended)


@given(
    behind_s=st.floats(0.0, GOES_ON_S - 0.1),
    held_up=st.lists(st.floats(-120.0, PRINT_GRACE_S), min_size=1, max_size=30),
    begins_s=st.floats(0.0, 3000.0),
)
def test_a_burst_of_what_a_link_held_up_never_counts(behind_s: float, held_up: list[float], begins_s: float) -> None:
    """However long after the close it comes: all of it comes within seconds, and is older than the close."""
    evidence = TradeEvidence(is_our_clock=False)
    for index, after_s in enumerate(sorted(held_up)):
        now = stop(begins_s + behind_s * index / len(held_up))
        assert evidence.on_trade(now, traded(after_s)) == ""


@given(
    delay_s=st.floats(0.0, 100_000.0),
    trades=st.lists(
        st.one_of(st.floats(-120.0, PRINT_GRACE_S), st.floats(3600.0, 7200.0)).filter(lambda each: each != 3600.0),
        max_size=30,
    ),
)
def test_an_embedded_exchange_contradicts_nothing_within_its_own_hours(delay_s: float, trades: list[float]) -> None:
    """At high speed ticks are late by hours of market time, or come before the clock is read anew."""
    evidence = TradeEvidence(is_our_clock=True)
    for after_s in trades:
        now = stop(min(max(after_s, 0.0) + delay_s, 3599.9))
        assert evidence.on_trade(now, traded(after_s)) == ""


def skew_of(ahead: list[float], spacing_s: float = 1.5) -> list[float]:
    """What the watch says after each report."""
    watch = ClockSkew()
    moments = [CLOSED_NS + round(index * spacing_s * NS_PER_S) for index in range(len(ahead))]
    return [watch.observe(ts, ts + round(each * NS_PER_S)) for ts, each in zip(moments, ahead, strict=True)]


def test_a_steady_difference_is_found_with_the_fifth_report() -> None:
    """Ahead and behind, and the smallest of the five is told: the rest is the way of the report."""
    assert skew_of([7.0, 7.2, 7.1, 7.3, 7.05]) == [0.0] * (SKEW_REPORTS - 1) + [7.0]
    assert skew_of([-7.0, -6.8, -6.9, -6.95, -6.7])[-1] == pytest.approx(-6.7)


@pytest.mark.parametrize(
    "ahead",
    [
        [0.9] * 9,
        [-0.9] * 9,
        [0.01, 8.0, 0.02, 0.01, 9.0, 0.02, 0.01],
        [10.0, 8.5, 7.0, 5.5, 4.0, 2.5, 1.1],
    ],
)
def test_late_reports_are_no_skew(ahead: list[float]) -> None:
    """A slow way, single late ones, a burst after a stall: no clock is wrong."""
    assert not any(skew_of(ahead))


def test_old_pictures_and_bursts_count_once() -> None:
    """The same last trade at each login, five reports of one moment: one report each."""
    watch = ClockSkew()
    assert not any(watch.observe(CLOSED_NS, CLOSED_NS + (7 + index) * NS_PER_S) for index in range(9))
    assert not any(skew_of([7.0] * 9, spacing_s=0.1))
