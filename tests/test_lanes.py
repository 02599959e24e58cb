"""Lanes over real sockets, both ends in one process."""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.lanes import PACKET_BYTES_MAX, LaneClient, LaneServer, Peer, lane_path
from nightdesk.errors import ConfigurationError, LaneError
from nightdesk.messages import (
    AggressorSide,
    ChildId,
    HistoryPage,
    Message,
    PauseChanged,
    StrategyId,
    TradeTick,
    decode_packet,
    encode,
    encode_packet,
)
from tests.support import wait_until_async


def tick(number: int) -> TradeTick:
    return TradeTick(
        symbol="ESH4",
        exchange="CME",
        price=4800.25,
        quantity=number,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=number,
        ts_recv_ns=number,
    )


def text_of(size: int) -> PauseChanged:
    return PauseChanged(strategy_id=StrategyId("s"), paused=True, reason="x" * size)


class Lane:
    """A server and a client of one lane, and everything that happened to them."""

    def __init__(self, path: str, **limits: int) -> None:
        self.path = path
        self.at_server: list[Message] = []
        self.at_client: list[Message] = []
        self.opened: list[Peer] = []
        self.closed: list[Peer] = []
        self.client_opened = 0
        self.client_closed = 0
        self.server = LaneServer(
            path,
            on_open=self.opened.append,
            on_message=lambda _peer, message: self.at_server.append(message),
            on_close=self.closed.append,
            **limits,
        )
        self.client = LaneClient(
            path,
            on_open=self._client_open,
            on_message=self.at_client.append,
            on_close=self._client_close,
            **limits,
        )

    def _client_open(self, _peer: Peer) -> None:
        self.client_opened += 1

    def _client_close(self) -> None:
        self.client_closed += 1

    async def connect(self) -> None:
        await self.server.start()
        await self.client.start()
        await wait_until_async(lambda: self.opened and self.client.peer)

    async def close(self) -> None:
        await self.client.close()
        await self.server.close()


def run(path: Path, scenario: Callable[[Lane], Awaitable[Any]], **limits: int) -> None:
    """Run a scenario on a loop of its own; an error that reaches the loop's handler fails the test."""

    async def main() -> None:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, details: errors.append(details))
        lane = Lane(lane_path(str(path), ChildId("plants/order"), "order"), **limits)
        try:
            await scenario(lane)
        finally:
            await lane.close()
        assert errors == []

    asyncio.run(main())


def test_messages_go_both_ways_in_order(tmp_path: Path) -> None:
    """What was sent arrives, once and in order, whatever packets it travelled in."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        for number in range(5000):
            lane.client.send(tick(number))
            lane.opened[0].send(tick(-number))
        await wait_until_async(lambda: len(lane.at_server) == 5000 and len(lane.at_client) == 5000)
        assert lane.at_server == [tick(number) for number in range(5000)]
        assert lane.at_client == [tick(-number) for number in range(5000)]

    run(tmp_path, scenario)


def test_a_packet_is_what_the_codec_makes(tmp_path: Path) -> None:
    """Messages of one turn of the loop leave as one packet of ``encode_packet``."""

    async def scenario(lane: Lane) -> None:
        await lane.server.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
            raw.connect(lane.path)
            raw.setblocking(False)
            await wait_until_async(lambda: lane.opened)
            messages = [tick(number) for number in range(20)]
            for message in messages:
                lane.opened[0].send(message)
            await asyncio.sleep(0)
            packet = raw.recv(PACKET_BYTES_MAX)
            assert decode_packet(packet) == messages
            raw.send(encode_packet([tick(1), tick(2)]))
            await wait_until_async(lambda: len(lane.at_server) == 2)

    run(tmp_path, scenario)


def test_peer_knows_the_process_at_the_other_end(tmp_path: Path) -> None:
    """SO_PEERCRED: the pid and the uid cannot be made up."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        assert lane.opened[0].pid == os.getpid()
        assert lane.client.peer is not None
        assert (lane.client.peer.pid, lane.client.peer.uid) == (os.getpid(), os.getuid())

    run(tmp_path, scenario)


