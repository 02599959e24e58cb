"""Control: the socket, its limits, the verbs, and what is said when somebody does not answer."""

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actors.control import ControlBody, body
from actors.control.audit import AuditLog
from nightdesk import control_socket
from nightdesk.clocks import ManualClock
from nightdesk.messages import (
    AccountStatus,
    ChildId,
    ChildReport,
    ChildState,
    CommandResult,
    FillReport,
    FillsReport,
    LimitReport,
    Message,
    OperatorCancelAll,
    OperatorFlatten,
    OrdersReport,
    OrderStatistics,
    PauseStrategy,
    PlantStatus,
    PositionReport,
    PositionsReport,
    QueryFills,
    QueryOrders,
    QueryPositions,
    QueryRisk,
    QuerySpec,
    QueryStatus,
    ResetRisk,
    RestartChild,
    RiskReport,
    SetTradingState,
    Side,
    SpecReport,
    StopSystem,
    StrategyId,
    StrategyStatus,
    TerminateChild,
    TradingState,
    TreeStatus,
)
from nightdesk.settings.children import children_of
from nightdesk.settings.load import load_settings
from nightdesk.settings.models import Settings
from tests.fakes import FakeContext
from tests.support import wait_until_async

CONFIG = """\
name: desk
mode: sim
state_dir: {folder}
runtime_dir: {folder}
instruments: [{{symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50}}]
risk: {{max_order_quantity: 1, max_position: 1, max_open_orders: 1, max_orders_per_second: 1}}
strategies:
  - {{name: one, class: 'a:B', symbols: [ESZ6]}}
  - {{name: two, class: 'a:B', symbols: [ESZ6]}}
alerts: [{{name: log, kind: log}}]
"""


LIMIT: dict[str, Any] = {
    "name": "daily_loss_limit",
    "level": "account",
    "symbol": "",
    "limit": 500.0,
    "use": 505.0,
    "percent": 101.0,
    "state": "reached",
}


class System(FakeContext):
    """Answers as a whole system would, except for those in ``silent``."""

    def __init__(self, folder: Path) -> None:
        path = folder / "desk.yaml"
        path.write_text(CONFIG.format(folder=folder))
        run = load_settings(path, environ={}, check_strategies=False)
        super().__init__("services/control", run.to_json(), ManualClock(1_700_000_000_000_000_000))
        self.settings: Settings = run.settings
        self.silent: set[str] = set()
        self.states: dict[str, ChildState] = {}
        self.refuse = ""
        self.body = ControlBody(self)

    def tell(self, destination: ChildId, message: Message) -> None:
        super().tell(destination, message)
        if destination not in self.silent:
            for answer in self._answers(destination, message):
                self.body.receive(destination, answer)

    def _answers(self, destination: ChildId, message: Message) -> list[Message]:
        match message:
            case QueryStatus(request_id=request_id):
                return self._status(destination, request_id)
            case QueryOrders(request_id=request_id):
                return [OrdersReport(request_id=request_id, orders=())]
            case QueryPositions(request_id=request_id):
                return [PositionsReport(request_id=request_id, positions=(position("one"), position("")))]
            case QueryRisk(request_id=request_id):
                return [
                    RiskReport(
                        request_id=request_id,
                        trading_state=TradingState.REDUCING,
                        reason="a loss limit",
                        breaches=(("account", "RISK_DAILY_LOSS"),),
                        limits=(LimitReport(**LIMIT),),
                    )
                ]
            case QueryFills(request_id=request_id):
                return [FillsReport(request_id=request_id, fills=(FILL,))]
            case QuerySpec(request_id=request_id, child_id=child_id) if not self.refuse:
                return [SpecReport(request_id=request_id, spec_json=json.dumps({"id": child_id}).encode())]
        request_id = getattr(message, "request_id")  # noqa: B009
        return [CommandResult(request_id=request_id, ok=not self.refuse, text=self.refuse or "carried out")]

    def _status(self, destination: str, request_id: str) -> list[Message]:
        branch, _, name = destination.partition("/")
        if not name:
            children = tuple(self._report(child) for child in children_of(destination, self.settings))
            return [TreeStatus(request_id=request_id, children=children)]
        if branch == "strategies":
            return [
                StrategyStatus(
                    request_id=request_id,
                    strategy_id=StrategyId(name),
                    state="running",
                    ticks=100,
                    trades=40,
                    quotes=60,
                    orders_sent=3,
                    fills=1,
                    last_event_ns=0,
                )
            ]
        plant = PlantStatus(
            request_id=request_id,
            child_id=ChildId(destination),
            connected=True,
            last_message_age_s=0.5,
            messages=9,
            reconnects=0,
        )
        return [plant, account(request_id)] if name == "order" else [plant]

    def _report(self, child_id: str) -> ChildReport:
        kind = "supervisor" if child_id in ("services", "plants", "strategies") else "worker"
        state = self.states.get(child_id, ChildState.RUNNING)
        return ChildReport(
            child_id=ChildId(child_id), kind=kind, pid=1234, incarnation=1, state=state, restarts=0, uptime_s=42.0
        )


