"""Positions that nothing moves are told; a contract that has ended is never traded; a clock alone starts no roll."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants.order_left_behind import REMIND_DAYS
from nightdesk.messages import AggressorSide, TradeTick, TradingState
from nightdesk.trading.clock_witness import SPAN_S, ClockWitness
from nightdesk.trading.roll_step import RollState
from nightdesk.trading.sessions import NS_PER_S
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import FakePeer, FakeSession, Plant, filled
from tests.roll_support import (
    AFTER,
    DAY_BEFORE,
    NEW,
    OLD,
    QUICK,
    ROLLING,
    Broker,
    alerts,
    begun,
    connected,
    front,
    held,
    holding,
    is_done,
    play,
    strategies,
    time_of,
)
from tests.support import wait_until_async

NEAR_THE_END, ENDED = "2023-12-12 12:00:00", "2023-12-15 12:00:00"
"""ESZ3 ends on December 15 at 8:30."""
ROLLING_LATE = "2023-12-13 15:50:00"
"""The same one day before that."""


async def restarted(body: Plant, broker: Broker, folder: Path, moment: str, name: str = "one", **changes: Any) -> Plant:
    """Another process at another time."""
    await body.stop()
    body = await begun(folder, moment, **changes)
    await connected(body, broker, name)
    return body


async def with_position(folder: Path, broker: Broker, **changes: Any) -> Plant:
    body = await begun(folder, DAY_BEFORE, **changes)
    _, peer, epoch = await connected(body, broker)
    await holding(body, broker, peer, epoch)
    return body


def test_a_position_in_a_contract_that_has_ended_is_told_and_never_traded(tmp_path: Path) -> None:
    """The broker has settled it; each process says so once, and no order goes into a contract that is no more."""

    async def run() -> None:
        broker = Broker()
        body = await with_position(tmp_path, broker)
        broker.log.clear()
        for _ in range(2):
            body = await restarted(body, broker, tmp_path, ENDED)
            await asyncio.sleep(0.05)
            assert alerts(body).count("position_ghost") == 1
            assert (broker.tags(), body.journal.rolls()) == ([], [])
        assert held(body, OLD) == 2
        await body.stop()

    asyncio.run(run())


def test_a_roll_under_way_sends_nothing_into_a_contract_that_has_ended(tmp_path: Path) -> None:
    """A roll of the last day that waited until the contract's end: what is held then is not to be closed any more."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        body.account.trading_state = TradingState.HALTED
        time_of(body).set(at(ROLLING_LATE))
        await wait_until_async(lambda: bool(body.journal.rolls()))
        time_of(body).set(at(ENDED))
        body.account.trading_state = TradingState.ACTIVE
        await wait_until_async(lambda: is_done(body))
        assert (broker.tags(), held(body, OLD)) == ([], 2)
        assert [roll.state for roll in body.journal.rolls()] == [RollState.DONE]
        assert "position_ghost" in alerts(body)

    play(tmp_path, scene, instruments=front("roll", days_before_expiry=1))


@pytest.mark.parametrize("why", ["removed", "other symbol", "kept"])
def test_a_position_that_nothing_moves_is_told_and_told_again_near_the_end(tmp_path: Path, why: str) -> None:
    """Once when it is seen, once more some days before the contract ends; what is kept on purpose only then."""
    of: dict[str, dict[str, Any]] = {
        "removed": {"strategies": strategies(other="ES.front")},
        "other symbol": {"strategies": strategies(one="NQ.front")},
        "kept": {"position": "keep"},
    }
    changes = of[why]

    async def run() -> None:
        broker = Broker()
        position = {"position": "keep"} if why == "kept" else {}
        body = await with_position(tmp_path, broker, **position)
        name = "other" if why == "removed" else "one"
        body = await restarted(body, broker, tmp_path, AFTER, name, **changes)
        expected = 0 if why == "kept" else 1
        await wait_until_async(lambda: alerts(body).count("position_left_behind") == expected)
        await asyncio.sleep(0.02)
        assert alerts(body).count("position_left_behind") == expected
        time_of(body).set(at(NEAR_THE_END))
        await wait_until_async(lambda: alerts(body).count("position_left_behind") == expected + 1)
        await asyncio.sleep(0.02)
        assert alerts(body).count("position_left_behind") == expected + 1
        assert (broker.tags(), held(body, OLD)) == ([], 2)
        await body.stop()

    asyncio.run(run())
    assert REMIND_DAYS == 3


