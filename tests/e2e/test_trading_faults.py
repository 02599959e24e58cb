"""The whole system when trading itself is in trouble: journals, accounts, disks, parked strategies, giving up."""

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.plants.journal import Journal
from tests.e2e.agreement import agree, exchange_summary, journal_rows
from tests.e2e.harness import ROOT, Process, System, running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

NAME = "crasher"
CHILD_ID = f"strategies/{NAME}"
WORKING = ("RECEIVED", "TRIGGER_PENDING", "OPEN")


def crasher_configuration(folder: Path, **strategy: Any) -> dict[str, Any]:
    """The default job with the crashing strategy alone; three crashes within a minute and it is parked."""
    shutil.copy(Path(__file__).with_name("crasher.py"), folder)
    section = {
        "name": NAME,
        "class": "crasher:Crasher",
        "path": str(folder),
        "symbols": ["ESZ6"],
        "supervision": {"intensity": 2, "period_s": 60.0},
    }
    return sim_configuration(folder, strategies=[section | strategy])


def has_all_orders(system: System) -> None:
    """The position is bought, and the entry and the protective order work."""
    system.wait_for("execution_fill", strategy_id=NAME)
    system.wait_for("order_accepted", count=3, strategy_id=NAME)


def working_at_exchange(state_dir: Path) -> int:
    states = exchange_summary(state_dir).orders_by_state
    return sum(states[state] for state in WORKING)


def position_at_exchange(state_dir: Path) -> int:
    return exchange_summary(state_dir).positions["ESZ6"]


