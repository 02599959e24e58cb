"""The market lane: what each subscriber gets of the ticks, and what happens to one that does not keep up.

Overflow ``conflate``: while a subscriber's peer is backed up, quotes wait as the newest per symbol and trades in a
queue of ``buffer_max``; trades beyond that are dropped and announced as one ``DataGap`` per symbol. Nobody else
notices. Overflow ``block``: nothing is dropped; the owner is asked to stop reading its socket until the slowest has
caught up. A subscription with ``conflate`` gets the newest trade and the newest quote of its symbol, in either case.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from actors.lanes import LaneServer, Peer
from nightdesk.errors import LaneError
from nightdesk.logs import get_logger
from nightdesk.messages import DataGap, Message, QuoteTick, SubscribeMarketData, TradeTick, UnsubscribeMarketData
from nightdesk.settings.models import MarketLane as MarketLaneSettings

Tick = TradeTick | QuoteTick
Instrument = tuple[str, str]
"""Symbol and exchange."""

PEER_WINDOW: Final = 512
"""Messages handed to a peer before its kernel buffer took them; more wait here, where they can be conflated."""

SEND_BUFFER_BYTES: Final = 65_536
"""Asked of the kernel for each subscriber: what lies there can no longer be conflated and is stale when it is read."""

BLOCK_HIGH: Final = 8192
"""In ``block``: messages that wait for one subscriber before the plant stops reading."""

BLOCK_LOW: Final = BLOCK_HIGH // 2
BLOCK_POLL_S: Final = 0.001
BLOCK_BUFFER_MAX: Final = 16 * BLOCK_HIGH


class Subscriber:
    """One connection and what waits for it."""

    def __init__(self, peer: Peer, *, buffer_max: int, on_gap: Callable[[DataGap], None]) -> None:
        self.peer = peer
        self.name = "?"
        self.instruments: dict[Instrument, bool] = {}
        """What it subscribed to, and whether that is conflated."""
        self.sent = 0
        self._buffer_max = buffer_max
        self._on_gap = on_gap
        self._queue: deque[Message] = deque()
        self._newest: dict[tuple[Instrument, type[Tick]], Tick] = {}
        self._lost: dict[Instrument, tuple[int, int, int]] = {}
        self._drain_planned = False
        peer.on_drained = self._drain

    @property
    def waiting(self) -> int:
        """Messages that wait here or in the peer."""
        return self.peer.buffered + len(self._queue) + len(self._newest)

    @property
    def wants_all(self) -> bool:
        """Whether any of its subscriptions is for more than the newest tick."""
        return not all(self.instruments.values())

    def tell(self, message: Message) -> None:
        """An announcement: in order with the trades, never dropped."""
        if self._is_clear():
            self.send(message)
        else:
            self._queue.append(message)
            self._plan_drain()

    def offer(self, tick: Tick, *, newest_only: bool) -> None:
        """One tick, under this subscriber's policy."""
        if self._is_clear():
            self.send(tick)
            return
        instrument = (tick.symbol, tick.exchange)
        if newest_only or type(tick) is QuoteTick:
            self._newest[instrument, type(tick)] = tick
        elif self._lost or len(self._queue) >= self._buffer_max:
            self._lose(instrument, tick.ts_event_ns)
        else:
            self._queue.append(tick)
        self._plan_drain()

    def _is_clear(self) -> bool:
        return not self._queue and not self._newest and self.peer.buffered < PEER_WINDOW

    def _lose(self, instrument: Instrument, ts_event_ns: int) -> None:
        """From the first loss until the queue is half empty all trades are lost, so that one gap names them all."""
        ts_from_ns, _, count = self._lost.get(instrument, (ts_event_ns, 0, 0))
        self._lost[instrument] = (ts_from_ns, ts_event_ns, count + 1)

    def _plan_drain(self) -> None:
        """The peer tells of an emptied buffer only after the kernel had refused; a mere burst must be drained, too."""
        if not self._drain_planned:
            self._drain_planned = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        self._drain_planned = False
        # This runs after the peer's own flush: what is left in it was refused, and ``on_drained`` will follow.
        refused = self.peer.buffered > 0
        while not self.peer.closed and self.peer.buffered < PEER_WINDOW:
            if self._queue:
                self.send(self._queue.popleft())
                if self._lost and len(self._queue) <= self._buffer_max // 2:
                    self._announce_lost()
            elif self._newest:
                self.send(self._newest.pop(next(iter(self._newest))))
            else:
                return
        if not refused and not self.peer.closed:
            self._plan_drain()

    def _announce_lost(self) -> None:
        lost, self._lost = self._lost, {}
        for (symbol, exchange), (ts_from_ns, ts_to_ns, count) in lost.items():
            gap = DataGap(
                symbol=symbol,
                exchange=exchange,
                ts_from_ns=ts_from_ns,
                ts_to_ns=ts_to_ns,
                lost_trades=count,
                cause=f"{self.name} does not keep up",
            )
            self._queue.append(gap)
            self._on_gap(gap)

    def send(self, message: Message) -> None:
        """Straight to the peer, which is closed when it cannot take it."""
        try:
            self.peer.send(message)
            self.sent += 1
        except LaneError as error:
            if not self.peer.closed:
                get_logger().warning("subscriber_dropped", subscriber=self.name, reason=str(error))
                self.peer.close()


