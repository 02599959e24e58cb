"""Brackets with several targets and stops: what is released, what each side loses, moves by level, refusals."""

from typing import Any

import msgspec
import pytest

from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.model import (
    AccountTerms,
    BracketChanged,
    BracketKind,
    BracketLevel,
    BracketTerms,
    ExitRole,
    NewOrder,
    OrderState,
    Stage,
    VenueEvent,
)
from nightdesk.simulator.venue.bracket import LEVELS_MAX, Bracket
from nightdesk.simulator.venue.client_order import ClientOrder
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.venue import Venue, VenueRefusal
from tests.market_support import ACCOUNT, ES, NOW_NS, add_liquidity, kinds, new_order, order_events, quiet_venue

SECOND_NS = 1_000_000_000
LADDER = BracketTerms(
    BracketKind.TARGET_AND_STOP,
    *(2, 4, 3, 5),
    more_targets=(BracketLevel(2, 6), BracketLevel(2, 8)),
    more_stops=(BracketLevel(3, 7),),
)
"""Of an entry of six: two leave after 4, 6 and 8 ticks of gain each, three after 5 and 7 ticks of loss."""
T1, T2, T3, S1, S2 = range(1, 6)


def bracket(quantity: int = 6, price: float | None = 5000.0, terms: BracketTerms = LADDER) -> NewOrder:
    return new_order(Side.BUY, quantity, price, bracket=terms)


def filled(venue: Venue, terms: BracketTerms = LADDER) -> str:
    """The entry's id; it is filled whole at 5000."""
    entry, _ = venue.submit(bracket(terms=terms), NOW_NS)
    add_liquidity(venue, False, 5000.0, 6)
    return entry


def exits(venue: Venue, entry: str) -> dict[int, OrderState]:
    """The exits by their place behind the entry."""
    orders = [order for order in venue.orders(ACCOUNT) if order.original_basket_id == entry]
    return {int(order.basket_id) - int(entry): order for order in orders}


def leaves(venue: Venue, entry: str) -> dict[int, int]:
    """What each working exit still asks for."""
    return {place: order.leaves_quantity for place, order in exits(venue, entry).items() if order.completion is None}


def rows(found: list[VenueEvent] | list[BracketChanged]) -> list[tuple[int, ...]]:
    """Of each report: level, target's ticks, quantity and released quantity, and the stop's."""
    return [
        (
            *(each.level, each.target_ticks, each.target_quantity, each.target_quantity_released),
            *(each.stop_ticks, each.stop_quantity, each.stop_quantity_released),
        )
        for each in found
        if isinstance(each, BracketChanged)
    ]


def fall(venue: Venue, price: float, quantity: int) -> None:
    """A print at the price sets off the stops there; ``quantity`` contracts are bid for behind it."""
    add_liquidity(venue, True, price, quantity + 1)
    add_liquidity(venue, False, price, 1)


def test_each_level_is_an_order_of_its_own() -> None:
    """Targets N+1 and on, then the stops, all linked; each at its own distance with its own quantity."""
    venue = quiet_venue()
    entry = filled(venue)
    found = exits(venue, entry)
    assert [(found[n].order_type, found[n].price, found[n].quantity) for n in (T1, T2, T3)] == [
        (OrderType.LIMIT, 5001.0, 2),
        (OrderType.LIMIT, 5001.5, 2),
        (OrderType.LIMIT, 5002.0, 2),
    ]
    assert [(found[n].order_type, found[n].trigger_price, found[n].quantity) for n in (S1, S2)] == [
        (OrderType.STOP_MARKET, 4998.75, 3),
        (OrderType.STOP_MARKET, 4998.25, 3),
    ]
    assert [(order.exit_role, order.exit_level) for order in found.values()] == [
        *((ExitRole.TARGET, 0), (ExitRole.TARGET, 1), (ExitRole.TARGET, 2)),
        *((ExitRole.STOP, 0), (ExitRole.STOP, 1)),
    ]
    ids = tuple(str(int(entry) + place) for place in range(1, 6))
    assert {order.linked_basket_ids for order in found.values()} == {ids}
    assert int(venue.submit(new_order(Side.BUY, 1, 4000.0), NOW_NS)[0]) == int(entry) + 6


