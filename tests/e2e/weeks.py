"""Simulated weeks: what each holds, by hand (docs/market-time.md), and what a recording says of one that was lived."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from nightdesk.clocks import SystemClock
from nightdesk.market_clock_file import PublishedTime
from tests.e2e.harness import ROOT, System
from tests.support import wait_until

PAGE = ROOT / "docs" / "market-time.md"
NS = 1_000_000_000

LINKS = ("plants/order", "plants/ticker")
"""What a strategy hears of."""

MAINTENANCE = "links end and return"
PRE_OPEN = "orders are taken"
_IN_QUIET = ("session closes", "timer in_break")
_UNHEARD = (MAINTENANCE, PRE_OPEN, "trading")
"""How lines begin that are no callbacks."""


class Line(NamedTuple):
    """One line of a list: when, by the exchange's clocks, and what."""

    ts_ns: int
    what: str


class Seen(NamedTuple):
    """One callback as the recorder wrote it."""

    now_ns: int
    what: str
    fields: dict[str, Any]


def documented(name: str) -> list[Line]:
    """The list of a week, from the page: the fenced block that begins with ``name``."""
    _, _, behind = PAGE.read_text().partition(f"```week {name}\n")
    block, found, _ = behind.partition("```")
    assert found, f"{PAGE} has no list of the week {name}"
    return [_line(each) for each in block.strip().splitlines()]


def _line(text: str) -> Line:
    """Such as ``Mon 2026-11-23 16:00-06:00  session closes 20261123``."""
    weekday, day, clock, what = text.split(maxsplit=3)
    moment = datetime.fromisoformat(f"{day}T{clock}")
    assert f"{moment:%a}" == weekday, text
    return Line(int(moment.timestamp()) * NS, what.strip())


def sessions_of(lines: list[Line], *beginnings: str) -> list[tuple[int, int]]:
    """From when until when something is the case, from a list; the week may begin inside of a session."""
    found: list[tuple[int, int]] = []
    begins_ns: int | None = 0
    for each in lines:
        if each.what.startswith(beginnings) and begins_ns is None:
            begins_ns = each.ts_ns
        elif each.what.startswith(("session closes", "trading halts")):
            assert begins_ns is not None, each
            found.append((begins_ns, each.ts_ns))
            begins_ns = None
    return found if begins_ns is None else [*found, (begins_ns, 1 << 62)]


def trading_times(lines: list[Line]) -> list[tuple[int, int]]:
    """When trades may be."""
    return sessions_of(lines, "session opens", "trading resumes")


def order_times(lines: list[Line]) -> list[tuple[int, int]]:
    """When quotes may be: with the pre-open."""
    return sessions_of(lines, PRE_OPEN, "session opens", "trading resumes")


def closes_of(lines: list[Line]) -> list[int]:
    return [each.ts_ns for each in lines if each.what.startswith("session closes")]


def recorded(path: Path) -> list[Seen]:
    """Everything that the recorder wrote, in order."""
    seen = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        seen.append(Seen(fields.pop("now_ns"), fields.pop("what"), fields))
    return seen


WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "session_open": lambda fields: f"session opens {fields['trade_date']}",
    "session_close": lambda fields: f"session closes {fields['trade_date']}",
    "timer": lambda fields: f"timer {fields['name']}",
    "first_trade": lambda fields: "first trade",
    "roll": lambda fields: f"roll {fields['old']} to {fields['new']}",
}


def in_words(seen: list[Seen]) -> list[Line]:
    """The recording in the list's words, without links and orders."""
    return [Line(each.now_ns, WORDS[each.what](each.fields)) for each in seen if each.what in WORDS]


def differences_from_list(lines: list[Line], seen: list[Seen], late_s: float, quiet_late_s: float) -> list[str]:
    """What was told otherwise than the list has it: another order, too early, or too late.

    Nothing may be more than ``late_s`` late, or ``quiet_late_s`` what comes while the market is closed.
    """
    expected = [each for each in lines if not each.what.startswith(_UNHEARD)]
    told = in_words(seen)
    found = [
        f"line {number}: {ours.what if ours else 'nothing'} instead of {theirs.what if theirs else 'nothing'}"
        for number, (theirs, ours) in enumerate(_side_by_side(expected, told))
        if theirs is None or ours is None or theirs.what != ours.what
    ]
    for theirs, ours in zip(expected, told, strict=False):
        was_late_s = (ours.ts_ns - theirs.ts_ns) / NS
        may_be_s = quiet_late_s if theirs.what.startswith(_IN_QUIET) else late_s
        if theirs.what == ours.what and not 0 <= was_late_s <= may_be_s:
            found.append(f"{theirs.what} of {datetime.fromtimestamp(theirs.ts_ns / NS)} came {was_late_s:.0f} s late")
    return found


def _side_by_side(expected: list[Line], told: list[Line]) -> list[tuple[Line | None, Line | None]]:
    longest = max(len(expected), len(told))
    padded = [*expected, *[None] * (longest - len(expected))], [*told, *[None] * (longest - len(told))]
    return list(zip(*padded, strict=True))


def differences_of_links(lines: list[Line], seen: list[Seen]) -> list[str]:
    """Each maintenance ends each link once and gives it back once before trading begins again; nothing else does."""
    windows = [each.ts_ns for each in lines if each.what == MAINTENANCE]
    found = []
    for plant in LINKS:
        told = [each for each in seen if each.what in ("lost", "restored") and each.fields["plant"] == plant]
        if [each.what for each in told] != ["lost", "restored"] * len(windows):
            found.append(f"{plant}: {[each.what for each in told]} in {len(windows)} maintenances")
            continue
        for begins_ns, lost, restored in zip(windows, told[::2], told[1::2], strict=True):
            # The strategy's clock lags behind while no ticks come, so a loss may seem to come before its time.
            if not lost.fields["scheduled"]:
                found.append(f"{plant}: unscheduled loss at {lost.now_ns} of the maintenance at {begins_ns}")
            if restored.now_ns < lost.now_ns:
                found.append(f"{plant}: restored before it was lost")
    return found


class MarketWatch:
    """The market's time of a running system, as its exchange publishes it."""

    def __init__(self, system: System, speed: float) -> None:
        self._system = system
        self._time = PublishedTime(system.runtime_dir, speed=speed, clock=SystemClock())

    def now_ns(self) -> int:
        return self._time.now_ns()

    def wait(self, ts_ns: int, timeout_s: float) -> None:
        """Until the market's time has come."""

        def has_come() -> bool:
            assert self._system.process.poll() is None, f"the system ended\n{self._system.tail()}"
            return self._time.is_known and self._time.now_ns() >= ts_ns

        wait_until(has_come, timeout_s)
