"""Two forms of one stateful machine: a short one for every run, a long one for ``-m chaos``."""

from collections.abc import MutableMapping
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine

LONG_EXAMPLES, LONG_STEPS = 1500, 80


def short(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> Any:
    """The test case of the default run."""
    return _form(machine, examples, steps)


def long(machine: type[RuleBasedStateMachine], examples: int = LONG_EXAMPLES, steps: int = LONG_STEPS) -> Any:
    """The same machine with more examples of more steps, marked ``chaos``."""
    name = f"Long{machine.__name__}"
    # A machine has one test case, so that the long form is a machine of its own.
    return pytest.mark.chaos(_form(type(name, (machine,), {"__doc__": machine.__doc__}), examples, steps))


def _form(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> Any:
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    return case


def silent() -> Any:
    """A log that writes nothing: a machine lives through thousands of lives."""
    return structlog.wrap_logger(structlog.ReturnLogger(), processors=[_drop])


def _drop(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent
