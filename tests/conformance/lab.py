"""One running system for all cases with real processes: each case adds a branch of its own and takes it away again."""

import itertools
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from nightdesk.messages import (
    AddChild,
    ChildCounts,
    ChildId,
    ChildParked,
    ChildReport,
    ChildState,
    CommandResult,
    CountChildren,
    DeleteChild,
    Message,
    QueryStatus,
    RestartChild,
    StopSystem,
    TerminateChild,
    TreeStatus,
    decode,
    encode,
)
from supervisors.spec import ChildSpec, RestartType, Strategy, SupervisorSpec, branch, pack_child
from tests.small_system import SmallSystem, supervisor, worker
from tests.support import wait_until

DESK = ChildId("desk")
ANSWER_S = 20.0
"""Generous: two cores may be shared with other test runs."""


class Lab:
    """The system, its log, and the desk through which mail is sent into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        socket_path = folder / "desk.sock"
        desk = ChildSpec(
            id=DESK,
            body="tests.conformance.bodies:Desk",
            config=json.dumps({"socket": str(socket_path)}).encode(),
        )
        self.system = SmallSystem(folder, desk, supervisor("lab", intensity=10_000), intensity=10_000)
        self.system.__enter__()
        self._log = (folder / "log.jsonl").open()
        self._lines: list[dict[str, Any]] = []
        self._partial = ""
        self._numbers = itertools.count(1)
        wait_until(lambda: self.lines("system_started"), ANSWER_S)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(socket_path))
        self._received = b""
        self._other: list[Message] = []

    @property
    def alive(self) -> bool:
        return self.system.process.poll() is None

    def close(self) -> None:
        self._socket.close()
        self._log.close()
        self.system.__exit__(None, None, None)

    def lines(self, event: str | None = None, child_id: str | None = None) -> list[dict[str, Any]]:
        """The log so far; only what is new is read from the file."""
        *complete, self._partial = (self._partial + self._log.read()).split("\n")
        self._lines += [json.loads(text) for text in complete if text.startswith("{")]
        return [
            line
            for line in self._lines
            if event in (None, line["event"]) and (child_id is None or line.get("child_id") == child_id)
        ]

    def request_id(self) -> str:
        return str(next(self._numbers))

    def tell(self, to: str, message: Message) -> None:
        record = {"to": to, "message": encode(message).hex()}
        self._socket.sendall(json.dumps(record).encode() + b"\n")

    def ask(self, to: str, message: Any) -> Any:
        """Send a request and wait for its answer."""
        self.tell(to, message)
        return self.answer(message)

    def answer(self, message: Any, timeout_s: float = ANSWER_S) -> Any:
        """Wait for the answer to a request that was sent."""
        deadline = time.monotonic() + timeout_s
        while True:
            for line in self._complete_lines():
                found = decode(bytes.fromhex(json.loads(line)["message"]))
                if getattr(found, "request_id", None) == message.request_id:
                    return found
                self._other.append(found)
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self._received += self._socket.recv(65_536)
            except TimeoutError:
                raise AssertionError(f"no answer to {message} within {timeout_s} s") from None

    def _complete_lines(self) -> list[bytes]:
        *complete, self._received = self._received.split(b"\n")
        return complete

    def parked(self) -> list[ChildParked]:
        """The notes about parked children that have come to the desk."""
        wait_until(self._receive_other, ANSWER_S)
        return [note for note in self._other if isinstance(note, ChildParked)]

    def _receive_other(self) -> bool:
        self.ask("lab", QueryStatus(request_id=self.request_id(), reply_to=DESK))
        return any(isinstance(note, ChildParked) for note in self._other)

    def add(self, to: str, spec: ChildSpec) -> CommandResult:
        """``start_child``."""
        result = self.ask(to, AddChild(request_id=self.request_id(), reply_to=DESK, spec=pack_child(spec)))
        assert isinstance(result, CommandResult)
        return result


class Case:
    """One branch in the lab, ``lab/<name>``, and its children."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.id = ChildId(f"lab/{name}")
        self.added = CommandResult(request_id="", ok=False, text="")
        (lab.folder / name).mkdir(exist_ok=True)
        self._folder = lab.folder / name

    def child(
        self, name: str, *starts: str, stop: str = "ok", info: str = "", text: str = "no luck", **policy: Any
    ) -> ChildSpec:
        """A scripted worker's spec; see ``bodies.Scripted``."""
        script = {"folder": str(self._folder), "starts": starts or ("ok",), "stop": stop, "info": info, "text": text}
        made = worker(f"{self.id}/{name}", "Quiet", **({"watchdog_s": None} | policy))
        return msgspec.structs.replace(
            made, body="tests.conformance.bodies:Scripted", config=json.dumps(script).encode()
        )

    def run(
        self,
        *children: ChildSpec,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 100,
        period_s: float = 60.0,
        **policy: Any,
    ) -> "Case":
        """Start the branch: a temporary one, so that the lab forgets it when it ends."""
        spec = SupervisorSpec(id=self.id, children=children, strategy=strategy, intensity=intensity, period_s=period_s)
        defaults: dict[str, Any] = {"restart": RestartType.TEMPORARY}
        self.added = self.lab.add("lab", branch(spec, **(defaults | policy)))
        return self

    def full(self, name: str) -> ChildId:
        return ChildId(f"{self.id}/{name}" if name else self.id)

    # -- looking -----------------------------------------------------------------------------------------------------

    def reports(self) -> dict[str, ChildReport]:
        """The children by their short names."""
        status = self.lab.ask(self.id, QueryStatus(request_id=self.lab.request_id(), reply_to=DESK))
        assert isinstance(status, TreeStatus)
        return {report.child_id.removeprefix(f"{self.id}/"): report for report in status.children}

    def pids(self) -> dict[str, int]:
        return {name: report.pid for name, report in self.reports().items()}

    def states(self) -> dict[str, str]:
        return {name: report.state.value for name, report in self.reports().items()}

    def counts(self) -> tuple[int, int, int, int]:
        counts = self.lab.ask(self.id, CountChildren(request_id=self.lab.request_id(), reply_to=DESK))
        assert isinstance(counts, ChildCounts)
        return counts.specs, counts.active, counts.supervisors, counts.workers

    def lines(self, event: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
        """Lines about this branch's children, or about one of them (the branch itself is the empty name)."""
        if name is not None:
            return self.lab.lines(event, self.full(name))
        return [line for line in self.lab.lines(event) if str(line.get("child_id", "")).startswith(f"{self.id}/")]

    def order(self) -> list[str]:
        """In order: +name for a start that succeeded, -name for an end."""
        marks = {"child_started": "+", "child_restarted": "+", "child_exited": "-"}
        return [
            marks[line["event"]] + line["child_id"].removeprefix(f"{self.id}/")
            for line in self.lines()
            if line["event"] in marks
        ]

    def contexts(self) -> list[tuple[str, str]]:
        return [
            (line["error_context"], line["child_id"].removeprefix(f"{self.id}/"))
            for line in self.lines()
            if line.get("error_context")
        ]

    # -- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, predicate: Any, timeout_s: float = ANSWER_S) -> None:
        wait_until(predicate, timeout_s)

    def wait_for(self, event: str, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until the log has that many lines of the event about a child; the last of them."""
        self.wait(lambda: len(self.lines(event, name)) >= count)
        return self.lines(event, name)[-1]

    def wait_running(self, *names: str) -> dict[str, int]:
        """Wait until exactly these children run and no other is on its way; the pids."""
        busy = {ChildState.STARTING, ChildState.RESTARTING, ChildState.STOPPING}

        def settled() -> bool:
            found = self.reports()
            running = {name for name, report in found.items() if report.state is ChildState.RUNNING}
            return running == set(names) and not any(report.state in busy for report in found.values())

        self.wait(settled)
        return self.pids()

    def wait_ended(self) -> dict[str, Any]:
        """Wait until the branch itself is gone; the line about its end."""
        return self.wait_for("child_exited", "")

    # -- doing -------------------------------------------------------------------------------------------------------

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a child (or, with the empty name, to the branch); its pid."""
        pid = self.pids()[name] if name else self.own_pid()
        os.kill(pid, number)
        return pid

    def own_pid(self) -> int:
        status = self.lab.ask("lab", QueryStatus(request_id=self.lab.request_id(), reply_to=DESK))
        assert isinstance(status, TreeStatus)
        return next(report.pid for report in status.children if report.child_id == self.id)

    def poke(self, name: str, what: str) -> None:
        self.lab.tell(self.full(name), StopSystem(request_id="poke", reply_to=DESK, reason=what))

    def add(self, spec: ChildSpec) -> CommandResult:
        return self.lab.add(self.id, spec)

    def terminate(self, name: str) -> CommandResult:
        return self._command(TerminateChild(request_id=self.lab.request_id(), reply_to=DESK, child_id=self.full(name)))

    def restart(self, name: str, *, running_too: bool = False) -> CommandResult:
        return self._command(
            RestartChild(
                request_id=self.lab.request_id(),
                reply_to=DESK,
                child_id=self.full(name),
                running_too=running_too,
            )
        )

    def delete(self, name: str) -> CommandResult:
        return self._command(DeleteChild(request_id=self.lab.request_id(), reply_to=DESK, child_id=self.full(name)))

    def _command(self, message: Message) -> CommandResult:
        result = self.lab.ask("root", message)
        assert isinstance(result, CommandResult)
        return result

    def starts(self, name: str) -> int:
        """How often the child's body was started."""
        return self._counted(name, "starts")

    def mail(self, name: str) -> int:
        """How many pokes the child's body got."""
        return self._counted(name, "mail")

    def _counted(self, name: str, what: str) -> int:
        path = self._folder / f"{self.full(name).replace('/', '_')}.{what}"
        return path.stat().st_size if path.exists() else 0

    def close(self) -> None:
        """Take the branch away, whatever became of it."""
        if self.lab.alive:
            self.terminate("")


def is_alive(pid: int) -> bool:
    """True for a process that has not ended; a zombie has."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def brief(result: CommandResult) -> tuple[bool, str]:
    """Whether it is good, and the word that its text begins with, without the branch's path."""
    return result.ok, result.text.partition(":")[0].rpartition("/")[2]
