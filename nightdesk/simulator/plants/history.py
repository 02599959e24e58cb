"""The history plant: replays of time bars, bars of trades, range and volume, and volume profiles; live bars."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from nightdesk.messages.enums import BarUnit
from nightdesk.simulator.model import Product
from nightdesk.simulator.plants.bar_frames import (
    CUSTOM,
    REGULAR,
    UNITS,
    profile_bar_fields,
    tick_bar_fields,
    time_bar_fields,
)
from nightdesk.simulator.plants.past import ContractHistory
from nightdesk.simulator.plants.past_columns import chosen
from nightdesk.simulator.plants.reference import NS_PER_S, day_of_index, start_of_day_s
from nightdesk.simulator.plants.replays import Fields
from nightdesk.simulator.plants.tick_bars import SECONDS_PER_DAY, DaySpan, TickBar, TickBarKind, TickBarTerms, tick_bars
from nightdesk.simulator.plants.volume_profile import profile_bars
from nightdesk.simulator.wire.session import (
    BAD_INPUT,
    FINISH_INDEX_MISSING,
    NO_DATA,
    PERMISSION_DENIED,
    REFERENCE_DATA_MISSING,
    START_INDEX_MISSING,
    SUBSCRIBE,
    SYMBOL_MISSING,
    UNSUBSCRIBE,
    Session,
)

RECORDS_MAX = 10_000
"""The real server's cap of one replay: what is over is left out and the last frame looks complete."""

RECORDS_RESUMED_MAX = 1_000_000
"""The cap with ``resume_bars``; time bars are made while they are sent, so that memory does not grow with it."""

RECORDS_HELD_MAX = 100_000
"""Bars of trades and profiles that are asked for from the end or backwards are all held before the first is sent."""

PERIOD_MAX = 86_400
SIZE_MAX = 1_000_000
TOO_MANY = ("6", "too many subscriptions")
_LAST = 2
_BACKWARDS = 2
_KINDS = {int(kind): kind for kind in TickBarKind}
Bar = TypeVar("Bar")


def _product(session: Session, response_id: int, request: Any, unknown: tuple[str, ...] = NO_DATA) -> Product | None:
    """The contract of a request; None when the request has been refused."""
    if not session.may("history"):
        session.done(response_id, request, PERMISSION_DENIED)
        return None
    if not request.symbol:
        session.done(response_id, request, SYMBOL_MISSING)
        return None
    product = session.exchange.catalog.find(request.symbol, request.exchange)
    if product is None:
        session.done(response_id, request, unknown)
    return product


def _refuses_range(session: Session, response_id: int, request: Any) -> bool:
    if not request.HasField("start_index"):
        session.done(response_id, request, START_INDEX_MISSING)
    elif not request.HasField("finish_index"):
        session.done(response_id, request, FINISH_INDEX_MISSING)
    else:
        return False
    return True


def _count(session: Session, request: Any) -> int:
    cap = RECORDS_RESUMED_MAX if request.resume_bars else session.exchange.history_records_max
    return min(request.user_max_count, cap) if request.user_max_count > 0 else cap


def _selected(bars: Iterable[Bar], request: Any, count: int) -> Iterator[Bar]:
    """The bars that a request with a direction and an order wants of those in its interval.

    All of them may have to be made for the first: that is done when it is asked for, which is not on the loop.
    """
    if request.direction != _LAST and request.time_order != _BACKWARDS:
        yield from islice(bars, count)
        return
    held = min(count, RECORDS_HELD_MAX)
    part = deque(bars, maxlen=held) if request.direction == _LAST else deque(islice(bars, held))
    yield from reversed(part) if request.time_order == _BACKWARDS else part


def _answer(
    session: Session,
    response_id: int,
    request: Any,
    product: Product,
    records: Callable[[ContractHistory], Iterator[Fields]],
) -> None:
    """Let the desk send what ``records`` makes of the contract's history at the time when its turn has come."""
    exchange = session.exchange
    symbol = product.symbol

    def now_s() -> int:
        return exchange.now_ns() // NS_PER_S

    def source() -> Iterator[Fields]:
        past = exchange.past.of(symbol)
        return records(ContractHistory(past, exchange.bars, symbol, product.exchange, now_s()))

    def prepare() -> None:
        exchange.past.load(symbol, now_s())

    exchange.replays.start(session, response_id, request, source, prepare)


