"""What the log says of the markets' days."""

import asyncio
from typing import Any

import pytest

from actors.plants.market_herald import MarketHerald
from nightdesk.calendars.load import load_calendar
from nightdesk.clocks import ManualClock, ManualTime
from nightdesk.trading.schedule import MarketSchedule
from tests.support import utc_ns


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    error = info


def told(start: str, *moments: str, monkeypatch: pytest.MonkeyPatch, is_known: bool = True) -> list[dict[str, Any]]:
    """What is logged when market time is put to these moments, one after the other; known from the first of them on."""
    log, time = Log(), ManualTime(ManualClock(), utc_ns(start))
    time.is_known = is_known
    herald = MarketHerald(MarketSchedule({"ESZ6": load_calendar("cme_equity")}), time, log)  # type: ignore[arg-type]
    steps = iter(moments)

    async def sleep(_: float) -> None:
        moment = next(steps, None)
        if moment is None:
            raise asyncio.CancelledError
        time.set(utc_ns(moment))
        time.is_known = True

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(herald.run())
    return log.lines


def test_boot_on_a_weekend_says_when_trading_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line at the start: closed, and the next opening."""
    assert told("2026-11-28 12:00", monkeypatch=monkeypatch) == [
        {
            "event": "market_closed",
            "symbols": ["ESZ6"],
            "trade_date": 20261130,
            "market_time": "2026-11-28T12:00:00Z",
            "trading_begins": "2026-11-29T23:00:00Z",
        }
    ]


def test_every_event_of_a_jump_is_logged_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slept, or a fast simulation, leaves no event out; the Thanksgiving halt is none of a day's end."""
    lines = told("2026-11-25 21:00", "2026-11-25 21:59", "2026-11-27 12:00", monkeypatch=monkeypatch)
    assert [(line["event"], line["market_time"], line["trade_date"]) for line in lines] == [
        ("market_opened", "2026-11-25T21:00:00Z", 20261125),
        ("market_closed", "2026-11-25T22:00:00Z", 20261125),
        ("market_pre_open", "2026-11-25T22:45:00Z", 20261127),
        ("market_opened", "2026-11-25T23:00:00Z", 20261127),
        ("market_halted", "2026-11-26T18:00:00Z", 20261127),
        ("market_pre_open", "2026-11-26T22:45:00Z", 20261127),
        ("market_opened", "2026-11-26T23:00:00Z", 20261127),
    ]
    assert lines[4]["trading_begins"] == "2026-11-26T23:00:00Z"


def test_time_that_was_set_back_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tape that begins anew closes its markets anew."""
    lines = told(
        "2026-11-25 21:59", "2026-11-25 22:30", "2026-11-25 21:00", "2026-11-25 22:01", monkeypatch=monkeypatch
    )
    assert [line["event"] for line in lines] == ["market_opened", "market_closed", "market_closed"]


def test_wall_clock_that_is_put_right_repeats_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute back over a close: it has been logged, and the next event follows as if nothing had been."""
    lines = told(
        "2026-11-25 21:59", "2026-11-25 22:00:10", "2026-11-25 21:59:40", "2026-11-25 22:46", monkeypatch=monkeypatch
    )
    assert [line["event"] for line in lines] == ["market_opened", "market_closed", "market_pre_open"]


def test_end_of_the_calendar_is_one_error_line_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that has run out must not end the order plant."""
    (line,) = told("2090-01-02 15:00", "2090-01-02 16:00", "2090-01-02 17:00", monkeypatch=monkeypatch)
    assert line["event"] == "calendar_ended"
    assert "docs/market-time.md" in line["reason"]


def test_machine_that_boots_with_a_wrong_clock_hears_of_the_markets_once_it_is_put_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1990 is in no calendar; the present state and the events after it are."""
    lines = told("1990-01-02 15:00", "2026-11-25 21:59", "2026-11-25 22:30", monkeypatch=monkeypatch)
    assert [line["event"] for line in lines] == ["calendar_ended", "market_opened", "market_closed"]


def test_nothing_is_said_of_the_wall_s_date_before_the_exchange_has_published_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A simulation of another year begins with the state of that year, without the events in between."""
    lines = told("2026-11-25 21:59", "2027-11-24 22:30", monkeypatch=monkeypatch, is_known=False)
    assert [(line["event"], line["market_time"]) for line in lines] == [("market_closed", "2027-11-24T22:30:00Z")]


def test_looks_come_as_often_as_the_next_event_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second, at the event itself where that is sooner, and at a tape's pace nobody counts seconds."""
    for before_s, speed, expected_s in (
        (3600.0, 1.0, 1.0),
        (0.3, 1.0, 0.3),
        (300.0, 1000.0, 0.3),
        (0.001, 1000.0, 0.05),
        (0.3, 0.0, 1.0),
    ):
        waits: list[float] = []

        async def sleep(seconds: float, waits: list[float] = waits) -> None:
            waits.append(seconds)
            raise asyncio.CancelledError

        monkeypatch.setattr(asyncio, "sleep", sleep)
        time = ManualTime(ManualClock(), utc_ns("2026-11-25 22:00") - round(before_s * 1e9), speed=speed)
        schedule = MarketSchedule({"ESZ6": load_calendar("cme_equity")})
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(MarketHerald(schedule, time, Log()).run())  # type: ignore[arg-type]
        assert waits == [pytest.approx(expected_s)], (before_s, speed)


def test_several_calendars_have_a_line_each_and_their_symbols_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """At noon on Thanksgiving's eve grains and stock indexes trade; at half past one the grains alone close."""
    log, time = Log(), ManualTime(ManualClock(), utc_ns("2026-11-25 18:00"))
    equity, grains = load_calendar("cme_equity"), load_calendar("cme_grains")
    schedule = MarketSchedule({"NQZ6": equity, "ZCZ6": grains, "ESZ6": equity})
    steps = iter(("2026-11-25 19:30", None))

    async def sleep(_: float) -> None:
        moment = next(steps)
        if moment is None:
            raise asyncio.CancelledError
        time.set(utc_ns(moment))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(MarketHerald(schedule, time, log).run())  # type: ignore[arg-type]
    told = [(line["event"], line["symbols"]) for line in log.lines]
    assert told[0] == ("market_opened", ["ESZ6", "NQZ6", "ZCZ6"])
    assert told[1:] == [("market_closed", ["ZCZ6"])]
