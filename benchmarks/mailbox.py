"""The mailbox's substrate against Thespian's TCP base, in one run: ``python -m benchmarks.mailbox`` prints Markdown.

Each base runs the same two actors. One-way times are between two actors' processes by the machine's monotonic clock;
a round trip is ``ask`` from outside. Memory is the proportional set size: pages that are shared count in shares.
"""

import atexit
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from thespian.actors import Actor, ActorAddress, ActorSystem

from supervisors.substrate import UnixSystemBase, prepare
from supervisors.substrate.transport import FOLDER
from tests.small_system import SmallSystem, supervisor, worker

ROUND_TRIPS = 2_000
ONE_WAY = 1_000
BURST = 5_000
STARTS = 30
PACE_S = 0.005
"""Between two messages that are timed one by one: each finds its receiver asleep, as mailbox mail does."""


class Echo(Actor):  # type: ignore[misc]
    """Answers everything with the time of its arrival."""

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        arrived_ns = time.monotonic_ns()
        if message == "pid":
            self.send(sender, os.getpid())
        elif isinstance(message, tuple):
            self.send(sender, (*message, arrived_ns))


class Source(Actor):  # type: ignore[misc]
    """Sends to a child of its own, as it is told, and reports."""

    def __init__(self) -> None:
        super().__init__()
        self._asker: ActorAddress | None = None
        self._echo: ActorAddress | None = None
        self._kind = ""
        self._left = 0
        self._began_ns = 0
        self._times: list[int] = []

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        match message:
            case (str(kind), int(count)):
                self._asker, self._kind, self._left, self._times = sender, kind, count, []
                self._begin()
            case (int(sent_ns), int(arrived_ns)):
                self._answered(sent_ns, arrived_ns)
            case _ if self._kind == "paced" and self._left:
                self.send(self._echo, (time.monotonic_ns(),))

    def _begin(self) -> None:
        self._began_ns = time.monotonic_ns()
        if self._echo is None or self._kind == "start":
            self._echo = self.createActor("benchmarks.mailbox.Echo")
        if self._kind == "burst":
            for _ in range(self._left):
                self.send(self._echo, (time.monotonic_ns(),))
        else:
            self.send(self._echo, (time.monotonic_ns(),))

    def _answered(self, sent_ns: int, arrived_ns: int) -> None:
        self._left -= 1
        # The time from the call of createActor, or of send, to the child's handler.
        self._times.append(arrived_ns - (self._began_ns if self._kind == "start" else sent_ns))
        if self._left == 0:
            total_s = (arrived_ns - self._began_ns) / 1e9
            self.send(self._asker, {"times": self._times, "total_s": total_s})
        elif self._kind == "start":
            self._begin()
        elif self._kind == "paced":
            self.wakeupAfter(PACE_S)


def measure(start: Callable[[], Any]) -> dict[str, str]:
    """All figures of one base."""
    begin = time.monotonic()
    system = start()
    found = {"boot of admin and logger": f"{(time.monotonic() - begin) * 1e3:.0f} ms"}
    echo, source = system.createActor(Echo), system.createActor(Source)
    trips = []
    for _ in range(ROUND_TRIPS):
        begin_ns = time.monotonic_ns()
        system.ask(echo, (begin_ns,), 10)
        trips.append(time.monotonic_ns() - begin_ns)
    found["round trip, p50 / p99"] = _percentiles(trips)
    paced = system.ask(source, ("paced", ONE_WAY), 120)["times"][10:]
    found["one way between two actors, p50 / p99"] = _percentiles(paced)
    burst = system.ask(source, ("burst", BURST), 300)
    found["burst between two actors"] = f"{BURST / burst['total_s']:,.0f} messages/s"
    starts = system.ask(source, ("start", STARTS), 300)["times"]
    found["createActor to the child's first message, p50 / max"] = (
        f"{statistics.median(starts) / 1e6:.1f} / {max(starts) / 1e6:.1f} ms"
    )
    found["memory of an idle actor"] = f"{_pss_mib(system.ask(echo, 'pid', 10)):.1f} MiB"
    system.shutdown()
    return found


def _percentiles(times_ns: list[int]) -> str:
    cuts = statistics.quantiles(times_ns, n=100)
    return f"{cuts[49] / 1e3:,.0f} / {cuts[98] / 1e3:,.0f} µs"


def _pss_mib(pid: int) -> float:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


def _tcp() -> Any:
    os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"
    return ActorSystem("multiprocTCPBase", {"Admin Port": 19_731}, transientUnique=True)


def _unix() -> Any:
    folder = tempfile.TemporaryDirectory(prefix="nd-")
    atexit.register(folder.cleanup)
    capabilities = {FOLDER: prepare(folder.name)}
    base = UnixSystemBase(SimpleNamespace(capabilities=capabilities))
    return ActorSystem(systemBase=base, capabilities=capabilities, transientUnique=True)


def system_figures() -> dict[str, str]:
    """Of real supervisors and workers: from a death to the successor's ``Started``, and memory."""
    policy = {"intensity": 10_000, "backoff_initial_s": 0.0, "backoff_max_s": 0.0}
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        child = worker("strategies/a", "Quiet", **policy)
        with SmallSystem(Path(folder), supervisor("strategies", child, intensity=10_000)) as system:
            pids = system.wait_started()
            memory = {name: _pss_mib(pid) for name, pid in pids.items()}
            for round_number in range(1, STARTS + 1):
                os.kill(system.pids()["strategies/a"], 9)
                system.wait_for("child_restarted", "strategies/a", count=round_number)
            downtimes = [line["downtime_ms"] for line in system.lines("child_restarted", "strategies/a")]
    return {
        "SIGKILL of a worker seen to its successor's Started, p50 / max": (
            f"{statistics.median(downtimes):.0f} / {max(downtimes)} ms"
        ),
        "memory of a worker with an idle body": f"{memory['strategies/a']:.1f} MiB",
        "memory of a supervisor": f"{memory['strategies']:.1f} MiB",
    }


def main(arguments: list[str]) -> None:
    """Each base in a process of its own; then the table."""
    if arguments:
        for name, value in measure(_tcp if arguments[0] == "tcp" else _unix).items():
            print(f"{name}\t{value}")
        return
    columns = {}
    for base in ("tcp", "unix"):
        command = [sys.executable, "-m", "benchmarks.mailbox", base]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        columns[base] = dict(line.split("\t") for line in lines if "\t" in line)
    print("| measured | multiprocTCPBase | UnixSystemBase |\n|---|---|---|")
    for name, value in columns["unix"].items():
        print(f"| {name} | {columns['tcp'][name]} | {value} |")
    for name, value in system_figures().items():
        print(f"| {name} | | {value} |")


if __name__ == "__main__":
    main(sys.argv[1:])
