"""Replays behind the venue: what watchers of the book see, orders that the server holds, halts by command."""

from pathlib import Path

import pytest

from nightdesk.messages.enums import OrderType, Side
from nightdesk.simulator.model import (
    BookChanged,
    Condition,
    IfTouched,
    LevelDepth,
    OrderDepth,
    OrderDepthKind,
    PriceField,
    Product,
    VenueEvent,
)
from nightdesk.simulator.venue.venue import Venue
from tests.market_support import ACCOUNT, ES, NOW_NS, kinds, new_order
from tests.replay_support import mbo_csv, play_all, replay, step, text_file
from tests.support import SHARED_DATA

_needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="recorded data in ../shared/data are absent")

NQ = Product("NQZ6", "CME", 0.25, 20.0, 2.25)
TICKS = "ts_event_ns,kind,price,size,bid,bid_size,ask,ask_size"
QUOTE = "1,quote,,,5000,9,5000.25,9"


def _ticks(folder: Path, *rows: str) -> Path:
    return text_file(folder / "ticks.csv", "\n".join([TICKS, *rows]) + "\n")


def _books(events: list[VenueEvent]) -> list[BookChanged]:
    return [event for event in events if isinstance(event, BookChanged)]


def test_watched_book_reports_the_recorded_orders(tmp_path: Path) -> None:
    """Single orders with the recorded numbers and the levels as they are after the event; ours are not among them."""
    events = [["A B 20000 5 #7"], ["M B 19999 4 #7", "A A 20004 1 #8"], ["C B 19999 4 #7"]]
    venue, flow = replay(mbo_csv(tmp_path / "tape.csv", events, snapshot=["A A 20002 2 #5"]))
    assert venue.has_orders(ES.symbol)
    assert [(order.exchange_order_id, order.size) for order in venue.book_orders(ES.symbol)] == [("5", 2)]
    venue.watch_depth(ES.symbol, True)
    first = step(flow)
    assert kinds(first) == ["Quoted", "BookChanged"]
    _, own = venue.submit(new_order(Side.BUY, 1, 4999.75), NOW_NS)
    assert kinds(own) == ["RECEIVED", "OPENED"]
    second = _books(step(flow))[0]
    assert [(o.kind, o.exchange_order_id, o.price, o.previous_price, o.size) for o in second.orders] == [
        (OrderDepthKind.CHANGE, "7", 4999.75, 5000.0, 4),
        (OrderDepthKind.NEW, "8", 5001.0, None, 1),
    ]
    assert second.levels == (
        LevelDepth(Side.BUY, 5000.0, 0, 0),
        LevelDepth(Side.BUY, 4999.75, 4, 1),
        LevelDepth(Side.SELL, 5001.0, 1, 1),
    )
    venue.watch_depth(ES.symbol, False)
    assert kinds(step(flow)) == ["Quoted"]


@_needs_shared_data
def test_reported_changes_rebuild_the_recorded_book() -> None:
    """Every order with its price, size and priority, applied change by change over the open and what follows."""
    venue, flow = replay(SHARED_DATA / "esh24_mbo_20231225.parquet")
    venue.watch_depth(ES.symbol, True)
    orders = {order.exchange_order_id: order for order in venue.book_orders(ES.symbol)}
    levels = {(level.side, level.price): level for level in venue.book(ES.symbol)}
    assert len(orders) == 8_725
    sequence = venue.book_sequence(ES.symbol)
    for number in range(6_000):
        for book in _books(step(flow)):
            sequence += 1
            assert book.sequence == sequence
            _apply(book, orders, levels)
        if number % 1_000 == 999:
            expected = {order.exchange_order_id: order for order in venue.book_orders(ES.symbol)}
            found = {key: (o.side, o.price, o.size, o.priority) for key, o in orders.items()}
            assert found == {key: (o.side, o.price, o.size, o.priority) for key, o in expected.items()}
            assert levels == {(level.side, level.price): level for level in venue.book(ES.symbol)}


def _apply(book: BookChanged, orders: dict[str, OrderDepth], levels: dict[tuple[Side, float], LevelDepth]) -> None:
    for order in book.orders:
        if order.kind is OrderDepthKind.DELETE:
            assert orders.pop(order.exchange_order_id).price == order.price
        else:
            assert (order.exchange_order_id in orders) is (order.kind is OrderDepthKind.CHANGE)
            orders[order.exchange_order_id] = order
    for level in book.levels:
        if level.size:
            levels[level.side, level.price] = level
        else:
            levels.pop((level.side, level.price), None)


