"""What the exchange knows about its contracts: roots, front months, expirations, reference data."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from nightdesk.simulator.model import Product

_CONTRACT = re.compile(r"^([A-Z0-9]+?)([FGHJKMNQUVXZ])(\d{1,2})$")
_MONTHS = {code: number for number, code in enumerate("FGHJKMNQUVXZ", start=1)}
_FRIDAY = 4
NS_PER_S = 1_000_000_000
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


def contract_of(symbol: str, today: date) -> tuple[str, str, int]:
    """Product code, month's letter and year of a contract; a year of few digits is the one nearest to ``today``.

    No letter, and 0, for a symbol without month and year.
    """
    match = _CONTRACT.match(symbol)
    if match is None:
        return symbol, "", 0
    code, month, digits = match.groups()
    span = 10 ** len(digits)
    years = ((today.year // span + shift) * span + int(digits) for shift in (-1, 0, 1))
    return code, month, min(years, key=lambda year: abs(year - today.year))


def name_of(symbol: str) -> str:
    """The contract's name for people."""
    root = root_of(symbol)
    return _INDEX_FUTURES.get(root, f"{root} Future")


def is_index_future(symbol: str) -> bool:
    """Whether the contract is one of the stock index futures known here, which are settled in cash."""
    return root_of(symbol) in _INDEX_FUTURES


def expiration_of(symbol: str, today: date) -> str | None:
    """The last day as YYYYMMDD where it follows from the symbol; a one-digit year is the one nearest to ``today``."""
    code, month, year = contract_of(symbol, today)
    if not month or code not in _INDEX_FUTURES:
        return None
    first = date(year, _MONTHS[month], 1)
    third_friday = first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)
    return third_friday.strftime("%Y%m%d")


class Catalog:
    """The listed contracts, found by symbol or by root."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._by_symbol = {product.symbol: product for product in products}

    @property
    def products(self) -> list[Product]:
        """All listed contracts, in their order."""
        return list(self._by_symbol.values())

    @property
    def exchanges(self) -> list[str]:
        """The exchanges of the listed contracts, in their order."""
        return list(dict.fromkeys(product.exchange for product in self._by_symbol.values()))

    def find(self, symbol: str, exchange: str) -> Product | None:
        """A contract by its own symbol."""
        product = self._by_symbol.get(symbol)
        return product if product is not None and product.exchange == exchange else None

    def front_month(self, root: str, exchange: str, today: str = "") -> Product | None:
        """The contract of a root that expires next after ``today`` (YYYYMMDD).

        The first configured one where that is not known: without ``today``, or of roots whose expirations are not
        known or have all passed.
        """
        contracts = self.contracts(root, exchange)
        if not contracts:
            return None
        day = day_of_index(int(today)) if today else None
        if day is None:
            return contracts[0]
        dated = [(expiration_of(product.symbol, day) or "", product) for product in contracts]
        ahead = sorted((each for each in dated if each[0] >= today), key=lambda each: each[0])
        return ahead[0][1] if ahead else contracts[0]

    def contracts(self, root: str, exchange: str) -> list[Product]:
        """All contracts of a root on an exchange, in their order."""
        return [each for each in self._by_symbol.values() if each.exchange == exchange and root_of(each.symbol) == root]


def front_month_name(root: str, product: Product) -> str:
    """What a front month is called, after a captured frame."""
    return f"Front Month for {root} - {product.symbol}.{product.exchange}"


def utc_date(ts_ns: int) -> str:
    """The day in UTC as YYYYMMDD."""
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y%m%d")


def day_of_index(index: int) -> date | None:
    """The day that a history index of the form YYYYMMDD means; None for anything else, such as unix seconds."""
    try:
        return date(index // 10_000, index // 100 % 100, index % 100)
    except ValueError:
        return None


def start_of_day_s(day: date) -> int:
    """The unix second at which a UTC day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
