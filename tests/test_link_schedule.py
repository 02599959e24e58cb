"""What the calendar says about a plant's link."""

import asyncio

import pytest

from actors.plants.link_schedule import LinkSchedule
from nightdesk.calendars.load import load_calendar
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import AlwaysOpen
from tests.support import utc_ns

ES = "ESZ6"


class Bench:
    def __init__(self, start: str, *, speed: float = 1.0, name: str = "cme_equity") -> None:
        self.clock = ManualClock()
        calendar = AlwaysOpen() if name == "always" else load_calendar(name)
        self.time = ManualTime(self.clock, utc_ns(start), speed=speed)
        self.link = LinkSchedule(MarketSchedule({ES: calendar}), self.time, self.clock)


def test_link_need_not_stand_in_the_break_but_must_in_a_session() -> None:
    """The daily break, a weekend and a holiday are quiet; the pre-open still is."""
    for start, is_trading in (
        ("2026-11-23 21:59", True),
        ("2026-11-23 22:00", False),
        ("2026-11-23 22:50", False),
        ("2026-11-23 23:00", True),
        ("2026-11-28 12:00", False),
        ("2026-12-25 15:00", False),
        ("2090-01-02 15:00", True),
    ):
        assert Bench(start).link.is_trading() is is_trading, start
    assert Bench("2026-11-28 12:00", name="always").link.is_trading()


def test_wait_ends_with_the_next_event_of_the_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in the break is back at the pre-open, at any speed; without events a wait is as long as it is."""
    for start, speed, name, delay_s, expected_s in (
        ("2026-11-23 22:44:50", 1.0, "cme_equity", 300.0, 10.0),
        ("2026-11-23 22:44:50", 1.0, "cme_equity", 3.0, 3.0),
        ("2026-11-23 22:00", 1000.0, "cme_equity", 300.0, 2.7),
        ("2026-11-23 22:00", 0.0, "cme_equity", 300.0, 300.0),
        ("2026-11-23 22:00", 1.0, "always", 300.0, 300.0),
        ("2090-01-02 15:00", 1.0, "cme_equity", 300.0, 300.0),
    ):
        bench = Bench(start, speed=speed, name=name)

        async def sleep(seconds: float, bench: Bench = bench) -> None:
            bench.clock.advance(seconds)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        asyncio.run(bench.link.wait(delay_s))
        assert bench.clock.monotonic_s() == pytest.approx(expected_s, abs=0.11), start


def test_link_missing_after_the_opening_is_overdue_after_its_grace() -> None:
    """Ten seconds of market time, never less than one of this machine; the break itself does not count."""
    bench = Bench("2026-11-23 22:59:00")
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(60)
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(9.9)
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(0.1)
    assert bench.link.is_overdue(is_up=False)
    assert not bench.link.is_overdue(is_up=True)
    assert not bench.link.is_overdue(is_up=False)


def test_wait_of_a_quiet_time_ends_when_trading_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """An opening that comes just before the wait, and a wall clock that is set back, end it as well."""
    for start, moment in (("2026-11-23 23:00:00", None), ("2026-11-28 12:00", "2026-11-23 15:00")):
        bench = Bench(start)

        async def sleep(seconds: float, bench: Bench = bench, moment: str | None = moment) -> None:
            bench.clock.advance(seconds)
            if moment is not None:
                bench.time.set(utc_ns(moment))

        monkeypatch.setattr(asyncio, "sleep", sleep)
        asyncio.run(bench.link.wait(3600.0, is_quiet=True))
        assert bench.clock.monotonic_s() <= 0.11, start
        asyncio.run(bench.link.wait(60.0))
        assert bench.clock.monotonic_s() >= 60.0, "whoever waits while a market trades waits"


def test_market_time_that_is_set_makes_no_link_overdue_and_delays_no_alert() -> None:
    """An hour forward, an hour back; a link is missing as long as it is missing."""
    bench = Bench("2026-11-23 15:00")
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(5)
    bench.time.set(utc_ns("2026-11-23 16:00"))
    assert not bench.link.is_overdue(is_up=False)
    bench.time.set(utc_ns("2026-11-23 15:00"))
    assert not bench.link.is_overdue(is_up=False)
    bench.time.set(utc_ns("2026-11-23 14:00"))
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(9.9)
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(0.2)
    assert bench.link.is_overdue(is_up=False)


def test_no_link_is_overdue_before_the_exchange_has_published_its_time() -> None:
    """Until then the date is the machine's, whatever the simulation's will be."""
    bench = Bench("2026-11-23 15:00")
    bench.time.is_known = False
    for _ in range(5):
        bench.clock.advance(60)
        assert not bench.link.is_overdue(is_up=False)
    bench.time.is_known = True
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(10)
    assert bench.link.is_overdue(is_up=False)


def test_at_high_speed_a_login_may_take_minutes_of_market_time() -> None:
    """At speed 1000 ten market seconds are ten milliseconds: a second of this machine is waited."""
    bench = Bench("2026-11-23 23:00", speed=1000.0)
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(0.99)
    assert not bench.link.is_overdue(is_up=False)
    bench.clock.advance(0.02)
    assert bench.link.is_overdue(is_up=False)


def test_nothing_is_lost_of_a_market_that_did_not_trade() -> None:
    """A gap is a gap only where the market traded between the loss and the return."""
    link = Bench("2026-11-23 22:00").link
    assert not link.was_trading(ES, utc_ns("2026-11-23 22:10"), utc_ns("2026-11-23 22:50"))
    assert link.was_trading(ES, utc_ns("2026-11-23 22:10"), utc_ns("2026-11-23 23:00:01"))
    assert link.was_trading(ES, utc_ns("2026-11-23 21:59:59"), utc_ns("2026-11-23 22:50"))
    assert link.was_trading("NQZ6", utc_ns("2026-11-23 22:10"), utc_ns("2026-11-23 22:50"))
    assert link.was_trading(ES, utc_ns("2090-11-23 22:10"), utc_ns("2090-11-23 22:50"))
