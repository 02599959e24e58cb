"""Market data field by field: what each message of the ticker plant carries, and what it leaves out."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.messages.enums import AggressorSide, Side
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import (
    BookChanged,
    LevelDepth,
    ModeChanged,
    OrderDepth,
    OrderDepthKind,
    PositionState,
    Product,
    Quoted,
    Traded,
)
from nightdesk.simulator.venue.venue import Venue
from tests.simulator_support import START_NS, RawClient, running_exchange

TICKER = 1
START_S = START_NS // 10**9
ES = {"symbol": "ESH4", "exchange": "CME"}
STAMP = {"ssboe": START_S, "usecs": 1234}
SOURCE = {"source_ssboe": START_S, "source_usecs": 1234, "source_nsecs": 1_234_567}
NOW_NS = START_NS + 1_234_567
LIMITED = Product("ESH4", "CME", 0.25, 50.0, 2.0, margin=12_000.0, price_limit_percent=5.0)
TRADE = Traded("ESH4", "CME", 5000.25, 3, AggressorSide.SELL, NOW_NS, volume=10, vwap=5000.1)
QUOTE = Quoted("ESH4", "CME", 5000.0, 30, 5, 5000.25, 10, 2, True, True, NOW_NS)

Scenario = Callable[[RawClient, Exchange], Awaitable[None]]


def fields(message: Any) -> dict[str, Any]:
    """What is on the wire of a message, explicit zeros included, without its template id."""
    found = {field.name: value for field, value in message.ListFields() if field.name != "template_id"}
    return {name: value if isinstance(value, (str, int, float)) else list(value) for name, value in found.items()}


def run(folder: Path, scenario: Scenario, product: Product = LIMITED) -> None:
    """One scenario with a client that is logged in on the ticker plant of an exchange where nothing moves by itself."""

    async def whole() -> None:
        async with running_exchange(folder, products=(product,)) as (exchange, server):
            client = await RawClient.open(folder, server)
            await client.login(TICKER)
            await scenario(client, exchange)
            await client.socket.close()

    asyncio.run(asyncio.wait_for(whole(), 20.0))


async def subscribed(client: RawClient, update_bits: int, images: int) -> list[tuple[int, dict[str, Any]]]:
    """Subscribe; the images."""
    template_id, answer = await client.ask(100, **ES, request=1, update_bits=update_bits, user_msg=["m"])
    assert (template_id, fields(answer)) == (101, {"user_msg": ["m"], "rp_code": ["0"]})
    return [(each, fields(message)) for each, message in [await client.receive() for _ in range(images)]]


async def pushed(client: RawClient, count: int = 1) -> list[tuple[int, dict[str, Any]]]:
    """The next frames, and nothing after them."""
    frames = [await client.receive() for _ in range(count)]
    assert (await client.ask(18))[0] == 19
    return [(template_id, fields(message)) for template_id, message in frames]


def test_last_trade(tmp_path: Path) -> None:
    """150: presence of trade, volume and vwap; without a settlement there is no net change; no field is_snapshot."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        assert await subscribed(client, 1, 0) == []
        exchange.publish([TRADE])
        trade = {"presence_bits": 25, "clear_bits": 0, "trade_price": 5000.25, "trade_size": 3, "aggressor": 2}
        assert await pushed(client) == [(150, ES | trade | {"volume": 10, "vwap": 5000.1} | STAMP | SOURCE)]

    run(tmp_path, scenario)


def test_last_trade_with_a_settlement_has_its_change(tmp_path: Path) -> None:
    """Once a settlement is known, 150 carries net and percent change as well."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        exchange.market_feed.statistics("ESH4").settle(4000.0, "20231113")
        await subscribed(client, 1, 0)
        exchange.publish([Traded("ESH4", "CME", 5000.0, 1, AggressorSide.NONE, NOW_NS, volume=1, vwap=5000.0)])
        [(_, trade)] = await pushed(client)
        assert (trade["presence_bits"], trade["net_change"], trade["percent_change"]) == (31, 1000.0, 25.0)
        assert "aggressor" not in trade

    run(tmp_path, scenario)


def test_best_bid_offer_and_its_image(tmp_path: Path) -> None:
    """151: a one-sided update has that side and the lean price; an emptied side is cleared, not sent as zero."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        await subscribed(client, 2, 0)
        bid = {"bid_price": 5000.0, "bid_size": 30, "bid_orders": 5}
        exchange.publish([Quoted("ESH4", "CME", 5000.0, 30, 5, 5000.25, 10, 2, True, False, NOW_NS)])
        exchange.publish([Quoted("ESH4", "CME", 5000.0, 30, 5, 5000.25, 0, 0, False, True, NOW_NS)])
        one, other = await pushed(client, 2)
        assert one == (151, ES | {"presence_bits": 5, "clear_bits": 0, "lean_price": 5000.1875} | bid | STAMP)
        assert other == (151, ES | {"presence_bits": 0, "clear_bits": 6} | STAMP)

    run(tmp_path, scenario)


