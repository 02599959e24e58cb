"""The conformance table: no case is missing, and the document shows what there is."""

from tests.conformance.table import DOCUMENT, OTP, OURS, by_case, current


def test_every_case_has_a_test_of_the_engine_and_one_with_processes() -> None:
    """Those of OTP and ours, without exception."""
    engine, processes = by_case("test_engine_*.py"), by_case("test_processes_*.py")
    cases = {("case", number) for number in OTP} | {("ours", number) for number in OURS}
    assert set(engine) == cases
    assert set(processes) == cases


def test_every_case_that_applies_is_listed() -> None:
    """The numbers are those of OTP's suite; what is left out creates dynamic children, `significant` or upgrades."""
    left_out = {2, 6, 7, 12, 14, 18, 20, 22, 24, *range(35, 41), 44, *range(57, 71), 72, 74, 77, *range(82, 87), 88, 93}
    assert set(OTP) | left_out == set(range(1, 94))
    assert not set(OTP) & left_out


def test_document_has_the_current_table() -> None:
    """``python -m tests.conformance.table`` writes it."""
    text = DOCUMENT.read_text()
    assert current(text) == text
