"""Children of the whole system that fail at each start: what may be done without is set aside, a plant ends the run."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.trading import STRATEGIES, busy_configuration, in_service, orders_sent
from tests.e2e import harness
from tests.e2e.harness import ROOT, running, short_folder, write_configuration

IMPATIENT: dict[str, Any] = {"intensity": 2, "period_s": 60.0, "backoff_max_s": 0.1}
SABOTAGED_RUN = """
import sys
sys.path.insert(0, {root!r})
import run
from supervisors import tree
{change}
sys.exit(run.main())
"""


def _sabotage(folder: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Have the harness start a ``run.py`` whose tree has another body in one place."""
    (folder / "run.py").write_text(SABOTAGED_RUN.format(root=str(ROOT), change=change))
    monkeypatch.setattr(harness, "ROOT", folder)


def test_strategy_and_alert_channel_that_fail_at_each_start_are_parked_and_the_rest_trades_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are tried as often as their budgets allow; nobody else's process changes."""
    with short_folder() as folder:
        job = busy_configuration(folder)
        failing = {"name": "failing", "class": "tests.chaos.chatty:FailsAtStart", "path": str(ROOT)}
        job["strategies"].append(failing | {"symbols": ["ESZ6"], "supervision": IMPATIENT})
        job["alerts"].append({"name": "hook", "kind": "webhook", "url": "${HOOK_URL}", "supervision": IMPATIENT})
        configuration = write_configuration(folder, job)
        _sabotage(folder, monkeypatch, "tree._ALERT_BODIES['webhook'] = 'tests.chaos.bodies:FailsAtStart'")
        parked = ("strategies/failing", "services/alerts/hook")
        with running(configuration, env={"HOOK_URL": "http://127.0.0.1:9/"}) as system:
            for child_id in parked:
                system.wait_for("child_parked", timeout_s=60, child_id=child_id)
                # A strategy is started before its own hook runs, a channel is not: their deaths have different names.
                deaths = [system.events(name, child_id=child_id) for name in ("child_start_failed", "child_exited")]
                assert sum(map(len, deaths)) == IMPATIENT["intensity"] + 1

            def trades(status: dict[str, Any]) -> bool:
                states = {child["id"]: child["state"] for child in status["children"]}
                idle = [child_id for child_id, state in states.items() if state != "running"]
                sent = orders_sent(status)
                return sorted(idle) == sorted(parked) and all(sent[f"strategies/{name}"] > 0 for name in STRATEGIES)

            before = system.wait_status(trades, timeout_s=60)
            system.wait_status(lambda status: sum(orders_sent(status).values()) > sum(orders_sent(before).values()) + 5)
            assert {line["child_id"] for line in system.events("child_exited")} <= set(parked)
            assert system.events("supervisor_gave_up") == []
            assert system.stop() == 0
            assert system.processes() == []


def test_plant_that_fails_at_each_start_ends_the_system_with_code_6(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a trading system: the plant is killed and never comes back; its branch gives up, and root after it."""
    with short_folder() as folder:
        supervision = IMPATIENT | {"on_give_up": "escalate"}
        configuration = write_configuration(folder, busy_configuration(folder, plant_supervision=supervision))
        body = "tests.chaos.sabotage:SabotagedHistoryPlant"
        _sabotage(folder, monkeypatch, f"tree._PLANT_BODIES['plants/history'] = {body!r}")
        flag = folder / "sabotage"
        with running(configuration, env={"NIGHTDESK_TEST_SABOTAGE": str(flag)}) as system:
            status = system.wait_status(
                lambda status: in_service(status) and sum(orders_sent(status).values()) > 0, timeout_s=60
            )
            flag.touch()
            (victim,) = [child["pid"] for child in status["children"] if child["id"] == "plants/history"]
            os.kill(victim, signal.SIGKILL)
            assert system.process.wait(120) == 6
            gave_up = {line["supervisor"] for line in system.wait_for("supervisor_gave_up", count=2)}
            assert gave_up == {"plants", "root"}
            assert system.processes() == []
