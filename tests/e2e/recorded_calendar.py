"""What a market should be doing, from a table that is not ours: the library's schedule and rules a person can check."""

import csv
from bisect import bisect_right
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

SCHEDULE = "cme_globex_equity_schedule_2013_2026_mcal5.5.0.csv"

NOON_HALTS_2026 = frozenset(
    {"2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-07-03", "2026-09-07", "2026-11-26"}
)
"""Holidays of the New York Stock Exchange on which futures trade until noon, and on for the next trade date."""

DAILY_BREAK_MAX = timedelta(hours=6)
PRE_OPEN, LONG_PRE_OPEN = timedelta(minutes=15), timedelta(minutes=60)


class Expected(NamedTuple):
    """The state at a moment: phase, next event and when, and when trading begins (the moment itself while open)."""

    phase: str
    event: str
    event_at: datetime
    trading_begins: datetime


class RecordedCalendar:
    """Times of trading in 2026, in order; all are UTC."""

    def __init__(self, folder: Path) -> None:
        with (folder / SCHEDULE).open() as file:
            rows = [row for row in csv.DictReader(file) if row["trade_date"] >= "2025-12"]
        self._opens = [datetime.fromisoformat(row["market_open"]) for row in rows]
        self._closes = [datetime.fromisoformat(row["market_close"]) for row in rows]
        self._is_halt = [row["trade_date"] in NOON_HALTS_2026 for row in rows]

    def expected(self, moment: datetime) -> Expected:
        """What there should be at a moment."""
        index = bisect_right(self._opens, moment) - 1
        closes, opens = self._closes[index], self._opens[index + 1]
        is_halt = self._is_halt[index]
        if moment < closes:
            return Expected("open", "halt" if is_halt else "close", closes, moment)
        pre_open = opens - (PRE_OPEN if opens - closes <= DAILY_BREAK_MAX else LONG_PRE_OPEN)
        begins = "resume" if is_halt else "open"
        if moment >= pre_open:
            return Expected("pre_open", begins, opens, opens)
        return Expected("halt" if is_halt else "closed", "pre_open", pre_open, opens)