@pytest.mark.parametrize("fault", ["damaged", "other account"])
def test_a_journal_that_cannot_be_used_ends_the_run_with_code_four(fault: str) -> None:
    """One critical line names the file and the mend; nothing is traded and no process is left."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        state_dir = folder / "s"
        state_dir.mkdir(mode=0o700)
        if fault == "damaged":
            (state_dir / "journal.db").write_bytes(os.urandom(8192))
        else:
            journal = Journal.open(str(state_dir), system_name="Nightdesk Simulator", durability="process")
            journal.claim("ANOTHER")
            journal.close()
        with running(configuration) as system:
            assert system.process.wait(60) == 4
            lines = system.events("journal_refused")
            assert len(lines) == 1
            assert str(state_dir / "journal.db") in lines[0]["reason"]
            assert ("damaged" if fault == "damaged" else "ANOTHER") in lines[0]["reason"]
            assert system.events("order_submitted") == []
            assert system.processes() == []


def test_several_accounts_without_a_choice_end_the_run_with_code_two() -> None:
    """With real money nobody guesses: the line names the accounts and the key."""
    secret = {"SIM_USER": "trader", "SIM_PASSWORD": "several-accounts"}
    with short_folder() as folder:
        content = sim_configuration(folder)
        user = {"user": "${SIM_USER}", "password": "${SIM_PASSWORD}", "accounts": ["SIM-1", "SIM-2"]}
        content["exchange"]["users"] = [user]
        with running(write_configuration(folder, content), env=secret) as system:
            assert system.process.wait(60) == 2
            assert "account: name the account to trade; the login has SIM-1, SIM-2" in "".join(system.raw)
            assert system.events("order_submitted") == []
        content["account"] = "SIM-1"
        with running(write_configuration(folder, content), env=secret) as system:
            system.wait_for("reconciled")
            assert system.stop() == 0


def test_a_full_disk_stops_orders_and_lets_cancels_pass() -> None:
    """The journal cannot be written: one alarm, no order leaves, cancels do, and every process lives on."""
    with short_folder() as folder:
        configuration = write_configuration(folder, crasher_configuration(folder))
        with running(configuration) as system:
            has_all_orders(system)
            pids = system.child_pids()
            resource.prlimit(pids["plants/order"], resource.RLIMIT_FSIZE, (4096, 4096))
            assert not system.control("pause", id=CHILD_ID)["ok"]
            system.wait_for("journal_failed")
            sent = exchange_summary(system.state_dir).user_tags
            system.wait_for("alert", alert_event="journal_failed")
            wait_until(lambda: working_at_exchange(system.state_dir) == 1, 20)
            os.kill(pids[CHILD_ID], signal.SIGKILL)
            system.wait_for("strategy_welcomed", count=2)
            assert system.control("cancel-all")["ok"]
            wait_until(lambda: working_at_exchange(system.state_dir) == 0, 20)
            assert exchange_summary(system.state_dir).user_tags == sent
            assert len(system.events("journal_failed")) == 1
            assert {**system.child_pids(), CHILD_ID: 0} == {**pids, CHILD_ID: 0}
            assert system.stop() == 0


def test_a_parked_strategys_entries_are_canceled_and_it_trades_on_when_revived() -> None:
    """Three crashes: parked once, told once, its entry gone, its stop still there; ``restart`` brings it back."""
    with short_folder() as folder:
        configuration = write_configuration(folder, crasher_configuration(folder))
        with running(configuration) as system:
            has_all_orders(system)
            order_plant = system.child_pids()["plants/order"]
            (folder / "crash").touch()
            system.wait_for("last_will_executed", timeout_s=60, strategy_id=NAME)
            assert working_at_exchange(system.state_dir) == 1
            assert position_at_exchange(system.state_dir) == 1
            assert len(system.events("child_parked", child_id=CHILD_ID)) == 1
            assert len(system.events("last_will_executed")) == 1
            system.wait_for("alert", alert_event="child_parked")
            critical = system.events("alert", level="critical")
            assert [line["alert_event"] for line in critical] == ["child_parked"]
            assert "told to crash" in critical[0]["text"] + str(critical[0]["fields"])
            will = system.events("last_will_executed")[0]
            assert (will["will"], will["restarts"], will["open_orders"]) == ("cancel_entries", 2, 1)
            (folder / "crash").unlink()
            known = len(system.events("order_accepted", strategy_id=NAME))
            assert system.control("restart", id=CHILD_ID)["ok"]
            system.wait_for("order_accepted", strategy_id=NAME, count=known + 1)
            assert working_at_exchange(system.state_dir) == 2
            assert system.child_pids()["plants/order"] == order_plant
            assert len(system.events("last_will_executed")) == 1
            assert journal_rows(system.state_dir, "SELECT * FROM last_wills") == []
            agree(system)
            assert system.stop() == 0


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["crashes", "hangs"])
def test_a_strategy_that_crashes_or_hangs_has_its_last_will_where_that_is_configured(fault: signal.Signals) -> None:
    """Its entry goes when its process is gone, its stop stays, and the next process begins anew; an ordinary stop
    of the system cancels nothing."""
    with short_folder() as folder:
        supervision = {"intensity": 5, "period_s": 60.0, "watchdog_s": 2.0}
        content = crasher_configuration(folder, last_will_on="crash", supervision=supervision)
        with running(write_configuration(folder, content)) as system:
            has_all_orders(system)
            entry = system.events("order_accepted", strategy_id=NAME)[-1]["client_order_id"]
            os.kill(system.child_pids()[CHILD_ID], fault)
            system.wait_for("strategy_gone", strategy_id=NAME)
            system.wait_for("order_canceled", client_order_id=entry)
            system.wait_for("order_accepted", strategy_id=NAME, count=4)
            wait_until(lambda: working_at_exchange(system.state_dir) == 2, 20)
            assert position_at_exchange(system.state_dir) == 1
            agree(system)
            assert system.stop() == 0
            assert len(system.events("strategy_gone")) == 1
            assert working_at_exchange(system.state_dir) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_last_will_is_carried_out_once_though_the_order_plant_is_killed(when: str) -> None:
    """Killed just before the strategy is parked, or as soon as it is: one closing order, flat, one line."""
    with short_folder() as folder:
        configuration = write_configuration(folder, crasher_configuration(folder, last_will="flatten"))
        with running(configuration) as system:
            has_all_orders(system)
            order_plant = system.child_pids()["plants/order"]
            if when == "before":
                os.kill(order_plant, signal.SIGSTOP)
            (folder / "crash").touch()
            system.wait_for("child_parked", child_id=CHILD_ID, timeout_s=60)
            os.kill(order_plant, signal.SIGKILL)
            will = system.wait_for("last_will_executed", timeout_s=60, strategy_id=NAME)[0]
            if when == "before":
                # The news went to a process that never read it: the next one has asked who is set aside.
                assert "while the order plant was away" in will["cause"]
            assert position_at_exchange(system.state_dir) == 0
            assert working_at_exchange(system.state_dir) == 0
            exits = journal_rows(system.state_dir, "SELECT status FROM orders WHERE purpose = 'EXIT'")
            assert exits == [("FILLED",)]
            system.wait_status(lambda status: status["plants"]["order"]["connected"])
            agree(system)
            assert len(system.events("last_will_executed")) == 1
            assert len(system.events("child_parked", child_id=CHILD_ID)) == 1
            assert system.stop() == 0


@contextmanager
def exchange_outside(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """An exchange in a process of its own, as a broker is; what a configuration and its environment need to use it."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "config" / "simulator.yaml").read_text())
    content |= {"state_dir": str(folder / "x"), "runtime_dir": str(folder / "xr")}
    content["exchange"] |= {"port": 0}
    file = write_configuration(folder, content, "simulator.yaml")
    simulator = Process("simulator", "--config", str(file), "--log-format", "json")
    try:
        listening = simulator.wait_for("exchange_listening")[0]
        gateway = {
            "url": listening["url"],
            "system_name": content["exchange"]["system_name"],
            "ca_file": listening["ca_file"],
        }
        credentials = {"user": "${ND_USER}", "password": "${ND_PASSWORD}"}
        environment = {"ND_USER": "nightdesk", "ND_PASSWORD": "nightdesk"}
        yield {"mode": "paper", "gateway": gateway, "credentials": credentials}, environment
    finally:
        simulator.destroy()


