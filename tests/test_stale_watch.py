"""A market that is silent although its calendar has it open; silence without trading is normal."""

from nightdesk.calendars.load import load_calendar
from nightdesk.trading.schedule import MarketSchedule
from nightdesk.trading.sessions import NS_PER_S, AlwaysOpen
from nightdesk.trading.stale_watch import Silence, StaleWatch
from tests.support import utc_ns

ES = "ESZ6"


class Bench:
    """One symbol; market time and this machine's pass at the same speed unless told otherwise."""

    def __init__(self, start: str, stale_after_s: float | None = 120.0, *, speed: float = 1.0) -> None:
        self.speed = speed
        self.watch = StaleWatch(MarketSchedule({ES: load_calendar("cme_equity")}), stale_after_s)
        self.market_ns, self.monotonic_s, self.tick_ns = utc_ns(start), 0.0, 0

    def after(self, market_s: float, *, tick: bool = False, real_s: float | None = None) -> list[Silence]:
        self.market_ns += round(market_s * NS_PER_S)
        self.monotonic_s += market_s if real_s is None else real_s
        if tick:
            self.tick_ns = self.market_ns
        return self.watch.look({ES: self.tick_ns}, self.market_ns, self.monotonic_s, speed=self.speed)


def test_silence_in_an_open_market_is_told_once_and_so_is_its_end() -> None:
    """One alert when it begins, one when a tick comes."""
    bench = Bench("2026-11-23 15:00")
    assert bench.after(1, tick=True) == []
    assert bench.after(119) == []
    assert bench.after(1) == [Silence(ES, is_stale=True, seconds=120.0)]
    assert bench.watch.stale == {ES}
    assert bench.after(500) == []
    assert bench.after(10, tick=True) == [Silence(ES, is_stale=False, seconds=630.0)]
    assert bench.watch.stale == frozenset()


def test_silence_over_the_daily_break_is_normal() -> None:
    """From 16:00 to 17:00 in Chicago nothing is heard, and the time counts anew at the opening."""
    bench = Bench("2026-11-23 21:59")
    assert bench.after(30, tick=True) == []
    for _ in range(61):
        assert bench.after(60) == []
    assert bench.market_ns == utc_ns("2026-11-23 23:00") + 30 * NS_PER_S
    assert bench.after(119) == []
    assert bench.after(1) == [Silence(ES, is_stale=True, seconds=120.0)]


def test_market_that_never_ticked_is_stale_too() -> None:
    """A subscription that brings nothing is found out."""
    bench = Bench("2026-11-23 15:00")
    assert bench.after(0) == []
    assert bench.after(120) == [Silence(ES, is_stale=True, seconds=120.0)]


def test_at_high_speed_a_slow_moment_of_this_machine_is_not_stale() -> None:
    """At speed 1000 two minutes of market time are 0.12 s: less than two real seconds say nothing."""
    bench = Bench("2026-11-23 15:00", speed=1000.0)
    assert bench.after(1, tick=True, real_s=0.001) == []
    assert bench.after(1_900, real_s=1.9) == []
    assert bench.after(100, real_s=0.1) == [Silence(ES, is_stale=True, seconds=2_000.0)]


def test_wall_clock_that_is_set_makes_no_market_stale_nor_keeps_a_silence_quiet() -> None:
    """An hour forward in a quiet moment, or a machine that slept, is no silence; an hour back delays no alert."""
    bench = Bench("2026-11-23 15:00")
    assert bench.after(1, tick=True) == []
    assert bench.after(30) == []
    assert bench.after(3600, real_s=5) == []
    assert bench.after(84) == []
    assert [each.is_stale for each in bench.after(1)] == [True]
    bench = Bench("2026-11-23 15:00")
    assert bench.after(1, tick=True) == []
    assert bench.after(-3600, real_s=1) == []
    assert bench.after(119) == []
    assert bench.after(1) == [Silence(ES, is_stale=True, seconds=120.0)]


def test_tape_at_speed_zero_has_two_seconds_of_this_machine() -> None:
    """Its time moves with the ticks alone, and may pass an hour between two of them."""
    bench = Bench("2026-11-23 15:00", speed=0.0)
    assert bench.after(1, tick=True) == []
    assert bench.after(3600, real_s=1.9) == []
    assert [each.is_stale for each in bench.after(0, real_s=0.1)] == [True]


def test_limit_below_two_seconds_is_what_it_says() -> None:
    """The two seconds of this machine are for fast simulations, not for who asked for less."""
    bench = Bench("2026-11-23 15:00", stale_after_s=0.5)
    assert bench.after(1, tick=True) == []
    assert bench.after(0.4) == []
    assert [each.is_stale for each in bench.after(0.1)] == [True]


def test_loss_of_the_link_begins_the_count_anew() -> None:
    """While the link is away nothing is stale: that loss is told by itself."""
    bench = Bench("2026-11-23 15:00")
    bench.after(1, tick=True)
    bench.after(119)
    bench.watch.forget()
    assert bench.after(1) == []
    assert bench.after(119) == []


def test_markets_without_a_close_and_an_infinite_limit_are_not_watched() -> None:
    """Nobody knows when a market that never closes should be heard of."""
    watch = StaleWatch(MarketSchedule({ES: AlwaysOpen()}), 120.0)
    for second in range(0, 10_000, 100):
        assert watch.look({ES: 1}, utc_ns("2026-11-23 15:00") + second * NS_PER_S, second) == []
    bench = Bench("2026-11-23 15:00", stale_after_s=None)
    assert bench.after(1) == bench.after(10_000) == []


def test_time_that_the_calendar_does_not_know_is_not_watched() -> None:
    """The table's end is told elsewhere."""
    bench = Bench("2090-01-02 15:00")
    assert bench.after(1) == bench.after(10_000) == []
