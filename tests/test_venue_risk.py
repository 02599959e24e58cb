"""The risk system: permissions, quantities, limits on position, loss and balance, margin and its warning."""

from typing import Any

import msgspec
import pytest

from nightdesk.messages.enums import Side
from nightdesk.simulator.model import AccountTerms, BracketKind, BracketTerms
from nightdesk.simulator.venue.risk import product_code
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, kinds, new_order, order_events

DAY_NS = 86_400_000_000_000


def _venue(margin: float = 0.0, most: int = 0, **terms: Any) -> Venue:
    """A book of 50 a level around 4999.75 / 5000.00, last trade 5000.00."""
    product = msgspec.structs.replace(ES, margin=margin, max_order_quantity=most)
    venue = Venue([product], [AccountTerms(ACCOUNT, 10_000.0, **terms), "SIM-2"], 100_000.0)
    for distance in range(10):
        add_liquidity(venue, True, 4999.75 - 0.25 * distance, 50)
        add_liquidity(venue, False, 5000.0 + 0.25 * distance, 50)
    add_liquidity(venue, True, 5000.0, 1)
    return venue


def _text(venue: Venue, side: Side, quantity: int, price: float | None = None, now_ns: int = NOW_NS) -> str:
    """The refusal's text; empty when the order was taken."""
    events = venue.submit(new_order(side, quantity, price), now_ns)[1]
    failed = [event for event in order_events(events) if event.order.completion == "FA"]
    if failed:
        assert kinds(events) == ["RECEIVED", "COMPLETED(FA)"]
    return failed[-1].text if failed else ""


def test_accounts_have_terms_of_their_own() -> None:
    """A name alone means the exchange's balance and no limits; an unknown account is refused."""
    venue = _venue(max_order_quantity=7)
    assert venue.terms(ACCOUNT).max_order_quantity == 7
    assert venue.terms("SIM-2") == AccountTerms("SIM-2", 100_000.0)
    assert (venue.account(ACCOUNT).balance, venue.account("SIM-2").balance) == (10_000.0, 100_000.0)
    with pytest.raises(VenueRefusal):
        venue.terms("SIM-3")


@pytest.mark.parametrize(("symbol", "code"), [("ESZ6", "ES"), ("ESH24", "ES"), ("6EM5", "6E"), ("SPY", "SPY")])
def test_product_code_is_the_symbol_without_month_and_year(symbol: str, code: str) -> None:
    """Permissions name products, orders name contracts."""
    assert product_code(symbol) == code


def test_product_that_is_not_permissioned_is_refused() -> None:
    """With the text that the real one gives."""
    assert _text(_venue(products=("NQ",)), Side.BUY, 1) == "Rejected at RMS - Product code not permissioned"
    assert not _text(_venue(products=("ES",)), Side.BUY, 1)


@pytest.mark.parametrize("venue", [_venue(most=5), _venue(max_order_quantity=5)])
def test_maximum_order_quantity_binds_new_orders_and_modifies(venue: Venue) -> None:
    """The product's and the account's."""
    assert "Maximum order quantity" in _text(venue, Side.BUY, 6)
    basket_id, _ = venue.submit(new_order(Side.BUY, 5, 4990.0), NOW_NS)
    fields: dict[str, Any] = {"price": 4990.0, "trigger_price": None, "order_type": None, "now_ns": NOW_NS}
    assert kinds(venue.modify(ACCOUNT, basket_id, quantity=6, **fields)) == ["MODIFY_FAILED"]


def test_position_limits_count_working_orders() -> None:
    """Long with all working buys, short with all working sells; closing is always possible."""
    venue = _venue(buy_limit=5, sell_limit=4)
    assert not _text(venue, Side.BUY, 3)
    assert not _text(venue, Side.BUY, 2, 4990.0)
    assert "Buy limit" in _text(venue, Side.BUY, 1)
    assert not _text(venue, Side.SELL, 7, 5010.0)
    assert "Sell limit" in _text(venue, Side.SELL, 1, 5010.0)


def test_loss_limit_leaves_only_orders_that_reduce() -> None:
    """Realized and open loss since the day (UTC) began; a new day begins at its own balance."""
    venue = _venue(loss_limit=600.0)
    assert not _text(venue, Side.BUY, 50)
    add_liquidity(venue, False, 4999.0, 200)
    assert venue.account(ACCOUNT).unrealized_pnl <= -2500.0
    assert "Loss limit" in _text(venue, Side.BUY, 1)
    assert not _text(venue, Side.SELL, 50, 4997.5)
    assert "Loss limit" in _text(venue, Side.SELL, 1)
    assert not _text(venue, Side.SELL, 1, 5010.0, now_ns=NOW_NS + DAY_NS)