@pytest.mark.parametrize(
    ("branch", "action", "working", "position"),
    [
        # Root gives up over another branch: the order plant lives and does it in its ordered stop.
        ("services", "cancel", 1, 1),
        ("services", "flatten", 0, 0),
        # The plants' own supervisor dies with everything below it: a process of its own does it at the very end.
        ("plants", "cancel", 1, 1),
        ("plants", "flatten", 0, 0),
        ("plants", "keep", 2, 1),
    ],
)
def test_a_system_that_gives_up_leaves_the_broker_as_configured(
    branch: str, action: str, working: int, position: int
) -> None:
    """Exit code 6, entries canceled or everything closed, whoever it was that brought the system down."""
    with short_folder() as folder, exchange_outside(folder) as (gateway, environment):
        content = crasher_configuration(folder) | gateway
        del content["exchange"]
        content |= {"on_system_give_up": action, "plant_supervision": {"intensity": 1, "on_give_up": "escalate"}}
        with running(write_configuration(folder, content), env=environment) as system:
            has_all_orders(system)
            pid = system.child_pids()[branch]
            os.kill(pid, signal.SIGKILL)
            again = system.wait_for("child_restarted", child_id=branch, timeout_s=60)[0]
            if branch == "plants":
                system.wait_for("reconciled", count=2)
            os.kill(again["pid"], signal.SIGKILL)
            assert system.process.wait(90) == 6
            summary = system.wait_for("run_summary")[0]
            assert summary["last_actions"] == ("keep" if action == "keep" else "done")
            assert working_at_exchange(folder / "x") == working
            assert position_at_exchange(folder / "x") == position
            assert system.processes() == []
