"""Clients' orders in recorded queues: when each of them is filled, to the lot, and what they can take."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightdesk.messages.enums import TimeInForce
from nightdesk.simulator.flows.mbo import Message
from nightdesk.simulator.flows.players import record
from nightdesk.simulator.model import OrderDepthKind
from nightdesk.simulator.venue.book import Order
from nightdesk.simulator.venue.matching import PROTECTION_TICKS, Change
from nightdesk.simulator.venue.outcomes import Converted, Dropped, Refused, Triggered
from nightdesk.simulator.venue.replay_book import RecordingError, ReplayBook
from tests.replay_support import NaiveMarket, fills, messages, play

BUY, SELL = 1, -1


def _book(*lines: str) -> ReplayBook:
    book = ReplayBook()
    play(book, *lines)
    return book


def _levels(book: ReplayBook, side: int) -> list[tuple[int, int, int]]:
    half = book.side(side > 0)
    return [(price, half.levels[price].total, len(half.levels[price].orders)) for price in half.prices()]


def test_order_waits_for_everything_displayed_before_it() -> None:
    """Eight contracts stand ahead, four come later: the ninth that is sold at the price is ours."""
    book = _book("A B 100 5 #1", "A B 100 3 #2", "A A 101 4 #3")
    book.submit(Order(True, 2, 100))
    play(book, "A B 100 4 #4")
    assert play(book, "T A 100 6", "F B 100 5 #1", "F B 100 1 #2", "C B 100 5 #1", "M B 100 2 #2") == []
    assert play(book, "T A 100 2", "F B 100 2 #2", "C B 100 2 #2") == []
    assert play(book, "T A 100 1", "F B 100 1 #4", "M B 100 3 #4") == [(100, 1)]
    assert play(book, "T A 100 3", "F B 100 3 #4", "C B 100 3 #4") == [(100, 1)]


def test_cancels_ahead_bring_the_order_forward() -> None:
    """And cancels behind it do not."""
    book = _book("A B 100 5 #1", "A B 100 3 #2")
    book.submit(Order(True, 2, 100))
    play(book, "A B 100 4 #4")
    play(book, "A B 100 4 #5")
    play(book, "C B 100 5 #1")
    play(book, "C B 100 4 #4")
    assert play(book, "T A 100 3", "F B 100 3 #2", "C B 100 3 #2") == []
    assert play(book, "T A 100 2", "F B 100 2 #5", "M B 100 2 #5") == [(100, 2)]


@pytest.mark.parametrize("change", ["M B 100 6 #1", "M B 99 5 #1"])
def test_modified_order_that_loses_its_place_goes_behind(change: str) -> None:
    """More quantity or another price: it comes back behind ours."""
    book = _book("A B 100 5 #1")
    book.submit(Order(True, 2, 100))
    play(book, change)
    play(book, "M B 100 7 #1")
    assert play(book, "T A 100 3", "F B 100 3 #1", "M B 100 4 #1") == [(100, 2)]


def test_modified_order_that_keeps_its_place_stays_ahead() -> None:
    """Less quantity at the same price."""
    book = _book("A B 100 5 #1")
    book.submit(Order(True, 2, 100))
    play(book, "M B 100 3 #1")
    play(book, "A B 100 9 #2")
    assert play(book, "T A 100 3", "F B 100 3 #1", "C B 100 3 #1") == []
    assert play(book, "T A 100 3", "F B 100 3 #2", "M B 100 6 #2") == [(100, 2)]


@pytest.mark.parametrize("is_buy", [True, False])
def test_trade_through_the_price_fills_up_to_its_size(is_buy: bool) -> None:
    """At the order's own price, whatever was ahead: it is gone when the market trades beyond."""
    side, other = ("B", "A") if is_buy else ("A", "B")
    beyond = 99 if is_buy else 101
    book = _book(f"A {side} 100 5 #1", f"A {side} {beyond} 9 #2")
    book.submit(Order(is_buy, 6, 100))
    play(book, f"C {side} 100 5 #1")
    event = [f"T {other} {beyond} 4", f"F {side} {beyond} 4 #2", f"M {side} {beyond} 5 #2"]
    assert play(book, *event) == [(100, 4)]
    assert play(book, f"T {other} {beyond} 5", f"F {side} {beyond} 5 #2", f"C {side} {beyond} 5 #2") == [(100, 2)]


