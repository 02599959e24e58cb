"""A strategy's section ``protection``: what happens where a position has no stop at the exchange."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nightdesk.settings.section import Section


class StrategyProtection(Section):
    """Whether each position needs a protective stop that works at the exchange, and what is done without one."""

    required: bool = False
    """``true``: the whole position needs one at every moment; ``false``: only what entries of brackets have filled that
    ask for a stop, and only until it has been there.
    """
    within_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How long it may be missing while the market trades, in seconds of this machine."""
    on_failure: Literal["replace", "flatten"] = "replace"
    """``replace``: a stop is placed, and what is still without one then is closed; ``flatten``: closed at once."""
    stop_ticks: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """How far from the position's average price such a stop is placed. Default: as the bracket asked."""

    @model_validator(mode="after")
    def _replacement_has_a_price(self) -> Self:
        if self.required and self.on_failure == "replace" and self.stop_ticks is None:
            raise ValueError("on_failure: replace needs stop_ticks, such as 40; or set on_failure: flatten")
        return self