def test_partial_fills_release_level_by_level() -> None:
    """The first contracts belong to the first target and the first stop; each row tells what its level has."""
    venue = quiet_venue()
    entry, _ = venue.submit(bracket(), NOW_NS)
    found = []
    for _ in range(6):
        events = add_liquidity(venue, False, 5000.0, 1)
        found.append((leaves(venue, entry), [row[0] for row in rows(events)]))
    assert found == [
        ({T1: 1, S1: 1}, [0, 1, 2]),
        ({T1: 2, S1: 2}, [0]),
        ({T1: 2, S1: 3, T2: 1}, [0, 1]),
        ({T1: 2, S1: 3, T2: 2, S2: 1}, [1]),
        ({T1: 2, S1: 3, T2: 2, S2: 2, T3: 1}, [1, 2]),
        ({T1: 2, S1: 3, T2: 2, S2: 3, T3: 2}, [1, 2]),
    ]
    assert rows(venue.brackets(ACCOUNT)) == [(0, 4, 2, 2, 5, 3, 3), (1, 6, 2, 2, 7, 3, 3), (2, 8, 2, 2, 0, 0, 0)]


def test_what_a_target_fills_the_first_stop_loses_first() -> None:
    """And the next one only when the first is gone; with the last target nothing is left."""
    venue = quiet_venue()
    entry = filled(venue)
    add_liquidity(venue, True, 5001.0, 1)
    assert leaves(venue, entry) == {T1: 1, T2: 2, T3: 2, S1: 2, S2: 3}
    add_liquidity(venue, True, 5001.5, 3)
    assert leaves(venue, entry) == {T3: 2, S2: 2}
    events = add_liquidity(venue, True, 5002.0, 2)
    assert [event.order.basket_id for event in order_events(events) if event.kind == "CANCELED"] == [
        str(int(entry) + S2)
    ]
    assert (leaves(venue, entry), venue.positions(ACCOUNT)[0].net_quantity) == ({}, 0)


def test_what_a_stop_fills_the_first_targets_lose() -> None:
    """The near stop closes three: the first target goes, the second keeps one."""
    venue = quiet_venue()
    entry = filled(venue)
    fall(venue, 4998.75, 3)
    assert leaves(venue, entry) == {T2: 1, T3: 2, S2: 3}
    fall(venue, 4998.25, 3)
    assert (leaves(venue, entry), venue.positions(ACCOUNT)[0].net_quantity) == ({}, 0)


def test_entry_that_fills_on_after_an_exit_gets_the_levels_behind() -> None:
    """Contracts that an exit closed are not released again; what comes next belongs to the next level."""
    venue = quiet_venue()
    entry, _ = venue.submit(bracket(), NOW_NS)
    add_liquidity(venue, False, 5000.0, 2)
    add_liquidity(venue, True, 5001.0, 2)
    assert leaves(venue, entry) == {}
    add_liquidity(venue, False, 5000.0, 2)
    found = leaves(venue, entry)
    # The first stop's third contract is a new order behind the reserved ids; the second stop gets one.
    assert found == {T2: 2, S2: 1, 6: 1}
    again = exits(venue, entry)[6]
    assert (again.exit_role, again.exit_level, again.trigger_price) == (ExitRole.STOP, 0, 4998.75)


def test_canceled_level_stays_canceled() -> None:
    """The others of its side do not take its place; both sides stay within what is open."""
    venue = quiet_venue()
    entry = filled(venue)
    venue.cancel(ACCOUNT, str(int(entry) + S1), NOW_NS)
    assert leaves(venue, entry) == {T1: 2, T2: 2, T3: 2, S2: 3}
    add_liquidity(venue, True, 5001.5, 4)
    assert leaves(venue, entry) == {T3: 2, S2: 2}


