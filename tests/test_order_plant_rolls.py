"""Positions when an alias rolls, in the order plant: moved, closed or kept, over kills at every step."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.plants.journal import Journal
from nightdesk.messages import Denial, Flatten, OrderDenied, OrderType, Side, StrategyId
from nightdesk.rithmic import orders as wire
from nightdesk.trading.roll_step import LEG_ORDERS_MAX
from tests.calendar_support import at
from tests.order_plant_support import FakePeer, FakeSession, Plant, submit, turns
from tests.roll_support import (
    AFTER,
    BREAK,
    DAY_BEFORE,
    NEW,
    OLD,
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
)
from tests.support import wait_until_async


def test_a_position_moves_to_the_next_contract_before_the_last_close(tmp_path: Path) -> None:
    """Entries and protection go, the old contract is closed, the same quantity is opened in the new one, once."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        await asyncio.sleep(0.02)
        assert broker.tags() == []
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW)) == (0, 2)
        assert sorted(broker.canceled) == ["basket-entry", "basket-stop"]
        sent = [broker.orders[tag] for tag in broker.tags()]
        assert [(each["symbol"], each["transaction_type"], each["quantity"]) for each in sent] == [
            (OLD, 2, 2),
            (NEW, 1, 2),
        ]
        time_of(body).set(at(AFTER))
        await asyncio.sleep(0.02)
        assert len(broker.tags()) == 2
        assert alerts(body) == ["position_rolled"]

    play(tmp_path, scene)


def test_a_position_is_closed_where_it_is_to_be_flat(tmp_path: Path) -> None:
    """``flatten``: nothing is opened in the new contract."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW), len(broker.tags())) == (0, 0, 1)

    play(tmp_path, scene, "flatten")


def test_a_position_that_is_kept_is_told_once(tmp_path: Path) -> None:
    """``keep``: nothing is sent, not after the roll either; orders stay."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        for moment in (ROLLING, AFTER):
            time_of(body).set(at(moment))
            await asyncio.sleep(0.02)
        assert (held(body, OLD), broker.tags(), broker.canceled) == (2, [], [])
        assert alerts(body) == ["position_kept"]

    play(tmp_path, scene, "keep")


def test_a_roll_that_was_missed_is_made_up_for(tmp_path: Path) -> None:
    """No order plant ran at the last close: the next session has to do."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE)
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        await body.stop()
        body = await begun(tmp_path, BREAK)
        await connected(body, broker)
        await asyncio.sleep(0.02)
        assert broker.tags() == []
        time_of(body).set(at(AFTER))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW)) == (0, 2)
        await body.stop()

    asyncio.run(run())


KILLS = (
    "begun",
    "canceled",
    "close intended",
    "close sent",
    "close filled",
    "open intended",
    "open sent",
    "open filled",
)


class Killed(Exception):
    """Here the process died."""


def dies(body: Plant, broker: Broker, session: FakeSession, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the named point on nothing that the plant does reaches journal or broker, as if it were dead."""
    leg = "-c" if point.startswith("close") else "-o"
    journal = body.journal
    dead = [False]

    def die() -> None:
        dead[0] = True
        session.connected = False
        body.link.session = None
        journal.failed = True

    def watch(name: str, is_point: Callable[..., bool]) -> None:
        original = getattr(journal, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            if is_point(*arguments, **named):
                die()
            return result

        monkeypatch.setattr(journal, name, wrapped)

    if point == "begun":
        watch("write_roll", lambda roll, ts: True)
    elif point.endswith("intended"):
        watch("write_intent", lambda order: leg in order.client_order_id)
    elif point.endswith("filled"):
        watch(
            "write_order", lambda order, events=(), fill=None, *rest: fill is not None and leg in order.client_order_id
        )
    serve = session.on_send

    def on_send(template_id: int, fields: dict[str, Any]) -> None:
        if dead[0]:
            raise wire.ReportUnreadable("dead")
        if point == "canceled" and template_id == 316:
            die()
            serve(template_id, fields)
        elif point.endswith("sent") and template_id == 312 and leg in fields["user_tag"]:
            die()
            # It arrived, and nobody is there to hear of it.
            broker.take(fields)
            broker.orders[fields["user_tag"]].update(filled=fields["quantity"], over=True)
        else:
            serve(template_id, fields)

    session.on_send = on_send


@pytest.mark.parametrize("point", KILLS)
def test_a_plant_killed_at_any_step_leaves_the_rest_to_the_next_one(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done stays done, what is missing follows, and nothing is done twice."""

    async def run() -> None:
        broker = Broker()
        body = await begun(tmp_path, DAY_BEFORE)
        session, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        dies(body, broker, session, point, monkeypatch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: body.journal.failed)
        await body.context.cancel_tasks()
        body.link_down("killed")
        await body.stop()
        body = await begun(tmp_path, ROLLING)
        assert [roll.is_done for roll in body.journal.rolls()] == [False]
        await connected(body, broker)
        await wait_until_async(lambda: is_done(body))
        await turns(50)
        assert (held(body, OLD), held(body, NEW)) == (0, 2)
        assert broker.positions() == {NEW: 2}
        assert len(broker.tags()) == 2
        await body.stop()

    asyncio.run(run())


def test_a_refused_leg_is_tried_again_under_another_id(tmp_path: Path) -> None:
    """The second leg is refused twice; in the end the quantity is right."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.rejects = 3
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW), len(broker.tags())) == (0, 2, 5)

    play(tmp_path, scene)


