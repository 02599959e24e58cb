"""How the order plant's books are held against the broker's."""

from typing import Annotated, Literal

from pydantic import Field

from nightdesk.settings.section import DAY_S, Section

LISTS_EVERY_S_MIN = 5.0


class Audit(Section):
    """Our books, the broker's list of orders and its positions are compared all the time (docs/recovery.md)."""

    on_mismatch: Literal["reduce", "alert"] = "reduce"
    """What a difference that lasts does besides its critical alert: ``reduce`` lets only orders pass that lower a
    position, until ``resume-trading``; ``alert`` nothing."""
    lists_every_s: Annotated[float, Field(ge=LISTS_EVERY_S_MIN, le=DAY_S)] = 300.0
    """How often the broker's list of orders is asked for beside reconciliations; trading goes on meanwhile."""
