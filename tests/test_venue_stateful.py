"""The venue against an exchange of plain lists, under random commands of every kind."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

pytest.register_assert_rewrite("tests.exchange_machine", "tests.exchange_comparison")

from tests.exchange_machine import ExchangeMachine  # noqa: E402  (its assertions are to be explained like a test's)

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_venue_does_what_a_naive_exchange_does() -> None:
    """Same fills, orders, books and money after each command; the log rebuilds it, a watcher can follow the book."""
    run_state_machine_as_test(
        ExchangeMachine,
        settings=settings(max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=_HEALTH),
    )


@pytest.mark.chaos
def test_venue_does_what_a_naive_exchange_does_for_long() -> None:
    """The same with many more and longer runs."""
    run_state_machine_as_test(
        ExchangeMachine,
        settings=settings(max_examples=3_000, stateful_step_count=80, deadline=None, suppress_health_check=_HEALTH),
    )
