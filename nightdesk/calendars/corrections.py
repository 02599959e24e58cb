"""What pandas-market-calendars does not know of CME Group's hours: a table, each entry with its reason. Pure.

Applied when the tables are compiled. All times are the exchange's own (Chicago), without a zone.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

FRIDAY = 4
LAST_OF_FIRST_WEEK = 7
EVENING = time(17, 0)

LocalHours = tuple[tuple[datetime, datetime], ...]
"""The openings and closes of one trade date; empty: the market is closed."""


class Day(NamedTuple):
    """One weekday, as it is before a correction."""

    date: date
    hours: LocalHours
    is_holiday: bool
    """Whether the New York Stock Exchange keeps a regular holiday on it."""

    @property
    def closes(self) -> time | None:
        """When its last segment ends; None where there is none."""
        return self.hours[-1][1].time() if self.hours else None


class Correction(NamedTuple):
    """To which calendars and days something else applies, and why."""

    calendars: tuple[str, ...]
    applies: Callable[[Day], bool]
    change: Callable[[Day], LocalHours]
    reason: str


def good_friday(year: int) -> date:
    """The Friday before Easter of the Gregorian calendar (Meeus, Jones and Butcher)."""
    century, of_century = divmod(year, 100)
    epact = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - epact - of_century % 4) % 7
    shift = (year % 19 + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1) - timedelta(days=2)


def _closed(day: Day) -> LocalHours:
    return ()


def _closes_at(hour: int, minute: int = 0) -> Callable[[Day], LocalHours]:
    def change(day: Day) -> LocalHours:
        end = datetime.combine(day.date, time(hour, minute))
        kept = [each for each in day.hours if each[0] < end]
        return (*kept[:-1], (kept[-1][0], end))

    return change


def _evening_until(hour: int, minute: int) -> Callable[[Day], LocalHours]:
    def change(day: Day) -> LocalHours:
        opens = datetime.combine(day.date - timedelta(days=1), EVENING)
        return ((opens, datetime.combine(day.date, time(hour, minute))),)

    return change


def _opens_on_the_eve_at(hour: int, minute: int) -> Callable[[Day], LocalHours]:
    def change(day: Day) -> LocalHours:
        opens = datetime.combine(day.date - timedelta(days=1), time(hour, minute))
        return ((opens, day.hours[0][1]), *day.hours[1:])

    return change


def _halt(begin: time, end: time) -> Callable[[Day], LocalHours]:
    def change(day: Day) -> LocalHours:
        opens, closes = day.hours[-1]
        first, second = datetime.combine(day.date, begin), datetime.combine(day.date, end)
        return (*day.hours[:-1], (opens, first), (second, closes))

    return change


def _on(*days: date) -> Callable[[Day], bool]:
    return lambda day: day.date in days


def _is_christmas_eve(day: Day) -> bool:
    return (day.date.month, day.date.day) == (12, 24) and bool(day.hours)


def _is_day_after_thanksgiving(day: Day) -> bool:
    return day.date.month == 11 and day.date.weekday() == FRIDAY and 23 <= day.date.day <= 29


def _is_labor_day(day: Day) -> bool:
    return day.is_holiday and day.date.month == 9


def _is_good_friday(day: Day) -> bool:
    return day.date == good_friday(day.date.year)


CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        ("cme_fx",),
        _on(date(2015, 4, 3)),
        _evening_until(10, 15),
        "Good Friday 2015 was a day of the employment report: FX traded until 10:15, as interest rates did (LEAN's "
        "market hours); the library has it closed.",
    ),
    Correction(
        ("cme_equity", "cme_fx", "cme_rates", "cme_crypto"),
        lambda day: _is_good_friday(day) and day.date.day > LAST_OF_FIRST_WEEK,
        _closed,
        "Good Friday is a short session only where the employment report falls on it, the month's first Friday (2015, "
        "2021, 2023, 2026); else Globex is closed: no bar on 2024-03-29. The library has a short session in every year "
        "from 2024 on.",
    ),
    Correction(
        ("cme_equity", "cme_energy_metals"),
        lambda day: day.date < date(2015, 9, 18) and day.closes == time(16),
        _closes_at(16, 15),
        "Until 2015-09-17 the daily break was 16:15 to 17:00: bars of 16:00 to 16:15 on every full day until then, "
        "none after.",
    ),
    Correction(
        ("cme_equity",),
        lambda day: day.date <= date(2021, 6, 25) and day.closes is not None and day.closes >= time(16),
        _halt(time(15, 15), time(15, 30)),
        "Equity index futures paused from 15:15 to 15:30 until 2021-06-25: no bars between, but from 2021-06-28 on.",
    ),
    Correction(
        ("cme_equity", "cme_fx", "cme_energy_metals", "cme_rates", "cme_grains"),
        _on(date(2015, 7, 1)),
        _opens_on_the_eve_at(19, 45),
        "The leap second of 2015-06-30: all of Globex opened at 19:45 instead of earlier (CME Group's notice to its "
        "customers; the bars begin then).",
    ),
    Correction(
        ("cme_equity",),
        _on(date(2018, 12, 5), date(2025, 1, 9)),
        _closes_at(8, 30),
        "National days of mourning: equity index futures closed at 08:30 and reopened for the next trade date (the "
        "bars of 2018-12-05; CME Group's announcement of 2024-12-30).",
    ),
    Correction(
        ("cme_rates", "cme_grains", "cme_livestock"),
        _on(date(2025, 1, 9)),
        _closes_at(12, 15),
        "National day of mourning: interest rates and agricultural markets closed at 12:15 (the same announcement).",
    ),
    Correction(
        ("cme_energy_metals",),
        lambda day: day.date < date(2014, 5, 1) and day.is_holiday and day.closes == time(12),
        _closes_at(12, 15),
        "Until early 2014 NYMEX and COMEX halted at 12:15 on holidays (LEAN's market hours; July 4, 2013 as was "
        "announced).",
    ),
    Correction(
        ("cme_energy_metals",),
        lambda day: day.date.year >= 2022 and _is_labor_day(day),
        _closes_at(13, 30),
        "From 2022 on NYMEX and COMEX halt at 13:30 on Labor Day as on the other Mondays (LEAN's market hours).",
    ),
    Correction(
        ("cme_fx", "cme_energy_metals"),
        lambda day: (
            day.is_holiday and day.date.weekday() == FRIDAY and day.closes is not None and day.closes > time(12)
        ),
        _closes_at(12),
        "A holiday on a Friday ends the week at 12:00 (LEAN's market hours: 2020-07-03, 2025-07-04, 2026-06-19).",
    ),
    Correction(
        ("cme_energy_metals",),
        _is_christmas_eve,
        _closes_at(12, 45),
        "NYMEX and COMEX close at 12:45 on December 24 (LEAN's market hours, every year).",
    ),
    Correction(
        ("cme_fx",),
        lambda day: day.date.year >= 2025 and _is_christmas_eve(day),
        _closes_at(12, 45),
        "From 2025 on FX closes at 12:45 on December 24 (LEAN's market hours).",
    ),
    Correction(
        ("cme_fx", "cme_energy_metals"),
        lambda day: day.date.year >= 2025 and _is_day_after_thanksgiving(day),
        _closes_at(13, 45),
        "From 2025 on FX, NYMEX and COMEX close at 13:45 on the day after Thanksgiving (LEAN's market hours).",
    ),
    Correction(
        ("cme_grains",),
        lambda day: _is_christmas_eve(day) or _is_day_after_thanksgiving(day),
        _closes_at(12, 5),
        "Grains end these days at 12:05, as the library has it of livestock.",
    ),
    Correction(
        ("cme_grains", "cme_livestock"),
        lambda day: day.is_holiday and bool(day.hours),
        _closed,
        "Agricultural markets are closed on Juneteenth, as on the other holidays (the library's older calendar "
        "CME_Agriculture).",
    ),
)
"""In the order in which they are applied; a later one sees what an earlier one has made."""


def corrected_days(name: str, hours: Mapping[date, LocalHours], holidays: Iterable[date]) -> dict[date, LocalHours]:
    """The library's days of one calendar with the corrections, and with trade dates as the exchange counts them.

    A session on a holiday of the New York Stock Exchange is not settled: it belongs to the trade date of the next
    session. A short Good Friday and a day of mourning keep their own trade dates.
    """
    closed = set(holidays)
    corrections = [each for each in CORRECTIONS if name in each.calendars]
    found: dict[date, LocalHours] = {}
    carried: LocalHours = ()
    first, last = min(hours), max(hours)
    for offset in range((last - first).days + 1):
        today = first + timedelta(days=offset)
        day = Day(today, hours.get(today, ()), today in closed and today != good_friday(today.year))
        for each in corrections:
            if each.applies(day):
                day = day._replace(hours=each.change(day))
        if day.is_holiday:
            carried += day.hours
        elif day.hours:
            found[today] = carried + day.hours
            carried = ()
    return found
