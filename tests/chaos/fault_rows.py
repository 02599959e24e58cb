"""One row of the fault matrix as a chaos run that is limited to its kinds; and what a run has written, to be asked."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from nightdesk.chaos.driver import Driver
from nightdesk.chaos.job import make_job
from nightdesk.chaos.recorder import EXIT_PREFIX
from nightdesk.chaos.report import Report
from nightdesk.chaos.toll import Row
from nightdesk.chaos.world import World
from nightdesk.clocks import SystemClock

STRATEGIES = 4
MINUTES_MAX = 6.0
"""For a machine that others load: a row ends when each of its kinds has struck often enough."""

RATE = "orders a minute"
"""Required of a run that is there to trade; a row may be one of outages alone."""

ORDER_PLANT = "plants/order"
Line = dict[str, Any]


@dataclass
class Outcome:
    """What a row came to."""

    report: Report
    world: World
    lines: list[Line]
    """The system's whole log, in the order in which it was written."""
    state_dir: Path

    def events(self, event: str, **keys: object) -> list[Line]:
        """The lines with this event and these values."""
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(key) == value for key, value in keys.items())
        ]

    def alerts(self) -> Counter[str]:
        """What the operator was called for."""
        return Counter(str(line["alert_event"]) for line in self.events("alert"))


def run_row(folder: Path, seed: int, faults: Mapping[str, Row], times: int) -> Outcome:
    """The faults of a row until each has struck so many times, and everything that is asserted of every row."""
    told: list[str] = []
    job = make_job(folder, seed, STRATEGIES)
    driver = Driver(job, SystemClock(), MINUTES_MAX, told.append, faults, times)
    report = asyncio.run(driver.run())
    broken = {each.name: each.found[:5] for each in report.verdicts if not each.holds}
    unmet = {each.name: each.reached for each in report.requirements if not each.holds and each.name != RATE}
    assert (broken, unmet) == ({}, {}), told
    assert tuple(report.losses()) == (0, 0, 0)
    missing = {name for name in faults if not report.struck[name]}
    assert not missing, (missing, report.skipped)
    lines = [line for text in (folder / "system.out").read_bytes().splitlines() for line in _record(text)]
    return Outcome(report, driver.world, lines, Path(job.system.state_dir))


def _record(text: bytes) -> Iterator[Line]:
    if text.startswith(b"{"):
        line: Line = orjson.loads(text)
        yield line


Check = Callable[[Outcome], None]


def _none(lines: list[Line]) -> None:
    assert not lines, lines[:3]


def orders_stay_owned(outcome: Outcome) -> None:
    """Nothing of ours was ever taken for somebody else's."""
    _none(outcome.events("order_external"))


def nobody_is_given_up(outcome: Outcome) -> None:
    """Restarts stay within their budgets: nobody is parked, and no last will is carried out."""
    for event in ("child_parked", "supervisor_gave_up", "last_will_begun"):
        _none(outcome.events(event))


def nobody_dies(outcome: Outcome) -> None:
    """No process ends for it, in a run that ends in order."""
    _none(outcome.events("child_exited", reason="CRASHED") + outcome.events("child_exited", reason="KILLED"))
    assert outcome.world.recorder.generation == 1


def nothing_is_halted(outcome: Outcome) -> None:
    """Trading was never reduced or halted: no false alarm about the books."""
    _none(outcome.events("trading_state_changed") + outcome.events("position_mismatch"))


def settled_before_trading(outcome: Outcome) -> None:
    """Between a lost link, a new process or a doubt and the end of its reconciliation the order plant sends no order.

    Where one order is in doubt, what other strategies hold is certain: a flatten of theirs may go on.
    """
    is_open, is_certain, looked_at = True, True, 0
    for line in outcome.lines:
        if line.get("child_id") != ORDER_PLANT:
            continue
        event = line["event"]
        if event in ("connection_lost", "child_started", "child_restarted"):
            is_open = is_certain = False
        elif event == "reconciling":
            is_open = False
        elif event == "reconciled":
            is_open = is_certain = True
        elif event == "order_submitted":
            looked_at += 1
            is_exit = line["client_order_id"].startswith(EXIT_PREFIX)
            assert is_open or (is_exit and is_certain), line
    assert looked_at


def logged(event: str, **keys: object) -> Check:
    """The log tells of it."""

    def check(outcome: Outcome) -> None:
        assert outcome.events(event, **keys), event

    return check


def called(alert: str) -> Check:
    """The operator was called for it."""

    def check(outcome: Outcome) -> None:
        assert outcome.alerts()[alert], outcome.alerts()

    return check


def nobody_is_paged(outcome: Outcome) -> None:
    """No critical alert, but for orders whose fate is unknown: that is told after 10, 30, 60 s, whatever the cause."""
    critical = outcome.events("alert", level="critical")
    _none([line for line in critical if line["alert_event"] != "reconcile_unsettled"])


def tries_to_log_in_at_most(times: int) -> Check:
    """So many refusals in a row of one plant, and no more."""

    def check(outcome: Outcome) -> None:
        assert all(line["tries"] <= times for line in outcome.events("login_refused"))

    return check


def every_failed_callback_sent_once(outcome: Outcome) -> None:
    """The order of a callback that failed after it is at the exchange, and once."""
    tags, last, found = outcome.report.evidence.received, {}, 0
    for line in outcome.lines:
        if line["event"] == "order_submitted":
            last[f"strategies/{line['strategy_id']}"] = line["client_order_id"]
        elif line["event"] == "actor_crashed" and line.get("error_message") == "told to fail after an order":
            tag = last.get(line["child_id"])
            found += tag is not None
            assert tag is None or tags[tag] == 1
    assert found


def in_doubt_and_settled(outcome: Outcome) -> None:
    """Orders without an answer were in doubt, and are certain now."""
    assert outcome.events("order_in_doubt") or outcome.events("answer_overdue")
    assert all(row.is_final for row in outcome.report.evidence.journal.orders)


def strangers_are_counted(outcome: Outcome) -> None:
    """As many EXTERNAL orders as somebody else's that filled."""
    filled = [each for each in outcome.report.evidence.exchange.orders if not each.user_tag and each.filled_quantity]
    assert filled
    assert len(outcome.events("order_external")) >= len(filled)