def _unit_and_period(request: Any) -> tuple[BarUnit, int] | None:
    """The bar of a 200 or 202; None for one that there is not."""
    unit = UNITS.get(request.bar_type) if request.HasField("bar_type") else None
    period = request.bar_type_period if request.HasField("bar_type_period") else 1
    return (unit, period) if unit is not None and 1 <= period <= PERIOD_MAX else None


def _interval(unit: BarUnit, period: int, request: Any) -> tuple[int, int] | None:
    """The unix seconds between which a bar's end has to be; None for dates that are none.

    Days and weeks are asked for by YYYYMMDD: all that have to do with one of these days. A client that sends unix
    seconds gets an empty answer, as from the real one.
    """
    if unit not in (BarUnit.DAY, BarUnit.WEEK):
        return request.start_index, request.finish_index
    first, last = day_of_index(request.start_index), day_of_index(request.finish_index)
    if first is None or last is None:
        return None
    whole_s = SECONDS_PER_DAY * period * (7 if unit is BarUnit.WEEK else 1)
    return start_of_day_s(first) + 1, start_of_day_s(last) + whole_s


def time_bars(session: Session, request: Any) -> None:
    """202 → one 203 per bar, then a bare one."""
    product = _product(session, 203, request)
    if product is None or _refuses_range(session, 203, request):
        return
    wanted = _unit_and_period(request)
    if wanted is None:
        session.done(203, request, BAD_INPUT)
        return
    unit, period = wanted
    interval = _interval(unit, period, request)
    if interval is None:
        session.done(203, request, NO_DATA)
        return
    count = _count(session, request)

    def records(history: ContractHistory) -> Iterator[Fields]:
        segments = history.time_bars(unit, period, *interval)
        backwards = request.time_order == _BACKWARDS
        bars = chosen(segments, count, from_end=request.direction == _LAST, backwards=backwards)
        return map(time_bar_fields, bars)

    _answer(session, 203, request, product, records)


def _tick_bar_terms(request: Any, product: Product) -> TickBarTerms | None:
    """The bars of a 204 or 206; None for such that there are not."""
    kind = _KINDS.get(request.bar_type) if request.HasField("bar_type") else None
    specifier = request.bar_type_specifier or "1"
    is_number = specifier.isascii() and specifier.isdigit() and len(specifier) <= len(str(SIZE_MAX))
    if kind is None or not is_number or not 1 <= int(specifier) <= SIZE_MAX:
        return None
    span = None
    if (request.bar_sub_type if request.HasField("bar_sub_type") else REGULAR) == CUSTOM:
        span = DaySpan(request.custom_session_open_ssm, request.custom_session_close_ssm)
        if not all(0 <= second <= SECONDS_PER_DAY for second in span):
            return None
    return TickBarTerms(kind, int(specifier), product.tick_size, span)


