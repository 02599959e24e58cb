"""The history plant: replays of time bars and ticks, and live bars as they close."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from nightdesk.messages.enums import AggressorSide, BarUnit
from nightdesk.simulator.model import Product, Traded
from nightdesk.simulator.plants.bars import BarState
from nightdesk.simulator.plants.reference import day_of_index, start_of_day_s
from nightdesk.simulator.wire.framing import OutgoingFrame
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FINISH_INDEX_MISSING,
    NO_DATA,
    OK,
    START_INDEX_MISSING,
    SYMBOL_MISSING,
    Session,
)
from nightdesk.simulator.wire.templates import encode

NS_PER_S = 1_000_000_000
RECORDS_MAX = 10_000
"""The real server's cap of one replay: what is over is left out and the last frame looks complete."""

RECORDS_RESUMED_MAX = 100_000
"""The cap with ``resume_bars``: all in one answer, there is no truncation notice."""

PERIOD_MAX = 86_400
SUBSCRIBE = 1
UNSUBSCRIBE = 2
_LAST = 2
_BACKWARDS = 2
_TICK_BAR = 1
_UNITS = {1: BarUnit.SECOND, 2: BarUnit.MINUTE, 3: BarUnit.DAY}
_TYPE_OF = {unit: number for number, unit in _UNITS.items()}
_SECONDS = {BarUnit.SECOND: 1, BarUnit.MINUTE: 60}

BarKey = tuple[str, BarUnit, int]
Record = TypeVar("Record")


class BarFeed:
    """Who gets which live bar when it closes."""

    def __init__(self) -> None:
        self._sessions: dict[BarKey, list[Session]] = {}

    def subscribe(self, session: Session, key: BarKey) -> bool:
        """True when the subscription is new and the bar has to be watched."""
        sessions = self._sessions.setdefault(key, [])
        if session in sessions:
            return False
        sessions.append(session)
        return True

    def unsubscribe(self, session: Session, key: BarKey) -> bool:
        """True when there was such a subscription."""
        sessions = self._sessions.get(key, [])
        if session not in sessions:
            return False
        sessions.remove(session)
        return True

    def forget(self, session: Session) -> list[BarKey]:
        """The session is gone; the bars that it had watched."""
        return [key for key in self._sessions if self.unsubscribe(session, key)]

    def closed(self, bar: BarState) -> None:
        """Send a closed bar to its subscribers."""
        sessions = self._sessions.get((bar.symbol, bar.unit, bar.period))
        if sessions:
            frame = OutgoingFrame(encode(250, **_bar_fields(bar)))
            for session in sessions:
                session.send(frame)


def _marker(bar: BarState) -> int:
    """The end of an intraday bar; a daily one has its trade date as YYYYMMDD."""
    if bar.unit is BarUnit.DAY:
        return int(datetime.fromtimestamp(bar.ts_end_s - 1, UTC).strftime("%Y%m%d"))
    return bar.ts_end_s


def _bar_fields(bar: BarState) -> dict[str, object]:
    return {
        "symbol": bar.symbol,
        "exchange": bar.exchange,
        "type": _TYPE_OF[bar.unit],
        "period": str(bar.period * _SECONDS.get(bar.unit, 1)),
        "marker": _marker(bar),
        "num_trades": bar.trades,
        "volume": bar.volume,
        "bid_volume": bar.bid_volume,
        "ask_volume": bar.ask_volume,
        "open_price": bar.open,
        "close_price": bar.close,
        "high_price": bar.high,
        "low_price": bar.low,
    }


def _product(session: Session, response_id: int, request: Any) -> Product | None:
    """The contract of a request; None when the request has been refused."""
    if not request.symbol:
        session.done(response_id, request, SYMBOL_MISSING)
        return None
    product = session.exchange.catalog.find(request.symbol, request.exchange)
    if product is None:
        session.done(response_id, request, NO_DATA)
    return product


def _refuses_range(session: Session, response_id: int, request: Any) -> bool:
    if not request.HasField("start_index"):
        session.done(response_id, request, START_INDEX_MISSING)
    elif not request.HasField("finish_index"):
        session.done(response_id, request, FINISH_INDEX_MISSING)
    else:
        return False
    return True


