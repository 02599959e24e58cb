"""What a fault is: a row of the table, and what it may cost."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from nightdesk.chaos.schedule import Strike, Terms
from nightdesk.chaos.world import World

BACK_S = 90.0
"""From the end of a round's last fault until everybody is in service again. An order whose fate is unknown takes more
than 30 s of it: for so long the broker's lists must not show it."""

SYSTEM = "system"
"""Faults that end the whole system, or keep it from being asked: one of them in a round."""

EXCHANGE = "exchange"
"""Faults that end the exchange, with all faults that it carries out."""

NETWORK = "network"
"""Faults of the proxy: what it holds back is one state of all links."""

STRANGERS = "strangers"
"""Somebody else's fills, and faults that lose reports: a report that is lost is asked for only where something of ours
makes it doubtful."""


class Toll(NamedTuple):
    """What a fault has done."""

    may_change: frozenset[str] = frozenset()
    """Children whose processes it may have ended."""
    must_change: frozenset[str] = frozenset()
    """Those that it surely has."""
    may_halt: bool = False
    """Whether trading may be reduced or halted by it; the operator resumes it then."""
    problems: tuple[str, ...] = ()
    """What was not as it must be."""
    over_s: float = 0.0
    """When the fault itself was over, by the monotonic clock; 0: when its act was."""

    def plus(self, other: "Toll") -> "Toll":
        """Of two faults in one round."""
        return Toll(
            self.may_change | other.may_change,
            self.must_change | other.must_change,
            self.may_halt or other.may_halt,
            self.problems + other.problems,
            max(self.over_s, other.over_s),
        )


Act = Callable[[World, Strike, Random], Awaitable[Toll]]
"""Does the fault and ends it; raises ``NotNowError`` where it does not apply at this moment."""


class Row(NamedTuple):
    """One kind of fault."""

    name: str
    matrix: str
    """Which rows of the fault matrix it is of (docs/reliability.md)."""
    weight: int
    """How soon it comes; 0: only where it is asked for by name."""
    how: str
    needs: str
    """What it works by."""
    act: Act
    groups: frozenset[str] = frozenset()

    @property
    def terms(self) -> Terms:
        """What the schedule must know of it."""
        return Terms(self.name, self.weight, self.groups)
