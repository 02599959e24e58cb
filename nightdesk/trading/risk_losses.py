"""What the account and each strategy have lost: since the trade date began, and from their highest profit. Pure.

Profit is counted from the journal's first fill on, commissions taken off, in millionths of the currency. The account
is an owner like each strategy. Whoever keeps these states writes ``to_row`` after each change that ``is_changed`` tells
of, in the same commit as what caused it where there is one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from nightdesk.messages import StrategyId
from nightdesk.trading.risk_rows import from_text, to_text
from nightdesk.trading.risk_terms import LossBasis, MarkTime


class Equity(NamedTuple):
    """An owner's profit since ever: closed (commissions taken off), and open at the present prices."""

    realized_micros: int = 0
    unrealized_micros: int = 0

    def value(self, basis: LossBasis) -> int:
        """What counts of it."""
        return self.realized_micros + (self.unrealized_micros if basis is LossBasis.TOTAL else 0)


ZERO = Equity()


class LossRow(msgspec.Struct, frozen=True):
    """The day's losses"""

    trade_date: int
    start: dict[StrategyId, tuple[int, int]]
    last: dict[StrategyId, tuple[int, int]]
    breached: list[StrategyId]


class DailyLoss:
    """Each owner's loss since its trade date began, which is where the one before it ended: a gap overnight counts.

    A limit once reached stays reached until the next trade date, or until the operator's ``reset``: a position that
    recovers does not open the gate again. A restart changes nothing. The trade date never goes back.
    """

    def __init__(self, trade_date: int, start: Mapping[StrategyId, Equity] | None = None) -> None:
        """``start`` is the owners' profit before the trade date's first fill; whoever is not named had none."""
        self.trade_date = trade_date
        self._start: dict[StrategyId, Equity] = dict(start or {})
        self._last: dict[StrategyId, Equity] = dict(self._start)
        self._breached: set[StrategyId] = set()
        self.is_changed = True

    def roll(self, trade_date: int) -> bool:
        """Begin a later trade date with what was last observed; False for the same one or an earlier one."""
        if trade_date <= self.trade_date:
            return False
        self.trade_date = trade_date
        self._start = dict(self._last)
        self._breached.clear()
        self.is_changed = True
        return True

    def observe(self, owner: StrategyId, equity: Equity) -> None:
        """The owner's profit now; to be told of everybody who ever had a fill."""
        # What only follows prices is not worth a write: the next fill or trade date takes it along.
        self.is_changed |= equity.realized_micros != self._last.get(owner, ZERO).realized_micros
        self._last[owner] = equity

    def loss_micros(self, owner: StrategyId, basis: LossBasis) -> int:
        """What is lost; a profit is negative."""
        return self._start.get(owner, ZERO).value(basis) - self._last.get(owner, ZERO).value(basis)

    def breach(self, owner: StrategyId) -> bool:
        """Note that the owner's limit is reached; False where it was noted before."""
        if owner in self._breached:
            return False
        self._breached.add(owner)
        self.is_changed = True
        return True

    def is_breached(self, owner: StrategyId) -> bool:
        """Whether the limit was reached on this trade date."""
        return owner in self._breached

    def reset(self, owner: StrategyId) -> None:
        """The operator's word: the loss counts from here on."""
        self._start[owner] = self._last.get(owner, ZERO)
        self._breached.discard(owner)
        self.is_changed = True

    def to_row(self) -> str:
        """For the journal; from then on ``is_changed`` tells of what is newer."""
        self.is_changed = False
        return to_text(LossRow(self.trade_date, dict(self._start), dict(self._last), sorted(self._breached)))

    @classmethod
    def from_row(cls, text: str) -> "DailyLoss":
        """As it was written."""
        row = from_text(LossRow, text)
        state = cls(row.trade_date, {owner: Equity(*each) for owner, each in row.start.items()})
        state._last = {owner: Equity(*each) for owner, each in row.last.items()}
        state._breached = set(row.breached)
        state.is_changed = False
        return state


