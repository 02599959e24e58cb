"""Log lines: their form and their keys. Where they go, and that this never takes time, is ``nightdesk.log_output``."""

import logging
import os
import reprlib
import sys
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from nightdesk.log_output import LINE_BYTES_MAX, LineOutput

__all__ = ["LINE_BYTES_MAX", "LogFormat", "configure", "drain", "flush", "get_logger"]

LogFormat = Literal["json", "console"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_FIRST_KEYS = ("timestamp", "level", "event", "actor", "child_id", "incarnation")
_CUT_MARK = "…[cut]"
_END_MATTERS = frozenset({"traceback", "exception", "stack"})
"""Texts of which the end is kept when they are cut, for it names the error."""
_FIRST_TEXT_MAX = 200
_TEXTS_CUT_MAX = 8


def configure(*, log_format: str, level: str, **bound: object) -> None:
    """Set up this process's logging; ``bound`` are keys on every line, such as actor, child_id and incarnation.

    The standard library's loggers join in with their warnings and errors. May be called again after a fork.
    """
    number = _LEVELS[level.lower()]
    processors: list[Processor] = [
        _Bound(bound),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "json":
        processors += [structlog.processors.format_exc_info, _render_json]
    else:
        # The plain form of a traceback: the rich one prints local variables, and a secret may be among them.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=_on_terminal(), exception_formatter=plain))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _LineWriter(),
        # A cached logger would keep the keys of the parent process after a fork.
        cache_logger_on_first_use=False,
    )
    logging.root.handlers[:] = [_LibraryHandler()]
    logging.root.setLevel(max(number, logging.WARNING))
    # What Python itself would say on standard error, which may be the same stalled pipe and would be waited for.
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_thread_error


def get_logger(**bound: object) -> FilteringBoundLogger:
    """A logger with further keys on its lines. Event names are constant, in snake_case; all else is a key."""
    return cast(FilteringBoundLogger, structlog.get_logger().bind(**bound))


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


class _Bound:
    """Adds the keys that belong to the process; what a line says itself has precedence."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def __call__(self, _logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in self._values.items():
            event.setdefault(key, value)
        return event


class _LineWriter:
    """What structlog hands its lines to."""

    def msg(self, line: "str | bytes") -> None:
        _output.write(line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace"))

    log = debug = info = warning = warn = error = err = critical = exception = fatal = failure = msg


class _LibraryHandler(logging.Handler):
    """Passes what libraries log through the standard ``logging`` on as one of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(logger=record.name)
        log.log(record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info)


def _log_unraisable(error: "sys.UnraisableHookArgs") -> None:
    text = error.err_msg or "Exception ignored in"
    kind = error.exc_type.__name__
    text = f"{text}: {reprlib.repr(error.object)}"
    get_logger().error("error_ignored", error_type=kind, text=text, exc_info=error.exc_value)


def _log_thread_error(error: threading.ExceptHookArgs) -> None:
    if error.exc_type is SystemExit:
        return
    name = error.thread.name if error.thread is not None else ""
    get_logger().error("thread_failed", error_type=error.exc_type.__name__, thread=name, exc_info=error.exc_value)


def _render_json(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> bytes:
    ordered = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    ordered.update(event)
    line = _dump(ordered)
    return line if len(line) < LINE_BYTES_MAX else _shorten(ordered, line)


def _dump(event: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Integers beyond 64 bits, lone surrogates, an object whose repr fails: no log call may end its caller.
        return orjson.dumps({_plain(key): _plain(value) for key, value in event.items()})


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _shorten(event: dict[str, Any], line: bytes) -> bytes:
    cut = dict(event)
    for _ in range(_TEXTS_CUT_MAX):
        over = len(line) + 1 - LINE_BYTES_MAX
        if over <= 0:
            return line
        longest = max(cut, key=lambda key: len(_dump({key: cut[key]})))
        text = _plain(cut[longest]) if isinstance(cut[longest], str) else _dump_text(cut[longest])
        # Escapes take more bytes in the line than characters in the text, so the text is cut in proportion.
        share = over / max(len(_dump({longest: text})), 1)
        kept = max(0, int(len(text) * (1.0 - share)) - len(_CUT_MARK) - 8)
        cut[longest] = _CUT_MARK + text[len(text) - kept :] if longest in _END_MATTERS else text[:kept] + _CUT_MARK
        line = _dump(cut)
    if len(line) < LINE_BYTES_MAX:
        return line
    # Too many keys rather than too long texts.
    first = {key: _plain(event[key])[:_FIRST_TEXT_MAX] for key in _FIRST_KEYS if key in event}
    return _dump(first | {"cut": _CUT_MARK})


def _dump_text(value: object) -> str:
    return _dump({"": value}).decode()[4:-1]


def _drop_report(count: int, reason: str) -> bytes:
    """The line that stands where lines are missing; it is written whatever the level is."""
    event: Any = {"event": "log_lines_dropped", "count": count, "reason": reason}
    for processor in structlog.get_config()["processors"]:
        event = processor(None, "warning", event)
    return event if isinstance(event, bytes) else str(event).encode("utf-8", "backslashreplace")


_output = LineOutput(_drop_report)
os.register_at_fork(after_in_child=_output.after_fork)


def flush() -> bool:
    """Write what a stalled reader made wait, as far as there is room; True when nothing waits. Returns at once.

    Called now and then by whoever has a timer, so that the last lines before a silence do not wait for the next one.
    """
    return _output.flush()


def drain(wait_s: float) -> bool:
    """As ``flush``, but waiting for a slow reader; for a process that is about to end and trades no more."""
    return _output.drain(wait_s)
