"""A bracket in the embedded exchange's own vocabulary: its terms, its exits, and what becomes of them."""

from enum import StrEnum

import msgspec


class BracketKind(StrEnum):
    """The wire's bracket types: which exits an entry brings, and whether they stay at their first prices."""

    STOP_ONLY = "STOP_ONLY"
    TARGET_ONLY = "TARGET_ONLY"
    TARGET_AND_STOP = "TARGET_AND_STOP"
    STOP_ONLY_STATIC = "STOP_ONLY_STATIC"
    TARGET_ONLY_STATIC = "TARGET_ONLY_STATIC"
    TARGET_AND_STOP_STATIC = "TARGET_AND_STOP_STATIC"


class BracketLevel(msgspec.Struct, frozen=True):
    """One level of a bracket's targets or stops: so many contracts leave at so many ticks from the entry's price."""

    quantity: int
    ticks: int


class BracketTerms(msgspec.Struct, frozen=True):
    """The exits of a bracket: distances in ticks from the entry's fill price, quantities in contracts.

    The first target and the first stop stand in fields of their own; ``targets`` and ``stops`` are all of them.
    """

    kind: BracketKind
    target_quantity: int = 0
    target_ticks: int = 0
    stop_quantity: int = 0
    stop_ticks: int = 0
    trailing_stop_trigger_ticks: int = 0
    """The stop begins to trail when the market has gone so far in favour; 0: it does not trail."""
    trailing_by_last_trade: bool = False
    break_even_ticks: int = 0
    break_even_trigger_ticks: int = 0
    """At a profit of so many ticks the stop moves to the entry price plus ``break_even_ticks``; 0: never."""
    stop_market_on_reject: bool = False
    target_market_at_ns: int | None = None
    stop_market_at_ns: int | None = None
    target_market_after_s: int = 0
    more_targets: tuple[BracketLevel, ...] = ()
    """Levels behind the first."""
    more_stops: tuple[BracketLevel, ...] = ()

    @property
    def targets(self) -> tuple[BracketLevel, ...]:
        """All targets in the client's order; none if the bracket has none."""
        first = BracketLevel(self.target_quantity, self.target_ticks)
        return (first, *self.more_targets) if "TARGET" in self.kind else ()

    @property
    def stops(self) -> tuple[BracketLevel, ...]:
        """All stops in the client's order; none if the bracket has none."""
        first = BracketLevel(self.stop_quantity, self.stop_ticks)
        return (first, *self.more_stops) if "STOP" in self.kind else ()

    @property
    def exit_count(self) -> int:
        """How many basket ids behind the entry's belong to its exits."""
        return len(self.targets) + len(self.stops)


class ExitRole(StrEnum):
    """Which exit of a bracket an order is."""

    TARGET = "TARGET"
    STOP = "STOP"


class BracketChanged(msgspec.Struct, frozen=True):
    """The quantities of one level of a bracket's exits changed; ``basket_id`` is the entry's.

    It tells of the target and the stop of one number; where there are more of the one, the other's numbers are 0.
    """

    account_id: str
    basket_id: str
    stop_ticks: int
    stop_quantity: int
    stop_quantity_released: int
    target_ticks: int
    target_quantity: int
    target_quantity_released: int
    ts_ns: int
    level: int = 0
    """The number of the target and the stop, counted from 0."""
