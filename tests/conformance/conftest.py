"""The lab that all cases with real processes share, and one branch in it for each test."""

import re
from collections.abc import Iterator

import pytest

from tests.conformance.lab import Case, Lab


@pytest.fixture(scope="session")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lab]]:
    """Every lab that was started; the last one is in use."""
    started: list[Lab] = []
    yield started
    for lab in started:
        lab.close()


@pytest.fixture
def lab(labs: list[Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A running system; a new one if a test has brought the last one down."""
    if not labs or not labs[-1].alive:
        labs.append(Lab(tmp_path_factory.mktemp("lab")))
    return labs[-1]


@pytest.fixture
def case(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A branch of its own for this test, named after it; not running yet."""
    name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_"))
    made = Case(lab, f"{name[:24]}_{lab.request_id()}")
    yield made
    made.close()
