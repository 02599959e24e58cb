"""What happens when: a seed's rounds of faults. Pure; the same seed gives the same rounds, for ever."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

SIZES = (1, 2, 3, 4, 5, 6, 8)
SIZE_SHARES = (0.15, 0.2, 0.2, 0.15, 0.12, 0.1, 0.08)
"""How many faults a round has, and how often."""

CALM_S = (0.1, 0.8)
"""How long everybody trades in peace between two rounds."""

BESIDE_S = (0.0, 1.5)
"""How much later than its round a further fault of it begins: beside the first one, or in the recovery from it."""

SPELL_S = (0.4, 2.5)
"""How long a fault lasts that has no time of its own."""


class Terms(NamedTuple):
    """What the schedule must know of a fault."""

    name: str
    weight: int
    """How soon it comes: a deck holds each fault once, and heavier ones lie rather above."""
    groups: frozenset[str] = frozenset()
    """Two faults of one group are never in one round."""


class Strike(NamedTuple):
    """One fault of a round."""

    name: str
    after_s: float
    spell_s: float
    seed: int
    """Of all that it chooses itself."""


class Round(NamedTuple):
    """Faults that belong together; after each round everybody must be in service again."""

    number: int
    calm_s: float
    strikes: tuple[Strike, ...]


def rounds(seed: int, faults: Sequence[Terms]) -> Iterator[Round]:
    """The rounds of a seed, without end. Every fault comes once before any comes twice."""
    chance = Random(seed)
    deck: list[Terms] = []
    number = 0
    while True:
        number += 1
        names: list[Terms] = []
        for _ in range(chance.choices(SIZES, SIZE_SHARES)[0]):
            found = _draw(deck, names)
            if found is None:
                deck.extend(_shuffled(chance, faults, {each.name for each in deck}))
                found = _draw(deck, names)
            if found is not None:
                names.append(found)
        yield Round(
            number, _between(chance, CALM_S), tuple(_strike(chance, index, each) for index, each in enumerate(names))
        )


def _draw(deck: list[Terms], beside: Sequence[Terms]) -> Terms | None:
    """The uppermost fault that goes with those of the round; it leaves the deck."""
    for index, candidate in enumerate(deck):
        if all(candidate.name != other.name and not candidate.groups & other.groups for other in beside):
            return deck.pop(index)
    return None


def _shuffled(chance: Random, faults: Sequence[Terms], left: set[str]) -> list[Terms]:
    """A new deck below what is left of the last one."""
    keyed = [(chance.random() ** (1.0 / each.weight), each) for each in faults]
    return [each for _, each in sorted(keyed, key=lambda pair: -pair[0]) if each.name not in left]


def _strike(chance: Random, index: int, fault: Terms) -> Strike:
    after_s = _between(chance, BESIDE_S) if index else 0.0
    return Strike(fault.name, after_s, _between(chance, SPELL_S), chance.getrandbits(32))


def _between(chance: Random, limits: tuple[float, float]) -> float:
    return round(chance.uniform(*limits), 3)
