"""A simulated week with the shipped configuration: what a strategy is told, the books at each close, alerts, links."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.chaos.trading import in_service
from tests.e2e.agreement import differences
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.e2e.week_books import (
    QUOTE,
    TRADE,
    differences_at,
    dump,
    links_at_exchange,
    ticks_outside,
    troubled_lines,
    uncalled_for,
    unfinished_day_orders,
    working_day_orders,
)
from tests.e2e.weeks import (
    MAINTENANCE,
    NS,
    Line,
    MarketWatch,
    closes_of,
    differences_from_list,
    differences_of_links,
    documented,
    order_times,
    recorded,
    trading_times,
)
from tests.support import wait_until

LATE_S = 4.0
"""Seconds of this machine that a callback may be late while others use it too."""

SETTLED_NS = 60 * NS
"""Of market time after a close: what the close ends has ended."""

ALERTS = frozenset({"execution_fill"})
"""What a week without trouble tells: what the strategies have traded, and nothing else."""


class Week(NamedTuple):
    """One run: the list's name on the page, market time from and to, and how fast."""

    name: str
    start: str
    speed: float
    quiet_speed: float
    pace_s: int
    """Market seconds between two thoughts of the shipped strategies."""
    ticks_per_s: float
    reopen_s: int
    """Market seconds after the last line at which the run ends."""
    alerts: frozenset[str] = ALERTS
    roll: dict[str, Any] | None = None
    """Trade the alias ES.front, which rolls like this, instead of one contract."""


DAY = Week("day", "2026-11-24T15:00:00-06:00", 400, 400, 60, 1.0, 600)
WEEKS = (
    Week("holiday", "2026-11-22T16:01:00-06:00", 1000, 1000, 600, 0.3, 600),
    Week("clocks", "2026-10-30T14:00:00-05:00", 1000, 3_000, 600, 0.3, 600),
    Week(
        "roll",
        "2026-12-06T16:01:00-06:00",
        1000,
        3_000,
        600,
        0.3,
        600,
        ALERTS | {"position_rolled", "roll_done", "INSTRUMENT_ROLLED"},
        {"rule": "date", "days_before_expiry": 8, "position": "roll"},
    ),
)


def week_configuration(folder: Path, week: Week) -> dict[str, Any]:
    """The shipped job at another date and speed, its strategies at a pace that fits, the recorder beside them."""
    shutil.copy(Path(__file__).with_name("recorder.py"), folder)
    job = sim_configuration(folder)
    pace: dict[str, dict[str, Any]] = {
        "sma_es": {"period_s": week.pace_s},
        "quoter_es": {"requote_s": float(week.pace_s), "retry_s": week.pace_s},
    }
    for strategy in job["strategies"]:
        strategy["parameters"] = pace[strategy["name"]]
    symbol = "ESZ6"
    if week.roll is not None:
        symbol = "ES.front"
        job["instruments"][0] |= {"symbol": symbol, "roll": week.roll}
        for strategy in job["strategies"]:
            strategy["symbols"] = [symbol]
    job["strategies"].append(
        {
            "name": "recorder",
            "class": "recorder:Recorder",
            "path": str(folder),
            "symbols": [symbol],
            "parameters": {"path": str(folder / "seen.jsonl")},
        }
    )
    # Everything is looked at afterwards: none may be left out because there were many in one minute of ours.
    for channel in job["alerts"]:
        channel["rate_per_minute"] = 6000
    job["exchange"] |= {
        "sessions": "calendar",
        "start": week.start,
        "speed": week.speed,
        "quiet_speed": week.quiet_speed,
    }
    job["exchange"]["source"]["ticks_per_second"] = week.ticks_per_s
    return job


