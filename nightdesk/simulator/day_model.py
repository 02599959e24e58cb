"""The words of the calendar's days: what happens to contracts and positions because time passes."""

import msgspec


class Listed(msgspec.Struct, frozen=True):
    """A contract is traded here from now on; ``expires_ns`` is when it ends, None: nobody knows."""

    symbol: str
    expires_ns: int | None
    ts_ns: int


class Settled(msgspec.Struct, frozen=True):
    """The price of a trade date (YYYYMMDD) has been fixed at its close, or for good at a contract's end."""

    symbol: str
    exchange: str
    price: float
    trade_date: str
    is_final: bool
    ts_ns: int


class PositionSettled(msgspec.Struct, frozen=True):
    """A position has become cash at the final price of its contract; ``net_quantity`` is what was closed, signed."""

    account_id: str
    symbol: str
    exchange: str
    net_quantity: int
    price: float
    ts_ns: int


class Expired(msgspec.Struct, frozen=True):
    """A contract has ended: nothing is traded in it any more."""

    symbol: str
    exchange: str
    trade_date: str
    ts_ns: int


DayEvent = Listed | Settled | PositionSettled | Expired
