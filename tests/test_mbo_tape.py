"""Tapes of order messages: the recorded hour order by order, and files that cannot be played."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from nightdesk.errors import ConfigurationError
from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.flows.mbo import MboEvent, MboTape, Message
from nightdesk.simulator.flows.players import record
from nightdesk.simulator.model import Quoted, Traded
from nightdesk.simulator.venue.book import BookSide, Order
from nightdesk.simulator.venue.ledger import Scale
from nightdesk.simulator.venue.outcomes import Matched
from nightdesk.simulator.venue.replay_book import ReplayBook
from tests.market_support import ACCOUNT, ES, NOW_NS, kinds, new_order, quiet_venue
from tests.replay_support import MBO_HEADER, mbo_csv, play_all, replay, step, text_file
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

MBO = SHARED_DATA / "esh24_mbo_20231225.parquet"
EVENTS = 47_022
FILLS = 6_229
"""What resting orders got in the recorded hour, without the auction."""


def test_event_is_one_step(tmp_path: Path) -> None:
    """A trade and what it did to the book come together: the print, the quote when the best has changed."""
    events = [
        ["A B 20000 5 #1", "A A 20001 3 #2"],
        ["A B 19999 1 #3"],
        ["T B 20001 3", "F A 20001 3 #2", "C A 20001 3 #2"],
        ["A A 20002 2 #4"],
    ]
    _, flow = replay(mbo_csv(tmp_path / "tape.csv", events))
    assert [kinds(step(flow)) for _ in events] == [["Quoted"], [], ["Traded", "Quoted"], ["Quoted"]]
    assert flow.next() is None


def test_snapshot_is_the_book_that_the_market_begins_with(tmp_path: Path) -> None:
    """It can be read before the first event, and is no step."""
    path = mbo_csv(tmp_path / "tape.csv", [["A B 20000 5 #3"]], snapshot=["A B 20000 5 #1", "A A 20001 3 #2"])
    venue, flow = replay(path)
    quote = venue.quote(ES.symbol)
    assert quote is not None
    assert (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size) == (5000.0, 5, 5000.25, 3)
    assert len(play_all(flow)) == 1


def test_open_orders_of_an_earlier_run_join_behind_the_snapshot(tmp_path: Path) -> None:
    """They were restored before the tape was opened."""
    venue = quiet_venue()
    venue.submit(new_order(Side.BUY, 1, 5000.0), NOW_NS)
    events = [
        ["T A 20000 5", "F B 20000 5 #1", "C B 20000 5 #1"],
        ["T A 20000 1"],
    ]
    _, flow = replay(mbo_csv(tmp_path / "tape.csv", events, snapshot=["A B 20000 5 #1"]), venue)
    assert kinds(step(flow)) == ["Traded", "Quoted"]
    assert kinds(step(flow)) == ["Traded", "FILLED", "COMPLETED(F)"]


def test_second_day_of_the_same_contract_begins_with_its_snapshot(tmp_path: Path) -> None:
    """What the first day left in the book is gone; the days may be named in any order."""
    one = mbo_csv(tmp_path / "one.csv", [["A B 20000 5 #1"], ["A A 20001 3 #2"]])
    two = mbo_csv(tmp_path / "two.csv", [["A B 20000 1 #8"]] * 1, snapshot=["A B 19990 2 #1"])
    later = two.read_text().replace("\n0,", "\n5000000000,").replace("\n1000000000,", "\n6000000000,")
    two.write_text(later)
    for order in ((one, two), (two, one)):
        venue, flow = replay(tapes=[{"path": str(path), "symbol": ES.symbol} for path in order])
        assert len(play_all(flow)) == 4
        quote = venue.quote(ES.symbol)
        assert quote is not None
        assert (quote.bid_price, quote.bid_size, quote.ask_size) == (5000.0, 1, 0)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2,X,B,5000.00,1,1,128", "row 2, column action: X is not one of"),
        ("2,A,Q,5000.00,1,1,128", "row 2, column side: Q is not B or A"),
        ("2,A,N,5000.00,1,1,128", "row 2, column side: N is not B or A"),
        ("2,A,B,5000.10,1,1,128", "row 2, column price: 5000.1 is not on a tick"),
        ("2,A,B,,1,1,128", "row 2, column price: None is missing"),
        ("2,A,B,5000.00,0,1,128", "row 2, column size: 0 is not the size"),
        ("2,C,B,5000.00,-1,1,128", "row 2, column size: -1 is not the size"),
        ("2,C,B,5000.00,1,,128", "row 2, column order_id: None is missing"),
        ("2,A,B,5000.00,1,1,", "row 2, column flags: None is not a sum of flags"),
        (
            "2,C,B,5000.00,1,77,128",
            "row 2: order 77 is canceled but does not stand in the book; a tape of orders begins",
        ),
        ("2,A,B,5000.00,1,5,128", "row 2: order 5 is added but stands in the book already"),
        ("2,A,B,5000.00,1,6,0", "the file ends inside the event that begins at row 2"),
        ("2,A,B,5000.00,1,6", "row 2 has 6 cells, not 7"),
    ],
)
def test_damaged_tape_is_named_with_row_and_mend(tmp_path: Path, row: str, words: str) -> None:
    """The error names the file, the row, what is wrong and what to do."""
    path = text_file(tmp_path / "tape.csv", "\n".join([MBO_HEADER, "1,A,B,5000.00,1,5,128", row]) + "\n")
    with pytest.raises(ConfigurationError) as caught:
        play_all(replay(path)[1])
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_limit_leaves_out_the_event_that_it_cuts(tmp_path: Path) -> None:
    """Four messages are asked for, the second event has three."""
    events = [["A B 20000 5 #1", "A A 20001 3 #2"], ["A B 19999 1 #3", "A B 19998 1 #4", "A B 19997 1 #5"]]
    _, flow = replay(mbo_csv(tmp_path / "tape.csv", events), limit=4)
    assert kinds(play_all(flow)) == ["Quoted"]


def test_order_messages_stand_alone_on_their_contract(tmp_path: Path) -> None:
    """Another tape beside them would make a second market of it."""
    orders = mbo_csv(tmp_path / "orders.csv", [["A B 20000 5 #1"]])
    trades = text_file(tmp_path / "trades.csv", "ts_event_ns,price,size\n1,5000,1\n")
    with pytest.raises(ConfigurationError, match="ESZ6 has a tape of order messages beside other tapes"):
        replay(tapes=[{"path": str(path), "symbol": ES.symbol} for path in (orders, trades)])


def _recorded_events() -> Iterator[tuple[MboEvent, ReplayBook]]:
    """Each event of the recorded hour after its messages, before its end."""
    book = ReplayBook()
    for event in MboTape(str(MBO), Scale(ES)).events():
        if event.is_snapshot:
            book.record_clear()
        for message in event.messages:
            record(book, message)
        yield event, book
        if event.is_snapshot:
            book.rejoin()
        book.end_event()


def _top(side: BookSide, sign: int) -> list[tuple[int, int, int]]:
    levels = side.levels
    return [(sign * key, levels[sign * key].total, len(levels[sign * key].orders)) for key in reversed(side.keys[-10:])]


@_needs_shared_data
def test_book_equals_the_recorded_one_at_every_event() -> None:
    """All 37,064 rows of ten levels (price, size, number of orders), each at its event and no other change between."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(SHARED_DATA / "esh24_depth10_20231225.parquet")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    rows = 0
    before: tuple[Any, Any] | None = None
    events = 0
    for event, book in _recorded_events():
        if event.is_snapshot:
            continue
        events += 1
        top = (_top(book.bids, 1), _top(book.asks, -1))
        if top == before:
            continue
        before = top
        assert columns["ts_event_ns"][rows] == event.ts_ns
        for side, levels in zip(("bid", "ask"), top, strict=True):
            recorded = [
                (
                    round(columns[f"{side}_px_{place}"][rows] * 4),
                    columns[f"{side}_sz_{place}"][rows],
                    columns[f"{side}_ct_{place}"][rows],
                )
                for place in range(10)
            ]
            assert levels == recorded
        rows += 1
    assert (events, rows) == (EVENTS, table.num_rows)


