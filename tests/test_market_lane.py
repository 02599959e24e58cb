"""What a subscriber gets that does not keep up, and what the others notice of it: nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from actors.lanes import LaneClient
from actors.plants import market_lane
from actors.plants.market_lane import PEER_WINDOW, MarketLane, Subscriber
from nightdesk.errors import LaneError
from nightdesk.messages import AggressorSide, ChildId, DataGap, Message, QuoteTick, SubscribeMarketData, TradeTick
from nightdesk.settings.models import MarketLane as MarketLaneSettings
from tests.support import wait_until_async

EXCHANGE = "CME"


def trade(number: int, symbol: str = "ESH4") -> TradeTick:
    return TradeTick(
        symbol=symbol,
        exchange=EXCHANGE,
        price=5000.0,
        quantity=1,
        aggressor_side=AggressorSide.BUY,
        ts_event_ns=number,
        ts_recv_ns=number,
    )


def quote(number: int, symbol: str = "ESH4") -> QuoteTick:
    return QuoteTick(
        symbol=symbol,
        exchange=EXCHANGE,
        bid_price=4999.75,
        bid_size=number,
        ask_price=5000.0,
        ask_size=1,
        ts_event_ns=number,
        ts_recv_ns=number,
    )


class FakePeer:
    """A peer whose kernel takes nothing until it is told to."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.kernel_full = False
        self.closed = False
        self.on_drained: Callable[[], None] | None = None
        self._queued: list[Message] = []

    @property
    def buffered(self) -> int:
        return len(self._queued)

    def send(self, message: Message) -> None:
        if self.closed:
            raise LaneError("closed")
        self._queued.append(message)
        if len(self._queued) == 1 and not self.kernel_full:
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        self.closed = True

    def empty(self) -> None:
        """The reader has caught up."""
        self.kernel_full = False
        self._flush()
        if self.on_drained is not None:
            self.on_drained()

    def _flush(self) -> None:
        if not self.kernel_full:
            self.taken += self._queued
            self._queued.clear()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


def subscriber_of(peer: FakePeer, buffer_max: int, gaps: list[DataGap]) -> Subscriber:
    made = Subscriber(peer, buffer_max=buffer_max, on_gap=gaps.append)  # type: ignore[arg-type]
    made.name = "strategies/slow"
    return made


def test_burst_larger_than_the_window_arrives_whole_and_in_order() -> None:
    """A full turn of the loop is no slow subscriber: all trades come, though the peer was never refused."""

    async def scenario() -> None:
        peer = FakePeer()
        subscriber = subscriber_of(peer, 100_000, [])
        ticks = [trade(number) for number in range(5 * PEER_WINDOW)]
        for tick in ticks:
            subscriber.offer(tick, newest_only=False)
        await wait_until_async(lambda: len(peer.taken) == len(ticks))
        assert peer.taken == ticks

    run(scenario)


def test_backed_up_subscriber_gets_newest_quote_and_all_trades() -> None:
    """Quotes conflate to the newest per symbol; trades queue."""

    async def scenario() -> None:
        peer = FakePeer()
        peer.kernel_full = True
        subscriber = subscriber_of(peer, 1000, [])
        for number in range(PEER_WINDOW):
            subscriber.offer(trade(number), newest_only=False)
        for number in range(100):
            subscriber.offer(quote(number), newest_only=False)
            subscriber.offer(quote(number, "NQH4"), newest_only=False)
            subscriber.offer(trade(PEER_WINDOW + number), newest_only=False)
        peer.empty()
        await wait_until_async(lambda: subscriber.waiting == 0)
        trades = [message for message in peer.taken if isinstance(message, TradeTick)]
        assert [tick.ts_event_ns for tick in trades] == list(range(PEER_WINDOW + 100))
        assert [message for message in peer.taken if isinstance(message, QuoteTick)] == [quote(99), quote(99, "NQH4")]

    run(scenario)


def test_trades_beyond_the_buffer_are_announced_as_one_gap_with_bounds() -> None:
    """Every loss is announced, at its place in the order, with its first and last time and its number."""

    async def scenario() -> None:
        gaps: list[DataGap] = []
        peer = FakePeer()
        peer.kernel_full = True
        subscriber = subscriber_of(peer, 100, gaps)
        total = PEER_WINDOW + 100 + 50
        for number in range(total):
            subscriber.offer(trade(number), newest_only=False)
        peer.empty()
        await wait_until_async(lambda: subscriber.waiting == 0)
        subscriber.offer(trade(total), newest_only=False)
        await wait_until_async(lambda: subscriber.waiting == 0)
        (gap,) = gaps
        assert (gap.ts_from_ns, gap.ts_to_ns, gap.lost_trades) == (PEER_WINDOW + 100, total - 1, 50)
        kept = [trade(number) for number in range(PEER_WINDOW + 100)]
        assert peer.taken == [*kept, gap, trade(total)]

    run(scenario)


def test_newest_only_subscription_keeps_one_trade_and_one_quote() -> None:
    """The order plant needs prices, not a tape."""

    async def scenario() -> None:
        gaps: list[DataGap] = []
        peer = FakePeer()
        peer.kernel_full = True
        subscriber = subscriber_of(peer, 100, gaps)
        for number in range(PEER_WINDOW + 1000):
            subscriber.offer(trade(number), newest_only=True)
            subscriber.offer(quote(number), newest_only=True)
        assert subscriber.waiting == PEER_WINDOW + 2
        peer.empty()
        await wait_until_async(lambda: subscriber.waiting == 0)
        assert peer.taken[-2:] == [trade(PEER_WINDOW + 999), quote(PEER_WINDOW + 999)]
        assert not gaps

    run(scenario)


