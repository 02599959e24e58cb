"""A user's corrections to a calendar: days that are closed, or open at other hours. Pure; a file is read in settings.

Each correction is of one trade date and takes the place of all that the table says of it.
"""

from bisect import bisect_left
from datetime import datetime, time
from itertools import pairwise
from typing import NamedTuple

from nightdesk.calendars.table import Table
from nightdesk.calendars.zones import local, utc_ns
from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import Segment, SessionCalendar


class DayOverride(NamedTuple):
    """One trade date. Either ``closed``, or whole ``segments``, or other first openings and last closes.

    All times are exchange-local and without a zone. ``opens_at`` and ``closes_at`` that are a time of day belong to
    the local day of the opening and of the close that they replace, ``pre_open_at`` to that of the first opening.
    """

    trade_date: int
    place: str = "override"
    """Where it was written, for errors."""
    closed: bool = False
    segments: tuple[tuple[datetime, datetime], ...] = ()
    opens_at: datetime | time | None = None
    closes_at: datetime | time | None = None
    pre_open_at: datetime | time | None = None


class CalendarOverrides(NamedTuple):
    """All corrections to one calendar; hashable, so that a corrected calendar is built once."""

    days: tuple[DayOverride, ...] = ()


NO_OVERRIDES = CalendarOverrides()


def corrected(table: Table, overrides: CalendarOverrides) -> SessionCalendar:
    """The calendar with the corrections; raises ``CalendarError`` with the place of one that cannot be."""
    by_date: dict[int, tuple[Segment, ...]] = {}
    for segment in table.segments():
        by_date[segment.trade_date] = (*by_date.get(segment.trade_date, ()), segment)
    dates = sorted(by_date)
    pre_opens: dict[int, int] = {}
    for day in overrides.days:
        if not dates[0] <= day.trade_date <= dates[-1]:
            raise CalendarError(
                f"{day.place}: {table.name} knows the trade dates {dates[0]} to {dates[-1]} only",
                "mend the date, or compile a longer table",
            )
        replacement = _replacement(table, day, by_date.get(day.trade_date, ()))
        if replacement:
            by_date[day.trade_date] = replacement
        elif by_date.pop(day.trade_date, None) is None:
            raise CalendarError(f"{day.place}: there is no session on this date anyway", "remove it")
        _check_neighbours(day, by_date)
        if day.pre_open_at is not None:
            opens_ns = by_date[day.trade_date][0].opens_ns
            pre_opens[opens_ns] = _pre_open_ns(table, day, opens_ns)
    return table.calendar((segment for each in sorted(by_date) for segment in by_date[each]), pre_opens)


def _pre_open_ns(table: Table, day: DayOverride, opens_ns: int) -> int:
    try:
        pre_open_ns = _moved(day.pre_open_at, opens_ns, table.zone)
    except ValueError as error:
        raise CalendarError(f"{day.place}: {error}", "the clocks are put forward then; take another time") from None
    if pre_open_ns > opens_ns:
        raise CalendarError(f"{day.place}: orders would be taken after trading begins", "mend pre_open_at")
    return pre_open_ns


def _check_neighbours(day: DayOverride, by_date: dict[int, tuple[Segment, ...]]) -> None:
    dates = sorted(by_date)
    index = bisect_left(dates, day.trade_date)
    around = [segment for each in dates[max(index - 1, 0) : index + 2] for segment in by_date[each]]
    for before, after in pairwise(around):
        if day.trade_date in (before.trade_date, after.trade_date) and after.opens_ns < before.closes_ns:
            raise CalendarError(
                f"{day.place}: trading of {after.trade_date} would begin before that of {before.trade_date} ends",
                "mend the times, or correct both dates",
            )
    if any(segment.opens_ns >= segment.closes_ns for segment in by_date.get(day.trade_date, ())):
        raise CalendarError(f"{day.place}: a segment would close before it opens", "mend its times")


def _replacement(table: Table, day: DayOverride, present: tuple[Segment, ...]) -> tuple[Segment, ...]:
    if day.closed:
        return ()
    try:
        if day.segments:
            return tuple(
                Segment(day.trade_date, utc_ns(opens, table.zone), utc_ns(closes, table.zone))
                for opens, closes in day.segments
            )
        if not present:
            raise CalendarError(f"{day.place}: there is no session on this date to change", "give it whole segments")
        opens_ns = _moved(day.opens_at, present[0].opens_ns, table.zone)
        closes_ns = _moved(day.closes_at, present[-1].closes_ns, table.zone)
    except ValueError as error:
        raise CalendarError(f"{day.place}: {error}", "the clocks are put forward then; take another time") from None
    if opens_ns >= closes_ns:
        raise CalendarError(f"{day.place}: it would close before it opens", "mend opens_at or closes_at")
    # Halts that lie outside of the new hours go with the hours.
    kept = [each for each in present if each.closes_ns > opens_ns and each.opens_ns < closes_ns]
    if not kept:
        return (Segment(day.trade_date, opens_ns, closes_ns),)
    kept[0] = kept[0]._replace(opens_ns=opens_ns)
    kept[-1] = kept[-1]._replace(closes_ns=closes_ns)
    return tuple(kept)


def _moved(wanted: datetime | time | None, present_ns: int, zone: str) -> int:
    if wanted is None:
        return present_ns
    if isinstance(wanted, time):
        wanted = datetime.combine(local(present_ns, zone).date(), wanted)
    return utc_ns(wanted, zone)
