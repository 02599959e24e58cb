"""Brackets and OCO, held by the server: the sequences of events, quantities, prices and times."""

from typing import Any

import pytest

from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.model import (
    BracketChanged,
    BracketKind,
    BracketTerms,
    ExitRole,
    NewOrder,
    OrderState,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, booked_venue, kinds, new_order, order_events

SECOND_NS = 1_000_000_000
BOTH = BracketTerms(BracketKind.TARGET_AND_STOP_STATIC, 2, 4, 2, 6)


def _bracket(quantity: int = 2, price: float | None = None, terms: BracketTerms = BOTH, **changes: Any) -> NewOrder:
    return new_order(Side.BUY, quantity, price, bracket=terms, **changes)


def _state(venue: Venue, basket_id: str) -> OrderState:
    return next(order for order in venue.orders(ACCOUNT) if order.basket_id == basket_id)


def _after(basket_id: str, number: int) -> str:
    return str(int(basket_id) + number)


def _reports(events: list[VenueEvent]) -> list[BracketChanged]:
    return [event for event in events if isinstance(event, BracketChanged)]


def test_exits_appear_when_the_entry_is_filled() -> None:
    """Target N+1 and stop N+2, linked with each other, at their distances from the fill price."""
    venue = booked_venue()
    entry, events = venue.submit(_bracket(), NOW_NS)
    assert kinds(events) == [
        *("RECEIVED", "OPENED", "FILLED", "COMPLETED(F)", "Traded"),
        *("RECEIVED", "OPENED", "RECEIVED", "TRIGGER_PENDING", "BracketChanged", "Quoted"),
    ]
    target, stop = _state(venue, _after(entry, 1)), _state(venue, _after(entry, 2))
    assert (target.order_type, target.price, target.quantity) == (OrderType.LIMIT, 5001.0, 2)
    assert (stop.order_type, stop.trigger_price, stop.quantity) == (OrderType.STOP_MARKET, 4998.5, 2)
    for leg, role in ((target, ExitRole.TARGET), (stop, ExitRole.STOP)):
        assert (leg.original_basket_id, leg.exit_role, leg.bracket_kind) == (entry, role, BOTH.kind)
        assert leg.linked_basket_ids == (target.basket_id, stop.basket_id)
        assert (leg.terms.user_tag, leg.terms.is_automatic, leg.terms.side) == ("", True, Side.SELL)
    following, _ = venue.submit(new_order(Side.BUY, 1, 4990.0), NOW_NS)
    assert int(following) == int(entry) + 3


def test_one_exit_filled_cancels_the_other() -> None:
    """What the target fills in part the stop loses; a full fill cancels it."""
    venue = booked_venue()
    entry, _ = venue.submit(_bracket(), NOW_NS)
    stop = _after(entry, 2)
    add_liquidity(venue, True, 5001.0, 9 + 10 * 3 - 2 + 10 + 1)
    assert (_state(venue, stop).quantity, _state(venue, stop).stage) == (1, Stage.TRIGGER_PENDING)
    events = add_liquidity(venue, True, 5001.0, 1)
    assert kinds(events)[:2] == ["FILLED", "COMPLETED(F)"]
    assert kinds(events)[3:5] == ["CANCELED", "COMPLETED(C)"]
    assert venue.positions(ACCOUNT)[0].net_quantity == 0


def test_exits_grow_with_the_entrys_partial_fills() -> None:
    """Each fill of the entry releases as much of its exits, at the first exits' prices."""
    venue = booked_venue()
    terms = BracketTerms(BracketKind.TARGET_AND_STOP, 5, 4, 3, 6)
    entry, events = venue.submit(_bracket(5, 4999.75, terms), NOW_NS)
    assert not _reports(events)
    add_liquidity(venue, False, 4999.75, 10 + 2)
    assert [_state(venue, _after(entry, n)).quantity for n in (1, 2)] == [2, 2]
    events = add_liquidity(venue, False, 4999.75, 3)
    assert [_state(venue, _after(entry, n)).quantity for n in (1, 2)] == [5, 3]
    report = _reports(events)[-1]
    assert (report.target_quantity_released, report.stop_quantity_released) == (5, 3)
    assert venue.brackets(ACCOUNT)[0].target_quantity_released == 5


def test_canceled_entry_leaves_the_exits_of_what_was_filled() -> None:
    """And without a fill no exit is ever made."""
    venue = booked_venue()
    entry, _ = venue.submit(_bracket(5, 4999.75, BracketTerms(BracketKind.STOP_ONLY, 0, 0, 5, 6)), NOW_NS)
    add_liquidity(venue, False, 4999.75, 10 + 2)
    venue.cancel(ACCOUNT, entry, NOW_NS)
    assert (_state(venue, _after(entry, 1)).quantity, _state(venue, _after(entry, 1)).stage) == (
        2,
        Stage.TRIGGER_PENDING,
    )
    unfilled, _ = venue.submit(_bracket(2, 4990.0), NOW_NS)
    venue.cancel(ACCOUNT, unfilled, NOW_NS)
    assert _after(unfilled, 1) not in {order.basket_id for order in venue.orders(ACCOUNT)}


def test_exits_are_counted_from_the_rounded_average_price() -> None:
    """A market entry over five levels: the average of 1.66 ticks above 5000.00 counts as 2."""
    venue = booked_venue()
    terms = BracketTerms(BracketKind.TARGET_ONLY, 41, 4)
    entry, _ = venue.submit(_bracket(9 + 10 + 10 + 10 + 2, terms=terms), NOW_NS)
    assert _state(venue, entry).average_price == 5000.0 + 0.25 * (10 + 20 + 30 + 8) / 41
    assert _state(venue, _after(entry, 1)).price == 5001.5


def test_exit_that_a_client_cancels_leaves_the_other() -> None:
    """Canceling the target is no fill: the position keeps its stop."""
    venue = booked_venue()
    entry, _ = venue.submit(_bracket(), NOW_NS)
    venue.cancel(ACCOUNT, _after(entry, 1), NOW_NS)
    assert _state(venue, _after(entry, 2)).stage is Stage.TRIGGER_PENDING


def test_stop_trails_and_breaks_even() -> None:
    """At two ticks of profit the stop moves to one tick above the entry, at four it follows two ticks behind."""
    venue = booked_venue()
    terms = BracketTerms(
        BracketKind.STOP_ONLY,
        stop_quantity=2,
        stop_ticks=2,
        trailing_stop_trigger_ticks=4,
        trailing_by_last_trade=True,
        break_even_ticks=1,
        break_even_trigger_ticks=2,
    )
    entry, _ = venue.submit(_bracket(terms=terms), NOW_NS)
    stop = _after(entry, 1)
    assert _state(venue, stop).trigger_price == 4999.5
    add_liquidity(venue, True, 5000.5, 7 + 10 + 1)
    assert _state(venue, stop).trigger_price == 5000.25
    add_liquidity(venue, True, 5000.75, 9 + 1)
    assert _state(venue, stop).trigger_price == 5000.25
    add_liquidity(venue, True, 5001.0, 9 + 1)
    assert _state(venue, stop).trigger_price == 5000.5
    add_liquidity(venue, True, 5001.25, 9 + 1)
    assert _state(venue, stop).trigger_price == 5000.75
    add_liquidity(venue, False, 5001.25, 1)
    assert _state(venue, stop).trigger_price == 5000.75


def test_rejected_stop_becomes_a_market_order_if_asked() -> None:
    """The market has run through the stop before it could be placed: the position is closed at the market, or stays."""
    for is_asked in (True, False):
        venue = booked_venue()
        terms = BracketTerms(BracketKind.STOP_ONLY, stop_quantity=5, stop_ticks=2, stop_market_on_reject=is_asked)
        # The entry rests while prints go through it downwards in the same sweep that triggers nothing else.
        venue.submit(_bracket(5, 4999.75, terms), NOW_NS)
        events = add_liquidity(venue, False, 4999.0, 10 + 5 + 10 + 10 + 1)
        expected = ["RECEIVED", "REJECTED", "COMPLETED(FA)"]
        found = kinds(events)
        place = found.index("RECEIVED")
        assert found[place : place + 3] == expected
        assert venue.positions(ACCOUNT)[0].net_quantity == (0 if is_asked else 5)


def test_exits_go_to_the_market_at_their_time() -> None:
    """The target after so many seconds from the first fill, the stop at its hour; the other exit is canceled."""
    for terms in (
        BracketTerms(BracketKind.TARGET_AND_STOP, 2, 4, 2, 6, target_market_after_s=5),
        BracketTerms(BracketKind.TARGET_AND_STOP, 2, 4, 2, 6, target_market_at_ns=NOW_NS + 5 * SECOND_NS),
        BracketTerms(BracketKind.TARGET_AND_STOP, 2, 4, 2, 6, stop_market_at_ns=NOW_NS + 5 * SECOND_NS),
    ):
        venue = booked_venue()
        venue.submit(_bracket(terms=terms), NOW_NS)
        assert venue.advance(NOW_NS + 4 * SECOND_NS) == []
        events = venue.advance(NOW_NS + 5 * SECOND_NS)
        assert kinds(events) == [
            *("MODIFIED", "FILLED", "COMPLETED(F)", "Traded", "CANCELED", "COMPLETED(C)", "Quoted"),
        ]
        assert venue.positions(ACCOUNT)[0].net_quantity == 0


def test_levels_change_before_the_fill_and_fail_after_it() -> None:
    """The present level is the key; after the entry's fill the request is taken and fails later."""
    venue = booked_venue()
    entry, _ = venue.submit(_bracket(2, 4999.75), NOW_NS)
    fields: dict[str, Any] = {"is_target": True, "now_ns": NOW_NS}
    with pytest.raises(VenueRefusal, match="level"):
        venue.update_bracket(ACCOUNT, entry, level=5, ticks=8, **fields)
    with pytest.raises(VenueRefusal, match="not found"):
        venue.update_bracket("SIM-2", entry, level=4, ticks=8, **fields)
    assert _reports(venue.update_bracket(ACCOUNT, entry, level=4, ticks=8, **fields))[0].target_ticks == 8
    add_liquidity(venue, False, 4999.75, 12)
    assert _state(venue, _after(entry, 1)).price == 5001.75
    events = venue.update_bracket(ACCOUNT, entry, level=8, ticks=4, **fields)
    assert kinds(events) == ["MODIFY_FAILED(F)"]
    assert order_events(events)[0].text == "The bracket order management system rejected request"
    assert _state(venue, _after(entry, 1)).price == 5001.75


def test_level_fails_from_the_first_partial_fill_on() -> None:
    """The exits work already: they are changed themselves."""
    venue = booked_venue()
    entry, _ = venue.submit(_bracket(2, 4999.75), NOW_NS)
    add_liquidity(venue, False, 4999.75, 11)
    events = venue.update_bracket(ACCOUNT, entry, is_target=False, level=6, ticks=8, now_ns=NOW_NS)
    assert kinds(events) == ["MODIFY_FAILED"]
    assert venue.brackets(ACCOUNT)[0].stop_ticks == 6


def test_exits_are_refused_without_a_subscription() -> None:
    """Nobody follows the account's brackets: the entry is filled, its exits complete FA."""
    venue = booked_venue()
    venue.bracket_subscribers = lambda account_id: account_id != ACCOUNT
    _, events = venue.submit(_bracket(), NOW_NS)
    assert [kind for kind in kinds(events) if kind == "COMPLETED(FA)"] == ["COMPLETED(FA)"] * 2


@pytest.mark.parametrize(
    "terms",
    [
        BracketTerms(BracketKind.TARGET_ONLY, 3, 4),
        BracketTerms(BracketKind.TARGET_ONLY, 2, 0),
        BracketTerms(BracketKind.TARGET_AND_STOP, 2, 4, 0, 4),
        BracketTerms(BracketKind.STOP_ONLY, 0, 0, 2, 4, break_even_ticks=3, break_even_trigger_ticks=3),
    ],
)
def test_impossible_brackets_are_refused(terms: BracketTerms) -> None:
    """More than the entry, no distance, a side without quantity, a break-even stop in front of its trigger."""
    _, events = booked_venue().submit(_bracket(terms=terms), NOW_NS)
    assert kinds(events) == ["RECEIVED", "COMPLETED(FA)"]


def test_oco_leg_that_fills_cancels_the_others() -> None:
    """All are received first; a leg that fills at once never lets the others reach the exchange."""
    venue = booked_venue()
    legs = [new_order(Side.BUY, 2), new_order(Side.SELL, 2, 5010.0)]
    ids, events = venue.submit_oco(legs, NOW_NS)
    assert kinds(events) == [
        *("RECEIVED", "RECEIVED", "OrdersLinked", "OPENED", "FILLED", "COMPLETED(F)", "Traded"),
        *("CANCELED", "COMPLETED(C)", "Quoted"),
    ]
    assert _state(venue, ids[1]).linked_basket_ids == tuple(ids)


def test_oco_leg_that_fills_in_part_reduces_the_others() -> None:
    """Together they never trade more than the largest; a canceled leg cancels the others."""
    venue = booked_venue()
    ids, _ = venue.submit_oco([new_order(Side.BUY, 5, 4999.75), new_order(Side.SELL, 3, 5010.0)], NOW_NS)
    add_liquidity(venue, False, 4999.75, 12)
    assert _state(venue, ids[1]).quantity == 1
    add_liquidity(venue, False, 4999.75, 2)
    assert _state(venue, ids[1]).stage is Stage.COMPLETE
    assert _state(venue, ids[0]).stage is Stage.OPEN
    others, _ = venue.submit_oco([new_order(Side.BUY, 1, 4990.0), new_order(Side.SELL, 1, 5010.0)], NOW_NS)
    assert kinds(venue.cancel(ACCOUNT, others[0], NOW_NS))[:4] == ["CANCELED", "COMPLETED(C)"] * 2


def test_working_orders_can_be_linked_once() -> None:
    """Link makes OCO of what works already; unknown, finished and linked orders are refused."""
    venue = booked_venue()
    ids = [venue.submit(new_order(Side.BUY, 1, 4990.0 + n), NOW_NS)[0] for n in range(3)]
    assert kinds(venue.link(ACCOUNT, ids[:2], NOW_NS)) == ["OrdersLinked"]
    for wrong in (ids[1:], ids[:1], [ids[2], ids[2]], [ids[2], "77"]):
        with pytest.raises(VenueRefusal):
            venue.link(ACCOUNT, wrong, NOW_NS)
    venue.cancel(ACCOUNT, ids[0], NOW_NS)
    assert _state(venue, ids[1]).stage is Stage.COMPLETE
    with pytest.raises(VenueRefusal, match="2 to"):
        venue.submit_oco([new_order(Side.BUY, 1, 4990.0)], NOW_NS)


def test_oco_ids_leave_room_for_a_brackets_exits() -> None:
    """A leg may have a bracket; its exits get the ids behind its own."""
    venue = booked_venue()
    ids, _ = venue.submit_oco([_bracket(2, 4990.0), new_order(Side.SELL, 2, 5010.0)], NOW_NS)
    assert int(ids[1]) == int(ids[0]) + 3
    add_liquidity(venue, False, 4990.0, 1000)
    assert _state(venue, _after(ids[0], 1)).original_basket_id == ids[0]
    assert venue.market(ES.symbol).matcher.best().ask is not None