def test_level_that_a_client_enlarges_takes_from_the_first() -> None:
    """Together the targets never ask for more than is open."""
    venue = quiet_venue()
    entry = filled(venue)
    fields: dict[str, Any] = {"price": 5001.5, "trigger_price": None, "order_type": None, "now_ns": NOW_NS}
    venue.modify(ACCOUNT, str(int(entry) + T2), quantity=3, **fields)
    assert leaves(venue, entry) == {T1: 1, T2: 3, T3: 2, S1: 3, S2: 3}
    venue.modify(ACCOUNT, str(int(entry) + T2), quantity=9, **fields)
    assert leaves(venue, entry) == {T2: 4, T3: 2, S1: 3, S2: 3}


def test_levels_move_by_their_present_distance() -> None:
    """One level moves alone, levels at one distance move together; a distance that none has is refused."""
    venue = quiet_venue()
    entry, _ = venue.submit(bracket(), NOW_NS)
    moves: dict[str, Any] = {"is_target": True, "now_ns": NOW_NS}
    assert rows(venue.update_bracket(ACCOUNT, entry, level=6, ticks=8, **moves)) == [(1, 8, 2, 0, 7, 3, 0)]
    found = rows(venue.update_bracket(ACCOUNT, entry, level=8, ticks=9, **moves))
    assert found == [(1, 9, 2, 0, 7, 3, 0), (2, 9, 2, 0, 0, 0, 0)]
    with pytest.raises(VenueRefusal, match="level 6 is not the bracket's present level"):
        venue.update_bracket(ACCOUNT, entry, level=6, ticks=8, **moves)
    assert rows(add_liquidity(venue, False, 5000.0, 1)) == [(0, 4, 2, 1, 5, 3, 1)]
    add_liquidity(venue, False, 5000.0, 5)
    assert [exits(venue, entry)[place].price for place in (T1, T2, T3)] == [5001.0, 5002.25, 5002.25]


def test_stops_trail_at_their_own_distances() -> None:
    """Both follow the market from the trigger on; the break-even price is the same for all."""
    venue = quiet_venue()
    trailing = {"trailing_stop_trigger_ticks": 3, "trailing_by_last_trade": True}
    entry = filled(venue, msgspec.structs.replace(LADDER, **trailing))
    add_liquidity(venue, False, 5000.75, 1)
    add_liquidity(venue, True, 5000.75, 1)
    assert [exits(venue, entry)[place].trigger_price for place in (S1, S2)] == [4999.5, 4999.0]


def test_all_levels_of_a_side_go_to_the_market_at_their_time() -> None:
    """The targets close the position together, the stops end."""
    venue = quiet_venue()
    entry = filled(venue, msgspec.structs.replace(LADDER, target_market_after_s=5))
    add_liquidity(venue, True, 4999.75, 9)
    events = venue.advance(NOW_NS + 5 * SECOND_NS)
    assert kinds(events).count("FILLED") == 3
    assert (leaves(venue, entry), venue.positions(ACCOUNT)[0].net_quantity) == ({}, 0)


def test_targets_at_the_market_that_set_off_a_stop_close_no_more_than_is_open() -> None:
    """The first target's print reaches a stop, which closes a part of what the second would have closed."""
    venue = quiet_venue()
    terms = BracketTerms(
        BracketKind.TARGET_AND_STOP,
        *(1, 8, 5, 1),
        target_market_after_s=5,
        more_targets=(BracketLevel(5, 9),),
        more_stops=(BracketLevel(1, 40),),
    )
    entry = filled(venue, terms)
    add_liquidity(venue, True, 4999.75, 9)
    venue.advance(NOW_NS + 5 * SECOND_NS)
    assert (leaves(venue, entry), venue.positions(ACCOUNT)[0].net_quantity) == ({}, 0)


def test_rejected_stops_close_no_more_than_their_part() -> None:
    """The market has run through the near stop: its part is closed at the market, the far stop keeps its own."""
    venue = quiet_venue()
    terms = BracketTerms(
        BracketKind.STOP_ONLY, stop_quantity=2, stop_ticks=2, stop_market_on_reject=True,
        more_stops=(BracketLevel(4, 40),),
    )  # fmt: skip
    add_liquidity(venue, True, 4999.0, 5)
    entry, _ = venue.submit(bracket(terms=terms), NOW_NS)
    add_liquidity(venue, False, 4999.0, 6 + 1)
    found = exits(venue, entry)
    assert (found[1].completion, found[2].leaves_quantity, found[2].stage) == ("FA", 4, Stage.TRIGGER_PENDING)
    assert (found[3].terms.order_type, found[3].filled_quantity) == (OrderType.MARKET, 2)
    assert venue.positions(ACCOUNT)[0].net_quantity == 4


