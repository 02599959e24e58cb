"""The market clock of whole systems: a date and a speed of its own, and an exchange that is killed."""

import os
import signal
from pathlib import Path
from typing import Any

from nightdesk.clocks import SystemClock
from nightdesk.market_clock_file import PublishedTime
from nightdesk.settings.instants import instant_ns
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

NS = 1_000_000_000
START = "2024-03-10T16:55:00-05:00"
"""Five minutes before a Sunday's opening, on the day on which the clocks change."""

START_S = instant_ns(START) // NS
OPENS_S = START_S + 300
MINUTE_NS = 60 * NS
PATIENCE_S = 300.0
"""Of each wait: a machine that others load starts processes slowly."""

TRADED_S = 2 * 3600
"""Of market time that the first test lasts."""


def configuration(folder: Path, speed: float, ticks_per_s: float, **exchange: Any) -> Path:
    """One strategy with a timer, on a synthetic market from that Sunday on."""
    minutes = {
        "name": "minutes",
        "class": "tests.e2e.minutes:Minutes",
        "path": str(Path(__file__).resolve().parents[2]),
        "symbols": ["ESZ6"],
    }
    source = {"kind": "synthetic", "seed": 5, "ticks_per_second": ticks_per_s}
    job = sim_configuration(folder, strategies=[minutes])
    job["exchange"] = {"start": START, "speed": speed, "source": source, **exchange}
    return write_configuration(folder, job)


def has_come(system: System, market_ns: int) -> bool:
    """Whether the strategy's timer came at this market time or later: its process may be behind its market's."""
    came = system.events("minute_came")
    return bool(came) and came[-1]["market_ns"] >= market_ns


def minutes_of(system: System) -> list[int]:
    """At what times the timer came, once it is shown that no minute was lost.

    At each call every minute that the strategy's own time had reached before was called for already; what came at once
    with this call lay in one jump of its time, as one that was kept waiting makes it, and nothing was called for twice.
    """
    (begun,) = system.events("minutes_begun")
    called, times = 0, []
    for each in system.events("minute_came"):
        before, now = ((each[key] - begun["market_ns"]) // MINUTE_NS for key in ("before_ns", "market_ns"))
        assert before == called < now, f"minute {called + 1} after the start: {each}"
        called = now
        times.append(each["market_ns"])
    return times


def test_timer_of_a_minute_comes_each_minute_of_a_market_that_runs_a_thousand_times_as_fast() -> None:
    """Two hours after a Sunday's opening in a few seconds: the dates are the market's, and no minute is lost."""
    with short_folder() as folder, running(configuration(folder, 1000.0, 1.0)) as system:
        time = PublishedTime(system.runtime_dir, speed=1.0, clock=SystemClock())
        (begun,) = system.wait_for("minutes_begun", PATIENCE_S)
        assert begun["market_ns"] == START_S * NS, "the market waits until its strategies are there"
        wait_until(lambda: has_come(system, (OPENS_S + TRADED_S) * NS), PATIENCE_S)
        assert time.is_known
        assert time.now_ns() >= (OPENS_S + TRADED_S) * NS, "a strategy is never before its market"
        assert time.speed == 1000.0
        assert system.stop() == 0
        (traded,) = system.events("minutes_first_trade")
        assert OPENS_S <= traded["market_s"] < OPENS_S + 600
        assert minutes_of(system)
        assert system.events("data_gap") == []


def test_market_time_survives_the_exchange_s_kill_and_never_goes_back() -> None:
    """At speed 60 a reader's time stands while the exchange is dead, and goes on from there with the next one."""
    with short_folder() as folder, running(configuration(folder, 60.0, 5.0, sessions="always")) as system:
        time = PublishedTime(system.runtime_dir, speed=1.0, clock=SystemClock())
        newest_ns = 0

        def passed(until_ns: int) -> bool:
            nonlocal newest_ns
            now_ns = time.now_ns() if time.is_known else 0
            assert now_ns >= newest_ns
            newest_ns = now_ns
            return now_ns >= until_ns

        system.wait_for("minutes_first_trade", PATIENCE_S)
        wait_until(lambda: passed((START_S + 60) * NS), PATIENCE_S)
        for kill in range(1, 3):
            pid = system.child_pids()["exchange"]
            record = time.record()
            assert record is not None
            os.kill(pid, signal.SIGKILL)
            killed_ns = newest_ns
            system.wait_for("exchange_time_continues", PATIENCE_S, count=kill)
            wait_until(lambda killed_ns=killed_ns: passed(killed_ns + 180 * NS), PATIENCE_S)  # type: ignore[misc]
            following = time.record()
            assert following is not None
            assert following.generation == record.generation
            system.wait_for("plant_logged_in", PATIENCE_S, count=4 * (kill + 1))
        wait_until(lambda: has_come(system, newest_ns), PATIENCE_S)
        assert system.stop() == 0
        minutes = minutes_of(system)
        assert minutes == sorted(minutes)
        assert newest_ns < (START_S + 86_400) * NS, "an hour or so, not the wall's date"