@_needs_shared_data
def test_recorded_fills_went_to_the_head_of_our_queues() -> None:
    """After each of 6,229 fills nobody is left at its price who stood ahead: our places are the exchange's own."""
    places: dict[int, int] = {}
    found = 0
    for event, book in _recorded_events():
        trade = next((message for message in event.messages if message.action == "T"), None)
        if trade is not None and trade.side:
            for fill in event.messages:
                if fill.action == "F" and fill.side == -trade.side:
                    found += 1
                    level = book.side(fill.side > 0).levels.get(fill.price)
                    assert level is None or next(iter(level.orders)).priority >= places[fill.order_id]
        for message in event.messages:
            if message.action in "AM":
                side = book.side(message.side > 0).levels[message.price]
                places[message.order_id] = next(o.priority for o in side.orders if o.book_id == message.order_id)
    assert found == FILLS


@_needs_shared_data
def test_prints_and_quotes_equal_the_recorded_ones() -> None:
    """Every trade and every change of the best as in the derived file; takers trade at the best quote before them."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(SHARED_DATA / "esh24_trades_bbo_20231225.parquet")
    names = ["ts_event_ns", "kind", "price", "size", "aggressor", "bid", "bid_size", "ask", "ask_size"]
    recorded = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    venue, flow = replay(MBO)
    quote = venue.quote(ES.symbol)
    assert quote is not None
    # The file begins with the quote of the snapshot, which is no event here.
    assert recorded.pop(0)[5:] == (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
    shown = (quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size)
    ours: list[tuple[Any, ...]] = []
    while (found := flow.next()) is not None:
        best: tuple[float, int, float, int] | None = shown
        for event in found[1]():
            if isinstance(event, Traded):
                if event.aggressor is not AggressorSide.NONE and best is not None:
                    assert event.price == (best[2] if event.aggressor is AggressorSide.BUY else best[0])
                    best = None
                ours.append((event.ts_ns, "trade", event.price, event.quantity, _SIGNS[event.aggressor]))
            elif isinstance(event, Quoted):
                now = (event.bid_price, event.bid_size, event.ask_price, event.ask_size)
                if now != shown:
                    ours.append((event.ts_ns, "quote", *now))
                shown = now
    expected = [row[:5] if row[1] == "trade" else (*row[:2], *row[5:]) for row in recorded]
    assert len(ours) == len(expected)
    for mine, theirs in zip_longest(ours, expected):
        assert mine == theirs


_SIGNS = {AggressorSide.BUY: 1, AggressorSide.SELL: -1, AggressorSide.NONE: 0}


class _Waiting:
    """A one-lot order and, in plain sets, who stands ahead of it."""

    def __init__(self, side: int, price: int, ahead: set[int]) -> None:
        self.side, self.price, self.ahead = side, price, ahead
        self.order = Order(side > 0, 1, price)
        self.is_due = False

    def _is_near(self, message: Message) -> bool:
        return message.action in "AMF" and (self.price - message.price) * self.side >= 0

    def see(self, event: MboEvent, book: dict[int, tuple[int, int, int]]) -> None:
        """Whether the event fills it; ``book`` is as before the event."""
        near = [each for each in event.messages if each.order_id in self.ahead or self._is_near(each)]
        if not near:
            return
        reached = [each for each in near if each.action == "F" and each.side == self.side]
        ahead = set(self.ahead)
        for each in near:
            if each.action in "CM" and each.order_id in ahead:
                traded = sum(fill.size for fill in reached if fill.order_id == each.order_id)
                _, price, size = book[each.order_id]
                if each.action == "C" or each.price != price or each.size > size - traded:
                    self.ahead.discard(each.order_id)
        arrived = [each for each in near if each.action in "AM" and each.side == -self.side]
        is_through = any((self.price - each.price) * self.side > 0 for each in reached)
        is_reached = any(
            each.price == self.price and (each.order_id not in ahead or each.size > book[each.order_id][2])
            for each in reached
            if each.order_id in book
        )
        is_met = any((self.price - each.price) * self.side >= 0 for each in arrived)
        self.is_due = is_through or is_met or (is_reached and not self.ahead)


@_needs_shared_data
def test_own_orders_in_the_recorded_queue_fill_when_those_ahead_have_gone() -> None:
    """A hundred one-lot orders at the best bid and offer over the hour, against sets of who stood ahead of each."""
    naive: dict[int, tuple[int, int, int]] = {}
    waiting: list[_Waiting] = []
    submitted = filled = 0
    for number, (event, book) in enumerate(_recorded_events()):
        for each in waiting:
            each.see(event, naive)
        for message in event.messages:
            if message.action in "AM":
                side = message.side or naive[message.order_id][0]
                naive[message.order_id] = (side, message.price, message.size)
            elif message.action == "C":
                del naive[message.order_id]
        outcomes = book.end_event()
        assert all(
            outcome.price == outcome.taker.limit
            for outcome in outcomes
            if isinstance(outcome, Matched) and outcome.taker
        )
        assert {id(each.order) for each in waiting if each.is_due} == {
            id(each.order) for each in waiting if not each.order.leaves
        }
        filled += sum(1 for each in waiting if each.is_due)
        waiting = [each for each in waiting if not each.is_due]
        if number % 300 == 0 and number > 1_200:
            side = 1 if number % 600 else -1
            best = book.side(side > 0).best
            assert best is not None
            ahead = {order_id for order_id, order in naive.items() if order[:2] == (side, best)}
            waiting.append(_Waiting(side, best, ahead))
            book.submit(waiting[-1].order)
            submitted += 1
    assert submitted > 100
    assert filled > submitted / 2


@_needs_shared_data
def test_pre_open_orders_trade_in_the_auction_at_its_price() -> None:
    """Market orders are canceled before the open; limits better than 4800.25 trade there, one too low does not."""
    venue, flow = replay(MBO)
    for _ in range(900):
        step(flow)
    for order in (new_order(Side.BUY, 1), new_order(Side.BUY, 2, 4809.0), new_order(Side.SELL, 2, 4785.5)):
        venue.submit(order, NOW_NS)
    venue.submit(new_order(Side.BUY, 1, 4790.0), NOW_NS)
    while not any(isinstance(event, Traded) for event in step(flow)):
        pass
    orders = venue.orders(ACCOUNT)
    assert [order.average_price for order in orders] == [0.0, 4800.25, 4800.25, 0.0]
    assert [order.completion for order in orders] == ["C", "F", "F", None]
