"""The network of a chaos run: what it holds it delivers, what it cuts is lost, and it knows when the client spoke."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from nightdesk.chaos.proxy import BOTH, HOST, Proxy, Way
from nightdesk.clocks import ManualClock
from tests.support import wait_until_async

NOTHING_S = 0.1


class Ends(NamedTuple):
    """A client's streams, and what the far side gets and gives."""

    proxy: Proxy
    clock: ManualClock
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    far_reader: asyncio.StreamReader
    far_writer: asyncio.StreamWriter


@asynccontextmanager
async def proxied() -> AsyncIterator[Ends]:
    """One link through a proxy."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put((reader, writer))

    server = await asyncio.start_server(accept, HOST, 0)
    clock = ManualClock(1_000)
    proxy = Proxy(clock)
    proxy.far_port = server.sockets[0].getsockname()[1]
    await proxy.start()
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    far_reader, far_writer = await accepted.get()
    try:
        yield Ends(proxy, clock, reader, writer, far_reader, far_writer)
    finally:
        for each in (writer, far_writer):
            each.close()
        await proxy.close()
        server.close()
        await server.wait_closed()


def proxy_test(test: Callable[[Ends], Awaitable[None]]) -> Callable[[], None]:
    """A test with one link, on a loop of its own."""

    async def run() -> None:
        async with proxied() as ends, asyncio.timeout(20):
            await test(ends)

    def wrapper() -> None:
        asyncio.run(run())

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


async def comes_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(NOTHING_S):
            return not await reader.read(1)
    except TimeoutError:
        return True


@proxy_test
async def test_bytes_pass_both_ways_and_an_end_ends_both_sides(ends: Ends) -> None:
    """A good network."""
    ends.writer.write(b"ask")
    assert await ends.far_reader.readexactly(3) == b"ask"
    ends.far_writer.write(b"answer")
    assert await ends.reader.readexactly(6) == b"answer"
    ends.writer.close()
    assert await ends.far_reader.read() == b""
    await wait_until_async(lambda: not ends.proxy.links)


@proxy_test
async def test_what_is_held_comes_later_and_the_other_way_is_open(ends: Ends) -> None:
    """One direction is cut; a client that has died meanwhile is heard all the same, as over a real network."""
    ends.proxy.hold((Way.IN,))
    ends.clock.advance(1)
    ends.writer.write(b"order")
    ends.far_writer.write(b"tick")
    assert await ends.reader.readexactly(4) == b"tick"
    assert await comes_nothing(ends.far_reader)
    ends.writer.close()
    ends.clock.advance(5)
    assert await comes_nothing(ends.far_reader)
    (times,) = ends.proxy.times
    assert times.client_last_ns == 1_000 + 1_000_000_000
    ends.proxy.release()
    assert await ends.far_reader.read() == b"order"


@proxy_test
async def test_a_reset_is_a_reset_on_both_sides_and_loses_what_was_held(ends: Ends) -> None:
    """Whoever reads next gets an error, not an end."""
    ends.proxy.hold(BOTH)
    ends.writer.write(b"order")
    assert await comes_nothing(ends.far_reader)
    assert ends.proxy.reset() == 1
    for reader in (ends.reader, ends.far_reader):
        with pytest.raises(ConnectionResetError):
            await reader.read()


@proxy_test
async def test_a_link_ends_in_the_middle_of_what_is_sent_next(ends: Ends) -> None:
    """Half of it arrives, then an ordinary end."""
    ends.proxy.links[0].cut_next(Way.OUT)
    ends.far_writer.write(b"12345678")
    assert await ends.reader.read() == b"1234"


@proxy_test
async def test_single_bytes_are_all_there_and_in_order(ends: Ends) -> None:
    """As many reads as there are bytes, perhaps; the same bytes in the end."""
    ends.proxy.links[0].bytewise(BOTH)
    ends.writer.write(bytes(range(200)))
    assert await ends.far_reader.readexactly(200) == bytes(range(200))


@proxy_test
async def test_nobody_may_connect_while_it_refuses_or_where_nobody_listens(ends: Ends) -> None:
    """The client's connection is reset at once."""
    for refuse in (True, False):
        ends.proxy.is_refusing = refuse
        if not refuse:
            ends.proxy.far_port = 0
        reader, writer = await asyncio.open_connection(HOST, ends.proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert len(ends.proxy.times) == 1
