"""The two markets that are compared: an hour of the recorded order book, and simulated hours of the same length."""

from pathlib import Path
from typing import NamedTuple

from benchmarks.tape_statistics import LEVELS, BookState, Tape
from nightdesk.settings.models import SyntheticSource
from nightdesk.simulator.flows.calibrated import CALIBRATED, Calibration
from nightdesk.simulator.flows.synthetic import SyntheticFlow
from nightdesk.simulator.model import Product, Quoted
from nightdesk.simulator.venue.matching import BookSide, Matched, MatchingEngine, Order, Outcome, Printed
from nightdesk.simulator.venue.venue import Venue

OPEN_NS = 1_703_545_200_000_000_000
START_NS = OPEN_NS + 60_000_000_000
"""The first minute after the opening cross is left out: it has five times the hour's rate."""
END_NS = OPEN_NS + 3_600_000_000_000
WARM_UP_S = 600
"""A simulated market begins with a made-up book; so long it is not measured."""

_PRODUCT = Product("ES", "CME", 0.25, 50.0, 0.0)
_COLUMNS = ["ts_event_ns", "action", "side", "size", "order_id", "flags", "price"]
_LEVELS_COUNTED = 23
_SNAPSHOT, _LAST_OF_EVENT = 32, 128
_TICKS_PER_POINT = 4


class Action(NamedTuple):
    """One thing that happened to the recorded book; ``depth`` is ticks behind the best price of its own side."""

    ts_ns: int
    kind: str
    is_buy: bool
    size: int
    depth: int


class RecordedHour(NamedTuple):
    """The hour after the opening minute; ``orders_by_level`` is the mean number at the first prices of both sides."""

    tape: Tape
    actions: list[Action]
    orders_by_level: list[float]


class _RecordedBook:
    """The book as the recorded messages build it. What a trade takes away is told apart from what is canceled."""

    def __init__(self) -> None:
        self.sizes: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.counts: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._orders: dict[int, tuple[bool, int, int]] = {}
        self._filled: set[int] = set()
        self._first: list[list[int]] = [[], []]
        self._is_stale = [True, True]

    def apply(self, action: str, is_buy: bool, size: int, order_id: int, price: int) -> list[tuple[str, int, int]]:
        """Apply one message; what it means: (kind, price, size) with kinds order, cancel, filled, trade."""
        if action == "T":
            return [("trade", price, size)]
        if action == "F":
            self._filled.add(order_id)
            return []
        if action == "A":
            self._rest(order_id, is_buy, price, size)
            return [("order", price, size)]
        was_filled = order_id in self._filled
        self._filled.discard(order_id)
        _, old_price, old_size = self._take(order_id)
        if action == "C":
            return [("filled" if was_filled else "cancel", old_price, old_size)]
        self._rest(order_id, is_buy, price, size)
        if price == old_price and size <= old_size:
            return []
        return [("cancel", old_price, old_size), ("order", price, size)]

    def weigh(self, state: BookState, share: float, means: list[float]) -> None:
        """Add the orders at the first prices from the best on, both sides, for a share of the time."""
        for depth in range(len(means)):
            found = self.counts[1].get(state.bid - depth, 0) + self.counts[0].get(state.ask + depth, 0)
            means[depth] += share * found

    def state(self, ts_ns: int) -> BookState:
        for is_buy in (True, False):
            if self._is_stale[is_buy]:
                self._first[is_buy] = sorted(self.sizes[is_buy], reverse=is_buy)[:LEVELS]
                self._is_stale[is_buy] = False
        asks, bids = self._first
        return BookState(
            ts_ns,
            bids[0],
            asks[0],
            tuple(self.sizes[True][price] for price in bids),
            tuple(self.sizes[False][price] for price in asks),
        )

    def _rest(self, order_id: int, is_buy: bool, price: int, size: int) -> None:
        self._orders[order_id] = (is_buy, price, size)
        self._change(is_buy, price, size, 1)

    def _take(self, order_id: int) -> tuple[bool, int, int]:
        order = is_buy, price, size = self._orders.pop(order_id)
        self._change(is_buy, price, -size, -1)
        return order

    def _change(self, is_buy: bool, price: int, size: int, orders: int) -> None:
        _count(self.sizes[is_buy], price, size)
        _count(self.counts[is_buy], price, orders)
        first = self._first[is_buy]
        if not first or (price >= first[-1] if is_buy else price <= first[-1]):
            self._is_stale[is_buy] = True


