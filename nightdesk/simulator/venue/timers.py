"""What is due at a time of the market: releases, cancels, exits at the market."""

import heapq
from enum import StrEnum
from itertools import count

NS_PER_S = 1_000_000_000


class TimerKind(StrEnum):
    """What a timer brings."""

    CANCEL = "CANCEL"
    RELEASE = "RELEASE"
    TARGET_MARKET = "TARGET_MARKET"
    """Of an entry: its target becomes a market order."""
    STOP_MARKET = "STOP_MARKET"


class Timers:
    """Due times, earliest first; those of one time in the order in which they were set.

    A timer of an order that is over stays until it is due and then does nothing.
    """

    def __init__(self) -> None:
        self._due: list[tuple[int, int, TimerKind, str]] = []
        self._count = count()

    @property
    def next_ns(self) -> int | None:
        """The earliest due time."""
        return self._due[0][0] if self._due else None

    def set(self, due_ns: int, kind: TimerKind, basket_id: str) -> None:
        heapq.heappush(self._due, (due_ns, next(self._count), kind, basket_id))

    def pop(self, now_ns: int) -> tuple[TimerKind, str] | None:
        """The next timer that is due, if one is."""
        if not self._due or self._due[0][0] > now_ns:
            return None
        _, _, kind, basket_id = heapq.heappop(self._due)
        return kind, basket_id