def test_trade_statistics_carry_what_changed_and_was_asked_for(tmp_path: Path) -> None:
    """152: OPEN alone brings the open alone; HIGH_LOW the extremes, each only when it moves."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        images = await subscribed(client, 8 | 32, 1)
        assert images[0][0] == 152
        assert (images[0][1]["presence_bits"], images[0][1]["clear_bits"], images[0][1]["is_snapshot"]) == (0, 7, True)
        exchange.publish([TRADE])
        first = {"presence_bits": 7, "clear_bits": 0, "open_price": 5000.25, "high_price": 5000.25}
        assert await pushed(client) == [(152, ES | first | {"low_price": 5000.25} | STAMP)]
        exchange.publish([TRADE, Traded("ESH4", "CME", 5001.0, 1, AggressorSide.BUY, NOW_NS, volume=11, vwap=5000.2)])
        high = {"presence_bits": 2, "clear_bits": 0, "high_price": 5001.0}
        assert await pushed(client) == [(152, ES | high | STAMP)]
        assert (await client.ask(100, **ES, request=2, update_bits=32))[0] == 101
        exchange.publish([Traded("ESH4", "CME", 5002.0, 1, AggressorSide.BUY, NOW_NS, volume=12, vwap=5000.2)])
        assert await pushed(client, 0) == []

    run(tmp_path, scenario)


def test_quote_statistics(tmp_path: Path) -> None:
    """153: highest bid and lowest offer of the session."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        assert (await subscribed(client, 64, 1))[0][1]["clear_bits"] == 3
        exchange.publish([QUOTE, QUOTE])
        extremes = {"presence_bits": 3, "clear_bits": 0, "highest_bid_price": 5000.0, "lowest_ask_price": 5000.25}
        assert await pushed(client) == [(153, ES | extremes | STAMP)]

    run(tmp_path, scenario)


def test_session_change_is_told_in_every_statistic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """157 with another trade date: extremes are cleared, close and settlement are there, open interest is told."""
    monkeypatch.setattr(Venue, "price_limits", lambda _self, _symbol: (4750.25, 5250.25))

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        exchange.publish([TRADE, QUOTE])
        bits = 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024 | 2048 | 8192 | 16384 | 32768 | 65536
        images = dict(await subscribed(client, bits, 7))
        assert list(images) == [152, 153, 154, 155, 157, 158, 163]
        assert {images[each]["is_snapshot"] for each in (152, 153, 154, 155, 158, 163)} == {True}
        assert (images[154]["opening_indicator"], images[154]["clear_bits"]) == (5000.25, 2)
        assert (images[155]["presence_bits"], images[155]["clear_bits"]) == (0, 15)
        assert (images[163]["high_price_limit"], images[163]["low_price_limit"]) == (5250.25, 4750.25)
        mode = {"market_mode": "Open", "halt_reason": "Group Schedule", "trade_date": "20231114"}
        assert images[157].items() >= (ES | mode).items()

        exchange.publish([ModeChanged("ESH4", "CME", "Closed", "Group Schedule", "20231114", NOW_NS)])
        closed = await pushed(client, 3)
        assert [each for each, _ in closed] == [157, 154, 155]
        assert closed[0][1] == ES | mode | {"market_mode": "Closed"} | STAMP
        assert closed[1][1] == ES | {"presence_bits": 2, "clear_bits": 0, "closing_indicator": 5000.25} | STAMP
        projected = {"presence_bits": 4, "clear_bits": 0, "projected_settlement_price": 5000.25}
        assert closed[2][1] == ES | projected | STAMP

        exchange.publish([ModeChanged("ESH4", "CME", "Open", "Group Schedule", "20231115", NOW_NS)])
        begun = dict(await pushed(client, 6))
        end_of_day = {
            "presence_bits": 11,
            "clear_bits": 4,
            "close_price": 5000.25,
            "close_date": "20231114",
            "settlement_price": 5000.25,
            "settlement_date": "20231114",
            "settlement_price_type": "final",
            "adjusted_close_price": 5000.25,
        }
        assert begun[155] == ES | end_of_day | STAMP
        assert {each: begun[each]["clear_bits"] for each in (152, 153, 154)} == {152: 7, 153: 3, 154: 3}
        assert begun[158] == ES | {"should_clear": False, "open_interest": 0} | STAMP

    run(tmp_path, scenario)


