"""A user's own strategy in an operator's hands: looked at, stopped, renewed, broken, mended, while others trade."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import System, run_cli, running, short_folder, sim_configuration, write_configuration

ROOT = Path(__file__).resolve().parents[2]
MINE = """\
from nightdesk import Strategy


class Mine(Strategy):
    def on_start(self):
        self.log.info("my_version", version={version})

    def on_quote(self, quote):
        for number in range(100):
            print("quote", number)
"""
BROKEN = "from nightdesk import Strategy\n\nclass Mine(Strategy:\n"


def _states(system: System) -> dict[str, str]:
    return {child["id"]: child["state"] for child in system.control("tree")["result"]["children"]}


def _bystanders(system: System) -> dict[str, int]:
    return {child: pid for child, pid in system.child_pids().items() if child != "strategies/mine"}


def _write(folder: Path, text: str) -> None:
    (folder / "mine.py").write_text(text)


def _configuration(folder: Path) -> Path:
    content: dict[str, Any] = sim_configuration(folder)
    content["strategies"] = [
        content["strategies"][1],
        {
            "name": "mine",
            "class": "mine:Mine",
            "path": str(folder),
            "symbols": ["ESZ6"],
            "supervision": {"intensity": 1, "backoff_initial_s": 0.05},
        },
    ]
    return write_configuration(folder, content)


def test_operator_stops_renews_and_revives_a_strategy_and_nobody_else_notices() -> None:
    """terminate, restart with fresh code, a restart whose code does not load, and back again."""
    with short_folder() as folder:
        _write(folder, MINE.format(version=1))
        with running(_configuration(folder)) as system:
            system.wait_for("my_version", timeout_s=60, version=1)
            system.wait_for("printed", timeout_s=60)
            system.wait_for("prints_dropped", timeout_s=60)
            before = _bystanders(system)
            (plants,) = system.control("children", id="plants")["result"]
            assert plants["counts"] == {"specs": 4, "active": 4, "supervisors": 0, "workers": 4}
            spec = system.control("spec", id="strategies/mine")["result"]
            assert (spec["id"], spec["intensity"], spec["on_give_up"]) == ("strategies/mine", 1, "park")

            assert system.control("terminate", id="mine")["result"] == {"text": "strategies/mine is stopped"}
            assert _states(system)["strategies/mine"] == "stopped"

            _write(folder, MINE.format(version=2))
            done = _restart(system)
            assert "strategies/mine runs: pid" in done.stdout
            system.wait_for("my_version", timeout_s=30, version=2)

            _write(folder, BROKEN)
            done = _restart(system)
            assert done.returncode in (2, 70)
            assert done.stderr.count("\n") == 1
            system.wait_for("child_parked", timeout_s=30, child_id="strategies/mine")
            assert _states(system)["strategies/mine"] == "parked"

            _write(folder, MINE.format(version=3))
            assert _restart(system).returncode == 0
            system.wait_for("my_version", timeout_s=30, version=3)
            assert _bystanders(system) == before
            assert system.stop() == 0
            assert system.processes() == []
            raw = [line for line in system.raw if not line.startswith("{")]
            assert raw == []


def _restart(system: System) -> Any:
    return run_cli("restart", "mine", "--wait", "30", "--config", str(system.configuration), timeout_s=90)


@pytest.mark.parametrize("closed", [(0, 1), (0, 1, 2)])
def test_closed_standard_streams_change_nothing(closed: tuple[int, ...]) -> None:
    """No file of ours gets their numbers; the system trades, and its books are no log."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        redirections = " ".join(f"{number}>&-" for number in closed)
        command = f'exec "$0" "$1" --config "$2" --duration 3s {redirections}'
        code = os.spawnlp(
            os.P_WAIT, "bash", "bash", "-c", command, sys.executable, str(ROOT / "run.py"), str(configuration)
        )
        assert code == 0
        assert (folder / "s" / "journal.db").read_bytes().startswith(b"SQLite format 3")
        assert (folder / "s" / "exchange.log").read_text().startswith("{")
