"""Checks in a process of its own that strategy classes can be imported: no user's code runs in ours.

The process is started with ``-m``; it reads JSON on its standard input and writes one JSON line per strategy.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

CHECK_TIMEOUT_S = 30.0


class ClassToCheck(NamedTuple):
    """``reference`` is ``module:Class``; ``path`` is the folder that is put before the import path, or None."""

    reference: str
    path: str | None


class Fault(NamedTuple):
    """What is wrong with the class at ``position`` and how to mend it."""

    position: int
    text: str


def check_classes(classes: Sequence[ClassToCheck], timeout_s: float = CHECK_TIMEOUT_S) -> list[Fault]:
    """Import each class in a fresh process; an empty list means that all of them can be used."""
    request = json.dumps(
        {"sys_path": [entry or os.getcwd() for entry in sys.path], "classes": [tuple(c) for c in classes]}
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "nightdesk.settings.strategy_check"],
            input=request,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
    except subprocess.TimeoutExpired:
        return [
            Fault(0, f"the strategies could not be imported within {timeout_s:g} s; keep work out of their modules")
        ]
    faults, answered = [], 0
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        answered += 1
        if answer["fault"]:
            faults.append(Fault(answer["index"], answer["fault"]))
    if answered < len(classes) and not faults:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Fault(answered, f"could not be checked: {last}")]
    return faults


class _AnyEnd:
    """Turns whatever a user's module raises into text; the module is not ours to trust, so all of it is an answer."""

    def __init__(self) -> None:
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if kind is not None:
            self.text = f"{kind.__name__}: {error}".splitlines()[0]
        return True


def _fault_of(reference: str, path: str | None, base: type) -> str:
    """Runs in the forked child: the fault of one class, empty if it has none."""
    module_name, _, class_name = reference.partition(":")
    if path is not None:
        sys.path.insert(0, path)
    found: object = None
    with _AnyEnd() as end:
        found = getattr(importlib.import_module(module_name), class_name, None)
    if end.text:
        return f"{module_name} cannot be imported ({end.text}); mend the module, or set path to the folder it is in"
    if found is None:
        return f"{module_name} has no class {class_name}; mend the name after the colon"
    if not (isinstance(found, type) and issubclass(found, base)):
        return f"{reference} is not a subclass of nightdesk.Strategy; derive it: class {class_name}(Strategy)"
    return ""


def _main() -> int:
    request = json.load(sys.stdin)
    sys.path[:] = request["sys_path"]
    # What users' modules print must not mix with the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    base = importlib.import_module("nightdesk").Strategy
    for index, (reference, path) in enumerate(request["classes"]):
        # A process per class: two folders may each hold a module of one name, and a module may end its process.
        pid = os.fork()
        if pid == 0:
            line = json.dumps({"index": index, "fault": _fault_of(reference, path, base)})
            os.write(answers, f"{line}\n".encode())
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            fault = f"{reference.partition(':')[0]} ends the process when it is imported; remove that"
            os.write(answers, f"{json.dumps({'index': index, 'fault': fault})}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(_main())
