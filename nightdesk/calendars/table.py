"""A calendar's table: one line for each run of weekdays with the same hours in UTC. Written and read here, no pandas.

A line such as ``20261102 20261125 -01:00..22:00`` says that every weekday from the first to the last of the two trade
dates trades from an hour before to 22 hours after midnight UTC of that date; one with halts has several such ranges.
Daylight saving time is in the table: where the clocks change, one run ends and another begins.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import NS_PER_S, Segment, SessionCalendar

FIELDS = ("calendar", "zone", "source", "pre_open_s", "long_pre_open_s", "daily_break_max_s")
"""The lines before the runs, in their order."""
MINUTE_NS = 60 * NS_PER_S
DAY_NS = 24 * 60 * MINUTE_NS
WEEKDAYS = 5
_EPOCH = date(1970, 1, 1).toordinal()
_RANGE = re.compile(r"(-?)(\d\d+):(\d\d)\.\.(-?)(\d\d+):(\d\d)")

Hours = tuple[tuple[int, int], ...]
"""Openings and closes in minutes from midnight UTC of the trade date."""


class Run(NamedTuple):
    """Weekdays in a row with the same hours, as ordinals of the proleptic calendar (``date.toordinal``)."""

    first: int
    last: int
    hours: Hours


class Table(NamedTuple):
    """A whole calendar as it is on disk. ``runs`` are in order of time."""

    name: str
    zone: str
    source: str
    pre_open_s: int
    long_pre_open_s: int
    daily_break_max_s: int
    runs: Sequence[Run]

    def segments(self) -> list[Segment]:
        """Every segment, oldest first."""
        found = []
        for run in self.runs:
            for ordinal in range(run.first, run.last + 1):
                # Ordinal 1 was a Monday. A single day may be any.
                if (ordinal - 1) % 7 >= WEEKDAYS and run.first != run.last:
                    continue
                day = date.fromordinal(ordinal)
                number = day.year * 10_000 + day.month * 100 + day.day
                midnight_ns = (ordinal - _EPOCH) * DAY_NS
                for opens, closes in run.hours:
                    found.append(Segment(number, midnight_ns + opens * MINUTE_NS, midnight_ns + closes * MINUTE_NS))
        return found

    def calendar(
        self, segments: Iterable[Segment] | None = None, pre_opens: Mapping[int, int] | None = None
    ) -> SessionCalendar:
        """The calendar, with other segments than its own, and other pre-opens (by opening), where they are given."""
        return SessionCalendar(
            self.name,
            self.segments() if segments is None else segments,
            pre_open_s=self.pre_open_s,
            long_pre_open_s=self.long_pre_open_s,
            daily_break_max_s=self.daily_break_max_s,
            zone=self.zone,
            pre_opens=pre_opens,
        )


def written(table: Table) -> str:
    """The table as text; ``parsed`` gives it back."""
    lines = [
        "# Written by python -m nightdesk.calendars.compile (docs/market-time.md); corrections belong there.",
        "# A line: first and last trade date of a run of weekdays, then opening..close of each segment in hours from",
        "# midnight UTC of the trade date.",
    ]
    lines += [f"{field} {value}" for field, value in zip(FIELDS, table[: len(FIELDS)], strict=True)]
    for run in table.runs:
        ranges = " ".join(f"{_clock(opens)}..{_clock(closes)}" for opens, closes in run.hours)
        lines.append(f"{date.fromordinal(run.first):%Y%m%d} {date.fromordinal(run.last):%Y%m%d} {ranges}")
    return "\n".join(lines) + "\n"


def parsed(text: str, place: str) -> Table:
    """Read a table; raises ``CalendarError`` with the place and line of what cannot be read."""
    values: dict[str, str] = {}
    runs: list[Run] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in FIELDS:
            values[words[0]] = line.partition(" ")[2]
            continue
        try:
            runs.append(_run(words))
        except (ValueError, IndexError):
            raise CalendarError(f"{place}:{number}: {line[:60]!r} is no run of sessions", "compile it again") from None
    try:
        return Table(
            values["calendar"],
            values["zone"],
            values["source"],
            int(values["pre_open_s"]),
            int(values["long_pre_open_s"]),
            int(values["daily_break_max_s"]),
            runs,
        )
    except (KeyError, ValueError):
        raise CalendarError(
            f"{place}:1: one of {', '.join(FIELDS)} is missing or no number", "compile it again"
        ) from None


def runs_of(days: Iterable[tuple[date, Hours]]) -> list[Run]:
    """Days in order of time, weekdays in a row with the same hours put together."""
    runs: list[Run] = []
    for day, hours in days:
        ordinal = day.toordinal()
        if runs and runs[-1].hours == hours and _weekday_after(runs[-1].last) == ordinal:
            runs[-1] = runs[-1]._replace(last=ordinal)
        else:
            runs.append(Run(ordinal, ordinal, hours))
    return runs


def _run(words: list[str]) -> Run:
    run = Run(_day(words[0]), _day(words[1]), tuple(_minutes(word) for word in words[2:]))
    if not run.hours or run.last < run.first:
        raise ValueError
    return run


def _day(word: str) -> int:
    return date(int(word[:4]), int(word[4:6]), int(word[6:])).toordinal()


def _minutes(word: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(word)
    if match is None:
        raise ValueError
    opens, closes = int(match[2]) * 60 + int(match[3]), int(match[5]) * 60 + int(match[6])
    return -opens if match[1] else opens, -closes if match[4] else closes


def _clock(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else ''}{hours:02d}:{rest:02d}"


def _weekday_after(ordinal: int) -> int:
    ordinal += 1
    while (ordinal - 1) % 7 >= WEEKDAYS:
        ordinal += 1
    return ordinal
