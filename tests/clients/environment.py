"""An environment of its own for a client whose dependencies are not ours; made once, kept in the user's cache."""

import fcntl
import os
import subprocess
import sys
import venv
from pathlib import Path

RAPI = "rithmic-rapi==0.2.2"
INSTALLED = "installed"


def rapi_python() -> Path:
    """The interpreter of an environment with that client; installs it from the package index when it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nightdesk-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{RAPI.replace('==', '-')}-python{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    with open(cache / "lock", "w") as lock:
        # Two runs of the tests at the same time make it once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / INSTALLED).exists():
            venv.EnvBuilder(with_pip=True, clear=True).create(folder)
            done = subprocess.run([python, "-m", "pip", "install", "-q", RAPI], capture_output=True, text=True)
            assert done.returncode == 0, f"{RAPI} could not be installed: {done.stderr}"
            (folder / INSTALLED).touch()
    return python