def position(strategy_id: str) -> PositionReport:
    return PositionReport(
        strategy_id=StrategyId(strategy_id),
        symbol="ESZ6",
        exchange="CME",
        quantity=2,
        average_price=5000.25,
        realized_pnl=10.0,
        unrealized_pnl=-5.0,
    )


def account(request_id: str) -> AccountStatus:
    return AccountStatus(
        request_id=request_id,
        account_id="SIM-1",
        trading_state=TradingState.ACTIVE,
        reconciled=True,
        paused_strategies=(StrategyId("two"),),
        fills_by_strategy=((StrategyId("one"), 7),),
        orders_by_strategy=((StrategyId("one"), 20),),
        orders=OrderStatistics(working=1, filled=2, canceled=3, denied=4, rejected=5, unknown=6),
        positions=(position("one"), position("")),
    )


FILL = FillReport(
    fill_id="f1",  # type: ignore[arg-type]
    client_order_id="c1",  # type: ignore[arg-type]
    venue_order_id="v1",  # type: ignore[arg-type]
    strategy_id=StrategyId("one"),
    symbol="ESZ6",
    exchange="CME",
    side=Side.BUY,
    quantity=1,
    price=5000.25,
    commission=1.25,
    ts_event_ns=1,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        yield Path(name)


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[System]:
    system = System(folder)
    await system.body.start()
    try:
        yield system
    finally:
        await system.body.stop()


def play(folder: Path, scene: Callable[[System, Path], Coroutine[Any, Any, None]]) -> None:
    """Run a scene on the loop that actors use."""

    async def whole() -> None:
        async with started(folder) as system:
            await scene(system, folder)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


async def send(folder: Path, *lines: bytes) -> list[dict[str, Any]]:
    """Write lines over one connection and read an answer for each."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"), limit=10_000_000)
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), 5)))
    writer.close()
    return answers


async def ask(folder: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    line = json.dumps({"request_id": "r1", "verb": verb, "arguments": arguments}).encode() + b"\n"
    answer = (await send(folder, line))[0]
    assert answer["request_id"] == "r1"
    return answer


def audit(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "control_audit.log").read_text().splitlines()]


def test_status_has_the_shape_that_is_promised(folder: Path) -> None:
    """The keys of ``status`` are an interface; ids are paths in the tree."""

    async def scene(_: System, folder: Path) -> None:
        status = (await ask(folder, "status"))["result"]
        assert list(status) == [
            "mode", "trading_state", "uptime_s", "market", "children", "plants", "strategies", "positions", "orders",
        ]  # fmt: skip
        assert (status["mode"], status["trading_state"], status["uptime_s"]) == ("sim", "ACTIVE", 42.0)
        (market,) = status["market"]
        assert (market["calendar"], market["symbols"]) == ("cme_equity", ["ESZ6"])
        assert set(market) == {
            "calendar", "symbols", "now_ns", "phase", "pause", "trade_date", "next_open_ns", "next_event",
        }  # fmt: skip
        assert [child["id"] for child in status["children"]] == [
            "services", "services/control", "services/alerts/log", "exchange",
            "plants", "plants/order", "plants/pnl", "plants/ticker", "plants/history",
            "strategies", "strategies/one", "strategies/two",
        ]  # fmt: skip
        assert set(status["children"][1]) == {"id", "kind", "pid", "incarnation", "state", "restarts", "uptime_s"}
        assert status["plants"]["ticker"]["connected"] is True
        assert status["plants"]["ticker"]["last_message_age_s"] == 0.5
        assert status["strategies"] == {
            "strategies/one": {"state": "running", "ticks": 100, "orders_sent": 20, "fills": 7},
            "strategies/two": {"state": "paused", "ticks": 100, "orders_sent": 3, "fills": 1},
        }
        assert status["positions"] == [
            {"symbol": "ESZ6", "quantity": 2, "average_price": 5000.25, "realized_pnl": 10.0, "unrealized_pnl": -5.0}
        ]
        assert status["orders"] == {
            "working": 1, "filled": 2, "canceled": 3, "denied": 4, "rejected": 5, "unknown": 6,
        }  # fmt: skip

    play(folder, scene)


def test_who_does_not_answer_is_shown_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline a silent plant is not connected, a silent supervisor's children are unknown."""
    monkeypatch.setattr(body, "QUERY_DEADLINE_S", 0.05)

    async def scene(system: System, folder: Path) -> None:
        system.silent = {"plants/order", "plants/ticker", "strategies"}
        status = (await ask(folder, "status"))["result"]
        assert status["trading_state"] == "UNKNOWN"
        assert status["plants"]["ticker"]["connected"] is False
        assert status["plants"]["pnl"]["connected"] is True
        states = {child["id"]: child["state"] for child in status["children"]}
        assert states["strategies/one"] == "unknown"
        assert states["strategies"] == "running"
        assert status["orders"]["working"] is None
        assert status["positions"] == []

    play(folder, scene)


def test_status_does_not_wait_for_a_parked_child(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no process cannot answer; the supervisor's word for it is enough."""
    monkeypatch.setattr(body, "QUERY_DEADLINE_S", 60.0)

    async def scene(system: System, folder: Path) -> None:
        system.states = {"strategies/one": ChildState.PARKED, "plants/order": ChildState.RESTARTING}
        system.silent = set(system.states)
        status = (await ask(folder, "status"))["result"]
        assert status["strategies"]["strategies/one"]["state"] == "parked"
        assert status["plants"]["order"]["connected"] is False

    play(folder, scene)


def test_commands_reach_those_who_carry_them_out(folder: Path) -> None:
    """Each verb is one message to the owner of what it changes."""

    async def scene(system: System, folder: Path) -> None:
        for verb, arguments, destination, kind in (
            ("pause", {"id": "strategies/one", "reason": "news"}, "plants/order", PauseStrategy),
            ("reduce", {"reason": "news"}, "plants/order", SetTradingState),
            ("halt", {"reason": "wrong prices"}, "plants/order", SetTradingState),
            ("resume-trading", {"reason": "right again"}, "plants/order", SetTradingState),
            ("risk-reset", {"id": "account", "reason": "new evaluation"}, "plants/order", ResetRisk),
            ("risk-reset", {"id": "strategies/one", "reason": "mended"}, "plants/order", ResetRisk),
            ("cancel-all", {}, "plants/order", OperatorCancelAll),
            ("flatten", {}, "plants/order", OperatorFlatten),
            ("flatten", {"id": "strategies/one", "force": True}, "plants/order", OperatorFlatten),
            ("restart", {"id": "services/alerts/log"}, "services", RestartChild),
            ("restart", {"id": "exchange"}, "root", RestartChild),
            ("restart", {"id": "strategies/two"}, "strategies", RestartChild),
            ("terminate", {"id": "strategies/two"}, "strategies", TerminateChild),
            ("terminate", {"id": "plants"}, "root", TerminateChild),
            ("stop", {}, "root", StopSystem),
        ):
            answer = await ask(folder, verb, **arguments)
            assert answer == {"request_id": "r1", "ok": True, "result": {"text": "carried out"}}
            assert system.told[-1][0] == destination
            assert isinstance(system.told[-1][1], kind)
        flattens = [message for _, message in system.told if isinstance(message, OperatorFlatten)]
        assert [(each.strategy_id, each.force) for each in flattens] == [("", False), ("one", True)]
        states = [message for _, message in system.told if isinstance(message, SetTradingState)]
        assert [each.trading_state.value for each in states] == ["REDUCING", "HALTED", "ACTIVE"]
        assert [each.reason for each in states] == ["news", "wrong prices", "right again"]
        resets = [message for _, message in system.told if isinstance(message, ResetRisk)]
        assert [(each.owner, each.reason) for each in resets] == [("", "new evaluation"), ("one", "mended")]
        # The kernel's word for who is at the other end.
        assert {(each.uid, each.pid) for each in (*states, *resets)} == {(os.geteuid(), os.getpid())}
        pause = next(message for _, message in system.told if isinstance(message, PauseStrategy))
        assert (pause.strategy_id, pause.reason) == ("one", "news")

    play(folder, scene)


def test_reports_are_rows_of_json(folder: Path) -> None:
    """Orders, positions and fills come as the journal has them."""

    async def scene(_: System, folder: Path) -> None:
        assert (await ask(folder, "orders", all=True, limit=5))["result"] == []
        assert [row["strategy_id"] for row in (await ask(folder, "positions"))["result"]] == ["one", ""]
        assert (await ask(folder, "fills", limit=5))["result"][0]["fill_id"] == "f1"
        assert len((await ask(folder, "tree"))["result"]["children"]) == 12

    play(folder, scene)


@pytest.mark.parametrize(
    ("verb", "arguments", "pattern"),
    [
        ("pause", {"id": "strategies/none"}, "no such strategy: 'strategies/none' (there are strategies/one, "),
        ("pause", {}, "no such strategy: ''"),
        ("restart", {"id": "plants/none"}, "no such child: 'plants/none'"),
        ("restart", {"id": "root"}, "no such child: 'root'"),
        ("terminate", {"id": "services/control"}, "nobody could start it again"),
        ("terminate", {"id": "services"}, "nobody could start it again"),
        ("children", {"id": "plants/order"}, "no such branch: 'plants/order' (there are root, services, plants, "),
        ("spec", {"id": "nobody"}, "no such child: 'nobody'"),
        ("cancel-all", {"id": ""}, "no such strategy: ''"),
        ("flatten", {"id": ""}, "no such strategy: ''"),
        ("flatten", {"force": "yes"}, "force: expected true or false, not 'yes'"),
        ("flatten", {"force": 1}, "force: expected true or false, not '1'"),
        ("cancel-all", {"force": True}, "cancel-all takes no argument 'force'"),
        ("fills", {"limit": 0}, "limit: expected a whole number from 1"),
        ("fills", {"limit": True}, "limit: expected a whole number from 1"),
        ("status", {"verbose": True}, "status takes no argument 'verbose'"),
        ("explode", {}, "no such verb: 'explode' (there are status, tree"),
    ],
)
def test_words_that_make_no_sense_get_a_clear_error(
    folder: Path, verb: str, arguments: dict[str, Any], pattern: str
) -> None:
    """The error says what there is instead, and nobody was asked anything."""

    async def scene(system: System, folder: Path) -> None:
        answer = await ask(folder, verb, **arguments)
        assert answer["ok"] is False
        assert pattern in answer["error"]
        assert system.told == []

    play(folder, scene)


def test_children_are_listed_and_counted_by_branch(folder: Path) -> None:
    """Erlang's which_children and count_children, of one supervisor or of all."""

    async def scene(system: System, folder: Path) -> None:
        system.states = {"plants/pnl": ChildState.PARKED, "plants/ticker": ChildState.STARTING}
        (plants,) = (await ask(folder, "children", id="plants"))["result"]
        assert plants["counts"] == {"specs": 4, "active": 2, "supervisors": 0, "workers": 4}
        assert [child["id"] for child in plants["children"]] == list(children_of("plants", system.settings))
        branches = (await ask(folder, "children"))["result"]
        assert [branch["id"] for branch in branches] == ["root", "services", "plants", "strategies"]
        assert branches[0]["counts"] == {"specs": 4, "active": 4, "supervisors": 3, "workers": 1}

    play(folder, scene)


def test_spec_of_a_child_comes_from_its_supervisor(folder: Path) -> None:
    """Or its words, where it has no such child any more."""

    async def scene(system: System, folder: Path) -> None:
        assert (await ask(folder, "spec", id="plants/order"))["result"] == {"id": "plants/order"}
        assert system.told[-1][0] == "plants"
        system.refuse = "not_found: plants/order"
        assert (await ask(folder, "spec", id="plants/order"))["error"] == "not_found: plants/order"

    play(folder, scene)


def test_a_branch_without_a_process_does_not_delay_the_status(folder: Path) -> None:
    """Its children are shown in its state; nobody is waited for in vain."""

    async def scene(system: System, folder: Path) -> None:
        system.silent = {"strategies", "strategies/one", "strategies/two"}
        system.states = {"strategies": ChildState.STOPPED}
        begin = asyncio.get_running_loop().time()
        result = (await ask(folder, "status"))["result"]
        assert asyncio.get_running_loop().time() - begin < body.QUERY_DEADLINE_S / 2
        states = {child["id"]: child["state"] for child in result["children"]}
        assert (states["strategies"], states["strategies/one"]) == ("stopped", "stopped")
        assert result["strategies"]["strategies/one"]["state"] == "stopped"

    play(folder, scene)


def test_audit_that_cannot_be_written_takes_no_command_away(folder: Path) -> None:
    """On a full disk the operator must still be able to halt; the failure is logged once."""
    failures: list[str] = []
    log = AuditLog(folder / "missing" / "control_audit.log", ManualClock(), failures.append)
    log.open()
    for _ in range(3):
        log.write(uid=1, pid=2, verb="halt", arguments={}, result="ok")
    assert len(failures) == 1
    (folder / "missing").mkdir()
    log.write(uid=1, pid=2, verb="halt", arguments={}, result="ok")
    log.close()
    assert (folder / "missing" / "control_audit.log").read_text().count("\n") == 1


def test_refusal_of_the_order_plant_is_passed_on(folder: Path) -> None:
    """Its words are the error."""

    async def scene(system: System, folder: Path) -> None:
        system.refuse = "not reconciled yet"
        assert (await ask(folder, "flatten"))["error"] == "not reconciled yet"

    play(folder, scene)


def test_command_without_an_answer_is_in_doubt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody claims that it failed: it may have been carried out."""
    monkeypatch.setattr(body, "COMMAND_DEADLINE_S", 0.05)

    async def scene(system: System, folder: Path) -> None:
        system.silent = {"plants/order"}
        answer = await ask(folder, "flatten")
        assert "did not answer" in answer["error"]
        assert "unknown" in answer["error"]

    play(folder, scene)


def test_restart_of_control_is_answered_first(folder: Path) -> None:
    """Afterwards nobody could."""

    async def scene(system: System, folder: Path) -> None:
        assert (await ask(folder, "restart", id="services/control"))["ok"] is True
        await wait_until_async(lambda: system.of(RestartChild))

    play(folder, scene)


@pytest.mark.parametrize("verb", ["reduce", "halt", "resume-trading", "risk-reset"])
@pytest.mark.parametrize("reason", [None, "", "  \n "])
def test_state_of_trading_is_not_changed_without_a_reason(folder: Path, verb: str, reason: str | None) -> None:
    """Whoever reads the record must learn why."""

    async def scene(system: System, folder: Path) -> None:
        arguments = {"reason": reason, **({"id": "account"} if verb == "risk-reset" else {})}
        answer = await ask(folder, verb, **arguments)
        assert answer["error"] == f'{verb} needs a reason: add --reason "TEXT"'
        assert system.told == []

    play(folder, scene)


def test_reason_is_a_line_that_harms_no_terminal(folder: Path) -> None:
    """It is shown to whoever looks at the risk, the log, the record."""

    async def scene(system: System, folder: Path) -> None:
        assert (await ask(folder, "halt", reason="wrong\nprices \x1b[2J\x07ü"))["ok"]
        ((_, command),) = system.told
        assert command.reason == "wrong prices [2Jü"  # type: ignore[attr-defined]

    play(folder, scene)


def test_risk_shows_every_limit(folder: Path) -> None:
    """The keys of ``risk`` are an interface."""

    async def scene(system: System, folder: Path) -> None:
        assert (await ask(folder, "risk"))["result"] == {
            "trading_state": "REDUCING",
            "reason": "a loss limit",
            "breaches": [{"owner": "account", "code": "RISK_DAILY_LOSS"}],
            "limits": [LIMIT],
        }

    play(folder, scene)


def test_reset_of_an_unknown_owner_names_the_known_ones(folder: Path) -> None:
    """A slip must not reset somebody else."""

    async def scene(system: System, folder: Path) -> None:
        for given in (None, "", "three", "strategies/three"):
            answer = await ask(folder, "risk-reset", id=given, reason="why not")
            assert answer["error"].endswith("(there are account, one, two)")
        assert system.told == []

    play(folder, scene)


HOSTILE = [
    b"\n",
    b"status\n",
    b"[]\n",
    b"null\n",
    b'{"verb": "status"}\n',
    b'{"request_id": 5, "verb": "status"}\n',
    b'{"request_id": "r", "verb": "status", "arguments": [1]}\n',
    b'{"request_id": "r", "verb": "status", "arguments": {"a": {"b": 1}}}\n',
    b'{"request_id": "r", "verb": "status", "extra": 1}\n',
    b'{"request_id": "r", "verb": "\\ud800"}\n',
    b"\xff\xfe\x00\x00\n",
    b"[" * 60_000 + b"\n",
    b"GET / HTTP/1.1\n",
]


def test_hostile_lines_get_error_replies_and_the_connection_goes_on(folder: Path) -> None:
    """What is no request is answered as such; the next line of the same connection is served."""

    async def scene(system: System, folder: Path) -> None:
        good = b'{"request_id": "r", "verb": "tree"}\n'
        answers = await send(folder, *HOSTILE, good)
        assert [answer["ok"] for answer in answers] == [False] * len(HOSTILE) + [True]
        assert system.crashed is None

    play(folder, scene)


def test_line_over_the_limit_is_refused_and_the_connection_ended(folder: Path) -> None:
    """Memory is bounded, with or without a line end."""

    async def scene(system: System, folder: Path) -> None:
        for payload in (b"x" * 200_000, b"x" * 70_000 + b"\n"):
            reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
            writer.write(payload)
            answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
            assert "at most 65536 bytes" in answer["error"]
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        assert (await ask(folder, "tree"))["ok"]
        assert system.crashed is None

    play(folder, scene)


def test_clients_over_the_limit_are_turned_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are connected stay; who goes away makes room."""
    monkeypatch.setattr(control_socket, "CLIENTS_MAX", 2)

    async def scene(system: System, folder: Path) -> None:
        path = str(folder / "control.sock")
        held = [await asyncio.open_unix_connection(path) for _ in range(2)]
        for reader, writer in held:
            writer.write(b'{"request_id": "r", "verb": "tree"}\n')
            assert json.loads(await reader.readline())["ok"]
        reader, writer = await asyncio.open_unix_connection(path)
        assert "2 clients are connected already" in json.loads(await reader.readline())["error"]
        writer.close()
        held[0][1].write_eof()
        assert await held[0][0].read() == b""
        await wait_until_async(lambda: len(system.body._server._clients) == 1)
        assert (await ask(folder, "tree"))["ok"]
        held[1][1].close()

    play(folder, scene)


def test_client_that_says_nothing_is_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold a place for ever."""
    monkeypatch.setattr(control_socket, "CLIENT_IDLE_S", 0.05)

    async def scene(system: System, folder: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert system.crashed is None

    play(folder, scene)


def test_other_users_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says who is at the other end; the refusal is audited."""

    async def scene(_: System, folder: Path) -> None:
        own = os.geteuid()
        monkeypatch.setattr("nightdesk.control_socket.os.geteuid", lambda: own + 1)
        reader, writer = await asyncio.open_unix_connection(str(folder / "control.sock"))
        assert f"user {own} may not control" in json.loads(await reader.readline())["error"]
        writer.close()
        assert audit(folder)[-1]["uid"] == own

    play(folder, scene)


def test_socket_and_audit_are_for_their_user_alone(folder: Path) -> None:
    """Mode 0600; the socket is gone after the end, and a stale one does not prevent a start."""

    async def scene(_: System, folder: Path) -> None:
        for name in ("control.sock", "control_audit.log"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600

    (folder / "control.sock").touch()
    play(folder, scene)
    assert not (folder / "control.sock").exists()


def test_every_command_is_audited(folder: Path) -> None:
    """Who, when, what, and how it ended; refused ones and malformed ones, too."""

    async def scene(_: System, folder: Path) -> None:
        await ask(folder, "pause", id="one", reason="x" * 5_000)
        await ask(folder, "pause", id="none")
        await send(folder, b"garbage\n")

    play(folder, scene)
    good, refused, malformed = audit(folder)
    assert (good["verb"], good["result"], good["uid"], good["pid"]) == ("pause", "ok", os.geteuid(), os.getpid())
    assert good["time"] == "2023-11-14T22:13:20.000000+00:00"
    assert good["arguments"]["id"] == "one"
    assert len(good["arguments"]["reason"]) == 1_000
    assert "no such strategy" in refused["result"]
    assert "not a request" in malformed["result"]


def test_audit_goes_on_in_a_new_file_when_one_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files bound what it takes."""
    monkeypatch.setattr("actors.control.audit.AUDIT_BYTES_MAX", 300)
    log = AuditLog(folder / "control_audit.log", ManualClock(), pytest.fail)
    for number in range(6):
        log.write(uid=1, pid=2, verb=f"verb{number}", arguments={}, result="ok")
    log.close()
    assert (folder / "control_audit.log.1").exists()
    assert audit(folder)[-1]["verb"] == "verb5"
    assert (folder / "control_audit.log").stat().st_size <= 300
