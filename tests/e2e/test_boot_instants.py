"""The system is started at any moment of a year: its state, the next event, when it says trading begins, first tick."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nightdesk.calendars.load import load_calendar
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.e2e.recorded_calendar import SCHEDULE, RecordedCalendar
from tests.e2e.week_books import TRADE, tick_times, troubled_lines, uncalled_for
from tests.e2e.weeks import NS, MarketWatch
from tests.support import SHARED_DATA, wait_until

SEED = 2026
INSTANTS = {"open": 16, "closed": 14, "pre_open": 5, "halt": 5}
YEAR_BEGINS = datetime(2026, 1, 2, tzinfo=UTC)
YEAR_S = 350 * 86_400
"""Until the contract's last day."""

MOMENTS = 10_000

SPEED, QUIET_SPEED = 1000.0, 10_000.0
PACE_S = 600
FIRST_TRADE_WITHIN = timedelta(minutes=10)
STARTED_WITHIN = timedelta(seconds=5 * QUIET_SPEED)
LINES = {
    "open": "market_opened",
    "pre_open": "market_pre_open",
    "halt": "market_halted",
    "closed": "market_closed",
}

pytestmark = pytest.mark.skipif(not (SHARED_DATA / SCHEDULE).exists(), reason="the library's schedule is not here")


def instants() -> list[datetime]:
    """Whole seconds, the same ones each time; so many of each phase, since most moments are in trading."""
    calendar, rng, found = RecordedCalendar(SHARED_DATA), random.Random(SEED), list[datetime]()
    left = dict(INSTANTS)
    while any(left.values()):
        moment = YEAR_BEGINS + timedelta(seconds=rng.randrange(YEAR_S))
        phase = calendar.expected(moment).phase
        if left[phase]:
            left[phase] -= 1
            found.append(moment)
    return found


def configuration(folder: Path, moment: datetime) -> dict[str, Any]:
    job = sim_configuration(folder)
    pace = {"sma_es": {"period_s": PACE_S}, "quoter_es": {"requote_s": float(PACE_S)}}
    for strategy in job["strategies"]:
        strategy["parameters"] = pace[strategy["name"]]
    job["exchange"] |= {"sessions": "calendar", "start": moment.isoformat(), "speed": SPEED, "quiet_speed": QUIET_SPEED}
    job["exchange"]["source"]["ticks_per_second"] = 0.3
    return job


def time_of(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC)


def check_state(system: System, calendar: RecordedCalendar, moment: datetime) -> None:
    """The line at the start and the status, each of the market time that it tells itself.

    Time passes while nothing trades, also when nobody can log in yet, so it is a little later than ``moment``.
    """
    line = _state_line(system)
    now = datetime.fromisoformat(line["market_time"])
    assert moment <= now <= moment + STARTED_WITHIN, line
    expected = calendar.expected(now)
    assert line["event"] == LINES[expected.phase], line
    begins = line.get("trading_begins")
    assert begins == (None if expected.phase == "open" else f"{expected.trading_begins:%Y-%m-%dT%H:%M:%SZ}"), line
    market = system.wait_status(lambda status: status["market"])["market"][0]
    expected = calendar.expected(time_of(market["now_ns"]))
    assert (market["phase"], market["next_event"]["kind"]) == (expected.phase, expected.event), market
    assert time_of(market["next_event"]["ts_ns"]) == expected.event_at, market


def _state_line(system: System) -> dict[str, Any]:
    """The first line with which the system says what the market does."""
    wait_until(lambda: any(line.get("event") in LINES.values() for line in list(system.lines)))
    return next(line for line in list(system.lines) if line.get("event") in LINES.values())


def boot(moment: datetime) -> None:
    """One start at ``moment``: state, opening, first tick; no alert but fills; an end in order."""
    calendar = RecordedCalendar(SHARED_DATA)
    with short_folder() as folder, running(write_configuration(folder, configuration(folder, moment))) as system:
        check_state(system, calendar, moment)
        expected = calendar.expected(moment)
        until = expected.trading_begins + FIRST_TRADE_WITHIN
        MarketWatch(system, SPEED).wait(round(until.timestamp()) * NS, 120)
        system.wait_status(lambda status: all(one["ticks"] for one in status["strategies"].values()))
        assert system.stop() == 0
        trades = [ts_ns for template, ts_ns in tick_times(system.state_dir) if template == TRADE]
        first = time_of(trades[0])
        assert expected.trading_begins <= first <= until, first
        assert uncalled_for(system, {"execution_fill"}) == []
        assert troubled_lines(system) == []
        assert system.events("child_restarted") == []


@pytest.mark.parametrize("moment", ["2026-11-29T14:00:00+00:00", "2026-11-26T18:30:00+00:00"])
def test_starting_while_nothing_trades_says_when_trading_begins(moment: str) -> None:
    """On the Sunday after Thanksgiving and in the halt of the holiday itself: quiet, until trading begins."""
    boot(datetime.fromisoformat(moment))


def test_calendar_says_the_same_as_the_table_at_many_moments() -> None:
    """Phase, next event and when trading begins, at ten thousand moments of the year."""
    table, calendar, rng = RecordedCalendar(SHARED_DATA), load_calendar("cme_equity"), random.Random(SEED)
    for _ in range(MOMENTS):
        moment = YEAR_BEGINS + timedelta(seconds=rng.randrange(YEAR_S))
        expected, now_ns = table.expected(moment), round(moment.timestamp()) * NS
        event = calendar.next_event(now_ns)
        assert event is not None
        assert (calendar.phase(now_ns), event.kind, time_of(event.ts_ns)) == expected[:3], moment
        assert time_of(calendar.next_open_ns(now_ns)) == expected.trading_begins, moment


@pytest.mark.chaos
@pytest.mark.parametrize(
    "moment", instants() if (SHARED_DATA / SCHEDULE).exists() else [], ids=lambda each: f"{each:%m%d-%H%M}"
)
def test_starting_at_any_moment_of_a_year(moment: datetime) -> None:
    """Forty moments: in trading, in breaks, on weekends and holidays, in halts and pre-opens."""
    boot(moment)
