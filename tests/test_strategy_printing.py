"""What strategies print goes to the log as lines of its own, and cannot flood it."""

import sys

import structlog

from actors.strategies.printing import PRINTED_LINES_PER_SECOND_MAX, Printing
from nightdesk.clocks import ManualClock


def test_prints_become_log_lines_and_a_flood_is_counted() -> None:
    """Twenty lines in a second pass, the others are one number; the streams come back afterwards."""
    clock = ManualClock()
    before = sys.stdout, sys.stderr
    with structlog.testing.capture_logs() as logged:
        printing = Printing(structlog.get_logger(), clock)
        printing.begin()
        try:
            print("one", end="")
            print(" line")
            print("x" * 1500, file=sys.stderr)
            for number in range(100):
                print("flood", number)
            print("no line feed", end="")
        finally:
            printing.end()
    assert (sys.stdout, sys.stderr) == before
    said = [line for line in logged if line["event"] == "strategy_printed"]
    assert said[0]["text"] == "one line"
    assert [len(line["text"]) for line in said if line["stream"] == "stderr"] == [1000, 500]
    assert len([line for line in said if line["stream"] == "stdout"]) == PRINTED_LINES_PER_SECOND_MAX
    dropped = [line for line in logged if line["event"] == "strategy_prints_dropped"]
    assert [line["count"] for line in dropped] == [102 - PRINTED_LINES_PER_SECOND_MAX]


def test_a_logger_that_prints_is_no_endless_loop() -> None:
    """Logging must not be what is logged."""
    printing = Printing(structlog.wrap_logger(structlog.PrintLogger()), ManualClock())
    printing.begin()
    try:
        print("hello")
        assert sys.stdout is not sys.__stdout__
    finally:
        printing.end()
