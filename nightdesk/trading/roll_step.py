"""What comes next when a position moves from one contract to another. Pure.

What was done so far is read from the orders of the roll themselves, each journalled before it is sent: an order plant
that is killed between any two steps asks again and gets the same answer, so that no leg is sent twice.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from nightdesk.messages import StrategyId

LEG_ORDERS_MAX = 12
"""Orders of one leg without a fill, refused and canceled ones, after which a roll waits for a person."""


class RollState(StrEnum):
    """How a roll stands; all but the first are final."""

    UNDER_WAY = "under_way"
    DONE = "done"
    """The former contract is empty, and what was to be opened is; or the position is kept, as configured."""
    GAVE_UP = "gave_up"
    """Too many orders have failed: a person does the rest."""
    ABANDONED = "abandoned"
    """Too old, or of a strategy that is not configured so any more: nothing is sent in its name."""


class PositionRoll(NamedTuple):
    """A strategy's position is moved from one contract to the next; its orders' ids begin with ``roll_id``."""

    roll_id: str
    strategy_id: StrategyId
    alias: str
    old_symbol: str
    new_symbol: str
    reopens: bool
    """Whether what is closed is opened in the new contract."""
    state: RollState = RollState.UNDER_WAY
    was_protected: bool = False
    """Whether a protective stop was at work in the former contract when it began."""
    begun_ns: int = 0
    """Market time."""

    @property
    def is_done(self) -> bool:
        """Whether no process goes on with it."""
        return self.state is not RollState.UNDER_WAY


class LegKind(StrEnum):
    """Which of the two legs an order belongs to; the letter is part of its id."""

    CLOSE = "c"
    OPEN = "o"


class LegOrder(NamedTuple):
    """One order of a roll: what it has filled (buys positive), and whether it is over."""

    filled: int
    is_final: bool


class Act(StrEnum):
    """What to do about a roll."""

    WAIT = "wait"
    """An order is under way."""
    SEND = "send"
    DONE = "done"
    GIVE_UP = "give_up"
    """Too many orders have failed."""


class RollStep(NamedTuple):
    """The next step; ``quantity`` (to send; buys positive) is the ``number``-th order of its leg, counted from 1.

    ``failed`` of its orders before have filled nothing.
    """

    act: Act
    leg: LegKind = LegKind.CLOSE
    number: int = 0
    quantity: int = 0
    failed: int = 0


def next_step(held: int, closing: Sequence[LegOrder], opening: Sequence[LegOrder], *, reopens: bool) -> RollStep:
    """``held`` is the position in the old contract, the orders are those of each leg, oldest first.

    The old contract is closed first; what has been closed is opened in the new one, if ``reopens``. Where a stop and
    the closing order have both filled, what is too much is closed in its turn, and is not opened: the stop has ended
    that part of the position.
    """
    if any(not order.is_final for order in (*closing, *opening)):
        return RollStep(Act.WAIT)
    if held:
        return _send(LegKind.CLOSE, closing, -held)
    lacking = missing(closing, opening)
    if reopens and lacking:
        return _send(LegKind.OPEN, opening, lacking)
    return RollStep(Act.DONE)


def missing(closing: Sequence[LegOrder], opening: Sequence[LegOrder]) -> int:
    """What was closed and is not opened again (long positive)."""
    return -sum(order.filled for order in closing) - sum(order.filled for order in opening)


def order_id(roll_id: str, leg: LegKind, number: int) -> str:
    """The id of an order of a roll; the same for ever."""
    return f"{roll_id}-{leg}{number}"


def _send(leg: LegKind, sent: Sequence[LegOrder], quantity: int) -> RollStep:
    failed = sum(not order.filled for order in sent)
    if failed >= LEG_ORDERS_MAX:
        return RollStep(Act.GIVE_UP, leg)
    return RollStep(Act.SEND, leg, len(sent) + 1, quantity, failed)
