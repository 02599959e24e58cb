"""The operator's side: what is asked over the socket, what is shown, and what is said when nobody answers."""

import json
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import run
from nightdesk.clocks import SystemClock
from nightdesk.console import client, render
from nightdesk.console.durations import seconds_of, text_of
from nightdesk.console.summary import RunSummary, summarize
from nightdesk.console.verbs import VERBS
from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.settings.folders import Folders
from nightdesk.settings.locks import Holder, lock_folder

STATUS: dict[str, Any] = {
    "mode": "sim",
    "trading_state": "ACTIVE",
    "uptime_s": 3725.0,
    "market": [
        {
            "calendar": "cme_equity",
            "symbols": ["ESZ6", "MESZ6"],
            "now_ns": 1_795_903_200_000_000_000,
            "phase": "closed",
            "pause": "weekend",
            "trade_date": 20261130,
            "next_open_ns": 1_795_993_200_000_000_000,
            "next_event": {"kind": "pre_open", "ts_ns": 1_795_989_600_000_000_000},
        }
    ],
    "children": [
        {
            "id": child_id,
            "kind": "worker",
            "pid": pid,
            "incarnation": 1,
            "state": state,
            "restarts": 2,
            "uptime_s": 61.0,
        }
        for child_id, pid, state in (
            ("services", 10, "running"),
            ("services/alerts/log", 11, "running"),
            ("exchange", 12, "running"),
            ("strategies", 13, "running"),
            ("strategies/cross", 0, "parked"),
        )
    ],
    "plants": {
        "ticker": {"connected": True, "last_message_age_s": 0.25, "messages": 5, "reconnects": 0},
        "order": {"connected": False, "last_message_age_s": None, "messages": 0, "reconnects": 0},
    },
    "strategies": {"strategies/cross": {"state": "parked", "ticks": 120, "orders_sent": 7, "fills": 3}},
    "positions": [
        {"symbol": "ESZ6", "quantity": -2, "average_price": 5000.25, "realized_pnl": 1234.5, "unrealized_pnl": -1.0}
    ],
    "orders": {"working": 1, "filled": 3, "canceled": 2, "denied": 1, "rejected": 0, "unknown": 0},
}
ORDER = {
    "client_order_id": "c1",
    "venue_order_id": None,
    "strategy_id": "cross",
    "symbol": "ESZ6",
    "side": "BUY",
    "order_type": "LIMIT",
    "status": "SUBMITTED",
    "quantity": 2,
    "filled_quantity": 0,
    "price": 5000.25,
    "trigger_price": None,
}
FILL = {
    "fill_id": "f1",
    "client_order_id": "c1",
    "strategy_id": "cross",
    "symbol": "ESZ6",
    "side": "SELL",
    "quantity": 1,
    "price": 4999.75,
    "commission": 1.25,
    "ts_event_ns": 1_700_000_000_123_000_000,
}
ROOT = Path(__file__).resolve().parents[1]
BRANCH = {"strategy": "REST_FOR_ONE", "intensity": 3, "period_s": 60.0}
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "tree": {"mode": "sim", "children": STATUS["children"]},
    "orders": [ORDER],
    "positions": [{"strategy_id": "cross", **STATUS["positions"][0]}, {"strategy_id": "", **STATUS["positions"][0]}],
    "fills": [FILL],
    "children": [
        {
            "id": "plants",
            "counts": {"specs": 1, "active": 1, "supervisors": 0, "workers": 1},
            "children": [STATUS["children"][0]],
        }
    ],
    "risk": {
        "trading_state": "REDUCING",
        "reason": "news at 14:30",
        "breaches": [{"owner": "account", "code": "RISK_DAILY_LOSS"}],
        "limits": [
            {
                "level": "account",
                "name": "daily_loss_limit",
                "symbol": "",
                "limit": 500.0,
                "use": 505.0,
                "percent": 101.0,
                "state": "reached",
            },
            {
                "level": "account",
                "name": "price_collar",
                "symbol": "",
                "limit": "40 ticks",
                "use": None,
                "percent": None,
                "state": "per_order",
            },
        ],
    },
    "spec": {"id": "plants/ticker", "restart": "PERMANENT", "shutdown_s": None, "children": [], "branch": BRANCH},
}