def test_open_interest_counts_the_anonymous_market_as_one_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two accounts, 5 long and 2 short: the rest of the market is short 3, so five contracts are open."""
    nets = {"SIM-1": 5, "SIM-2": -2}
    monkeypatch.setattr(Venue, "accounts", lambda _self: tuple(nets))
    monkeypatch.setattr(Venue, "positions", lambda _self, account_id: [_position(account_id, nets[account_id])])

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        [(template_id, image)] = await subscribed(client, 2048, 1)
        assert (template_id, image["open_interest"], image["is_snapshot"]) == (158, 5, True)

    run(tmp_path, scenario)


def _position(account_id: str, net: int) -> PositionState:
    return PositionState(account_id, "ESH4", "CME", net, 0.0, 0, 0, 0.0, 0.0, 0.0, 0, 0)


def test_margin_rate_and_price_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """162 and 163: the contract's own terms; the limits follow the first print of the session."""
    limits_now: list[tuple[float, float] | None] = [None]
    monkeypatch.setattr(Venue, "price_limits", lambda _self, _symbol: limits_now[-1])

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        images = await subscribed(client, 4096 | 8192 | 16384, 2)
        assert images[0] == (162, ES | {"is_snapshot": True, "margin_rate": 12_000.0})
        assert (images[1][0], images[1][1]["clear_bits"]) == (163, 3)
        limits_now.append((4750.25, 5250.25))
        exchange.publish([TRADE])
        limits = {"presence_bits": 3, "clear_bits": 0, "high_price_limit": 5250.25, "low_price_limit": 4750.25}
        assert await pushed(client) == [(163, ES | limits | STAMP)]

    run(tmp_path, scenario)


def test_contract_without_margin_has_no_margin_rate(tmp_path: Path) -> None:
    """As seen of live contracts: no 162 at all; the image of 163 clears both limits."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        [(template_id, image)] = await subscribed(client, 4096 | 8192, 1)
        assert (template_id, image["presence_bits"], image["clear_bits"]) == (163, 0, 1)
        exchange.publish([TRADE])
        assert await pushed(client, 0) == []

    run(tmp_path, scenario, Product("ESH4", "CME", 0.25, 50.0, 2.0))


def _level(side: Side, price: float, size: int, orders: int = 1) -> LevelDepth:
    return LevelDepth(side, price, size, orders)


def _book(*levels: LevelDepth, orders: tuple[OrderDepth, ...] = (), sequence: int = 7) -> BookChanged:
    return BookChanged("ESH4", "CME", sequence, orders, levels, NOW_NS)


BOOK = (_level(Side.BUY, 5000.0, 30, 5), _level(Side.BUY, 4999.75, 12, 2), _level(Side.SELL, 5000.25, 8, 3))


@pytest.fixture
def with_book(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """A venue whose book is ``BOOK``; who watched it when."""
    watched: list[tuple[str, bool]] = []
    monkeypatch.setattr(Venue, "book", lambda _self, _symbol: BOOK)
    monkeypatch.setattr(Venue, "has_orders", lambda _self, _symbol: True)
    monkeypatch.setattr(Venue, "watch_depth", lambda _self, symbol, on: watched.append((symbol, on)))
    return watched


def test_order_book_image_then_single_updates(tmp_path: Path, with_book: list[tuple[str, bool]]) -> None:
    """156: the image has parallel arrays by side; an update has the changed levels, size 0 where one has gone."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        [(template_id, image)] = await subscribed(client, 4, 1)
        assert template_id == 156
        bids = {"bid_price": [5000.0, 4999.75], "bid_size": [30, 12], "bid_orders": [5, 2], "impl_bid_size": [0, 0]}
        asks = {"ask_price": [5000.25], "ask_size": [8], "ask_orders": [3], "impl_ask_size": [0]}
        head = {"presence_bits": 3, "update_type": 3, "ssboe": image["ssboe"], "usecs": image["usecs"]}
        assert image == ES | head | bids | asks
        exchange.publish([_book(_level(Side.SELL, 5000.25, 0, 0), _level(Side.SELL, 5000.5, 4, 1))])
        update = {"ask_price": [5000.25, 5000.5], "ask_size": [0, 4], "ask_orders": [0, 1], "impl_ask_size": [0, 0]}
        assert await pushed(client) == [(156, ES | {"presence_bits": 2, "update_type": 7} | update | STAMP)]
        assert with_book == [("ESH4", True)]
        await client.ask(100, **ES, request=2, update_bits=4)
        assert with_book == [("ESH4", True), ("ESH4", False)]

    run(tmp_path, scenario)


