"""Processes of the trading system that hang: a short stop is forgiven, a long one ends in a replacement."""

import os
import signal
import threading
from datetime import datetime
from typing import Any

from tests.chaos.trading import PATIENT, busy_configuration, in_service, orders_sent, settle_and_compare, ticks_seen
from tests.e2e.harness import running, short_folder, write_configuration

WATCHDOG_S = 3.0
SHORT_S = 0.5
SLACK_S = 4.0
"""What a busy machine may add to the watchdog's time."""

FROZEN = ("strategies/quoter_es", "plants/history")
WITNESS = "strategies/sma_es"


def _watched(job: dict[str, Any]) -> dict[str, Any]:
    for section in (*job["strategies"], *job["alerts"]):
        section["supervision"] = PATIENT | {"watchdog_s": WATCHDOG_S}
    job["plant_supervision"] |= {"watchdog_s": WATCHDOG_S}
    return job


def test_frozen_processes_are_replaced_in_their_watchdogs_time_while_the_rest_trades_on() -> None:
    """SIGSTOP for half a second changes nothing; for good, the two are killed and started anew, nobody else is."""
    with (
        short_folder() as folder,
        running(write_configuration(folder, _watched(busy_configuration(folder)))) as system,
    ):
        system.wait_status(lambda status: in_service(status) and all(orders_sent(status).values()), 60)
        before = system.child_pids()
        for child_id in FROZEN:
            os.kill(before[child_id], signal.SIGSTOP)
        threading.Event().wait(SHORT_S)
        for child_id in FROZEN:
            os.kill(before[child_id], signal.SIGCONT)
        ticks = ticks_seen(system.wait_status(in_service, 30))
        system.wait_status(
            lambda status: all(now > ticks[one] + 200 for one, now in ticks_seen(status).items()), timeout_s=60
        )
        assert system.child_pids() == before

        frozen_s = datetime.now().timestamp()
        for child_id in FROZEN:
            os.kill(before[child_id], signal.SIGSTOP)
        for child_id in FROZEN:
            (line,) = system.wait_for("child_exited", timeout_s=60, child_id=child_id)
            assert datetime.fromisoformat(line["timestamp"]).timestamp() - frozen_s < WATCHDOG_S + SLACK_S
        status = system.wait_status(in_service, 60)
        # At 200 a second, the witness has seen what came while the others hung.
        assert ticks_seen(status)[WITNESS] > ticks[WITNESS] + 100 * WATCHDOG_S
        after = system.child_pids()
        assert {child_id for child_id in before if after[child_id] != before[child_id]} == set(FROZEN)
        settle_and_compare(system)
        assert system.stop() == 0
        assert system.processes() == []
