"""Faults on one raw connection: frame by frame what leaves and what arrives, and that healing leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from websockets.exceptions import ConnectionClosed

from nightdesk.clocks import SystemClock
from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.faults.script import fault_of_command
from nightdesk.simulator.wire.framing import Framing
from nightdesk.simulator.wire.peek import head_of, template_of
from nightdesk.simulator.wire.server import ExchangeServer
from nightdesk.simulator.wire.session import TRADE_ROUTE
from nightdesk.simulator.wire.templates import MESSAGE_NAMES, encode
from nightdesk.simulator.wire.wire_log import WireLog
from nightdesk.simulator.wire.wire_log_reader import WireLogReader
from tests.simulator_support import ACCOUNT, FIRM, RawClient, add_liquidity, running_exchange
from tests.support import wait_until_async

ORDER, PNL = 2, 4
BUY = {
    "symbol": "ESH4", "exchange": "CME", "quantity": 1, "transaction_type": 1, "duration": 1, "price_type": 2,
    "trade_route": TRADE_ROUTE, "manual_or_auto": 2,
}  # fmt: skip

Scenario = Callable[[Exchange, ExchangeServer, RawClient], Awaitable[None]]


def play(folder: Path, scenario: Scenario, framing: Framing = Framing.PREFIXED) -> WireLogReader:
    """Run a scenario with a client that is logged in to the order plant and subscribed; the wire log."""

    async def run() -> None:
        async with running_exchange(folder) as (exchange, server):
            exchange.wire_log = WireLog(
                folder, limit_bytes=1 << 24, clock=SystemClock(), logger=structlog.get_logger(), secrets=["secret"]
            )
            add_liquidity(exchange.venue)
            client = await RawClient.open(folder, server, framing)
            await client.login(ORDER)
            await client.ask(308, **ACCOUNT)
            await scenario(exchange, server, client)
            await client.socket.close()
            await wait_until_async(lambda: all(each.outlet.number > 1 for each in exchange.sessions))
            exchange.injector.heal()
        exchange.wire_log.close()

    asyncio.run(run())
    return WireLogReader(folder)


def inject(exchange: Exchange, fault: str, **parameters: Any) -> int:
    return exchange.injector.inject(fault_of_command({"fault": fault, **parameters}), "test")


async def heartbeat(client: RawClient) -> int:
    template_id, _ = await client.ask(18)
    return template_id


async def frames_of_an_order(client: RawClient) -> list[tuple[int, Any]]:
    """Buy one; everything until a heartbeat's answer."""
    await client.send(312, user_msg=["o"], **ACCOUNT, **BUY)
    await client.send(18)
    frames = [await client.receive()]
    while frames[-1][0] != 19:
        frames.append(await client.receive())
    return frames[:-1]


@pytest.mark.parametrize("framing", Framing)
def test_without_a_fault_nobody_looks_at_a_frame(framing: Framing, tmp_path: Path) -> None:
    """No connection has a chain; after the last fault was healed it has none again."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        (session,) = exchange.sessions
        assert session.outlet.faults is None
        number = inject(exchange, "delay", latency_s=0.01)
        assert session.outlet.faults is not None
        assert await heartbeat(client) == 19
        exchange.injector.heal(number)
        assert session.outlet.faults is None
        assert await heartbeat(client) == 19

    play(tmp_path, scenario, framing)


def test_only_the_target_is_struck(tmp_path: Path) -> None:
    """By plant, by user and by connection; a connection that logs in later is struck, too."""

    async def scenario(exchange: Exchange, server: ExchangeServer, client: RawClient) -> None:
        for target in ({"plant": "pnl"}, {"user": "nobody"}, {"connection": 99}):
            inject(exchange, "mute", templates=[18], **target)
        assert await heartbeat(client) == 19
        other = await RawClient.open(tmp_path, server)
        await other.login(PNL)
        await other.send(18)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.receive(), 0.2)
        inject(exchange, "drop", plant="pnl")
        assert await other.closed() == 1006
        assert await heartbeat(client) == 19

    log = play(tmp_path, scenario)
    assert {each["act"] for each in log.faults()} >= {"begins", "not sent", "healed"}
    assert [each.reason for each in log.connections().values()][1] == "fault: drop"


def test_reset_is_a_reset(tmp_path: Path) -> None:
    """The client's socket meets ECONNRESET or a bare end, never a close frame."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        inject(exchange, "rst")
        with pytest.raises(ConnectionClosed):
            await client.receive()
        assert client.socket.close_code == 1006

    assert WireLogReader(tmp_path).connections
    log = play(tmp_path, scenario)
    assert log.connections()[1].reason == "fault: rst"


