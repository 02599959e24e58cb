"""The sources of a strategy's agenda that it fills itself: its open bars and its timers. Pure."""

from collections.abc import Callable, Iterable

from nightdesk.messages import Bar
from nightdesk.trading.agenda import NEVER_NS
from nightdesk.trading.bars import BarBuilder
from nightdesk.trading.timers import TimerTable


class DueBars:
    """Bars that end without a further trade, ``grace_ns`` after their end: trades on their way still count."""

    def __init__(
        self, builders: Callable[[], Iterable[BarBuilder]], deliver: Callable[[Bar], None], grace_ns: int
    ) -> None:
        self._builders = builders
        self._deliver = deliver
        self.grace_ns = grace_ns

    @property
    def due_ns(self) -> int:
        """When the first of the open bars ends, and the grace."""
        return min((each.end_ns + self.grace_ns for each in self._builders() if each.end_ns), default=NEVER_NS)

    def fire(self, to_ns: int, *, together: bool) -> None:
        """End the bar that ends first; of several the earlier subscribed one."""
        builder = min((each for each in self._builders() if each.end_ns), key=lambda each: each.end_ns)
        bar = builder.advance(builder.end_ns)
        if bar is not None:
            self._deliver(bar)


class DueTimers:
    """The timers of a table."""

    grace_ns = 0

    def __init__(self, timers: TimerTable, deliver: Callable[[str], None]) -> None:
        self._timers = timers
        self._deliver = deliver

    @property
    def due_ns(self) -> int:
        """When the next timer is due."""
        due_ns = self._timers.due_ns
        return NEVER_NS if due_ns is None else due_ns

    def fire(self, to_ns: int, *, together: bool) -> None:
        """Call the earliest; of two at the same time the one whose name comes first."""
        name = self._timers.pop_next(to_ns, together=together)
        if name is not None:
            self._deliver(name)
