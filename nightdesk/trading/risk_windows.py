"""What the gate counts over time: sends and cancels, equal orders, refusals in a row. Pure; ``now_s`` is monotonic.

The windows forget by themselves. Their stamps hold for every process since the machine's start, so a row that is read
back later counts only what is still within the window.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from nightdesk.messages import OrderType, Side, StrategyId, SubmitOrder
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.risk_rows import from_text, to_text
from nightdesk.trading.units import to_nanos

SECOND = 1.0

DUPLICATES_KEPT_MAX = 10_000
"""Different orders that are remembered; no gateway takes so many within the longest window."""


class WindowRow(msgspec.Struct, frozen=True):
    """A window of sends"""

    stamps: list[float]


class SlidingWindow:
    """Counts events of the last second; remembers no more than one over its limit, however many there are."""

    def __init__(self, limit: int, window_s: float = SECOND) -> None:
        self._window_s = window_s
        self._stamps: deque[float] = deque(maxlen=limit + 1)

    def note(self, now_s: float) -> None:
        """One more."""
        self._stamps.append(now_s)

    def count(self, now_s: float) -> int:
        """How many within the window that ends now, counted up to one over the limit."""
        while self._stamps and self._stamps[0] <= now_s - self._window_s:
            self._stamps.popleft()
        return len(self._stamps)

    def to_row(self) -> str:
        """For the journal."""
        return to_text(WindowRow(list(self._stamps)))

    @classmethod
    def from_row(cls, text: str, limit: int, now_s: float, window_s: float = SECOND) -> "SlidingWindow":
        """What of a row is still within the window; stamps after the present are of before the machine's start."""
        window = cls(limit, window_s)
        for stamp in from_text(WindowRow, text).stamps:
            if now_s - window_s < stamp <= now_s:
                window.note(stamp)
        return window


class Throttle:
    """The windows of the account and of those strategies that have a limit of their own."""

    def __init__(self, limits: Mapping[StrategyId, int | None]) -> None:
        """``limits`` per owner; None counts nothing."""
        self._windows = {owner: SlidingWindow(limit) for owner, limit in limits.items() if limit is not None}

    def note(self, strategy_id: StrategyId, now_s: float) -> None:
        """A strategy sent one: it counts for the strategy and for the account."""
        for owner in {strategy_id, ACCOUNT}:
            window = self._windows.get(owner)
            if window is not None:
                window.note(now_s)

    def count(self, owner: StrategyId, now_s: float) -> int:
        """How many of an owner's are in the window; 0 without a limit."""
        window = self._windows.get(owner)
        return 0 if window is None else window.count(now_s)


class OrderKey(NamedTuple):
    """What makes two orders equal."""

    strategy_id: StrategyId
    symbol: str
    side: Side
    quantity: int
    order_type: OrderType
    price_nanos: int | None
    trigger_nanos: int | None

    @classmethod
    def of(cls, order: SubmitOrder) -> "OrderKey":
        """Of an order whose prices are numbers."""
        return cls(
            order.strategy_id,
            order.symbol,
            order.side,
            order.quantity,
            order.order_type,
            None if order.price is None else to_nanos(order.price),
            None if order.trigger_price is None else to_nanos(order.trigger_price),
        )


class DuplicateRow(msgspec.Struct, frozen=True):
    """The window of equal orders"""

    sent: list[tuple[StrategyId, str, Side, int, OrderType, int | None, int | None, float]]


class DuplicateWindow:
    """When each different order was last sent. Denied orders do not count: a denial does not prolong itself."""

    def __init__(self, window_s: float) -> None:
        """``window_s`` is the longest window that anybody asks for."""
        self._window_s = window_s
        self._sent: OrderedDict[OrderKey, float] = OrderedDict()

    @property
    def window_s(self) -> float:
        """How long an order is remembered."""
        return self._window_s

    def note(self, key: OrderKey, now_s: float) -> None:
        """An order was sent."""
        self._sent[key] = now_s
        self._sent.move_to_end(key)
        self._forget(now_s)

    def age_s(self, key: OrderKey, now_s: float) -> float | None:
        """How long ago an equal order was sent; None for none within the window."""
        self._forget(now_s)
        sent_s = self._sent.get(key)
        return None if sent_s is None else now_s - sent_s

    def to_row(self) -> str:
        """For the journal."""
        return to_text(DuplicateRow([(*key, sent_s) for key, sent_s in self._sent.items()]))

    @classmethod
    def from_row(cls, text: str, window_s: float, now_s: float) -> "DuplicateWindow":
        """What of a row is still within the window."""
        window = cls(window_s)
        for row in from_text(DuplicateRow, text).sent:
            if now_s - window_s < row[-1] <= now_s:
                window.note(OrderKey(*row[:-1]), row[-1])
        return window

    def _forget(self, now_s: float) -> None:
        while self._sent:
            key, sent_s = next(iter(self._sent.items()))
            if now_s - sent_s < self._window_s and len(self._sent) <= DUPLICATES_KEPT_MAX:
                return
            del self._sent[key]


class RejectsRow(msgspec.Struct, frozen=True):
    """The refusals in a row"""

    counts: dict[StrategyId, int]


class RejectCounts:
    """Refusals of broker or exchange in a row, of each strategy and of the account.

    An accepted order ends the row of its strategy and the account's; ``reset`` is the operator's. Nothing else does,
    no restart and no new day.
    """

    def __init__(self, counts: Mapping[StrategyId, int] | None = None) -> None:
        self._counts = dict(counts or {})

    def on_rejected(self, strategy_id: StrategyId) -> None:
        """An order was refused."""
        for owner in {strategy_id, ACCOUNT}:
            self._counts[owner] = self.count(owner) + 1

    def on_accepted(self, strategy_id: StrategyId) -> None:
        """An order was taken."""
        self.reset({strategy_id, ACCOUNT})

    def reset(self, owners: Iterable[StrategyId] | None = None) -> None:
        """Begin anew for some owners, or for all."""
        for owner in list(self._counts) if owners is None else owners:
            self._counts.pop(owner, None)

    def count(self, owner: StrategyId) -> int:
        """How many in a row."""
        return self._counts.get(owner, 0)

    def to_row(self) -> str:
        """For the journal."""
        return to_text(RejectsRow(self._counts))

    @classmethod
    def from_row(cls, text: str) -> "RejectCounts":
        """As it was written."""
        return cls(from_text(RejectsRow, text).counts)
