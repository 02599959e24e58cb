"""Seeded tests say how to run them again: the seed and the command, printed with each failure."""

import os
import random
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SEED_VARIABLE = "NIGHTDESK_SEED"
"""Set it to a number to run a seeded test with that seed instead of its own."""


@contextmanager
def seeded(request: pytest.FixtureRequest, seed: int) -> Iterator[random.Random]:
    """The source of all choices of a test; a failure inside carries its seed and the command that replays it."""
    seed = int(os.environ.get(SEED_VARIABLE, seed))
    command = f"{SEED_VARIABLE}={seed} python -m pytest -m '' {shlex.quote(request.node.nodeid)}"
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"seed {seed}; run it again: {command}")
        raise


def forms(short: int, long: int) -> list[object]:
    """Parameters of a count: the short form runs by default, the long one is marked ``chaos``."""
    return [pytest.param(short, id="short"), pytest.param(long, id="long", marks=pytest.mark.chaos)]