def test_fill_is_shared_once_among_clients_orders() -> None:
    """Better price first, then the older one; together no more than what was traded."""
    book = _book("A B 99 9 #1")
    worse, older, younger = Order(True, 2, 99), Order(True, 2, 100), Order(True, 2, 100)
    for order in (worse, older, younger):
        book.submit(order)
    play(book, "A B 99 5 #2")
    play(book, "T A 99 3", "F B 99 3 #1", "M B 99 6 #1")
    assert [order.leaves for order in (older, younger, worse)] == [0, 1, 2]
    play(book, "T A 99 8", "F B 99 6 #1", "F B 99 2 #2", "C B 99 6 #1", "M B 99 3 #2")
    assert [order.leaves for order in (older, younger, worse)] == [0, 0, 0]


def test_recorded_order_that_comes_to_rest_at_the_price_fills_it() -> None:
    """Nobody recorded is left ahead then; what it filled of ours is not taken a second time."""
    book = _book("A B 100 5 #1")
    book.submit(Order(True, 8, 100))
    event = ["T A 100 5", "F B 100 5 #1", "C B 100 5 #1", "A A 100 3 #2"]
    assert play(book, *event) == [(100, 3)]
    assert play(book, "A A 103 1 #3") == []
    assert play(book, "M A 99 4 #2") == [(100, 4)]


def test_order_that_the_trade_itself_canceled_is_not_ahead() -> None:
    """Self-match prevention takes an order out of the queue in the event of the trade that passes it."""
    book = _book("A B 100 5 #1")
    book.submit(Order(True, 1, 100))
    play(book, "A B 100 2 #2")
    assert play(book, "T A 100 1", "F B 100 1 #2", "C B 100 5 #1", "M B 100 1 #2") == [(100, 1)]


def test_fill_behind_while_somebody_is_ahead_is_not_ours() -> None:
    """A market that does not match by time alone does not bring us forward."""
    book = _book("A B 100 5 #1")
    book.submit(Order(True, 1, 100))
    play(book, "A B 100 2 #2")
    assert play(book, "T A 100 1", "F B 100 1 #2", "M B 100 1 #2") == []


def test_refilled_order_stands_behind_with_what_it_had_hidden() -> None:
    """Of thirteen traded by an order that showed three, ten come after ours; shown again, it is at the back."""
    book = _book("A B 100 3 #1")
    book.submit(Order(True, 4, 100))
    assert play(book, "T A 100 3", "F B 100 3 #1", "M B 100 3 #1") == []
    assert play(book, "T A 100 2", "F B 100 2 #1", "M B 100 1 #1") == [(100, 2)]
    book = _book("A B 100 3 #1")
    book.submit(Order(True, 4, 100))
    assert play(book, "T A 100 13", "F B 100 13 #1", "M B 100 2 #1") == [(100, 4)]


def test_trade_without_recorded_fills_comes_behind_the_last_order() -> None:
    """At the price when nobody is ahead, through the price always."""
    book = _book("A B 100 3 #1")
    book.submit(Order(True, 4, 100))
    assert play(book, "T A 100 2") == []
    assert play(book, "T A 99 1") == [(100, 1)]
    play(book, "C B 100 3 #1")
    assert play(book, "T A 100 2") == [(100, 2)]
    assert play(book, "T B 100 9") == []


