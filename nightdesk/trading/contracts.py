"""When futures contracts end: month codes, and the last trading day of each product by its rule. Pure.

The rules are those of the products' rulebook chapters at CME Group, "Termination of Trading", each named in ``RULES``.
A product that is not listed there has no rule here: nothing is said of its last day.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from nightdesk.trading.sessions import NS_PER_S, SessionCalendar

MONTHS = {code: number for number, code in enumerate("FGHJKMNQUVXZ", start=1)}
"""The months' letters in the symbols of futures."""

CHICAGO, LONDON = "America/Chicago", "Europe/London"
WEDNESDAY, FRIDAY = 2, 4
YEAR_MIN, YEAR_MAX = 1971, 2200
"""A date of another year is a placeholder, not the end of a contract."""
BUSINESS_DAYS_TRIED_MAX = 40
"""A rule that finds no business day among so many days has been given a calendar without any."""

_CONTRACT = re.compile(r"(?P<product>[A-Z0-9]+?)(?P<month>[FGHJKMNQUVXZ])(?P<year>\d{1,2})")

IsBusinessDay = Callable[[date], bool]
Rule = Callable[[int, int, IsBusinessDay], date]
"""Year and month of a contract to its last trading day."""


class Contract(NamedTuple):
    """What a symbol says: ``ESZ6`` is product ES, month 12, year 2026."""

    product: str
    month: int
    year: int


class Expiry(NamedTuple):
    """The end of a contract: its last trade date (YYYYMMDD), and when trading ends, in nanoseconds UTC."""

    trade_date: int
    ends_ns: int


class Termination(NamedTuple):
    """A product's rule, and the time of day at which its last trading ends."""

    rule: Rule
    ends: time
    zone: str = CHICAGO


