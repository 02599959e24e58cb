"""Faults of the network between the system and the exchange, made by the proxy."""

import asyncio
from random import Random

from nightdesk.chaos.job import HEARTBEAT_S
from nightdesk.chaos.proxy import BOTH, Link, Way
from nightdesk.chaos.schedule import Strike
from nightdesk.chaos.toll import NETWORK, Act, Row, Toll
from nightdesk.chaos.world import NotNowError, World

PROXY = "a TCP proxy"

LONG_CUT_S = HEARTBEAT_S + 8.0
"""Longer than any link that brings nothing may stand."""


def _links(world: World) -> list[Link]:
    links = world.proxy.links
    if not links:
        raise NotNowError("nobody is connected")
    return links


async def _net_reset(world: World, strike: Strike, chance: Random) -> Toll:
    links = _links(world)
    for link in links if chance.random() < 0.5 else [chance.choice(links)]:
        link.reset()
    return Toll()


async def _net_fin(world: World, strike: Strike, chance: Random) -> Toll:
    """The connection ends in the middle of what is sent next."""
    link, way = chance.choice(_links(world)), chance.choice(BOTH)
    link.cut_next(way)
    await asyncio.sleep(strike.spell_s)
    link.release()
    return Toll()


async def _net_bytes(world: World, strike: Strike, chance: Random) -> Toll:
    links = _links(world)
    for link in links:
        link.bytewise(BOTH)
    await asyncio.sleep(strike.spell_s)
    for link in links:
        link.release()
    return Toll()


def _held(ways: tuple[Way, ...]) -> Act:
    """Nothing passes in these directions; afterwards it is delivered."""

    async def act(world: World, strike: Strike, chance: Random) -> Toll:
        world.proxy.hold(ways)
        await asyncio.sleep(strike.spell_s)
        world.proxy.release()
        return Toll()

    return act


async def _long_cut(world: World, strike: Strike, chance: Random) -> Toll:
    world.proxy.hold((Way.OUT,))
    await asyncio.sleep(LONG_CUT_S)
    world.proxy.release()
    return Toll()


async def _held_and_lost(world: World, strike: Strike, chance: Random) -> Toll:
    world.proxy.hold((Way.IN,))
    await asyncio.sleep(strike.spell_s)
    world.proxy.reset()
    world.proxy.release()
    return Toll()


async def _net_refused(world: World, strike: Strike, chance: Random) -> Toll:
    """Links are reset and nobody may connect for a while."""
    world.proxy.is_refusing = True
    world.proxy.reset()
    await asyncio.sleep(strike.spell_s)
    world.proxy.is_refusing = False
    return Toll()


_ONE = frozenset({NETWORK})
_INTO, _OUT_OF = (Way.IN,), (Way.OUT,)

NETWORK_FAULTS: tuple[Row, ...] = (
    Row("net_reset", "15", 4, "RST to both sides", PROXY, _net_reset),
    Row("net_fin", "15", 4, "FIN in the middle of a frame", PROXY, _net_fin, _ONE),
    Row("net_bytes", "15", 3, "writes of one byte", PROXY, _net_bytes, _ONE),
    Row("net_cut_in", "15", 3, "nothing reaches the exchange for a while", PROXY, _held(_INTO), _ONE),
    Row("net_cut_out", "15", 3, "nothing comes from the exchange for a while", PROXY, _held(_OUT_OF), _ONE),
    Row("net_stall", "15", 3, "nothing passes for a while", PROXY, _held(BOTH), _ONE),
    Row("net_cut_long", "15", 1, "nothing comes for longer than a link may be silent", PROXY, _long_cut, _ONE),
    Row("net_lost", "3, 17", 1, "what is sent is held, and lost with the link", PROXY, _held_and_lost, _ONE),
    Row("net_refused", "15, 17", 3, "links reset, and nobody may connect for a while", PROXY, _net_refused, _ONE),
)
"""Rows of the table about the network."""
