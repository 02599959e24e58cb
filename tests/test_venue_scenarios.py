"""Fixed commands for the venue and the naive exchange, where random ones come too seldom."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.exchange_machine", "tests.exchange_comparison", "tests.exchange_rules")

from nightdesk.simulator.model import AccountTerms  # noqa: E402
from tests.exchange_comparison import ComparedExchanges  # noqa: E402
from tests.exchange_machines import AccountsMachine, MarketsMachine  # noqa: E402
from tests.exchange_world import ACCOUNTS, MIDDLE  # noqa: E402

ORDER = {"place": 0, "account": "A", "is_buy": True, "kind": "LIMIT", "quantity": 1, "limit": MIDDLE}


def _compare(machine: ComparedExchanges) -> None:
    machine.orders_are_the_same()
    machine.books_are_the_same_and_not_crossed()
    machine.accounts_are_the_same()
    machine.markets_are_the_same()
    machine.fills_are_the_same()


def _run(machine: ComparedExchanges, *steps: Callable[[], None]) -> None:
    """Everything is compared after each step, and the log at the end."""
    try:
        for step in steps:
            step()
            _compare(machine)
    finally:
        machine.teardown()


def _markets(one: float = 0.0) -> MarketsMachine:
    machine = MarketsMachine()
    machine.open_world(self_match="ALLOW", one=one, two=0.0)
    return machine


def _accounts() -> AccountsMachine:
    machine = AccountsMachine()
    one, two = (AccountTerms(account, 10_000.0) for account in ACCOUNTS)
    machine.open_world(terms=(one, two), margin=(1_000.0, 0.0), most=0)
    return machine


def _print(machine: MarketsMachine, place: int, price: int) -> Callable[[], None]:
    def step() -> None:
        for is_buy in (True, False):
            machine.flow_adds(place=place, is_buy=is_buy, quantity=1, price=price, is_market=False)
            # One command's events at a time.
            machine.fills_are_the_same()

    return step


def _send(machine: MarketsMachine | AccountsMachine, **changes: Any) -> Callable[[], None]:
    return lambda: machine.client_sends_with({**ORDER, "trigger": None, **changes})


def test_stop_cannot_be_moved_out_of_the_price_limits() -> None:
    """Six ticks around the first print: a trigger eight ticks away fails, one five ticks away is taken."""
    machine = _markets(one=0.03)
    _run(
        machine,
        _print(machine, 0, MIDDLE),
        _send(machine, kind="STOP_MARKET", trigger=MIDDLE + 4),
        lambda: machine.client_moves_price(pick=1, price=MIDDLE + 8, quantity=1),
        lambda: machine.client_moves_price(pick=1, price=MIDDLE + 5, quantity=1),
    )


@pytest.mark.parametrize("sizes", [(1, 9), (9, 1)])
def test_lean_price_leans_to_the_side_that_shows_less(sizes: tuple[int, int]) -> None:
    """Of a bid for one and an offer of nine it is near the bid."""
    machine = _markets()
    _run(
        machine,
        lambda: machine.market_comes_to_condition(
            place=0,
            account="A",
            is_buy=True,
            kind="LIMIT",
            comparison="GREATER_EQUAL",
            what="LEAN",
            base=MIDDLE,
            sizes=sizes,
            quarters=4,
            sweeps=[],
        ),
    )


def test_prints_from_before_another_condition_do_not_meet_it() -> None:
    """The other contract was at the price when nobody waited for it, and is not there any more."""
    machine = _markets()
    away, other = (1, "GREATER_EQUAL", "TRADE", Fraction(MIDDLE + 5)), (0, "GREATER", "TRADE", Fraction(MIDDLE))
    terms = {**ORDER, "trigger": MIDDLE, "tif": "DAY", "release_s": 0}
    _run(
        machine,
        _print(machine, 1, MIDDLE + 5),
        _print(machine, 1, MIDDLE),
        lambda: machine.client_sends_conditional(condition=other, **terms),
        lambda: machine.client_brings_another_condition(
            pick=0, condition=away, quantity=1, limit=MIDDLE, trigger=MIDDLE, is_same=True
        ),
    )


@pytest.mark.parametrize(("held", "is_buy", "quantity"), [(5, True, 4), (5, True, 3), (8, False, 9), (8, False, 20)])
def test_margin_is_counted_against_what_an_open_loss_has_left(held: int, is_buy: bool, quantity: int) -> None:
    """Twenty ticks of loss leave less than the margin; an order that does not raise the worst case still passes."""
    machine = _accounts()
    _run(
        machine,
        lambda: machine.market_turns_against_client(
            place=0, account="A", is_buy=True, quantity=held, price=MIDDLE, loss=20, closing=[]
        ),
        _send(machine, is_buy=is_buy, quantity=quantity, limit=MIDDLE - 40 if is_buy else MIDDLE + 40),
    )
