"""The ticker plant's requests: the grammar of their answers, what each finds, and what is refused with which code."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nightdesk.messages.enums import Side
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.model import ModeChanged, OrderDepth, OrderDepthKind, Product
from nightdesk.simulator.plants import market_feed, ticker
from nightdesk.simulator.venue.venue import Venue
from nightdesk.simulator.wire import gateway
from nightdesk.simulator.wire.session import Plant
from nightdesk.simulator.wire.templates import MESSAGE_NAMES
from tests import simulator_support
from tests.simulator_support import START_NS, RawClient, running_exchange, trade
from tests.test_ticker_golden import fields

ES, EMPTY = {"symbol": "ESH4", "exchange": "CME"}, {"symbol": "", "exchange": "CME"}
ROOT = {"symbol": "ES", "exchange": "CME"}
UNDERLYING = {"underlying_symbol": "ES", "exchange": "CME"}
PRODUCTS = (
    Product("ESH4", "CME", 0.25, 50.0, 2.0),
    Product("ESM4", "CME", 0.25, 50.0, 2.0),
    Product("MNQH4", "CME", 0.25, 2.0, 0.5),
    Product("GCG4", "COMEX", 0.1, 100.0, 2.0),
)
Scenario = Callable[[RawClient, Exchange], Awaitable[None]]


def run(folder: Path, scenario: Scenario, entitlements: frozenset[str] | None = None) -> None:
    """One scenario with a client that is logged in on the ticker plant; ``entitlements`` None: all."""

    async def whole() -> None:
        async with running_exchange(folder, products=PRODUCTS) as (exchange, server):
            if entitlements is not None:
                user = msgspec.structs.replace(simulator_support.USER, entitlements=entitlements)
                exchange.users[user.name] = user
            client = await RawClient.open(folder, server)
            await client.login(Plant.TICKER)
            await scenario(client, exchange)
            await client.socket.close()

    asyncio.run(asyncio.wait_for(whole(), 20.0))


@pytest.fixture(autouse=True)
def _with_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    resting = (OrderDepth(OrderDepthKind.NEW, Side.BUY, 5000.0, None, 3, 21, "901"),)
    monkeypatch.setattr(Venue, "book_orders", lambda _self, symbol: resting if symbol == "ESH4" else ())
    monkeypatch.setattr(Venue, "has_orders", lambda _self, symbol: symbol == "ESH4")


async def whole_answer(client: RawClient, template_id: int, **request: Any) -> list[tuple[int, dict[str, Any]]]:
    """Every frame of an answer, up to the heartbeat's that was sent behind it."""
    await client.send(template_id, user_msg=["one", "two"], **request)
    await client.send(18, user_msg=["end"])
    frames = []
    while True:
        answer_id, message = await client.receive()
        if answer_id == 19:
            return frames
        frames.append((answer_id, fields(message)))


SINGLE = [
    (14, ES, 15),
    (14, ROOT, 15),
    (100, ES | {"request": 1, "update_bits": 1}, 101),
    (100, ES | {"request": 2, "update_bits": 1}, 101),
    (102, UNDERLYING, 104),
    (105, UNDERLYING | {"request": 1, "update_bits": 3}, 106),
    (113, ROOT, 114),
    (117, ES | {"request": 1}, 118),
    (121, ES, 122),
]
LISTS = [
    (102, UNDERLYING | {"expiration_date": "20240315"}, 103, 1),
    (107, {"tick_size_type": "ES"}, 108, 1),
    (109, {"search_text": "es", "pattern": 2}, 110, 2),
    (111, {}, 112, 3),
    (115, ES, 116, 1),
    (119, ES, 120, 1),
    (342, {}, 343, 2),
]