def test_market_order_for_a_rejected_stop_leaves_the_other_stops_their_part() -> None:
    """Of six contracts of which the far stop asks for four, two are not covered; of five, one."""
    terms = BracketTerms(BracketKind.STOP_ONLY, stop_quantity=2, stop_ticks=2, more_stops=(BracketLevel(4, 40),))
    orders = [ClientOrder(str(n), bracket(n, terms=terms), Scale(ES), None, None, NOW_NS) for n in (6, 4)]
    found = Bracket(orders[0], terms)
    near, far = found.sides[ExitRole.STOP]
    far.orders.append(orders[1])
    orders[0].filled = 6
    assert (found.uncovered(near), found.uncovered(far)) == (2, 6)
    orders[0].filled = 5
    assert found.uncovered(near) == 1


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (msgspec.structs.replace(LADDER, target_quantity=1), "the quantities of the targets add up to 5, the entry's"),
        (msgspec.structs.replace(LADDER, stop_quantity=4), "the quantities of the stops add up to 7, the entry's"),
        (
            BracketTerms(BracketKind.TARGET_AND_STOP, 5, 4, 3, 5, more_stops=(BracketLevel(3, 7),)),
            "the quantities of the targets add up to 5, the entry's quantity is 6",
        ),
        (
            BracketTerms(BracketKind.TARGET_ONLY, 4, 4, more_targets=(BracketLevel(3, 6),)),
            "the quantities of the targets add up to 7, the entry's quantity is 6",
        ),
        (msgspec.structs.replace(LADDER, more_stops=(BracketLevel(3, 0),)), "the stop must be 1 to"),
        (msgspec.structs.replace(LADDER, more_stops=(BracketLevel(0, 7),)), "the stop quantity must be between 1"),
    ],
)
def test_levels_that_do_not_add_up_are_refused(terms: BracketTerms, text: str) -> None:
    """Targets and stops close all of the entry; one kind alone never more than it; each level is something."""
    _, events = quiet_venue().submit(bracket(terms=terms), NOW_NS)
    assert kinds(events) == ["RECEIVED", "COMPLETED(FA)"]
    assert text in order_events(events)[-1].text


@pytest.mark.parametrize(("extra", "is_taken"), [(0, True), (1, False)])
def test_number_of_levels_is_limited(extra: int, is_taken: bool) -> None:
    """Ten targets are taken, eleven are not."""
    more = tuple(BracketLevel(1, ticks) for ticks in range(5, 4 + LEVELS_MAX + extra))
    terms = BracketTerms(BracketKind.TARGET_ONLY, 1, 4, more_targets=more)
    _, events = quiet_venue().submit(bracket(20, terms=terms), NOW_NS)
    assert (kinds(events)[-1] != "COMPLETED(FA)") is is_taken


def test_one_kind_of_exit_may_leave_a_part_open() -> None:
    """Targets for four of six: the last two contracts stay without."""
    venue = quiet_venue()
    terms = BracketTerms(BracketKind.TARGET_ONLY, 3, 4, more_targets=(BracketLevel(1, 6),))
    assert leaves(venue, filled(venue, terms)) == {1: 3, 2: 1}


def test_margin_counts_what_the_levels_can_still_close() -> None:
    """After the first target's fill its contracts are closed: the others reserve no margin, an opening order does."""
    venue = Venue([msgspec.structs.replace(ES, margin=1000.0)], [AccountTerms(ACCOUNT, 100_000.0)], 0.0)
    filled(venue)
    add_liquidity(venue, True, 5001.5, 4)
    assert (venue.account(ACCOUNT).margin_used, venue.account(ACCOUNT).margin_reserved) == (2000.0, 0.0)
    venue.submit(new_order(Side.SELL, 1, 5003.0), NOW_NS)
    venue.submit(new_order(Side.SELL, 2, 5003.0), NOW_NS)
    assert venue.account(ACCOUNT).margin_reserved == 1000.0
