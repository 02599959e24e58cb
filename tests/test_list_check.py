"""The broker's list of orders against ours: what differs, and what only changed while the list was on its way."""

from collections.abc import Callable

import msgspec
import pytest

from nightdesk.messages import OrderStatus, OrderType, Side, VenueOrderId
from nightdesk.trading.broker import BrokerUpdate, UpdateKind
from nightdesk.trading.list_check import ListCheck, compare, resting
from nightdesk.trading.order import Operation, Order
from tests.test_order_table import make_order

OPEN = UpdateKind.OPEN


def working(tag: str = "o1", *, side: Side = Side.BUY, **fields: object) -> Order:
    """An order for two at 5000 that the exchange holds."""
    order = make_order(tag, 2, side)
    for name, value in fields.items():
        setattr(order, name, value)
    order.status, order.venue_order_id = OrderStatus.ACCEPTED, VenueOrderId(f"b-{tag}")
    return order


def listed(order: Order, kind: UpdateKind = OPEN, filled: int | None = None, **fields: object) -> BrokerUpdate:
    """The image of an order as we have it, but for what is given."""
    total = order.filled_quantity if filled is None else filled
    image = BrokerUpdate(
        kind=kind,
        account_id=order.account_id,
        symbol=order.symbol,
        exchange=order.exchange,
        venue_order_id=order.venue_order_id or VenueOrderId("?"),
        client_order_id=order.client_order_id,
        side=order.side,
        order_type=order.order_type,
        price=order.price,
        trigger_price=order.trigger_price,
        total_filled=total,
        total_unfilled=order.quantity - total,
        is_snapshot=True,
    )
    return msgspec.structs.replace(image, **fields)


def check(
    orders: list[Order], images: list[BrokerUpdate], meanwhile: Callable[[], None] = lambda: None, *, since_ns: int = 10
) -> ListCheck:
    """What a list with these images comes to, asked for before and answered after what happened ``meanwhile``."""
    known = {order.venue_order_id: order for order in orders}
    before = resting(order for order in orders if not order.is_final)
    meanwhile()
    return compare(before, since_ns, images, lambda image: known.get(image.venue_order_id))


def test_what_is_listed_as_we_have_it_is_no_difference() -> None:
    """Working, partly filled and finished orders, ours and others'."""
    one, two = working("o1"), working("o2")
    two.book_fill(listed(two).fill_key(), 1, 5000.0)
    two.status = OrderStatus.PARTIALLY_FILLED
    over = working("o3")
    over.status = OrderStatus.CANCELED
    filled = working("o4")
    filled.book_fill(listed(filled).fill_key(), 2, 5000.0)
    filled.status = OrderStatus.FILLED
    # The image of an order that has filled tells its last execution, too.
    images = [listed(one), listed(two), listed(over, UpdateKind.COMPLETE_CANCELED), listed(filled, UpdateKind.FILLED)]
    assert check([one, two, over, filled], images) == ListCheck((), {})


def test_order_that_has_filled_by_the_list_and_works_here_differs() -> None:
    """Whichever of the two its image is read as; one that has filled in part works on both sides."""
    order = working("o1")
    for kind in (UpdateKind.FILLED, UpdateKind.COMPLETE_FILLED):
        ((_, _, text),) = check([order], [listed(order, kind, 2)]).differences
        assert text == f"o1 is ACCEPTED here and listed as {kind}"
    order.book_fill(listed(order).fill_key(), 1, 5000.0)
    order.status = OrderStatus.PARTIALLY_FILLED
    assert check([order], [listed(order, UpdateKind.FILLED)]) == ListCheck((), {})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": UpdateKind.COMPLETE_CANCELED}, "o1 is ACCEPTED here and listed as COMPLETE_CANCELED"),
        ({"filled": 1}, "o1 has filled 0 here and 1 by the list"),
        ({"total_unfilled": 5}, "o1 is for 2 here and for 5 by the list"),
        ({"price": 4990.0}, "o1 has price 5000 here and 4990 by the list"),
    ],
)
def test_each_term_that_differs_is_named(change: dict[str, object], text: str) -> None:
    """The first one that differs; the same difference has the same text the next time."""
    order = working("o1")
    assert [each.text for each in check([order], [listed(order, **change)]).differences] == [text]  # type: ignore[arg-type]


