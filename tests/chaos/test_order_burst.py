"""A burst of orders through the whole system while the order plant is killed every few seconds: nothing is lost.

The audit is by the exchange's own log of orders and its wire log; the exchange is a process of the tree that nobody
kills here.
"""

import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nightdesk.chaos.books import exchange_book, journal_book
from nightdesk.chaos.evidence import Evidence
from nightdesk.chaos.gather import NEW_ORDER_REQUESTS
from nightdesk.chaos.invariants import losses
from nightdesk.clocks import SystemClock
from nightdesk.simulator.wire.wire_log import Kind
from nightdesk.simulator.wire.wire_log_reader import read_records
from tests.chaos.seeds import forms, seeded
from tests.chaos.trading import PATIENT, in_service
from tests.e2e.agreement import ACCOUNT
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

SEED = 10
STRATEGIES = 4
BOUNDLESS = 100_000
WIRE_LOG_MB = 4_000
BETWEEN_KILLS_S = (0.5, 3.0)
"""From the moment at which orders arrive again to the next kill."""

BACK_S = 120.0
"""Within which orders arrive again after a kill, on a machine that does a lot besides."""

RECEIVED = b'"k":"RECEIVED"'


def burst_configuration(folder: Path) -> dict[str, Any]:
    """Four strategies that send what they can, and limits beyond their reach."""
    job = sim_configuration(folder)
    job["strategies"] = [
        {"name": f"burst_{number}", "class": "tests.chaos.burst:Burst", "symbols": ["ESZ6"], "supervision": PATIENT}
        for number in range(STRATEGIES)
    ]
    job["risk"] = {
        "max_order_quantity": 10, "max_position": BOUNDLESS, "max_open_orders": BOUNDLESS,
        "max_orders_per_second": BOUNDLESS, "self_trade": "allow",
    }  # fmt: skip
    job["alerts"] = []
    job["exchange"] |= {"wire_log_mb": WIRE_LOG_MB}
    job["plant_supervision"] = PATIENT | {"on_give_up": "escalate"}
    return job


class Arrivals:
    """Orders that the exchange has taken, by its log as it grows."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "exchange.log"
        self._offset = 0
        self._count = 0

    def count(self) -> int:
        """So far."""
        if self._path.exists():
            with self._path.open("rb") as log:
                log.seek(self._offset)
                part = log.read()
            whole = part[: part.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._count += whole.count(RECEIVED)
        return self._count


def _kill_through(system: System, arrivals: Arrivals, orders: int, chance: random.Random) -> tuple[int, float]:
    """Until so many orders have arrived; how often the plant was killed, and the seconds in which orders arrived."""
    clock = SystemClock()
    kills, busy_s = 0, 0.0
    while arrivals.count() < orders:
        before = arrivals.count()
        wait_until(lambda before=before: arrivals.count() > before, BACK_S)  # type: ignore[misc]
        begun_s = clock.monotonic_s()
        ends_s = begun_s + chance.uniform(*BETWEEN_KILLS_S)
        wait_until(
            lambda ends_s=ends_s: arrivals.count() >= orders or clock.monotonic_s() >= ends_s,  # type: ignore[misc]
            BACK_S,
        )
        busy_s += clock.monotonic_s() - begun_s
        os.kill(system.child_pids()["plants/order"], signal.SIGKILL)
        kills += 1
        system.wait_for("child_restarted", BACK_S, count=kills, child_id="plants/order")
    return kills, busy_s


def _settle(system: System) -> None:
    system.wait_status(in_service, BACK_S)
    for number in range(STRATEGIES):
        assert system.control("pause", id=f"strategies/burst_{number}")["ok"]
    system.wait_status(
        lambda status: in_service(status) and not status["orders"]["working"] and not status["orders"]["unknown"],
        BACK_S,
    )


def _received(state_dir: Path) -> Counter[str]:
    """The tags of all requests for new orders. Most of the log are ticks and lists: they are not even decoded."""
    records = (each for each in read_records(state_dir) if each.kind is Kind.RECEIVED)
    return Counter(each.message.user_tag for each in records if each.template_id in NEW_ORDER_REQUESTS)


def _evidence(system: System, positions: dict[str, int]) -> Evidence:
    return Evidence(
        exchange=exchange_book(system.state_dir),
        journal=journal_book(system.state_dir),
        received=_received(system.state_dir),
        system_positions={(ACCOUNT, symbol): quantity for symbol, quantity in positions.items()},
        strategy_positions={},
        lines=[],
    )


@pytest.mark.parametrize("orders", forms(300, 10_000))
def test_nothing_is_lost_or_doubled_in_a_burst_under_kills(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], orders: int
) -> None:
    """So many orders at the exchange, a kill -9 of the order plant every few seconds, and three zeros."""
    with (
        seeded(request, SEED) as chance,
        short_folder() as folder,
        running(write_configuration(folder, burst_configuration(folder))) as system,
    ):
        system.wait_status(in_service, BACK_S)
        clock = SystemClock()
        begun_s = clock.monotonic_s()
        kills, busy_s = _kill_through(system, Arrivals(system.state_dir), orders, chance)
        took_s = clock.monotonic_s() - begun_s
        _settle(system)
        positions = {one["symbol"]: one["quantity"] for one in system.status()["positions"]}
        assert system.stop() == 0
        evidence = _evidence(system, positions)
        found = losses(evidence)
        reconciled = system.events("reconciled")
        told = {
            "orders": evidence.exchange.tags.total(), "fills": len(evidence.exchange.fills), "kills": kills,
            "adopted": sum(line["adopted"] for line in reconciled),
            "never_received": sum(line["not_found"] for line in reconciled),
            "recovered_fills": sum(line["recovered_fills"] for line in reconciled),
            "seconds": round(took_s), "orders_a_minute": round(60 * orders / took_s),
            "orders_a_minute_between_kills": round(60 * orders / busy_s), **found._asdict(),
        }  # fmt: skip
        with capsys.disabled():
            print(f"\nburst: {told}")
        assert found == (0, 0, 0)
        assert evidence.exchange.tags.total() >= orders
        assert evidence.received == evidence.exchange.tags
        assert kills >= max(1, orders // 500)
        assert told["fills"] >= orders // 10
        assert not system.processes()