def test_displayed_orders_are_taken_in_order_and_once() -> None:
    """What was taken of an order is gone while it keeps its place, and there again when it has lost it."""
    book = _book("A A 101 3 #1", "A A 101 2 #2", "A A 103 9 #3")
    assert fills(book.submit(Order(True, 4, 101))) == [(101, 3), (101, 1)]
    assert fills(book.submit(Order(True, 4, 103, time_in_force=TimeInForce.IOC))) == [(101, 1), (103, 3)]
    play(book, "M A 101 1 #2", "M A 103 7 #3")
    assert fills(book.submit(Order(True, 9, 103, time_in_force=TimeInForce.IOC))) == [(103, 4)]
    play(book, "M A 102 2 #2")
    assert fills(book.submit(Order(True, 9, 103, time_in_force=TimeInForce.IOC))) == [(102, 2)]
    assert _levels(book, SELL) == [(101, 3, 1), (102, 2, 1), (103, 7, 1)]


def test_market_order_stops_at_the_protection_band_and_rests_there() -> None:
    """Twelve ticks from the best; immediate ones are canceled instead."""
    far = 101 + PROTECTION_TICKS
    book = _book("A A 101 1 #1", f"A A {far} 1 #2", f"A A {far + 1} 9 #3")
    outcomes = book.submit(Order(True, 4, None))
    assert fills(outcomes) == [(101, 1), (far, 1)]
    assert isinstance(outcomes[-1], Converted)
    assert outcomes[-1].price == far
    outcomes = book.submit(Order(True, 1, None, time_in_force=TimeInForce.IOC))
    assert isinstance(outcomes[-1], Dropped)
    assert play(book, f"M A {far} 5 #3") == [(far, 2)]


def test_fill_or_kill_needs_all_of_it() -> None:
    """What others of ours have taken does not count."""
    book = _book("A A 101 3 #1", "A A 102 2 #2")
    assert fills(book.submit(Order(True, 6, 102, time_in_force=TimeInForce.FOK))) == []
    assert fills(book.submit(Order(True, 1, 102))) == [(101, 1)]
    assert fills(book.submit(Order(True, 5, 102, time_in_force=TimeInForce.FOK))) == []
    assert fills(book.submit(Order(True, 4, 102, time_in_force=TimeInForce.FOK))) == [(101, 2), (102, 2)]


def test_stop_acts_when_the_event_that_set_it_off_is_over() -> None:
    """It meets the book as the trade left it; one on the wrong side is refused."""
    book = _book("A A 101 3 #1", "A A 102 2 #2", "A B 100 1 #9")
    book.submit(Order(True, 2, None, trigger=101))
    event = ["T B 101 3", "F A 101 3 #1", "C A 101 3 #1", "A A 103 9 #3"]
    for line in event:
        play_only(book, line)
    outcomes = book.end_event()
    assert isinstance(outcomes[0], Triggered)
    assert fills(outcomes) == [(102, 2)]
    assert isinstance(book.submit(Order(True, 2, None, trigger=101))[0], Refused)


def play_only(book: ReplayBook, line: str) -> None:
    record(book, messages(line)[0])


def test_nothing_trades_while_the_book_is_crossed() -> None:
    """Limit orders wait; when it opens they take what is left against them, at its price and not at theirs."""
    book = _book("A B 110 5 #1", "A A 90 3 #2", "A A 104 9 #3")
    assert isinstance(book.submit(Order(True, 1, None))[-1], Dropped)
    assert isinstance(book.submit(Order(True, 1, 120, time_in_force=TimeInForce.IOC))[-1], Dropped)
    waiting = Order(True, 4, 105)
    assert fills(book.submit(waiting)) == []
    auction = ["T N 104 3", "F N 104 3 #1", "F N 104 3 #2", "C B 110 5 #1", "C A 90 3 #2"]
    assert play(book, *auction) == [(104, 4)]


def test_auction_fills_by_price_and_time() -> None:
    """Ours takes what went to recorded orders behind it, at the auction's price; one behind them all gets nothing."""
    book = _book("A B 110 5 #1", "A B 105 2 #2", "A A 90 9 #3", "A A 107 5 #8")
    ahead, behind = Order(True, 1, 108), Order(True, 3, 104)
    book.submit(ahead)
    book.submit(behind)
    play(book, "A B 104 4 #4")
    auction = ["T N 104 9", "F N 104 5 #1", "F N 104 2 #2", "F N 104 2 #4", "F N 104 9 #3"]
    changes = ["C B 110 5 #1", "C B 105 2 #2", "M B 104 2 #4", "C A 90 9 #3"]
    assert play(book, *auction, *changes) == [(104, 1), (104, 2)]
    assert (ahead.leaves, behind.leaves) == (0, 1)


