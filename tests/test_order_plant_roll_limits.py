"""What a roll bars others from, what its second leg must pass, and that strategies do not trade with each other."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import Denial, OrderDenied, OrderType, Side, StrategyId, TradingState
from nightdesk.settings.models import Instrument, Risk
from nightdesk.trading.ledger import ACCOUNT
from tests.calendar_support import at
from tests.fakes import FakeContext
from tests.order_plant_support import FakePeer, FakeSession, Plant, filled, submit, turns
from tests.roll_support import (
    AFTER,
    DAY_BEFORE,
    NEW,
    OLD,
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

MARKET = {"order_type": OrderType.MARKET, "price": None}


def with_explicit(symbol: str) -> list[Instrument]:
    """``ES.front``, and a contract of it by its own name."""
    explicit = {"symbol": symbol, "exchange": "CME", "tick_size": 0.25, "point_value": 50.0}
    return [*front("roll"), Instrument.model_validate(explicit)]


def denials(peer: FakePeer) -> list[Denial]:
    return [event.code for event in peer.of(OrderDenied)]


def risk(**changes: Any) -> Risk:
    values: dict[str, Any] = {
        "max_order_quantity": 10,
        "max_position": 20,
        "max_open_orders": 20,
        "max_orders_per_second": 100,
    }
    return Risk(**(values | changes))


def planned(body: Plant, symbol: str) -> int:
    """What the account's limits are told."""
    return sum(quantity for _, each, quantity in body.account.risk.plans() if each == symbol)


async def missed(folder: Path, broker: Broker, **changes: Any) -> tuple[Plant, FakePeer, int]:
    """The roll was missed, and its first order waits at the exchange, in the next session."""
    body = await begun(folder, DAY_BEFORE, **changes)
    _, peer, epoch = await connected(body, broker)
    await holding(body, broker, peer, epoch)
    await body.stop()
    body = await begun(folder, AFTER, **changes)
    broker.silent = True
    _, peer, epoch = await connected(body, broker)
    await wait_until_async(lambda: len(broker.tags()) == 1)
    return body, peer, epoch


def test_a_contract_by_its_own_name_beside_the_alias_is_left_all_the_same(tmp_path: Path) -> None:
    """Who trades ``ES.front`` has left ESZ3 with its roll; who trades ESZ3 by name has not."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        for tag, name, asker, number in (("o1", "one", peer, epoch), ("o2", "two", other, welcome.fencing_epoch)):
            body.say(asker, submit(tag, number, strategy_id=StrategyId(name), symbol=OLD))
        await turns()
        assert (denials(peer), denials(other)) == ([Denial.INSTRUMENT_ROLLED], [])

    symbols = strategies(one="ES.front", two=OLD)
    play(tmp_path, scene, moment=AFTER, instruments=with_explicit(OLD), strategies=symbols)


def test_what_is_opened_between_two_contracts_is_opened_once(tmp_path: Path) -> None:
    """A fill that comes after the roll is closed, and is not moved: it could come again and again."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}
        body.on_push(352, filled("entry", "basket-entry", "late", 1, 1, 1, symbol=OLD))
        assert held(body, OLD) == 1
        await wait_until_async(lambda: len(body.journal.rolls()) == 2 and is_done(body))
        assert (held(body, OLD), held(body, NEW)) == (0, 2)
        assert [roll.reopens for roll in body.journal.rolls()] == [True, False]

    play(tmp_path, scene)


def test_the_next_contract_is_entered_once_the_position_has_moved(tmp_path: Path) -> None:
    """At the opening after a missed roll the strategy waits for what it already holds; exits and the rest pass."""

    async def run() -> None:
        broker = Broker()
        body, peer, epoch = await missed(tmp_path, broker)
        body.say(peer, submit("early", epoch, symbol=NEW))
        await turns()
        assert denials(peer) == [Denial.INSTRUMENT_ROLLED]
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: is_done(body))
        body.say(peer, submit("then", epoch, symbol=NEW))
        await turns()
        assert denials(peer) == [Denial.INSTRUMENT_ROLLED]
        assert "then" in broker.orders
        await body.stop()

    asyncio.run(run())


def test_what_could_not_be_moved_keeps_the_next_contract_shut(tmp_path: Path) -> None:
    """Two positions on top of each other are what nobody asked for; closed by hand, the strategy goes on."""

    async def run() -> None:
        broker = Broker(rejects=0)
        body = await begun(tmp_path, DAY_BEFORE)
        _, peer, epoch = await connected(body, broker)
        await holding(body, broker, peer, epoch)
        broker.rejects = 1000
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        time_of(body).set(at(AFTER))
        broker.rejects = 0
        body.say(peer, submit("early", epoch, symbol=NEW))
        await turns()
        assert denials(peer) == [Denial.INSTRUMENT_ROLLED]
        body.say(peer, submit("by-hand", epoch, symbol=OLD, side=Side.SELL, **MARKET))
        await wait_until_async(lambda: held(body, OLD) == 0)
        body.say(peer, submit("then", epoch, symbol=NEW))
        await turns()
        assert denials(peer) == [Denial.INSTRUMENT_ROLLED]
        await body.stop()

    asyncio.run(run())