class Harness:
    """A real lane server with its calls recorded."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.path = str(folder / "market")
        self.subscribed: list[SubscribeMarketData] = []
        self.gaps: list[DataGap] = []
        self.calls: list[str] = []
        self.lane = MarketLane(
            self.path,
            MarketLaneSettings(**settings),
            on_subscribe=lambda _, request: self.subscribed.append(request),
            on_gap=self.gaps.append,
            pause=lambda: self.calls.append("pause"),
            resume=lambda: self.calls.append("resume"),
        )

    async def client(self, name: str, on_message: Callable[[Message], None], *, conflate: bool = False) -> LaneClient:
        client = LaneClient(
            self.path,
            on_open=lambda peer: peer.send(
                SubscribeMarketData(subscriber=ChildId(name), symbol="ESH4", exchange=EXCHANGE, conflate=conflate)
            ),
            on_message=on_message,
            on_close=lambda: None,
        )
        before = len(self.subscribed)
        await client.start()
        await wait_until_async(lambda: len(self.subscribed) > before)
        return client


def stop_reading(client: LaneClient) -> int:
    """Let a client take nothing more, as a stopped process does; returns the descriptor to start again with."""
    assert client.peer is not None
    descriptor = client.peer._sock.fileno()
    asyncio.get_running_loop().remove_reader(descriptor)
    return descriptor


def start_reading(client: LaneClient, descriptor: int) -> None:
    assert client.peer is not None
    asyncio.get_running_loop().add_reader(descriptor, client.peer._read)


def test_stopped_subscriber_does_not_slow_another(tmp_path: Path) -> None:
    """Each has its own queue; the slow one gets its trades when it reads again, and the announced gap."""

    async def scenario() -> None:
        harness = Harness(tmp_path, overflow="conflate", buffer_max=1000)
        await harness.lane.start()
        slow_got: list[Message] = []
        fast_got: list[Message] = []
        slow = await harness.client("strategies/slow", slow_got.append)
        fast = await harness.client("strategies/fast", fast_got.append)
        descriptor = stop_reading(slow)
        backed_up = next(each for each in harness.lane.subscribers if each.name == "strategies/slow")
        total = 0
        while backed_up.waiting < 1000 + PEER_WINDOW or total % 1000:
            # How much the kernel takes is the machine's own affair; on from there trades are lost.
            harness.lane.publish(trade(total))
            total += 1
            if total % 100 == 0:
                await asyncio.sleep(0)
        await wait_until_async(lambda: len(fast_got) == total)
        start_reading(slow, descriptor)
        await wait_until_async(lambda: backed_up.waiting == 0)
        harness.lane.publish(trade(total))
        total += 1
        await wait_until_async(lambda: slow_got and slow_got[-1] == trade(total - 1))
        (gap,) = harness.gaps
        assert len(slow_got) - 1 + gap.lost_trades == total
        assert slow_got[slow_got.index(gap) - 1] == trade(gap.ts_from_ns - 1)
        assert not harness.calls
        for client in (slow, fast):
            await client.close()
        await harness.lane.close()

    run(scenario)


def test_block_pauses_the_plant_until_the_slowest_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a replay nothing is dropped; a subscription of newest prices never holds it up."""
    monkeypatch.setattr(market_lane, "BLOCK_HIGH", 200)
    monkeypatch.setattr(market_lane, "BLOCK_LOW", 100)

    async def scenario() -> None:
        harness = Harness(tmp_path, overflow="block")
        await harness.lane.start()
        got: list[Message] = []
        slow = await harness.client("strategies/slow", got.append)
        prices = await harness.client("plants/order", lambda _: None, conflate=True)
        stop_reading(prices)
        descriptor = stop_reading(slow)
        sent = 0
        while not harness.lane.is_paused:
            harness.lane.publish(trade(sent))
            sent += 1
            if sent % 50 == 0:
                await asyncio.sleep(0)
        assert harness.calls == ["pause"]
        start_reading(slow, descriptor)
        await wait_until_async(lambda: harness.calls == ["pause", "resume"])
        await wait_until_async(lambda: len(got) == sent)
        assert [message.ts_event_ns for message in got if isinstance(message, TradeTick)] == list(range(sent))
        for client in (slow, prices):
            await client.close()
        await harness.lane.close()

    run(scenario)


def test_death_of_the_slowest_ends_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed strategy must not hold up a replay for ever."""
    monkeypatch.setattr(market_lane, "BLOCK_HIGH", 200)

    async def scenario() -> None:
        harness = Harness(tmp_path, overflow="block")
        await harness.lane.start()
        slow = await harness.client("strategies/slow", lambda _: None)
        stop_reading(slow)
        number = 0
        while not harness.lane.is_paused:
            harness.lane.publish(trade(number))
            number += 1
            if number % 50 == 0:
                await asyncio.sleep(0)
        await slow.close()
        await wait_until_async(lambda: harness.calls == ["pause", "resume"])
        assert harness.lane.subscribers == []
        await harness.lane.close()

    run(scenario)


def test_anything_but_a_subscription_closes_the_connection(tmp_path: Path) -> None:
    """The market lane goes one way."""

    async def scenario() -> None:
        harness = Harness(tmp_path)
        await harness.lane.start()
        closed: list[bool] = []
        client = LaneClient(
            harness.path,
            on_open=lambda peer: peer.send(trade(1)),
            on_message=lambda _: None,
            on_close=lambda: closed.append(True),
        )
        await client.start()
        await wait_until_async(lambda: closed)
        await client.close()
        await harness.lane.close()

    run(scenario)
