"""``journal.durability``: with ``power`` each commit waits for the disk, with ``process`` it does not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from actors.plants.journal import Journal
from tests.test_order_table import make_order

COMMITS = 20
CALLS = "trace=fsync,fdatasync,sync_file_range"
FRESH = 2
"""The first commit brings the new -wal file's header, and its folder, to the disk in either case."""
Durability = Literal["process", "power"]

WRITER = f"""
import sys
from actors.plants.journal import Journal
from tests.test_order_table import make_order
journal = Journal.open(sys.argv[1], system_name="S", durability=sys.argv[2])
print("begun", flush=True)
sys.stdin.readline()
for number in range({COMMITS}):
    journal.write_intent(make_order(client_order_id=f"o{{number}}"))
print("written", flush=True)
sys.stdin.readline()
"""
"""Waits between opening and writing, and between writing and closing, so that only the commits are counted."""


def syncs_of_commits(folder: Path, durability: Durability) -> int | None:
    """How often the kernel was asked to bring files to the disk while the intents were committed; None: not seen."""
    command = [sys.executable, "-c", WRITER, str(folder), durability]
    writer = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "begun\n"
        record = folder / "strace.out"
        watch = ["strace", "-f", "-e", CALLS, "-o", str(record), "-p", str(writer.pid)]
        watcher = subprocess.Popen(watch, stderr=subprocess.PIPE, text=True)
        assert watcher.stderr is not None
        is_attached = "attached" in watcher.stderr.readline()
        writer.stdin.write("go\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "written\n"
        watcher.terminate()
        watcher.communicate(timeout=30)
        return record.read_text().count("sync(") if is_attached else None
    finally:
        writer.kill()
        writer.communicate(timeout=30)


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_the_databases_own(tmp_path: Path, durability: Durability, level: int) -> None:
    """NORMAL (1) leaves the disk to the kernel, FULL (2) does not; both in write-ahead mode."""
    journal = Journal.open(str(tmp_path), system_name="S", durability=durability)
    connection = journal._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal.write_intent(make_order()) > 0
    journal.close()


@pytest.mark.parametrize("durability", ["process", "power"])
def test_each_commit_waits_for_the_disk_with_power_and_none_without(tmp_path: Path, durability: Durability) -> None:
    """As the kernel sees it, by strace; a machine where that may not look has the test above."""
    counted = syncs_of_commits(tmp_path, durability) if shutil.which("strace") else None
    if counted is not None:
        # The first commit in a fresh -wal file has its header brought to the disk, in either case.
        assert counted >= COMMITS if durability == "power" else counted <= FRESH
