"""A position that rolls has its stop or an exit on its way at every moment; what fails leaves the stop where it is."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from nightdesk.messages import (
    CancelOrder,
    ClientOrderId,
    Denial,
    OrderDenied,
    OrderType,
    Side,
    StrategyId,
    TradingState,
)
from nightdesk.settings.models import Risk
from nightdesk.trading.roll_step import LEG_ORDERS_MAX, RollState
from tests.calendar_support import at
from tests.order_plant_support import FakePeer, FakeSession, Plant, submit, turns
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
    held,
    holding,
    is_done,
    play,
    time_of,
    working,
)
from tests.support import wait_until_async

ONE = StrategyId("one")
SLOW = msgspec.structs.replace(QUICK, retry_s=60.0, retry_max_s=60.0)
"""What was refused is tried again after the test."""
LAST_SECONDS, PRE_OPEN, NEXT_NOON = (f"2023-12-{when}" for when in ("06 15:59:57", "06 16:50:00", "07 12:00:00"))


def kinds(broker: Broker) -> list[str]:
    """What the broker got, the random part of the roll's name left out."""
    return [line if not line.startswith("roll-") else line.rpartition("-")[2] for line in broker.log]


def test_the_stop_is_canceled_when_the_position_is_gone(tmp_path: Path) -> None:
    """Entry, exit, stop, and only then the next contract."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.log.clear()
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert kinds(broker) == ["cancel entry", "c1", "cancel stop", "o1"]

    play(tmp_path, scene)


def test_a_target_goes_before_the_exit(tmp_path: Path) -> None:
    """The flag alone protects nothing; two orders that close at once are the most that there is."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        target = submit("target", epoch, symbol=OLD, side=Side.SELL, price=5100.0, protective=True)
        await working(body, broker, peer, target)
        broker.log.clear()
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert kinds(broker) == ["cancel entry", "cancel target", "c1", "cancel stop", "o1"]

    play(tmp_path, scene)


@pytest.mark.parametrize("what", ["halted", "no link", "too late"])
def test_a_roll_that_cannot_go_on_takes_nothing_away(tmp_path: Path, what: str) -> None:
    """HALTED, without a link, in the last seconds before the close: the stop rests; what was missed is made up for."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE)
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        broker.log.clear()
        if what == "halted":
            body.account.trading_state = TradingState.HALTED
        elif what == "no link":
            body.link_down()
        time_of(body).set(at(LAST_SECONDS if what == "too late" else ROLLING))
        await asyncio.sleep(0.05)
        assert broker.log == []
        assert "position_unprotected" not in alerts(body)
        time_of(body).set(at(NEXT_NOON))
        if what == "halted":
            body.account.trading_state = TradingState.ACTIVE
        elif what == "no link":
            await connected(body, broker)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}
        await body.stop()

    asyncio.run(run())


def test_in_the_last_seconds_of_a_contract_there_is_no_later_time(tmp_path: Path) -> None:
    """What is not to be opened again is closed as long as anything trades."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(LAST_SECONDS))
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {}

    play(tmp_path, scene, "flatten")


def test_a_halt_between_exit_and_fill_leaves_the_stop(tmp_path: Path) -> None:
    """The exit is on its way, the stop rests beside it; after the fill the stop goes, HALTED or not."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        body.account.trading_state = TradingState.HALTED
        await asyncio.sleep(0.02)
        assert set(broker.working()) == {"stop", *broker.tags()}
        assert "position_unprotected" not in alerts(body)

    play(tmp_path, scene)


def test_a_stop_that_fills_beside_the_exit_is_made_good(tmp_path: Path) -> None:
    """Both have sold: what is too much is bought back, and nothing is opened for what the stop has ended."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        broker.silent = False
        broker.fill(body, broker.tags()[0], 2)
        broker.fill(body, "stop", 2)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {}
        assert (held(body, OLD), held(body, NEW)) == (0, 0)
        assert "position_unasked" in alerts(body)

    play(tmp_path, scene)


