"""The default job as a newcomer runs it: trading, agreement of the books, crashes, pauses, a second start."""

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.agreement import agree, exchange_orders
from tests.e2e.harness import System, running, short_folder, sim_configuration, write_configuration
from tests.support import wait_until

PLANTS = ("order", "pnl", "ticker", "history")
STRATEGIES = ("sma_es", "quoter_es")
OFTEN = {"sma_es": {"fast": 1, "slow": 3, "period_s": 1}, "quoter_es": {"requote_s": 0.3}}


def _all_trade(system: System, fills: int = 1, timeout_s: float = 60.0) -> None:
    system.wait_status(
        lambda status: all(status["strategies"][f"strategies/{name}"]["fills"] >= fills for name in STRATEGIES),
        timeout_s=timeout_s,
    )


def _settled(system: System) -> None:
    """Stop trading so that the books can be compared, and wait until nothing is on its way."""
    for name in STRATEGIES:
        assert system.control("pause", id=f"strategies/{name}")["ok"]
    system.wait_status(lambda status: status["orders"]["working"] == 0 and status["orders"]["unknown"] == 0)


def test_default_job_trades_stops_in_order_and_reconciles_at_the_second_start() -> None:
    """Both examples fill within a minute; status, journal and exchange agree; the second start goes on."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        for start in (1, 2):
            with running(configuration) as system:
                system.wait_for("plant_logged_in", timeout_s=30, count=4)
                system.wait_for("reconciled")
                if start == 1:
                    _all_trade(system)
                else:
                    before = len(exchange_orders(system.state_dir))
                    assert before > 0
                    wait_until(lambda known=before: len(exchange_orders(system.state_dir)) > known, 60)
                status = system.status()
                assert status["mode"] == "sim"
                assert status["trading_state"] == "ACTIVE"
                assert {plant: status["plants"][plant]["connected"] for plant in PLANTS} == dict.fromkeys(PLANTS, True)
                assert status["strategies"]["strategies/sma_es"]["ticks"] > 0
                _settled(system)
                agree(system)
                for name in STRATEGIES:
                    assert system.control("resume", id=f"strategies/{name}")["ok"]
                assert system.stop() == 0
                assert system.processes() == []
                assert system.events("run_summary")


@pytest.fixture(scope="module")
def trading_system() -> "System":  # type: ignore[misc]
    """One running default job that the crash tests share; its strategies trade often, so that nobody waits for long."""
    with short_folder() as folder:
        job = sim_configuration(folder)
        for strategy in job["strategies"]:
            strategy["parameters"] = OFTEN[strategy["name"]]
        configuration = write_configuration(folder, job)
        with running(configuration) as system:
            system.wait_for("reconciled")
            _all_trade(system)
            yield system
            assert system.stop() == 0
            assert system.processes() == []


VICTIMS = (
    "strategies/sma_es",
    "strategies/quoter_es",
    "plants/ticker",
    "plants/order",
    "plants/pnl",
    "plants/history",
    "services/alerts/log",
    "services/control",
    "exchange",
)


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_process_is_restarted_alone(trading_system: System, victim: str) -> None:
    """kill -9 gives one restart line and a new pid for the victim only, and everybody is in service again."""
    system = trading_system
    before = system.child_pids()
    restarts = len(system.events("child_restarted"))
    os.kill(before[victim], signal.SIGKILL)
    system.wait_for("child_restarted", count=restarts + 1)
    line = system.events("child_restarted")[-1]
    assert line["child_id"] == victim
    assert line["reason"] == "KILLED"
    assert {"pid", "incarnation", "restart_count", "downtime_ms"} <= line.keys()
    system.wait_status(
        lambda status: (
            all(plant["connected"] for plant in status["plants"].values())
            and status["trading_state"] == "ACTIVE"
            and all(child["state"] == "running" for child in status["children"])
        )
    )
    after = system.child_pids()
    assert after[victim] != before[victim]
    assert {key: pid for key, pid in after.items() if key != victim} == {
        key: pid for key, pid in before.items() if key != victim
    }
    assert len(system.events("child_restarted")) == restarts + 1
    # Counted at the exchange: a strategy that was killed counts its own orders from zero.
    known = exchange_orders(system.state_dir).total()
    wait_until(lambda: exchange_orders(system.state_dir).total() > known, 60)


def test_books_agree_after_all_the_kills(trading_system: System) -> None:
    """After every process was killed once, trading goes on, and journal, exchange and positions say the same."""
    system = trading_system
    known = len(exchange_orders(system.state_dir))
    wait_until(lambda: len(exchange_orders(system.state_dir)) > known, 60)
    _settled(system)
    agree(system)
    for name in STRATEGIES:
        assert system.control("resume", id=f"strategies/{name}")["ok"]


def test_pause_stops_orders_at_the_gate_even_across_a_crash_of_the_strategy(trading_system: System) -> None:
    """A paused strategy sends nothing within a second, still so after kill -9 of it; resume lets it go on."""
    system = trading_system
    name = "quoter_es"
    child_id = f"strategies/{name}"
    assert system.control("pause", id=child_id)["ok"]
    system.wait_status(lambda status: status["strategies"][child_id]["state"] == "paused")
    system.wait_for("strategy_paused", strategy_id=name)

    def sent() -> int:
        return sum(1 for order in exchange_orders(system.state_dir) if order.startswith(name))

    frozen = sent()
    os.kill(system.child_pids()[child_id], signal.SIGKILL)
    ticks = system.wait_status(
        lambda status: (
            status["strategies"][child_id]["state"] == "paused" and status["strategies"][child_id]["ticks"] > 0
        )
    )["strategies"][child_id]["ticks"]
    system.wait_status(lambda status: status["strategies"][child_id]["ticks"] > ticks + 40)
    assert sent() == frozen
    assert system.control("resume", id=child_id)["ok"]
    wait_until(lambda: sent() > frozen, 40)


def test_pause_survives_a_restart_of_the_system() -> None:
    """The pause stands in the journal: the next start still holds the strategy back."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        for start in (1, 2):
            with running(configuration) as system:
                system.wait_for("reconciled")
                if start == 1:
                    assert system.control("pause", id="strategies/sma_es")["ok"]
                status = system.wait_status(lambda status: status["strategies"]["strategies/sma_es"]["ticks"] > 0)
                assert status["strategies"]["strategies/sma_es"]["state"] == "paused"
                assert system.stop() == 0


def test_halted_system_ends_with_code_five(tmp_path: Path) -> None:
    """Whoever restarts the service must learn that trading was halted."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        with running(configuration) as system:
            system.wait_for("reconciled")
            assert system.control("halt", reason="test")["ok"]
            system.wait_status(lambda status: status["trading_state"] == "HALTED")
            assert system.stop() == 5
            assert system.processes() == []


def test_duration_ends_the_run_by_itself_with_a_summary() -> None:
    """--duration stops in order and leaves a closing line."""
    with short_folder() as folder:
        configuration = write_configuration(folder, sim_configuration(folder))
        with running(configuration, "--duration", "8s") as system:
            assert system.process.wait(40) == 0
            summary = system.wait_for("run_summary")[0]
            assert summary["ticks"] > 0
            assert system.processes() == []
