"""Another user of the machine attacks: on Thespian as it ships each attack works, on ours none does.

The attacks from another uid need root to become that uid. Those from our own uid, which pass the kernel and reach our
own checks, run for everybody.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from nightdesk.errors import ConfigurationError
from supervisors.substrate import prepare
from tests.e2e.harness import ROOT, System, run_cli, running, short_folder, sim_configuration, write_configuration
from tests.substrate.attacks import NOBODY, attack, payloads, sockets_below
from tests.support import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
REFUSED_BY_KERNEL = "PermissionError"
REFUSED_WITHIN_S = 15.0
CUT_OFF = {"closed", "BrokenPipeError", "ConnectionResetError"}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def _plain_thespian() -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.substrate.plain_victim", str(_free_port())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "THESPIAN_BASE_IPADDR": "127.0.0.1"},
    )
    assert process.stdout is not None
    victim = json.loads(process.stdout.readline())
    family = [parent for pid in victim["pids"] for parent in psutil.Process(pid).parents()]
    try:
        yield victim
    finally:
        process.communicate(timeout=30)
        for pid in victim["pids"]:
            if not _is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        for parent in family:
            if _is_victim(parent):
                parent.kill()


def _is_victim(process: psutil.Process) -> bool:
    try:
        return "tests.substrate.plain_victim" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@needs_root
def test_the_attacks_work_on_thespian_as_it_ships(tmp_path: Path) -> None:
    """Proof that they are attacks: another user runs a command as us, and ends two actors."""
    canary = tmp_path / "canary"
    attacks = payloads(canary)
    with _plain_thespian() as victim:
        ports, pids = victim["ports"], victim["pids"]
        for port, name in zip(ports, ("pickle", "minus five", "exit request"), strict=True):
            attack([{"kind": "tcp", "address": ["127.0.0.1", port]}], {name: attacks[name]}, idle=0)
        wait_until(canary.exists)
        wait_until(lambda: _is_gone(pids[1]))
        wait_until(lambda: _is_gone(pids[2]))
        assert canary.stat().st_uid == os.geteuid()


@contextmanager
def _whole_system() -> Iterator[tuple[System, Path]]:
    with short_folder() as folder:
        folder.chmod(0o755)
        with running(write_configuration(folder, sim_configuration(folder))) as system:
            system.wait_for("system_started")
            system.wait_for("plant_logged_in", count=4)
            yield system, folder


def _exchange_port(system: System) -> list[Any]:
    endpoint = json.loads((system.runtime_dir / "exchange.json").read_text())
    url = next(value for value in endpoint.values() if isinstance(value, str) and "://" in value)
    return ["127.0.0.1", int(url.rpartition(":")[2].strip("/"))]


@needs_root
def test_another_user_gets_nowhere(tmp_path: Path) -> None:
    """Every socket and port of a running system, first as it is, then with its permissions opened by mistake.

    As it is, the kernel refuses; no process of ours learns of it. Opened, each connection is refused for its uid
    before a byte is read, and logged. Nothing is executed, nobody dies, nothing is squatted.
    """
    canary = tmp_path / "canary"
    attacks = payloads(canary)
    with _whole_system() as (system, _):
        before = system.child_pids()
        targets = sockets_below(system.runtime_dir)
        folders = (str(system.runtime_dir), str(system.runtime_dir / "m"))
        closed = attack(targets, attacks, folders=folders)
        for folder in folders:
            os.chmod(folder, 0o755)
        for target in targets:
            os.chmod(target["address"], 0o666)
        opened = attack(targets, attacks, folders=folders, answer_s=REFUSED_WITHIN_S)
        system.wait_for("mailbox_peer_refused", peer_uid=NOBODY)
        system.wait_for("lane_peer_refused", uid=NOBODY)
        system.wait_for("control_refused", peer_uid=NOBODY)
        actors_that_refused = {line["child_id"] for line in system.events("mailbox_peer_refused")}
        tcp = attack([{"kind": "tcp", "address": _exchange_port(system)}], attacks)
        assert system.child_pids() == before
        assert len(system.events("child_restarted")) == 0
    assert len(targets) > 15
    assert {outcome for one in closed["attempts"] for outcome in one["outcomes"].values()} == {REFUSED_BY_KERNEL}
    assert all(one["idle_refused"] == 300 for one in closed["attempts"])
    mailboxes = [one for one in opened["attempts"] if "/m/" in one["target"]]
    assert {outcome for one in mailboxes for outcome in one["outcomes"].values()} <= CUT_OFF
    assert actors_that_refused >= set(before)
    for squats in (*closed["squats"].values(), *opened["squats"].values()):
        assert squats == {"bind": REFUSED_BY_KERNEL, "rename": REFUSED_BY_KERNEL}
    assert all("ok" not in outcome for outcome in tcp["attempts"][0]["outcomes"].values())
    assert not canary.exists()


def test_garbage_from_our_own_user_is_refused_and_logged(tmp_path: Path) -> None:
    """Past the kernel and the uid: wrong frames, too large ones and 300 idle connections on every mailbox socket."""
    harmless = {name: content for name, content in payloads(tmp_path / "c").items() if "pickle in" not in name}
    del harmless["exit request in our frame"]
    with _whole_system() as (system, _):
        before = system.child_pids()
        mailboxes = [target for target in sockets_below(system.runtime_dir) if "/m/" in target["address"]]
        report = attack(mailboxes, harmless, uid=os.geteuid())
        for reason in ("a wrong frame", "too many that say nothing"):
            system.wait_for("mailbox_connection_refused", reason=reason, count=len(before))
        assert system.child_pids() == before
        assert len(system.events("child_restarted")) == 0
    allowed = CUT_OFF | {"silence"}
    assert {outcome for one in report["attempts"] for outcome in one["outcomes"].values()} <= allowed
    assert not (tmp_path / "c").exists()


@needs_root
def test_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    """Squatted before the start: the run refuses, names the folder and ends with 2."""
    (tmp_path / "m").mkdir()
    os.chown(tmp_path / "m", NOBODY, NOBODY)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        prepare(str(tmp_path))
    with short_folder() as folder:
        (folder / "r").mkdir()
        os.chown(folder / "r", NOBODY, NOBODY)
        done = run_cli("--config", str(write_configuration(folder, sim_configuration(folder))))
    assert done.returncode == 2
    assert "belongs to user" in done.stderr
