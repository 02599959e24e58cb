"""Flat before a break where something stands against it: who is treated all the same, who is told, what comes after."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.plants.journal import JournalWriteError
from nightdesk.messages import (
    CommandResult,
    Denial,
    Flatten,
    OperatorFlatten,
    OrderDenied,
    OrderType,
    SetTradingState,
    Side,
    StrategyId,
    TimeInForce,
    TradingState,
)
from tests.calendar_support import at
from tests.order_plant_exchange import Exchange, guarded, held, long_two, pass_time, without_guard
from tests.order_plant_session_support import (
    CLOSED,
    CONTROL,
    FLAT,
    LATE,
    ONE,
    OPEN,
    PRE_OPEN,
    REOPENED,
    alerts,
    begun,
    canceled,
    exits,
    play,
    time_of,
)
from tests.order_plant_support import FakePeer, FakeSession, Plant, filled, image, notice, submit, turns, working
from tests.support import wait_until_async

TWO = StrategyId("two")
HALF_OVER, JUST_BEFORE = "2024-02-27 15:57:31", "2024-02-27 15:57:29"
KEEP = {**FLAT, "if_not_flat": "keep"}
GTC = {"time_in_force": TimeInForce.GTC}


def texts(body: Plant, event: str) -> list[str]:
    """Of all alerts of that name, with the severity before it."""
    found = [alert for alert in body.context.alerts if alert.event == event]  # type: ignore[attr-defined]
    return [f"{alert.severity}: {alert.text}" for alert in found]


def set_state(body: Plant, state: TradingState) -> None:
    """The operator's word."""
    body.receive(CONTROL, SetTradingState(request_id="9", reply_to=CONTROL, trading_state=state, reason="test"))


def break_journal(body: Plant) -> None:
    body.journal.failed = True
    body.account.journal_failed(JournalWriteError("disk full"))


@pytest.mark.parametrize("after_the_break", [False, True])
def test_order_of_somebody_else_that_is_in_doubt_delays_nobody(tmp_path: Path, after_the_break: bool) -> None:
    """The account is not reconciled for minutes: who is certain of his own is closed, who is not waits."""

    async def run() -> None:
        body = await begun(tmp_path, OPEN, session=FLAT)
        body.reconciler._policy = msgspec.structs.replace(body.reconcile_policy, attempts=1_000_000)
        await body.link_up()
        peer, welcome = body.hello()
        other, theirs = body.hello("two")
        await long_two(body, peer, welcome.fencing_epoch)
        await long_two(body, other, theirs.fencing_epoch, "two")
        body.say(other, submit("lost", theirs.fencing_epoch, strategy_id=TWO, time_in_force=TimeInForce.GTC))
        await turns()
        body.link_down()
        session = await body.link_up(wait=False)
        exchange = Exchange(body, session)
        exchange.fills = True
        await wait_until_async(lambda: body.account.lists_read)
        if after_the_break:
            set_state(body, TradingState.HALTED)
        time_of(body).set(at(LATE))
        if after_the_break:
            await asyncio.sleep(0.03)
            time_of(body).set(at(CLOSED))
            await asyncio.sleep(0.03)
            set_state(body, TradingState.ACTIVE)
            time_of(body).set(at(REOPENED))
            await asyncio.sleep(0.03)
            pass_time(body, 3.1)
        await wait_until_async(lambda: held(body) == 0)
        # Longer than a flatten waits for certainty.
        await asyncio.sleep(0.6)
        assert body.account.reconciling
        assert (held(body, TWO), len(exits(session))) == (2, 1)
        await body.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("link", "there is no link to the gateway"),
        ("journal", "the journal cannot be written"),
        ("halt", "trading is HALTED"),
        ("rests", "closing order exit-one-"),
    ],
)
def test_half_of_the_time_is_told_with_the_reason(tmp_path: Path, trouble: str, why: str) -> None:
    """Critical, once, while there is time left for a person; entries are taken back whatever it is."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await guarded(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b2", **GTC)
        Exchange(body, session)
        if trouble == "link":
            body.link_down()
        elif trouble == "journal":
            break_journal(body)
        elif trouble == "halt":
            set_state(body, TradingState.HALTED)
        time_of(body).set(at("2024-02-27 15:55:01"))
        await asyncio.sleep(0.05)
        pass_time(body, 2.1)
        entry = next((each for each in body.account.table.open_orders() if each.client_order_id == "entry"), None)
        assert entry is None or (trouble == "link" and entry.cancel_wanted)
        time_of(body).set(at(JUST_BEFORE))
        await asyncio.sleep(0.03)
        assert texts(body, "break_flatten_late") == []
        time_of(body).set(at(HALF_OVER))
        await wait_until_async(lambda: "break_flatten_late" in alerts(body))
        pass_time(body, 20.0)
        await asyncio.sleep(0.03)
        (text,) = texts(body, "break_flatten_late")
        assert text.startswith("critical: one ESH4 is not flat 149 s before the daily break: position 2,")
        assert why in text
        assert (exits(session) == []) is (trouble != "rests")

    play(tmp_path, OPEN, scene, session=FLAT)


def test_half_of_the_time_is_not_told_where_all_of_it_is_shorter_than_a_look(tmp_path: Path) -> None:
    """At high speed an alert before the stop would tell of orders that are on their way."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        Exchange(body, session)
        time_of(body).set(at(HALF_OVER))
        await asyncio.sleep(0.05)
        assert alerts(body) == []

    play(tmp_path, OPEN, scene, session=FLAT)


