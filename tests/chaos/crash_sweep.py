"""Kills order plants at one point of their way after the other; the way is judged when the next one serves."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple, Self

from nightdesk.errors import LaneError
from tests.chaos.crash_books import check_moment, read_books, verdicts
from tests.chaos.crash_paths import PASSED, Path
from tests.chaos.crash_probes import Call, Point, Probe, points_of
from tests.chaos.crash_rig import Rig, crash_rig

MORE_MAX = 40
"""Further points of a sample in which a row is missing."""

ROUNDS_OF_RIG = 60

Probing = Callable[[Rig], Awaitable[Probe]]
"""Makes the probe for a rig."""


class Round(NamedTuple):
    """What became of one point."""

    row: str
    """Where the plant died, or ``PASSED``."""
    calls: list[Call]


@dataclass
class Tally:
    """What a sweep has done."""

    killed: Counter[str] = field(default_factory=Counter)
    """Deaths by row of the fault matrix."""
    calls: Counter[str] = field(default_factory=Counter)
    """Deaths by what the last call was about."""
    passed: int = 0
    """Points that the way did not come to."""

    def lines(self, name: str) -> list[str]:
        """For a person."""
        total = self.killed.total()
        rows = [f"    {row}: {count}" for row, count in sorted(self.killed.items())]
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.calls.items()))
        return [f"{name}: {total} points, {self.passed} not reached", *rows, f"    by call: {kinds}"]


class Sweep:
    """One way with one probe; the plant that recovers from a death is the next one to die.

    An async context. The rig is made anew now and then, and judged before it goes: each round reads all of its books.
    """

    def __init__(self, path: type[Path], probing: Probing) -> None:
        self._path_type = path
        self._probing = probing
        self._rounds = 0
        self._stack = AsyncExitStack()
        self._rig: Rig
        self.path: Path
        self.probe: Probe
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._judge()
        finally:
            await self._stack.aclose()

    async def record(self) -> list[Point]:
        """Every point of the way as it is when nobody dies."""
        recorded = await self._round(None)
        assert recorded.row == PASSED
        return points_of(recorded.calls, self.path.left_out)

    async def kill_at(self, point: Point) -> bool:
        """One round; whether the plant died of it. A failure names the point."""
        self._rounds += 1
        if self._rounds % ROUNDS_OF_RIG == 0:
            await self._judge()
            await self._stack.aclose()
            await self._open()
        try:
            done = await self._round(point)
        except BaseException as error:
            error.add_note(f"way {self.path.name}, killed at {point.name} number {point.number}")
            raise
        if done.row == PASSED:
            self.tally.passed += 1
            return False
        self.tally.killed[done.row] += 1
        self.tally.calls[done.calls[-1].kind if done.calls else "nothing yet"] += 1
        return True

    async def _open(self) -> None:
        self._rig = await self._stack.enter_async_context(crash_rig(self._path_type.durability))
        self.path = self._path_type()
        self.probe = await self._probing(self._rig)
        await self._rig.raise_plant()
        await self._rig.serve()

    async def _judge(self) -> None:
        """Kill the last plant of the rig; nothing may be wrong in the end."""
        await self._rig.kill()
        check_moment(self._rig, read_books(self._rig))
        found = [f"{each.name}: {text}" for each in verdicts(self._rig) for text in each.found]
        assert found == []

    async def _round(self, point: Point | None) -> Round:
        rig, path = self._rig, self.path
        await path.prepare(rig)
        await self.probe.arm(rig.plant.pid, point)
        if path.at_birth:
            await rig.release()
        try:
            path.act(rig)
        except LaneError:
            # Its first call came before ours: it dies with nothing begun.
            assert await rig.died(), "the lane is closed and the plant lives"
        await rig.until_dead_or(lambda: path.passed(rig), f"the way {path.name} is passed")
        trace = await self.probe.disarm()
        row = PASSED
        if trace.is_reached and await rig.died():
            books = read_books(rig)
            check_moment(rig, books)
            row = path.judge(books, trace.calls)
            await rig.raise_plant()
            await rig.serve()
        check_moment(rig, read_books(rig))
        await path.settled(rig, row)
        check_moment(rig, read_books(rig))
        return Round(row, trace.calls)


def sample(points: list[Point], size: int, chance: random.Random) -> list[Point]:
    """So many points, spread over the whole way."""
    size = min(size, len(points))
    edges = [round(index * len(points) / size) for index in range(size + 1)]
    return [points[chance.randrange(low, high)] for low, high in pairwise(edges)]


async def sweep_whole(sweep: Sweep) -> None:
    """Every recorded point; and of each name of a call further ones until the way is passed alive."""
    points = await sweep.record()
    for point in points:
        await sweep.kill_at(point)
    for name, number in Counter(point.name for point in points).items():
        while await sweep.kill_at(Point(name, number := number + 1)):
            pass


async def sweep_sample(sweep: Sweep, size: int, chance: random.Random, needed: set[str]) -> None:
    """A few points of the whole way, and more of them until these rows are met."""
    points = await sweep.record()
    for point in sample(points, size, chance):
        await sweep.kill_at(point)
    tries = iter(range(MORE_MAX))
    while needed - sweep.tally.killed.keys() and next(tries, None) is not None:
        await sweep.kill_at(chance.choice(points))
