"""What the calendar does to the markets: events on market time that the drive takes between the flow's steps."""

from collections.abc import Sequence
from typing import Protocol

from nightdesk.simulator.model import VenueEvent


class Timetable(Protocol):
    """The schedule's side of the drive: openings, closes, maintenance and whatever else comes by the calendar.

    Where the flow and the timetable are due at the same moment, the timetable comes first. The drive asks for
    ``next_ns`` and ``is_quiet`` anew after each step of the timetable and after ``MarketDrive.changed``.
    """

    @property
    def next_ns(self) -> int | None:
        """The market time of the next event; None: there is none any more."""
        ...

    @property
    def is_quiet(self) -> bool:
        """Every market is closed: nobody trades and no orders are taken for an opening. Time may pass faster."""
        ...

    def step(self) -> Sequence[VenueEvent]:
        """Carry out the event that is due at ``next_ns``; afterwards ``next_ns`` is another one, not before this one.

        Called once the exchange has applied everything from before; what it returns is recorded and published next,
        and what it has published itself came before that.
        """
        ...


class NoTimetable:
    """Markets that are always open."""

    next_ns = None
    is_quiet = False

    def step(self) -> Sequence[VenueEvent]:
        """Never called: nothing is due."""
        return ()
