"""A user's corrections to the calendars, from YAML: under a calendar's name, trade dates that are closed or have hours.

A day is ``closed``, or a mapping with ``opens_at``, ``closes_at`` and ``pre_open_at``, or with ``segments``. The same
form stands in a file of its own (``market_time.overrides``) and under ``market_time.days``. Times are the exchange's
local ones.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from nightdesk.calendars.load import calendar_names, load_table
from nightdesk.calendars.overrides import CalendarOverrides, DayOverride, corrected
from nightdesk.errors import CalendarError, ConfigurationError
from nightdesk.settings.yaml_source import KeyPath, YamlSource, dotted

Refusal = Callable[[KeyPath, str], Exception]
"""Makes the error for what stands at a path, with the mend in its text."""

CLOSED = "closed"
DAY_KEYS = ("opens_at", "closes_at", "pre_open_at", "segments")
SEGMENT_KEYS = ("opens_at", "closes_at")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]([01]?[0-9]|2[0-3]):[0-5][0-9]")


def overrides_of(days: Mapping[str, Any]) -> dict[str, CalendarOverrides]:
    """What has been checked before (``market_time.days`` of a loaded configuration), by calendar."""
    return parsed_overrides(days, ("market_time", "days"), _unplaced)


def read_overrides(path: str) -> dict[str, Any]:
    """Read and check a file; its days as they go under ``market_time.days``. Raises ``ConfigurationError``."""
    source = YamlSource(Path(path), {})
    check_overrides(source.tree, (), source.error)
    return source.tree


def check_overrides(tree: Mapping[str, Any], base: KeyPath, refuse: Refusal) -> None:
    """Refuse days that cannot be read, or that do not fit into their calendar."""
    for name, overrides in parsed_overrides(tree, base, refuse).items():
        try:
            corrected(load_table(name), overrides)
        except CalendarError as error:
            # The place is that of the day, which the message begins with.
            raise ConfigurationError(str(error)) from None


def parsed_overrides(tree: Mapping[str, Any], base: KeyPath, refuse: Refusal) -> dict[str, CalendarOverrides]:
    """Every calendar's corrections, in the order of their dates."""
    found = {}
    for name, days in tree.items():
        path = (*base, name)
        if name not in calendar_names():
            near = difflib.get_close_matches(str(name), calendar_names(), n=1, cutoff=0.6)
            mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(calendar_names())}"
            raise refuse(path, f"is no calendar; {mend}")
        if not isinstance(days, dict):
            raise refuse(path, "must be a mapping of trade dates, such as 2026-12-24: closed")
        found[name] = CalendarOverrides(
            tuple(sorted(_day(date_text, value, (*path, date_text), refuse) for date_text, value in days.items()))
        )
    return found


def _day(date_text: str, value: Any, path: KeyPath, refuse: Refusal) -> DayOverride:
    try:
        day = date.fromisoformat(date_text) if len(date_text) == len("YYYY-MM-DD") else None
    except ValueError:
        day = None
    if day is None:
        raise refuse(path, "is no trade date; write it as 2026-12-24")
    number = day.year * 10_000 + day.month * 100 + day.day
    place = _place(path, refuse)
    if value == CLOSED:
        return DayOverride(number, place, closed=True)
    if not isinstance(value, dict) or not value:
        raise refuse(path, "must be closed, or a mapping with opens_at, closes_at, pre_open_at or segments")
    _check_keys(value, path, DAY_KEYS, refuse)
    if "segments" in value:
        if len(value) > 1:
            raise refuse((*path, "segments"), "are the whole day; remove opens_at and closes_at beside them")
        return DayOverride(number, place, segments=_segments(value["segments"], (*path, "segments"), refuse))
    moments = {key: _moment(value[key], (*path, key), refuse) for key in value}
    return DayOverride(
        number,
        place,
        opens_at=moments.get("opens_at"),
        closes_at=moments.get("closes_at"),
        pre_open_at=moments.get("pre_open_at"),
    )


def _segments(value: Any, path: KeyPath, refuse: Refusal) -> tuple[tuple[datetime, datetime], ...]:
    if not isinstance(value, list) or not value:
        raise refuse(path, "must be a list of mappings with opens_at and closes_at; for none write closed")
    found: list[tuple[datetime, datetime]] = []
    for index, segment in enumerate(value):
        here = (*path, index)
        if not isinstance(segment, dict):
            raise refuse(here, "must be a mapping with opens_at and closes_at")
        _check_keys(segment, here, SEGMENT_KEYS, refuse)
        moments = []
        for key in SEGMENT_KEYS:
            if key not in segment:
                raise refuse(here, f"has no {key}; add it, such as {key}: 2026-12-24 17:00")
            moment = _moment(segment[key], (*here, key), refuse)
            if isinstance(moment, time):
                raise refuse((*here, key), "needs its date, too; write it as 2026-12-24 17:00")
            moments.append(moment)
        if found and moments[0] < found[-1][1]:
            raise refuse(here, "begins before the segment above it ends; put them in order")
        found.append((moments[0], moments[1]))
    return tuple(found)


def _check_keys(value: Mapping[str, Any], path: KeyPath, known: tuple[str, ...], refuse: Refusal) -> None:
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise refuse((*path, key), f"is not a known key; {mend}")


def _moment(value: Any, path: KeyPath, refuse: Refusal) -> datetime | time:
    text = value.strip() if isinstance(value, str) else ""
    try:
        if _TIME.fullmatch(text):
            return time.fromisoformat(text.rjust(len("HH:MM"), "0"))
        if _MOMENT.fullmatch(text):
            day, clock = re.split("[ T]", text)
            return datetime.combine(date.fromisoformat(day), time.fromisoformat(clock.rjust(len("HH:MM"), "0")))
    except ValueError:
        pass
    raise refuse(path, f'must be a local time such as "12:15" or 2026-12-24 17:00, not {str(value)[:40]!r}')


def _place(path: KeyPath, refuse: Refusal) -> str:
    # The error's own text has file, line and key before the first word.
    return str(refuse(path, "")).rstrip(": ")


def _unplaced(path: KeyPath, text: str) -> Exception:
    return ConfigurationError(f"{dotted(path)}: {text}")
