"""The list of mutations stays true: each still applies, and a few of them are run; the script runs them all."""

from pathlib import Path

import pytest

from tests.conformance.mutations import MUTATIONS, TESTS, Mutation, applies, copy_to, survivors

RUN_BY_DEFAULT = (
    "the window is inclusive",
    "rest_for_one leaves the earlier ones alone",
    "a spent budget of its own parks the child",
)


def _name(mutation: Mutation) -> str:
    return mutation.rule.replace(" ", "_")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=_name)
def test_mutation_still_applies_and_names_tests_that_exist(mutation: Mutation) -> None:
    """Its text stands in the source exactly once, and each of its killers is the beginning of a test's name."""
    assert applies(mutation)
    text = "".join(Path(path).read_text() for path in TESTS)
    assert all(f"def {killer}" in text for killer in mutation.killers)


def test_rules_have_names_of_their_own() -> None:
    """Two of the same name would hide one of them in the script's output."""
    assert len({mutation.rule for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    copy_to(folder)
    return folder


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(mutation, marks=() if mutation.rule in RUN_BY_DEFAULT else pytest.mark.chaos, id=_name(mutation))
        for mutation in MUTATIONS
    ],
)
def test_flipped_rule_makes_its_tests_fail(copied: Path, mutation: Mutation) -> None:
    """All of the tests that the mutation names."""
    assert survivors(mutation, copied) == []
