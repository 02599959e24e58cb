"""Runs a packed tree as ``run.py`` would: ``python -m tests.small_tree SPEC_FILE [DEADLINE_S] [DURATION_S]``."""

import sys
from pathlib import Path

from supervisors.spec import unpack
from supervisors.system import run_tree


def main() -> int:
    spec = unpack(Path(sys.argv[1]).read_bytes())
    return run_tree(
        spec,
        log_format="json",
        log_level="info",
        duration_s=float(sys.argv[3]) if len(sys.argv) > 3 else None,
        deadline_s=float(sys.argv[2]) if len(sys.argv) > 2 else 10.0,
        on_stopping=None,
        runtime_dir=str(Path(sys.argv[1]).parent),
    )


if __name__ == "__main__":
    sys.exit(main())
