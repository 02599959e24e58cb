"""Which contract of a product is its front one, and when the next one takes its place. Pure.

A product's contracts follow one another in a *chain*. Each is the front one until the opening of the session in which
the next takes its place: a roll never happens within a session. Where a market never closes the days of UTC are its
sessions.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple

from nightdesk.errors import CalendarError
from nightdesk.trading.contracts import MONTHS, RULES, Expiry, date_of, expiry_of
from nightdesk.trading.sessions import NS_PER_S, SessionCalendar

FRONT = "front"
"""What may be meant of a product: the contract that trading concentrates in."""
ALIAS_MARK = "."
EXPIRATION = "expiration"
"""The reason of a leg that comes sooner because the exchange ends the contract before it sooner than its rule says."""
DECIDED_REASONS = frozenset({"volume", "exchange", EXPIRATION})
"""The reasons of legs that follow from what was seen, not from the calendar."""

YEARS_BEHIND, YEARS_AHEAD = 1, 2
"""The years around a date whose contracts are looked at; every cycle has its front contract and several more there."""


class Cycle(NamedTuple):
    """The months in which trading concentrates, and when it leaves a contract.

    ``days`` are days before the last trade date, ``latest_days`` those by which a rule that watches the market must
    have rolled: of contracts that are delivered both lie before the first day on which a holder may be called upon.
    """

    months: str
    days: int
    latest_days: int


class Link(NamedTuple):
    """One contract of a chain: from ``until_ns`` on, an opening, the next one is the front contract.

    ``until_trade_date`` is the trade date that this opening begins, ``ends`` the contract's own end.
    """

    symbol: str
    until_ns: int
    until_trade_date: int
    ends: Expiry


class Leg(NamedTuple):
    """A time during which an alias means one contract: from ``from_ns``, the opening of ``trade_date``, on.

    ``reason`` is the rule by which it came: ``date``, ``volume``, ``exchange``, ``latest`` where a watching rule had
    found nothing until the last moment, or ``expiration``.
    """

    symbol: str
    from_ns: int
    trade_date: int
    reason: str


_QUARTERS, _EVERY = "HMUZ", "FGHJKMNQUVXZ"
_INDEX = Cycle(_QUARTERS, 8, 1)
_FX = Cycle(_QUARTERS, 7, 1)
_ENERGY = Cycle(_EVERY, 5, 1)
_GOLD = Cycle("GJMQVZ", 32, 32)
_SILVER = Cycle("HKNUZ", 32, 32)
_BONDS = Cycle(_QUARTERS, 28, 28)
_NOTES = Cycle(_QUARTERS, 36, 36)
_CRYPTO = Cycle(_EVERY, 4, 1)
_CORN, _SOYBEANS, _SOY_PRODUCTS = "HKNUZ", "FHKNQUX", "FHKNQUVZ"
_GRAIN_DAYS = 20

CYCLES: dict[str, Cycle] = {
    **dict.fromkeys(("ES", "MES", "NQ", "MNQ", "RTY", "M2K", "YM", "MYM", "EMD"), _INDEX),
    **dict.fromkeys(("6A", "6B", "6C", "6E", "6J", "6N", "6S", "M6A", "M6B", "M6E"), _FX),
    **dict.fromkeys(("CL", "MCL", "NG", "HO", "RB"), _ENERGY),
    **dict.fromkeys(("GC", "MGC"), _GOLD),
    **dict.fromkeys(("SI", "SIL", "HG"), _SILVER),
    **dict.fromkeys(("ZN", "TN", "ZB", "UB"), _BONDS),
    **dict.fromkeys(("ZT", "ZF"), _NOTES),
    **dict.fromkeys(("ZC", "ZW", "ZO", "KE", "XC", "XW"), Cycle(_CORN, _GRAIN_DAYS, _GRAIN_DAYS)),
    **dict.fromkeys(("ZS", "XK"), Cycle(_SOYBEANS, _GRAIN_DAYS, _GRAIN_DAYS)),
    **dict.fromkeys(("ZM", "ZL"), Cycle(_SOY_PRODUCTS, _GRAIN_DAYS, _GRAIN_DAYS)),
    "LE": Cycle("GJMQVZ", 32, 32),
    "HE": Cycle("GJKMNQVZ", 8, 1),
    **dict.fromkeys(("BTC", "MBT", "ETH", "MET"), _CRYPTO),
}
"""Months by the products' contract specifications at CME Group; days as docs/market-time.md explains them."""

_LETTERS = {number: letter for letter, number in MONTHS.items()}


def alias_of(product: str) -> str:
    """How the front contract of a product is written: ``ES.front``."""
    return f"{product}{ALIAS_MARK}{FRONT}"