def test_half_open_connection_gets_everything_late_when_it_is_healed(tmp_path: Path) -> None:
    """Requests and answers of the time between are not lost."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        number = inject(exchange, "half_open")
        for _ in range(3):
            await client.send(18)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.2)
        exchange.injector.heal(number)
        assert [(await client.receive())[0] for _ in range(3)] == [19, 19, 19]

    play(tmp_path, scenario)


def test_a_silent_client_behind_a_cut_line_is_given_up_without_a_word(tmp_path: Path) -> None:
    """The exchange forgets the session; the client sees the end only when the line is whole again."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        (session,) = exchange.sessions
        number = inject(exchange, "half_open")
        session.outlet.abort("the client is silent")
        exchange.forget(session)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.2)
        exchange.injector.heal(number)
        assert await client.closed() == 1006

    assert play(tmp_path, scenario).connections()[1].reason == "the client is silent"


@pytest.mark.parametrize(("direction", "arrives"), [("in", False), ("out", True)])
def test_a_line_may_be_cut_in_one_direction(direction: str, arrives: bool, tmp_path: Path) -> None:
    """Cut on the way out, the exchange still hears the client."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        (session,) = exchange.sessions
        before = session.requests
        inject(exchange, "half_open", direction=direction)
        await client.send(18)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.2)
        assert (session.requests > before) == arrives
        exchange.injector.heal()
        assert (await client.receive())[0] == 19

    play(tmp_path, scenario)


def test_delay_keeps_the_order_and_what_is_held_leaves_before_a_close(tmp_path: Path) -> None:
    """Answers come late and in order; a logout's answer comes although the socket is closed after it."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        loop = asyncio.get_running_loop()
        inject(exchange, "delay", latency_s=0.2, jitter_s=0.1)
        began_s = loop.time()
        frames = await frames_of_an_order(client)
        assert loop.time() - began_s >= 0.2
        assert [template_id for template_id, _ in frames][:2] == [313, 313]
        assert frames[-1][1].status == "complete"
        inject(exchange, "delay", latency_s=30)
        assert (await client.ask(12))[0] == 13
        assert await client.closed() == 1000

    play(tmp_path, scenario)


def test_trickle_brings_bytes_one_by_one_and_pings_are_not_mixed_in(tmp_path: Path) -> None:
    """The client still understands every frame, though it pings all the time."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        inject(exchange, "trickle", bytes_per_s=2_000)
        pongs = [await client.socket.ping() for _ in range(5)]
        frames = await frames_of_an_order(client)
        assert frames[-1][1].status == "complete"
        for pong in pongs:
            await asyncio.wait_for(pong, 5)

    play(tmp_path, scenario)


def test_orders_that_never_arrived_and_answers_that_never_came_are_told_apart(tmp_path: Path) -> None:
    """Lost: the venue has no order. Muted: it has one, and its notifications come."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        number = inject(exchange, "mute", templates=[312], lost="true")
        assert await frames_of_an_order(client) == []
        assert exchange.venue.orders("SIM-1") == []
        exchange.injector.heal(number)
        inject(exchange, "mute", templates=[312])
        assert 313 not in [template_id for template_id, _ in await frames_of_an_order(client)]
        assert len(exchange.venue.orders("SIM-1")) == 1

    log = play(tmp_path, scenario)
    assert len(log.received(312)) == 2
    assert [each["act"] for each in log.faults() if each["act"].startswith("not")] == ["not received"] + [
        "not sent"
    ] * 2
    assert log.sent(313) == []


def test_fills_come_first_and_an_order_without_one_is_acknowledged_after_a_while(tmp_path: Path) -> None:
    """A limit order that rests is not kept waiting for ever."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        inject(exchange, "fill_before_ack", hold_s=0.1)
        frames = await frames_of_an_order(client)
        assert [frames[0][0], frames[1][0]] == [352, 313]
        assert frames[0][1].notify_type == 5
        resting = BUY | {"price_type": 1, "price": 4000.0}
        await client.send(312, user_msg=["o"], **ACCOUNT, **resting)
        assert (await client.receive())[0] == 313

    play(tmp_path, scenario)


def test_markets_stay_as_the_fault_that_is_left_holds_them(tmp_path: Path) -> None:
    """A reserved market inside a halted one does not open it when it is over; the last fault's end does."""

    async def scenario(exchange: Exchange, _: ExchangeServer, __: RawClient) -> None:
        halted = inject(exchange, "reserved_market", mode="Halted")
        reserved = inject(exchange, "reserved_market", symbol="ESH4")
        assert exchange.venue.mode("ESH4") == "Reserved"
        exchange.injector.heal(reserved)
        assert exchange.venue.mode("ESH4") == "Halted"
        exchange.injector.heal(halted)
        assert exchange.venue.mode("ESH4") == "Open"

    play(tmp_path, scenario)


