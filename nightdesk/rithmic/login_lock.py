"""One login at a time over all plants: logins close together were seen to draw forced logouts."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nightdesk.errors import LinkError

_POLL_S: Final = 0.02


@asynccontextmanager
async def login_lock(path: str, timeout_s: float) -> AsyncIterator[None]:
    """Hold the lock file; it is free again when this process dies. Raises ``LinkError`` when the time is over."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if _taken(descriptor):
                        break
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise LinkError(f"another plant has been logging in for {timeout_s:.0f} s") from None
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
