"""Rolls by volume: which sessions count, and whose trades."""

from pathlib import Path

import pytest

from nightdesk.calendars.load import load_calendar
from nightdesk.settings.models import Instrument
from nightdesk.trading.sessions import AlwaysOpen
from nightdesk.trading.volume_watch import VolumeWatch
from tests.calendar_support import at, utc
from tests.front_watch_support import World, play, print_of
from tests.roll_support import NEW, OLD


def test_more_volume_in_the_next_contract_rolls_one_session_later(tmp_path: Path) -> None:
    """A whole session decides; the next one is the last under the alias; then the new contract opens."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="volume")
        await world.login()
        assert set(world.wanted) == {OLD, NEW}
        assert world.watch.is_counting
        for moment, old, new in (("2023-12-05 15:59", 1000, 900), ("2023-12-06 15:59", 900, 1000)):
            world.trade(OLD, moment, old)
            world.trade(NEW, moment, new)
            await world.look(moment)
            assert world.opening() == (NEW, 20231214)
        await world.look("2023-12-06 16:01")
        assert world.opening() == (NEW, 20231208)
        assert world.contracts.front("ES.front") == OLD
        await world.look("2023-12-07 17:00")
        assert world.contracts.front("ES.front") == NEW
        assert world.alerts() == ["roll_done"]

    play(scene)


@pytest.mark.parametrize("symbol", [OLD, NEW])
def test_a_contract_that_is_configured_by_itself_counts_for_the_alias(tmp_path: Path, symbol: str) -> None:
    """Another strategy trades it by name."""

    async def scene() -> None:
        beside = Instrument(symbol=symbol, exchange="CME", tick_size=0.25, point_value=50.0)
        world = World(tmp_path, "2023-12-05 10:00", beside=[beside], rule="volume")
        await world.login()
        for name, volume in ((OLD, 900), (NEW, 1000)):
            world.trade(name, "2023-12-06 15:59", volume)
        await world.look("2023-12-06 16:01")
        assert world.opening() == (NEW, 20231208)

    play(scene)


@pytest.mark.parametrize(
    ("began", "away", "rolls"),
    [
        pytest.param("2023-12-05 16:59", [], True, id="from the break before"),
        pytest.param("2023-12-05 17:01", [], False, id="a minute after the opening"),
        pytest.param("2023-12-05 10:00", [("2023-12-06 10:00", "2023-12-06 11:00")], True, id="an hour of the morning"),
        pytest.param("2023-12-05 10:00", [("2023-12-06 15:00", "2023-12-06 15:58")], True, id="back before the close"),
        pytest.param("2023-12-05 10:00", [("2023-12-06 15:59:30", "2023-12-06 16:00")], False, id="at the close"),
        pytest.param("2023-12-05 10:00", [("2023-12-05 16:50", "2023-12-05 17:01")], False, id="at the opening"),
        pytest.param("2023-12-05 10:00", [("2023-12-05 16:05", "2023-12-05 16:50")], True, id="in the break"),
        pytest.param("2023-12-05 10:00", [("2023-12-06 16:00", "2023-12-06 16:30")], False, id="from the close on"),
        pytest.param("2023-12-05 10:00", [("2023-12-06 16:10", "2023-12-06 16:30")], True, id="in the break after"),
    ],
)
def test_a_session_that_was_not_seen_whole_does_not_count(
    tmp_path: Path, began: str, away: list[tuple[str, str]], rolls: bool
) -> None:
    """Its opening and its close must have been watched; what is missed in between comes with the next trade."""

    async def scene() -> None:
        world = World(tmp_path, began, rule="volume")
        await world.login()
        trades = [(OLD, "2023-12-06 15:59", 900), (NEW, "2023-12-06 15:59", 1000)]
        for gone, back in away:
            while trades and at(trades[0][1]) < at(gone):
                world.trade(*trades.pop(0))
            world.link_lost(gone)
            await world.login(back)
        for trade in trades:
            world.watch.count(print_of(trade[0], trade[2]), at(trade[1]))
        await world.look("2023-12-06 16:40")
        assert world.opening() == ((NEW, 20231208) if rolls else (NEW, 20231214))

    play(scene)


def test_nothing_is_decided_while_the_link_is_away(tmp_path: Path) -> None:
    """It was lost before the close: what came after that is not known, although the session is over."""

    async def scene() -> None:
        world = World(tmp_path, "2023-12-05 10:00", rule="volume")
        await world.login()
        for name, volume in ((OLD, 900), (NEW, 1000)):
            world.trade(name, "2023-12-06 12:00", volume)
        world.link_lost("2023-12-06 12:01")
        world.time.set(at("2023-12-06 16:01"))
        await world.watch.look_and_poll(None)
        assert world.opening() == (NEW, 20231214)
        await world.login("2023-12-06 16:30")
        assert world.opening() == (NEW, 20231214)

    play(scene)


def test_the_image_of_an_older_trade_says_nothing_of_a_session() -> None:
    """A quiet contract's last trade is of yesterday: its total must not become today's."""
    watch = VolumeWatch(load_calendar("cme_equity"))
    for symbol in (OLD, NEW):
        watch.begin(symbol, at("2023-12-04 16:30"))
        watch.note(symbol, at("2023-12-05 18:00"), 10)
    watch.note(NEW, at("2023-12-05 15:00"), 5000)
    assert not watch.has_overtaken(OLD, NEW, at("2023-12-06 16:00"))
    watch.note(NEW, at("2023-12-06 18:00"), 5000)
    assert not watch.has_overtaken(OLD, NEW, at("2023-12-06 18:00"))


def test_a_halt_that_was_missed_leaves_a_session_whole() -> None:
    """Thanksgiving's noon is neither an opening nor a close of the session that goes on in the evening."""
    watch = VolumeWatch(load_calendar("cme_equity"))
    for symbol, volume in (("ESZ6", 1), ("ESH7", 2)):
        watch.begin(symbol, at("2026-11-25 16:30"))
        watch.note(symbol, at("2026-11-26 10:00"), volume)
    watch.interrupted(at("2026-11-26 11:00"), at("2026-11-26 18:00"))
    assert watch.has_overtaken("ESZ6", "ESH7", at("2026-11-27 12:15"))


def test_days_of_utc_are_the_sessions_of_a_market_that_never_closes() -> None:
    """A midnight that was missed makes both days partial."""
    for away, rolls in (
        (("2023-12-06 10:00", "2023-12-06 23:59"), True),
        (("2023-12-06 23:59", "2023-12-07 00:00"), False),
    ):
        watch = VolumeWatch(AlwaysOpen())
        for symbol, volume in ((OLD, 1), (NEW, 2)):
            watch.begin(symbol, utc("2023-12-05 23:59"))
            watch.note(symbol, utc("2023-12-06 09:00"), volume)
        watch.interrupted(utc(away[0]), utc(away[1]))
        assert watch.has_overtaken(OLD, NEW, utc("2023-12-07 00:01")) == rolls
