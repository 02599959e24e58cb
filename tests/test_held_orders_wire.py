"""Brackets, OCO orders, leases and trailing stops on the wire, as the embedded exchange's own classes read them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nightdesk.messages import AccountIdentity, ClientOrderId, OrderType, Side, VenueOrderId
from nightdesk.rithmic import held_orders as wire
from nightdesk.rithmic import orders as order_wire
from nightdesk.rithmic.library import TEMPLATES, build_frame, build_plant, set_identity
from nightdesk.settings.models import Gateway
from nightdesk.simulator.wire.templates import CLASSES
from nightdesk.trading.broker import UpdateKind
from nightdesk.trading.order import Levels, Order, Terms
from tests.test_order_table import make_order
from tests.test_orders_wire import BASKET, TAG, frame

LEASE_S = 1_700_000_060

Seen = Callable[[int, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def seen() -> Seen:
    """A request as the far side reads it: the bytes of its frame, in classes that know which fields are there."""
    plant = build_plant("order", Gateway(url="ws://127.0.0.1:1", system_name="S"), "user", "secret")
    set_identity(plant, AccountIdentity(fcm_id="F", ib_id="I", user_type=3, account_ids=("A",)))
    return lambda template_id, fields: CLASSES[template_id].FromString(build_frame(plant, template_id, fields)[4:])


def stop_order(name: str = "s", **changes: Any) -> Order:
    """A protective stop of two."""
    order = make_order(name, 2, Side.SELL)
    order.order_type, order.price, order.trigger_price = OrderType.STOP_MARKET, None, 4990.0
    return replace(order, **changes)


@pytest.mark.parametrize(
    ("levels", "bracket_type", "present"),
    [
        (Levels(8, 4), 6, {"stop_ticks": [8], "stop_quantity": [5], "target_ticks": [4], "target_quantity": [5]}),
        (Levels(8, 0), 4, {"stop_ticks": [8], "stop_quantity": [5]}),
        (Levels(0, 4), 5, {"target_ticks": [4], "target_quantity": [5]}),
    ],
)
def test_a_bracket_is_one_request_with_exits_for_all_of_it(
    seen: Seen, levels: Levels, bracket_type: int, present: dict[str, list[int]]
) -> None:
    """The entry's own terms are those of a single order; its type says which exits there are."""
    order = replace(make_order(TAG), stop_ticks=levels.stop_ticks, target_ticks=levels.target_ticks)
    template_id, fields = wire.new_frame((order,), "globex")
    message = seen(template_id, fields)
    assert (template_id, message.bracket_type, message.user_type) == (330, bracket_type, 3)
    names = ("stop_ticks", "stop_quantity", "target_ticks", "target_quantity")
    assert {name: list(getattr(message, name)) for name in names if getattr(message, name)} == present
    assert (message.user_tag, message.quantity, message.price, message.trade_route) == (TAG, 5, 5000.0, "globex")
    assert (message.fcm_id, message.ib_id, message.manual_or_auto) == ("F", "I", 2)


def test_an_oco_order_is_one_request_of_columns(seen: Seen) -> None:
    """Each column has a row for each leg, also where a leg has no use for a price."""
    orders = make_order("a", 3), stop_order("b")
    template_id, fields = wire.new_frame(orders, "globex")
    message = seen(template_id, fields)
    assert template_id == 328
    assert list(message.user_tag) == list(message.user_msg) == ["a", "b"]
    assert list(message.price) == [5000.0, 0.0]
    assert list(message.trigger_price) == [0.0, 4990.0]
    assert (list(message.quantity), list(message.transaction_type)) == ([3, 2], [1, 2])
    assert (list(message.price_type), list(message.duration)) == ([1, 4], [1, 1])
    assert (list(message.symbol), list(message.trade_route)) == (["ESH4"] * 2, ["globex"] * 2)
    assert (message.fcm_id, message.account_id, list(message.manual_or_auto)) == ("F", "A", [2, 2])
    assert not message.trailing_stop
    assert not message.HasField("cancel_at_ssboe")


