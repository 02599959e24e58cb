"""The history plant: past bars and trades, one request after the other, on the history lane."""

import asyncio
from datetime import UTC, datetime
from typing import ClassVar, Final

from actors.base import Context
from actors.lanes import LaneServer, Peer, lane_path
from actors.plants.plant import PlantBody
from nightdesk.errors import LaneError, LinkError
from nightdesk.messages import Bar, HistoryPage, Message, RequestBars, RequestTicks, TradeTick
from nightdesk.rithmic.decode import DAY_S, decode_bar, decode_tick
from nightdesk.rithmic.session import PlantSession, RequestRefused
from nightdesk.rithmic.words import BarType, ReplayDirection, ReplayOrder, TickBarType

TIME_BAR_REPLAY: Final = 202
TICK_BAR_REPLAY: Final = 206
PAGE_ITEMS_MAX: Final = 500
QUEUE_MAX: Final = 64
ITEMS_MAX: Final = 10_000
"""The gateway's own limit for one answer; an answer that was cut at it looks complete."""

LINK_WAIT_S: Final = 30.0
"""How long a request waits for the link before it is answered with an error."""

REPLAY_TIMEOUT_S: Final = 60.0
LOOKBACK_MIN_S: Final = 14 * DAY_S
LOOKBACK_FACTOR: Final = 4
"""Closed hours and days have no bars: so many times the bars' own length is asked for, and the newest are taken."""

_INDEX_MIN: Final = 1
_INDEX_MAX: Final = 2**31 - 1
_NS: Final = 1_000_000_000

Request = RequestBars | RequestTicks