def test_snapshot_and_clear_close_the_market_until_it_trades() -> None:
    """And the clients' orders stand behind what the snapshot has put there."""
    book = _book("A B 100 5 #1")
    own = Order(True, 1, 100)
    book.submit(own)
    book.record_clear()
    for line in ("A B 100 2 #1", "A A 101 2 #2"):
        play_only(book, line)
    book.rejoin()
    assert book.end_event() == []
    assert isinstance(book.submit(Order(True, 1, None))[-1], Dropped)
    assert play(book, "T A 100 1", "F B 100 1 #1", "M B 100 1 #1") == []
    assert fills(book.submit(Order(True, 1, None))) == [(101, 1)]
    assert play(book, "C B 100 1 #1") == []
    assert play(book, "T A 100 1") == [(100, 1)]


def test_own_modify_and_cancel_follow_the_rules_of_place() -> None:
    """Less quantity keeps the place, a return to the price does not; a canceled order is not filled."""
    book = _book("A B 100 1 #1")
    kept, moved, gone = Order(True, 3, 100), Order(True, 3, 100), Order(True, 3, 100)
    for order in (kept, moved, gone):
        book.submit(order)
    play(book, "A B 100 3 #2")
    book.modify(kept, Change(2, 100, None, False))
    book.modify(moved, Change(3, 99, None, False))
    book.modify(moved, Change(3, 100, None, False))
    book.cancel(gone)
    play(book, "C B 100 1 #1")
    play(book, "T A 100 3", "F B 100 3 #2", "C B 100 3 #2")
    assert [order.leaves for order in (kept, moved, gone)] == [0, 3, 3]
    assert play(book, "T A 100 2") == [(100, 2)]


def test_watchers_see_the_recorded_orders_and_no_others() -> None:
    """New, moved, changed and gone, with the recorded numbers; a lost place is a new priority."""
    book = _book("A B 100 5 #1")
    book.changes = []
    book.submit(Order(True, 2, 100))
    play(book, "A B 100 4 #2", "M B 99 4 #1", "M B 99 2 #1", "C B 100 4 #2")
    kinds = [
        (each.kind, each.order.exchange_order_id, each.price, each.previous_price, each.size) for each in book.changes
    ]
    assert kinds == [
        (OrderDepthKind.NEW, "2", 100, None, 4),
        (OrderDepthKind.CHANGE, "1", 99, 100, 4),
        (OrderDepthKind.CHANGE, "1", 99, None, 2),
        (OrderDepthKind.DELETE, "2", 100, None, 4),
    ]
    priorities = [each.priority for each in book.changes]
    assert priorities[0] < priorities[1] == priorities[2]


@pytest.mark.parametrize("line", ["C B 100 5 #7", "M B 100 5 #7", "A B 100 5 #1"])
def test_recording_that_contradicts_itself_is_refused(line: str) -> None:
    """Orders that are not there, or there already."""
    book = _book("A B 100 5 #1")
    with pytest.raises(RecordingError, match="order"):
        play(book, line)


_PRICE = st.integers(95, 105)
_SIZE = st.integers(1, 5)
_SIDE = st.sampled_from([BUY, SELL])
_INSTRUCTION = st.one_of(
    st.tuples(st.just("enter"), _SIDE, _PRICE, _SIZE),
    st.tuples(st.just("enter"), _SIDE, _PRICE, _SIZE),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0), st.just(0)),
    st.tuples(st.just("modify"), st.integers(0, 30), _PRICE, _SIZE),
)
_Instruction = tuple[str, int, int, int]


