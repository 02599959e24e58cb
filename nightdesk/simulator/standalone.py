"""The exchange alone, without the rest of the system: ``run.py simulator``."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from nightdesk.clocks import Clock
from nightdesk.settings.runtime import ExchangeEndpoint, RunConfiguration
from nightdesk.simulator.assembly import listening


async def serve(
    run: RunConfiguration,
    *,
    log: FilteringBoundLogger,
    clock: Clock,
    on_listening: Callable[[ExchangeEndpoint], None] | None = None,
) -> None:
    """Serve until cancelled; ``on_listening`` is called with the address once clients can connect."""
    async with listening(run, clock=clock, logger=log, on_listening=on_listening) as server:
        await server.run()
