"""The embedded exchange as an actor: it runs in simulation mode, directly under the root."""

from contextlib import AsyncExitStack

from actors.base import Body, Context
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.simulator.assembly import listening


class ExchangeBody(Body):
    """Listens on the loopback; plants find it through ``exchange.json`` in the runtime folder."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._run = RunConfiguration.from_json(context.config)
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Recover from the log and listen; clients may connect when this returns."""
        context = self.context
        server = await self._stack.enter_async_context(listening(self._run, clock=context.clock, logger=context.log))
        context.spawn(server.run(), name="exchange")

    async def stop(self) -> None:
        """Close the sockets and the log."""
        await self._stack.aclose()
