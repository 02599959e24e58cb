"""The exchange's grammar: framings, login, refusals, time-outs, and whatever bytes a client may send."""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.wire import gateway
from nightdesk.simulator.wire.certificates import load_or_create
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.templates import CLASSES, MESSAGE_NAMES, decode, encode
from tests.simulator_support import (
    ACCOUNT,
    START_NS,
    RawClient,
    ScriptedFlow,
    add_liquidity,
    quote,
    running_exchange,
    trade,
)
from tests.support import wait_until_async

TICKER, ORDER, HISTORY, PNL, REPOSITORY = 1, 2, 3, 4, 5
ES = {"symbol": "ESH4", "exchange": "CME"}


def run(coroutine: Any) -> None:
    """Run one test's coroutine."""
    asyncio.run(asyncio.wait_for(coroutine, 20.0))


def test_explicit_zeros_and_empty_strings_go_on_the_wire() -> None:
    """Presence is the original protocol's: a zero that was set is sent, a field that was not set is absent."""
    template_id, message = decode(encode(351, quantity=0, status="", price=None))
    assert template_id == 351
    assert message.HasField("quantity")
    assert message.HasField("status")
    assert not message.HasField("price")


def test_template_id_is_first_in_every_frame() -> None:
    """Captured servers write the template id first; protobuf alone would sort it behind most fields."""
    tag = bytes.fromhex("98b64b")
    assert {encode(template_id)[:3] for template_id in MESSAGE_NAMES} == {tag}


@pytest.mark.parametrize("framing", list(Framing))
def test_each_framing_is_answered_in_kind(framing: Framing, tmp_path: Path) -> None:
    """A client with and a client without the length prefix both log in and get heartbeats answered."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server, framing)
            answer = await client.login(TICKER, user_msg=["hello"])
            assert list(answer.rp_code) == ["0"]
            assert list(answer.user_msg) == ["hello"]
            template_id, beat = await client.ask(18)
            assert (template_id, list(beat.rp_code), list(beat.user_msg)) == (19, ["0"], [])
            assert beat.ssboe > 0

    run(scenario())


def test_system_info_is_answered_and_the_socket_closed(tmp_path: Path) -> None:
    """The gateway closes the socket after 17: it cannot be chained with a login."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            template_id, info = await client.ask(16, user_msg=["a"])
            assert (template_id, list(info.system_name)) == (17, ["Nightdesk Simulator"])
            assert list(info.rp_code) == ["0"]
            assert await client.closed() == 1000

    run(scenario())


@pytest.mark.parametrize(
    "changed", [{"password": "wrong"}, {"user": "nobody"}, {"system_name": "Rithmic 01"}, {"infra_type": None}]
)
def test_refused_login_carries_the_code_and_nothing_else(changed: dict[str, Any], tmp_path: Path) -> None:
    """Wrong password, unknown user, wrong system and a login to no plant all look the same."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            answer = await client.login(ORDER, user_msg=["x"], **changed)
            assert [field.name for field, _ in answer.ListFields()] == ["rp_code", "template_id"]
            assert list(answer.rp_code) == ["13", "permission denied"]
            template_id, rejected = await client.ask(300, user_msg=["y"])
            assert (template_id, list(rejected.user_msg)) == (75, ["y"])

    run(scenario())


def test_second_login_on_a_socket_is_ignored(tmp_path: Path) -> None:
    """One socket is one plant: another login gets no answer and changes nothing."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            await client.send(10, user="trader", infra_type=ORDER)
            template_id, _ = await client.ask(18)
            assert template_id == 19

    run(scenario())


def test_logout_is_answered_and_the_socket_closed(tmp_path: Path) -> None:
    """12 gets 13 with code 0."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            template_id, answer = await client.ask(12, user_msg=["bye"])
            assert (template_id, list(answer.rp_code)) == (13, ["0"])
            assert await client.closed() == 1000
            await wait_until_async(lambda: not exchange.sessions)

    run(scenario())


def test_forced_logout_carries_nothing_and_ends_the_session(tmp_path: Path) -> None:
    """77 has no reason in it; the socket is closed with code 1011 after it."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            gateway.force_logout(next(iter(exchange.sessions)))
            template_id, pushed = await client.receive()
            assert (template_id, len(pushed.ListFields())) == (77, 1)
            assert await client.closed() == 1011

    run(scenario())