def parse_contract(symbol: str, near_year: int) -> Contract | None:
    """What a symbol says; a year of few digits is the one nearest to ``near_year``. None: it names no month."""
    match = _CONTRACT.fullmatch(symbol)
    if match is None:
        return None
    digits = match["year"]
    span = 10 ** len(digits)
    years = ((near_year // span + shift) * span + int(digits) for shift in (-1, 0, 1))
    return Contract(match["product"], MONTHS[match["month"]], min(years, key=lambda year: abs(year - near_year)))


def expiry_of(symbol: str, near_year: int, calendar: SessionCalendar | None = None) -> Expiry | None:
    """When a contract ends; None for symbols without a month and for products without a rule.

    Business days are the trade dates of ``calendar`` where it knows the year, weekdays otherwise. On a day that closes
    early the contract ends with it.
    """
    contract = parse_contract(symbol, near_year)
    termination = RULES.get(contract.product) if contract is not None else None
    if contract is None or termination is None:
        return None
    return _ending(termination, termination.rule(contract.year, contract.month, _business_days(calendar)), calendar)


def ending_on(symbol: str, trade_date: int, near_year: int, calendar: SessionCalendar | None = None) -> Expiry:
    """The end of a contract whose last trade date somebody else has named, at the time of day of its product.

    Where the product has no rule, the end of that day's session, or of that day in UTC.
    """
    contract = parse_contract(symbol, near_year)
    termination = RULES.get(contract.product) if contract is not None else None
    last = date_of(trade_date)
    if termination is not None:
        return _ending(termination, last, calendar)
    midnight = datetime.combine(last + timedelta(days=1), time(), UTC)
    ends_ns = int(midnight.timestamp()) * NS_PER_S
    closes_ns = _closes_ns(calendar, ends_ns, last)
    return Expiry(trade_date, ends_ns if closes_ns is None else min(ends_ns, closes_ns))


def trade_date_of(text: str) -> int | None:
    """A trade date that is written YYYYMMDD; None for any other text, and for days that mean nothing."""
    if len(text) != len("YYYYMMDD") or not (text.isascii() and text.isdecimal()):
        return None
    try:
        day = date_of(int(text))
    except ValueError:
        return None
    return int(text) if YEAR_MIN <= day.year <= YEAR_MAX else None


def date_of(trade_date: int) -> date:
    """A trade date, YYYYMMDD, as a date."""
    return date(trade_date // 10_000, trade_date // 100 % 100, trade_date % 100)


def _ending(termination: Termination, last: date, calendar: SessionCalendar | None) -> Expiry:
    ends = datetime.combine(last, termination.ends, ZoneInfo(termination.zone)).astimezone(UTC)
    ends_ns = int(ends.timestamp()) * NS_PER_S
    closes_ns = _closes_ns(calendar, ends_ns, last)
    return Expiry(int(last.strftime("%Y%m%d")), ends_ns if closes_ns is None else min(ends_ns, closes_ns))


def _business_days(calendar: SessionCalendar | None) -> IsBusinessDay:
    if calendar is None or calendar.never_closes:
        return _is_weekday
    dates, first, last = _trade_dates(calendar)
    return lambda day: day in dates if first <= day <= last else _is_weekday(day)


def _closes_ns(calendar: SessionCalendar | None, ends_ns: int, last: date) -> int | None:
    """The close of the session of a day, at whose usual hours ``ends_ns`` lies; None where the calendar knows none."""
    if calendar is None or calendar.never_closes or not calendar.covers(ends_ns):
        return None
    session = calendar.session_at(ends_ns) or calendar.previous_session(ends_ns)
    return session.closes_ns if session is not None and date_of(session.trade_date) == last else None


@lru_cache(maxsize=32)
def _trade_dates(calendar: SessionCalendar) -> tuple[frozenset[date], date, date]:
    dates = [date_of(session.trade_date) for session in calendar.sessions]
    return frozenset(dates), dates[0], dates[-1]


def _is_weekday(day: date) -> bool:
    return day.weekday() <= FRIDAY


def _weekday_of_month(weekday: int, number: int) -> Callable[[int, int], date]:
    def found(year: int, month: int) -> date:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))

    return found


def _before(day: date, count: int, is_business_day: IsBusinessDay) -> date:
    """The business day that is the ``count``-th one before a day; with 0 the day itself or the one before it."""
    if count:
        day -= timedelta(days=1)
    for _ in range(BUSINESS_DAYS_TRIED_MAX):
        if is_business_day(day):
            count -= 1
            if count <= 0:
                return day
        day -= timedelta(days=1)
    raise ValueError(f"no business day in the weeks before {day}")


def _month_after(year: int, month: int, months: int = 1) -> date:
    """The first day of a month that lies so many months ahead."""
    index = year * 12 + month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def _third_friday(year: int, month: int, is_business_day: IsBusinessDay) -> date:
    return _before(_weekday_of_month(FRIDAY, 3)(year, month), 0, is_business_day)


def _before_third_wednesday(count: int) -> Rule:
    third = _weekday_of_month(WEDNESDAY, 3)
    return lambda year, month, is_business_day: _before(third(year, month), count, is_business_day)


def _last_business_day(count: int, *, months_before: int = 0) -> Rule:
    """The ``count``-th last business day of the contract's month, or of one before it."""

    def found(year: int, month: int, is_business_day: IsBusinessDay) -> date:
        return _before(_month_after(year, month, 1 - months_before), count, is_business_day)

    return found


def _crude(count: int) -> Rule:
    """``count`` business days before the 25th of the month before, or before the business day that precedes that."""

    def found(year: int, month: int, is_business_day: IsBusinessDay) -> date:
        day = _month_after(year, month, -1).replace(day=25)
        return _before(_before(day, 0, is_business_day), count, is_business_day)

    return found


def _before_the_15th(year: int, month: int, is_business_day: IsBusinessDay) -> date:
    return _before(date(year, month, 15), 1, is_business_day)


def _tenth_business_day(year: int, month: int, is_business_day: IsBusinessDay) -> date:
    days = (date(year, month, day) for day in range(1, 29))
    return [day for day in days if is_business_day(day)][9]


def _last_friday(year: int, month: int, is_business_day: IsBusinessDay) -> date:
    last = _month_after(year, month) - timedelta(days=1)
    return _before(last - timedelta(days=(last.weekday() - FRIDAY) % 7), 0, is_business_day)


_INDEX = Termination(_third_friday, time(8, 30))
_FX = Termination(_before_third_wednesday(2), time(9, 16))
_METAL = time(12, 30)
_BONDS = Termination(_last_business_day(8), time(12, 1))
_NOTES = Termination(_last_business_day(1), time(12, 1))
_GRAINS = Termination(_before_the_15th, time(12, 0))
_CRYPTO = Termination(_last_friday, time(16, 0), LONDON)

RULES: dict[str, Termination] = {
    # Chapters 353, 355, 357-361: 8:30 on the third Friday.
    **dict.fromkeys(("ES", "MES", "NQ", "MNQ", "RTY", "M2K", "YM", "MYM", "EMD"), _INDEX),
    # Chapters 251-261: 9:16, two business days before the third Wednesday; the Canadian dollar (252) one.
    **dict.fromkeys(("6A", "6B", "6E", "6J", "6N", "6S", "M6A", "M6B", "M6E"), _FX),
    "6C": Termination(_before_third_wednesday(1), time(9, 16)),
    # Chapter 200: three business days before the 25th of the month before; the micro (chapter 323) one earlier.
    "CL": Termination(_crude(3), time(13, 30)),
    "MCL": Termination(_crude(4), time(13, 30)),
    # Chapter 220: the third last business day of the month before; chapters 150, 191: its last one.
    "NG": Termination(_last_business_day(3, months_before=1), time(13, 30)),
    "HO": Termination(_last_business_day(1, months_before=1), time(13, 30)),
    "RB": Termination(_last_business_day(1, months_before=1), time(13, 30)),
    # Chapters 111-113: the third last business day of the month.
    "GC": Termination(_last_business_day(3), _METAL),
    "MGC": Termination(_last_business_day(3), _METAL),
    "SI": Termination(_last_business_day(3), time(12, 25)),
    "SIL": Termination(_last_business_day(3), time(12, 25)),
    "HG": Termination(_last_business_day(3), time(12, 0)),
    # Chapters 18, 19, 26, 40: the seventh business day before the month's last one; 20, 21: the last one itself.
    **dict.fromkeys(("ZN", "TN", "ZB", "UB"), _BONDS),
    **dict.fromkeys(("ZT", "ZF"), _NOTES),
    # Chapters 10-14: noon on the business day before the 15th.
    **dict.fromkeys(("ZC", "ZS", "ZW", "ZM", "ZL", "ZO", "KE", "XC", "XK", "XW"), _GRAINS),
    # Chapters 101 and 152: the last, and the tenth business day.
    "LE": Termination(_last_business_day(1), time(12, 0)),
    "HE": Termination(_tenth_business_day, time(12, 0)),
    # Chapters 348-350: 16:00 in London on the last Friday.
    **dict.fromkeys(("BTC", "MBT", "ETH", "MET"), _CRYPTO),
}
"""Products with a rule, by the numbers of their chapters; another product's contracts have no known end."""