class DrawdownRow(msgspec.Struct, frozen=True):
    """The highest profits"""

    marks: dict[StrategyId, int]
    last: dict[StrategyId, int]
    breached: list[StrategyId]


class TrailingDrawdown:
    """Each owner's highest profit, which begins at 0, and how far it has fallen from there.

    The mark rises with each observation, or (``END_OF_DAY``) with the last one of a trade date; it never sinks, and
    neither a restart nor a new day moves it. A limit once reached stays reached until the operator's ``reset``.
    """

    def __init__(self, mark_time: MarkTime, floor_max_micros: int | None = None) -> None:
        """``floor_max_micros`` is the profit at which the floor stops rising."""
        self._mark_time = mark_time
        self._floor_max = floor_max_micros
        self._marks: dict[StrategyId, int] = {}
        self._last: dict[StrategyId, int] = {}
        self._breached: set[StrategyId] = set()
        self.is_changed = True

    def begin(self, owner: StrategyId, equity_micros: int) -> None:
        """The owner had this profit when its falls were first watched: nothing before counts."""
        self._marks[owner] = self._last[owner] = equity_micros
        self.is_changed = True

    def observe(self, owner: StrategyId, equity_micros: int) -> None:
        """The owner's profit now."""
        self._last[owner] = equity_micros
        if self._mark_time is MarkTime.INTRADAY:
            self._raise(owner, equity_micros)

    def roll(self) -> None:
        """A trade date has ended: what was observed last is its result."""
        for owner, equity_micros in self._last.items():
            self._raise(owner, equity_micros)
        self.is_changed = True

    def mark_micros(self, owner: StrategyId) -> int:
        """The highest profit."""
        return self._marks.get(owner, 0)

    def floor_micros(self, owner: StrategyId, limit_micros: int) -> int:
        """The profit at which the limit is reached."""
        floor = self.mark_micros(owner) - limit_micros
        return floor if self._floor_max is None else min(floor, self._floor_max)

    def is_reached(self, owner: StrategyId, limit_micros: int) -> bool:
        """Whether the owner stands at its floor or below it now."""
        return self._last.get(owner, 0) <= self.floor_micros(owner, limit_micros)

    def used_micros(self, owner: StrategyId, limit_micros: int) -> int:
        """What of the limit is used: all of it at the floor."""
        return limit_micros - (self._last.get(owner, 0) - self.floor_micros(owner, limit_micros))

    def breach(self, owner: StrategyId) -> bool:
        """Note that the owner's limit is reached; False where it was noted before."""
        if owner in self._breached:
            return False
        self._breached.add(owner)
        self.is_changed = True
        return True

    def is_breached(self, owner: StrategyId) -> bool:
        """Whether the limit was ever reached since the operator's last word."""
        return owner in self._breached

    def reset(self, owner: StrategyId) -> None:
        """The operator's word: the fall counts from here on."""
        self._marks[owner] = self._last.get(owner, 0)
        self._breached.discard(owner)
        self.is_changed = True

    def to_row(self) -> str:
        """For the journal; from then on ``is_changed`` tells of what is newer."""
        self.is_changed = False
        return to_text(DrawdownRow(dict(self._marks), dict(self._last), sorted(self._breached)))

    @classmethod
    def from_row(cls, text: str, mark_time: MarkTime, floor_max_micros: int | None = None) -> "TrailingDrawdown":
        """As it was written, under the present rules."""
        row = from_text(DrawdownRow, text)
        state = cls(mark_time, floor_max_micros)
        state._marks, state._last, state._breached = dict(row.marks), dict(row.last), set(row.breached)
        state.is_changed = False
        return state

    def _raise(self, owner: StrategyId, equity_micros: int) -> None:
        if equity_micros > self.mark_micros(owner):
            self._marks[owner] = equity_micros
            self.is_changed = True
