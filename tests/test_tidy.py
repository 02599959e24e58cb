"""The house style's limits, as tests."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
PACKAGES = ("nightdesk", "actors", "supervisors", "run.py")


def _python_files(*roots: str) -> list[Path]:
    found: list[Path] = []
    for root in roots:
        path = ROOT / root
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


SOURCES = _python_files(*PACKAGES)
ALL = SOURCES + _python_files("tests")


def _identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_identity)
def test_source_file_stays_within_its_limits(path: Path) -> None:
    """A file has at most 400 lines and a function at most 70."""
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_identity)
def test_only_the_base_class_catches_everything(path: Path) -> None:
    """An unexpected error ends its actor: nobody but actors/base.py catches Exception or worse."""
    if _identity(path) == "actors/base.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in {"everything", "Exception", "BaseException"}, f"line {node.lineno} catches {caught}"


@pytest.mark.parametrize("path", ALL, ids=_identity)
def test_nothing_is_left_for_later_in_the_text(path: Path) -> None:
    """Open ends belong into the tracker, not into the code; tests neither sleep nor skip by themselves."""
    if path == Path(__file__):
        return
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    assert not re.search(r"\btime\.sleep\(|pytest\.mark\.xfail|pytest\.skip\(", text)


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "clocks.py"], ids=_identity)
def test_no_module_reads_a_clock_directly(path: Path) -> None:
    """Time comes from an injected Clock only."""
    text = path.read_text()
    assert not re.search(r"\btime\.(time|time_ns|monotonic|monotonic_ns|perf_counter)\(|datetime\.(now|utcnow)\(", text)


def test_the_core_install_is_light() -> None:
    """pandas, pyarrow and matplotlib are not dependencies of the core install."""
    text = (ROOT / "setup.cfg").read_text()
    core = text.split("install_requires =")[1].split("[options.packages.find]")[0]
    assert not re.search(r"pandas|pyarrow|matplotlib|numpy", core)


def test_thespian_and_async_rithmic_are_pinned_exactly() -> None:
    """We rely on their internals, so an upgrade is a decision."""
    core = (ROOT / "setup.cfg").read_text()
    assert re.search(r"^\s+async_rithmic==\d", core, re.M)
    assert re.search(r"^\s+thespian==\d", core, re.M)


def test_recorded_data_is_not_part_of_the_repository() -> None:
    """Exchange data are private: no tape is ever committed."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert not [name for name in tracked.splitlines() if name.endswith((".parquet", ".db", ".pem"))]


def test_import_rules_hold() -> None:
    """Imports point one way, as docs/architecture.md draws them."""
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
