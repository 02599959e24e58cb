"""The documentation says what is so: it is compared with the program."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from nightdesk import Strategy
from nightdesk.console.verbs import VERBS
from nightdesk.messages import OrderType, SubmitOrder
from nightdesk.settings.alert_events import ALERT_EVENTS
from nightdesk.settings.models import Strategy as StrategySection
from nightdesk.settings.reference import PAGE, page
from nightdesk.trading.strategy_class import class_fault
from tests.strategy_support import Bench

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
LEVELS = {"info", "warning", "error", "critical"}


def _sources() -> Iterator[Path]:
    yield ROOT / "run.py"
    for folder in ("actors", "supervisors", "nightdesk"):
        yield from (ROOT / folder).rglob("*.py")


def _logged() -> set[str]:
    """The constant names of all log lines above debug."""
    found = set()
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            name = node.args[0]
            is_event = isinstance(name, ast.Constant) and re.fullmatch(r"[a-z_]+", str(name.value))
            if node.func.attr in LEVELS and is_event:
                found.add(str(name.value))  # type: ignore[attr-defined]
    return found


def _quoted(text: str) -> set[str]:
    return {word for quoted in re.findall(r"`([^`]+)`", text) for word in quoted.split()}


def _headings(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


def test_configuration_page_is_current() -> None:
    """Every key with type, unit, default and limits: python -m nightdesk.settings.reference --write."""
    assert PAGE.read_text() == page()


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    """A row without one would be of no use."""
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    assert not [row for row in rows if row.rstrip(" |").endswith("|")]


def test_every_log_event_is_listed_with_its_keys() -> None:
    """Whoever filters the log finds its names in one place."""
    assert _logged() - _quoted(OPERATIONS) == set()


def test_every_verb_is_described() -> None:
    """With its arguments."""
    assert set(VERBS) - _quoted(OPERATIONS) == set()
    assert set(VERBS) - _quoted(OPERATIONS) - _quoted(README) == set()


def test_every_alert_leads_to_a_section_of_the_runbook() -> None:
    """What wakes somebody at night says there what to do."""
    assert set(ALERT_EVENTS) - _quoted(RUNBOOK) == set()
    critical = {"child_parked", "supervisor_gave_up", "login_refused", "position_mismatch", "journal_refused"}
    assert critical - _quoted(_headings(RUNBOOK)) <= {"journal_refused"}


def test_every_error_that_sends_to_the_runbook_finds_its_section() -> None:
    """A text such as: see 'The journal is damaged' in docs/runbook.md."""
    found = [title for path in _sources() for title in re.findall(r"see '([^']+)' in docs/runbook", path.read_text())]
    assert len(found) >= 2
    for title in found:
        assert f"## {title}" in RUNBOOK


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Files, and the headings in them."""
    for target in re.findall(r"\]\(([^)#]+)?(?:#[^)]*)?\)", path.read_text()):
        if target and not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs" / "strategies.md"], ids=lambda path: path.name)
def test_strategies_of_the_documentation_can_be_used(path: Path) -> None:
    """Code and configuration as they are printed."""
    text = path.read_text()
    sources = [source for source in re.findall(r"```python\n(.*?)```", text, re.S) if "(Strategy)" in source]
    assert sources
    for source in sources:
        found = _classes(source)
        assert [class_fault(f"m:{name}", item) for name, item in found.items()] == [""] * len(found)
    for block in re.findall(r"```yaml\n(.*?)```", text, re.S):
        for section in yaml.safe_load(block).get("strategies", []):
            StrategySection.model_validate(section)


def test_strategy_of_the_readme_trades() -> None:
    """It buys one contract after a falling bar, and only one."""
    (source,) = re.findall(r"```python\n(.*?)```", README, re.S)
    desk = Bench(_classes(source)["Dip"])
    desk.start()
    for price in (5000.0, 4999.0):
        desk.trade(price, after_s=1.0)
    desk.pass_time(120)
    (order,) = desk.of(SubmitOrder)
    assert (order.quantity, order.order_type) == (1, OrderType.MARKET)
    desk.accept(order)
    desk.fill(order)
    for price in (4999.0, 4998.0):
        desk.trade(price, after_s=1.0)
    desk.pass_time(120)
    assert len(desk.of(SubmitOrder)) == 1


def _classes(source: str) -> dict[str, type[Strategy]]:
    names: dict[str, object] = {}
    exec(compile(source, "documentation", "exec"), names)
    return {
        name: item
        for name, item in names.items()
        if isinstance(item, type) and issubclass(item, Strategy) and item is not Strategy
    }
