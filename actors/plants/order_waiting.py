"""Waiting for the order plant's own state: it changes by reports, answers and time alike, so it is looked at."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], *, poll_s: float, timeout_s: float | None = None) -> bool:
    """Wait until it holds; False when the time is over first (None: as long as it takes)."""
    looks_left = None if timeout_s is None else max(0, round(timeout_s / poll_s))
    while not condition():
        if looks_left is not None:
            if looks_left == 0:
                return False
            looks_left -= 1
        await asyncio.sleep(poll_s)
    return True