def recorded_hour(path: Path) -> RecordedHour:
    """Replay the file; the snapshot and the pre-open build the book."""
    import pyarrow.parquet

    columns = pyarrow.parquet.read_table(path, columns=_COLUMNS).to_pydict()
    hour = RecordedHour(Tape(START_NS, END_NS), [], [0.0] * _LEVELS_COUNTED)
    tape, book = hour.tape, _RecordedBook()
    last = BookState(OPEN_NS, 0, 0, (), ())
    weighed_ns = START_NS
    for ts_ns, action, side, size, order_id, flags, price in zip(*(columns[name] for name in _COLUMNS), strict=True):
        is_buy, ticks = side == "B", round(price * _TICKS_PER_POINT)
        if ts_ns > weighed_ns:
            book.weigh(last, (ts_ns - weighed_ns) / (2 * (END_NS - START_NS)), hour.orders_by_level)
            weighed_ns = ts_ns
        happened = book.apply(action, is_buy, size, order_id, ticks)
        if flags & _SNAPSHOT or ts_ns < OPEN_NS:
            continue
        if ts_ns >= START_NS:
            for kind, at, quantity in happened:
                depth = max(0, last.bid - at if is_buy else at - last.ask)
                hour.actions.append(Action(ts_ns, kind, is_buy, quantity, depth))
                _note(tape, ts_ns, kind, is_buy, quantity)
        if flags & _LAST_OF_EVENT:
            state = book.state(ts_ns)
            if state.bid < state.ask:
                tape.states.append(state)
                tape.published += ts_ns >= START_NS and state.top != last.top
                last = state
    first = next(index for index, state in enumerate(tape.states) if state.ts_ns >= START_NS)
    del tape.states[:first]
    return hour


class _WatchedEngine(MatchingEngine):
    """Writes down what the crowd does."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: Tape | None = None
        self.now_ns = 0

    def submit(self, order: Order) -> list[Outcome]:
        size = order.leaves
        outcomes = super().submit(order)
        if self.tape is not None:
            for outcome in outcomes:
                if isinstance(outcome, Printed):
                    _note(self.tape, self.now_ns, "trade", bool(outcome.aggressor_is_buy), outcome.quantity)
                elif isinstance(outcome, Matched) and outcome.maker is not None and not outcome.maker.leaves:
                    _note(self.tape, self.now_ns, "filled", not order.is_buy, outcome.quantity)
            if order.limit is not None and order.leaves:
                _note(self.tape, self.now_ns, "order", order.is_buy, size)
        return outcomes

    def cancel(self, order: Order) -> None:
        super().cancel(order)
        if self.tape is not None:
            self.tape.canceled += 1


def simulated_hour(
    seed: int, calibration: Calibration = CALIBRATED, seconds: int = (END_NS - START_NS) // 10**9
) -> Tape:
    """An hour of the synthetic market in the recorded market's own time, with nobody in it but the flow."""
    venue = Venue([_PRODUCT], ["SIM-1"], 0.0)
    engine = _WatchedEngine()
    venue.install_matcher(_PRODUCT.symbol, engine)
    source = SyntheticSource(kind="synthetic", seed=seed, ticks_per_second=calibration.published_per_s)
    flow = SyntheticFlow(source, venue, [_PRODUCT], 0, calibration)
    tape = Tape(WARM_UP_S * 10**9, (WARM_UP_S + seconds) * 10**9)
    while (due := flow.next()) is not None and due[0] < tape.end_ns:
        engine.now_ns, step = due
        if engine.tape is None and engine.now_ns >= tape.start_ns:
            engine.tape = tape
        events = step()
        bids, asks = engine.bids, engine.asks
        if engine.tape is None or bids.best is None or asks.best is None:
            continue
        tape.published += sum(isinstance(event, Quoted) for event in events)
        tape.states.append(BookState(engine.now_ns, bids.best, asks.best, _sizes(bids), _sizes(asks)))
    return tape


def _sizes(side: BookSide) -> tuple[int, ...]:
    return tuple(side.levels[abs(key)].total for key in side.keys[: -LEVELS - 1 : -1])


def _note(tape: Tape, ts_ns: int, kind: str, is_buy: bool, size: int) -> None:
    if kind == "order":
        tape.orders.append((ts_ns, size))
    elif kind == "trade":
        tape.trades.append((ts_ns, 1 if is_buy else -1, size))
        tape.published += 1
    elif kind == "cancel":
        tape.canceled += 1
    else:
        tape.filled += 1


def _count(counts: dict[int, int], price: int, change: int) -> None:
    left = counts.get(price, 0) + change
    if left:
        counts[price] = left
    else:
        del counts[price]