@pytest.mark.parametrize(("template_id", "request_fields", "response_id"), SINGLE)
def test_single_answer_has_data_and_code_in_one_frame(
    template_id: int, request_fields: dict[str, Any], response_id: int, tmp_path: Path
) -> None:
    """user_msg is echoed whole, rp_code says 0, and nothing promises more."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        frames = await whole_answer(client, template_id, **request_fields)
        assert [each for each, _ in frames] == [response_id]
        assert (frames[0][1]["user_msg"], frames[0][1]["rp_code"]) == (["one", "two"], ["0"])
        assert "rq_handler_rp_code" not in frames[0][1]

    run(tmp_path, scenario)


@pytest.mark.parametrize(("template_id", "request_fields", "response_id", "count"), LISTS)
def test_list_has_data_frames_and_a_bare_end(
    template_id: int, request_fields: dict[str, Any], response_id: int, count: int, tmp_path: Path
) -> None:
    """Each data frame promises more and has no rp_code; the last one has the code and the echo, and nothing else."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        exchange.publish([trade(0)])
        frames = await whole_answer(client, template_id, **request_fields)
        assert {each for each, _ in frames} == {response_id}
        assert len(frames) == count + 1
        for _, frame in frames[:-1]:
            assert (frame["user_msg"], frame["rq_handler_rp_code"]) == (["one", "two"], ["0"])
            assert "rp_code" not in frame
        assert frames[-1][1] == {"user_msg": ["one", "two"], "rp_code": ["0"]}

    run(tmp_path, scenario)


BAD_INPUT, NO_DATA, DENIED = ["6", "bad input"], ["7", "no data"], ["13", "permission denied"]
NO_SYMBOL = ["1003", "Symbol field is not received."]
NO_PATTERN = ["1062", "Search pattern field is not received."]
NONE = {"symbol": "NONE", "exchange": "CME"}
REFUSED: Sequence[tuple[int, dict[str, Any], int, list[str]]] = [
    *[(each, {}, each + 1, NO_SYMBOL) for each in (14, 100, 113, 115, 117, 119, 121)],
    *[(each, EMPTY, each + 1, NO_SYMBOL) for each in (14, 100, 115, 117, 119, 121)],
    *[(each, {"symbol": "ESH4"}, each + 1, BAD_INPUT) for each in (100, 115, 117, 119, 121)],
    *[(each, NONE, each + 1, NO_DATA) for each in (14, 100, 113, 115, 117, 119, 121)],
    (100, ROOT | {"request": 1, "update_bits": 1}, 101, NO_DATA),
    (100, ES | {"update_bits": 1}, 101, BAD_INPUT),
    (100, ES | {"request": 1}, 101, BAD_INPUT),
    (100, ES | {"request": 1, "update_bits": 0}, 101, BAD_INPUT),
    (100, ES | {"request": 1, "update_bits": 1 << 17}, 101, BAD_INPUT),
    (102, {}, 104, BAD_INPUT),
    (102, UNDERLYING | {"underlying_symbol": "CL"}, 104, NO_DATA),
    (102, UNDERLYING | {"expiration_date": "20991231"}, 104, NO_DATA),
    (105, {"exchange": "CME", "request": 1, "update_bits": 1}, 106, BAD_INPUT),
    (105, UNDERLYING | {"request": 1, "update_bits": 65536}, 106, BAD_INPUT),
    (105, UNDERLYING | {"underlying_symbol": "CL", "request": 1, "update_bits": 1}, 106, NO_DATA),
    (105, UNDERLYING | {"expiration_date": "1", "request": 1, "update_bits": 1}, 106, NO_DATA),
    (107, {}, 108, BAD_INPUT),
    (107, {"tick_size_type": "CL"}, 108, NO_DATA),
    (109, {"search_text": "ES"}, 110, NO_PATTERN),
    (109, {"search_text": "crude", "pattern": 2}, 110, NO_DATA),
    (109, {"search_text": "E", "pattern": 1}, 110, NO_DATA),
    (109, {"search_text": "ES", "pattern": 2, "instrument_type": 4}, 110, NO_DATA),
    (109, {"search_text": "ES", "pattern": 2, "exchange": "COMEX"}, 110, NO_DATA),
    (111, {"exchange": "EUREX"}, 112, NO_DATA),
    (115, ES | {"depth_price": 1.0}, 116, NO_DATA),
    (117, ES, 118, BAD_INPUT),
    (117, {"symbol": "ESM4", "exchange": "CME", "request": 1}, 118, NO_DATA),
    (342, {"user": "somebody"}, 343, DENIED),
]


