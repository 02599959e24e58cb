"""What the exchange knows about its contracts: roots, front months, expirations, reference data."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter

from nightdesk.simulator.model import Product
from nightdesk.simulator.venue.trade_dates import ALWAYS_OPEN, TradeDates
from nightdesk.trading.contracts import date_of, expiry_of
from nightdesk.trading.sessions import SessionCalendar

_CONTRACT = re.compile(r"^([A-Z0-9]+?)([FGHJKMNQUVXZ])(\d{1,2})$")
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
"""The stock index futures that are known by name."""


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


class Catalog:
    """The listed contracts, found by symbol or by root."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._by_symbol = {product.symbol: product for product in products}
        self._calendars: dict[str, SessionCalendar] = {}
        self._dates = ALWAYS_OPEN
        self._front_month_days = 0

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

    def keep_calendars(
        self, calendars: Mapping[str, SessionCalendar], dates: TradeDates, front_month_days: int
    ) -> None:
        """Days are trade dates from now on, and a front month ends ``front_month_days`` before its contract does."""
        self._calendars, self._dates, self._front_month_days = dict(calendars), dates, front_month_days

    def last_day(self, symbol: str, now_ns: int) -> date | None:
        """The last trading day of a contract, where the product has a known rule."""
        expiry = expiry_of(symbol, _year_of(now_ns), self._calendars.get(symbol))
        return date_of(expiry.trade_date) if expiry is not None else None

    def expiration(self, symbol: str, now_ns: int) -> str | None:
        """The same as YYYYMMDD."""
        last_day = self.last_day(symbol, now_ns)
        return last_day.strftime("%Y%m%d") if last_day is not None else None

    def front_month(self, root: str, exchange: str, now_ns: int) -> Product | None:
        """The contract of a root that ends next, without those that are about to; the last one left stays.

        The first configured one of roots whose last days are not known or have all passed.
        """
        contracts = self.contracts(root, exchange)
        ahead: list[tuple[date, date, Product]] = []
        for product in contracts:
            last_day = self.last_day(product.symbol, now_ns)
            today = _date(self._dates.date_of(product.symbol, now_ns))
            if last_day is not None and last_day >= today:
                ahead.append((last_day, today, product))
        ahead.sort(key=itemgetter(0))
        for last_day, today, product in ahead:
            if not self._front_month_days or today < last_day - timedelta(days=self._front_month_days):
                return product
        return ahead[-1][2] if ahead else contracts[0] if contracts else None

    def contracts(self, root: str, exchange: str) -> list[Product]:
        """All contracts of a root on an exchange, in their order."""
        return [each for each in self._by_symbol.values() if each.exchange == exchange and root_of(each.symbol) == root]


def front_month_name(root: str, product: Product) -> str:
    """What a front month is called, after a captured frame."""
    return f"Front Month for {root} - {product.symbol}.{product.exchange}"


def _year_of(now_ns: int) -> int:
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC).year


def _date(yyyymmdd: str) -> date:
    return date_of(int(yyyymmdd))


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
