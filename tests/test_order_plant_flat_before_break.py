"""The order plant and the calendar: who is made flat before a break, and what is told where that fails."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.messages import (
    Denial,
    OrderDenied,
    SetTradingState,
    TradingState,
)
from tests.calendar_support import at
from tests.order_plant_session_support import (
    CLOSED,
    CONTROL,
    FLAT,
    FRIDAY,
    LATE,
    ONE,
    OPEN,
    PRE_OPEN,
    REOPENED,
    alerts,
    begun,
    canceled,
    exits,
    holding,
    obeys,
    play,
    time_of,
)
from tests.order_plant_support import (
    FakePeer,
    FakeSession,
    Plant,
    answer,
    image,
    submit,
    turns,
)
from tests.support import wait_until_async


def test_strategy_is_flat_before_the_close_and_stays_so(tmp_path: Path) -> None:
    """Entry and protection canceled, one closing order, entries denied until the opening; the other one as well."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at("2024-02-27 15:54:59"))
        await asyncio.sleep(0.05)
        assert canceled(session) == []
        time_of(body).set(at("2024-02-27 15:55:00"))
        await wait_until_async(lambda: body.flattener.is_flat(ONE))
        assert canceled(session) == ["b2", "b3"]
        assert [(fields["quantity"], fields["transaction_type"]) for fields in exits(session)] == [(2, 2)]
        sent = len(session.of(312))
        body.say(peer, submit("again", epoch))
        assert peer.of(OrderDenied)[-1].code is Denial.SESSION_NO_TRADE
        assert "2024-02-27T23:00:00Z" in peer.of(OrderDenied)[-1].text
        time_of(body).set(at(PRE_OPEN))
        body.say(peer, submit("early", epoch))
        assert peer.of(OrderDenied)[-1].code is Denial.SESSION_NO_TRADE
        time_of(body).set(at(REOPENED))
        body.say(peer, submit("next", epoch))
        await turns()
        assert len(session.of(312)) == sent + 1
        assert alerts(body) == []

    play(tmp_path, OPEN, scene, session=FLAT)


@pytest.mark.parametrize(
    ("rules", "moment", "flat"),
    [
        ({"over_weekend": "flatten"}, LATE, False),
        ({"over_weekend": "flatten"}, FRIDAY, True),
        ({"over_break": "flatten", "over_weekend": "keep"}, FRIDAY, False),
        ({"over_break": "flatten", "flatten_before_close_s": 60.0}, LATE, False),
        ({}, FRIDAY, False),
    ],
)
def test_only_the_breaks_that_are_named_flatten(tmp_path: Path, rules: dict[str, Any], moment: str, flat: bool) -> None:
    """Over the others the position and its orders stay."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        obeys(body, session)
        time_of(body).set(at(moment))
        if flat:
            await wait_until_async(lambda: body.flattener.is_flat(ONE))
        await asyncio.sleep(0.05)
        assert len(exits(session)) == flat

    play(tmp_path, OPEN if moment == LATE else "2024-02-23 10:00", scene, session=rules)


def test_restart_in_the_middle_finishes_and_a_later_one_finds_nothing_to_do(tmp_path: Path) -> None:
    """Killed after the cancels and before the closing order: derived from what is held, not from a note."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

    play(tmp_path, OPEN, scene)

    async def again(moment: str, orders: list[Any]) -> tuple[int, list[str]]:
        body = await begun(tmp_path, moment, session=FLAT)
        session = await body.link_up(wait=False, orders=orders)
        obeys(body, session)
        await wait_until_async(lambda: body.flattener.is_flat(ONE) and not body.account.reconciling)
        await asyncio.sleep(0.05)
        count = len(exits(session))
        await body.stop()
        return count, alerts(body)

    listed = [image("entry", "b2"), image("stop", "b3")]
    assert asyncio.run(again(LATE, listed)) == (1, [])
    assert asyncio.run(again("2024-02-27 15:57:00", [])) == (0, [])
    assert asyncio.run(again(CLOSED, [])) == (0, [])


def test_what_could_not_be_closed_is_told_once_and_tried_again(tmp_path: Path) -> None:
    """The exchange refuses the closing order; the next attempt is taken; and what the close finds open is told too."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)

        def refuse(template_id: int, fields: dict[str, Any]) -> None:
            if template_id == 312:
                message = answer(313, user_tag=fields["user_tag"], rp_code=["1039", "no"])
                asyncio.get_running_loop().call_soon(body.on_push, 313, message)

        session.on_send = refuse
        time_of(body).set(at(LATE))
        # Nobody confirms the cancels.
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))
        body.context.clock.advance(1.0)  # type: ignore[attr-defined]
        await wait_until_async(lambda: len(exits(session)) >= 2)
        assert alerts(body).count("flatten_incomplete") == 1
        time_of(body).set(at(CLOSED))
        await wait_until_async(lambda: alerts(body).count("flatten_incomplete") == 2)
        text = body.context.alerts[-1].text  # type: ignore[attr-defined]
        assert "position 2 is held over it" in text
        count = len(exits(session))
        time_of(body).set(at(REOPENED))
        await asyncio.sleep(0.05)
        assert len(exits(session)) == count
        assert alerts(body).count("flatten_incomplete") == 2

    play(tmp_path, OPEN, scene, session={**FLAT, "if_not_flat": "keep"})


def test_halted_trading_only_cancels_entries_before_the_break(tmp_path: Path) -> None:
    """The operator stopped everything: nothing is closed behind his back, and he is told what is held."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, peer, epoch)
        halt = SetTradingState(request_id="1", reply_to=CONTROL, trading_state=TradingState.HALTED, reason="test")
        body.receive(CONTROL, halt)
        time_of(body).set(at(LATE))
        await wait_until_async(lambda: canceled(session) == ["b2"])
        await asyncio.sleep(0.05)
        assert exits(session) == []
        time_of(body).set(at(CLOSED))
        await wait_until_async(lambda: "flatten_incomplete" in alerts(body))

    play(tmp_path, OPEN, scene, session=FLAT)