def is_alias(symbol: str) -> bool:
    """Whether a symbol means a contract instead of naming one."""
    return ALIAS_MARK in symbol


def symbol_of(product: str, year: int, month: int) -> str:
    """A contract as the gateway writes it: ``ESZ6``."""
    return f"{product}{_LETTERS[month]}{year % 10}"


def chain_of(product: str, calendar: SessionCalendar, around_ns: int, days: int | None = None) -> list[Link]:
    """The contracts of a product for some years around a moment, oldest first; each hands over to the next.

    ``days`` before its last trade date a contract is left; without it, the product's own. Raises ``KeyError`` for a
    product without a cycle.
    """
    cycle = CYCLES[product]
    days = cycle.days if days is None else days
    year = datetime.fromtimestamp(around_ns // NS_PER_S, UTC).year
    months = sorted(MONTHS[letter] for letter in cycle.months)
    links = []
    for near in range(year - YEARS_BEHIND, year + YEARS_AHEAD + 1):
        for month in months:
            symbol = symbol_of(product, near, month)
            ends = expiry_of(symbol, near, calendar)
            if ends is None:
                raise KeyError(product)
            until_ns, until_trade_date = opening_from(calendar, date_of(ends.trade_date) - timedelta(days=days))
            links.append(Link(symbol, until_ns, until_trade_date, ends))
    return links


def legs_of(chain: Sequence[Link], reason: str, decided: Mapping[str, Leg] | None = None) -> list[Leg]:
    """When an alias means which contract of a chain; ``decided`` are rolls (by the new symbol) that come earlier."""
    legs = [Leg(chain[0].symbol, 0, 0, reason)]
    for before, link in pairwise(chain):
        leg = Leg(link.symbol, before.until_ns, before.until_trade_date, reason)
        early = (decided or {}).get(link.symbol)
        # A decision of another decade's contract of that name is none.
        if early is not None and legs[-1].from_ns < early.from_ns < leg.from_ns and _is_near(early, leg):
            leg = early
        legs.append(leg)
    return legs


def leg_at(legs: Sequence[Leg], now_ns: int) -> int:
    """The index of the leg in force."""
    return max((index for index, leg in enumerate(legs) if leg.from_ns <= now_ns), default=0)


def around(legs: Sequence[Leg], now_ns: int, *, behind: int, ahead: int) -> list[Leg]:
    """The leg in force with so many before and after it."""
    index = leg_at(legs, now_ns)
    return list(legs[max(index - behind, 0) : index + ahead + 1])


def roll_opening(calendar: SessionCalendar, now_ns: int, notice_ns: int) -> tuple[int, int]:
    """The first opening at which a roll that is decided now can take effect, and its trade date.

    Before it lies the end of a session at least ``notice_ns`` from now, in which positions can be moved.
    """
    if calendar.never_closes:
        day = datetime.fromtimestamp((now_ns + notice_ns) // NS_PER_S, UTC).date()
        return opening_from(calendar, day + timedelta(days=1))
    last = calendar.session_at(now_ns) or calendar.next_session(now_ns)
    if last.closes_ns - now_ns < notice_ns:
        last = calendar.next_session(last.opens_ns)
    following = calendar.next_session(last.opens_ns)
    return following.opens_ns, following.trade_date


def last_close_ns(calendar: SessionCalendar, opening_ns: int) -> int:
    """The end of the session before an opening; the opening itself where there is none."""
    if calendar.never_closes:
        return opening_ns
    try:
        before = calendar.previous_session(opening_ns)
    except CalendarError:
        return opening_ns
    return opening_ns if before is None else before.closes_ns


def opening_from(calendar: SessionCalendar, day: date) -> tuple[int, int]:
    """The opening of the first session whose trade date is not before a day, and that trade date.

    A day that the calendar does not know opens at its midnight, UTC.
    """
    number = day.year * 10_000 + day.month * 100 + day.day
    if not calendar.never_closes:
        sessions = calendar.sessions
        index = bisect_left(sessions, number, key=lambda session: session.trade_date)
        if 0 < index < len(sessions):
            return sessions[index].opens_ns, sessions[index].trade_date
    midnight = datetime.combine(day, time(), UTC)
    return int(midnight.timestamp()) * NS_PER_S, number


def has_rule(product: str) -> bool:
    """Whether the contracts of a product and their ends are known."""
    return product in CYCLES and product in RULES


def known_products() -> Iterable[str]:
    """All products with a cycle."""
    return CYCLES.keys()


def _is_near(early: Leg, leg: Leg) -> bool:
    return leg.from_ns - early.from_ns < _DECIDED_BEFORE_NS


_DECIDED_BEFORE_NS = 200 * 86_400 * NS_PER_S
"""No market rolls so long before a contract's end."""