def test_what_the_stop_has_closed_in_part_is_not_opened_again(tmp_path: Path) -> None:
    """The stop had sold one of two when the exit for two filled."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        broker.silent = False
        broker.fill(body, "stop", 1)
        broker.fill(body, broker.tags()[0], 2)
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 1}

    play(tmp_path, scene)


def test_a_stop_that_is_lost_while_the_roll_waits_is_told_at_once(tmp_path: Path) -> None:
    """A stop for the day ends, or somebody cancels it: whoever is asleep wakes up, once."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.rejects = 1
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        body.account.trading_state = TradingState.HALTED
        broker.fill(body, "stop", 0)
        await wait_until_async(lambda: "position_unprotected" in alerts(body))
        await asyncio.sleep(0.02)
        assert alerts(body).count("position_unprotected") == 1
        assert held(body, OLD) == 2

    play(tmp_path, scene, policy=SLOW)


@pytest.mark.parametrize("protects", [True, False])
def test_a_position_in_the_next_contract_is_to_be_protected_soon(tmp_path: Path, protects: bool) -> None:
    """It had a stop before; where the strategy puts none, somebody is told."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE, policy=msgspec.structs.replace(QUICK, protection_s=0.1))
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        if protects:
            terms = {"symbol": NEW, "side": Side.SELL, "order_type": OrderType.STOP_MARKET, "price": None}
            body.say(peer, submit("next-stop", epoch, **terms, trigger_price=4900.0, protective=True))
        await asyncio.sleep(0.2)
        assert ("position_unprotected" in alerts(body)) is not protects
        await body.stop()

    asyncio.run(run())


def test_a_roll_that_was_given_up_stays_so(tmp_path: Path) -> None:
    """The stop is left, each start tells of it once, nothing is canceled or sent; closed by hand it is done with."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE)
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        broker.rejects = 1000
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert [roll.state for roll in body.journal.rolls()] == [RollState.GAVE_UP]
        assert (len(broker.tags()), broker.working()) == (LEG_ORDERS_MAX, ["stop"])
        await asyncio.sleep(0.02)
        assert alerts(body).count("roll_incomplete") == 1
        await body.stop()
        broker.rejects = 0
        for _ in range(2):
            body = await begun(tmp_path, AFTER)
            _, peer, epoch = await connected(body, broker)
            await asyncio.sleep(0.03)
            assert (len(broker.tags()), broker.working()) == (LEG_ORDERS_MAX, ["stop"])
            assert alerts(body).count("position_left_behind") == 1
            await body.stop()

    asyncio.run(run())


def test_orders_that_fill_in_part_are_no_failures(tmp_path: Path) -> None:
    """Fourteen contracts, one by one: more orders than a leg may have in vain."""
    risk = Risk(max_order_quantity=14, max_position=20, max_open_orders=20, max_orders_per_second=1000)

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch, 14)
        broker.pieces = [1] * 28
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 14}
        assert [roll.state for roll in body.journal.rolls()] == [RollState.DONE]

    play(tmp_path, scene, risk=risk)


def test_an_exit_that_rests_is_sent_anew(tmp_path: Path) -> None:
    """A market order that the exchange has turned into a limit and that nobody takes is canceled after a while."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        broker.silent = False
        broker.rest(body, broker.tags()[0])
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}
        assert f"basket-{broker.tags()[0]}" in broker.canceled

    play(tmp_path, scene, policy=msgspec.structs.replace(QUICK, rests_s=0.02))


def test_the_contract_is_the_strategy_s_while_the_roll_waits(tmp_path: Path) -> None:
    """A stop may be put, and an operator's flatten goes first; while the roll acts it is alone there."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.rejects = 1
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        body.say(peer, CancelOrder(client_order_id=ClientOrderId("stop"), strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: broker.working() == [])
        terms = {"symbol": OLD, "side": Side.SELL, "order_type": OrderType.STOP_MARKET, "price": None, "quantity": 2}
        body.say(peer, submit("early", epoch, **terms, trigger_price=4800.0, protective=True))
        time_of(body).set(at(PRE_OPEN))
        await wait_until_async(lambda: (ONE, OLD) not in body.gate.flattening)
        body.say(peer, submit("then", epoch, **terms, trigger_price=4800.0, protective=True))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.ORDER_OPERATION_IN_FLIGHT]
        assert broker.working() == ["then"]

    play(tmp_path, scene, policy=SLOW)