def test_a_partial_list_lacks_frames_or_its_end(tmp_path: Path) -> None:
    """Of three images of orders one is missing; or everything is there and the end is not."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        for _ in range(3):
            await frames_of_an_order(client)
        number = inject(exchange, "partial_list", templates=[320], cut=1)
        assert [template_id for template_id, _ in await client.ask_all(320, **ACCOUNT)] == [352, 352, 321]
        exchange.injector.heal(number)
        inject(exchange, "partial_list", templates=[320], cut=0, terminal="false")
        await client.send(320, **ACCOUNT)
        await client.send(18)
        assert [(await client.receive())[0] for _ in range(4)] == [352, 352, 352, 19]

    play(tmp_path, scenario)


@pytest.mark.parametrize("framing", Framing)
def test_refused_logins_say_what_they_are_told_to(framing: Framing, tmp_path: Path) -> None:
    """Code and text; the right password does not help, and the client's own framing is answered."""

    async def scenario(exchange: Exchange, server: ExchangeServer, _: RawClient) -> None:
        inject(exchange, "refused_login", plant="pnl", code="'1'", text="come back later")
        other = await RawClient.open(tmp_path, server, framing)
        answer = await other.login(PNL)
        assert list(answer.rp_code) == ["1", "come back later"]
        answer = await other.login(ORDER)
        assert list(answer.rp_code) == ["0"]

    play(tmp_path, scenario, framing)


@pytest.mark.parametrize("logins", ["drop", "ignore", "refuse"])
def test_maintenance_ends_sessions_and_lets_nobody_in_until_it_is_over(logins: str, tmp_path: Path) -> None:
    """77 and 1011; a login is cut off, unanswered or refused; then everything as before."""

    async def scenario(exchange: Exchange, server: ExchangeServer, client: RawClient) -> None:
        inject(exchange, "maintenance", logins=logins)
        assert [(await client.receive())[0]] == [77]
        assert await client.closed() == 1011
        other = await RawClient.open(tmp_path, server)
        if logins == "refuse":
            assert list((await other.login(ORDER)).rp_code) == ["13", "permission denied"]
        else:
            with pytest.raises(ConnectionClosed if logins == "drop" else TimeoutError):
                await asyncio.wait_for(other.login(ORDER), 0.3)
        exchange.injector.heal()
        other = await RawClient.open(tmp_path, server)
        assert list((await other.login(ORDER)).rp_code) == ["0"]
        await other.ask(308, **ACCOUNT)
        assert (await frames_of_an_order(other))[-1][1].completion_reason == "F"

    play(tmp_path, scenario)


def test_foreign_orders_and_wrong_positions_do_not_touch_each_other(tmp_path: Path) -> None:
    """The venue's own position is right, what is told is not; the fault ends with its last order."""

    async def scenario(exchange: Exchange, server: ExchangeServer, _: RawClient) -> None:
        inject(exchange, "foreign_orders", count=2, every_s=0.02, side="SELL")
        await wait_until_async(lambda: not exchange.injector.status())
        assert exchange.venue.positions("SIM-1")[0].net_quantity == -2
        assert {order.terms.user for order in exchange.venue.orders("SIM-1")} == {"somebody-else"}
        inject(exchange, "wrong_positions", offset=5)
        other = await RawClient.open(tmp_path, server)
        await other.login(PNL)
        frames = await other.ask_all(402, **ACCOUNT)
        assert [message.net_quantity for template_id, message in frames if template_id in (450, 451)] == [3, 3]
        assert exchange.venue.positions("SIM-1")[0].net_quantity == -2

    play(tmp_path, scenario)


@pytest.mark.parametrize("how", ["flip", "length", "varint", "truncate", "empty", "text", "oversize"])
def test_corrupt_frames_may_stand_before_the_good_ones(how: str, tmp_path: Path) -> None:
    """The wire log has both; the good one is unharmed."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        inject(exchange, "corrupt", how=how, templates=[19], instead="false")
        client.socket.protocol.max_size = 1 << 22
        await client.send(18)
        spoiled = await asyncio.wait_for(client.socket.recv(), 5)
        assert isinstance(spoiled, str) == (how == "text")
        assert (await client.receive())[0] == 19

    log = play(tmp_path, scenario)
    assert [each.kind.name for each in log.records() if each.kind.name == "SPOILED"] == ["SPOILED"]


def test_template_ids_are_read_without_the_class() -> None:
    """From the first field or any other, and from no bytes that have none."""
    for template_id in MESSAGE_NAMES:
        assert template_of(encode(template_id)) == template_id
        assert encode(template_id).startswith(head_of(template_id))
    assert template_of(encode(312, **FIRM, user_tag="x", quantity=5)[5:] + head_of(312)) == 312
    for nothing in (b"", b"\xff" * 30, b"\x07\x07", b"\x0a\xff\xff"):
        assert template_of(nothing) is None
