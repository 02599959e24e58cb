"""The crash report: what a dying actor writes of itself before its supervisor reports its end."""

import os

from nightdesk.logs import get_logger
from nightdesk.messages import ChildId

TRACEBACK_CHARACTERS_MAX = 8_000
"""Of a traceback in last words; its end is kept."""

ERROR_MESSAGE_CHARACTERS_MAX = 1_000
"""Of an error's own text; its beginning is kept."""

FAULT_CHARACTERS_MAX = 3_000
"""Of what the interpreter says of a fault; its beginning is kept, which names the signal and the place."""

FAULT_FRAMES_MAX = 12
"""Of each thread, the innermost ones; the others say how Thespian forked the process, and would crowd out a thread."""

CUT = "…[cut]"


def shortened(text: str, characters_max: int = ERROR_MESSAGE_CHARACTERS_MAX) -> str:
    """The text itself, or its beginning and a mark."""
    if len(text) <= characters_max:
        return text
    return text[: characters_max - len(CUT)] + CUT


def write_crash_report(error_type: str, error_message: str, traceback: str) -> None:
    """One line with OTP's exact role: type, message and stack, by the process that they happened to."""
    get_logger().error(
        "actor_crashed",
        report="crash",
        pid=os.getpid(),
        error_type=error_type,
        error_message=error_message,
        traceback=traceback,
    )


def write_fault_report(child_id: ChildId, pid: int, incarnation: int, text: str) -> None:
    """The same of a process that died of a real fault (a segfault in a library, an abort), by its parent; if it did."""
    if text:
        get_logger().error(
            "actor_faulted",
            report="crash",
            child_id=child_id,
            pid=pid,
            incarnation=incarnation,
            text=shortened(_innermost(text), FAULT_CHARACTERS_MAX),
        )


def _innermost(text: str) -> str:
    kept: list[str] = []
    frames = 0
    for line in text.splitlines():
        frames = frames + 1 if line.startswith("  File ") else 0
        if frames <= FAULT_FRAMES_MAX:
            kept.append(line)
    return "\n".join(kept)
