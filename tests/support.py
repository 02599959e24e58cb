"""What tests share: waiting for a condition with a deadline instead of sleeping."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Recorded exchange data beside the checkout; tests that need it are skipped where it is absent."""

_POLL_S = 0.01
PATIENCE_S = 30.0
"""What starts a process takes seconds on a machine that others load."""


def wait_until(predicate: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Poll until the predicate holds; fail with its name when the time is over."""
    deadline = time.monotonic() + timeout_s
    waiter = threading.Event()
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {predicate}")
        waiter.wait(_POLL_S)


async def wait_until_async(predicate: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """The same on an event loop."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {predicate}")
        await asyncio.sleep(_POLL_S)


def utc_ns(text: str) -> int:
    """Nanoseconds of a moment of UTC, written as 2026-11-23 22:00."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