def test_order_that_is_missing_in_the_list_or_in_our_books_differs() -> None:
    """What nobody here knows, what is over here and works there, and what works here and is not listed."""
    ours, over, foreign = working("o1"), working("o2"), working("x1")
    over.status = OrderStatus.CANCELED
    found = check([ours, over], [listed(over), listed(foreign)])
    assert [each.text for each in found.differences] == [
        "o2 is CANCELED here and listed as OPEN",
        "b-x1 is listed as OPEN and nobody here knows it",
        "o1 is ACCEPTED here and not listed",
    ]


def test_a_stranger_that_ended_without_a_fill_is_no_concern() -> None:
    """One that filled is a position."""
    foreign = working("x1")
    assert check([], [listed(foreign, UpdateKind.COMPLETE_CANCELED)]).differences == ()
    filled = check([], [listed(foreign, UpdateKind.COMPLETE_FILLED, filled=2)])
    assert [each.venue_order_id for each in filled.differences] == ["b-x1"]
    assert filled.positions == {"ESH4": 2}


def test_fills_by_the_list_come_to_a_position_by_side() -> None:
    """How much more of the symbol the account would hold if the list is right."""
    buy, sell = working("o1"), working("o2", side=Side.SELL)
    buy.book_fill(listed(buy).fill_key(), 2, 5000.0)
    buy.status = OrderStatus.FILLED
    images = [listed(buy, UpdateKind.COMPLETE_CANCELED, filled=0), listed(sell, filled=1)]
    assert check([buy, sell], images).positions == {"ESH4": -3}


@pytest.mark.parametrize("event", ["fill", "end", "change", "cancel asked", "report"])
def test_what_changed_while_the_list_was_on_its_way_says_nothing(event: str) -> None:
    """Neither by its image nor by being left out."""
    order = working("o1")

    def happen() -> None:
        if event == "fill":
            order.book_fill(listed(order).fill_key(), 1, 5000.0)
        elif event == "end":
            order.status = OrderStatus.CANCELED
        elif event == "change":
            order.operation = Operation.MODIFY
        elif event == "cancel asked":
            order.cancel_wanted = True
        else:
            order.ts_last_ns += 1

    assert check([order], [], happen).differences == ()
    order = working("o1")
    assert check([order], [listed(order, UpdateKind.COMPLETE_FILLED, filled=2)], happen).differences == ()


def test_order_that_was_sent_and_ended_meanwhile_says_nothing() -> None:
    """It is over by a report that is newer than the question."""
    order = working("o1")
    order.status, order.ts_last_ns = OrderStatus.FILLED, 100
    assert check([order], [listed(order)], since_ns=99).differences == ()
    assert len(check([order], [listed(order)], since_ns=100).differences) == 1


def test_trigger_prices_are_compared_as_long_as_nobody_else_moves_them() -> None:
    """A stop that has triggered is another order, one that trails moves with the market."""
    stop = working("s1", order_type=OrderType.STOP_MARKET, price=None, trigger_price=4990.0)
    moved = listed(stop, trigger_price=4980.0)
    assert [each.text for each in check([stop], [moved]).differences] == [
        "s1 has trigger price 4990 here and 4980 by the list"
    ]
    stop.trail_by_ticks = 8
    assert check([stop], [moved]).differences == ()
    stop.trail_by_ticks, stop.triggered, stop.status = 0, True, OrderStatus.TRIGGERED
    assert check([stop], [moved]).differences == ()


def test_revived_order_is_being_canceled_and_no_news() -> None:
    """That it works although it was over has been told."""
    order = working("o1")
    order.status, order.revived = OrderStatus.CANCELED, True
    assert check([order], [listed(order)]).differences == ()
