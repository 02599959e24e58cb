"""How loud a denial is: each time where a position is concerned, once where a strategy only asks through a break."""

from pathlib import Path
from typing import Any

import pytest

from actors.plants.order_denials import DENIALS_KEPT_PER_SECOND
from nightdesk.messages import OrderDenied, OrderStatus, Side
from tests.calendar_support import at
from tests.order_plant_session_support import CLOSED, OPEN, STOP, play, time_of
from tests.order_plant_support import FakePeer, FakeSession, Plant, complete, filled, submit, turns, working


def severities(body: Plant) -> list[str]:
    """Of the alerts that tell of a denial."""
    return [each.severity.value for each in body.context.alerts if each.event == "order_denied"]  # type: ignore[attr-defined]


async def hold(body: Plant, peer: FakePeer, epoch: int) -> None:
    """Two bought."""
    await working(body, peer, epoch, "o1", "b1")
    body.on_push(352, filled("o1", "b1", "f1", 2, 2, 0))
    body.on_push(351, complete("o1", "b1", "F", 2, 0))


@pytest.mark.parametrize(
    ("holds", "changes", "expected"),
    [
        (False, {}, ["info"]),
        (True, {}, ["warning"] * 3),
        (True, {"side": Side.SELL}, ["warning"] * 3),
        (False, STOP, ["error"] * 3),
        (True, STOP, ["error"] * 3),
    ],
)
def test_what_the_calendar_denies_is_silent_only_for_a_strategy_without_a_position(
    tmp_path: Path, holds: bool, changes: dict[str, Any], expected: list[str]
) -> None:
    """An exit or a stop that did not leave is a position that somebody must look after, each time."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        if holds:
            await hold(body, peer, epoch)
        time_of(body).set(at(CLOSED))
        for number in range(3):
            body.say(peer, submit(f"d{number}", epoch, **changes))
        assert severities(body) == expected
        assert len(peer.of(OrderDenied)) == 3

    play(tmp_path, OPEN, scene)


def test_any_denied_stop_is_an_error_whatever_denied_it(tmp_path: Path) -> None:
    """Off the tick, halted, without a link: the position is without it."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await hold(body, peer, epoch)
        body.say(peer, submit("off", epoch, **STOP | {"trigger_price": 4990.1}))
        body.link_down()
        body.say(peer, submit("cut off", epoch, **STOP))
        assert severities(body) == ["error", "error"]

    play(tmp_path, OPEN, scene)


def test_a_stop_that_was_to_be_sent_when_the_link_was_lost_is_an_error(tmp_path: Path) -> None:
    """It passed the gate and never left."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await hold(body, peer, epoch)
        body.say(peer, submit("stop", epoch, **STOP))
        body.link_down()
        await turns()
        assert severities(body) == ["error"]

    play(tmp_path, OPEN, scene)


def test_a_flood_of_other_denials_drowns_no_stop(tmp_path: Path) -> None:
    """Beyond so many a second denials are counted only; protective orders have as many of their own."""

    async def scene(body: Plant, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        time_of(body).set(at(CLOSED))
        for number in range(DENIALS_KEPT_PER_SECOND + 50):
            body.say(peer, submit(f"d{number}", epoch))
        body.say(peer, submit("stop", epoch, **STOP))
        assert severities(body) == ["info", "error"]
        assert body.account.table.counts[OrderStatus.DENIED] == DENIALS_KEPT_PER_SECOND + 51

    play(tmp_path, OPEN, scene)
