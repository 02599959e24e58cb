"""The tests bite: with one thing off that keeps orders safe, a named test fails of it; with nothing off it passes."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.chaos.order_sabotage import SABOTAGES, VARIABLE
from tests.e2e.harness import ROOT

PLUGIN = "tests.chaos.order_sabotage"
TIMEOUT_S = 600.0
TESTS_FAILED = 1
"""pytest's exit code; anything else that is not 0 is an error, which proves nothing."""

PLANT = "tests/test_order_plant"


class Bite(NamedTuple):
    """A test of the order plant, and the line of it that fails."""

    test: str
    line: str


NAMED = {
    "commit before the send": Bite(
        f"{PLANT}_promises.py::test_intent_is_in_the_file_when_its_frame_leaves",
        'assert found == [("INITIALIZED", 2, 5000.0, epoch, body.account.connection_epoch)]',
    ),
    "fencing": Bite(f"{PLANT}.py::test_a_new_hello_makes_the_former_process_stale", "assert session.of(312) == []"),
    "duplicate-fill key": Bite(
        f"{PLANT}_recovery.py::test_a_lost_link_denies_and_the_next_one_recovers_missed_fills_once",
        "assert len(peer.of(OrderFilled)) == 1",
    ),
    "in-doubt rule": Bite(
        f"{PLANT}_recovery.py::test_a_restart_settles_what_was_in_flight",
        "assert body.account.table.counts[OrderStatus.UNKNOWN] == 2",
    ),
    "worst-case exposure": Bite(
        f"{PLANT}_worst_case.py::test_filled_working_and_sent_orders_count_together",
        'assert denials == {"more": Denial.RISK_MAX_POSITION, "down": Denial.RISK_MAX_POSITION}',
    ),
    "commit before the word": Bite(
        f"{PLANT}_promises.py::test_nothing_is_told_before_it_is_in_the_file", "assert reader.missing == []"
    ),
    "tombstones": Bite(
        f"{PLANT}_recovery.py::test_a_restart_settles_what_was_in_flight",
        'assert [fields["basket_id"] for fields in session.of(316)] == ["b3"]',
    ),
    "connection epoch": Bite(
        f"{PLANT}_promises.py::test_order_of_a_former_connection_is_not_sent_over_the_next_one",
        "assert (session.of(312), second.of(312)) == ([], [])",
    ),
    "memory of cancels": Bite(
        f"{PLANT}_promises.py::test_cancel_that_waits_for_an_answer_outlives_its_process",
        'assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]',
    ),
    "lists before live reports": Bite(
        f"{PLANT}_promises.py::test_live_report_is_counted_after_the_lists_that_are_being_read", "assert told == [0]"
    ),
}
"""What fails with each of them off."""

SWEPT = {
    "commit before the send": ("order", "it was sent before its commit"),
    "commit before the word": ("order", "told before it was journalled"),
    "duplicate-fill key": ("recovery", "order_overfilled"),
    "in-doubt rule": ("order", "taken for lost"),
}
"""The ways whose sweep of crash points finds it with real processes, by the exchange's log; and what it says then."""


def _pytest(*arguments: str, switched_off: str = "") -> tuple[int, str]:
    """A Python of its own; its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, VARIABLE: switched_off},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_sabotage_has_its_test() -> None:
    """None is left out."""
    assert NAMED.keys() == SABOTAGES.keys()


def test_named_tests_fail_each_of_its_sabotage() -> None:
    """One thing off, one test that says so, with the very line that is about it; with nothing off all of them pass."""
    tests = list(dict.fromkeys(bite.test for bite in NAMED.values()))
    runs = [[name, bite.test] for name, bite in NAMED.items()] + [["", *tests]]
    code, text = _pytest("tests.chaos.sabotaged", json.dumps(runs))
    assert code == 0, text
    *bitten, sound = json.loads(text.splitlines()[-1])
    for (name, bite), (code, told) in zip(NAMED.items(), bitten, strict=True):
        assert code == TESTS_FAILED, f"with {name} off, {bite.test} ended with {code}\n{told}"
        failing = [line[1:].strip() for line in told.splitlines() if line.startswith(">")]
        assert bite.line in failing, f"with {name} off, {bite.test} failed of something else: {failing}\n{told}"
    code, told = sound
    assert code == 0, told
    assert f"{len(tests)} passed" in told


@pytest.mark.chaos
@pytest.mark.parametrize("switched_off", SWEPT)
def test_sweep_of_crash_points_fails(switched_off: str) -> None:
    """The sweep finds it too, however it came to be off."""
    path, said = SWEPT[switched_off]
    test = f"tests/chaos/test_crash_points.py::test_books_agree_after_deaths_at_sampled_calls[{path}]"
    arguments = ("pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-n", "0", "-m", "", test)
    code, text = _pytest(*arguments, switched_off=switched_off)
    assert code == TESTS_FAILED, f"with {switched_off} off, {test} ended with {code}\n{text}"
    told = [line for line in text.splitlines() if line.startswith("E ")]
    assert any(said in line for line in told), f"with {switched_off} off, {test} failed of something else\n{text}"
