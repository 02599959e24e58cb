"""The market clock of whole systems: a date and a speed of its own, and an exchange that is killed."""

import itertools
import os
import signal
import statistics
from pathlib import Path
from typing import Any

from nightdesk.clocks import SystemClock
from nightdesk.market_clock_file import PublishedTime
from nightdesk.settings.instants import instant_ns
from tests.e2e.harness import running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

NS = 1_000_000_000
START = "2024-03-10T16:55:00-05:00"
"""Five minutes before a Sunday's opening, on the day on which the clocks change."""

START_S = instant_ns(START) // NS
OPENS_S = START_S + 300
MINUTE_S = 60.0
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


def test_timer_of_a_minute_comes_each_minute_of_a_market_that_runs_a_thousand_times_as_fast() -> None:
    """Two hours after a Sunday's opening in a few seconds: the dates are the market's, and no minute is lost."""
    with short_folder() as folder, running(configuration(folder, 1000.0, 1.0)) as system:
        time = PublishedTime(system.runtime_dir, speed=1.0, clock=SystemClock())
        (begun,) = system.wait_for("minutes_begun", 90)
        assert START_S <= begun["market_s"] < OPENS_S, "the market waits for its first client"
        wait_until(lambda: time.is_known and time.now_ns() > (OPENS_S + TRADED_S) * NS, 180)
        assert time.speed == 1000.0
        assert system.stop() == 0
        (seen,) = system.events("minutes_seen")
        assert OPENS_S <= seen["first_trade"] < OPENS_S + 600
        minutes = [each for each in seen["market_s"] if each > seen["first_trade"]]
        gaps = [after - before for before, after in itertools.pairwise(minutes)]
        assert abs(statistics.median(gaps) - MINUTE_S) < 5.0
        # A market with a trade or quote a second brings each of them, at its own time and a tick or so.
        assert len(minutes) >= 0.8 * TRADED_S / MINUTE_S
        assert abs(sum(gaps) - MINUTE_S * len(gaps)) < 0.2 * sum(gaps)
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

        system.wait_for("minutes_first_trade", 90)
        wait_until(lambda: passed((START_S + 60) * NS), 60)
        for kill in range(1, 3):
            pid = system.child_pids()["exchange"]
            record = time.record()
            assert record is not None
            os.kill(pid, signal.SIGKILL)
            killed_ns = newest_ns
            system.wait_for("exchange_time_continues", 60, count=kill)
            wait_until(lambda killed_ns=killed_ns: passed(killed_ns + 180 * NS), 120)  # type: ignore[misc]
            following = time.record()
            assert following is not None
            assert following.generation == record.generation
            system.wait_for("plant_logged_in", 60, count=4 * (kill + 1))
        assert system.stop() == 0
        (seen,) = system.events("minutes_seen")
        assert seen["market_s"] == sorted(seen["market_s"])
        assert seen["market_s"][-1] > newest_ns / NS - 2 * MINUTE_S, "the timer came to the end"
        assert newest_ns < (START_S + 86_400) * NS, "an hour or so, not the wall's date"
