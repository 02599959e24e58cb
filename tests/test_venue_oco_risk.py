"""What the legs of a group add to the worst case of an account with a limit."""

from typing import Any

from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.model import AccountTerms, NewOrder, OrderEventKind, OrderHappened, VenueEvent
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, new_order


def _venue() -> Venue:
    return Venue([ES], [AccountTerms(ACCOUNT, 100_000.0, buy_limit=9)], 100_000.0)


def _limit(quantity: int, price: float, **changes: Any) -> NewOrder:
    return new_order(Side.BUY, quantity, **{"order_type": OrderType.LIMIT, "price": price, **changes})


def _kinds(events: list[VenueEvent]) -> list[OrderEventKind]:
    return [event.kind for event in events if isinstance(event, OrderHappened)]


def _modify(venue: Venue, basket_id: str, quantity: int) -> list[OrderEventKind]:
    events = venue.modify(
        ACCOUNT, basket_id, quantity=quantity, price=4990.0, trigger_price=None, order_type=None, now_ns=NOW_NS
    )
    return _kinds(events)


def test_smaller_leg_may_grow_up_to_the_largest() -> None:
    """Together they ask for no more than before; beyond the largest leg it counts."""
    venue = _venue()
    (_, small), _ = venue.submit_oco([_limit(8, 4990.0), _limit(2, 4990.0)], NOW_NS)
    assert _modify(venue, small, 8) == [OrderEventKind.MODIFIED]
    assert _modify(venue, small, 9) == [OrderEventKind.MODIFIED]
    assert _modify(venue, small, 10) == [OrderEventKind.MODIFY_FAILED]


def test_leg_that_was_reduced_before_it_was_sent_counts_with_what_is_left() -> None:
    """The first leg buys four; of the second leg's six two are left, which makes six contracts and not ten."""
    venue = _venue()
    add_liquidity(venue, False, 5000.0, 4)
    (_, second), events = venue.submit_oco([_limit(5, 5000.0), _limit(6, 4990.0)], NOW_NS)
    state = next(order for order in venue.orders(ACCOUNT) if order.basket_id == second)
    assert (state.completion, state.leaves_quantity) == (None, 2)
    assert OrderEventKind.REJECTED not in _kinds(events)
