"""The crash report: what a dying actor writes of itself before its supervisor reports its end."""

import os

from nightdesk.logs import get_logger

TRACEBACK_CHARACTERS_MAX = 8_000
"""Of a traceback in last words; its end is kept."""

ERROR_MESSAGE_CHARACTERS_MAX = 1_000
"""Of an error's own text; its beginning is kept."""

CUT = "…[cut]"


def shortened(text: str) -> str:
    """The text itself, or its beginning and a mark."""
    if len(text) <= ERROR_MESSAGE_CHARACTERS_MAX:
        return text
    return text[: ERROR_MESSAGE_CHARACTERS_MAX - len(CUT)] + CUT


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
