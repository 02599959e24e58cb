"""The venue against an exchange of plain lists, under random commands of every kind."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

pytest.register_assert_rewrite(
    "tests.exchange_machine", "tests.exchange_comparison", "tests.exchange_rules", "tests.exchange_account_rules"
)

# Their assertions are to be explained like a test's.
from tests.exchange_machines import AccountsMachine, MarketsMachine, PlainMachine  # noqa: E402

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

MACHINES = pytest.mark.parametrize(
    ("machine", "examples"), [(PlainMachine, 40), (MarketsMachine, 55), (AccountsMachine, 55)]
)


@MACHINES
def test_venue_does_what_a_naive_exchange_does(machine: type[RuleBasedStateMachine], examples: int) -> None:
    """Same fills, orders, books and money after each command; the log rebuilds it, a watcher can follow the book."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=_HEALTH,
        ),
    )


@pytest.mark.chaos
@MACHINES
def test_venue_does_what_a_naive_exchange_does_for_long(machine: type[RuleBasedStateMachine], examples: int) -> None:
    """The same with many more and longer runs."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=5 * examples, stateful_step_count=80, deadline=None, suppress_health_check=_HEALTH
        ),
    )
