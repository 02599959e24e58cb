"""SIGSTOP for a while: shorter than the watchdog it is forgiven, longer it ends in one replacement, in its time."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from supervisors.spec import ChildSpec
from tests.chaos.small_tree import FollowedSystem, child
from tests.conformance.lab import is_alive
from tests.small_system import supervisor
from tests.support import wait_until

DEFAULT_WATCHDOG_S = 10.0
SLACK_S = 4.0
"""What a busy machine may add to the watchdog's time."""

PEERS = ("frozen/peer", "other/peer")

SHORT = {"frozen/1s": (0.1, 1.0), "frozen/10s": (1.0, 0.5), "frozen/5min": (30.0, 1.0), "nested": (30.0, 1.0)}
LONG = {
    "frozen/1s": (1.0, DEFAULT_WATCHDOG_S),
    "frozen/10s": (10.0, DEFAULT_WATCHDOG_S / 2),
    "frozen/5min": (300.0, DEFAULT_WATCHDOG_S),
    "nested": (300.0, DEFAULT_WATCHDOG_S),
}
"""Who is to be frozen, for how long, and the watchdog; the last is a supervisor."""


def _tree(times: dict[str, tuple[float, float]]) -> list[ChildSpec]:
    frozen = [
        child(child_id, "Healthy", watchdog_s=watchdog_s)
        for child_id, (_, watchdog_s) in times.items()
        if child_id != "nested"
    ]
    return [
        supervisor("other", child("other/peer", "Healthy", watchdog_s=60.0)),
        supervisor("frozen", child("frozen/peer", "Healthy", watchdog_s=60.0), *frozen, intensity=100),
        supervisor("nested", child("nested/below", "Healthy", watchdog_s=60.0), watchdog_s=times["nested"][1]),
    ]


def _lasted_s(since: datetime, line: dict[str, Any]) -> float:
    return (datetime.fromisoformat(line["timestamp"]) - since).total_seconds()


@pytest.mark.parametrize(
    "times", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.chaos)]
)
def test_frozen_process_is_forgiven_or_killed_once_in_its_watchdogs_time(
    tmp_path: Path, times: dict[str, tuple[float, float]]
) -> None:
    """1 s with the default watchdog: nothing. 10 s and 5 minutes: gone long before they end, and there is none to thaw.

    A worker, and a supervisor with its branch; peers keep their processes.
    """
    assert ChildSpec(id=child("a", "Healthy").id, body="m:C").watchdog_s == DEFAULT_WATCHDOG_S
    with FollowedSystem(tmp_path, *_tree(times)) as system:
        system.wait_for("system_started", timeout_s=60)
        before = system.newest()
        since = datetime.now(UTC)
        for child_id in times:
            os.kill(before[child_id], signal.SIGSTOP)
        forgiven_s = times["frozen/1s"][0]
        wait_until(lambda: (datetime.now(UTC) - since).total_seconds() >= forgiven_s, 60)
        os.kill(before["frozen/1s"], signal.SIGCONT)

        replaced = {child_id: time for child_id, time in times.items() if time[0] > time[1]}
        assert set(replaced) == set(times) - {"frozen/1s"}
        for child_id, (frozen_s, watchdog_s) in replaced.items():
            system.wait_for("child_restarted", child_id, timeout_s=watchdog_s + 60)
            (exited,) = system.lines("child_exited", child_id)
            assert (exited["pid"], exited["reason"]) == (before[child_id], "KILLED")
            assert exited["cause"] == "watchdog"
            # Its last beat was up to a fifth of the watchdog's time, at most a second, before it was frozen.
            assert watchdog_s - 1.5 <= _lasted_s(since, exited) < min(watchdog_s + SLACK_S, frozen_s + SLACK_S)
            assert not is_alive(before[child_id])
        wait_until(lambda: not is_alive(before["nested/below"]), 10)

        wait_until(lambda: (datetime.now(UTC) - since).total_seconds() >= times["frozen/10s"][0], 60)
        # When the freeze would have ended, everybody beats, nothing was replaced twice, and no peer noticed.
        after = system.newest()
        assert {one for one in before if after[one] != before[one]} == {*replaced, "nested/below"}
        assert system.living() >= set(after.values())
        assert [system.count("child_exited", one) for one in ("frozen/1s", *PEERS)] == [0, 0, 0]
        assert [system.count("child_restarted", child_id) for child_id in replaced] == [1, 1, 1]
        system.process.terminate()
        assert system.wait_ended(30) == 0
        assert system.left() == []