def test_large_event_is_a_batch_and_a_lost_book_is_cleared(tmp_path: Path, with_book: list[tuple[str, bool]]) -> None:
    """156: more than eight levels go as BEGIN, MIDDLE, END; when nothing is left, CLEAR_ORDER_BOOK without levels."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        await subscribed(client, 4, 1)
        deep = [_level(Side.BUY, 4999.75 - n / 4, 10 + n) for n in range(9)]
        wide = [_level(Side.SELL, 5000.25 + n / 4, 10 + n) for n in range(10)]
        exchange.publish([_book(*deep, *wide)])
        frames = await pushed(client, 3)
        assert [frame["update_type"] for _, frame in frames] == [4, 5, 6]
        assert sum(len(frame.get("bid_price", [])) for _, frame in frames) == 9
        assert sum(len(frame.get("ask_price", [])) for _, frame in frames) == 10
        gone = [_level(each.side, each.price, 0, 0) for each in (BOOK[0], *deep, *wide)]
        exchange.publish([_book(*gone)])
        assert await pushed(client) == [(156, ES | {"presence_bits": 0, "update_type": 1} | STAMP)]

    run(tmp_path, scenario)


def test_order_book_of_a_market_without_orders_is_its_best_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """156: nothing known is NO_BOOK; then the quote is the book, and a new one takes the place of the last."""
    monkeypatch.setattr(Venue, "has_orders", lambda _self, _symbol: False)
    below = msgspec.structs.replace(QUOTE, bid_price=4999.75, bid_size=20, bid_orders=4)
    one_sided = msgspec.structs.replace(below, ask_size=0, ask_orders=0)

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        [(_, image)] = await subscribed(client, 4, 1)
        assert (image["update_type"], image["presence_bits"]) == (2, 0)
        exchange.publish([QUOTE, below, one_sided])
        (_, first), (_, second), (_, third) = await pushed(client, 3)
        assert (first["update_type"], first["bid_price"], first["ask_price"]) == (7, [5000.0], [5000.25])
        assert (second["bid_price"], second["bid_size"], "ask_price" in second) == ([5000.0, 4999.75], [0, 20], False)
        assert (third["ask_price"], third["ask_size"], "bid_price" in third) == ([5000.25], [0], False)

    run(tmp_path, scenario)


def test_sums_beyond_the_fields_width_are_shown_as_the_most_it_holds(tmp_path: Path) -> None:
    """120 and 156: sizes are 32 bits wide; a tape's may add up to more at one price."""
    most = 2**31 - 1

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        exchange.publish([msgspec.structs.replace(TRADE, quantity=most)] * 2)
        [(_, volumes), _] = await client.ask_all(119, **ES)
        assert list(volumes.volume_at_price) == [most]
        await subscribed(client, 4, 1)
        exchange.publish([_book(_level(Side.BUY, 5000.0, 2 * most, 2))])
        [(_, book)] = await pushed(client)
        assert book["bid_size"] == [most]

    run(tmp_path, scenario)


def _order(kind: OrderDepthKind, price: float, size: int, number: int, before: float | None = None) -> OrderDepth:
    return OrderDepth(kind, Side.BUY, price, before, size, 1000 + number, str(number))


ORDERS = (
    _order(OrderDepthKind.NEW, 5000.0, 3, 11),
    _order(OrderDepthKind.CHANGE, 4999.5, 2, 12, before=5000.0),
    _order(OrderDepthKind.DELETE, 4999.75, 1, 13),
)


