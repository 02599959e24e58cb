"""``run.py journal``: exit codes, one line for each mistake, tables for people and JSON for programs."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import run
from actors.plants.journal import Journal
from tests.journal_support import SYSTEM, journal_of, leaves, make_journal, overwrite

ROOT = Path(__file__).resolve().parents[1]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of state with a journal."""
    folder = tmp_path_factory.mktemp("verb")
    make_journal(folder, orders=60)
    return folder


@pytest.fixture
def state_dir(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, and a configuration beside it."""
    shutil.copytree(sound, tmp_path / "s")
    shipped = (ROOT / "config" / "sim.yaml").read_text()
    (tmp_path / "test.yaml").write_text(f"{shipped}\nstate_dir: {tmp_path / 's'}\nruntime_dir: /tmp/nd-none\n")
    return tmp_path / "s"


@pytest.fixture
def call(state_dir: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    """One call of ``run.py journal``: its exit code, standard output and standard error."""

    def do(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run.main(["journal", *arguments, "--config", str(state_dir.parent / "test.yaml")])
        return code, *capfd.readouterr()

    return do


def test_a_sound_journal_ends_with_code_zero(call: Call, state_dir: Path) -> None:
    """The page names the file, its version, whether a system runs on it, what there is, and each check."""
    code, out, err = call("verify")
    assert (code, err) == (0, "")
    assert f"{journal_of(state_dir)}   version" in out
    assert "no system runs on it" in out
    for words in ("orders 60", "order_fills", "what an order has filled is the sum of its fills", "\nsound\n"):
        assert words in out
    journal = Journal.open(str(state_dir), system_name=SYSTEM, durability="process")
    code, out, _ = call("verify", "--json")
    journal.close()
    assert code == 0
    told = json.loads(out)
    assert (told["sound"], told["running"]) == (True, True)


def test_an_unsound_journal_ends_with_code_one_and_names_the_rows(call: Call, state_dir: Path) -> None:
    """Each violation is a line; with --json it is a list."""
    overwrite(state_dir, leaves(state_dir, "fills")[0])
    code, out, _ = call("verify")
    assert code == 1
    assert "UNSOUND: see 'The journal is damaged' in docs/runbook.md" in out
    code, out, _ = call("verify", "--json")
    assert code == 1
    told = json.loads(out)
    assert not told["sound"]
    assert [check["name"] for check in told["checks"] if check["violations"]]


def test_what_cannot_be_read_ends_with_code_two(call: Call, state_dir: Path) -> None:
    """One line on standard error, nothing on standard output."""
    journal_of(state_dir).unlink()
    for verb in (["verify"], ["repair", "--yes"], ["export", "--table", "fills"]):
        code, out, err = call(*verb)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "journal.db: there is no journal; name the configuration of a system that ran" in err


def test_a_repair_asks_to_be_meant(call: Call, state_dir: Path) -> None:
    """Without --yes it says what it would do, changes nothing and ends with code 2; then it does it."""
    overwrite(state_dir, leaves(state_dir, "orders")[0])
    before = journal_of(state_dir).read_bytes()
    code, out, err = call("repair")
    assert code == 2
    assert "nothing was changed" in out
    assert "repeat it with --yes" in err
    assert err.count("\n") == 1
    code, out, err = call("repair", "--dry-run")
    assert (code, err) == (0, "")
    assert journal_of(state_dir).read_bytes() == before
    code, out, err = call("repair", "--yes")
    assert (code, err) == (0, "")
    assert "orders made from their executions" in out
    assert "the damaged one is kept in" in out
    assert call("verify")[0] == 0
    code, out, _ = call("repair")
    assert code == 0
    assert "there is nothing to repair" in out


def test_a_repair_tells_programs_everything(call: Call, state_dir: Path) -> None:
    """Each table with what was kept and what is lost, and where the original is."""
    overwrite(state_dir, leaves(state_dir, "orders")[0])
    code, out, _ = call("repair", "--yes", "--json")
    assert code == 0
    told: dict[str, Any] = json.loads(out)
    assert told["done"]
    assert Path(told["aside"], "journal.db").is_file()
    assert told["tables"]["orders"]["kept"] + told["tables"]["orders"]["rebuilt"] < 60
    assert told["rebuilt_orders"]


def test_a_running_system_is_not_repaired(call: Call, state_dir: Path) -> None:
    """One line, code 2."""
    journal = Journal.open(str(state_dir), system_name=SYSTEM, durability="process")
    code, out, err = call("repair", "--yes")
    journal.close()
    assert (code, out) == (2, "")
    assert "a system runs on it; stop it first: python run.py stop" in err


def test_an_export_goes_to_standard_output_or_to_a_file(call: Call, state_dir: Path, tmp_path: Path) -> None:
    """The same lines; to a file it says how many."""
    code, out, err = call("export", "--table", "fills", "--format", "csv")
    assert (code, err) == (0, "")
    assert out.startswith(
        "event_id,account_id,exchange,venue_order_id,fill_id,client_order_id,strategy_id,symbol,side,"
    )
    target = tmp_path / "fills.csv"
    code, told, _ = call("export", "--table", "fills", "--format", "csv", "--output", str(target), "--json")
    assert code == 0
    assert target.read_text() == out
    assert json.loads(told) == {"table": "fills", "rows": out.count("\n") - 1, "file": str(target)}
    code, _, err = call("export", "--table", "fills", "--output", str(target))
    assert code == 2
    assert "add --force" in err
    code, told, _ = call("export", "--table", "fills", "--output", str(target), "--force")
    assert code == 0
    assert f"rows of fills: {target}" in told


def test_trade_dates_are_those_of_the_products_calendar(call: Call, state_dir: Path) -> None:
    """The journal's orders are of Tuesday the 14th of November 2023, before four o'clock in Chicago and after it."""
    every = call("export", "--table", "fills")[1].count("\n")
    first = call("export", "--table", "fills", "--to", "2023-11-14")[1].count("\n")
    second = call("export", "--table", "fills", "--from", "2023-11-15")[1].count("\n")
    assert first + second == every
    assert first
    assert second
    split = call("export", "--table", "fills", "--to", "2023-11-14T21:59:59.999999999Z")[1].count("\n")
    assert split == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export"], "Missing option '--table'"),
        (["export", "--table", "fills", "--format", "xml"], "--format: expected jsonl or csv, not 'xml'"),
        (["export", "--table", "orderz"], "has no table 'orderz'; it has positions"),
        (["export", "--table", "fills", "--from", "yesterday"], "--from: expected a trade date such as 2026-11-20"),
        (["export", "--table", "fills", "--json"], "--json: tells how many rows went to a file"),
        (["verify", "--yes"], "No such option: --yes"),
        (["mend"], "No such command 'mend'"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(call: Call, arguments: list[str], words: str) -> None:
    """With what to do instead; code 2."""
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_every_check_and_every_column_is_described(call: Call, state_dir: Path) -> None:
    """Whoever reads an export finds its columns' names in one place; so does who wonders what a check asks."""
    page = (ROOT / "docs" / "journal.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    told = json.loads(call("verify", "--json")[1])
    assert {check["name"] for check in told["checks"]} <= set(rows)
    for table in [*told["rows"], "positions"]:
        code, out, _ = call("export", "--table", table, "--format", "csv")
        assert code == 0
        columns = out.split("\n", 1)[0].split(",")
        # The first quoted words of a table's row are its columns.
        assert rows[table].split("`")[1].split() == columns, table