def test_socket_file_is_for_its_owner_only_and_goes_with_the_server(tmp_path: Path) -> None:
    """Mode 0600, and no file is left."""

    async def scenario(lane: Lane) -> None:
        await lane.server.start()
        modes.append(stat.S_IMODE(os.stat(lane.path).st_mode))

    modes: list[int] = []
    run(tmp_path, scenario)
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    """A server that was killed leaves its file; the next one takes the name over, and its end leaves a successor's."""

    async def scenario(lane: Lane) -> None:
        for name in (lane.path, lane.path + ".new"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
                dead.bind(name)
        await lane.connect()
        successor = Lane(lane.path)
        await successor.server.start()
        await lane.server.close()
        await lane.client.start()
        await wait_until_async(lambda: successor.opened)
        await successor.close()

    run(tmp_path, scenario)


def test_end_of_a_peer_is_seen_at_once(tmp_path: Path) -> None:
    """As end of stream, without a time-out, on both sides; sending then raises."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        assert lane.client.peer is not None
        lane.client.peer.close()
        await wait_until_async(lambda: lane.closed == lane.opened[:1])
        assert lane.client_closed == 1
        with pytest.raises(LaneError, match="closed"):
            lane.opened[0].send(tick(1))

    run(tmp_path, scenario)


def test_what_was_sent_before_a_close_arrives(tmp_path: Path) -> None:
    """Closing flushes what the kernel takes."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        lane.client.send(tick(7))
        await lane.client.close()
        await wait_until_async(lambda: lane.closed)
        assert lane.at_server == [tick(7)]

    run(tmp_path, scenario)


def test_client_connects_before_the_server_is_there_and_reconnects(tmp_path: Path) -> None:
    """Either end may be restarted; without a connection ``send`` says so."""

    async def scenario(lane: Lane) -> None:
        await lane.client.start()
        with pytest.raises(LaneError, match="not connected"):
            lane.client.send(tick(1))
        await lane.server.start()
        await wait_until_async(lambda: lane.client.peer)
        await lane.server.close()
        await wait_until_async(lambda: lane.client.peer is None)
        await lane.server.start()
        await wait_until_async(lambda: lane.client_opened == 2)
        lane.client.send(tick(2))
        await wait_until_async(lambda: lane.at_server == [tick(2)])
        assert lane.client_closed == 1

    run(tmp_path, scenario)


def test_closed_client_does_not_reconnect(tmp_path: Path) -> None:
    """``close`` is for good."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        await lane.client.close()
        await wait_until_async(lambda: lane.closed)
        await asyncio.sleep(0.1)
        assert len(lane.opened) == 1
        assert lane.client_closed == 1

    run(tmp_path, scenario)


def test_peer_that_does_not_read_meets_the_limit_and_drains_later(tmp_path: Path) -> None:
    """The kernel's buffer, then ``buffer_max`` messages, then LaneError; nothing that was accepted is lost."""

    async def scenario(lane: Lane) -> None:
        await lane.server.start()
        drained: list[int] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
            raw.connect(lane.path)
            raw.setblocking(False)
            await wait_until_async(lambda: lane.opened)
            peer = lane.opened[0]
            peer.on_drained = lambda: drained.append(peer.buffered)
            sent = 0
            while peer.buffered < 500:
                peer.send(tick(sent))
                sent += 1
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            with pytest.raises(LaneError, match="does not keep up"):
                peer.send(tick(sent))
            received: list[Message] = []

            def all_there() -> bool:
                try:
                    while True:
                        received.extend(decode_packet(raw.recv(PACKET_BYTES_MAX)))
                except BlockingIOError:
                    return len(received) == sent

            await wait_until_async(all_there)
            assert received == [tick(number) for number in range(sent)]
            await wait_until_async(lambda: drained)
            assert drained == [0]
            peer.send(tick(0))

    run(tmp_path, scenario, buffer_max=500)


def test_slow_peer_does_not_slow_another_one(tmp_path: Path) -> None:
    """Each connection has a buffer of its own."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as slow:
            slow.connect(lane.path)
            await wait_until_async(lambda: len(lane.opened) == 2)
            quick_peer, slow_peer = lane.opened
            sent = 0
            while slow_peer.buffered < 5000:
                message = tick(sent)
                quick_peer.send(message)
                slow_peer.send(message)
                sent += 1
                if sent % 200 == 0:
                    await asyncio.sleep(0)
            await wait_until_async(lambda: len(lane.at_client) == sent)
            assert slow_peer.buffered == 5000

    run(tmp_path, scenario)


def test_message_larger_than_a_packet_is_refused(tmp_path: Path) -> None:
    """It raises at once and leaves the connection as it was; one that just fits travels."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        with pytest.raises(LaneError, match="does not fit"):
            lane.client.send(text_of(PACKET_BYTES_MAX))
        overhead = len(encode(text_of(PACKET_BYTES_MAX // 2))) - PACKET_BYTES_MAX // 2
        largest = text_of(PACKET_BYTES_MAX - overhead - 3)
        lane.client.send(largest)
        lane.client.send(tick(1))
        await wait_until_async(lambda: lane.at_server == [largest, tick(1)])

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "packet",
    [
        b"\xff",
        b"not msgpack at all",
        encode_packet([]) + b"\x00",
        b"\x91\x91\xa7Unknown",
        b"\x00" * (PACKET_BYTES_MAX + 1),
    ],
    ids=["invalid", "text", "trailing", "unknown type", "too long"],
)
def test_bad_packet_closes_the_connection(tmp_path: Path, packet: bytes) -> None:
    """What does not decode ends that connection only; the server goes on."""

    async def scenario(lane: Lane) -> None:
        await lane.connect()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
            raw.connect(lane.path)
            raw.send(packet)
            await wait_until_async(lambda: lane.closed)
        assert lane.closed == [lane.opened[1]]
        lane.client.send(tick(3))
        await wait_until_async(lambda: lane.at_server == [tick(3)])

    run(tmp_path, scenario)


def test_handler_that_raises_reaches_the_loops_exception_handler(tmp_path: Path) -> None:
    """In an actor that ends it: an unexpected error is not swallowed by the lane."""

    async def main() -> None:
        errors: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, details: errors.append(details["exception"]))

        def fail(_peer: Peer, _message: Message) -> None:
            raise RuntimeError("cannot take this")

        path = lane_path(str(tmp_path), ChildId("plants/ticker"), "market")
        server = LaneServer(path, on_open=lambda _: None, on_message=fail, on_close=lambda _: None)
        client = LaneClient(path, on_open=lambda _: None, on_message=lambda _: None, on_close=lambda: None)
        await server.start()
        await client.start()
        client.send(tick(1))
        await wait_until_async(lambda: errors)
        await client.close()
        await server.close()
        assert str(errors[0]) == "cannot take this"

    asyncio.run(main())


def test_full_history_page_fits_a_packet() -> None:
    """Pages of 500 items are the contract with the history lane."""
    page = HistoryPage(request_id="1", bars=(), ticks=tuple(tick(number) for number in range(500)), is_last=True)
    assert len(encode(page)) < PACKET_BYTES_MAX


def test_path_of_a_lane_is_short_enough_for_a_socket() -> None:
    """A Unix socket's path has at most 107 bytes; a runtime_dir that is too long is told so at once."""
    assert lane_path("/run/nightdesk", ChildId("plants/order"), "order") == "/run/nightdesk/plants.order.order"
    with pytest.raises(ConfigurationError, match="too long"):
        lane_path("/" + "x" * 100, ChildId("plants/order"), "order")
