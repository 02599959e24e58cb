"""The tests bite: with one thing off that keeps orders safe, a named test fails; with nothing off it passes."""

import os
import re
import subprocess
import sys

import pytest

from tests.chaos.order_sabotage import SABOTAGES, VARIABLE
from tests.e2e.harness import ROOT

PLUGIN = "tests.chaos.order_sabotage"
TIMEOUT_S = 600.0
TESTS_FAILED = 1
"""pytest's exit code; anything else that is not 0 is an error, which proves nothing."""

NAMED = {
    "commit before the send": "tests/test_order_plant_recovery.py"
    "::test_a_journal_that_cannot_be_written_denies_and_lets_cancels_pass",
    "fencing": "tests/test_order_plant.py::test_a_new_hello_makes_the_former_process_stale",
    "duplicate-fill key": "tests/test_order_plant_recovery.py"
    "::test_a_lost_link_denies_and_the_next_one_recovers_missed_fills_once",
    "in-doubt rule": "tests/test_order_plant_recovery.py::test_a_restart_settles_what_was_in_flight",
    "worst-case exposure": "tests/test_order_plant_worst_case.py::test_filled_working_and_sent_orders_count_together",
}
"""One test of the order plant for each of them."""

SWEPT = {
    "commit before the send": "order",
    "duplicate-fill key": "recovery",
    "in-doubt rule": "order",
}
"""The ways whose sweep of crash points finds it with real processes, by the exchange's log."""


def _run(test: str, switched_off: str) -> tuple[int, str]:
    """A pytest of its own; its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-n", "0", "-m", "", *test.split()],
        cwd=ROOT,
        env={**os.environ, VARIABLE: switched_off},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _fails(test: str, switched_off: str) -> None:
    code, text = _run(test, switched_off)
    assert code == TESTS_FAILED, f"with {switched_off} off, {test} ended with {code}\n{text}"
    assert re.search(r"^1 failed in ", text, re.MULTILINE), text


def test_every_sabotage_has_its_test() -> None:
    """None is left out."""
    assert NAMED.keys() == SABOTAGES.keys()


@pytest.mark.parametrize("switched_off", NAMED)
def test_named_test_fails(switched_off: str) -> None:
    """One thing off, one test that says so."""
    _fails(NAMED[switched_off], switched_off)


def test_named_tests_pass_when_nothing_is_off() -> None:
    """It is the sabotage that they fail of."""
    code, text = _run(" ".join(NAMED.values()), "")
    assert code == 0, text
    assert f"{len(NAMED)} passed" in text


@pytest.mark.chaos
@pytest.mark.parametrize("switched_off", SWEPT)
def test_sweep_of_crash_points_fails(switched_off: str) -> None:
    """The sweep finds it too, however it came to be off."""
    name = f"test_books_agree_after_deaths_at_sampled_calls[{SWEPT[switched_off]}]"
    _fails(f"tests/chaos/test_crash_points.py::{name}", switched_off)