class MarketLane:
    """The lane server with its subscribers. All calls belong on the event loop."""

    def __init__(
        self,
        path: str,
        settings: MarketLaneSettings,
        *,
        on_subscribe: Callable[[Subscriber, SubscribeMarketData], None],
        on_gap: Callable[[DataGap], None],
        on_unsubscribe: Callable[[UnsubscribeMarketData], None] = lambda _request: None,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self.is_blocking = settings.overflow == "block"
        self.published = 0
        self.pauses = 0
        self._sent_before: Counter[str] = Counter()
        self._settings = settings
        self._on_subscribe = on_subscribe
        self._on_gap = on_gap
        self._on_unsubscribe = on_unsubscribe
        self._pause = pause
        self._resume = resume
        self._paused = False
        self._subscribers: dict[Peer, Subscriber] = {}
        self._routes: dict[Instrument, list[tuple[Subscriber, bool]]] = {}
        buffer_max = BLOCK_BUFFER_MAX if self.is_blocking else 4 * PEER_WINDOW
        self._server = LaneServer(
            path,
            on_open=self._open,
            on_message=self._take,
            on_close=self._close,
            buffer_max=buffer_max,
            send_buffer_bytes=SEND_BUFFER_BYTES,
        )

    @property
    def is_paused(self) -> bool:
        """Whether the owner was asked to stop reading."""
        return self._paused

    @property
    def sent(self) -> dict[str, int]:
        """Messages handed to each subscriber, those who have left included."""
        total = self._sent_before.copy()
        for subscriber in self._subscribers.values():
            total[subscriber.name] += subscriber.sent
        return dict(total)

    @property
    def subscribers(self) -> list[Subscriber]:
        """Everybody who is connected."""
        return list(self._subscribers.values())

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def close(self) -> None:
        """End every connection."""
        await self._server.close()

    def publish(self, tick: Tick) -> None:
        """Give one tick to everybody who subscribed to its instrument."""
        self.published += 1
        for subscriber, newest_only in self._routes.get((tick.symbol, tick.exchange), ()):
            if newest_only or not self.is_blocking:
                subscriber.offer(tick, newest_only=newest_only)
            else:
                subscriber.send(tick)
                if subscriber.peer.buffered > BLOCK_HIGH and not self._paused:
                    self._stop_reading()

    def announce(self, instrument: Instrument, message: Message) -> None:
        """Tell everybody who subscribed to the instrument."""
        for subscriber, _ in self._routes.get(instrument, ()):
            subscriber.tell(message)

    def broadcast(self, message: Message) -> None:
        """Tell everybody."""
        for subscriber in self._subscribers.values():
            subscriber.tell(message)

    def names(self, instrument: Instrument) -> set[str]:
        """Who has subscribed to the instrument."""
        return {subscriber.name for subscriber, _ in self._routes.get(instrument, ())}

    def _stop_reading(self) -> None:
        self._paused = True
        self.pauses += 1
        self._pause()
        asyncio.get_running_loop().call_later(BLOCK_POLL_S, self._check_room)

    def _check_room(self) -> None:
        slow = [each for each in self._subscribers.values() if each.wants_all and each.peer.buffered > BLOCK_LOW]
        if slow:
            asyncio.get_running_loop().call_later(BLOCK_POLL_S, self._check_room)
        else:
            self._paused = False
            self._resume()

    def _open(self, peer: Peer) -> None:
        self._subscribers[peer] = Subscriber(peer, buffer_max=self._settings.buffer_max, on_gap=self._on_gap)

    def _take(self, peer: Peer, message: Message) -> None:
        if isinstance(message, UnsubscribeMarketData):
            self._unsubscribe(peer, message)
            return
        if not isinstance(message, SubscribeMarketData):
            get_logger().warning("lane_message_refused", message=type(message).__name__, peer_pid=peer.pid)
            peer.close()
            return
        subscriber = self._subscribers[peer]
        subscriber.name = message.subscriber
        instrument = (message.symbol, message.exchange)
        if instrument not in subscriber.instruments:
            subscriber.instruments[instrument] = message.conflate
            self._routes.setdefault(instrument, []).append((subscriber, message.conflate))
        self._on_subscribe(subscriber, message)

    def _unsubscribe(self, peer: Peer, message: UnsubscribeMarketData) -> None:
        subscriber = self._subscribers[peer]
        instrument = (message.symbol, message.exchange)
        if subscriber.instruments.pop(instrument, None) is not None:
            self._routes[instrument] = [route for route in self._routes[instrument] if route[0] is not subscriber]
        self._on_unsubscribe(message)

    def _close(self, peer: Peer) -> None:
        gone = self._subscribers.pop(peer, None)
        if gone is not None:
            self._sent_before[gone.name] += gone.sent
            for instrument in gone.instruments:
                self._routes[instrument] = [route for route in self._routes[instrument] if route[0] is not gone]
