"""Write the shipped tables: ``python -m nightdesk.calendars.compile [--until YEAR] [--check]`` (extra ``calendars``).

The only place that needs pandas. Sessions come from pandas-market-calendars, the holidays of the trade dates from its
calendar of the New York Stock Exchange, and what it does not know from ``corrections``.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.calendars.corrections import LocalHours, corrected_days
from nightdesk.calendars.load import table_file
from nightdesk.calendars.products import CALENDARS
from nightdesk.calendars.table import Table, runs_of, written
from nightdesk.calendars.zones import zone_of

LIBRARY = "pandas-market-calendars"
LIBRARY_VERSION = "5.5.0"
ZONE = "America/Chicago"
FIRST = date(2012, 12, 27)
"""Late enough for what the library knows, early enough that all of 2013 is covered."""
UNTIL = 2031
UNTIL_MIN, UNTIL_MAX = 2027, 2060
LAST_DAY = (1, 10)
"""Of the year after the last one, so that all of that is covered."""
STOCK_EXCHANGE = "NYSE"


class Source(NamedTuple):
    """Where a calendar comes from. ``halts``: whether the library's breaks are halts of a session."""

    library_name: str
    pre_open_s: int = 15 * 60
    long_pre_open_s: int = 60 * 60
    daily_break_max_s: int = 6 * 3600
    halts: bool = False
    first: date = FIRST


SOURCES: dict[str, Source] = {
    "cme_equity": Source("CME Globex Equity"),
    "cme_fx": Source("CMEGlobex_FX"),
    "cme_energy_metals": Source("CMEGlobex_EnergyAndMetals"),
    "cme_rates": Source("CME Globex Fixed Income"),
    "cme_crypto": Source("CME Globex Crypto", first=date(2017, 12, 18)),
    # Orders are taken from 16:45, on Sundays from 16:00, and all through the morning's halt.
    "cme_grains": Source("CMEGlobex_Grains", pre_open_s=8100, long_pre_open_s=10_800, halts=True),
    # Closed from 13:05 to 08:30: the time until the next morning is its daily break.
    "cme_livestock": Source("CMEGlobex_Livestock", pre_open_s=1800, long_pre_open_s=1800, daily_break_max_s=21 * 3600),
}


def main(arguments: list[str]) -> int:
    """Write all tables, or check that they are what would be written; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nightdesk.calendars.compile")
    parser.add_argument("--until", type=int, default=UNTIL, metavar="YEAR", help=f"last year (default {UNTIL})")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table would change")
    options = parser.parse_args(arguments)
    if not UNTIL_MIN <= options.until <= UNTIL_MAX:
        parser.error(f"--until: expected {UNTIL_MIN} to {UNTIL_MAX}, not {options.until}")
    try:
        library = importlib.import_module("pandas_market_calendars")
    except ImportError:
        parser.error(f"{LIBRARY} is not installed; pip install 'nightdesk[calendars]'")
    if library.__version__ != LIBRARY_VERSION:
        parser.error(
            f"{LIBRARY} is {library.__version__}; install {LIBRARY_VERSION}, which the corrections are made for"
        )
    changed = False
    for name in CALENDARS:
        text = written(compiled(library, name, options.until))
        file = Path(__file__).parent / "tables" / table_file(name)
        same = file.exists() and file.read_text(encoding="utf-8") == text
        changed |= not same
        if not options.check:
            file.write_text(text, encoding="utf-8")
        print(f"{name}: {'unchanged' if same else 'changed'}, {text.count(chr(10))} lines, {len(text)} bytes")
    return 1 if options.check and changed else 0


def compiled(library: Any, name: str, until: int) -> Table:
    """One calendar's table from 2013 to the end of a year."""
    source = SOURCES[name]
    last = date(until + 1, *LAST_DAY)
    schedule = library.get_calendar(source.library_name).schedule(source.first, last, market_times="all", tz=ZONE)
    regular = library.get_calendar(STOCK_EXCHANGE).regular_holidays.holidays(source.first, last)
    hours = {day.date(): _local_hours(row, source.halts) for day, row in schedule.iterrows()}
    days = corrected_days(name, hours, [each.date() for each in regular])
    return Table(
        name,
        ZONE,
        f"{LIBRARY} {LIBRARY_VERSION}, {source.library_name}",
        source.pre_open_s,
        source.long_pre_open_s,
        source.daily_break_max_s,
        runs_of((day, tuple(_minutes(day, each))) for day, each in days.items()),
    )


def _local_hours(row: Any, halts: bool) -> LocalHours:
    moments = [row["market_open"], row["market_close"]]
    if halts and row["break_start"] < row["break_end"]:
        moments[1:1] = [row["break_start"], row["break_end"]]
    plain = [each.to_pydatetime().replace(tzinfo=None) for each in moments]
    return tuple(zip(plain[::2], plain[1::2], strict=True))


def _minutes(day: date, hours: LocalHours) -> Iterator[tuple[int, int]]:
    midnight = datetime.combine(day, time(), UTC)
    for opens, closes in hours:
        utc = [each.replace(tzinfo=zone_of(ZONE)).astimezone(UTC) - midnight for each in (opens, closes)]
        yield round(utc[0].total_seconds() / 60), round(utc[1].total_seconds() / 60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
