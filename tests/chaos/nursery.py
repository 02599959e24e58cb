"""A process that has everything imported and makes order plants by fork, within milliseconds; ``crash_rig`` runs it.

A line of JSON on standard input asks for a plant (the keys of ``crash_rig.Birth``) or lets one that is held go
(``{"go": pid}``); a line on standard output tells of a birth (``{"pid": pid}``) or a death (``{"dead": pid}``).
"""

import asyncio
import ctypes
import json
import os
import select
import signal
import traceback
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from actors.base import BodyRunner, Context
from actors.plants.order import OrderPlantBody
from actors.plants.order_reconcile import ReconcilePolicy
from actors.process import die_with_parent
from nightdesk.logs import configure
from nightdesk.messages import ChildId, Down, Message, StartChild
from tests.chaos import crash_inside, order_sabotage

CHILD = ChildId("plants/order")
HEARTBEAT_S = 1.0
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, -1
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


class QuickOrderPlant(OrderPlantBody):
    """The real one, with less patience in its reconciliation: the exchange answers from memory."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.reconcile_policy = ReconcilePolicy(
            span_s=0.03, quiet_s=0.01, retry_s=0.01, replay_everything=True, positions_s=0.0
        )


def _post(_destination: ChildId, message: Message) -> None:
    """Mail goes nowhere; a body that has ended ends its process."""
    if isinstance(message, Down):
        print(json.dumps({"event": "body_down", "reason": message.reason, "traceback": message.traceback}), flush=True)
        os._exit(1)


def _live(birth: dict[str, Any], gate: int, parent_pid: int) -> NoReturn:
    """What a new plant does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(parent_pid)
    output = os.open(birth["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(output, _STANDARD_OUTPUT)
    os.dup2(output, _STANDARD_ERROR)
    # A tracer that is no ancestor needs this where the kernel restricts ptrace (Yama).
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
    incarnation = birth["incarnation"]
    configure(log_format="json", level="info", actor="OrderPlant", child_id=CHILD, incarnation=incarnation)
    if birth["inside"]:
        crash_inside.arm(Path(birth["inside"]))
        # The event loop's library makes its calls out of the profiler's sight; the standard one makes the same in it.
        uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[assignment]
    os.read(gate, 1)
    start = StartChild(
        child_id=CHILD,
        incarnation=incarnation,
        parent_pid=parent_pid,
        body=f"{__name__}:{QuickOrderPlant.__name__}",
        config=Path(birth["config"]).read_bytes(),
        heartbeat_interval_s=HEARTBEAT_S,
        log_format="json",
        log_level="info",
    )
    BodyRunner(start, os.getpid(), _post).begin()
    while True:
        signal.pause()


class Nursery:
    """Single-threaded, so that a fork copies nothing half done."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._gates: dict[int, int] = {}

    def run(self) -> None:
        """Until nobody can ask any more; all plants die with this process."""
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        waiting = b""
        while True:
            ready, _, _ = select.select([0, wake_reader], [], [])
            if wake_reader in ready:
                os.read(wake_reader, 4096)
                self._reap()
            if 0 not in ready:
                continue
            part = os.read(0, 65_536)
            if not part:
                return
            *lines, waiting = (waiting + part).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "go" in order:
            os.write(self._gates[order["go"]], b"g")
            return
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if not pid:
            try:
                _live(order, reader, self._pid)
            finally:
                # A child that went on from here would be a second nursery.
                traceback.print_exc()
                os._exit(1)
        os.close(reader)
        self._gates[pid] = writer
        if not order["held"]:
            os.write(writer, b"g")
        _tell(pid=pid)

    def _reap(self) -> None:
        while self._gates:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            os.close(self._gates.pop(pid))
            _tell(dead=pid, status=os.waitstatus_to_exitcode(status))


def _tell(**words: int) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    # Under the name by which a body's class is found.
    from tests.chaos import nursery

    order_sabotage.pytest_configure()
    nursery.Nursery().run()
