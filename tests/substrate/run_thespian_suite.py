"""Thespian's own tests against our base: ``python -m tests.substrate.run_thespian_suite [MODULE ...]``.

Without modules the whole suite is run, which takes about seven minutes. The end of pytest's output is printed; the
exit code is pytest's.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHORT = (
    "test_actorAddressPassing",
    "test_badStartupMessage",
    "test_badmessage",
    "test_msg_ChildExited",
    "test_poisonMessage",
    "test_simpleActor",
    "test_systemMessages",
    "test_threadedActor",
)
"""Modules of the short form: creation, mail, failures, signals, threads."""


def run(modules: tuple[str, ...], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run modules of ``thespian.test``, all of them without names, in a process and a folder of their own."""
    names = [f"thespian.test.{module}" for module in modules] or ["thespian.test"]
    # A test of Thespian's relies on a child's output being buffered.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment["PYTHONPATH"] = str(ROOT)
    plugin = ["-p", "tests.substrate.thespian_shim", "-p", "no:cacheprovider"]
    options = ["-c", os.devnull, "-q", "-rs", "--pyargs"]
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        return subprocess.run(
            [sys.executable, "-m", "pytest", *plugin, "--rootdir", folder, *options, *names],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


if __name__ == "__main__":
    done = run(tuple(sys.argv[1:]), 3_600)
    print(done.stdout[-8_000:])
    sys.exit(done.returncode)