def test_recorded_levels_are_the_public_book(tmp_path: Path) -> None:
    """All levels of a row can be read; who watches gets those that changed, gone ones with size 0."""
    places = [f"{side}_{what}_{place}" for place in (0, 1) for side in ("bid", "ask") for what in ("px", "sz", "ct")]
    rows = [
        "1,5000,5,2,5000.25,3,1,4999.75,9,4,5000.5,8,3",
        "2,5000,5,2,5000.25,3,1,4999.75,7,3,,,",
    ]
    path = text_file(tmp_path / "depth.csv", "\n".join([",".join(["ts_event_ns", *places]), *rows]) + "\n")
    venue, flow = replay(path)
    assert kinds(step(flow)) == ["Quoted"]
    assert [(level.price, level.size, level.orders) for level in venue.book(ES.symbol)] == [
        (5000.0, 5, 2),
        (4999.75, 9, 4),
        (5000.25, 3, 1),
        (5000.5, 8, 3),
    ]
    assert (venue.has_levels(ES.symbol), venue.has_orders(ES.symbol)) == (True, False)
    venue.watch_depth(ES.symbol, True)
    second = step(flow)
    assert kinds(second) == ["BookChanged"]
    assert _books(second)[0].levels == (LevelDepth(Side.SELL, 5000.5, 0, 0), LevelDepth(Side.BUY, 4999.75, 7, 3))


def test_touched_order_follows_the_print_that_touches_it(tmp_path: Path) -> None:
    """On a tape of ticks: it takes what is displayed there, in the same step."""
    path = _ticks(tmp_path, QUOTE, "2,trade,5000.25,1,,,,", "3,trade,5000,1,,,,")
    venue, flow = replay(path)
    step(flow)
    order = new_order(Side.BUY, 2, order_type=OrderType.MARKET_IF_TOUCHED, trigger_price=5000.0)
    venue.submit(order, NOW_NS)
    assert kinds(step(flow)) == ["Traded"]
    assert kinds(step(flow))[-2:] == ["FILLED", "COMPLETED(F)"]
    assert venue.orders(ACCOUNT)[0].average_price == 5000.25


def test_condition_on_another_contract_is_met_by_its_tape(tmp_path: Path) -> None:
    """The order on ES waits for an offer of NQ, which an order book plays."""
    es = _ticks(tmp_path, QUOTE)
    nq = mbo_csv(tmp_path / "nq.csv", [["A A 60010 1 #1"], ["A A 60001 1 #2"]])
    nq.write_text(nq.read_text().replace("\n0,", "\n3,"))
    tapes = [{"path": str(es), "symbol": ES.symbol}, {"path": str(nq), "symbol": NQ.symbol}]
    venue, flow = replay(venue=Venue([ES, NQ], [ACCOUNT], 0.0), tapes=tapes)
    step(flow)
    touch = IfTouched(NQ.symbol, "CME", Condition.LESSER_EQUAL, PriceField.OFFER, 15000.25)
    venue.submit(new_order(Side.BUY, 2, if_touched=touch), NOW_NS)
    assert kinds(step(flow)) == ["Quoted"]
    assert kinds(step(flow))[-2:] == ["FILLED", "COMPLETED(F)"]


def test_trailing_stop_follows_the_recorded_prints(tmp_path: Path) -> None:
    """Two ticks below the highest print; it fills when the market comes back to it."""
    prices = (5000.0, 5001.0, 5000.75, 5000.5)
    lines = [["A B 19990 50 #1", "A A 20010 9 #2", "T B 19999 1"]]
    lines += [[f"T B {round(price * 4)} 1"] for price in prices]
    venue, flow = replay(mbo_csv(tmp_path / "tape.csv", lines))
    step(flow)
    order = new_order(Side.SELL, 2, order_type=OrderType.STOP_MARKET, trigger_price=4999.0, trail_by_ticks=2)
    venue.submit(order, NOW_NS)
    names = [name for _ in prices for name in kinds(step(flow))]
    assert names.count("TRIGGERED") == 1
    assert venue.orders(ACCOUNT)[0].trigger_price == 5000.5
    assert names[-2:] == ["FILLED", "COMPLETED(F)"]


@pytest.mark.parametrize("kind", ["ticks", "orders"])
def test_halt_by_command_stops_clients_orders_only(tmp_path: Path, kind: str) -> None:
    """The recording goes on; what waited takes what is displayed when the market opens again."""
    if kind == "ticks":
        path = _ticks(tmp_path, QUOTE, "2,trade,4999,1,,,,", "3,quote,,,5000,9,5000.25,8")
    else:
        sold = ["T A 20000 9", "F B 20000 9 #1", "C B 20000 9 #1"]
        path = mbo_csv(tmp_path / "tape.csv", [["A B 20000 9 #1", "A A 20001 9 #2"], sold, ["A B 19990 1 #3"]])
    venue, flow = replay(path)
    step(flow)
    venue.submit(new_order(Side.BUY, 1, 5000.0), NOW_NS)
    venue.set_mode(ES.symbol, "Reserved", "test", "20231226", NOW_NS)
    venue.submit(new_order(Side.BUY, 3, 5000.25), NOW_NS)
    assert "FILLED" not in kinds(step(flow))
    assert [order.filled_quantity for order in venue.orders(ACCOUNT)] == [0, 0]
    venue.set_mode(ES.symbol, "Open", "test", "20231226", NOW_NS)
    play_all(flow)
    assert [order.filled_quantity for order in venue.orders(ACCOUNT)] == [0, 3]