def test_depth_by_order_updates(tmp_path: Path, with_book: list[tuple[str, bool]]) -> None:
    """160: parallel arrays of one event, then 161 with the same sequence number; who watches a price gets its part."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        assert list((await client.ask(117, **ES, request=1))[1].rp_code) == ["0"]
        exchange.publish([_book(orders=ORDERS, sequence=8)])
        update = {
            "sequence_number": 8,
            "update_type": [1, 2, 3],
            "transaction_type": [1, 1, 1],
            "depth_price": [5000.0, 4999.5, 4999.75],
            "prev_depth_price": [0.0, 5000.0, 0.0],
            "prev_depth_price_flag": [False, True, False],
            "depth_size": [3, 2, 1],
            "depth_order_priority": [1011, 1012, 1013],
            "exchange_order_id": ["11", "12", "13"],
        }
        end = {"symbol": ["ESH4"], "exchange": ["CME"], "sequence_number": 8}
        assert await pushed(client, 2) == [(160, ES | update | STAMP | SOURCE), (161, end | STAMP)]
        await client.ask(117, **ES, request=2)
        await client.ask(117, **ES, request=1, depth_price=5000.0)
        exchange.publish([_book(orders=ORDERS, sequence=9), _book(orders=ORDERS[2:], sequence=10)])
        [(_, part), (_, _)] = await pushed(client, 2)
        assert (part["sequence_number"], part["exchange_order_id"]) == (9, ["11", "12"])
        await client.ask(117, **ES, request=2, depth_price=5000.0)
        assert with_book == [("ESH4", True), ("ESH4", False)] * 2

    run(tmp_path, scenario)


def test_large_event_of_orders_shares_its_sequence_number(tmp_path: Path, with_book: list[tuple[str, bool]]) -> None:
    """160: five hundred orders a frame; the end of the event comes once."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        await client.ask(117, **ES, request=1)
        many = tuple(_order(OrderDepthKind.NEW, 5000.0, 1, n) for n in range(1001))
        exchange.publish([_book(orders=many, sequence=5)])
        frames = await pushed(client, 4)
        assert [each for each, _ in frames] == [160, 160, 160, 161]
        assert [len(frame.get("depth_size", [])) for _, frame in frames] == [500, 500, 1, 0]
        assert {frame["sequence_number"] for _, frame in frames} == {5}

    run(tmp_path, scenario)


def test_depth_by_order_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_book: list[tuple[str, bool]]
) -> None:
    """116: a frame for each level in the book's order, then a bare one; a price asks for that level alone."""
    resting = (
        OrderDepth(OrderDepthKind.NEW, Side.BUY, 5000.0, None, 3, 21, "901"),
        OrderDepth(OrderDepthKind.NEW, Side.BUY, 5000.0, None, 1, 22, "902"),
        OrderDepth(OrderDepthKind.NEW, Side.SELL, 5000.25, None, 2, 23, "903"),
    )
    monkeypatch.setattr(Venue, "book_orders", lambda _self, _symbol: resting)
    monkeypatch.setattr(Venue, "book_sequence", lambda _self, _symbol: 77)

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        frames = [(each, fields(message)) for each, message in await client.ask_all(115, **ES)]
        grammar = {"user_msg": ["all"], "rq_handler_rp_code": ["0"]}
        bid = {
            "sequence_number": 77,
            "depth_side": 1,
            "depth_price": 5000.0,
            "depth_size": [3, 1],
            "depth_order_priority": [21, 22],
            "exchange_order_id": ["901", "902"],
        }
        assert frames[0] == (116, grammar | ES | bid)
        assert (frames[1][1]["depth_side"], frames[1][1]["depth_price"]) == (2, 5000.25)
        assert frames[2:] == [(116, {"user_msg": ["all"], "rp_code": ["0"]})]
        level = await client.ask_all(115, **ES, depth_price=5000.25)
        assert [list(message.exchange_order_id) for _, message in level] == [["903"], []]
        nothing = await client.ask_all(115, **ES, depth_price=1.0)
        assert [list(message.rp_code) for _, message in nothing] == [["7", "no data"]]

    run(tmp_path, scenario)


def test_volume_at_price(tmp_path: Path) -> None:
    """120: parallel arrays from the lowest price up, then a bare frame; before the first print there is no data."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        assert list((await client.ask(119, **ES))[1].rp_code) == ["7", "no data"]
        exchange.publish([TRADE, Traded("ESH4", "CME", 5000.0, 2, AggressorSide.BUY, NOW_NS, 12, 5000.0), TRADE])
        (_, data), (_, last) = await client.ask_all(119, **ES)
        assert fields(data).items() >= (ES | {"trade_price": [5000.0, 5000.25], "volume_at_price": [2, 6]}).items()
        assert fields(last) == {"user_msg": ["all"], "rp_code": ["0"]}

    run(tmp_path, scenario)