def test_refusal_is_one_frame_with_the_code_and_the_echo(tmp_path: Path) -> None:
    """What is missing, not listed or not understood has its code and text, and no other field."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        for template_id, request, response_id, code in REFUSED:
            frames = await whole_answer(client, template_id, **request)
            assert frames == [(response_id, {"user_msg": ["one", "two"], "rp_code": code})], (template_id, request)

    run(tmp_path, scenario)


def test_requests_of_other_plants_are_bad_input_and_other_messages_a_reject(tmp_path: Path) -> None:
    """A request gets code 6 in its own answer's template; what is no request gets a Reject with its echo, if any."""
    ours = set(gateway.served(Plant.TICKER))

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        for template_id in sorted(set(MESSAGE_NAMES) - ours):
            is_request = MESSAGE_NAMES[template_id].startswith("Request")
            await client.send(template_id)
            answer_id, answer = await client.receive()
            assert answer_id == (template_id + 1 if is_request else 75), template_id
            assert list(answer.rp_code) == BAD_INPUT
        for unknown in (9999, 5, 0):
            await client.send_raw(b"\x00\x00\x00" + _with_template(unknown))
            answer_id, answer = await client.receive()
            assert (answer_id, list(answer.rp_code)) == (75, BAD_INPUT)

    run(tmp_path, scenario)


def _with_template(template_id: int) -> bytes:
    body = bytes.fromhex("98b64b") + (
        bytes([template_id & 0x7F | 0x80, template_id >> 7]) if template_id > 0x7F else bytes([template_id])
    )
    return bytes([len(body)]) + body


def test_every_handler_of_the_plant_is_in_these_tables() -> None:
    """A request that is served without a row here would go untested."""
    assert set(ticker.HANDLERS) | {14} == {row[0] for row in SINGLE} | {row[0] for row in LISTS}


DEPTH_REQUESTS = [
    (100, ES | {"request": 1, "update_bits": 5}, 101),
    (105, UNDERLYING | {"request": 1, "update_bits": 4}, 106),
    (115, ES, 116),
    (117, ES | {"request": 1}, 118),
]
DATA_REQUESTS = [
    (100, ES | {"request": 1, "update_bits": 1}, 101),
    (105, UNDERLYING | {"request": 1, "update_bits": 2}, 106),
    (119, ES, 120),
]


def test_user_without_depth_gets_trades_but_no_book(tmp_path: Path) -> None:
    """Code 13 for the order book and single orders, also beside bits that would be allowed; trades still flow."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        for template_id, request, response_id in DEPTH_REQUESTS:
            [(answer_id, answer)] = await whole_answer(client, template_id, **request)
            assert (answer_id, answer["rp_code"]) == (response_id, DENIED)
        exchange.publish([trade(0)])
        assert await whole_answer(client, 100, **ES, request=1, update_bits=1)
        exchange.publish([trade(1)])
        assert (await client.receive())[0] == 150

    run(tmp_path, scenario, frozenset({"market_data"}))


def test_user_without_market_data_can_still_look_contracts_up(tmp_path: Path) -> None:
    """Code 13 for everything that moves; 343 tells the permission; reference data are free."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        for template_id, request, response_id in DATA_REQUESTS:
            [(answer_id, answer)] = await whole_answer(client, template_id, **request)
            assert (answer_id, answer["rp_code"]) == (response_id, DENIED)
        permissions = await whole_answer(client, 342)
        assert [frame.get("entitlement_flag") for _, frame in permissions] == [2, 2, None]
        assert (await whole_answer(client, 14, **ES))[0][1]["rp_code"] == ["0"]

    run(tmp_path, scenario, frozenset())


