"""Runs the whole system as a user would (``python run.py``) and looks at it from outside: log, socket, /proc."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[2]
MARK = "NIGHTDESK_TEST_RUN"
"""An environment variable that every process of one run inherits: how leftovers are found."""

INSTRUMENT = {"symbol": "ESZ6", "exchange": "CME", "tick_size": 0.25, "point_value": 50.0, "commission": 1.25}


def sim_configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """The shipped default job with its folders moved to ``folder``, in markets that never close.

    Top-level keys can be replaced.
    """
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "config" / "sim.yaml").read_text())
    shipped |= {"state_dir": str(folder / "s"), "runtime_dir": str(folder / "r")}
    shipped["exchange"]["sessions"] = "always"
    return shipped | changes


def write_configuration(folder: Path, content: dict[str, Any], name: str = "test.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="nd-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_cli(
    *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """One call of ``run.py`` to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        check=False,
    )


class Process:
    """A ``run.py`` process whose JSON log lines are collected."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "run.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {}), MARK: self.mark},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.raw.append(line)
            try:
                parsed = json.loads(line)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                self.lines.append(parsed)

    def events(self, event: str, **keys: Any) -> list[dict[str, Any]]:
        """The log lines so far with this event name and these values."""
        return [
            line
            for line in list(self.lines)
            if line.get("event") == event and all(line.get(key) == value for key, value in keys.items())
        ]

    def wait_for(self, event: str, timeout_s: float = 40.0, *, count: int = 1, **keys: Any) -> list[dict[str, Any]]:
        """Wait until the log has ``count`` such lines."""

        def seen() -> bool:
            return len(self.events(event, **keys)) >= count or self.process.poll() is not None

        try:
            wait_until(seen, timeout_s)
        except AssertionError:
            raise AssertionError(f"no {count} x {event} {keys} within {timeout_s} s\n{self.tail()}") from None
        found = self.events(event, **keys)
        assert len(found) >= count, f"ended without {count} x {event} {keys}\n{self.tail()}"
        return found

    def tail(self) -> str:
        return "".join(self.raw[-60:])

    def processes(self) -> list[int]:
        """Every living process of this run, found by the inherited environment mark."""
        needle = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if needle in (entry / "environ").read_bytes() and "\nState:\tZ" not in (entry / "status").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        """Send a signal, wait for the end, return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def destroy(self) -> None:
        """Whatever is left is killed."""
        for _ in range(5):
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait(10)


class System(Process):
    """A running system with its control socket."""

    def __init__(self, configuration: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        super().__init__("--config", str(configuration), "--log-format", "json", *arguments, env=env)
        content = yaml.safe_load(configuration.read_text())
        self.state_dir = Path(content["state_dir"])
        self.runtime_dir = Path(content["runtime_dir"])
        self.configuration = configuration

    def control(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """One request over the control socket; the whole answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(15)
            connection.connect(str(self.runtime_dir / "control.sock"))
            request = {"request_id": uuid.uuid4().hex, "verb": verb, "arguments": arguments}
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                part = connection.recv(65536)
                if not part:
                    break
                answer += part
        result: dict[str, Any] = json.loads(answer)
        return result

    def status(self) -> dict[str, Any]:
        answer = self.control("status")
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    def child_pids(self) -> dict[str, int]:
        return {child["id"]: child["pid"] for child in self.status()["children"]}

    def wait_status(self, predicate: Callable[[dict[str, Any]], object], timeout_s: float = 30.0) -> dict[str, Any]:
        """Poll ``status`` until the predicate holds."""
        last: dict[str, Any] = {}

        def holds() -> bool:
            nonlocal last
            if self.process.poll() is not None:
                raise AssertionError(f"the system ended\n{self.tail()}")
            try:
                last = self.status()
            except (OSError, ValueError, AssertionError):
                return False
            return bool(predicate(last))

        try:
            wait_until(holds, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {json.dumps(last)}\n{self.tail()}") from None
        return last


@contextmanager
def running(configuration: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[System]:
    """A system that is surely gone afterwards."""
    system = System(configuration, *arguments, env=env)
    try:
        yield system
    finally:
        system.destroy()