def _selected(records: Sequence[Record], request: Any) -> list[Record]:
    cap = RECORDS_RESUMED_MAX if request.resume_bars else RECORDS_MAX
    count = min(request.user_max_count, cap) if request.user_max_count > 0 else cap
    chosen = list(records[-count:] if request.direction == _LAST else records[:count])
    if request.time_order == _BACKWARDS:
        chosen.reverse()
    return chosen


def time_bars(session: Session, request: Any) -> None:
    """202 → one 203 per bar, then a bare one."""
    product = _product(session, 203, request)
    if product is None or _refuses_range(session, 203, request):
        return
    unit = _UNITS.get(request.bar_type) if request.HasField("bar_type") else None
    period = request.bar_type_period or 1
    if unit is None or not 1 <= period <= PERIOD_MAX:
        session.done(203, request, BAD_INPUT)
        return
    start_s, finish_s = request.start_index, request.finish_index
    if unit is BarUnit.DAY:
        # Days are asked for by YYYYMMDD; a client that sends unix seconds gets an empty answer, as from the real one.
        first, last = day_of_index(start_s), day_of_index(finish_s)
        if first is None or last is None:
            session.done(203, request, NO_DATA)
            return
        start_s, finish_s = start_of_day_s(first) + 1, start_of_day_s(last + timedelta(days=1))
    bars = session.exchange.bars.bars(product.symbol, unit, period, start_s, finish_s)
    for bar in _selected(bars, request):
        session.more(203, request, **_bar_fields(bar))
    session.done(203, request, OK if bars else NO_DATA)


def tick_bars(session: Session, request: Any) -> None:
    """206 → one 207 per bar of N trades (usually one), then a bare one."""
    product = _product(session, 207, request)
    if product is None or _refuses_range(session, 207, request):
        return
    specifier = request.bar_type_specifier or "1"
    is_number = specifier.isascii() and specifier.isdigit() and len(specifier) <= len(str(PERIOD_MAX))
    if request.bar_type != _TICK_BAR or not is_number or int(specifier) < 1:
        session.done(207, request, BAD_INPUT)
        return
    trades = session.exchange.bars.ticks(product.symbol, request.start_index, request.finish_index)
    count = int(specifier)
    groups = [trades[first : first + count] for first in range(0, len(trades), count)]
    for group in _selected(groups, request):
        _tick_bar(session, request, specifier, group)
    session.done(207, request, OK if trades else NO_DATA)


def _tick_bar(session: Session, request: Any, specifier: str, trades: Sequence[Traded]) -> None:
    first, last = trades[0], trades[-1]
    prices = [trade.price for trade in trades]
    session.more(
        207,
        request,
        symbol=first.symbol,
        exchange=first.exchange,
        type=_TICK_BAR,
        sub_type=1,
        type_specifier=specifier,
        num_trades=len(trades),
        volume=sum(trade.quantity for trade in trades),
        bid_volume=sum(trade.quantity for trade in trades if trade.aggressor is AggressorSide.SELL),
        ask_volume=sum(trade.quantity for trade in trades if trade.aggressor is AggressorSide.BUY),
        open_price=first.price,
        close_price=last.price,
        high_price=max(prices),
        low_price=min(prices),
        data_bar_ssboe=[first.ts_ns // NS_PER_S, last.ts_ns // NS_PER_S],
        data_bar_usecs=[first.ts_ns % NS_PER_S // 1000, last.ts_ns % NS_PER_S // 1000],
    )


def live_bars(session: Session, request: Any) -> None:
    """200 → 201, then 250 on each close."""
    product = _product(session, 201, request)
    if product is None:
        return
    unit = _UNITS.get(request.bar_type) if request.HasField("bar_type") else None
    period = request.bar_type_period or 1
    if unit is None or not 1 <= period <= PERIOD_MAX:
        session.done(201, request, BAD_INPUT)
        return
    exchange = session.exchange
    key = (product.symbol, unit, period)
    if request.request == SUBSCRIBE:
        if exchange.bar_feed.subscribe(session, key):
            exchange.bars.watch(*key)
        session.done(201, request)
    elif request.request == UNSUBSCRIBE:
        if exchange.bar_feed.unsubscribe(session, key):
            exchange.bars.unwatch(*key)
        session.done(201, request)
    else:
        session.done(201, request, BAD_INPUT)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {200: live_bars, 202: time_bars, 206: tick_bars}
