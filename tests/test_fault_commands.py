"""The exchange's command socket and ``run.py simulator fault | faults | heal | log``: what they do and refuse."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

import run
from nightdesk.console.client import request
from nightdesk.errors import ConfigurationError
from nightdesk.settings.folders import EXCHANGE_SOCKET, Folders
from nightdesk.simulator.faults.commands import CommandSocket
from tests.e2e.harness import Process, run_cli, short_folder, sim_configuration, write_configuration
from tests.simulator_support import RawClient, running_exchange

NULL = structlog.get_logger()


def ask(folder: Path, verb: str, **arguments: Any) -> Any:
    """One command, as the console sends it."""
    folders = Folders("test", str(folder), str(folder), "test.yaml")
    return request(folders, verb, arguments, socket_name=EXCHANGE_SOCKET)


def raw(folder: Path, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(folder / EXCHANGE_SOCKET))
        connection.sendall(line)
        answer: dict[str, Any] = json.loads(connection.makefile().readline())
        return answer


def with_socket(scenario: Any) -> None:
    async def run_scenario() -> None:
        with short_folder() as folder:
            async with running_exchange(folder) as (exchange, server):
                commands = CommandSocket(exchange, str(folder), NULL)
                await commands.start()
                try:
                    await scenario(folder, exchange, server)
                finally:
                    await commands.close()
            assert not (folder / EXCHANGE_SOCKET).exists()

    asyncio.run(run_scenario())


def test_a_fault_is_injected_listed_and_healed() -> None:
    """With its parameters, where it came from, the connections, and every fault that there is."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        client = await RawClient.open(folder, server)
        await client.login(2)
        done = await asyncio.to_thread(ask, folder, "fault", fault="delay", plant="order", for_s="60", latency_s="0.1")
        assert done == {"number": 1, "text": "delay is active for 60 s as number 1"}
        done = await asyncio.to_thread(ask, folder, "fault", fault="mute", templates="[312, 313]")
        assert done["text"] == "mute is active; end it with: heal 2"
        listed = await asyncio.to_thread(ask, folder, "faults")
        assert [each["fault"] for each in listed["active"]] == ["delay", "mute"]
        parameters = {"target": {"plant": "order"}, "for_s": 60.0, "latency_s": 0.1}
        assert listed["active"][0]["parameters"] == parameters
        assert listed["connections"] == [{"number": 1, "user": "trader", "plant": "order"}]
        assert len(listed["known"]) == 22
        assert (await asyncio.to_thread(ask, folder, "heal", number=1))["text"] == "1 healed"
        assert (await asyncio.to_thread(ask, folder, "heal"))["text"] == "1 healed"
        assert (await asyncio.to_thread(ask, folder, "heal"))["text"] == "nothing was active"
        assert (await asyncio.to_thread(ask, folder, "fault", fault="drop"))["text"] == "drop: 1 connection struck"
        assert await client.closed() == 1006

    with_socket(scenario)


def test_wrong_commands_get_an_error_and_the_socket_lives_on() -> None:
    """Unknown verbs, arguments, faults and numbers; lines that are no requests."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        for verb, arguments, complaint in (
            ("fault", {"fault": "dropp"}, "did you mean drop"),
            ("fault", {}, "has no fault"),
            ("fault", {"fault": "foreign_orders", "symbol": "XX"}, "'XX' is not listed here"),
            ("fault", {"fault": "foreign_orders", "account": "XX"}, "account: 'XX' is not listed here"),
            ("fault", {"fault": "reserved_market", "symbol": "XX"}, "'XX' is not listed here"),
            ("fault", {"fault": "wrong_positions", "symbol": "XX"}, "'XX' is not listed here"),
            ("heal", {"number": 7}, "fault 7 is not active"),
            ("heal", {"number": "7"}, "must be a whole number"),
            ("heal", {"nummer": 7}, "nummer: is not a known argument"),
            ("faults", {"x": 7}, "x: is not a known argument"),
            ("stop", {}, "no such command: 'stop'"),
        ):
            with pytest.raises(ConfigurationError, match=complaint):
                await asyncio.to_thread(ask, folder, verb, **arguments)
        for line in (b"\n", b"{}\n", b"\xff\xff\n", b"[" * 50_000 + b"\n", b"x" * 70_000 + b"\n"):
            assert (await asyncio.to_thread(raw, folder, line))["ok"] is False
        assert exchange.injector.status() == []
        assert (await asyncio.to_thread(ask, folder, "faults"))["injected"] == 0

    with_socket(scenario)


def test_the_socket_answers_its_own_user_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0600; whoever still gets through is refused by uid, root excepted."""

    async def scenario(folder: Path, exchange: Any, server: Any) -> None:
        assert stat.S_IMODE((folder / EXCHANGE_SOCKET).stat().st_mode) == 0o600
        own = os.geteuid()
        monkeypatch.setattr("nightdesk.control_socket.os.geteuid", lambda: own + 1)
        if own == 0:
            assert (await asyncio.to_thread(ask, folder, "faults"))["active"] == []
        else:
            with pytest.raises(ConfigurationError, match="may not control"):
                await asyncio.to_thread(ask, folder, "faults")

    with_socket(scenario)


