"""Exact integers for prices and money: prices in billionths of a point, money in millionths of the currency."""

from decimal import Decimal

PRICE_SCALE = 1_000_000_000
MONEY_SCALE = 1_000_000
PRICE_TOLERANCE = 1e-9
"""Two prices that are nearer to each other are the same one."""


def to_nanos(price: float) -> int:
    """A price in billionths of a point; exact for every price that is written with at most nine decimals."""
    return round(Decimal(repr(price)) * PRICE_SCALE)


def from_nanos(price_nanos: int) -> float:
    """The nearest float of a price in billionths of a point."""
    return price_nanos / PRICE_SCALE


def to_micros(money: float) -> int:
    """An amount of money in millionths."""
    return round(Decimal(repr(money)) * MONEY_SCALE)


def from_micros(money_micros: int) -> float:
    """The nearest float of an amount in millionths."""
    return money_micros / MONEY_SCALE


def is_on_tick(price: float, tick_size: float) -> bool:
    """Whether a price is a whole number of ticks."""
    return to_nanos(price) % to_nanos(tick_size) == 0
