"""What the exchange knows about its contracts: roots, front months, expirations, reference data."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from nightdesk.simulator.model import Product

_CONTRACT = re.compile(r"^([A-Z0-9]+?)([FGHJKMNQUVXZ])(\d{1,2})$")
_MONTHS = {code: number for number, code in enumerate("FGHJKMNQUVXZ", start=1)}
_FRIDAY = 4
_INDEX_FUTURES = {
    "ES": "E-Mini S&P 500",
    "MES": "Micro E-Mini S&P 500",
    "NQ": "E-Mini NASDAQ-100",
    "MNQ": "Micro E-Mini NASDAQ-100",
    "YM": "E-Mini Dow Jones",
    "MYM": "Micro E-Mini Dow Jones",
    "RTY": "E-Mini Russell 2000",
    "M2K": "Micro E-Mini Russell 2000",
}
"""Futures that end on the third Friday of their month; of other products the settings do not tell the day."""


def root_of(symbol: str) -> str:
    """The product code of a contract: ``ES`` for ``ESH4``; a symbol without month and year is its own root."""
    match = _CONTRACT.match(symbol)
    return match.group(1) if match else symbol


def name_of(symbol: str) -> str:
    """The contract's name for people."""
    root = root_of(symbol)
    return _INDEX_FUTURES.get(root, f"{root} Future")


def expiration_of(symbol: str, today: date) -> str | None:
    """The last day as YYYYMMDD where it follows from the symbol; a one-digit year is the one nearest to ``today``."""
    match = _CONTRACT.match(symbol)
    if match is None or match.group(1) not in _INDEX_FUTURES:
        return None
    digits = match.group(3)
    span = 10 ** len(digits)
    year = min((today.year // span + shift) * span + int(digits) for shift in (-1, 0, 1))
    while abs(year + span - today.year) < abs(year - today.year):
        year += span
    first = date(year, _MONTHS[match.group(2)], 1)
    third_friday = first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)
    return third_friday.strftime("%Y%m%d")


class Catalog:
    """The listed contracts, found by symbol or by root."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._by_symbol = {product.symbol: product for product in products}

    @property
    def exchanges(self) -> list[str]:
        """The exchanges of the listed contracts, in their order."""
        return list(dict.fromkeys(product.exchange for product in self._by_symbol.values()))

    def find(self, symbol: str, exchange: str) -> Product | None:
        """A contract by its own symbol."""
        product = self._by_symbol.get(symbol)
        return product if product is not None and product.exchange == exchange else None

    def front_month(self, root: str, exchange: str) -> Product | None:
        """The first configured contract of a root on an exchange."""
        for product in self._by_symbol.values():
            if product.exchange == exchange and root_of(product.symbol) == root:
                return product
        return None


def day_of_index(index: int) -> date | None:
    """The day that a history index of the form YYYYMMDD means; None for anything else, such as unix seconds."""
    try:
        return date(index // 10_000, index // 100 % 100, index % 100)
    except ValueError:
        return None


def start_of_day_s(day: date) -> int:
    """The unix second at which a UTC day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
