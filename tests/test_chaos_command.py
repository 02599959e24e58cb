"""The verb ``chaos`` before it starts anything, its pages, and the strategies it trades with."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

import run
from nightdesk.chaos.driver import Driver
from nightdesk.chaos.evidence import KEPT_EVENTS
from nightdesk.chaos.invariants_life import judge
from nightdesk.chaos.job import make_job, system_configuration, write_exchange, write_system
from nightdesk.chaos.process import RunProcess, until_gone
from nightdesk.chaos.recorder import Recorder
from nightdesk.chaos.report import ORDERS_A_MINUTE, Report, document, requirements, tables
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.strategies import KINDS, TROUBLES
from nightdesk.chaos.table import FAULTS
from nightdesk.chaos.toll import Toll
from nightdesk.chaos.world import NotNowError, is_in_service
from nightdesk.clocks import SystemClock
from nightdesk.console.render import show
from nightdesk.settings.load import load_settings
from tests.e2e.harness import short_folder
from tests.test_chaos_invariants import good_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--seed", "-1"], "--seed: expected a number from 0 to"),
        (["--seed", "many"], "'--seed'"),
        (["--minutes", "0"], "--minutes: expected more than 0 and at most 60, not 0"),
        (["--minutes", "nan"], "--minutes: expected more than 0 and at most 60, not nan"),
        (["--minutes", "1e9"], "--minutes: expected more than 0 and at most 60"),
        (["--strategies", "0"], "--strategies: expected 1 to 16, not 0"),
        (["--strategies", "99"], "--strategies: expected 1 to 16, not 99"),
        (
            ["--faults", "nobody"],
            "--faults: no fault is called 'nobody'; write names of the table in docs/reliability.md",
        ),
        (["--faults", "row:99"], "--faults: no fault is of row '99'; there are some of 1, 2, 3"),
        (["--keep-folder", "/"], "--keep-folder: / is there already; name a new folder"),
        (["--keep-folder", "/no/such/place"], "--keep-folder: /no/such/place cannot be created"),
        (["--keep-folder", "/" + "x" * 70], "too long for the sockets in it"),
        (["--keep-folder", ""], "is there already"),
        (["--color", "red"], "--color"),
        (["now"], "now"),
    ],
)
def test_nonsense_is_one_line_and_code_two(words: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It names the word and the mend; nothing is started."""
    assert run.main(["chaos", *words]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert text in printed.err


def test_the_verb_loads_the_exchange_only_when_it_runs() -> None:
    """The other verbs do without the reader of the exchange's record, and so does its own help."""
    code = "import sys, run; sys.exit('nightdesk.simulator.wire.templates' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def test_both_configurations_are_good(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user would write them; with more strategies than kinds the kinds come again."""
    job = make_job(folder, 5, 6)
    for name, value in job.environment.items():
        monkeypatch.setenv(name, value)
    write_exchange(job)
    Path(job.exchange.runtime_dir).mkdir()
    (Path(job.exchange.runtime_dir) / "exchange-ca.pem").touch()
    write_system(job, 4321)
    settings = load_settings(job.system.config_file).settings
    assert [strategy.name for strategy in settings.strategies] == list(job.strategies)
    assert len({strategy.strategy_class for strategy in settings.strategies}) == len(KINDS)
    assert load_settings(job.exchange.config_file, check_strategies=False).settings.exchange is not None
    for path in folder.glob("*.yaml"):
        assert job.password not in path.read_text()
    assert system_configuration(job, 4321) == yaml.safe_load(Path(job.system.config_file).read_text())


def test_every_fault_is_on_the_page_with_its_row_of_the_matrix() -> None:
    """docs/reliability.md says what each does."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    for row in FAULTS.values():
        assert f"| `{row.name}` | {row.matrix} | {row.how} |" in page, row.name
    assert len(TROUBLES) == len([name for name in FAULTS if name.startswith("strategy_")])


def status(**changes: Any) -> dict[str, Any]:
    """A status of a system that is in service."""
    own = os.getpid()
    return {
        "trading_state": "ACTIVE",
        "plants": {plant: {"connected": True} for plant in ("order", "pnl", "ticker", "history")},
        "children": [{"id": "plants", "state": "running", "pid": own}],
        "strategies": {"strategies/a": {"state": "running"}},
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"plants": {"order": {"connected": True}}},
        {"plants": {plant: {"connected": plant != "pnl"} for plant in ("order", "pnl", "ticker", "history")}},
        {"children": [{"id": "plants", "state": "restarting", "pid": os.getpid()}]},
        {"children": [{"id": "plants", "state": "running", "pid": 2**22 + 1}]},
        {"strategies": {"strategies/a": {"state": "waiting"}}},
    ],
)
def test_in_service_means_everybody(changes: dict[str, Any]) -> None:
    """One that is away, or a pid in the status that has died already, and it is not."""
    assert is_in_service(status())
    assert not is_in_service(status(**changes))


def report(**changes: Any) -> Report:
    """A run of a minute that is all right."""
    evidence = good_run()
    fields: dict[str, Any] = {
        "seed": 1, "minutes": 1.0, "strategies": 4, "traded_s": 60.0, "orders": ORDERS_A_MINUTE,
        "struck": Counter(dict.fromkeys(list(FAULTS)[:12], 1)), "skipped": Counter(),
        "back_s": {"kill_run": [3.0, 1.0]}, "wire_requests": Counter({314: 7, 316: 8}), "evidence": evidence,
        "verdicts": judge(evidence),
    }  # fmt: skip
    found = Report(**(fields | changes))
    found.requirements = requirements(found, [])
    return found


def test_a_good_run_is_ok_and_its_document_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document, and tables for a person."""
    good = report()
    found = orjson.loads(orjson.dumps(document(good)))
    assert good.ok
    assert found["ok"] is True
    assert (found["duplicates"], found["lost"], found["position_differences"]) == (0, 0, 0)
    assert list(found["invariants"]) == [f"I{number}" for number in range(1, 11)]
    assert found["recovery_s"] == {"kill_run": {"rounds": 2, "median": 3.0, "longest": 3.0}}
    show(tables(good))
    printed = capsys.readouterr().out
    assert "kill_strategy" in printed
    assert "NO" not in printed.split("invariants")[1].replace("NQ", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"orders": ORDERS_A_MINUTE - 1},
        {"struck": Counter({"kill_strategy": 400})},
        {"traded_s": 66.0},
    ],
)
def test_a_run_that_reached_too_little_is_not_ok(changes: dict[str, Any]) -> None:
    """Invariants that hold of an idle system prove nothing."""
    assert not report(**changes).ok


