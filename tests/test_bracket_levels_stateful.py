"""Brackets of several levels, under random commands and kills."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

pytest.register_assert_rewrite("tests.bracket_machine")

from tests.bracket_machine import BracketMachine  # noqa: E402  (its assertions are to be explained like a test's)

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_levels_hold_what_they_promise_after_any_command() -> None:
    """Never more than is open, all of it covered, released and lost in order, and the same after a kill at any line."""
    run_state_machine_as_test(
        BracketMachine,
        settings=settings(max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=_HEALTH),
    )


@pytest.mark.chaos
def test_levels_hold_what_they_promise_for_long() -> None:
    """The same with many more and longer runs."""
    run_state_machine_as_test(
        BracketMachine,
        settings=settings(max_examples=3_000, stateful_step_count=60, deadline=None, suppress_health_check=_HEALTH),
    )
