"""The payloads of the attacks, and the way to run them as another user."""

import json
import os
import pickle
import stat
import subprocess
from pathlib import Path
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest

from supervisors.substrate.frames import HEADER, MARK, pack

SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = 65_534
ATTACKER = Path(__file__).with_name("attacker.py")
IDLE_CONNECTIONS = 300


class Exploit:
    """Whoever unpickles this runs a command: it leaves the canary."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self._canary}",)


def _thespian_frame(content: bytes) -> bytes:
    return f"{len(content)}>".encode() + content


def payloads(canary: Path) -> dict[str, bytes]:
    """Every payload in the framing of Thespian's TCP transport and, where it makes a difference, in ours."""
    forged = (ActorAddress(None), ActorExitRequest())
    return {
        "pickle": _thespian_frame(pickle.dumps((ActorAddress(None), Exploit(canary)))),
        "pickle in our frame": pack((None, Exploit(canary))),
        "exit request": _thespian_frame(pickle.dumps(forged)),
        "exit request in our frame": pack(forged),
        "minus five": b"-5>",
        "oversized": b"4000000000>" + b"x" * 1_000,
        "oversized in our frame": HEADER.pack(MARK, 0xFFFF_FFFF) + b"x" * 1_000,
        "half a frame": HEADER.pack(MARK, 1_000) + b"x",
    }


def attack(
    targets: list[dict[str, Any]],
    wanted: dict[str, bytes],
    *,
    idle: int = IDLE_CONNECTIONS,
    folders: tuple[str, ...] = (),
    uid: int = NOBODY,
    answer_s: float = 0.3,
) -> dict[str, Any]:
    """Run the attacker as that user; what it has to report. A busy machine needs a long ``answer_s``."""
    order = {
        "targets": targets,
        "payloads": {name: content.hex() for name, content in wanted.items()},
        "idle": idle,
        "answer_s": answer_s,
        "folders": list(folders),
    }
    identity: dict[str, Any] = {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-c", ATTACKER.read_text()],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd="/",
        timeout=300,
        check=True,
        **identity,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["uid"] == uid
    return report


def sockets_below(folder: Path) -> list[dict[str, Any]]:
    """Every socket file of a running system as a target; lanes keep the borders of packets."""
    found = [path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]
    lanes = (".market", ".order", ".history", ".audit")
    return [{"kind": "packet" if path.suffix in lanes else "stream", "address": str(path)} for path in sorted(found)]