def test_prices_that_one_session_watches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One price too many is refused; those before it, and one of them again, stay."""
    monkeypatch.setattr(market_feed, "WATCHED_PRICES_MAX", 2)

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        codes = [
            (await whole_answer(client, 117, **ES, request=1, depth_price=price))[0][1]["rp_code"]
            for price in (5000.0, 5000.25, 5000.5, 5000.25)
        ]
        assert codes == [["0"], ["0"], BAD_INPUT, ["0"]]

    run(tmp_path, scenario)


def test_search_finds_by_symbol_code_and_name(tmp_path: Path) -> None:
    """CONTAINS finds parts of symbol, code or name whatever the case; EQUALS needs one of them whole."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        async def found(**request: Any) -> list[str]:
            frames = await whole_answer(client, 109, **request)
            return [frame["symbol"] for _, frame in frames[:-1]]

        assert await found(search_text="e-mini", pattern=2) == ["ESH4", "ESM4", "MNQH4"]
        assert await found(search_text="es", pattern=1) == ["ESH4", "ESM4"]
        assert await found(search_text="gcg4", pattern=1, instrument_type=1) == ["GCG4"]
        assert await found(pattern=2, product_code="MNQ") == ["MNQH4"]
        frames = await whole_answer(client, 109, search_text="MNQ", pattern=2)
        del frames[0][1]["user_msg"]
        assert frames[0][1] == {
            "rq_handler_rp_code": ["0"],
            "symbol": "MNQH4",
            "exchange": "CME",
            "symbol_name": "Micro E-Mini NASDAQ-100",
            "product_code": "MNQ",
            "instrument_type": "Future",
            "expiration_date": "20240315",
        }

    run(tmp_path, scenario)


def test_product_codes_name_each_product_once(tmp_path: Path) -> None:
    """112: one frame for a product, whatever its contracts; an exchange narrows the list."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        frames = await whole_answer(client, 111, give_toi_products_only=True)
        assert [(frame.get("exchange"), frame.get("product_code")) for _, frame in frames[:-1]] == [
            ("CME", "ES"),
            ("CME", "MNQ"),
            ("COMEX", "GC"),
        ]
        first = frames[0][1]
        assert (first["symbol_name"], first["timezone_time_of_interest"]) == ("E-Mini S&P 500", "US/Central")
        assert (first["begin_time_of_interest_msm"], first["end_time_of_interest_msm"]) == (510, 915)
        assert len(await whole_answer(client, 111, exchange="COMEX")) == 2

    run(tmp_path, scenario)


def test_contracts_are_listed_by_underlying_and_expiration(tmp_path: Path) -> None:
    """104 has the expirations in parallel arrays, 103 the contracts of one of them."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        [(_, keys)] = await whole_answer(client, 102, **UNDERLYING)
        assert (keys["underlying_symbol"], keys["exchange"]) == (["ES", "ES"], ["CME", "CME"])
        assert keys["expiration_date"] == ["20240315", "20240621"]
        frames = await whole_answer(client, 102, **UNDERLYING, expiration_date="20240621")
        contract = frames[0][1]
        assert (contract["symbol"], contract["product_code"], contract["underlying_symbol"]) == ("ESM4", "ES", "ES")
        assert (contract["presence_bits"], contract["clear_bits"]) == (15999, 49536)
        assert contract["presence_bits"] | contract["clear_bits"] == 65535
        assert (contract["min_qprice_change"], contract["single_point_value"]) == (0.25, 50.0)

    run(tmp_path, scenario)


def test_subscription_by_underlying_covers_its_contracts(tmp_path: Path) -> None:
    """105: images and updates of every contract of the product, until it is ended in the same way."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        exchange.publish([trade(0)])
        frames = await whole_answer(client, 105, **UNDERLYING, request=1, update_bits=32)
        assert [(each, frame.get("symbol")) for each, frame in frames] == [(106, None), (152, "ESH4"), (152, "ESM4")]
        exchange.publish([msgspec.structs.replace(trade(1), symbol="ESM4", price=5100.0)])
        template_id, update = await client.receive()
        assert (template_id, update.symbol, update.high_price) == (152, "ESM4", 5100.0)
        assert len(exchange.market_feed.subscribers(None)) == 1
        await whole_answer(client, 105, **UNDERLYING, request=2, update_bits=32)
        assert not exchange.market_feed.subscribers(None)

    run(tmp_path, scenario)


def test_tick_size_table_has_one_row_from_zero_on(tmp_path: Path) -> None:
    """108: first price and its operator are present; the end of the range is not."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        frames = await whole_answer(client, 107, tick_size_type="GC")
        row = {"tick_size_type": "GC", "tick_size_first_price": 0.0, "tick_size_fp_operator": ">="}
        assert frames[0][1].items() >= (row | {"min_fprice_change": 10.0, "presence_bits": 5}).items()

    run(tmp_path, scenario)


