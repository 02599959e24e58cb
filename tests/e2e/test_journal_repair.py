"""A real system's journal is damaged: it is told beside the running system, the start is refused, repair mends it."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.agreement import agree, journal_rows
from tests.e2e.harness import System, run_cli, running, short_folder, sim_configuration, write_configuration
from tests.journal_support import leaves, overwrite

FILLS = 4


def traded(system: System) -> None:
    """There is something to lose."""
    system.wait_for("reconciled")
    system.wait_for("execution_fill", timeout_s=90, count=FILLS)


def flip_in_wal(state_dir: Path) -> None:
    """One bit in the middle of what was committed last."""
    wal = state_dir / "journal.db-wal"
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 8
    wal.write_bytes(content)


def lose_executions(state_dir: Path) -> None:
    """Every page that holds executions, and every page that holds the events which tell of them."""
    for table in ("fills", "events"):
        for page in leaves(state_dir, table):
            overwrite(state_dir, page)


@pytest.mark.parametrize("damage", [lose_executions, pytest.param(flip_in_wal, marks=pytest.mark.chaos)])
def test_a_damaged_journal_is_refused_repaired_and_agrees_with_the_exchange(damage: object) -> None:
    """Verify runs beside a system whose order plant was killed, and nothing is lost in the end."""
    with short_folder() as folder:
        content = sim_configuration(folder)
        content["exchange"]["speed"] = 5
        configuration = write_configuration(folder, content)
        options = ("--config", str(configuration))
        with running(configuration) as system:
            traded(system)
            os.kill(system.child_pids()["plants/order"], signal.SIGKILL)
            system.wait_for("reconciled", count=2)
            verified = run_cli("journal", "verify", "--json", *options)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            assert json.loads(verified.stdout)["running"]
            refused = run_cli("journal", "repair", "--yes", *options)
            assert refused.returncode == 2
            assert "a system runs on it; stop it first" in refused.stderr
            if damage is flip_in_wal:
                system.destroy()
            else:
                assert system.stop() == 0
        state_dir = folder / "s"
        orders = set(journal_rows(state_dir, "SELECT client_order_id FROM orders"))
        assert run_cli("journal", "verify", *options).returncode == 0
        damage(state_dir)  # type: ignore[operator]
        with running(configuration) as system:
            assert system.process.wait(60) == 4
            (line,) = system.events("journal_refused")
            assert str(state_dir / "journal.db") in line["reason"]
            assert "python run.py journal repair" in line["reason"]
            assert system.events("order_submitted") == []
        assert run_cli("journal", "verify", *options).returncode == 1
        assert run_cli("journal", "repair", *options).returncode == 2
        repaired = run_cli("journal", "repair", "--yes", "--json", *options)
        assert repaired.returncode == 0, repaired.stdout + repaired.stderr
        assert json.loads(repaired.stdout)["halted"] == ""
        assert run_cli("journal", "verify", *options).returncode == 0
        assert set(journal_rows(state_dir, "SELECT client_order_id FROM orders")) == orders
        with running(configuration) as system:
            traded(system)
            agree(system)
            assert run_cli("journal", "verify", *options).returncode == 0
            assert system.events("order_external") == []
            assert system.stop() == 0
