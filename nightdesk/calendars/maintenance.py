"""When a gateway is maintained: times of the day by its exchange's clocks, whatever trades. Pure."""

from datetime import datetime, time, timedelta
from typing import Final

from nightdesk.calendars.zones import local

EXCHANGE_ZONE: Final = "America/Chicago"
"""The clocks by which gateways of American futures are maintained."""

_FRIDAY, _SUNDAY = 4, 6


class MaintenanceHours:
    """Each day from ``begins`` to just before ``ends``, such as 16:00 and 17:00.

    With ``is_weekend`` also from Friday's beginning to Sunday's end without a pause.
    """

    def __init__(self, begins: str, ends: str, *, is_weekend: bool, zone: str = EXCHANGE_ZONE) -> None:
        self._begins, self._ends = time.fromisoformat(begins), time.fromisoformat(ends)
        self._is_weekend = is_weekend
        self._zone = zone

    def covers(self, now_ns: int) -> bool:
        """Whether a moment (nanoseconds UTC) is one of maintenance."""
        return self._window(now_ns) is not None

    def covers_all(self, from_ns: int, to_ns: int) -> bool:
        """Whether the whole time between two moments is one and the same maintenance."""
        window = self._window(from_ns)
        return window is not None and from_ns <= to_ns and window == self._window(to_ns)

    def _window(self, now_ns: int) -> datetime | None:
        """The beginning of the maintenance that a moment is in, by the exchange's clocks."""
        now = local(now_ns, self._zone).replace(tzinfo=None)
        day, clock = now.date(), now.time()
        if self._is_weekend and self._is_of_weekend(day.weekday(), clock):
            return datetime.combine(day - timedelta(days=day.weekday() - _FRIDAY), self._begins)
        return datetime.combine(day, self._begins) if self._begins <= clock < self._ends else None

    def _is_of_weekend(self, weekday: int, clock: time) -> bool:
        if weekday == _FRIDAY:
            return clock >= self._begins
        return weekday > _FRIDAY and (weekday < _SUNDAY or clock < self._ends)
