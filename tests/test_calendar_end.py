"""The end of the calendars' tables: somebody hears of it a month before, each day, and when it has come."""

import pytest

from actors.plants.calendar_end import CalendarEnd
from nightdesk.calendars.load import load_calendar
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import AlwaysOpen, SessionCalendar
from tests.calendar_support import HOUR_NS
from tests.fakes import FakeContext

ES = load_calendar("cme_equity")
DAY_NS = 24 * HOUR_NS


class World:
    """A look at the calendars of some symbols, and the market's clock, in days before the table of equities ends."""

    def __init__(self, **calendars: SessionCalendar) -> None:
        clock = ManualClock()
        self.time = ManualTime(clock)
        self.context = FakeContext("plants/ticker", clock=clock, market_time=self.time)
        self.end = CalendarEnd(self.context, MarketSchedule(calendars or {"ESZ1": ES, "NQZ1": ES}))

    def look(self, *days: float) -> list[tuple[str, str]]:
        """The alerts of looks at some moments, one after the other, with their severities."""
        self.context.alerts.clear()
        for each in days:
            self.time.set(ES.last_ns - round(each * DAY_NS))
            for _ in range(3):
                self.end.look()
        return [(alert.event, alert.severity.name) for alert in self.context.alerts]


def test_a_month_before_the_end_it_is_told_each_day() -> None:
    """Once for each calendar, by market time; the day before it is as quiet as any."""
    world = World()
    ending = ("calendar_ending", "WARNING")
    assert world.look(400, 31, 30.1) == []
    assert world.look(30, 29.9, 29.1) == [ending]
    assert world.look(28.9, 28, 27.95) == [ending]
    text = world.context.alerts[0].text
    assert "cme_equity (ESZ1, NQZ1) ends on 20" in text
    assert "in 28 days" in text
    assert "\n" not in text


def test_the_end_itself_is_critical_and_is_repeated_each_day() -> None:
    """From the first moment that the table does not know; a month that was slept through changes nothing."""
    world = World()
    ended = ("calendar_ended", "CRITICAL")
    assert world.look(0.1, 0) == [("calendar_ending", "WARNING"), ended]
    assert world.look(-0.5) == []
    assert world.look(-1.1) == [ended]
    assert world.look(2000) == []
    assert world.look(-3) == [ended]
    assert World().look(-100) == [ended]


def test_a_clock_that_is_years_behind_is_told_as_well() -> None:
    """No calendar knows the time; put right, it is quiet again, and a second time is news."""
    world = World()
    early = (ES.last_ns - ES.first_ns) / DAY_NS + 1
    assert world.look(early, early - 0.2) == [("calendar_ended", "CRITICAL")]
    assert world.look(500) == []
    assert world.look(early - 0.3) == [("calendar_ended", "CRITICAL")]


@pytest.mark.parametrize("days", [10, -10])
def test_a_market_that_never_closes_has_no_end(days: float) -> None:
    """Nothing is told of it; of another calendar beside it, it is."""
    assert World(ABC=AlwaysOpen()).look(days) == []
    assert len(World(ABC=AlwaysOpen(), ESZ1=ES).look(days)) == 1
