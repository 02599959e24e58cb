"""What tests of the history plant share: a logged-in client, a few trades, and a frame's fields."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nightdesk.messages.enums import AggressorSide
from nightdesk.simulator.model import Traded, VenueEvent
from tests.simulator_support import START_NS, RawClient, running_exchange

HISTORY = 3
ES = {"symbol": "ESH4", "exchange": "CME"}
START_S = START_NS // 10**9
SPAN = {"start_index": START_S, "finish_index": START_S + 1000}
TICKS = ES | {"bar_type": 1, "bar_sub_type": 1, "bar_type_specifier": "1"}
Act = Callable[[Any, RawClient], Awaitable[None]]


def scenario(folder: Path, act: Act, **options: Any) -> None:
    """Run ``act(exchange, client)`` with a client that is logged in to the history plant."""

    async def whole() -> None:
        async with running_exchange(folder, **options) as (exchange, server):
            client = await RawClient.open(folder, server)
            await client.login(HISTORY)
            await act(exchange, client)

    asyncio.run(asyncio.wait_for(whole(), 20.0))


def play(exchange: Any, *trades: tuple[float, float, int, AggressorSide]) -> None:
    """Let trades happen: seconds after the start, price, quantity, aggressor."""
    events: list[VenueEvent] = [
        Traded("ESH4", "CME", price, quantity, side, START_NS + round(second * 10**9), 0, 0.0)
        for second, price, quantity, side in trades
    ]
    exchange.publish(events)


def fields(message: Any) -> dict[str, Any]:
    """The fields that are on the wire, but for the echo of the request."""
    return {
        field.name: list(value) if field.is_repeated else value
        for field, value in message.ListFields()
        if field.name not in ("template_id", "user_msg")
    }
