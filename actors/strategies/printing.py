"""What a strategy prints becomes log lines: a stray ``print`` must neither tear the log's lines nor flood it."""

import io
import sys

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock

PRINTED_LINES_PER_SECOND_MAX = 20
"""What is printed beyond this is counted, and the count is logged."""

PRINTED_LINE_LENGTH_MAX = 1_000
"""Characters of one printed line; a longer one is cut into several."""


class PrintedLines(io.TextIOBase):
    """Stands in for standard output or standard error; each line is one ``strategy_printed`` in the log."""

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

    def finish(self) -> None:
        """Log what is left."""
        if self._partial:
            self._put(self._partial)
            self._partial = ""
        self._tell_dropped()

    def _put(self, line: str) -> None:
        second = int(self._clock.monotonic_s())
        if second != self._second:
            self._second, self._in_second = second, 0
            self._tell_dropped()
        self._in_second += 1
        if self._in_second > PRINTED_LINES_PER_SECOND_MAX:
            self._dropped += 1
            return
        self._say("info", "strategy_printed", text=line)

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._say("warning", "strategy_prints_dropped", count=self._dropped)
            self._dropped = 0

    def _say(self, level: str, event: str, **fields: object) -> None:
        self._logging = True
        try:
            getattr(self._log, level)(event, stream=self._stream, **fields)
        finally:
            self._logging = False


class Printing:
    """Both streams of this process, for as long as the strategy lives."""

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._output = PrintedLines("stdout", log, clock)
        self._errors = PrintedLines("stderr", log, clock)
        self._before = sys.stdout, sys.stderr

    def begin(self) -> None:
        """From now on what is printed is logged."""
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._output, self._errors

    def end(self) -> None:
        """Log what is left, and let the streams be what they were."""
        for stream, ours in (("stdout", self._output), ("stderr", self._errors)):
            ours.finish()
            if getattr(sys, stream) is ours:
                setattr(sys, stream, self._before[stream == "stderr"])