@contextmanager
def lived(week: Week) -> Iterator[tuple[System, Path, list[Line]]]:
    """Live a week to its end, with a look at the books in each break, and stop in order."""
    lines = documented(week.name)
    with short_folder() as folder:
        with running(write_configuration(folder, week_configuration(folder, week))) as system:
            system.wait_for("strategy_started", count=3)
            watch = MarketWatch(system, week.speed)
            for close_ns in closes_of(lines):
                watch.wait(close_ns + SETTLED_NS, 1200)
                _agree_before(watch, system, _next_trading_ns(lines, close_ns))
            watch.wait(lines[-1].ts_ns + week.reopen_s * NS, 1200)
            system.wait_status(in_service)
            assert system.stop() == 0
        yield system, folder, lines


def _next_trading_ns(lines: list[Line], close_ns: int) -> int:
    later = [each.ts_ns for each in lines if each.what.startswith("session opens") and each.ts_ns > close_ns]
    return min(later, default=1 << 62)


def _agree_before(watch: MarketWatch, system: System, reopens_ns: int) -> None:
    """The three books say the same while the market is closed."""
    found: list[str] = []

    def agreed_or_reopened() -> bool:
        found[:] = differences(system)
        return not found or watch.now_ns() >= reopens_ns

    wait_until(agreed_or_reopened, 60)
    assert not found, "\n".join(found)


def check(week: Week, system: System, folder: Path, lines: list[Line]) -> None:
    """Everything that is asked of a week, gathered, so that one run tells all that is wrong."""
    state_dir, closes = system.state_dir, closes_of(lines)
    seen = recorded(folder / "seen.jsonl")
    found = differences_from_list(lines, seen, LATE_S * week.speed, LATE_S * week.quiet_speed)
    found += differences_of_links(lines, seen)
    for close_ns in closes:
        found += differences_at(state_dir, close_ns, close_ns + SETTLED_NS)
    # Before a roll nothing works any more: so not at each of them.
    if not any(working_day_orders(state_dir, close_ns - 1) for close_ns in closes):
        found.append("there was no DAY order that a close could have ended")
    found += [f"the journal's DAY order has not ended: {each}" for each in unfinished_day_orders(state_dir, closes[-1])]
    ticks, outside = ticks_outside(state_dir, trading_times(lines), order_times(lines))
    found += [f"{len(outside)} ticks outside of sessions, the first at {outside[0]}"] if outside else []
    found += [] if ticks[TRADE] and ticks[QUOTE] else [f"ticks: {ticks}"]
    found += [f"alert: {line}" for line in uncalled_for(system, week.alerts)]
    found += [f"log line of a trouble: {line}" for line in troubled_lines(system)]
    found += [f"restarted: {line['child_id']}" for line in system.events("child_restarted")]
    found += _links_wrong(system, sum(each.what == MAINTENANCE for each in lines))
    assert not found, "\n".join(found) + "\n" + dump([each for each in seen if each.what != "order"])
    assert system.events("alert", alert_event="execution_fill")


def _links_wrong(system: System, maintenances: int) -> list[str]:
    """Reconnects are those that the exchange forced: the plants' log lines against the wire's record."""
    found = []
    for plant, (sessions, forced) in links_at_exchange(system.state_dir).items():
        lost = system.events("connection_lost", plant=plant)
        logins = system.events("plant_logged_in", plant=plant)
        if not forced == len(lost) == len(logins) - 1 == sessions - 1 == maintenances:
            found.append(
                f"{plant}: {maintenances} maintenances; by the wire {sessions} logins, {forced} ended by force; by our "
                f"log {len(logins)} logins, {len(lost)} losses"
            )
        found += [f"{plant}: a loss that was not expected: {line}" for line in lost if not line["scheduled"]]
    return found


def test_a_day_passes_through_the_break_as_the_page_says() -> None:
    """Close, maintenance, pre-open and opening: callbacks, books, links, alerts and ticks, each as it has to be."""
    with lived(DAY) as (system, folder, lines):
        check(DAY, system, folder, lines)


@pytest.mark.chaos
@pytest.mark.parametrize("week", WEEKS, ids=lambda week: week.name)
def test_a_week_passes_as_the_page_says(week: Week) -> None:
    """One with a holiday and an early close, one in which the clocks change, one with a roll: seven minutes each."""
    with lived(week) as (system, folder, lines):
        check(week, system, folder, lines)
