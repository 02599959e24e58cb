"""What an actor prints becomes log lines: a stray ``print`` in a strategy must neither tear the log nor flood it."""

import io
import sys

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock

PRINTED_LINES_PER_SECOND_MAX = 20
"""What is printed beyond this is counted; the count is logged with the first line of a later second."""

PRINTED_LINE_LENGTH_MAX = 1_000
"""Characters of one printed line; a longer one is cut into several."""


_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class PrintedLines(io.TextIOBase):
    """Stands in for standard output or standard error; each line is one ``printed`` in the log."""

    def __init__(self, stream: str, log: FilteringBoundLogger, clock: Clock) -> None:
        super().__init__()
        self._stream = stream
        self._log = log
        self._clock = clock
        self._partial = ""
        self._second = -1
        self._in_second = 0
        self._dropped = 0
        self._logging = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The descriptor beneath, for faulthandler and for programs that a strategy starts."""
        return _DESCRIPTORS[self._stream]

    def write(self, text: str) -> int:
        """Takes any text, at once; what has no line feed yet waits for it."""
        if self._logging:
            # A logger that prints would otherwise call us for ever.
            return len(text)
        *lines, self._partial = (self._partial + text).split("\n")
        while len(self._partial) > PRINTED_LINE_LENGTH_MAX:
            lines.append(self._partial[:PRINTED_LINE_LENGTH_MAX])
            self._partial = self._partial[PRINTED_LINE_LENGTH_MAX:]
        for line in lines:
            for start in range(0, len(line), PRINTED_LINE_LENGTH_MAX):
                self._put(line[start : start + PRINTED_LINE_LENGTH_MAX])
        return len(text)

    def _put(self, line: str) -> None:
        second = int(self._clock.monotonic_s())
        if second != self._second:
            self._second, self._in_second = second, 0
            self._tell_dropped()
        self._in_second += 1
        if self._in_second > PRINTED_LINES_PER_SECOND_MAX:
            self._dropped += 1
            return
        self._say("info", "printed", text=line)

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._say("warning", "prints_dropped", count=self._dropped)
            self._dropped = 0

    def _say(self, level: str, event: str, **fields: object) -> None:
        self._logging = True
        try:
            getattr(self._log, level)(event, stream=self._stream, **fields)
        finally:
            self._logging = False


def divert_prints(log: FilteringBoundLogger, clock: Clock) -> None:
    """For the rest of this process, what is printed to either stream is logged; our log writes to neither."""
    sys.stdout = PrintedLines("stdout", log, clock)
    sys.stderr = PrintedLines("stderr", log, clock)
