"""Two faults on one connection at the same time: each one's effect ends with itself alone."""

import asyncio
from pathlib import Path

import pytest

from nightdesk.simulator.engine import Exchange
from nightdesk.simulator.wire.server import ExchangeServer
from tests.simulator_support import RawClient
from tests.test_fault_filters import heartbeat, inject, play


async def is_answered(client: RawClient) -> bool:
    """Whether a heartbeat's answer comes soon; without one the request may still lie before the exchange."""
    try:
        return (await asyncio.wait_for(client.ask(18), 0.15))[0] == 19
    except TimeoutError:
        return False


@pytest.mark.parametrize("first", ["both", "in", "out"])
@pytest.mark.parametrize("second", ["both", "in", "out"])
def test_of_two_cuts_each_ends_alone(first: str, second: str, tmp_path: Path) -> None:
    """The connection is whole only after the last one is healed; what waited comes then, whichever was first."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        numbers = [inject(exchange, "half_open", direction=each) for each in (first, second)]
        assert not await is_answered(client)
        exchange.injector.heal(numbers[0])
        assert not await is_answered(client)
        exchange.injector.heal(numbers[1])
        assert [(await client.receive())[0] for _ in range(2)] == [19, 19]
        assert await is_answered(client)

    play(tmp_path, scenario)


def test_of_two_trickles_the_slower_one_counts_while_it_lasts(tmp_path: Path) -> None:
    """Its end leaves the other one's rate, and a cut between them stops both."""

    async def scenario(exchange: Exchange, _: ExchangeServer, client: RawClient) -> None:
        loop = asyncio.get_running_loop()
        fast = inject(exchange, "trickle", bytes_per_s=1e6)
        slow = inject(exchange, "trickle", bytes_per_s=1)
        assert not await is_answered(client)
        cut = inject(exchange, "half_open", direction="out")
        exchange.injector.heal(slow)
        assert not await is_answered(client)
        exchange.injector.heal(cut)
        assert [(await client.receive())[0] for _ in range(2)] == [19, 19]
        slow = inject(exchange, "trickle", bytes_per_s=200)
        exchange.injector.heal(fast)
        began_s = loop.time()
        assert await heartbeat(client) == 19
        assert loop.time() - began_s > 0.05, "the end of the fast one ended the slow one, too"
        exchange.injector.heal(slow)
        assert await is_answered(client)

    log = play(tmp_path, scenario)
    assert sum("slowed to" in each["act"] for each in log.faults()) == 3, "each is noted once for the connection"
