"""The worlds in which two exchanges are compared, and the same contract, account or bracket in the terms of each."""

from dataclasses import dataclass
from fractions import Fraction

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import AccountTerms, BracketKind, BracketTerms, LevelDepth, OrderDepth, Product
from nightdesk.simulator.venue.matching import MatchingEngine
from tests.naive_orders import NaiveBracket, NaiveMarket, NaiveTerms

ACCOUNTS = ("A", "B")
MIDDLE = 20_000
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
MICROS = 1_000_000


@dataclass(frozen=True)
class World:
    """What both exchanges are opened with; products' ticks differ, so that prices cannot be taken for each other's."""

    self_match: str = "ALLOW"
    products: tuple[Product, ...] = (Product("ESZ6", "CME", 0.25, 50.0, 2.25),)
    accounts: tuple[AccountTerms, ...] = tuple(AccountTerms(account, 100_000.0) for account in ACCOUNTS)


@dataclass
class Watched:
    """What somebody knows who follows a book."""

    orders: dict[str, OrderDepth]
    levels: dict[tuple[Side, float], LevelDepth]
    sequence: int


@dataclass
class Contract:
    """One contract at both exchanges."""

    product: Product
    naive: NaiveMarket
    engine: MatchingEngine
    watched: Watched | None = None

    def price(self, ticks: int | Fraction | None) -> float | None:
        """The border's price."""
        return float(ticks * Fraction(str(self.product.tick_size))) if ticks is not None else None


def terms_of(bracket: NaiveBracket) -> BracketTerms:
    def at_ns(role: str) -> int | None:
        return START_NS + bracket.market_at[role] * SECOND_NS if role in bracket.market_at else None

    return BracketTerms(
        BracketKind("_AND_".join(bracket.roles) + ("_ONLY" if len(bracket.roles) == 1 else "")),
        bracket.target_quantity,
        bracket.target_ticks,
        bracket.stop_quantity,
        bracket.stop_ticks,
        bracket.trail_trigger,
        bracket.by_last,
        bracket.even_ticks,
        bracket.even_trigger,
        bracket.market_on_reject,
        at_ns("TARGET"),
        at_ns("STOP"),
        bracket.target_after,
    )


def naive_market(product: Product) -> NaiveMarket:
    tick_dollars = Fraction(str(product.tick_size)) * Fraction(str(product.point_value))
    return NaiveMarket(
        product.symbol,
        int(tick_dollars * MICROS),
        _micros(product.commission),
        _micros(product.margin),
        product.max_order_quantity,
        Fraction(str(product.price_limit_percent)),
    )


def naive_terms(terms: AccountTerms) -> NaiveTerms:
    return NaiveTerms(
        _micros(terms.starting_balance),
        terms.max_order_quantity,
        terms.buy_limit,
        terms.sell_limit,
        _micros(terms.loss_limit),
        _micros(terms.min_account_balance),
        terms.products,
    )


def _micros(dollars: float) -> int:
    return int(Fraction(str(dollars)) * MICROS)