def test_auxiliary_data_clear_what_is_not_known(tmp_path: Path) -> None:
    """122: an index future settles in cash on its last day; of another only that day and its size are known."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        [(_, index)] = await whole_answer(client, 121, **ES)
        assert (index["settlement_method"], index["last_trading_date"]) == ("Cash", "20240315")
        assert (index["presence_bits"], index["clear_bits"]) == (1 | 16 | 1024, 2047 - 1 - 16 - 1024)
        [(_, gold)] = await whole_answer(client, 121, symbol="GCG4", exchange="COMEX")
        assert (gold["presence_bits"], gold["last_trading_date"]) == (16 | 1024, "20240227")
        assert gold["unit_of_measure_qty"] == 100.0

    run(tmp_path, scenario)


def test_reference_data_are_those_of_a_captured_frame(tmp_path: Path) -> None:
    """15 for a root: the captured frame's fields, but for the contract, and its presence and clear bits."""

    async def scenario(client: RawClient, _exchange: Exchange) -> None:
        [(_, data)] = await whole_answer(client, 14, **ROOT)
        assert data == ROOT | {
            "user_msg": ["one", "two"],
            "rp_code": ["0"],
            "presence_bits": 425583,
            "clear_bits": 16384,
            "symbol_name": "Front Month for ES - ESH4.CME",
            "exchange_symbol": "ESH4",
            "trading_symbol": "ESH4",
            "trading_exchange": "CME",
            "product_code": "ES",
            "instrument_type": "Future",
            "expiration_date": "20240315",
            "currency": "USD",
            "is_tradable": "true",
            "ftoq_price": 0.01,
            "qtof_price": 100.0,
            "min_qprice_change": 0.25,
            "min_fprice_change": 25.0,
            "single_point_value": 50.0,
        }

    run(tmp_path, scenario)


def test_front_month_rolls_when_the_nearest_contract_has_expired(tmp_path: Path) -> None:
    """159 tells who asked for updates, once; who did not ask is told nothing."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        await whole_answer(client, 113, **ROOT)
        expired_ns = START_NS + 130 * 86_400 * 10**9
        exchange.market_feed.front_months.roll(expired_ns)
        [(_, answer)] = await whole_answer(client, 113, **ROOT, need_updates=True)
        assert (answer["trading_symbol"], answer["is_front_month_symbol"]) == ("ESH4", True)
        exchange.market_feed.front_months.roll(expired_ns)
        exchange.market_feed.front_months.roll(expired_ns)
        template_id, update = await client.receive()
        front = {"is_front_month_symbol": True, "symbol_name": "Front Month for ES - ESM4.CME"}
        assert (template_id, fields(update)) == (
            159,
            ROOT | front | {"trading_symbol": "ESM4", "trading_exchange": "CME"},
        )
        assert (await client.ask(18))[0] == 19

    run(tmp_path, scenario)


def test_subscriptions_die_with_their_session(tmp_path: Path) -> None:
    """Nothing is sent for, and nobody watches, a market whose only client has gone."""

    async def scenario(client: RawClient, exchange: Exchange) -> None:
        await whole_answer(client, 100, **ES, request=1, update_bits=4 | 1024)
        await whole_answer(client, 117, **ES, request=1)
        await whole_answer(client, 113, **ROOT, need_updates=True)
        session = next(iter(exchange.sessions))
        exchange.market_feed.forget(session)
        assert not exchange.market_feed.subscribers("ESH4")
        exchange.publish([ModeChanged("ESH4", "CME", "Closed", "", "20231115", START_NS)])
        exchange.market_feed.front_months.roll(START_NS + 130 * 86_400 * 10**9)
        assert (await client.ask(18))[0] == 19

    run(tmp_path, scenario)