def test_loss_that_equals_the_limit_is_enough() -> None:
    """One tick and one commission, to the cent."""
    for limit, is_refused in ((14.75, True), (14.76, False)):
        venue = _venue(loss_limit=limit)
        assert not _text(venue, Side.BUY, 1)
        add_liquidity(venue, False, 4999.75, 1)
        assert bool(_text(venue, Side.BUY, 1, 4990.0)) is is_refused


def test_minimum_balance_leaves_only_orders_that_reduce() -> None:
    """Balance and open profit together."""
    venue = _venue(min_account_balance=9_900.0)
    assert not _text(venue, Side.BUY, 2)
    add_liquidity(venue, False, 4999.0, 200)
    assert "balance is below" in _text(venue, Side.BUY, 1)
    assert not _text(venue, Side.SELL, 2, 5010.0)


def test_margin_counts_the_worst_case_of_working_orders() -> None:
    """Both sides around a flat position reserve one side's margin; what closes reserves nothing."""
    venue = _venue(margin=1_000.0)
    assert not _text(venue, Side.BUY, 4)
    state = venue.account(ACCOUNT)
    assert (state.margin_used, state.margin_reserved) == (4_000.0, 0.0)
    assert not _text(venue, Side.BUY, 3, 4990.0)
    assert not _text(venue, Side.SELL, 8, 5010.0)
    state = venue.account(ACCOUNT)
    assert (state.margin_used, state.margin_reserved) == (4_000.0, 3_000.0)
    assert _text(venue, Side.BUY, 4) == "Rejected at RMS - Available margin exhausted"
    fields: dict[str, Any] = {"price": 4990.0, "trigger_price": None, "order_type": None, "now_ns": NOW_NS}
    basket_id = next(order.basket_id for order in venue.orders(ACCOUNT) if order.quantity == 3)
    events = venue.modify(ACCOUNT, basket_id, quantity=7, **fields)
    assert "margin exhausted" in order_events(events)[0].text


def test_margin_warning_is_given_once_when_its_share_is_passed() -> None:
    """Over 80 percent of the account's money; again only after it has been below."""
    venue = _venue(margin=1_000.0)
    assert "WARNED" not in kinds(venue.submit(new_order(Side.BUY, 7), NOW_NS)[1])
    basket_id, events = venue.submit(new_order(Side.BUY, 2, 4990.0), NOW_NS)
    assert kinds(events)[:3] == ["RECEIVED", "OPENED", "WARNED"]
    assert "90 %" in order_events(events)[-1].text
    events = venue.submit(new_order(Side.SELL, 1, 5010.0), NOW_NS)[1]
    assert "WARNED" not in kinds(events)
    venue.cancel(ACCOUNT, basket_id, NOW_NS)
    venue.submit(new_order(Side.SELL, 1, 5010.0), NOW_NS)
    assert "WARNED" in kinds(venue.submit(new_order(Side.BUY, 2, 4990.0), NOW_NS)[1])


def test_brackets_exits_are_not_checked() -> None:
    """They only close what the entry opened."""
    venue = _venue(margin=1_000.0, sell_limit=1, max_order_quantity=9)
    bracket = BracketTerms(BracketKind.TARGET_AND_STOP, 9, 4, 9, 4)
    _, events = venue.submit(new_order(Side.BUY, 9, bracket=bracket), NOW_NS)
    assert "COMPLETED(FA)" not in kinds(events)
    assert venue.account(ACCOUNT).margin_reserved == 0.0


def test_exits_that_end_together_count_once() -> None:
    """OCO legs on one side count with the largest, a bracket's exits with what their entry still holds."""
    venue = _venue(margin=1_000.0, sell_limit=1)
    bracket = BracketTerms(BracketKind.TARGET_AND_STOP, 6, 8, 6, 8)
    assert "FILLED" in kinds(venue.submit(new_order(Side.BUY, 6, bracket=bracket), NOW_NS)[1])
    assert not _text(venue, Side.SELL, 1, 5010.0)
    assert "Sell limit" in _text(venue, Side.SELL, 1, 5010.0)
    assert venue.account(ACCOUNT).margin_reserved == 0.0
    partial = _venue(sell_limit=1)
    partial.submit(new_order(Side.BUY, 5, bracket=BracketTerms(BracketKind.TARGET_AND_STOP, 2, 8, 3, 8)), NOW_NS)
    assert not _text(partial, Side.SELL, 1, 5010.0)
    assert "Sell limit" in _text(partial, Side.SELL, 1, 5010.0)
    other = _venue(margin=1_000.0)
    other.submit_oco([new_order(Side.SELL, 8, 5010.0), new_order(Side.SELL, 7, 5012.0)], NOW_NS)
    assert other.account(ACCOUNT).margin_reserved == 8_000.0
