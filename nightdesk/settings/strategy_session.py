"""A strategy's section ``session``: when it opens no positions, and what becomes of them over breaks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nightdesk.settings.section import Seconds, Section, TimeOfDay


class NoTrade(Section):
    """A time of each day in which no position is opened, by the exchange's clocks (Chicago's)."""

    begins: Annotated[TimeOfDay, Field(alias="from")]
    """Its first minute, such as ``"15:55"``."""
    ends: Annotated[TimeOfDay, Field(alias="to")]
    """The minute with which it is over; earlier than `from` for a time over midnight."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.begins == self.ends:
            raise ValueError(f"from and to are both {self.begins}; for a strategy that opens nothing at all, pause it")
        return self


class StrategySession(Section):
    """When a strategy opens no positions, and before which breaks its position is closed (docs/market-time.md)."""

    no_trade: list[NoTrade] = []
    """Times of each day in which entries are denied; protective orders, exits and cancels pass."""
    no_trade_entries: Literal["cancel", "keep"] = "cancel"
    """What becomes of entries that work when such a time begins; what is kept may fill in it."""
    over_break: Literal["keep", "flatten"] = "keep"
    """Whether the position is kept over the daily break or closed before it."""
    over_weekend: Literal["keep", "flatten"] | None = None
    """The same for weekends and holidays. Default: as over the daily break."""
    flatten_before_close_s: Seconds | None = None
    """How long before the close, in market time, the position is closed where it is not kept; at least 60 but in mode
    sim. Default: 300.
    """
    if_not_flat: Literal["close_at_open", "keep"] | None = None
    """What becomes of a position that could not be closed before such a break: closed at the opening, unless somebody
    outside has closed of it meanwhile, or left to the strategy. Default: close_at_open.
    """

    @model_validator(mode="after")
    def _flatten_has_an_occasion(self) -> Self:
        for key in ("flatten_before_close_s", "if_not_flat"):
            if getattr(self, key) is not None and "flatten" not in (self.over_break, self.over_weekend):
                raise ValueError(
                    f"{key} alone flattens before nothing; add over_break: flatten (every close) or "
                    "over_weekend: flatten"
                )
        return self
