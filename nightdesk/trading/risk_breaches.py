"""What was done about reached loss limits, so that it is done once, undone with its reason, and neither is forgotten.

Pure. A state of trading or a pause that a rule has set ends when no limit of its owner is reached any more (a new trade
date, the operator's reset), unless somebody else has set another one meanwhile.
"""

from collections.abc import Iterable

import msgspec

from nightdesk.messages import Denial, StrategyId, TradingState
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.risk_rows import from_text, to_text

BREACHES_KEY = "breaches"
"""The key of the journal's table ``risk_state``."""

BreachKey = tuple[StrategyId, Denial]
"""Whose limit, and which one."""


class BreachesRow(msgspec.Struct, frozen=True):
    """What was done about breaches"""

    acted: list[BreachKey]
    rule_state: tuple[TradingState, TradingState] | None
    pauses: dict[StrategyId, str]


class BreachRecord:
    """``acted`` has the breaches that had their consequences."""

    def __init__(self) -> None:
        self.acted: set[BreachKey] = set()
        self.rule_state: tuple[TradingState, TradingState] | None = None
        """The state of trading that a rule has set, and the one before it; None where the present one is others'."""
        self.pauses: dict[StrategyId, str] = {}
        """The strategies that a rule has paused, and the reason that it gave."""
        self._written = self.to_row()

    def begun(self, standing: Iterable[BreachKey]) -> list[BreachKey]:
        """Of the breaches that stand now, those without consequences yet."""
        return [key for key in standing if key not in self.acted]

    def forget_ended(self, standing: Iterable[BreachKey]) -> bool:
        """Drop what does not stand any more; whether there was any."""
        ended = self.acted - set(standing)
        self.acted -= ended
        return bool(ended)

    def are_over(self, owner: StrategyId = ACCOUNT) -> bool:
        """Whether nothing of an owner stands."""
        return not any(each == owner for each, _ in self.acted)

    def changed_row(self) -> str:
        """The row where it is another one than the last; else empty."""
        text = self.to_row()
        if text == self._written:
            return ""
        self._written = text
        return text

    def to_row(self) -> str:
        """For the journal."""
        return to_text(BreachesRow(sorted(self.acted), self.rule_state, self.pauses))

    @classmethod
    def from_row(cls, text: str) -> "BreachRecord":
        """As it was written."""
        row, record = from_text(BreachesRow, text), cls()
        record.acted, record.rule_state, record.pauses = set(row.acted), row.rule_state, dict(row.pauses)
        record._written = text
        return record
