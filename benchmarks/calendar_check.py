"""A calendar against recorded bars: ``python -m benchmarks.calendar_check PATH [CALENDAR]`` prints every difference.

Every bar must lie within a segment, and every segment within the data must have a bar that begins with it and one that
ends with it. The file has the columns of docs/simulator.md; bars are five minutes long and stamped with their start.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from nightdesk.calendars.load import load_calendar
from nightdesk.calendars.zones import local
from nightdesk.trading.sessions import NS_PER_S, Segment, SessionCalendar

BAR_NS = 300 * NS_PER_S
HOLE_MIN_NS = 3600 * NS_PER_S
"""A segment's end that lacks less than this lacks quiet bars; more is a hole of the data."""

CLOSING_NS = BAR_NS
"""A bar that begins at the very close holds the prints of the close itself."""


class Findings(NamedTuple):
    """What a comparison found. ``outside`` are starts of bars; ``late`` and ``early`` are segments with what lacks."""

    bars: int
    segments: int
    outside_at_close: list[int]
    """Bars that begin at the moment of a close or halt."""
    outside: list[int]
    """All others that are in no segment."""
    late: list[tuple[Segment, int]]
    """The first bar begins so many nanoseconds after the opening."""
    early: list[tuple[Segment, int]]
    """The last bar ends so many nanoseconds before the close."""
    empty: list[Segment]


def compare(calendar: SessionCalendar, starts_ns: Sequence[int]) -> Findings:
    """Hold bars' starts, each once and in order, against the segments that lie between the first and the last."""
    segments = [
        segment
        for session in calendar.sessions
        for segment in session.segments
        if segment.closes_ns > starts_ns[0] and segment.opens_ns <= starts_ns[-1]
    ]
    found = Findings(len(starts_ns), len(segments), [], [], [], [], [])
    bars = iter([*starts_ns, 1 << 62])
    bar_ns = next(bars)
    for segment in segments:
        while bar_ns < segment.opens_ns:
            bar_ns = _outside(found, bar_ns, segments, bars)
        first_ns = last_ns = None
        while bar_ns < segment.closes_ns:
            first_ns, last_ns = bar_ns if first_ns is None else first_ns, bar_ns
            bar_ns = next(bars)
        if first_ns is None or last_ns is None:
            found.empty.append(segment)
            continue
        if first_ns > segment.opens_ns and segment.opens_ns >= starts_ns[0]:
            found.late.append((segment, first_ns - segment.opens_ns))
        if last_ns + BAR_NS < segment.closes_ns and segment.closes_ns <= starts_ns[-1] + BAR_NS:
            found.early.append((segment, segment.closes_ns - last_ns - BAR_NS))
        if bar_ns == segment.closes_ns:
            found.outside_at_close.append(bar_ns)
            bar_ns = next(bars)
    while bar_ns < 1 << 62:
        bar_ns = _outside(found, bar_ns, segments, bars)
    return found


def _outside(found: Findings, bar_ns: int, segments: Sequence[Segment], bars: Iterator[int]) -> int:
    found.outside.append(bar_ns)
    return next(bars)


def report(calendar: SessionCalendar, found: Findings) -> Iterator[str]:
    """Lines of Markdown: counts, then every difference that is not a quiet bar."""
    quiet = [each for each in (*found.late, *found.early) if each[1] < HOLE_MIN_NS]
    yield f"{found.bars:,} bars, {found.segments:,} segments of {calendar.name}"
    yield f"- bars outside of every segment: {len(found.outside)}"
    yield from (f"  - {_when(each, calendar)}" for each in found.outside)
    yield f"- bars that begin at the moment of a close: {len(found.outside_at_close)}"
    clocks = Counter(_clock(each, calendar) for each in found.outside_at_close)
    yield from (f"  - {count} at {clock}" for clock, count in sorted(clocks.items()))
    yield f"- segments without a bar: {len(found.empty)}"
    yield from (f"  - {each.trade_date}: {_span(each, calendar)}" for each in found.empty)
    yield f"- segments whose first or last bars lack for less than an hour: {len(quiet)}"
    yield from (
        f"  - {each.trade_date}: {_span(each, calendar)}: {lack // (60 * NS_PER_S)} min" for each, lack in quiet
    )
    for name, listing in (("begins late", found.late), ("ends early", found.early)):
        holes = [each for each in listing if each[1] >= HOLE_MIN_NS]
        yield f"- holes of an hour and more, the data {name}: {len(holes)}"
        for segment, lack_ns in holes:
            yield f"  - {segment.trade_date}: {_span(segment, calendar)}: {lack_ns / HOLE_MIN_NS:.1f} h"


def read_starts(path: Path | str) -> list[int]:
    """The starts of all bars of a Parquet file, of all its contracts, each once and in order."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["ts_event_ns"])
    return sorted(set(table["ts_event_ns"].to_pylist()))


def _when(now_ns: int, calendar: SessionCalendar) -> str:
    utc = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    return f"{local(now_ns, calendar.zone):%a %Y-%m-%d %H:%M} ({utc:%H:%M} UTC)"


def _clock(now_ns: int, calendar: SessionCalendar) -> str:
    return local(now_ns, calendar.zone).strftime("%H:%M")


def _span(segment: Segment, calendar: SessionCalendar) -> str:
    opens, closes = local(segment.opens_ns, calendar.zone), local(segment.closes_ns, calendar.zone)
    return f"{opens:%a %m-%d %H:%M} to {closes:%a %m-%d %H:%M}"


def main(arguments: Sequence[str]) -> int:
    """Print the comparison; the exit code."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m benchmarks.calendar_check PATH [CALENDAR]", file=sys.stderr)
        return 2
    calendar = load_calendar(arguments[1] if arguments[1:] else "cme_equity")
    print("\n".join(report(calendar, compare(calendar, read_starts(arguments[0])))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