def _perform(market: NaiveMarket, number: int, instruction: _Instruction) -> list[Message]:
    what, first, price, size = instruction
    if what == "enter":
        return market.enter(number, first, price, size)
    return market.cancel(first) if what == "cancel" else market.modify(first, price, size)


@settings(max_examples=200, deadline=None)
@given(st.lists(_INSTRUCTION, min_size=5, max_size=40), st.integers(0, 20), _SIDE, _PRICE, st.integers(1, 6))
def test_first_fill_is_exactly_that_of_the_real_market(
    instructions: list[_Instruction], moment: int, side: int, price: int, size: int
) -> None:
    """The same instructions in a naive market with our order among them, against the replay of the one without it.

    The first fill comes in the same event, of the same quantity and price; after it the real market would have reacted.
    """
    recorded, real, book = NaiveMarket(), NaiveMarket(), ReplayBook()
    own_number = 1_000
    for number, instruction in enumerate(instructions):
        filled: list[tuple[int, int]] = []
        expected: list[tuple[int, int]] = []
        if number == moment:
            filled = fills(book.submit(Order(side > 0, size, price)))
            traded = real.enter(own_number, side, price, size)
            expected = [(each.price, each.size) for each in traded if each.action == "T"]
        else:
            filled = play(book, *_perform(recorded, number, instruction))
            traded = _perform(real, number, instruction)
            expected = [(each.price, each.size) for each in traded if (each.action, each.order_id) == ("F", own_number)]
        assert _by_price(filled) == _by_price(expected)
        if filled:
            break


def _by_price(filled: list[tuple[int, int]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for price, quantity in filled:
        found[price] += quantity
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(_INSTRUCTION, st.tuples(st.just("own"), _SIDE, _PRICE, _SIZE)), min_size=5, max_size=50))
def test_random_tapes_keep_the_book_and_fill_no_more_than_was_there(instructions: list[_Instruction]) -> None:
    """After every event the book is the recorded one; fills are at the limit or better, never more than was traded at
    or through it or newly displayed, and never at a price where somebody recorded who was there before is left."""
    recorded, book = NaiveMarket(), ReplayBook()
    ahead: dict[Order, set[int]] = {}
    for number, instruction in enumerate(instructions):
        what, first, price, size = instruction
        if what == "own":
            own = Order(first > 0, size, price)
            offered = sum(each[3] for each in recorded.orders if each[1] == -first and (price - each[2]) * first >= 0)
            taken = fills(book.submit(own))
            assert sum(quantity for _, quantity in taken) <= offered
            assert all((price - at) * first >= 0 for at, _ in taken)
            ahead[own] = {each[0] for each in recorded.orders if each[1:3] == [first, price]}
            continue
        before = {order: order.leaves for order in ahead}
        stays = any(each[0] == first and each[2] == price and size <= each[3] for each in recorded.orders)
        moved = {first} if what == "modify" and not stays else set()
        event = _perform(recorded, number, instruction)
        outcomes = play(book, *event)
        assert _levels(book, BUY) == recorded.levels(BUY)
        assert _levels(book, SELL) == recorded.levels(SELL)
        assert sum(quantity for _, quantity in outcomes) == sum(before.values()) - sum(order.leaves for order in ahead)
        lost_place = {each.order_id for each in event if each.action == "C"} | moved
        for side in (BUY, SELL):
            reached = [each for each in event if each.action == "F" and each.side == side]
            arrived = [each for each in event if each.action in "AM" and each.side == -side]
            for order, leaves in before.items():
                limit = order.limit or 0
                ahead[order] -= lost_place
                if (order.is_buy == (side > 0)) and order.leaves < leaves:
                    traded = [each for each in reached if (limit - each.price) * side >= 0]
                    shown = [each for each in arrived if (limit - each.price) * side >= 0]
                    assert leaves - order.leaves <= sum(each.size for each in traded + shown)
                    is_through = any((limit - each.price) * side > 0 for each in traded)
                    assert is_through or not ahead[order]
            sold = sum(before[order] - order.leaves for order in before if order.is_buy == (side > 0))
            assert sold <= sum(each.size for each in reached + arrived)