def test_the_command_line_reaches_an_exchange_that_runs_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """Script and commands; the wire log is printed; without a subcommand ``simulator`` runs the exchange as before."""
    with short_folder() as folder:
        (folder / "faults.yaml").write_text("faults:\n  - {at: 0.1, fault: clock_skew, offset_s: 60}\n")
        content = sim_configuration(folder)
        content["exchange"]["faults"] = "faults.yaml"
        file = str(write_configuration(folder, content))
        simulator = Process("simulator", "--config", file, "--log-format", "json")
        try:
            simulator.wait_for("exchange_fault_begins", fault="clock_skew")
            assert run.main(["simulator", "fault", "delay", "--plant", "pnl", "--for", "1m", "--config", file]) == 0
            words = ["simulator", "--config", file, "fault", "mute", "--template", "312", "--set", "lost=true"]
            assert run.main(words) == 0
            assert run.main(["simulator", "faults", "--json", "--config", file]) == 0
            output = capfd.readouterr().out
            assert "delay is active for 60 s as number 2" in output
            listed = json.loads(output[output.index("{") :])
            assert [each["fault"] for each in listed["active"]] == ["clock_skew", "delay", "mute"]
            assert run.main(["simulator", "faults", "--config", file]) == 0
            assert run.main(["simulator", "heal", "--config", file]) == 0
            assert "3 healed" in capfd.readouterr().out
            words = ["simulator", "fault", "mix", "--seed", "5", "--for", "1m", "--set", "rate_per_minute=0.1"]
            assert run.main([*words, "--config", file]) == 0
            assert "mix is active for 60 s as number 4" in capfd.readouterr().out
            assert run.main(["simulator", "heal", "4", "--config", file]) == 0
            assert run.main(["simulator", "fault", "nonsense", "--config", file]) == 2
            assert run.main(["simulator", "fault", "mix", "--config", file]) == 2
            assert run.main(["simulator", "fault", "drop", "--seed", "1", "--config", file]) == 2
            assert run.main(["simulator", "fault", "drop", "--set", "x", "--config", file]) == 2
            assert run.main(["simulator", "fault", "drop", "--set", "plant=1", "--plant", "pnl", "--config", file]) == 2
            assert run.main(["simulator", "fault", "drop", "--for", "soon", "--config", file]) == 2
            complaints = capfd.readouterr().err.splitlines()
            assert len(complaints) == 6
            assert complaints[1] == "nightdesk: mix: seed: is missing; add it with a value"
            assert complaints[2].startswith("nightdesk: drop: seed: is not a known key")
            assert complaints[5].startswith("nightdesk: --for: expected a time")
            simulator.wait_for("exchange_fault_ends", count=4)
            assert simulator.stop() == 0
            assert run.main(["simulator", "log", "--config", file]) == 0
            assert '"fault":"clock_skew","act":"begins"' in capfd.readouterr().out
            assert run.main(["simulator", "heal", "--config", file]) == 2
            assert "no exchange is running" in capfd.readouterr().err
            assert run.main(["simulator", "heal", "9" * 21, "--config", file]) == 2
            assert run.main(["simulator", "fault", "drop", "--connection", "9" * 21, "--config", file]) == 2
            assert capfd.readouterr().err.count("Input should be less than or equal to") == 2
        finally:
            simulator.destroy()


def test_a_bad_script_is_complained_of_before_anything_starts() -> None:
    """By ``check``, by ``simulator`` and by a run: file, line, key, mend; code 2, no traceback."""
    with short_folder() as folder:
        (folder / "faults.yaml").write_text("faults:\n  - at: 1\n    fault: dropp\n")
        content = sim_configuration(folder)
        content["exchange"]["faults"] = "faults.yaml"
        file = str(write_configuration(folder, content))
        done = run_cli("simulator", "--config", file)
        assert done.returncode == 2
        place = f"{folder}/faults.yaml:3: faults[0].fault: no such fault: 'dropp'; did you mean drop?"
        assert done.stderr.strip() == f"nightdesk: {place}"
        for verb in (["check"], []):
            assert run.main([*verb, "--config", file]) == 2
        (folder / "faults.yaml").write_text(
            "faults:\n  - mix: {seed: 1, rate_per_minute: 1, faults: [{fault: foreign_orders, account: XX}]}\n"
        )
        done = run_cli("simulator", "--config", file)
        assert done.returncode == 2
        assert ":2: faults[0].mix.faults[0].account: 'XX' is not listed here (there are " in done.stderr
        assert yaml.safe_load((folder / "faults.yaml").read_text())
