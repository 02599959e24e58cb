"""The log's reader stops, or goes away: the system trades on, and says afterwards what is missing."""

import os
import signal

from tests.chaos.trading import (
    StallingSystem,
    busy_configuration,
    in_service,
    orders_sent,
    settle_and_compare,
    ticks_seen,
)
from tests.e2e.harness import ROOT, short_folder, write_configuration

STALLED_TICKS = 1000
"""About five seconds of flow for each strategy."""

CHATTY = {"name": "chatty", "class": "tests.chaos.chatty:Chatty", "path": str(ROOT), "symbols": ["ESZ6"]}


def _goes_on(system: StallingSystem, orders: int) -> None:
    """Ticks reach both strategies, and orders the exchange, from now on."""
    before = system.status()
    system.wait_status(
        lambda status: (
            in_service(status)
            and all(ticks > ticks_seen(before)[one] + STALLED_TICKS for one, ticks in ticks_seen(status).items())
            and sum(orders_sent(status).values()) >= sum(orders_sent(before).values()) + orders
        ),
        timeout_s=90,
    )


def _dies_of_a_fault(system: StallingSystem, child_id: str) -> None:
    """Although standard error is the same full pipe: long before its watchdog would find it hanging there."""
    before = system.child_pids()[child_id]
    os.kill(before, signal.SIGSEGV)
    system.wait_status(lambda status: in_service(status) and system.child_pids()[child_id] != before, timeout_s=60)


def test_stalled_reader_of_the_log_changes_nothing_but_the_log() -> None:
    """Ticks, orders and the operator's verbs go on; when the reader resumes, each gap is reported, no line is torn."""
    with short_folder() as folder:
        job = busy_configuration(folder)
        job["strategies"].append(CHATTY)
        job["plant_supervision"] |= {"watchdog_s": 300.0}
        system = StallingSystem(write_configuration(folder, job))
        try:
            system.wait_status(lambda status: in_service(status) and sum(orders_sent(status).values()) > 0, 60)
            system.stall()
            _goes_on(system, orders=10)
            _dies_of_a_fault(system, "plants/history")
            system.resume()
            (fault,) = system.wait_for("actor_faulted", child_id="plants/history")
            assert fault["text"].startswith("Fatal Python error: Segmentation fault")
            reports = system.wait_for("log_lines_dropped", reason="stalled")
            assert all(report["count"] > 0 for report in reports)
            assert system.wait_for("log_lines_dropped", child_id="strategies/chatty")
            assert all(len(line.encode()) <= 4096 for line in system.raw)
            _goes_on(system, orders=1)
            settle_and_compare(system)
            assert system.stop() == 0
            assert system.events("run_summary")
            assert system.processes() == []
        finally:
            system.resume()
            system.destroy()


def test_closed_standard_output_changes_nothing_but_the_log() -> None:
    """A pager that was left: every write meets EPIPE; nobody ends, and the system stops in order when told to."""
    with short_folder() as folder:
        configuration = write_configuration(folder, busy_configuration(folder))
        system = StallingSystem(configuration)
        try:
            system.wait_status(lambda status: in_service(status) and sum(orders_sent(status).values()) > 0, 60)
            before = system.child_pids()
            system.go_away()
            _goes_on(system, orders=10)
            assert system.child_pids() == before
            settle_and_compare(system)
            assert system.stop() == 0
            assert system.processes() == []
        finally:
            system.destroy()