def test_client_that_sends_nothing_is_dropped(tmp_path: Path) -> None:
    """The heartbeat is the client's duty: after the interval and the grace its socket ends; a beating one stays."""

    async def scenario() -> None:
        async with running_exchange(tmp_path, heartbeat_interval_s=0.5, heartbeat_grace_s=0.2) as (_, server):
            silent, beating = [await RawClient.open(tmp_path, server) for _ in range(2)]
            assert (await silent.login(TICKER)).heartbeat_interval == 0.5
            await beating.login(TICKER)
            ended = asyncio.create_task(silent.closed())
            while not ended.done():
                assert (await beating.ask(18))[0] == 19
                await asyncio.wait({ended}, timeout=0.1)
            assert ended.result() == 1006
            assert (await beating.ask(18))[0] == 19

    run(scenario())


def test_connection_that_never_logs_in_is_dropped(tmp_path: Path) -> None:
    """A connection without a login does not stay for ever."""

    async def scenario() -> None:
        async with running_exchange(tmp_path, login_deadline_s=0.2) as (_, server):
            client = await RawClient.open(tmp_path, server)
            assert await client.closed() == 1006

    run(scenario())


async def _still_alive(folder: Path, server: ExchangeServer) -> None:
    client = await RawClient.open(folder, server)
    assert list((await client.login(TICKER)).rp_code) == ["0"]
    await client.socket.close()


def test_malformed_frames_are_rejected_and_too_many_close(tmp_path: Path) -> None:
    """Bytes that are no message get a Reject; after a bounded number of them the socket is closed."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            for _ in range(gateway.MALFORMED_FRAMES_MAX):
                await client.send_raw(b"\x00\x00\x00\x09nonsense")
                template_id, rejected = await client.receive()
                assert (template_id, list(rejected.rp_code)) == (75, ["6", "bad input"])
            await client.send_raw(b"")
            assert await client.closed() == 1008
            await _still_alive(tmp_path, server)

    run(scenario())


def test_text_frame_is_rejected_and_the_socket_closed(tmp_path: Path) -> None:
    """R|Protocol has binary frames only."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.send_raw("hello")
            assert await client.closed() == 1003
            await _still_alive(tmp_path, server)

    run(scenario())


