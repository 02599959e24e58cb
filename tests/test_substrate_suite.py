"""Thespian's own test suite passes on our system base."""

import re

import pytest

from tests.substrate.run_thespian_suite import SHORT, run


def test_short_form_of_thespians_suite_passes() -> None:
    """Creation, mail, dead letters, failures, signals and threads, as Thespian itself tests them."""
    done = run(SHORT, timeout_s=240)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 35


@pytest.mark.chaos
def test_whole_suite_of_thespian_passes() -> None:
    """Everything that is parametrised by a system base; see docs/substrate.md for what is not."""
    done = run((), timeout_s=1_800)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 500
