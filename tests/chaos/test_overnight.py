"""A night at real time: every kind of process dies before, in and after the exchange's break, and nobody helps."""

import json
import os
import random
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.chaos.seeds import seeded
from tests.chaos.trading import in_service, settle_and_compare
from tests.e2e.agreement import exchange_orders
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.e2e.week_books import TRADE, differences_at, tick_times
from tests.e2e.weeks import NS, MarketWatch
from tests.support import wait_until

EVERYBODY = (
    "exchange",
    "plants/ticker",
    "plants/order",
    "plants/pnl",
    "plants/history",
    "strategies/sma_es",
    "strategies/quoter_es",
    "services/alerts/log",
    "services/control",
    "plants",
    "strategies",
    "services",
)
"""Every kind: the exchange, each plant, strategies, an alert channel, the control service, and supervisors."""

TOLD = {
    "execution_fill",
    "strategy_paused",
    "child_restarted",
    "connection_lost",
    "connection_restored",
    "data_gap",
    "order_denied",
    "order_in_doubt",
    "answer_overdue",
    "order_not_found",
}
"""What may be told while processes die under flow; none of it calls for a person."""

TOLD_IN_BREAK = {"child_restarted", "order_denied"}
"""While nothing trades a lost link is nobody's concern; an order that crossed with the close is denied."""

RECOVERY_S = 60.0
QUIET_END_S = 1.0
"""Of this machine: what happened just before the close may be told so much after it."""


class Night(NamedTuple):
    """Seconds of market time since the start, but ``speed``; a phase is when it begins and how far apart deaths are."""

    speed: float
    before: tuple[int, int]
    within: tuple[int, int]
    after: tuple[int, int]
    end_s: int
    victims: tuple[tuple[str, ...], ...]
    """Of each phase, in any order."""


START = datetime(2026, 11, 24, 21, 55, tzinfo=UTC)
CLOSE_S, PRE_OPEN_S, OPEN_S = 300, 600, 720
DAYS = {"2026-11-24": {"closes_at": "16:00"}, "2026-11-25": {"opens_at": "16:07", "pre_open_at": "16:05"}}
MAINTENANCE = {"from": "16:01", "to": "16:03"}
LONG = Night(1, (25, 20), (310, 30), (735, 12), 900, (EVERYBODY,) * 3)
SHORT = Night(60, (200, 0), (310, 0), (800, 0), 960, (("plants",), ("exchange",), ("plants/order",)))


def night_configuration(folder: Path, speed: float) -> dict[str, Any]:
    """The shipped job with a break of seven minutes, five minutes after the start."""
    job = sim_configuration(folder)
    job["market_time"] = {"days": {"cme_equity": DAYS}}
    job["exchange"] |= {"sessions": "calendar", "start": START.isoformat(), "speed": speed, "maintenance": MAINTENANCE}
    for channel in job["alerts"]:
        channel["rate_per_minute"] = 6000
    if speed > 1:
        job["exchange"]["source"]["ticks_per_second"] = 5
        pace = {"sma_es": {"period_s": 10}, "quoter_es": {"requote_s": 20.0}}
        for strategy in job["strategies"]:
            strategy["parameters"] = pace[strategy["name"]]
    return job


def start_ns() -> int:
    return int(START.timestamp()) * NS


def kill(system: System, victim: str) -> None:
    """One death, and its one restart."""
    pid = system.wait_status(lambda status: _pid(status, victim), RECOVERY_S)
    count = len(system.events("child_restarted", child_id=victim))
    os.kill(_pid(pid, victim), signal.SIGKILL)
    system.wait_for("child_restarted", RECOVERY_S, count=count + 1, child_id=victim)


def _pid(status: dict[str, Any], victim: str) -> int:
    """0 where it does not run at this moment."""
    pids = {child["id"]: child["pid"] for child in status["children"] if child["state"] == "running"}
    return int(pids.get(victim, 0))


def live_through(system: System, night: Night, chance: random.Random) -> Counter[str]:
    """Kill by the plan until the night ends; how often each died."""
    watch, deaths = MarketWatch(system, night.speed), Counter[str]()
    phases = (night.before, night.within, night.after)
    for (begins_s, apart_s), victims in zip(phases, night.victims, strict=True):
        for number, victim in enumerate(chance.sample(victims, len(victims))):
            watch.wait(start_ns() + (begins_s + number * apart_s) * NS, 900)
            kill(system, victim)
            deaths[victim] += 1
    watch.wait(start_ns() + night.end_s * NS, 900)
    return deaths


def alerts_between(system: System, begins: str, ends: str) -> list[dict[str, Any]]:
    """Alerts of the time without trading, by the market modes in the exchange's log lines."""
    modes = system.events("exchange_market_mode")
    begin = min(_time(line) for line in modes if line["mode"] == begins)
    end = min(_time(line) for line in modes if line["mode"] == ends and _time(line) > begin)
    return [
        line
        for line in system.events("alert")
        if begin.timestamp() + QUIET_END_S < _time(line).timestamp() < end.timestamp()
    ]


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def check(system: System, night: Night, deaths: Counter[str]) -> dict[str, Any]:
    """All of it; what was measured."""
    restarted = system.events("child_restarted")
    told = Counter(line["alert_event"] for line in system.events("alert"))
    assert Counter(line["child_id"] for line in restarted) == deaths
    assert system.events("child_parked") == system.events("supervisor_gave_up") == []
    assert set(told) <= TOLD, told
    in_break = alerts_between(system, "Closed", "Open")
    assert {line["alert_event"] for line in in_break} <= TOLD_IN_BREAK, in_break
    close_ns, open_ns = start_ns() + CLOSE_S * NS, start_ns() + OPEN_S * NS
    trades = [ts_ns for template, ts_ns in tick_times(system.state_dir) if template == TRADE]
    assert not [ts_ns for ts_ns in trades if close_ns < ts_ns < open_ns]
    assert differences_at(system.state_dir, close_ns, start_ns() + PRE_OPEN_S * NS - 1) == []
    fills = system.events("execution_fill")
    downtimes = [line["downtime_ms"] for line in restarted]
    return {
        "deaths": deaths.total(),
        "downtime_ms_median": sorted(downtimes)[len(downtimes) // 2],
        "downtime_ms_max": max(downtimes),
        "first_trade_after_opening_s": round((min(ts for ts in trades if ts >= open_ns) - open_ns) / NS, 3),
        "trades": len(trades),
        "orders": exchange_orders(system.state_dir).total(),
        "fills": len(fills),
        "reconnects": len(system.events("connection_restored")),
        "alerts": dict(told),
    }


@pytest.mark.parametrize(
    ("night", "seed"),
    [
        pytest.param(SHORT, 5, id="short"),
        pytest.param(LONG, 51, id="long", marks=pytest.mark.chaos),
    ],
)
def test_a_night_with_deaths_needs_nobody(request: pytest.FixtureRequest, night: Night, seed: int) -> None:
    """Each death has one restart; nothing is parked, no false alarm in the break, the books agree, trading goes on."""
    with (
        seeded(request, seed) as chance,
        short_folder() as folder,
        running(write_configuration(folder, night_configuration(folder, night.speed))) as system,
    ):
        system.wait_status(in_service, RECOVERY_S)
        deaths = live_through(system, night, chance)
        system.wait_status(in_service, RECOVERY_S)
        fills = len(system.events("execution_fill"))
        wait_until(lambda: len(system.events("execution_fill")) > fills, RECOVERY_S)
        settle_and_compare(system)
        measured = check(system, night, deaths)
        assert system.stop() == 0
        assert system.processes() == []
    print(json.dumps(measured))
