"""When contracts end: rules against days that were counted by hand."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightdesk.calendars.load import load_calendar
from nightdesk.calendars.products import calendar_of, is_known, product_of
from nightdesk.trading.contracts import MONTHS, RULES, date_of, ending_on, expiry_of, parse_contract, trade_date_of
from tests.calendar_support import at, utc

COUNTED = {
    ("ESH4", 2024): 20240315,
    ("ESM6", 2026): 20260618,  # the third Friday is Juneteenth
    ("ESZ6", 2026): 20261218,
    ("MNQU4", 2024): 20240920,
    ("6EH4", 2024): 20240318,
    ("6CH4", 2024): 20240319,
    ("CLF4", 2023): 20231219,
    ("CLG4", 2024): 20240122,
    ("CLM4", 2024): 20240521,
    ("MCLF4", 2023): 20231218,
    ("NGF4", 2024): 20231227,
    ("RBG4", 2024): 20240131,
    ("GCG4", 2024): 20240227,
    ("SIH4", 2024): 20240326,
    ("ZNH4", 2024): 20240319,
    ("ZTH4", 2024): 20240328,
    ("ZCH4", 2024): 20240314,
    ("HEG4", 2024): 20240214,
    ("LEG4", 2024): 20240229,
    ("BTCH4", 2024): 20240328,  # the last Friday is Good Friday
}
"""Last trading days, counted by hand from the rulebook and the holidays."""


@pytest.mark.parametrize(("contract", "day"), COUNTED.items(), ids=lambda value: str(value))
def test_last_trading_day_is_that_of_the_rulebook(contract: tuple[str, int], day: int) -> None:
    """Rule and business days of the product's own calendar."""
    symbol, year = contract
    expiry = expiry_of(symbol, year, load_calendar(calendar_of(product_of(symbol))))
    assert expiry is not None
    assert expiry.trade_date == day


def test_trading_ends_by_the_clocks_of_the_rules_place() -> None:
    """8:30 in Chicago in winter and in summer; bitcoin at four in London, whatever Chicago's clocks say."""
    index = [expiry_of(symbol, 2024) for symbol in ("ESH4", "ESZ4")]
    assert [each.ends_ns for each in index if each] == [at("2024-03-15 08:30"), at("2024-12-20 08:30")]
    coin = expiry_of("BTCJ4", 2024)
    assert coin is not None
    assert coin.ends_ns == utc("2024-04-26 15:00")


def test_contract_ends_with_a_day_that_closes_early() -> None:
    """Heating oil's rule says 13:30, the market closes at 12:45 on the day after Thanksgiving 2014."""
    expiry = expiry_of("HOZ4", 2014, load_calendar("cme_energy_metals"))
    assert expiry == (20141128, at("2014-11-28 12:45"))


def test_year_of_one_digit_is_the_nearest_and_of_two_digits_as_well() -> None:
    """ESH4 is of 2024 until 2029, then of 2034."""
    assert [parse_contract("ESH4", year) for year in (2024, 2028, 2030)] == [
        ("ES", 3, 2024),
        ("ES", 3, 2024),
        ("ES", 3, 2034),
    ]
    assert parse_contract("M2KZ27", 2026) == ("M2K", 12, 2027)
    assert [parse_contract(symbol, 2026) for symbol in ("ES", "ES.front", "", "ESA6", "ESZ123")] == [None] * 5


@pytest.mark.parametrize(
    "text", ["", "2026", "20261301", "20260230", "00000000", "99991231", "2026-12-", "2026121\u0668"]
)
def test_what_is_no_date_of_an_end_is_none(text: str) -> None:
    """Placeholders and other notations; nothing is guessed."""
    assert trade_date_of(text) is None
    assert trade_date_of("20261218") == 20261218


@pytest.mark.parametrize(
    ("symbol", "trade_date", "ends"),
    [
        ("ESZ6", 20261218, "2026-12-18 08:30"),
        ("ESZ6", 20261217, "2026-12-17 08:30"),
        ("ESZ6", 20261219, "2026-12-19 08:30"),  # a Saturday
        ("HOZ4", 20141128, "2014-11-28 12:45"),  # the market closes early
        ("SR3Z6", 20261216, "2026-12-16 18:00"),  # no rule: the end of that day in UTC
    ],
)
def test_an_end_that_somebody_else_names_is_at_the_product_s_time_of_day(
    symbol: str, trade_date: int, ends: str
) -> None:
    """Or with the close of a day that closes early."""
    calendar = load_calendar(calendar_of(product_of(symbol)))
    assert ending_on(symbol, trade_date, trade_date // 10_000, calendar) == (trade_date, at(ends))


def test_nothing_is_said_of_products_without_a_rule() -> None:
    """An unknown product, and one that has no month."""
    assert expiry_of("ABCZ6", 2026) is None
    assert expiry_of("SR3Z6", 2026) is None
    assert expiry_of("ES", 2026) is None


def test_every_product_with_a_rule_has_a_calendar() -> None:
    """So that its business days are known."""
    assert [product for product in RULES if not is_known(product)] == []


@given(st.sampled_from(sorted(RULES)), st.sampled_from(sorted(MONTHS)), st.integers(2018, 2030))
def test_every_contract_ends_on_a_trade_date_near_its_month(product: str, month: str, year: int) -> None:
    """Whatever the holidays: a trade date of its calendar, not more than two months before its month, never after."""
    calendar = load_calendar(calendar_of(product))
    expiry = expiry_of(f"{product}{month}{year % 100:02}", year, calendar)
    assert expiry is not None
    day, first = date_of(expiry.trade_date), date(year, MONTHS[month], 1)
    assert expiry.trade_date in {session.trade_date for session in calendar.sessions}
    assert -62 <= (day - first).days < 31
    assert calendar.trade_date(expiry.ends_ns - 1) == expiry.trade_date
