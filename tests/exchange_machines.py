"""The machines: which rules run in which worlds."""

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from nightdesk.simulator.model import AccountTerms, Product
from tests.exchange_account_rules import AccountRules
from tests.exchange_rules import BracketRules, ConditionRules, ModeRules, TimedRules
from tests.exchange_world import ACCOUNTS, World

ES = Product("ESZ6", "CME", 0.25, 50.0, 2.25)
ZN = Product("ZNZ6", "CBOT", 0.015625, 1000.0, 0.85)

self_matches = st.sampled_from(["ALLOW", "ALLOW", "CANCEL_RESTING", "CANCEL_AGGRESSOR"])
percents = st.sampled_from([0.0, 0.03, 0.0375])
"""Of 20,000 ticks: none, six, seven and a half."""


class PlainMachine(BracketRules):
    """One contract, accounts without limits."""

    @initialize(self_match=self_matches)
    def open_world(self, self_match: str) -> None:
        self.open_both(World(self_match, (ES,)))


class MarketsMachine(BracketRules, ConditionRules, TimedRules):
    """Two contracts, with price limits; they open, close and wait for each other."""

    @initialize(self_match=self_matches, one=percents, two=percents)
    def open_world(self, self_match: str, one: float, two: float) -> None:
        products = (
            msgspec.structs.replace(ES, price_limit_percent=one),
            msgspec.structs.replace(ZN, price_limit_percent=two),
        )
        self.open_both(World(self_match, products))


terms_of_accounts = st.builds(
    AccountTerms,
    account_id=st.just(""),
    starting_balance=st.sampled_from([10_000.0, 10_000.0, 40_000.0, 1_000_000.0]),
    max_order_quantity=st.sampled_from([0, 0, 7]),
    buy_limit=st.sampled_from([0, 6, 10]),
    sell_limit=st.sampled_from([0, 6, 10]),
    loss_limit=st.sampled_from([0.0, 0.0, 120.01, 120.01, 900.01]),
    min_account_balance=st.sampled_from([0.0, 0.0, 9_800.01]),
    products=st.sampled_from([(), (), (), ("ES",), ("ZNZ6",)]),
)
margins = st.sampled_from([0.0, 500.0, 1_000.0])


class AccountsMachine(BracketRules, ModeRules, AccountRules):
    """Two contracts with margins, two accounts with limits of their own."""

    @initialize(
        terms=st.tuples(terms_of_accounts, terms_of_accounts),
        margin=st.tuples(margins, margins),
        most=st.sampled_from([0, 0, 8]),
    )
    def open_world(self, terms: tuple[AccountTerms, AccountTerms], margin: tuple[float, float], most: int) -> None:
        products = (
            msgspec.structs.replace(ES, margin=margin[0], max_order_quantity=most),
            msgspec.structs.replace(ZN, margin=margin[1]),
        )
        named = tuple(
            msgspec.structs.replace(each, account_id=account) for each, account in zip(terms, ACCOUNTS, strict=True)
        )
        self.open_both(World("ALLOW", products, named))