def tick_bar_replay(session: Session, request: Any) -> None:
    """206 → one 207 per bar of trades, range or volume, then a bare one."""
    product = _product(session, 207, request, REFERENCE_DATA_MISSING)
    if product is None or _refuses_range(session, 207, request):
        return
    terms = _tick_bar_terms(request, product)
    if terms is None:
        session.done(207, request, BAD_INPUT)
        return
    count = _count(session, request)

    def records(history: ContractHistory) -> Iterator[Fields]:
        trades = history.trades(request.start_index, request.finish_index)
        skipped = 0
        if request.direction == _LAST and terms.kind is TickBarKind.TICK and terms.span is None:
            # Where such bars begin is known without building those that are not wanted.
            skipped = max(0, -(-len(trades) // terms.size) - count) * terms.size
        bars = tick_bars(trades.after(skipped), terms)
        return _tick_bar_records(_selected(_clamped(bars, request.start_index), request, count), terms, product)

    _answer(session, 207, request, product, records)


def _clamped(bars: Iterable[TickBar], start_s: int) -> Iterator[tuple[TickBar, int | None]]:
    """The real server tells the time of the first bar without its microseconds.

    That is done here only when it begins in the second that was asked for: some clients ask for their next page from
    this time on, and one that is too early would send them back.
    """
    is_first = True
    for bar in bars:
        yield bar, start_s * NS_PER_S if is_first and bar.ts_open_ns // NS_PER_S == start_s else None
        is_first = False


def _tick_bar_records(
    bars: Iterable[tuple[TickBar, int | None]], terms: TickBarTerms, product: Product
) -> Iterator[Fields]:
    for bar, open_ns in bars:
        yield tick_bar_fields(product.symbol, product.exchange, terms, bar, open_ns)


def volume_profiles(session: Session, request: Any) -> None:
    """208 → one 209 per bar of minutes with the volume at each price, oldest first, then a bare one."""
    product = _product(session, 209, request)
    if product is None or _refuses_range(session, 209, request):
        return
    period = request.bar_type_period if request.HasField("bar_type_period") else 1
    if not 1 <= period <= PERIOD_MAX:
        session.done(209, request, BAD_INPUT)
        return
    count = _count(session, request)

    def records(history: ContractHistory) -> Iterator[Fields]:
        length_s = period * 60
        # Bars whose end is in the interval, whole ones: their trades begin before it.
        first_s = -(-request.start_index // length_s) * length_s - length_s
        end_s = request.finish_index // length_s * length_s
        bars = islice(profile_bars(history.trades(first_s, end_s - 1).after(0), period), count)
        return (profile_bar_fields(product.symbol, product.exchange, period, bar) for bar in bars)

    _answer(session, 209, request, product, records)


def resume(session: Session, request: Any) -> None:
    """210 → 211; the rest of the halted answer follows under its own request's ``user_msg``."""
    if not session.may("history"):
        session.done(211, request, PERMISSION_DENIED)
    elif not request.HasField("request_key") or not session.exchange.replays.is_halted(session, request.request_key):
        session.done(211, request, BAD_INPUT)
    else:
        session.done(211, request)
        session.exchange.replays.resume(session, request.request_key)


def live_bars(session: Session, request: Any) -> None:
    """200 → 201, then 250 on each close."""
    product = _product(session, 201, request)
    if product is None:
        return
    wanted = _unit_and_period(request)
    exchange = session.exchange
    if wanted is None or request.request not in (SUBSCRIBE, UNSUBSCRIBE):
        session.done(201, request, BAD_INPUT)
        return
    key = (product.symbol, *wanted)
    if request.request == SUBSCRIBE and exchange.bar_feed.is_full(session):
        session.done(201, request, TOO_MANY)
        return
    if request.request == SUBSCRIBE:
        _pace(session)
        if exchange.bar_feed.subscribe(session, key):
            exchange.bars.watch(*key)
    elif exchange.bar_feed.unsubscribe(session, key):
        exchange.bars.unwatch(*key)
    session.done(201, request)


def _pace(session: Session) -> None:
    """A market that goes as fast as it is taken waits for whoever gets its bars, as for whoever gets its ticks."""
    if session.exchange.is_lossless:
        session.outlet.pace()


def live_tick_bars(session: Session, request: Any) -> None:
    """204 → 205, then 251 on each close."""
    product = _product(session, 205, request)
    if product is None:
        return
    terms = _tick_bar_terms(request, product)
    if terms is None or request.request not in (SUBSCRIBE, UNSUBSCRIBE):
        session.done(205, request, BAD_INPUT)
        return
    feed = session.exchange.bar_feed
    if request.request == SUBSCRIBE and feed.is_full(session):
        session.done(205, request, TOO_MANY)
        return
    if request.request == SUBSCRIBE:
        _pace(session)
        feed.subscribe_ticks(session, (product.symbol, terms))
    else:
        feed.unsubscribe_ticks(session, (product.symbol, terms))
    session.done(205, request)


HANDLERS: dict[int, Callable[[Session, Any], None]] = {
    200: live_bars,
    202: time_bars,
    204: live_tick_bars,
    206: tick_bar_replay,
    208: volume_profiles,
    210: resume,
}