def test_somebody_else_s_position_in_a_contract_that_was_left_is_told(tmp_path: Path) -> None:
    """It counts in the account's, nobody here moves it, and it ends with the contract."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.on_push(352, filled("", "b-ext", "f-ext", 3, 3, 0, symbol=OLD))
        await asyncio.sleep(0.02)
        assert "position_left_behind" not in alerts(body)
        time_of(body).set(at(AFTER))
        await wait_until_async(lambda: "position_left_behind" in alerts(body))
        assert broker.log == []

    play(tmp_path, scene)


def test_a_position_that_is_about_to_be_moved_is_not_left_behind(tmp_path: Path) -> None:
    """The roll that was missed is made up for, and says so."""

    async def run() -> None:
        broker = Broker()
        body = await with_position(tmp_path, broker)
        body = await restarted(body, broker, tmp_path, AFTER)
        await wait_until_async(lambda: is_done(body))
        await asyncio.sleep(0.02)
        assert "position_left_behind" not in alerts(body)
        await body.stop()

    asyncio.run(run())


# Clocks.


def tick(body: Plant, moment: str, symbol: str = OLD) -> None:
    """A trade comes in, with the exchange's own time."""
    times = {"ts_event_ns": at(moment), "ts_recv_ns": 0}
    aggressor = AggressorSide.BUY
    body._on_market(
        TradeTick(symbol=symbol, exchange="CME", price=5000.0, quantity=1, aggressor_side=aggressor, **times)
    )


def test_a_clock_that_jumps_ahead_rolls_nothing(tmp_path: Path) -> None:
    """Ticks say what the exchange's time is; once they say the same, the roll comes."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.log.clear()
        tick(body, DAY_BEFORE)
        time_of(body).set(at(ROLLING))
        tick(body, DAY_BEFORE)
        await wait_until_async(lambda: "roll_unconfirmed" in alerts(body))
        await asyncio.sleep(0.05)
        assert alerts(body).count("roll_unconfirmed") == 1
        assert (broker.log, body.journal.rolls()) == ([], [])
        tick(body, ROLLING)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}

    play(tmp_path, scene, mode="paper", policy=msgspec.structs.replace(QUICK, alert_s=0.02))


def test_without_a_tick_no_roll_begins(tmp_path: Path) -> None:
    """At a broker: an order plant that starts with a wrong clock has no tick yet to know better."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await asyncio.sleep(0.03)
        assert body.journal.rolls() == []
        tick(body, ROLLING)
        await wait_until_async(lambda: is_done(body))

    play(tmp_path, scene, mode="paper")


def test_a_witness_believes_the_newest_of_the_latest_ticks() -> None:
    """Old pictures are overruled, ticks run on with the monotonic clock, and one from the future is soon forgotten."""
    witness, hour = ClockWitness(), 3600 * NS_PER_S
    now_ns = 1_700_000_000 * NS_PER_S
    assert witness.problem(now_ns, 0.0)
    witness.note(now_ns - 5 * hour, 0.0)
    assert "18000 s ahead" in witness.problem(now_ns, 0.0)
    witness.note(now_ns, 0.0)
    witness.note(now_ns - 5 * hour, 1.0)
    assert witness.problem(now_ns, 1.0) == ""
    assert witness.problem(now_ns + 7 * hour, 7 * 3600.0) == ""
    assert witness.problem(now_ns + 7 * hour, 7 * 3600.0 - SPAN_S - 1)
    witness.note(now_ns + 100 * hour, 2.0)
    assert "behind" in witness.problem(now_ns, 2.0)
    for _ in range(64):
        witness.note(now_ns, 3.0)
    assert witness.problem(now_ns, 3.0) == ""


def test_a_roll_that_is_done_is_no_longer_under_way(tmp_path: Path) -> None:
    """Whatever the wall clock said when it was written."""

    async def run() -> None:
        broker = Broker()
        body = await with_position(tmp_path, broker)
        context = body.context
        assert isinstance(context, FakeContext)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        body = await restarted(body, broker, tmp_path, AFTER)
        await asyncio.sleep(0.02)
        assert [roll.state for roll in body.journal.rolls()] == [RollState.DONE]
        assert len(broker.tags()) == 2
        await body.stop()

    asyncio.run(run())
