"""What actors print goes to the log as lines of its own, and cannot flood it."""

import structlog

from nightdesk.clocks import ManualClock
from nightdesk.printed import PRINTED_LINES_PER_SECOND_MAX, PrintedLines


def test_prints_become_log_lines_and_a_flood_is_counted() -> None:
    """Some lines of a second pass, the others are one number in the next second."""
    clock = ManualClock()
    with structlog.testing.capture_logs() as logged:
        stream = PrintedLines("stdout", structlog.get_logger(), clock)
        print("one", end="", file=stream)
        print(" line", file=stream)
        print("x" * 1500, file=stream)
        for number in range(100):
            print("flood", number, file=stream)
        clock.advance(1.0)
        print("next", file=stream)
    said = [line["text"] for line in logged if line["event"] == "printed"]
    assert said[0] == "one line"
    assert [len(text) for text in said[1:3]] == [1000, 500]
    assert len(said) == PRINTED_LINES_PER_SECOND_MAX + 1
    assert said[-1] == "next"
    dropped = [line["count"] for line in logged if line["event"] == "prints_dropped"]
    assert dropped == [103 - PRINTED_LINES_PER_SECOND_MAX]
    assert all(line["stream"] == "stdout" for line in logged)


def test_a_text_without_line_feeds_is_bounded() -> None:
    """Nobody can make the stream hold more than one line."""
    with structlog.testing.capture_logs() as logged:
        stream = PrintedLines("stderr", structlog.get_logger(), ManualClock())
        stream.write("y" * 10_500)
        stream.write("\n")
    assert sum(len(line["text"]) for line in logged) == 10_500
