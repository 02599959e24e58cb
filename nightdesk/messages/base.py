"""The base of every message, and the identifiers that messages carry."""

from typing import NewType

import msgspec

ChildId = NewType("ChildId", str)
"""The path of an actor in the supervision tree, such as ``strategies/sma_es``."""

StrategyId = NewType("StrategyId", str)
"""The configured name of a strategy, such as ``sma_es``; its actor is ``strategies/sma_es``."""

ClientOrderId = NewType("ClientOrderId", str)
"""Our identifier of an order (FIX ClOrdID); it travels as Rithmic's ``user_tag`` and is never used twice."""

VenueOrderId = NewType("VenueOrderId", str)
"""The broker's identifier of an order (Rithmic's ``basket_id``)."""

FillId = NewType("FillId", str)
"""The exchange's identifier of one execution; the key that removes duplicates."""


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True, gc=False):
    """An immutable value that actors exchange: a verb phrase is a command, a past tense is an event.

    Fields are scalars, enumerations, other messages and tuples of these. Assigning to a field raises
    ``AttributeError``. Times are integers in nanoseconds since the Unix epoch, UTC.
    """
