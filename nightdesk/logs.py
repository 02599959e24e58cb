"""Log lines on standard output: one write per line, so that lines of several processes never interleave."""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

LINE_BYTES_MAX = 4096
"""A longer line is cut in its longest texts: up to this size (PIPE_BUF) a pipe keeps lines of many writers whole."""

LogFormat = Literal["json", "console"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_FIRST_KEYS = ("timestamp", "level", "event", "actor", "child_id", "incarnation")
_CUT_MARK = "…[cut]"
_STANDARD_OUTPUT = 1


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
    """Writes each line with one system call. A line that cannot be written is dropped: no log may stop an actor."""

    def msg(self, line: "str | bytes") -> None:
        payload = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace")
        try:
            os.write(_STANDARD_OUTPUT, payload + b"\n")
        except OSError:
            return

    log = debug = info = warning = warn = error = err = critical = exception = fatal = failure = msg


class _LibraryHandler(logging.Handler):
    """Passes what libraries log through the standard ``logging`` on as one of our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger(logger=record.name)
        log.log(record.levelno, "library_message", text=record.getMessage(), exc_info=record.exc_info)


def _render_json(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> bytes:
    ordered = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    ordered.update(event)
    line = _dump(ordered)
    return line if len(line) < LINE_BYTES_MAX else _shorten(ordered, line)


def _dump(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)


def _shorten(event: dict[str, Any], line: bytes) -> bytes:
    for _ in range(len(event)):
        over = len(line) + 1 - LINE_BYTES_MAX
        if over <= 0:
            break
        longest = max(event, key=lambda key: len(_dump({key: event[key]})))
        text = event[longest] if isinstance(event[longest], str) else str(event[longest])
        # Escapes take more bytes in the line than characters in the text, so the text is cut in proportion.
        share = over / max(len(_dump({longest: text})), 1)
        kept = max(0, int(len(text) * (1.0 - share)) - len(_CUT_MARK) - 8)
        event[longest] = text[:kept] + _CUT_MARK
        line = _dump(event)
    return line
