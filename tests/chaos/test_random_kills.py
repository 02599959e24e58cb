"""Random processes of the trading system die under flow, several at once; in the end the three books agree."""

import os
import random
import signal
from collections import Counter
from typing import Any

import pytest

from tests.chaos.seeds import seeded
from tests.chaos.trading import busy_configuration, in_service, orders_sent, settle_and_compare
from tests.e2e.agreement import exchange_orders
from tests.e2e.harness import System, running, short_folder, write_configuration
from tests.support import wait_until

RECOVERY_S = 90.0
"""Far more than a recovery takes, the settling of orders in doubt included; a slow machine is no failure."""

AT_ONCE = (1, 2, 2, 3)
BRANCHES = ("services", "plants", "strategies")


def _round(system: System, chance: random.Random) -> list[str]:
    """Kill some children in one moment, and wait until everybody is in service again; who was killed."""
    status = system.wait_status(in_service, RECOVERY_S)
    pids = {child["id"]: child["pid"] for child in status["children"] if child["id"] not in (*BRANCHES, "root")}
    victims = chance.sample(sorted(pids), chance.choice(AT_ONCE))
    restarts = {victim: len(system.events("child_restarted", child_id=victim)) for victim in victims}
    for victim in victims:
        os.kill(pids[victim], signal.SIGKILL)
    for victim, count in restarts.items():
        system.wait_for("child_restarted", RECOVERY_S, count=count + 1, child_id=victim)
    after = system.wait_status(lambda status: in_service(status) and _others_kept(status, pids, victims), RECOVERY_S)
    assert len(after["children"]) == len(status["children"])
    return victims


def _others_kept(status: dict[str, Any], pids: dict[str, int], victims: list[str]) -> bool:
    now = {child["id"]: child["pid"] for child in status["children"]}
    changed = {child_id for child_id, pid in pids.items() if now[child_id] != pid}
    assert changed <= set(victims), f"{changed - set(victims)} changed with the kill of {victims}"
    return changed == set(victims)


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(11, 10), *(pytest.param(seed, 60, marks=pytest.mark.chaos) for seed in (12, 13, 14))],
)
def test_books_agree_after_random_kills_under_flow(request: pytest.FixtureRequest, seed: int, rounds: int) -> None:
    """Every death is followed by one restart; no order is received twice, no fill is lost or counted twice."""
    with (
        seeded(request, seed) as chance,
        short_folder() as folder,
        running(write_configuration(folder, busy_configuration(folder))) as system,
    ):
        system.wait_status(lambda status: in_service(status) and all(orders_sent(status).values()), RECOVERY_S)
        deaths: Counter[str] = Counter()
        for _ in range(rounds):
            deaths.update(_round(system, chance))
            # Trading goes on between the rounds, so that each of them meets orders on their way.
            enough = exchange_orders(system.state_dir).total() + 2

            def traded(enough: int = enough) -> bool:
                return exchange_orders(system.state_dir).total() >= enough

            wait_until(traded, RECOVERY_S)
        assert Counter(line["child_id"] for line in system.events("child_restarted")) == deaths
        assert system.events("child_parked") == []
        assert system.events("supervisor_gave_up") == []
        settle_and_compare(system)
        assert system.stop() == 0
        assert system.processes() == []
