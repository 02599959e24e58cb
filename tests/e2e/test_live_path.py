"""The path of a live user: credentials in the environment, a gateway elsewhere, the shipped live.yaml, a fill."""

import secrets
from typing import Any

import yaml

from tests.e2e.agreement import agree
from tests.e2e.harness import ROOT, Process, run_cli, running, short_folder, write_configuration


def test_live_configuration_trades_against_an_exchange_in_another_process() -> None:
    """live.yaml, armed and pointed at ``run.py simulator``, reconciles and fills; no secret is printed."""
    password = secrets.token_hex(12)
    with short_folder() as folder:
        exchange: dict[str, Any] = yaml.safe_load((ROOT / "config" / "simulator.yaml").read_text())
        exchange |= {"state_dir": str(folder / "x"), "runtime_dir": str(folder / "xr")}
        exchange["exchange"] |= {
            "sessions": "always",
            "port": 0,
            "users": [{"user": "${SIM_USER}", "password": "${SIM_PASSWORD}"}],
        }
        exchange_file = write_configuration(folder, exchange, "simulator.yaml")
        secret = {"SIM_USER": "trader", "SIM_PASSWORD": password}
        simulator = Process("simulator", "--config", str(exchange_file), "--log-format", "json", env=secret)
        try:
            listening = simulator.wait_for("exchange_listening")[0]
            live: dict[str, Any] = yaml.safe_load((ROOT / "config" / "live.yaml").read_text())
            live |= {"armed": True, "state_dir": str(folder / "x"), "runtime_dir": str(folder / "r")}
            live["gateway"]["ca_file"] = listening["ca_file"]
            live["state_dir"] = str(folder / "s")
            environment = {
                "RITHMIC_GATEWAY": listening["url"],
                "RITHMIC_SYSTEM": exchange["exchange"]["system_name"],
                "RITHMIC_USER": "trader",
                "RITHMIC_PASSWORD": password,
            }
            with running(write_configuration(folder, live, "live.yaml"), env=environment) as system:
                system.wait_for("plant_logged_in", count=4)
                system.wait_for("execution_fill", timeout_s=60)
                assert system.status()["mode"] == "live"
                assert system.control("pause", id="strategies/sma_es")["ok"]
                system.wait_status(lambda status: status["orders"]["working"] == 0)
                agree_with(system, folder)
                assert system.stop() == 0
                assert password not in "".join(system.raw)
            assert simulator.stop() == 0
            assert password not in "".join(simulator.raw)
        finally:
            simulator.destroy()


def agree_with(system: Any, folder: Any) -> None:
    """The exchange keeps its log in its own folder of state."""
    log = folder / "s" / "exchange.log"
    log.symlink_to(folder / "x" / "exchange.log")
    agree(system)


def test_live_configuration_as_shipped_says_what_to_fill_in() -> None:
    """``python run.py --config live.yaml`` ends with one line and code 2, without a traceback."""
    done = run_cli("--config", "live.yaml")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "live.yaml" in done.stderr
    assert "armed" in done.stderr or "RITHMIC" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_wrong_password_ends_the_system_with_code_three() -> None:
    """Three tries of all plants together, at any time of the week, exit code 3, the password in no output.

    The next start by hand says that it tries again; a good login forgets what was refused.
    """
    wrong = secrets.token_hex(12)
    with short_folder() as folder:
        exchange: dict[str, Any] = yaml.safe_load((ROOT / "config" / "simulator.yaml").read_text())
        exchange |= {"state_dir": str(folder / "x"), "runtime_dir": str(folder / "xr")}
        exchange["exchange"] |= {"sessions": "always", "port": 0}
        simulator = Process(
            "simulator",
            "--config",
            str(write_configuration(folder, exchange, "simulator.yaml")),
            "--log-format",
            "json",
        )
        try:
            listening = simulator.wait_for("exchange_listening")[0]
            live: dict[str, Any] = yaml.safe_load((ROOT / "config" / "live.yaml").read_text())
            live |= {"armed": True, "state_dir": str(folder / "s"), "runtime_dir": str(folder / "r")}
            live["gateway"] |= {"ca_file": listening["ca_file"], "maintenance": None}
            live["market_time"] = {"calendars": {"ES": "always"}}
            environment = {
                "RITHMIC_GATEWAY": listening["url"],
                "RITHMIC_SYSTEM": exchange["exchange"]["system_name"],
                "RITHMIC_USER": "nightdesk",
                "RITHMIC_PASSWORD": wrong,
            }
            configuration = write_configuration(folder, live, "live.yaml")
            refusals = folder / "s" / "login_refusals.json"
            for refused in (3, 6):
                with running(configuration, env=environment) as system:
                    assert system.process.wait(120) == 3, system.tail()
                    assert len(system.events("login_refused")) == 3
                    assert len(simulator.wait_for("exchange_login_refused", count=refused)) == refused
                    assert len(system.events("login_refusals_forgotten")) == (refused > 3)
                    assert refusals.exists()
                    assert wrong not in "".join(system.raw)
                    assert system.processes() == []
            environment["RITHMIC_PASSWORD"] = "nightdesk"
            with running(configuration, env=environment) as system:
                system.wait_for("plant_logged_in", 60)
                assert not refusals.exists()
                assert system.stop() == 0
        finally:
            simulator.destroy()
