"""The verb ``chaos`` as a user runs it: a seed whose every invariant holds, and a Ctrl-C that leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nightdesk.chaos.choice import chosen
from nightdesk.chaos.process import MARK
from nightdesk.chaos.table import FAULTS, kinds_required
from tests.chaos.fault_rows import (
    nobody_is_given_up,
    nothing_is_halted,
    orders_stay_owned,
    run_row,
    settled_before_trading,
)
from tests.chaos.seeds import seeded
from tests.e2e.harness import ROOT, Process, short_folder
from tests.support import wait_until

MINUTES = 1.0
ROWS_SEED = 7
RUN_S = 400.0
"""A run of this length with its start, its settling and its audit, on a machine that others load."""


def marked_processes(folder: Path) -> list[int]:
    """Living processes of a chaos run in this folder: its configurations' names are in their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if MARK.encode() in environment and os.fsencode(folder) in words:
            found.append(int(entry.name))
    return found


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [pytest.param(233, id="short"), pytest.param(53, id="further")])
def test_every_invariant_holds_of_a_seed(seed: int, request: pytest.FixtureRequest) -> None:
    """Exit code 0, the three numbers zero, and enough orders, fills and kinds of fault for that to mean something."""
    with seeded(request, seed), short_folder() as folder:
        kept = folder / "run"
        words = ["chaos", "--seed", str(seed), "--minutes", str(MINUTES), "--json"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *words, "--keep-folder", str(kept)],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        found = json.loads(done.stdout)
        broken = {name: each["first"] for name, each in found["invariants"].items() if not each["holds"]}
        unmet = {name: each["reached"] for name, each in found["requirements"].items() if not each["holds"]}
        assert (broken, unmet, done.returncode) == ({}, {}, 0), done.stderr
        assert (found["duplicates"], found["lost"], found["position_differences"]) == (0, 0, 0)
        assert found["kinds"] >= kinds_required(MINUTES)
        assert json.loads((kept / "report.json").read_text()) == found
        assert marked_processes(folder) == []


@pytest.mark.chaos
def test_quick_rows_of_the_matrix_in_short(request: pytest.FixtureRequest) -> None:
    """Each kind of the rows 1, 11, 16 and 19 once: deaths of strategies, failing callbacks, damage, repetition."""
    kinds = chosen("row:1,row:11,row:16,row:19", FAULTS)
    with seeded(request, ROWS_SEED), short_folder() as folder:
        outcome = run_row(folder, ROWS_SEED, kinds, 1)
        for check in (orders_stay_owned, nobody_is_given_up, nothing_is_halted, settled_before_trading):
            check(outcome)


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals) -> None:
    """Code 130 and no process, even where the signal comes twice."""
    with short_folder() as folder:
        process = Process("chaos", "--seed", "1", "--minutes", "10", "--keep-folder", str(folder / "run"))
        try:
            wait_until(lambda: any(line.startswith("round 1") for line in process.raw), 120)
            assert marked_processes(folder)
            process.process.send_signal(number)
            process.process.send_signal(number)
            assert process.process.wait(60) == 130
            assert marked_processes(folder) == []
            assert "Traceback" not in "".join(process.raw)
        finally:
            process.destroy()