def test_a_lease_is_when_the_exchange_cancels_by_itself(seen: Seen) -> None:
    """On every way in which an entry is sent; an order without one says nothing of it."""
    lease: dict[str, Any] = {"expire_ns": LEASE_S * 10**9}
    alone, entry = replace(make_order(), **lease), replace(make_order(), stop_ticks=8, **lease)
    pair = (replace(make_order("a"), **lease), replace(make_order("b"), **lease))
    for orders in ((alone,), (entry,), pair):
        message = seen(*wire.new_frame(orders, "globex"))
        assert (message.cancel_at_ssboe, message.cancel_at_usecs) == (LEASE_S, 0)
    assert not seen(*wire.new_frame((make_order(),), "globex")).HasField("cancel_at_ssboe")


def test_a_trailing_stop_says_how_far_and_behind_what(seen: Seen) -> None:
    """A change repeats the distance, since it replaces the whole order, until the stop has become another order."""
    order = stop_order(trail_by_ticks=40)
    message = seen(*wire.new_frame((order,), "globex"))
    assert (message.trailing_stop, message.trail_by_ticks, message.trail_by_price_id) == (True, 40, 3)
    change = seen(314, order_wire.modify_order_fields(order, Terms(3, None, 4991.0)))
    assert (change.trailing_stop, change.trail_by_ticks) == (True, 40)
    order.triggered = True
    assert not seen(314, order_wire.modify_order_fields(order, Terms(3, None, 4991.0))).HasField("trailing_stop")
    legs = seen(*wire.new_frame((make_order("a"), stop_order("b", trail_by_ticks=40)), "globex"))
    assert (list(legs.trailing_stop), list(legs.trail_by_ticks), list(legs.trail_by_price_id)) == (
        *([False, True], [0, 40], [0, 3]),
    )


def test_distances_are_moved_one_by_one_the_stop_first(seen: Seen) -> None:
    """The present distance is the key; what stays is not sent."""
    order = replace(make_order(TAG), stop_ticks=8, target_ticks=4, venue_order_id=VenueOrderId(BASKET))
    frames = wire.level_frames(order, Levels(12, 6))
    stop, target = (seen(*each) for each in frames)
    assert [template_id for template_id, _ in frames] == [334, 332]
    assert (stop.basket_id, stop.level, stop.stop_ticks, list(stop.user_msg)) == (BASKET, 8, 12, [TAG])
    assert (target.level, target.target_ticks) == (4, 6)
    assert [template_id for template_id, _ in wire.level_frames(order, Levels(8, 6))] == [332]
    assert wire.level_frames(order, order.levels()) == []


def test_the_answer_to_an_oco_order_binds_its_legs_by_their_places() -> None:
    """One data frame with both ids; the bare one behind it says nothing."""
    data = TEMPLATES[329](
        template_id=329, user_msg=["a", "b"], basket_id=["7", "8"], rq_handler_rp_code=["0"], ssboe=[5, 5]
    )
    answers = wire.decode_answers(329, data)
    assert [(each.request, each.client_order_id, each.venue_order_id) for each in answers] == [
        (328, "a", "7"),
        (328, "b", "8"),
    ]
    assert not any(each.is_refused for each in answers)
    assert wire.decode_answers(329, TEMPLATES[329](template_id=329, user_msg=["a", "b"], rp_code=["0"])) == []


def test_an_answer_that_names_one_leg_alone_leaves_the_other_unbound() -> None:
    """Which waits for its report, or for the broker's lists."""
    data = TEMPLATES[329](template_id=329, user_msg=["a", "b"], basket_id=["7"], rq_handler_rp_code=["0"])
    assert [(each.client_order_id, each.venue_order_id) for each in wire.decode_answers(329, data)] == [
        ("a", "7"),
        ("b", ""),
    ]


