"""Flat by a time of day, in the order plant: closed in its last minute, flat until 17:00, over kills and closes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import Denial, OrderType, Side, StrategyId
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange, guarded
from tests.order_plant_support import FakePeer, FakeSession, Plant, complete, filled, working
from tests.risk_plant_support import alerts, begun, bought, code, kill, pass_time, play, risk, time_of
from tests.support import wait_until_async

ONE = StrategyId("one")
BEFORE, LAST_MINUTE, LATE = (f"2024-02-27 {clock}" for clock in ("15:08:58", "15:09:00", "15:30:00"))
LIMITS = risk(flatten_by="15:10")
MARKET: dict[str, Any] = {"order_type": OrderType.MARKET, "price": None}


def held(body: Plant) -> int:
    """What strategy one has."""
    return body.account.ledger.quantity(ONE, "ESH4")


def exits(session: FakeSession) -> int:
    """How many closing orders have left."""
    return sum(fields["user_tag"].startswith("exit-") for fields in session.of(312))


def test_position_is_closed_in_the_minute_before_and_nothing_is_opened_until_the_next_day(tmp_path: Path) -> None:
    """Entries are taken back, exits pass, and from 17:00 on everything does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b9", price=4980.0)
        exchange = Exchange(body, session)
        exchange.fills = True
        await asyncio.sleep(0.05)
        assert (held(body), exits(session)) == (2, 0)
        time_of(body).set(at(LAST_MINUTE))
        await wait_until_async(lambda: held(body) == 0 and body.account.table.open_orders() == [])
        assert exchange.open_exits == [1]
        for moment in (LAST_MINUTE, LATE, "2024-02-27 15:59:59"):
            time_of(body).set(at(moment))
            assert await code(body, peer, epoch, moment) is Denial.SESSION_NO_TRADE
        time_of(body).set(at("2024-02-27 17:00:00"))
        assert await code(body, peer, epoch, "next day") is None
        assert alerts(body, "flatten_incomplete") == []

    play(tmp_path, scene, LIMITS, BEFORE)


@pytest.mark.parametrize(
    ("instrument", "own", "one", "two"),
    [("ES", {}, True, True), ("ESM4", {}, False, False), ("", {"flatten_by": "15:10"}, True, False)],
)
def test_each_level_has_its_own_time(
    tmp_path: Path, instrument: str, own: dict[str, Any], one: bool, two: bool
) -> None:
    """A product's holds for all strategies, another month's for none here, a strategy's for that one."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        time_of(body).set(at(LATE))
        late = {True: Denial.SESSION_NO_TRADE, False: None}
        assert await code(body, peer, epoch, "one") is late[one]
        assert await code(body, other, welcome.fencing_epoch, "two", strategy_id=StrategyId("two")) is late[two]

    limits = risk(instruments={instrument: {"flatten_by": "15:10"}} if instrument else {})
    play(tmp_path, scene, limits, BEFORE, risk=own)


def test_plant_that_was_dead_at_the_time_closes_when_it_is_back(tmp_path: Path) -> None:
    """Nothing is written down: the clocks and the position say all of it."""

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)

    async def back() -> None:
        body = await begun(tmp_path, LIMITS, LATE)
        Exchange(body, await body.link_up(wait=False)).fills = True
        await wait_until_async(lambda: held(body) == 0)
        await kill(body)

    play(tmp_path, dies, LIMITS, BEFORE)
    asyncio.run(back())


def test_early_close_is_the_time_where_it_comes_first(tmp_path: Path) -> None:
    """The day after Thanksgiving ends at 12:15: closed from 12:14 on."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "in", "b-in")
        stamp = {"ssboe": at("2023-11-24 12:00:00") // 10**9}
        body.on_push(352, filled("in", "b-in", "f-in", 2, 2, 0, **stamp))
        body.on_push(351, complete("in", "b-in", "F", 2, 0, **stamp))
        Exchange(body, session).fills = True
        await asyncio.sleep(0.05)
        assert held(body) == 2
        time_of(body).set(at("2023-11-24 12:14:00"))
        await wait_until_async(lambda: held(body) == 0)

    play(tmp_path, scene, LIMITS, "2023-11-24 12:00:00")


def test_person_is_called_before_the_time_is_over(tmp_path: Path) -> None:
    """Half a minute is left and the closing order rests: the alert names the time, not a break."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        Exchange(body, session)
        time_of(body).set(at(LAST_MINUTE))
        await wait_until_async(lambda: exits(session) == 1)
        pass_time(body, 31.0)
        await wait_until_async(lambda: bool(alerts(body, "break_flatten_late")))
        (text,) = alerts(body, "break_flatten_late")
        assert "is not flat 29 s before flatten_by 15:10: position 2" in text

    play(tmp_path, scene, LIMITS, BEFORE)


def test_what_is_held_after_the_market_stopped_is_told_and_closed_at_the_opening(tmp_path: Path) -> None:
    """The exchange took nothing until 16:00; at 17:00 it does."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.account.trading_state = body.account.trading_state.HALTED
        time_of(body).set(at(LATE))
        await asyncio.sleep(0.05)
        time_of(body).set(at("2024-02-27 16:30:00"))
        await wait_until_async(lambda: bool(alerts(body, "flatten_incomplete")))
        assert any("for flatten_by 15:10: position 2 is held over it" in t for t in alerts(body, "flatten_incomplete"))
        body.account.trading_state = body.account.trading_state.ACTIVE
        Exchange(body, session).fills = True
        time_of(body).set(at("2024-02-27 17:00:01"))
        await asyncio.sleep(0.05)
        pass_time(body, 4.0)
        await wait_until_async(lambda: held(body) == 0)

    play(tmp_path, scene, LIMITS, BEFORE)


def test_plant_that_was_dead_over_all_of_it_closes_what_is_left_of_the_day_before(tmp_path: Path) -> None:
    """Bought before 15:09, found at 17:00:10: it was not to be held overnight."""

    async def dies(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await working(body, peer, epoch, "in", "b-in")
        stamp = {"ssboe": at(BEFORE) // 10**9}
        body.on_push(352, filled("in", "b-in", "f-in", 2, 2, 0, **stamp))
        body.on_push(351, complete("in", "b-in", "F", 2, 0, **stamp))

    async def run() -> None:
        body = await begun(tmp_path, LIMITS, "2024-02-27 17:00:10")
        Exchange(body, await body.link_up(wait=False)).fills = True
        await asyncio.sleep(0.05)
        pass_time(body, 4.0)
        await wait_until_async(lambda: held(body) == 0)
        await kill(body)

    play(tmp_path, dies, LIMITS, BEFORE)
    asyncio.run(run())


def test_exit_of_the_strategys_own_passes_in_the_time(tmp_path: Path) -> None:
    """What only lowers the position is what is wanted."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await bought(body, peer, epoch)
        body.breaks.look = lambda: None  # type: ignore[method-assign]
        time_of(body).set(at(LATE))
        assert await code(body, peer, epoch, "more", **MARKET) is Denial.SESSION_NO_TRADE
        assert await code(body, peer, epoch, "exit", side=Side.SELL, **MARKET) is None

    play(tmp_path, scene, LIMITS, BEFORE)
