"""Checks in a process of its own that strategy classes can be used: no user's code runs in ours.

The process is started with ``-m``; it reads JSON on its standard input and writes one JSON line per strategy.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

CHECK_TIMEOUT_S = 30.0
_PR_SET_PDEATHSIG = 1


class ClassToCheck(NamedTuple):
    """``reference`` is ``module:Class``; ``path`` is the folder that is put before the import path, or None."""

    reference: str
    path: str | None
    parameters: Mapping[str, object] = {}


class Fault(NamedTuple):
    """What is wrong with the class at ``position`` and how to mend it.

    ``key`` is where in the strategy's section: its class, or one of its parameters.
    """

    position: int
    text: str
    key: tuple[str | int, ...] = ("class",)


def check_classes(classes: Sequence[ClassToCheck], timeout_s: float = CHECK_TIMEOUT_S) -> list[Fault]:
    """Import each class in a fresh process; an empty list means that all of them can be used."""
    request = json.dumps(
        {"sys_path": [entry or os.getcwd() for entry in sys.path], "classes": [tuple(c) for c in classes]}
    )
    code, output, errors = _run(request, timeout_s)
    faults, answered = [], 0
    for line in output.splitlines():
        answer = json.loads(line)
        answered += 1
        faults += [Fault(answer["index"], text, tuple(key)) for key, text in answer["faults"]]
    if answered >= len(classes) or faults:
        return faults
    module = classes[answered].reference.partition(":")[0]
    if code is None:
        return [Fault(answered, f"{module} could not be imported within {timeout_s:g} s; keep work out of the module")]
    last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
    return [Fault(answered, f"could not be checked: {last}")]


def _run(request: str, timeout_s: float) -> tuple[int | None, str, str]:
    """Exit code (None: out of time), standard output and standard error of the checking process."""
    checking = subprocess.Popen(
        [sys.executable, "-P", "-m", "nightdesk.settings.strategy_check"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # A group of its own, so that what a module has started ends with it.
        process_group=0,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    code: int | None = None
    try:
        output, errors = checking.communicate(request, timeout_s)
        code = checking.returncode
    except subprocess.TimeoutExpired:
        _kill(checking)
        output, errors = checking.communicate()
    finally:
        _kill(checking)
    return code, output, errors


def _kill(checking: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(checking.pid, signal.SIGKILL)


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


_Faults = list[tuple[tuple[str | int, ...], str]]
"""Key and text of each fault of one strategy."""


def _faults_of(reference: str, path: str | None, parameters: Mapping[str, object], rules: Any) -> _Faults:
    """Runs in the forked child: the faults of one strategy."""
    key = ("class",)
    module_name, _, class_name = reference.partition(":")
    if path is not None:
        sys.path.insert(0, path)
    found: object = None
    with _AnyEnd() as end:
        found = getattr(importlib.import_module(module_name), class_name, None)
    if end.text:
        text = f"{module_name} cannot be imported ({end.text}); mend the module, or set path to the folder it is in"
        return [(key, text)]
    if found is None:
        return [(key, f"{module_name} has no class {class_name}; mend the name after the colon")]
    faults: _Faults = []
    with _AnyEnd() as end:
        fault = rules.class_fault(reference, found)
        if fault:
            return [(key, fault)]
        faults = [(("parameters", *where), why) for where, why in rules.parameter_faults(found, parameters)]
    return [(key, f"{reference} cannot be checked ({end.text}); mend the class")] if end.text else faults


def _main() -> int:
    request = json.load(sys.stdin)
    sys.path[:] = request["sys_path"]
    # What users' modules print must not mix with the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    rules = importlib.import_module("nightdesk.trading.strategy_class")
    for index, (reference, path, parameters) in enumerate(request["classes"]):
        # A process per class: two folders may each hold a module of one name, and a module may end its process.
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _answer(answers, index, _faults_of(reference, path, parameters, rules))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            fault = f"{reference.partition(':')[0]} ends the process when it is imported; remove that"
            _answer(answers, index, [(("class",), fault)])
    return 0


def _answer(descriptor: int, index: int, faults: _Faults) -> None:
    os.write(descriptor, f"{json.dumps({'index': index, 'faults': faults})}\n".encode())


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.exit(_main())
