"""Local times of an exchange, in nanoseconds UTC and back."""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nightdesk.errors import CalendarError
from nightdesk.trading.sessions import NS_PER_S


@cache
def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name, such as ``America/Chicago``; raises ``CalendarError`` where this machine has none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CalendarError(
            f"time zone {name[:60]!r} is not known on this machine",
            "write it as America/Chicago; if it is written so, install the system's package tzdata",
        ) from None


def local(now_ns: int, zone: str) -> datetime:
    """A moment as the clocks of a zone show it, to the second."""
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(zone_of(zone))


def utc_ns(moment: datetime, zone: str) -> int:
    """When the clocks of a zone show ``moment`` (without a zone of its own); raises ``ValueError`` where they skip it.

    Where they show it twice, the first time is meant.
    """
    aware = moment.replace(tzinfo=zone_of(zone))
    back = aware.astimezone(UTC)
    if back.astimezone(zone_of(zone)).replace(tzinfo=None) != moment:
        raise ValueError(f"{moment:%Y-%m-%d %H:%M} does not exist in {zone}")
    return int(back.timestamp()) * NS_PER_S