@pytest.mark.parametrize(
    ("changes", "is_naked"),
    [
        ({}, False),
        ({"time_in_force": TimeInForce.DAY}, True),
        ({"quantity": 1}, True),
        ({"side": Side.BUY, "trigger_price": 5010.0}, True),
        ({"order_type": OrderType.LIMIT, "price": 5010.0, "trigger_price": None}, True),
        ({"cancel": True}, True),
    ],
)
def test_what_is_held_without_a_stop_is_critical(tmp_path: Path, changes: dict[str, Any], is_naked: bool) -> None:
    """A stop of the whole position, against it, that outlives the close and that nobody is canceling; else a call."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        changes_of_stop = {key: value for key, value in changes.items() if key != "cancel"}
        await guarded(body, peer, epoch, **changes_of_stop)
        set_state(body, TradingState.HALTED)
        if "cancel" in changes:
            stop = next(each for each in body.account.table.open_orders() if each.client_order_id == "stop")
            body.sender.request_cancel(stop)
        time_of(body).set(at(LATE))
        await asyncio.sleep(0.03)
        assert texts(body, "held_without_protection") == []
        time_of(body).set(at(CLOSED))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        await asyncio.sleep(0.03)
        found = texts(body, "held_without_protection")
        assert len(found) == is_naked
        assert all("critical: one ESH4: position 2 is held over the daily break without" in text for text in found)

    play(tmp_path, OPEN, scene, session=FLAT)


def test_what_is_held_is_told_as_far_as_it_is_known_where_nothing_certain_comes(tmp_path: Path) -> None:
    """A link that stays down over the stop: a minute later, and it says so."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        body.link_down()
        time_of(body).set(at(CLOSED))
        await asyncio.sleep(0.03)
        pass_time(body, 50.0)
        await asyncio.sleep(0.03)
        assert texts(body, "held_without_protection") == []
        pass_time(body, 11.0)
        await wait_until_async(lambda: bool(texts(body, "held_without_protection")))
        assert "as far as is known" in texts(body, "held_without_protection")[0]

    play(tmp_path, OPEN, scene, session=FLAT)


