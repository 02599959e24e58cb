"""Rolls beside a strategy's times of the day without trading: a position is moved once they are over, not given up."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nightdesk.settings.models import Risk, Strategy
from tests.calendar_support import at
from tests.order_plant_support import FakePeer, FakeSession, Plant
from tests.roll_support import (
    AFTER,
    NEW,
    OLD,
    ROLLING,
    Broker,
    alerts,
    held,
    holding,
    is_done,
    play,
    time_of,
)
from tests.support import wait_until_async

STILL_ROLLING = "2023-12-06 15:57:00"


def in_windows(*windows: tuple[str, str]) -> list[Strategy]:
    """Strategy ``one``, which does not trade at these times of the day."""
    section = {"no_trade": [{"from": begins, "to": ends} for begins, ends in windows]}
    return [Strategy.model_validate({"name": "one", "class": "m:C", "symbols": ["ES.front"], "session": section})]


@pytest.mark.parametrize(
    ("window", "later"), [(("15:30", "15:55"), STILL_ROLLING), (("15:30", "16:00"), AFTER)], ids=["before", "after"]
)
def test_roll_that_is_due_in_a_window_waits_for_its_end(tmp_path: Path, window: tuple[str, str], later: str) -> None:
    """Nothing is closed that could not be opened again; a window up to the close leaves it to the next session."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        time_of(body).set(at(ROLLING))
        await asyncio.sleep(0.05)
        assert (held(body, OLD), broker.tags()) == (2, [])
        time_of(body).set(at(later))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, OLD), held(body, NEW)) == (0, 2)
        assert "roll_abandoned" not in alerts(body)

    play(tmp_path, scene, strategies=in_windows(window))


def test_window_that_begins_between_the_legs_is_waited_out(tmp_path: Path) -> None:
    """The second leg is opened behind it, once."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        time_of(body).set(at("2023-12-06 15:52:00"))
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: not held(body, OLD))
        await asyncio.sleep(0.05)
        assert (held(body, NEW), len(broker.tags())) == (0, 1)
        time_of(body).set(at(STILL_ROLLING))
        await wait_until_async(lambda: is_done(body))
        assert (held(body, NEW), len(broker.tags())) == (2, 2)
        assert "roll_abandoned" not in alerts(body)

    play(tmp_path, scene, strategies=in_windows(("15:51", "15:55")))


def test_time_to_be_flat_between_the_legs_ends_the_roll(tmp_path: Path) -> None:
    """``flatten_by`` says that nothing is held from then on: what was closed stays closed, today and tomorrow."""

    async def scene(body: Plant, broker: Broker, session: FakeSession, peer: FakePeer, epoch: int) -> None:
        await holding(body, broker, peer, epoch)
        broker.silent = True
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda: len(broker.tags()) == 1)
        time_of(body).set(at("2023-12-06 15:55:00"))
        broker.silent = False
        broker.finish(body)
        await wait_until_async(lambda: is_done(body))
        time_of(body).set(at(AFTER))
        await asyncio.sleep(0.05)
        assert (held(body, OLD), held(body, NEW)) == (0, 0)

    limits: dict[str, Any] = {"max_order_quantity": 10, "max_position": 20, "max_open_orders": 20}
    play(tmp_path, scene, risk=Risk(**limits, max_orders_per_second=100, flatten_by="15:54"))
