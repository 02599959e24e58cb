"""The whole trading system under flow, for tests that hurt it: many ticks, many orders, budgets that last."""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

from tests.e2e.agreement import differences
from tests.e2e.harness import System, sim_configuration
from tests.support import wait_until

PLANTS = ("order", "pnl", "ticker", "history")
STRATEGIES = ("sma_es", "quoter_es")
PATIENT: dict[str, Any] = {"intensity": 1000, "period_s": 3600.0, "backoff_max_s": 0.5}
"""A budget of restarts that no test spends."""


def busy_configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """The default job at ten times its rate: 200 ticks a second, orders several times a second."""
    job = sim_configuration(folder)
    parameters = {"sma_es": {"period_s": 1}, "quoter_es": {"requote_s": 0.3}}
    for strategy in job["strategies"]:
        strategy |= {"parameters": parameters[strategy["name"]], "supervision": PATIENT}
    for channel in job["alerts"]:
        channel["supervision"] = PATIENT
    job["exchange"]["source"]["ticks_per_second"] = 200
    job["risk"]["max_orders_per_second"] = 50
    job["plant_supervision"] = PATIENT | {"on_give_up": "escalate"}
    return job | changes


def in_service(status: dict[str, Any]) -> bool:
    """Every child runs, every plant is connected, trading is allowed."""
    return (
        all(plant["connected"] for plant in status["plants"].values())
        and len(status["plants"]) == len(PLANTS)
        and all(child["state"] == "running" for child in status["children"])
        and status["trading_state"] == "ACTIVE"
    )


def orders_sent(status: dict[str, Any]) -> dict[str, int]:
    return {child_id: strategy["orders_sent"] for child_id, strategy in status["strategies"].items()}


def ticks_seen(status: dict[str, Any]) -> dict[str, int]:
    return {child_id: strategy["ticks"] for child_id, strategy in status["strategies"].items()}


def settle_and_compare(system: System) -> None:
    """Pause everybody, wait until nothing is on its way, and compare the three books."""
    for name in STRATEGIES:
        assert system.control("pause", id=f"strategies/{name}")["ok"]
    system.wait_status(
        lambda status: status["orders"]["working"] == 0 and status["orders"]["unknown"] == 0, timeout_s=60
    )
    found: list[str] = []

    def agreed() -> bool:
        found[:] = differences(system)
        return not found

    try:
        wait_until(agreed, 20)
    except AssertionError:
        raise AssertionError("\n".join(found) + "\n" + system.tail()) from None


class StallingSystem(System):
    """A system whose log's reader can stop reading, and go away."""

    PIPE_BYTES = 4096

    def __init__(self, configuration: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._may_read = threading.Event()
        self._may_read.set()
        super().__init__(configuration, *arguments, env=env)

    def stall(self) -> None:
        """Read no more from now on; the pipe is made small so that it is full at once."""
        self._may_read.clear()
        assert self.process.stdout is not None
        try:
            fcntl.fcntl(self.process.stdout.fileno(), fcntl.F_SETPIPE_SZ, self.PIPE_BYTES)
        except OSError:
            # More than that is in it at this moment: then it stays as large as it is.
            return

    def resume(self) -> None:
        self._may_read.set()

    def go_away(self) -> None:
        """Close the reading end: every further line meets EPIPE."""
        self._may_read.clear()
        assert self.process.stdout is not None
        # The file object is the reading thread's; its descriptor is replaced under it instead.
        with Path("/dev/null").open() as nothing:
            os.dup2(nothing.fileno(), self.process.stdout.fileno())
        self._may_read.set()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._may_read.wait()
            self.raw.append(line)
            # With standard error in the same pipe, not every line is a record.
            if line.startswith("{"):
                self.lines.append(json.loads(line))