def test_what_a_roll_will_open_counts_in_the_account_s_position(tmp_path: Path) -> None:
    """Another strategy may not take the room that the second leg needs; what is left of it it may."""

    async def run() -> None:
        broker = Broker()
        both = {"strategies": strategies(one="ES.front", two="ES.front"), "risk": risk(max_position=5)}
        body, _, _ = await missed(tmp_path, broker, **both)
        other, welcome = body.hello("two")
        for tag, quantity in (("much", 4), ("less", 3)):
            more = {"strategy_id": StrategyId("two"), "symbol": NEW, "quantity": quantity}
            body.say(other, submit(tag, welcome.fencing_epoch, **more))
        await turns()
        assert (denials(other), "less" in broker.orders) == ([Denial.RISK_MAX_POSITION], True)
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: is_done(body))
        assert (held(body, NEW), alerts(body).count("roll_abandoned")) == (2, 0)
        assert planned(body, NEW) == 0
        await body.stop()

    asyncio.run(run())


def test_the_plan_is_what_is_held_or_closed_and_not_opened_yet(tmp_path: Path) -> None:
    """Before the exit, between the legs, and beside the second one; nothing after a flatten, nor once it is done."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        assert planned(body, NEW) == 0
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        assert (planned(body, NEW), planned(body, OLD)) == (2, 0)
        body.account.trading_state = TradingState.HALTED
        broker.finish(body)
        await wait_until_async(lambda: held(body, OLD) == 0)
        assert planned(body, NEW) == 2
        body.account.trading_state = TradingState.ACTIVE
        await wait_until_async(lambda: len(broker.tags()) == 2)
        assert (planned(body, NEW), body.account.table.worst_case(NEW)) == (0, (2, 0))
        body.roller.abandon(StrategyId("one"), "")
        assert planned(body, NEW) == 0

    play(tmp_path, scene)


@pytest.mark.parametrize("why", [Denial.INSTRUMENT_MISMATCH, Denial.RISK_MAX_POSITION])
def test_a_second_leg_that_may_not_be_opened_leaves_a_flat_strategy(
    tmp_path: Path, why: Denial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other terms than configured, or too much for the account: closed, told, and not tried again."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        if why is Denial.INSTRUMENT_MISMATCH:
            wrong = {NEW: "its tick size is another one"}
            monkeypatch.setattr(body.account.contracts, "mismatch", lambda symbol: wrong.get(symbol, ""))
        else:
            more = {"strategy_id": StrategyId("two"), "symbol": NEW, "quantity": 4, **MARKET}
            body.say(other, submit("two-o1", welcome.fencing_epoch, **more))
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW), len(broker.tags())) == (0, 0, 1)
        context = body.context
        assert isinstance(context, FakeContext)
        (alert,) = [alert for alert in context.alerts if alert.event == "roll_abandoned"]
        assert (why.value in alert.text, alert.severity.value) == (True, "critical")

    symbols = strategies(one="ES.front", two=NEW)
    limits = risk(max_position=5)
    play(tmp_path, scene, instruments=with_explicit(NEW), strategies=symbols, risk=limits)


def test_a_second_leg_keeps_to_the_size_of_an_order(tmp_path: Path) -> None:
    """Fourteen were built up in two orders, and are opened in two."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch, 10)
        body.say(peer, submit("o2", epoch, symbol=OLD, quantity=4, **MARKET))
        await wait_until_async(lambda: held(body, OLD) == 14)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: is_done(body))
        opened = [broker.orders[tag]["quantity"] for tag in broker.tags() if "-o" in tag.rpartition("one")[2]]
        assert (broker.positions(), opened) == ({NEW: 14}, [10, 4])

    play(tmp_path, scene)


def test_orders_of_a_roll_count_in_the_rate_of_orders(tmp_path: Path) -> None:
    """The second leg waits for its turn as any opening order; the exit before it did not."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: held(body, OLD) == 0)
        await asyncio.sleep(0.03)
        assert (len(broker.tags()), is_done(body)) == (1, False)
        context = body.context
        assert isinstance(context, FakeContext)
        context.clock.advance(2.0)  # type: ignore[attr-defined]
        await wait_until_async(lambda: is_done(body))
        assert broker.positions() == {NEW: 2}

    play(tmp_path, scene, risk=risk(max_orders_per_second=4))


def test_strategies_of_one_alias_do_not_trade_with_each_other(tmp_path: Path) -> None:
    """One is long, the other short: at no moment both have an order of a roll at the exchange."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        other, welcome = body.hello("two")
        await holding(body, broker, peer, epoch)
        await holding(body, broker, other, welcome.fencing_epoch, -2, "two")
        broker.silent = True
        time_of(body).set(at(ROLLING))
        most = 0
        while not is_done(body):
            await asyncio.sleep(0.02)
            sides: dict[str, set[int]] = {}
            for order in (broker.orders[tag] for tag in broker.working() if tag.startswith("roll-")):
                sides.setdefault(order["symbol"], set()).add(order["transaction_type"])
            most = max([most, *map(len, sides.values())])
            broker.finish(body)
        assert most == 1
        assert (held(body, NEW), held(body, NEW, "two"), held(body, OLD, "two")) == (2, -2, 0)
        assert body.account.ledger.quantity(ACCOUNT, NEW) == 0

    both = strategies(one="ES.front", two="ES.front")
    play(tmp_path, scene, strategies=both, risk=risk(self_trade="allow"))
