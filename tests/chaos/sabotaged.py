"""Runs of pytest, each with something else switched off, in forks of one process that has imported everything.

``python -m tests.chaos.sabotaged '[["fencing", "tests/test_a.py::test_b"], ...]'``: of each run what is off (empty:
nothing) and its tests; the last line of the output is a list of ``[exit code, output]``.
"""

import json
import os
import sys
import tempfile
from typing import IO, NoReturn

import pytest

from tests.chaos import order_sabotage

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
OPTIONS = ("-p", "no:cacheprovider", "-n", "0", "-m", "")


def _child(output: IO[str], name: str, tests: list[str]) -> NoReturn:
    """Ends with pytest's exit code."""
    code = 3
    try:
        os.dup2(output.fileno(), _STANDARD_OUTPUT)
        os.dup2(output.fileno(), _STANDARD_ERROR)
        if name:
            order_sabotage.apply(name)
        code = int(pytest.main([*OPTIONS, *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def run(name: str, *tests: str) -> tuple[int, str]:
    """One run; its exit code and what it said."""
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if not pid:
            _child(output, name, list(tests))
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read()


def main() -> None:
    """All runs, one after the other."""
    runs = [tuple(each) for each in json.loads(sys.argv[1])]
    # Collecting imports the modules, once for all forks.
    with open(os.devnull, "w") as nothing:
        keep = os.dup(_STANDARD_OUTPUT)
        os.dup2(nothing.fileno(), _STANDARD_OUTPUT)
        pytest.main([*OPTIONS, "--collect-only", *{test.partition("::")[0] for each in runs for test in each[1:]}])
        sys.stdout.flush()
        os.dup2(keep, _STANDARD_OUTPUT)
    print(json.dumps([run(*each) for each in runs]))


if __name__ == "__main__":
    main()
