"""What comes to a strategy by time alone (ended bars, the calendar's events, timers), in order. Pure."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Protocol

NEVER_NS = 1 << 62

FIRES_MAX = 200_000
"""Of one advance at speed 0, one after the other: a weekend's timers of one second. What is over is taken together."""


class Source(Protocol):
    """One kind of thing that is due at a time."""

    @property
    def due_ns(self) -> int:
        """When the next one is delivered; ``NEVER_NS`` where there is none."""
        ...

    @property
    def grace_ns(self) -> int:
        """How much later than its own time that is; its place among the others is by its own time."""
        ...

    def fire(self, to_ns: int, *, together: bool) -> None:
        """Deliver the next one, which is due by ``to_ns``; afterwards ``due_ns`` is another time.

        ``together``: repetitions until ``to_ns`` are one.
        """
        ...


class Agenda:
    """Several sources; of what belongs to the same moment, the earlier named source's comes first."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    @property
    def due_ns(self) -> int:
        """When something is due next; ``NEVER_NS`` where nothing is."""
        return min((source.due_ns for source in self._sources), default=NEVER_NS)

    def catch_up(self, to_ns: int, *, is_over: Callable[[], bool]) -> None:
        """Deliver what has its own time by ``to_ns``, without the grace: something later has been seen already."""
        for _ in range(FIRES_MAX):
            due = [source for source in self._sources if _own_time(source) <= to_ns]
            if not due or is_over():
                return
            min(due, key=_own_time).fire(to_ns, together=True)

    def run(self, to_ns: int, *, step: Callable[[int], None] | None, is_over: Callable[[], bool]) -> None:
        """Deliver what is due by ``to_ns``.

        With ``step``, which puts the clock to a time, everything comes at its own time and each repetition by itself,
        so that it does not matter how far one advance reaches. Without it time has reached ``to_ns`` already, and a
        repeating timer that it has jumped over comes once.
        """
        for number, source in enumerate(self._next(to_ns)):
            if is_over():
                return
            together = step is None or number >= FIRES_MAX
            if step is not None:
                step(to_ns if together else source.due_ns)
            source.fire(to_ns, together=together)

    def _next(self, to_ns: int) -> Iterator[Source]:
        for _ in count():
            due = [source for source in self._sources if source.due_ns <= to_ns]
            if not due:
                return
            yield min(due, key=_own_time)


def _own_time(source: Source) -> int:
    return source.due_ns - source.grace_ns
