"""A roll that is cut off after any of its writes, or before it, ends in the same positions as one that is not."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.plants.journal import JournalWriteError
from tests.calendar_support import at
from tests.order_plant_support import Plant
from tests.roll_support import DAY_BEFORE, NEW, OLD, ROLLING, Broker, begun, connected, held, holding, is_done, time_of
from tests.support import wait_until_async

WRITES = ("write_roll", "write_intent", "write_order")


class Kill(NamedTuple):
    """The process dies at its ``number``-th write of a roll (from 1): once it is made, or before it is."""

    number: int
    is_written: bool


class Case(NamedTuple):
    """A position, and what the exchange does with the roll's orders."""

    quantity: int = 2
    pieces: tuple[int, ...] = ()
    rejects: int = 0


class Life:
    """Counts the writes of one process, and ends it: nothing that it does later is journalled or arrives anywhere."""

    def __init__(self, body: Plant, broker: Broker, kill: Kill | None) -> None:
        self.writes = 0
        self.is_over = False
        self._body = body
        self._broker = broker
        self._kill = kill
        for name in WRITES:
            setattr(body.journal, name, self._watched(getattr(body.journal, name)))

    def _watched(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.writes += 1
            is_last = self._kill is not None and self.writes == self._kill.number
            if is_last and self._kill is not None and not self._kill.is_written:
                self._end()
                raise JournalWriteError("killed")
            result = write(*arguments, **named)
            if is_last:
                self._end()
            return result

        return watched

    def _end(self) -> None:
        self.is_over = self._broker.dead = self._body.journal.failed = True


async def played(folder: Path, case: Case, kills: list[Kill]) -> tuple[Broker, Plant, int]:
    """One process after the other, until one has finished the roll; the last one, and how often the first one wrote."""
    broker = Broker()
    body = await begun(folder, DAY_BEFORE)
    _, peer, epoch = await connected(body, broker)
    await holding(body, broker, peer, epoch, case.quantity)
    broker.pieces, broker.rejects = list(case.pieces), case.rejects
    writes = 0
    for kill in [*kills, None]:
        life = Life(body, broker, kill)
        time_of(body).set(at(ROLLING))
        await wait_until_async(lambda body=body, life=life: life.is_over or is_done(body))  # type: ignore[misc]
        writes = writes or life.writes
        if is_done(body):
            break
        await body.context.cancel_tasks()
        body.link_down("killed")
        await body.stop()
        broker.dead = False
        body = await begun(folder, ROLLING)
        await connected(body, broker)
    return broker, body, writes


def check(case: Case, kills: list[Kill]) -> int:
    """The position has arrived whole, once, and nothing works any more; how often the first process wrote."""

    async def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            broker, body, writes = await played(Path(folder), case, kills)
            await asyncio.sleep(0.01)
            assert broker.positions() == {NEW: case.quantity}
            assert (held(body, OLD), held(body, NEW)) == (0, case.quantity)
            assert len(body.journal.rolls()) == 1
            moved = sum(broker.orders[tag]["filled"] for tag in broker.tags())
            assert moved == 2 * abs(case.quantity)
            await body.context.cancel_tasks()
            await body.stop()
            assert broker.working() == []
            return writes

    return asyncio.run(run())


WHOLE = 10
"""The writes of a roll in which nothing fails; more would be more prefixes to try."""


def test_a_roll_without_a_kill_writes_so_often() -> None:
    """The prefixes below are all of them."""
    assert check(Case(), []) == WHOLE


@pytest.mark.parametrize("number", range(1, WHOLE + 1))
@pytest.mark.parametrize("is_written", [True, False], ids=["after", "before"])
def test_any_prefix_of_a_roll_s_writes_leads_to_the_same_positions(number: int, is_written: bool) -> None:
    """The next process goes on where the journal ends, exactly once."""
    check(Case(), [Kill(number, is_written)])


quantities = st.integers(-3, 3).filter(bool)
some_kills = st.lists(st.builds(Kill, st.integers(1, WHOLE + 8), st.booleans()), max_size=3)


@settings(max_examples=15, deadline=None)
@given(quantities, st.lists(st.integers(0, 1), max_size=4), st.integers(0, 3), some_kills)
def test_fills_in_part_refusals_and_several_kills_change_nothing(
    quantity: int, pieces: list[int], rejects: int, kills: list[Kill]
) -> None:
    """Whatever of it comes together."""
    check(Case(quantity, tuple(pieces), rejects), kills)
