"""The anonymous traders with clients among them: the price stays sane, the book small, the market open."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from nightdesk.messages.enums import OrderType, Side
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.crowd import TICKS_KEPT
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import Quoted, VenueEvent
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, new_order, quiet_venue


def test_orders_left_behind_by_the_price_are_canceled() -> None:
    """Clients buy the price up by hundreds of ticks: the book does not grow by that; their own orders stay."""
    venue = quiet_venue()
    run = _run(venue)
    next(run)
    venue.submit(new_order(Side.BUY, 1, 4900.0), NOW_NS)
    for _ in range(60):
        venue.submit(new_order(Side.BUY, 2_000), NOW_NS)
        _cancel_remainders(venue)
        for _ in itertools.islice(run, 1_000):
            pass
    matcher: Any = venue.market(ES.symbol).matcher
    own = venue.market(ES.symbol).scale.ticks(4900.0)
    assert matcher.bids.best > 20_000 + 2 * TICKS_KEPT
    assert len(matcher.bids.keys) <= TICKS_KEPT + 20
    assert matcher.bids.keys[0] == own


@pytest.mark.parametrize("side", list(Side))
def test_price_stays_between_half_and_one_and_a_half_times_the_start(side: Side) -> None:
    """Clients push a market that starts at 100 ticks as far as they can: the flow quotes nothing beyond the bounds."""
    venue = quiet_venue()
    run = _run(venue, start_price=25.0)
    next(run)
    best_seen, worst_seen = [], []
    for _ in range(40):
        venue.submit(new_order(side, 2_000), NOW_NS)
        _cancel_remainders(venue)
        for _, events in itertools.islice(run, 300):
            quotes = [event for event in events if isinstance(event, Quoted)]
            best_seen += [quote.bid_price for quote in quotes if quote.bid_size]
            worst_seen += [quote.ask_price for quote in quotes if quote.ask_size]
    assert max(best_seen) < 37.5
    assert min(worst_seen) > 12.5
    assert max(best_seen) > 36.0 if side is Side.BUY else min(worst_seen) < 14.0


@pytest.mark.parametrize(("side", "price"), [(Side.SELL, 0.25), (Side.BUY, 100_000.0)])
def test_absurd_order_of_a_client_is_taken_and_the_market_goes_on(side: Side, price: float) -> None:
    """Somebody sells everybody out at a tick, or buys them out at twenty times the price: both sides come back."""
    venue = quiet_venue()
    run = _run(venue)
    next(run)
    venue.submit(new_order(side, 40_000, price), NOW_NS)
    for _ in itertools.islice(run, 20_000):
        pass
    quote = venue.quote(ES.symbol)
    assert quote is not None
    assert quote.bid_size > 0
    assert quote.ask_size > 0
    assert 2500.0 < quote.bid_price < quote.ask_price < 7500.0


def test_flow_pauses_with_the_market() -> None:
    """While anonymous orders are not taken nothing is added, canceled or published; then it goes on."""
    venue = quiet_venue()
    run = _run(venue)
    for _ in itertools.islice(run, 2_000):
        pass
    matcher: Any = venue.market(ES.symbol).matcher
    matcher.is_open_to_flow = False
    assert not any(events for _, events in itertools.islice(run, 2_000))
    matcher.is_open_to_flow = True
    assert any(events for _, events in itertools.islice(run, 2_000))


def test_market_without_any_order_is_filled_anew_where_it_was() -> None:
    """A market that was emptied while it was closed opens with a whole book at its last price."""
    venue = quiet_venue()
    run = _run(venue)
    for _ in itertools.islice(run, 2_000):
        pass
    matcher: Any = venue.market(ES.symbol).matcher
    before = matcher.best()
    for side in (matcher.bids, matcher.asks):
        for order in [order for level in side.levels.values() for order in level.orders]:
            matcher.cancel(order)
    next(run)
    assert abs(matcher.bids.best - before.bid) <= 1
    assert matcher.asks.best == matcher.bids.best + 1
    assert min(len(matcher.bids.keys), len(matcher.asks.keys)) > 20


def _run(venue: Venue, start_price: float = 5000.0) -> Iterator[tuple[int, list[VenueEvent]]]:
    source = SyntheticSource(kind="synthetic", start_price=start_price)
    flow = SyntheticFlow(source, venue, [ES], NOW_NS)
    while (step := flow.next()) is not None:
        yield step[0], step[1]()


def _cancel_remainders(venue: Venue) -> None:
    """What a market order leaves stands in the book as a limit order."""
    for order in venue.orders(ACCOUNT):
        if order.completion is None and order.terms.order_type is OrderType.MARKET:
            venue.cancel(ACCOUNT, order.basket_id, NOW_NS)
