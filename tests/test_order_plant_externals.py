"""Orders of others on the account: counted, journalled, and touched only where somebody wants it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_externals import NEVER_TOUCHED, UNKNOWN_HOLD_S
from nightdesk.messages import (
    ChildId,
    CommandResult,
    OperatorCancelAll,
    OperatorFlatten,
    StrategyId,
)
from nightdesk.trading.ledger import ACCOUNT
from nightdesk.trading.order import Purpose
from tests.order_plant_session_support import alerts, obeys
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    complete,
    configuration,
    filled,
    image,
    opened,
    play,
    started,
    submit,
    turns,
    working,
)
from tests.support import wait_until_async

ONE, EXTERNAL, ALL = StrategyId("one"), StrategyId("external"), StrategyId("")
CONTROL = ChildId("services/control")


def answers(body: Plant) -> list[CommandResult]:
    """What the operator was told."""
    return body.context.of(CommandResult)  # type: ignore[attr-defined,no-any-return]


def cancel_all(body: Plant, *, externals: bool) -> None:
    body.receive(CONTROL, OperatorCancelAll(request_id="1", reply_to=CONTROL, strategy_id=ALL, externals=externals))


async def flatten(body: Plant, *, externals: bool) -> CommandResult:
    known = len(answers(body))
    command = OperatorFlatten(request_id="2", reply_to=CONTROL, strategy_id=ALL, externals=externals)
    body.receive(CONTROL, command)
    await wait_until_async(lambda: len(answers(body)) > known)
    return answers(body)[-1]


async def beside_a_stranger(body: Plant, peer: FakePeer, epoch: int) -> None:
    """One order of ours and one of somebody else work; somebody else has bought one."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(351, opened("", "x1"))
    body.on_push(352, filled("", "x2", "f1", 1, 1, 0))
    body.on_push(351, complete("", "x2", "F", 1, 0))


@pytest.mark.parametrize("how", ["adopt", "report"])
def test_they_count_in_the_position_and_in_the_worst_case(tmp_path: Path, how: str) -> None:
    """Whatever is configured; one alarm for each that turns up."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await beside_a_stranger(body, peer, epoch)
        assert body.account.table.worst_case("ESH4") == (4, 0)
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 1
        assert body.account.ledger.quantity(ONE, "ESH4") == 0
        assert alerts(body).count("order_external") == 2

    play(tmp_path, scenario, external_orders=how)


def test_cancel_all_reaches_them_only_when_it_is_told_to(tmp_path: Path) -> None:
    """Without the flag they are left alone, with it they are canceled like ours."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await beside_a_stranger(body, peer, epoch)
        cancel_all(body, externals=False)
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        cancel_all(body, externals=True)
        await turns()
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1", "x1"]
        assert [result.ok for result in answers(body)] == [True, True]

    play(tmp_path, scenario)


def test_reported_ones_are_never_touched(tmp_path: Path) -> None:
    """Neither by the flag nor by a flatten of the whole account, which says what it leaves."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await beside_a_stranger(body, peer, epoch)
        obeys(body, session)
        cancel_all(body, externals=True)
        assert (answers(body)[0].ok, answers(body)[0].text) == (False, NEVER_TOUCHED)
        result = await flatten(body, externals=True)
        assert not result.ok
        assert NEVER_TOUCHED in result.text
        assert "1 ESH4" in (await flatten(body, externals=False)).text
        assert [fields["basket_id"] for fields in session.of(316)] == ["b1"]
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 1
        assert body.account.table.worst_case("ESH4") == (2, 0)

    play(tmp_path, scenario, external_orders="report")


def test_adopted_ones_are_flattened(tmp_path: Path) -> None:
    """Their position is closed by every flatten of the account; their orders go with the flag."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await beside_a_stranger(body, peer, epoch)
        obeys(body, session)
        result = await flatten(body, externals=True)
        assert result.ok, result.text
        await wait_until_async(lambda: body.account.ledger.quantity(ACCOUNT, "ESH4") == 0)
        assert {fields["basket_id"] for fields in session.of(316)} == {"b1", "x1"}
        assert body.account.table.open_count() == 0

    play(tmp_path, scenario)


def test_they_are_external_after_a_restart_too(tmp_path: Path) -> None:
    """They are in the journal; the next list, and the next fill, find them there."""

    async def first(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await beside_a_stranger(body, peer, epoch)

    async def second() -> None:
        body = await started(configuration(tmp_path))
        orders = {order.venue_order_id: order for order in body.account.table.open_orders()}
        assert orders["x1"].purpose is Purpose.EXTERNAL  # type: ignore[index]
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 1
        await body.link_up(orders=[image("o1", "b1"), image("", "x1")])
        body.on_push(352, filled("", "x1", "f2", 2, 2, 0))
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 3
        assert body.account.ledger.quantity(ONE, "ESH4") == 0
        assert "order_external" not in alerts(body)
        await body.stop()

    play(tmp_path, first)
    asyncio.run(second())


async def unanswered(body: Plant, peer: FakePeer, epoch: int) -> None:
    """An order of ours whose answer is on its way."""
    body.say(peer, submit("o1", epoch))
    await turns()


def test_report_without_a_tag_waits_for_an_answer_that_may_be_on_its_way(tmp_path: Path) -> None:
    """The gateway's answer names our order: its fill is ours, and nobody is alarmed."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await unanswered(body, peer, epoch)
        body.on_push(352, filled("", "b1", "f1", 1, 1, 1))
        body.on_push(351, complete("", "b1", "C", 1, 1))
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 0
        body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        body.account.externals.sweep()
        assert body.account.ledger.quantity(ONE, "ESH4") == 1
        assert body.account.table.open_count() == 0
        assert "order_external" not in alerts(body)

    play(tmp_path, scenario)


@pytest.mark.parametrize("until", ["time", "answer"])
def test_what_waited_in_vain_is_external(tmp_path: Path, until: str) -> None:
    """A second later, or as soon as no answer is awaited any more; its reports come in their order."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await unanswered(body, peer, epoch)
        body.on_push(351, opened("", "x1"))
        body.on_push(352, filled("", "x1", "f1", 1, 1, 1))
        body.on_push(351, complete("", "x1", "C", 1, 1))
        body.account.externals.sweep()
        assert body.account.ledger.quantity(ACCOUNT, "ESH4") == 0
        if until == "time":
            body.context.clock.advance(UNKNOWN_HOLD_S)  # type: ignore[attr-defined]
        else:
            body.on_push(313, answer(313, user_tag="o1", basket_id="b1", rq_handler_rp_code=["0"]))
        body.account.externals.sweep()
        assert body.account.ledger.quantity(EXTERNAL, "ESH4") == 1
        assert [order.venue_order_id for order in body.account.table.open_orders(EXTERNAL)] == []
        assert alerts(body).count("order_external") == 1

    play(tmp_path, scenario)


@pytest.mark.parametrize("fields", [{"user_tag": "somebody"}, {"transaction_type": 2}, {"symbol": "NQH4"}])
def test_report_that_cannot_be_ours_does_not_wait(tmp_path: Path, fields: dict[str, Any]) -> None:
    """It has a tag, another side or another symbol than the order that is awaited."""

    async def scenario(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await unanswered(body, peer, epoch)
        body.on_push(352, filled("", "x1", "f1", 1, 1, 1, **fields))
        assert alerts(body).count("order_external") == 1
        assert len(body.account.table.open_orders(EXTERNAL)) == 1

    play(tmp_path, scenario)