def test_oversized_frame_closes_only_its_own_socket(tmp_path: Path) -> None:
    """More than 1 MiB in a frame is the end of that connection."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.send_raw(bytes((1 << 20) + 1))
            assert await client.closed() == 1009
            await _still_alive(tmp_path, server)

    run(scenario())


def _random_request(chance: random.Random, template_id: int) -> bytes:
    fields: dict[str, Any] = {}
    for field in CLASSES[template_id].DESCRIPTOR.fields:
        if field.name == "template_id" or chance.random() < 0.3:
            continue
        if field.enum_type is not None:
            value: Any = chance.choice(field.enum_type.values).number
        elif field.type == field.TYPE_STRING:
            value = chance.choice(
                ["", "ESH4", "CME", "SIM-1", "ssboe", "simulator", "Nightdesk-FCM", "\U0001f600", "7"]
            )
            value = [value] if field.is_repeated else value
        elif field.type == field.TYPE_BYTES:
            value = chance.randbytes(3)
        elif field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
            value = chance.choice([0.0, -1.0, 5000.0, 1e300, float("nan"), float("inf")])
        elif field.type == field.TYPE_BOOL:
            value = chance.random() < 0.5
        else:
            low = 0 if field.type in (field.TYPE_UINT32, field.TYPE_UINT64) else -(1 << 31)
            value = chance.choice([0, 1, 3, 20240101, (1 << 31) - 1, max(low, -1), low])
        if not (field.is_repeated and not isinstance(value, list)):
            fields[field.name] = value
    return encode(template_id, **(fields | (ACCOUNT if "account_id" in fields and chance.random() < 0.8 else {})))


@pytest.mark.parametrize("infra_type", [TICKER, ORDER, HISTORY, PNL, REPOSITORY])
def test_any_bytes_get_an_answer_or_a_close(infra_type: int, tmp_path: Path) -> None:
    """Requests of every template with arbitrary fields, and damaged ones, never end the server or hang a client."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)

    async def scenario(exchange: Exchange, server: ExchangeServer) -> None:
        add_liquidity(exchange.venue)
        client = await RawClient.open(tmp_path, server, Framing.BARE)
        await client.login(infra_type)
        for template_id in [each for each in sorted(MESSAGE_NAMES) if each not in (12, 16)] * 5:
            frame = bytearray(_random_request(chance, template_id))
            if chance.random() < 0.2:
                frame[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
            await client.send_raw(bytes(frame))
            await client.send(18, user_msg=["end"])
            while client.socket.state is State.OPEN:
                try:
                    answer_id, answer = await client.receive()
                except ConnectionClosed:
                    break
                if answer_id == 19 and list(answer.user_msg) == ["end"]:
                    break
            if client.socket.state is not State.OPEN:
                assert client.socket.close_code in (1000, 1008), f"template {template_id}, seed {seed}"
                client = await RawClient.open(tmp_path, server, Framing.BARE)
                await client.login(infra_type)

    async def whole() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            await scenario(exchange, server)
            await _still_alive(tmp_path, server)

    run(whole())


def test_certificates_survive_a_restart_and_are_private(tmp_path: Path) -> None:
    """The authority stays the same, so that a client's CA file stays good; nobody else can read the keys."""
    first = load_or_create(str(tmp_path)).authority_pem
    assert load_or_create(str(tmp_path)).authority_pem == first
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_subscriber_gets_images_then_every_update_once(tmp_path: Path) -> None:
    """As fast as the client takes them, all events of the script arrive, in order, none twice."""
    count = 2000
    events = [quote(n, ask=n % 3 == 0) if n % 2 else trade(n) for n in range(count)]

    async def scenario() -> None:
        async with running_exchange(tmp_path, ScriptedFlow(events), speed=0.0) as (exchange, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            assert (await client.ask(100, **ES, request=1, update_bits=1))[0] == 101
            assert (await client.ask(100, **ES, request=1, update_bits=2))[0] == 101
            frames = [await client.receive() for _ in range(count)]
            assert [template_id for template_id, _ in frames] == [151 if n % 2 else 150 for n in range(count)]
            assert [f.usecs for _, f in frames] == [e.ts_ns % 10**9 // 1000 for e in events]
            assert exchange.drive.ended

    run(scenario())


def test_quote_update_carries_only_the_side_that_changed(tmp_path: Path) -> None:
    """A one-sided 151 has one side's presence bit and fields, and the lean price, which depends on both."""

    async def scenario() -> None:
        flow = ScriptedFlow([quote(0, ask=False), quote(1, bid=False), trade(2)])
        async with running_exchange(tmp_path, flow, speed=0.0) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            await client.ask(100, **ES, request=1, update_bits=3)
            _, bid = await client.receive()
            assert (bid.presence_bits, bid.HasField("bid_price"), bid.HasField("ask_price")) == (5, True, False)
            _, ask = await client.receive()
            assert (ask.presence_bits, ask.HasField("bid_price"), ask.HasField("ask_price")) == (6, False, True)
            _, last = await client.receive()
            assert (last.presence_bits, last.aggressor, last.ssboe) == (25, 1, START_NS // 10**9)
            assert not last.HasField("is_snapshot")

    run(scenario())


def test_late_subscriber_gets_the_images_first(tmp_path: Path) -> None:
    """After 101 come one 150 and one 151 with is_snapshot and both sides; an unsubscribed one gets nothing more."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (exchange, server):
            add_liquidity(exchange.venue)
            order = await RawClient.open(tmp_path, server)
            await order.login(ORDER)
            await order.send(312, **ACCOUNT, **ES, **MARKET_BUY)
            assert (await order.receive())[0] == 313
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            await client.send(100, **ES, request=1, update_bits=3)
            frames = [await client.receive() for _ in range(3)]
            assert [template_id for template_id, _ in frames] == [101, 150, 151]
            assert [frame.is_snapshot for _, frame in frames[1:]] == [True, True]
            assert frames[2][1].presence_bits == 7
            assert (await client.ask(100, **ES, request=2, update_bits=3))[0] == 101
            await order.send(312, **ACCOUNT, **ES, **MARKET_BUY)
            assert (await client.ask(18))[0] == 19

    run(scenario())


MARKET_BUY = {"quantity": 1, "transaction_type": 1, "duration": 1, "price_type": 2, "trade_route": "simulator"}


def test_unknown_symbols_are_refused(tmp_path: Path) -> None:
    """101, 15 and 114 refuse what is not listed with code 7; a missing symbol has a code of its own."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            for template_id in (100, 14, 113):
                _, refused = await client.ask(template_id, symbol="NONE", exchange="CME")
                assert list(refused.rp_code) == ["7", "no data"]
            _, refused = await client.ask(100, request=1, update_bits=3)
            assert refused.rp_code[0] == "1003"

    run(scenario())


def test_front_month_and_reference_data_name_the_configured_contract(tmp_path: Path) -> None:
    """A root leads to the first contract that begins so; the tick size and the point value are the settings'."""

    async def scenario() -> None:
        async with running_exchange(tmp_path) as (_, server):
            client = await RawClient.open(tmp_path, server)
            await client.login(TICKER)
            _, front = await client.ask(113, symbol="ES", exchange="CME")
            assert (front.trading_symbol, front.symbol_name) == ("ESH4", "Front Month for ES - ESH4.CME")
            _, data = await client.ask(14, **ES)
            assert (data.symbol_name, data.min_qprice_change, data.single_point_value) == ("E-Mini S&P 500", 0.25, 50.0)
            assert (data.product_code, data.expiration_date) == ("ES", "20240315")

    run(scenario())
