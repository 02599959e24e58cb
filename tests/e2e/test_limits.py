"""Limits of a whole system: a loss limit that closes everything, over a kill of the order plant, and the verbs."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e.harness import System, run_cli, running, short_folder, sim_configuration, write_configuration


def _configuration(folder: Path) -> Path:
    content: dict[str, Any] = sim_configuration(folder)
    # Two commissions are a dollar more than that: the first round trip ends the day.
    content["risk"] |= {"daily_loss_limit": 1.5, "drawdown_basis": "total", "on_breach": "flatten"}
    content["strategies"] = content["strategies"][:1]
    content["strategies"][0]["parameters"] = {"period_s": 1, "fast": 1, "slow": 2}
    return write_configuration(folder, content)


def _row(system: System, name: str) -> dict[str, Any]:
    rows = system.control("risk")["result"]["limits"]
    found: dict[str, Any] = next(row for row in rows if row["name"] == name)
    return found


def test_breach_outlives_the_order_plant_and_ends_by_the_operators_word() -> None:
    """REDUCING, flat, no second alert after the kill, denied; then reset, ACTIVE, and trading goes on."""
    with short_folder() as folder, running(_configuration(folder)) as system:
        system.wait_for("risk_breach", timeout_s=60)
        system.wait_status(lambda status: status["trading_state"] == "REDUCING")
        system.wait_status(lambda status: all(not row["quantity"] for row in status["positions"]))
        os.kill(system.child_pids()["plants/order"], signal.SIGKILL)
        system.wait_for("reconciled", timeout_s=60, count=2)
        system.wait_for("order_denied", timeout_s=60, code="STATE_REDUCING")
        assert _row(system, "daily_loss_limit")["state"] == "reached"
        assert len(system.events("risk_breach")) == 1

        shown = run_cli("risk", "--config", str(system.configuration))
        assert (shown.returncode, "daily_loss_limit" in shown.stdout, "reached" in shown.stdout) == (0, True, True)
        mute = run_cli("risk-reset", "account", "--config", str(system.configuration))
        assert (mute.returncode, "--reason" in mute.stderr) == (2, True)
        done = run_cli("risk-reset", "account", "--reason", "a test", "--config", str(system.configuration))
        assert "RISK_DAILY_LOSS" in done.stdout, done.stderr
        system.wait_for("execution_fill", timeout_s=60, count=len(system.events("execution_fill")) + 1)

        lines = [json.loads(line) for line in (system.state_dir / "trading_state.jsonl").read_text().splitlines()]
        assert [line["what"] for line in lines[:2]] == ["breach", "trading_state"]
        reset = next(line for line in lines if line["what"] == "risk_reset")
        assert (reset["uid"], reset["reason"], reset["had"]) == (os.geteuid(), "a test", "RISK_DAILY_LOSS")
        assert system.stop() == 0