class HistoryPlantBody(PlantBody):
    """Serves ``RequestBars`` and ``RequestTicks``; every answer ends with a page that ``is_last``, errors too."""

    kind: ClassVar[str] = "history"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._queue: asyncio.Queue[tuple[Peer, Request, float]] = asyncio.Queue(QUEUE_MAX)
        self._is_up = asyncio.Event()
        self._lane = LaneServer(
            lane_path(self.run.runtime_dir, context.child_id, "history"),
            on_open=lambda peer: None,
            on_message=self._take,
            on_close=lambda peer: None,
        )

    async def start(self) -> None:
        """Open the lane, then begin to connect."""
        await self._lane.start()
        self.context.spawn(self._serve(), name="history_requests")
        await super().start()

    async def stop(self) -> None:
        """Log out and close the lane."""
        await super().stop()
        await self._lane.close()

    async def on_link_up(self, session: PlantSession) -> None:
        self._is_up.set()

    def on_link_down(self, reason: str) -> None:
        self._is_up.clear()

    def _take(self, peer: Peer, message: Message) -> None:
        if not isinstance(message, RequestBars | RequestTicks):
            self.context.log.warning("lane_message_refused", message=type(message).__name__, peer_pid=peer.pid)
            peer.close()
            return
        if not 1 <= message.count <= ITEMS_MAX:
            _fail(peer, message, f"count must be between 1 and {ITEMS_MAX}")
        elif isinstance(message, RequestBars) and not _is_period(message.period_s):
            _fail(peer, message, f"no bars of {message.period_s} s: use seconds, whole minutes or one day")
        elif self._queue.full():
            _fail(peer, message, f"{QUEUE_MAX} requests wait already")
        else:
            self._queue.put_nowait((peer, message, self.context.clock.monotonic_s()))

    async def _serve(self) -> None:
        while True:
            peer, request, asked_at_s = await self._queue.get()
            if peer.closed:
                continue
            try:
                waited_s = self.context.clock.monotonic_s() - asked_at_s
                async with asyncio.timeout(max(0.0, LINK_WAIT_S - waited_s)):
                    await self._is_up.wait()
                await self._answer(peer, request)
            except TimeoutError:
                _fail(peer, request, "the history plant is not connected")
            except (LinkError, RequestRefused) as error:
                _fail(peer, request, str(error))

    async def _answer(self, peer: Peer, request: Request) -> None:
        session = self.session
        if session is None:
            raise LinkError("the history plant is not connected")
        if isinstance(request, RequestBars):
            _send_bars(peer, request, await self._bars(session, request))
        else:
            _send_ticks(peer, request, await self._ticks(session, request))

    async def _bars(self, session: PlantSession, request: RequestBars) -> list[Bar]:
        bar_type, period = _bar_type(request.period_s)
        start_index, finish_index = self._range(request)
        if bar_type is BarType.DAILY:
            start_index, finish_index = _day_index(start_index), _day_index(finish_index)
        frames = await session.request(
            TIME_BAR_REPLAY,
            timeout_s=REPLAY_TIMEOUT_S,
            symbol=request.symbol,
            exchange=request.exchange,
            bar_type=int(bar_type),
            bar_type_period=period,
            start_index=start_index,
            finish_index=finish_index,
            user_max_count=request.count,
            direction=int(ReplayDirection.LAST),
            time_order=int(ReplayOrder.FORWARDS),
        )
        bars = [bar for frame in frames if (bar := decode_bar(frame)) is not None]
        bars.sort(key=lambda bar: bar.ts_event_ns)
        return bars[-request.count :]

    async def _ticks(self, session: PlantSession, request: RequestTicks) -> list[TradeTick]:
        frames = await session.request(
            TICK_BAR_REPLAY,
            timeout_s=REPLAY_TIMEOUT_S,
            symbol=request.symbol,
            exchange=request.exchange,
            bar_type=int(TickBarType.TICK),
            bar_sub_type=1,
            bar_type_specifier="1",
            start_index=max(_INDEX_MIN, request.ts_start_ns // _NS),
            # The gateway counts whole seconds; what is too much at the ends is cut off below.
            finish_index=min(_INDEX_MAX, -(-request.ts_end_ns // _NS)),
            user_max_count=ITEMS_MAX,
            direction=int(ReplayDirection.FIRST),
            time_order=int(ReplayOrder.FORWARDS),
        )
        ts_recv_ns = self.context.clock.now_ns()
        ticks = [tick for frame in frames if (tick := decode_tick(frame, ts_recv_ns)) is not None]
        # Microseconds are all that the wire has: a start within one would lose its own tick otherwise.
        ts_start_ns = request.ts_start_ns // 1000 * 1000
        chosen = [tick for tick in ticks if ts_start_ns <= tick.ts_event_ns <= request.ts_end_ns]
        return chosen[: request.count]

    def _range(self, request: RequestBars) -> tuple[int, int]:
        """Start and end in seconds. The embedded exchange may play any date, so that there all of it is asked for."""
        if request.ts_end_ns == 0 and self.run.settings.mode == "sim":
            return _INDEX_MIN, _INDEX_MAX
        end_ns = request.ts_end_ns or self.context.market_time.now_ns()
        finish_s = end_ns // _NS
        lookback_s = max(LOOKBACK_MIN_S, LOOKBACK_FACTOR * request.period_s * request.count)
        return max(_INDEX_MIN, finish_s - lookback_s), finish_s


def _is_period(period_s: int) -> bool:
    return 1 <= period_s < DAY_S or period_s == DAY_S


def _bar_type(period_s: int) -> tuple[BarType, int]:
    if period_s == DAY_S:
        return BarType.DAILY, 1
    if period_s % 60 == 0:
        return BarType.MINUTE, period_s // 60
    return BarType.SECOND, period_s


def _day_index(second: int) -> int:
    """Daily bars are asked for by trade date, YYYYMMDD; unix seconds give an empty answer."""
    return int(datetime.fromtimestamp(second, UTC).strftime("%Y%m%d"))


def _send_bars(peer: Peer, request: Request, bars: list[Bar]) -> None:
    for first in range(0, max(len(bars), 1), PAGE_ITEMS_MAX):
        page = tuple(bars[first : first + PAGE_ITEMS_MAX])
        is_last = first + PAGE_ITEMS_MAX >= len(bars)
        _send(peer, HistoryPage(request_id=request.request_id, bars=page, is_last=is_last))


def _send_ticks(peer: Peer, request: Request, ticks: list[TradeTick]) -> None:
    for first in range(0, max(len(ticks), 1), PAGE_ITEMS_MAX):
        page = tuple(ticks[first : first + PAGE_ITEMS_MAX])
        is_last = first + PAGE_ITEMS_MAX >= len(ticks)
        _send(peer, HistoryPage(request_id=request.request_id, ticks=page, is_last=is_last))


def _fail(peer: Peer, request: Request, error: str) -> None:
    _send(peer, HistoryPage(request_id=request.request_id, is_last=True, error=error))


def _send(peer: Peer, page: HistoryPage) -> None:
    try:
        peer.send(page)
    except LaneError:
        # Whoever asked is gone or reads nothing any more; half an answer would look like a whole one.
        peer.close()
