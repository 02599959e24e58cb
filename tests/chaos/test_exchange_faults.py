"""The whole system against an exchange in another process that misbehaves at random: in the end the books agree."""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightdesk.simulator.wire.wire_log_reader import WireLogReader
from tests.chaos.seeds import forms, seeded
from tests.chaos.trading import busy_configuration, in_service, settle_and_compare
from tests.e2e.agreement import exchange_summary
from tests.e2e.harness import ROOT, Process, run_cli, running, short_folder, write_configuration
from tests.support import wait_until

SEED = 20
MIX = [
    "drop", "rst", "half_open", "delay", "slow_read", "trickle", "mute", "duplicate", "reorder", "corrupt",
    "unknown_template", "late_ack", "fill_before_ack", "partial_list",
]  # fmt: skip
"""What must leave the books as they are; faults that lie about the account (foreign orders, positions) have tests of
their own."""
NEW_ORDER = 312


@contextmanager
def misbehaving(folder: Path, faults: list[dict[str, Any]], password: str) -> Iterator[tuple[Process, Path, str]]:
    """An exchange in a process of its own with a script of faults; the process, its file, and its address."""
    (folder / "faults.yaml").write_text(yaml.safe_dump({"faults": faults}))
    content: dict[str, Any] = yaml.safe_load((ROOT / "config" / "simulator.yaml").read_text())
    content |= {"state_dir": str(folder / "x"), "runtime_dir": str(folder / "xr")}
    content["exchange"] |= {
        "port": 0,
        "users": [{"user": "${SIM_USER}", "password": "${SIM_PASSWORD}"}],
        "faults": "faults.yaml",
    }
    content["exchange"]["source"]["ticks_per_second"] = 100
    file = write_configuration(folder, content, "simulator.yaml")
    environment = {"SIM_USER": "trader", "SIM_PASSWORD": password}
    simulator = Process("simulator", "--config", str(file), "--log-format", "json", env=environment)
    try:
        listening = simulator.wait_for("exchange_listening")[0]
        yield simulator, file, listening["url"]
    finally:
        simulator.destroy()


def paper_configuration(folder: Path, url: str, system_name: str) -> dict[str, Any]:
    """The busy job as a client of that exchange."""
    job = busy_configuration(folder)
    del job["exchange"]
    gateway: dict[str, Any] = {
        "url": url,
        "system_name": system_name,
        "ca_file": str(folder / "xr" / "exchange-ca.pem"),
    }
    # Patience is what the real gateway deserves; here the next fault is a second away.
    gateway |= {"request_timeout_s": 2.0, "connect_timeout_s": 2.0, "reconnect_max_s": 1.0}
    credentials = {"user": "${SIM_USER}", "password": "${SIM_PASSWORD}"}
    return job | {"mode": "paper", "gateway": gateway, "credentials": credentials}


def is_over(simulator: Process, spell_s: float) -> bool:
    """Whether the newest fault is so old that the mix must have ended."""
    newest = datetime.fromisoformat(simulator.events("exchange_fault_begins")[-1]["timestamp"])
    first = datetime.fromisoformat(simulator.events("exchange_fault_begins")[0]["timestamp"])
    return (datetime.now(UTC) - first).total_seconds() > spell_s and (datetime.now(UTC) - newest).total_seconds() > 1


def orders_sent_twice(folder: Path) -> list[str]:
    """Tags that the exchange's own wire log has received more than once, also in requests that a fault lost."""
    tags = Counter(each.message.user_tag for each in WireLogReader(folder / "x").received(NEW_ORDER))
    return [tag for tag, count in tags.items() if count > 1]


@pytest.mark.parametrize("spell_s", forms(6, 180))
def test_books_agree_after_a_random_mix_of_faults(spell_s: int, request: pytest.FixtureRequest) -> None:
    """Drops, delays, silence, damage, repetition: no order is received twice, every fill is in the journal once."""
    password = secrets.token_hex(12)
    with seeded(request, SEED) as chance, short_folder() as folder:
        mix = {"seed": chance.getrandbits(32), "rate_per_minute": 120, "for_s": spell_s, "spell_s": 1.5, "at": 7}
        with misbehaving(folder, [{"mix": mix | {"faults": MIX}}], password) as (simulator, file, url):
            name = yaml.safe_load(file.read_text())["exchange"]["system_name"]
            environment = {"SIM_USER": "trader", "SIM_PASSWORD": password}
            (folder / "s").mkdir(mode=0o700)
            (folder / "s" / "exchange.log").symlink_to(folder / "x" / "exchange.log")
            with running(
                write_configuration(folder, paper_configuration(folder, url, name)), env=environment
            ) as system:
                system.wait_status(in_service, 60)
                simulator.wait_for("exchange_fault_begins", timeout_s=60, count=5)
                wait_until(lambda: is_over(simulator, spell_s), spell_s + 60)
                assert run_cli("simulator", "heal", "--config", str(file), env=environment).returncode == 0
                system.wait_status(in_service, 90)
                settle_and_compare(system)
                assert orders_sent_twice(folder) == []
                assert system.stop() == 0
                assert password not in "".join(system.raw)
            assert simulator.stop() == 0
            assert password not in "".join(simulator.raw)
        assert password.encode() not in b"".join(each.read_bytes() for each in (folder / "x").glob("exchange-wire*"))


@pytest.mark.chaos
def test_the_system_notices_what_the_exchange_does_to_the_account() -> None:
    """Break and logout: quiet tries and back; wrong positions: an alarm until they are right; a stranger: external.

    Each fault is a command to the exchange; nothing of ours is restarted by any of them.
    """
    password = secrets.token_hex(12)
    environment = {"SIM_USER": "trader", "SIM_PASSWORD": password}
    with short_folder() as folder, misbehaving(folder, [], password) as (_, file, url):

        def command(*words: str) -> None:
            done = run_cli("simulator", *words, "--config", str(file), env=environment)
            assert done.returncode == 0, done.stderr

        name = yaml.safe_load(file.read_text())["exchange"]["system_name"]
        (folder / "s").mkdir(mode=0o700)
        (folder / "s" / "exchange.log").symlink_to(folder / "x" / "exchange.log")
        with running(write_configuration(folder, paper_configuration(folder, url, name)), env=environment) as system:
            system.wait_status(in_service, 60)
            pids = system.child_pids()
            command("fault", "forced_logout")
            system.wait_for("connection_restored", count=4)
            command("fault", "maintenance", "--for", "3s")
            system.wait_for("connection_restored", count=8)
            system.wait_status(in_service, 60)
            command("fault", "wrong_positions", "--set", "offset=3")
            system.wait_for("position_mismatch")
            command("heal")
            system.wait_for("position_mismatch_ended")
            settle_and_compare(system)
            command("fault", "foreign_orders")
            external = system.wait_for("order_external")[0]
            assert external["quantity"] == 1
            assert exchange_summary(folder / "s").positions == {
                each["symbol"]: each["quantity"] for each in system.status()["positions"]
            }
            assert system.child_pids() == pids
            assert system.stop() == 0