def test_a_refused_oco_order_is_refused_for_both_legs() -> None:
    """With the code's text."""
    refused = TEMPLATES[329](template_id=329, user_msg=["a", "b"], rp_code=["6", "bad input"])
    answers = wire.decode_answers(329, refused)
    assert [(each.client_order_id, each.is_refused, each.text) for each in answers] == [
        ("a", True, "bad input"),
        ("b", True, "bad input"),
    ]


def test_answers_to_brackets_and_their_changes_name_the_entry() -> None:
    """331 has the broker's id of it, 333 and 335 only our own."""
    (taken,) = wire.decode_answers(331, TEMPLATES[331](user_tag=TAG, basket_id=BASKET, rq_handler_rp_code=["0"]))
    assert (taken.request, taken.client_order_id, taken.venue_order_id) == (330, TAG, BASKET)
    for template_id, request in ((333, 332), (335, 334)):
        (moved,) = wire.decode_answers(template_id, TEMPLATES[template_id](user_msg=[TAG], rp_code=["0"]))
        assert (moved.request, moved.client_order_id, moved.is_refused) == (request, TAG, False)
        (refused,) = wire.decode_answers(template_id, TEMPLATES[template_id](user_msg=[TAG], rp_code=["6", "no"]))
        assert (refused.is_refused, refused.text) == (True, "no")


@pytest.mark.parametrize("template_id", [351, 352])
def test_a_report_of_an_exit_names_its_entry(template_id: int) -> None:
    """It has no tag; of the linked orders it names all, itself among them."""
    ids = {"basket_id": "9", "original_basket_id": "8", "linked_basket_ids": "9, 10", "user_tag": ""}
    update = order_wire.decode_notification(template_id, frame(template_id, notify_type=1, **ids))
    assert (update.entry_venue_order_id, update.linked_venue_order_ids) == ("8", ("9", "10"))
    assert update.client_order_id == ClientOrderId("")
    alone = order_wire.decode_notification(template_id, frame(template_id, notify_type=1, original_basket_id=BASKET))
    assert (alone.entry_venue_order_id, alone.linked_venue_order_ids) == ("", ())


def test_a_link_that_failed_is_told_as_such() -> None:
    """It is more than a note: both orders may fill."""
    update = order_wire.decode_notification(351, frame(351, notify_type=20, text="link orders failed"))
    assert (update.kind, update.text) == (UpdateKind.LINK_FAILED, "link orders failed")


def test_a_bracket_report_has_the_distances_of_the_exits_that_there_are() -> None:
    """353; a kind of exit that there is not is left out, and reads as 0."""
    report = wire.decode_bracket_report(TEMPLATES[353](account_id="A", basket_id=BASKET, stop_ticks=8))
    assert report == wire.BracketReport("A", VenueOrderId(BASKET), Levels(8, 0))


def test_lists_of_brackets_tell_the_newest_distances() -> None:
    """As what holds now or as a log of changes: the last row counts, and what has none was never changed."""
    stops = [TEMPLATES[341](basket_id="1", stop_ticks=ticks) for ticks in ("8", "12", "")]
    targets = [TEMPLATES[339](basket_id="1", target_ticks="4"), TEMPLATES[339](basket_id="2", target_ticks="6")]
    assert wire.decode_levels(stops, targets) == {"1": Levels(12, 4), "2": Levels(0, 6)}


def test_our_own_classes_give_way_to_the_librarys() -> None:
    """Should a release of it know OCO orders, its classes count."""
    assert TEMPLATES[328].DESCRIPTOR.name == "RequestOCOOrder"
    for template_id in (328, 329):
        ours = {field.name: field.number for field in TEMPLATES[template_id].DESCRIPTOR.fields}
        theirs = {field.name: field.number for field in CLASSES[template_id].DESCRIPTOR.fields}
        assert ours.items() <= theirs.items()