def test_a_roll_whose_orders_always_fail_is_handed_to_a_person(tmp_path: Path) -> None:
    """After so many refusals a critical alert says so, and nothing more is sent."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.rejects = 1000
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: "roll_incomplete" in alerts(body))
        assert (held(body, OLD), len(broker.tags())) == (2, LEG_ORDERS_MAX)

    play(tmp_path, scene)


def test_a_flatten_between_the_legs_takes_the_second_one_back(tmp_path: Path) -> None:
    """Who wants to be flat gets no new position; the operator's flatten and the strategy's alike."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        body.say(peer, Flatten(strategy_id=StrategyId("one"), fencing_epoch=epoch))
        await turns()
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW), len(broker.tags())) == (0, 0, 1)
        assert not body.journal.rolls()[0].reopens

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("moment", "symbol", "code"),
    [
        (DAY_BEFORE, OLD, None),
        (DAY_BEFORE, NEW, Denial.INSTRUMENT_ROLLED),
        (DAY_BEFORE, "ES.front", Denial.INSTRUMENT_UNKNOWN),
        (ROLLING, OLD, Denial.INSTRUMENT_ROLLED),
        (ROLLING, NEW, Denial.INSTRUMENT_ROLLED),
        (AFTER, OLD, Denial.INSTRUMENT_ROLLED),
        (AFTER, NEW, None),
        ("2023-12-15 10:00", OLD, Denial.INSTRUMENT_EXPIRED),
    ],
)
def test_only_the_contract_that_an_alias_means_can_be_entered(
    tmp_path: Path, moment: str, symbol: str, code: Denial | None
) -> None:
    """From before the last close on no position is opened in the old contract, from the opening on in the new one."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        body.say(peer, submit("o1", epoch, symbol=symbol))
        await turns()
        assert [event.code for event in peer.of(OrderDenied)] == ([] if code is None else [code])

    play(tmp_path, scene, moment=moment)


def test_what_is_kept_can_be_closed_after_the_roll(tmp_path: Path) -> None:
    """A former contract takes what lowers the position, and no more."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        market = {"symbol": OLD, "order_type": OrderType.MARKET, "price": None}
        body.say(peer, submit("o1", epoch, **market))
        await wait_until_async(lambda: held(body, OLD) == 2)
        time_of(body).set(at(AFTER))
        body.say(peer, submit("o2", epoch, quantity=3, side=Side.SELL, **market))
        body.say(peer, submit("o3", epoch, quantity=2, side=Side.SELL, **market))
        await wait_until_async(lambda: held(body, OLD) == 0)
        assert [event.code for event in peer.of(OrderDenied)] == [Denial.INSTRUMENT_ROLLED]

    play(tmp_path, scene, "keep")


def test_a_journal_knows_its_rolls(tmp_path: Path) -> None:
    """What was begun and how it stands is read back; a roll is one row."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))

    play(tmp_path, scene)
    journal = Journal.open(str(tmp_path / "state"), system_name="Nightdesk Simulator", durability="process")
    (roll,) = journal.rolls()
    assert (roll.alias, roll.old_symbol, roll.new_symbol, roll.reopens, roll.is_done) == (
        "ES.front",
        OLD,
        NEW,
        True,
        True,
    )
    journal.close()
