"""For whom a position is opened in the next contract: for a strategy that is there, of the present configuration."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants.order import GAVE_UP
from nightdesk.messages import ChildId, ChildParked, StrategyId, TradingState
from nightdesk.trading.roll_step import RollState
from tests.calendar_support import HOUR_NS, at
from tests.fakes import FakeContext
from tests.order_plant_support import FakePeer, FakeSession, Plant
from tests.roll_support import (
    AFTER,
    BREAK,
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

ONE = StrategyId("one")
DAYS_LATER, TWO_DAYS_LATER = "2023-12-11 10:00:00", "2023-12-08 10:00:00"


def texts(body: Plant, event: str) -> list[str]:
    context = body.context
    assert isinstance(context, FakeContext)
    return [alert.text for alert in context.alerts if alert.event == event]


@pytest.mark.parametrize("why", ["paused", "parked", "not connected"])
def test_a_position_without_an_owner_is_closed_and_not_opened(tmp_path: Path, why: str) -> None:
    """Nobody would put a stop at it: flat is the safe state, and somebody is told who and why."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        if why == "paused":
            body.account.pauses[ONE] = "test"
        elif why == "parked":
            body.wills.parked(ChildParked(child_id=ChildId("strategies/one"), restarts=3, reason="test"))
        else:
            body._lane.drop(ONE)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {}
        (text,) = texts(body, "roll_abandoned")
        assert text.startswith("one:")
        assert why in text

    play(tmp_path, scene)


def test_a_strategy_that_is_being_restarted_is_waited_for(tmp_path: Path) -> None:
    """Its process is back within the time that it has: the position moves as ever, and its stop was there meanwhile."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        body._lane.drop(ONE)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: bool(body.journal.rolls()))
        await asyncio.sleep(0.05)
        assert broker.working() == ["entry", "stop"]
        body.hello()
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}
        assert texts(body, "roll_abandoned") == []

    play(tmp_path, scene, policy=msgspec.structs.replace(QUICK, owner_s=20.0))


def test_an_owner_that_is_lost_between_the_legs_leaves_a_flat_strategy(tmp_path: Path) -> None:
    """What was closed is not opened for a strategy that was paused meanwhile."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        body.account.pauses[ONE] = "test"
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {}
        assert len(texts(body, "roll_abandoned")) == 1

    play(tmp_path, scene)


async def left_half_done(folder: Path, broker: Broker) -> None:
    """The position is closed in the old contract, and the order plant ends before it is opened in the new one."""
    body = await begun(folder, DAY_BEFORE)
    _, peer, epoch = await connected(body, broker)
    await holding(body, broker, peer, epoch)
    broker.silent = True
    time_of(body).set(at(ROLLING))
    await wait_until_async(lambda: len(broker.tags()) == 1)
    time_of(body).set(at(BREAK))
    broker.silent = False
    broker.finish(body)
    await wait_until_async(lambda: held(body, OLD) == 0)
    await body.stop()


@pytest.mark.parametrize("why", ["other strategy", "no alias", "too old"])
def test_a_roll_of_another_time_is_abandoned(tmp_path: Path, why: str) -> None:
    """A leg that would be opened weeks later, or for a strategy that has left, is nobody's wish."""

    async def run() -> None:
        broker = Broker()
        await left_half_done(tmp_path, broker)
        explicit = {"instruments": [each.model_copy(update={"symbol": NEW, "roll": None}) for each in front("roll")]}
        of: dict[str, dict[str, Any]] = {
            "other strategy": {"strategies": strategies(other="ES.front")},
            "no alias": {**explicit, "strategies": strategies(one=NEW)},
            "too old": {},
        }
        body = await begun(tmp_path, DAYS_LATER if why == "too old" else AFTER, **of[why])
        await connected(body, broker, *(["other"] if why == "other strategy" else ["one"]))
        # The stop of the old contract has nothing to protect any more.
        await wait_until_async(lambda: is_done(body) and not broker.working())
        assert next(roll.state for roll in body.journal.rolls()) is RollState.ABANDONED
        assert (broker.positions(), len(broker.tags())) == ({}, 1)
        assert len(texts(body, "roll_abandoned")) == 1
        assert "2 are closed and not opened again" in texts(body, "roll_abandoned")[0]
        await body.stop()

    asyncio.run(run())


def test_a_weekend_does_not_make_a_roll_too_old(tmp_path: Path) -> None:
    """What was interrupted goes on two days later."""

    async def run() -> None:
        broker = Broker()
        await left_half_done(tmp_path, broker)
        body = await begun(tmp_path, TWO_DAYS_LATER)
        await connected(body, broker)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}
        await body.stop()

    asyncio.run(run())


# A system that gives up.


def test_a_system_that_gives_up_opens_nothing_again(tmp_path: Path) -> None:
    """The last actions close what is held, the order at work included; the roll is told and stays out of it."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE, on_system_give_up="flatten")
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        broker.silent = False
        broker.finish(body)
        body.stop_reason, body.stop_deadline_s = GAVE_UP, 4.0
        await body.stop()
        assert (broker.positions(), broker.working()) == ({}, [])
        assert body.last_actions.is_done
        body = await begun(tmp_path, AFTER)
        assert not any(roll.reopens for roll in body.journal.rolls())
        await connected(body, broker)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {}
        await body.stop()

    asyncio.run(run())


def test_a_system_that_gives_up_closes_what_a_roll_was_about_to_close(tmp_path: Path) -> None:
    """The roll lets go of the contract, so that the last actions have it."""

    async def run() -> None:
        broker = Broker(rejects=0)
        policy = msgspec.structs.replace(QUICK, retry_s=60.0, retry_max_s=60.0)
        body = await begun(tmp_path, DAY_BEFORE, on_system_give_up="flatten", policy=policy)
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        broker.rejects = 1
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        await asyncio.sleep(0.02)
        assert (ONE, OLD) in body.gate.flattening
        body.stop_reason, body.stop_deadline_s = GAVE_UP, 4.0
        await body.stop()
        assert (broker.positions(), broker.working(), body.last_actions.is_done) == ({}, [], True)

    asyncio.run(run())


def test_a_plant_that_ends_begins_no_roll_and_goes_on_with_none(tmp_path: Path) -> None:
    """``keep``: positions stay as they are, and their stops with them."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.log.clear()
        body.account.is_ending = True
        time_of(body).set(at(ROLLING))
        await asyncio.sleep(0.03)
        assert (body.journal.rolls(), broker.log) == ([], [])
        body.account.is_ending = False
        body.account.trading_state = TradingState.HALTED
        await wait_until_async(lambda: bool(body.journal.rolls()))
        body.account.is_ending = True
        body.account.trading_state = TradingState.ACTIVE
        await asyncio.sleep(0.03)
        assert broker.log == []

    play(tmp_path, scene)


def test_ages_are_market_time(tmp_path: Path) -> None:
    """The machine's clock has nothing to do with it: a journal's row has the market's time of the beginning."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        (roll,) = body.journal.rolls()
        assert abs(roll.begun_ns - at(ROLLING)) < HOUR_NS / 60
        assert alerts(body) == ["position_rolled"]

    play(tmp_path, scene)
