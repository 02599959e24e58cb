"""What may be traded: contracts, and aliases that mean a product's front contract and roll by a rule."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nightdesk.calendars.load import product_of
from nightdesk.calendars.terms import terms_of
from nightdesk.settings.section import DAY_S, Section

SYMBOL_PATTERN = r"^[A-Z0-9]{1,16}(\.[a-z]{1,8})?$"
"""A contract, or an alias; which aliases there are is a rule of its own."""


class Roll(Section):
    """When an alias goes over to the next contract, always at a session's opening, and what becomes of positions."""

    rule: Literal["date", "volume", "exchange"] = "date"
    """``date``: days before the contract's end; ``volume``: once a whole session had more volume in the next contract,
    one session later; ``exchange``: once the exchange names another front month.
    """
    days_before_expiry: Annotated[int, Field(ge=0, le=60)] | None = None
    """Days from the first trade date of the next contract to the last one of the former; of the other two rules: the
    latest. Without it the product's own (docs/market-time.md).
    """
    position: Literal["roll", "flatten", "keep"]
    """Before the former contract's last session as the front one ends: ``roll`` closes a position and opens it in the
    next contract, ``flatten`` closes it, ``keep`` leaves it where it is and says so.
    """
    before_close_s: Annotated[float, Field(ge=1, le=DAY_S)] = 900.0
    """Market time before that session's close at which this begins."""


class Instrument(Section):
    """One contract, or an alias; ``tick_size`` in price units, ``point_value`` in currency for one whole point."""

    symbol: Annotated[str, Field(pattern=SYMBOL_PATTERN)]
    """The contract, such as ESZ6 (an expired one gets no data), or ``ES.front`` with ``roll``."""
    exchange: Annotated[str, Field(pattern=r"^[A-Z]{1,12}$")]
    """Its exchange, such as CME."""
    tick_size: Annotated[float, Field(ge=1e-9, le=1e9)]
    """The smallest step of its price, in price units; may be left out of products that docs/market-time.md lists."""
    point_value: Annotated[float, Field(ge=1e-9, le=1e9)]
    """What one whole point of one contract is worth, in currency; may be left out likewise."""
    commission: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Costs of one contract and side, in currency."""
    roll: Roll | None = None
    """Required of an alias: when it goes over to the next contract."""

    @model_validator(mode="before")
    @classmethod
    def _known_terms(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("symbol"), str):
            return value
        known = terms_of(product_of(value["symbol"]))
        return value if known is None else {**known._asdict(), **value}
