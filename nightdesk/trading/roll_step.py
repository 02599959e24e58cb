"""What comes next when a position moves from one contract to another. Pure.

What was done so far is read from the orders of the roll themselves, each journalled before it is sent: an order plant
that is killed between any two steps asks again and gets the same answer, so that no leg is sent twice.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

LEG_ORDERS_MAX = 12
"""Orders of one leg, refused and canceled ones included, after which a roll waits for a person."""


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
    """The next step; ``quantity`` (to send; buys positive) is the ``number``-th order of its leg, counted from 1."""

    act: Act
    leg: LegKind = LegKind.CLOSE
    number: int = 0
    quantity: int = 0


def next_step(held: int, closing: Sequence[LegOrder], opening: Sequence[LegOrder], *, reopens: bool) -> RollStep:
    """``held`` is the position in the old contract, the orders are those of each leg, oldest first.

    The old contract is closed first; what has been closed is opened in the new one, if ``reopens``.
    """
    if any(not order.is_final for order in (*closing, *opening)):
        return RollStep(Act.WAIT)
    if held:
        return _send(LegKind.CLOSE, closing, -held)
    missing = -sum(order.filled for order in closing) - sum(order.filled for order in opening)
    if reopens and missing:
        return _send(LegKind.OPEN, opening, missing)
    return RollStep(Act.DONE)


def order_id(roll_id: str, leg: LegKind, number: int) -> str:
    """The id of an order of a roll; the same for ever."""
    return f"{roll_id}-{leg}{number}"


def _send(leg: LegKind, sent: Sequence[LegOrder], quantity: int) -> RollStep:
    if len(sent) >= LEG_ORDERS_MAX:
        return RollStep(Act.GIVE_UP, leg)
    return RollStep(Act.SEND, leg, len(sent) + 1, quantity)