async def over_the_break(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two contracts and their stop have come through the close, since trading was HALTED then."""
    await guarded(body, peer, epoch)
    set_state(body, TradingState.HALTED)
    time_of(body).set(at(CLOSED))
    await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
    set_state(body, TradingState.ACTIVE)


def test_what_was_held_over_the_break_is_closed_at_the_opening(tmp_path: Path) -> None:
    """Three seconds after it, as flat before the break was meant; with its protection until then."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await over_the_break(body, peer, epoch)
        exchange = Exchange(body, session)
        exchange.fills = True
        time_of(body).set(at(PRE_OPEN))
        await asyncio.sleep(0.03)
        time_of(body).set(at(REOPENED))
        await asyncio.sleep(0.05)
        assert (exits(session), canceled(session)) == ([], [])
        pass_time(body, 3.1)
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert [each["quantity"] for each in exits(session)] == [2]
        assert canceled(session) == ["b3"]

    play(tmp_path, OPEN, scene, session=FLAT)


@pytest.mark.parametrize("why", ["keep", "others"])
def test_what_was_held_over_the_break_is_left_alone(tmp_path: Path, why: str) -> None:
    """As configured; and where somebody has sold of it elsewhere meanwhile: two sales would turn it over."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await over_the_break(body, peer, epoch)
        Exchange(body, session)
        time_of(body).set(at(REOPENED))
        await asyncio.sleep(0.03)
        if why == "others":
            body.on_push(351, notice(351, 13, "", "screen", status="open", transaction_type=2, quantity=2))
            body.on_push(352, filled("", "screen", "s1", 2, 2, 0, transaction_type=2))
        pass_time(body, 3.1)
        await asyncio.sleep(0.1)
        assert (exits(session), canceled(session), held(body)) == ([], [], 2)
        if why == "others":
            assert "others have traded -2 of it on the account meanwhile" in texts(body, "flatten_incomplete")[-1]
        else:
            assert alerts(body).count("flatten_incomplete") == 1

    play(tmp_path, OPEN, scene, session=KEEP if why == "keep" else FLAT)


@pytest.mark.parametrize("moment", [CLOSED, PRE_OPEN, REOPENED])
def test_orders_that_outlived_the_stop_do_not_begin_the_next_session(tmp_path: Path, moment: str) -> None:
    """An entry, and a stop of a position that was closed before: canceled when that is known, before they can fill."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        without_guard(body)
        await guarded(body, peer, epoch)
        await working(body, peer, epoch, "entry", "b2", **GTC)
        await working(body, peer, epoch, "out", "b4", side=Side.SELL)
        body.link_down()
        time_of(body).set(at(CLOSED))
        await asyncio.sleep(0.03)
        time_of(body).set(at(moment))
        listed = [image("stop", "b3"), image("entry", "b2")]
        listed[0].transaction_type = 2
        sold = filled("out", "b4", "f9", 2, 2, 0, transaction_type=2, is_snapshot=True)
        session = await body.link_up(wait=False, orders=listed, fills=[sold])
        exchange = Exchange(body, session)
        exchange.fills = True
        await wait_until_async(lambda: sorted(set(canceled(session))) == ["b2", "b3"])
        pass_time(body, 4.0)
        await asyncio.sleep(0.05)
        assert (exits(session), held(body)) == ([], 0)

    play(tmp_path, OPEN, scene, session=FLAT)


@pytest.mark.parametrize(
    ("bought", "moment", "closes", "is_told"),
    [
        (OPEN, "2024-02-27 17:04:59", True, True),
        (OPEN, "2024-02-27 17:05:01", False, True),
        ("2024-02-27 17:00:30", "2024-02-27 17:04:59", False, False),
        (OPEN, LATE, True, False),
    ],
)
def test_break_that_nobody_was_there_for_is_found(
    tmp_path: Path, bought: str, moment: str, closes: bool, is_told: bool
) -> None:
    """Bought before it and held after it: closed shortly after the opening, told later; before a break as ever."""

    async def run() -> None:
        body = await begun(tmp_path, bought)
        await body.link_up()
        peer, welcome = body.hello()
        await working(body, peer, welcome.fencing_epoch)
        body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0, ssboe=at(bought) // 10**9))
        await body.stop()
        body = await begun(tmp_path, moment, session=FLAT)
        session = await body.link_up()
        exchange = Exchange(body, session)
        exchange.fills = True
        await asyncio.sleep(0.05)
        found = texts(body, "flatten_incomplete")
        assert len(found) == is_told
        assert all("position 2 is held over it" in text and ("found after it" in text) is not closes for text in found)
        assert exits(session) == [] or moment == LATE
        pass_time(body, 3.1)
        await asyncio.sleep(0.1)
        assert len(exits(session)) == closes
        await body.stop()

    asyncio.run(run())


def test_contract_that_has_ended_is_told_and_left_to_its_settlement(tmp_path: Path) -> None:
    """No order goes into it, neither before a break nor from a flatten; one call, whoever asks how often."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await long_two(body, peer, epoch)
        body.account.markets.last_trade_ns = lambda symbol: at(OPEN) + 1 if symbol == "ESH4" else None
        exchange = Exchange(body, session)
        time_of(body).set(at(LATE))
        await wait_until_async(lambda: "position_ghost" in alerts(body))
        body.say(peer, Flatten(strategy_id=ONE, fencing_epoch=epoch))
        await wait_until_async(lambda: bool(peer.of(OrderDenied)))
        assert peer.of(OrderDenied)[0].code is Denial.INSTRUMENT_EXPIRED
        operator = OperatorFlatten(request_id="1", reply_to=CONTROL, strategy_id=StrategyId(""))
        body.receive(CONTROL, operator)
        await wait_until_async(lambda: bool(body.context.of(CommandResult)))  # type: ignore[attr-defined]
        (result,) = body.context.of(CommandResult)  # type: ignore[attr-defined]
        assert not result.ok
        assert "one ESH4: position 2 is held in a contract that ended 2024-02-27T16:00:00Z" in result.text
        time_of(body).set(at(CLOSED))
        await asyncio.sleep(0.05)
        assert alerts(body) == ["position_ghost"]
        assert exits(session) == []
        exchange.fills = True
        time_of(body).set(at(LATE))
        body.receive(CONTROL, msgspec.structs.replace(operator, request_id="2", force=True))
        await wait_until_async(lambda: len(body.context.of(CommandResult)) == 2)  # type: ignore[attr-defined]
        assert body.context.of(CommandResult)[1].text == "1 closing orders sent"  # type: ignore[attr-defined]
        assert held(body) == 0

    play(tmp_path, OPEN, scene, session=FLAT)
