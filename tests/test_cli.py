"""``run.py`` as a user calls it: exit codes, one line for each mistake, no traceback."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run
from nightdesk.settings.folders import prepare_folder
from nightdesk.settings.load import load_settings
from nightdesk.settings.locks import Holder, lock_folder, lock_logins
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[1]
GOOD = (ROOT / "config" / "sim.yaml").read_text()


@pytest.fixture
def short_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of state whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        monkeypatch.setenv("XDG_STATE_HOME", f"{name}/s")
        monkeypatch.setenv("XDG_RUNTIME_DIR", f"{name}/r")
        yield Path(name)


def cli(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """One call in a process of its own, with folders of state below ``folder``."""
    own = {"XDG_STATE_HOME": str(folder / "s"), "XDG_RUNTIME_DIR": "/tmp/nd-none"}
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RITHMIC_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env={**clean, **own, **environ},
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mode: sim", "mood: sim", ["bad.yaml:6: mood: is not a known key; did you mean mode?"]),
        ("max_position: 10", "max_position: ten", ["risk.max_position: must be a whole number, not 'ten'"]),
        ("name: sim ", "name: ${NO_SUCH_VARIABLE} ", ["bad.yaml:5: name:", "NO_SUCH_VARIABLE is not set"]),
        ("sma_cross:SmaCross", "sma_cross:Missing", ["strategies[0].class: nightdesk.examples.sma_cross has no class"]),
        ("name: quoter_es", "name: sma_es", ["strategies[1].name: a second child is named sma_es"]),
        ("risk:  ", "risk: [", ["is not valid YAML"]),
    ],
)
def test_bad_configuration_ends_with_one_line_and_code_two(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    """The whole way through the process: standard error has exactly one line, standard output none."""
    assert old in GOOD
    (tmp_path / "bad.yaml").write_text(GOOD.replace(old, new, 1))
    done = cli("--config", "bad.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nightdesk: bad.yaml:")
    for word in words:
        assert word in done.stderr


def test_shipped_live_file_is_found_and_says_what_to_fill_in(tmp_path: Path) -> None:
    """``--config live.yaml`` works from anywhere, and as shipped it trades nothing."""
    done = cli("--config", "live.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "config/live.yaml:" in done.stderr
    assert "set armed: true" in done.stderr
    assert "RITHMIC_PASSWORD" in done.stderr


def test_missing_credentials_end_with_code_three(tmp_path: Path) -> None:
    """All that is missing, in one line; nothing was started or created."""
    environ = {"RITHMIC_GATEWAY": "wss://127.0.0.1:1", "RITHMIC_SYSTEM": "S"}
    done = cli("--config", "paper.yaml", folder=tmp_path, **environ)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "credentials.user" in done.stderr
    assert "credentials.password" in done.stderr
    assert not (tmp_path / "s").exists()


def test_check_prints_the_tree_and_creates_nothing(tmp_path: Path) -> None:
    """The default job's tree, from any folder."""
    done = cli("check", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in (
        "root",
        "exchange",
        "actors.plants.order:OrderPlantBody",
        "sma_es",
        "quoter_es",
        "alerts/log",
        "one_for_one, gives up beyond 40 restarts in 60 s",
        "permanent, 5 restarts in 60 s, then park, backoff 0.1 to 10 s, stop 5 s, start 20 s, watchdog 10 s",
        "10 restarts in 60 s, then escalate",
    ):
        assert words in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], "No such option: --bogus"),
        (["--config", ""], "--config: the name is empty"),
        (["status", "--config", ""], "--config: the name is empty"),
        (["--config", "", "stop"], "--config: the name is empty"),
        (["fills", "--limit", "99999999999999999999"], "less than or equal to 2000"),
        (["orders", "--limit", "0"], "greater than or equal to 1"),
        (["dance"], "No such command 'dance'"),
        (["pause"], "Missing argument"),
        (["fills", "--limit", "many"], "--limit"),
        (["--duration", "soon"], "such as 60s, 5m or 2h"),
        (["--log-format", "xml"], "expected auto, json, console"),
        (["--duration", "5s", "status"], "--duration belongs to a run"),
        (["--config", "nowhere/x.yaml"], "x.yaml:1: file: not found"),
        (["simulator", "--config", "nowhere.yaml"], "not found"),
    ],
)
def test_usage_error_is_one_line_and_code_two(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong on the command line."""
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("nightdesk: ")
    assert error.count("\n") == 1
    assert words in error


def test_second_start_of_one_configuration_is_refused(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the process that runs already."""
    state_dir = short_path / "s" / "nightdesk" / "simulator"
    prepare_folder("state_dir", state_dir)
    lock = lock_folder("state_dir", str(state_dir), Holder(os.getpid(), "simulator", "x.yaml"))
    assert run.main(["simulator", "--config", "simulator.yaml"]) == 2
    assert (
        f"simulator is running already: state_dir {state_dir} is in use (simulator, process {os.getpid()}, x.yaml)"
        in capsys.readouterr().err
    )
    lock.release()


def test_copied_configuration_on_the_same_login_is_refused(tmp_path: Path, short_path: Path) -> None:
    """Other name, other folders, other spelling of the address: it is one login, and one system has it already."""
    environ = {
        "XDG_STATE_HOME": str(short_path / "s"),
        "RITHMIC_GATEWAY": "wss://127.0.0.1:1",
        "RITHMIC_SYSTEM": "Test",
        "RITHMIC_USER": "trader",
        "RITHMIC_PASSWORD": "hunter2",
    }
    paper = load_settings("paper.yaml", environ=environ, check_strategies=False)
    (lock,) = lock_logins(paper.settings, Holder(os.getpid(), "first", "/first.yaml"), environ)
    copied = (ROOT / "config" / "paper.yaml").read_text().replace("name: paper", "name: copied", 1)
    (tmp_path / "copied.yaml").write_text(
        copied.replace("${RITHMIC_GATEWAY}", "wss://127.0.0.1:1/")
        + f"state_dir: {short_path}/x\nruntime_dir: {short_path}/y\n"
    )
    done = cli("--config", "copied.yaml", folder=tmp_path, **environ)
    lock.release()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"uses this user at 127.0.0.1:1 already (first, process {os.getpid()}, /first.yaml)" in done.stderr
    assert "hunter2" not in done.stderr


def test_interrupt_while_modules_are_loaded_shows_no_traceback(tmp_path: Path) -> None:
    """Ctrl-C in the first half second ends the program, and that is all."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", str(ROOT / "run.py"), "status"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    )
    assert process.stderr is not None
    seen = ""
    while "| typer" not in seen and process.poll() is None:
        seen = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(30) in (-signal.SIGINT, 130, 2)
    assert "Traceback" not in rest


def test_run_hands_the_tree_over_and_ends_with_its_code(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Duration, formats and deadline go to the supervisors; their code is ours; the last line is the summary."""
    seen: dict[str, Any] = {}

    def run_tree(tree: Any, **options: Any) -> int:
        seen.update(options, tree=tree.id)
        options["on_stopping"]()
        return 5

    monkeypatch.setattr("supervisors.system.run_tree", run_tree)
    assert run.main(["--config", "simulator.yaml", "--duration", "2m", "--log-format", "json"]) == 5
    assert (seen["tree"], seen["duration_s"], seen["log_format"], seen["log_level"]) == ("root", 120.0, "json", "info")
    assert seen["deadline_s"] == 20.0
    last = capfd.readouterr().out.splitlines()[-1]
    assert '"event":"run_summary"' in last
    assert '"exit_code":5' in last


def test_unexpected_error_ends_with_code_seventy(tmp_path: Path) -> None:
    """Only here a traceback is shown, with a log line before it."""
    program = (
        "import sys; sys.argv = ['run.py', 'check']; import run\n"
        "run.load_settings = lambda path, **options: 1 / 0\n"
        "with run._InternalErrors():\n    sys.exit(run.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )
    assert done.returncode == 70
    assert "internal_error" in done.stdout
    assert "ZeroDivisionError" in done.stderr


def test_operators_verbs_do_not_import_the_machinery() -> None:
    """A verb starts quickly and cannot run a strategy's code: neither Thespian nor async_rithmic is loaded."""
    program = "import sys, run; print([m for m in ('thespian', 'async_rithmic', 'uvloop') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_check_is_there_for_programs_too(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every child with its whole policy, in start order."""
    assert run.main(["check", "--json", "--config", "simulator.yaml"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["id"], plan["intensity"]) == ("root", 10)
    order = next(child for child in plan["children"] if child["id"] == "plants/order")
    assert (order["intensity"], order["on_give_up"], order["watchdog_s"]) == (10, "escalate", 10.0)


def test_simulator_runs_alone_until_it_is_told_to_end(short_path: Path) -> None:
    """It says where it listens and which file makes its certificate trusted; SIGTERM ends it with code 0."""
    log = short_path / "log"
    config = short_path / "exchange.yaml"
    config.write_text((ROOT / "config" / "simulator.yaml").read_text().replace("port: 19443", "port: 0"))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), "simulator", "--config", str(config)], stdout=output
        )
    try:
        wait_until(lambda: "simulator_listening" in log.read_text(), 20)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        listening = next(line for line in lines if line["event"] == "simulator_listening")
        assert listening["url"].startswith("wss://127.0.0.1:")
        assert Path(listening["ca_file"]).is_file()
        assert "password" not in listening
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)


def test_output_whose_reader_has_gone_is_not_an_unsound_journal(tmp_path: Path) -> None:
    """``run.py … | head -1``: code 141, no traceback; 1 would be the verdict of ``journal verify``."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "check"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