class FakeSystem:
    """Listens where control would and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.replies: dict[str, bytes] = {}
        self.scripts: dict[str, Callable[[], bytes]] = {}
        self.config = folder / "desk.yaml"
        self.config.write_text(f"name: desk\nstate_dir: {folder}\nruntime_dir: {folder}\n")
        self.folders = Folders("desk", str(folder), str(folder), str(self.config))
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(fake.answer(json.loads(self.rfile.readline())))

        self.server = socketserver.ThreadingUnixStreamServer(str(folder / "control.sock"), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: dict[str, Any]) -> bytes:
        self.requests.append(request)
        verb = request["verb"]
        if verb in self.scripts:
            return self.scripts[verb]()
        if verb in self.replies:
            return self.replies[verb]
        result = ANSWERS.get(verb, {"text": f"{verb} was done"})
        return json.dumps({"request_id": request["request_id"], "ok": True, "result": result}).encode() + b"\n"


@pytest.fixture
def system() -> Iterator[FakeSystem]:
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        fake = FakeSystem(Path(name))
        yield fake
        fake.server.shutdown()
        fake.server.server_close()


def call(system: FakeSystem, *arguments: str) -> int:
    return run.main([*arguments, "--config", str(system.config)])


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["status"], {}),
        (["tree"], {}),
        (["pause", "strategies/cross", "--reason", "news"], {"id": "strategies/cross", "reason": "news"}),
        (["resume", "strategies/cross"], {"id": "strategies/cross"}),
        (["restart", "plants/ticker", "--wait", "0"], {"id": "plants/ticker"}),
        (["terminate", "plants/ticker"], {"id": "plants/ticker"}),
        (["children"], {}),
        (["children", "plants"], {"id": "plants"}),
        (["spec", "plants/ticker"], {"id": "plants/ticker"}),
        (["orders", "--all", "--limit", "5"], {"all": True, "limit": 5}),
        (["positions"], {}),
        (["fills"], {"limit": 100}),
        (["cancel-all"], {}),
        (["cancel-all", "strategies/cross"], {"id": "strategies/cross"}),
        (["flatten"], {}),
        (["flatten", "strategies/cross", "--force"], {"id": "strategies/cross", "force": True}),
        (["risk"], {}),
        (["risk-reset", "account", "--reason", "new"], {"id": "account", "reason": "new"}),
        (["reduce", "--reason", "news"], {"reason": "news"}),
        (["halt", "--reason", "wrong prices"], {"reason": "wrong prices"}),
        (["resume-trading", "--reason", "right again"], {"reason": "right again"}),
        (["stop"], {}),
    ],
)
def test_verb_sends_its_request(
    system: FakeSystem, capsys: pytest.CaptureFixture[str], arguments: list[str], sent: dict[str, Any]
) -> None:
    """Each verb is one request, in a readable form and as JSON."""
    assert call(system, *arguments) == 0
    assert capsys.readouterr().out
    assert call(system, *arguments, "--json") == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed == ANSWERS.get(arguments[0], {"text": f"{arguments[0]} was done"})
    assert [request["verb"] for request in system.requests] == [arguments[0]] * 2
    assert [request["arguments"] for request in system.requests] == [sent] * 2


def test_limits_are_a_table_with_what_is_reached(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    """Names as in the configuration, so that they can be found there."""
    assert call(system, "risk") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "trading REDUCING (news at 14:30)   reached account RISK_DAILY_LOSS"
    rows = [line.split() for line in lines]
    assert ["account", "daily_loss_limit", "500", "505", "101", "reached"] in rows
    assert ["account", "price_collar", "40", "ticks", "per", "order"] in rows


@pytest.mark.parametrize("verb", ["reduce", "halt", "resume-trading", "risk-reset"])
def test_verbs_that_change_the_state_of_trading_want_a_reason(
    system: FakeSystem, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """One line, and nothing was asked of the system."""
    assert call(system, verb, *(["account"] if verb == "risk-reset" else [])) == 2
    assert "--reason" in capsys.readouterr().err
    assert system.requests == []


def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator at three in the morning needs a line to copy."""
    for verb in [*VERBS, "check", "simulator"]:
        assert run.main([verb, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"Example: python run.py {verb}" in text
        assert "--config FILE" in text


def test_configuration_may_be_named_before_the_verb(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    """``run.py --config FILE status`` is what comes to mind after ``run.py --config FILE``."""
    assert run.main(["--config", str(system.config), "status"]) == 0
    assert "strategies/cross" in capsys.readouterr().out


def test_nobody_there_is_one_line_and_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the system and where its socket would be."""
    config = tmp_path / "desk.yaml"
    config.write_text("name: desk\nruntime_dir: r\n")
    assert run.main(["status", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nightdesk: no system is running for desk (no socket at {tmp_path}/r/control.sock); ")
    assert f"start it with: python run.py --config {config}" in error


def test_refusal_is_one_line_and_code_two(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    """The words are control's."""
    system.replies["pause"] = b'{"request_id": "r", "ok": false, "error": "no such strategy: x"}\n'
    assert call(system, "pause", "x") == 2
    assert capsys.readouterr().err == "nightdesk: no such strategy: x\n"


def test_connection_that_breaks_is_told(system: FakeSystem) -> None:
    """Half an answer is none."""
    system.replies["status"] = b'{"request_id"'
    with pytest.raises(LinkError, match="without an answer"):
        client.request(system.folders, "status")


def test_stale_socket_is_nobody(tmp_path: Path) -> None:
    """A socket file without a listener is left by a kill."""
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        fake = FakeSystem(Path(name))
        fake.server.shutdown()
        fake.server.server_close()
        with pytest.raises(ConfigurationError, match="no system is running for desk"):
            client.request(fake.folders, "status")


def _child(state: str, incarnation: int) -> dict[str, Any]:
    return {**STATUS["children"][0], "id": "strategies/cross", "state": state, "incarnation": incarnation}


@pytest.mark.parametrize(
    ("after", "code", "words"),
    [
        (_child("running", 5), 0, "strategies/cross runs: pid"),
        (_child("parked", 7), 70, "strategies/cross is parked: it did not stay up"),
        (_child("running", 4), 70, "strategies/cross does not run within 0.3 s"),
    ],
)
def test_restart_says_what_became_of_it(
    system: FakeSystem, capsys: pytest.CaptureFixture[str], after: dict[str, Any], code: int, words: str
) -> None:
    """A strategy's new code may not even load; the operator is to see that at once, not in the morning."""
    trees = iter([_child("running", 4), after])
    last = after

    def tree() -> bytes:
        nonlocal last
        last = next(trees, last)
        return json.dumps({"request_id": "r", "ok": True, "result": {"children": [last]}}).encode() + b"\n"

    system.scripts["tree"] = tree
    assert call(system, "restart", "cross", "--wait", "0.3") == code
    output = capsys.readouterr()
    assert words in output.out + output.err


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "1e9"])
def test_impossible_wait_is_refused_before_anything_is_asked(
    system: FakeSystem, capsys: pytest.CaptureFixture[str], wait: str
) -> None:
    """A stop that nobody meant must not happen."""
    assert call(system, "stop", "--wait", wait) == 2
    assert "--wait: expected 0 to 86400 seconds" in capsys.readouterr().err
    assert system.requests == []


def test_words_that_are_no_text_arrive_all_the_same(system: FakeSystem) -> None:
    """A byte of another encoding on the command line is a question mark, not a traceback."""
    assert call(system, "halt", "--reason", "caf\udce9") == 0
    assert system.requests[0]["arguments"] == {"reason": "caf?"}


def test_too_many_words_are_refused(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    """Here, where the reason can be said, and not by the other end's limit."""
    assert call(system, "halt", "--reason", "x" * 70_000) == 2
    assert "more than 60000 bytes of arguments" in capsys.readouterr().err
    assert system.requests == []


def test_output_that_cannot_be_written_is_one_line(system: FakeSystem) -> None:
    """A full disk behind a redirection."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "status", "--config", str(system.config)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "nightdesk: standard output cannot be written (No space left on device); mend where it goes\n"
    )


def test_stop_waits_for_the_end(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock on the state folder is what a run gives up last."""
    lock = lock_folder("state_dir", system.folders.state_dir, Holder(1, "desk", "x.yaml"))
    assert call(system, "stop", "--wait", "0.2") == 70
    assert "has not ended within 0.2 s" in capsys.readouterr().err
    lock.release()
    assert call(system, "stop", "--wait", "0.2") == 0


def rendered(renderable: Any) -> str:
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_status_is_readable() -> None:
    """What matters is on the page: states, connections, positions, counts."""
    text = rendered(render.status(STATUS))
    for words in ("trading ACTIVE", "up 1h 2m", "strategies/cross", "parked", "0.2 s ago", "5,000.25", "1,234.50"):
        assert words in text


def test_status_of_a_silent_order_plant_is_readable() -> None:
    """Unknown counts are question marks."""
    silent = STATUS | {"orders": dict.fromkeys(STATUS["orders"]), "positions": [], "trading_state": "UNKNOWN"}
    assert "working ?" in rendered(render.status(silent))


def test_tree_shows_branches() -> None:
    """A child stands below its branch, the exchange below root."""
    lines = rendered(render.tree(ANSWERS["tree"])).splitlines()
    assert lines[0] == "root"
    assert any(line.startswith("│   └── alerts/log") for line in lines)
    assert any(line.startswith("├── exchange") for line in lines)
    assert any("cross  parked" in line for line in lines)


def test_fills_have_times_in_utc() -> None:
    """Nanoseconds are for programs."""
    assert "2023-11-14 22:13:20.123" in rendered(render.fills([FILL]))


@pytest.mark.parametrize(
    ("text", "duration_s"), [("60s", 60.0), ("5m", 300.0), ("2h", 7200.0), ("90", 90.0), ("0.5s", 0.5), ("1d", 86400.0)]
)
def test_duration_is_read(text: str, duration_s: float) -> None:
    """A number with a unit; seconds without one."""
    assert seconds_of(text) == duration_s


@pytest.mark.parametrize("text", ["", "0s", "-5s", "5x", "1h30m", "soon", "367d", "٣s", "inf"])
def test_bad_duration_is_refused(text: str) -> None:
    """The error shows the form."""
    with pytest.raises(ConfigurationError, match="such as 60s, 5m or 2h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("duration_s", "text"), [(0.4, "0s"), (59.9, "59s"), (3600, "1h"), (3725, "1h 2m"), (90000, "1d 1h")]
)
def test_duration_is_shown_by_its_two_largest_units(duration_s: float, text: str) -> None:
    """Nobody reads seconds of a week."""
    assert text_of(duration_s) == text


def test_summary_adds_up_the_status() -> None:
    """The closing line's keys."""
    assert summarize(STATUS) == {
        "complete": True,
        "ticks": 120,
        "orders": 7,
        "fills": 3,
        "restarts": 10,
        "denied": 1,
        "positions": [{"symbol": "ESZ6", "quantity": -2}],
    }


def test_summary_of_a_system_that_cannot_answer_is_incomplete(tmp_path: Path) -> None:
    """It never prevents the stop."""
    summary = RunSummary(Folders("desk", str(tmp_path), str(tmp_path), ""), SystemClock())
    summary.collect()
    assert summary.fields["complete"] is False
    assert "no system is running" in summary.fields["error"]
