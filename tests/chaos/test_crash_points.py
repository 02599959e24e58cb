"""The order plant dies at every system call of an order's ways; the next one finds nothing lost and nothing doubled.

Rows 2 to 6 of the fault matrix, for a new order (of each durability of the journal), two linked ones, a bracket, the
fills of an order that rests, a cancel, a change, a flatten, and for a recovery itself. What each of the rows must lead
to is in ``crash_paths``, ``crash_linked`` and ``crash_recovery``, what must hold at every moment in ``crash_books``.
With strace each system call of the process is a point; where it is missing, each call of the interpreter to sockets,
journal, event loop and log is one, with the same checks.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from tests.chaos.crash_paths import UNBOOKED, UNSENT
from tests.chaos.crash_probes import InsideProbe, Probe, StraceProbe, strace_works
from tests.chaos.crash_recovery import PATHS
from tests.chaos.crash_rig import Rig
from tests.chaos.crash_sweep import Probing, Sweep, sweep_sample, sweep_whole
from tests.chaos.seeds import seeded

SEED = 6


class Amount(NamedTuple):
    """How much of one way is swept."""

    sample: int
    """Points of the short form."""
    floor: int
    """Deaths that a whole sweep by strace must reach, or it has not looked."""
    floor_inside: int
    """The same without strace."""


AMOUNTS = {
    "order": Amount(12, 80, 40),
    "order-power": Amount(6, 80, 40),
    "oco": Amount(6, 80, 40),
    "bracket": Amount(6, 120, 60),
    "fill": Amount(4, 40, 15),
    "cancel": Amount(6, 40, 20),
    "modify": Amount(6, 50, 20),
    "flatten": Amount(6, 100, 40),
    "recovery": Amount(5, 500, 150),
}

QUICK = "order", "bracket", "fill"
"""The ways of which a sample is in the default run."""

TIMEOUT_S = 3600.0


async def the_best_probe(rig: Rig) -> Probe:
    """strace, or the other one where it is not to be had."""
    return StraceProbe(rig.folder) if await strace_works(rig.folder) else await inside(rig)


async def inside(rig: Rig) -> Probe:
    """The other one, wherever."""
    probe = InsideProbe(rig.folder)
    rig.inside = str(probe.path)
    return probe


def swept(
    name: str, probing: Probing, tell: Callable[[str], None], sweep_it: Callable[[Sweep], Awaitable[None]]
) -> Sweep:
    """One way; whatever is wrong on it or in the end fails here."""

    async def run() -> Sweep:
        async with asyncio.timeout(TIMEOUT_S), Sweep(PATHS[name], probing) as sweep:
            await sweep_it(sweep)
        tell("\n".join(sweep.tally.lines(f"{name} ({type(sweep.probe).__name__})")))
        return sweep

    return asyncio.run(run())


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints past pytest: the counts are a result."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return say


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.chaos) for name in PATHS]
)
def test_books_agree_after_deaths_at_sampled_calls(
    request: pytest.FixtureRequest, tell: Callable[[str], None], name: str
) -> None:
    """A few points of each way, spread over the whole of it; a new order meets rows 3 and 6 among them."""
    needed = {UNSENT, UNBOOKED} if name == "order" else set()
    with seeded(request, SEED) as chance:
        sweep = swept(name, the_best_probe, tell, lambda it: sweep_sample(it, AMOUNTS[name].sample, chance, needed))
    assert sweep.tally.killed.total() >= AMOUNTS[name].sample // 2
    assert needed <= sweep.tally.killed.keys()


def test_books_agree_after_deaths_inside(request: pytest.FixtureRequest, tell: Callable[[str], None]) -> None:
    """The form for machines without strace, on every machine, so that it works when it is needed."""
    with seeded(request, SEED) as chance:
        sweep = swept("order", inside, tell, lambda it: sweep_sample(it, 8, chance, {UNSENT, UNBOOKED}))
    assert sweep.tally.killed.total() >= 4


@pytest.mark.chaos
@pytest.mark.parametrize("name", PATHS)
def test_books_agree_after_a_death_at_every_system_call(tell: Callable[[str], None], name: str) -> None:
    """The whole sweep: each call of the way, and on until the way is passed alive; every row of it is met."""
    sweep = swept(name, the_best_probe, tell, sweep_whole)
    is_inside, amount = isinstance(sweep.probe, InsideProbe), AMOUNTS[name]
    assert sweep.tally.killed.total() >= (amount.floor_inside if is_inside else amount.floor)
    assert sweep.path.rows <= sweep.tally.killed.keys()


@pytest.mark.chaos
@pytest.mark.parametrize("name", PATHS)
def test_books_agree_after_a_death_inside_at_every_call(tell: Callable[[str], None], name: str) -> None:
    """The same without strace."""
    sweep = swept(name, inside, tell, sweep_whole)
    assert sweep.tally.killed.total() >= AMOUNTS[name].floor_inside
    assert sweep.path.rows <= sweep.tally.killed.keys()


def test_samples_are_spread_over_the_way() -> None:
    """One point of each slice, in order, and never more points than there are."""
    from tests.chaos.crash_probes import Point
    from tests.chaos.crash_sweep import sample

    points = [Point("call", number) for number in range(1, 101)]
    found = [point.number for point in sample(points, 10, random.Random(1))]
    assert [(number - 1) // 10 for number in found] == list(range(10))
    assert sample(points[:3], 10, random.Random(1)) == points[:3]