def test_a_surprise_or_a_round_without_a_return_is_not_ok() -> None:
    """Each is told with the round that it came in."""
    for problems, changes in (([], {"back_s": None}), (["stopped with 1"], {}), ([], {"problems": ("late",)})):
        found = report()
        found.evidence.rounds = [found.evidence.rounds[0]._replace(**changes)]
        found.requirements = requirements(found, problems)
        assert not found.ok


def test_tolls_of_one_round_add_up() -> None:
    """Who may change, who must, and when the last fault was over."""
    one = Toll(frozenset({"a"}), frozenset({"a"}), problems=("x",), over_s=1.0)
    two = Toll(frozenset({"b"}), may_halt=True, over_s=3.0)
    assert one.plus(two) == Toll(frozenset({"a", "b"}), frozenset({"a"}), True, ("x",), 3.0)


def test_the_recorder_knows_who_lives_and_keeps_what_the_audit_needs() -> None:
    """Pids by child of the newest start; lines of other events are only counted."""
    recorder = Recorder()
    recorder.begin()
    line = {"timestamp": "2026-11-23T10:00:00Z", "level": "info", "incarnation": 1}
    recorder.take(line | {"event": "child_started", "child_id": "plants/order", "pid": 2**22 + 5})
    recorder.take(line | {"event": "system_started", "child_id": "run", "pid": 7, "root_pid": 8})
    recorder.take(line | {"event": "order_submitted", "child_id": "plants/order"})
    later = line | {"timestamp": "2026-11-23T10:00:09Z"}
    recorder.take(later | {"event": "order_accepted", "child_id": "plants/order"})
    assert recorder.pids == {"plants/order": 2**22 + 5, "root": 8}
    assert [each["event"] for each in recorder.lines] == ["child_started", "system_started"]
    assert recorder.counts["order_submitted"] == 1
    assert [life[2:] for life in recorder.lives()] == [("2026-11-23T10:00:00Z", "2026-11-23T10:00:09Z")]
    recorder.begin()
    assert recorder.pids == {}
    assert recorder.order_plants == 1
    assert "order_submitted" not in KEPT_EVENTS


def test_a_fault_that_does_not_apply_now_is_not_counted(tmp_path: Path) -> None:
    """Nobody lives yet: a kill finds no victim."""

    async def strike() -> None:
        driver = Driver(make_job(tmp_path, 1, 4), SystemClock(), 1.0, lambda text: None)
        with pytest.raises(NotNowError):
            await FAULTS["kill_order_plant"].act(driver.world, Strike("kill_order_plant", 0, 1, 1), random.Random(1))

    asyncio.run(strike())


def test_a_process_is_followed_to_its_end_and_found_by_its_mark(tmp_path: Path) -> None:
    """Records of its log, every byte in a file, its exit code, and nobody left."""
    lines: list[dict[str, Any]] = []

    async def follow() -> tuple[int | None, list[int]]:
        clock = SystemClock()
        process = RunProcess("mark-1", tmp_path / "out", clock, lines.append)
        await process.start(("check", "--config", str(tmp_path / "missing.yaml")), {})
        code = await process.wait(60)
        return code, await until_gone("mark-1", clock, 10)

    assert asyncio.run(follow()) == (2, [])
    assert "missing.yaml" in (tmp_path / "out").read_text()
    assert lines == []
