"""Everything that the exchange's days bring, in one order of time. Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from nightdesk.simulator.days.maintenance import Window
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import SessionEventKind

NEVER_NS = 1 << 62


class DayKind(StrEnum):
    """What is due."""

    HALT = "halt"
    CLOSE = "close"
    EXPIRY = "expiry"
    MAINTENANCE_ENDS = "maintenance_ends"
    PRE_OPEN = "pre_open"
    OPEN = "open"
    RESUME = "resume"
    MAINTENANCE_BEGINS = "maintenance_begins"


_ORDER = list(DayKind)
"""At the same moment what ends comes before what begins."""


class Due(NamedTuple):
    """Something is due for some contracts; ``trade_date`` (YYYYMMDD) is that of their session, 0 for maintenance.

    ``until_ns`` is the end of a maintenance that begins.
    """

    ts_ns: int
    kind: DayKind
    symbols: tuple[str, ...] = ()
    trade_date: int = 0
    until_ns: int = 0


_KINDS = {each: DayKind(each.value) for each in SessionEventKind}


def agenda(
    schedule: MarketSchedule, expiries: Mapping[str, tuple[int, int]], down: Iterable[Window], now_ns: int
) -> Iterator[Due]:
    """What is due after ``now_ns``, in order; ``expiries`` are each contract's end and its last trade date.

    A maintenance that has begun at ``now_ns`` already only has its end here.
    """
    ends = sorted(Due(ts_ns, DayKind.EXPIRY, (symbol,), day) for symbol, (ts_ns, day) in expiries.items())
    return heapq.merge(
        _sessions(schedule, now_ns),
        (each for each in ends if each.ts_ns > now_ns),
        (each for each in _maintenance(down) if each.ts_ns > now_ns),
        key=lambda due: (due.ts_ns, _ORDER.index(due.kind)),
    )


def _sessions(schedule: MarketSchedule, now_ns: int) -> Iterator[Due]:
    for event, symbols in schedule.events(now_ns, NEVER_NS):
        yield Due(event.ts_ns, _KINDS[event.kind], symbols, event.trade_date)


def _maintenance(down: Iterable[Window]) -> Iterator[Due]:
    for window in down:
        yield Due(window.from_ns, DayKind.MAINTENANCE_BEGINS, until_ns=window.to_ns)
        yield Due(window.to_ns, DayKind.MAINTENANCE_ENDS)
