"""The synthetic market beside an hour of the E-mini S&P, order by order; and the measures that compare them."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks.calibration import DATA, SEEDS, table
from benchmarks.fit import fitted, parts
from benchmarks.tape_statistics import BookState, Tape, autocorrelation, measure, quantile
from benchmarks.tapes import RecordedHour, recorded_hour, simulated_hour
from nightdesk.simulator.flows.calibrated import CALIBRATED
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

BANDS = {
    "spread, mean (ticks)": 0.05,
    "spread of one tick (share of time)": 0.06,
    "depth, bid level 1 (contracts)": 0.3,
    "depth, offer level 3 (contracts)": 0.35,
    "order size, mean": 0.1,
    "order size, share of 1": 0.05,
    "trade size, mean": 0.15,
    "trade size, share of 1": 0.1,
    "time between orders, mean (s)": 0.25,
    "time between orders, coefficient of variation": 0.25,
    "time between trades, mean (s)": 0.25,
    "time between trades, 99th percentile (s)": 0.35,
    "cancels / new orders": 0.1,
    "orders ending canceled (share)": 0.05,
    "mid change over 1 s, deviation (ticks)": 0.25,
    "mid change over 10 s, deviation (ticks)": 0.3,
    "mid change over 60 s, deviation (ticks)": 0.45,
    "trade signs, autocorrelation at lag 1": 0.2,
    "trade signs, autocorrelation at lag 2": 0.35,
}
"""How far one simulated hour may be off: wide, since one hour differs from the next as much as the real ones do."""


@pytest.fixture(scope="module")
def hour() -> RecordedHour:
    return recorded_hour(DATA)


@pytest.fixture(scope="module")
def simulated() -> Tape:
    return simulated_hour(1)


@_needs_shared_data
def test_synthetic_hour_looks_like_the_recorded_one(hour: RecordedHour, simulated: Tape) -> None:
    """Spread, depth, sizes, times, cancels, volatility and trade signs of one seed, each within its band."""
    real, ours = measure([hour.tape]), measure([simulated])
    off = {name: ours[name] / real[name] - 1.0 for name in BANDS}
    assert {name: error for name, error in off.items() if not abs(error) <= BANDS[name]} == {}


@pytest.mark.chaos
@_needs_shared_data
def test_table_of_the_page_is_what_the_command_prints(hour: RecordedHour) -> None:
    """Eight simulated hours; every statistic is within 15 %."""
    *lines, _, summary = table(hour.tape, [simulated_hour(seed) for seed in range(1, SEEDS + 1)]).splitlines()
    assert summary == "41 statistics, 0 of them more than 15% off."
    assert "\n".join(lines) in (Path(__file__).parents[1] / "docs" / "simulator.md").read_text()


@_needs_shared_data
def test_tables_are_those_of_the_recorded_hour(hour: RecordedHour) -> None:
    """What ``--fit`` prints is what the synthetic market runs with, but for what was shifted by the search."""
    found = fitted(hour.tape, hour.actions, hour.orders_by_level)
    assert set(found) <= {field.name for field in dataclasses.fields(CALIBRATED)}
    assert found["level_shares"] == pytest.approx(CALIBRATED.level_shares, abs=0.001)
    assert found["touch_sizes"] == list(CALIBRATED.touch_sizes)
    assert found["calm_gaps_s"] == pytest.approx(CALIBRATED.calm_gaps_s, rel=0.1)
    assert found["published_per_s"] == pytest.approx(CALIBRATED.published_per_s, rel=0.02)


@_needs_shared_data
def test_recorded_hour_is_replayed_whole(hour: RecordedHour) -> None:
    """The counts of the hour after the opening minute, and a book that is never crossed."""
    tape = hour.tape
    assert (len(tape.orders), len(tape.trades)) == (27_325, 2_736)
    assert (tape.canceled, tape.filled) == (20_732, 5_015)
    assert all(state.bid < state.ask for state in tape.states)


@_needs_shared_data
def test_table_names_each_statistic_once(hour: RecordedHour) -> None:
    """One Markdown table; a market compared with itself is nowhere off."""
    lines = table(hour.tape, [hour.tape]).splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:-2]]
    assert len(names) == len(set(names)) == 41
    assert lines[-1] == "41 statistics, 0 of them more than 15% off."


def test_simulated_hour_is_a_function_of_its_seed() -> None:
    """The same seed gives the same tape to the last order; another one another."""
    first, again, other = (simulated_hour(seed, seconds=60) for seed in (3, 3, 4))
    assert (first.orders, first.trades, first.states) == (again.orders, again.trades, again.states)
    assert first.orders != other.orders


def test_measures_of_a_small_tape() -> None:
    """Weighed by time, not by events; sizes, gaps and signs by hand."""
    states = [
        BookState(0, 100, 101, (4, 5, 5, 5, 5), (2, 5, 5, 5, 5)),
        BookState(3_000_000_000, 100, 102, (8, 5, 5, 5, 5), (2, 5, 5, 5, 5)),
        BookState(4_000_000_000, 100, 101, (8, 5, 5, 5, 5), (2, 5, 5, 5, 5)),
    ]
    trades = [(second * 10**9, 1 if second % 4 < 2 else -1, 1 + second % 2) for second in range(12)]
    orders = [(0, 1), (10**9, 1), (4 * 10**9, 7)]
    tape = Tape(0, 120 * 10**9, orders, trades, states, canceled=3, filled=1)
    found = measure([tape])
    assert found["spread, mean (ticks)"] == pytest.approx(1.25)
    assert found["spread of one tick (share of time)"] == pytest.approx(0.75)
    assert found["depth, bid level 1 (contracts)"] == pytest.approx(5.0)
    assert found["order size, mean"] == pytest.approx(3.0)
    assert found["time between orders, mean (s)"] == pytest.approx(2.0)
    assert found["trade size, share of 1"] == pytest.approx(0.5)
    assert found["cancels / new orders"] == pytest.approx(1.0)
    assert found["orders ending canceled (share)"] == pytest.approx(0.75)


def test_small_helpers_of_the_measures() -> None:
    """Quantiles lie between neighbours, alternating signs repeat at lag two, parts keep their sum."""
    assert quantile([0.0, 1.0, 2.0, 10.0], 0.5) == pytest.approx(1.5)
    assert autocorrelation([1, -1] * 50, 2) == pytest.approx(1.0)
    assert autocorrelation([1, -1] * 50, 1) == pytest.approx(-1.0)
    assert sum(parts([1, 1, 1, 2, 2, 9], 3)) == 8
